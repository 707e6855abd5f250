/* Dropout, alone and behind bias and ReLU, in parallel over runs of elements.  How masks are drawn: draw.h;
 * definition of the ops: src/tensor/ops/dropout.c. */
#include <string.h>

#include "draw.h"

#include "../attrs.h"

enum { TASK = 32 * TN_DRAW };

typedef struct job {
    const tn__dropout_attr *attr;
    const float *x, *bias; /* bias: [cols] or NULL */
    float *y;
    int64_t n, cols;
    uint32_t threshold;
    float scale;
} job;

static job job_of(const tn_call *c)
{
    const tn__dropout_attr *a = c->attr;
    return (job){.attr = a, .x = tn__data(c->in[0]), .y = tn__data(c->out[0]), .n = tn_numel(c->in[0]),
                 .threshold = tn__drop_threshold(a->p), .scale = (float)(1 / (1 - a->p))};
}

static tn_done run(job *j, tn__task *task)
{
    tn__parallel((j->n + TASK - 1) / TASK, task, j);
    return TN_DONE;
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static void some_elements(void *arg, int64_t i, int worker)
{
    (void)worker;
    const job *j = arg;
    const uint32_t threshold = j->threshold;
    const float scale = j->scale;
    const int64_t stop = least((i + 1) * TASK, j->n);
    for (int64_t from = i * TASK; from < stop; from += TN_DRAW) {
        uint32_t words[TN_DRAW];
        tn__draw(j->attr->key, (uint64_t)from / 4, words);
        const int64_t count = least(stop - from, TN_DRAW);
        const float *restrict x = j->x + from;
        float *restrict y = j->y + from;
        for (int64_t k = 0; k < count; k++) {
            const float v = x[k] * scale; /* always: a load under a mask takes twice as long */
            y[k] = words[k] >= threshold ? v : 0;
        }
    }
}

tn_done TN_K(fast_dropout)(const tn_call *c)
{
    job j = job_of(c);
    if (j.attr->p < 1)
        return run(&j, some_elements);
    memset(j.y, 0, (size_t)j.n * sizeof *j.y);
    return TN_DONE;
}

/* ---- behind bias and ReLU ---- */

TN_INLINE void relu_run(const job *j, int64_t from, const float *bias, const uint32_t *words, int64_t count)
{
    const uint32_t threshold = j->threshold;
    const float scale = j->scale, *restrict x = j->x + from;
    float *restrict y = j->y + from;
    for (int64_t k = 0; k < count; k++) {
        const float v = bias ? x[k] + bias[k] : x[k], kept = !words || words[k] >= threshold ? v * scale : 0;
        y[k] = v < 0 ? 0 : kept;
    }
}

/* Elements of one row. */
static void relu_part(const job *j, int64_t from, int64_t col, const uint32_t *words, int64_t count)
{
    if (!j->bias)
        words ? relu_run(j, from, NULL, words, count) : relu_run(j, from, NULL, NULL, count);
    else
        words ? relu_run(j, from, j->bias + col, words, count) : relu_run(j, from, j->bias + col, NULL, count);
}

static void some_relus(void *arg, int64_t i, int worker)
{
    (void)worker;
    const job *j = arg;
    const int64_t stop = least((i + 1) * TASK, j->n);
    int64_t col = i * TASK % j->cols;
    for (int64_t from = i * TASK; from < stop; from += TN_DRAW) {
        uint32_t words[TN_DRAW];
        const bool drops = j->attr->p > 0;
        if (drops)
            tn__draw(j->attr->key, (uint64_t)from / 4, words);
        for (int64_t k = 0, count = least(stop - from, TN_DRAW), part; k < count; k += part) {
            part = least(count - k, j->cols - col);
            relu_part(j, from + k, col, drops ? words + k : NULL, part);
            col = col + part == j->cols ? 0 : col + part;
        }
    }
}

tn_done TN_K(fast_bias_relu_dropout)(const tn_call *c)
{
    job j = job_of(c);
    j.cols = tn_dim(c->in[0], -1);
    j.bias = c->in[1] ? tn__data(c->in[1]) : NULL;
    return j.attr->p < 1 ? run(&j, some_relus) : TN_K(fast_dropout)(c);
}

typedef struct back {
    const float *y, *g;
    float *dx, scale;
    int64_t n;
} back;

static void some_gradients(void *arg, int64_t i, int worker)
{
    (void)worker;
    const back *b = arg;
    const float *restrict y = b->y, *restrict g = b->g, scale = b->scale;
    float *restrict dx = b->dx;
    for (int64_t k = i * TN_GRAIN, end = least((i + 1) * TN_GRAIN, b->n); k < end; k++)
        dx[k] = y[k] > 0 ? g[k] * scale : 0;
}

tn_done TN_K(fast_bias_relu_dropout_backward)(const tn_call *c)
{
    const tn__dropout_attr *a = c->attr;
    back b = {tn__data(c->in[0]), tn__data(c->in[1]), tn__data(c->out[0]), (float)(1 / (1 - a->p)),
              tn_numel(c->in[0])};
    tn__parallel((b.n + TN_GRAIN - 1) / TN_GRAIN, some_gradients, &b);
    return TN_DONE;
}
