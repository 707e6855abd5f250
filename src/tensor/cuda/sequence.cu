/* What is done to integers of sequences one after the other, on CUDA: shift and positions, a block for each sequence.
 * The same on the CPU: ../ops/sequence.c. */
#include "spans.h"

static __global__ void shift(const __grid_constant__ span_list spans, const int64_t *x, int64_t *y, int64_t first)
{
    K_SHARED(int64_t, room, K_THREADS);
    for (int64_t s = blockIdx.x; s < spans.n; s += gridDim.x) {
        if (!span_sound(spans, s, room))
            continue;
        const int64_t from = spans.at[2 * s], count = spans.at[2 * s + 1];
        for (int64_t i = threadIdx.x; i < count; i += K_THREADS)
            y[from + i] = i ? x[from + i - 1] : first;
    }
}

static __global__ void positions(const __grid_constant__ span_list spans, int64_t *y)
{
    K_SHARED(int64_t, room, K_THREADS);
    for (int64_t s = blockIdx.x; s < spans.n; s += gridDim.x) {
        if (!span_sound(spans, s, room))
            continue;
        for (int64_t i = threadIdx.x; i < spans.at[2 * s + 1]; i += K_THREADS)
            y[spans.at[2 * s] + i] = i;
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
    const int failed = tn__cuda_copy(y, x, (size_t)spans.rows * sizeof *y, w);
    return failed ? failed : K_LAUNCH(shift, k_blocks(spans.n, 1), K_THREADS, w->stream, spans, x, y, a->first);
}

int tn__cuda_positions(const tn_call *c, tn__cuda_work *w)
{
    const tn__sequence_attr *a = (const tn__sequence_attr *)c->attr;
    const span_list spans = spans_of(c->in[0], a->rows, w);
    int64_t *y = (int64_t *)tn__cuda_data(c->out[0]);
    const int failed = tn__cuda_zero(y, (size_t)a->rows * sizeof *y, w);
    return failed ? failed : K_LAUNCH(positions, k_blocks(spans.n, 1), K_THREADS, w->stream, spans, y);
}
