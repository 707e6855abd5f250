/* See loop.h. */
#include "loop.h"

typedef struct loop {
    int n, ndim;                                /* operands with the output, dims after collapsing */
    int64_t shape[TN_MAX_DIMS];
    int64_t stride[TN_LOOP_MAX][TN_MAX_DIMS];   /* in elements */
    char *base[TN_LOOP_MAX];
    size_t size[TN_LOOP_MAX];
    int64_t rows, per_task;                     /* rows in all; rows, or elements of the only row, a task */
    tn__row *row;
    const void *arg;
} loop;

static void add_operand(loop *l, int k, const tn_tensor *t, const tn_tensor *out)
{
    const int extra = out->ndim - t->ndim;
    l->base[k] = tn__data(t);
    l->size[k] = tn_dtype_size(t->dtype);
    for (int i = 0; i < out->ndim; i++)
        l->stride[k][i] = i < extra || t->shape[i - extra] == 1 ? 0 : t->stride[i - extra];
}

static bool joins(const loop *l, int outer, int inner)
{
    for (int k = 0; k < l->n; k++)
        if (l->stride[k][outer] != l->stride[k][inner] * l->shape[inner])
            return false;
    return true;
}

/* Leaves out dims of one element and joins neighbours that are one run in every operand. */
static void collapse(loop *l, const tn_tensor *out)
{
    int last = -1;
    l->ndim = out->ndim;
    for (int i = 0; i < out->ndim; i++)
        l->shape[i] = out->shape[i];
    for (int i = 0; i < l->ndim; i++) {
        if (l->shape[i] == 1)
            continue;
        if (last >= 0 && joins(l, last, i)) {
            l->shape[last] *= l->shape[i];
        } else {
            last++;
            l->shape[last] = l->shape[i];
        }
        for (int k = 0; k < l->n; k++)
            l->stride[k][last] = l->stride[k][i];
    }
    l->ndim = last + 1;
    if (!l->ndim) {
        l->ndim = 1;
        l->shape[0] = 1;
        for (int k = 0; k < l->n; k++)
            l->stride[k][0] = 0;
    }
}

static void one_row(const loop *l, int64_t row, int64_t from, int64_t count)
{
    char *p[TN_LOOP_MAX];
    int64_t s[TN_LOOP_MAX];
    const int inner = l->ndim - 1;
    for (int k = 0; k < l->n; k++) {
        int64_t offset = from * l->stride[k][inner], rest = row;
        for (int i = inner; i-- > 0; rest /= l->shape[i])
            offset += rest % l->shape[i] * l->stride[k][i];
        p[k] = l->base[k] + offset * (int64_t)l->size[k];
        s[k] = l->stride[k][inner];
    }
    s[0] = 1;
    l->row(count, p, s, l->arg);
}

static void task(void *arg, int64_t i, int worker)
{
    const loop *l = arg;
    const int64_t length = l->shape[l->ndim - 1], from = i * l->per_task;
    (void)worker;
    if (l->rows == 1) {
        one_row(l, 0, from, from + l->per_task < length ? l->per_task : length - from);
        return;
    }
    for (int64_t r = from; r < from + l->per_task && r < l->rows; r++)
        one_row(l, r, 0, length);
}

void tn__loop(const tn_tensor *out, int n, const tn_tensor *const *operands, tn__row *row, const void *arg)
{
    loop l = {.n = n + 1, .row = row, .arg = arg};
    const int64_t total = tn_numel(out);
    if (!total)
        return;
    add_operand(&l, 0, out, out);
    for (int k = 0; k < n; k++)
        add_operand(&l, k + 1, operands[k], out);
    collapse(&l, out);
    const int64_t length = l.shape[l.ndim - 1];
    l.rows = total / length;
    l.per_task = l.rows == 1 ? TN_GRAIN : length < TN_GRAIN ? TN_GRAIN / length : 1;
    const int64_t units = l.rows == 1 ? length : l.rows;
    tn__parallel((units + l.per_task - 1) / l.per_task, task, &l);
}
