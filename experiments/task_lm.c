/* Running text by a language model whose state goes on from batch to batch; see task.h.  What is counted are the words
 * that follow others, ends of lines among them. */
#include <limits.h>

#include "task.h"

static int64_t plan_of(tn_module *net, const tn_batch *b) { return tn_lm_plan(net, b->y); }

/* The mean over the batch, in nats. */
static tn_tensor *loss(const config *c, tn_module *net, const tn_batch *b, int64_t plan, tn_state *carried,
                       tn_tensor **score)
{
    (void)c;
    *score = NULL;
    if (b->first && !(tn_fill_(carried->h, 0) && tn_fill_(carried->c, 0)))
        return NULL;
    return tn_lm_loss(net, b->x, b->y, carried, .plan = plan);
}

static tn_state carry(tn_module *net, const tn_dataset *d) { return tn_lm_state(net, d->x_shape[0]); }

/* The dictionary, so that the run directory writes and judges text on its own. */
static bool begin(const config *c, const run *r)
{
    char folder[TN_DATA_PATH], from[TN_DATA_PATH + 16], to[RUN_PATH];
    snprintf(from, sizeof from, "%s/dict.txt", tn_data_path(c->data.root, folder));
    tn_dictionary *d = tn_dictionary_open_ranked(from);
    const bool good = tn_dictionary_save(d, run_path(r, "dict.txt", to));
    tn_free(d);
    return good;
}

const task task_lm = {
    .unit = "tokens",
    .score = "nll",
    .best = "best_nll",
    .split = TN_VALID,
    .words = true,
    .plan = plan_of,
    .loss = loss,
    .carry = carry,
    .begin = begin,
};
