/* One spelling of kernels for nvcc and for the CPU emulator of the tests (tests/cuda/emu/emu.h). */
#ifndef TN_KDEFS_H
#define TN_KDEFS_H

#include <stdint.h>

#include "launch.h"

#ifdef TN_EMULATE
#include "emu.h"
#else
#include <cuda_runtime.h>
#define K_UNROLL _Pragma("unroll")
#define K_UNROLL_BY(n) K_PRAGMA(unroll n) /* where more would take too many registers */
#define K_PRAGMA(text) _Pragma(#text)
#define K_FLUSH_SUBNORMALS /* cmake/cuda.cmake asks for it */
#define K_SHARED(type, name, n) __shared__ type name[n]
/* 0, or why the launch failed, as a cudaError_t; no blocks are nothing to do. */
#define K_LAUNCH(kernel, blocks, threads, stream, ...) \
    ((blocks) ? (kernel<<<(blocks), (threads), 0, (cudaStream_t)(stream)>>>(__VA_ARGS__), \
                 (int)cudaGetLastError()) \
              : 0)
#define K_BLOCKS 65536     /* a kernel goes on in a loop beyond these */
#define K_COUNT 0xFFFFFFFF /* elements whose numbers have 32 bits */
#define K_LOGITS (64 << 20) /* that linear_loss.cu holds at once */
#endif

enum { K_THREADS = 256 };

/* Blocks for n pieces of work, `each` to a block. */
static inline unsigned k_blocks(int64_t n, int64_t each)
{
    const int64_t blocks = (n + each - 1) / each;
    return (unsigned)(blocks < K_BLOCKS ? blocks : K_BLOCKS);
}

/* a / b of numbers that are not negative; in 32 bits where they have no more, which is several times as fast. */
static __device__ inline int64_t k_quotient(int64_t a, int64_t b)
{
    return (a | b) >> 32 ? a / b : (int64_t)((uint32_t)a / (uint32_t)b);
}

static __device__ inline tn_rng k_key(const tn__cuda_key &k)
{
    return {k.recorded.seed, k.recorded.step + *k.drawn};
}

/* Has it told that a number given to this op is wrong; only the first on the device is. */
static __device__ inline void k_wrong(const tn__cuda_watch &watch, tn__cuda_wrong wrong, int64_t a, int64_t b,
                                      int64_t c, int64_t d)
{
    tn__cuda_fault *f = watch.fault;
    if (atomicCAS(&f->told, 0, 1))
        return;
    f->op = watch.op;
    f->wrong = wrong;
    f->spans = watch.spans;
    f->number[0] = a;
    f->number[1] = b;
    f->number[2] = c;
    f->number[3] = d;
}

#endif
