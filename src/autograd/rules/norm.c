/* Gradients of batch_norm and layer_norm.  The backward ops give all gradients in one go and skip
 * those that nobody wants.  Running statistics have none. */
#include "rules.h"

enum { DX = 1, DGAIN = 2, DBIAS = 4, DADD = 8 };

static unsigned wanted(const tn_back *b)
{
    return (b->needs[0] ? DX : 0u) | (b->needs[1] ? DGAIN : 0u) | (b->needs[2] ? DBIAS : 0u);
}

bool tn__rule_batch_norm(tn_back *b)
{
    tn__norm_attr a = *(const tn__norm_attr *)b->attr;
    a.wanted = wanted(b) | (b->needs[5] && a.relu ? DADD : 0u);
    if (b->needs[5] && !a.relu)
        b->d[5] = b->g;
    if (!a.wanted)
        return true;
    tn_tensor *in[] = {b->in[0], b->g, b->in[1], b->out[1], b->out[2], a.relu ? b->out[0] : NULL};
    tn_tensor *out[4];
    if (!tn__apply(TN_OP(batch_norm_backward), &a, sizeof a, 6, in, out))
        return false;
    for (int i = 0; i < 3; i++)
        if (b->needs[i])
            b->d[i] = out[i];
    if (a.wanted & DADD)
        b->d[5] = out[3];
    return true;
}

bool tn__rule_layer_norm(tn_back *b)
{
    tn__norm_attr a = *(const tn__norm_attr *)b->attr;
    a.wanted = wanted(b);
    tn_tensor *in[] = {b->in[0], b->g, b->in[1], b->out[1], b->out[2]};
    tn_tensor *out[3];
    if (!tn__apply(TN_OP(layer_norm_backward), &a, sizeof a, 5, in, out))
        return false;
    for (int i = 0; i < 3; i++)
        if (b->needs[i])
            b->d[i] = out[i];
    return true;
}

/* layer_norm's of the sum, which the residual gets as it is and x through its mask. */
bool tn__rule_dropout_add_layer_norm(tn_back *b)
{
    tn__drop_norm_attr a = *(const tn__drop_norm_attr *)b->attr;
    const bool masked = b->needs[0] && a.drop.p > 0;
    a.wanted = (b->needs[0] || b->needs[1] ? DX : 0u) | (b->needs[2] ? DGAIN : 0u) | (b->needs[3] ? DBIAS : 0u) |
               (masked ? DADD : 0u);
    tn_tensor *in[] = {b->out[1], b->g, b->in[2], b->out[2], b->out[3]};
    tn_tensor *out[4];
    if (!tn__apply(TN_OP(dropout_add_layer_norm_backward), &a, sizeof a, 5, in, out))
        return false;
    b->d[0] = masked ? out[3] : out[0];
    for (int i = 1; i < 4; i++)
        b->d[i] = out[i - 1];
    return true;
}
