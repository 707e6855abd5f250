/* Layer normalization over the last dim, as torch.nn.LayerNorm. */
#include "tensor/internal.h"
#include "tenon/nn.h"

typedef struct layernorm {
    tn_module base;
    tn_tensor *weight, *bias; /* [dim] or NULL */
    int64_t dim;
    double eps;
} layernorm;

static tn_tensor *forward(tn_module *m, int n, tn_tensor *const *x)
{
    const layernorm *l = (layernorm *)m;
    char s[TN_SHAPE_TEXT];
    (void)n;
    if (x[0]->ndim < 1 || x[0]->shape[x[0]->ndim - 1] != l->dim)
        return tn_fail(TN_ESHAPE, "layernorm: the last dim of %s is not %lld", tn_shape_text(x[0], s),
                       (long long)l->dim);
    return tn_layer_norm(x[0], l->weight, l->bias, l->eps);
}

static const tn_module_class layernorm_class = {
    .name = "LayerNorm", .size = sizeof(layernorm), .forward = forward};

tn_module *tn_layernorm_call(tn_layernorm_args a)
{
    if (a.dim < 1 || a.eps < 0)
        return tn_fail(TN_EARG, "layernorm: dim %lld, eps %g; at least 1 and 0 are possible",
                       (long long)a.dim, a.eps);
    layernorm *l = tn_module_new(&layernorm_class);
    if (!l)
        return NULL;
    l->dim = a.dim;
    l->eps = a.eps > 0 ? a.eps : 1e-5;
    if (!a.no_affine) {
        l->weight = tn_param_new(&l->base, "weight", (tn_init){.kind = TN_INIT_CONST, .a = 1}, TN_SHAPE(a.dim));
        l->bias = tn_param_new(&l->base, "bias", (tn_init){.kind = TN_INIT_ZEROS}, TN_SHAPE(a.dim));
    }
    return tn_module_done(l);
}
