/*
 * What every fast CPU kernel is written with: a vector of TN_VEC floats, the names of the
 * instruction set being compiled for, and the thread pool. Each kernel file is compiled once per
 * instruction set (-DTN_VEC=16 -DTN_ISA=avx512, 8 avx2, 4 base) and its public functions carry the
 * set in their names, so that the fitting one can be chosen when the program starts.
 *
 * Not the choice itself, and no kernels: see conv.h and norm.h.
 */
#ifndef TN_CPU_VEC_H
#define TN_CPU_VEC_H

#include <stddef.h>
#include <stdint.h>

#ifndef TN_VEC
#define TN_VEC 4
#endif
#ifndef TN_ISA
#define TN_ISA base
#endif

#define TN_NAME_(name, isa) tn__##name##_##isa
#define TN_NAME(name, isa) TN_NAME_(name, isa)
#define TN_K(name) TN_NAME(name, TN_ISA) /* TN_K(conv_forward) is tn__conv_forward_avx2 */

/* Loops over the registers of a tile must disappear, else the tile lives in memory. */
#ifdef __clang__
#define TN_UNROLL _Pragma("clang loop unroll(full)")
#else
#define TN_UNROLL _Pragma("GCC unroll 32")
#endif
/* The iterations of the loop below do not meet in memory, which compilers cannot see of many pointers. */
#ifdef __clang__
#define TN_APART _Pragma("clang loop vectorize(assume_safety)")
#else
#define TN_APART _Pragma("GCC ivdep")
#endif
#define TN_INLINE static inline __attribute__((always_inline))

typedef float vf __attribute__((vector_size(4 * TN_VEC)));
typedef int32_t vi __attribute__((vector_size(4 * TN_VEC)));
typedef float vf_unaligned __attribute__((vector_size(4 * TN_VEC), aligned(4), may_alias));

TN_INLINE vf tn__load(const float *p) { return *(const vf_unaligned *)p; }
TN_INLINE void tn__store(float *p, vf v) { *(vf_unaligned *)p = v; }
/* Minus, not plus: x - 0 is x for -0 too, so no arithmetic is left of it. */
TN_INLINE vf tn__splat(float s) { return s - (vf){0}; }

/* Lanes of v where the mask is set, 0 elsewhere. */
TN_INLINE vf tn__keep(vi mask, vf v) { return (vf)((vi)v & mask); }

/* Calls fn(arg, i, worker) once for each i in [0, n); worker in [0, tn__threads()). Returns when
 * all are done. */
void tn__parallel(int64_t n, void (*fn)(void *arg, int64_t i, int worker), void *arg);
int tn__threads(void);
/* 64-byte aligned, NULL and error set on failure, reused between calls without returning pages */
void *tn__scratch(size_t bytes);
void tn__scratch_free(void *);

#endif
