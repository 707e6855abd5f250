/* Softmax, its logarithm and their gradients, in parallel over rows.  Definition:
 * src/tensor/ops/softmax.c. */
#include "rows.h"

#include "../internal.h"

typedef void row_function(const float *a, const float *b, float *y, int64_t n);

typedef struct job {
    row_function *row;
    const float *a, *b;
    float *y;
    int64_t rows, cols;
} job;

static void some_rows(void *arg, int64_t i, int worker)
{
    (void)worker;
    const job *j = arg;
    const int64_t step = rows_per_task(j->cols), end = row_least((i + 1) * step, j->rows);
    for (int64_t row = i * step; row < end; row++) {
        const int64_t at = row * j->cols;
        j->row(j->a + at, j->b ? j->b + at : NULL, j->y + at, j->cols);
    }
}

static tn_done by_rows(const tn_call *c, row_function *row)
{
    const int64_t n = tn_numel(c->in[0]), cols = tn_dim(c->in[0], -1), rows = cols ? n / cols : 0;
    job j = {
        row, tn__data(c->in[0]), c->n_in > 1 ? tn__data(c->in[1]) : NULL, tn__data(c->out[0]), rows,
        cols};
    const int64_t step = rows_per_task(cols);
    tn__parallel((rows + step - 1) / step, some_rows, &j);
    return TN_DONE;
}

static void softmax(const float *x, const float *none, float *restrict y, int64_t n)
{
    (void)none;
    const float scale = (float)(1 / row_exp_sum(x, row_max(x, n), n, y));
    for (int64_t j = 0; j < n; j++)
        y[j] *= scale;
}

static void softmax_backward(const float *y, const float *g, float *restrict dx, int64_t n)
{
    const float dot = (float)row_dot(y, 0, g, n);
    for (int64_t j = 0; j < n; j++)
        dx[j] = y[j] * (g[j] - dot);
}

static void log_softmax(const float *x, const float *none, float *restrict y, int64_t n)
{
    (void)none;
    const float most = row_max(x, n), log_sum = (float)log(row_exp_sum(x, most, n, NULL));
    for (int64_t j = 0; j < n; j++)
        y[j] = x[j] - most - log_sum;
}

static void log_softmax_backward(const float *y, const float *g, float *restrict dx, int64_t n)
{
    const float sum = (float)row_dot(g, 0, NULL, n);
    for (int64_t j = 0; j < n; j++)
        dx[j] = g[j] - tn__expf(y[j]) * sum;
}

tn_done TN_K(fast_softmax)(const tn_call *c) { return by_rows(c, softmax); }
tn_done TN_K(fast_softmax_backward)(const tn_call *c) { return by_rows(c, softmax_backward); }
tn_done TN_K(fast_log_softmax)(const tn_call *c) { return by_rows(c, log_softmax); }
tn_done TN_K(fast_log_softmax_backward)(const tn_call *c)
{
    return by_rows(c, log_softmax_backward);
}
