/* The way of an elementwise op over its operands: all broadcast to the output's shape, dims
 * joined where every operand allows it.  For the CPU's loops (loop.c) and for CUDA kernels, which
 * take it by value; so this is C and C++, and calls nothing. */
#ifndef TN_WALK_H
#define TN_WALK_H

#include "tenon/tensor.h"

enum { TN_LOOP_MAX = 6 }; /* operands, the output among them */

typedef struct tn__walk {
    int n, ndim;                              /* operands: 0 is the output; dims, at least one */
    int64_t total;                            /* elements; the rest is unset when it is 0 */
    int64_t shape[TN_MAX_DIMS];
    int64_t stride[TN_LOOP_MAX][TN_MAX_DIMS]; /* in elements; 0: stretched */
} tn__walk;

static inline void tn__walk_operand(tn__walk *w, const tn_tensor *t, const tn_tensor *out)
{
    const int extra = out->ndim - t->ndim;
    for (int i = 0; i < out->ndim; i++)
        w->stride[w->n][i] = i < extra || t->shape[i - extra] == 1 ? 0 : t->stride[i - extra];
    w->n++;
}

/* Whether dims `outer` and `inner` are one run in every operand. */
static inline bool tn__walk_joins(const tn__walk *w, int outer, int inner)
{
    for (int k = 0; k < w->n; k++)
        if (w->stride[k][outer] != w->stride[k][inner] * w->shape[inner])
            return false;
    return true;
}

/* Leaves out dims of one element, joins neighbours. */
static inline void tn__walk_collapse(tn__walk *w)
{
    int last = -1;
    for (int i = 0; i < w->ndim; i++) {
        if (w->shape[i] == 1)
            continue;
        if (last >= 0 && tn__walk_joins(w, last, i))
            w->shape[last] *= w->shape[i];
        else
            w->shape[++last] = w->shape[i];
        for (int k = 0; k < w->n; k++)
            w->stride[k][last] = w->stride[k][i];
    }
    w->ndim = last + 1;
    if (w->ndim)
        return;
    w->ndim = 1;
    w->shape[0] = 1;
    for (int k = 0; k < w->n; k++)
        w->stride[k][0] = 0;
}

/* out is contiguous; the n < TN_LOOP_MAX operands are broadcast to its shape. */
static inline tn__walk tn__walk_over(const tn_tensor *out, int n, const tn_tensor *const *operands)
{
    tn__walk w = {0, 0, 1, {0}, {{0}}};
    w.ndim = out->ndim;
    for (int i = 0; i < out->ndim; i++)
        w.total *= w.shape[i] = out->shape[i];
    if (!w.total)
        return w;
    tn__walk_operand(&w, out, out);
    for (int k = 0; k < n; k++)
        tn__walk_operand(&w, operands[k], out);
    tn__walk_collapse(&w);
    return w;
}

#endif
