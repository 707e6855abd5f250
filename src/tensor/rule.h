/* A row of optim.def, applied: what src/optim hands to a backend.  C and C++. */
#ifndef TN_RULE_H
#define TN_RULE_H

#include <stdint.h>

enum tn__rule_id {
#define RULE(name, ...) TN_RULE_##name,
#include "tenon/optim.def"
    TN_RULE_COUNT
};
enum { TN_RULE_STATES = 3, TN_RULE_SCALARS = 10 };

/* To n elements; the gradients are zeroed in the same pass. */
typedef struct tn__rule_call {
    int rule, device;
    int64_t n;
    float *p, *g, *s[TN_RULE_STATES]; /* parameters, gradients, states; on the device */
    float k[TN_RULE_SCALARS];
} tn__rule_call;

#endif
