/* Steps: the scalars of each range, made on the host and sent to the device, then one pass over the slabs which updates
 * and zeroes the gradients. */
#include <stdatomic.h>

#include "optim.h"

typedef struct pass {
    tn_optim *o;
    atomic_bool ok;
} pass;

static bool zero(const tn_storage *s, int64_t at, int64_t n)
{
    return s->backend->fill(s->device, tn__slab_at(s, at), &(float){0}, sizeof(float), n);
}

/* Where the backend reads them. */
static float *scalars_of(const tn_optim *o, const tn__range *r)
{
    float *host = tn__range_scalars(o, r);
    return o->scalars ? tn__slab_at(o->scalars, host - o->k) : host;
}

/* Elements [at, at + n) of a range. */
static bool step_part(const tn_optim *o, const tn__range *r, int64_t at, int64_t n)
{
    tn__rule_call call = {.rule = o->rule->row, .device = o->params->device, .n = n};
    if (r->set.lr_scale == 0)
        return zero(o->grads, r->g + at, n);
    call.p = tn__slab_at(o->params, r->p + at);
    call.g = tn__slab_at(o->grads, r->g + at);
    for (int s = 0; s < o->cls->states; s++)
        call.s[s] = tn__slab_at(o->states[s], r->s + at);
    call.k = scalars_of(o, r);
    return o->params->backend->rule(&call);
}

static void step_chunk(void *arg, int64_t i, int worker)
{
    pass *a = arg;
    const tn__chunk *c = &a->o->chunks[i];
    (void)worker;
    for (tn__stretch s = {0}; tn__stretch_next(a->o, c, &s);) {
        tn__rows_catch_up(a->o, c, &s);
        if (!step_part(a->o, &a->o->ranges[c->range], c->at + s.at, s.n))
            atomic_store(&a->ok, false);
    }
}

static tn_hyper hyper_of(const tn_optim *o, const tn__range *r)
{
    tn_hyper h = o->h;
    h.lr *= r->set.lr_scale;
    h.decay = r->set.has_decay ? r->set.decay : h.decay;
    return h;
}

/* What the host has to do for each step, also for one that is replayed. */
static bool prepare(void *arg)
{
    tn_optim *o = arg;
    o->t++;
    o->params->version++;
    o->grads->version++;
    for (int i = 0; o->rule && i < o->n_ranges; i++) {
        const tn_hyper h = hyper_of(o, &o->ranges[i]);
        o->rule->scalars(&h, (double)o->t, tn__range_scalars(o, &o->ranges[i]));
    }
    return !o->scalars || o->scalars->backend->copy(o->scalars->device, o->scalars->data, 0, o->k,
                                                    (size_t)o->n_ranges * TN_RULE_SCALARS * sizeof *o->k,
                                                    TN_COPY_TO_DEVICE);
}

static bool step_rule(tn_optim *o)
{
    pass a = {.o = o};
    atomic_init(&a.ok, true);
    tn__rows_before_step(o);
    if (tn__on_host(o))
        tn__parallel(o->n_chunks, step_chunk, &a);
    else
        for (int64_t i = 0; i < o->n_chunks; i++)
            step_chunk(&a, i, 0);
    tn__rows_after_step(o);
    return atomic_load(&a.ok);
}

/* A class of the user's gets whole ranges, in order, in this thread. */
static bool step_class(tn_optim *o)
{
    if (!tn__on_host(o))
        return tn_fail(TN_EDEVICE, "%s: registered optimizers run on the CPU; the parameters are "
                       "on %s", o->cls->name, o->params->backend->name), false;
    for (const tn__range *r = o->ranges; r < o->ranges + o->n_ranges; r++) {
        tn_update u = {.n = r->n, .h = hyper_of(o, r), .t = o->t};
        u.p = tn__slab_at(o->params, r->p);
        u.g = tn__slab_at(o->grads, r->g);
        for (int s = 0; s < o->cls->states; s++)
            u.s[s] = tn__slab_at(o->states[s], r->s);
        if (r->set.lr_scale != 0 && !o->cls->update(&u))
            return tn_fail(TN_ESTATE, "%s: the update failed in step %lld", o->cls->name,
                           (long long)o->t), false;
        if (!zero(o->grads, r->g, r->n))
            return false;
    }
    return tn_ok();
}

bool tn_step_call(tn_optim *o)
{
    if (!o || !tn_ok())
        return false;
    if (atomic_load(&o->params->refs) == 1)
        return tn_fail(TN_ESTATE, "%s: nothing uses these parameters any more: their module was "
                       "freed, moved with tn_to() or given to another optimizer; make the "
                       "optimizer after that", o->cls->name), false;
    return tn_each_time(prepare, o) && (o->rule ? step_rule(o) : step_class(o));
}

void tn_zero_grads(tn_optim *o)
{
    if (!o)
        return;
    o->grads->version++;
    for (const tn__chunk *c = o->chunks; c < o->chunks + o->n_chunks; c++)
        for (tn__stretch s = {0}; tn__stretch_next(o, c, &s);)
            if (!zero(o->grads, o->ranges[c->range].g + c->at + s.at, s.n))
                return;
    tn__rows_clean(o);
}
