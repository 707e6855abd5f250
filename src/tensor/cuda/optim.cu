/* The rows of optim.def as CUDA kernels, one pass over a run of the slabs.  Compiled without fused
 * multiply-adds and with subnormal numbers as zeros (cmake/cuda.cmake), so that the bits are those of the CPU
 * (../cpu/rules.c, ../subnormals.h). */
#include "kdefs.h"
#include "launch.h"
#include "map_math.h"

/* States that a row lacks are never touched: `states` is a constant. */
#define RULE(name, states, knobs, defaults, scalars, falls, ...)                                   \
    static __global__ void name##_row(const __grid_constant__ tn__rule_call c)                     \
    {                                                                                              \
        K_FLUSH_SUBNORMALS                                                                         \
        const float k0 = c.k[0], k1 = c.k[1], k2 = c.k[2], k3 = c.k[3], k4 = c.k[4];               \
        const float k5 = c.k[5], k6 = c.k[6], k7 = c.k[7], k8 = c.k[8], k9 = c.k[9];               \
        (void)k0, (void)k1, (void)k2, (void)k3, (void)k4;                                          \
        (void)k5, (void)k6, (void)k7, (void)k8, (void)k9;                                          \
        const int64_t step = (int64_t)gridDim.x * K_THREADS;                                       \
        for (int64_t i = (int64_t)blockIdx.x * K_THREADS + threadIdx.x; i < c.n; i += step) {      \
            float p = c.p[i], g = c.g[i];                                                          \
            float s0 = (states) > 0 ? c.s[0][i] : 0, s1 = (states) > 1 ? c.s[1][i] : 0;            \
            float s2 = (states) > 2 ? c.s[2][i] : 0;                                               \
            __VA_ARGS__;                                                                           \
            c.p[i] = p;                                                                            \
            c.g[i] = 0;                                                                            \
            if ((states) > 0)                                                                      \
                c.s[0][i] = s0;                                                                    \
            if ((states) > 1)                                                                      \
                c.s[1][i] = s1;                                                                    \
            if ((states) > 2)                                                                      \
                c.s[2][i] = s2;                                                                    \
        }                                                                                          \
    }                                                                                              \
    static int name##_launch(const tn__rule_call *c, void *stream)                                 \
    {                                                                                              \
        return K_LAUNCH(name##_row, k_blocks(c->n, K_THREADS), K_THREADS, stream, *c);             \
    }
#include "tenon/optim.def"

int tn__cuda_rule(const tn__rule_call *c, void *stream)
{
    static int (*const rows[TN_RULE_COUNT])(const tn__rule_call *, void *) = {
#define RULE(name, ...) name##_launch,
#include "tenon/optim.def"
    };
    return rows[c->rule](c, stream);
}
