/* The fast embed and its gradient, in parallel.  The gradient gives each task rows of the table of its own,
 * dealt out like cards because frequent words stand together; a task adds to its rows in the order of the
 * indices, so the bits are those of one thread.  The plain kernels: ops/index.c. */
#include <string.h>

#include "vec.h"

#include "../internal.h"

enum { HANDS = 16 }; /* tasks of the gradient, whatever the threads */

typedef struct job {
    const float *from; /* the table, or the gradient of what was taken out of it */
    float *to;
    const int64_t *index;
    int64_t n, dim, rows, per_task;
} job;

static void take(void *arg, int64_t i, int worker)
{
    const job *j = arg;
    const int64_t end = (i + 1) * j->per_task < j->n ? (i + 1) * j->per_task : j->n;
    (void)worker;
    for (int64_t k = i * j->per_task; k < end; k++)
        memcpy(j->to + k * j->dim, j->from + j->index[k] * j->dim, (size_t)j->dim * sizeof *j->to);
}

static void give_back(void *arg, int64_t hand, int worker)
{
    const job *j = arg;
    const int64_t dim = j->dim;
    (void)worker;
    for (int64_t row = hand; row < j->rows; row += HANDS)
        memset(j->to + row * dim, 0, (size_t)dim * sizeof *j->to);
    for (int64_t k = 0; k < j->n; k++) {
        if (j->index[k] % HANDS != hand)
            continue;
        const float *restrict from = j->from + k * dim;
        float *restrict to = j->to + j->index[k] * dim;
        for (int64_t i = 0; i < dim; i++)
            to[i] += from[i];
    }
}

tn_done TN_K(fast_embed)(const tn_call *c)
{
    job j = {tn__data(c->in[0]), tn__data(c->out[0]), tn__data(c->in[1]), tn_numel(c->in[1]),
             c->in[0]->shape[1], c->in[0]->shape[0], 1};
    if (!tn__index_ok("embed", c->in[1], j.rows))
        return TN_FAILED;
    if (j.dim == 0)
        return TN_DONE;
    j.per_task = TN_GRAIN / j.dim + 1;
    tn__parallel((j.n + j.per_task - 1) / j.per_task, take, &j);
    return TN_DONE;
}

tn_done TN_K(fast_embed_backward)(const tn_call *c)
{
    job j = {tn__data(c->in[0]), tn__data(c->out[0]), tn__data(c->in[1]), tn_numel(c->in[1]),
             c->out[0]->shape[1], c->out[0]->shape[0], 1};
    if (!tn__index_ok("embed_backward", c->in[1], j.rows))
        return TN_FAILED;
    tn__parallel(HANDS, give_back, &j);
    return TN_DONE;
}
