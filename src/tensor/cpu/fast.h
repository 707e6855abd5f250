/* One instruction set's kernels, as a table by op.  fast.c fills one per ISA; isa.c chooses. */
#ifndef TN_CPU_FAST_H
#define TN_CPU_FAST_H

#include "../internal.h"

typedef struct tn__fast_set {
    tn_kernel *kernel[TN_OP_COUNT];          /* f32; NULL: the plain kernel does it */
    void (*rule)(const tn__rule_call *c);    /* a run of an optimizer, in the calling thread */
    void (*replay)(const tn__replay_call *c);
} tn__fast_set;
extern const tn__fast_set tn__fast_set_avx512, tn__fast_set_avx2, tn__fast_set_base;
const tn__fast_set *tn__fast_current(void);

#endif
