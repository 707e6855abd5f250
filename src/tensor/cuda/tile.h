/* The product of two matrices in f32, tile by tile, on CUDA: what gemm.cu and conv.cu share.  Every element is one
 * chain of fused multiply-adds in the order of its terms, or such a chain for each part of them, added in order; so
 * its bits depend neither on the tile that it lies in nor on the rows beside it.
 *
 * A factor is a source: it says where the element of a row (of the right factor: of a column) and a term is, and
 * whether neighbouring terms are neighbours in memory, or else neighbouring rows:
 *
 *     struct source {
 *         static const bool terms_run;
 *         typedef ... row, term;
 *         __device__ void begin(int64_t batch);
 *         __device__ row row_at(int64_t r) const;    what is worked out once for a row, also of one that is not there
 *         __device__ term term_at(int64_t k) const;
 *         __device__ float value(const row &r, const term &k) const;       0 where there is nothing
 *     }; */
#ifndef TN_TILE_H
#define TN_TILE_H

#include "kdefs.h"

enum {
    TILE_SIDE = 16,                                /* threads along each side of a tile */
    TILE_THREADS = TILE_SIDE * TILE_SIDE,
    TILE_SLAB = 8,                                 /* terms that are in shared memory at a time, twice */
    TILE_UNIT = 4 * TILE_SIDE,                     /* a tile has F times so many rows and columns */
};

struct alignas(16) tile_four {
    float v[4];
};

/* Where the product goes. */
struct tile_sink {
    float *c;
    const float *bias;                             /* of each column; NULL: none */
    int64_t row, batch, part;                      /* steps; columns run */
    int add;                                       /* to what is there */
    int64_t bias_batch;
};

struct tile_extent {
    int64_t batch, m, n, k;
    int64_t parts, length;                         /* of the terms; each part goes to a place of its own */
};

/* One thread's share of a slab of a factor, on its way to shared memory. */
template <int F, class Source> struct tile_stage {
    static const int EACH = 2 * F;
    typename Source::row row[Source::terms_run ? EACH : 1];
    float v[EACH];

    static __device__ int row_of(int i)
    {
        const int t = (int)threadIdx.x;
        return Source::terms_run ? t / TILE_SLAB + TILE_THREADS / TILE_SLAB * i : t % (TILE_UNIT * F);
    }
    static __device__ int term_of(int i)
    {
        const int t = (int)threadIdx.x;
        return Source::terms_run ? t % TILE_SLAB : t / (TILE_UNIT * F) + TILE_THREADS / (TILE_UNIT * F) * i;
    }
    __device__ void begin(const Source &s, int64_t first)
    {
        for (int i = 0; i < (Source::terms_run ? EACH : 1); i++)
            row[i] = s.row_at(first + row_of(i));
    }
    __device__ void load(const Source &s, int64_t k, int64_t end)
    {
        typename Source::term term[Source::terms_run ? 1 : EACH];
        for (int i = 0; i < (Source::terms_run ? 1 : EACH); i++)
            term[i] = s.term_at(k + term_of(i));
        for (int i = 0; i < EACH; i++)
            v[i] = k + term_of(i) < end ? s.value(row[Source::terms_run ? i : 0], term[Source::terms_run ? 0 : i]) : 0;
    }
    __device__ void store(float *shared) const
    {
        for (int i = 0; i < EACH; i++)
            shared[term_of(i) * (TILE_UNIT * F + 4) + row_of(i)] = v[i];
    }
};

/* sum[i][j] += a[i] b[j] over the terms of a slab; rows 4 y.. of each unit of the tile, columns 4 x.. */
template <int F>
static __device__ void tile_multiply(const tile_four *a, const tile_four *b, float (&sum)[4 * F][4 * F])
{
    const int x = (int)threadIdx.x % TILE_SIDE, y = (int)threadIdx.x / TILE_SIDE;
    K_UNROLL for (int k = 0; k < TILE_SLAB; k++) {
        tile_four u[F], v[F];
        for (int f = 0; f < F; f++) {
            u[f] = a[k * (TILE_SIDE * F + 1) + f * TILE_SIDE + y];
            v[f] = b[k * (TILE_SIDE * F + 1) + f * TILE_SIDE + x];
        }
        for (int i = 0; i < 4 * F; i++)
            for (int j = 0; j < 4 * F; j++)
                sum[i][j] = fmaf(u[i / 4].v[i % 4], v[j / 4].v[j % 4], sum[i][j]);
    }
}

template <int F>
static __device__ void tile_write(const tile_sink &to, int64_t batch, int64_t part, const tile_extent &e, int64_t row,
                                  int64_t column, const float (&sum)[4 * F][4 * F])
{
    float *c = to.c + batch * to.batch + part * to.part;
    const float *bias = to.bias ? to.bias + batch * to.bias_batch : NULL;
    const int x = (int)threadIdx.x % TILE_SIDE, y = (int)threadIdx.x / TILE_SIDE;
    for (int i = 0; i < 4 * F; i++) {
        const int64_t r = row + TILE_UNIT * (i / 4) + 4 * y + i % 4;
        for (int j = 0; r < e.m && j < 4 * F; j++) {
            const int64_t at = column + TILE_UNIT * (j / 4) + 4 * x + j % 4;
            if (at >= e.n)
                continue;
            const float v = bias ? sum[i][j] + bias[at] : sum[i][j];
            c[r * to.row + at] = to.add ? c[r * to.row + at] + v : v;
        }
    }
}

/* Rows of tiles come first, so that blocks that run together share columns of the right factor. */
template <int F, class A, class B>
static __global__ void __launch_bounds__(TILE_THREADS)
    tile_product(const __grid_constant__ A left, const __grid_constant__ B right,
                 const __grid_constant__ tile_sink to, const __grid_constant__ tile_extent e)
{
    enum { FOURS = TILE_SLAB * (TILE_SIDE * F + 1) };
    K_SHARED(tile_four, shared_a, 2 * FOURS);
    K_SHARED(tile_four, shared_b, 2 * FOURS);
    const int64_t down = (e.m + TILE_UNIT * F - 1) / (TILE_UNIT * F);
    const int64_t across = (e.n + TILE_UNIT * F - 1) / (TILE_UNIT * F);
    for (int64_t tile = blockIdx.x; tile < down * across * e.parts * e.batch; tile += gridDim.x) {
        const int64_t row = tile % down * (TILE_UNIT * F), column = tile / down % across * (TILE_UNIT * F);
        const int64_t part = tile / (down * across) % e.parts, batch = tile / (down * across * e.parts);
        const int64_t first = part * e.length, end = first + e.length < e.k ? first + e.length : e.k;
        A a = left;
        B b = right;
        tile_stage<F, A> stage_a;
        tile_stage<F, B> stage_b;
        float sum[4 * F][4 * F] = {};
        a.begin(batch);
        b.begin(batch);
        stage_a.begin(a, row);
        stage_b.begin(b, column);
        stage_a.load(a, first, end);
        stage_b.load(b, first, end);
        int half = 0;
        for (int64_t k = first; k < end; k += TILE_SLAB) {
            stage_a.store((float *)(shared_a + half * FOURS));
            stage_b.store((float *)(shared_b + half * FOURS));
            __syncthreads();
            stage_a.load(a, k + TILE_SLAB, end);
            stage_b.load(b, k + TILE_SLAB, end);
            tile_multiply<F>(shared_a + half * FOURS, shared_b + half * FOURS, sum);
            half = !half;
        }
        tile_write<F>(to, batch, part, e, row, column, sum);
        __syncthreads();
    }
}

/* c = c + the parts in order, or without c. */
static __global__ void tile_add_parts(const float *part, const __grid_constant__ tile_sink to,
                                      const __grid_constant__ tile_extent e)
{
    const int64_t count = e.batch * e.m * e.n, step = (int64_t)gridDim.x * K_THREADS;
    for (int64_t i = (int64_t)blockIdx.x * K_THREADS + threadIdx.x; i < count; i += step) {
        const int64_t column = i % e.n, row = i / e.n % e.m, batch = i / e.n / e.m;
        float *c = to.c + batch * to.batch + row * to.row + column;
        float sum = to.bias ? to.bias[batch * to.bias_batch + column] : 0;
        for (int64_t p = 0; p < e.parts; p++)
            sum += part[p * count + i];
        *c = to.add ? *c + sum : sum;
    }
}

/* How many parts the terms are cut into where whole sums would leave most of the device without work, and the length
 * of each; `parts` is 1 where `split` is false. */
static inline tile_extent tile_cut(int64_t batch, int64_t m, int64_t n, int64_t k, bool split)
{
    enum { BLOCKS = 256, LEAST = 512 };
    const int64_t tiles = batch * ((m + TILE_UNIT - 1) / TILE_UNIT) * ((n + TILE_UNIT - 1) / TILE_UNIT);
    tile_extent e = {batch, m, n, k, 1, k};
    if (!split || tiles == 0 || tiles > BLOCKS / 2 || k < 2 * LEAST)
        return e;
    const int64_t most = (k + LEAST - 1) / LEAST, wanted = BLOCKS / tiles;
    const int64_t parts = most < wanted ? most : wanted;
    e.length = ((k + parts - 1) / parts + TILE_SLAB - 1) / TILE_SLAB * TILE_SLAB;
    e.parts = (k + e.length - 1) / e.length;
    return e;
}

/* Floats of room that the parts need. */
static inline int64_t tile_room(const tile_extent &e) { return e.parts > 1 ? e.parts * e.batch * e.m * e.n : 0; }

/* The product by large tiles where there are enough of them, else by small ones; `room` for the parts. */
template <class A, class B>
static int tile_launch(const A &a, const B &b, const tile_sink &to, const tile_extent &e, float *room, void *stream)
{
    enum { ENOUGH = 128 };
    const int64_t n = e.batch * e.m * e.n, small = TILE_UNIT, large = 2 * TILE_UNIT, each = e.parts * e.batch;
    const int64_t larges = each * ((e.m + large - 1) / large) * ((e.n + large - 1) / large);
    const int64_t smalls = each * ((e.m + small - 1) / small) * ((e.n + small - 1) / small);
    const tile_sink parts = {room, NULL, e.n, e.m * e.n, n, 0, 0}, &first = e.parts > 1 ? parts : to;
    if (!n)
        return 0;
    const int failed =
        larges >= ENOUGH ? K_LAUNCH((tile_product<2, A, B>), k_blocks(larges, 1), TILE_THREADS, stream, a, b, first, e)
                         : K_LAUNCH((tile_product<1, A, B>), k_blocks(smalls, 1), TILE_THREADS, stream, a, b, first, e);
    if (failed || e.parts == 1)
        return failed;
    return K_LAUNCH(tile_add_parts, k_blocks(n, K_THREADS), K_THREADS, stream, (const float *)room, to, e);
}

#endif
