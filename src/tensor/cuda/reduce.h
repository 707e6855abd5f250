/* Reductions on CUDA: over the threads of a warp or a block, along the rows of an array, and of any number of terms.
 * The order of every sum follows from the shape alone: neither from the number of blocks nor from where the numbers
 * lie.  What softmax.cu, norm.cu, layer_norm.cu, loss.cu and linear_loss.cu share. */
#ifndef TN_REDUCE_H
#define TN_REDUCE_H

#include <math.h>

#include "convert.h"
#include "kdefs.h"

enum { K_WARP = 32, K_WARPS = K_THREADS / K_WARP };

/* ---- threads ---- */

struct k_sum {
    template <class T> static __device__ T of(T a, T b) { return a + b; }
};
struct k_max { /* a NaN is passed over */
    static __device__ float of(float a, float b) { return fmaxf(a, b); }
};

/* Of W threads that work together, a warp or a whole block of K_THREADS; each gets it.  room: [K_WARPS], shared. */
template <int W, class Op, class T> static __device__ T k_all(T v, T *room)
{
    for (unsigned m = K_WARP / 2; m; m /= 2)
        v = Op::of(v, __shfl_xor_sync(0xffffffff, v, m));
    if constexpr (W > K_WARP) {
        if (threadIdx.x % K_WARP == 0)
            room[threadIdx.x / K_WARP] = v;
        __syncthreads();
        v = room[0];
        for (int i = 1; i < K_WARPS; i++)
            v = Op::of(v, room[i]);
        __syncthreads();
    }
    return v;
}

/* Waits for the others of the W, and sees what they wrote. */
template <int W> static __device__ void k_meet()
{
    if constexpr (W > K_WARP)
        __syncthreads();
    else
        __syncwarp();
}

/* Remainders are cheap where 32 bits are enough. */
static __device__ inline int64_t k_rest(int64_t a, int64_t b)
{
    return (a | b) >> 32 ? a % b : (int64_t)((uint32_t)a % (uint32_t)b);
}

/* Behind the last of n comes the first. */
static __device__ inline int64_t k_next(int64_t i, int64_t n) { return i + 1 == n ? 0 : i + 1; }

/* Of a backward op: output i, or NULL when nobody wants it. */
static inline float *k_wanted(const tn_call *c, unsigned wanted, int i)
{
    return wanted >> i & 1 ? (float *)tn__cuda_data(c->out[i]) : NULL;
}

/* ---- rows ---- */

/* Four neighbours, which a thread takes at once. */
struct alignas(16) k_four {
    float v[4];
};

/* RUN: all fours are whole and aligned.  Else n of them are there, and the others are `fill`. */
template <bool RUN> static __device__ k_four k_load(const float *p, int64_t n, float fill)
{
    k_four f;
    if constexpr (RUN)
        f = *(const k_four *)p;
    else
        for (int e = 0; e < 4; e++)
            f.v[e] = e < n ? p[e] : fill;
    return f;
}

template <bool RUN> static __device__ void k_store(float *p, int64_t n, const k_four &f)
{
    if constexpr (RUN)
        *(k_four *)p = f;
    else
        for (int e = 0; e < 4; e++)
            if (e < n)
                p[e] = f.v[e];
}

/* Stored in bf16, too, in the same place of `half` where that is not NULL. */
template <bool RUN> static __device__ void k_store(float *p, uint16_t *half, int64_t at, int64_t n, const k_four &f)
{
    k_store<RUN>(p + at, n, f);
    for (int e = 0; e < 4 && half; e++)
        if (RUN || e < n)
            half[at + e] = tn__to_bf16(f.v[e]);
}

/* Whether rows of `cols` from these places on are whole, aligned fours; NULL is absent. */
template <class... Place> static inline bool k_fours(int64_t cols, Place... place)
{
    return cols % 4 == 0 && ((uintptr_t)place | ...) % sizeof(k_four) == 0;
}

/* A kernel<RUN> has fours of a whole array. */
#define K_EACH_FOUR_OF_ALL(at, n)                                                            \
    for (int64_t at = 4 * ((int64_t)blockIdx.x * K_THREADS + threadIdx.x); at < (n);         \
         at += 4 * K_THREADS * (int64_t)gridDim.x)
#define K_LAUNCH_ALL(kernel, run, n, stream, ...)                                                      \
    ((run) ? K_LAUNCH(kernel<true>, k_blocks(n, 4 * K_THREADS), K_THREADS, stream, __VA_ARGS__)        \
           : K_LAUNCH(kernel<false>, k_blocks(n, 4 * K_THREADS), K_THREADS, stream, __VA_ARGS__))

/* A kernel<W, RUN> works on rows with W threads each, of which this thread is one; of a row it takes fours. */
#define K_EACH_ROW(row, rows)                                                              \
    for (int64_t row = (int64_t)blockIdx.x * (K_THREADS / W) + threadIdx.x / W; row < (rows); \
         row += (int64_t)gridDim.x * (K_THREADS / W))
#define K_EACH_FOUR(j, cols) for (int64_t j = 4 * (int64_t)(threadIdx.x % W); j < (cols); j += 4 * W)

/* A warp has a short row, a block a long one. */
enum { K_SHORT = 512 };
#define K_ROWS_BY(kernel, w, run, rows, stream, ...)                                                                  \
    ((run) ? K_LAUNCH((kernel<w, true>), k_blocks(rows, K_THREADS / w), K_THREADS, stream, __VA_ARGS__)               \
           : K_LAUNCH((kernel<w, false>), k_blocks(rows, K_THREADS / w), K_THREADS, stream, __VA_ARGS__))
#define K_LAUNCH_ROWS(kernel, run, rows, cols, stream, ...)                                                           \
    ((cols) <= K_SHORT ? K_ROWS_BY(kernel, K_WARP, run, rows, stream, __VA_ARGS__)                                    \
                       : K_ROWS_BY(kernel, K_THREADS, run, rows, stream, __VA_ARGS__))

template <int W, bool RUN> static __device__ float k_row_max(const float *x, int64_t cols, float *room)
{
    float most = -INFINITY;
    K_EACH_FOUR(j, cols) {
        const k_four v = k_load<RUN>(x + j, cols - j, -INFINITY);
        for (int e = 0; e < 4; e++)
            most = fmaxf(most, v.v[e]);
    }
    return k_all<W, k_max>(most, room);
}

/* The sum of exp(x - shift). */
template <int W, bool RUN> static __device__ float k_row_exp_sum(const float *x, int64_t cols, float shift, float *room)
{
    float sum = 0;
    K_EACH_FOUR(j, cols) {
        const k_four v = k_load<RUN>(x + j, cols - j, -INFINITY);
        for (int e = 0; e < 4; e++)
            sum += expf(v.v[e] - shift);
    }
    return k_all<W, k_sum>(sum, room);
}

/* ---- parts of sums, each made by a block ---- */

enum { K_GROUP = 32 };

/* Whether this block is the last of `count` that come to a counter; it sees what the others wrote before they came. */
static __device__ inline bool k_last_of(unsigned *counter, unsigned count)
{
    bool last = false;
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        last = atomicInc(counter, count - 1) == count - 1; /* which makes it 0 again */
        __threadfence();
    }
    return __syncthreads_or(last);
}

/* Of a block that has left part `part` of `parts`: whether it has made all of them one.  merge(first, step, count): the
 * block merges parts first, first + step, .. into the first of them.  Groups of K_GROUP are merged by the last block of
 * each to come, then groups of these, so the order follows from the number of parts.  counters: as many as parts */
template <class Merge>
static __device__ bool k_whole(unsigned *counters, unsigned part, unsigned parts, const Merge &merge)
{
    for (unsigned step = 1; step < parts; step *= K_GROUP) {
        const unsigned first = part - part % (step * K_GROUP), there = (parts - first + step - 1) / step;
        const unsigned count = there < K_GROUP ? there : (unsigned)K_GROUP;
        if (!k_last_of(counters++ + first, count))
            return false;
        merge(first, step, count);
        part = first;
    }
    return true;
}

/* n elements in parts of `length`, the last of them shorter. */
struct k_cut {
    int64_t length;
    unsigned parts;
};

static inline k_cut k_cut_of(int64_t n, int64_t wanted)
{
    const int64_t most = wanted < TN_CUDA_COUNTERS ? wanted : (int64_t)TN_CUDA_COUNTERS;
    if (most <= 1)
        return {n, 1};
    const int64_t length = (n + most - 1) / most;
    return {length, (unsigned)((n + length - 1) / length)};
}

/* ---- any number of terms ---- */

/* Where two sums go, each times `factor` and, where it is there, times *share, which a kernel before has left. */
struct k_total {
    float *y[2]; /* NULL: not wanted */
    double factor;
    const double *share;

    __device__ void write(const double *sum) const
    {
        for (int k = 0; k < 2; k++)
            if (y[k])
                *y[k] = (float)(sum[k] * factor * (share ? *share : 1));
    }
};

enum { K_PART = 16 * K_THREADS }; /* terms that a block adds up, or more where these would be too many parts */

/* Term: void add(int64_t i, double sum[2]) const adds what element i gives to both sums. */
template <class Term>
static __global__ void k_add_terms(const Term term, int64_t n, const k_cut cut, double *part, unsigned *counters,
                                   const k_total to)
{
    K_SHARED(double, room, K_WARPS);
    for (unsigned p = blockIdx.x; p < cut.parts; p += gridDim.x) {
        const int64_t end = (p + 1) * cut.length < n ? (p + 1) * cut.length : n;
        double sum[2] = {0, 0};
        for (int64_t i = p * cut.length + threadIdx.x; i < end; i += K_THREADS)
            term.add(i, sum);
        const auto leave = [&](unsigned at) { /* what the threads have becomes one */
            for (int k = 0; k < 2; k++) {
                sum[k] = k_all<K_THREADS, k_sum>(sum[k], room);
                if (threadIdx.x == 0 && part)
                    part[2 * at + k] = sum[k];
            }
        };
        leave(p);
        const bool whole = k_whole(counters, p, cut.parts, [&](unsigned first, unsigned step, unsigned count) {
            for (int k = 0; k < 2; k++)
                sum[k] = threadIdx.x < count ? part[2 * (first + threadIdx.x * step) + k] : 0;
            leave(first);
        });
        if (whole && threadIdx.x == 0)
            to.write(sum);
    }
}

/* The sums over elements 0..n-1. */
template <class Term> static int k_add_up(const Term &term, int64_t n, const k_total &to, tn__cuda_work *w)
{
    const k_cut cut = k_cut_of(n, n / K_PART);
    double *part = NULL;
    if (cut.parts > 1) {
        part = (double *)tn__cuda_scratch(w, 2 * cut.parts * sizeof *part);
        if (!part)
            return TN_CUDA_NO_MEMORY;
    }
    return K_LAUNCH((k_add_terms<Term>), k_blocks(cut.parts, 1), K_THREADS, w->stream, term, n, cut, part, w->counters,
                    to);
}

#endif
