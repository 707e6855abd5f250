/* The rows of optim.def as CPU kernels, once per ISA: one pass over memory.  Square root and
 * division are exact and nothing is contracted, so every ISA gives the same bits.  Who calls them,
 * in which chunks and with which scalars: src/optim/step.c. */
#include "rules.h"
#include "../map_math.h"

_Static_assert(TN_RULE_SCALARS == 10, "as many as RULE unpacks");
#define SCALAR(i) const float k##i = c->k[i]; (void)k##i;

/* A row's number of states is a constant, so what is asked of it here costs nothing. */
#define RULE(name, states, knobs, defaults, scalars, falls, ...)                               \
    static void name##_row(const tn__rule_call *c)                                             \
    {                                                                                          \
        float *restrict ps = c->p, *restrict gs = c->g;                                        \
        float *restrict a = c->s[0], *restrict b = c->s[1], *restrict d = c->s[2];             \
        SCALAR(0) SCALAR(1) SCALAR(2) SCALAR(3) SCALAR(4)                                      \
        SCALAR(5) SCALAR(6) SCALAR(7) SCALAR(8) SCALAR(9)                                      \
        for (int64_t i = 0, n = c->n; i < n; i++) {                                            \
            float p = ps[i], g = gs[i];                                                        \
            float s0 = (states) > 0 ? a[i] : 0;                                                \
            float s1 = (states) > 1 ? b[i] : 0;                                                \
            float s2 = (states) > 2 ? d[i] : 0;                                                \
            __VA_ARGS__;                                                                       \
            ps[i] = p;                                                                         \
            gs[i] = 0;                                                                         \
            if ((states) > 0)                                                                  \
                a[i] = s0;                                                                     \
            if ((states) > 1)                                                                  \
                b[i] = s1;                                                                     \
            if ((states) > 2)                                                                  \
                d[i] = s2;                                                                     \
        }                                                                                      \
    }
#include "tenon/optim.def"

void TN_K(rule)(const tn__rule_call *c)
{
    static void (*const rows[TN_RULE_COUNT])(const tn__rule_call *) = {
#define RULE(name, ...) name##_row,
#include "tenon/optim.def"
    };
    rows[c->rule](c);
}
