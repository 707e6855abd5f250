/* Shape arithmetic that ops and engine share: axes, broadcasting, views. */
#include <string.h>

#include "internal.h"

void tn__set_shape(tn_tensor *t, int ndim, const int64_t *shape)
{
    int64_t stride = 1;
    t->ndim = ndim;
    for (int i = ndim; i-- > 0;) {
        t->shape[i] = shape[i];
        t->stride[i] = stride;
        stride *= shape[i];
    }
}

bool tn__axis(const char *op, const tn_tensor *t, int axis, int *out)
{
    char s[TN_SHAPE_TEXT];
    const int i = axis < 0 ? axis + t->ndim : axis;
    if (i < 0 || i >= t->ndim)
        return tn_fail(TN_EARG, "%s: axis %d of %s does not exist", op, axis, tn_shape_text(t, s)), false;
    *out = i;
    return true;
}

bool tn__broadcast(const char *op, const tn_tensor *a, const tn_tensor *b, int *ndim, int64_t *shape)
{
    char s[TN_SHAPE_TEXT], u[TN_SHAPE_TEXT];
    *ndim = a->ndim > b->ndim ? a->ndim : b->ndim;
    for (int i = 1; i <= *ndim; i++) {
        const int64_t m = i <= a->ndim ? a->shape[a->ndim - i] : 1;
        const int64_t n = i <= b->ndim ? b->shape[b->ndim - i] : 1;
        if (m != n && m != 1 && n != 1)
            return tn_fail(TN_ESHAPE, "%s: shapes do not fit: %s x %s", op, tn_shape_text(a, s),
                           tn_shape_text(b, u)), false;
        shape[*ndim - i] = m == 1 ? n : m;
    }
    return true;
}

bool tn__shapes_differ(tn_call *c)
{
    char s[TN_SHAPE_TEXT], u[TN_SHAPE_TEXT];
    if (c->n_in > 1 && c->in[1])
        tn_fail(TN_ESHAPE, "%s: shapes do not fit: %s x %s", c->op->name, tn_shape_text(c->in[0], s),
                tn_shape_text(c->in[1], u));
    else
        tn_fail(TN_ESHAPE, "%s: shapes do not fit: %s", c->op->name, tn_shape_text(c->in[0], s));
    return false;
}

tn_tensor *tn__view(const tn_tensor *t, int ndim, const int64_t *shape, const int64_t *stride, int64_t offset)
{
    tn_tensor *v = t ? tn__tensor_in_scope() : NULL;
    if (!v)
        return NULL;
    v->storage = tn__storage_ref(t->storage);
    v->dtype = t->dtype;
    v->offset = offset;
    v->ndim = ndim;
    for (int i = 0; i < ndim; i++) {
        v->shape[i] = shape[i];
        v->stride[i] = stride[i];
    }
    return v;
}

tn_tensor *tn__sum_to(tn_tensor *g, const tn_tensor *like)
{
    if (!g || tn_same_shape(g, like))
        return g;
    unsigned axes = 0;
    const int extra = g->ndim - like->ndim;
    for (int i = 0; i < g->ndim; i++)
        if (i < extra || (like->shape[i - extra] == 1 && g->shape[i] != 1))
            axes |= TN_AXIS(i);
    tn_tensor *sum = axes ? tn_sum(g, axes, true) : g;
    return tn_reshape(sum, like->ndim, like->shape);
}
