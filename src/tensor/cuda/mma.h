/* Small products in tensor cores: a warp adds 16 rows by 8 columns, of 16 terms in bf16, to sums in f32.  Which lane
 * has what: NVIDIA's PTX ISA, "Matrix fragments for mma.m16n8k16". */
#ifndef TN_MMA_H
#define TN_MMA_H

#include "convert.h"
#include "kdefs.h"

/* Of lane 4 g + t, each word two neighbouring terms: rows g and g + 8 of the terms 2 t.., then of 8 + 2 t.. */
struct k_left {
    uint32_t v[4];
};
struct k_right { /* column g, the same terms */
    uint32_t v[2];
};
static __device__ inline int k_g() { return (int)threadIdx.x % 32 / 4; }
static __device__ inline int k_t() { return (int)threadIdx.x % 4; }

/* The one with the lower number is in the lower half. */
static __device__ inline uint32_t k_two(float first, float second)
{
#ifdef TN_EMULATE
    return tn__to_bf16(first) | (uint32_t)tn__to_bf16(second) << 16;
#else
    uint32_t word;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(second), "f"(first));
    return word;
#endif
}

/* c: rows g, g, g + 8, g + 8, columns 2 t, 2 t + 1, 2 t, 2 t + 1.  All lanes of the warp together. */
static __device__ inline void k_mma(float *c, const k_left &a, const k_right &b)
{
#ifdef TN_EMULATE
    emu_mma(c, a.v, b.v);
#else
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a.v[0]), "r"(a.v[1]), "r"(a.v[2]), "r"(a.v[3]), "r"(b.v[0]), "r"(b.v[1]));
#endif
}

#endif
