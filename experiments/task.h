/* What a run learns, which follows from its data: the loss of a batch, what goes on from batch to batch, what is
 * counted, on what and by which score the network is judged after each epoch, and how figures are called.  One file
 * each: task_classify.c, task_translate.c, task_lm.c; what they share is in task.c.  The loop over batches is
 * train.c's. */
#ifndef TENON_TASK_H
#define TENON_TASK_H

#include "run.h"

/* Sums over what a task counts: samples, or target tokens with the ends of sentences. */
typedef struct tally {
    double loss;  /* as trained */
    double score; /* right answers, or nats without label smoothing */
    int64_t seen;
} tally;
void tally_add(tally *sum, const tally *more);
double tally_loss(const tally *t);  /* means; 0 of nothing */
double tally_score(const tally *t);

typedef struct task {
    const char *unit;   /* of what is counted, in "images_per_s" */
    const char *score;  /* "accuracy": its key, after train_ and the like too */
    const char *best;   /* key of the best score */
    tn_split split;     /* what is judged after each epoch unless train.judge says another */
    bool words;         /* the score is nats a word: low ones are good, and perplexity follows */
    bool sum;           /* a batch's loss is a sum, not a mean */
    /* What the course of loss() depends on, of a batch on the host: a number below 2^30.  NULL: on shapes alone. */
    int64_t (*plan)(tn_module *net, const tn_batch *b);
    /* Of a batch that is where the net is, and its plan; nothing waits.  *score: the sum of what counts; NULL: the loss
     * does.  Label smoothing counts as the net is in train mode, or always. */
    tn_tensor *(*loss)(const config *c, tn_module *net, const tn_batch *b, int64_t plan, tn_state *carried,
                       tn_tensor **score);
    /* What the first batch of the data begins with, in the innermost scope; loss() goes on from it and leaves in its
     * tensors what the next batch begins with.  NULL: batches know nothing of each other. */
    tn_state (*carry)(tn_module *net, const tn_dataset *d);
    /* Before the first update: what the run directory needs besides.  NULL: nothing. */
    bool (*begin)(const config *c, const run *r);
    /* After the last: further figures in `line`, a line of metrics.jsonl when there are any; false with the error set,
     * or without one when it was asked to stop.  NULL: none. */
    bool (*end)(const config *c, run *r, tn_module *net, json_t *line);
} task;
extern const task task_classify, task_translate, task_lm;

const task *task_of(const tn_dataset *d);
/* What is judged after each epoch, and the name of a split in keys: "test". */
tn_split task_split(const task *k, const config *c);
const char *task_split_name(tn_split split);
/* The batch on a device, in the innermost scope. */
tn_batch task_batch_on(const tn_batch *b, tn_device d);
int64_t task_plan(const task *k, tn_module *net, const tn_batch *b); /* 0: none */
/* What the loss of a batch is a sum or mean over. */
int64_t task_count(const tn_batch *b);
/* For loss(), in the innermost scope; without tensors where nothing is carried. */
tn_state task_carry(const task *k, tn_module *net, const tn_dataset *d);
/* One epoch of `loader` in eval mode without gradients; net is left in train mode when it was. */
bool task_evaluate(const task *k, const config *c, tn_module *net, tn_loader *loader, tally *t);

/* ---- figures ---- */
enum { TASK_TEXT = 64 };
/* Of the BLEU of the mean of the last n epochs: "test_bleu_10". */
const char *task_bleu_key(double n, char text[TASK_TEXT]);
bool task_better(const task *k, double score, double than);
double task_worst(const task *k); /* any score is better */
/* Loss and score, and what follows from them, under keys that begin with the prefix ("test_"). */
void task_figures(const task *k, json_t *line, const char *prefix, const tally *t);
/* For people: "accuracy 91.20 %", "ppl 31.42". */
const char *task_score_text(const task *k, double score, char text[TASK_TEXT]);
/* "loss 0.3214 accuracy 91.20 %" */
const char *task_text(const task *k, const tally *t, char text[2 * TASK_TEXT]);

#endif
