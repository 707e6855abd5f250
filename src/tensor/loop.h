/* Elementwise loops over broadcast, strided operands: dims are collapsed where every operand allows it,
 * and what is left runs row by row, in parallel. */
#ifndef TN_LOOP_H
#define TN_LOOP_H

#include "internal.h"
#include "walk.h"

/* One row: n elements; p[k] and s[k] are operand k's first element and its step in elements (0: the same
 * element again).  Operand 0 is the output, with step 1. */
typedef void tn__row(int64_t n, char *const *p, const int64_t *s, const void *arg);

/* out is contiguous; operands are broadcast to its shape. */
void tn__loop(const tn_tensor *out, int n, const tn_tensor *const *operands, tn__row *row, const void *arg);

#endif
