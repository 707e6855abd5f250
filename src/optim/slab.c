/* Slabs: the trained parameters of a module, in path order, in one storage; their gradients in
 * another; each state in one more.  What can fail happens before the module is touched. */
#include <string.h>

#include "optim.h"

typedef struct gather {
    tn_optim *o;
    tn_tensor **t;    /* the parameters, while the module is known to live */
    tn_tensor **grad; /* their handles in the slab of gradients; NULL when slabs are reused */
    int n;
} gather;

static bool count(void *arg, const char *path, tn_param *p)
{
    (void)path;
    ((gather *)arg)->n += p->t.requires_grad;
    return true;
}

static bool collect(void *arg, const char *path, tn_param *p)
{
    gather *a = arg;
    const char *who = a->o->cls->name;
    const tn_tensor *t = &p->t;
    const tn_storage *at = t->storage, *first = a->n ? a->t[0]->storage : at;
    if (!t->requires_grad)
        return true;
    if (t->dtype != TN_F32 || !tn_is_contiguous(t))
        return tn_fail(TN_EDTYPE, "%s: parameter %s is %s%s; contiguous f32 is needed", who, path,
                       tn_is_contiguous(t) ? "" : "strided ", tn_dtype_name(t->dtype)), false;
    if (at->backend != first->backend || at->device != first->device)
        return tn_fail(TN_EDEVICE, "%s: parameter %s is on %s:%d, the first one on %s:%d; use "
                       "tn_to()", who, path, at->backend->name, at->device,
                       first->backend->name, first->device), false;
    tn__slot *s = &a->o->slots[a->n];
    s->path = tn__strdup(path);
    s->ndim = t->ndim;
    memcpy(s->shape, t->shape, sizeof s->shape);
    s->n = tn_numel(t);
    s->set.lr_scale = 1;
    s->sparse = p->sparse;
    a->t[a->n++] = &p->t;
    return s->path != NULL;
}

/* Whether tensor i may stay where it is: behind the one before it, in the same storage, at a cache
 * line. */
static bool in_line(const tn_tensor *before, const tn_tensor *t)
{
    if (!t || t->offset % TN_SLAB_ALIGN || !tn_is_contiguous(t))
        return false;
    return !before || (t->storage == before->storage &&
                       t->offset >= before->offset + tn_numel(before));
}

static bool already_slabs(const gather *a)
{
    for (int i = 0; i < a->n; i++)
        if (!in_line(i ? a->t[i - 1] : NULL, a->t[i]) ||
            !in_line(i ? a->t[i - 1]->grad : NULL, a->t[i]->grad))
            return false;
    return true;
}

/* A slab for all slots.  With `lazily` a table of which few rows are looked up takes no memory until then. */
static tn_storage *zeroed(const tn_optim *o, const tn_storage *like, int64_t total, bool lazily)
{
    tn_storage *s = tn__storage_new(like->backend, like->device, (size_t)total * sizeof(float));
    bool ok = s;
    for (const tn__slot *slot = o->slots; ok && slot < o->slots + o->n_slots; slot++) {
        float *at = tn__slab_at(s, slot->s);
        const int64_t n = tn__slab_up(slot->n);
        if (lazily && slot->sparse && s->backend == &tn__cpu)
            tn__zero_pages(at, (size_t)n * sizeof *at);
        else
            ok = s->backend->fill(s->device, at, &(float){0}, sizeof *at, n);
    }
    if (!ok && s) {
        tn__storage_drop(s);
        return NULL;
    }
    return s;
}

/* A handle like t, of the same shape, at an offset of a slab. */
static tn_tensor in_slab(const tn_tensor *t, tn_storage *s, int64_t offset)
{
    tn_tensor y = {.storage = s, .offset = offset, .dtype = TN_F32};
    tn__set_shape(&y, t->ndim, t->shape);
    return y;
}

/* Copies of parameters and gradients in new slabs; the module still has its own. */
static bool copy_into_slabs(gather *a, int64_t total)
{
    tn_optim *o = a->o;
    tn__trim(); /* what the parameters were drawn in makes room */
    o->params = zeroed(o, a->t[0]->storage, total, false);
    o->grads = o->params ? zeroed(o, o->params, total, true) : NULL;
    a->grad = tn__alloc((size_t)a->n * sizeof *a->grad);
    if (!o->grads || !a->grad)
        return false;
    for (int i = 0; i < a->n; i++) {
        tn__slot *s = &o->slots[i];
        s->p = s->g = s->s;
        tn_tensor p = in_slab(a->t[i], o->params, s->p);
        a->grad[i] = tn__alloc(sizeof *a->grad[i]);
        if (!a->grad[i] || !tn_copy_(&p, a->t[i]))
            return false;
        *a->grad[i] = in_slab(a->t[i], tn__storage_ref(o->grads), s->g);
        if (a->t[i]->grad && !tn_copy_(a->grad[i], a->t[i]->grad))
            return false;
    }
    return true;
}

static void move_module(gather *a)
{
    for (int i = 0; i < a->n; i++) {
        tn_tensor *t = a->t[i];
        tn__storage_drop(t->storage);
        t->storage = tn__storage_ref(a->o->params);
        t->offset = a->o->slots[i].p;
        tn__tensor_free(t->grad);
        t->grad = a->grad[i];
        a->grad[i] = NULL;
    }
    tn__trim(); /* no step asks for blocks like those the parameters were in */
}

/* Whether only the module uses the slab that the parameters are in. */
static bool alone(const gather *a) { return atomic_load(&a->t[0]->storage->refs) == a->n; }

static bool has_gradient(const gather *a)
{
    bool any = false;
    for (int i = 0; i < a->n; i++)
        any |= a->t[i]->grad != NULL;
    return any;
}

static bool place(gather *a, int64_t total)
{
    tn_optim *o = a->o;
    const bool found = already_slabs(a), waits = !found || alone(a);
    if (found) {
        o->params = tn__storage_ref(a->t[0]->storage);
        o->grads = tn__storage_ref(a->t[0]->grad->storage);
        for (int i = 0; i < a->n; i++) {
            o->slots[i].p = a->t[i]->offset;
            o->slots[i].g = a->t[i]->grad->offset;
        }
    } else if (!copy_into_slabs(a, total)) {
        return false;
    }
    for (int i = 0; i < o->cls->states; i++)
        if (!(o->states[i] = zeroed(o, o->params, total, true)))
            return false;
    if (!tn__plan_new(o) || (waits && !tn__rows_new(o, !has_gradient(a))))
        return false;
    if (a->grad)
        move_module(a);
    else if (!waits && o->params->guard)
        o->params->guard->leave(o->params->guard);
    return true;
}

bool tn__slab_gather(tn_optim *o, tn_module *m)
{
    gather a = {.o = o};
    bool ok = tn_each_param(m, count, &a);
    if (ok && !a.n)
        ok = tn_fail(TN_EARG, "%s: the module has no trained parameters", o->cls->name);
    if (!ok)
        return false;
    o->slots = tn__alloc((size_t)a.n * sizeof *o->slots);
    a.t = tn__alloc((size_t)a.n * sizeof *a.t);
    o->n_slots = o->slots ? a.n : 0;
    a.n = 0;
    ok = o->slots && a.t && tn_each_param(m, collect, &a);
    int64_t total = 0;
    for (int i = 0; i < o->n_slots; i++) {
        o->slots[i].s = total;
        total += tn__slab_up(o->slots[i].n);
    }
    ok = ok && place(&a, total);
    for (int i = 0; a.grad && i < a.n; i++)
        tn__tensor_free(a.grad[i]);
    tn__free(a.grad);
    tn__free(a.t);
    return ok;
}
