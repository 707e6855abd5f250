/* The fast sum and mean of contiguous tensors whose reduced axes are neighbours: x [outer, n, inner] over
 * n.  Columns are added in float for a few dozen rows, then in double; a long n is cut in chunks whose sums
 * are added in order, and how it is cut depends on the shape alone.  The plain kernels: ops/reduce.c. */
#include "vec.h"

#include "../attrs.h"
#include "../internal.h"

enum {
    WIDE = 1024,   /* columns that are added side by side */
    BLOCK = 64,    /* rows added in float */
    CHUNK = 65536, /* elements of a task */
    CHUNKS = 32    /* along n at most */
};

typedef struct job {
    const float *x;
    float *y;                    /* [outer, inner] */
    double *parts, scale;        /* parts: [outer, chunks, inner] when there are several chunks */
    int64_t outer, n, inner;
    int64_t width, blocks;       /* of columns */
    int64_t rows, chunks;        /* along n */
    int64_t items, per_task;
} job;

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

/* How many rows are taken side by side, as one wide row, where columns are few: a power of two. */
static int64_t fold_of(int64_t rows, int64_t width)
{
    int64_t fold = 1;
    while (2 * fold * width <= WIDE && 16 * fold <= rows)
        fold *= 2;
    return fold;
}

/* total[j] = the sum of column j */
static void add_columns(const float *x, int64_t rows, int64_t stride, int64_t width, double *restrict total)
{
    float sum[WIDE];
    const int64_t fold = width == stride ? fold_of(rows, width) : 1;
    const int64_t wide = fold * width, step = fold * stride, folded = rows / fold;
    for (int64_t j = 0; j < width; j++)
        total[j] = 0;
    for (int64_t from = 0; from < folded; from += BLOCK) {
        for (int64_t j = 0; j < wide; j++)
            sum[j] = 0;
        for (int64_t r = from; r < least(from + BLOCK, folded); r++) {
            const float *restrict row = x + r * step;
            for (int64_t j = 0; j < wide; j++)
                sum[j] += row[j];
        }
        for (int64_t half = wide / 2; half >= width; half /= 2)
            for (int64_t j = 0; j < half; j++)
                sum[j] += sum[half + j];
        for (int64_t j = 0; j < width; j++)
            total[j] += (double)sum[j];
    }
    for (int64_t r = folded * fold; r < rows; r++)
        for (int64_t j = 0; j < width; j++)
            total[j] += (double)x[r * stride + j];
}

static void one_item(const job *j, int64_t item)
{
    double total[WIDE];
    const int64_t column = item % j->blocks * j->width, chunk = item / j->blocks % j->chunks;
    const int64_t o = item / j->blocks / j->chunks, row = chunk * j->rows;
    const int64_t width = least(j->width, j->inner - column);
    add_columns(j->x + (o * j->n + row) * j->inner + column, least(j->rows, j->n - row), j->inner, width, total);
    for (int64_t i = 0; i < width; i++)
        if (j->parts)
            j->parts[(o * j->chunks + chunk) * j->inner + column + i] = total[i];
        else
            j->y[o * j->inner + column + i] = (float)(total[i] * j->scale);
}

static void some_items(void *arg, int64_t i, int worker)
{
    const job *j = arg;
    (void)worker;
    for (int64_t item = i * j->per_task; item < least((i + 1) * j->per_task, j->items); item++)
        one_item(j, item);
}

static void add_parts(const job *j)
{
    for (int64_t o = 0; o < j->outer; o++)
        for (int64_t i = 0; i < j->inner; i++) {
            double sum = 0;
            for (int64_t c = 0; c < j->chunks; c++)
                sum += j->parts[(o * j->chunks + c) * j->inner + i];
            j->y[o * j->inner + i] = (float)(sum * j->scale);
        }
}

/* Reads x as [outer, n, inner]; false when the reduced axes are not neighbours. */
static bool three_dims(const tn_tensor *x, unsigned axes, job *j)
{
    j->outer = j->n = j->inner = 1;
    bool seen = false;
    for (int d = 0; d < x->ndim; d++) {
        const int64_t size = x->shape[d];
        if (size == 1)
            continue;
        if (!(axes & TN_AXIS(d)))
            *(seen ? &j->inner : &j->outer) *= size;
        else if (j->inner > 1)
            return false;
        else
            j->n *= size;
        seen = seen || axes & TN_AXIS(d);
    }
    return true;
}

static tn_done reduce(const tn_call *c, bool mean)
{
    const tn__reduce_attr *a = c->attr;
    job j = {.x = tn__data(c->in[0]), .y = tn__data(c->out[0])};
    if (!tn_is_contiguous(c->in[0]) || tn_numel(c->in[0]) == 0 || !three_dims(c->in[0], a->axes, &j))
        return TN_DECLINED;
    j.scale = mean ? 1 / (double)j.n : 1;
    j.width = least(j.inner, WIDE);
    j.blocks = (j.inner + j.width - 1) / j.width;
    j.rows = least(j.n, most(CHUNK / j.width, (j.n + CHUNKS - 1) / CHUNKS));
    j.chunks = (j.n + j.rows - 1) / j.rows;
    j.items = j.outer * j.chunks * j.blocks;
    j.per_task = most(1, CHUNK / (j.rows * j.width));
    if (j.chunks > 1 && !(j.parts = tn__scratch((size_t)(j.outer * j.chunks * j.inner) * sizeof *j.parts)))
        return TN_FAILED;
    tn__parallel((j.items + j.per_task - 1) / j.per_task, some_items, &j);
    if (j.parts)
        add_parts(&j);
    tn__scratch_free(j.parts);
    return TN_DONE;
}

tn_done TN_K(fast_sum)(const tn_call *c) { return reduce(c, false); }
tn_done TN_K(fast_mean)(const tn_call *c) { return reduce(c, true); }
