/* Dropout: definition, samples, plain kernel.  An element is kept iff its word of the Philox stream
 * of `key` reaches a threshold, so backward is the same op with the same key on the gradient.
 * Gradient: src/autograd/rules/dropout.c; fast: src/tensor/cpu/dropout.c. */
#include "op.h"
#include "sample.h"

tn_done KERNEL(dropout)(const tn_call *c)
{
    const tn__dropout_attr *a = c->attr;
    const real *x = IN(0);
    real *y = OUT(0);
    const uint32_t threshold = tn__drop_threshold(a->p);
    const real scale = (real)(1 / (1 - a->p));
    for (int64_t i = 0, n = tn_numel(c->in[0]); i < n; i++) {
        const bool keep = a->p < 1 &&
                          tn__philox_at(a->key.seed, a->key.step, (uint64_t)i) >= threshold;
        y[i] = keep ? x[i] * scale : 0;
    }
    return TN_DONE;
}

#if TN_WHOLE

tn_tensor *tn_dropout(tn_tensor *x, double p)
{
    if (!x)
        return NULL;
    if (!(p >= 0 && p <= 1))
        return tn_fail(TN_EARG, "dropout: probability %g is not in 0..1", p);
    const tn__dropout_attr a = {.p = p, .key = tn__rng_next()}; /* counted also when p is 0 */
    return p > 0 ? tn_apply(TN_OP(dropout), &a, sizeof a, 1, &x) : x;
}

bool tn__shape_dropout(tn_call *c)
{
    tn__set_shape(c->out[0], c->in[0]->ndim, c->in[0]->shape);
    return true;
}

MAKE(a_third, tn_dropout(in[0], .3))
MAKE(most, tn_dropout(in[0], .9))
MAKE(all, tn_dropout(in[0], 1))
MAKE(none, tn_dropout(in[0], 0))
MAKE(too_much, tn_dropout(in[0], 1.5))

SAMPLES(dropout) = {
    {.what = "0.3", .make = make_a_third, .in = {FLOATS(7, 11)}},
    {.what = "0.9 of many", .make = make_most, .in = {FLOATS(16001)}},
    {.what = "all", .make = make_all, .in = {FLOATS(13)}},
    {.what = "none", .make = make_none, .in = {FLOATS(13)}},
    {.what = "scalar", .make = make_a_third, .in = {FLOAT}},
    {.what = "probability above 1", .make = make_too_much, .in = {FLOATS(5)},
     .error = "dropout: probability 1.5 is not in 0..1"},
    {0},
};

#endif
