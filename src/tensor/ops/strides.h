/* Where elements of strided tensors lie: the little arithmetic that kernels of products, reductions and
 * copies share. */
#ifndef TN_OPS_STRIDES_H
#define TN_OPS_STRIDES_H

#include "attrs.h"
#include "internal.h"

/* Offset of element i, counted in row-major order, of an array of these dims. */
static inline int64_t tn__offset(int ndim, const int64_t *shape, const int64_t *stride, int64_t i)
{
    int64_t at = 0;
    for (int d = ndim; d-- > 0; i /= shape[d])
        at += i % shape[d] * stride[d];
    return at;
}

/* Elements before, along and after one axis of a contiguous tensor: x[outer][size][inner]. */
typedef struct tn__split { int64_t outer, size, inner; } tn__split;
static inline tn__split tn__split_at(const tn_tensor *t, int axis)
{
    tn__split s = {1, t->shape[axis], 1};
    for (int d = 0; d < axis; d++)
        s.outer *= t->shape[d];
    for (int d = axis + 1; d < t->ndim; d++)
        s.inner *= t->shape[d];
    return s;
}

/* The last two dims of a tensor as op(t) of a product, and the steps of its leading dims in the product's. */
typedef struct tn__factor {
    int64_t row, col; /* from one row or column of op(t) to the next */
    int64_t batch[TN_MAX_DIMS];
} tn__factor;
static inline tn__factor tn__factor_of(const tn_tensor *t, bool transpose, const tn_tensor *product)
{
    tn__factor f = {t->stride[t->ndim - (transpose ? 1 : 2)], t->stride[t->ndim - (transpose ? 2 : 1)], {0}};
    for (int d = 0; d < product->ndim - 2; d++) {
        const int own = d - (product->ndim - t->ndim);
        f.batch[d] = own < 0 || t->shape[own] == 1 ? 0 : t->stride[own];
    }
    return f;
}

/* A product's sizes: batch products of [m, k] x [k, n]. */
typedef struct tn__product { int64_t batch, m, n, k; } tn__product;
static inline tn__product tn__product_of(const tn_call *c)
{
    const tn__matmul_attr *attr = c->attr;
    const tn_tensor *a = c->in[0], *y = c->out[0];
    tn__product p = {1, y->shape[y->ndim - 2], y->shape[y->ndim - 1], a->shape[a->ndim - (attr->ta ? 2 : 1)]};
    for (int d = 0; d < y->ndim - 2; d++)
        p.batch *= y->shape[d];
    return p;
}

/* How BLAS names a matrix of these steps: row-major as it is or transposed, with a leading dim.  False when
 * neither its rows nor its columns are runs. */
static inline bool tn__blas_layout(int64_t rows, int64_t cols, int64_t row, int64_t col, bool *transposed,
                                   int64_t *ld)
{
    *transposed = !((col == 1 || cols <= 1) && (row >= cols || rows <= 1));
    if (!*transposed)
        *ld = rows <= 1 ? cols : row;
    else
        *ld = cols <= 1 ? rows : col;
    *ld = *ld < 1 ? 1 : *ld;
    return !*transposed || ((row == 1 || rows <= 1) && (col >= rows || cols <= 1));
}

#endif
