/* What src/optim and src/autograd hand to a backend beside ops: rows of optim.def, and additions.  C and C++. */
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
    const float *k;                   /* scalars, [TN_RULE_SCALARS]; on the device */
} tn__rule_call;

/* A step of the past: its scalars, and what it multiplied the states by where there was no gradient. */
typedef struct tn__past {
    float k[TN_RULE_SCALARS], keep[TN_RULE_STATES];
} tn__past;

/* Steps without a gradient, done to n elements one after the other (cpu/replay.c). */
typedef struct tn__replay_call {
    int rule, states, steps;
    int64_t n;
    float *p, *s[TN_RULE_STATES];
    const tn__past *past;          /* [steps] */
    const tn__past *least, *most;  /* between which all of past is */
} tn__replay_call;

/* Additions to n elements. */
enum { TN_ADDITIONS = 100 }; /* at once, at most */
typedef struct tn__addition {
    float *to;
    const float *from;
    int64_t n;
} tn__addition;

#endif
