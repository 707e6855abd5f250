/* What the files of src/nn share; layers/ need none of it. */
#ifndef TN_NN_INTERNAL_H
#define TN_NN_INTERNAL_H

#include "tensor/internal.h"
#include "tenon/module.h"

/* Paths ("layer1.0.conv1.weight") live in buffers of this size; longer ones are an error. */
enum { TN__PATH = 256 };
/* Appends a name to a path of `length`; the new length, or 0 with the error set. */
size_t tn__path_add(char path[TN__PATH], size_t length, const char *name);

/* tn_each_param() that visits constants too. */
bool tn__each_tensor(tn_module *m, tn_param_fn *f, void *arg);

/* Told of every output of a module's forward in this thread, while `saw` is set (summary.c). */
typedef struct tn__watch {
    void (*saw)(void *arg, const tn_module *m, const tn_tensor *y);
    void *arg;
} tn__watch;
extern _Thread_local tn__watch tn__forward_watch;

/* One tensor of a safetensors file. */
typedef struct tn__entry {
    const char *name;
    tn_dtype dtype;
    int ndim;
    int64_t shape[TN_MAX_DIMS];
    int64_t begin, end; /* bytes behind the header */
} tn__entry;
const tn__entry *tn__safetensors_find(const tn_safetensors *f, const char *name); /* NULL: absent */

#endif
