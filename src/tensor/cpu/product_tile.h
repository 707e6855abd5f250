/*
 * What product.c is made of: panels, which hold a few rows of a factor side by side, and the tile of the
 * product that two panels meet in.
 *
 * Whatever the panel is made from and whichever function fills the tile, each of its elements is one sum in
 * the order of the terms, so that no bit tells how it was made. How a product is cut into panels: product.c.
 */
#ifndef TN_CPU_PRODUCT_TILE_H
#define TN_CPU_PRODUCT_TILE_H

#include <string.h>
#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#include "vec.h"

enum {
    NR = 2 * TN_VEC,
    MR = TN_VEC == 16 ? 12 : TN_VEC == 8 ? 6 : 4, /* sums, two vectors and a factor: nearly all registers */
    FEW = TN_VEC == 4 ? 4 : 5,                    /* rows for which w is not worth packing */
};

/* sum + a * b.  Said in so many words: a compiler that may fuse the two need not do it in every tile alike, and the
 * bits would tell. */
TN_INLINE vf add_product(vf sum, vf a, vf b)
{
#if TN_VEC == 16 && defined(__AVX512F__)
    return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)sum);
#elif TN_VEC == 8 && defined(__FMA__)
    return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)sum);
#elif TN_VEC == 4 && defined(__ARM_NEON) && defined(__ARM_FEATURE_FMA)
    return (vf)vfmaq_f32((float32x4_t)sum, (float32x4_t)a, (float32x4_t)b);
#else
    return sum + a * b;
#endif
}

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* ---- packing ---- */

typedef float four __attribute__((vector_size(16)));
typedef float four_unaligned __attribute__((vector_size(16), aligned(4), may_alias));

TN_INLINE four load_four(const float *p) { return *(const four_unaligned *)p; }
TN_INLINE void store_four(float *p, four v) { *(four_unaligned *)p = v; }

/* Four terms of each of four rows become four rows of each of four terms; where vectors are longer, four rows
 * further on lie in the next four lanes, and so on.  LANES says which lanes of two vectors are wanted. */
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#define EVEN(i, n) i, n + i, i + 1, n + i + 1
#define ODD(i, n) i + 2, n + i + 2, i + 3, n + i + 3
#define FIRST(i, n) i, i + 1, n + i, n + i + 1
#define SECOND(i, n) i + 2, i + 3, n + i + 2, n + i + 3
#define LANES_4(of) of(0, 4)
#define LANES_8(of) of(0, 8), of(4, 8)
#define LANES_16(of) of(0, 16), of(4, 16), of(8, 16), of(12, 16)
#define TURN(lanes, type, a, b, c, d, v)                                                             \
    do {                                                                                             \
        const type ab0 = SHUFFLE(a, b, lanes(EVEN)), ab1 = SHUFFLE(a, b, lanes(ODD));                \
        const type cd0 = SHUFFLE(c, d, lanes(EVEN)), cd1 = SHUFFLE(c, d, lanes(ODD));                \
        v[0] = SHUFFLE(ab0, cd0, lanes(FIRST));                                                      \
        v[1] = SHUFFLE(ab0, cd0, lanes(SECOND));                                                     \
        v[2] = SHUFFLE(ab1, cd1, lanes(FIRST));                                                      \
        v[3] = SHUFFLE(ab1, cd1, lanes(SECOND));                                                     \
    } while (0)

#define JOIN_8(p, step) SHUFFLE(load_four(p), load_four((p) + 4 * (step)), 0, 1, 2, 3, 4, 5, 6, 7)
#if TN_VEC == 16
#define LANES LANES_16
#define JOIN(p, step)                                                                                \
    SHUFFLE(JOIN_8(p, step), JOIN_8((p) + 8 * (step), step), 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
#define UP_TO_FEW(X) X(1) X(2) X(3) X(4) X(5)
#define UP_TO_MR(X) UP_TO_FEW(X) X(6) X(7) X(8) X(9) X(10) X(11) X(12)
#elif TN_VEC == 8
#define LANES LANES_8
#define JOIN JOIN_8
#define UP_TO_FEW(X) X(1) X(2) X(3) X(4) X(5)
#define UP_TO_MR(X) UP_TO_FEW(X) X(6)
#else
#define LANES LANES_4
#define JOIN(p, step) load_four(p)
#define UP_TO_FEW(X) X(1) X(2) X(3) X(4)
#define UP_TO_MR UP_TO_FEW
#endif

/* Four terms of TN_VEC rows, `step` apart: a vector for each term. */
TN_INLINE void turn(const float *from, int64_t step, vf v[4])
{
    const vf a = JOIN(from, step), b = JOIN(from + step, step);
    const vf c = JOIN(from + 2 * step, step), d = JOIN(from + 3 * step, step);
    TURN(LANES, vf, a, b, c, d, v);
}

TN_INLINE void pack_vector(int width, int64_t terms, const float *from, int64_t step, float *to)
{
    int64_t k = 0;
    for (; k + 4 <= terms; k += 4, to += 4 * width) {
        vf v[4];
        turn(from + k, step, v);
        TN_UNROLL for (int i = 0; i < 4; i++)
            tn__store(to + i * width, v[i]);
    }
    for (; k < terms; k++, to += width)
        for (int i = 0; i < TN_VEC; i++)
            to[i] = from[i * step + k];
}

TN_INLINE void pack_four(int width, int64_t terms, const float *from, int64_t step, float *to)
{
    int64_t k = 0;
    for (; k + 4 <= terms; k += 4, to += 4 * width) {
        four v[4];
        const four a = load_four(from + k), b = load_four(from + step + k);
        const four c = load_four(from + 2 * step + k), d = load_four(from + 3 * step + k);
        TURN(LANES_4, four, a, b, c, d, v);
        TN_UNROLL for (int i = 0; i < 4; i++)
            store_four(to + i * width, v[i]);
    }
    for (; k < terms; k++, to += width)
        for (int i = 0; i < 4; i++)
            to[i] = from[i * step + k];
}

/* A panel of rows that lie `step` apart.  Where there are fewer than `width`, the others are 0; where their number is
 * no multiple of four, the last four overlap those before. */
TN_INLINE void pack(int width, int64_t rows, int64_t terms, const float *from, int64_t step, float *to)
{
    if (rows == width && width % TN_VEC == 0) {
        for (int i = 0; i < width; i += TN_VEC)
            pack_vector(width, terms, from + i * step, step, to + i);
        return;
    }
    for (int64_t k = 0; k < terms && (rows < width || rows < 4); k++)
        for (int64_t i = rows < 4 ? 0 : rows; i < width; i++)
            to[k * width + i] = i < rows ? from[i * step + k] : 0;
    for (int64_t i = 0; i < rows && rows >= 4; i += 4) {
        const int64_t at = least(i, rows - 4);
        pack_four(width, terms, from + at * step, step, to + at);
    }
}

/* ---- the tile ---- */

typedef struct tile {
    const float *x;    /* a panel */
    const float *w;    /* a panel; direct: rows `w_step` apart */
    int64_t w_step, terms;
    const float *from; /* what the sums are added to */
    int64_t from_step; /* from one row to the next: 0 for a bias */
    float *y;
    int64_t step;
} tile;

TN_INLINE void put_down(int rows, const tile *t, vf sum[][2])
{
    const float *from = t->from;
    float *y = t->y;
    const int64_t from_step = t->from_step, step = t->step;
    TN_UNROLL for (int i = 0; i < rows; i++) {
        const vf y0 = tn__load(from + i * from_step) + sum[i][0];
        const vf y1 = tn__load(from + i * from_step + TN_VEC) + sum[i][1];
        tn__store(y + i * step, y0);
        tn__store(y + i * step + TN_VEC, y1);
    }
}

TN_INLINE void multiply(int rows, const tile *t)
{
    vf sum[MR][2];
    const float *x = t->x, *w = t->w;
    TN_UNROLL for (int i = 0; i < rows; i++)
        sum[i][0] = sum[i][1] = (vf){0};
    for (int64_t k = t->terms; k > 0; k--, x += MR, w += NR) {
        const vf w0 = tn__load(w), w1 = tn__load(w + TN_VEC);
        TN_UNROLL for (int i = 0; i < rows; i++) {
            const vf s = tn__splat(x[i]);
            sum[i][0] = add_product(sum[i][0], s, w0);
            sum[i][1] = add_product(sum[i][1], s, w1);
        }
    }
    put_down(rows, t, sum);
}

/* The same from w as it lies: packing pays only when many rows meet the panel. */
TN_INLINE void multiply_direct(int rows, const tile *t)
{
    vf sum[FEW][2];
    const float *x = t->x, *w = t->w;
    int64_t k = 0;
    TN_UNROLL for (int i = 0; i < rows; i++)
        sum[i][0] = sum[i][1] = (vf){0};
    for (; k + 4 <= t->terms; k += 4, x += 4 * MR)
        TN_UNROLL for (int half = 0; half < 2; half++) {
            vf v[4];
            turn(w + half * TN_VEC * t->w_step + k, t->w_step, v);
            TN_UNROLL for (int j = 0; j < 4; j++)
                TN_UNROLL for (int i = 0; i < rows; i++)
                    sum[i][half] = add_product(sum[i][half], tn__splat(x[j * MR + i]), v[j]);
        }
    for (; k < t->terms; k++, x += MR)
        TN_UNROLL for (int half = 0; half < 2; half++) {
            vf v = {0};
            for (int i = 0; i < TN_VEC; i++)
                v[i] = w[(half * TN_VEC + i) * t->w_step + k];
            TN_UNROLL for (int i = 0; i < rows; i++)
                sum[i][half] = add_product(sum[i][half], tn__splat(x[i]), v);
        }
    put_down(rows, t, sum);
}

typedef void tile_function(const tile *t);
#define FUNCTION(n) static void multiply_##n(const tile *t) { multiply(n, t); }
UP_TO_MR(FUNCTION)
#define NAME(n) multiply_##n,
static tile_function *const multiply_rows[MR] = {UP_TO_MR(NAME)};

#define DIRECT(n) static void direct_##n(const tile *t) { multiply_direct(n, t); }
UP_TO_FEW(DIRECT)
#define DIRECT_NAME(n) direct_##n,
static tile_function *const direct_rows[FEW] = {UP_TO_FEW(DIRECT_NAME)};

/* A tile of fewer than NR columns goes through a whole one. */
static inline void multiply_narrow(int64_t rows, int64_t columns, const tile *t)
{
    float whole[MR * NR] = {0};
    tile bounce = *t;
    bounce.from = bounce.y = whole;
    bounce.from_step = bounce.step = NR;
    for (int64_t i = 0; i < rows; i++)
        memcpy(whole + i * NR, t->from + i * t->from_step, (size_t)columns * sizeof *whole);
    multiply_rows[rows - 1](&bounce);
    for (int64_t i = 0; i < rows; i++)
        memcpy(t->y + i * t->step, whole + i * NR, (size_t)columns * sizeof *whole);
}

#endif
