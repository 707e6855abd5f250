/* Multi-head attention on sequences without padding, as torch.nn.MultiheadAttention with its names and shapes;
 * one matrix projects to queries, keys and values.  The attention itself: src/tensor/ops/attention.c. */
#include "tensor/internal.h"
#include "tenon/nn.h"

typedef struct attention {
    tn_module base;
    tn_tensor *weight, *bias; /* [3 dim, dim], [3 dim]: rows of queries, of keys, of values */
    tn_module *out;
    tn_multihead_attention_args args;
} attention;

/* Rows from..to-1 of the projection, in units of dim. */
static tn_tensor *project(const attention *l, tn_tensor *x, int from, int to)
{
    const int64_t dim = l->args.dim;
    return tn_affine(x, tn_slice(l->weight, 0, from * dim, to * dim, 1), tn_slice(l->bias, 0, from * dim, to * dim, 1));
}

static bool fits(const attention *l, const tn_tensor *x, const char *what)
{
    char s[TN_SHAPE_TEXT];
    return (x->ndim == 2 && x->shape[1] == l->args.dim) ||
           (tn_fail(TN_ESHAPE, "multihead_attention: %s %s is not [rows,%lld]", what, tn_shape_text(x, s),
                    (long long)l->args.dim), false);
}

/* x, its spans, source, its spans */
static tn_tensor *forward(tn_module *m, int n, tn_tensor *const *x)
{
    const attention *l = (attention *)m;
    const tn_rng random = tn_rng_state();
    tn_attention_args a = {.spans = n > 1 ? x[1] : NULL, .kv_spans = n > 3 ? x[3] : NULL, .heads = l->args.heads,
                           .causal = l->args.causal, .dropout = m->training ? l->args.dropout : 0};
    if (!fits(l, x[0], "input") || (n > 2 && !fits(l, x[2], "source")))
        return NULL;
    if (n > 2) {
        a.q = project(l, x[0], 0, 1);
        a.kv = project(l, x[2], 1, 3);
        if (!a.kv)
            return NULL; /* without keys q would be taken for all three */
    } else {
        a.q = tn_affine(x[0], l->weight, l->bias);
    }
    tn_tensor *y = tn_attention_call(a);
    if (!m->training)
        tn_rng_restore(random); /* nothing is drawn in eval mode */
    return y ? tn_forward(l->out, y) : NULL;
}

static const tn_module_class attention_class = {
    .name = "MultiheadAttention", .size = sizeof(attention), .forward = forward, .inputs = 4};

tn_module *tn_multihead_attention_call(tn_multihead_attention_args a)
{
    const tn_init zeros = {.kind = TN_INIT_ZEROS};
    tn_init xavier = {.kind = TN_INIT_XAVIER_UNIFORM};
    if (a.dim < 1 || a.dim > INT64_MAX / 3 || a.heads < 1 || a.dim % a.heads)
        return tn_fail(TN_EARG, "multihead_attention: %d heads do not divide %lld columns", a.heads, (long long)a.dim);
    if (!(a.dropout >= 0 && a.dropout <= 1))
        return tn_fail(TN_EARG, "multihead_attention: %g is not a probability", a.dropout);
    attention *l = tn_module_new(&attention_class);
    if (!l)
        return NULL;
    l->args = a;
    l->weight = tn_param_new(&l->base, "in_proj_weight", xavier, TN_SHAPE(3 * a.dim, a.dim));
    l->bias = tn_param_new(&l->base, "in_proj_bias", zeros, TN_SHAPE(3 * a.dim));
    l->out = tn_add_child(&l->base, "out_proj", tn_linear(a.dim, a.dim, .init = &xavier));
    tn_param *bias = tn_find_param(l->out, "bias");
    if (bias && !tn_fill_(&bias->t, 0))
        l->base.broken = true;
    return tn_module_done(l);
}
