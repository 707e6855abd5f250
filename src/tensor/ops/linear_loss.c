/* A linear layer without bias and the cross-entropy of what it gives, in one: definition, shape, samples,
 * plain kernel.  Outputs are the loss, the loss without smoothing, and the gradients by x and by w for a
 * gradient of 1 of the loss, which are made as long as a row's logits are at hand; those that nobody wants
 * have shape [0].  The two steps by themselves: matmul.c, loss.c.  Gradient: src/autograd/rules/loss.c;
 * fast: src/tensor/cpu/linear_loss.c. */
#include "op.h"
#include "sample.h"

/* Of one row, from its logits z; *nll is the loss without smoothing. */
static double row_loss(const double *z, int64_t classes, int64_t target, double smoothing, double *lse,
                       double *nll)
{
    double most = z[0], sum = 0, all = 0;
    for (int64_t j = 1; j < classes; j++)
        most = z[j] > most ? z[j] : most;
    for (int64_t j = 0; j < classes; j++) {
        sum += exp(z[j] - most);
        all += most - z[j];
    }
    *lse = most + log(sum);
    *nll = log(sum) + most - z[target];
    return log(sum) + (1 - smoothing) * (most - z[target]) + smoothing / (double)classes * all;
}

/* The gradient by class j's logit of one row: what it adds to the row's dx and to row j of dw; either
 * may be NULL. */
static void add_gradient(const real *x, const real *w, int64_t dim, double d, real *dx, real *dw)
{
    for (int64_t k = 0; k < dim && dx; k++)
        dx[k] = (real)((double)dx[k] + d * (double)w[k]);
    for (int64_t k = 0; k < dim && dw; k++)
        dw[k] = (real)((double)dw[k] + d * (double)x[k]);
}

tn_done KERNEL(linear_cross_entropy)(const tn_call *c)
{
    const tn__linear_loss_attr *a = c->attr;
    const real *x = IN(0), *w = IN(1);
    const int64_t *target = INDEX(2);
    real *dx = a->wanted & 4 ? OUT(2) : NULL, *dw = a->wanted & 8 ? OUT(3) : NULL;
    const int64_t classes = c->in[1]->shape[0], dim = c->in[1]->shape[1], rows = tn_numel(c->in[2]);
    const int64_t counted = tn__targets("linear_cross_entropy", c->in[2], classes,
                                        a->loss.ignore ? &a->loss.ignore_index : NULL);
    double *z = counted < 0 ? NULL : tn__scratch((size_t)classes * sizeof *z), loss = 0, nll = 0;
    if (!z)
        return TN_FAILED;
    const double share = a->loss.sum || counted == 0 ? 1 : 1 / (double)counted;
    if (dx)
        memset(dx, 0, (size_t)(rows * dim) * sizeof *dx);
    if (dw)
        memset(dw, 0, (size_t)(classes * dim) * sizeof *dw);
    for (int64_t row = 0; row < rows; row++) {
        double lse, one;
        if (a->loss.ignore && target[row] == a->loss.ignore_index)
            continue;
        for (int64_t j = 0; j < classes; j++) {
            z[j] = 0;
            for (int64_t k = 0; k < dim; k++)
                z[j] += (double)x[row * dim + k] * (double)w[j * dim + k];
        }
        loss += row_loss(z, classes, target[row], a->loss.smoothing, &lse, &one);
        nll += one;
        for (int64_t j = 0; j < classes && a->wanted; j++) {
            const double wanted = a->loss.smoothing / (double)classes +
                                  (j == target[row] ? 1 - a->loss.smoothing : 0);
            add_gradient(x + row * dim, w + j * dim, dim, share * (exp(z[j] - lse) - wanted),
                         dx ? dx + row * dim : NULL, dw ? dw + j * dim : NULL);
        }
    }
    tn__scratch_free(z);
    OUT(0)[0] = (real)(loss * share);
    OUT(1)[0] = (real)(nll * share);
    return TN_DONE;
}

#if TN_WHOLE

tn_tensor *tn_linear_cross_entropy_call(tn_linear_cross_entropy_args args)
{
    tn_tensor *out[TN_MAX_OUT] = {NULL};
    if (args.nll)
        *args.nll = NULL;
    if (!args.x || !args.w || !args.target)
        return NULL;
    if (!(args.smoothing >= 0 && args.smoothing <= 1))
        return tn_fail(TN_EARG, "linear_cross_entropy: smoothing %g is not in 0..1", args.smoothing);
    const bool wanted = tn_grad_enabled();
    const tn__linear_loss_attr a = {
        .loss = {.smoothing = args.smoothing, .ignore = args.ignore, .sum = args.sum,
                 .ignore_index = args.ignore_index},
        .wanted = (wanted && args.x->requires_grad ? 4u : 0u) | (wanted && args.w->requires_grad ? 8u : 0u)};
    if (!tn__apply(TN_OP(linear_cross_entropy), &a, sizeof a, 3, (tn_tensor *[]){args.x, args.w, args.target},
                   out))
        return NULL;
    for (int i = 2; i < 4; i++)
        tn__tensor_free(out[i]);
    if (args.nll)
        *args.nll = out[1];
    else
        tn__tensor_free(out[1]);
    return out[0];
}

bool tn__shape_linear_cross_entropy(tn_call *c)
{
    const tn__linear_loss_attr *a = c->attr;
    const tn_tensor *x = c->in[0], *w = c->in[1], *target = c->in[2];
    char xs[TN_SHAPE_TEXT], ws[TN_SHAPE_TEXT], ts[TN_SHAPE_TEXT];
    bool fits = w->ndim == 2 && w->shape[0] > 0 && w->shape[0] <= INT32_MAX && x->ndim == target->ndim + 1 &&
                tn_dim(x, -1) == w->shape[1];
    for (int i = 0; fits && i < target->ndim; i++)
        fits = x->shape[i] == target->shape[i];
    if (!fits)
        return tn_fail(TN_ESHAPE, "linear_cross_entropy: shapes do not fit: %s x %s for targets %s",
                       tn_shape_text(x, xs), tn_shape_text(w, ws), tn_shape_text(target, ts));
    tn__set_shape(c->out[0], TN_SCALAR);
    tn__set_shape(c->out[1], TN_SCALAR);
    for (int i = 2; i < 4; i++)
        if (a->wanted >> i & 1)
            tn__set_shape(c->out[i], c->in[i - 2]->ndim, c->in[i - 2]->shape);
        else
            tn__set_shape(c->out[i], TN_SHAPE(0));
    return true;
}

static tn_tensor *nll_of(tn_tensor *const *in)
{
    tn_tensor *nll;
    tn_linear_cross_entropy(in[0], in[1], in[2], .smoothing = .1, .ignore = true, .ignore_index = 1, .nll = &nll);
    return nll;
}

MAKE(mean, tn_linear_cross_entropy(in[0], in[1], in[2]))
MAKE(total, tn_linear_cross_entropy(in[0], in[1], in[2], .sum = true))
MAKE(smooth, tn_linear_cross_entropy(in[0], in[1], in[2], .smoothing = .1))
MAKE(ignore_all, tn_linear_cross_entropy(in[0], in[1], in[2], .ignore = true, .ignore_index = -100))
MAKE(everything, tn_linear_cross_entropy(in[0], in[1], in[2], .smoothing = .2, .ignore = true, .ignore_index = 2,
                                         .sum = true))
MAKE(ignore, tn_linear_cross_entropy(in[0], in[1], in[2], .smoothing = .1, .ignore = true, .ignore_index = 1))
MAKE(nll, nll_of(in))
MAKE(oversmooth, tn_linear_cross_entropy(in[0], in[1], in[2], .smoothing = -.1))

SAMPLES(linear_cross_entropy) = {
    {.what = "mean", .make = make_mean, .in = {FLOATS(7, 6), FLOATS(5, 6), INTS(5, 7)}},
    {.what = "sum, 1000 classes", .make = make_total, .in = {FLOATS(9, 3), FLOATS(1000, 3), INTS(1000, 9)}},
    {.what = "smoothing", .make = make_smooth, .in = {FLOATS(300, 11), FLOATS(37, 11), INTS(37, 300)}},
    {.what = "sequences", .make = make_smooth, .in = {FLOATS(3, 4, 10), FLOATS(6, 10), INTS(6, 3, 4)}},
    {.what = "one row without batch", .make = make_mean,
     .in = {FLOATS(5), FLOATS(4, 5), {.kind = 'i', .lo = 0, .hi = 4}}},
    {.what = "one ignored class", .make = make_ignore, .in = {FLOATS(9, 3), FLOATS(3, 3), INTS(3, 9)}},
    {.what = "all ignored", .make = make_ignore_all,
     .in = {FLOATS(4, 3), FLOATS(5, 3), RANGE('i', -100, -99, 4)}},
    {.what = "smoothing, ignored class, sum", .make = make_everything,
     .in = {FLOATS(9, 4), FLOATS(4, 4), INTS(4, 9)}},
    {.what = "constant x", .make = make_smooth, .in = {CONSTS(7, 6), FLOATS(5, 6), INTS(5, 7)}},
    {.what = "constant w", .make = make_smooth, .in = {FLOATS(7, 6), CONSTS(5, 6), INTS(5, 7)}},
    {.what = "large logits", .make = make_mean,
     .in = {RANGE('f', -9, 9, 7, 2), RANGE('f', -9, 9, 33, 2), INTS(33, 7)}},
    {.what = "without smoothing too", .make = make_nll, .in = {FLOATS(9, 4), FLOATS(4, 4), INTS(4, 9)}},
    {.what = "no rows", .make = make_mean, .in = {FLOATS(0, 4), FLOATS(5, 4), INTS(5, 0)}},
    {.what = "no terms", .make = make_mean, .in = {FLOATS(3, 0), FLOATS(5, 0), INTS(5, 3)}},
    {.what = "target too large", .make = make_mean, .in = {FLOATS(4, 3), FLOATS(3, 3), RANGE('i', 3, 4, 4)},
     .error = "linear_cross_entropy: target 3 at position 0 is not a class in 0..2"},
    {.what = "too few targets", .make = make_mean, .in = {FLOATS(4, 3), FLOATS(5, 3), INTS(3, 3)},
     .error = "linear_cross_entropy: shapes do not fit: [4,3] x [5,3] for targets [3]"},
    {.what = "no fit", .make = make_mean, .in = {FLOATS(4, 3), FLOATS(3, 5), INTS(3, 4)},
     .error = "linear_cross_entropy: shapes do not fit: [4,3] x [3,5] for targets [4]"},
    {.what = "no classes", .make = make_mean, .in = {FLOATS(4, 3), FLOATS(0, 3), INTS(1, 4)},
     .error = "linear_cross_entropy: shapes do not fit: [4,3] x [0,3]"},
    {.what = "smoothing below 0", .make = make_oversmooth, .in = {FLOATS(4, 3), FLOATS(3, 3), INTS(3, 4)},
     .error = "linear_cross_entropy: smoothing -0.1 is not in 0..1"},
    {0},
};

#endif
