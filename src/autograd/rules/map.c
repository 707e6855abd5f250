/* Gradients of the elementwise ops: each row of ops_map.def has its derivative; here is what it is given. */
#include "rules.h"

#define SOURCE_N(b) (b)->g
#define SOURCE_X(b) (b)->in[0]
#define SOURCE_Y(b) (b)->out[0]
#define MAP(name, P, reads, ...)                                                                   \
    bool tn__rule_##name(tn_back *b)                                                               \
    {                                                                                              \
        b->d[0] = tn_apply(TN_OP(name##_backward), b->attr, sizeof(tn__map_attr), 2,               \
                           (tn_tensor *[]){SOURCE_##reads(b), b->g});                              \
        return b->d[0] != NULL;                                                                    \
    }

static bool binary(tn_back *b, const tn_op *dx, const tn_op *dz)
{
    tn_tensor *in[4] = {NULL, NULL, NULL, b->g};
    for (int i = 0; i < 2; i++)
        in[i] = b->op->reads & ((unsigned)I0 << i) ? b->in[i] : NULL;
    in[2] = b->op->reads & O0 ? b->out[0] : NULL;
    if (b->needs[0] && !(b->d[0] = tn_apply(dx, NULL, 0, 4, in)))
        return false;
    return !b->needs[1] || (b->d[1] = tn_apply(dz, NULL, 0, 4, in));
}

/* Both inputs of a sum get g itself: a residual's gradient is passed on, not copied. */
static bool pass_on(tn_back *b)
{
    b->d[0] = b->d[1] = b->g;
    return true;
}

#define BIN(name, ...)                                                                             \
    bool tn__rule_##name(tn_back *b)                                                               \
    {                                                                                              \
        if (TN_OP_##name == TN_OP_add)                                                             \
            return pass_on(b);                                                                     \
        return binary(b, TN_OP(name##_dx), TN_OP(name##_dz));                                      \
    }
#include "tenon/ops_map.def"
