/* Gradient of dropout: the same op with the same key, so the mask is drawn again. */
#include "rules.h"

bool tn__rule_dropout(tn_back *b)
{
    b->d[0] = tn_apply(TN_OP(dropout), b->attr, sizeof(tn__dropout_attr), 1, &b->g);
    return b->d[0];
}
