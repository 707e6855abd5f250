/* The fast matmul, and products for other kernels: a product is cut into tiles, and each tile is one
 * single-threaded BLAS call in a task of the pool.  How it is cut depends on its sizes alone, so the bits do not
 * depend on the number of threads.  A product with few elements of many terms, as gradients of weights are,
 * is also cut along its terms; the parts are added in order.  Not affine, whose rows must not know each other:
 * product.c.  The plain kernel that defines the op: ops/matmul.c. */
#include <string.h>

#include "../internal.h"
#include "../ops/strides.h"

enum {
    TILE = 512,          /* sides of a tile at most; half of it costs OpenBLAS 5 % */
    SHORT = 256,         /* a side that is not cut while the terms can be: half of it costs 15 % */
    LEAST = 64,          /* and at least */
    TASKS = 12,          /* wanted, so that each of a few threads has several */
    TERMS = 1024,        /* of a part at least */
    WORTH = 1 << 20      /* multiplications for which a task is worth its while */
};

typedef struct matrix { /* op(t) of a factor, as BLAS sees it */
    const float *data;
    bool transposed;
    int64_t ld, row, col, batch[TN_MAX_DIMS];
} matrix;

typedef struct job {
    tn__product p;
    matrix a, b;
    int lead;                      /* leading dims, of this shape */
    const int64_t *shape;
    float beta, *y, *parts;        /* parts: of all but the first cut along the terms [cuts - 1, batch, m, n] */
    int64_t ldy;                   /* from one row of y to the next; matrices follow each other without a gap */
    int64_t tile_m, tile_n, tile_k;
    int64_t rows, cols, cuts;      /* how many tiles lie along m, n and k */
    int64_t items, per_task;       /* tiles in all, and of one task */
} job;

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* Cuts `size` into the fewest equal pieces of at most `most`, whole vectors long. */
static int64_t even_piece(int64_t size, int64_t most)
{
    return ceil_div(ceil_div(size, ceil_div(size, most)), 16) * 16;
}

static void count_tiles(job *j)
{
    j->rows = ceil_div(j->p.m, j->tile_m);
    j->cols = ceil_div(j->p.n, j->tile_n);
    j->items = j->p.batch * j->rows * j->cols;
}

static void cut(job *j)
{
    const tn__product p = j->p;
    j->tile_m = even_piece(p.m, TILE);
    j->tile_n = even_piece(p.n, TILE);
    for (count_tiles(j); j->items < TASKS; count_tiles(j)) {
        int64_t *side = j->tile_m >= j->tile_n ? &j->tile_m : &j->tile_n;
        if (*side <= LEAST || least(j->tile_m, p.m) * least(j->tile_n, p.n) * p.k <= WORTH)
            break;
        if (*side <= SHORT && j->items * (p.k / TERMS) >= TASKS)
            break;
        *side = even_piece(*side, *side / 2);
    }
    j->cuts = j->items < TASKS ? least(p.k / TERMS, ceil_div(TASKS, j->items)) : 1;
    j->cuts = j->cuts < 1 ? 1 : j->cuts;
    j->tile_k = ceil_div(p.k, j->cuts);
    j->items *= j->cuts;
    const int64_t work = least(j->tile_m, p.m) * least(j->tile_n, p.n) * j->tile_k;
    j->per_task = work >= WORTH ? 1 : WORTH / (work < 1 ? 1 : work);
}

static const float *start(const job *j, const matrix *f, int64_t batch, int64_t row, int64_t col)
{
    return f->data + tn__offset(j->lead, j->shape, f->batch, batch) + row * f->row + col * f->col;
}

static void one_tile(const job *j, int64_t item)
{
    const tn__product p = j->p;
    const int64_t col = item % j->cols * j->tile_n, row = item / j->cols % j->rows * j->tile_m;
    const int64_t batch = item / j->cols / j->rows % p.batch;
    const int64_t part = item / j->cols / j->rows / p.batch, term = part * j->tile_k;
    const int64_t m = least(j->tile_m, p.m - row), n = least(j->tile_n, p.n - col);
    const int64_t k = least(j->tile_k, p.k - term);
    const int64_t ldy = part ? p.n : j->ldy;
    float *all = part ? j->parts + (part - 1) * p.batch * p.m * p.n : j->y;
    float *y = all + (batch * p.m + row) * ldy + col;
    tn__gemm_f32(j->a.transposed, j->b.transposed, m, n, k, 1, start(j, &j->a, batch, row, term), j->a.ld,
                 start(j, &j->b, batch, term, col), j->b.ld, part ? 0 : j->beta, y, ldy);
}

static void some_tiles(void *arg, int64_t i, int worker)
{
    const job *j = arg;
    (void)worker;
    for (int64_t item = i * j->per_task; item < least((i + 1) * j->per_task, j->items); item++)
        one_tile(j, item);
}

static void add_parts(void *arg, int64_t i, int worker)
{
    const job *j = arg;
    const int64_t rows = j->p.batch * j->p.m, n = j->p.n, some = ceil_div(TN_GRAIN, n);
    (void)worker;
    for (int64_t row = i * some; row < least((i + 1) * some, rows); row++)
        for (int64_t part = 0; part < j->cuts - 1; part++) {
            const float *restrict from = j->parts + (part * rows + row) * n;
            float *restrict y = j->y + row * j->ldy;
            for (int64_t col = 0; col < n; col++)
                y[col] += from[col];
        }
}

static tn_done run(job *j)
{
    const int64_t n = j->p.batch * j->p.m * j->p.n;
    if (!n)
        return TN_DONE;
    cut(j);
    if (j->cuts > 1 && !(j->parts = tn__scratch((size_t)((j->cuts - 1) * n) * sizeof *j->parts)))
        return TN_FAILED;
    tn__parallel(ceil_div(j->items, j->per_task), some_tiles, j);
    if (j->parts)
        tn__parallel(ceil_div(j->p.batch * j->p.m, ceil_div(TN_GRAIN, j->p.n)), add_parts, j);
    tn__scratch_free(j->parts);
    return TN_DONE;
}

bool tn__product_f32(bool ta, bool tb, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b,
                     int64_t ldb, float beta, float *c, int64_t ldc)
{
    job j = {.p = {1, m, n, k}, .beta = beta, .y = c, .ldy = ldc};
    j.a = (matrix){.data = a, .transposed = ta, .ld = lda, .row = ta ? 1 : lda, .col = ta ? lda : 1};
    j.b = (matrix){.data = b, .transposed = tb, .ld = ldb, .row = tb ? 1 : ldb, .col = tb ? ldb : 1};
    return run(&j) == TN_DONE;
}

static bool matrix_of(const tn_tensor *t, const tn__factor *f, int64_t rows, int64_t cols, matrix *x)
{
    *x = (matrix){.data = tn__data(t), .row = f->row, .col = f->col};
    memcpy(x->batch, f->batch, sizeof x->batch);
    return tn__blas_layout(rows, cols, f->row, f->col, &x->transposed, &x->ld);
}

tn_kernel tn__fast_matmul; /* as fast.c declares it */

tn_done tn__fast_matmul(const tn_call *c)
{
    const tn__matmul_attr *attr = c->attr;
    const tn_tensor *y = c->out[0];
    job j = {.p = tn__product_of(c), .lead = y->ndim - 2, .shape = y->shape, .y = tn__data(y), .beta = attr->add};
    j.ldy = j.p.n;
    const tn__factor a = tn__factor_of(c->in[0], attr->ta, y), b = tn__factor_of(c->in[1], attr->tb, y);
    if (!matrix_of(c->in[0], &a, j.p.m, j.p.k, &j.a) || !matrix_of(c->in[1], &b, j.p.k, j.p.n, &j.b))
        return TN_DECLINED;
    return run(&j);
}
