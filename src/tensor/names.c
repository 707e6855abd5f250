/* Tables by name (models, layers, data sets), and the error for a name that nobody knows. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

void *tn_fail_unknown(const char *what, const char *name, int n, const char *const *known)
{
    char list[640] = "";
    const char *nearest = tn_nearest(name, known, n);
    for (int i = 0; i < n; i++) {
        const size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", known[i]);
    }
    if (!nearest)
        return tn_fail(TN_EARG, "%s: no name given; known: %s", what, list);
    return tn_fail(TN_EARG, "%s: there is no '%.63s'; do you mean '%s'?  Known: %s", what, name, nearest, list);
}

/* ---- tables ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of all tables: they are seldom used */

static int put(tn_registry *r, tn_entry e)
{
    r->name[r->n] = e.name;
    r->entry[r->n] = e;
    return r->n++;
}

/* With the lock held; r->n when it is not there. */
static int find(tn_registry *r, const char *name)
{
    int i = 0;
    while (r->n < r->n_rows)
        put(r, r->rows[r->n]);
    while (i < r->n && strcmp(r->name[i], name) != 0)
        i++;
    return i;
}

bool tn_registry_add(tn_registry *r, const char *name, void (*make)(void))
{
    if (!name || !*name || !make)
        return tn_fail(TN_EARG, "register_%s: a name and a function are needed", r->what), false;
    pthread_mutex_lock(&lock);
    const bool taken = find(r, name) < r->n, full = r->n == TN_REGISTRY_MOST;
    if (!taken && !full)
        put(r, (tn_entry){name, make});
    pthread_mutex_unlock(&lock);
    if (taken)
        tn_fail(TN_EARG, "register_%s: the name '%s' is taken", r->what, name);
    else if (full)
        tn_fail(TN_ESTATE, "register_%s: %s: there are %d already", r->what, name, TN_REGISTRY_MOST);
    return !taken && !full;
}

int tn_registry_find(tn_registry *r, const char *name)
{
    pthread_mutex_lock(&lock);
    const int i = find(r, name ? name : ""), n = r->n;
    pthread_mutex_unlock(&lock);
    if (i < n)
        return i;
    tn_fail_unknown(r->what, name, n, r->name);
    return -1;
}

const char *const *tn_registry_names(tn_registry *r, int *n)
{
    pthread_mutex_lock(&lock);
    find(r, "");
    *n = r->n;
    pthread_mutex_unlock(&lock);
    return r->name;
}
