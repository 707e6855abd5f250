/* Dropout, in parallel over runs of elements.  Philox is written out for vectors here, two of them
 * at a time: compilers do not see that its products are of 32-bit numbers, for which there is an
 * instruction. The scalar form: src/tensor/philox.h; definition of the op:
 * src/tensor/ops/dropout.c. */
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "vec.h"

#include "../attrs.h"
#include "../internal.h"

enum { LANES = TN_VEC / 2, WAYS = 2, BLOCKS = 64, WORDS = 4 * BLOCKS, TASK = 32 * WORDS };

/* A word of each of LANES blocks, in the low half of a lane; the high half is of no account. */
typedef uint64_t vw __attribute__((vector_size(4 * TN_VEC)));
typedef uint64_t vw_unaligned __attribute__((vector_size(4 * TN_VEC), aligned(8)));

TN_INLINE vw product(vw a, uint32_t m)
{
#if defined(__AVX512F__) && TN_VEC == 16
    return (vw)_mm512_mul_epu32((__m512i)a, _mm512_set1_epi64(m));
#elif defined(__AVX2__) && TN_VEC == 8
    return (vw)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi64x(m));
#elif defined(__SSE2__) && TN_VEC == 4
    return (vw)_mm_mul_epu32((__m128i)a, _mm_set1_epi64x(m));
#else
    return (a & 0xFFFFFFFFu) * m;
#endif
}

/* Words 4 first .. 4 first + WORDS - 1 of a stream. */
static void draw(tn_rng key, uint64_t first, uint32_t *restrict words)
{
    uint64_t even[BLOCKS], odd[BLOCKS]; /* words 0 and 1 of each block, words 2 and 3 */
    vw lane;
    for (int k = 0; k < LANES; k++)
        lane[k] = (uint64_t)k;
    for (int i = 0; i < BLOCKS; i += WAYS * LANES) {
        vw c0[WAYS], c1[WAYS], c2[WAYS], c3[WAYS];
        uint32_t k0 = (uint32_t)key.seed, k1 = (uint32_t)(key.seed >> 32);
        TN_UNROLL for (int w = 0; w < WAYS; w++) {
            c0[w] = lane + (first + (uint64_t)(i + w * LANES));
            c1[w] = c0[w] >> 32;
            c2[w] = (vw){0} + key.step;
            c3[w] = c2[w] >> 32;
        }
        for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u)
            TN_UNROLL for (int w = 0; w < WAYS; w++) {
                const vw a = product(c0[w], 0xD2511F53u), b = product(c2[w], 0xCD9E8D57u);
                c0[w] = (b >> 32) ^ c1[w] ^ k0;
                c2[w] = (a >> 32) ^ c3[w] ^ k1;
                c1[w] = b;
                c3[w] = a;
            }
        TN_UNROLL for (int w = 0; w < WAYS; w++) {
            *(vw_unaligned *)(even + i + w * LANES) = (c0[w] & 0xFFFFFFFFu) | c1[w] << 32;
            *(vw_unaligned *)(odd + i + w * LANES) = (c2[w] & 0xFFFFFFFFu) | c3[w] << 32;
        }
    }
    for (int i = 0; i < BLOCKS; i++) {
        words[4 * i] = (uint32_t)even[i];
        words[4 * i + 1] = (uint32_t)(even[i] >> 32);
        words[4 * i + 2] = (uint32_t)odd[i];
        words[4 * i + 3] = (uint32_t)(odd[i] >> 32);
    }
}

typedef struct job {
    const tn__dropout_attr *attr;
    const float *x;
    float *y;
    int64_t n;
} job;

static void some_elements(void *arg, int64_t i, int worker)
{
    (void)worker;
    const job *j = arg;
    const uint32_t threshold = tn__drop_threshold(j->attr->p);
    const float scale = (float)(1 / (1 - j->attr->p));
    const int64_t stop = (i + 1) * TASK < j->n ? (i + 1) * TASK : j->n;
    for (int64_t from = i * TASK; from < stop; from += WORDS) {
        uint32_t words[WORDS];
        draw(j->attr->key, (uint64_t)from / 4, words);
        const int64_t count = stop - from < WORDS ? stop - from : WORDS;
        const float *restrict x = j->x + from;
        float *restrict y = j->y + from;
        for (int64_t k = 0; k < count; k++)
            y[k] = words[k] >= threshold ? x[k] * scale : 0;
    }
}

tn_done TN_K(fast_dropout)(const tn_call *c)
{
    job j = {c->attr, tn__data(c->in[0]), tn__data(c->out[0]), tn_numel(c->in[0])};
    if (j.attr->p >= 1)
        memset(j.y, 0, (size_t)j.n * sizeof *j.y);
    else
        tn__parallel((j.n + TASK - 1) / TASK, some_elements, &j);
    return TN_DONE;
}
