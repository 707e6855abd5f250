/* y = x weight^T + bias, as torch.nn.Linear. */
#include <math.h>

#include "tensor/internal.h"
#include "tenon/nn.h"

typedef struct linear {
    tn_module base;
    tn_tensor *weight, *bias; /* [out, in], [out] or NULL */
} linear;

static tn_tensor *forward(tn_module *m, int n, tn_tensor *const *x)
{
    const linear *l = (linear *)m;
    (void)n;
    return tn_affine(x[0], l->weight, l->bias);
}

static const tn_module_class linear_class = {.name = "Linear", .size = sizeof(linear), .forward = forward};

tn_module *tn_linear_call(tn_linear_args a)
{
    if (a.in < 1 || a.out < 1)
        return tn_fail(TN_EARG, "linear: %lld inputs and %lld outputs; both must be at least 1",
                       (long long)a.in, (long long)a.out);
    const double bound = 1 / sqrt((double)a.in);
    const tn_init even = {TN_INIT_UNIFORM, -bound, bound, false};
    linear *l = tn_module_new(&linear_class);
    if (!l)
        return NULL;
    l->weight = tn_param_new(&l->base, "weight", a.init ? *a.init : even, TN_SHAPE(a.out, a.in));
    if (!a.no_bias)
        l->bias = tn_param_new(&l->base, "bias", even, TN_SHAPE(a.out));
    return tn_module_done(l);
}
