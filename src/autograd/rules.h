/* What every gradient rule of src/autograd/rules uses.  A rule fills b->d[i] for the inputs that somebody
 * needs; gradients of the broadcast shape are summed down by the engine. */
#ifndef TN_RULES_H
#define TN_RULES_H

#include "tensor/attrs.h"
#include "tensor/internal.h"

/* Every row with a rule has one of this name. */
#define RULE_RULE(name) tn_rule tn__rule_##name;
#define RULE_NONE(name)
#define RULE_TWICE(name)
#define MAP(name, ...) RULE_RULE(name)
#define BIN(name, ...) RULE_RULE(name)
#include "tenon/ops_map.def"
#define OP(name, in, out, reads, flags, gradient) RULE_##gradient(name)
#include "tenon/ops.def"
/* Whether a kernel is to add what it makes to t (b->onto[i]).  Not on the CPU, where BLAS would take the terms of an
 * element in another order then, and an addition costs no start. */
static inline bool tn__added_in_kernels(const tn_tensor *t)
{
    return t && t->storage->backend->add && t->dtype == TN_F32;
}

bool tn__add_into(tn_tensor *y, const tn_tensor *x); /* y += x of the same shape, y contiguous (engine.c) */

#undef RULE_RULE
#undef RULE_NONE
#undef RULE_TWICE

#endif
