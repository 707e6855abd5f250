/* Dropout on CUDA, alone and behind bias and ReLU: the mask is the CPU's, bit by bit (../ops/dropout.c), because it
 * is a function of key and element alone. */
#include "launch.h"
#include "philox.h"
#include "reduce.h"

struct drop {
    const float *x, *bias; /* bias: NULL is none */
    float *y;
    uint16_t *half;        /* y in bf16; NULL: not wanted */
    int64_t n, cols;
    uint64_t threshold;    /* above any word: all are dropped */
    float scale;
    tn__cuda_key key;
};

/* One thread draws four words. */
template <bool RUN> static __global__ void dropout(const __grid_constant__ drop d)
{
    const tn_rng key = k_key(d.key);
    K_EACH_FOUR_OF_ALL(at, d.n) {
        const tn__philox4 word = tn__philox(key.seed, key.step, (uint64_t)at / 4);
        k_four v = k_load<RUN>(d.x + at, d.n - at, 0);
        for (int e = 0; e < 4; e++)
            v.v[e] = word.v[e] >= d.threshold ? v.v[e] * d.scale : 0;
        k_store<RUN>(d.y, d.half, at, d.n - at, v);
    }
}

template <bool RUN> static __global__ void bias_relu_dropout(const __grid_constant__ drop d)
{
    const tn_rng key = k_key(d.key);
    K_EACH_FOUR_OF_ALL(at, d.n) {
        const tn__philox4 word = tn__philox(key.seed, key.step, (uint64_t)at / 4);
        int64_t col = k_rest(at, d.cols);
        k_four v = k_load<RUN>(d.x + at, d.n - at, 0);
        for (int e = 0; e < 4; e++, col = k_next(col, d.cols)) {
            const float x = d.bias ? v.v[e] + d.bias[col] : v.v[e];
            v.v[e] = x < 0 || word.v[e] < d.threshold ? 0 : x * d.scale;
        }
        k_store<RUN>(d.y, d.half, at, d.n - at, v);
    }
}

template <bool RUN>
static __global__ void bias_relu_dropout_back(const float *y, const float *g, float *dx, uint16_t *half, int64_t n,
                                              float scale)
{
    K_EACH_FOUR_OF_ALL(at, n) {
        const k_four a = k_load<RUN>(y + at, n - at, 0);
        k_four d = k_load<RUN>(g + at, n - at, 0);
        for (int e = 0; e < 4; e++)
            d.v[e] = a.v[e] > 0 ? d.v[e] * scale : 0;
        k_store<RUN>(dx, half, at, n - at, d);
    }
}

static drop drop_of(const tn_call *c, const tn_tensor *bias, tn__cuda_work *w)
{
    const tn__dropout_attr *a = (const tn__dropout_attr *)c->attr;
    const tn_tensor *x = c->in[0];
    return {(const float *)tn__cuda_data(x), (const float *)tn__cuda_data(bias), (float *)tn__cuda_data(c->out[0]),
            tn__cuda_rounded_out(c->out[0], w), tn__cuda_count(x), x->ndim ? x->shape[x->ndim - 1] : 1,
            a->p < 1 ? tn__drop_threshold(a->p) : UINT64_MAX, (float)(1 / (1 - a->p)), {a->key, w->drawn}};
}

int tn__cuda_dropout(const tn_call *c, tn__cuda_work *w)
{
    const drop d = drop_of(c, NULL, w);
    return K_LAUNCH_ALL(dropout, k_fours(d.n, d.x, d.y), d.n, w->stream, d);
}

int tn__cuda_bias_relu_dropout(const tn_call *c, tn__cuda_work *w)
{
    const drop d = drop_of(c, c->in[1], w);
    return K_LAUNCH_ALL(bias_relu_dropout, k_fours(d.n, d.x, d.y), d.n, w->stream, d);
}

int tn__cuda_bias_relu_dropout_backward(const tn_call *c, tn__cuda_work *w)
{
    const tn__dropout_attr *a = (const tn__dropout_attr *)c->attr;
    const float *y = (const float *)tn__cuda_data(c->in[0]), *g = (const float *)tn__cuda_data(c->in[1]);
    float *dx = (float *)tn__cuda_data(c->out[0]);
    const int64_t n = tn__cuda_count(c->in[0]);
    return K_LAUNCH_ALL(bias_relu_dropout_back, k_fours(n, y, g, dx), n, w->stream, y, g, dx,
                        tn__cuda_rounded_out(c->out[0], w), n, (float)(1 / (1 - a->p)));
}
