/* A linear layer and its cross-entropy in one, for a run of rows at a time: their logits are made, each row's
 * loss is read off them and what the loss's gradient by them is takes their place, then the two products that
 * pass it on follow.  How rows are cut depends on the shape alone, and all that is added is added in order.
 * Definition: src/tensor/ops/linear_loss.c; the products: gemm.c. */
#include <string.h>

#include "rows.h"

#include "../attrs.h"
#include "../internal.h"

enum {
    LOGITS = 4 << 20, /* that are held at once, */
    ROWS = 128        /* but of so many rows at least: the gradient of w is read and written once a run */
};

typedef struct job {
    const tn__cross_entropy_attr *attr;
    const float *x, *w;          /* [rows, dim], [cols, dim] */
    const int64_t *target;       /* of the first row of the run */
    float *z, *dx, *dw;          /* z: [run, cols]; dx, dw: NULL when not wanted */
    double *loss, *nll, share;   /* [run]; of each row's loss in the sum of all */
    int64_t rows, cols, dim, run, most; /* run: rows of one; most: that one may have */
    int64_t here;                       /* rows of this run */
} job;

/* z[j] = exp(z[j] - shift); gives their sum. */
static double exp_in_place(float *z, float shift, int64_t n)
{
    double sum = 0;
    for (int64_t from = 0; from < n; from += ROW_BLOCK) {
        const int64_t end = row_least(from + ROW_BLOCK, n);
        for (int64_t j = from; j < end; j++)
            z[j] = tn__expf(z[j] - shift);
        sum += row_dot(z + from, 0, NULL, end - from);
    }
    return sum;
}

static void one_row(const job *j, int64_t row)
{
    const double eps = j->attr->smoothing;
    const int64_t target = j->target[row];
    float *z = j->z + row * j->cols;
    if (j->attr->ignore && target == j->attr->ignore_index) {
        memset(z, 0, (size_t)j->cols * sizeof *z);
        j->loss[row] = j->nll[row] = 0;
        return;
    }
    const bool wanted = j->dx || j->dw;
    const float most = row_max(z, j->cols);
    const double away = (double)most - (double)z[target];
    const double spread = eps > 0 ? eps / (double)j->cols * row_dot(z, most, NULL, j->cols) : 0;
    const double sum = wanted ? exp_in_place(z, most, j->cols) : row_exp_sum(z, most, j->cols, NULL);
    j->nll[row] = log(sum) + away;
    j->loss[row] = log(sum) + (1 - eps) * away - spread;
    if (!wanted)
        return;
    const float scale = (float)(j->share / sum), floor = (float)(j->share * eps / (double)j->cols);
    for (int64_t k = 0; k < j->cols; k++)
        z[k] = z[k] * scale - floor;
    z[target] -= (float)(j->share * (1 - eps));
}

static void some_rows(void *arg, int64_t i, int worker)
{
    const job *j = arg;
    const int64_t step = rows_per_task(j->cols), end = row_least((i + 1) * step, j->here);
    (void)worker;
    for (int64_t row = i * step; row < end; row++)
        one_row(j, row);
}

/* Rows first..first + n - 1; adds to the sums of losses. */
static bool one_run(job *j, int64_t first, int64_t n, double *loss, double *nll)
{
    const float *x = j->x + first * j->dim;
    if (!tn__product_f32(false, true, n, j->cols, j->dim, x, j->dim, j->w, j->dim, 0, j->z, j->cols))
        return false;
    j->here = n;
    tn__parallel((n + rows_per_task(j->cols) - 1) / rows_per_task(j->cols), some_rows, j);
    for (int64_t row = 0; row < n; row++) {
        *loss += j->loss[row];
        *nll += j->nll[row];
    }
    if (j->dx && !tn__product_f32(false, false, n, j->dim, j->cols, j->z, j->cols, j->w, j->dim, 0,
                                  j->dx + first * j->dim, j->dim))
        return false;
    return !j->dw || tn__product_f32(true, false, j->cols, j->dim, n, j->z, j->cols, x, j->dim,
                                     first > 0 ? 1 : 0, j->dw, j->dim);
}

/* Cuts the rows into the fewest even runs, whole vectors long. */
static int64_t run_length(int64_t rows, int64_t most)
{
    const int64_t runs = (rows + most - 1) / most, even = runs > 0 ? (rows + runs - 1) / runs : 1;
    return row_least((even + 15) / 16 * 16, most);
}

tn_done TN_K(fast_linear_cross_entropy)(const tn_call *c)
{
    const tn__linear_loss_attr *a = c->attr;
    job j = {.attr = &a->loss, .x = tn__data(c->in[0]), .w = tn__data(c->in[1]),
             .dx = a->wanted & 4 ? tn__data(c->out[2]) : NULL, .dw = a->wanted & 8 ? tn__data(c->out[3]) : NULL,
             .rows = tn_numel(c->in[2]), .cols = c->in[1]->shape[0], .dim = c->in[1]->shape[1]};
    const int64_t *target = tn__data(c->in[2]);
    const int64_t counted = tn__targets("linear_cross_entropy", c->in[2], j.cols,
                                        a->loss.ignore ? &a->loss.ignore_index : NULL);
    double loss = 0, nll = 0;
    bool ok = counted >= 0;
    j.share = a->loss.sum || counted == 0 ? 1 : 1 / (double)counted;
    j.most = LOGITS / j.cols > ROWS ? LOGITS / j.cols : ROWS;
    j.run = run_length(j.rows, j.most);
    j.loss = ok ? tn__scratch((size_t)(2 * j.run) * sizeof *j.loss) : NULL;
    j.nll = j.loss ? j.loss + j.run : NULL;
    /* of one size where there are several runs, so that the pool meets it again */
    j.z = j.loss ? tn__scratch((size_t)((j.rows > j.most ? j.most : j.run) * j.cols) * sizeof *j.z) : NULL;
    ok = j.z;
    if (ok && j.dw && j.rows == 0)
        memset(j.dw, 0, (size_t)(j.cols * j.dim) * sizeof *j.dw);
    for (int64_t first = 0; ok && first < j.rows; first += j.run) {
        j.target = target + first;
        ok = one_run(&j, first, row_least(j.run, j.rows - first), &loss, &nll);
    }
    tn__scratch_free(j.z);
    tn__scratch_free(j.loss);
    if (!ok)
        return TN_FAILED;
    *(float *)tn__data(c->out[0]) = (float)(loss * j.share);
    *(float *)tn__data(c->out[1]) = (float)(nll * j.share);
    return TN_DONE;
}
