/* The rows of ops_map.def as kernels, for whatever `real`, map_math.h and MAP_KERNEL(name) are where this
 * is included: plain (ops/map.c) and fast (cpu/map.c).  Operands are those of op.c's table: the output
 * first; then for a value x (and z), for a gradient of MAP what it reads and g, of BIN x, z, y, g. */
#include "loop.h"
#include "map_math.h"

/* Runs BODY for i in [0, n): with unit steps spelled out, so that compilers vectorise the common case. */
#define ROW1(BODY)                                                   \
    if (s[1] == 1)                                                   \
        for (int64_t i = 0; i < n; i++) { const int64_t j = i; BODY } \
    else                                                             \
        for (int64_t i = 0; i < n; i++) { const int64_t j = i * s[1]; BODY }
#define ROW2(BODY)                                                                          \
    if (s[1] == 1 && s[2] == 1)                                                             \
        for (int64_t i = 0; i < n; i++) { const int64_t j = i, k = i; BODY }                \
    else if (s[1] == 1 && s[2] == 0)                                                        \
        for (int64_t i = 0; i < n; i++) { const int64_t j = i, k = 0; BODY }                \
    else                                                                                    \
        for (int64_t i = 0; i < n; i++) { const int64_t j = i * s[1], k = i * s[2]; BODY }

#define NAMES_MAP(SRC)                                                               \
    const real a = (real)((const tn__map_attr *)arg)->a, b = (real)((const tn__map_attr *)arg)->b; \
    const real *SRC = (const real *)(const void *)p[1];                              \
    real *to = (real *)(void *)p[0];                                                 \
    (void)a;                                                                         \
    (void)b;

/* what `reads` names becomes x or y; for N there is only g */
#define SOURCE_N const real x = 0, y = 0; (void)src; (void)j;
#define SOURCE_X const real x = src[j], y = 0;
#define SOURCE_Y const real y = src[j], x = 0;

#define MAP(name, P, reads, value, dx, ...)                                              \
    static void name##_row(int64_t n, char *const *p, const int64_t *s, const void *arg) \
    {                                                                                    \
        NAMES_MAP(src)                                                                   \
        ROW1(const real x = src[j]; to[i] = (value);)                                    \
    }                                                                                    \
    static void name##_d_row(int64_t n, char *const *p, const int64_t *s, const void *arg) \
    {                                                                                    \
        NAMES_MAP(src)                                                                   \
        const real *from = (const real *)(const void *)p[2];                             \
        ROW2(SOURCE_##reads const real g = from[k]; (void)x; (void)y; to[i] = (dx);)     \
    }                                                                                    \
    tn_done MAP_KERNEL(name)(const tn_call *c)                                           \
    {                                                                                    \
        tn__loop(c->out[0], 1, c->in, name##_row, c->attr);                              \
        return TN_DONE;                                                                  \
    }                                                                                    \
    tn_done MAP_KERNEL(name##_backward)(const tn_call *c)                                \
    {                                                                                    \
        tn__loop(c->out[0], 2, c->in, name##_d_row, c->attr);                            \
        return TN_DONE;                                                                  \
    }

/* absent inputs are given as g, which is always there */
#define GRADIENT_BIN(name, d)                                                            \
    static void name##_row(int64_t n, char *const *p, const int64_t *s, const void *arg) \
    {                                                                                    \
        const real *xs = (const real *)(const void *)p[1], *zs = (const real *)(const void *)p[2]; \
        const real *ys = (const real *)(const void *)p[3], *gs = (const real *)(const void *)p[4]; \
        real *to = (real *)(void *)p[0];                                                 \
        (void)arg;                                                                       \
        for (int64_t i = 0; i < n; i++) {                                                \
            const real x = xs[i * s[1]], z = zs[i * s[2]], y = ys[i * s[3]], g = gs[i * s[4]]; \
            (void)x;                                                                     \
            (void)z;                                                                     \
            (void)y;                                                                     \
            to[i] = (d);                                                                 \
        }                                                                                \
    }                                                                                    \
    tn_done MAP_KERNEL(name)(const tn_call *c)                                           \
    {                                                                                    \
        const tn_tensor *in[4];                                                          \
        for (int i = 0; i < 4; i++)                                                      \
            in[i] = c->in[i] ? c->in[i] : c->in[3];                                      \
        tn__loop(c->out[0], 4, in, name##_row, NULL);                                    \
        return TN_DONE;                                                                  \
    }

#define BINARY(name, type, value)                                                        \
    static void name##_row(int64_t n, char *const *p, const int64_t *s, const void *arg) \
    {                                                                                    \
        const real *xs = (const real *)(const void *)p[1], *zs = (const real *)(const void *)p[2]; \
        type *to = (type *)(void *)p[0];                                                 \
        (void)arg;                                                                       \
        ROW2(const real x = xs[j]; const real z = zs[k]; to[i] = (type)(value);)         \
    }                                                                                    \
    tn_done MAP_KERNEL(name)(const tn_call *c)                                           \
    {                                                                                    \
        tn__loop(c->out[0], 2, c->in, name##_row, NULL);                                 \
        return TN_DONE;                                                                  \
    }
#define BIN(name, reads, value, dx, dz, ...) \
    BINARY(name, real, value)                \
    GRADIENT_BIN(name##_dx, dx)              \
    GRADIENT_BIN(name##_dz, dz)
#define CMP(name, value) BINARY(name, uint8_t, value)
#include "tenon/ops_map.def"
