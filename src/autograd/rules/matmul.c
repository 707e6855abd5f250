/* Gradients of matrix products, by products of the same kind: nothing is transposed in memory. */
#include "rules.h"

static tn_tensor *product(tn_tensor *a, bool ta, tn_tensor *b, bool tb)
{
    return tn_matmul(a, b, .transpose_a = ta, .transpose_b = tb);
}

bool tn__rule_matmul(tn_back *b)
{
    const tn__matmul_attr *t = b->attr;
    tn_tensor *x = b->in[0], *z = b->in[1];
    if (b->needs[0])
        b->d[0] = t->ta ? product(z, t->tb, b->g, true) : product(b->g, false, z, !t->tb);
    if (b->needs[1])
        b->d[1] = t->tb ? product(b->g, true, x, t->ta) : product(x, !t->ta, b->g, false);
    return (!b->needs[0] || b->d[0]) && (!b->needs[1] || b->d[1]);
}

/* All rows of the last dim under each other. */
static tn_tensor *rows(tn_tensor *t)
{
    const int64_t cols = t->shape[t->ndim - 1];
    int64_t n = 1;
    for (int i = 0; i < t->ndim - 1; i++)
        n *= t->shape[i];
    return tn_reshape(t, TN_SHAPE(n, cols));
}

/* b->d[i], or added to what is there. */
static bool give(tn_back *b, int i, tn_tensor *x, bool tx, tn_tensor *z)
{
    const tn_tensor *like = b->in[i];
    if (tn__added_in_kernels(b->onto[i]))
        return tn__matmul_onto(rows(b->onto[i]), x, tx, z, false);
    return (b->d[i] = tn_reshape(product(x, tx, z, false), like->ndim, like->shape)) != NULL;
}

bool tn__rule_affine(tn_back *b)
{
    tn_tensor *x = b->in[0], *w = b->in[1];
    b->d[2] = b->g;
    return (!b->needs[0] || give(b, 0, rows(b->g), false, w)) &&
           (!b->needs[1] || give(b, 1, rows(b->g), true, rows(x)));
}
