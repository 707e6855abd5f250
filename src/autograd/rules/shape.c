/* Gradients of views and copies: what went where comes back. */
#include "rules.h"

bool tn__rule_reshape(tn_back *b)
{
    b->d[0] = tn_reshape(b->g, b->in[0]->ndim, b->in[0]->shape);
    return b->d[0];
}

bool tn__rule_permute(tn_back *b)
{
    const tn__permute_attr *p = b->attr;
    int64_t back[TN_MAX_DIMS];
    for (int i = 0; i < b->g->ndim; i++)
        back[p->axes[i]] = i;
    b->d[0] = tn_permute(b->g, b->g->ndim, back);
    return b->d[0];
}

bool tn__rule_expand(tn_back *b)
{
    b->d[0] = b->g;
    return true;
}

bool tn__rule_contiguous(tn_back *b)
{
    b->d[0] = b->g;
    return true;
}

bool tn__rule_slice(tn_back *b)
{
    tn_tensor *part = tn__added_in_kernels(b->onto[0])
                          ? tn_apply(TN_OP(slice), b->attr, sizeof(tn__slice_attr), 1, b->onto) : NULL;
    if (part && tn_is_contiguous(part))
        return tn__add_into(part, b->g);
    b->d[0] = tn_apply(TN_OP(slice_backward), b->attr, sizeof(tn__slice_attr), 1, &b->g);
    return b->d[0];
}

bool tn__rule_cast(tn_back *b)
{
    const tn__cast_attr *a = b->attr;
    b->d[0] = tn_cast(b->g, a->from);
    return b->d[0];
}

bool tn__rule_concat(tn_back *b)
{
    const tn__axis_attr *a = b->attr;
    int64_t start = 0;
    bool ok = true;
    for (int i = 0; i < b->n_in; i++) {
        const int64_t end = start + b->in[i]->shape[a->axis];
        if (b->needs[i])
            ok = (b->d[i] = tn_slice(b->g, a->axis, start, end, 1)) && ok;
        start = end;
    }
    return ok;
}

bool tn__rule_pad(tn_back *b)
{
    const tn__pad_attr *a = b->attr;
    tn_tensor *d = b->g;
    for (int i = 0; d && i < b->g->ndim; i++)
        if (a->before[i] || a->after[i])
            d = tn_slice(d, i, a->before[i], a->before[i] + b->in[0]->shape[i], 1);
    b->d[0] = d;
    return d;
}
