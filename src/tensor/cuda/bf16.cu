/* f32 to bf16 and back on CUDA, for operands of products and convolutions (tn_set_precision()).
 * Rounding: ../convert.h. */
#include "convert.h"
#include "kdefs.h"
#include "launch.h"

static __global__ void pack(const tn__cuda_matrix m, uint16_t *y)
{
    const int64_t n = m.batch * m.rows * m.cols, step = (int64_t)gridDim.x * K_THREADS;
    for (int64_t i = (int64_t)blockIdx.x * K_THREADS + threadIdx.x; i < n; i += step) {
        const int64_t row = k_quotient(i, m.cols), batch = k_quotient(row, m.rows);
        y[i] = tn__to_bf16(m.at[batch * m.batch_step + (row - batch * m.rows) * m.row_step +
                                (i - row * m.cols) * m.col_step]);
    }
}

/* Without gaps. */
static __global__ void pack_line(const float *x, uint16_t *y, int64_t n)
{
    enum { EACH = 4 };
    const int64_t step = (int64_t)gridDim.x * (K_THREADS * EACH);
    for (int64_t i = (int64_t)blockIdx.x * (K_THREADS * EACH) + threadIdx.x; i < n; i += step) {
        float v[EACH] = {};
        K_UNROLL for (int e = 0; e < EACH; e++)
            if (i + e * K_THREADS < n)
                v[e] = x[i + e * K_THREADS];
        K_UNROLL for (int e = 0; e < EACH; e++)
            if (i + e * K_THREADS < n)
                y[i + e * K_THREADS] = tn__to_bf16(v[e]);
    }
}

static __global__ void widen(const uint16_t *x, float *y, int64_t n)
{
    const int64_t step = (int64_t)gridDim.x * K_THREADS;
    for (int64_t i = (int64_t)blockIdx.x * K_THREADS + threadIdx.x; i < n; i += step)
        y[i] = tn__from_bf16(x[i]);
}

static bool is_line(const tn__cuda_matrix *x)
{
    return (x->batch == 1 || x->batch_step == x->rows * x->cols) && (x->rows == 1 || x->row_step == x->cols) &&
           (x->cols == 1 || x->col_step == 1);
}

int tn__cuda_to_bf16(const tn__cuda_matrix *x, uint16_t *y, void *stream)
{
    const int64_t n = x->batch * x->rows * x->cols;
    if (is_line(x))
        return K_LAUNCH(pack_line, k_blocks(n, 4 * K_THREADS), K_THREADS, stream, x->at, y, n);
    return K_LAUNCH(pack, k_blocks(n, K_THREADS), K_THREADS, stream, *x, y);
}

int tn__cuda_from_bf16(const uint16_t *x, float *y, int64_t n, void *stream)
{
    return K_LAUNCH(widen, k_blocks(n, K_THREADS), K_THREADS, stream, x, y, n);
}
