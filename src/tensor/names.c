/* The error for a name that nobody knows.  For the tables of models, layers, data sets, optimizers. */
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
