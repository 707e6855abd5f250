/* Dropout, alone and behind bias and ReLU: definition, samples, plain kernels.  An element is kept iff
 * its word of the Philox stream of `key` reaches a threshold (drop.h), so backward is the same op with
 * the same key on the gradient; behind a ReLU what is above 0 was kept, and no mask is needed.
 * Gradients: src/autograd/rules/dropout.c; fast: src/tensor/cpu/dropout.c. */
#include "op.h"
#include "drop.h"
#include "sample.h"

tn_done KERNEL(dropout)(const tn_call *c)
{
    const tn__dropout_attr *a = c->attr;
    const real *x = IN(0);
    real *y = OUT(0);
    const real scale = (real)(1 / (1 - a->p));
    for (int64_t i = 0, n = tn_numel(c->in[0]); i < n; i++)
        y[i] = tn__dropout_keeps(a, i) ? x[i] * scale : 0;
    return TN_DONE;
}

tn_done KERNEL(bias_relu_dropout)(const tn_call *c)
{
    const tn__dropout_attr *a = c->attr;
    const real *x = IN(0), *bias = IN(1);
    real *y = OUT(0);
    const real scale = (real)(1 / (1 - a->p));
    for (int64_t i = 0, n = tn_numel(c->in[0]), cols = tn_dim(c->in[0], -1); i < n; i++) {
        const real v = bias ? x[i] + bias[i % cols] : x[i];
        y[i] = v < 0 || !tn__dropout_keeps(a, i) ? 0 : v * scale;
    }
    return TN_DONE;
}

tn_done KERNEL(bias_relu_dropout_backward)(const tn_call *c)
{
    const tn__dropout_attr *a = c->attr;
    const real *y = IN(0), *g = IN(1);
    real *dx = OUT(0);
    const real scale = (real)(1 / (1 - a->p));
    for (int64_t i = 0, n = tn_numel(c->in[0]); i < n; i++)
        dx[i] = y[i] > 0 ? g[i] * scale : 0;
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

tn_tensor *tn_bias_relu_dropout(tn_tensor *x, tn_tensor *bias, double p)
{
    if (!x)
        return NULL;
    if (!(p >= 0 && p <= 1))
        return tn_fail(TN_EARG, "bias_relu_dropout: probability %g is not in 0..1", p);
    const tn__dropout_attr a = {.p = p, .key = tn__rng_next()};
    return tn_apply(TN_OP(bias_relu_dropout), &a, sizeof a, 2, (tn_tensor *[]){x, bias});
}

bool tn__shape_dropout(tn_call *c)
{
    tn__set_shape(c->out[0], c->in[0]->ndim, c->in[0]->shape);
    return true;
}

bool tn__shape_bias_relu_dropout(tn_call *c)
{
    const tn_tensor *x = c->in[0], *bias = c->in[1];
    if (x->ndim < 1 || (bias && (bias->ndim != 1 || bias->shape[0] != tn_dim(x, -1))))
        return tn__shapes_differ(c);
    return tn__shape_dropout(c);
}

bool tn__shape_bias_relu_dropout_backward(tn_call *c)
{
    return tn_same_shape(c->in[0], c->in[1]) ? tn__shape_dropout(c) : tn__shapes_differ(c);
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

MAKE(relu_third, tn_bias_relu_dropout(in[0], in[1], .3))
MAKE(relu_only, tn_bias_relu_dropout(in[0], in[1], 0))
MAKE(relu_all, tn_bias_relu_dropout(in[0], in[1], 1))
MAKE(relu_no_bias, tn_bias_relu_dropout(in[0], NULL, .3))
MAKE(relu_too_much, tn_bias_relu_dropout(in[0], in[1], -.5))
SAMPLES(bias_relu_dropout) = {
    {.what = "0.3", .make = make_relu_third, .in = {FLOATS(7, 11), FLOATS(11)}},
    {.what = "long rows", .make = make_relu_third, .in = {FLOATS(5, 3, 1027), FLOATS(1027)}},
    {.what = "many short rows", .make = make_relu_third, .in = {FLOATS(3001, 5), FLOATS(5)}},
    {.what = "no dropout", .make = make_relu_only, .in = {FLOATS(7, 40), FLOATS(40)}},
    {.what = "all dropped", .make = make_relu_all, .in = {FLOATS(7, 5), FLOATS(5)}},
    {.what = "no bias", .make = make_relu_no_bias, .in = {FLOATS(7, 33)}},
    {.what = "one row", .make = make_relu_third, .in = {FLOATS(33), FLOATS(33)}},
    {.what = "no rows", .make = make_relu_third, .in = {FLOATS(0, 3), FLOATS(3)}},
    {.what = "no columns", .make = make_relu_third, .in = {FLOATS(3, 0), FLOATS(0)}},
    {.what = "a bias too short", .make = make_relu_third, .in = {FLOATS(7, 11), FLOATS(7)},
     .error = "bias_relu_dropout: shapes do not fit: [7,11] x [7]"},
    {.what = "a scalar", .make = make_relu_no_bias, .in = {FLOAT},
     .error = "bias_relu_dropout: shapes do not fit"},
    {.what = "probability below 0", .make = make_relu_too_much, .in = {FLOATS(7, 11), FLOATS(11)},
     .error = "bias_relu_dropout: probability -0.5 is not in 0..1"},
    {0},
};

static const tn__dropout_attr relu_backward = {.p = .25};
MAKE(relu_backward, tn_apply(TN_OP(bias_relu_dropout_backward), &relu_backward, sizeof relu_backward, 2, in))
SAMPLES(bias_relu_dropout_backward) = {
    {.what = "rows", .make = make_relu_backward, .in = {CONSTS(7, 21), CONSTS(7, 21)}},
    {0},
};

#endif
