/* Losses: definition, shapes, samples, plain kernels.  All give a scalar; cross_entropy's second
 * output is the log of the sum of exp(logits) of each row, so that backward reads the logits once
 * and stores no probabilities. Gradients: src/autograd/rules/loss.c; fast cross-entropy:
 * src/tensor/cpu/loss.c. */
#include "op.h"
#include "sample.h"
#include "wrong.h"

tn_done KERNEL(cross_entropy)(const tn_call *c)
{
    const tn__cross_entropy_attr *a = c->attr;
    const real *x = IN(0);
    const int64_t *target = INDEX(1);
    real *lse = OUT(1);
    const int64_t classes = tn_dim(c->in[0], -1), rows = tn_numel(c->in[1]);
    const int64_t counted = tn__targets("cross_entropy", c->in[1], classes,
                                        a->ignore ? &a->ignore_index : NULL);
    if (counted < 0)
        return TN_FAILED;
    double loss = 0;
    for (int64_t row = 0; row < rows; row++, x += classes) {
        double most = (double)x[0], sum = 0, all = 0;
        for (int64_t j = 1; j < classes; j++)
            most = (double)x[j] > most ? (double)x[j] : most;
        for (int64_t j = 0; j < classes; j++)
            sum += exp((double)x[j] - most);
        lse[row] = (real)(most + log(sum));
        if (a->ignore && target[row] == a->ignore_index)
            continue;
        for (int64_t j = 0; a->smoothing > 0 && j < classes; j++)
            all += most - (double)x[j];
        loss += log(sum) + (1 - a->smoothing) * (most - (double)x[target[row]]) +
                a->smoothing / (double)classes * all;
    }
    OUT(0)[0] = (real)(a->sum || counted == 0 ? loss : loss / (double)counted);
    return TN_DONE;
}

tn_done KERNEL(cross_entropy_backward)(const tn_call *c)
{
    const tn__cross_entropy_attr *a = c->attr;
    const real *x = IN(0), *lse = IN(3);
    const int64_t *target = INDEX(2);
    real *dx = OUT(0);
    const int64_t classes = tn_dim(c->in[0], -1), rows = tn_numel(c->in[2]);
    const int64_t counted = tn__targets("cross_entropy", c->in[2], classes,
                                        a->ignore ? &a->ignore_index : NULL);
    if (counted < 0)
        return TN_FAILED;
    const double g = (double)IN(1)[0] / (a->sum ? 1 : (double)counted),
                 floor = a->smoothing / (double)classes;
    for (int64_t row = 0; row < rows; row++, x += classes, dx += classes) {
        const bool ignored = a->ignore && target[row] == a->ignore_index;
        for (int64_t j = 0; j < classes; j++) {
            const double wanted = floor + (j == target[row] ? 1 - a->smoothing : 0);
            dx[j] = ignored ? 0 : (real)(g * (exp((double)x[j] - (double)lse[row]) - wanted));
        }
    }
    return TN_DONE;
}

tn_done KERNEL(nll)(const tn_call *c)
{
    const real *x = IN(0);
    const int64_t *target = INDEX(1);
    const int64_t classes = tn_dim(c->in[0], -1), rows = tn_numel(c->in[1]);
    if (tn__targets("nll", c->in[1], classes, NULL) < 0)
        return TN_FAILED;
    double loss = 0;
    for (int64_t row = 0; row < rows; row++)
        loss -= (double)x[row * classes + target[row]];
    OUT(0)[0] = (real)(rows ? loss / (double)rows : 0);
    return TN_DONE;
}

tn_done KERNEL(nll_backward)(const tn_call *c)
{
    const int64_t *target = INDEX(1);
    const int64_t classes = tn_dim(c->out[0], -1), rows = tn_numel(c->in[1]);
    real *dx = OUT(0);
    memset(dx, 0, (size_t)(rows * classes) * sizeof *dx);
    for (int64_t row = 0; row < rows; row++)
        dx[row * classes + target[row]] = -IN(0)[0] / (real)rows;
    return TN_DONE;
}

tn_done KERNEL(mse)(const tn_call *c)
{
    const real *x = IN(0), *target = IN(1);
    const int64_t n = tn_numel(c->in[0]);
    double loss = 0;
    for (int64_t i = 0; i < n; i++)
        loss += ((double)x[i] - (double)target[i]) * ((double)x[i] - (double)target[i]);
    OUT(0)[0] = (real)(n ? loss / (double)n : 0);
    return TN_DONE;
}

tn_done KERNEL(bce_with_logits)(const tn_call *c)
{
    const real *x = IN(0), *target = IN(1);
    const int64_t n = tn_numel(c->in[0]);
    double loss = 0;
    for (int64_t i = 0; i < n; i++) {
        const double v = (double)x[i];
        loss += (v > 0 ? v : 0) - v * (double)target[i] + log1p(exp(-fabs(v)));
    }
    OUT(0)[0] = (real)(n ? loss / (double)n : 0);
    return TN_DONE;
}

#if TN_WHOLE

int64_t tn__targets(const char *op, const tn_tensor *t, int64_t classes, const int64_t *ignored)
{
    const int64_t *target = tn__data(t);
    int64_t counted = 0;
    for (int64_t i = 0, n = tn_numel(t); i < n; i++) {
        if (ignored && target[i] == *ignored)
            continue;
        if (target[i] < 0 || target[i] >= classes) {
            tn_fail(TN_EARG, TN_WRONG_TARGET, op, (long long)target[i], (long long)i, (long long)(classes - 1));
            return -1;
        }
        counted++;
    }
    return counted;
}

tn_tensor *tn_cross_entropy_call(tn_cross_entropy_args args)
{
    if (!(args.smoothing >= 0 && args.smoothing <= 1))
        return tn_fail(TN_EARG, "cross_entropy: smoothing %g is not in 0..1", args.smoothing);
    const tn__cross_entropy_attr a = {.smoothing = args.smoothing,
                                      .ignore = args.ignore,
                                      .sum = args.sum,
                                      .ignore_index = args.ignore_index};
    return tn_apply(TN_OP(cross_entropy), &a, sizeof a, 2,
                    (tn_tensor *[]){args.logits, args.target});
}

tn_tensor *tn_nll(tn_tensor *log_probs, tn_tensor *target)
{
    return tn_apply(TN_OP(nll), NULL, 0, 2, (tn_tensor *[]){log_probs, target});
}

tn_tensor *tn_mse(tn_tensor *x, tn_tensor *target)
{
    return tn_apply(TN_OP(mse), NULL, 0, 2, (tn_tensor *[]){x, target});
}

tn_tensor *tn_bce_with_logits(tn_tensor *x, tn_tensor *target)
{
    return tn_apply(TN_OP(bce_with_logits), NULL, 0, 2, (tn_tensor *[]){x, target});
}

/* One class index per row of scores: [..., C] and [...]. */
static bool one_target_per_row(tn_call *c)
{
    const tn_tensor *scores = c->in[0], *target = c->in[1];
    bool fits = scores->ndim == target->ndim + 1 && tn_dim(scores, -1) > 0;
    for (int i = 0; fits && i < target->ndim; i++)
        fits = scores->shape[i] == target->shape[i];
    tn__set_shape(c->out[0], TN_SCALAR);
    return fits || tn__shapes_differ(c);
}

bool tn__shape_nll(tn_call *c) { return one_target_per_row(c); }

bool tn__shape_cross_entropy(tn_call *c)
{
    tn__set_shape(c->out[1], TN_SHAPE(tn_numel(c->in[1])));
    return one_target_per_row(c);
}

bool tn__shape_cross_entropy_backward(tn_call *c)
{
    tn__set_shape(c->out[0], c->in[0]->ndim, c->in[0]->shape);
    return true;
}

bool tn__shape_nll_backward(tn_call *c)
{
    const tn__axis_attr *a = c->attr;
    const tn_tensor *target = c->in[1];
    int64_t shape[TN_MAX_DIMS];
    memcpy(shape, target->shape, sizeof shape);
    shape[target->ndim] = a->size;
    tn__set_shape(c->out[0], target->ndim + 1, shape);
    return true;
}

bool tn__shape_mse(tn_call *c)
{
    tn__set_shape(c->out[0], TN_SCALAR);
    return tn_same_shape(c->in[0], c->in[1]) || tn__shapes_differ(c);
}

bool tn__shape_bce_with_logits(tn_call *c) { return tn__shape_mse(c); }

MAKE(mean, tn_cross_entropy(in[0], in[1]))
MAKE(total, tn_cross_entropy(in[0], in[1], .sum = true))
MAKE(smooth, tn_cross_entropy(in[0], in[1], .smoothing = .1))
MAKE(ignore, tn_cross_entropy(in[0], in[1], .ignore = true, .ignore_index = 1))
MAKE(ignore_all, tn_cross_entropy(in[0], in[1], .ignore = true, .ignore_index = -100))
MAKE(everything, tn_cross_entropy(in[0], in[1], .smoothing = .2, .ignore = true, .ignore_index = 2,
                                  .sum = true))
MAKE(oversmooth, tn_cross_entropy(in[0], in[1], .smoothing = 1.5))
MAKE(nll, tn_nll(in[0], in[1]))
MAKE(mse, tn_mse(in[0], in[1]))
MAKE(bce, tn_bce_with_logits(in[0], in[1]))

static const tn__cross_entropy_attr ce_backward_sample = {
    .smoothing = .1, .ignore = true, .ignore_index = 1};
static const tn__axis_attr nll_backward_sample = {.size = 5};
MAKE(ce_backward,
     tn_apply(TN_OP(cross_entropy_backward), &ce_backward_sample, sizeof ce_backward_sample, 4, in))
MAKE(nll_backward,
     tn_apply(TN_OP(nll_backward), &nll_backward_sample, sizeof nll_backward_sample, 2, in))

SAMPLES(cross_entropy) = {
    {.what = "mean", .make = make_mean, .in = {FLOATS(7, 5), INTS(5, 7)}},
    {.what = "sum, 1000 classes", .make = make_total, .in = {FLOATS(9, 1000), INTS(1000, 9)}},
    {.what = "smoothing", .make = make_smooth, .in = {FLOATS(300, 37), INTS(37, 300)}},
    {.what = "sequences", .make = make_smooth, .in = {FLOATS(3, 4, 10), INTS(10, 3, 4)}},
    {.what = "one row without batch", .make = make_mean,
     .in = {FLOATS(5), {.kind = 'i', .lo = 0, .hi = 5}}},
    {.what = "one ignored class", .make = make_ignore, .in = {FLOATS(9, 3), INTS(3, 9)}},
    {.what = "all ignored", .make = make_ignore_all,
     .in = {FLOATS(4, 3), RANGE('i', -100, -99, 4)}},
    {.what = "smoothing, ignored class, sum", .make = make_everything,
     .in = {FLOATS(9, 4), INTS(4, 9)}},
    {.what = "large logits", .make = make_mean, .in = {RANGE('f', -90, 90, 7, 33), INTS(33, 7)}},
    {.what = "target too large", .make = make_mean, .in = {FLOATS(4, 3), RANGE('i', 3, 4, 4)},
     .error = "cross_entropy: target 3 at position 0 is not a class in 0..2"},
    {.what = "negative target", .make = make_mean, .in = {FLOATS(4, 3), RANGE('i', -1, 0, 4)},
     .error = "cross_entropy: target -1 at position 0"},
    {.what = "too few targets", .make = make_mean, .in = {FLOATS(4, 3), INTS(3, 3)},
     .error = "cross_entropy: shapes do not fit: [4,3] x [3]"},
    {.what = "no classes", .make = make_mean, .in = {FLOATS(4, 0), INTS(1, 4)},
     .error = "cross_entropy: shapes do not fit: [4,0] x [4]"},
    {.what = "smoothing above 1", .make = make_oversmooth, .in = {FLOATS(4, 3), INTS(3, 4)},
     .error = "cross_entropy: smoothing 1.5 is not in 0..1"},
    {0},
};
SAMPLES(cross_entropy_backward) = {
    {.what = "smoothing, ignored class", .make = make_ce_backward,
     .in = {CONSTS(6, 4), {.kind = 'c', .lo = 1, .hi = 2}, INTS(4, 6), RANGE('c', 2, 4, 6)}},
    {0},
};
SAMPLES(nll) = {
    {.what = "rows", .make = make_nll, .in = {RANGE('f', -5, 0, 7, 5), INTS(5, 7)}},
    {.what = "sequences", .make = make_nll, .in = {RANGE('f', -5, 0, 2, 3, 5), INTS(5, 2, 3)}},
    {.what = "target too large", .make = make_nll,
     .in = {RANGE('f', -3, 0, 4, 3), RANGE('i', 3, 4, 4)},
     .error = "nll: target 3 at position 0 is not a class in 0..2"},
    {.what = "too few targets", .make = make_nll, .in = {RANGE('f', -3, 0, 4, 3), INTS(3, 3)},
     .error = "nll: shapes do not fit: [4,3] x [3]"},
    {0},
};
SAMPLES(nll_backward) = {
    {.what = "rows", .make = make_nll_backward,
     .in = {{.kind = 'c', .lo = 1, .hi = 2}, INTS(5, 7)}},
    {0},
};
SAMPLES(mse) = {
    {.what = "matrix", .make = make_mse, .in = {FLOATS(7, 5), FLOATS(7, 5)}},
    {.what = "constant target", .make = make_mse, .in = {FLOATS(9), CONSTS(9)}},
    {.what = "two shapes", .make = make_mse, .in = {FLOATS(7, 1), FLOATS(7)},
     .error = "mse: shapes do not fit: [7,1] x [7]"},
    {0},
};
SAMPLES(bce_with_logits) = {
    {.what = "matrix", .make = make_bce, .in = {FLOATS(7, 5), RANGE('f', 0, 1, 7, 5)}},
    {.what = "far from 0", .make = make_bce, .in = {RANGE('f', -90, 90, 20), RANGE('c', 0, 1, 20)}},
    {.what = "two shapes", .make = make_bce, .in = {FLOATS(7, 1), RANGE('f', 0, 1, 7)},
     .error = "bce_with_logits: shapes do not fit: [7,1] x [7]"},
    {0},
};

#endif
