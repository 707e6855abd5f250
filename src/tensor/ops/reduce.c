/* Reductions over any axes of a strided tensor: sum, mean, amax, amin, var, norm, logsumexp, argmax and
 * argmin.  Each is a function of the elements behind one output, added up in double.  The fast sum and
 * mean are in cpu/reduce.c. */
#include "op.h"
#include "sample.h"
#include "strides.h"

/* Some of x's dims, and how many elements they span. */
typedef struct dims {
    int ndim;
    int64_t shape[TN_MAX_DIMS], stride[TN_MAX_DIMS], n;
} dims;

static dims dims_of(const tn_tensor *x, unsigned axes)
{
    dims d = {.n = 1};
    for (int i = 0; i < x->ndim; i++)
        if (axes & TN_AXIS(i)) {
            d.shape[d.ndim] = x->shape[i];
            d.stride[d.ndim++] = x->stride[i];
            d.n *= x->shape[i];
        }
    return d;
}

/* Places, from where the output's first element stands, of all elements behind it, in order: runs along
 * the last of the reduced dims d. */
#define EACH(at, d)                                                                              \
    for (int64_t run_ = (d)->ndim ? (d)->shape[(d)->ndim - 1] : 1,                               \
                 step_ = (d)->ndim ? (d)->stride[(d)->ndim - 1] : 0, row_ = 0;                   \
         row_ * run_ < (d)->n; row_++)                                                           \
        for (int64_t at = tn__offset((d)->ndim - 1, (d)->shape, (d)->stride, row_), i_ = 0;      \
             i_ < run_; i_++, at += step_)

static double sum_of(const real *x, const dims *d, int correction)
{
    double sum = 0;
    (void)correction;
    EACH(i, d)
        sum += (double)x[i];
    return sum;
}

static double mean_of(const real *x, const dims *d, int correction)
{
    return sum_of(x, d, correction) / (double)d->n;
}

static double amax_of(const real *x, const dims *d, int correction)
{
    double max = -INFINITY;
    (void)correction;
    EACH(i, d)
        if (!isnan(max) && !((double)x[i] <= max)) /* a NaN is taken and stays */
            max = (double)x[i];
    return max;
}

static double amin_of(const real *x, const dims *d, int correction)
{
    double min = INFINITY;
    (void)correction;
    EACH(i, d)
        if (!isnan(min) && !((double)x[i] >= min))
            min = (double)x[i];
    return min;
}

static double var_of(const real *x, const dims *d, int correction)
{
    const double mean = mean_of(x, d, 0);
    double sum = 0;
    EACH(i, d)
        sum += ((double)x[i] - mean) * ((double)x[i] - mean);
    return sum / fmax(0, (double)(d->n - correction));
}

static double norm_of(const real *x, const dims *d, int correction)
{
    double sum = 0;
    (void)correction;
    EACH(i, d)
        sum += (double)x[i] * (double)x[i];
    return sqrt(sum);
}

static double logsumexp_of(const real *x, const dims *d, int correction)
{
    const double max = amax_of(x, d, correction);
    double sum = 0;
    if (!isfinite(max))
        return max;
    EACH(i, d)
        sum += exp((double)x[i] - max);
    return max + log(sum);
}

static tn_done reduce(const tn_call *c, double (*of)(const real *x, const dims *d, int correction))
{
    const tn__reduce_attr *a = c->attr;
    const dims kept = dims_of(c->in[0], ~a->axes), reduced = dims_of(c->in[0], a->axes);
    const real *x = IN(0);
    real *y = OUT(0);
    for (int64_t i = 0; i < kept.n; i++)
        y[i] = (real)of(x + tn__offset(kept.ndim, kept.shape, kept.stride, i), &reduced, a->correction);
    return TN_DONE;
}

tn_done KERNEL(sum)(const tn_call *c) { return reduce(c, sum_of); }
tn_done KERNEL(mean)(const tn_call *c) { return reduce(c, mean_of); }
tn_done KERNEL(amax)(const tn_call *c) { return reduce(c, amax_of); }
tn_done KERNEL(amin)(const tn_call *c) { return reduce(c, amin_of); }
tn_done KERNEL(var)(const tn_call *c) { return reduce(c, var_of); }
tn_done KERNEL(norm)(const tn_call *c) { return reduce(c, norm_of); }
tn_done KERNEL(logsumexp)(const tn_call *c) { return reduce(c, logsumexp_of); }

static tn_done arg(const tn_call *c, double (*of)(const real *x, const dims *d, int correction))
{
    const tn__axis_attr *a = c->attr;
    const dims kept = dims_of(c->in[0], ~TN_AXIS(a->axis)), along = dims_of(c->in[0], TN_AXIS(a->axis));
    int64_t *index = tn__data(c->out[0]);
    for (int64_t i = 0; i < kept.n; i++) {
        const real *x = IN(0) + tn__offset(kept.ndim, kept.shape, kept.stride, i);
        const double extreme = of(x, &along, 0);
        int64_t at = 0;
        while ((double)x[at * along.stride[0]] != extreme && !isnan((double)x[at * along.stride[0]]))
            at++;
        index[i] = at;
    }
    return TN_DONE;
}

tn_done KERNEL(argmax)(const tn_call *c) { return arg(c, amax_of); }
tn_done KERNEL(argmin)(const tn_call *c) { return arg(c, amin_of); }

#if TN_WHOLE

/* ---- shape rules ---- */

static bool reduced_shape(tn_call *c, unsigned axes, bool keep)
{
    const tn_tensor *x = c->in[0];
    char s[TN_SHAPE_TEXT];
    int64_t shape[TN_MAX_DIMS];
    int ndim = 0;
    if (axes >> x->ndim)
        return tn_fail(TN_EARG, "%s: axis %d of %s does not exist", c->op->name,
                       31 - __builtin_clz(axes), tn_shape_text(x, s)), false;
    for (int i = 0; i < x->ndim; i++)
        if (!(axes & TN_AXIS(i)))
            shape[ndim++] = x->shape[i];
        else if (keep)
            shape[ndim++] = 1;
    tn__set_shape(c->out[0], ndim, shape);
    return true;
}

/* For those that have no value for nothing. */
static bool something(tn_call *c, unsigned axes)
{
    char s[TN_SHAPE_TEXT];
    if (dims_of(c->in[0], axes).n == 0 && tn_numel(c->out[0]) > 0)
        return tn_fail(TN_ESHAPE, "%s: no elements to choose from in %s", c->op->name,
                       tn_shape_text(c->in[0], s)), false;
    return true;
}

static bool any_count(tn_call *c)
{
    const tn__reduce_attr *a = c->attr;
    return reduced_shape(c, a->axes, a->keep);
}

static bool one_or_more(tn_call *c)
{
    const tn__reduce_attr *a = c->attr;
    return reduced_shape(c, a->axes, a->keep) && something(c, a->axes);
}

static bool one_index(tn_call *c)
{
    const tn__axis_attr *a = c->attr;
    c->out[0]->dtype = TN_I64;
    return reduced_shape(c, TN_AXIS(a->axis), false) && something(c, TN_AXIS(a->axis));
}

bool tn__shape_sum(tn_call *c) { return any_count(c); }
bool tn__shape_mean(tn_call *c) { return any_count(c); }
bool tn__shape_var(tn_call *c) { return any_count(c); }
bool tn__shape_norm(tn_call *c) { return any_count(c); }
bool tn__shape_logsumexp(tn_call *c) { return any_count(c); }
bool tn__shape_amax(tn_call *c) { return one_or_more(c); }
bool tn__shape_amin(tn_call *c) { return one_or_more(c); }
bool tn__shape_argmax(tn_call *c) { return one_index(c); }
bool tn__shape_argmin(tn_call *c) { return one_index(c); }

/* ---- wrappers ---- */

static tn_tensor *apply(const tn_op *op, tn_tensor *x, unsigned axes, bool keep, int correction)
{
    if (!x)
        return NULL;
    if (axes == TN_ALL)
        axes = TN_AXIS(x->ndim) - 1;
    const tn__reduce_attr a = {.axes = axes, .keep = keep, .correction = correction};
    return tn_apply(op, &a, sizeof a, 1, &x);
}

#define REDUCTION(name)                                              \
    tn_tensor *tn_##name(tn_tensor *x, unsigned axes, bool keep)     \
    {                                                                \
        return apply(TN_OP(name), x, axes, keep, 0);                 \
    }
REDUCTION(sum)
REDUCTION(mean)
REDUCTION(amax)
REDUCTION(amin)
REDUCTION(norm)
REDUCTION(logsumexp)

tn_tensor *tn_var(tn_tensor *x, unsigned axes, bool keep, int correction)
{
    return apply(TN_OP(var), x, axes, keep, correction);
}

static tn_tensor *apply_arg(const tn_op *op, tn_tensor *x, int axis)
{
    tn__axis_attr a = {0};
    if (!x || !tn__axis(op->name, x, axis, &a.axis))
        return NULL;
    return tn_apply(op, &a, sizeof a, 1, &x);
}

tn_tensor *tn_argmax(tn_tensor *x, int axis) { return apply_arg(TN_OP(argmax), x, axis); }
tn_tensor *tn_argmin(tn_tensor *x, int axis) { return apply_arg(TN_OP(argmin), x, axis); }

/* ---- samples ---- */

static tn_tensor *var1(tn_tensor *x, unsigned axes, bool keep) { return tn_var(x, axes, keep, 1); }

#define KINDS(name, fn)                                                                          \
    MAKE(name##_all, fn(in[0], TN_ALL, false))                                                   \
    MAKE(name##_first, fn(in[0], TN_AXIS(0), false))                                             \
    MAKE(name##_last, fn(in[0], TN_AXIS(1), true))                                               \
    MAKE(name##_outer, fn(in[0], TN_AXIS(0) | TN_AXIS(2), true))                                 \
    MAKE(name##_turned, fn(tn_transpose(in[0], 0, 2), TN_AXIS(1) | TN_AXIS(2), false))           \
    MAKE(name##_sliced, fn(tn_slice(in[0], 1, 1, 9, 2), TN_AXIS(1), false))                      \
    MAKE(name##_missing, fn(in[0], TN_AXIS(2), false))
#define EACH_KIND(name)                                                                          \
    {.what = "all", .make = make_##name##_all, .in = {FLOATS(3, 4, 2)}},                         \
    {.what = "all, kept", .make = make_##name##_last, .in = {FLOATS(1, 7)}},                     \
    {.what = "a thousand rows", .make = make_##name##_first, .in = {FLOATS(1000, 3)}},           \
    {.what = "long rows", .make = make_##name##_last, .in = {FLOATS(3, 1000)}},                  \
    {.what = "the axes around one", .make = make_##name##_outer, .in = {FLOATS(3, 2, 4)}},       \
    {.what = "a turned view", .make = make_##name##_turned, .in = {FLOATS(3, 2, 4)}},            \
    {.what = "every second column", .make = make_##name##_sliced, .in = {FLOATS(3, 9)}},         \
    {.what = "no rows", .make = make_##name##_last, .in = {FLOATS(0, 3)}},                       \
    {.what = "an axis too many", .make = make_##name##_missing, .in = {FLOATS(2, 3)},            \
     .error = "axis 2 of [2,3] does not exist"}
#define OF_NOTHING(name)                                                                         \
    {.what = "of nothing", .make = make_##name##_first, .in = {FLOATS(0, 3)},                    \
     .error = #name ": no elements to choose from in [0,3]"}
#define SCALAR(name) {.what = "a scalar", .make = make_##name##_all, .in = {FLOAT}}

KINDS(sum, tn_sum)
SAMPLES(sum) = {EACH_KIND(sum), SCALAR(sum),
                {.what = "of nothing", .make = make_sum_first, .in = {FLOATS(0, 3)}}, {0}};
KINDS(mean, tn_mean)
SAMPLES(mean) = {EACH_KIND(mean), SCALAR(mean), {0}};
KINDS(amax, tn_amax)
SAMPLES(amax) = {EACH_KIND(amax), SCALAR(amax), OF_NOTHING(amax), {0}};
KINDS(amin, tn_amin)
SAMPLES(amin) = {EACH_KIND(amin), SCALAR(amin), OF_NOTHING(amin), {0}};
KINDS(var, var1)
SAMPLES(var) = {EACH_KIND(var), {0}};
KINDS(norm, tn_norm)
SAMPLES(norm) = {EACH_KIND(norm), SCALAR(norm), {0}};
KINDS(logsumexp, tn_logsumexp)
SAMPLES(logsumexp) = {EACH_KIND(logsumexp), SCALAR(logsumexp), {0}};

#define ARG_KINDS(name)                                                                          \
    MAKE(name##_first, tn_##name(in[0], 0))                                                      \
    MAKE(name##_last, tn_##name(in[0], -1))                                                      \
    MAKE(name##_turned, tn_##name(tn_transpose(in[0], 0, 1), 0))
#define EACH_ARG_KIND(name)                                                                      \
    {.what = "columns", .make = make_##name##_first, .in = {CONSTS(5, 3)}},                      \
    {.what = "rows", .make = make_##name##_last, .in = {CONSTS(2, 3, 40)}},                      \
    {.what = "a turned view", .make = make_##name##_turned, .in = {CONSTS(5, 30)}},              \
    {.what = "no rows", .make = make_##name##_last, .in = {CONSTS(0, 3)}},                       \
    {.what = "of a scalar", .make = make_##name##_last, .in = {FLOAT},                           \
     .error = #name ": axis -1 of [] does not exist"}

ARG_KINDS(argmax)
SAMPLES(argmax) = {EACH_ARG_KIND(argmax), OF_NOTHING(argmax), {0}};
ARG_KINDS(argmin)
SAMPLES(argmin) = {EACH_ARG_KIND(argmin), OF_NOTHING(argmin), {0}};
#endif
