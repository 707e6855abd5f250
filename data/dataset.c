/* What every data set shares, and the table of data sets by name.  Not the sets themselves
 * (cifar.c, mnist.c, shapes.c, arrays.c) nor their batches: loader.c is next. */
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <tenon.h>

static void dataset_free(void *object)
{
    tn_dataset *d = object;
    if (d->cls->free)
        d->cls->free(d);
    free(d);
}

static const tn_type dataset_type = {"data set", dataset_free};

void *tn_dataset_new(const tn_dataset_class *cls)
{
    if (!cls)
        return NULL;
    if (cls->size < sizeof(tn_dataset))
        return tn_fail(TN_EARG, "%s: a data set of %zu bytes: its struct begins with a tn_dataset",
                       cls->name, cls->size);
    tn_dataset *d = calloc(1, cls->size);
    if (!d)
        return tn_fail(TN_ENOMEM, "%s: no memory for %zu bytes", cls->name, cls->size);
    d->type = &dataset_type;
    d->cls = cls;
    d->x_dtype = TN_F32;
    d->y_dtype = TN_I64;
    for (int c = 0; c < 4; c++)
        d->std[c] = 1;
    return d;
}

int64_t tn_dataset_len(const tn_dataset *d) { return d ? d->len : 0; }

/* ---- by name ---- */

/* `path` under $TENON_DATA when something is there, else `path` itself. */
static const char *locate(const char *path, char full[PATH_MAX])
{
    const char *base = getenv("TENON_DATA");
    if (!path || !base || path[0] == '/')
        return path;
    const int n = snprintf(full, PATH_MAX, "%s/%s", base, path);
    return n > 0 && n < PATH_MAX && access(full, F_OK) == 0 ? full : path;
}

static tn_dataset *make_cifar10(const tn_dataset_spec *s) { return tn_cifar10(s->root, s->split); }
static tn_dataset *make_cifar100(const tn_dataset_spec *s)
{
    return tn_cifar100(s->root, s->split);
}
static tn_dataset *make_mnist(const tn_dataset_spec *s) { return tn_mnist(s->root, s->split); }
static tn_dataset *make_arrays(const tn_dataset_spec *s) { return tn_arrays(s->x, s->y); }
static tn_dataset *make_shapes(const tn_dataset_spec *s)
{
    const int64_t usual = s->split == TN_TRAIN ? 10000 : 2000;
    return tn_shapes(s->split, s->count ? s->count : usual, s->seed);
}

enum { MOST = 64 };
static struct entry {
    const char *name;
    tn_dataset_make *make;
} table[MOST] = {
    {"cifar10", make_cifar10},
    {"cifar100", make_cifar100},
    {"mnist", make_mnist},
    {"shapes", make_shapes},
    {"arrays", make_arrays},
};
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;

/* The entry of that name, or the first free one, or NULL.  With the lock held. */
static struct entry *find(const char *name)
{
    for (int i = 0; i < MOST; i++)
        if (!table[i].name || strcmp(table[i].name, name) == 0)
            return &table[i];
    return NULL;
}

bool tn_register_dataset(const char *name, tn_dataset_make *make)
{
    if (!name || !make) {
        tn_fail(TN_EARG, "tn_register_dataset: a name and a function are needed");
        return false;
    }
    pthread_mutex_lock(&table_lock);
    struct entry *e = find(name);
    const bool free_one = e && !e->name;
    if (free_one)
        *e = (struct entry){name, make};
    pthread_mutex_unlock(&table_lock);
    if (!e)
        tn_fail(TN_EARG, "tn_register_dataset: \"%s\": %d data sets are the most", name, MOST);
    else if (!free_one)
        tn_fail(TN_EARG, "tn_register_dataset: \"%s\" is registered already", name);
    return free_one;
}

const char *const *tn_datasets(int *n)
{
    static const char *names[MOST];
    pthread_mutex_lock(&table_lock);
    for (*n = 0; *n < MOST && table[*n].name; (*n)++)
        names[*n] = table[*n].name;
    pthread_mutex_unlock(&table_lock);
    return names;
}

tn_dataset *tn_dataset_named(const tn_dataset_spec *spec)
{
    if (!spec || !spec->name)
        return tn_fail(TN_EARG, "tn_dataset_named: no name given");
    pthread_mutex_lock(&table_lock);
    const struct entry *e = find(spec->name);
    tn_dataset_make *make = e ? e->make : NULL;
    pthread_mutex_unlock(&table_lock);
    if (!make) {
        int n;
        const char *const *names = tn_datasets(&n);
        return tn_fail_unknown("data set", spec->name, n, names);
    }
    char full[3][PATH_MAX];
    tn_dataset_spec found = *spec;
    found.root = locate(spec->root, full[0]);
    found.x = locate(spec->x, full[1]);
    found.y = locate(spec->y, full[2]);
    return make(&found);
}
