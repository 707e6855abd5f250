/* Optimizers: made, freed, and their state as named tensors.  Steps are in step.c; optim.h lists
 * the other parts. */
#include <stdio.h>
#include <string.h>

#include "optim.h"

static void optim_free(void *object)
{
    tn_optim *o = object;
    tn__rows_end(o);
    pthread_mutex_destroy(&o->lock);
    tn__storage_drop(o->params);
    tn__storage_drop(o->grads);
    tn__storage_drop(o->scalars);
    for (int i = 0; i < TN_RULE_STATES; i++)
        tn__storage_drop(o->states[i]);
    for (int i = 0; i < o->n_slots; i++)
        tn__free(o->slots[i].path);
    tn__free(o->slots);
    tn__free(o->ranges);
    tn__free(o->k);
    tn__free(o->chunks);
    tn__free(o);
}

static const tn_type optim_type = {"optimizer", optim_free};

tn_optim *tn_optim_new(const char *name, tn_module *m, tn_hyper h)
{
    const tn__update_rule *rule;
    const tn_optim_class *cls = m ? tn__optim_class_named(name, &rule) : NULL;
    if (!cls || !tn__hyper_complete(&h, cls->name, &cls->defaults, rule ? rule->knobs : NULL))
        return NULL;
    tn_optim *o = tn__alloc(sizeof *o);
    if (!o)
        return NULL;
    o->type = &optim_type;
    pthread_mutex_init(&o->lock, NULL);
    o->cls = cls;
    o->rule = rule;
    o->h = h;
    if (!tn__slab_gather(o, m)) {
        optim_free(o);
        return NULL;
    }
    tn__plan(o);
    return o;
}

tn_optim *tn_optim_call(const char *rule, tn_hyper h)
{
    tn_module *m = h.module;
    h.module = NULL;
    return tn_optim_new(rule, m, h);
}

void tn_set_lr(tn_optim *o, double lr)
{
    if (!o)
        return;
    tn_hyper h = o->h;
    h.lr = lr;
    if (tn__hyper_check(&h, o->cls->name))
        o->h = h;
}

const tn_hyper *tn_optim_settings(const tn_optim *o) { return o ? &o->h : NULL; }
double tn_lr(const tn_optim *o) { return o ? o->h.lr : 0; }
int64_t tn_steps_done(const tn_optim *o) { return o ? o->t : 0; }

bool tn_optim_set_steps(tn_optim *o, int64_t steps)
{
    if (!o)
        return false;
    if (steps < 0)
        return tn_fail(TN_EARG, "%s: %lld steps done; it must be >= 0", o->cls->name,
                       (long long)steps), false;
    o->t = steps;
    return true;
}

static bool state_view(const tn_optim *o, int state, const tn__slot *s, tn_named *out,
                       char name[256])
{
    const int length = snprintf(name, 256, "state.%d.%s", state, s->path);
    if (length < 0 || length >= 256)
        return tn_fail(TN_EARG, "%s: the path %s is too long to save", o->cls->name, s->path),
               false;
    tn_tensor t = {.storage = o->states[state], .dtype = TN_F32};
    tn__set_shape(&t, s->ndim, s->shape);
    *out = (tn_named){name, tn__view(&t, t.ndim, t.shape, t.stride, s->s)};
    return out->t != NULL;
}

int tn_optim_state(tn_optim *o, int max, tn_named *out, char (*names)[256])
{
    int n = 0;
    if (!o)
        return 0;
    for (int state = 0; state < o->cls->states; state++)
        for (int i = 0; i < o->n_slots; i++, n++)
            if (n < max && !state_view(o, state, &o->slots[i], &out[n], names[n]))
                return 0;
    return n;
}
