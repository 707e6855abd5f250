/* Gradients of reductions.  The reduced dims come back as 1 first, then everything broadcasts. */
#include "rules.h"

/* t of the output's shape with the reduced dims as 1. */
static tn_tensor *kept(const tn_back *b, tn_tensor *t)
{
    const tn__reduce_attr *a = b->attr;
    int64_t shape[TN_MAX_DIMS];
    for (int i = 0; i < b->in[0]->ndim; i++)
        shape[i] = a->axes & TN_AXIS(i) ? 1 : b->in[0]->shape[i];
    return tn_reshape(t, b->in[0]->ndim, shape);
}

/* How many elements are behind one output. */
static double count(const tn_back *b)
{
    const tn__reduce_attr *a = b->attr;
    int64_t n = 1;
    for (int i = 0; i < b->in[0]->ndim; i++)
        n *= a->axes & TN_AXIS(i) ? b->in[0]->shape[i] : 1;
    return (double)n;
}

bool tn__rule_sum(tn_back *b)
{
    b->d[0] = tn_expand(kept(b, b->g), b->in[0]->ndim, b->in[0]->shape);
    return b->d[0];
}

bool tn__rule_mean(tn_back *b)
{
    tn_tensor *share = tn_mul_scalar(kept(b, b->g), 1 / count(b));
    b->d[0] = tn_expand(share, b->in[0]->ndim, b->in[0]->shape);
    return b->d[0];
}

/* All elements equal to the extreme share its gradient. */
static bool extreme(tn_back *b)
{
    const tn__reduce_attr *a = b->attr;
    tn_tensor *hit = tn_cast(tn_eq(b->in[0], kept(b, b->out[0])), b->g->dtype);
    tn_tensor *hits = tn_sum(hit, a->axes, true);
    b->d[0] = tn_mul(hit, tn_div(kept(b, b->g), hits));
    return b->d[0];
}

bool tn__rule_amax(tn_back *b) { return extreme(b); }
bool tn__rule_amin(tn_back *b) { return extreme(b); }

bool tn__rule_var(tn_back *b)
{
    const tn__reduce_attr *a = b->attr;
    tn_tensor *away = tn_sub(b->in[0], tn_mean(b->in[0], a->axes, true));
    b->d[0] = tn_mul(tn_mul_scalar(kept(b, b->g), 2 / (count(b) - a->correction)), away);
    return b->d[0];
}

/* 0 where the norm is 0. */
bool tn__rule_norm(tn_back *b)
{
    tn_tensor *y = kept(b, b->out[0]), *g = kept(b, b->g);
    tn_tensor *zero = tn_zeros_like(g);
    b->d[0] = tn_mul(b->in[0], tn_where(tn_gt(y, zero), tn_div(g, y), zero));
    return b->d[0];
}

bool tn__rule_logsumexp(tn_back *b)
{
    b->d[0] = tn_mul(tn_exp(tn_sub(b->in[0], kept(b, b->out[0]))), kept(b, b->g));
    return b->d[0];
}
