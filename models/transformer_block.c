/* One layer of a Transformer over whole sequences; see transformer.h. */
#include "transformer.h"

/* ---- sublayers ---- */

static double dropout_of(const tn__block *b) { return b->base.training ? b->args->dropout : 0; }

tn_tensor *tn__sublayer_in(const tn__block *b, int k, tn_tensor *x)
{
    return b->args->pre_norm ? tn_layer_norm(x, b->gain[k], b->bias[k], 1e-5) : x;
}

tn_tensor *tn__sublayer_out(const tn__block *b, int k, tn_tensor *x, tn_tensor *y)
{
    const double p = dropout_of(b);
    if (b->args->pre_norm)
        return tn_add(x, p > 0 ? tn_dropout(y, p) : y);
    return tn_dropout_add_layer_norm(y, x, b->gain[k], b->bias[k], p, 1e-5);
}

tn_tensor *tn__feed_forward(const tn__block *b, tn_tensor *x)
{
    const double p = b->base.training ? b->args->activation_dropout : 0;
    tn_tensor *y;
    if (!b->args->gelu)
        y = tn_bias_relu_dropout(tn_affine(x, b->w1, NULL), b->b1, p);
    else if (y = tn_gelu(tn_affine(x, b->w1, b->b1)), p > 0)
        y = tn_dropout(y, p);
    return tn_affine(y, b->w2, b->b2);
}

tn_tensor *tn__block_forward(tn__block *b, tn_tensor *x, tn_tensor *spans, tn_tensor *source,
                             tn_tensor *source_spans)
{
    int k = 0;
    x = tn__sublayer_out(b, k, x, tn_forward(b->self, tn__sublayer_in(b, k, x), spans));
    if (b->cross) {
        k++;
        x = tn__sublayer_out(b, k, x, tn_forward(b->cross, tn__sublayer_in(b, k, x), spans, source, source_spans));
    }
    k++;
    return tn__sublayer_out(b, k, x, tn__feed_forward(b, tn__sublayer_in(b, k, x)));
}

/* ---- the layer ---- */

static tn_tensor *forward(tn_module *m, int n, tn_tensor *const *x)
{
    tn__block *b = (tn__block *)m;
    const int wanted = b->cross ? 4 : 2;
    if (n != wanted)
        return tn_fail(TN_EARG, "transformer layer: %d inputs are wanted (rows, spans%s), %d were given", wanted,
                       b->cross ? ", source, its spans" : "", n);
    return tn__block_forward(b, x[0], x[1], b->cross ? x[2] : NULL, b->cross ? x[3] : NULL);
}

static const tn_module_class block_class = {
    .name = "TransformerLayer", .size = sizeof(tn__block), .forward = forward, .inputs = 4};

static tn_tensor *param_of(tn_module *m, const char *name)
{
    tn_param *p = tn_find_param(m, name);
    return p ? &p->t : NULL;
}

tn_module *tn__block_new(const tn_transformer_args *a, bool causal, bool cross)
{
    static const char *const norms[TN__BLOCK_NORMS] = {"norm1", "norm2", "norm3"};
    tn_init xavier = {.kind = TN_INIT_XAVIER_UNIFORM};
    tn__block *b = tn_module_new(&block_class);
    if (!b)
        return NULL;
    b->args = a;
    b->self = tn_add_child(&b->base, "self_attn",
                           tn_multihead_attention(a->dim, a->heads, .causal = causal, .dropout = a->attention_dropout));
    if (cross)
        b->cross = tn_add_child(&b->base, "multihead_attn",
                                tn_multihead_attention(a->dim, a->heads, .dropout = a->attention_dropout));
    tn_module *one = tn_add_child(&b->base, "linear1", tn_linear(a->dim, a->ffn, .init = &xavier));
    tn_module *two = tn_add_child(&b->base, "linear2", tn_linear(a->ffn, a->dim, .init = &xavier));
    b->w1 = param_of(one, "weight");
    b->b1 = param_of(one, "bias");
    b->w2 = param_of(two, "weight");
    b->b2 = param_of(two, "bias");
    if (b->b1 && b->b2) {
        tn_fill_(b->b1, 0);
        tn_fill_(b->b2, 0);
    }
    for (int k = 0; k < (cross ? 3 : 2); k++) {
        tn_module *norm = tn_add_child(&b->base, norms[k], tn_layernorm(a->dim));
        b->gain[k] = param_of(norm, "weight");
        b->bias[k] = param_of(norm, "bias");
    }
    return tn_module_done(b);
}
