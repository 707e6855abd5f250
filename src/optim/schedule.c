/* Learning rates as closed functions of progress.  LINEAR is that of the RAdam authors' translation
 * runs (nmt/my_module/linear_schedule.py), INVERSE_SQRT fairseq's, COSINE that of Loshchilov &
 * Hutter 2017 without restarts. */
#include <math.h>

#include "optim.h"

static double multistep(const tn_schedule *s, double n)
{
    enum { MILESTONES = sizeof s->at / sizeof *s->at };
    double rate = s->base;
    for (int i = 0; i < MILESTONES && s->at[i] > 0 && s->at[i] <= n; i++)
        rate *= tn__given(s->factor) ? s->factor : 0.1;
    return rate;
}

/* How far n is from the end of warmup to the total, in [0, 1]. */
static double progress(const tn_schedule *s, double n)
{
    if (!(s->total > s->warmup))
        return tn_fail(TN_EARG, "schedule: total is %g; it must be more than warmup, which is %g",
                       s->total, s->warmup), NAN;
    return fmin((n - s->warmup) / (s->total - s->warmup), 1);
}

double tn_schedule_at(const tn_schedule *s, double n)
{
    if (!s)
        return NAN;
    const bool warms = s->kind == TN_LINEAR || s->kind == TN_INVERSE_SQRT || s->kind == TN_COSINE;
    if (warms && n < s->warmup)
        return s->init + n * (s->base - s->init) / s->warmup;
    switch (s->kind) {
    case TN_CONSTANT: return s->base;
    case TN_MULTISTEP: return multistep(s, n);
    case TN_LINEAR: return (s->base - s->min) * (1 - progress(s, n)) + s->min;
    case TN_INVERSE_SQRT: return s->base * sqrt(fmax(s->warmup, 1) / fmax(n, fmax(s->warmup, 1)));
    case TN_COSINE: return s->min + (s->base - s->min) * 0.5 * (1 + cos(M_PI * progress(s, n)));
    }
    return tn_fail(TN_EARG, "schedule: %d is not a kind", (int)s->kind), NAN;
}
