/* Gradients of softmax and log_softmax, from their values. */
#include "rules.h"

bool tn__rule_softmax(tn_back *b)
{
    b->d[0] = tn_apply(TN_OP(softmax_backward), NULL, 0, 2, (tn_tensor *[]){b->out[0], b->g});
    return b->d[0];
}

bool tn__rule_log_softmax(tn_back *b)
{
    b->d[0] = tn_apply(TN_OP(log_softmax_backward), NULL, 0, 2, (tn_tensor *[]){b->out[0], b->g});
    return b->d[0];
}
