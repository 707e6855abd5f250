/* Softmax and its logarithm: definition, shapes, samples, plain kernels.  Kernels work on the last
 * axis; the wrappers turn any other one there.  Gradients: src/autograd/rules/softmax.c; fast:
 * src/tensor/cpu/softmax.c. */
#include "op.h"
#include "sample.h"

static double row_max(const real *x, int64_t n)
{
    double most = (double)x[0];
    for (int64_t j = 1; j < n; j++)
        most = (double)x[j] > most ? (double)x[j] : most;
    return most;
}

static double row_exp_sum(const real *x, int64_t n, double shift)
{
    double sum = 0;
    for (int64_t j = 0; j < n; j++)
        sum += exp((double)x[j] - shift);
    return sum;
}

tn_done KERNEL(softmax)(const tn_call *c)
{
    const real *x = IN(0);
    real *y = OUT(0);
    const int64_t cols = tn_dim(c->in[0], -1), n = tn_numel(c->in[0]);
    for (int64_t row = 0; row < n; row += cols) {
        const double most = row_max(x + row, cols), sum = row_exp_sum(x + row, cols, most);
        for (int64_t j = row; j < row + cols; j++)
            y[j] = (real)(exp((double)x[j] - most) / sum);
    }
    return TN_DONE;
}

tn_done KERNEL(softmax_backward)(const tn_call *c)
{
    const real *y = IN(0), *g = IN(1);
    real *dx = OUT(0);
    const int64_t cols = tn_dim(c->in[0], -1), n = tn_numel(c->in[0]);
    for (int64_t row = 0; row < n; row += cols) {
        double dot = 0;
        for (int64_t j = row; j < row + cols; j++)
            dot += (double)g[j] * (double)y[j];
        for (int64_t j = row; j < row + cols; j++)
            dx[j] = (real)((double)y[j] * ((double)g[j] - dot));
    }
    return TN_DONE;
}

tn_done KERNEL(log_softmax)(const tn_call *c)
{
    const real *x = IN(0);
    real *y = OUT(0);
    const int64_t cols = tn_dim(c->in[0], -1), n = tn_numel(c->in[0]);
    for (int64_t row = 0; row < n; row += cols) {
        const double most = row_max(x + row, cols), log_sum = log(row_exp_sum(x + row, cols, most));
        for (int64_t j = row; j < row + cols; j++)
            y[j] = (real)((double)x[j] - most - log_sum);
    }
    return TN_DONE;
}

tn_done KERNEL(log_softmax_backward)(const tn_call *c)
{
    const real *y = IN(0), *g = IN(1);
    real *dx = OUT(0);
    const int64_t cols = tn_dim(c->in[0], -1), n = tn_numel(c->in[0]);
    for (int64_t row = 0; row < n; row += cols) {
        double sum = 0;
        for (int64_t j = row; j < row + cols; j++)
            sum += (double)g[j];
        for (int64_t j = row; j < row + cols; j++)
            dx[j] = (real)((double)g[j] - exp((double)y[j]) * sum);
    }
    return TN_DONE;
}

#if TN_WHOLE

static tn_tensor *on_last_axis(const tn_op *op, tn_tensor *x, int axis)
{
    int at;
    if (!x || !tn__axis(op->name, x, axis, &at))
        return NULL;
    const int last = x->ndim - 1;
    if (at == last)
        return tn_apply(op, NULL, 0, 1, &x);
    tn_tensor *turned = tn_transpose(x, at, last);
    return tn_transpose(tn_apply(op, NULL, 0, 1, &turned), at, last);
}

tn_tensor *tn_softmax(tn_tensor *x, int axis) { return on_last_axis(TN_OP(softmax), x, axis); }
tn_tensor *tn_log_softmax(tn_tensor *x, int axis)
{
    return on_last_axis(TN_OP(log_softmax), x, axis);
}

bool tn__shape_softmax(tn_call *c)
{
    tn__set_shape(c->out[0], c->in[0]->ndim, c->in[0]->shape);
    return true;
}

bool tn__shape_log_softmax(tn_call *c) { return tn__shape_softmax(c); }

bool tn__shape_softmax_backward(tn_call *c)
{
    return tn_same_shape(c->in[0], c->in[1]) ? tn__shape_softmax(c) : tn__shapes_differ(c);
}

bool tn__shape_log_softmax_backward(tn_call *c) { return tn__shape_softmax_backward(c); }

MAKE(softmax, tn_softmax(in[0], -1))
MAKE(softmax_first, tn_softmax(in[0], 0))
MAKE(softmax_middle, tn_softmax(in[0], 1))
MAKE(softmax_axis5, tn_softmax(in[0], 5))
MAKE(softmax_backward, tn_apply(TN_OP(softmax_backward), NULL, 0, 2, in))
MAKE(log_softmax, tn_log_softmax(in[0], -1))
MAKE(log_softmax_first, tn_log_softmax(in[0], 0))
MAKE(log_softmax_axis5, tn_log_softmax(in[0], 5))
MAKE(log_softmax_backward, tn_apply(TN_OP(log_softmax_backward), NULL, 0, 2, in))

SAMPLES(softmax) = {
    {.what = "rows", .make = make_softmax, .in = {FLOATS(300, 37)}},
    {.what = "one column", .make = make_softmax, .in = {FLOATS(4, 1)}},
    {.what = "large values", .make = make_softmax, .in = {RANGE('f', -80, 80, 3, 19)}},
    {.what = "vector", .make = make_softmax, .in = {FLOATS(70)}},
    {.what = "first axis", .make = make_softmax_first, .in = {FLOATS(6, 5)}},
    {.what = "middle axis", .make = make_softmax_middle, .in = {FLOATS(2, 7, 5)}},
    {.what = "no rows", .make = make_softmax, .in = {FLOATS(0, 5)}},
    {.what = "no such axis", .make = make_softmax_axis5, .in = {FLOATS(2, 3)}, .error = "softmax"},
    {0},
};
SAMPLES(softmax_backward) = {
    {.what = "rows", .make = make_softmax_backward,
     .in = {RANGE('c', 0, .1, 5, 37), CONSTS(5, 37)}},
    {.what = "two shapes", .make = make_softmax_backward,
     .in = {RANGE('c', 0, 1, 5, 3), CONSTS(5, 4)}, .error = "softmax_backward: shapes do not fit"},
    {0},
};
SAMPLES(log_softmax) = {
    {.what = "rows", .make = make_log_softmax, .in = {FLOATS(300, 37)}},
    {.what = "one column", .make = make_log_softmax, .in = {FLOATS(4, 1)}},
    {.what = "large values", .make = make_log_softmax, .in = {RANGE('f', -80, 80, 3, 19)}},
    {.what = "first axis", .make = make_log_softmax_first, .in = {FLOATS(6, 5, 2)}},
    {.what = "no such axis", .make = make_log_softmax_axis5, .in = {FLOATS(2, 3)},
     .error = "log_softmax"},
    {0},
};
SAMPLES(log_softmax_backward) = {
    {.what = "rows", .make = make_log_softmax_backward,
     .in = {RANGE('c', -5, -1, 5, 37), CONSTS(5, 37)}},
    {.what = "two shapes", .make = make_log_softmax_backward,
     .in = {RANGE('c', -2, 0, 5, 3), CONSTS(5, 4)},
     .error = "log_softmax_backward: shapes do not fit"},
    {0},
};

#endif
