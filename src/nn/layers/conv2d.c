/* Convolution of images [N,H,W,C], as torch.nn.Conv2d with square kernels. */
#include <math.h>

#include "tensor/internal.h"
#include "tenon/nn.h"

typedef struct conv2d {
    tn_module base;
    tn_tensor *weight, *bias; /* [out, kernel, kernel, in/groups], [out] or NULL */
    int stride, padding, dilation, groups;
} conv2d;

static tn_tensor *forward(tn_module *m, int n, tn_tensor *const *x)
{
    const conv2d *l = (conv2d *)m;
    (void)n;
    return tn_conv(x[0], l->weight, l->bias, .stride = l->stride, .padding = l->padding,
                   .dilation = l->dilation, .groups = l->groups);
}

static const tn_module_class conv2d_class = {.name = "Conv2d", .size = sizeof(conv2d), .forward = forward};

static bool args_ok(const tn_conv2d_args *a)
{
    if (a->in < 1 || a->out < 1 || a->kernel < 1)
        return tn_fail(TN_EARG, "conv2d: %lld to %lld channels, kernel %d; all must be at least 1",
                       (long long)a->in, (long long)a->out, a->kernel), false;
    if (a->stride < 0 || a->padding < 0 || a->dilation < 0 || a->groups < 0)
        return tn_fail(TN_EARG, "conv2d: stride, padding, dilation and groups cannot be negative"), false;
    if (a->groups && (a->in % a->groups || a->out % a->groups))
        return tn_fail(TN_EARG, "conv2d: %d groups do not divide %lld and %lld channels", a->groups,
                       (long long)a->in, (long long)a->out), false;
    return true;
}

tn_module *tn_conv2d_call(tn_conv2d_args a)
{
    if (!args_ok(&a))
        return NULL;
    const int64_t k = a.kernel, in = a.in / (a.groups ? a.groups : 1);
    const double bound = 1 / sqrt((double)(in * k * k));
    const tn_init even = {TN_INIT_UNIFORM, -bound, bound, false};
    conv2d *l = tn_module_new(&conv2d_class);
    if (!l)
        return NULL;
    l->stride = a.stride;
    l->padding = a.padding;
    l->dilation = a.dilation;
    l->groups = a.groups;
    l->weight = tn_param_new(&l->base, "weight", a.init ? *a.init : even, TN_SHAPE(a.out, k, k, in));
    tn_param_conv_layout(l->weight);
    if (!a.no_bias)
        l->bias = tn_param_new(&l->base, "bias", even, TN_SHAPE(a.out));
    return tn_module_done(l);
}
