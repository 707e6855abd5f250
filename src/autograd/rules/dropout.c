/* Gradient of dropout: the same op with the same key, so the mask is drawn again.  Behind a ReLU the value
 * itself tells what was kept. */
#include "rules.h"

bool tn__rule_dropout(tn_back *b)
{
    b->d[0] = tn_apply(TN_OP(dropout), b->attr, sizeof(tn__dropout_attr), 1, &b->g);
    return b->d[0];
}

bool tn__rule_bias_relu_dropout(tn_back *b)
{
    b->d[0] = tn_apply(TN_OP(bias_relu_dropout_backward), b->attr, sizeof(tn__dropout_attr), 2,
                       (tn_tensor *[]){b->out[0], b->g});
    b->d[1] = b->d[0];
    return b->d[0];
}
