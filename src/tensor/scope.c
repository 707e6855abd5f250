/* Scopes: a stack of lists of tensor handles; ending one frees what it holds.  Each thread has a root
 * scope for tensors made outside any; it ends with the thread.  See include/tenon/scope.h. */
#include <pthread.h>
#include <stdlib.h>

#include "internal.h"

struct tn_scope {
    tn_scope *up;
    tn_tensor *first;
};

static _Thread_local tn_scope root;
static _Thread_local tn_scope *top;

static pthread_key_t root_key;
static pthread_once_t root_once = PTHREAD_ONCE_INIT;

static void drop_all(tn_scope *s)
{
    while (s->first)
        tn__tensor_free(s->first);
}

static void end_root(void *arg)
{
    drop_all(arg);
}

static void at_exit(void)
{
    drop_all(&root);
}

static void make_root_key(void)
{
    pthread_key_create(&root_key, end_root);
    atexit(at_exit);
}

tn_scope *tn__scope_top(void)
{
    if (!top) {
        pthread_once(&root_once, make_root_key);
        pthread_setspecific(root_key, &root);
        top = &root;
    }
    return top;
}

tn_scope *tn__scope_up(tn_scope *s)
{
    return s->up ? s->up : s;
}

tn_scope *tn_scope_begin(void)
{
    tn_scope *up = tn__scope_top();
    tn_scope *s = tn__alloc(sizeof *s);
    if (!s)
        return NULL; /* the block is then skipped */
    s->up = up;
    return top = s;
}

void tn_scope_end(tn_scope **scope)
{
    if (!scope || !*scope)
        return;
    for (tn_scope *s = top; s && s != &root;) {
        tn_scope *up = s->up;
        const bool last = s == *scope;
        drop_all(s);
        tn__free(s);
        top = up;
        if (last)
            break;
        s = up;
    }
    *scope = NULL;
}

/* ---- handles ---- */

static void unlink_handle(tn_tensor *t)
{
    if (!t->scope)
        return;
    if (t->prev)
        t->prev->next = t->next;
    else
        t->scope->first = t->next;
    if (t->next)
        t->next->prev = t->prev;
    t->prev = t->next = NULL;
    t->scope = NULL;
}

void tn__scope_adopt(tn_scope *s, tn_tensor *t)
{
    unlink_handle(t);
    t->scope = s;
    t->next = s->first;
    if (s->first)
        s->first->prev = t;
    s->first = t;
}

tn_tensor *tn__tensor_in_scope(void)
{
    tn_scope *s = tn__scope_top();
    tn_tensor *t = tn__alloc(sizeof *t);
    if (t)
        tn__scope_adopt(s, t);
    return t;
}

void tn__tensor_free(tn_tensor *t)
{
    if (!t)
        return;
    unlink_handle(t);
    tn__tensor_release(t);
    tn__free(t);
}

tn_tensor *tn_keep(tn_tensor *t)
{
    if (t && t->scope)
        tn__scope_adopt(tn__scope_up(t->scope), t);
    return t;
}

void tn_drop_now(tn_tensor *t)
{
    if (t && t->scope)
        tn__tensor_free(t);
}

void tn_free_objects(int n, void *const *objects)
{
    for (int i = 0; i < n; i++)
        if (objects[i])
            (*(const tn_type *const *)objects[i])->free(objects[i]);
}
