/* One of several classes for each sample; see task.h. */
#include "task.h"

/* Right answers.  Numbers of classes are exact in f32. */
static tn_tensor *right(tn_tensor *logits, tn_tensor *y)
{
    tn_tensor *guess = tn_cast(tn_argmax(logits, -1), TN_F32), *truth = tn_cast(y, TN_F32);
    return tn_sum(tn_cast(tn_eq(guess, truth), TN_F32), TN_ALL, false);
}

/* The mean over the batch. */
static tn_tensor *loss(const config *c, tn_module *net, const tn_batch *b, int64_t plan, tn_state *carried,
                       tn_tensor **score)
{
    (void)plan, (void)carried;
    tn_tensor *logits = tn_forward(net, b->x);
    TN_NO_GRAD *score = right(logits, b->y);
    return tn_cross_entropy(logits, b->y, .smoothing = net && net->training ? c->train.label_smoothing : 0);
}

const task task_classify = {
    .unit = "images",
    .score = "accuracy",
    .best = "best",
    .split = TN_TEST,
    .loss = loss,
};
