/* tn_to: puts a module's tensors on another device, storage by storage, so that parameters which share a
 * slab share one there too. */
#include "internal.h"

typedef struct moved {
    tn_storage *from, *to;
} moved;

typedef struct move {
    const tn_backend *backend;
    int device;
    moved *list;
    int n;
} move;

/* Counters (integers without dims) stay where the host counts them. */
static bool stays(const tn_param *p)
{
    return p->buffer && p->t.ndim == 0 && !tn_dtype_floating(p->t.dtype);
}

static moved *find(const move *w, const tn_storage *s)
{
    for (int i = w->n; i-- > 0;)
        if (w->list[i].from == s)
            return &w->list[i];
    return NULL;
}

static tn_storage *copy_of(const move *w, const tn_storage *s)
{
    tn_storage *to = tn__storage_new(w->backend, w->device, s->bytes);
    if (s->guard)
        s->guard->open(s->guard, s, NULL, false);
    const int direction = s->backend == w->backend ? TN_COPY_ON_DEVICE
                          : s->backend == &tn__cpu ? TN_COPY_TO_DEVICE
                                                   : TN_COPY_TO_HOST;
    const tn_backend *be = w->backend == &tn__cpu ? s->backend : w->backend;
    if (to && !be->copy(w->device, to->data, s->device, s->data, s->bytes, direction)) {
        tn__storage_drop(to);
        return NULL;
    }
    return to;
}

static bool copy_storage(move *w, tn_storage *s)
{
    if ((s->backend == w->backend && s->device == w->device) || find(w, s))
        return true;
    tn_storage *to = copy_of(w, s);
    if (to)
        w->list[w->n++] = (moved){s, to};
    return to != NULL;
}

static bool copy_param(void *arg, const char *path, tn_param *p)
{
    (void)path;
    if (stays(p))
        return true;
    return copy_storage(arg, p->t.storage) && (!p->t.grad || copy_storage(arg, p->t.grad->storage));
}

static void swap_storage(const move *w, tn_tensor *t)
{
    const moved *m = t ? find(w, t->storage) : NULL;
    if (!m)
        return;
    tn_storage *old = t->storage;
    t->storage = tn__storage_ref(m->to);
    tn__storage_drop(old);
}

static bool swap_param(void *arg, const char *path, tn_param *p)
{
    (void)path;
    if (!stays(p)) {
        swap_storage(arg, &p->t);
        swap_storage(arg, p->t.grad);
    }
    return true;
}

static bool count_tensors(void *n, const char *path, tn_param *p)
{
    (void)path;
    (void)p;
    *(size_t *)n += 2; /* with a gradient each */
    return true;
}

bool tn_to(tn_module *m, tn_device device)
{
    move w = {.backend = device.backend ? device.backend : &tn__cpu, .device = device.index};
    size_t most = 0;
    if (!m || !tn__each_tensor(m, count_tensors, &most) || !(w.list = tn__alloc(most * sizeof *w.list)))
        return false;
    /* all copies first, so that a failure leaves the module as it was */
    const bool ok = tn__each_tensor(m, copy_param, &w) && tn__each_tensor(m, swap_param, &w);
    for (int i = 0; i < w.n; i++)
        tn__storage_drop(w.list[i].to);
    tn__free(w.list);
    return ok;
}
