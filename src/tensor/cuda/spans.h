/* Spans of sequences, pairs of first row and number of rows, as kernels look at them: what is wrong with one is told,
 * and whoever works on it leaves it out.  A kernel's blocks work on spans, and on rows 32 at a time for those that are
 * in no span; the latter also tell of rows in two.  The same on the CPU: tn__spans_ok() in ../ops/sequence.c. */
#ifndef TN_CUDA_SPANS_H
#define TN_CUDA_SPANS_H

#include "kdefs.h"

enum { SPAN_ROWS = 32 }; /* a bit each, for the lanes of a warp */

typedef struct span_list {
    const int64_t *at;
    int64_t n, rows;
    int apart; /* each row is in one span at most */
    tn__cuda_watch watch;
} span_list;

static __device__ inline bool span_inside(const span_list &l, int64_t s)
{
    const int64_t from = l.at[2 * s], count = l.at[2 * s + 1];
    return from >= 0 && count >= 0 && from <= l.rows && count <= l.rows - from;
}

/* The same; has told if not. */
static __device__ inline bool span_sound(const span_list &l, int64_t s)
{
    const bool inside = span_inside(l, s);
    if (!inside && threadIdx.x == 0)
        k_wrong(l.watch, TN_BAD_SPAN, s, l.at[2 * s], l.at[2 * s + 1], l.rows - 1);
    return inside;
}

/* The first n bits. */
static __device__ inline uint32_t span_bits(int64_t n)
{
    return n <= 0 ? 0 : n < SPAN_ROWS ? (1u << n) - 1 : ~0u;
}

/* Which rows from `first` on are in a span. */
static __device__ inline uint32_t span_rows(const span_list &l, int64_t s, int64_t first)
{
    const int64_t from = l.at[2 * s] - first;
    return span_inside(l, s) ? span_bits(from + l.at[2 * s + 1]) & ~span_bits(from) : 0;
}

/* The first row that two spans share; INT64_MAX: they share none. */
static __device__ inline int64_t span_shared(const span_list &l, int64_t s, int64_t other)
{
    const int64_t a = l.at[2 * s], b = l.at[2 * other];
    const int64_t end_a = a + l.at[2 * s + 1], end_b = b + l.at[2 * other + 1];
    const int64_t first = a > b ? a : b;
    return first < (end_a < end_b ? end_a : end_b) ? first : INT64_MAX;
}

/* Tells of the second span that has a row, and which is the first row that it shares with one before it. */
static __device__ inline void span_tell_shared(const span_list &l, int64_t row)
{
    int64_t s = 0, shared = row;
    for (int met = 0; met < 2; s++)
        met += (int)(span_rows(l, s, row) & 1);
    s--;
    for (int64_t other = 0; other < s; other++) {
        const int64_t first = span_inside(l, other) ? span_shared(l, s, other) : INT64_MAX;
        shared = first < shared ? first : shared;
    }
    k_wrong(l.watch, TN_SHARED_ROW, s, shared, 0, 0);
}

/* Which rows from `first` on are in no span, found by a warp together. */
static __device__ inline uint32_t span_rest(const span_list &l, int64_t first)
{
    const int lane = (int)threadIdx.x % SPAN_ROWS;
    uint32_t met = 0, shared = 0;
    for (int64_t s = lane; s < l.n; s += SPAN_ROWS) {
        const uint32_t rows = span_rows(l, s, first);
        shared |= met & rows;
        met |= rows;
    }
    for (int m = 1; m < SPAN_ROWS; m *= 2) {
        const uint32_t rows = __shfl_xor_sync(0xffffffff, met, m);
        shared |= __shfl_xor_sync(0xffffffff, shared, m) | (met & rows);
        met |= rows;
    }
    if (l.apart && shared && lane == 0) {
        int64_t row = first;
        for (; !(shared & 1); shared >>= 1)
            row++;
        span_tell_shared(l, row);
    }
    return span_bits(l.rows - first) & ~met;
}

#endif
