/* Scopes, objects, devices, threads, memory and random numbers.
 *
 * Ownership in three sentences:
 * 1. What you make with a constructor (module, optimizer, loader) you free with
 *    tn_free(); passing it to another constructor gives it away, also when that
 *    one fails.
 * 2. A tensor returned by an op or a batch belongs to the innermost scope and
 *    dies with it; tn_keep() moves one outward.
 * 3. Parameters and their gradients belong to their module. */
#ifndef TENON_SCOPE_H
#define TENON_SCOPE_H

#include "error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* TN_SCOPE { ... } ends on every way out of the block: falling off its end,
 * break, continue, return, goto. */
typedef struct tn_scope tn_scope;
TN_API tn_scope *tn_scope_begin(void);
TN_API void tn_scope_end(tn_scope **scope); /* also ends every scope begun after it */
#define TN_CAT_(a, b) a##b
#define TN_CAT(a, b) TN_CAT_(a, b)
#define TN_SCOPE TN_SCOPE_(TN_CAT(tn_scope_, __LINE__), TN_CAT(tn_once_, __LINE__))
#define TN_SCOPE_(s, once)                                                              \
    for (tn_scope *s __attribute__((cleanup(tn_scope_end))) = tn_scope_begin(), *once = s; \
         once; once = NULL)

/* Objects: modules, optimizers, loaders, data sets.  tn_free(a, b, ...) frees
 * any of them, in any order; NULL is skipped. */
typedef struct tn_type {
    const char *name;
    void (*free)(void *object);
} tn_type;
TN_API void tn_free_objects(int n, void *const *objects);
#define tn_free(...)                                                          \
    tn_free_objects((int)(sizeof((void *[]){__VA_ARGS__}) / sizeof(void *)),  \
                    (void *[]){__VA_ARGS__})

/* Tables by name, behind tn_register_model() and its like: the rows that come along, then what is added.
 *     static tn_registry models = {.what = "model", .rows = rows, .n_rows = N}; */
enum { TN_REGISTRY_MOST = 192 };
typedef struct tn_entry {
    const char *name;   /* kept, not copied */
    void (*make)(void); /* cast to and from what the table holds */
} tn_entry;
typedef struct tn_registry {
    const char *what;
    const tn_entry *rows;
    int n_rows;
    int n; /* all, once it was used */
    tn_entry entry[TN_REGISTRY_MOST];
    const char *name[TN_REGISTRY_MOST];
} tn_registry;
TN_API bool tn_registry_add(tn_registry *r, const char *name, void (*make)(void));
/* Index in r->entry; -1 with an error that lists all and the nearest name. */
TN_API int tn_registry_find(tn_registry *r, const char *name);
TN_API const char *const *tn_registry_names(tn_registry *r, int *n);

/* Devices. */
typedef struct tn_backend tn_backend;
typedef struct tn_device {
    const tn_backend *backend; /* NULL: the CPU */
    int index;
} tn_device;
TN_API tn_device tn_cpu(void);
TN_API tn_device tn_cuda(int index); /* sets TN_EDEVICE when there is none */
/* "cpu", "cuda", "cuda:1" or "auto" (the first GPU, else the CPU). */
TN_API tn_device tn_device_named(const char *name);
TN_API const char *tn_device_name(tn_device device);
/* Why CUDA cannot be used here, in one sentence; NULL when it can. */
TN_API const char *tn_cuda_trouble(void);
/* Tells, a row at a time, what the CUDA backend finds: driver, devices, cuDNN, cuBLASLt, each with
 * version and place or with what is wrong; also where CUDA cannot be used, but not without its module. */
typedef void tn_cuda_row(void *arg, const char *what, const char *text);
TN_API void tn_cuda_info(tn_cuda_row *row, void *arg);

/* The arithmetic of products and convolutions on a GPU.  Operands: f32 as they are; rounded to the
 * 10 bits of TF32 in tensor cores; rounded to bf16.  Sums, weights, everything else: f32. */
typedef enum tn_precision { TN_PRECISION_F32, TN_PRECISION_TF32, TN_PRECISION_BF16 } tn_precision;
/* Of all that follows on a device; f32 at the start.  Bodies of TN_RECORD() go on as they were
 * recorded.  False with TN_EDEVICE set for the CPU, which has f32 alone. */
TN_API bool tn_set_precision(tn_device device, tn_precision precision);

/* Threads of the library's one pool.  0 asks for as many as the process may
 * run on.  The results of every op are the same bits for any number. */
TN_API void tn_set_threads(int n);
TN_API int tn_threads(void);
/* Calls fn(arg, i, worker) once for each i in [0, n) on the pool; worker is in [0, tn_threads()).
 * Returns when all are done; from inside a task it runs in the calling thread. */
TN_API void tn_parallel(int64_t n, void (*fn)(void *arg, int64_t i, int worker), void *arg);
TN_API const char *tn_isa(void);         /* "avx512", "avx2" or "base"; TN_ISA= forces one */
TN_API const char *tn_blas(void);        /* library and kernel family in use */

/* Memory of tensors on the CPU, in bytes. */
typedef struct tn_memory {
    size_t live;     /* held by tensors now                                */
    size_t peak;     /* the most ever held at once                         */
    size_t reserved; /* taken from the system and kept for the next step   */
} tn_memory;
TN_API tn_memory tn_memory_stats(void);

/* Random numbers: Philox4x32-10, so a number depends on the seed and on how
 * many random ops came before it, never on threads or devices.  The state is
 * per thread and is all there is to save. */
typedef struct tn_rng {
    uint64_t seed, step; /* step: random ops since tn_seed */
} tn_rng;
TN_API void tn_seed(uint64_t seed);
TN_API tn_rng tn_rng_state(void);
TN_API void tn_rng_restore(tn_rng state);

/* Four random words: block `block` of the stream of random op `step` under `seed`; no state. */
TN_API void tn_random(uint64_t seed, uint64_t step, uint64_t block, uint32_t out[4]);

TN_API const char *tn_version(void);

#ifdef __cplusplus
}
#endif
#endif
