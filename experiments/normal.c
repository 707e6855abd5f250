/* Box and Muller's method on Philox words.  The loop has no branch and no call, so that it becomes
 * vector code; the polynomials are those of Cephes (logf, sinf, cosf), good to about 1e-7. */
#include "normal.h"

#include <math.h>
#include <string.h>
#include <tenon.h>

/* ln of a float in (0, 1], as 2^e (1 + x) with 1 + x in [sqrt(1/2), sqrt(2)). */
static inline float log_of(float u)
{
    int32_t bits;
    memcpy(&bits, &u, sizeof bits);
    const int32_t e = (bits - 0x3f3504f3) >> 23;
    const int32_t mantissa = bits - e * (1 << 23);
    float x;
    memcpy(&x, &mantissa, sizeof x);
    x -= 1;
    float p = 7.0376836292e-2f;
    p = p * x - 1.1514610310e-1f;
    p = p * x + 1.1676998740e-1f;
    p = p * x - 1.2420140846e-1f;
    p = p * x + 1.4249322787e-1f;
    p = p * x - 1.6668057665e-1f;
    p = p * x + 2.0000714765e-1f;
    p = p * x - 2.4999993993e-1f;
    p = p * x + 3.3333331174e-1f;
    const float k = (float)e, square = x * x;
    return x - 0.5f * square + x * square * p + k * 0.693147181f;
}

/* Words for radius and angle to two normal numbers. */
static void box_muller(int n, const uint32_t *radius, const uint32_t *angle, float *a, float *b)
{
    for (int i = 0; i < n; i++) {
        const float u = ((float)(int32_t)(radius[i] >> 1) + 0.5f) * 0x1p-31f;
        const float square = -2.0f * log_of(u);
        const float r = sqrtf(square > 0 ? square : 0);
        /* the top two bits are the quadrant, the others an angle in [-pi/4, pi/4) */
        const float f = ((float)(int32_t)(angle[i] & 0x3fffffff) * 0x1p-30f - 0.5f) * 1.57079633f;
        const float q = f * f;
        const float s =
            f + f * q * ((-1.9515295891e-4f * q + 8.3321608736e-3f) * q - 1.6666654611e-1f);
        const float c = 1 - 0.5f * q +
                        q * q * ((2.443315711809948e-5f * q - 1.388731625493765e-3f) * q +
                                 4.166664568298827e-2f);
        const float swap = (float)(int32_t)(angle[i] >> 30 & 1); /* 1: sine for cosine */
        const float turn = 1.0f - 2.0f * (float)(int32_t)(angle[i] >> 31);
        a[i] = r * turn * (c + swap * (-s - c));
        b[i] = r * turn * (s + swap * (c - s));
    }
}

void normals(uint64_t seed, uint64_t step, uint64_t first_block, int n, float *z)
{
    uint32_t words[NORMALS_MOST];
    for (int i = 0; i < n; i += 4)
        tn_random(seed, step, first_block + (uint64_t)(i / 4), words + i);
    box_muller(n / 2, words, words + n / 2, z, z + n / 2);
}
