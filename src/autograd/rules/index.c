/* Gradients of ops that choose elements by index or mask. */
#include "rules.h"

/* Zeros beside g, of its dtype and device. */
static tn_tensor *zeros(const tn_tensor *g, int ndim, const int64_t *shape)
{
    tn_tensor *t = tn__tensor_on(g->storage->backend, g->storage->device, g->dtype, ndim, shape);
    return tn_fill_(t, 0) ? t : NULL;
}

bool tn__rule_embed(tn_back *b)
{
    const tn__axis_attr a = {.size = b->in[0]->shape[0]};
    b->d[0] = tn_apply(TN_OP(embed_backward), &a, sizeof a, 2, (tn_tensor *[]){b->g, b->in[1]});
    return b->d[0];
}

bool tn__rule_gather(tn_back *b)
{
    const tn__axis_attr *a = b->attr;
    b->d[0] = tn_scatter_add(zeros(b->g, b->in[0]->ndim, b->in[0]->shape), a->axis, b->in[1], b->g);
    return b->d[0];
}

bool tn__rule_scatter_add(tn_back *b)
{
    const tn__axis_attr *a = b->attr;
    b->d[0] = b->g;
    if (b->needs[2])
        b->d[2] = tn_gather(b->g, a->axis, b->in[1]);
    return !b->needs[2] || b->d[2];
}

bool tn__rule_where(tn_back *b)
{
    tn_tensor *zero = zeros(b->g, 0, NULL);
    if (b->needs[1])
        b->d[1] = tn_where(b->in[0], b->g, zero);
    if (b->needs[2])
        b->d[2] = tn_where(b->in[0], zero, b->g);
    return (!b->needs[1] || b->d[1]) && (!b->needs[2] || b->d[2]);
}
