/* The branches of the update rules, as the scalars k0, k1, ... of optim.def: what depends on the
 * step and on options alone is decided here, on the host in float64, so that a row's update has
 * none.
 *
 * h is complete (hyper.c): no default is left to fill in.  t is the step, from 1. */
#ifndef TN_OPTIM_SCALARS_H
#define TN_OPTIM_SCALARS_H

#include <math.h>

#include "tenon/optim.h"

#define SCALAR static inline __attribute__((unused)) double

/* ---- weight decay: in the gradient, or taken from the parameter ---- */
static inline bool outside_gradient(const tn_hyper *h) { return h->decoupled && !h->coupled; }
SCALAR coupled_decay(const tn_hyper *h) { return outside_gradient(h) ? 0 : h->decay; }
SCALAR decoupled_decay(const tn_hyper *h) { return outside_gradient(h) ? h->decay : 0; }

/* ---- bias correction ---- */
SCALAR first_bias(const tn_hyper *h, double t) { return 1 - pow(h->beta1, t); }
SCALAR second_bias(const tn_hyper *h, double t) { return 1 - pow(h->beta2, t); }
/* What sqrt(v) is multiplied by when eps comes after the correction. */
SCALAR second_root(const tn_hyper *h, double t) { return 1 / sqrt(second_bias(h, t)); }
/* What m / (sqrt(v) + eps) is multiplied by: the second moment's correction is in the factor of
 * sqrt(v) when eps is inside. */
SCALAR correction(const tn_hyper *h, double t)
{
    return (h->eps_inside ? 1 : sqrt(second_bias(h, t))) / first_bias(h, t);
}

/* ---- SGD: the first step's buffer is the gradient itself, and so is every one without momentum
 * ---- */
SCALAR sgd_take(const tn_hyper *h, double t)
{
    return t == 1 || h->momentum == 0 ? 1 : 1 - h->dampening;
}

/* ---- Adam; frozen steps move nothing but the second moment ---- */
static inline bool frozen(const tn_hyper *h, double t) { return t <= h->freeze_steps; }
SCALAR adam_rate(const tn_hyper *h, double t)
{
    if (t >= h->warmup_steps)
        return h->lr;
    return h->warmup == TN_WARMUP_GENERIC ? 1e-8 + t * h->lr / h->warmup_steps
                                          : 1e-6 + t * (h->lr - 1e-6) / h->warmup_steps;
}
SCALAR adam_keep(const tn_hyper *h, double t) { return frozen(h, t) ? 1 : h->beta1; }
SCALAR adam_take(const tn_hyper *h, double t) { return frozen(h, t) ? 0 : 1 - h->beta1; }
SCALAR adam_shrink(const tn_hyper *h, double t)
{
    return frozen(h, t) ? 0 : decoupled_decay(h) * adam_rate(h, t);
}
SCALAR adam_step(const tn_hyper *h, double t)
{
    return frozen(h, t) ? 0 : adam_rate(h, t) * correction(h, t);
}
SCALAR adam_root(const tn_hyper *h, double t)
{
    return frozen(h, t) ? 0 : h->eps_inside ? second_root(h, t) : 1;
}
SCALAR adam_eps(const tn_hyper *h, double t) { return frozen(h, t) ? 1 : h->eps; }

/* ---- RAdam ---- */
SCALAR rho_inf(const tn_hyper *h) { return 2 / (1 - h->beta2) - 1; }
SCALAR rho_at(const tn_hyper *h, double t)
{
    return rho_inf(h) - 2 * t * pow(h->beta2, t) / second_bias(h, t);
}
/* Whether the variance of the adaptive rate is trusted.  rho stays below rho_inf, which is at most
 * 4 for beta2 <= 0.6: then it never is. */
static inline bool rectified(const tn_hyper *h, double t)
{
    const double rho = rho_at(h, t);
    switch (h->threshold) {
    case TN_RHO_OVER_4: return rho > 4;
    case TN_RHO_FROM_5: return rho >= 5;
    case TN_RHO_OVER_5: break;
    }
    return rho > 5;
}
SCALAR rectification(const tn_hyper *h, double t)
{
    const double rho = rho_at(h, t), inf = rho_inf(h);
    return sqrt((rho - 4) * (rho - 2) * inf / ((inf - 4) * (inf - 2) * rho));
}
static inline bool skipped(const tn_hyper *h, double t)
{
    return h->degenerate == TN_DEGENERATE_SKIP && !rectified(h, t);
}
SCALAR radam_shrink(const tn_hyper *h, double t)
{
    return skipped(h, t) ? 0 : h->lr * decoupled_decay(h);
}
SCALAR radam_step(const tn_hyper *h, double t)
{
    if (rectified(h, t))
        return h->lr * rectification(h, t) * correction(h, t);
    return skipped(h, t) ? 0 : h->lr / first_bias(h, t);
}
SCALAR radam_root(const tn_hyper *h, double t)
{
    return !rectified(h, t) ? 0 : h->eps_inside ? second_root(h, t) : 1;
}
SCALAR radam_eps(const tn_hyper *h, double t) { return rectified(h, t) ? h->eps : 1; }

/* ---- NAdam: momentum that grows from beta1 / 2 to beta1 ---- */
SCALAR nadam_mu(const tn_hyper *h, double t)
{
    return h->beta1 * (1 - 0.5 * pow(0.96, t * h->momentum_decay));
}
/* 1 - mu(1) mu(2) ... mu(t); a product below 1e-17 no longer shows in float64. */
SCALAR nadam_bias(const tn_hyper *h, double t)
{
    double product = 1;
    for (double i = 1; i <= t && product > 1e-17; i++)
        product *= nadam_mu(h, i);
    return 1 - product;
}
SCALAR nadam_now(const tn_hyper *h, double t)
{
    return h->lr * (1 - nadam_mu(h, t)) / nadam_bias(h, t);
}
SCALAR nadam_next(const tn_hyper *h, double t)
{
    return h->lr * nadam_mu(h, t + 1) / nadam_bias(h, t + 1);
}

#undef SCALAR
#endif
