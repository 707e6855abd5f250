/* Attention and its gradient, in parallel over the heads of sequences.  Scores are made for a block of queries
 * against all keys, in the worker's own room.  What a query gets depends on its row and its keys alone, so a
 * sequence has the same bits in any batch, and a single query (a step of decoding) those it has among others.
 * Definition: src/tensor/ops/attention.c; the products: products.h. */
#include <string.h>

#include "products.h"
#include "rows.h"

#include "../attrs.h"
#include "../internal.h"

enum {
    QUERIES = 64,    /* of a block */
    NEAR = 64,       /* keys that are worked through by the whole block before the next: half of the first cache */
    WORK = 1 << 18,  /* multiply-adds of one product that a task has at least */
};

typedef struct job {
    const tn__attention_attr *a;
    const float *q, *kv;         /* kv: the first key's first column; values are `width` further */
    int64_t q_row, kv_row;       /* from one row to the next */
    const int64_t *span, *kv_span;
    int64_t sequences, rows;     /* rows of q */
    int64_t width, dim, padded;  /* columns of y; of a head; the same in whole vectors */
    int64_t queries, keys;       /* of the longest sequences; keys in whole vectors */
    float *y, *lse;              /* results of forward */
    const float *g;
    float *dq, *dkv;             /* NULL where nobody wants them */
    int64_t step;                /* heads of sequences in a task */
    float *room;                 /* each worker's */
    int64_t room_each;
} job;

/* Rows of a head, whole vectors each: where they lie, or laid out in the room. */
typedef struct matrix {
    float *x;
    int64_t ld;
} matrix;

/* A head of a sequence. */
typedef struct head {
    const job *j;
    int index;
    int64_t first, queries, keys;     /* first: row of q */
    int64_t at, count, limit;         /* the block: first query, how many, keys that its last one sees */
    matrix q, k, v, y, g, dq, dk, dv; /* of y and dq: NULL where there is none */
    float *score, *slope;             /* of the block, [QUERIES, j->keys]; slope: dL/dscore */
    float *rest;                      /* what dropout leaves of a row */
    float *room;                      /* that is free */
} head;

static int64_t whole(int64_t n) { return (n + TN_VEC - 1) / TN_VEC * TN_VEC; }

/* Keys that query i of the sequence sees: the first so many. */
static int64_t seen(const head *h, int64_t i)
{
    const int64_t most = h->j->a->causal ? h->keys - h->queries + i + 1 : h->keys;
    return most < 0 ? 0 : most;
}

static void fill(float *x, int64_t from, int64_t end, float value)
{
    for (int64_t i = from; i < end; i++)
        x[i] = value;
}

/* ---- the head's matrices ---- */

static int64_t room_of(const job *j)
{
    const bool some = j->padded > j->dim || j->queries > QUERIES;
    const int64_t laid_out = some ? 4 * (j->queries + j->keys) * j->padded : 0;
    return (laid_out + (2 * QUERIES + 1) * j->keys + 15) / 16 * 16;
}

/* n rows as the products want them: those of x, or others in the room when a row is not of whole vectors, or when
 * every block comes back to the same keys: rows that lie a power of two apart push each other out of a cache. */
static matrix rows_at(head *h, const float *x, int64_t ld, int64_t n)
{
    const job *j = h->j;
    matrix m = {(float *)(uintptr_t)x, ld};
    if (x && (j->padded > j->dim || h->queries > QUERIES)) {
        m = (matrix){h->room, j->padded};
        h->room += n * j->padded;
    }
    return m;
}

static matrix read_rows(head *h, const float *x, int64_t ld, int64_t n)
{
    const matrix m = rows_at(h, x, ld, n);
    for (int64_t r = 0; m.x != x && r < n; r++) {
        memcpy(m.x + r * m.ld, x + r * ld, (size_t)h->j->dim * sizeof *x);
        fill(m.x + r * m.ld, h->j->dim, m.ld, 0);
    }
    return m;
}

static matrix zero_rows(head *h, float *x, int64_t ld, int64_t n)
{
    const matrix m = rows_at(h, x, ld, n);
    for (int64_t r = 0; m.x && r < n; r++)
        fill(m.x + r * m.ld, 0, h->j->padded, 0);
    return m;
}

/* Rows that were made in the room go where they belong. */
static void write_rows(const head *h, matrix m, float *x, int64_t ld, int64_t n)
{
    for (int64_t r = 0; m.x != x && r < n; r++)
        memcpy(x + r * ld, m.x + r * m.ld, (size_t)h->j->dim * sizeof *x);
}

static head head_of(const job *j, int64_t item, int worker)
{
    const int64_t s = item / j->a->heads, column = item % j->a->heads * j->dim;
    const float *k = j->kv + j->kv_span[2 * s] * j->kv_row + column;
    float *room = j->room + worker * j->room_each;
    head h = {.j = j, .index = (int)(item % j->a->heads), .first = j->span[2 * s], .queries = j->span[2 * s + 1],
              .keys = j->kv_span[2 * s + 1], .score = room, .slope = room + QUERIES * j->keys,
              .rest = room + 2 * QUERIES * j->keys, .room = room + (2 * QUERIES + 1) * j->keys};
    h.q = read_rows(&h, j->q + h.first * j->q_row + column, j->q_row, h.queries);
    h.k = read_rows(&h, k, j->kv_row, h.keys);
    h.v = read_rows(&h, k + j->width, j->kv_row, h.keys);
    return h;
}

/* The next block of queries; false when there is none. */
static bool next_block(head *h)
{
    h->at += h->count;
    h->count = row_least(QUERIES, h->queries - h->at);
    h->limit = h->count > 0 ? seen(h, h->at + h->count - 1) : 0;
    return h->count > 0;
}

/* ---- products of a block ---- */

/* c[i][k] = a[i] . b[k] for the keys that query i sees, and some more */
static void against_keys(const head *h, matrix a, matrix b, float *c)
{
    const int64_t ld = h->j->keys;
    for (int64_t from = 0; from < h->limit; from += NEAR)
        for (int64_t i = 0; i < h->count; i += DOT_ROWS) {
            const int rows = (int)row_least(DOT_ROWS, h->count - i);
            const int64_t end = row_least(from + NEAR, seen(h, h->at + i + rows - 1));
            dots(rows, a.x + (h->at + i) * a.ld, a.ld, end - from, b.x + from * b.ld, b.ld, h->j->padded,
                 c + i * ld + from, ld);
        }
}

/* c[i] += the sum over keys k of w[i][k] b[k] */
static void over_keys(const head *h, const float *w, matrix b, matrix c)
{
    const int64_t ld = h->j->keys;
    for (int64_t from = 0; from < h->limit; from += NEAR)
        for (int64_t i = 0; i < h->count; i += MIX_ROWS) {
            const int rows = (int)row_least(MIX_ROWS, h->count - i);
            const int64_t end = row_least(from + NEAR, seen(h, h->at + i + rows - 1));
            mix(rows, w + i * ld + from, ld, 1, end - from, b.x + from * b.ld, b.ld, h->j->padded,
                c.x + (h->at + i) * c.ld, c.ld);
        }
}

/* c[k] += the sum over queries i of w[i][k] a[i] */
static void over_queries(const head *h, const float *w, matrix a, matrix c)
{
    const int64_t ld = h->j->keys;
    for (int64_t k = 0; k < h->limit; k += MIX_ROWS) {
        const int rows = (int)row_least(MIX_ROWS, h->limit - k);
        int64_t i = 0;
        while (seen(h, h->at + i) <= k)
            i++;
        mix(rows, w + i * ld + k, 1, ld, h->count - i, a.x + (h->at + i) * a.ld, a.ld, h->j->padded, c.x + k * c.ld,
            c.ld);
    }
}

/* ---- rows of scores ---- */

/* What dropout leaves of n probabilities of query i. */
static void draw_rest(const head *h, int64_t i, int64_t n)
{
    const tn__attention_attr *a = h->j->a;
    const uint32_t threshold = tn__drop_threshold(a->p);
    const float scale = a->p < 1 ? (float)(1 / (1 - a->p)) : 0;
    const uint64_t first = tn__attention_words(h->first + i, h->index, a->heads);
    for (int64_t k = 0; k < n; k += 4) {
        const tn__philox4 words = tn__philox(a->key.seed, a->key.step, (first + (uint64_t)k) / 4);
        for (int w = 0; w < 4; w++)
            h->rest[k + w] = words.v[w] >= threshold ? scale : 0;
    }
}

/* The first n of products as scores, -infinity behind them up to whole vectors. */
static void scale_scores(float *x, float scale, int64_t n)
{
    const int64_t end = whole(n);
    for (int64_t j = 0; j < end; j++)
        x[j] *= scale;
    fill(x, n, end, -INFINITY);
}

static void exponentials(float *x, float shift, int64_t n)
{
    for (int64_t j = 0; j < n; j++)
        x[j] = tn__expf(x[j] - shift);
}

/* Makes the products of query i of the sequence, a row of the block, exponentials; what their sum divides by. */
static float forward_row(const head *h, int64_t i, float *s)
{
    const job *j = h->j;
    const int64_t n = seen(h, i), end = whole(n);
    double sum = 0;
    float most = 0;
    if (n) {
        scale_scores(s, (float)j->a->scale, n);
        most = row_max(s, end);
        exponentials(s, most, end);
        sum = row_dot(s, 0, NULL, end);
    }
    fill(s, end, whole(h->limit), 0);
    j->lse[h->index * j->rows + h->first + i] = n ? (float)((double)most + log(sum)) : 0;
    if (j->a->p > 0) {
        draw_rest(h, i, end);
        for (int64_t k = 0; k < end; k++)
            s[k] *= h->rest[k];
    }
    return n ? (float)(1 / sum) : 0;
}

static void forward(head *h)
{
    const job *j = h->j;
    float *y = j->y + h->first * j->width + h->index * j->dim;
    h->y = zero_rows(h, y, j->width, h->queries);
    while (next_block(h)) {
        float scale[QUERIES];
        against_keys(h, h->q, h->k, h->score);
        for (int64_t i = 0; i < h->count; i++)
            scale[i] = forward_row(h, h->at + i, h->score + i * j->keys);
        over_keys(h, h->score, h->v, h->y);
        for (int64_t i = 0; i < h->count; i++)
            for (int64_t d = 0; d < j->padded; d++)
                h->y.x[(h->at + i) * h->y.ld + d] *= scale[i];
    }
    write_rows(h, h->y, y, j->width, h->queries);
}

/* From products s and the slopes d of probabilities: probabilities as dropout left them, and slopes of products. */
static void backward_row(const head *h, int64_t i, float *restrict s, float *restrict d)
{
    const job *j = h->j;
    const int64_t n = seen(h, i), end = whole(n), at = (h->first + i) * j->width + h->index * j->dim;
    const float mean = (float)row_dot(j->g + at, 0, j->y + at, j->dim), scale = (float)j->a->scale;
    scale_scores(s, scale, n);
    exponentials(s, j->lse[h->index * j->rows + h->first + i], end);
    fill(d, n, end, 0);
    if (j->a->p > 0) {
        const float *restrict rest = h->rest;
        draw_rest(h, i, end);
        for (int64_t k = 0; k < end; k++) {
            d[k] = scale * s[k] * (rest[k] * d[k] - mean);
            s[k] *= rest[k];
        }
    } else {
        for (int64_t k = 0; k < end; k++)
            d[k] = scale * s[k] * (d[k] - mean);
    }
    fill(s, end, whole(h->limit), 0);
    fill(d, end, whole(h->limit), 0);
}

/* dkv: the first key's row in it, or NULL */
static void backward(head *h, float *dkv)
{
    const job *j = h->j;
    const int64_t column = h->index * j->dim;
    float *dq = j->dq ? j->dq + h->first * j->q_row + column : NULL;
    float *dk = dkv ? dkv + column : NULL, *dv = dkv ? dk + j->width : NULL;
    h->g = read_rows(h, j->g + h->first * j->width + column, j->width, h->queries);
    h->dq = zero_rows(h, dq, j->q_row, h->queries);
    h->dk = zero_rows(h, dk, j->kv_row, h->keys);
    h->dv = zero_rows(h, dv, j->kv_row, h->keys);
    while (next_block(h)) {
        against_keys(h, h->q, h->k, h->score);
        against_keys(h, h->g, h->v, h->slope);
        for (int64_t i = 0; i < h->count; i++)
            backward_row(h, h->at + i, h->score + i * j->keys, h->slope + i * j->keys);
        if (dkv) {
            over_queries(h, h->score, h->g, h->dv);
            over_queries(h, h->slope, h->q, h->dk);
        }
        if (dq)
            over_keys(h, h->slope, h->k, h->dq);
    }
    write_rows(h, h->dq, dq, j->q_row, h->queries);
    write_rows(h, h->dk, dk, j->kv_row, h->keys);
    write_rows(h, h->dv, dv, j->kv_row, h->keys);
}

/* ---- all of them ---- */

static void some_forward(void *arg, int64_t i, int worker)
{
    const job *j = arg;
    const int64_t end = row_least((i + 1) * j->step, j->sequences * j->a->heads);
    for (int64_t item = i * j->step; item < end; item++) {
        head h = head_of(j, item, worker);
        forward(&h);
    }
}

static void some_backward(void *arg, int64_t i, int worker)
{
    const job *j = arg;
    const int64_t end = row_least((i + 1) * j->step, j->sequences * j->a->heads);
    for (int64_t item = i * j->step; item < end; item++) {
        head h = head_of(j, item, worker);
        backward(&h, j->dkv ? j->dkv + j->kv_span[2 * (item / j->a->heads)] * j->kv_row : NULL);
    }
}

static job job_of(const tn_call *c)
{
    const tn_tensor *q = c->in[0], *kv = c->in[1];
    job j = {.a = c->attr, .q = tn__data(q), .q_row = q->shape[1], .span = tn__data(c->in[2]),
             .kv_span = tn__data(c->in[3]), .sequences = c->in[2]->shape[0], .rows = q->shape[0]};
    j.width = kv ? j.q_row : j.q_row / 3;
    j.kv = kv ? tn__data(kv) : j.q + j.width;
    j.kv_row = kv ? kv->shape[1] : j.q_row;
    j.dim = j.width / j.a->heads;
    j.padded = whole(j.dim);
    return j;
}

static tn_done run(job *j, tn__task *task)
{
    const int64_t items = j->sequences * j->a->heads;
    double work = 0;
    for (int64_t s = 0; s < j->sequences; s++) {
        const int64_t queries = j->span[2 * s + 1], keys = j->kv_span[2 * s + 1];
        j->queries = queries > j->queries ? queries : j->queries;
        j->keys = whole(keys) > j->keys ? whole(keys) : j->keys;
        work += (double)queries * (double)keys * (double)j->dim;
    }
    const double steps = work > 0 ? WORK * (double)j->sequences / work : WORK;
    j->step = steps < 1 ? 1 : steps > WORK ? WORK : (int64_t)steps;
    j->room_each = room_of(j);
    j->room = tn__scratch((size_t)(tn__threads() * j->room_each) * sizeof *j->room);
    if (!j->room)
        return TN_FAILED;
    tn__parallel((items + j->step - 1) / j->step, task, j);
    tn__scratch_free(j->room);
    return TN_DONE;
}

/* Rows outside all spans, which lie apart, are zero. */
static void clear_gaps(const int64_t *span, int64_t n, int64_t rows, const tn_tensor *t)
{
    for (int64_t s = 0; s < n; s++)
        rows -= span[2 * s + 1];
    if (rows)
        memset(tn__data(t), 0, (size_t)tn_numel(t) * sizeof(float));
}

tn_done TN_K(fast_attention)(const tn_call *c)
{
    if (!tn__attention_ok(c, false))
        return TN_FAILED;
    job j = job_of(c);
    j.y = tn__data(c->out[0]);
    j.lse = tn__data(c->out[1]);
    clear_gaps(j.span, j.sequences, j.rows, c->out[0]);
    clear_gaps(j.span, j.sequences, j.rows, c->out[1]);
    return run(&j, some_forward);
}

tn_done TN_K(fast_attention_backward)(const tn_call *c)
{
    job j = job_of(c);
    const bool packed = !c->in[1], with_q = j.a->wanted & 1, with_kv = packed ? with_q : j.a->wanted & 2;
    if (!tn__attention_ok(c, with_kv))
        return TN_FAILED;
    j.y = tn__data(c->in[4]);
    j.lse = tn__data(c->in[5]);
    j.g = tn__data(c->in[6]);
    if (with_q) {
        j.dq = tn__data(c->out[0]);
        clear_gaps(j.span, j.sequences, j.rows, c->out[0]);
    }
    if (with_kv) {
        j.dkv = packed ? j.dq + j.width : tn__data(c->out[1]);
        clear_gaps(j.kv_span, j.sequences, packed ? j.rows : c->in[1]->shape[0], c->out[packed ? 0 : 1]);
    }
    return run(&j, some_backward);
}
