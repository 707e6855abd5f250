/* One of several classes for each sample; see task.h. */
#include "task.h"

/* The mean over the batch. */
static tn_tensor *loss(const config *c, tn_module *net, const tn_batch *b, tn_state *carried, tally *t)
{
    const tn_device device = tn_device_named(c->device.name);
    (void)carried;
    tn_tensor *logits = tn_forward(net, tn_on(b->x, device));
    tn_tensor *mean =
        tn_cross_entropy(logits, tn_on(b->y, device), .smoothing = net && net->training ? c->train.label_smoothing : 0);
    if (!mean)
        return NULL;
    const int64_t n = tn_dim(b->y, 0);
    TN_SCOPE TN_NO_GRAD {
        const int64_t *guess = tn_i64(tn_on(tn_argmax(logits, -1), tn_cpu())), *truth = tn_i64(tn_cast(b->y, TN_I64));
        for (int64_t i = 0; guess && truth && i < n; i++)
            t->score += guess[i] == truth[i];
    }
    t->loss += tn_item(mean) * (double)n;
    t->seen += n;
    return tn_ok() ? mean : NULL;
}

const task task_classify = {
    .unit = "images",
    .score = "accuracy",
    .best = "best",
    .split = TN_TEST,
    .loss = loss,
};
