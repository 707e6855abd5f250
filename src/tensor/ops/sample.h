/* Inputs of samples, in short:
 *
 *     MAKE(rows, tn_sum(in[0], TN_AXIS(0), false))
 *     SAMPLES(sum) = {
 *         {.what = "rows", .make = make_rows, .in = {FLOATS(3, 4)}},
 *         {.what = "rows of a scalar", .make = make_rows, .in = {FLOAT}, .error = "does not exist"},
 *         {0},
 *     }; */
#ifndef TN_OPS_SAMPLE_H
#define TN_OPS_SAMPLE_H

#include "internal.h"

#define TN_DIMS(...)                                                                     \
    .ndim = (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), .shape = {__VA_ARGS__}
#define FLOATS(...) {TN_DIMS(__VA_ARGS__), .kind = 'f', .lo = -2, .hi = 2}
#define FLOAT {.kind = 'f', .lo = -2, .hi = 2} /* a scalar */
#define CONSTS(...) {TN_DIMS(__VA_ARGS__), .kind = 'c', .lo = -2, .hi = 2}
#define INTS(end, ...) {TN_DIMS(__VA_ARGS__), .kind = 'i', .lo = 0, .hi = end}
#define MASK(...) {TN_DIMS(__VA_ARGS__), .kind = 'u', .lo = 0, .hi = 2}
#define RANGE(kind_, lo_, hi_, ...) {TN_DIMS(__VA_ARGS__), .kind = kind_, .lo = lo_, .hi = hi_}

#endif
