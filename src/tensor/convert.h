/* The two half-width floating formats, converted one element at a time with rounding to nearest even. */
#ifndef TN_CONVERT_H
#define TN_CONVERT_H

#include <stdint.h>
#include <string.h>

#ifdef __CUDACC__
#define TN_CONVERT static __host__ __device__ __forceinline__
#else
#define TN_CONVERT static inline
#endif

TN_CONVERT uint32_t tn__bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

TN_CONVERT float tn__float(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

TN_CONVERT float tn__from_bf16(uint16_t h) { return tn__float((uint32_t)h << 16); }

TN_CONVERT uint16_t tn__to_bf16(float x)
{
    const uint32_t u = tn__bits(x);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(u >> 16 | 0x40); /* NaN stays NaN */
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

TN_CONVERT float tn__from_f16(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16, rest = h & 0x7fffu;
    if (rest >= 0x7c00)
        return tn__float(sign | 0x7f800000u | (rest & 0x3ff) << 13);
    if (rest < 0x400) /* subnormal: a multiple of 2^-24 */
        return (sign ? -1.0f : 1.0f) * (float)rest * (1.0f / 16777216.0f);
    return tn__float(sign | ((rest << 13) + 0x38000000u));
}

TN_CONVERT uint16_t tn__to_f16(float x)
{
    const uint32_t u = tn__bits(x), a = u & 0x7fffffffu;
    const uint16_t sign = (uint16_t)(u >> 16 & 0x8000);
    if (a > 0x7f800000u)
        return sign | 0x7e00;
    if (a >= 0x477ff000u) /* rounds to 65536 or more */
        return sign | 0x7c00;
    if (a < 0x38800000u)  /* subnormal: adding one half aligns the bits and rounds */
        return (uint16_t)(sign | (tn__bits(tn__float(a) + 0.5f) - 0x3f000000u));
    return (uint16_t)(sign | ((a - 0x38000000u + 0xfff + (a >> 13 & 1)) >> 13));
}

#endif
