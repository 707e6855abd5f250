/* The rows of optim.def as CPU kernels, once per ISA: one pass over memory.  Square root and division are
 * exact and nothing is contracted, so every ISA gives the same bits.  Who calls them, in which chunks and
 * with which scalars: src/optim/step.c. */
#include "rules.h"
#include "../map_math.h"

/* States that a row lacks are never touched: `states` is a constant. */
#define STATE(i, states) ((states) > (i) ? c->s[i] : NULL)
#define RULE(name, states, knobs, defaults, scalars, ...)                                                \
    static void name##_row(const tn__rule_call *c)                                                       \
    {                                                                                                    \
        float *restrict ps = c->p, *restrict gs = c->g;                                                  \
        float *restrict a = STATE(0, states), *restrict b = STATE(1, states), *restrict d = STATE(2, states); \
        const float k0 = c->k[0], k1 = c->k[1], k2 = c->k[2], k3 = c->k[3], k4 = c->k[4];                \
        const float k5 = c->k[5], k6 = c->k[6], k7 = c->k[7], k8 = c->k[8], k9 = c->k[9];                \
        (void)k0, (void)k1, (void)k2, (void)k3, (void)k4;                                                \
        (void)k5, (void)k6, (void)k7, (void)k8, (void)k9;                                                \
        for (int64_t i = 0, n = c->n; i < n; i++) {                                                      \
            float p = ps[i], g = gs[i];                                                                  \
            float s0 = (states) > 0 ? a[i] : 0, s1 = (states) > 1 ? b[i] : 0, s2 = (states) > 2 ? d[i] : 0; \
            __VA_ARGS__;                                                                                 \
            ps[i] = p;                                                                                   \
            gs[i] = 0;                                                                                   \
            if ((states) > 0)                                                                            \
                a[i] = s0;                                                                               \
            if ((states) > 1)                                                                            \
                b[i] = s1;                                                                               \
            if ((states) > 2)                                                                            \
                d[i] = s2;                                                                               \
        }                                                                                                \
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
