/* Gradient of attention: one op gives that of the queries and that of keys and values, each when somebody
 * wants it.  Spans have none. */
#include "rules.h"

bool tn__rule_attention(tn_back *b)
{
    tn__attention_attr a = *(const tn__attention_attr *)b->attr;
    a.wanted = (b->needs[0] ? 1u : 0u) | (b->needs[1] ? 2u : 0u);
    tn_tensor *in[] = {b->in[0], b->in[1], b->in[2], b->in[3], b->out[0], b->out[1], b->g};
    tn_tensor *out[2];
    if (!tn__apply(TN_OP(attention_backward), &a, sizeof a, 7, in, out))
        return false;
    for (int i = 0; i < 2; i++)
        if (b->needs[i])
            b->d[i] = out[i];
    return true;
}
