/* Conversion between dtypes, element by element: one loop for each pair. */
#include "internal.h"

#define TO_F32(x) ((float)(x))
#define TO_F64(x) ((double)(x))
#define TO_BF16(x) tn__to_bf16((float)(x))
#define TO_F16(x) tn__to_f16((float)(x))
#define TO_I32(x) TO_INTEGER(x, i32)
#define TO_I64(x) TO_INTEGER(x, i64)
#define TO_U8(x) TO_INTEGER(x, u8)
#define TO_INTEGER(x, name) _Generic((x), float: name##_of_real, double: name##_of_real, default: name##_of_whole)(x)
#define FROM_F32(x) (x)
#define FROM_F64(x) (x)
#define FROM_BF16(x) tn__from_bf16(x)
#define FROM_F16(x) tn__from_f16(x)
#define FROM_I32(x) (x)
#define FROM_I64(x) (x)
#define FROM_U8(x) (x)

/* Reals out of range become the nearest integer there is, NaN becomes 0; integers wrap. */
#define INTEGER(name, type, lo, hi)                                                       \
    static inline type name##_of_real(double x)                                           \
    {                                                                                     \
        return x >= (double)(hi) ? (hi) : x <= (double)(lo) ? (lo) : x == x ? (type)x : 0; \
    }                                                                                     \
    static inline type name##_of_whole(int64_t x) { return (type)x; }
INTEGER(i32, int32_t, INT32_MIN, INT32_MAX)
INTEGER(i64, int64_t, INT64_MIN, INT64_MAX)
INTEGER(u8, uint8_t, 0, UINT8_MAX)

typedef float type_F32;
typedef double type_F64;
typedef uint16_t type_BF16, type_F16;
typedef int32_t type_I32;
typedef int64_t type_I64;
typedef uint8_t type_U8;

/* DTYPES with the source given: an X-macro cannot nest in itself. */
#define EACH_TARGET(X, from) \
    X(from, F32) X(from, F64) X(from, BF16) X(from, F16) X(from, I32) X(from, I64) X(from, U8)
#define EACH_PAIR(X)                                                                       \
    EACH_TARGET(X, F32) EACH_TARGET(X, F64) EACH_TARGET(X, BF16) EACH_TARGET(X, F16)       \
    EACH_TARGET(X, I32) EACH_TARGET(X, I64) EACH_TARGET(X, U8)

#define PAIR(from, to)                                                                     \
    static void from##_to_##to(const void *x, void *y, int64_t n)                          \
    {                                                                                      \
        const type_##from *a = x;                                                          \
        type_##to *b = y;                                                                  \
        for (int64_t i = 0; i < n; i++)                                                    \
            b[i] = TO_##to(FROM_##from(a[i]));                                             \
    }
EACH_PAIR(PAIR)

static void (*const convert[TN_DTYPE_COUNT][TN_DTYPE_COUNT])(const void *, void *, int64_t) = {
#define ENTRY(from, to) [TN_##from][TN_##to] = from##_to_##to,
    EACH_PAIR(ENTRY)
};

void tn__convert(const void *x, tn_dtype from, void *y, tn_dtype to, int64_t n)
{
    convert[from][to](x, y, n);
}
