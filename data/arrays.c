/* Data sets from anybody's arrays: two .npy files or two tensors, sample by sample along the first
 * dim. */
#include <string.h>

#include "memory.h"

static const void *elements(tn_tensor *t)
{
    switch (t->dtype) {
    case TN_F32: return tn_f32(t);
    case TN_F64: return tn_f64(t);
    case TN_I32: return tn_i32(t);
    case TN_I64: return tn_i64(t);
    case TN_U8: return tn_u8(t);
    default:
        return tn_fail(TN_EDTYPE, "tn_tensors: %s is not taken; cast it to f32",
                       tn_dtype_name(t->dtype));
    }
}

/* Copies all samples; the tensor may be strided or on another device. */
static bool fill(char *to, size_t bytes, const tn_tensor *t)
{
    tn_tensor *plain = tn_empty(t->dtype, t->ndim, t->shape);
    if (!tn_copy_(plain, t))
        return false;
    const void *from = elements(plain);
    if (from && bytes)
        memcpy(to, from, bytes);
    return from || tn_numel(plain) == 0;
}

static bool count_classes(tn_dataset *d, const int64_t *y)
{
    for (int64_t i = 0; i < d->len; i++) {
        if (y[i] < 0 || y[i] == INT64_MAX) {
            tn_fail(TN_EARG, "tn_tensors: label %lld of sample %lld: labels begin at 0",
                    (long long)y[i], (long long)i);
            return false;
        }
        d->classes = y[i] < d->classes ? d->classes : y[i] + 1;
    }
    return true;
}

tn_dataset *tn_tensors(tn_tensor *x, tn_tensor *y)
{
    if (!x || !y)
        return NULL;
    char a[TN_SHAPE_TEXT], b[TN_SHAPE_TEXT];
    if (x->ndim < 1 || y->ndim < 1 || x->shape[0] != y->shape[0])
        return tn_fail(TN_ESHAPE, "tn_tensors: x %s and y %s need the same number of samples first",
                       tn_shape_text(x, a), tn_shape_text(y, b));
    const bool labels = y->ndim == 1 && !tn_dtype_floating(y->dtype);
    tn_dataset shape = {
        .len = x->shape[0], .x_dtype = x->dtype, .x_ndim = x->ndim - 1,
        .y_dtype = labels ? TN_I64 : y->dtype, .y_ndim = y->ndim - 1,
    };
    memcpy(shape.x_shape, x->shape + 1, (size_t)shape.x_ndim * sizeof *x->shape);
    memcpy(shape.y_shape, y->shape + 1, (size_t)shape.y_ndim * sizeof *y->shape);
    tn__memory_set *m = tn__memory_set_new("tn_tensors", &shape);
    if (!m)
        return NULL;
    tn_dataset *d = &m->base;
    bool ok = false;
    TN_SCOPE {
        const tn_tensor *values = labels ? tn_cast(y, TN_I64) : y;
        ok = values && fill(m->x, (size_t)d->len * m->x_bytes, x) &&
             fill(m->y, (size_t)d->len * m->y_bytes, values) &&
             (!labels || count_classes(d, (const int64_t *)(const void *)m->y));
    }
    if (!ok) {
        tn_free(m);
        return NULL;
    }
    d->image = d->x_dtype == TN_U8 && d->x_ndim == 3 && d->x_shape[2] >= 1 && d->x_shape[2] <= 4;
    return d;
}

/* NumPy makes f64 unless told otherwise; networks are f32. */
static tn_tensor *load(const char *path)
{
    tn_tensor *t = tn_load_npy(path);
    return t && t->dtype == TN_F64 ? tn_cast(t, TN_F32) : t;
}

tn_dataset *tn_arrays(const char *x_npy, const char *y_npy)
{
    if (!x_npy || !y_npy)
        return tn_fail(TN_EARG, "tn_arrays: two .npy files are needed, x and y");
    tn_dataset *d = NULL;
    TN_SCOPE {
        d = tn_tensors(load(x_npy), load(y_npy));
    }
    return d;
}
