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

/* The norms of all chunks are made before the first is read: the host waits for the device once. */
static void sum_squares_on_device(tn_optim *o)
{
    double *norm = tn__alloc((size_t)(o->n_chunks + 1) * sizeof *norm);
    TN_NO_GRAD TN_SCOPE {
        tn_tensor *norms = tn__tensor_on(o->grads->backend, o->grads->device, TN_F32, TN_SHAPE(o->n_chunks));
        bool ok = norm && norms;
        for (int64_t i = 0; i < o->n_chunks && ok; i++) TN_SCOPE {
            const tn__chunk *c = &o->chunks[i];
            ok = !counts(o, c) || tn_copy_(tn_slice(norms, 0, i, i + 1, 1), tn_norm(view_of(o, c), TN_ALL, true));
        }
        if (ok && tn_read_f64(norms, norm))
            for (int64_t i = 0; i < o->n_chunks; i++)
                o->chunks[i].sum = norm[i] * norm[i];
    }
    tn__free(norm);
}

double tn_grad_norm(tn_optim *o)
{
    double sum = 0;
    if (!o || !tn_ok())
        return NAN;
    if (tn__on_host(o))
        tn__parallel(o->n_chunks, sum_squares, o);
    else
        sum_squares_on_device(o);
    for (const tn__chunk *c = o->chunks; c < o->chunks + o->n_chunks; c++)
        if (counts(o, c))
            sum += c->sum;
    return tn_ok() ? sqrt(sum) : NAN;
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

static bool change_grads(tn_optim *o, double factor, double most)
{
    change a = {o, (float)factor, (float)most};
    bool ok = true;
    o->grads->version++;
    if (tn__on_host(o)) {
        tn__parallel(o->n_chunks, change_chunk, &a);
        return true;
    }
    TN_NO_GRAD for (const tn__chunk *c = o->chunks; c < o->chunks + o->n_chunks && ok; c++) {
        TN_SCOPE {
            tn_tensor *g = view_of(o, c);
            ok = !counts(o, c) || tn_copy_(g, tn_clamp(tn_mul_scalar(g, factor), -most, most));
        }
    }
    return ok && tn_ok();
}

double tn_clip_norm(tn_optim *o, double max)
{
    if (o && !(max > 0))
        return tn_fail(TN_EARG, "clip_norm: max is %g; it must be > 0", max), NAN;
    const double norm = tn_grad_norm(o), factor = max / (norm + 1e-6);
    if (factor < 1 && !change_grads(o, factor, INFINITY))
        return NAN;
    return norm;
}

bool tn_clip_value(tn_optim *o, double max)
{
    if (!o || !tn_ok())
        return false;
    if (!(max > 0))
        return tn_fail(TN_EARG, "clip_value: max is %g; it must be > 0", max), false;
    return change_grads(o, 1, max);
}
