/* The vocabulary of ops_map.def and optim.def: R(c) and functions in capitals, for the type `real`.
 *
 *   TN_F64_PASS   real is double, functions are libm's
 *   TN_FAST_MATH  real is float, functions are the branch-free ones below, which compilers vectorise;
 *                 errors of a few units in the last place, held against libm by the tests
 *   neither       real is float, functions are libm's (and CUDA's) */
#ifndef TN_MAP_MATH_H
#define TN_MAP_MATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#ifdef __CUDACC__
#define TN_FN static __host__ __device__ __forceinline__
#else
#define TN_FN static inline __attribute__((always_inline, unused))
#endif

TN_FN float tn__as_float(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

TN_FN uint32_t tn__as_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

/* 2^k r with r = exp(x - k ln 2) by its Taylor series on |x| <= ln 2 / 2; adding 1.5 * 2^23 rounds. */
TN_FN float tn__expf(float x)
{
    const float top = 88.72284f, bottom = -87.33655f, magic = 12582912.0f;
    const float c = x > top ? top : x < bottom ? bottom : x == x ? x : 0.0f;
    const float shifted = c * 1.44269504f + magic, k = shifted - magic;
    const float r = (c - k * 0.693145752f) - k * 1.42860677e-6f;
    float p = 1.0f / 5040.0f;
    p = p * r + 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    /* two factors, because 2^128 alone is not a float */
    const int32_t e = (int32_t)k, half = e >> 1;
    const float y = p * tn__as_float((uint32_t)(half + 127) << 23) * tn__as_float((uint32_t)(e - half + 127) << 23);
    return x > top ? INFINITY : x < bottom ? 0.0f : x != x ? x : y;
}

/* ln(m 2^e) with m in [sqrt(1/2), sqrt 2): atanh series in s = (m-1)/(m+1). */
TN_FN float tn__logf(float x)
{
    const float tiny = x < 1.17549435e-38f ? 8388608.0f : 1.0f; /* lifts subnormals */
    const uint32_t bits = tn__as_bits(x * tiny), shifted = bits - 0x3f3504f3u;
    const float e = (float)((int32_t)shifted >> 23) - (tiny != 1.0f ? 23.0f : 0.0f);
    const float m = tn__as_float((shifted & 0x7fffffu) + 0x3f3504f3u);
    const float f = m - 1.0f, s = f / (2.0f + f), z = s * s;
    float p = 2.0f / 9.0f;
    p = p * z + 2.0f / 7.0f;
    p = p * z + 2.0f / 5.0f;
    p = p * z + 2.0f / 3.0f;
    const float half = 0.5f * f * f;
    const float y = e * 0.693145752f + (f - (half - (s * (half + z * p) + e * 1.42860677e-6f)));
    return x > 0.0f ? (x < INFINITY ? y : x) : x == 0.0f ? -INFINITY : NAN;
}

/* exp(x) - 1 and log(1 + x) without losing the small end: the rounding of 1 + x is divided out (Kahan). */
TN_FN float tn__expm1f(float x)
{
    const float u = tn__expf(x), d = u - 1.0f;
    const float y = d * (x / tn__logf(u));
    return u == 1.0f ? x : d == -1.0f ? -1.0f : u < INFINITY ? y : u;
}

TN_FN float tn__log1pf(float x)
{
    const float u = 1.0f + x, d = u - 1.0f;
    const float y = tn__logf(u) * (x / d);
    return d == 0.0f ? x : u < INFINITY ? y : u;
}

TN_FN float tn__tanhf(float x)
{
    const float a = x < 0 ? -x : x, z = x * x;
    float p = -5.70498872745e-3f; /* odd minimax polynomial on |x| < 0.625 */
    p = p * z + 2.06390887954e-2f;
    p = p * z - 5.37397155531e-2f;
    p = p * z + 1.33314422036e-1f;
    p = p * z - 3.33332819422e-1f;
    const float small = p * z * x + x;
    const float large = 1.0f - 2.0f / (tn__expf(2.0f * a) + 1.0f);
    return a < 0.625f ? small : x < 0 ? -large : x != x ? x : large;
}

/* Minimax polynomials in x below 0.93 and in the exponent above. */
TN_FN float tn__erff(float x)
{
    const float t = x < 0 ? -x : x, s = x * x;
    float p = -5.96761703e-4f;
    p = p * s + 4.99119423e-3f;
    p = p * s - 2.67681349e-2f;
    p = p * s + 1.12819925e-1f;
    p = p * s - 3.76125336e-1f;
    p = p * s + 1.28379166e-1f;
    const float small = p * x + x;
    const float c = t > 4.0f ? 4.0f : t;
    float q = (-1.72853470e-5f * c + 3.83197126e-4f) * (c * c) + (-3.88396438e-3f * c + 2.42546219e-2f);
    q = q * c - 1.06777877e-1f;
    q = q * c - 6.34846687e-1f;
    q = q * c - 1.28717512e-1f;
    q = q * c - c;
    const float large = 1.0f - tn__expf(q);
    return t < 0.927734375f ? small : x < 0 ? -large : x != x ? x : large;
}

#ifdef TN_F64_PASS
#define R(c) ((double)(c))
#define FN(name) name
#else
#define R(c) ((float)(c))
#define FN(name) name##f
#endif

#if defined(TN_FAST_MATH) && !defined(TN_F64_PASS)
#define EXP(x) tn__expf(x)
#define LOG(x) tn__logf(x)
#define EXPM1(x) tn__expm1f(x)
#define LOG1P(x) tn__log1pf(x)
#define TANH(x) tn__tanhf(x)
#define ERF(x) tn__erff(x)
#else
#define EXP(x) FN(exp)(x)
#define LOG(x) FN(log)(x)
#define EXPM1(x) FN(expm1)(x)
#define LOG1P(x) FN(log1p)(x)
#define TANH(x) FN(tanh)(x)
#define ERF(x) FN(erf)(x)
#endif
#define SQRT(x) FN(sqrt)(x)
#define ABS(x) FN(fabs)(x)
#define SIN(x) FN(sin)(x)
#define COS(x) FN(cos)(x)
#define TAN(x) FN(tan)(x)
#define ASIN(x) FN(asin)(x)
#define ACOS(x) FN(acos)(x)
#define ATAN(x) FN(atan)(x)
#define SINH(x) FN(sinh)(x)
#define COSH(x) FN(cosh)(x)
#define FLOOR(x) FN(floor)(x)
#define CEIL(x) FN(ceil)(x)
#define ROUND(x) FN(rint)(x)
#define POW(x, y) FN(pow)(x, y)
#define ATAN2(y, x) FN(atan2)(y, x)
/* a NaN in the first argument is passed on */
#define MAX(x, z) ((x) < (z) ? (z) : (x))
#define MIN(x, z) ((x) > (z) ? (z) : (x))
#define SIGN(x) ((x) > R(0) ? R(1) : (x) < R(0) ? R(-1) : R(0))
#define SIGMOID(x) (R(1) / (R(1) + EXP(-(x))))
#define SOFTPLUS(x) (MAX(x, R(0)) + LOG1P(EXP(-ABS(x))))
/* the argument of GELU's tanh form, and its derivative */
#define GELU_U(x) (R(.7978845608028654) * ((x) + R(.044715) * (x) * (x) * (x)))
#define GELU_DU(x) (R(.7978845608028654) * (R(1) + R(.134145) * (x) * (x)))

#endif
