/* Convolution of channels-last images and its two gradients: definition, shapes, samples, plain
 * kernels. Gradients: src/autograd/rules/conv.c; fast: src/tensor/cpu/conv.c. */
#include "op.h"
#include "sample.h"

/* Offset of the first channel of a pixel; negative outside the image. */
static int64_t pixel(const tn__window_attr *a, int64_t image, int64_t row, int64_t col)
{
    if (row < 0 || row >= a->h || col < 0 || col >= a->w)
        return -1;
    return ((image * a->h + row) * a->w + col) * a->c;
}

static double window_dot(const tn__window_attr *a, const real *x, const real *w,
                         const int64_t at[3], int64_t o)
{
    const int64_t inputs = a->c / a->groups, group = o / (a->oc / a->groups);
    double sum = 0;
    for (int kh = 0; kh < a->kh; kh++)
        for (int kw = 0; kw < a->kw; kw++) {
            const int64_t row = at[1] * a->sh - a->ph + (int64_t)kh * a->dh;
            const int64_t col = at[2] * a->sw - a->pw + (int64_t)kw * a->dw;
            const int64_t from = pixel(a, at[0], row, col);
            const real *tap = w + ((o * a->kh + kh) * a->kw + kw) * inputs;
            for (int64_t i = 0; from >= 0 && i < inputs; i++)
                sum += (double)x[from + group * inputs + i] * (double)tap[i];
        }
    return sum;
}

tn_done KERNEL(conv)(const tn_call *c)
{
    const tn__window_attr *a = c->attr;
    const real *bias = IN(2);
    real *y = OUT(0);
    for (int64_t n = 0; n < a->n; n++)
        for (int64_t oh = 0; oh < a->oh; oh++)
            for (int64_t ow = 0; ow < a->ow; ow++)
                for (int64_t o = 0; o < a->oc; o++)
                    *y++ = (real)(window_dot(a, IN(0), IN(1), (int64_t[]){n, oh, ow}, o) +
                                  (bias ? (double)bias[o] : 0));
    return TN_DONE;
}

/* Which output row (or column) meets input position `in` through tap `k`; negative: none. */
static int64_t output_of(int64_t in, int64_t k, int pad, int dilation, int stride, int64_t count)
{
    const int64_t at = in + pad - k * dilation;
    return at >= 0 && at % stride == 0 && at / stride < count ? at / stride : -1;
}

/* The sum over every output that input channel `ch` of a pixel reaches. */
static double spread_dot(const tn__window_attr *a, const real *g, const real *w,
                         const int64_t at[3], int64_t ch)
{
    const int64_t inputs = a->c / a->groups, outputs = a->oc / a->groups;
    const int64_t first = ch / inputs * outputs;
    double sum = 0;
    for (int kh = 0; kh < a->kh; kh++)
        for (int kw = 0; kw < a->kw; kw++) {
            const int64_t oh = output_of(at[1], kh, a->ph, a->dh, a->sh, a->oh);
            const int64_t ow = output_of(at[2], kw, a->pw, a->dw, a->sw, a->ow);
            if (oh < 0 || ow < 0)
                continue;
            const real *from = g + ((at[0] * a->oh + oh) * a->ow + ow) * a->oc;
            for (int64_t o = first; o < first + outputs; o++)
                sum += (double)from[o] *
                       (double)w[((o * a->kh + kh) * a->kw + kw) * inputs + ch % inputs];
        }
    return sum;
}

tn_done KERNEL(conv_backward_data)(const tn_call *c)
{
    const tn__window_attr *a = c->attr;
    real *dx = OUT(0);
    for (int64_t n = 0; n < a->n; n++)
        for (int64_t row = 0; row < a->h; row++)
            for (int64_t col = 0; col < a->w; col++)
                for (int64_t ch = 0; ch < a->c; ch++)
                    *dx++ = (real)spread_dot(a, IN(0), IN(1), (int64_t[]){n, row, col}, ch);
    return TN_DONE;
}

/* The sum over every pixel that tap (kh, kw) of output `o` meets in input channel `ch`. */
static double image_dot(const tn__window_attr *a, const real *x, const real *g, int kh, int kw,
                        int64_t ch, int64_t o)
{
    double sum = 0;
    for (int64_t n = 0; n < a->n; n++)
        for (int64_t oh = 0; oh < a->oh; oh++)
            for (int64_t ow = 0; ow < a->ow; ow++) {
                const int64_t row = oh * a->sh - a->ph + (int64_t)kh * a->dh;
                const int64_t col = ow * a->sw - a->pw + (int64_t)kw * a->dw;
                const int64_t from = pixel(a, n, row, col);
                if (from >= 0)
                    sum += (double)x[from + ch] *
                           (double)g[((n * a->oh + oh) * a->ow + ow) * a->oc + o];
            }
    return sum;
}

tn_done KERNEL(conv_backward_weight)(const tn_call *c)
{
    const tn__window_attr *a = c->attr;
    const int64_t inputs = a->c / a->groups;
    real *dw = OUT(0);
    for (int64_t o = 0; o < a->oc; o++)
        for (int kh = 0; kh < a->kh; kh++)
            for (int kw = 0; kw < a->kw; kw++)
                for (int64_t i = 0; i < inputs; i++) {
                    const int64_t ch = o / (a->oc / a->groups) * inputs + i;
                    *dw++ = (real)image_dot(a, IN(0), IN(1), kh, kw, ch, o);
                }
    return TN_DONE;
}

#if TN_WHOLE

static void *mismatch(const tn_tensor *x, const tn_tensor *w, const char *why)
{
    char xs[TN_SHAPE_TEXT], ws[TN_SHAPE_TEXT];
    return tn_fail(TN_ESHAPE, "conv: shapes do not fit: %s x %s; %s", tn_shape_text(x, xs),
                   tn_shape_text(w, ws), why);
}

tn_tensor *tn_conv_call(tn_conv_args args)
{
    const tn_tensor *x = args.x, *w = args.w;
    if (!x || !w)
        return NULL;
    const int stride = args.stride ? args.stride : 1, dilation = args.dilation ? args.dilation : 1;
    tn__window_attr a = {
        .sh = stride, .sw = args.stride_w ? args.stride_w : stride,
        .ph = args.padding, .pw = args.padding_w ? args.padding_w : args.padding,
        .dh = dilation, .dw = args.dilation_w ? args.dilation_w : dilation,
        .groups = args.groups ? args.groups : 1,
    };
    if (a.sh < 1 || a.sw < 1 || a.ph < 0 || a.pw < 0 || a.dh < 1 || a.dw < 1 || a.groups < 1)
        return tn_fail(
            TN_EARG,
            "conv: stride %dx%d, padding %dx%d, dilation %dx%d and groups %d must not be negative",
            a.sh, a.sw, a.ph, a.pw, a.dh, a.dw, a.groups);
    if (x->ndim != 4 || w->ndim != 4)
        return mismatch(x, w, "the image is [N,H,W,C], the weight [O,KH,KW,C/groups]");
    if (x->shape[3] % a.groups || w->shape[0] % a.groups || w->shape[3] != x->shape[3] / a.groups)
        return mismatch(x, w, "the weight's last dim must be the image's channels over groups");
    if (w->shape[1] < 1 || w->shape[2] < 1 || w->shape[1] > INT32_MAX || w->shape[2] > INT32_MAX)
        return mismatch(x, w, "the kernel has an impossible size");
    a.n = x->shape[0], a.h = x->shape[1], a.w = x->shape[2], a.c = x->shape[3];
    a.oc = w->shape[0], a.kh = (int)w->shape[1], a.kw = (int)w->shape[2];
    a.oh = tn__window_count(a.h, a.kh, a.sh, a.ph, a.dh);
    a.ow = tn__window_count(a.w, a.kw, a.sw, a.pw, a.dw);
    if (a.oh < 1 || a.ow < 1)
        return mismatch(x, w, "the dilated kernel is larger than the padded image");
    return tn_apply(TN_OP(conv), &a, sizeof a, 3, (tn_tensor *[]){args.x, args.w, args.bias});
}

bool tn__shape_conv(tn_call *c)
{
    const tn__window_attr *a = c->attr;
    const tn_tensor *bias = c->in[2];
    if (bias && (bias->ndim != 1 || bias->shape[0] != a->oc)) {
        char text[TN_SHAPE_TEXT];
        return tn_fail(TN_ESHAPE, "conv: bias is %s; it must be [%lld]", tn_shape_text(bias, text),
                       (long long)a->oc);
    }
    tn__set_shape(c->out[0], TN_SHAPE(a->n, a->oh, a->ow, a->oc));
    return true;
}

bool tn__shape_conv_backward_data(tn_call *c)
{
    const tn__window_attr *a = c->attr;
    tn__set_shape(c->out[0], TN_SHAPE(a->n, a->h, a->w, a->c));
    return true;
}

bool tn__shape_conv_backward_weight(tn_call *c)
{
    const tn__window_attr *a = c->attr;
    tn__set_shape(c->out[0], TN_SHAPE(a->oc, a->kh, a->kw, a->c / a->groups));
    return true;
}

MAKE(plain, tn_conv(in[0], in[1], NULL))
MAKE(bias, tn_conv(in[0], in[1], in[2]))
MAKE(pad1, tn_conv(in[0], in[1], NULL, .padding = 1))
MAKE(pad1_bias, tn_conv(in[0], in[1], in[2], .padding = 1))
MAKE(stride2, tn_conv(in[0], in[1], NULL, .stride = 2))
MAKE(stride2_pad1, tn_conv(in[0], in[1], in[2], .stride = 2, .padding = 1))
MAKE(stride2_pad3, tn_conv(in[0], in[1], NULL, .stride = 2, .padding = 3))
MAKE(dilated, tn_conv(in[0], in[1], NULL, .padding = 2, .dilation = 2))
MAKE(groups2, tn_conv(in[0], in[1], in[2], .padding = 1, .groups = 2))
MAKE(depthwise, tn_conv(in[0], in[1], NULL, .stride = 2, .padding = 1, .groups = 6))
MAKE(groups130, tn_conv(in[0], in[1], NULL, .padding = 1, .groups = 130))
MAKE(oblong, tn_conv(in[0], in[1], NULL, .stride = 2, .stride_w = 1, .padding = 1, .padding_w = 2,
                     .dilation = 1, .dilation_w = 2))
MAKE(backwards, tn_conv(in[0], in[1], NULL, .stride = -1))

static const tn__window_attr back = {
    .n = 2, .h = 7, .w = 6, .c = 5, .oh = 4, .ow = 3, .oc = 3, .kh = 3, .kw = 3,
    .sh = 2, .sw = 2, .ph = 1, .pw = 1, .dh = 1, .dw = 1, .groups = 1,
};
MAKE(backward_data, tn_apply(TN_OP(conv_backward_data), &back, sizeof back, 2, in))
MAKE(backward_weight, tn_apply(TN_OP(conv_backward_weight), &back, sizeof back, 2, in))

SAMPLES(conv) = {
    {.what = "3x3", .make = make_plain, .in = {FLOATS(2, 6, 7, 3), FLOATS(4, 3, 3, 3)}},
    {.what = "3x3 with bias", .make = make_bias,
     .in = {FLOATS(2, 5, 5, 2), FLOATS(3, 3, 3, 2), FLOATS(3)}},
    {.what = "1x1", .make = make_plain, .in = {FLOATS(2, 4, 3, 5), FLOATS(6, 1, 1, 5)}},
    {.what = "1x1, stride 2", .make = make_stride2,
     .in = {FLOATS(2, 8, 7, 16), FLOATS(32, 1, 1, 16)}},
    {.what = "3x3, padding 1, 16 channels", .make = make_pad1,
     .in = {FLOATS(2, 8, 8, 16), FLOATS(16, 3, 3, 16)}},
    {.what = "3x3, padding 1, bias, odd channels", .make = make_pad1_bias,
     .in = {FLOATS(2, 9, 5, 19), FLOATS(37, 3, 3, 19), FLOATS(37)}},
    {.what = "3x3, stride 2, padding 1", .make = make_stride2_pad1,
     .in = {FLOATS(3, 8, 9, 16), FLOATS(32, 3, 3, 16), FLOATS(32)}},
    {.what = "7x7, stride 2, padding 3", .make = make_stride2_pad3,
     .in = {FLOATS(1, 15, 14, 3), FLOATS(8, 7, 7, 3)}},
    {.what = "kernel of the image's size", .make = make_plain,
     .in = {FLOATS(3, 4, 5, 2), FLOATS(3, 4, 5, 2)}},
    {.what = "dilation 2", .make = make_dilated, .in = {FLOATS(2, 7, 8, 3), FLOATS(4, 3, 3, 3)}},
    {.what = "2 groups", .make = make_groups2,
     .in = {FLOATS(2, 5, 5, 6), FLOATS(4, 3, 3, 3), FLOATS(4)}},
    {.what = "depthwise", .make = make_depthwise, .in = {FLOATS(2, 5, 6, 6), FLOATS(12, 3, 3, 1)}},
    {.what = "depthwise, many channels", .make = make_groups130,
     .in = {FLOATS(1, 3, 4, 130), FLOATS(130, 3, 3, 1)}},
    {.what = "many pixels", .make = make_pad1, .in = {FLOATS(2, 25, 24, 3), FLOATS(4, 3, 3, 3)}},
    {.what = "many pixels, 2 groups", .make = make_groups2,
     .in = {FLOATS(2, 24, 25, 4), FLOATS(4, 3, 3, 2), FLOATS(4)}},
    {.what = "no channels", .make = make_bias, .in = {FLOATS(2, 4, 4, 0), FLOATS(3, 2, 2, 0), FLOATS(3)}},
    {.what = "height unlike width", .make = make_oblong,
     .in = {FLOATS(2, 7, 6, 3), FLOATS(4, 3, 2, 3)}},
    {.what = "constant image", .make = make_pad1, .in = {CONSTS(1, 4, 4, 3), FLOATS(4, 3, 3, 3)}},
    {.what = "constant weight", .make = make_pad1, .in = {FLOATS(1, 4, 4, 3), CONSTS(4, 3, 3, 3)}},
    {.what = "no images", .make = make_pad1, .in = {FLOATS(0, 4, 4, 3), FLOATS(4, 3, 3, 3)}},
    {.what = "other channels", .make = make_plain, .in = {FLOATS(2, 6, 7, 3), FLOATS(4, 3, 3, 2)},
     .error = "conv: shapes do not fit: [2,6,7,3] x [4,3,3,2]"},
    {.what = "three dims", .make = make_plain, .in = {FLOATS(6, 7, 3), FLOATS(4, 3, 3, 3)},
     .error = "[N,H,W,C]"},
    {.what = "kernel too large", .make = make_plain, .in = {FLOATS(1, 2, 2, 3), FLOATS(4, 3, 3, 3)},
     .error = "larger than the padded image"},
    {.what = "bias of another size", .make = make_bias,
     .in = {FLOATS(2, 5, 5, 2), FLOATS(3, 3, 3, 2), FLOATS(4)},
     .error = "conv: bias is [4]; it must be [3]"},
    {.what = "negative stride", .make = make_backwards,
     .in = {FLOATS(2, 5, 5, 2), FLOATS(3, 3, 3, 2)}, .error = "conv: stride -1"},
    {0},
};
SAMPLES(conv_backward_data) = {
    {.what = "3x3, stride 2, padding 1", .make = make_backward_data,
     .in = {CONSTS(2, 4, 3, 3), CONSTS(3, 3, 3, 5)}},
    {0},
};
SAMPLES(conv_backward_weight) = {
    {.what = "3x3, stride 2, padding 1", .make = make_backward_weight,
     .in = {CONSTS(2, 7, 6, 5), CONSTS(2, 4, 3, 3)}},
    {0},
};

#endif
