/* Which elements dropout keeps, as plain kernels ask for them: one by one.  How they are drawn fast:
 * ../cpu/draw.h. */
#ifndef TN_OPS_DROP_H
#define TN_OPS_DROP_H

#include "attrs.h"
#include "philox.h"

static inline bool tn__dropout_keeps(const tn__dropout_attr *a, int64_t i)
{
    return a->p < 1 && tn__philox_at(a->key.seed, a->key.step, (uint64_t)i) >= tn__drop_threshold(a->p);
}

#endif
