/* See halves.h. */
#include "halves.h"

#include "convert.h"
#include "kdefs.h"

struct halves halves;

static __device__ void compare(const float *x, const uint16_t *half, int64_t batches, int64_t batch, int64_t rows,
                               int64_t row, int64_t cols, int64_t col)
{
    for (int64_t t = 0; t < batches; t++)
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < cols; j++) {
                const int64_t at = t * batch + i * row + j * col;
                halves.wrong += half[at] != tn__to_bf16(x[at]);
                halves.right++;
            }
}

static __global__ void look(const __grid_constant__ tn__cuda_product p)
{
    if (p.a_half)
        compare(p.a, p.a_half, p.batch, p.a_batch, p.m, p.a_row, p.k, p.a_col);
    if (p.b_half)
        compare(p.b, p.b_half, p.batch, p.b_batch, p.k, p.b_row, p.n, p.b_col);
}

int halves_look(const tn__cuda_product *p, void *stream) { return K_LAUNCH(look, 1, 1, stream, *p); }
