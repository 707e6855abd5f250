/* Gradients of conv: of the image (not wanted in a first layer), the weight and the bias. */
#include "rules.h"

bool tn__rule_conv(tn_back *b)
{
    const tn__window_attr *a = b->attr;
    if (b->needs[0])
        b->d[0] = tn_apply(TN_OP(conv_backward_data), a, sizeof *a, 2,
                           (tn_tensor *[]){b->g, b->in[1]});
    if (b->needs[1])
        b->d[1] = tn_apply(TN_OP(conv_backward_weight), a, sizeof *a, 2,
                           (tn_tensor *[]){b->in[0], b->g});
    if (b->needs[2])
        b->d[2] = tn_sum(b->g, TN_AXIS(0) | TN_AXIS(1) | TN_AXIS(2), false);
    for (int i = 0; i < 3; i++)
        if (b->needs[i] && !b->d[i])
            return false;
    return true;
}
