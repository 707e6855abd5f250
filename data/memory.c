/* A data set held in memory; see memory.h.  The readers fill it: cifar.c, mnist.c, arrays.c. */
#include "memory.h"

#include <stdlib.h>
#include <string.h>

static bool memory_get(const tn_dataset *d, int64_t i, void *x, void *y)
{
    const tn__memory_set *m = (const tn__memory_set *)d;
    memcpy(x, m->x + (size_t)i * m->x_bytes, m->x_bytes);
    memcpy(y, m->y + (size_t)i * m->y_bytes, m->y_bytes);
    return true;
}

static void memory_free(tn_dataset *d)
{
    tn__memory_set *m = (tn__memory_set *)d;
    free(m->x);
    free(m->y);
}

static const tn_dataset_class memory_class = {
    .name = "memory", .size = sizeof(tn__memory_set), .get = memory_get, .free = memory_free,
};

bool tn__sample_bytes(tn_dtype t, int ndim, const int64_t *shape, size_t *bytes)
{
    *bytes = tn_dtype_size(t);
    for (int i = 0; i < ndim; i++)
        if (shape[i] < 0 || __builtin_mul_overflow(*bytes, (size_t)shape[i], bytes))
            return false;
    return true;
}

tn__memory_set *tn__memory_set_new(const char *who, const tn_dataset *shape)
{
    tn__memory_set *m = tn_dataset_new(&memory_class);
    if (!m)
        return NULL;
    tn_dataset *d = &m->base;
    d->len = shape->len;
    d->x_dtype = shape->x_dtype;
    d->x_ndim = shape->x_ndim;
    memcpy(d->x_shape, shape->x_shape, sizeof d->x_shape);
    d->y_dtype = shape->y_dtype;
    d->y_ndim = shape->y_ndim;
    memcpy(d->y_shape, shape->y_shape, sizeof d->y_shape);
    const size_t n = (size_t)d->len;
    if (tn__sample_bytes(d->x_dtype, d->x_ndim, d->x_shape, &m->x_bytes) &&
        tn__sample_bytes(d->y_dtype, d->y_ndim, d->y_shape, &m->y_bytes)) {
        m->x = calloc(n ? n : 1, m->x_bytes ? m->x_bytes : 1);
        m->y = calloc(n ? n : 1, m->y_bytes ? m->y_bytes : 1);
    }
    if (m->x && m->y)
        return m;
    tn_fail(TN_ENOMEM, "%s: no memory for %lld samples of %zu bytes", who, (long long)d->len,
            m->x_bytes + m->y_bytes);
    tn_free(m);
    return NULL;
}
