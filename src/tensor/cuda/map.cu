/* Elementwise ops on CUDA: one kernel for each row of ops_map.def and for its derivatives.  The
 * same rows on the CPU: ../map_rows.h. */
#include "kdefs.h"
#include "launch.h"
#include "map_math.h"
#include "walks.h"

typedef struct map_args {
    tn__walk walk;
    void *out;          /* float, or uint8_t of comparisons */
    const float *in[TN_LOOP_MAX - 1];
    float a, b;
} map_args;

enum { EACH = 4 }; /* elements of a thread, all loaded before the first is stored */

/* The inputs' values at element i of the output. */
template <int N> static __device__ void load(const map_args &m, uint32_t i, float *v)
{
    int64_t at[N];
    walk_to<1>(m.walk, i, at);
    for (int k = 0; k < N; k++)
        v[k] = m.in[k][at[k]];
}

template <class Row> static __global__ void map(const __grid_constant__ map_args m)
{
    const int64_t n = m.walk.total, step = (int64_t)gridDim.x * (K_THREADS * EACH);
    typename Row::type *out = (typename Row::type *)m.out;
    for (int64_t i = (int64_t)blockIdx.x * (K_THREADS * EACH) + threadIdx.x; i < n; i += step) {
        float v[EACH][Row::inputs] = {};
        for (int e = 0; e < EACH; e++)
            if (i + e * K_THREADS < n)
                load<Row::inputs>(m, (uint32_t)(i + e * K_THREADS), v[e]);
        for (int e = 0; e < EACH; e++)
            if (i + e * K_THREADS < n)
                out[i + e * K_THREADS] = Row::value(v[e], m.a, m.b);
    }
}

/* A walk too long for 32 bits is cut along its outermost dim, until each piece is short enough. */
template <class Row> static int launch(const map_args &m, void *stream)
{
    if (m.walk.total <= K_COUNT)
        return K_LAUNCH(map<Row>, k_blocks(m.walk.total, K_THREADS * EACH), K_THREADS, stream, m);
    const int64_t rows = m.walk.shape[0] / 2, cut = rows * (m.walk.total / m.walk.shape[0]);
    map_args first = m, rest = m;
    first.walk.shape[0] = rows;
    first.walk.total = cut;
    rest.walk.shape[0] -= rows;
    rest.walk.total -= cut;
    rest.out = (typename Row::type *)m.out + cut;
    for (int k = 0; k < Row::inputs; k++)
        rest.in[k] += rows * m.walk.stride[k + 1][0];
    tn__walk_collapse(&first.walk);
    tn__walk_collapse(&rest.walk);
    const int failed = launch<Row>(first, stream);
    return failed ? failed : launch<Row>(rest, stream);
}

static map_args args_of(const tn_call *c)
{
    const tn__map_attr *attr = (const tn__map_attr *)c->attr;
    const tn_tensor *in[TN_LOOP_MAX - 1];
    map_args m;
    for (int i = 0; i < c->n_in; i++) /* absent inputs are given as g, which is always there */
        in[i] = c->in[i] ? c->in[i] : c->in[c->n_in - 1];
    m.walk = tn__walk_over(c->out[0], c->n_in, in);
    m.out = tn__cuda_data(c->out[0]);
    for (int i = 0; i < c->n_in; i++)
        m.in[i] = (const float *)tn__cuda_data(in[i]);
    m.a = attr ? (float)attr->a : 0;
    m.b = attr ? (float)attr->b : 0;
    return m;
}

/* NAMES says what the formula calls the values v[0], v[1], ... */
#define ROW(name, result, n, NAMES, formula)                                       \
    struct name##_row {                                                            \
        typedef result type;                                                       \
        enum { inputs = n };                                                       \
        static __device__ type value(const float *v, float a, float b)             \
        {                                                                          \
            NAMES                                                                  \
            (void)a, (void)b, (void)v;                                             \
            return (type)(formula);                                                \
        }                                                                          \
    };                                                                             \
    int tn__cuda_##name(const tn_call *c, tn__cuda_work *w)                        \
    {                                                                              \
        return launch<name##_row>(args_of(c), w->stream);                          \
    }

#define ONE const float x = v[0];
#define TWO const float x = v[0], z = v[1];
#define SOURCE_N const float g = v[1];
#define SOURCE_X const float x = v[0], g = v[1];
#define SOURCE_Y const float y = v[0], g = v[1];
#define FOUR                                                   \
    const float x = v[0], z = v[1], y = v[2], g = v[3];        \
    (void)x, (void)z, (void)y;

#define MAP(name, P, reads, y, dx, ...) \
    ROW(name, float, 1, ONE, y)         \
    ROW(name##_backward, float, 2, SOURCE_##reads, dx)
#define BIN(name, reads, y, dx, dz, ...)  \
    ROW(name, float, 2, TWO, y)           \
    ROW(name##_dx, float, 4, FOUR, dx)    \
    ROW(name##_dz, float, 4, FOUR, dz)
#define CMP(name, y) ROW(name, uint8_t, 2, TWO, y)
#include "tenon/ops_map.def"
