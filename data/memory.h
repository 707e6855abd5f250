/* A data set held in memory: n samples of x, then of y, each in one block. */
#ifndef TN_DATA_MEMORY_H
#define TN_DATA_MEMORY_H

#include <tenon.h>

typedef struct tn__memory_set {
    tn_dataset base;
    char *x, *y;             /* [len] samples, zeroed at first */
    size_t x_bytes, y_bytes; /* of one sample */
} tn__memory_set;

/* Of `shape`, len, the shapes and the dtypes are read.  NULL with the error set when there is no
 * memory. */
tn__memory_set *tn__memory_set_new(const char *who, const tn_dataset *shape);

/* Bytes of one sample; false when no machine could hold it. */
bool tn__sample_bytes(tn_dtype t, int ndim, const int64_t *shape, size_t *bytes);

#endif
