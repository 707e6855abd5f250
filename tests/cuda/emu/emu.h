/* CUDA threads on the CPU, for tests: every thread of a block is a fiber, blocks run one after
 * another, in the order of their numbers or in reverse.  A kernel whose result depends on that
 * order lacks a barrier; a kernel that touches what is not its own is seen by
 * AddressSanitizer.  One-dimensional grids, barriers, warp shuffles and shared memory; nothing
 * here says how fast a kernel is.
 *
 * Included by src/tensor/cuda/kdefs.h in place of cuda_runtime.h, when TN_EMULATE is defined. */
#ifndef TN_EMU_H
#define TN_EMU_H

#ifdef __cplusplus
#include <functional>
#include <tuple>
#include <type_traits>

#include "subnormals.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __grid_constant__
#define __launch_bounds__(...)
#define K_UNROLL
#define K_UNROLL_BY(n)
#define K_FLUSH_SUBNORMALS (void)tn__flush_subnormals(); /* each thread has its own */

struct emu_index {
    unsigned x;
};
extern emu_index threadIdx, blockIdx, blockDim, gridDim;

/* 0, or cudaErrorLaunchFailure when threads wait for others that do not come. */
int emu_launch(unsigned blocks, unsigned threads, const std::function<void()> &body);
/* When its turn comes (runtime.cpp); at once without a stream. */
int emu_later(void *stream, std::function<int()> work);
/* Arguments are taken now, as CUDA takes them. */
template <class... P, class... A>
static inline int emu_launch_with(unsigned blocks, unsigned threads, void *stream, void (*kernel)(P...), const A &...given)
{
    const std::tuple<std::remove_cv_t<P>...> args(static_cast<std::remove_cv_t<P>>(given)...);
    return emu_later(stream, [=] { return emu_launch(blocks, threads, [&] { std::apply(kernel, args); }); });
}
#define K_LAUNCH(kernel, blocks, threads, stream, ...) \
    ((blocks) ? emu_launch_with((blocks), (threads), (void *)(stream), &kernel, __VA_ARGS__) : 0)

/* Small, so that small tests meet what happens beyond them. */
#define K_BLOCKS 3
#define K_COUNT 4000
#define K_LOGITS 4000

/* Of a block, full of NaN at its start; arrays are told apart by the order in which threads name
 * them. */
void *emu_shared(size_t bytes);
#define K_SHARED(type, name, n) type *name = (type *)emu_shared((n) * sizeof(type))

void __syncthreads();
int __syncthreads_or(int mine);
static inline void __threadfence() {}
void __syncwarp(unsigned mask = 0xffffffff);

uint32_t emu_exchange(uint32_t mine, unsigned lane); /* what that lane of this warp gave */
unsigned emu_lane();
template <class T> static inline T emu_shuffle(T mine, unsigned lane)
{
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffles move 32 or 64 bits");
    uint32_t words[sizeof(T) / 4];
    memcpy(words, &mine, sizeof mine);
    for (uint32_t &word : words)
        word = emu_exchange(word, lane);
    memcpy(&mine, words, sizeof mine);
    return mine;
}
template <class T> static inline T __shfl_sync(unsigned, T v, unsigned lane)
{
    return emu_shuffle(v, lane & 31);
}
template <class T> static inline T __shfl_xor_sync(unsigned, T v, unsigned mask)
{
    return emu_shuffle(v, emu_lane() ^ mask);
}
template <class T> static inline T __shfl_down_sync(unsigned, T v, unsigned by)
{
    return emu_shuffle(v, emu_lane() + by < 32 ? emu_lane() + by : emu_lane());
}

/* c += a b of bf16, as mma.m16n8k16 deals them to the lanes of a warp. */
void emu_mma(float *c, const uint32_t *a, const uint32_t *b);

static inline int atomicCAS(int *p, int expected, int wanted)
{
    const int old = *p;
    if (old == expected)
        *p = wanted;
    return old;
}

static inline unsigned atomicInc(unsigned *p, unsigned most)
{
    const unsigned old = *p;
    *p = old >= most ? 0 : old + 1;
    return old;
}

extern "C" {
#endif

/* Whether later launches run their blocks and threads in reverse. */
void emu_reverse(int on);

#ifdef __cplusplus
}
#endif
#endif
