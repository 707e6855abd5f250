/* Products of many x, one after the other, with one w, as the steps of a recurrent layer are: w is packed once for all.
 * Each element is summed block after block of terms as in product.c, so a row's bits do not depend on the rows beside
 * it, nor on how often w is used.  Panels and tiles: product_tile.h.  Used by recurrent.c. */
#ifndef TN_CPU_PACKED_H
#define TN_CPU_PACKED_H

#include <stdbool.h>

#include "product_tile.h"

enum {
    PACKED_DEPTH = 512,   /* terms of a block at most: a panel of w then fits in the first cache */
    PACKED_GROUP = 4,     /* panels of w that meet a block of x while it is in the second, when there are enough: */
    PACKED_MANY = 64,
    PACKED_COST = 6,      /* multiplications that take as long as to pack one element */
    PACKED_WORTH = 1 << 20 /* multiplications for which a task is worth its while */
};

typedef struct packed {
    const float *w;        /* [n, k], or with across [k, n] */
    bool across;
    int64_t m, n, k;       /* y [m, n] */
    int64_t depth, blocks; /* terms of a block, and how many there are */
    int64_t rows, columns; /* panels of x, of w */
    float *panels;         /* of w, [blocks][columns][terms][NR]; NULL: each task makes them for itself, */
    float *room;           /* of each worker */
    float *packed_x;       /* [blocks][rows][terms][MR] */
    const float *x, *bias; /* of the product at hand: [m, k]; what all rows begin with, [n], NULL: zeros */
    float *y;
    bool add;              /* rows begin with what is in y */
    int64_t per_task;      /* panels */
} packed;

static inline int64_t packed_count(int64_t size, int64_t piece) { return (size + piece - 1) / piece; }

static inline int64_t packed_tasks(packed *p, int64_t panels, int64_t least_each, int64_t work_each)
{
    const int64_t worth = PACKED_WORTH / (work_each > 0 ? work_each : 1);
    p->per_task = worth > least_each ? worth : least_each;
    return packed_count(panels, p->per_task);
}

static inline int64_t packed_terms(const packed *p, int64_t block) { return least(p->depth, p->k - block * p->depth); }

/* Panels of x are as even as they can be. */
static inline int64_t packed_row(const packed *p, int64_t panel) { return panel * p->m / p->rows; }

static inline float *packed_x_at(const packed *p, int64_t block, int64_t panel)
{
    return p->packed_x + (block * p->depth * p->rows + panel * packed_terms(p, block)) * MR;
}

static inline float *packed_w_at(const packed *p, int64_t block, int64_t column)
{
    return p->panels + (block * p->depth * p->columns + column * packed_terms(p, block)) * NR;
}

static void packed_make_w(const packed *p, int64_t block, int64_t column, float *to)
{
    const int64_t terms = packed_terms(p, block), first = NR * column, width = least(NR, p->n - first);
    const float *from = p->w + block * p->depth * p->n + first;
    if (!p->across) {
        pack(NR, width, terms, p->w + first * p->k + block * p->depth, p->k, to);
        return;
    }
    for (int64_t t = 0; t < terms; t++, from += p->n, to += NR)
        for (int64_t i = 0; i < NR; i++)
            to[i] = i < width ? from[i] : 0;
}

static void packed_some_w(void *arg, int64_t task, int worker)
{
    const packed *p = arg;
    const int64_t end = least((task + 1) * p->per_task, p->columns * p->blocks);
    (void)worker;
    for (int64_t i = task * p->per_task; i < end; i++)
        packed_make_w(p, i / p->columns, i % p->columns, packed_w_at(p, i / p->columns, i % p->columns));
}

static void packed_some_x(void *arg, int64_t task, int worker)
{
    const packed *p = arg;
    const int64_t end = least((task + 1) * p->per_task, p->rows * p->blocks);
    (void)worker;
    for (int64_t i = task * p->per_task; i < end; i++) {
        const int64_t block = i / p->rows, panel = i % p->rows, row = packed_row(p, panel);
        pack(MR, packed_row(p, panel + 1) - row, packed_terms(p, block), p->x + row * p->k + block * p->depth, p->k,
             packed_x_at(p, block, panel));
    }
}

/* Few rows meet a panel of w that nobody has packed: as it lies. */
static inline bool packed_direct(const packed *p, int64_t width)
{
    return !p->panels && !p->across && p->rows == 1 && p->m <= FEW && width == NR;
}

static void packed_tiles(const packed *p, int64_t block, int64_t column, float *room)
{
    static const float zeros[NR];
    const int64_t first = NR * column, width = least(NR, p->n - first);
    const bool direct = packed_direct(p, width), begin = block == 0 && !p->add;
    tile t = {.w = p->panels ? packed_w_at(p, block, column) : room, .terms = packed_terms(p, block), .step = p->n};
    if (direct) {
        t.w = p->w + first * p->k + block * p->depth;
        t.w_step = p->k;
    } else if (!p->panels) {
        packed_make_w(p, block, column, room);
    }
    for (int64_t panel = 0; panel < p->rows; panel++) {
        const int64_t row = packed_row(p, panel), rows = packed_row(p, panel + 1) - row;
        t.x = packed_x_at(p, block, panel);
        t.y = p->y + row * p->n + first;
        t.from = !begin ? t.y : p->bias ? p->bias + first : zeros;
        t.from_step = begin ? 0 : p->n;
        if (width < NR)
            multiply_narrow(rows, width, &t);
        else
            (direct ? direct_rows[rows - 1] : multiply_rows[rows - 1])(&t);
    }
}

static void packed_some(void *arg, int64_t task, int worker)
{
    const packed *p = arg;
    const int64_t end = least((task + 1) * p->per_task, p->columns);
    for (int64_t block = 0; block < p->blocks; block++)
        for (int64_t column = task * p->per_task; column < end; column++)
            packed_tiles(p, block, column, p->room + worker * NR * p->depth);
}

/* ---- the whole ---- */

static void packed_end(packed *p)
{
    tn__scratch_free(p->panels);
    tn__scratch_free(p->room);
    tn__scratch_free(p->packed_x);
}

/* For `uses` products of m rows; w, across, n and k are set, none is 0.  False with the error set. */
static bool packed_begin(packed *p, int64_t m, int64_t uses)
{
    p->m = m;
    p->blocks = packed_count(p->k, PACKED_DEPTH);
    p->depth = packed_count(p->k, p->blocks);
    p->rows = packed_count(m, MR);
    p->columns = packed_count(p->n, NR);
    p->packed_x = tn__scratch((size_t)(p->rows * MR * p->k) * sizeof(float));
    if (uses > 1)
        p->panels = tn__scratch((size_t)(p->columns * NR * p->k) * sizeof(float));
    else
        p->room = tn__scratch((size_t)(tn__threads() * NR * p->depth) * sizeof(float));
    if (!p->packed_x || (!p->panels && !p->room)) {
        packed_end(p);
        return false;
    }
    const int64_t all = p->columns * p->blocks;
    if (p->panels)
        tn__parallel(packed_tasks(p, all, 1, PACKED_COST * NR * p->depth), packed_some_w, p);
    return true;
}

/* y = x w^T (across: x w), beginning with bias, or with y itself where add is set. */
static void packed_product(packed *p, const float *x, const float *bias, bool add, float *y)
{
    p->x = x;
    p->bias = bias;
    p->add = add;
    p->y = y;
    tn__parallel(packed_tasks(p, p->rows * p->blocks, 1, PACKED_COST * MR * p->depth), packed_some_x, p);
    tn__parallel(packed_tasks(p, p->columns, p->columns < PACKED_MANY ? 1 : PACKED_GROUP, p->m * NR * p->k),
                 packed_some, p);
}

#endif
