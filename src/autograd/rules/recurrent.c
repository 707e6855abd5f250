/* Gradients of recurrent layers: an op goes through the steps backwards and gives the gradient by the sums of gates
 * of each; the weight's and the bias's are made of those of all steps at once. */
#include "rules.h"

static tn_tensor *rows(tn_tensor *t) { return tn_reshape(t, TN_SHAPE(t->shape[0] * t->shape[1], t->shape[2])); }

/* dr: by the hidden state's part of the gates; before: the hidden states it was made of. */
static bool weight(tn_back *b, tn_tensor *dr, tn_tensor *before)
{
    if (!b->needs[1])
        return true;
    if (tn__added_in_kernels(b->onto[1]))
        return tn__matmul_onto(b->onto[1], rows(dr), true, rows(before), false);
    return (b->d[1] = tn_matmul(rows(dr), rows(before), .transpose_a = true)) != NULL;
}

bool tn__rule_lstm_scan(tn_back *b)
{
    tn__scan_attr a = *(const tn__scan_attr *)b->attr;
    a.wanted = (b->needs[1] ? 2u : 0u) | (b->needs[2] ? 4u : 0u) | (b->needs[3] ? 8u : 0u);
    tn_tensor *out[TN_MAX_OUT], *lengths = b->in[4];
    tn_tensor *in[] = {b->in[1], b->in[2], b->in[3], b->out[0], b->out[1], b->out[2], b->g, lengths};
    if (!tn__apply(TN_OP(lstm_scan_backward), &a, sizeof a, lengths ? 8 : 7, in, out))
        return false;
    b->d[0] = out[0];
    b->d[2] = b->needs[2] ? out[2] : NULL;
    b->d[3] = b->needs[3] ? out[3] : NULL;
    return weight(b, out[0], out[1]);
}

bool tn__rule_gru_scan(tn_back *b)
{
    tn__scan_attr a = *(const tn__scan_attr *)b->attr;
    a.wanted = (b->needs[1] ? 4u : 0u) | (b->needs[2] ? 8u : 0u);
    tn_tensor *out[TN_MAX_OUT], *lengths = b->in[4];
    tn_tensor *in[] = {b->in[1], b->in[2], b->out[0], b->out[1], b->g, lengths};
    if (!tn__apply(TN_OP(gru_scan_backward), &a, sizeof a, lengths ? 6 : 5, in, out))
        return false;
    b->d[0] = out[0];
    b->d[2] = b->needs[2] ? out[3] : NULL;
    if (b->needs[3] && !(b->d[3] = tn_sum(out[1], TN_AXIS(0) | TN_AXIS(1), false)))
        return false;
    return weight(b, out[1], out[2]);
}

bool tn__rule_rnn_scan(tn_back *b)
{
    tn__scan_attr a = *(const tn__scan_attr *)b->attr;
    a.wanted = (b->needs[1] ? 2u : 0u) | (b->needs[2] ? 4u : 0u);
    tn_tensor *out[TN_MAX_OUT], *lengths = b->in[3];
    tn_tensor *in[] = {b->in[1], b->in[2], b->out[0], b->g, lengths};
    if (!tn__apply(TN_OP(rnn_scan_backward), &a, sizeof a, lengths ? 5 : 4, in, out))
        return false;
    b->d[0] = out[0];
    b->d[2] = b->needs[2] ? out[2] : NULL;
    return weight(b, out[0], out[1]);
}
