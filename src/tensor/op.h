/* For the files of ops/: each is compiled twice, with REAL float and double.  The plain kernels stand
 * before TN_WHOLE, once per type; wrapper, shape rule and samples after it, once:
 *
 *     #include "op.h"
 *     tn_done KERNEL(softmax)(const tn_call *c) { const real *x = IN(0); ... return TN_DONE; }
 *     #if TN_WHOLE
 *     tn_tensor *tn_softmax(...) {...}  bool tn__shape_softmax(tn_call *c) {...}
 *     SAMPLES(softmax) = {{...}, {0}};
 *     #endif
 *
 * A kernel is plain and sequential per output, and exact enough to hold the fast ones against. */
#ifndef TN_OP_H
#define TN_OP_H

#include <math.h>
#include <string.h>

#include "internal.h"
#include "attrs.h"

#ifdef TN_F64_PASS
#define REAL double
#define REAL_DTYPE TN_F64
#define TN_SUFFIX f64
#define TN_WHOLE 0
#else
#define REAL float
#define REAL_DTYPE TN_F32
#define TN_SUFFIX f32
#define TN_WHOLE 1
#endif
typedef REAL real;

#define TN_PASTE_(a, b, c) a##b##_##c
#define TN_PASTE(a, b, c) TN_PASTE_(a, b, c)
#define KERNEL(name) TN_PASTE(tn__plain_, name, TN_SUFFIX) /* tn__plain_softmax_f32 */

#define IN(i) ((const real *)(c->in[i] ? tn__data(c->in[i]) : NULL))
#define OUT(i) ((real *)(c->out[i] ? tn__data(c->out[i]) : NULL))
#define INDEX(i) ((const int64_t *)tn__data(c->in[i]))

/* All kernels of ops_map.def and ops.def, so that each file has its prototypes. */
#define PLAIN(name) tn_kernel tn__plain_##name##_f32, tn__plain_##name##_f64;
#define MAP(name, ...) PLAIN(name) PLAIN(name##_backward)
#define BIN(name, ...) PLAIN(name) PLAIN(name##_dx) PLAIN(name##_dz)
#define CMP(name, ...) PLAIN(name)
#include "tenon/ops_map.def"
tn_shape_rule tn__shape_map, tn__shape_map2, tn__shape_map_last;
#define OP(name, ...) tn_kernel tn__plain_##name##_f32, tn__plain_##name##_f64; tn_shape_rule tn__shape_##name;
#include "tenon/ops.def"

/* How a sample calls its op, from in[]: MAKE(stride2, tn_conv(in[0], in[1], NULL, .stride = 2)) */
#define MAKE(name, ...) \
    static tn_tensor *make_##name(int n, tn_tensor *const *in) { (void)n; return __VA_ARGS__; }
/* Samples end with an entry whose `what` is NULL. */
#define SAMPLES(name) const tn__sample tn__samples_##name[]
#define OP(name, ...) extern const tn__sample tn__samples_##name[];
#include "tenon/ops.def"

#endif
