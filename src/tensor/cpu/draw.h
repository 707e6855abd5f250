/* The words of a random op's stream, many at a time, for the dropout of kernels.  Philox is written out
 * for vectors here, two of them at a time: compilers do not see that its products are of 32-bit numbers,
 * for which there is an instruction.  The scalar form: src/tensor/philox.h. */
#ifndef TN_CPU_DRAW_H
#define TN_CPU_DRAW_H

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "vec.h"

#include "../internal.h"

enum { TN_DRAW = 256 }; /* words of one call */

/* A word of each of TN_VEC / 2 blocks, in the low half of a lane; the high half is of no account. */
typedef uint64_t tn__vw __attribute__((vector_size(4 * TN_VEC)));
typedef uint64_t tn__vw_unaligned __attribute__((vector_size(4 * TN_VEC), aligned(4), may_alias));

TN_INLINE tn__vw tn__word_product(tn__vw a, uint32_t m)
{
#if defined(__AVX512F__) && TN_VEC == 16
    return (tn__vw)_mm512_mul_epu32((__m512i)a, _mm512_set1_epi64(m));
#elif defined(__AVX2__) && TN_VEC == 8
    return (tn__vw)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi64x(m));
#elif defined(__SSE2__) && TN_VEC == 4
    return (tn__vw)_mm_mul_epu32((__m128i)a, _mm_set1_epi64x(m));
#else
    return (a & 0xFFFFFFFFu) * m;
#endif
}

/* Blocks' halves a[0] b[0] a[1] b[1] ..: the first and the second half of these. */
#if TN_VEC == 16
#define TN_ZIP_LOW(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define TN_ZIP_HIGH(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#elif TN_VEC == 8
#define TN_ZIP_LOW(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define TN_ZIP_HIGH(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#else
#define TN_ZIP_LOW(a, b) __builtin_shufflevector(a, b, 0, 2)
#define TN_ZIP_HIGH(a, b) __builtin_shufflevector(a, b, 1, 3)
#endif

/* Words 4 first .. 4 first + TN_DRAW - 1 of a stream. */
static void tn__draw(tn_rng key, uint64_t first, uint32_t *restrict words)
{
    enum { LANES = TN_VEC / 2, WAYS = 2, BLOCKS = TN_DRAW / 4 };
    tn__vw lane;
    for (int k = 0; k < LANES; k++)
        lane[k] = (uint64_t)k;
    for (int i = 0; i < BLOCKS; i += WAYS * LANES) {
        tn__vw c0[WAYS], c1[WAYS], c2[WAYS], c3[WAYS];
        uint32_t k0 = (uint32_t)key.seed, k1 = (uint32_t)(key.seed >> 32);
        TN_UNROLL for (int w = 0; w < WAYS; w++) {
            c0[w] = lane + (first + (uint64_t)(i + w * LANES));
            c1[w] = c0[w] >> 32;
            c2[w] = (tn__vw){0} + key.step;
            c3[w] = c2[w] >> 32;
        }
        for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u)
            TN_UNROLL for (int w = 0; w < WAYS; w++) {
                const tn__vw a = tn__word_product(c0[w], 0xD2511F53u);
                const tn__vw b = tn__word_product(c2[w], 0xCD9E8D57u);
                c0[w] = (b >> 32) ^ c1[w] ^ k0;
                c2[w] = (a >> 32) ^ c3[w] ^ k1;
                c1[w] = b;
                c3[w] = a;
            }
        TN_UNROLL for (int w = 0; w < WAYS; w++) { /* words 0 and 1 of each block, words 2 and 3 */
            const tn__vw front = (c0[w] & 0xFFFFFFFFu) | c1[w] << 32, back = (c2[w] & 0xFFFFFFFFu) | c3[w] << 32;
            uint32_t *to = words + 4 * (i + w * LANES);
            *(tn__vw_unaligned *)to = TN_ZIP_LOW(front, back);
            *(tn__vw_unaligned *)(to + TN_VEC) = TN_ZIP_HIGH(front, back);
        }
    }
}

#endif
