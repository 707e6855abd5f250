/* Dropout on CUDA: the mask is the CPU's, bit by bit (../ops/dropout.c), because it is a
 * function of key and element alone. */
#include "kdefs.h"
#include "launch.h"
#include "philox.h"

/* One thread draws four words. */
static __global__ void dropout(const float *x, float *y, int64_t n, uint64_t threshold, float scale,
                               tn_rng key)
{
    const int64_t step = (int64_t)gridDim.x * K_THREADS;
    for (int64_t q = (int64_t)blockIdx.x * K_THREADS + threadIdx.x; 4 * q < n; q += step) {
        const tn__philox4 word = tn__philox(key.seed, key.step, (uint64_t)q);
        for (int j = 0; j < 4; j++)
            if (4 * q + j < n)
                y[4 * q + j] = word.v[j] >= threshold ? x[4 * q + j] * scale : 0.0f;
    }
}

int tn__cuda_dropout(const tn_call *c, tn__cuda_work *w)
{
    const tn__dropout_attr *a = (const tn__dropout_attr *)c->attr;
    const uint64_t threshold = a->p < 1 ? tn__drop_threshold(a->p) : UINT64_MAX; /* no word reaches it */
    const int64_t n = tn__cuda_count(c->out[0]);
    return K_LAUNCH(dropout, k_blocks(n, 4 * K_THREADS), K_THREADS, w->stream,
                    (const float *)tn__cuda_data(c->in[0]), (float *)tn__cuda_data(c->out[0]), n,
                    threshold, (float)(1 / (1 - a->p)), a->key);
}
