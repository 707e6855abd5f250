/* Softmax and its logarithm on CUDA, and their gradients: rows along the last axis (../ops/softmax.c). */
#include "launch.h"
#include "reduce.h"

template <int W, bool RUN>
static __global__ void forward(const float *x, float *y, int64_t rows, int64_t cols, bool logarithm)
{
    K_SHARED(float, room, K_WARPS);
    K_EACH_ROW(row, rows) {
        const float *from = x + row * cols;
        const float most = k_row_max<W, RUN>(from, cols, room);
        const float sum = k_row_exp_sum<W, RUN>(from, cols, most, room), log_sum = logf(sum), share = 1 / sum;
        K_EACH_FOUR(j, cols) {
            k_four v = k_load<RUN>(from + j, cols - j, 0);
            for (int e = 0; e < 4; e++)
                v.v[e] = logarithm ? v.v[e] - most - log_sum : expf(v.v[e] - most) * share;
            k_store<RUN>(y + row * cols + j, cols - j, v);
        }
    }
}

/* dx = y (g - sum of g y); of the logarithm dx = g - exp(y) sum of g. */
template <int W, bool RUN>
static __global__ void backward(const float *y, const float *g, float *dx, int64_t rows, int64_t cols, bool logarithm)
{
    K_SHARED(float, room, K_WARPS);
    K_EACH_ROW(row, rows) {
        const int64_t at = row * cols;
        float sum = 0;
        K_EACH_FOUR(j, cols) {
            const k_four a = k_load<RUN>(y + at + j, cols - j, 0), d = k_load<RUN>(g + at + j, cols - j, 0);
            for (int e = 0; e < 4; e++)
                sum += logarithm ? d.v[e] : d.v[e] * a.v[e];
        }
        sum = k_all<W, k_sum>(sum, room);
        K_EACH_FOUR(j, cols) {
            const k_four a = k_load<RUN>(y + at + j, cols - j, 0);
            k_four d = k_load<RUN>(g + at + j, cols - j, 0);
            for (int e = 0; e < 4; e++)
                d.v[e] = logarithm ? d.v[e] - expf(a.v[e]) * sum : a.v[e] * (d.v[e] - sum);
            k_store<RUN>(dx + at + j, cols - j, d);
        }
    }
}

static int64_t rows_of(const tn_tensor *x, int64_t *cols)
{
    *cols = x->shape[x->ndim - 1];
    return *cols ? tn__cuda_count(x) / *cols : 0;
}

static int go_forward(const tn_call *c, tn__cuda_work *w, bool logarithm)
{
    const float *x = (const float *)tn__cuda_data(c->in[0]);
    float *y = (float *)tn__cuda_data(c->out[0]);
    int64_t cols;
    const int64_t rows = rows_of(c->in[0], &cols);
    return K_LAUNCH_ROWS(forward, k_fours(cols, x, y), rows, cols, w->stream, x, y, rows, cols, logarithm);
}

static int go_backward(const tn_call *c, tn__cuda_work *w, bool logarithm)
{
    const float *y = (const float *)tn__cuda_data(c->in[0]), *g = (const float *)tn__cuda_data(c->in[1]);
    float *dx = (float *)tn__cuda_data(c->out[0]);
    int64_t cols;
    const int64_t rows = rows_of(c->in[0], &cols);
    return K_LAUNCH_ROWS(backward, k_fours(cols, y, g, dx), rows, cols, w->stream, y, g, dx, rows, cols, logarithm);
}

int tn__cuda_softmax(const tn_call *c, tn__cuda_work *w) { return go_forward(c, w, false); }
int tn__cuda_log_softmax(const tn_call *c, tn__cuda_work *w) { return go_forward(c, w, true); }
int tn__cuda_softmax_backward(const tn_call *c, tn__cuda_work *w) { return go_backward(c, w, false); }
int tn__cuda_log_softmax_backward(const tn_call *c, tn__cuda_work *w) { return go_backward(c, w, true); }
