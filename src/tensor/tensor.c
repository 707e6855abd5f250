/* Storages, handles, and what one can do to a tensor without an op: make, look, copy, change in place.
 * Views and mathematics are ops (ops/). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

static const struct { size_t size; const char *name; char kind; } dtypes[TN_DTYPE_COUNT] = {
#define X(id, bytes, name, kind) [TN_##id] = {bytes, name, kind},
    TN_DTYPES(X)
#undef X
};

size_t tn_dtype_size(tn_dtype t) { return (unsigned)t < TN_DTYPE_COUNT ? dtypes[t].size : 0; }
bool tn_dtype_floating(tn_dtype t) { return (unsigned)t < TN_DTYPE_COUNT && dtypes[t].kind == 'f'; }
const char *tn_dtype_name(tn_dtype t) { return (unsigned)t < TN_DTYPE_COUNT ? dtypes[t].name : "?"; }

/* ---- storage ---- */

tn_storage *tn__storage_new(const tn_backend *be, int device, size_t bytes)
{
    tn_storage *s = tn__alloc(sizeof *s);
    if (!s)
        return NULL;
    s->data = be->alloc(device, bytes);
    if (!s->data) {
        tn__free(s);
        return tn_fail(TN_ENOMEM, "out of memory: %zu bytes on %s", bytes, be->name);
    }
    s->backend = be;
    s->device = device;
    s->bytes = bytes;
    atomic_init(&s->refs, 1);
    return s;
}

tn_storage *tn__storage_ref(tn_storage *s)
{
    if (s)
        atomic_fetch_add(&s->refs, 1);
    return s;
}

void tn__storage_drop(tn_storage *s)
{
    if (!s || atomic_fetch_sub(&s->refs, 1) > 1)
        return;
    s->backend->release(s->device, s->data, s->bytes);
    tn__free(s);
}

/* ---- handles ---- */

void (*tn__node_drop)(tn_node *node);

void tn__tensor_release(tn_tensor *t)
{
    tn__storage_drop(t->storage);
    t->storage = NULL;
    if (t->node) {
        tn_node *node = t->node;
        t->node = NULL;
        tn__node_drop(node);
    }
    if (t->grad) {
        tn_tensor *grad = t->grad;
        t->grad = NULL;
        tn__tensor_free(grad);
    }
}

static bool shape_ok(tn_dtype dtype, int ndim, const int64_t *shape)
{
    size_t bytes = tn_dtype_size(dtype);
    if (!bytes)
        return tn_fail(TN_EDTYPE, "tensor: %d is not a dtype", (int)dtype), false;
    if (ndim < 0 || ndim > TN_MAX_DIMS || (ndim && !shape))
        return tn_fail(TN_ESHAPE, "tensor: %d dims; 0 to %d are possible", ndim, TN_MAX_DIMS), false;
    for (int i = 0; i < ndim; i++)
        if (shape[i] < 0 || __builtin_mul_overflow(bytes, (size_t)(shape[i] ? shape[i] : 1), &bytes))
            return tn_fail(TN_ESHAPE, "tensor: dim %d of %d is %lld: too large or negative", i, ndim,
                           (long long)shape[i]), false;
    return true;
}

tn_tensor *tn__tensor_on(const tn_backend *be, int device, tn_dtype dtype, int ndim, const int64_t *shape)
{
    if (!shape_ok(dtype, ndim, shape))
        return NULL;
    tn_tensor *t = tn__tensor_in_scope();
    if (!t)
        return NULL;
    t->dtype = dtype;
    tn__set_shape(t, ndim, shape);
    t->storage = tn__storage_new(be, device, (size_t)tn_numel(t) * tn_dtype_size(dtype));
    if (!t->storage) {
        tn__tensor_free(t);
        return NULL;
    }
    return t;
}

tn_tensor *tn__beside(const tn_tensor *t, tn_tensor *host)
{
    if (!host || t->storage->backend == &tn__cpu)
        return host;
    tn_tensor *there = tn__tensor_on(t->storage->backend, t->storage->device, host->dtype, host->ndim, host->shape);
    return tn_copy_(there, host) ? there : NULL;
}

tn_tensor *tn_empty(tn_dtype dtype, int ndim, const int64_t *shape)
{
    return tn__tensor_on(&tn__cpu, 0, dtype, ndim, shape);
}

tn_tensor *tn_full(double value, tn_dtype dtype, int ndim, const int64_t *shape)
{
    tn_tensor *t = tn_empty(dtype, ndim, shape);
    return t && tn_fill_(t, value) ? t : NULL;
}

tn_tensor *tn_zeros(int ndim, const int64_t *shape) { return tn_full(0, TN_F32, ndim, shape); }
tn_tensor *tn_ones(int ndim, const int64_t *shape) { return tn_full(1, TN_F32, ndim, shape); }

tn_tensor *tn_from(const void *values, tn_dtype dtype, int ndim, const int64_t *shape)
{
    tn_tensor *t = values ? tn_empty(dtype, ndim, shape) : NULL;
    if (t && tn_numel(t))
        memcpy(tn__data(t), values, t->storage->bytes);
    return t;
}

tn_tensor *tn_from_f32(const float *v, int ndim, const int64_t *shape) { return tn_from(v, TN_F32, ndim, shape); }
tn_tensor *tn_from_i64(const int64_t *v, int ndim, const int64_t *shape) { return tn_from(v, TN_I64, ndim, shape); }

tn_tensor *tn_arange(int64_t n, tn_dtype dtype)
{
    tn_tensor *t = tn_empty(TN_I64, TN_SHAPE(n < 0 ? 0 : n));
    int64_t *v = tn_i64(t);
    for (int64_t i = 0; v && i < n; i++)
        v[i] = i;
    return tn_cast(t, dtype);
}

tn_tensor *tn_like(const tn_tensor *t)
{
    return t ? tn__tensor_on(t->storage->backend, t->storage->device, t->dtype, t->ndim, t->shape) : NULL;
}

tn_tensor *tn_on(tn_tensor *t, tn_device d)
{
    const tn_backend *be = d.backend ? d.backend : &tn__cpu;
    if (!t || (t->storage->backend == be && t->storage->device == d.index))
        return t;
    tn_tensor *y = tn__tensor_on(be, d.index, t->dtype, t->ndim, t->shape);
    return tn_copy_(y, t) ? y : NULL;
}

tn_tensor *tn_zeros_like(const tn_tensor *t)
{
    tn_tensor *y = tn_like(t);
    return y && tn_fill_(y, 0) ? y : NULL;
}

/* x without its history: what is done to it is not recorded. */
static tn_tensor *bare(const tn_tensor *x)
{
    return x ? tn__view(x, x->ndim, x->shape, x->stride, x->offset) : NULL;
}

tn_tensor *tn_detach(tn_tensor *t) { return bare(t); }

/* ---- looking ---- */

int64_t tn_numel(const tn_tensor *t)
{
    int64_t n = t ? 1 : 0;
    for (int i = 0; t && i < t->ndim; i++)
        n *= t->shape[i];
    return n;
}

int64_t tn_dim(const tn_tensor *t, int axis)
{
    int i;
    return t && tn__axis("dim", t, axis, &i) ? t->shape[i] : 0;
}

bool tn_is_contiguous(const tn_tensor *t)
{
    int64_t expect = 1;
    for (int i = t ? t->ndim : 0; i-- > 0;) {
        if (t->shape[i] != 1 && t->stride[i] != expect)
            return tn_numel(t) == 0;
        expect *= t->shape[i];
    }
    return t != NULL;
}

bool tn_same_shape(const tn_tensor *a, const tn_tensor *b)
{
    return a && b && a->ndim == b->ndim &&
           !memcmp(a->shape, b->shape, (size_t)a->ndim * sizeof *a->shape);
}

tn_device tn_device_of(const tn_tensor *t)
{
    if (!t || t->storage->backend == &tn__cpu)
        return tn_cpu();
    return (tn_device){t->storage->backend, t->storage->device};
}

static double element(const void *data, tn_dtype t, int64_t i)
{
    switch (t) {
    case TN_F32: return (double)((const float *)data)[i];
    case TN_F64: return ((const double *)data)[i];
    case TN_BF16: return (double)tn__from_bf16(((const uint16_t *)data)[i]);
    case TN_F16: return (double)tn__from_f16(((const uint16_t *)data)[i]);
    case TN_I32: return (double)((const int32_t *)data)[i];
    case TN_I64: return (double)((const int64_t *)data)[i];
    case TN_U8: return (double)((const uint8_t *)data)[i];
    case TN_DTYPE_COUNT: break;
    }
    return NAN;
}

/* A contiguous copy or view of t on the CPU, in the innermost scope. */
static tn_tensor *readable(const tn_tensor *t)
{
    tn_tensor *v = bare(t);
    if (v)
        tn__open(v, false);
    if (v && !tn_is_contiguous(v))
        v = tn_contiguous(v);
    if (!v || v->storage->backend == &tn__cpu)
        return v;
    tn_tensor *host = tn_empty(v->dtype, v->ndim, v->shape);
    return tn_copy_(host, v) ? host : NULL;
}

bool tn_read_f64(const tn_tensor *t, double *out)
{
    bool ok = false;
    TN_SCOPE {
        const tn_tensor *v = readable(t);
        for (int64_t i = 0, n = tn_numel(v); i < n; i++)
            out[i] = element(tn__data(v), v->dtype, i);
        ok = v != NULL;
    }
    return ok;
}

bool tn_read_f32(const tn_tensor *t, float *out)
{
    bool ok = false;
    TN_SCOPE {
        const tn_tensor *v = readable(t);
        for (int64_t i = 0, n = tn_numel(v); i < n; i++)
            out[i] = (float)element(tn__data(v), v->dtype, i);
        ok = v != NULL;
    }
    return ok;
}

double tn_item(const tn_tensor *t)
{
    char s[TN_SHAPE_TEXT];
    double x = NAN;
    if (t && tn_numel(t) != 1)
        tn_fail(TN_ESHAPE, "item: %s has not exactly one element", tn_shape_text(t, s));
    else if (t)
        tn_read_f64(t, &x);
    return x;
}

double tn_at(const tn_tensor *t, const int64_t *index)
{
    double x = NAN;
    if (!t)
        return x;
    int64_t offset = t->offset;
    for (int i = 0; i < t->ndim; i++) {
        if (index[i] < 0 || index[i] >= t->shape[i]) {
            tn_fail(TN_EARG, "at: index %lld of axis %d is outside 0..%lld", (long long)index[i], i,
                    (long long)t->shape[i] - 1);
            return x;
        }
        offset += index[i] * t->stride[i];
    }
    TN_SCOPE {
        tn_read_f64(tn__view(t, 0, NULL, NULL, offset), &x);
    }
    return x;
}

/* Whether t's elements lie in a row in memory that the CPU sees. */
static bool on_host(const tn_tensor *t)
{
    char s[TN_SHAPE_TEXT];
    if (!t)
        return false;
    if (t->storage->backend != &tn__cpu)
        return tn_fail(TN_EDEVICE, "data: the tensor is on %s; copy it to the CPU first",
                       t->storage->backend->name), false;
    if (!tn_is_contiguous(t))
        return tn_fail(TN_EARG, "data: %s is a strided view; use tn_contiguous() first",
                       tn_shape_text(t, s)), false;
    return true;
}

static void *host_data(tn_tensor *t, tn_dtype dtype)
{
    if (t && t->dtype != dtype)
        return tn_fail(TN_EDTYPE, "data: wanted %s, the tensor is %s", tn_dtype_name(dtype),
                       tn_dtype_name(t->dtype));
    if (!on_host(t))
        return NULL;
    tn__open(t, true);
    return tn__data(t);
}

const void *tn_data(const tn_tensor *t)
{
    if (!on_host(t))
        return NULL;
    tn__open(t, false);
    return tn__data(t);
}

float *tn_f32(tn_tensor *t) { return host_data(t, TN_F32); }
double *tn_f64(tn_tensor *t) { return host_data(t, TN_F64); }
int64_t *tn_i64(tn_tensor *t) { return host_data(t, TN_I64); }
int32_t *tn_i32(tn_tensor *t) { return host_data(t, TN_I32); }
uint8_t *tn_u8(tn_tensor *t) { return host_data(t, TN_U8); }

const char *tn_shape_text(const tn_tensor *t, char buf[TN_SHAPE_TEXT])
{
    size_t n = (size_t)snprintf(buf, TN_SHAPE_TEXT, "[");
    for (int i = 0; t && i < t->ndim; i++)
        n += (size_t)snprintf(buf + n, TN_SHAPE_TEXT - n, i ? ",%lld" : "%lld", (long long)t->shape[i]);
    snprintf(buf + n, TN_SHAPE_TEXT - n, "]");
    return buf;
}

void tn_print(const tn_tensor *t)
{
    enum { SHOWN = 8 };
    char s[TN_SHAPE_TEXT];
    if (!t)
        return;
    printf("%s %s on %s\n", tn_dtype_name(t->dtype), tn_shape_text(t, s), t->storage->backend->name);
    TN_SCOPE {
        const tn_tensor *v = readable(t);
        const int64_t n = tn_numel(v), row = v && v->ndim ? v->shape[v->ndim - 1] : 1;
        for (int64_t i = 0, rows = row ? n / row : 0; v && i < rows && i < SHOWN; i++) {
            for (int64_t j = 0; j < row && j < SHOWN; j++)
                printf(" %10.5g", element(tn__data(v), v->dtype, i * row + j));
            puts(row > SHOWN ? " ..." : "");
        }
    }
}

/* ---- in place ---- */

static bool in_place(const char *what, tn_tensor *y)
{
    if (!y)
        return false;
    if (!tn_is_contiguous(y))
        return tn_fail(TN_EARG, "%s: the tensor is a strided view", what), false;
    tn__open(y, true);
    y->storage->version++;
    return true;
}

bool tn_fill_(tn_tensor *y, double value)
{
    if (!in_place("fill", y))
        return false;
    const int64_t n = tn_numel(y);
    uint64_t element = 0; /* of the largest dtype */
    tn__convert(&value, TN_F64, &element, y->dtype, 1);
    return y->storage->backend->fill(y->storage->device, tn__data(y), &element, tn_dtype_size(y->dtype), n);
}

bool tn_copy_(tn_tensor *y, const tn_tensor *x)
{
    char s[TN_SHAPE_TEXT], u[TN_SHAPE_TEXT];
    bool ok = false;
    if (!x || !in_place("copy", y))
        return false;
    if (!tn_same_shape(x, y))
        return tn_fail(TN_ESHAPE, "copy: shapes do not fit: %s into %s", tn_shape_text(x, s),
                       tn_shape_text(y, u)), false;
    TN_SCOPE {
        tn__open(x, false);
        const tn_tensor *v = tn_cast(tn_contiguous(bare(x)), y->dtype);
        if (!v)
            break;
        const tn_storage *from = v->storage, *to = y->storage;
        const size_t bytes = (size_t)tn_numel(y) * tn_dtype_size(y->dtype);
        const int direction = from->backend == to->backend ? TN_COPY_ON_DEVICE
                              : from->backend == &tn__cpu  ? TN_COPY_TO_DEVICE
                                                           : TN_COPY_TO_HOST;
        const tn_backend *be = to->backend == &tn__cpu ? from->backend : to->backend;
        ok = be->copy(to->device, tn__data(y), from->device, tn__data(v), bytes, direction);
    }
    return ok;
}

bool tn_scale_(tn_tensor *y, double a)
{
    bool ok = false;
    TN_SCOPE {
        ok = tn_copy_(y, tn_mul_scalar(bare(y), a));
    }
    return ok;
}

bool tn_axpy_(tn_tensor *y, double a, const tn_tensor *x)
{
    bool ok = false;
    TN_SCOPE {
        ok = tn_copy_(y, tn_add(bare(y), tn_mul_scalar(bare(x), a)));
    }
    return ok;
}
