/*
 * The matrix product of linear layers, y = x w^T + bias, whose rows do not know each other: an element of y
 * depends on its row of x, its row of w and its bias alone, bit by bit. A sentence gives the same numbers
 * in a batch of one and of many, and a token decoded with cached keys those of a whole pass. Libraries
 * of matrix products do not promise that: their kernels for the edges add in another order.
 *
 * Every element is its bias plus, block after block of terms, one sum over the block in the order of the
 * terms. How long the blocks are depends on the number of terms only; how y is cut depends on
 * anything, the number of threads too, since no bit depends on it.
 *
 *   panel   up to MR rows of x or NR rows of w side by side: for each term their values lie together
 *   tile    the MR x NR elements of y where two panels meet; they live in registers (product_tile.h)
 *   item    what a task does: a group of panels of w, which it packs for itself unless they
 *           meet few rows, with a part of the panels of x, which all were packed before
 *
 * Not matmul, which is gemm.c's. The plain kernel that defines the op: ops/matmul.c.
 */
#include "product_tile.h"

#include "../internal.h"

enum {
    DEPTH = 512,      /* terms of a block at most: a panel of w then fits in the first cache */
    CHUNK = 96 / MR,  /* panels of x that stay in the second cache while a group of w meets them */
    PART = 1008 / MR, /* panels of a part at most: w is packed once for each part */
    LEAST = 240 / MR, /* and at least */
    GROUP = 4,        /* panels of a group at most */
    ROUND = 1 << 22,  /* floats of x that are packed at a time */
    PACKING = 6,      /* multiplications that take as long as to pack one element */
    WORTH = 1 << 20   /* multiplications for which a task is worth its while */
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

static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* The fewest equal pieces of at most `limit`: the size of one. */
static int64_t even(int64_t size, int64_t limit) { return ceil_div(size, most(ceil_div(size, limit), 1)); }

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

/* The tile of a panel of x and the panel of w at `column`. */
static tile tile_at(const job *j, int64_t block, int64_t panel, int64_t column, const float *w, int64_t w_step)
{
    static const float zeros[NR];
    float *y = j->y + first_row(j, panel) * j->n + column;
    tile t = {.x = panel_of_x(j, block, panel), .w = w, .w_step = w_step, .terms = terms_of(j, block),
              .from = y, .from_step = j->n, .y = y, .step = j->n};
    if (block == 0) {
        t.from = j->bias ? j->bias + column : zeros;
        t.from_step = 0;
    }
    return t;
}

static void tiles(const job *j, int64_t block, int64_t begin, int64_t end, int64_t column, const float *w)
{
    const int64_t width = least(NR, j->n - column);
    for (int64_t p = begin; p < end; p++) {
        const tile t = tile_at(j, block, p, column, w, 0);
        if (width == NR)
            multiply_rows[rows_of(j, p) - 1](&t);
        else
            multiply_narrow(rows_of(j, p), width, &t);
    }
}

static void one_item(const job *j, int64_t item, float *packed)
{
    const int64_t first = item % j->groups * j->group * NR, last = least(first + j->group * NR, j->n);
    const int64_t begin = j->begin + item / j->groups * j->part, end = least(begin + j->part, j->end);
    const int64_t rows = rows_of(j, begin);
    const bool direct = end - begin == 1 && rows <= FEW;
    const int64_t rest = direct ? last - (last - first) % NR : first; /* columns from here on are packed */
    for (int64_t b = 0; b < j->blocks; b++) {
        const float *w = j->w + b * j->depth;
        const int64_t terms = terms_of(j, b);
        for (int64_t c = first; c < rest; c += NR) {
            const tile t = tile_at(j, b, begin, c, w + c * j->k, j->k);
            direct_rows[rows - 1](&t);
        }
        for (int64_t c = rest; c < last; c += NR)
            pack(NR, least(NR, last - c), terms, w + c * j->k, j->k, packed + (c - rest) * terms);
        for (int64_t p = begin; p < end; p += CHUNK)
            for (int64_t c = rest; c < last; c += NR)
                tiles(j, b, p, least(p + CHUNK, end), c, packed + (c - rest) * terms);
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
