/* Gradient norms and clipping.  Sums of squares are taken in float64 over the chunks of groups.c
 * and added in their order, so they do not depend on the number of threads.  Frozen parameters do
 * not count. */
#include <math.h>

#include "optim.h"

enum { LANES = 8 };

static bool counts(const tn_optim *o, const tn__chunk *c)
{
    return o->ranges[c->range].set.lr_scale != 0;
}

static float *grads_of(const tn_optim *o, const tn__chunk *c)
{
    return tn__slab_at(o->grads, o->ranges[c->range].g + c->at);
}

/* The gradients of a chunk on a device, for ops; in the innermost scope. */
static tn_tensor *view_of(const tn_optim *o, const tn__chunk *c)
{
    const tn_tensor t = {.storage = o->grads, .dtype = TN_F32};
    const int64_t offset = o->ranges[c->range].g + c->at, step = 1;
    return tn__view(&t, 1, &c->n, &step, offset);
}

/* The lane of an element follows from its place in the chunk, so that leaving out zeros changes nothing; the last few
 * of a chunk, behind `whole`, all go to the first one. */
static void add_squares(const float *g, int64_t at, int64_t end, int64_t whole, double sum[LANES])
{
    for (; at < end && at < whole && at % LANES; at++)
        sum[at % LANES] += (double)g[at] * (double)g[at];
    for (; at + LANES <= end && at < whole; at += LANES)
        for (int lane = 0; lane < LANES; lane++)
            sum[lane] += (double)g[at + lane] * (double)g[at + lane];
    for (; at < end; at++)
        sum[at < whole ? at % LANES : 0] += (double)g[at] * (double)g[at];
}

static void sum_squares(void *arg, int64_t i, int worker)
{
    const tn_optim *o = arg;
    tn__chunk *c = &o->chunks[i];
    double sum[LANES] = {0};
    (void)worker;
    if (!counts(o, c))
        return;
    for (tn__stretch s = {0}; tn__stretch_next(o, c, &s);)
        add_squares(grads_of(o, c), s.at, s.at + s.n, c->n / LANES * LANES, sum);
    c->sum = 0;
    for (int lane = 0; lane < LANES; lane++)
        c->sum += sum[lane];
}

static double norm_on_host(tn_optim *o)
{
    double sum = 0;
    tn__parallel(o->n_chunks, sum_squares, o);
    for (const tn__chunk *c = o->chunks; c < o->chunks + o->n_chunks; c++)
        if (counts(o, c))
            sum += c->sum;
    return sqrt(sum);
}

/* A scalar there, in the innermost scope; nothing waits. */
static tn_tensor *norm_on_device(const tn_optim *o)
{
    tn_tensor *norms = tn__tensor_on(o->grads->backend, o->grads->device, TN_F32, TN_SHAPE(o->n_chunks));
    bool ok = norms && tn_fill_(norms, 0);
    for (int64_t i = 0; i < o->n_chunks && ok; i++) TN_SCOPE {
        const tn__chunk *c = &o->chunks[i];
        ok = !counts(o, c) || tn_copy_(tn_slice(norms, 0, i, i + 1, 1), tn_norm(view_of(o, c), TN_ALL, true));
    }
    return ok ? tn_norm(norms, TN_ALL, false) : NULL;
}

double tn_grad_norm(tn_optim *o)
{
    double norm = NAN;
    if (!o || !tn_ok())
        return NAN;
    if (tn__on_host(o))
        return norm_on_host(o);
    TN_NO_GRAD TN_SCOPE {
        norm = tn_item(norm_on_device(o));
    }
    return norm;
}

/* g = min(max(factor g, -most), most), one pass for both ways of clipping. */
typedef struct change {
    tn_optim *o;
    float factor, most;
} change;

static void change_chunk(void *arg, int64_t i, int worker)
{
    const change *a = arg;
    const tn__chunk *c = &a->o->chunks[i];
    const float factor = a->factor, most = a->most;
    float *g = grads_of(a->o, c);
    (void)worker;
    for (tn__stretch s = {0}; counts(a->o, c) && tn__stretch_next(a->o, c, &s);)
        for (int64_t at = s.at; at < s.at + s.n; at++) {
            const float x = factor * g[at];
            g[at] = x > most ? most : x < -most ? -most : x; /* NaN stays */
        }
}

static void change_on_host(tn_optim *o, double factor, double most)
{
    change a = {o, (float)factor, (float)most};
    tn__parallel(o->n_chunks, change_chunk, &a);
}

/* Gradients times a scalar of their device. */
static bool scale_on_device(tn_optim *o, const tn_tensor *factor)
{
    bool ok = factor;
    for (const tn__chunk *c = o->chunks; c < o->chunks + o->n_chunks && ok; c++) TN_SCOPE {
        tn_tensor *g = view_of(o, c);
        const tn_call call = {.op = TN_OP(mul), .n_in = 2, .n_out = 1, .in = {g, factor}, .out = {g}};
        ok = g && (!counts(o, c) || tn__run(&call));
    }
    return ok;
}

static tn_tensor *clip_on_device(tn_optim *o, double max)
{
    tn_tensor *norm = norm_on_device(o);
    tn_tensor *factor = tn_mul_scalar(tn_reciprocal(tn_add_scalar(norm, 1e-6)), max);
    return scale_on_device(o, tn_clamp(factor, 0, 1)) ? norm : NULL;
}

tn_tensor *tn_clip_norm_lazy(tn_optim *o, double max)
{
    tn_tensor *norm = NULL;
    if (!o || !tn_ok())
        return NULL;
    if (!(max > 0))
        return tn_fail(TN_EARG, "clip_norm: max is %g; it must be > 0", max);
    o->grads->version++;
    if (!tn__on_host(o)) {
        TN_NO_GRAD norm = clip_on_device(o, max);
        return norm;
    }
    const double length = norm_on_host(o), factor = max / (length + 1e-6);
    if (factor < 1)
        change_on_host(o, factor, INFINITY);
    return tn_full(length, TN_F64, TN_SCALAR);
}

double tn_clip_norm(tn_optim *o, double max)
{
    double norm = NAN;
    TN_SCOPE {
        norm = tn_item(tn_clip_norm_lazy(o, max));
    }
    return norm;
}

bool tn_clip_value(tn_optim *o, double max)
{
    bool ok = true;
    if (!o || !tn_ok())
        return false;
    if (!(max > 0))
        return tn_fail(TN_EARG, "clip_value: max is %g; it must be > 0", max), false;
    o->grads->version++;
    if (tn__on_host(o)) {
        change_on_host(o, 1, max);
        return true;
    }
    TN_NO_GRAD for (const tn__chunk *c = o->chunks; c < o->chunks + o->n_chunks && ok; c++) TN_SCOPE {
        tn_tensor *g = view_of(o, c);
        ok = !counts(o, c) || tn_copy_(g, tn_clamp(g, -max, max));
    }
    return ok && tn_ok();
}
