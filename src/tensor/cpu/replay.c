/* Steps that rows waited for, done at once: bit for bit what rules.c would have done to them one by one with zero
 * gradients.  Mostly that needs few of its square roots and divisions.  Without a gradient states only shrink, and
 * rounding keeps order; so when not even the largest step that the states and the scalars of all that is left allow
 * moves p, up or down, then none of them does, and what remains is to multiply the states.  Who waits, and until when:
 * src/optim/rows.c. */
#include "rules.h"
#include "../map_math.h"

enum {
    BLOCK = 128,         /* elements that are done together */
    GROUP = 4 * TN_VEC,  /* of them in registers while they are multiplied */
    SPAN = 16,           /* steps between two looks at whether p still moves */
    RUN = 64             /* multiplications between two looks at whether they still change the states */
};

typedef struct block {
    int n; /* of BLOCK; up to a multiple of GROUP the first element follows again */
    float p[BLOCK], g[BLOCK], s[TN_RULE_STATES][BLOCK], end[TN_RULE_STATES][BLOCK];
} block;

/* ---- states alone ---- */

/* Whether no number between the least and the most factor changes x. */
static bool is_fixed(const tn__replay_call *r, int state, const float *x)
{
    const float least = r->least->keep[state], most = r->most->keep[state];
    bool fixed = true;
    for (int i = 0; i < GROUP; i++)
        fixed &= (x[i] * least == x[i]) & (x[i] * most == x[i]);
    return fixed;
}

static void multiply(float *x, const tn__past *past, int state, int steps)
{
    vf v[GROUP / TN_VEC];
    TN_UNROLL for (int j = 0; j < GROUP / TN_VEC; j++)
        v[j] = tn__load(x + j * TN_VEC);
    for (int t = 0; t < steps; t++) {
        const vf keep = tn__splat(past[t].keep[state]);
        TN_UNROLL for (int j = 0; j < GROUP / TN_VEC; j++)
            v[j] *= keep;
    }
    TN_UNROLL for (int j = 0; j < GROUP / TN_VEC; j++)
        tn__store(x + j * TN_VEC, v[j]);
}

static void fade(const tn__replay_call *r, int state, float *x)
{
    for (int t = 0, run; t < r->steps && !is_fixed(r, state, x); t += run) {
        run = r->steps - t < RUN ? r->steps - t : RUN;
        multiply(x, r->past + t, state, run);
    }
    for (int i = 0; i < GROUP; i++)
        x[i] += 0.0f; /* a rule adds the gradient, which makes 0 of -0 */
}

/* ---- whether p moves ---- */

#define SCALAR(i) float k##i = r->most->k[i], low_k##i = r->least->k[i]; (void)k##i, (void)low_k##i;
#define STATE(i) float s##i = sign * ABS(b->s[i][j]), low_s##i = MIN(b->s[i][j], b->end[i][j]); \
    (void)s##i, (void)low_s##i;
#define LOW(x) x = low_##x

/* With the largest step in both directions: of a row p stays as it is, to the bit, and its gradient zero. */
#define RULE(name, states, knobs, defaults, scalars, falls, ...)                               \
    static bool name##_rests(const tn__replay_call *r, const block *b)                         \
    {                                                                                          \
        int moved = 0;                                                                         \
        for (float sign = -1; sign <= 1; sign += 2)                                            \
            for (int j = 0; j < b->n; j++) {                                                   \
                SCALAR(0) SCALAR(1) SCALAR(2) SCALAR(3) SCALAR(4)                              \
                SCALAR(5) SCALAR(6) SCALAR(7) SCALAR(8) SCALAR(9)                              \
                STATE(0) STATE(1) STATE(2)                                                     \
                float p = b->p[j], g = 0;                                                      \
                falls;                                                                         \
                __VA_ARGS__;                                                                   \
                moved |= (tn__as_bits(p) != tn__as_bits(b->p[j])) | !(g == 0);                 \
            }                                                                                  \
        return !moved;                                                                         \
    }
#include "tenon/optim.def"

static bool rests(const tn__replay_call *r, const block *b)
{
    static bool (*const rows[TN_RULE_COUNT])(const tn__replay_call *, const block *) = {
#define RULE(name, ...) name##_rests,
#include "tenon/optim.def"
    };
    return rows[r->rule](r, b);
}

/* ---- a block ---- */

static void fill(float *to, const float *from, int n)
{
    memcpy(to, from, (size_t)n * sizeof *to);
    for (int i = n; i < BLOCK; i++)
        to[i] = from[0];
}

static void step(const tn__replay_call *r, block *b, int t)
{
    tn__rule_call c = {.rule = r->rule, .n = b->n, .p = b->p, .g = b->g, .k = r->past[t].k};
    for (int i = 0; i < r->states; i++)
        c.s[i] = b->s[i];
    TN_K(rule)(&c);
}

static void replay(const tn__replay_call *r, block *b)
{
    bool look = r->steps > SPAN;
    for (int i = 0; i < r->states; i++)
        look &= r->most->keep[i] <= 1; /* and a number */
    for (int i = 0; i < r->states && look; i++) {
        memcpy(b->end[i], b->s[i], sizeof b->end[i]);
        for (int at = 0; at < b->n; at += GROUP)
            fade(r, i, b->end[i] + at);
    }
    for (int t = 0; t < r->steps; t++) {
        if (look && t % SPAN == 0 && rests(r, b)) {
            memcpy(b->s, b->end, sizeof b->s);
            return;
        }
        step(r, b, t);
    }
}

/* What has not changed is not written: pages of zeros stay nobody's. */
static void give(float *to, const float *from, int n)
{
    if (memcmp(to, from, (size_t)n * sizeof *to) != 0)
        memcpy(to, from, (size_t)n * sizeof *to);
}

void TN_K(replay)(const tn__replay_call *r)
{
    block b = {0};
    for (int64_t at = 0; at < r->n; at += BLOCK) {
        const int n = r->n - at < BLOCK ? (int)(r->n - at) : BLOCK;
        b.n = (n + TN_VEC - 1) / TN_VEC * TN_VEC;
        fill(b.p, r->p + at, n);
        for (int i = 0; i < r->states; i++)
            fill(b.s[i], r->s[i] + at, n);
        replay(r, &b);
        give(r->p + at, b.p, n);
        for (int i = 0; i < r->states; i++)
            give(r->s[i] + at, b.s[i], n);
    }
}
