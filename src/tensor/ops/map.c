/* Elementwise ops: the public functions and the plain kernels, all from ops_map.def.  Fast kernels:
 * cpu/map.c; gradient rules: autograd/rules/map.c. */
#include "op.h"

#define MAP_KERNEL KERNEL
#include "map_rows.h"

#if TN_WHOLE
/* attributes are copied as bytes: padding would be noise */
#define ATTR0 {0, 0}
#define ATTR1 {a, 0}
#define ATTR2 {a, b}
#define MAP(name, P, ...)                                                      \
    tn_tensor *tn_##name(TN_P##P)                                              \
    {                                                                          \
        const tn__map_attr attr = ATTR##P;                                     \
        return tn_apply(TN_OP(name), &attr, sizeof attr, 1, &x);               \
    }
#define BIN(name, ...)                                                         \
    tn_tensor *tn_##name(tn_tensor *x, tn_tensor *z)                           \
    {                                                                          \
        return tn_apply(TN_OP(name), NULL, 0, 2, (tn_tensor *[]){x, z});       \
    }
#define CMP(name, ...) BIN(name)
#include "tenon/ops_map.def"

bool tn__shape_map(tn_call *c)
{
    tn__set_shape(c->out[0], c->in[0]->ndim, c->in[0]->shape);
    return true;
}

/* Inputs of gradients broadcast too; their last input has the full shape. */
bool tn__shape_map_last(tn_call *c)
{
    const tn_tensor *g = c->in[c->n_in - 1];
    tn__set_shape(c->out[0], g->ndim, g->shape);
    return true;
}

bool tn__shape_map2(tn_call *c)
{
    int64_t shape[TN_MAX_DIMS];
    int ndim;
    if (!tn__broadcast(c->op->name, c->in[0], c->in[1], &ndim, shape))
        return false;
    tn__set_shape(c->out[0], ndim, shape);
    return true;
}
#endif
