/* Sentences into sentences by a Transformer; see task.h.  What is counted are the tokens of the target, with the
 * end of each sentence. */
#include "epochs.h"
#include "score_run.h"
#include "setup.h"
#include "task.h"

/* The sum over the batch, label-smoothed, in nats. */
static tn_tensor *loss(const config *c, tn_module *net, const tn_batch *b, int64_t plan, tn_state *carried,
                       tn_tensor **score)
{
    (void)plan, (void)carried;
    return tn_transformer_loss(net, b->x, b->x_spans, b->y, b->y_spans, c->train.label_smoothing, score);
}

/* What training cannot do without in the end is looked for at the start. */
static bool can_score(const config *c)
{
    for (int i = 0; i < c->train.bleu.n; i++)
        if (c->train.bleu.at[i] > (double)c->train.epoch_checkpoints)
            tn_fail(TN_EARG, "train.bleu: the mean of %g epochs needs train.epoch_checkpoints: %g",
                    c->train.bleu.at[i], c->train.bleu.at[i]);
    if (tn_ok() && c->train.bleu.n > 0)
        tn_free(setup_loader(c, TN_TEST));
    return tn_ok();
}

/* Dictionaries and codes, so that the run directory translates on its own. */
static bool begin(const config *c, const run *r)
{
    char folder[TN_DATA_PATH];
    return can_score(c) && tn_codec_copy(tn_data_path(c->data.root, folder), r->dir);
}

/* BLEU of means over the last epochs. */
static bool end(const config *c, run *r, tn_module *net, json_t *line)
{
    char path[RUN_PATH], key[TASK_TEXT];
    double bleu;
    for (int i = 0; i < c->train.bleu.n; i++) {
        const int64_t last = (int64_t)c->train.bleu.at[i];
        epochs_average_path(r->dir, last, path);
        if (!epochs_average(r->dir, last, path) || !tn_load(net, path, .strict = true) ||
            !translate_score(c, r->dir, net, &bleu))
            return false;
        json_object_set_new(line, task_bleu_key(c->train.bleu.at[i], key), json_number(bleu));
        run_say(r, "mean of the last %lld epochs: test BLEU %.2f", (long long)last, bleu);
    }
    return tn_ok();
}

const task task_translate = {
    .unit = "tokens",
    .score = "nll",
    .best = "best_nll",
    .split = TN_VALID,
    .words = true,
    .sum = true,
    .loss = loss,
    .begin = begin,
    .end = end,
};
