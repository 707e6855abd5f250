/* f32 to bf16 and back on CUDA, for operands of products and convolutions (tn_set_precision()).
 * Rounding: ../convert.h. */
#include "convert.h"
#include "kdefs.h"
#include "launch.h"

static __global__ void pack(const tn__cuda_matrix m, uint16_t *y)
{
    const int64_t n = m.batch * m.rows * m.cols, step = (int64_t)gridDim.x * K_THREADS;
    for (int64_t i = (int64_t)blockIdx.x * K_THREADS + threadIdx.x; i < n; i += step) {
        const int64_t row = i / m.cols, batch = row / m.rows;
        y[i] = tn__to_bf16(m.at[batch * m.batch_step + (row - batch * m.rows) * m.row_step +
                                (i - row * m.cols) * m.col_step]);
    }
}

static __global__ void widen(const uint16_t *x, float *y, int64_t n)
{
    const int64_t step = (int64_t)gridDim.x * K_THREADS;
    for (int64_t i = (int64_t)blockIdx.x * K_THREADS + threadIdx.x; i < n; i += step)
        y[i] = tn__from_bf16(x[i]);
}

int tn__cuda_to_bf16(const tn__cuda_matrix *x, uint16_t *y, void *stream)
{
    return K_LAUNCH(pack, k_blocks(x->batch * x->rows * x->cols, K_THREADS), K_THREADS, stream, *x, y);
}

int tn__cuda_from_bf16(const uint16_t *x, float *y, int64_t n, void *stream)
{
    return K_LAUNCH(widen, k_blocks(n, K_THREADS), K_THREADS, stream, x, y, n);
}
