/* Gradients of max_pool, from where the maxima stood, and of avg_pool. */
#include "rules.h"

bool tn__rule_max_pool(tn_back *b)
{
    const tn__window_attr *a = b->attr;
    b->d[0] = tn_apply(TN_OP(max_pool_backward), a, sizeof *a, 2, (tn_tensor *[]){b->g, b->out[1]});
    return b->d[0];
}

bool tn__rule_avg_pool(tn_back *b)
{
    const tn__window_attr *a = b->attr;
    b->d[0] = tn_apply(TN_OP(avg_pool_backward), a, sizeof *a, 1, &b->g);
    return b->d[0];
}
