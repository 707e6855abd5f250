/* tn_gradcheck: backward against central differences of a random weighted sum of f's output. */
#include <math.h>

#include "tensor/internal.h"

/* Weights that no symmetry of an op cancels: fixed, of both signs, within [0.5, 1.5]. */
static tn_tensor *weights_like(const tn_tensor *y)
{
    tn_tensor *w = tn_like(y);
    if (!w)
        return NULL;
    for (int64_t i = 0, n = tn_numel(w); i < n; i++) {
        const double u = (double)tn__uniform(tn__philox_at(20190808, 0, (uint64_t)i));
        const double value = (u < 0.5 ? -1 : 1) * (0.5 + u);
        tn__convert(&value, TN_F64, (char *)tn__data(w) + (size_t)i * tn_dtype_size(w->dtype), w->dtype, 1);
    }
    return w;
}

static tn_tensor *run(const tn_gradcheck_args *a) { return tn_contiguous(a->f(a->arg, a->n, a->in)); }

/* sum w y in double */
static double objective(const tn_gradcheck_args *a)
{
    double sum = NAN;
    TN_NO_GRAD TN_SCOPE {
        tn_tensor *y = run(a), *w = y ? weights_like(y) : NULL;
        const int64_t n = tn_numel(y);
        double *v = w ? tn__scratch(2 * (size_t)n * sizeof *v) : NULL;
        if (v && tn_read_f64(y, v) && tn_read_f64(w, v + n)) {
            sum = 0;
            for (int64_t i = 0; i < n; i++)
                sum += v[i] * v[n + i];
        }
        tn__scratch_free(v);
    }
    return sum;
}

static double get(const tn_tensor *t, int64_t i)
{
    double v;
    tn__open(t, false);
    tn__convert((char *)tn__data(t) + (size_t)i * tn_dtype_size(t->dtype), t->dtype, &v, TN_F64, 1);
    return v;
}

static void set(tn_tensor *t, int64_t i, double v)
{
    tn__open(t, true);
    tn__convert(&v, TN_F64, (char *)tn__data(t) + (size_t)i * tn_dtype_size(t->dtype), t->dtype, 1);
    t->storage->version++;
}

static bool check_element(const tn_gradcheck_args *a, int k, int64_t i)
{
    tn_tensor *x = a->in[k];
    const double keep = get(x, i), got = x->grad ? get(x->grad, i) : 0;
    set(x, i, keep + a->step);
    const double up = objective(a), plus = get(x, i);
    set(x, i, keep - a->step);
    const double down = objective(a), minus = get(x, i);
    set(x, i, keep);
    const double want = (up - down) / (plus - minus);
    if (!tn_ok() || fabs(got - want) <= a->atol + a->rtol * fabs(want))
        return tn_ok();
    return tn_fail(TN_ENUM, "gradcheck: input %d, element %lld: backward gives %.9g, differences give %.9g", k,
                   (long long)i, got, want), false;
}

static double or(double value, double otherwise) { return value > 0 ? value : otherwise; }

bool tn_gradcheck_call(tn_gradcheck_args a)
{
    bool ok = tn_ok(), wide = true;
    for (int k = 0; ok && k < a.n; k++) {
        if (!a.in[k] || (a.in[k]->requires_grad && !tn_is_contiguous(a.in[k])))
            return tn_fail(TN_EARG, "gradcheck: input %d is NULL or not contiguous", k), false;
        tn_zero_grad(a.in[k]);
        wide &= a.in[k]->dtype != TN_F32;
    }
    a.step = or(a.step, wide ? 1e-5 : 1e-2);
    a.rtol = or(a.rtol, wide ? 1e-6 : 2e-2);
    a.atol = or(a.atol, wide ? 1e-8 : 1e-3);
    a.most = a.most > 0 ? a.most : 64;
    TN_SCOPE {
        tn_tensor *y = run(&a), *w = y ? weights_like(y) : NULL;
        ok = ok && w && tn_backward_from(y, w);
    }
    for (int k = 0; ok && k < a.n; k++) {
        const int64_t n = a.in[k]->requires_grad ? tn_numel(a.in[k]) : 0;
        const int64_t stride = n > a.most ? n / a.most : 1;
        for (int64_t i = 0; ok && i < n; i += stride)
            ok = check_element(&a, k, i);
    }
    return ok;
}
