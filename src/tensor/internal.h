/* What the parts of src/tensor share, and what the layers above may use of it
 * (autograd: ops and hooks; optim: storage and threads).  Public meaning is in
 * include/tenon; nothing here is installed. */
#ifndef TN_TENSOR_INTERNAL_H
#define TN_TENSOR_INTERNAL_H

#include <stdatomic.h>

#include "tenon/autograd.h"
#include "tenon/record.h"

/* ---- memory (alloc.c): a pool that keeps what it took, so that the same step meets the same
 * addresses; fails with TN_ENOMEM ---- */
void *tn__alloc(size_t bytes);          /* small host objects, zeroed */
void tn__free(void *p);
void *tn__data_alloc(size_t bytes);     /* tensor data, 64-byte aligned, undefined contents */
void tn__data_free(void *p, size_t bytes);
/* Zeros which take no memory until they are written to: whole pages go back to the system. */
void tn__zero_pages(void *p, size_t bytes);
void tn__trim(void);                    /* gives all that the pool keeps back to the system */
void *tn__scratch(size_t bytes);        /* for kernels: as data, not counted as a tensor's */
void tn__scratch_free(void *p);
char *tn__strdup(const char *s);
/* Tests: the n-th allocation from now on fails (0: the next); < 0: none does. */
void tn__fail_alloc_after(long n);

/* ---- threads (threads.c) ---- */
/* Calls fn(arg, i, worker) once for each i in [0, n); worker in [0, tn__threads()).  Returns when all are
 * done.  From inside a task it runs in the calling thread. */
typedef void tn__task(void *arg, int64_t i, int worker);
void tn__parallel(int64_t n, tn__task *fn, void *arg);
int tn__threads(void);
enum { TN_GRAIN = 32768 }; /* elements of an elementwise chunk */

/* ---- random numbers (random.c) ---- */
#include "philox.h"
/* The key of the next random op; counts it. */
tn_rng tn__rng_next(void);

/* ---- storage and backends ---- */
/* Who keeps rows of a storage back until they are looked at (optim/rows.c).  Told before a tensor of the storage is
 * read or written; t NULL: any of it.  rows(): only these rows of t will be read, or added to where t is a gradient;
 * false when t is no table of the guard's.  Indices outside the table are passed over. */
typedef struct tn__guard tn__guard;
struct tn__guard {
    void (*open)(tn__guard *g, const tn_storage *s, const tn_tensor *t, bool write);
    bool (*rows)(tn__guard *g, const tn_tensor *t, int64_t n, const int64_t *row);
    void (*leave)(tn__guard *g); /* another optimizer works on the storage from now on */
};
struct tn_storage {
    const tn_backend *backend;
    int device;
    void *data;
    size_t bytes;
    atomic_int refs;
    uint64_t version; /* counts changes in place */
    tn__guard *guard; /* mostly NULL */
};
tn_storage *tn__storage_new(const tn_backend *be, int device, size_t bytes);
tn_storage *tn__storage_ref(tn_storage *s);
void tn__storage_drop(tn_storage *s); /* NULL is skipped */

static inline void tn__open(const tn_tensor *t, bool write)
{
    if (t->storage->guard)
        t->storage->guard->open(t->storage->guard, t->storage, t, write);
}

#include "rule.h"
void tn__replay(const tn__replay_call *c); /* in the calling thread */
struct tn_backend {
    const char *name;
    void *(*alloc)(int device, size_t bytes); /* NULL without an error set: out of memory */
    void (*release)(int device, void *p, size_t bytes);
    bool (*copy)(int dst_device, void *dst, int src_device, const void *src, size_t bytes, int direction);
    bool (*fill)(int device, void *p, const void *element, size_t size, int64_t n);
    tn_kernel *(*kernel)(int op, tn_dtype t); /* NULL: none */
    bool (*rule)(const tn__rule_call *c);
    /* To arrays that are apart from each other; NULL: the op add is as good. */
    bool (*add)(int device, int count, const tn__addition *all);
    int (*devices)(void);
    void (*precision)(int device, tn_precision p); /* NULL: f32 alone */
    /* tn_engines() and tn_set_engines(); both NULL: there are none.  The bytes are freed with free(); NULL without an
     * error set: none was chosen yet.  -1 without one set: the bytes are damaged. */
    void *(*engines)(int device, size_t *size);
    int64_t (*take_engines)(int device, const void *bytes, size_t size);
    /* What is asked of the device from record() on does not happen but is kept; recorded() gives what replay() does
     * again, or NULL, without an error set, when something could not be recorded or `good` is false.  drawn: random
     * ops since record(); NULL: there is none in it.  All four NULL: nothing can be recorded. */
    bool (*record)(int device);
    void *(*recorded)(int device, bool good);
    bool (*replay)(int device, void *recording, const uint64_t *drawn);
    void (*forget)(int device, void *recording);
};
enum { TN_COPY_TO_DEVICE, TN_COPY_TO_HOST, TN_COPY_ON_DEVICE };
extern const tn_backend tn__cpu;
const tn_backend *tn__cuda(void); /* NULL when it cannot be used: tn_cuda_trouble() */

/* What a backend in a module of its own gets of the library; both must be of one version. */
typedef struct tn__host {
    const char *version;
    int ops;                                                /* TN_OP_COUNT */
    void *(*fail)(tn_code code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
} tn__host;
/* A symbol of libtenon_cuda.so.  NULL, with a sentence in trouble [size], when no device can be used. */
typedef const tn_backend *tn__cuda_entry(const tn__host *host, char *trouble, size_t size);
/* The other: tn_cuda_info() of what the module sees. */
typedef void tn__cuda_info_entry(tn_cuda_row *row, void *arg);

/* ---- the op table (op.c) ---- */
enum tn__op_id {
#define MAP(name, ...) TN_OP_##name, TN_OP_##name##_backward,
#define BIN(name, ...) TN_OP_##name, TN_OP_##name##_dx, TN_OP_##name##_dz,
#define CMP(name, ...) TN_OP_##name,
#include "tenon/ops_map.def"
#define OP(name, ...) TN_OP_##name,
#include "tenon/ops.def"
    TN_OP_COUNT
};
enum { VIEW = 1, STRIDED = 2 };                         /* flags */
enum { RULE = 0, NONE = 1, TWICE = 2 };                 /* gradient */
enum { I0 = 1, I1 = 2, I2 = 4, I3 = 8, I4 = 16, I5 = 32, I6 = 64, I7 = 128, O0 = 256, O1 = 512, O2 = 1024, O3 = 2048 };

struct tn_op {
    const char *name;
    const char *in, *out;  /* kinds, one letter per tensor */
    unsigned reads;
    int flags, gradient;
    int id;                /* index of the table; user ops count on from TN_OP_COUNT */
    tn_shape_rule *shape;
    tn_kernel *cpu_f32, *cpu_f64; /* user ops: theirs */
};
extern const tn_op tn__ops[TN_OP_COUNT];
#define TN_OP(name) (&tn__ops[TN_OP_##name])
const tn_op *tn__register_op(const tn_op_def *def); /* tensor's half of tn_register_op */
/* tn_apply() that gives every output, as many as the op has; an output of shape [0] is one nobody wants. */
bool tn__apply(const tn_op *op, const void *attr, size_t size, int n, tn_tensor *const *in, tn_tensor **out);

/* The same of an op with one output whose attributes say `add`, which is done to `onto`, of the output's shape. */
bool tn__apply_onto(const tn_op *op, const void *attr, int n, tn_tensor *const *in, tn_tensor *onto);
bool tn__matmul_onto(tn_tensor *onto, tn_tensor *a, bool ta, tn_tensor *b, bool tb); /* of matrices */

/* Runs the kernel that device, dtype and ISA choose; in and out are in place.  False with the error set. */
bool tn__run(const tn_call *c);
tn_kernel *tn__cpu_plain(int op, tn_dtype t);

/* The gradient layer's two hooks: after each successful op (false with the error set on failure), given the
 * inputs as the caller named them; and when a handle that has a node dies. */
typedef bool tn__op_hook(const tn_call *call, size_t attr_size, tn_tensor *const *in);
extern tn__op_hook *tn__on_op;
extern void (*tn__node_drop)(tn_node *node);

/* ---- shapes (shape.c) ---- */
void tn__set_shape(tn_tensor *t, int ndim, const int64_t *shape); /* and contiguous strides */
bool tn__broadcast(const char *op, const tn_tensor *a, const tn_tensor *b, int *ndim, int64_t *shape);
bool tn__axis(const char *op, const tn_tensor *t, int axis, int *out); /* resolves axis < 0 */
tn_tensor *tn__view(const tn_tensor *t, int ndim, const int64_t *shape, const int64_t *stride, int64_t offset);
bool tn__shapes_differ(tn_call *c); /* sets the error "NAME: shapes do not fit: A x B" and returns false */
/* Whether every element of an i64 tensor on the CPU is in [0, size); sets the error (ops/index.c). */
bool tn__index_ok(const char *op, const tn_tensor *index, int64_t size);
/* Whether spans, i64 [n, 2] on the CPU, lie in 0..rows-1, and apart from each other where that is asked; sets the
 * error, which calls them `what` (ops/sequence.c). */
bool tn__spans_ok(const char *op, const char *what, const tn_tensor *spans, int64_t rows, bool apart);
bool tn__spans_shape(const char *op, const tn_tensor *spans); /* [n, 2] */
/* What kernels of attention and of its backward look at before they start (ops/attention.c). */
bool tn__attention_ok(const tn_call *c, bool kv_apart);
/* The sum of g over the dims in which `like` is smaller: undoes broadcasting. */
tn_tensor *tn__sum_to(tn_tensor *g, const tn_tensor *like);

/* How many class indices (i64, contiguous) are not *ignored (may be NULL); -1 with the error set when one
 * that counts is outside 0..classes-1 (ops/loss.c). */
int64_t tn__targets(const char *op, const tn_tensor *t, int64_t classes, const int64_t *ignored);

/* ---- tensors (tensor.c, scope.c) ---- */
tn_tensor *tn__tensor_in_scope(void);            /* an empty handle in the innermost scope */
tn_tensor *tn__tensor_on(const tn_backend *be, int device, tn_dtype t, int ndim, const int64_t *shape);
tn_tensor *tn__beside(const tn_tensor *t, tn_tensor *host); /* host's values on t's device; host itself on the CPU */
void tn__tensor_release(tn_tensor *t);           /* storage, node, grad of a handle */
void tn__tensor_free(tn_tensor *t);              /* release, unlink and free */
tn_scope *tn__scope_top(void);
void tn__scope_adopt(tn_scope *s, tn_tensor *t); /* moves a handle */
tn_scope *tn__scope_up(tn_scope *s);
static inline void *tn__data(const tn_tensor *t)
{
    return (char *)t->storage->data + (size_t)t->offset * tn_dtype_size(t->dtype);
}

/* n elements of x to n of y (convert.c) */
#include "convert.h"
void tn__convert(const void *x, tn_dtype from, void *y, tn_dtype to, int64_t n);

/* ---- errors (error.c) ---- */
bool tn__error_quiet(bool quiet); /* tn_error_quiet(), and whether it was so before */
/* The path of modules being run, for error texts: " in layer1.0.conv1". */
void tn__path_push(const char *name);
void tn__path_pop(void);

/* ---- fast CPU kernels (cpu/) ---- */
tn_kernel *tn__cpu_fast(int op);                 /* of the chosen ISA, f32; NULL when there is none */
bool tn__isa_set(const char *name);              /* "avx512" "avx2" "base", "plain": reference kernels only */
int tn__isa_list(const char **names, int max);   /* those this machine can run, best first */
/* One thread's c = alpha op(a) op(b) + beta c, row-major, op(a) [m, k], op(b) [k, n] (cpu/blas.c). */
void tn__gemm_f32(bool ta, bool tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
                  const float *b, int64_t ldb, float beta, float *c, int64_t ldc);
void tn__gemm_f64(bool ta, bool tb, int64_t m, int64_t n, int64_t k, double alpha, const double *a, int64_t lda,
                  const double *b, int64_t ldb, double beta, double *c, int64_t ldc);
/* c = op(a) op(b) + beta c as tn__gemm_f32(), on the pool; false with the error set (cpu/gemm.c). */
bool tn__product_f32(bool ta, bool tb, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b,
                     int64_t ldb, float beta, float *c, int64_t ldc);
void tn__blas_plain(bool on);                    /* plain C loops instead of OpenBLAS */

/* ---- samples: how the tests call a structured op ---- */
typedef struct tn__sample_input {
    int ndim;
    int64_t shape[TN_MAX_DIMS];
    char kind;     /* f; c a constant (no gradient); i integers in [lo, hi); u a mask; 0 ends */
    double lo, hi;
} tn__sample_input;
typedef struct tn__sample {
    const char *what;                                /* "stride 2, padding 1" */
    tn_tensor *(*make)(int n, tn_tensor *const *in); /* calls the public function */
    tn__sample_input in[TN_MAX_IN];
    double tol;        /* f32 against f64, relative to the largest value; 0: 2e-5 */
    const char *error; /* not NULL: must fail, with this in the text */
} tn__sample;

#endif
