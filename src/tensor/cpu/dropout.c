/* Dropout, in parallel over runs of elements.  The random words are drawn many blocks at a time, in
 * arrays, so that compilers vectorise Philox.  Definition: src/tensor/ops/dropout.c. */
#include <string.h>

#include "vec.h"

#include "../attrs.h"
#include "../internal.h"

enum { BLOCKS = 64, WORDS = 4 * BLOCKS, TASK = 32 * WORDS }; /* elements of a task */

/* Words 4 first .. 4 first + WORDS - 1 of a stream. */
static void draw(tn_rng key, uint64_t first, uint32_t *restrict words)
{
    for (int i = 0; i < BLOCKS; i++) {
        const tn__philox4 r = tn__philox(key.seed, key.step, first + (uint64_t)i);
        for (int k = 0; k < 4; k++)
            words[4 * i + k] = r.v[k];
    }
}

typedef struct job {
    const tn__dropout_attr *attr;
    const float *x;
    float *y;
    int64_t n;
} job;

static void some_elements(void *arg, int64_t i, int worker)
{
    (void)worker;
    const job *j = arg;
    const uint32_t threshold = tn__drop_threshold(j->attr->p);
    const float scale = (float)(1 / (1 - j->attr->p));
    const int64_t stop = (i + 1) * TASK < j->n ? (i + 1) * TASK : j->n;
    for (int64_t from = i * TASK; from < stop; from += WORDS) {
        uint32_t words[WORDS];
        draw(j->attr->key, (uint64_t)from / 4, words);
        const int64_t count = stop - from < WORDS ? stop - from : WORDS;
        const float *restrict x = j->x + from;
        float *restrict y = j->y + from;
        for (int64_t k = 0; k < count; k++)
            y[k] = words[k] >= threshold ? x[k] * scale : 0;
    }
}

tn_done TN_K(fast_dropout)(const tn_call *c)
{
    job j = {c->attr, tn__data(c->in[0]), tn__data(c->out[0]), tn_numel(c->in[0])};
    if (j.attr->p >= 1)
        memset(j.y, 0, (size_t)j.n * sizeof *j.y);
    else
        tn__parallel((j.n + TASK - 1) / TASK, some_elements, &j);
    return TN_DONE;
}
