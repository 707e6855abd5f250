/* Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): four random words
 * from a 128-bit counter and a 64-bit key, so any element can be drawn by itself.  Compiled by gcc, clang
 * and nvcc alike. */
#ifndef TN_PHILOX_H
#define TN_PHILOX_H

#include <stdint.h>

#ifdef __CUDACC__
#define TN_HD static __host__ __device__ __forceinline__
#else
#define TN_HD static inline __attribute__((always_inline))
#endif

typedef struct tn__philox4 { uint32_t v[4]; } tn__philox4;

/* Words 4*block .. 4*block+3 of the stream of random op `step` under `seed`. */
TN_HD tn__philox4 tn__philox(uint64_t seed, uint64_t step, uint64_t block)
{
    uint32_t c0 = (uint32_t)block, c1 = (uint32_t)(block >> 32), c2 = (uint32_t)step, c3 = (uint32_t)(step >> 32);
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        const uint64_t a = (uint64_t)0xD2511F53u * c0, b = (uint64_t)0xCD9E8D57u * c2;
        const uint32_t n0 = (uint32_t)(b >> 32) ^ c1 ^ k0, n2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)b;
        c3 = (uint32_t)a;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    tn__philox4 r = {{c0, c1, c2, c3}};
    return r;
}
/* One word by element index. */
TN_HD uint32_t tn__philox_at(uint64_t seed, uint64_t step, uint64_t i)
{
    return tn__philox(seed, step, i >> 2).v[i & 3];
}
/* [0, 1) with 24 bits; (0, 1] for logarithms. */
TN_HD float tn__uniform(uint32_t w) { return (float)(w >> 8) * (1.0f / 16777216.0f); }
TN_HD float tn__uniform_open(uint32_t w) { return ((float)(w >> 8) + 1.0f) * (1.0f / 16777216.0f); }
/* A drop of probability p: keep iff the word is at least this. */
TN_HD uint32_t tn__drop_threshold(double p) { return p >= 1 ? 0xFFFFFFFFu : (uint32_t)(p * 4294967296.0); }

#endif
