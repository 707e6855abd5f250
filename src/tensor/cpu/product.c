/*
 * The matrix product of linear layers, y = x w^T + bias, whose rows do not know each other: an element of y
 * depends on its row of x, its row of w and its bias alone, bit by bit. A sentence gives the same
 * numbers in a batch of one and of many, and a token decoded with cached keys those of a whole pass. Libraries of
 * matrix products do not promise that: their kernels for the edges add in another order.
 *
 * Every element is the bias plus, block after block of terms, one sum over that block in the order of its
 * terms. How long the blocks are depends on the number of terms only; how y is cut into tiles depends on
 * anything, since no bit depends on it.
 *
 *   panel   up to MR rows of x, or NR rows of w (columns of y), put side by side: for each term the
 *           panel's values lie together. Missing ones are left as they are and what comes of them is
 *           thrown away.
 *   tile    the MR x NR elements of y of two panels, which live in registers.
 *   group   panels of w that a task packs for itself; part: panels of x that it meets.
 *
 * Not matmul, which is gemm.c's; the plain kernel that defines the op: ops/matmul.c.
 */
#include <string.h>

#include "vec.h"

#include "../internal.h"

enum {
    NR = 2 * TN_VEC,
    MR = TN_VEC == 16 ? 12 : TN_VEC == 8 ? 6 : 4, /* the tile, a panel's two vectors and one factor: all registers */
    DEPTH = 512,        /* terms of a block at most: NR of them fill the first cache */
    CHUNK = 96 / MR,    /* panels of x that stay in the second cache while a group of w meets them */
    PART = 1008 / MR,   /* of a part at most: w is packed once for each part */
    LEAST = 240 / MR,   /* and at least */
    GROUP = 4,          /* panels of w in a group at most */
    ROUND = 1 << 22,    /* floats of x that are packed at a time */
    PACKING = 6,        /* multiplications that take as long as to pack one element */
    WORTH = 1 << 20,    /* multiplications for which a task is worth its while */
};

typedef struct job {
    int64_t m, n, k;
    const float *x, *w, *bias;     /* [m, k], [n, k], [n] or NULL */
    float *y;                      /* [m, n] */
    int64_t panels, rows, larger;  /* of x; rows of one, and how many first ones have one more */
    int64_t depth, blocks;         /* terms of a block, but maybe of the last */
    int64_t begin, end;            /* panels of this round */
    int64_t part, group;           /* panels of a part and of a group */
    int64_t parts, groups, items, per_task;
    int64_t packs;                 /* panels of x that a task packs */
    float *packed_x;               /* of this round: [blocks][panels][terms][MR] */
    float *packed_w;               /* of each worker: [group][terms][NR] */
} job;

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* The fewest equal pieces of at most `limit`: the size of one. */
static int64_t even(int64_t size, int64_t limit) { return ceil_div(size, most(ceil_div(size, limit), 1)); }

/* ---- the tile ---- */

typedef struct tile {
    const float *x, *w;     /* panels */
    int64_t terms;
    const float *from;      /* what the sums are added to */
    int64_t from_step;      /* from one row to the next: 0 for a bias */
    float *y;
    int64_t step;
} tile;

TN_INLINE void multiply(int rows, const tile *t)
{
    vf sum[MR][2];
    const float *x = t->x, *w = t->w;
    TN_UNROLL for (int i = 0; i < rows; i++)
        sum[i][0] = sum[i][1] = (vf){0};
    for (int64_t k = t->terms; k > 0; k--, x += MR, w += NR) {
        const vf w0 = tn__load(w), w1 = tn__load(w + TN_VEC);
        TN_UNROLL for (int i = 0; i < rows; i++) {
            const vf s = tn__splat(x[i]);
            sum[i][0] += s * w0;
            sum[i][1] += s * w1;
        }
    }
    TN_UNROLL for (int i = 0; i < rows; i++) {
        const float *from = t->from + i * t->from_step;
        float *y = t->y + i * t->step;
        const vf y0 = tn__load(from) + sum[i][0], y1 = tn__load(from + TN_VEC) + sum[i][1];
        tn__store(y, y0);
        tn__store(y + TN_VEC, y1);
    }
}

#if TN_VEC == 16
#define UP_TO_MR(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12)
#elif TN_VEC == 8
#define UP_TO_MR(X) X(1) X(2) X(3) X(4) X(5) X(6)
#else
#define UP_TO_MR(X) X(1) X(2) X(3) X(4)
#endif
#define FUNCTION(n) static void multiply_##n(const tile *t) { multiply(n, t); }
UP_TO_MR(FUNCTION)
#define NAME(n) multiply_##n,
static void (*const multiply_rows[MR])(const tile *) = {UP_TO_MR(NAME)};

/* A tile of fewer than NR columns goes through a whole one. */
static void narrow(int64_t rows, int64_t columns, const tile *t)
{
    float whole[MR * NR] = {0};
    tile bounce = *t;
    bounce.from = bounce.y = whole;
    bounce.from_step = bounce.step = NR;
    for (int64_t i = 0; i < rows; i++)
        memcpy(whole + i * NR, t->from + i * t->from_step, (size_t)columns * sizeof *whole);
    multiply_rows[rows - 1](&bounce);
    for (int64_t i = 0; i < rows; i++)
        memcpy(t->y + i * t->step, whole + i * NR, (size_t)columns * sizeof *whole);
}

/* ---- packing ---- */

typedef float four __attribute__((vector_size(16)));
typedef float four_unaligned __attribute__((vector_size(16), aligned(4), may_alias));

TN_INLINE four load_four(const float *p) { return *(const four_unaligned *)p; }
TN_INLINE void store_four(float *p, four v) { *(four_unaligned *)p = v; }

/* Four rows from `from` on, `ld` apart, into four columns of a panel `width` wide. */
TN_INLINE void pack_four(int width, int64_t terms, const float *from, int64_t ld, float *to)
{
    int64_t k = 0;
    for (; k + 4 <= terms; k += 4, to += 4 * width) {
        const four a = load_four(from + k), b = load_four(from + ld + k);
        const four c = load_four(from + 2 * ld + k), d = load_four(from + 3 * ld + k);
        const four ab0 = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab1 = __builtin_shufflevector(a, b, 2, 6, 3, 7);
        const four cd0 = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd1 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
        store_four(to, __builtin_shufflevector(ab0, cd0, 0, 1, 4, 5));
        store_four(to + width, __builtin_shufflevector(ab0, cd0, 2, 3, 6, 7));
        store_four(to + 2 * width, __builtin_shufflevector(ab1, cd1, 0, 1, 4, 5));
        store_four(to + 3 * width, __builtin_shufflevector(ab1, cd1, 2, 3, 6, 7));
    }
    for (; k < terms; k++, to += width)
        for (int i = 0; i < 4; i++)
            to[i] = from[i * ld + k];
}

/* `rows` of width rows; the last four overlap those before them where they are not a multiple. */
TN_INLINE void pack(int width, int64_t rows, int64_t terms, const float *from, int64_t ld, float *to)
{
    if (rows < 4) {
        for (int64_t k = 0; k < terms; k++)
            for (int64_t i = 0; i < width; i++)
                to[k * width + i] = i < rows ? from[i * ld + k] : 0;
        return;
    }
    for (int64_t k = 0; k < terms && rows < width; k++)
        memset(to + k * width + rows, 0, (size_t)(width - rows) * sizeof *to);
    for (int64_t i = 0; i < rows; i += 4) {
        const int64_t at = least(i, rows - 4);
        pack_four(width, terms, from + at * ld, ld, to + at);
    }
}

/* ---- the whole ---- */

static int64_t first_row(const job *j, int64_t panel) { return panel * j->rows + least(panel, j->larger); }
static int64_t rows_of(const job *j, int64_t panel) { return j->rows + (panel < j->larger); }
static int64_t terms_of(const job *j, int64_t block) { return least(j->depth, j->k - block * j->depth); }

static float *panel_of_x(const job *j, int64_t block, int64_t panel)
{
    return j->packed_x + (block * j->depth * (j->end - j->begin) + (panel - j->begin) * terms_of(j, block)) * MR;
}

static void pack_x(void *arg, int64_t task, int worker)
{
    const job *j = arg;
    (void)worker;
    const int64_t begin = j->begin + task * j->packs;
    for (int64_t p = begin; p < least(begin + j->packs, j->end); p++)
        for (int64_t b = 0; b < j->blocks; b++)
            pack(MR, rows_of(j, p), terms_of(j, b), j->x + first_row(j, p) * j->k + b * j->depth, j->k,
                 panel_of_x(j, b, p));
}

/* Panels [first, last) of x with the packed ones of w that begin at `column`. */
static void tiles(const job *j, int64_t block, int64_t first, int64_t last, int64_t column, int64_t columns,
                  const float *w)
{
    static const float zeros[NR];
    const int64_t terms = terms_of(j, block);
    for (int64_t c = 0; c < columns; c += NR)
        for (int64_t p = first; p < last; p++) {
            const int64_t rows = rows_of(j, p), width = least(NR, columns - c);
            float *y = j->y + first_row(j, p) * j->n + column + c;
            tile t = {.x = panel_of_x(j, block, p), .w = w + c * terms, .terms = terms, .from = y,
                      .from_step = j->n, .y = y, .step = j->n};
            if (block == 0) {
                t.from = j->bias ? j->bias + column + c : zeros;
                t.from_step = 0;
            }
            if (width == NR)
                multiply_rows[rows - 1](&t);
            else
                narrow(rows, width, &t);
        }
}

static void one_item(const job *j, int64_t item, float *w)
{
    const int64_t column = item % j->groups * j->group * NR, columns = least(j->group * NR, j->n - column);
    const int64_t begin = j->begin + item / j->groups * j->part, end = least(begin + j->part, j->end);
    for (int64_t b = 0; b < j->blocks; b++) {
        const int64_t terms = terms_of(j, b);
        for (int64_t c = 0; c < columns; c += NR)
            pack(NR, least(NR, columns - c), terms, j->w + (column + c) * j->k + b * j->depth, j->k, w + c * terms);
        for (int64_t p = begin; p < end; p += CHUNK)
            tiles(j, b, p, least(p + CHUNK, end), column, columns, w);
    }
}

static void some_items(void *arg, int64_t task, int worker)
{
    const job *j = arg;
    float *w = j->packed_w + worker * j->group * NR * j->depth;
    for (int64_t item = task * j->per_task; item < least((task + 1) * j->per_task, j->items); item++)
        one_item(j, item, w);
}

/* Tasks enough for every thread, none too small. */
static void cut(job *j)
{
    const int64_t round = j->end - j->begin, columns = ceil_div(j->n, NR), wanted = 4 * tn__threads();
    j->part = even(round, PART);
    j->group = even(columns, GROUP);
    for (;;) {
        j->parts = ceil_div(round, j->part);
        j->groups = ceil_div(columns, j->group);
        j->items = j->parts * j->groups;
        int64_t *side = j->group > 1 ? &j->group : &j->part;
        if (j->items >= wanted || (j->group == 1 && j->part < 2 * LEAST))
            break;
        *side = even(*side, *side / 2);
    }
    const int64_t work = (j->part * MR + PACKING) * j->group * NR * j->k;
    j->per_task = most(1, WORTH / most(1, work));
    j->packs = most(1, WORTH / most(1, PACKING * MR * j->k));
}

static tn_done run(job *j)
{
    j->panels = ceil_div(j->m, MR);
    j->rows = j->m / j->panels;
    j->larger = j->m % j->panels;
    j->depth = even(j->k, DEPTH);
    j->blocks = j->k ? ceil_div(j->k, j->depth) : 1;
    const int64_t round = even(j->panels, most(CHUNK, ROUND / most(1, j->k * MR)));
    j->packed_x = tn__scratch((size_t)(round * MR * j->k) * sizeof(float));
    j->packed_w = tn__scratch((size_t)(tn__threads() * GROUP * NR * j->depth) * sizeof(float));
    for (; j->packed_x && j->packed_w && j->end < j->panels; j->begin = j->end) {
        j->end = least(j->begin + round, j->panels);
        cut(j);
        tn__parallel(ceil_div(j->end - j->begin, j->packs), pack_x, j);
        tn__parallel(ceil_div(j->items, j->per_task), some_items, j);
    }
    const tn_done done = j->packed_x && j->packed_w ? TN_DONE : TN_FAILED;
    tn__scratch_free(j->packed_x);
    tn__scratch_free(j->packed_w);
    return done;
}

tn_kernel TN_K(fast_affine); /* as fast.c declares it */

tn_done TN_K(fast_affine)(const tn_call *c)
{
    job j = {.n = c->in[1]->shape[0], .k = c->in[1]->shape[1], .x = tn__data(c->in[0]), .w = tn__data(c->in[1]),
             .bias = c->in[2] ? tn__data(c->in[2]) : NULL, .y = tn__data(c->out[0])};
    if (!tn_numel(c->out[0]))
        return TN_DONE;
    j.m = tn_numel(c->out[0]) / j.n;
    return run(&j);
}
