/* Products of small matrices inside a task, when calling a library would cost more than the work.  Rows are whole
 * vectors.  Each element is summed in an order that depends on the length of its sum alone, not on what is
 * computed beside it: a row by itself has the bits it has among others.  Used by attention.c. */
#ifndef TN_CPU_PRODUCTS_H
#define TN_CPU_PRODUCTS_H

#include "vec.h"

/* Register tiles: DOT_ROWS by DOT_COLS sums of dots(), MIX_ROWS rows of mix(). */
enum { DOT_ROWS = 3, DOT_COLS = 4, MIX_ROWS = 6 };

typedef float v4 __attribute__((vector_size(16)));
typedef float v4_unaligned __attribute__((vector_size(16), aligned(4), may_alias));

/* The sum of its quarters (of halves first, on the widest). */
TN_INLINE v4 quarter(vf v)
{
#if TN_VEC == 16
    typedef float v8 __attribute__((vector_size(32)));
    const v8 h = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
                 __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
    return __builtin_shufflevector(h, h, 0, 1, 2, 3) + __builtin_shufflevector(h, h, 4, 5, 6, 7);
#elif TN_VEC == 8
    return __builtin_shufflevector(v, v, 0, 1, 2, 3) + __builtin_shufflevector(v, v, 4, 5, 6, 7);
#else
    return v;
#endif
}

/* The sums of four vectors. */
TN_INLINE v4 sums(const vf v[4])
{
    const v4 a = quarter(v[0]), b = quarter(v[1]), c = quarter(v[2]), d = quarter(v[3]);
    const v4 ab = __builtin_shufflevector(a, b, 0, 4, 1, 5) + __builtin_shufflevector(a, b, 2, 6, 3, 7);
    const v4 cd = __builtin_shufflevector(c, d, 0, 4, 1, 5) + __builtin_shufflevector(c, d, 2, 6, 3, 7);
    return __builtin_shufflevector(ab, cd, 0, 1, 4, 5) + __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
}

TN_INLINE void dots_tile(const int rows, const float *a, int64_t lda, const float *const b[DOT_COLS], int64_t n,
                         float *c, int64_t ldc)
{
    vf sum[DOT_ROWS][DOT_COLS] = {{{0}}};
    for (int64_t d = 0; d < n; d += TN_VEC) {
        vf x[DOT_COLS];
        TN_UNROLL for (int k = 0; k < DOT_COLS; k++)
            x[k] = tn__load(b[k] + d);
        TN_UNROLL for (int r = 0; r < rows; r++) {
            const vf y = tn__load(a + r * lda + d);
            TN_UNROLL for (int k = 0; k < DOT_COLS; k++)
                sum[r][k] += y * x[k];
        }
    }
    TN_UNROLL for (int r = 0; r < rows; r++)
        *(v4_unaligned *)(c + r * ldc) = sums(sum[r]);
}

/* c[r][k] = the sum over d < n of a[r][d] b[k][d]: of `rows` <= DOT_ROWS rows of a and `cols` of b.  Rows of c are
 * written up to the next multiple of DOT_COLS. */
static void dots(int rows, const float *a, int64_t lda, int64_t cols, const float *b, int64_t ldb, int64_t n, float *c,
                 int64_t ldc)
{
    for (int64_t k = 0; k < cols; k += DOT_COLS) {
        const float *at[DOT_COLS];
        for (int i = 0; i < DOT_COLS; i++)
            at[i] = b + (k + i < cols ? k + i : cols - 1) * ldb;
        switch (rows) {
        case 1: dots_tile(1, a, lda, at, n, c + k, ldc); break;
        case 2: dots_tile(2, a, lda, at, n, c + k, ldc); break;
        default: dots_tile(3, a, lda, at, n, c + k, ldc); break;
        }
    }
}

TN_INLINE void mix_tile(const int rows, const int vecs, const float *w, int64_t w_row, int64_t w_step, int64_t steps,
                        const float *b, int64_t ldb, float *c, int64_t ldc)
{
    vf sum[MIX_ROWS][8];
    TN_UNROLL for (int r = 0; r < rows; r++)
        TN_UNROLL for (int v = 0; v < vecs; v++)
            sum[r][v] = tn__load(c + r * ldc + v * TN_VEC);
    for (int64_t s = 0; s < steps; s++, w += w_step, b += ldb) {
        vf x[8];
        TN_UNROLL for (int v = 0; v < vecs; v++)
            x[v] = tn__load(b + v * TN_VEC);
        TN_UNROLL for (int r = 0; r < rows; r++) {
            const vf p = tn__splat(w[r * w_row]);
            TN_UNROLL for (int v = 0; v < vecs; v++)
                sum[r][v] += p * x[v];
        }
    }
    TN_UNROLL for (int r = 0; r < rows; r++)
        TN_UNROLL for (int v = 0; v < vecs; v++)
            tn__store(c + r * ldc + v * TN_VEC, sum[r][v]);
}

/* c[r][d] += the sum over s < steps of w[r w_row + s w_step] b[s][d]: of `rows` <= MIX_ROWS rows of n columns. */
static void mix(int rows, const float *w, int64_t w_row, int64_t w_step, int64_t steps, const float *b, int64_t ldb,
                int64_t n, float *c, int64_t ldc)
{
    static const int wide[MIX_ROWS + 1] = {0, 8, 4, 4, 2, 2, 2}; /* enough sums at a time to hide a sum's delay */
    for (int64_t d = 0; d < n;) {
        int vecs = wide[rows];
        while (vecs * TN_VEC > n - d)
            vecs /= 2;
#define TILE(r, v) case 16 * (r) + (v): mix_tile(r, v, w, w_row, w_step, steps, b + d, ldb, c + d, ldc); break;
        switch (16 * rows + vecs) {
        TILE(1, 8) TILE(1, 4) TILE(1, 2) TILE(1, 1)
        TILE(2, 4) TILE(2, 2) TILE(2, 1)
        TILE(3, 4) TILE(3, 2) TILE(3, 1)
        TILE(4, 2) TILE(4, 1) TILE(5, 2) TILE(5, 1) TILE(6, 2) TILE(6, 1)
        }
#undef TILE
        d += vecs * TN_VEC;
    }
}

#endif
