/* tn_summary: a table of the tree, with the output shapes that one forward really had. */
#include <string.h>

#include "internal.h"

typedef struct row {
    tn_module *m;
    bool training;             /* as it was */
    char path[TN__PATH];
    char output[TN_SHAPE_TEXT]; /* of the first forward; "-" without one */
    int64_t elements;          /* of the module's own parameters */
} row;

typedef struct table {
    row *rows;
    int n;
    char path[TN__PATH];
} table;

static int count_modules(const tn_module *m)
{
    int n = 1;
    for (const tn_module *c = m->child; c; c = c->next)
        n += count_modules(c);
    return n;
}

static bool add_rows(table *t, size_t length, tn_module *m)
{
    row *r = &t->rows[t->n++];
    r->m = m;
    r->training = m->training;
    strcpy(r->path, length ? t->path : "(all)");
    strcpy(r->output, "-");
    for (const tn_param *p = m->params; p; p = p->next)
        r->elements += p->buffer ? 0 : tn_numel(&p->t);
    for (tn_module *c = m->child; c; c = c->next) {
        const size_t n = tn__path_add(t->path, length, c->name);
        if (!n || !add_rows(t, n, c))
            return false;
    }
    return true;
}

static void saw(void *arg, const tn_module *m, const tn_tensor *y)
{
    const table *t = arg;
    for (int i = 0; i < t->n; i++)
        if (t->rows[i].m == m && !strcmp(t->rows[i].output, "-"))
            tn_shape_text(y, t->rows[i].output);
}

static bool run_once(table *t, tn_module *m, tn_tensor *x)
{
    const tn__watch was = tn__forward_watch;
    bool ok = false;
    tn_eval(m);
    tn__forward_watch = (tn__watch){saw, t};
    TN_NO_GRAD {
        TN_SCOPE {
            ok = tn_forward(m, x) != NULL;
        }
    }
    tn__forward_watch = was;
    for (int i = 0; i < t->n; i++)
        t->rows[i].m->training = t->rows[i].training;
    return ok;
}

/* 11689512 as 11,689,512 */
static const char *grouped(int64_t n, char text[32])
{
    char digits[24];
    const int length = snprintf(digits, sizeof digits, "%lld", (long long)n);
    char *to = text;
    for (int i = 0; i < length; i++) {
        if (i && (length - i) % 3 == 0)
            *to++ = ',';
        *to++ = digits[i];
    }
    *to = 0;
    return text;
}

static int wider(int width, const char *text)
{
    const int n = (int)strlen(text);
    return n > width ? n : width;
}

typedef struct totals {
    int64_t all, trained, bytes;
} totals;

static bool add_up(void *arg, const char *path, tn_param *p)
{
    totals *t = arg;
    const int64_t n = tn_numel(&p->t);
    (void)path;
    t->all += p->buffer ? 0 : n;
    t->trained += p->t.requires_grad ? n : 0;
    t->bytes += n * (int64_t)tn_dtype_size(p->t.dtype);
    return true;
}

static void print(const table *t, FILE *out)
{
    char number[32], more[32];
    int path = 4, cls = 5, shape = 6;
    for (int i = 0; i < t->n; i++) {
        path = wider(path, t->rows[i].path);
        cls = wider(cls, t->rows[i].m->cls->name);
        shape = wider(shape, t->rows[i].output);
    }
    fprintf(out, "%-*s  %-*s  %-*s  %12s\n", path, "path", cls, "class", shape, "output", "parameters");
    for (int i = 0; i < t->n; i++) {
        const row *r = &t->rows[i];
        fprintf(out, "%-*s  %-*s  %-*s  %12s\n", path, r->path, cls, r->m->cls->name, shape, r->output,
                r->elements ? grouped(r->elements, number) : "");
    }
    totals sum = {0};
    tn_each_param(t->rows[0].m, add_up, &sum);
    fprintf(out, "%s parameters, %s of them trained; %.2f MB with buffers\n", grouped(sum.all, number),
            grouped(sum.trained, more), (double)sum.bytes / 1e6);
}

bool tn_summary(tn_module *m, tn_tensor *x, FILE *out)
{
    if (!m || !x || !out)
        return false;
    table t = {.rows = tn__alloc((size_t)count_modules(m) * sizeof(row))};
    const bool ok = t.rows && add_rows(&t, 0, m) && run_once(&t, m, x);
    if (ok)
        print(&t, out);
    tn__free(t.rows);
    return ok;
}
