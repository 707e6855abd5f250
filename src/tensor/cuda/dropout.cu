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

int tn__cuda_dropout(const float *x, float *y, int64_t n, double p, tn_rng key, void *stream)
{
    const uint64_t threshold = p < 1 ? tn__drop_threshold(p) : UINT64_MAX; /* no word reaches it */
    return K_LAUNCH(dropout, k_blocks(n, 4 * K_THREADS), K_THREADS, stream, x, y, n, threshold,
                    (float)(1 / (1 - p)), key);
}
