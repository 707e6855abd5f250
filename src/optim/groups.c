/* Groups: settings of slots by path, and how slots become ranges and chunks.  A range is as long as
 * neighbours agree, so a step over a network without groups is one range. */
#include <math.h>

#include "optim.h"

static int64_t chunk_size(const tn_optim *o) { return tn__on_host(o) ? TN_GRAIN : INT64_MAX; }
static int64_t chunks_in(const tn_optim *o, int64_t n)
{
    return n ? (n - 1) / chunk_size(o) + 1 : 0;
}

bool tn__plan_new(tn_optim *o)
{
    int64_t most = 0;
    for (int i = 0; i < o->n_slots; i++)
        most += chunks_in(o, o->slots[i].n);
    o->ranges = tn__alloc((size_t)o->n_slots * sizeof *o->ranges);
    o->chunks = tn__alloc((size_t)most * sizeof *o->chunks);
    o->k = tn__alloc((size_t)o->n_slots * TN_RULE_SCALARS * sizeof *o->k);
    if (!tn__on_host(o) && !(o->scalars = tn__storage_new(o->params->backend, o->params->device,
                                                          (size_t)o->n_slots * TN_RULE_SCALARS * sizeof *o->k)))
        return false;
    return o->ranges && o->chunks && o->k;
}

/* Whether slot b goes on where range a ends, up to the padding between them. */
static bool joins(const tn__range *a, const tn__slot *b)
{
    const int64_t n = tn__slab_up(a->n);
    return b->p == a->p + n && b->g == a->g + n && b->s == a->s + n &&
           b->set.lr_scale == a->set.lr_scale && b->set.has_decay == a->set.has_decay &&
           b->set.decay == a->set.decay;
}

void tn__plan(tn_optim *o)
{
    o->n_ranges = 0;
    for (const tn__slot *s = o->slots; s < o->slots + o->n_slots; s++) {
        tn__range *last = o->n_ranges ? &o->ranges[o->n_ranges - 1] : NULL;
        if (last && joins(last, s))
            last->n = tn__slab_up(last->n) + s->n;
        else
            o->ranges[o->n_ranges++] = (tn__range){s->n, s->p, s->g, s->s, s->set};
    }
    o->n_chunks = 0;
    for (int i = 0; i < o->n_ranges; i++)
        for (int64_t at = 0, left = o->ranges[i].n, n; left; at += n, left -= n) {
            n = left < chunk_size(o) ? left : chunk_size(o);
            o->chunks[o->n_chunks++] = (tn__chunk){.range = i, .at = at, .n = n};
        }
}

int tn_group_call(tn_group_args a)
{
    const bool scales = tn__given(a.lr_scale), decays = a.has_decay || tn__given(a.decay);
    int matched = 0;
    if (!a.o)
        return -1;
    if (!a.pattern)
        return tn_fail(TN_EARG, "group: no pattern"), -1;
    if (!scales && !decays)
        return tn_fail(TN_EARG, "group '%s': neither lr_scale nor decay is set; TN_ZERO is a real "
                       "zero", a.pattern), -1;
    if (!(a.lr_scale >= 0 && isfinite(a.lr_scale)))
        return tn_fail(TN_EARG, "group '%s': lr_scale is %g; it must be a number >= 0", a.pattern,
                       a.lr_scale), -1;
    if (!(a.decay >= 0 && isfinite(a.decay)))
        return tn_fail(TN_EARG, "group '%s': decay is %g; it must be a number >= 0", a.pattern,
                       a.decay), -1;
    for (tn__slot *s = a.o->slots; s < a.o->slots + a.o->n_slots; s++) {
        if (!tn_match(a.pattern, s->path))
            continue;
        matched++;
        if (scales)
            s->set.lr_scale = a.lr_scale;
        if (decays) {
            s->set.has_decay = true;
            s->set.decay = a.decay;
        }
    }
    tn__plan(a.o);
    return matched;
}
