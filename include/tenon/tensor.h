/* Tensors: n-dimensional arrays with strides over a shared storage.
 *
 * Shapes are outermost first, up to TN_MAX_DIMS dims; a tensor without dims is a
 * scalar.  Images are channels-last, [N, H, W, C].  Views (reshape, permute,
 * slice, expand; see ops.h) share storage with their source. */
#ifndef TENON_TENSOR_H
#define TENON_TENSOR_H

#include "scope.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { TN_MAX_DIMS = 8 };

/* id (also the name in safetensors files), bytes, name, kind: f floating, i integer */
#define TN_DTYPES(X)        \
    X(F32, 4, "f32", 'f')   \
    X(F64, 8, "f64", 'f')   \
    X(BF16, 2, "bf16", 'f') \
    X(F16, 2, "f16", 'f')   \
    X(I32, 4, "i32", 'i')   \
    X(I64, 8, "i64", 'i')   \
    X(U8, 1, "u8", 'i')

typedef enum tn_dtype {
#define X(id, bytes, name, kind) TN_##id,
    TN_DTYPES(X)
#undef X
    TN_DTYPE_COUNT
} tn_dtype;
TN_API size_t tn_dtype_size(tn_dtype t);
TN_API const char *tn_dtype_name(tn_dtype t); /* "f32" */
TN_API bool tn_dtype_floating(tn_dtype t);

typedef struct tn_storage tn_storage;
typedef struct tn_node tn_node;

/* All fields are read-only to users. */
typedef struct tn_tensor tn_tensor;
struct tn_tensor {
    tn_storage *storage;
    int64_t offset; /* of the first element, in elements */
    int ndim;
    tn_dtype dtype;
    int64_t shape[TN_MAX_DIMS];
    int64_t stride[TN_MAX_DIMS]; /* in elements */
    bool requires_grad;
    tn_tensor *grad;             /* same shape; NULL until backward; owned by this */
    tn_node *node;               /* how it was made; NULL for leaves made without gradient */
    int out;                     /* which output of that node */
    tn_scope *scope;             /* NULL: owned by a module or another tensor */
    tn_tensor *prev, *next;      /* in the scope */
};

/* A list of dims as two arguments: tn_zeros(TN_SHAPE(2, 3)). TN_SCALAR is []. */
#define TN_SHAPE(...)                                                  \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (const int64_t[]){__VA_ARGS__}
#define TN_SCALAR 0, (const int64_t *)NULL

/* ---- making; on the current default device (CPU), owned by the innermost scope ---- */
TN_API tn_tensor *tn_empty(tn_dtype t, int ndim, const int64_t *shape); /* contents undefined */
TN_API tn_tensor *tn_zeros(int ndim, const int64_t *shape);             /* f32 */
TN_API tn_tensor *tn_ones(int ndim, const int64_t *shape);              /* f32 */
TN_API tn_tensor *tn_full(double value, tn_dtype t, int ndim, const int64_t *shape);
/* Copies prod(shape) elements of dtype `t` from `values`. */
TN_API tn_tensor *tn_from(const void *values, tn_dtype t, int ndim, const int64_t *shape);
TN_API tn_tensor *tn_from_f32(const float *values, int ndim, const int64_t *shape);
TN_API tn_tensor *tn_from_i64(const int64_t *values, int ndim, const int64_t *shape);
TN_API tn_tensor *tn_arange(int64_t n, tn_dtype t);                     /* 0, 1, .. n-1, [n] */
/* Uniform in [lo, hi) and normal; f32; advance the random state by one op. */
TN_API tn_tensor *tn_rand(double lo, double hi, int ndim, const int64_t *shape);
TN_API tn_tensor *tn_randn(double mean, double std, int ndim, const int64_t *shape);
TN_API tn_tensor *tn_like(const tn_tensor *t);      /* same shape, dtype, device; undefined */
TN_API tn_tensor *tn_zeros_like(const tn_tensor *t);
/* t itself where it is on the device, else a copy there; not recorded. */
TN_API tn_tensor *tn_on(tn_tensor *t, tn_device device);

/* ---- looking ---- */
TN_API int64_t tn_numel(const tn_tensor *t);                    /* 0 for NULL */
TN_API int64_t tn_dim(const tn_tensor *t, int axis);            /* axis < 0 counts from the end */
TN_API bool tn_is_contiguous(const tn_tensor *t);
TN_API bool tn_same_shape(const tn_tensor *a, const tn_tensor *b);
TN_API tn_device tn_device_of(const tn_tensor *t);
/* The only element, as double; NAN (and an error) unless there is exactly one. */
TN_API double tn_item(const tn_tensor *t);
/* One element by index, as double. */
TN_API double tn_at(const tn_tensor *t, const int64_t *index);
/* First element on the CPU; NULL when `t` is NULL, not contiguous, on a GPU or of another dtype.
 * Writing through it is not recorded, nor noticed by backward.  Of a sparse table take it anew after each step. */
TN_API float *tn_f32(tn_tensor *t);
TN_API double *tn_f64(tn_tensor *t);
TN_API int64_t *tn_i64(tn_tensor *t);
TN_API int32_t *tn_i32(tn_tensor *t);
TN_API uint8_t *tn_u8(tn_tensor *t);
/* The same for reading, of any dtype: what kernels of your own use. */
TN_API const void *tn_data(const tn_tensor *t);
/* Copies all elements, converted, into `out` [numel]. */
TN_API bool tn_read_f32(const tn_tensor *t, float *out);
TN_API bool tn_read_f64(const tn_tensor *t, double *out);
/* "[64,3,32,32]" into buf. */
enum { TN_SHAPE_TEXT = 192 };
TN_API const char *tn_shape_text(const tn_tensor *t, char buf[TN_SHAPE_TEXT]);
/* A few rows to standard output, for the curious. */
TN_API void tn_print(const tn_tensor *t);

/* ---- owning ---- */
/* Moves `t` to the scope around its own, so that it outlives it; returns t. */
TN_API tn_tensor *tn_keep(tn_tensor *t);
/* The same data, cut off from the graph; shares storage. */
TN_API tn_tensor *tn_detach(tn_tensor *t);
/* Ends a tensor before its scope does (a large temporary, say). */
TN_API void tn_drop_now(tn_tensor *t);

/* ---- in place; never recorded; NULL is skipped ---- */
TN_API bool tn_fill_(tn_tensor *y, double value);
TN_API bool tn_copy_(tn_tensor *y, const tn_tensor *x);              /* same shape; converts, moves devices */
TN_API bool tn_scale_(tn_tensor *y, double a);                       /* y *= a */
TN_API bool tn_axpy_(tn_tensor *y, double a, const tn_tensor *x);    /* y += a x, same shape */

/* ---- what a GPU computes with ---- */
/* The engines by which libraries (cuDNN, cuBLASLt) compute on a device, as far as they were chosen until now: u8 on the
 * CPU, in the innermost scope.  NULL, which is no error, where there are none. */
TN_API tn_tensor *tn_engines(tn_device device);
/* Computes with these from now on, whatever the libraries would choose by now, so that the bits are the same; for a
 * program that goes on where another ended, before its first op.  How many cannot be used (they are of another GPU, or
 * of another version of a library): others are chosen when they are needed.  -1 with TN_EFORMAT set when they are damaged. */
TN_API int64_t tn_set_engines(tn_device device, const tn_tensor *engines);

/* ---- files: NumPy's .npy, any rank up to 8; little-endian f4 f8 f2 i4 i8 u1 ---- */
TN_API tn_tensor *tn_load_npy(const char *path);
TN_API bool tn_save_npy(const tn_tensor *t, const char *path);

#ifdef __cplusplus
}
#endif
#endif
