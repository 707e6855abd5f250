/* The tree of modules: making and freeing it, finding things in it, train and eval.  How a module
 * computes is forward.c; how it moves to a device, move.c; files are checkpoint.c. */
#include <string.h>

#include "internal.h"

/* ---- making and freeing ---- */

static void param_free(tn_param *p)
{
    tn__tensor_release(&p->t);
    tn__free(p->name);
    tn__free(p);
}

static void tree_free(tn_module *m)
{
    if (m->cls->free)
        m->cls->free(m);
    for (tn_module *c = m->child, *next; c; c = next) {
        next = c->next;
        tree_free(c);
    }
    for (tn_param *p = m->params, *next; p; p = next) {
        next = p->next;
        param_free(p);
    }
    tn__free(m->name);
    tn__free(m);
}

static void module_free(void *object)
{
    tn_module *m = object;
    if (m->parent)
        tn_fail(TN_ESTATE, "free: %s '%s' belongs to a %s; free that instead", m->cls->name, m->name,
                m->parent->cls->name);
    else
        tree_free(m);
}

static const tn_type module_type = {"module", module_free};

void *tn_module_new(const tn_module_class *cls)
{
    if (!cls || !cls->name || !cls->forward || cls->size < sizeof(tn_module))
        return tn_fail(TN_EARG, "module: a class needs a name, a forward and the size of a struct that "
                                "starts with tn_module");
    tn_module *m = tn__alloc(cls->size);
    if (!m)
        return NULL;
    m->type = &module_type;
    m->cls = cls;
    m->training = true;
    return m;
}

tn_module *tn_module_done(void *object)
{
    tn_module *m = object;
    if (!m || !m->broken)
        return m;
    tn_free(m);
    return NULL;
}

/* Names are parts of paths, so they have no dots; children and parameters share one name space. */
static bool name_fits(const tn_module *m, const char *name)
{
    if (!name || !*name || strchr(name, '.') || strlen(name) >= TN__PATH)
        return tn_fail(TN_EARG, "%s: '%.40s' cannot be a name: it is empty, too long or has a dot",
                       m->cls->name, name ? name : ""), false;
    bool taken = false;
    for (const tn_param *p = m->params; p; p = p->next)
        taken |= !strcmp(p->name, name);
    for (const tn_module *c = m->child; c; c = c->next)
        taken |= !strcmp(c->name, name);
    if (taken)
        tn_fail(TN_EARG, "%s: the name '%s' is taken", m->cls->name, name);
    return !taken;
}

static bool is_inside(const tn_module *m, const tn_module *tree)
{
    while (m && m != tree)
        m = m->parent;
    return m != NULL;
}

static bool adopt(tn_module *m, const char *name, tn_module *child)
{
    if (child->parent || is_inside(m, child))
        return tn_fail(TN_EARG, "%s: the %s given as '%.40s' is part of a network already",
                       m ? m->cls->name : "add_child", child->cls->name, name ? name : ""), false;
    char *copy = m && name_fits(m, name) ? tn__strdup(name) : NULL;
    if (!copy) {
        tn_free(child);
        return false;
    }
    tn_module **tail = &m->child;
    while (*tail)
        tail = &(*tail)->next;
    *tail = child;
    child->name = copy;
    child->parent = m;
    return true;
}

tn_module *tn_add_child(tn_module *m, const char *name, tn_module *child)
{
    if (child && adopt(m, name, child))
        return child;
    if (m) {
        m->broken = true;
        tn_fail(TN_EARG, "%s: the child '%.40s' is NULL", m->cls->name, name ? name : "");
    }
    return NULL;
}

/* ---- parameters and buffers ---- */

static tn_param *param_new(tn_module *m, const char *name, tn_dtype dtype, int ndim, const int64_t *shape)
{
    if (!name_fits(m, name))
        return NULL;
    tn_param *p = tn__alloc(sizeof *p);
    if (!p)
        return NULL;
    p->owner = m;
    p->name = tn__strdup(name);
    TN_SCOPE {
        const tn_tensor *t = p->name ? tn_empty(dtype, ndim, shape) : NULL;
        if (!t)
            break;
        p->t.storage = tn__storage_ref(t->storage);
        p->t.dtype = dtype;
        tn__set_shape(&p->t, ndim, shape);
    }
    if (p->t.storage)
        return p;
    param_free(p);
    return NULL;
}

/* Appends p to m's list when it is ready, else frees it. */
static tn_tensor *param_add(tn_module *m, tn_param *p, bool ready)
{
    if (!ready) {
        m->broken = true;
        if (p)
            param_free(p);
        return NULL;
    }
    tn_param **tail = &m->params;
    while (*tail)
        tail = &(*tail)->next;
    *tail = p;
    return &p->t;
}

tn_tensor *tn_param_new(tn_module *m, const char *name, tn_init how, int ndim, const int64_t *shape)
{
    tn_param *p = m ? param_new(m, name, TN_F32, ndim, shape) : NULL;
    if (!m)
        return NULL;
    return param_add(m, p, p && tn_init_(&p->t, how) && tn_want_grad(&p->t));
}

tn_tensor *tn_buffer_new(tn_module *m, const char *name, tn_dtype dtype, double value, int ndim,
                         const int64_t *shape)
{
    tn_param *p = m ? param_new(m, name, dtype, ndim, shape) : NULL;
    if (!m)
        return NULL;
    if (p)
        p->buffer = true;
    return param_add(m, p, p && tn_fill_(&p->t, value));
}

/* a parameter's tensor is the first member of its tn_param */
_Static_assert(offsetof(tn_param, t) == 0, "tn_param starts with its tensor");

void tn_buffer_constant(tn_tensor *buffer)
{
    if (buffer)
        ((tn_param *)(void *)buffer)->constant = true;
}

void tn_param_conv_layout(tn_tensor *param)
{
    if (param && param->ndim != 4)
        tn_fail(TN_ESHAPE, "conv_layout: the weight must be [O,KH,KW,I], this one has %d dims", param->ndim);
    else if (param)
        ((tn_param *)(void *)param)->conv_layout = true;
}

void tn_param_sparse(tn_tensor *param)
{
    if (param && param->ndim < 1)
        tn_fail(TN_ESHAPE, "sparse: the table must have rows; this parameter has no dims");
    else if (param)
        ((tn_param *)(void *)param)->sparse = true;
}

/* ---- paths ---- */

size_t tn__path_add(char path[TN__PATH], size_t length, const char *name)
{
    const size_t n = strlen(name), dot = length ? 1 : 0;
    if (length + dot + n >= TN__PATH) {
        tn_fail(TN_EARG, "module: the path %s.%s is longer than %d letters", path, name, TN__PATH - 1);
        return 0;
    }
    if (dot)
        path[length] = '.';
    memcpy(path + length + dot, name, n + 1);
    return length + dot + n;
}

typedef struct walk {
    char path[TN__PATH];
    tn_param_fn *f;
    void *arg;
    bool constants;
} walk;

static bool walk_params(walk *w, size_t length, tn_module *m)
{
    for (tn_param *p = m->params; p; p = p->next)
        if ((w->constants || !p->constant) &&
            (!tn__path_add(w->path, length, p->name) || !w->f(w->arg, w->path, p)))
            return false;
    for (tn_module *c = m->child; c; c = c->next) {
        const size_t n = tn__path_add(w->path, length, c->name);
        if (!n || !walk_params(w, n, c))
            return false;
    }
    return true;
}

bool tn_each_param(tn_module *m, tn_param_fn *f, void *arg)
{
    walk w = {.f = f, .arg = arg};
    return m && walk_params(&w, 0, m);
}

bool tn__each_tensor(tn_module *m, tn_param_fn *f, void *arg)
{
    walk w = {.f = f, .arg = arg, .constants = true};
    return m && walk_params(&w, 0, m);
}

static bool is_name(const char *name, const char *part, size_t n)
{
    return strlen(name) == n && !memcmp(name, part, n);
}

/* The module that the first `length` letters of path name. */
static tn_module *find(tn_module *m, const char *path, size_t length)
{
    const char *end = path + length;
    while (m && path < end) {
        const char *dot = memchr(path, '.', (size_t)(end - path));
        const size_t n = (size_t)((dot ? dot : end) - path);
        tn_module *c = m->child;
        while (c && !is_name(c->name, path, n))
            c = c->next;
        path += n + (dot ? 1 : 0);
        m = dot && path == end ? NULL : c;
    }
    return m;
}

tn_module *tn_find_module(tn_module *m, const char *path)
{
    return path ? find(m, path, strlen(path)) : NULL;
}

tn_param *tn_find_param(tn_module *m, const char *path)
{
    const char *dot = path ? strrchr(path, '.') : NULL;
    if (!path || dot == path)
        return NULL;
    m = find(m, path, dot ? (size_t)(dot - path) : 0);
    tn_param *p = m ? m->params : NULL;
    while (p && strcmp(p->name, dot ? dot + 1 : path) != 0)
        p = p->next;
    return p;
}

bool tn_match(const char *pattern, const char *path)
{
    const char *star = NULL, *retry = NULL; /* the last '*', and where its text ends so far */
    if (!pattern || !path)
        return false;
    while (*path)
        if (*pattern == '*') {
            star = pattern++;
            retry = path;
        } else if (*pattern && (*pattern == '?' || *pattern == *path)) {
            pattern++;
            path++;
        } else if (star) {
            pattern = star + 1;
            path = ++retry;
        } else {
            return false;
        }
    while (*pattern == '*')
        pattern++;
    return !*pattern;
}

/* ---- switches and counts ---- */

static void set_training(tn_module *m, bool on)
{
    m->training = on;
    for (tn_module *c = m->child; c; c = c->next)
        set_training(c, on);
}

void tn_train(tn_module *m)
{
    if (m)
        set_training(m, true);
}

void tn_eval(tn_module *m)
{
    if (m)
        set_training(m, false);
}

static bool count_trained(void *count, const char *path, tn_param *p)
{
    (void)path;
    *(int64_t *)count += p->t.requires_grad ? tn_numel(&p->t) : 0;
    return true;
}

int64_t tn_param_count(tn_module *m)
{
    int64_t n = 0;
    tn_each_param(m, count_trained, &n);
    return n;
}

typedef struct selection {
    const char *pattern;
    bool on;
    int matched;
} selection;

static bool set_one(void *arg, const char *path, tn_param *p)
{
    selection *s = arg;
    if (p->buffer || !tn_match(s->pattern, path))
        return true;
    s->matched++;
    p->t.requires_grad = s->on;
    return true;
}

int tn_set_trained(tn_module *m, const char *pattern, bool on)
{
    selection s = {pattern, on, 0};
    tn_each_param(m, set_one, &s);
    return s.matched;
}
