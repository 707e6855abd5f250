/* The fast contiguous, for views like a transposed matrix: where a column of the view is a run in memory, it
 * is copied square by square, so that each cache line is read and written once.  Views whose rows are runs
 * are left to the plain kernel, which copies them in parallel: ops/copy.c. */
#include "vec.h"

#include "../internal.h"
#include "../ops/strides.h"

enum { SIDE = 16 };

typedef struct job {
    const float *x;
    float *y;
    int64_t rows, cols, x_col, y_row;                 /* of each matrix; its rows lie side by side in x */
    int outer;                                        /* dims of matrices, and their strides */
    int64_t shape[TN_MAX_DIMS], x_stride[TN_MAX_DIMS], y_stride[TN_MAX_DIMS];
    int64_t bands, items, per_task;                   /* bands of SIDE rows: of a matrix, in all, of a task */
} job;

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static void one_band(const job *j, int64_t item)
{
    const int64_t matrix = item / j->bands, row = item % j->bands * SIDE, end = least(row + SIDE, j->rows);
    const float *restrict x = j->x + tn__offset(j->outer, j->shape, j->x_stride, matrix);
    float *restrict y = j->y + tn__offset(j->outer, j->shape, j->y_stride, matrix);
    for (int64_t col = 0; col < j->cols; col += SIDE)
        for (int64_t r = row; r < end; r++)
            for (int64_t c = col; c < least(col + SIDE, j->cols); c++)
                y[r * j->y_row + c] = x[r + c * j->x_col];
}

static void some_bands(void *arg, int64_t i, int worker)
{
    const job *j = arg;
    (void)worker;
    for (int64_t item = i * j->per_task; item < least((i + 1) * j->per_task, j->items); item++)
        one_band(j, item);
}

tn_done TN_K(fast_contiguous)(const tn_call *c)
{
    const tn_tensor *x = c->in[0], *y = c->out[0];
    const int last = x->ndim - 1;
    int side = last - 1; /* the dim whose steps in x are 1 */
    while (side >= 0 && (x->stride[side] != 1 || x->shape[side] == 1))
        side--;
    if (side < 0 || x->dtype != TN_F32 || tn_numel(x) == 0 || x->stride[last] == 1)
        return TN_DECLINED;
    job j = {.x = tn__data(x), .y = tn__data(y), .rows = x->shape[side], .cols = x->shape[last],
             .x_col = x->stride[last], .y_row = y->stride[side]};
    for (int d = 0; d < last; d++)
        if (d != side) {
            j.shape[j.outer] = x->shape[d];
            j.x_stride[j.outer] = x->stride[d];
            j.y_stride[j.outer++] = y->stride[d];
        }
    j.bands = (j.rows + SIDE - 1) / SIDE;
    j.items = tn_numel(x) / (j.rows * j.cols) * j.bands;
    j.per_task = TN_GRAIN / (SIDE * j.cols) + 1;
    tn__parallel((j.items + j.per_task - 1) / j.per_task, some_bands, &j);
    return TN_DONE;
}
