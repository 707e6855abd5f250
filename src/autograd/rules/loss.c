/* Gradients of the losses.  b->g is a scalar. */
#include "rules.h"

bool tn__rule_cross_entropy(tn_back *b)
{
    tn_tensor *in[] = {b->in[0], b->g, b->in[1], b->out[1]};
    b->d[0] = tn_apply(TN_OP(cross_entropy_backward), b->attr, sizeof(tn__cross_entropy_attr), 4,
                       in);
    return b->d[0];
}

/* The gradients were made on the way forward, for g = 1.  What g is costs a GPU a pause to tell. */
bool tn__rule_linear_cross_entropy(tn_back *b)
{
    double g = 0;
    const bool told = b->g->storage->backend == &tn__cpu && tn_read_f64(b->g, &g);
    for (int i = 0; i < 2; i++) {
        if (!b->needs[i])
            continue;
        b->d[i] = told && g == 1 ? b->out[2 + i] : tn_mul(b->out[2 + i], b->g);
        if (!b->d[i])
            return false;
    }
    return true;
}

bool tn__rule_nll(tn_back *b)
{
    const tn__axis_attr a = {.size = tn_dim(b->in[0], -1)};
    b->d[0] = tn_apply(TN_OP(nll_backward), &a, sizeof a, 2, (tn_tensor *[]){b->g, b->in[1]});
    return b->d[0];
}

/* g / n times x, for a loss that is a mean over the n elements of x. */
static tn_tensor *share(const tn_back *b, tn_tensor *x, double factor)
{
    return tn_mul(tn_mul_scalar(b->g, factor / (double)tn_numel(x)), x);
}

bool tn__rule_mse(tn_back *b)
{
    tn_tensor *dx = share(b, tn_sub(b->in[0], b->in[1]), 2);
    if (b->needs[0])
        b->d[0] = dx;
    if (b->needs[1])
        b->d[1] = tn_neg(dx);
    return dx && (!b->needs[1] || b->d[1]);
}

bool tn__rule_bce_with_logits(tn_back *b)
{
    tn_tensor *x = b->in[0], *target = b->in[1];
    if (b->needs[0])
        b->d[0] = share(b, tn_sub(tn_sigmoid(x), target), 1);
    if (b->needs[1])
        b->d[1] = share(b, x, -1);
    return (!b->needs[0] || b->d[0]) && (!b->needs[1] || b->d[1]);
}
