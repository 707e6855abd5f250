/* Maximum and average over square windows of channels-last images: definition, shapes, samples,
 * plain kernels. max_pool's second output is where each maximum stood, as row * W + column of its
 * image. Gradients: src/autograd/rules/pool.c; fast: src/tensor/cpu/pool.c. */
#include "op.h"
#include "sample.h"

/* The part of an output's window that lies inside the image. */
typedef struct span { int64_t first, last; } span; /* first <= i < last */

static span inside(int64_t at, int kernel, int stride, int pad, int64_t size)
{
    const int64_t lo = at * stride - pad, hi = lo + kernel;
    return (span){lo > 0 ? lo : 0, hi < size ? hi : size};
}

/* What output i looks at: channel `ch` of image `n`, within rows x cols. */
typedef struct view { int64_t n, ch; span rows, cols; } view;

static view view_of(const tn__window_attr *a, int64_t i)
{
    const int64_t pixel = i / a->c, row = pixel / a->ow;
    return (view){
        .n = row / a->oh, .ch = i % a->c,
        .rows = inside(row % a->oh, a->kh, a->sh, a->ph, a->h),
        .cols = inside(pixel % a->ow, a->kw, a->sw, a->pw, a->w),
    };
}

static int64_t divisor(const tn__window_attr *a, const view *v)
{
    return a->count_pad ? (int64_t)a->kh * a->kw
                        : (v->rows.last - v->rows.first) * (v->cols.last - v->cols.first);
}

tn_done KERNEL(max_pool)(const tn_call *c)
{
    const tn__window_attr *a = c->attr;
    const real *x = IN(0);
    real *y = OUT(0);
    int64_t *where = tn__data(c->out[1]);
    const int64_t outputs = a->n * a->oh * a->ow * a->c;
    for (int64_t i = 0; i < outputs; i++) {
        const view v = view_of(a, i);
        int64_t best = v.rows.first * a->w + v.cols.first;
        const real *image = x + v.n * a->h * a->w * a->c + v.ch;
        for (int64_t row = v.rows.first; row < v.rows.last; row++)
            for (int64_t col = v.cols.first; col < v.cols.last; col++) {
                const real value = image[(row * a->w + col) * a->c];
                if (value > image[best * a->c] || isnan(value))
                    best = row * a->w + col;
            }
        y[i] = image[best * a->c];
        where[i] = best;
    }
    return TN_DONE;
}

tn_done KERNEL(max_pool_backward)(const tn_call *c)
{
    const tn__window_attr *a = c->attr;
    const real *g = IN(0);
    const int64_t *where = INDEX(1);
    real *dx = OUT(0);
    memset(dx, 0, (size_t)(a->n * a->h * a->w * a->c) * sizeof *dx);
    const int64_t per_image = a->oh * a->ow * a->c;
    for (int64_t i = 0; i < a->n * per_image; i++)
        dx[(i / per_image * a->h * a->w + where[i]) * a->c + i % a->c] += g[i];
    return TN_DONE;
}

tn_done KERNEL(avg_pool)(const tn_call *c)
{
    const tn__window_attr *a = c->attr;
    const real *x = IN(0);
    real *y = OUT(0);
    const int64_t outputs = a->n * a->oh * a->ow * a->c;
    for (int64_t i = 0; i < outputs; i++) {
        const view v = view_of(a, i);
        double sum = 0;
        for (int64_t row = v.rows.first; row < v.rows.last; row++)
            for (int64_t col = v.cols.first; col < v.cols.last; col++)
                sum += (double)x[((v.n * a->h + row) * a->w + col) * a->c + v.ch];
        y[i] = (real)(sum / (double)divisor(a, &v));
    }
    return TN_DONE;
}

tn_done KERNEL(avg_pool_backward)(const tn_call *c)
{
    const tn__window_attr *a = c->attr;
    const real *g = IN(0);
    real *dx = OUT(0);
    memset(dx, 0, (size_t)(a->n * a->h * a->w * a->c) * sizeof *dx);
    const int64_t outputs = a->n * a->oh * a->ow * a->c;
    for (int64_t i = 0; i < outputs; i++) {
        const view v = view_of(a, i);
        const real share = g[i] / (real)divisor(a, &v);
        for (int64_t row = v.rows.first; row < v.rows.last; row++)
            for (int64_t col = v.cols.first; col < v.cols.last; col++)
                dx[((v.n * a->h + row) * a->w + col) * a->c + v.ch] += share;
    }
    return TN_DONE;
}

#if TN_WHOLE

static tn_tensor *pool(const tn_op *op, tn_pool_args args)
{
    const tn_tensor *x = args.x;
    if (!x)
        return NULL;
    const int k = args.kernel, s = args.stride ? args.stride : k, p = args.padding;
    char text[TN_SHAPE_TEXT];
    if (k < 1 || s < 1 || p < 0 || p > k / 2)
        return tn_fail(TN_EARG,
                       "%s: kernel %d, stride %d, padding %d: the first two must be positive, "
                       "the padding at most half of the kernel",
                       op->name, k, s, p);
    if (x->ndim != 4)
        return tn_fail(TN_ESHAPE, "%s: the image is [N,H,W,C], not %s", op->name,
                       tn_shape_text(x, text));
    tn__window_attr a = {
        .n = x->shape[0], .h = x->shape[1], .w = x->shape[2], .c = x->shape[3], .oc = x->shape[3],
        .oh = tn__window_count(x->shape[1], k, s, p, 1),
        .ow = tn__window_count(x->shape[2], k, s, p, 1),
        .kh = k, .kw = k, .sh = s, .sw = s, .ph = p, .pw = p, .dh = 1, .dw = 1, .groups = 1,
        .count_pad = !args.count_pad_off,
    };
    if (a.h < 1 || a.w < 1 || a.oh < 1 || a.ow < 1)
        return tn_fail(TN_ESHAPE, "%s: a window of %d with padding %d does not fit into %s",
                       op->name, k, p, tn_shape_text(x, text));
    return tn_apply(op, &a, sizeof a, 1, &args.x);
}

tn_tensor *tn_max_pool_call(tn_pool_args args) { return pool(TN_OP(max_pool), args); }
tn_tensor *tn_avg_pool_call(tn_pool_args args) { return pool(TN_OP(avg_pool), args); }

bool tn__shape_avg_pool(tn_call *c)
{
    const tn__window_attr *a = c->attr;
    tn__set_shape(c->out[0], TN_SHAPE(a->n, a->oh, a->ow, a->c));
    return true;
}

bool tn__shape_max_pool(tn_call *c)
{
    const tn__window_attr *a = c->attr;
    tn__set_shape(c->out[1], TN_SHAPE(a->n, a->oh, a->ow, a->c));
    c->out[1]->dtype = TN_I64;
    return tn__shape_avg_pool(c);
}

bool tn__shape_avg_pool_backward(tn_call *c)
{
    const tn__window_attr *a = c->attr;
    tn__set_shape(c->out[0], TN_SHAPE(a->n, a->h, a->w, a->c));
    return true;
}

bool tn__shape_max_pool_backward(tn_call *c) { return tn__shape_avg_pool_backward(c); }

MAKE(max2, tn_max_pool(in[0], .kernel = 2))
MAKE(max3, tn_max_pool(in[0], .kernel = 3, .stride = 2, .padding = 1))
MAKE(max_none, tn_max_pool(in[0]))
MAKE(max_wide, tn_max_pool(in[0], .kernel = 3, .padding = 2))
MAKE(avg2, tn_avg_pool(in[0], .kernel = 2))
MAKE(avg3, tn_avg_pool(in[0], .kernel = 3, .stride = 2, .padding = 1))
MAKE(avg3_off, tn_avg_pool(in[0], .kernel = 3, .stride = 2, .padding = 1, .count_pad_off = true))
MAKE(avg8, tn_avg_pool(in[0], .kernel = 8))

static const tn__window_attr back = {
    .n = 2, .h = 5, .w = 6, .c = 3, .oc = 3, .oh = 3, .ow = 3, .kh = 3, .kw = 3,
    .sh = 2, .sw = 2, .ph = 1, .pw = 1, .dh = 1, .dw = 1, .groups = 1,
};
/* of maxima where max_pool() finds them */
static tn_tensor *make_max_backward(int n, tn_tensor *const *in)
{
    tn_tensor *out[TN_MAX_OUT];
    (void)n;
    if (!tn__apply(TN_OP(max_pool), &back, sizeof back, 1, &in[1], out))
        return NULL;
    return tn_apply(TN_OP(max_pool_backward), &back, sizeof back, 2, (tn_tensor *[]){in[0], out[1]});
}
MAKE(avg_backward, tn_apply(TN_OP(avg_pool_backward), &back, sizeof back, 1, in))

SAMPLES(max_pool) = {
    {.what = "2x2", .make = make_max2, .in = {FLOATS(2, 6, 4, 3)}},
    {.what = "2x2 with a rest, 35 channels", .make = make_max2, .in = {FLOATS(2, 5, 7, 35)}},
    {.what = "overlapping, padding 1", .make = make_max3, .in = {FLOATS(2, 6, 7, 5)}},
    {.what = "all negative, padding 1", .make = make_max3, .in = {RANGE('f', -2, -1, 1, 4, 4, 16)}},
    {.what = "no images", .make = make_max2, .in = {FLOATS(0, 4, 4, 3)}},
    {.what = "no kernel", .make = make_max_none, .in = {FLOATS(1, 4, 4, 1)},
     .error = "max_pool: kernel 0"},
    {.what = "too much padding", .make = make_max_wide, .in = {FLOATS(1, 4, 4, 1)},
     .error = "max_pool: kernel 3, stride 3, padding 2"},
    {.what = "window too large", .make = make_max2, .in = {FLOATS(1, 1, 4, 1)},
     .error = "max_pool: a window of 2 with padding 0 does not fit into [1,1,4,1]"},
    {.what = "three dims", .make = make_max2, .in = {FLOATS(4, 4, 1)},
     .error = "[N,H,W,C], not [4,4,1]"},
    {0},
};
SAMPLES(max_pool_backward) = {
    {.what = "overlapping", .make = make_max_backward,
     .in = {CONSTS(2, 3, 3, 3), CONSTS(2, 5, 6, 3)}},
    {0},
};
SAMPLES(avg_pool) = {
    {.what = "2x2", .make = make_avg2, .in = {FLOATS(2, 6, 4, 3)}},
    {.what = "whole image", .make = make_avg8, .in = {FLOATS(2, 8, 8, 21)}},
    {.what = "overlapping, padding counted", .make = make_avg3, .in = {FLOATS(2, 6, 7, 5)}},
    {.what = "overlapping, padding not counted", .make = make_avg3_off,
     .in = {FLOATS(2, 6, 7, 18)}},
    {.what = "window too large", .make = make_avg8, .in = {FLOATS(1, 7, 8, 1)},
     .error = "avg_pool: a window of 8 with padding 0 does not fit into [1,7,8,1]"},
    {0},
};
SAMPLES(avg_pool_backward) = {
    {.what = "overlapping", .make = make_avg_backward, .in = {CONSTS(2, 3, 3, 3)}},
    {0},
};

#endif
