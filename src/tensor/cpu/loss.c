/* Cross-entropy and its gradient, in parallel over rows: the logits are read once in each direction
 * and no probabilities are stored.  Definition: src/tensor/ops/loss.c. */
#include <string.h>

#include "rows.h"

#include "../attrs.h"
#include "../internal.h"

typedef struct job {
    const tn__cross_entropy_attr *attr;
    const float *x;
    const int64_t *target;
    float *lse;       /* [rows]: of the exponentials' sum, the logarithm */
    double *loss;     /* [tasks] */
    float *dx, scale; /* backward only */
    int64_t rows, cols;
} job;

static bool ignored(const job *j, int64_t row)
{
    return j->attr->ignore && j->target[row] == j->attr->ignore_index;
}

static double row_loss(const job *j, int64_t row)
{
    const float *x = j->x + row * j->cols;
    const float most = row_max(x, j->cols);
    const double log_sum = log(row_exp_sum(x, most, j->cols, NULL)), eps = j->attr->smoothing;
    j->lse[row] = (float)((double)most + log_sum);
    if (ignored(j, row))
        return 0;
    const double spread = eps > 0 ? eps / (double)j->cols * row_dot(x, most, NULL, j->cols) : 0;
    return log_sum + (1 - eps) * ((double)most - (double)x[j->target[row]]) - spread;
}

static void some_losses(void *arg, int64_t i, int worker)
{
    (void)worker;
    job *j = arg;
    const int64_t step = rows_per_task(j->cols), end = row_least((i + 1) * step, j->rows);
    double sum = 0;
    for (int64_t row = i * step; row < end; row++)
        sum += row_loss(j, row);
    j->loss[i] = sum;
}

static void row_gradient(const job *j, int64_t row)
{
    const float *x = j->x + row * j->cols;
    float *restrict dx = j->dx + row * j->cols;
    if (ignored(j, row)) {
        memset(dx, 0, (size_t)j->cols * sizeof *dx);
        return;
    }
    const float lse = j->lse[row], scale = j->scale,
                floor = (float)(j->attr->smoothing / (double)j->cols);
    for (int64_t k = 0; k < j->cols; k++)
        dx[k] = scale * (tn__expf(x[k] - lse) - floor);
    dx[j->target[row]] -= scale * (float)(1 - j->attr->smoothing);
}

static void some_gradients(void *arg, int64_t i, int worker)
{
    (void)worker;
    const job *j = arg;
    const int64_t step = rows_per_task(j->cols), end = row_least((i + 1) * step, j->rows);
    for (int64_t row = i * step; row < end; row++)
        row_gradient(j, row);
}

static int64_t counted(const job *j, const tn_tensor *target)
{
    return tn__targets("cross_entropy", target, j->cols,
                       j->attr->ignore ? &j->attr->ignore_index : NULL);
}

tn_done TN_K(fast_cross_entropy)(const tn_call *c)
{
    job j = {.attr = c->attr,
             .x = tn__data(c->in[0]),
             .target = tn__data(c->in[1]),
             .lse = tn__data(c->out[1]),
             .rows = tn_numel(c->in[1]),
             .cols = tn_dim(c->in[0], -1)};
    const int64_t step = rows_per_task(j.cols), tasks = (j.rows + step - 1) / step,
                  count = counted(&j, c->in[1]);
    if (count < 0 || !(j.loss = tn__scratch((size_t)(tasks + 1) * sizeof *j.loss)))
        return TN_FAILED;
    tn__parallel(tasks, some_losses, &j);
    double loss = 0;
    for (int64_t i = 0; i < tasks; i++)
        loss += j.loss[i];
    tn__scratch_free(j.loss);
    *(float *)tn__data(c->out[0]) = (float)(j.attr->sum || count == 0 ? loss
                                                                      : loss / (double)count);
    return TN_DONE;
}

tn_done TN_K(fast_cross_entropy_backward)(const tn_call *c)
{
    job j = {.attr = c->attr,
             .x = tn__data(c->in[0]),
             .target = tn__data(c->in[2]),
             .lse = tn__data(c->in[3]),
             .dx = tn__data(c->out[0]),
             .rows = tn_numel(c->in[2]),
             .cols = tn_dim(c->in[0], -1)};
    const int64_t step = rows_per_task(j.cols), count = counted(&j, c->in[2]);
    if (count < 0)
        return TN_FAILED;
    j.scale = *(const float *)tn__data(c->in[1]) / (j.attr->sum || count == 0 ? 1 : (float)count);
    tn__parallel((j.rows + step - 1) / step, some_gradients, &j);
    return TN_DONE;
}
