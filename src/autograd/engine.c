/* Backward: walks the nodes behind a tensor from the youngest to the oldest, asks each rule for the gradients
 * of its inputs, sums broadcast dims away and adds up what arrives.  The only place where gradients are
 * accumulated. */
#include <stdlib.h>
#include <string.h>

#include "node.h"
#include "rules.h"

static _Thread_local uint64_t visits;

/* ---- adding up ---- */

bool tn__add_into(tn_tensor *y, const tn_tensor *x)
{
    const tn_call c = {.op = TN_OP(add), .n_in = 2, .n_out = 1, .in = {y, x}, .out = {y}};
    tn__open(y, true);
    y->storage->version++;
    return tn__run(&c);
}

static bool sole_owner(const tn_tensor *t)
{
    return atomic_load(&t->storage->refs) == 1 && tn_is_contiguous(t);
}

/* A handle of d's data outside any scope. */
static tn_tensor *own(const tn_tensor *d)
{
    tn_tensor *t = tn__alloc(sizeof *t);
    if (!t)
        return NULL;
    *t = (tn_tensor){.storage = tn__storage_ref(d->storage), .offset = d->offset, .ndim = d->ndim, .dtype = d->dtype};
    memcpy(t->shape, d->shape, sizeof t->shape);
    memcpy(t->stride, d->stride, sizeof t->stride);
    return t;
}

/* Adds d to *sum (NULL: starts it). d's handle may die; its data is shared, never written while shared. */
static bool accumulate(tn_tensor **sum, tn_tensor *d)
{
    if (!*sum)
        return (*sum = own(d)) != NULL;
    if (sole_owner(*sum))
        return tn__add_into(*sum, d);
    if (sole_owner(d) && tn__add_into(d, *sum)) {
        tn__tensor_free(*sum);
        return (*sum = own(d)) != NULL;
    }
    tn_tensor *y = tn_add(*sum, d);
    if (!y)
        return false;
    tn__tensor_free(*sum);
    return (*sum = own(y)) != NULL;
}

/* The grad of a leaf is memory of its own: a user may write to it, an optimizer points it into a slab. */
static bool accumulate_leaf(tn_tensor *leaf, tn_tensor *d)
{
    if (leaf->grad)
        return tn__add_into(leaf->grad, d);
    if (!sole_owner(d)) {
        tn_tensor *copy = tn_like(d);
        if (!tn_copy_(copy, d))
            return false;
        d = copy;
    }
    return (leaf->grad = own(d)) != NULL;
}

/* ---- gradients of leaves that are small: added together, as each addition costs a device a start ---- */

enum { SMALL = 1 << 22 };
typedef struct waiting {
    int n;
    tn_tensor *to[TN_ADDITIONS], *d[TN_ADDITIONS]; /* grads of leaves; what is to be added */
} waiting;

static bool add_waiting(waiting *w, bool wanted)
{
    tn__addition all[TN_ADDITIONS];
    const int n = w->n;
    for (int i = 0; i < n && wanted; i++) {
        tn__open(w->to[i], true);
        w->to[i]->storage->version++;
        all[i] = (tn__addition){tn__data(w->to[i]), tn__data(w->d[i]), tn_numel(w->d[i])};
    }
    const tn_storage *at = n ? w->to[0]->storage : NULL;
    const bool ok = !n || !wanted || at->backend->add(at->device, n, all);
    while (w->n)
        tn__tensor_free(w->d[--w->n]);
    return ok;
}

static bool may_wait(const tn_tensor *to, const tn_tensor *d)
{
    return to && to->storage->backend->add && to->dtype == TN_F32 && tn_numel(d) <= SMALL && tn_is_contiguous(to) &&
           tn_is_contiguous(d);
}

/* Those that wait are of one device and of different leaves. */
static bool fits_in(const waiting *w, const tn_tensor *to)
{
    for (int i = 0; i < w->n; i++)
        if (w->to[i] == to || w->to[i]->storage->device != to->storage->device)
            return false;
    return w->n < TN_ADDITIONS;
}

static bool add_later(waiting *w, tn_tensor *to, tn_tensor *d)
{
    if (!fits_in(w, to) && !add_waiting(w, true))
        return false;
    w->to[w->n] = to;
    return (w->d[w->n] = own(d)) && ++w->n;
}

static bool deliver(waiting *w, tn__edge to, const tn_tensor *like, tn_tensor *d)
{
    d = tn__sum_to(d, like);
    if (!d)
        return false;
    if (to.node->op)
        return accumulate(&to.node->grad[to.out], d);
    tn_tensor *leaf = to.node->leaf;
    if (leaf && may_wait(leaf->grad, d))
        return add_later(w, leaf->grad, d);
    return !leaf || accumulate_leaf(leaf, d);
}

/* ---- one node ---- */

static bool unchanged(const tn_node *node)
{
    for (int i = 0; i < node->n_in + node->n_out; i++)
        if (node->saved[i].storage && node->saved[i].storage->version != node->version[i])
            return tn_fail(TN_ESTATE, "%s: a tensor that its gradient reads (%s %d) was changed in place between "
                           "forward and backward", node->op->name, i < node->n_in ? "input" : "output",
                           i < node->n_in ? i : i - node->n_in), false;
    return true;
}

/* What has arrived where an edge leads, when it may be added to. */
static tn_tensor *onto(tn__edge to)
{
    const tn_node *node = to.node;
    tn_tensor *sum = node->op ? node->grad[to.out] : node->leaf ? node->leaf->grad : NULL;
    return sum && tn_is_contiguous(sum) && (!node->op || sole_owner(sum)) ? sum : NULL;
}

static bool step(tn_node *node, waiting *w)
{
    tn_back b = {.op = node->op, .n_in = node->n_in, .n_out = node->n_out, .attr = node->attr, .g = node->grad[0]};
    bool ok = unchanged(node);
    for (int i = 0; i < node->n_in; i++) {
        b.in[i] = node->saved[i].dtype || node->saved[i].ndim || node->saved[i].storage || node->edge[i].node
                      ? &node->saved[i] : NULL;
        b.needs[i] = node->edge[i].node != NULL;
        b.onto[i] = b.needs[i] ? onto(node->edge[i]) : NULL;
    }
    for (int i = 0; i < node->n_out; i++)
        b.out[i] = &node->saved[node->n_in + i];
    TN_SCOPE {
        ok = ok && tn__rule_of(node->op)(&b);
        for (int i = 0; ok && i < node->n_in; i++)
            if (b.needs[i] && b.d[i])
                ok = deliver(w, node->edge[i], &node->saved[i], b.d[i]);
    }
    tn__tensor_free(node->grad[0]);
    node->grad[0] = NULL;
    tn__node_forget(node);
    return ok && tn_ok();
}

/* ---- the walk ---- */

typedef struct list {
    tn_node **node;
    size_t n, cap;
} list;

static bool append(list *l, tn_node *node)
{
    if (l->n == l->cap) {
        const size_t cap = l->cap ? 2 * l->cap : 256;
        tn_node **grown = tn__alloc(cap * sizeof *grown);
        if (!grown)
            return false;
        if (l->n)
            memcpy(grown, l->node, l->n * sizeof *grown);
        tn__free(l->node);
        l->node = grown;
        l->cap = cap;
    }
    l->node[l->n++] = node;
    return true;
}

static int younger_first(const void *a, const void *b)
{
    const uint64_t x = (*(tn_node *const *)a)->seq, y = (*(tn_node *const *)b)->seq;
    return (x < y) - (x > y);
}

/* Every op node behind root, each held by a reference of ours. */
static bool collect(tn_node *root, list *all)
{
    const uint64_t visit = ++visits;
    if (!append(all, root))
        return false;
    root->visit = visit;
    root->refs++;
    for (size_t at = 0; at < all->n; at++) {
        const tn_node *node = all->node[at];
        for (int i = 0; i < node->n_in; i++) {
            tn_node *next = node->edge[i].node;
            if (!next || !next->op || next->visit == visit)
                continue;
            if (!append(all, next))
                return false;
            next->visit = visit;
            next->refs++;
        }
    }
    qsort(all->node, all->n, sizeof *all->node, younger_first);
    return true;
}

static bool walk(tn_tensor *y, tn_tensor *dy)
{
    list all = {0};
    waiting w;
    w.n = 0;
    bool ok = collect(y->node, &all);
    for (size_t i = 0; ok && i < all.n; i++)
        if (all.node[i]->walked)
            ok = tn_fail(TN_ESTATE, "backward: %s was walked before and what it had saved is gone; run the forward "
                         "again", all.node[i]->op->name);
    ok = ok && accumulate(&y->node->grad[y->out], dy);
    for (size_t i = 0; ok && i < all.n; i++)
        if (all.node[i]->grad[0])
            ok = step(all.node[i], &w);
        else
            tn__node_forget(all.node[i]);
    ok = add_waiting(&w, ok) && ok;
    for (size_t i = 0; i < all.n; i++) {
        tn__tensor_free(all.node[i]->grad[0]);
        all.node[i]->grad[0] = NULL;
        tn__node_release(all.node[i]);
    }
    tn__free(all.node);
    return ok;
}

bool tn_backward_from(tn_tensor *y, tn_tensor *dy)
{
    char s[TN_SHAPE_TEXT], u[TN_SHAPE_TEXT];
    bool ok = false;
    if (!y || !dy || !tn_ok())
        return false;
    if (!y->requires_grad)
        return tn_fail(TN_ESTATE, "backward: nothing behind this tensor wants a gradient"), false;
    if (!tn_same_shape(y, dy) || y->dtype != dy->dtype)
        return tn_fail(TN_ESHAPE, "backward: gradient %s %s for a tensor %s %s", tn_dtype_name(dy->dtype),
                       tn_shape_text(dy, s), tn_dtype_name(y->dtype), tn_shape_text(y, u)), false;
    const bool was = tn_grad_set(false);
    TN_SCOPE {
        ok = y->node->op ? walk(y, dy) : accumulate_leaf(y, dy);
    }
    tn_grad_set(was);
    return ok;
}

bool tn_backward_call(tn_tensor *loss)
{
    char s[TN_SHAPE_TEXT];
    bool ok = false;
    if (!loss || !tn_ok())
        return false;
    if (tn_numel(loss) != 1)
        return tn_fail(TN_ESHAPE, "backward: %s is not a scalar; reduce it or use tn_backward_from()",
                       tn_shape_text(loss, s)), false;
    TN_SCOPE {
        tn_tensor *one = tn_like(loss);
        ok = tn_fill_(one, 1) && tn_backward_from(loss, one);
    }
    return ok;
}

void tn_zero_grad(tn_tensor *t)
{
    if (t && t->grad)
        tn_fill_(t->grad, 0);
}
