/* Spans of sequences, pairs of first row and number of rows, as kernels look at them: what is wrong with one is told,
 * and whoever works on it leaves it out.  The same on the CPU: tn__spans_ok() in ../ops/sequence.c. */
#ifndef TN_CUDA_SPANS_H
#define TN_CUDA_SPANS_H

#include "kdefs.h"

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

/* The first row that two spans share; INT64_MAX: they share none. */
static __device__ inline int64_t span_shared(const span_list &l, int64_t s, int64_t other)
{
    const int64_t a = l.at[2 * s], b = l.at[2 * other];
    const int64_t end_a = a + l.at[2 * s + 1], end_b = b + l.at[2 * other + 1];
    const int64_t first = a > b ? a : b;
    return first < (end_a < end_b ? end_a : end_b) ? first : INT64_MAX;
}

/* Whether span s is sound, found by all threads of a block of K_THREADS together, to whom `room` [K_THREADS] of shared
 * memory belongs. */
static __device__ inline bool span_sound(const span_list &l, int64_t s, int64_t *room)
{
    const int t = (int)threadIdx.x;
    if (!span_inside(l, s)) {
        if (t == 0)
            k_wrong(l.watch, TN_BAD_SPAN, s, l.at[2 * s], l.at[2 * s + 1], l.rows - 1);
        return false;
    }
    if (!l.apart)
        return true;
    int64_t shared = INT64_MAX;
    for (int64_t other = t; other < s; other += K_THREADS) {
        const int64_t row = span_inside(l, other) ? span_shared(l, s, other) : INT64_MAX;
        shared = row < shared ? row : shared;
    }
    __syncthreads();
    room[t] = shared;
    __syncthreads();
    for (int i = 0; i < K_THREADS; i++)
        shared = room[i] < shared ? room[i] : shared;
    if (shared < INT64_MAX && t == 0)
        k_wrong(l.watch, TN_SHARED_ROW, s, shared, 0, 0);
    return shared == INT64_MAX;
}

#endif
