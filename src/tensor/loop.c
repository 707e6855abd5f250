/* See loop.h. */
#include "loop.h"

typedef struct loop {
    tn__walk w;
    char *base[TN_LOOP_MAX];
    size_t size[TN_LOOP_MAX];
    int64_t rows, per_task;                     /* rows in all; rows, or elements of the only row, a task */
    tn__row *row;
    const void *arg;
} loop;

static void one_row(const loop *l, int64_t row, int64_t from, int64_t count)
{
    char *p[TN_LOOP_MAX];
    int64_t s[TN_LOOP_MAX];
    const int inner = l->w.ndim - 1;
    for (int k = 0; k < l->w.n; k++) {
        int64_t offset = from * l->w.stride[k][inner], rest = row;
        for (int i = inner; i-- > 0; rest /= l->w.shape[i])
            offset += rest % l->w.shape[i] * l->w.stride[k][i];
        p[k] = l->base[k] + offset * (int64_t)l->size[k];
        s[k] = l->w.stride[k][inner];
    }
    s[0] = 1;
    l->row(count, p, s, l->arg);
}

static void task(void *arg, int64_t i, int worker)
{
    const loop *l = arg;
    const int64_t length = l->w.shape[l->w.ndim - 1], from = i * l->per_task;
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
    loop l = {.w = tn__walk_over(out, n, operands), .row = row, .arg = arg};
    if (!l.w.total)
        return;
    for (int k = 0; k <= n; k++) {
        const tn_tensor *t = k ? operands[k - 1] : out;
        l.base[k] = tn__data(t);
        l.size[k] = tn_dtype_size(t->dtype);
    }
    const int64_t length = l.w.shape[l.w.ndim - 1];
    l.rows = l.w.total / length;
    l.per_task = l.rows == 1 ? TN_GRAIN : length < TN_GRAIN ? TN_GRAIN / length : 1;
    const int64_t units = l.rows == 1 ? length : l.rows;
    tn__parallel((units + l.per_task - 1) / l.per_task, task, &l);
}
