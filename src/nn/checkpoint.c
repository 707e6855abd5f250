/* A module's weights and buffers in a safetensors file, under the names and in the layouts of PyTorch's
 * state_dict, so that both can read each other's files.  The format itself is safetensors.c. */
#include <stdarg.h>
#include <string.h>

#include "internal.h"

/* ---- saving ---- */

typedef struct gather {
    int n, room;
    tn_named *list;
} gather;

static bool count_one(void *arg, const char *path, tn_param *p)
{
    (void)path;
    (void)p;
    ((gather *)arg)->room++;
    return true;
}

/* [O,KH,KW,I] as [O,I,KH,KW] */
static tn_tensor *as_in_file(tn_param *p)
{
    return p->conv_layout ? tn_permute(&p->t, 4, (int64_t[]){0, 3, 1, 2}) : &p->t;
}

static bool take_one(void *arg, const char *path, tn_param *p)
{
    gather *g = arg;
    char *name = tn__strdup(path);
    g->list[g->n++] = (tn_named){name, as_in_file(p)};
    return name && g->list[g->n - 1].t;
}

bool tn_save(tn_module *m, const char *path)
{
    gather g = {0};
    bool ok = false;
    if (!tn_each_param(m, count_one, &g) || !(g.list = tn__alloc((size_t)g.room * sizeof *g.list)))
        return false;
    TN_NO_GRAD {
        TN_SCOPE {
            ok = tn_each_param(m, take_one, &g) && tn_safetensors_save(path, g.n, g.list, NULL);
        }
    }
    for (int i = 0; i < g.n; i++)
        tn__free((char *)g.list[i].name);
    tn__free(g.list);
    return ok;
}

/* ---- loading ---- */

typedef struct load {
    tn_load_args args;
    tn_safetensors *f;
    int fitting, missing, unexpected, unfit;
    char list[640]; /* the first misfits, for the error */
} load;

static void misfit(load *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void misfit(load *l, const char *fmt, ...)
{
    char line[480];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    if (l->args.log)
        fprintf(l->args.log, "%s: %s\n", l->args.path, line);
    const size_t n = strlen(l->list), more = strlen(line);
    if (n + more + 8 < sizeof l->list)
        snprintf(l->list + n, sizeof l->list - n, "%s%s", n ? "; " : "", line);
    else if (n && l->list[n - 1] != '.')
        strcpy(l->list + n, "; ...");
}

/* A handle with the shape that p has in files. */
static tn_tensor file_shape(const tn_param *p)
{
    tn_tensor t = {.ndim = p->t.ndim};
    for (int i = 0; i < t.ndim; i++)
        t.shape[i] = p->t.shape[i];
    if (p->conv_layout) {
        t.shape[1] = p->t.shape[3];
        t.shape[2] = p->t.shape[1];
        t.shape[3] = p->t.shape[2];
    }
    return t;
}

static bool entry_fits(const tn_param *p, const tn__entry *e)
{
    const tn_tensor t = file_shape(p);
    return e->ndim == t.ndim && !memcmp(e->shape, t.shape, (size_t)t.ndim * sizeof *t.shape) &&
           tn_dtype_floating(e->dtype) == tn_dtype_floating(p->t.dtype);
}

static bool compare_one(void *arg, const char *path, tn_param *p)
{
    load *l = arg;
    const tn__entry *e = tn__safetensors_find(l->f, path);
    if (!e) {
        l->missing++;
        misfit(l, "%s is missing", path);
    } else if (!entry_fits(p, e)) {
        char here[TN_SHAPE_TEXT], there[TN_SHAPE_TEXT];
        const tn_tensor ours = file_shape(p);
        tn_tensor theirs = {.ndim = e->ndim};
        memcpy(theirs.shape, e->shape, sizeof e->shape);
        l->unfit++;
        misfit(l, "%s is %s %s in the file, %s %s here", path, tn_dtype_name(e->dtype),
               tn_shape_text(&theirs, there), tn_dtype_name(p->t.dtype), tn_shape_text(&ours, here));
    } else {
        l->fitting++;
    }
    return true;
}

static bool compare(load *l)
{
    if (!tn_each_param(l->args.m, compare_one, l))
        return false;
    for (int i = 0; i < tn_safetensors_count(l->f); i++) {
        const char *name = tn_safetensors_name(l->f, i);
        if (tn_find_param(l->args.m, name))
            continue;
        l->unexpected++;
        misfit(l, "%.100s is unexpected", name);
    }
    const int misfits = l->missing + l->unexpected + l->unfit;
    if (misfits && (l->args.strict || !l->fitting))
        return tn_fail(TN_EFORMAT, "load: %s does not fit this %s: %d missing, %d unexpected, %d of another "
                                   "shape or kind: %s", l->args.path, l->args.m->cls->name, l->missing,
                       l->unexpected, l->unfit, l->list), false;
    return true;
}

static bool read_one(void *arg, const char *path, tn_param *p)
{
    load *l = arg;
    const tn__entry *e = tn__safetensors_find(l->f, path);
    bool ok = false;
    if (!e || !entry_fits(p, e))
        return true;
    TN_SCOPE {
        tn_tensor *t = tn_safetensors_read(l->f, path);
        if (p->conv_layout)
            t = tn_permute(t, 4, (int64_t[]){0, 2, 3, 1});
        ok = tn_copy_(&p->t, t);
    }
    return ok;
}

bool tn_load_call(tn_load_args args)
{
    load l = {.args = args};
    if (!args.m)
        return false;
    l.f = tn_safetensors_open(args.path);
    const bool ok = l.f && tn_safetensors_check(l.f) && compare(&l) && tn_each_param(args.m, read_one, &l);
    tn_free(l.f);
    return ok;
}
