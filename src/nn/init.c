/* How parameters start.  Kaiming: He et al. 2015, "Delving deep into rectifiers"; Xavier: Glorot and
 * Bengio 2010.  The numbers depend on tn_seed() and on the order in which parameters are made. */
#include <math.h>

#include "internal.h"

void tn_fans(const tn_tensor *t, double *fan_in, double *fan_out)
{
    *fan_in = *fan_out = NAN;
    if (!t)
        return;
    if (t->ndim < 2) {
        tn_fail(TN_ESHAPE, "init: Kaiming and Xavier need a weight [out, ..., in], this has %d dims", t->ndim);
        return;
    }
    double middle = 1;
    for (int i = 1; i < t->ndim - 1; i++)
        middle *= (double)t->shape[i];
    *fan_in = middle * (double)t->shape[t->ndim - 1];
    *fan_out = middle * (double)t->shape[0];
}

static bool draw_uniform(tn_tensor *t, double lo, double hi)
{
    bool ok = false;
    TN_SCOPE {
        ok = tn_copy_(t, tn_rand(lo, hi, t->ndim, t->shape));
    }
    return ok;
}

static bool draw_normal(tn_tensor *t, double mean, double std)
{
    bool ok = false;
    TN_SCOPE {
        ok = tn_copy_(t, tn_randn(mean, std, t->ndim, t->shape));
    }
    return ok;
}

/* The methods that keep variances level: normal, or uniform of the same standard deviation. */
static bool draw_scaled(tn_tensor *t, tn_init how)
{
    double in, out;
    tn_fans(t, &in, &out);
    const bool kaiming = how.kind == TN_INIT_KAIMING_NORMAL || how.kind == TN_INIT_KAIMING_UNIFORM;
    const bool uniform = how.kind == TN_INIT_KAIMING_UNIFORM || how.kind == TN_INIT_XAVIER_UNIFORM;
    const double gain = how.a != 0 ? how.a : kaiming ? sqrt(2) : 1;
    const double fan = !kaiming ? (in + out) / 2 : how.fan_out ? out : in;
    if (isnan(fan))
        return false;
    const double std = fan > 0 ? gain / sqrt(fan) : 0;
    return uniform ? draw_uniform(t, -sqrt(3) * std, sqrt(3) * std) : draw_normal(t, 0, std);
}

bool tn_init_(tn_tensor *t, tn_init how)
{
    if (!t)
        return false;
    switch (how.kind) {
    case TN_INIT_ZEROS: return tn_fill_(t, 0);
    case TN_INIT_CONST: return tn_fill_(t, how.a);
    case TN_INIT_UNIFORM: return draw_uniform(t, how.a, how.b);
    case TN_INIT_NORMAL: return draw_normal(t, how.a, how.b);
    case TN_INIT_KAIMING_NORMAL:
    case TN_INIT_KAIMING_UNIFORM:
    case TN_INIT_XAVIER_NORMAL:
    case TN_INIT_XAVIER_UNIFORM: return draw_scaled(t, how);
    }
    return tn_fail(TN_EARG, "init: %d is not a kind", (int)how.kind), false;
}
