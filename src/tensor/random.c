/* The random state of each thread: a seed and a count of random ops.  The numbers themselves are Philox's
 * (philox.h). */
#include <math.h>

#include "internal.h"

static _Thread_local tn_rng state;

void tn_seed(uint64_t seed) { state = (tn_rng){seed, 0}; }
tn_rng tn_rng_state(void) { return state; }
void tn_rng_restore(tn_rng s) { state = s; }

tn_rng tn__rng_next(void)
{
    const tn_rng key = state;
    state.step++;
    return key;
}

void tn_random(uint64_t seed, uint64_t step, uint64_t block, uint32_t out[4])
{
    const tn__philox4 r = tn__philox(seed, step, block);
    for (int i = 0; i < 4; i++)
        out[i] = r.v[i];
}

tn_tensor *tn_rand(double lo, double hi, int ndim, const int64_t *shape)
{
    tn_tensor *t = tn_empty(TN_F32, ndim, shape);
    const tn_rng key = tn__rng_next();
    float *y = tn_f32(t);
    for (int64_t i = 0, n = tn_numel(t); i < n; i++)
        y[i] = (float)(lo + (hi - lo) * (double)tn__uniform(tn__philox_at(key.seed, key.step, (uint64_t)i)));
    return t;
}

/* Box-Muller: elements 2k and 2k+1 share two words. */
tn_tensor *tn_randn(double mean, double std, int ndim, const int64_t *shape)
{
    tn_tensor *t = tn_empty(TN_F32, ndim, shape);
    const tn_rng key = tn__rng_next();
    float *y = tn_f32(t);
    for (int64_t i = 0, n = tn_numel(t); i < n; i++) {
        const tn__philox4 r = tn__philox(key.seed, key.step, (uint64_t)i / 4);
        const int pair = (int)(i & 2);
        const double radius = sqrt(-2.0 * log((double)tn__uniform_open(r.v[pair])));
        const double angle = 6.283185307179586 * (double)tn__uniform(r.v[pair + 1]);
        y[i] = (float)(mean + std * radius * (i & 1 ? sin(angle) : cos(angle)));
    }
    return t;
}
