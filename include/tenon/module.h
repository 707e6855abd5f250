/* Modules: networks as trees with named parameters.
 *
 * A layer is a struct whose first member is tn_module; its class says how big it is and how it
 * computes.  Paths join names with dots, as in PyTorch: "layer1.0.conv1.weight". */
#ifndef TENON_MODULE_H
#define TENON_MODULE_H

#include <stdio.h>

#include "autograd.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tn_module tn_module;
typedef struct tn_param tn_param;

typedef struct tn_module_class {
    const char *name;   /* "Conv2d" */
    size_t size;        /* of the layer's struct */
    /* n inputs (n >= 1) to one output; runs in a scope of its own. */
    tn_tensor *(*forward)(tn_module *m, int n, tn_tensor *const *x);
    void (*free)(tn_module *m); /* what the layer itself allocated; may be NULL */
    int inputs;                 /* the most that forward takes; 0: one */
} tn_module_class;

struct tn_module { /* read-only to users */
    const tn_type *type;
    const tn_module_class *cls;
    char *name; /* in its parent; NULL at the root */
    tn_module *parent, *child, *next;
    tn_param *params; /* parameters and buffers, in the order they were made */
    bool training;
    bool broken;       /* a child or parameter could not be made */
};

struct tn_param { /* read-only to users */
    tn_tensor t;      /* t.requires_grad: trained; t.grad: its gradient */
    char *name;
    tn_module *owner;
    tn_param *next;
    bool buffer;      /* saved, moved, but not trained (running statistics) */
    bool conv_layout; /* [O,KH,KW,I] in memory, [O,I,KH,KW] in files */
    bool sparse;      /* a table whose gradient has few rows other than zero */
    bool constant;    /* a buffer that the constructor fills and nothing changes: in no file, not visited */
};

/* ---- building; see docs/add-a-layer.md ---- */
/* A module of class `cls`, zeroed behind the base; NULL with the error set. */
TN_API void *tn_module_new(const tn_module_class *cls);
/* Gives child to m under a name ("conv1"); returns child, or NULL (then the child is freed). */
TN_API tn_module *tn_add_child(tn_module *m, const char *name, tn_module *child);
/* Ends a constructor: m, or NULL (then m is freed) when one of its children or parameters could not be
 * made, so that nothing in between needs a check. */
TN_API tn_module *tn_module_done(void *m);

/* How a parameter starts. fan: 0 means from the shape ([out, ..., in]). */
typedef enum tn_init_kind { TN_INIT_ZEROS, TN_INIT_CONST, TN_INIT_UNIFORM, TN_INIT_NORMAL,
    TN_INIT_KAIMING_NORMAL, TN_INIT_KAIMING_UNIFORM, TN_INIT_XAVIER_NORMAL, TN_INIT_XAVIER_UNIFORM } tn_init_kind;
typedef struct tn_init {
    tn_init_kind kind;
    double a, b;   /* CONST: a; UNIFORM: in [a, b); NORMAL: mean a, std b; others: gain a (0: the method's own, sqrt 2
                      for Kaiming, 1 for Xavier) */
    bool fan_out;  /* Kaiming: by outputs instead of inputs */
} tn_init;
TN_API bool tn_init_(tn_tensor *t, tn_init how); /* in place; t [out, ..., in] */
/* fan_in and fan_out of a weight [out, ..., in]: the middle dims count for both */
TN_API void tn_fans(const tn_tensor *t, double *fan_in, double *fan_out);

/* A trained parameter or an untrained buffer of m, f32; NULL with the error set (or when m is NULL). */
TN_API tn_tensor *tn_param_new(tn_module *m, const char *name, tn_init how, int ndim, const int64_t *shape);
TN_API tn_tensor *tn_buffer_new(tn_module *m, const char *name, tn_dtype t, double value, int ndim, const int64_t *shape);
/* Marks a buffer that holds constants (a table of sines): it moves with its module, but no file holds it and
 * tn_each_param() passes it by. */
TN_API void tn_buffer_constant(tn_tensor *buffer);
/* Marks a convolution weight [O,KH,KW,I], so that files hold PyTorch's [O,I,KH,KW]. */
TN_API void tn_param_conv_layout(tn_tensor *param);
/* Marks a table [rows, ...] of which a step looks up few rows, so that optimizers made later leave the others alone
 * until they are read: see docs/optimizers.md. */
TN_API void tn_param_sparse(tn_tensor *param);

/* ---- using ---- */
TN_API tn_tensor *tn_forward_call(tn_module *m, int n, tn_tensor *const *x);
#define tn_forward(m, ...)                                                                       \
    TN_AT(tn_forward_call((tn_module *)(m), (int)(sizeof((tn_tensor *[]){__VA_ARGS__}) / sizeof(tn_tensor *)), \
                          (tn_tensor *[]){__VA_ARGS__}))
TN_API void tn_train(tn_module *m); /* dropout on, batch statistics; how a module starts */
TN_API void tn_eval(tn_module *m);
/* Moves parameters, gradients and buffers; optimizers made later follow.  Counters (integer buffers
 * without dims) stay where the host counts them. */
TN_API bool tn_to(tn_module *m, tn_device device);
/* In depth-first order; path is valid during the call; stops when f returns false. */
typedef bool tn_param_fn(void *arg, const char *path, tn_param *p);
TN_API bool tn_each_param(tn_module *m, tn_param_fn *f, void *arg);
TN_API int64_t tn_param_count(tn_module *m); /* trained elements */
TN_API tn_param *tn_find_param(tn_module *m, const char *path); /* NULL when absent, no error */
TN_API tn_module *tn_find_module(tn_module *m, const char *path);
/* requires_grad = on for every parameter whose path matches (shell patterns: "encoder.*"); how many. */
TN_API int tn_set_trained(tn_module *m, const char *pattern, bool on);
TN_API bool tn_match(const char *pattern, const char *path); /* '*' any text, '?' one character */
/* A table of path, class, output shape and parameters, from one forward in eval mode without gradient. */
TN_API bool tn_summary(tn_module *m, tn_tensor *x, FILE *out);

/* ---- files: safetensors, PyTorch's names and layouts ---- */
TN_API bool tn_save(tn_module *m, const char *path); /* to a temporary name, fsync, rename */
/* Checks the whole file and all shapes first; only a read error can leave m partly loaded.  Nothing that
 * fits is an error even when not strict.  Floating dtypes convert. */
typedef struct tn_load_args {
    tn_module *m;
    const char *path;
    bool strict;      /* missing, unexpected or mis-shaped entries are an error; otherwise told on `log` */
    FILE *log;        /* NULL: nowhere */
} tn_load_args;
TN_API bool tn_load_call(tn_load_args args);
#define tn_load(...) TN_AT(tn_load_call((tn_load_args){.m = __VA_ARGS__}))

/* Safetensors files of any tensors. */
typedef struct tn_named { const char *name; tn_tensor *t; } tn_named;
/* metadata: pairs of key and value, NULL-terminated, or NULL; a checksum of the whole file is added ("crc32") */
TN_API bool tn_safetensors_save(const char *path, int n, const tn_named *list, const char *const *metadata);
typedef struct tn_safetensors tn_safetensors; /* an open file; free with tn_free */
TN_API tn_safetensors *tn_safetensors_open(const char *path); /* checks everything, reads no data */
/* Reads the whole file against its checksum, so that one flipped bit anywhere is noticed: false with the
 * error set when it is damaged.  A file of others without one passes; tn_safetensors_meta(f, "crc32") tells. */
TN_API bool tn_safetensors_check(const tn_safetensors *f);
TN_API int tn_safetensors_count(const tn_safetensors *f);
TN_API const char *tn_safetensors_name(const tn_safetensors *f, int i);
TN_API const char *tn_safetensors_meta(const tn_safetensors *f, const char *key); /* NULL: absent */
TN_API tn_tensor *tn_safetensors_read(tn_safetensors *f, const char *name); /* in the innermost scope */

/* NumPy's .npz files: a zip of NAME.npy, one array each, of the dtypes of tn_save_npy(); written as numpy.savez()
 * does, read also as of savez_compressed(). */
TN_API bool tn_npz_save(const char *path, int n, const tn_named *list);
typedef struct tn_npz tn_npz; /* an open file; free with tn_free */
TN_API tn_npz *tn_npz_open(const char *path); /* checks the directory, reads no data */
TN_API int tn_npz_count(const tn_npz *f);
TN_API const char *tn_npz_name(const tn_npz *f, int i); /* without .npy */
/* In the innermost scope; quick in the order of the file.  Its checksum is checked. */
TN_API tn_tensor *tn_npz_read(tn_npz *f, const char *name);

#ifdef __cplusplus
}
#endif
#endif
