/*
 * What the convolutions of conv.c and conv_weight.c share: where the pixels of an output meet the
 * source, and how a worker sees the source. conv.c begins with the idea.
 */
#ifndef TN_CPU_CONV_VIEW_H
#define TN_CPU_CONV_VIEW_H

#include "conv.h"

#include <stdbool.h>
#include <string.h>

enum {
    BLOCK = 2 * TN_VEC,           /* output channels of a tile */
    TILE = TN_VEC == 16 ? 8 : 6,  /* its pixels: vector registers allow 6, address registers 8 */
    TAPS = TN_VEC == 16 ? 12 : 6, /* inputs of a tile of the weight's gradient: one address */
    DEPTH = 288, /* products summed before a tile is put down: DEPTH * BLOCK weights fit in L1 */
    LINE = 16,   /* floats in a cache line */
};

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static inline int64_t aligned(int64_t floats) { return ceil_div(floats, LINE) * LINE; }

/* The channels of block b, and the floats they take when packed: whole vectors. */
static inline int64_t block_channels(int64_t channels, int64_t b)
{
    return least(channels - b * BLOCK, BLOCK);
}

static inline int64_t block_width(int64_t channels, int64_t b)
{
    return block_channels(channels, b) > TN_VEC ? BLOCK : TN_VEC;
}

/* ---- Geometry ---- */

/* Along one axis, position q reads source q * step + origin + tap for each tap and is destination
 * q * out_step + out_origin. */
typedef struct axis {
    int64_t lo, hi; /* lo <= q < hi */
    int64_t step, origin, taps;
    int64_t out_step, out_origin;
    int64_t tap_first, tap_step; /* tap t is row (column) tap_first + t * tap_step of the kernel */
} axis;

static inline axis forward_axis(int64_t out, int64_t kernel, int64_t stride, int64_t pad)
{
    return (axis){.hi = out, .step = stride, .origin = -pad, .taps = kernel, .out_step = 1,
                  .tap_step = 1};
}

/* Destinations d = stride * q + residue - pad: they meet source q - j through row
 * residue + stride * j of the kernel, and the taps take j downwards. */
static inline axis backward_axis(int64_t in, int64_t kernel, int64_t stride, int64_t pad, int64_t residue)
{
    int64_t taps = residue < kernel ? ceil_div(kernel - residue, stride) : 0;
    return (axis){
        .lo = ceil_div(most(pad - residue, 0), stride), .hi = ceil_div(in + pad - residue, stride),
        .step = 1, .origin = 1 - taps, .taps = taps,
        .out_step = stride, .out_origin = residue - pad,
        .tap_first = residue + stride * (taps - 1), .tap_step = -stride,
    };
}

typedef struct phase {
    axis rows, cols;
    float *weight; /* [blocks][rows.taps * cols.taps * channels][BLOCK] */
    int64_t *from; /* for each pixel of a view: its first input, counted from what view_open says */
    int64_t *to;   /* and its output, counted from the view's first image */
} phase;

static inline int64_t phase_width(const phase *p) { return most(p->cols.hi - p->cols.lo, 0); }
static inline int64_t phase_taps(const phase *p) { return p->rows.taps * p->cols.taps; }
static inline int64_t phase_pixels(const phase *p)
{
    return most(p->rows.hi - p->rows.lo, 0) * phase_width(p);
}

/* How the source is cut into views. */
typedef struct view {
    const float *source; /* [n, h, w, c] */
    int64_t n, h, w, c;
    int64_t step;                /* source rows from one q to the next */
    int64_t lo, hi, rows, bands; /* q rows of all phases, q rows in a band, bands in an image */
    int64_t images, groups;      /* images in a view: more than 1 only when bands is 1 */
    int64_t top, left;           /* source position of the window's corner for the first band */
    int64_t height, width;       /* of the window of a full band, in source pixels */
    int64_t pixel, row, image;   /* strides of the window (of the source when direct), in floats */
    bool direct;                 /* no border needed: the source is read in place */
} view;

static inline int64_t view_count(const view *v) { return v->groups * v->bands; }
static inline int64_t window_floats(const view *v)
{
    return v->direct ? 0 : aligned(v->images * v->image);
}

static inline void view_strides(view *v, int64_t pixel, int64_t width, int64_t height)
{
    v->pixel = pixel;
    v->row = pixel * width;
    v->image = v->row * height;
}

/*
 * Views have about `pixels` pixels per phase or more, to repay the loading of the weights; a band
 * grows while its window and `out` floats for each pixel fit in `floats`. A function of the shapes
 * alone: sums over views must not depend on anything else.
 */
static inline void view_plan(view *v, int64_t phases, const phase *p, int64_t pixels, int64_t floats,
                      int64_t out)
{
    int64_t lo[2], hi[2], first[2], last[2]; /* q; origin of the first tap, end of the last */
    for (int k = 0; k < 2; k++) {
        lo[k] = first[k] = INT64_MAX;
        hi[k] = last[k] = INT64_MIN;
        for (int64_t i = 0; i < phases; i++) {
            const axis *a = k == 0 ? &p[i].rows : &p[i].cols;
            lo[k] = least(lo[k], a->lo);
            hi[k] = most(hi[k], a->hi);
            first[k] = a->taps ? least(first[k], a->origin) : first[k];
            last[k] = a->taps ? most(last[k], a->origin + a->taps) : last[k];
        }
    }
    int64_t rows = most(hi[0] - lo[0], 1), cols = most(hi[1] - lo[1], 1), taps = last[0] - first[0];
    v->step = p[0].rows.step;
    v->lo = lo[0];
    v->hi = lo[0] + rows;
    v->top = lo[0] * v->step + first[0];
    v->left = lo[1] * p[0].cols.step + first[1];
    v->width = (cols - 1) * p[0].cols.step + last[1] - first[1];

    v->groups = ceil_div(v->n, most(least(pixels / (rows * cols), v->n), 1));
    v->images = ceil_div(v->n, v->groups);
    int64_t row = v->width * v->c;
    int64_t small = (floats - taps * row) / (v->step * row + cols * out) + 1;
    int64_t band = v->images > 1 ? rows : least(rows, most(small, ceil_div(pixels, cols)));
    v->bands = ceil_div(rows, band);
    v->rows = ceil_div(rows, v->bands);
    v->height = (v->rows - 1) * v->step + taps;

    int64_t bottom = v->top + (rows - 1) * v->step + taps;
    v->direct = v->top >= 0 && v->left >= 0 && bottom <= v->h && v->left + v->width <= v->w;
    if (v->direct)
        view_strides(v, v->c, v->w, v->h);
    else
        view_strides(v, v->c, v->width, v->height);
}

static inline void phase_offsets(const phase *p, const view *v, int64_t out_w, int64_t out_c,
                          int64_t out_image)
{
    int64_t *from = p->from, *to = p->to;
    for (int64_t i = 0; i < v->images; i++)
        for (int64_t q = p->rows.lo; q < p->rows.hi; q++) {
            int64_t row = i * v->image + (q * p->rows.step + p->rows.origin - v->top) * v->row;
            int64_t out_row = q * p->rows.out_step + p->rows.out_origin;
            for (int64_t u = p->cols.lo; u < p->cols.hi; u++) {
                int64_t out_col = u * p->cols.out_step + p->cols.out_origin;
                *from++ = row + (u * p->cols.step + p->cols.origin - v->left) * v->pixel;
                *to++ = i * out_image + (out_row * out_w + out_col) * out_c;
            }
        }
}

/* What view number i is. */
typedef struct place {
    int64_t image, images; /* the first image, how many */
    int64_t q, rows;       /* the first q row, how many */
    int64_t top, height;   /* the source rows that its window shows */
    int64_t shift;         /* to subtract from phase.from: windows begin where their band does */
} place;

static inline place view_place(const view *v, int64_t i)
{
    int64_t image = i / v->bands * v->images, q = i % v->bands * v->rows;
    int64_t rows = least(v->rows, v->hi - v->lo - q);
    return (place){
        .image = image, .images = least(v->images, v->n - image), .q = v->lo + q, .rows = rows,
        .top = v->top + q * v->step, .height = v->height - (v->rows - rows) * v->step,
        .shift = v->direct ? 0 : q * v->step * v->row,
    };
}

/* The pixels of a phase that a view has. */
static inline void phase_range(const phase *p, const view *v, const place *at, int64_t *begin,
                        int64_t *end)
{
    int64_t first = most(at->q, p->rows.lo), last = least(at->q + at->rows, p->rows.hi);
    *begin = (first - p->rows.lo) * phase_width(p);
    *end = *begin + most(last - first, 0) * phase_width(p);
    if (v->images > 1)
        *end = at->images * phase_pixels(p);
}

static inline void copy_pixels(float *to, const float *from, int64_t pixels, int64_t c, int64_t pixel)
{
    if (pixel == c) {
        memcpy(to, from, (size_t)(pixels * c) * sizeof(float));
        return;
    }
    for (int64_t i = 0; i < pixels; i++, to += pixel, from += c) {
        int64_t k = 0;
        for (; k + TN_VEC <= c; k += TN_VEC)
            tn__store(to + k, tn__load(from + k));
        for (; k < c; k++)
            to[k] = from[k];
    }
}

/* Returns what phase.from counts from: the window, filled with its part of the source, or the
 * source itself. */
static inline const float *view_open(const view *v, const place *at, float *window)
{
    const float *source = v->source + at->image * v->h * v->w * v->c;
    if (v->direct)
        return source + (v->top * v->w + v->left) * v->c;
    int64_t begin = least(most(-v->left, 0), v->width);
    int64_t end = most(least(v->w - v->left, v->width), begin);
    for (int64_t i = 0; i < at->images; i++)
        for (int64_t r = 0; r < at->height; r++) {
            int64_t row = at->top + r;
            float *to = window + i * v->image + r * v->row;
            if (row < 0 || row >= v->h || begin == end) {
                memset(to, 0, (size_t)v->row * sizeof(float));
                continue;
            }
            const float *from = source + ((i * v->h + row) * v->w + v->left + begin) * v->c;
            memset(to, 0, (size_t)(begin * v->pixel) * sizeof(float));
            copy_pixels(to + begin * v->pixel, from, end - begin, v->c, v->pixel);
            memset(to + end * v->pixel, 0, (size_t)((v->width - end) * v->pixel) * sizeof(float));
        }
    return window;
}

/* What the next view will read, fetched a few lines per tile while this one is computed. */
typedef struct ahead {
    const char *next, *end;
    int64_t lines;
} ahead;

static inline ahead look_ahead(const float *from, int64_t floats, int64_t tiles)
{
    return (ahead){(const char *)from, (const char *)(from + floats),
                   floats / (LINE * most(tiles, 1)) + 1};
}

static inline ahead look_ahead_view(const view *v, int64_t i, int64_t tiles)
{
    place at = view_place(v, i);
    int64_t begin = least(most(at.top, 0), v->h);
    int64_t end = most(least(at.top + at.height, v->h), begin);
    int64_t rows = (at.images - 1) * v->h + end - begin, row = v->w * v->c;
    return look_ahead(v->source + (at.image * v->h + begin) * row, rows * row, tiles);
}

static inline void fetch(ahead *a)
{
    for (int64_t i = 0; i < a->lines && a->next < a->end; i++, a->next += LINE * sizeof(float))
        __builtin_prefetch(a->next, 0, 2);
}

/* A function for every size: how many registers are accumulators must be known when compiling. */
#define UP_TO_6(X, v) X(1, v) X(2, v) X(3, v) X(4, v) X(5, v) X(6, v)
#define UP_TO_8(X, v) UP_TO_6(X, v) X(7, v) X(8, v)
#define UP_TO_12(X, v) UP_TO_8(X, v) X(9, v) X(10, v) X(11, v) X(12, v)
#define UP_TO_24(X, v)                                                                            \
    UP_TO_12(X, v) X(13, v) X(14, v) X(15, v) X(16, v) X(17, v) X(18, v) X(19, v) X(20, v)         \
    X(21, v) X(22, v) X(23, v) X(24, v)
#if TN_VEC == 16
#define UP_TO_TILE UP_TO_8
#define UP_TO_TAPS UP_TO_12
#define UP_TO_TWICE_TAPS UP_TO_24
#else
#define UP_TO_TILE UP_TO_6
#define UP_TO_TAPS UP_TO_6
#define UP_TO_TWICE_TAPS UP_TO_12
#endif

static inline bool covered(const tn__conv_dims *d)
{
    return d->groups == 1 && d->dh == 1 && d->dw == 1 && d->c > 0;
}

/* Too few units would leave a thread idle at the end: then units share views. */
static inline int64_t splits_of(int64_t units, int64_t blocks)
{
    int64_t threads = tn__threads(), splits = 1;
    while (threads > 1 && units * splits < 4 * threads && 2 * splits <= blocks)
        splits *= 2;
    return splits;
}

#endif
