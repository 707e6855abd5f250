/* Lines through all threads; see blocks.h.  A block is read, changed in tasks of a few lines and written, so that
 * memory does not grow with the file. */
#include "blocks.h"

#include <pthread.h>
#include <stdlib.h>

enum { BLOCK = 4096, TASK = 32 };

typedef struct block {
    const tn__passage *passage;
    tn__slot *slots;           /* [BLOCK], their memory is used again and again */
    int64_t n;
    pthread_t caller;
    tn_err err[BLOCK / TASK];  /* of each task */
} block;

static void change_some(void *arg, int64_t task, int worker)
{
    block *b = arg;
    const int64_t end = (task + 1) * TASK < b->n ? (task + 1) * TASK : b->n;
    const bool foreign = !pthread_equal(pthread_self(), b->caller);
    bool ok = true;
    (void)worker;
    if (foreign) /* the caller's thread tells it */
        tn_error_quiet(true);
    for (int64_t i = task * TASK; ok && i < end; i++)
        ok = b->passage->change(b->passage->arg, b->slots + i);
    b->err[task].code = TN_OK;
    if (!ok)
        b->err[task] = *tn_error();
    if (foreign) {
        tn_error_clear();
        tn_error_quiet(false);
    }
}

static bool run_block(block *b)
{
    const tn__passage *p = b->passage;
    const int64_t tasks = (b->n + TASK - 1) / TASK;
    bool ok = true;
    tn_parallel(tasks, change_some, b);
    for (int64_t i = 0; ok && i < tasks; i++)
        if (b->err[i].code != TN_OK) {
            tn_fail_as(&b->err[i]);
            ok = false;
        }
    for (int64_t i = 0; ok && i < b->n; i++)
        ok = p->write(p->arg, b->slots + i);
    return ok && (!p->tell || p->tell(p->arg));
}

static void block_free(block *b)
{
    for (int64_t i = 0; i < BLOCK; i++) {
        for (int k = 0; k < 2; k++) {
            tn_text_end(&b->slots[i].in[k]);
            tn_text_end(&b->slots[i].out[k]);
        }
        tn_ids_end(&b->slots[i].ids);
    }
    free(b->slots);
    free(b);
}

bool tn__blocks_run(const tn__passage *p)
{
    if (!tn_ok())
        return false;
    block *b = calloc(1, sizeof *b);
    tn__slot *slots = calloc(BLOCK, sizeof *slots);
    if (!b || !slots) {
        free(b);
        free(slots);
        return tn_fail(TN_ENOMEM, "lines: no memory for a block of them"), false;
    }
    b->passage = p;
    b->slots = slots;
    b->caller = pthread_self();
    bool more = true;
    while (more && tn_ok()) {
        b->n = 0;
        while (b->n < BLOCK && (more = p->read(p->arg, b->slots + b->n)))
            b->n++;
        if (tn_ok() && b->n)
            more = run_block(b) && more;
    }
    block_free(b);
    return tn_ok();
}
