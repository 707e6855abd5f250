/* Gradients of ops that choose elements by index or mask. */
#include "rules.h"

/* Zeros beside g, of its dtype and device. */
static tn_tensor *zeros(const tn_tensor *g, int ndim, const int64_t *shape)
{
    tn_tensor *t = tn__tensor_on(g->storage->backend, g->storage->device, g->dtype, ndim, shape);
    return tn_fill_(t, 0) ? t : NULL;
}

/* ---- embed ---- */

/* A set of rows as bits; before: how many are in the words in front of each. */
typedef struct row_set {
    int64_t words, n, *row; /* the rows, ascending [n] */
    uint64_t *bits;
    int64_t *before;
} row_set;

static bool set_of(row_set *s, int64_t rows, int64_t n, const int64_t *index)
{
    s->words = rows / 64 + 1;
    s->bits = tn__alloc((size_t)s->words * sizeof *s->bits);
    s->before = tn__alloc((size_t)s->words * sizeof *s->before);
    s->row = tn__alloc((size_t)n * sizeof *s->row);
    if (!s->bits || !s->before || !s->row)
        return false;
    for (int64_t i = 0; i < n; i++)
        s->bits[index[i] / 64] |= (uint64_t)1 << (index[i] % 64);
    for (int64_t w = 0; w < s->words; w++) {
        s->before[w] = s->n;
        for (uint64_t left = s->bits[w]; left; left &= left - 1)
            s->row[s->n++] = 64 * w + __builtin_ctzll(left);
    }
    return true;
}

static void set_free(row_set *s)
{
    tn__free(s->bits);
    tn__free(s->before);
    tn__free(s->row);
}

static int64_t place_of(const row_set *s, int64_t row)
{
    const uint64_t below = ((uint64_t)1 << (row % 64)) - 1;
    return s->before[row / 64] + __builtin_popcountll(s->bits[row / 64] & below);
}

typedef struct addition {
    float *to;
    const float *from;
    const int64_t *row;
    int64_t dim;
} addition;

static void add_row(void *arg, int64_t i, int worker)
{
    const addition *a = arg;
    const float *from = a->from + i * a->dim;
    float *to = a->to + a->row[i] * a->dim;
    (void)worker;
    for (int64_t j = 0; j < a->dim; j++)
        to[j] += from[j];
}

/* The place of each looked-up row in the set, as a tensor like index. */
static tn_tensor *places_in(const row_set *s, tn_tensor *index)
{
    tn_tensor *places = tn_like(index);
    const int64_t *from = tn_i64(index);
    int64_t *to = tn_i64(places);
    for (int64_t i = 0, n = to ? tn_numel(index) : 0; i < n; i++)
        to[i] = place_of(s, from[i]);
    return places;
}

/* The rows that were looked up get their sums, in the order of embed_backward; the others are not touched. */
static bool add_rows(tn_tensor *grad, tn_tensor *g, tn_tensor *index)
{
    const int64_t rows = grad->shape[0], n = tn_numel(index);
    row_set set = {0};
    tn_tensor *sums = NULL;
    if (index && tn__index_ok("embed_backward", index, rows) && set_of(&set, rows, n, tn__data(index))) {
        const tn__axis_attr a = {.size = set.n};
        sums = tn_apply(TN_OP(embed_backward), &a, sizeof a, 2, (tn_tensor *[]){g, places_in(&set, index)});
    }
    if (sums) {
        grad->storage->guard->rows(grad->storage->guard, grad, set.n, set.row);
        grad->storage->version++;
        tn__parallel(set.n, add_row, &(addition){tn__data(grad), tn__data(sums), set.row, sums->shape[1]});
    }
    set_free(&set);
    return sums != NULL;
}

/* Whether somebody looks at this gradient row by row. */
static bool by_rows(const tn_tensor *grad)
{
    return grad && grad->storage->guard && grad->storage->guard->rows(grad->storage->guard, grad, 0, NULL);
}

bool tn__rule_embed(tn_back *b)
{
    tn__axis_attr a = {.size = b->in[0]->shape[0], .add = true};
    tn_tensor *in[] = {b->g, b->in[1]};
    if (by_rows(b->onto[0]))
        return add_rows(b->onto[0], b->g, tn_contiguous(tn_cast(b->in[1], TN_I64)));
    if (tn__added_in_kernels(b->onto[0]))
        return tn__apply_onto(TN_OP(embed_backward), &a, 2, in, b->onto[0]);
    a.add = false;
    b->d[0] = tn_apply(TN_OP(embed_backward), &a, sizeof a, 2, in);
    return b->d[0];
}

bool tn__rule_gather(tn_back *b)
{
    const tn__axis_attr *a = b->attr;
    b->d[0] = tn_scatter_add(zeros(b->g, b->in[0]->ndim, b->in[0]->shape), a->axis, b->in[1], b->g);
    return b->d[0];
}

bool tn__rule_scatter_add(tn_back *b)
{
    const tn__axis_attr *a = b->attr;
    b->d[0] = b->g;
    if (b->needs[2])
        b->d[2] = tn_gather(b->g, a->axis, b->in[1]);
    return !b->needs[2] || b->d[2];
}

bool tn__rule_where(tn_back *b)
{
    tn_tensor *zero = zeros(b->g, 0, NULL);
    if (b->needs[1])
        b->d[1] = tn_where(b->in[0], b->g, zero);
    if (b->needs[2])
        b->d[2] = tn_where(b->in[0], zero, b->g);
    return (!b->needs[1] || b->d[1]) && (!b->needs[2] || b->d[2]);
}
