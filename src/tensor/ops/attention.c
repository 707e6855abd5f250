/* Scaled dot-product attention over sequences without padding (Vaswani et al. 2017): definition, shapes,
 * samples, plain kernels.  Output 1 is the log of the sum of exp(scores) of each query, so that backward
 * makes each probability again from one score; it is 0 for a query that sees no key.
 * Gradient: src/autograd/rules/attention.c; fast: src/tensor/cpu/attention.c. */
#include "op.h"
#include "sample.h"
#include "wrong.h"

/* A head of a sequence, as both kernels see it. */
typedef struct head {
    const tn__attention_attr *a;
    const real *q, *k, *v;       /* of the head's first column and the sequence's first row */
    int64_t q_row, kv_row, dim;  /* from one row to the next; columns of a head */
    int64_t queries, keys;
    int64_t first;               /* the sequence's first row in q */
    int index;                   /* of the head */
    double *score;               /* [keys]: room for one query's */
} head;

static head head_of(const tn_call *c, double *score, int64_t sequence, int h)
{
    const tn__attention_attr *a = c->attr;
    const tn_tensor *q = c->in[0];
    const int64_t *span = INDEX(2) + 2 * sequence, *kv_span = INDEX(3) + 2 * sequence;
    const int64_t width = c->in[1] ? q->shape[1] : q->shape[1] / 3, dim = width / a->heads;
    const int64_t kv_row = c->in[1] ? c->in[1]->shape[1] : q->shape[1];
    const real *kv = (c->in[1] ? IN(1) : IN(0) + width) + kv_span[0] * kv_row + h * dim;
    return (head){.a = a, .q = IN(0) + span[0] * q->shape[1] + h * dim, .k = kv, .v = kv + width,
                  .q_row = q->shape[1], .kv_row = kv_row, .dim = dim, .queries = span[1], .keys = kv_span[1],
                  .first = span[0], .index = h, .score = score};
}

/* Keys that query i sees: the first so many. */
static int64_t seen(const head *h, int64_t i)
{
    const int64_t most = h->a->causal ? h->keys - h->queries + i + 1 : h->keys;
    return most < 0 ? 0 : most;
}

static double dot(const real *x, const real *z, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)z[i];
    return sum;
}

static void scores(const head *h, int64_t i, int64_t n)
{
    for (int64_t j = 0; j < n; j++)
        h->score[j] = h->a->scale * dot(h->q + i * h->q_row, h->k + j * h->kv_row, h->dim);
}

/* What dropout leaves of the probability of key j: 0, or more than all of it. */
static double left(const head *h, int64_t i, int64_t j)
{
    const tn__attention_attr *a = h->a;
    if (!(a->p > 0))
        return 1;
    const uint64_t word = tn__attention_words(h->first + i, h->index, a->heads) + (uint64_t)j;
    const bool keep = a->p < 1 && tn__philox_at(a->key.seed, a->key.step, word) >= tn__drop_threshold(a->p);
    return keep ? 1 / (1 - a->p) : 0;
}

static void forward_query(const head *h, int64_t i, real *y, real *lse)
{
    const int64_t n = seen(h, i);
    double most = -INFINITY, sum = 0;
    if (!n)
        return;
    scores(h, i, n);
    for (int64_t j = 0; j < n; j++)
        most = h->score[j] > most ? h->score[j] : most;
    for (int64_t j = 0; j < n; j++)
        sum += exp(h->score[j] - most);
    *lse = (real)(most + log(sum));
    for (int64_t j = 0; j < n; j++)
        h->score[j] = exp(h->score[j] - most) / sum * left(h, i, j);
    for (int64_t d = 0; d < h->dim; d++) {
        double v = 0;
        for (int64_t j = 0; j < n; j++)
            v += h->score[j] * (double)h->v[j * h->kv_row + d];
        y[d] = (real)v;
    }
}

/* Room for the scores of a query of the longest sequence. */
static double *score_room(const tn_call *c)
{
    int64_t most = 1;
    for (int64_t s = 0; s < c->in[3]->shape[0]; s++)
        most = INDEX(3)[2 * s + 1] > most ? INDEX(3)[2 * s + 1] : most;
    return tn__scratch((size_t)most * sizeof(double));
}

static void clear(const tn_tensor *t)
{
    if (tn_numel(t))
        memset(tn__data(t), 0, (size_t)tn_numel(t) * sizeof(real));
}

tn_done KERNEL(attention)(const tn_call *c)
{
    const tn__attention_attr *a = c->attr;
    const int64_t rows = c->out[0]->shape[0], width = c->out[0]->shape[1];
    double *score = tn__attention_ok(c, false) ? score_room(c) : NULL;
    if (!score)
        return TN_FAILED;
    clear(c->out[0]);
    clear(c->out[1]);
    for (int64_t s = 0; s < c->in[2]->shape[0]; s++)
        for (int h = 0; h < a->heads; h++) {
            const head of = head_of(c, score, s, h);
            for (int64_t i = 0; i < of.queries; i++)
                forward_query(&of, i, OUT(0) + (of.first + i) * width + h * of.dim, OUT(1) + h * rows + of.first + i);
        }
    tn__scratch_free(score);
    return TN_DONE;
}

/* ---- backward ---- */

typedef struct slopes { /* of a head as above; NULL where nobody wants them */
    const real *y, *g, *lse; /* y and g in rows of `width` */
    real *dq, *dk, *dv;
    int64_t width;
} slopes;

static void backward_query(const head *h, const slopes *s, int64_t i)
{
    const int64_t n = seen(h, i);
    const real *g = s->g + i * s->width, *q = h->q + i * h->q_row;
    const double mean = dot(g, s->y + i * s->width, h->dim);
    scores(h, i, n);
    for (int64_t j = 0; j < n; j++) {
        const double p = exp(h->score[j] - (double)s->lse[i]), rest = left(h, i, j);
        const double d = p * (rest * dot(g, h->v + j * h->kv_row, h->dim) - mean) * h->a->scale;
        h->score[j] = d;
        for (int64_t k = 0; s->dk && k < h->dim; k++) {
            s->dk[j * h->kv_row + k] += (real)(d * (double)q[k]);
            s->dv[j * h->kv_row + k] += (real)(p * rest * (double)g[k]);
        }
    }
    for (int64_t k = 0; s->dq && k < h->dim; k++) {
        double v = 0;
        for (int64_t j = 0; j < n; j++)
            v += h->score[j] * (double)h->k[j * h->kv_row + k];
        s->dq[i * h->q_row + k] = (real)v;
    }
}

tn_done KERNEL(attention_backward)(const tn_call *c)
{
    const tn__attention_attr *a = c->attr;
    const int64_t rows = c->in[4]->shape[0], width = c->in[4]->shape[1];
    const bool with_q = a->wanted & 1, with_kv = c->in[1] ? a->wanted & 2 : with_q;
    double *score = tn__attention_ok(c, with_kv) ? score_room(c) : NULL;
    if (!score)
        return TN_FAILED;
    clear(c->out[0]);
    clear(c->out[1]);
    for (int64_t s = 0; s < c->in[2]->shape[0]; s++)
        for (int h = 0; h < a->heads; h++) {
            const head of = head_of(c, score, s, h);
            const int64_t at = of.first * width + h * of.dim;
            const real *kv = c->in[1] ? IN(1) : IN(0);
            real *dkv = c->in[1] ? OUT(1) : OUT(0);
            const slopes to = {.y = IN(4) + at, .g = IN(6) + at, .lse = IN(5) + h * rows + of.first, .width = width,
                               .dq = with_q ? OUT(0) + (of.q - IN(0)) : NULL,
                               .dk = with_kv ? dkv + (of.k - kv) : NULL, .dv = with_kv ? dkv + (of.v - kv) : NULL};
            for (int64_t i = 0; i < of.queries; i++)
                backward_query(&of, &to, i);
        }
    tn__scratch_free(score);
    return TN_DONE;
}

#if TN_WHOLE

bool tn__attention_ok(const tn_call *c, bool kv_apart)
{
    const tn__attention_attr *a = c->attr;
    const tn_tensor *keys = c->in[1] ? c->in[1] : c->in[0];
    if (!tn__spans_ok(c->op->name, "spans of queries", c->in[2], c->in[0]->shape[0], true) ||
        !tn__spans_ok(c->op->name, "spans of keys", c->in[3], keys->shape[0], kv_apart))
        return false;
    for (int64_t s = 0; a->p > 0 && s < c->in[3]->shape[0]; s++)
        if (INDEX(3)[2 * s + 1] > TN__ATTENTION_KEYS)
            return tn_fail(TN_EARG, TN_WRONG_KEYS, c->op->name, (long long)s, (long long)INDEX(3)[2 * s + 1],
                           (int)TN__ATTENTION_KEYS), false;
    return true;
}

/* One sequence of all rows. */
static tn_tensor *whole(const tn_tensor *t)
{
    const int64_t span[] = {0, tn_dim(t, 0)};
    return tn__beside(t, tn_from_i64(span, TN_SHAPE(1, 2)));
}

static bool sizes_ok(const tn_attention_args *a, int64_t *width)
{
    char q[TN_SHAPE_TEXT], kv[TN_SHAPE_TEXT];
    const int64_t columns = a->q->ndim == 2 ? a->q->shape[1] : -1;
    *width = a->kv ? columns : columns / 3;
    if (columns < 1 || (a->kv ? a->kv->ndim != 2 || a->kv->shape[1] % 2 || a->kv->shape[1] / 2 != columns
                              : columns % 3 != 0))
        return tn_fail(TN_ESHAPE, "attention: shapes do not fit: %s%s%s; queries [Tq,D] with key | value [Tk,2D], "
                       "or query | key | value [T,3D] alone", tn_shape_text(a->q, q), a->kv ? " with " : "",
                       a->kv ? tn_shape_text(a->kv, kv) : ""), false;
    if (a->heads < 1 || *width % a->heads)
        return tn_fail(TN_EARG, "attention: %d heads do not divide %lld columns", a->heads, (long long)*width), false;
    return true;
}

tn_tensor *tn_attention_call(tn_attention_args args)
{
    int64_t width;
    tn_tensor *y = NULL;
    if (!args.q || !tn_ok() || !sizes_ok(&args, &width))
        return NULL;
    if (!(args.dropout >= 0 && args.dropout <= 1))
        return tn_fail(TN_EARG, "attention: probability %g is not in 0..1", args.dropout);
    if (!isfinite(args.scale))
        return tn_fail(TN_EARG, "attention: the scale is %g", args.scale);
    const tn__attention_attr a = {
        .heads = args.heads, .causal = args.causal, .p = args.dropout, .key = tn__rng_next(),
        .scale = args.scale != 0 ? args.scale : 1 / sqrt((double)(width / args.heads))};
    TN_SCOPE {
        tn_tensor *spans = args.spans ? args.spans : whole(args.q);
        tn_tensor *kv_spans = args.kv_spans              ? args.kv_spans
                              : args.spans || !args.kv ? spans
                                                         : whole(args.kv);
        y = tn_keep(tn_apply(TN_OP(attention), &a, sizeof a, 4, (tn_tensor *[]){args.q, args.kv, spans, kv_spans}));
    }
    return y;
}

bool tn__shape_attention(tn_call *c)
{
    const tn__attention_attr *a = c->attr;
    const tn_tensor *q = c->in[0], *spans = c->in[2], *kv_spans = c->in[3];
    if (!tn__spans_shape("attention", spans) || !tn__spans_shape("attention", kv_spans))
        return false;
    if (spans->shape[0] != kv_spans->shape[0])
        return tn_fail(TN_ESHAPE, "attention: %lld sequences of queries, but %lld of keys",
                       (long long)spans->shape[0], (long long)kv_spans->shape[0]), false;
    tn__set_shape(c->out[0], TN_SHAPE(q->shape[0], c->in[1] ? q->shape[1] : q->shape[1] / 3));
    tn__set_shape(c->out[1], TN_SHAPE(a->heads, q->shape[0]));
    return true;
}

bool tn__shape_attention_backward(tn_call *c)
{
    const tn__attention_attr *a = c->attr;
    for (int i = 0; i < 2; i++)
        if (c->in[i] && a->wanted >> i & 1)
            tn__set_shape(c->out[i], 2, c->in[i]->shape);
        else
            tn__set_shape(c->out[i], TN_SHAPE(0));
    return tn_same_shape(c->in[4], c->in[6]) || tn__shapes_differ(c);
}

/* ---- samples ---- */

#define SPANS(n, ...) tn__beside(in[0], tn_from_i64((const int64_t[]){__VA_ARGS__}, TN_SHAPE(n, 2)))
/* of 12 queries: a gap, an empty sequence, not in order; of 16 keys: more than queries, fewer, none */
#define RAGGED SPANS(4, 0, 4, 9, 3, 5, 0, 5, 2)
#define RAGGED_KEYS SPANS(4, 0, 6, 6, 2, 9, 5, 15, 0)
#define LONG SPANS(3, 0, 40, 40, 67, 107, 3)
#define LONG_KEYS SPANS(3, 0, 101, 101, 67, 168, 2)

MAKE(self, tn_attention(in[0], .heads = 2))
MAKE(self_causal, tn_attention(in[0], .heads = 1, .causal = true, .scale = .3))
MAKE(self_ragged, tn_attention(in[0], .spans = RAGGED, .heads = 3, .causal = true))
MAKE(self_crossed, tn_attention(in[0], .spans = SPANS(2, 0, 5, 5, 4), .kv_spans = SPANS(2, 5, 4, 0, 5), .heads = 2))
MAKE(self_long, tn_attention(in[0], .spans = LONG, .heads = 2, .causal = true))
MAKE(self_dropout, tn_attention(in[0], .spans = LONG, .heads = 2, .dropout = .3))
MAKE(cross, tn_attention(in[0], in[1], .heads = 2))
MAKE(cross_causal, tn_attention(in[0], in[1], .heads = 2, .causal = true))
MAKE(cross_ragged, tn_attention(in[0], in[1], RAGGED, RAGGED_KEYS, .heads = 2))
MAKE(cross_ragged_causal, tn_attention(in[0], in[1], RAGGED, RAGGED_KEYS, .heads = 2, .causal = true))
MAKE(cross_long, tn_attention(in[0], in[1], LONG, LONG_KEYS, .heads = 2))
MAKE(cross_dropout, tn_attention(in[0], in[1], LONG, LONG_KEYS, .heads = 2, .causal = true, .dropout = .6))
MAKE(drop_all, tn_attention(in[0], .heads = 2, .dropout = 1))
MAKE(beams, tn_attention(in[0], in[1], SPANS(4, 0, 1, 1, 1, 2, 1, 3, 1), SPANS(4, 0, 9, 0, 9, 4, 9, 4, 3), .heads = 2))
MAKE(same_spans, tn_attention(in[0], in[1], RAGGED, .heads = 2))
MAKE(i32_spans, tn_attention(in[0], in[1], tn_cast(RAGGED, TN_I32), .heads = 2))
MAKE(three_heads, tn_attention(in[0], .heads = 3))
MAKE(no_heads, tn_attention(in[0]))
MAKE(more_dropout, tn_attention(in[0], .heads = 2, .dropout = 2))
MAKE(endless_scale, tn_attention(in[0], .heads = 2, .scale = INFINITY))
MAKE(outside, tn_attention(in[0], in[1], RAGGED, SPANS(4, 0, 6, 6, 2, 9, 8, 15, 0), .heads = 2))
MAKE(two_writers, tn_attention(in[0], in[1], SPANS(2, 0, 4, 3, 2), .heads = 2))
MAKE(fewer_keys, tn_attention(in[0], in[1], RAGGED, SPANS(1, 0, 6), .heads = 2))
MAKE(odd_spans, tn_attention(in[0], .spans = tn_reshape(SPANS(1, 0, 4), TN_SHAPE(2)), .heads = 2))

/* the error of overlapping keys comes with the gradient */
static tn_tensor *make_two_readers(int n, tn_tensor *const *in)
{
    const tn__attention_attr a = {.heads = 2, .scale = 1, .wanted = 3};
    tn_tensor *lse = tn__beside(in[0], tn_zeros(TN_SHAPE(2, 12)));
    tn_tensor *spans = SPANS(2, 0, 4, 4, 2), *kv_spans = SPANS(2, 0, 4, 3, 2);
    (void)n;
    return tn_apply(TN_OP(attention_backward), &a, sizeof a, 7,
                    (tn_tensor *[]){in[0], in[1], spans, kv_spans, in[0], lse, in[0]});
}

SAMPLES(attention) = {
    {.what = "self", .make = make_self, .in = {FLOATS(7, 18)}},
    {.what = "self, causal, scaled", .make = make_self_causal, .in = {FLOATS(5, 9)}},
    {.what = "self, sequences with gaps, causal", .make = make_self_ragged, .in = {FLOATS(12, 27)}},
    {.what = "self, keys of the other sequence", .make = make_self_crossed, .in = {FLOATS(9, 12)}},
    {.what = "self, long, causal", .make = make_self_long, .in = {FLOATS(110, 120)}},
    {.what = "self, long, dropout", .make = make_self_dropout, .in = {FLOATS(110, 48)}},
    {.what = "self, wide heads", .make = make_self, .in = {FLOATS(5, 420)}},
    {.what = "all dropped", .make = make_drop_all, .in = {FLOATS(7, 18)}},
    {.what = "no rows", .make = make_self, .in = {FLOATS(0, 18)}},
    {.what = "cross", .make = make_cross, .in = {FLOATS(4, 6), FLOATS(7, 12)}},
    {.what = "cross, more keys, causal", .make = make_cross_causal, .in = {FLOATS(4, 6), FLOATS(7, 12)}},
    {.what = "cross, fewer keys, causal", .make = make_cross_causal, .in = {FLOATS(7, 6), FLOATS(4, 12)}},
    {.what = "cross, no keys", .make = make_cross, .in = {FLOATS(4, 6), FLOATS(0, 12)}},
    {.what = "cross, sequences with gaps", .make = make_cross_ragged, .in = {FLOATS(12, 10), FLOATS(16, 20)}},
    {.what = "cross, sequences with gaps, causal", .make = make_cross_ragged_causal,
     .in = {FLOATS(12, 10), FLOATS(16, 20)}},
    {.what = "cross, long, heads of 64", .make = make_cross_long, .in = {FLOATS(110, 128), FLOATS(170, 256)}},
    {.what = "cross, long, causal, dropout", .make = make_cross_dropout, .in = {FLOATS(110, 34), FLOATS(170, 68)}},
    {.what = "queries alone want a gradient, keys shared", .make = make_beams, .in = {FLOATS(4, 8), CONSTS(13, 16)}},
    {.what = "keys alone want a gradient", .make = make_same_spans, .in = {CONSTS(12, 8), FLOATS(13, 16)}},
    {.what = "int32 spans", .make = make_i32_spans, .in = {FLOATS(12, 8), FLOATS(13, 16)}},
    {.what = "heads that do not divide", .make = make_three_heads, .in = {FLOATS(7, 12)},
     .error = "attention: 3 heads do not divide 4 columns"},
    {.what = "no heads", .make = make_no_heads, .in = {FLOATS(7, 12)}, .error = "attention: 0 heads"},
    {.what = "probability above 1", .make = make_more_dropout, .in = {FLOATS(7, 12)},
     .error = "attention: probability 2 is not in 0..1"},
    {.what = "endless scale", .make = make_endless_scale, .in = {FLOATS(7, 12)}, .error = "the scale is inf"},
    {.what = "not three of a kind", .make = make_self, .in = {FLOATS(7, 16)},
     .error = "attention: shapes do not fit: [7,16]; queries"},
    {.what = "keys of another width", .make = make_cross, .in = {FLOATS(4, 6), FLOATS(7, 18)},
     .error = "attention: shapes do not fit: [4,6] with [7,18]"},
    {.what = "keys outside", .make = make_outside, .in = {FLOATS(12, 8), FLOATS(16, 16)},
     .error = "attention: spans of keys: sequence 2 begins at row 9 and has 8, but there are rows 0..15"},
    {.what = "a query in two sequences", .make = make_two_writers, .in = {FLOATS(12, 8), FLOATS(16, 16)},
     .error = "attention: spans of queries: sequence 1 shares row 3 with one before it"},
    {.what = "other sequences of keys", .make = make_fewer_keys, .in = {FLOATS(12, 8), FLOATS(16, 16)},
     .error = "attention: 4 sequences of queries, but 1 of keys"},
    {.what = "spans of one dim", .make = make_odd_spans, .in = {FLOATS(7, 12)}, .error = "spans are [n,2]"},
    {0},
};

static tn_tensor *make_backward(int n, tn_tensor *const *in)
{
    const tn__attention_attr a = {.heads = 2, .scale = .4, .causal = true, .wanted = 3};
    (void)n;
    return tn_apply(TN_OP(attention_backward), &a, sizeof a, 7,
                    (tn_tensor *[]){in[0], in[1], RAGGED, RAGGED_KEYS, in[2], in[3], in[4]});
}

SAMPLES(attention_backward) = {
    {.what = "sequences with gaps, causal", .make = make_backward,
     .in = {CONSTS(12, 8), CONSTS(16, 16), CONSTS(12, 8), RANGE('c', 2, 4, 2, 12), CONSTS(12, 8)}},
    {.what = "a key in two sequences", .make = make_two_readers, .in = {CONSTS(12, 8), CONSTS(16, 16)},
     .error = "attention_backward: spans of keys: sequence 1 shares row 3 with one before it"},
    {0},
};

#endif
