/* Transformers: encoder-decoder and language model, from embedding to loss.  A layer is transformer_block.c, word
 * by word decoding decoder.c.  Sequences stand one after the other without padding; see tn_attention(). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "transformer.h"

/* ---- encoder and decoder ---- */

tn_tensor *tn__embed_words(const tn__stack *s, tn_tensor *ids, tn_tensor *positions)
{
    tn_tensor *x = tn_add(tn_mul_scalar(tn_embed(s->words, ids), sqrt((double)s->args->dim)),
                          tn_embed(s->sines, positions));
    return s->base.training && s->args->dropout > 0 ? tn_dropout(x, s->args->dropout) : x;
}

tn_tensor *tn__stack_end(const tn__stack *s, tn_tensor *x)
{
    return s->gain ? tn_layer_norm(x, s->gain, s->bias, 1e-5) : x;
}

/* positions [rows] of the words in their sentences; NULL when a sentence has more than there are sines.  On another
 * device looking would mean to wait: there the table of sines misses an index, which the next wait tells. */
static tn_tensor *positions_of(tn_tensor *spans, int64_t rows)
{
    tn_tensor *positions = tn_positions(spans, rows); /* checks the spans, too */
    const bool here = positions && tn_device_of(spans).backend == tn_cpu().backend;
    const int64_t *span = here ? tn_i64(tn_cast(spans, TN_I64)) : NULL;
    for (int64_t i = 0; span && i < tn_dim(spans, 0); i++)
        if (span[2 * i + 1] > TN_POSITIONS)
            return tn_fail(TN_EARG, "transformer: sequence %lld has %lld words; %d are possible, leave longer ones "
                           "out (data.longest)", (long long)i, (long long)span[2 * i + 1], TN_POSITIONS);
    return positions;
}

/* ids [rows], spans [n, 2], in a decoder with a source that and its spans -> [rows, dim] */
static tn_tensor *forward_stack(tn_module *m, int n, tn_tensor *const *in)
{
    tn__stack *s = (tn__stack *)m;
    if (n != 2 && n != 4)
        return tn_fail(TN_EARG, "transformer: words and their spans are wanted, in a decoder with the source and its "
                       "spans; %d inputs were given", n);
    tn_tensor *x = tn__embed_words(s, in[0], positions_of(in[1], tn_numel(in[0])));
    for (tn_module *block = s->layers->child; block; block = block->next)
        x = n > 2 ? tn_forward(block, x, in[1], in[2], in[3]) : tn_forward(block, x, in[1]);
    return tn__stack_end(s, x);
}

static const tn_module_class stack_class = {
    .name = "TransformerStack", .size = sizeof(tn__stack), .forward = forward_stack, .inputs = 4};

static tn_tensor *forward_list(tn_module *m, int n, tn_tensor *const *x)
{
    (void)m, (void)n, (void)x;
    return tn_fail(TN_ESTATE, "transformer: a list of layers has no forward of its own; run the network");
}

static const tn_module_class list_class = {.name = "ModuleList", .size = sizeof(tn_module), .forward = forward_list};

/* Sines, then cosines, of angles that fall geometrically; the first word is at position 2, as pads are at 1. */
static void fill_sines(tn_tensor *table, int64_t dim)
{
    float *row = tn_f32(table);
    const int64_t half = dim / 2;
    const double fall = half > 1 ? log(10000) / (double)(half - 1) : 0;
    for (int64_t p = 0; row && p < TN_POSITIONS; p++, row += dim)
        for (int64_t k = 0; k < half; k++) {
            const double angle = (double)(p + TN_PAD + 1) * exp(-(double)k * fall);
            row[k] = (float)sin(angle);
            row[half + k] = (float)cos(angle);
        }
}

static tn_module *embedding_new(int64_t words, int64_t dim)
{
    tn_init normal = {TN_INIT_NORMAL, 0, 1 / sqrt((double)dim), false};
    return tn_embedding(words, dim, .init = &normal);
}

static tn_module *layers_new(const tn_transformer_args *a, int n, bool causal, bool cross)
{
    tn_module *list = tn_module_new(&list_class);
    for (int i = 0; list && i < n; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        tn_add_child(list, name, tn__block_new(a, causal, cross));
    }
    return tn_module_done(list);
}

/* words: of its own embedding; 0: `shared` is used, which another module owns. */
static tn__stack *stack_new(const tn_transformer_args *a, int64_t words, tn_tensor *shared, int layers, bool decoder,
                            bool cross)
{
    tn__stack *s = tn_module_new(&stack_class);
    if (!s)
        return NULL;
    s->args = a;
    s->words = shared;
    if (words) {
        tn_param *p = tn_find_param(tn_add_child(&s->base, "embed_tokens", embedding_new(words, a->dim)), "weight");
        s->words = p ? &p->t : NULL;
        if (s->words && words > TN_PAD)
            memset(tn_f32(s->words) + TN_PAD * a->dim, 0, (size_t)a->dim * sizeof(float));
    }
    s->sines = tn_buffer_new(&s->base, "sines", TN_F32, 0, TN_SHAPE(TN_POSITIONS, a->dim));
    tn_buffer_constant(s->sines);
    fill_sines(s->sines, a->dim);
    s->layers = tn_add_child(&s->base, "layers", layers_new(a, layers, decoder, cross));
    if (a->pre_norm) {
        tn_module *norm = tn_add_child(&s->base, "norm", tn_layernorm(a->dim));
        tn_param *gain = tn_find_param(norm, "weight"), *bias = tn_find_param(norm, "bias");
        s->gain = gain ? &gain->t : NULL;
        s->bias = bias ? &bias->t : NULL;
    }
    return (tn__stack *)tn_module_done(s);
}

/* ---- the network ---- */

/* x and its spans unless it is a language model; words that go in, and their spans -> [rows, dim] */
static tn_tensor *features(tn__transformer *t, tn_tensor *x, tn_tensor *x_spans, tn_tensor *prev, tn_tensor *spans)
{
    const tn_rng random = tn_rng_state();
    tn_tensor *y = t->encoder ? tn_forward(t->decoder, prev, spans, tn_forward(t->encoder, x, x_spans), x_spans)
                              : tn_forward(t->decoder, prev, spans);
    if (!t->base.training)
        tn_rng_restore(random); /* nothing was drawn */
    return y;
}

static tn_tensor *forward(tn_module *m, int n, tn_tensor *const *x)
{
    tn__transformer *t = (tn__transformer *)m;
    const int wanted = t->encoder ? 4 : 2;
    if (n != wanted)
        return tn_fail(TN_EARG, "transformer: %s are wanted, %d inputs were given",
                       t->encoder ? "x, x_spans, prev, y_spans" : "prev, spans", n);
    tn_tensor *y = t->encoder ? features(t, x[0], x[1], x[2], x[3]) : features(t, NULL, NULL, x[0], x[1]);
    return tn_affine(y, t->out, NULL);
}

static const tn_module_class transformer_class = {
    .name = "Transformer", .size = sizeof(tn__transformer), .forward = forward, .inputs = 4};

tn__transformer *tn__as_transformer(tn_module *net, const char *who)
{
    if (net && net->cls != &transformer_class)
        return tn_fail(TN_EARG, "%s: a Transformer is wanted, this is a %s", who, net->cls->name);
    return (tn__transformer *)net;
}

const tn_transformer_args *tn_transformer_settings(const tn_module *net)
{
    return net && net->cls == &transformer_class ? &((const tn__transformer *)net)->args : NULL;
}

tn_tensor *tn_transformer_loss(tn_module *net, tn_tensor *x, tn_tensor *x_spans, tn_tensor *y, tn_tensor *y_spans,
                               double smoothing, tn_tensor **nll)
{
    tn__transformer *t = tn__as_transformer(net, "transformer_loss");
    if (nll)
        *nll = NULL;
    if (!t || !y || !y_spans || (t->encoder && (!x || !x_spans)))
        return NULL;
    tn_tensor *loss = NULL;
    tn_scope *scope = tn_scope_begin();
    if (scope)
        loss = tn_linear_cross_entropy(features(t, x, x_spans, tn_shift(y, y_spans, TN_EOS), y_spans), t->out, y,
                                       .smoothing = smoothing, .sum = true, .nll = nll);
    tn_keep(loss);
    if (nll)
        tn_keep(*nll);
    tn_scope_end(&scope);
    return loss;
}

/* ---- making one ---- */

static bool share(double p) { return p >= 0 && p <= 1; }

static bool settle(tn_transformer_args *a, bool encoder)
{
    enum { MOST = 1 << 24, LAYERS = 1024 };
    a->dim = a->dim ? a->dim : 512;
    a->ffn = a->ffn ? a->ffn : 1024;
    a->heads = a->heads ? a->heads : 4;
    a->source = encoder ? a->source : 0;
    a->encoder_layers = !encoder ? 0 : a->encoder_layers ? a->encoder_layers : 6;
    a->decoder_layers = a->decoder_layers ? a->decoder_layers : 6;
    if (a->target < 1 || a->source < encoder || a->source > INT32_MAX || a->target > INT32_MAX)
        tn_fail(TN_EARG, "transformer: dictionaries of %lld and %lld words", (long long)a->source,
                (long long)a->target);
    else if (a->dim < 2 || a->dim % 2 || a->dim > MOST || a->ffn < 1 || a->ffn > MOST || a->heads < 1 ||
             a->dim % a->heads)
        tn_fail(TN_EARG, "transformer: dim %lld, ffn %lld, %d heads: the heads must divide dim, and 2 too",
                (long long)a->dim, (long long)a->ffn, a->heads);
    else if (a->encoder_layers < encoder || a->decoder_layers < 1 || a->encoder_layers > LAYERS ||
             a->decoder_layers > LAYERS)
        tn_fail(TN_EARG, "transformer: %d and %d layers: 1 to %d are possible", a->encoder_layers,
                a->decoder_layers, LAYERS);
    else if (!share(a->dropout) || !share(a->attention_dropout) || !share(a->activation_dropout))
        tn_fail(TN_EARG, "transformer: dropout %g, %g of attention, %g of activations: 0 to 1 are possible",
                a->dropout, a->attention_dropout, a->activation_dropout);
    else if (encoder && a->share == TN_SHARE_ALL && a->source != a->target)
        tn_fail(TN_EARG, "transformer: one embedding for %lld and %lld words; share all needs a joined dictionary",
                (long long)a->source, (long long)a->target);
    else
        return true;
    return false;
}

/* *out: the output matrix, its own or that of the embedding. */
static tn__stack *decoder_new(const tn_transformer_args *a, bool cross, tn_tensor **out)
{
    tn__stack *s = stack_new(a, a->target, NULL, a->decoder_layers, true, cross);
    *out = s ? s->words : NULL;
    if (!s || a->share != TN_SHARE_NONE)
        return s;
    tn_init normal = {TN_INIT_NORMAL, 0, 1 / sqrt((double)a->dim), false};
    tn_param *p = tn_find_param(tn_add_child(&s->base, "embed_out", tn_linear(a->dim, a->target, .no_bias = true,
                                                                              .init = &normal)), "weight");
    *out = p ? &p->t : NULL;
    return (tn__stack *)tn_module_done(s);
}

static tn_module *transformer_new(tn_transformer_args a, bool with_encoder)
{
    tn__transformer *t = settle(&a, with_encoder) ? tn_module_new(&transformer_class) : NULL;
    if (!t)
        return NULL;
    t->args = a;
    tn__stack *decoder = decoder_new(&t->args, with_encoder, &t->out);
    if (with_encoder) {
        const bool shared = a.share == TN_SHARE_ALL;
        tn__stack *encoder = stack_new(&t->args, shared ? 0 : a.source, shared ? t->out : NULL, a.encoder_layers,
                                       false, false);
        t->encoder = (tn__stack *)tn_add_child(&t->base, "encoder", (tn_module *)encoder);
    }
    t->decoder = (tn__stack *)tn_add_child(&t->base, "decoder", (tn_module *)decoder);
    return tn_module_done(t);
}

tn_module *tn_transformer_call(tn_transformer_args args) { return transformer_new(args, true); }
tn_module *tn_transformer_lm_call(tn_transformer_args args) { return transformer_new(args, false); }
