/* What is done to integers of sequences one after the other, on CUDA: shift and positions, a block for each sequence
 * and for so many rows, of which it writes those outside all sequences.  The same on the CPU: ../ops/sequence.c. */
#include "spans.h"

/* Blocks for spans, and for K_THREADS rows. */
static __host__ __device__ int64_t shares(const span_list &l) { return l.n + (l.rows + K_THREADS - 1) / K_THREADS; }

/* The row that a thread looks at in a block's share of rows; -1: it is in a span. */
static __device__ int64_t row_outside(const span_list &l, int64_t share)
{
    const int lane = (int)threadIdx.x % SPAN_ROWS;
    const int64_t row = (share - l.n) * K_THREADS + threadIdx.x;
    return span_rest(l, row - lane) >> lane & 1 ? row : -1;
}

static __global__ void shift(const __grid_constant__ span_list spans, const int64_t *x, int64_t *y, int64_t first)
{
    for (int64_t share = blockIdx.x; share < shares(spans); share += gridDim.x)
        if (share >= spans.n) {
            const int64_t row = row_outside(spans, share);
            if (row >= 0)
                y[row] = x[row];
        } else if (span_sound(spans, share)) {
            const int64_t from = spans.at[2 * share], count = spans.at[2 * share + 1];
            for (int64_t i = threadIdx.x; i < count; i += K_THREADS)
                y[from + i] = i ? x[from + i - 1] : first;
        }
}

static __global__ void positions(const __grid_constant__ span_list spans, int64_t *y)
{
    for (int64_t share = blockIdx.x; share < shares(spans); share += gridDim.x)
        if (share >= spans.n) {
            const int64_t row = row_outside(spans, share);
            if (row >= 0)
                y[row] = 0;
        } else if (span_sound(spans, share)) {
            for (int64_t i = threadIdx.x; i < spans.at[2 * share + 1]; i += K_THREADS)
                y[spans.at[2 * share] + i] = i;
        }
}

static span_list spans_of(const tn_tensor *t, int64_t rows, const tn__cuda_work *w)
{
    const span_list l = {(const int64_t *)tn__cuda_data(t), t->shape[0], rows, 1, w->watch};
    return l;
}

int tn__cuda_shift(const tn_call *c, tn__cuda_work *w)
{
    const tn__sequence_attr *a = (const tn__sequence_attr *)c->attr;
    const span_list spans = spans_of(c->in[1], c->in[0]->shape[0], w);
    const int64_t *x = (const int64_t *)tn__cuda_data(c->in[0]);
    int64_t *y = (int64_t *)tn__cuda_data(c->out[0]);
    return K_LAUNCH(shift, k_blocks(shares(spans), 1), K_THREADS, w->stream, spans, x, y, a->first);
}

int tn__cuda_positions(const tn_call *c, tn__cuda_work *w)
{
    const tn__sequence_attr *a = (const tn__sequence_attr *)c->attr;
    const span_list spans = spans_of(c->in[0], a->rows, w);
    int64_t *y = (int64_t *)tn__cuda_data(c->out[0]);
    return K_LAUNCH(positions, k_blocks(shares(spans), 1), K_THREADS, w->stream, spans, y);
}
