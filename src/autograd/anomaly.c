/* The search for the first op that makes a NaN or infinity out of finite numbers (tn_anomaly).  Gradients
 * are made of ops too (sqrt_backward), so looking at ops finds both. */
#include <math.h>

#include "node.h"

static atomic_bool on;

void tn_anomaly(bool wanted) { atomic_store(&on, wanted); }

static bool all_finite(const tn_tensor *t)
{
    bool ok = true;
    if (!t || !t->storage || !tn_dtype_floating(t->dtype))
        return true;
    const bool was = tn_grad_set(false);
    atomic_store(&on, false); /* not of the check itself */
    TN_SCOPE {
        tn_tensor *v = tn_contiguous(tn__view(t, t->ndim, t->shape, t->stride, t->offset));
        double *x = v ? tn__scratch((size_t)tn_numel(v) * sizeof *x) : NULL;
        ok = x && tn_read_f64(v, x);
        for (int64_t i = 0; ok && i < tn_numel(v); i++)
            ok = isfinite(x[i]);
        tn__scratch_free(x);
    }
    atomic_store(&on, true);
    tn_grad_set(was);
    return ok;
}

bool tn__finite_op(const tn_call *c)
{
    if (!atomic_load(&on) || all_finite(c->out[0]))
        return true;
    for (int i = 0; i < c->n_in; i++)
        if (!all_finite(c->in[i]))
            return true; /* an earlier op is to blame */
    return tn_fail(TN_ENUM, "%s: the result holds NaN or infinity although all that went in was finite",
                   c->op->name), false;
}
