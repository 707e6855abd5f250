/* A Transformer's decoder, word by word; see model.h.
 *
 * Keys and values of what each line has seen stand in one cache a layer, those of the source in another.  A cache
 * of lines exists twice: when lines go on from other lines, their rows are copied from one to the other.  Lines of
 * finished sentences are only forgotten: what is kept is told by `base` and copied with the next step. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transformer.h"

enum { ROOM = 32 }; /* steps a cache begins with */

struct tn_decoder {
    const tn_type *type;
    tn__transformer *net;
    int lines, layers;       /* lines of a sentence */
    int64_t n, made, steps;  /* sentences now, those there is room for, steps done */
    int64_t room;            /* steps there is room for */
    int64_t (*spans)[2];     /* [n]: rows of the source of a sentence */
    int32_t *base;           /* [n lines]: where in the cache a line's rows are */
    tn_module *source, *cache[2]; /* buffers "0", "1" ... of a layer each: [rows, 2 dim], [made lines, room, 2 dim] */
    int now;                 /* the cache in use */
    float *query, *keys, *attention; /* of the last layer: [n lines, dim], [rows, 2 dim], [longest source] */
    int64_t rows;            /* of the source */
};

static tn_device device_of(const tn_decoder *d) { return tn_device_of(d->net->out); }

/* ---- caches ---- */

static tn_tensor *no_forward(tn_module *m, int n, tn_tensor *const *x)
{
    (void)m, (void)n, (void)x;
    return tn_fail(TN_ESTATE, "decoder: a cache has no forward");
}

static const tn_module_class cache_class = {.name = "Cache", .size = sizeof(tn_module), .forward = no_forward};

static tn_module *cache_new(const tn_decoder *d, int ndim, const int64_t *shape)
{
    tn_module *m = tn_module_new(&cache_class);
    for (int i = 0; m && i < d->layers; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        tn_buffer_new(m, name, TN_F32, 0, ndim, shape);
    }
    m = tn_module_done(m);
    if (tn_to(m, device_of(d)))
        return m;
    tn_free(m);
    return NULL;
}

static tn_tensor *cached(tn_module *cache, int layer)
{
    char name[16];
    snprintf(name, sizeof name, "%d", layer);
    tn_param *p = tn_find_param(cache, name);
    return p ? &p->t : NULL;
}

static bool make_caches(tn_decoder *d, tn_module *out[2])
{
    const int64_t columns = 2 * d->net->args.dim;
    for (int k = 0; k < 2; k++)
        out[k] = cache_new(d, TN_SHAPE(d->made * d->lines, d->room, columns));
    return out[0] && out[1];
}

/* Rows from..to-1 of a line. */
static tn_tensor *rows_of(tn_tensor *cache, int64_t line, int64_t from, int64_t to)
{
    return tn_slice(tn_slice(cache, 0, line, line + 1, 1), 1, from, to, 1);
}

/* Lines as the next step wants them: line i of `to` is line base[i] of `from`. */
static bool copy_lines(const tn_decoder *d, tn_module *from, tn_module *to)
{
    for (int k = 0; k < d->layers; k++)
        for (int64_t i = 0; i < d->n * d->lines; i++)
            TN_SCOPE {
                if (!tn_copy_(rows_of(cached(to, k), i, 0, d->steps),
                              rows_of(cached(from, k), d->base[i], 0, d->steps)))
                    return false;
            }
    return true;
}

static bool grow(tn_decoder *d)
{
    tn_module *bigger[2] = {NULL, NULL};
    d->room *= 2;
    bool good = make_caches(d, bigger) && copy_lines(d, d->cache[d->now], bigger[0]);
    if (!good) {
        tn_free(bigger[0], bigger[1]);
        return false;
    }
    tn_free(d->cache[0], d->cache[1]);
    d->cache[0] = bigger[0];
    d->cache[1] = bigger[1];
    d->now = 0;
    return true;
}

/* Makes base the identity, with room for one more step. */
static bool arrange(tn_decoder *d, const int32_t *from)
{
    const int64_t lines = d->n * d->lines;
    bool same = true;
    if (from) {
        int32_t *base = malloc((size_t)lines * sizeof *base);
        if (!base)
            return tn_fail(TN_ENOMEM, "decoder: no memory for %lld lines", (long long)lines);
        for (int64_t i = 0; i < lines; i++)
            base[i] = d->base[from[i]];
        memcpy(d->base, base, (size_t)lines * sizeof *base);
        free(base);
    }
    for (int64_t i = 0; i < lines; i++)
        same = same && d->base[i] == i;
    if (d->steps == d->room) {
        if (!grow(d))
            return false;
    } else if (!same && d->steps) {
        if (!copy_lines(d, d->cache[d->now], d->cache[!d->now]))
            return false;
        d->now = !d->now;
    }
    for (int64_t i = 0; i < lines; i++)
        d->base[i] = (int32_t)i;
    return true;
}

/* ---- one step ---- */

typedef struct step {
    tn_decoder *d;
    tn_tensor *own, *past, *source; /* spans [lines, 2]: one query each, rows of its cache, rows of its source */
} step;

/* Rows from..to-1, in units of dim, of an attention's projection of x. */
static tn_tensor *project(tn_module *attention, tn_tensor *x, int64_t dim, int from, int to)
{
    tn_param *w = tn_find_param(attention, "in_proj_weight"), *b = tn_find_param(attention, "in_proj_bias");
    return tn_affine(x, tn_slice(&w->t, 0, from * dim, to * dim, 1), tn_slice(&b->t, 0, from * dim, to * dim, 1));
}

static tn_tensor *attend(tn_module *attention, tn_attention_args a)
{
    tn_tensor *y = a.q && a.kv ? tn_attention_call(a) : NULL;
    return tn_forward(tn_find_module(attention, "out_proj"), y);
}

static tn_tensor *attend_self(const step *s, const tn__block *b, int layer, tn_tensor *x)
{
    tn_decoder *d = s->d;
    const int64_t dim = d->net->args.dim, lines = d->n * d->lines;
    tn_tensor *qkv = project(b->self, x, dim, 0, 3), *cache = cached(d->cache[d->now], layer);
    tn_tensor *kv = tn_reshape(tn_slice(qkv, 1, dim, 3 * dim, 1), TN_SHAPE(lines, 1, 2 * dim));
    for (int64_t i = 0; i < lines; i++)
        TN_SCOPE {
            if (!tn_copy_(rows_of(cache, i, d->steps, d->steps + 1), tn_slice(kv, 0, i, i + 1, 1)))
                return NULL;
        }
    return attend(b->self, (tn_attention_args){.q = tn_slice(qkv, 1, 0, dim, 1),
                                               .kv = tn_reshape(cache, TN_SHAPE(-1, 2 * dim)),
                                               .spans = s->own, .kv_spans = s->past, .heads = d->net->args.heads});
}

static tn_tensor *attend_source(const step *s, const tn__block *b, int layer, tn_tensor *x)
{
    tn_decoder *d = s->d;
    tn_tensor *q = project(b->cross, x, d->net->args.dim, 0, 1);
    if (layer == d->layers - 1 && !tn_read_f32(q, d->query))
        return NULL;
    return attend(b->cross, (tn_attention_args){.q = q, .kv = cached(d->source, layer), .spans = s->own,
                                                .kv_spans = s->source, .heads = d->net->args.heads});
}

static tn_tensor *run_block(const step *s, const tn__block *b, int layer, tn_tensor *x)
{
    int k = 0;
    x = tn__sublayer_out(b, k, x, attend_self(s, b, layer, tn__sublayer_in(b, k, x)));
    if (b->cross) {
        k++;
        x = tn__sublayer_out(b, k, x, attend_source(s, b, layer, tn__sublayer_in(b, k, x)));
    }
    k++;
    return tn__sublayer_out(b, k, x, tn__feed_forward(b, tn__sublayer_in(b, k, x)));
}

static bool make_spans(step *s)
{
    const tn_decoder *d = s->d;
    const int64_t lines = d->n * d->lines;
    s->own = tn_empty(TN_I64, TN_SHAPE(lines, 2));
    s->past = tn_empty(TN_I64, TN_SHAPE(lines, 2));
    s->source = tn_empty(TN_I64, TN_SHAPE(lines, 2));
    if (!s->own || !s->past || !s->source)
        return false;
    for (int64_t i = 0; i < lines; i++) {
        int64_t *own = tn_i64(s->own) + 2 * i, *past = tn_i64(s->past) + 2 * i, *source = tn_i64(s->source) + 2 * i;
        own[0] = i;
        own[1] = 1;
        past[0] = i * d->room;
        past[1] = d->steps + 1;
        memcpy(source, d->spans[i / d->lines], sizeof *d->spans);
    }
    s->own = tn_on(s->own, device_of(d));
    s->past = tn_on(s->past, device_of(d));
    s->source = tn_on(s->source, device_of(d));
    return s->own && s->past && s->source;
}

static tn_tensor *run_step(tn_decoder *d, const int32_t *ids)
{
    const int64_t lines = d->n * d->lines;
    step s = {.d = d};
    tn_tensor *words = tn_empty(TN_I64, 1, &lines), *at = tn_full((double)d->steps, TN_I64, 1, &lines);
    if (!words || !at || !make_spans(&s))
        return NULL;
    for (int64_t i = 0; i < lines; i++)
        tn_i64(words)[i] = ids[i];
    const tn__stack *stack = d->net->decoder;
    tn_tensor *x = tn__embed_words(stack, tn_on(words, device_of(d)), tn_on(at, device_of(d)));
    int layer = 0;
    for (tn_module *m = stack->layers->child; m; m = m->next)
        x = run_block(&s, (const tn__block *)m, layer++, x);
    return tn_log_softmax(tn_affine(tn__stack_end(stack, x), d->net->out, NULL), 1);
}

tn_tensor *tn_decoder_step(tn_decoder *d, const int32_t *ids, const int32_t *from)
{
    tn_tensor *y = NULL;
    if (!d || !ids)
        return NULL;
    for (int64_t i = 0; from && i < d->n * d->lines; i++)
        if (from[i] < 0 || from[i] / d->lines != i / d->lines)
            return tn_fail(TN_EARG, "decoder: line %lld cannot go on from line %d of another sentence", (long long)i,
                           from[i]);
    if (d->steps == TN_POSITIONS)
        return tn_fail(TN_EARG, "decoder: %d words are the most", TN_POSITIONS);
    if (d->net->base.training)
        return tn_fail(TN_ESTATE, "decoder: the network is in training; call tn_eval() first");
    const tn_rng random = tn_rng_state();
    tn_scope *scope = tn_scope_begin();
    TN_NO_GRAD {
        if (scope && arrange(d, from))
            y = run_step(d, ids);
    }
    tn_keep(y);
    tn_scope_end(&scope);
    tn_rng_restore(random);
    if (y)
        d->steps++;
    return y;
}

bool tn_decoder_keep(tn_decoder *d, int64_t n, const int64_t *sentences)
{
    if (!d || !tn_ok())
        return false;
    for (int64_t i = 0; i < n; i++)
        if (sentences[i] < (i ? sentences[i - 1] + 1 : 0) || sentences[i] >= d->n)
            return tn_fail(TN_EARG, "decoder: sentence %lld cannot be kept: numbers ascend up to %lld",
                           (long long)sentences[i], (long long)d->n - 1);
    for (int64_t i = 0; i < n; i++) {
        memcpy(d->spans[i], d->spans[sentences[i]], sizeof *d->spans);
        memcpy(d->base + i * d->lines, d->base + sentences[i] * d->lines, (size_t)d->lines * sizeof *d->base);
    }
    d->n = n;
    return true;
}

/* ---- attention to the source ---- */

const float *tn_decoder_attention(const tn_decoder *d, int64_t line, int64_t *n)
{
    if (!d || !d->source || line < 0 || line >= d->n * d->lines || !d->steps)
        return NULL;
    const int64_t dim = d->net->args.dim, heads = d->net->args.heads, size = dim / heads;
    const int64_t *span = d->spans[line / d->lines];
    const double scale = 1 / sqrt((double)size);
    *n = span[1];
    memset(d->attention, 0, (size_t)*n * sizeof *d->attention);
    double *score = malloc((size_t)(*n + 1) * sizeof *score);
    if (!score)
        return tn_fail(TN_ENOMEM, "decoder: no memory for %lld scores", (long long)*n);
    for (int64_t h = 0; h < heads; h++) {
        double most = -INFINITY, sum = 0;
        for (int64_t i = 0; i < *n; i++) {
            const float *q = d->query + line * dim + h * size, *k = d->keys + (span[0] + i) * 2 * dim + h * size;
            double dot = 0;
            for (int64_t j = 0; j < size; j++)
                dot += (double)q[j] * (double)k[j];
            score[i] = scale * dot;
            most = score[i] > most ? score[i] : most;
        }
        for (int64_t i = 0; i < *n; i++)
            sum += score[i] = exp(score[i] - most);
        for (int64_t i = 0; i < *n; i++)
            d->attention[i] += (float)(score[i] / sum / (double)heads);
    }
    free(score);
    return d->attention;
}

/* ---- beginning and end ---- */

static void decoder_free(void *object)
{
    tn_decoder *d = object;
    tn_free(d->source, d->cache[0], d->cache[1]);
    free(d->spans);
    free(d->base);
    free(d->query);
    free(d->keys);
    free(d->attention);
    free(d);
}

static const tn_type decoder_type = {"decoder", decoder_free};

/* Encodes the source; keys and values of it for each layer. */
static bool encode(tn_decoder *d, tn_tensor *x, tn_tensor *spans)
{
    const int64_t dim = d->net->args.dim;
    tn_tensor *memory = tn_forward((tn_module *)d->net->encoder, tn_on(x, device_of(d)), tn_on(spans, device_of(d)));
    if (!memory || !(d->source = cache_new(d, TN_SHAPE(d->rows, 2 * dim))))
        return false;
    int layer = 0;
    for (tn_module *m = d->net->decoder->layers->child; m; m = m->next)
        TN_SCOPE {
            if (!tn_copy_(cached(d->source, layer++), project(((tn__block *)m)->cross, memory, dim, 1, 3)))
                return false;
        }
    return tn_read_f32(cached(d->source, d->layers - 1), d->keys);
}

static bool reserve(tn_decoder *d, tn_tensor *spans)
{
    const size_t n = (size_t)d->n, lines = n * (size_t)d->lines, dim = (size_t)d->net->args.dim;
    const int64_t *span = tn_i64(spans);
    int64_t longest = 0;
    d->spans = calloc(n + 1, sizeof *d->spans);
    d->base = calloc(lines + 1, sizeof *d->base);
    d->query = calloc(lines * dim + 1, sizeof *d->query);
    d->keys = calloc((size_t)d->rows * 2 * dim + 1, sizeof *d->keys);
    for (int64_t i = 0; i < d->n; i++) {
        if (span[2 * i] < 0 || span[2 * i] > d->rows || span[2 * i + 1] < 0 || span[2 * i + 1] > d->rows - span[2 * i])
            return tn_fail(TN_EARG, "decoder: sentence %lld, %lld rows from %lld on, is not within the %lld of x",
                           (long long)i, (long long)span[2 * i + 1], (long long)span[2 * i], (long long)d->rows);
        longest = span[2 * i + 1] > longest ? span[2 * i + 1] : longest;
    }
    d->attention = calloc((size_t)longest + 1, sizeof *d->attention);
    if (!d->spans || !d->base || !d->query || !d->keys || !d->attention)
        return tn_fail(TN_ENOMEM, "decoder: no memory for %lld sentences", (long long)d->n);
    memcpy(d->spans, span, n * sizeof *d->spans);
    for (size_t i = 0; i < lines; i++)
        d->base[i] = (int32_t)i;
    return make_caches(d, d->cache);
}

tn_decoder *tn_decoder_new(tn_module *net, tn_tensor *x, tn_tensor *x_spans, int lines)
{
    enum { MOST = 1 << 16 };
    tn__transformer *t = tn__as_transformer(net, "decoder");
    if (!t || !x || !x_spans)
        return NULL;
    if (!t->encoder)
        return tn_fail(TN_EARG, "decoder: this Transformer is a language model, without a source");
    if (t->base.training)
        return tn_fail(TN_ESTATE, "decoder: the network is in training; call tn_eval() first");
    if (lines < 1 || lines > MOST || !tn_i64(x_spans) || x_spans->ndim != 2 || x_spans->shape[1] != 2)
        return tn_fail(TN_EARG, "decoder: %d lines (1 to %d are possible), and spans [n, 2] of i64", lines, MOST);
    tn_decoder *d = calloc(1, sizeof *d);
    if (!d)
        return tn_fail(TN_ENOMEM, "decoder: no memory");
    *d = (tn_decoder){.type = &decoder_type, .net = t, .lines = lines, .layers = t->args.decoder_layers,
                      .n = tn_dim(x_spans, 0), .made = tn_dim(x_spans, 0), .room = ROOM, .rows = tn_numel(x)};
    const tn_rng random = tn_rng_state();
    bool good = false;
    TN_NO_GRAD {
        TN_SCOPE {
            good = reserve(d, x_spans) && encode(d, x, x_spans);
        }
    }
    tn_rng_restore(random);
    if (good)
        return d;
    tn_free(d);
    return NULL;
}
