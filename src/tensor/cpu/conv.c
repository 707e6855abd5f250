/*
 * Direct convolution of channels-last images. See conv.h for the contract; the reference loops are in src/tensor/ops.
 *
 * One idea carries all three functions. In a channels-last image the kw * c inputs that one kernel row meets are contiguous, so with a
 * border of zeros around the image every output pixel is a sum of kh contiguous dot products, and a tile of a few pixels times two
 * vectors of output channels lives in registers.
 *
 *   view     what a worker sees of the source: a band of rows of one image, or a few whole small images, copied with its border of
 *            zeros into a window (or read in place where there is no border).
 *   phase    a stride-1-like convolution from the view to some of the destination's pixels. Forward is one phase. The gradient of the
 *            data with stride s is s * s phases: pixels of equal residue meet the same taps, so no multiplication by an inserted zero.
 *   unit     one view, all its phases, some of the output channels: the grain of parallel work.
 *
 * The gradient of the weight sums over pixels instead; see the second half of the file.
 */
#include "conv.h"

#include <stdbool.h>
#include <string.h>

enum {
    BLOCK = 2 * TN_VEC,              /* output channels of a register tile */
    TILE = TN_VEC == 16 ? 8 : 6,     /* its pixels: as many as there are registers (TN_VEC 16) or address registers for */
    TAPS = TN_VEC == 16 ? 12 : 6,    /* inputs of a tile of the weight's gradient, twice that with one vector of outputs */
    DEPTH = 288,                     /* products summed before the tile is put down: DEPTH * BLOCK weights stay in L1 */
    ALIGN = 16,                      /* floats in a cache line */
};

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static int64_t aligned(int64_t floats) { return ceil_div(floats, ALIGN) * ALIGN; }

/* ---- Geometry ---- */

/* Position q of a phase reads source q * step + origin + tap and is destination q * out_step + out_origin. */
typedef struct axis {
    int64_t lo, hi; /* lo <= q < hi */
    int64_t step, origin, taps;
    int64_t out_step, out_origin;
    int64_t tap_first, tap_step; /* tap t is row (column) tap_first + t * tap_step of the kernel */
} axis;

static axis forward_axis(int64_t out, int64_t kernel, int64_t stride, int64_t pad)
{
    return (axis){.hi = out, .step = stride, .origin = -pad, .taps = kernel, .out_step = 1, .tap_step = 1};
}

/* Destinations d with (d + pad) % stride == residue: d + pad = stride * q + residue meets source q - j through row residue + stride * j. */
static axis backward_axis(int64_t in, int64_t kernel, int64_t stride, int64_t pad, int64_t residue)
{
    int64_t taps = residue < kernel ? ceil_div(kernel - residue, stride) : 0;
    return (axis){
        .lo = ceil_div(most(pad - residue, 0), stride),
        .hi = ceil_div(in + pad - residue, stride),
        .step = 1, .origin = 1 - taps, .taps = taps,
        .out_step = stride, .out_origin = residue - pad,
        .tap_first = residue + stride * (taps - 1), .tap_step = -stride,
    };
}

typedef struct phase {
    axis rows, cols;
    float *weight;       /* [blocks][rows.taps * cols.taps * channels][BLOCK] */
    int64_t *from, *to;  /* per pixel of a view: offset of its first input in the window, of its output in the image */
} phase;

static int64_t phase_width(const phase *p) { return most(p->cols.hi - p->cols.lo, 0); }
static int64_t phase_pixels(const phase *p) { return most(p->rows.hi - p->rows.lo, 0) * phase_width(p); }
static int64_t phase_taps(const phase *p) { return p->rows.taps * p->cols.taps; }

/* How the source is cut into views. */
typedef struct view {
    const float *source; /* [n, h, w, c] */
    int64_t n, h, w, c;
    int64_t step;                /* source rows from one q to the next */
    int64_t lo, hi, rows, bands; /* q rows of all phases, q rows in a band, bands in an image */
    int64_t images, groups;      /* images in a view; more than 1 only when bands is 1 */
    int64_t top, left;           /* source position of the window's corner for band 0 */
    int64_t height, width;       /* of the window of a full band, in source pixels */
    int64_t pixel, row, image;   /* strides of the window (of the source when direct), in floats */
    bool direct;                 /* no border needed: read the source in place */
} view;

static int64_t view_count(const view *v) { return v->groups * v->bands; }
static int64_t window_floats(const view *v) { return v->direct ? 0 : aligned(v->images * v->image); }

static void view_strides(view *v, int64_t pixel, int64_t width, int64_t height)
{
    v->pixel = pixel;
    v->row = pixel * width;
    v->image = v->row * height;
}

/*
 * Views have at least about `pixels` pixels per phase, to repay the loading of the weights, but a band whose window is small grows to
 * `bytes`. A function of the shapes alone: sums over views must not depend on anything else.
 */
static void view_plan(view *v, int64_t phases, const phase *p, int64_t pixels, int64_t bytes)
{
    v->step = p[0].rows.step;
    int64_t first[2] = {INT64_MAX, INT64_MAX}, last[2] = {INT64_MIN, INT64_MIN}; /* origin of the first tap, end of the last */
    int64_t lo[2] = {INT64_MAX, INT64_MAX}, hi[2] = {INT64_MIN, INT64_MIN};
    for (int64_t i = 0; i < phases; i++)
        for (int k = 0; k < 2; k++) {
            const axis *a = k == 0 ? &p[i].rows : &p[i].cols;
            lo[k] = least(lo[k], a->lo);
            hi[k] = most(hi[k], a->hi);
            if (a->taps > 0) {
                first[k] = least(first[k], a->origin);
                last[k] = most(last[k], a->origin + a->taps);
            }
        }
    int64_t rows = most(hi[0] - lo[0], 1), cols = most(hi[1] - lo[1], 1);
    v->lo = lo[0];
    v->hi = lo[0] + rows;
    v->top = v->lo * v->step + first[0];
    v->left = lo[1] * p[0].cols.step + first[1];
    v->width = (cols - 1) * p[0].cols.step + last[1] - first[1];
    int64_t taps = last[0] - first[0], row_bytes = v->width * v->c * (int64_t)sizeof(float);

    v->images = most(least(pixels / (rows * cols), v->n), 1);
    v->groups = ceil_div(v->n, v->images);
    v->images = ceil_div(v->n, v->groups);
    int64_t fit = (bytes / row_bytes - taps) / v->step + 1;
    v->rows = v->images > 1 ? rows : least(rows, most(fit, ceil_div(pixels, cols)));
    v->bands = ceil_div(rows, v->rows);
    v->rows = ceil_div(rows, v->bands);
    v->height = (v->rows - 1) * v->step + taps;

    int64_t all = (rows - 1) * v->step + taps;
    v->direct = v->top >= 0 && v->left >= 0 && v->top + all <= v->h && v->left + v->width <= v->w;
    if (v->direct)
        view_strides(v, v->c, v->w, v->h);
    else
        view_strides(v, v->c, v->width, v->height);
}

/* Offsets of every pixel of a view, of band 0 as far as the window is concerned: bands are shifted against it. */
static void phase_offsets(const phase *p, const view *v, int64_t out_w, int64_t out_c, int64_t out_image)
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

/* View number i: where its source pixels are and which pixels of a phase it has. */
typedef struct place {
    int64_t image, images; /* first image, how many */
    int64_t q, rows;       /* first q row, how many */
    int64_t shift;         /* to subtract from phase.from */
} place;

static place view_place(const view *v, int64_t i)
{
    int64_t image = i / v->bands * v->images, band = i % v->bands;
    place at = {.image = image, .images = least(v->images, v->n - image), .q = v->lo + band * v->rows};
    at.rows = least(v->rows, v->hi - at.q);
    at.shift = v->direct ? 0 : band * v->rows * v->step * v->row;
    return at;
}

static void phase_range(const phase *p, const view *v, const place *at, int64_t *begin, int64_t *end)
{
    int64_t width = phase_width(p), first = p->rows.lo;
    *begin = (most(least(at->q, p->rows.hi), first) - first) * width;
    *end = (most(least(at->q + at->rows, p->rows.hi), first) - first) * width;
    if (v->images > 1)
        *end = at->images * phase_pixels(p);
}

static void copy_pixels(float *to, const float *from, int64_t pixels, int64_t c, int64_t pixel)
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

/* The next view's source, fetched a few lines per tile while this view is computed: copying it is then quick. */
typedef struct ahead {
    const char *next, *end;
    int64_t lines;
} ahead;

static void look_ahead(ahead *a, const void *from, int64_t floats, int64_t tiles)
{
    a->next = from;
    a->end = a->next + floats * (int64_t)sizeof(float);
    a->lines = floats / (ALIGN * most(tiles, 1)) + 1;
}

static void look_ahead_view(ahead *a, const view *v, int64_t i, int64_t tiles)
{
    place at = view_place(v, i);
    int64_t top = v->top + (at.q - v->lo) * v->step, begin = least(most(top, 0), v->h), end = most(least(top + v->height, v->h), begin);
    int64_t rows = (at.images - 1) * v->h + end - begin;
    look_ahead(a, v->source + (at.image * v->h + begin) * v->w * v->c, rows * v->w * v->c, tiles);
}

TN_INLINE void fetch(ahead *a)
{
    for (int64_t i = 0; i < a->lines && a->next < a->end; i++, a->next += ALIGN * sizeof(float))
        __builtin_prefetch(a->next, 0, 2);
}

/* Returns where phase.from counts from: the window filled with its part of the source, or the source itself. */
static const float *view_open(const view *v, const place *at, float *window)
{
    const float *source = v->source + at->image * v->h * v->w * v->c;
    if (v->direct)
        return source + (v->top * v->w + v->left) * v->c;
    int64_t top = v->top + (at->q - v->lo) * v->step;
    int64_t height = v->height - (v->rows - at->rows) * v->step;
    int64_t begin = least(most(-v->left, 0), v->width), end = most(least(v->w - v->left, v->width), begin);
    for (int64_t i = 0; i < at->images; i++)
        for (int64_t r = 0; r < height; r++) {
            float *to = window + i * v->image + r * v->row;
            if (top + r < 0 || top + r >= v->h) {
                memset(to, 0, (size_t)v->row * sizeof(float));
                continue;
            }
            const float *from = source + ((i * v->h + top + r) * v->w + v->left) * v->c;
            memset(to, 0, (size_t)(begin * v->pixel) * sizeof(float));
            copy_pixels(to + begin * v->pixel, from + begin * v->c, end - begin, v->c, v->pixel);
            memset(to + end * v->pixel, 0, (size_t)((v->width - end) * v->pixel) * sizeof(float));
        }
    return window;
}

/* ---- Forward, and the gradient of the data ---- */

typedef struct tile_job {
    const float *x;
    float *y;
    const float *weight; /* [rows * length][vectors * TN_VEC] */
    const float *init;   /* [vectors * TN_VEC] what the sums start from; NULL: from what y holds */
    int64_t shift;
    int64_t rows, length, stride; /* inputs of a pixel: rows of contiguous floats, the distance between rows */
} tile_job;

/*
 * With one vector of outputs the pixels alone do not fill the pipeline of the multiplier, so even and odd products are summed apart.
 * The order of every sum depends on the shape only, never on the number of pixels in the tile.
 */
TN_INLINE void tile(int pixels, int vectors, const tile_job *job, const int64_t *from, const int64_t *to)
{
    vf sum[TILE][2];
    const float *x[TILE], *w = job->weight;
    int width = vectors * TN_VEC;
    TN_UNROLL for (int i = 0; i < pixels; i++) {
        x[i] = job->x + (from[i] - job->shift);
        const float *start = job->init ? job->init : job->y + to[i];
        sum[i][0] = tn__load(start);
        sum[i][1] = vectors == 2 ? tn__load(start + TN_VEC) : (vf){0};
    }
    for (int64_t r = 0; r < job->rows; r++) {
        int64_t k = r * job->stride, end = k + job->length;
        if (vectors == 1)
            for (; k + 1 < end; k += 2, w += 2 * width) {
                vf w0 = tn__load(w), w1 = tn__load(w + TN_VEC);
                TN_UNROLL for (int i = 0; i < pixels; i++) {
                    sum[i][0] += tn__splat(x[i][k]) * w0;
                    sum[i][1] += tn__splat(x[i][k + 1]) * w1;
                }
            }
        for (; k < end; k++, w += width) {
            vf w0 = tn__load(w), w1 = vectors == 2 ? tn__load(w + TN_VEC) : (vf){0};
            TN_UNROLL for (int i = 0; i < pixels; i++) {
                vf s = tn__splat(x[i][k]);
                sum[i][0] += s * w0;
                if (vectors == 2)
                    sum[i][1] += s * w1;
            }
        }
    }
    TN_UNROLL for (int i = 0; i < pixels; i++) {
        float *y = job->y + to[i];
        tn__store(y, vectors == 2 ? sum[i][0] : sum[i][0] + sum[i][1]);
        if (vectors == 2)
            tn__store(y + TN_VEC, sum[i][1]);
    }
}

#define TILE_FUNCTION(n)                                                                               \
    static void tile_##n##_1(const tile_job *job, const int64_t *from, const int64_t *to) { tile(n, 1, job, from, to); } \
    static void tile_##n##_2(const tile_job *job, const int64_t *from, const int64_t *to) { tile(n, 2, job, from, to); }
TILE_FUNCTION(1) TILE_FUNCTION(2) TILE_FUNCTION(3) TILE_FUNCTION(4) TILE_FUNCTION(5) TILE_FUNCTION(6)
#if TN_VEC == 16
TILE_FUNCTION(7) TILE_FUNCTION(8)
#endif

static void (*const tile_functions[TILE][2])(const tile_job *, const int64_t *, const int64_t *) = {
    {tile_1_1, tile_1_2}, {tile_2_1, tile_2_2}, {tile_3_1, tile_3_2}, {tile_4_1, tile_4_2}, {tile_5_1, tile_5_2}, {tile_6_1, tile_6_2},
#if TN_VEC == 16
    {tile_7_1, tile_7_2}, {tile_8_1, tile_8_2},
#endif
};

/* A tile whose channels end inside a vector goes through a whole one. */
static void ragged_tile(int pixels, int vectors, int64_t channels, const tile_job *job, const int64_t *from, const int64_t *to)
{
    float whole[TILE * BLOCK] = {0};
    int64_t at[TILE];
    tile_job bounce = *job;
    bounce.y = whole;
    for (int i = 0; i < pixels; i++) {
        at[i] = (int64_t)i * BLOCK;
        if (!job->init)
            memcpy(whole + at[i], job->y + to[i], (size_t)channels * sizeof(float));
    }
    tile_functions[pixels - 1][vectors - 1](&bounce, from, at);
    for (int i = 0; i < pixels; i++)
        memcpy(job->y + to[i], whole + at[i], (size_t)channels * sizeof(float));
}

/* Tiles of nearly equal size over pixels [begin, end): no small one is left over at the end. */
static void tiles(const tile_job *job, const phase *p, int64_t begin, int64_t end, int64_t channels, ahead *next)
{
    int64_t pixels = end - begin, count = ceil_div(pixels, TILE);
    if (count == 0)
        return;
    int64_t size = pixels / count, larger = pixels % count;
    int vectors = channels > TN_VEC ? 2 : 1;
    for (int64_t i = 0, at = begin; i < count; i++) {
        int n = (int)(size + (i < larger));
        fetch(next);
        if (channels % TN_VEC)
            ragged_tile(n, vectors, channels, job, p->from + at, p->to + at);
        else
            tile_functions[n - 1][vectors - 1](job, p->from + at, p->to + at);
        at += n;
    }
}

typedef struct convolution {
    view view;
    int64_t phases;
    phase *phase;
    const float *weight; /* as the caller has it */
    int64_t kernel_w, tap_stride, source_stride, out_stride; /* its kw; from one tap, source channel, output channel to the next */
    const float *bias;   /* [blocks * BLOCK], padded with zeros */
    float *out;
    int64_t out_image, out_c, blocks;
    int64_t run, splits; /* views of a unit; units that share views, each with some of the blocks */
    float *windows;
} convolution;

/* Block i % blocks of phase i / blocks: output channels of a tile side by side, inputs in the order in which a tile meets them. */
static void pack_block(void *arg, int64_t i, int worker)
{
    (void)worker;
    const convolution *v = arg;
    const phase *p = &v->phase[i / v->blocks];
    int64_t first = i % v->blocks * BLOCK, channels = least(v->out_c - first, BLOCK), width = channels > TN_VEC ? BLOCK : TN_VEC;
    float *to = p->weight + first * phase_taps(p) * v->view.c;
    for (int64_t a = 0; a < p->rows.taps; a++)
        for (int64_t b = 0; b < p->cols.taps; b++) {
            int64_t row = p->rows.tap_first + a * p->rows.tap_step, col = p->cols.tap_first + b * p->cols.tap_step;
            const float *from = v->weight + (row * v->kernel_w + col) * v->tap_stride + first * v->out_stride;
            for (int64_t k = 0; k < v->view.c; k++, to += width)
                for (int64_t j = 0; j < width; j++)
                    to[j] = j < channels ? from[k * v->source_stride + j * v->out_stride] : 0;
        }
}

/* The inputs of a pixel in pieces of at most about DEPTH, each for all blocks of output channels and all pixels before the next. */
static void convolve_phase(const convolution *v, const phase *p, tile_job job, int64_t begin, int64_t end, int64_t block_begin,
                           int64_t block_end, ahead *next)
{
    int64_t length = p->cols.taps * v->view.c, rows = p->rows.taps, depth = rows * length;
    int64_t pieces = most(ceil_div(length, DEPTH), 1), piece_rows = pieces > 1 ? 1 : most(DEPTH / most(length, 1), 1);
    if (depth == 0) { /* pixels that no output met: their gradient is one piece, of nothing */
        rows = pieces = 1;
        length = 0;
    }
    float *y = job.y;
    for (int64_t r = 0; r < rows; r += piece_rows)
        for (int64_t i = 0; i < pieces; i++) {
            int64_t k = length * i / pieces;
            tile_job piece = job;
            piece.x += r * v->view.row + k;
            piece.rows = least(piece_rows, rows - r);
            piece.length = length * (i + 1) / pieces - k;
            for (int64_t b = block_begin; b < block_end; b++) {
                int64_t channels = least(v->out_c - b * BLOCK, BLOCK), width = channels > TN_VEC ? BLOCK : TN_VEC;
                piece.weight = p->weight + b * BLOCK * depth + (r * length + k) * width;
                piece.init = r == 0 && i == 0 ? v->bias + b * BLOCK : NULL;
                piece.y = y + b * BLOCK;
                tiles(&piece, p, begin, end, channels, next);
            }
        }
}

static void convolve_view(const convolution *v, int64_t i, int64_t block_begin, int64_t block_end, float *window, ahead *next)
{
    place at = view_place(&v->view, i);
    tile_job job = {
        .x = view_open(&v->view, &at, window),
        .y = v->out + at.image * v->out_image,
        .shift = at.shift,
        .stride = v->view.row,
    };
    for (int64_t k = 0; k < v->phases; k++) {
        int64_t begin, end;
        phase_range(&v->phase[k], &v->view, &at, &begin, &end);
        convolve_phase(v, &v->phase[k], job, begin, end, block_begin, block_end, next);
    }
}

static void convolve_unit(void *arg, int64_t i, int worker)
{
    const convolution *v = arg;
    const view *views = &v->view;
    int64_t split = i % v->splits, first = i / v->splits * v->run, last = least(first + v->run, view_count(views));
    int64_t block_begin = v->blocks * split / v->splits, block_end = v->blocks * (split + 1) / v->splits;
    int64_t tiles_of_view = views->images * views->rows * (views->width / views->step) / TILE * (block_end - block_begin);
    for (int64_t k = first; k < last; k++) {
        ahead next = {0};
        if (k + 1 < last && !views->direct)
            look_ahead_view(&next, views, k + 1, tiles_of_view);
        convolve_view(v, k, block_begin, block_end, v->windows + worker * window_floats(views), &next);
    }
}

/* Few enough units leave a thread idle at the end; then units share views, each taking some of the blocks. */
static int64_t splits_of(int64_t views, int64_t blocks)
{
    int64_t threads = tn__threads(), splits = 1;
    while (threads > 1 && views * splits < 4 * threads && 2 * splits <= blocks)
        splits *= 2;
    return splits;
}

/* Does what v, its phases' axes and the strides of its weight describe. */
static int convolve(convolution *v, const float *bias, int64_t out_w)
{
    v->blocks = ceil_div(v->out_c, BLOCK);
    v->splits = splits_of(view_count(&v->view), v->blocks);
    v->run = most(least(view_count(&v->view) / (8 * tn__threads()), 4), 1);
    int64_t padded = v->blocks * BLOCK, window = window_floats(&v->view), images = v->view.images;
    int64_t floats = aligned(padded) + tn__threads() * window, offsets = 0;
    for (int64_t i = 0; i < v->phases; i++) {
        floats += aligned(padded * phase_taps(&v->phase[i]) * v->view.c);
        offsets += 2 * images * phase_pixels(&v->phase[i]);
    }
    float *memory = tn__scratch((size_t)floats * sizeof(float) + (size_t)offsets * sizeof(int64_t));
    if (!memory)
        return -1;

    float *next = memory;
    v->windows = next;
    next += tn__threads() * window;
    memset(next, 0, (size_t)padded * sizeof(float));
    if (bias)
        memcpy(next, bias, (size_t)v->out_c * sizeof(float));
    v->bias = next;
    next += aligned(padded);
    int64_t *table = (int64_t *)(void *)(memory + floats);
    for (int64_t i = 0; i < v->phases; i++) {
        phase *p = &v->phase[i];
        p->weight = next;
        next += aligned(padded * phase_taps(p) * v->view.c);
        p->from = table;
        p->to = table += images * phase_pixels(p);
        table += images * phase_pixels(p);
        phase_offsets(p, &v->view, out_w, v->out_c, v->out_image);
    }
    tn__parallel(v->phases * v->blocks, pack_block, v);
    tn__parallel(ceil_div(view_count(&v->view), v->run) * v->splits, convolve_unit, v);
    tn__scratch_free(memory);
    return 0;
}

static bool covered(const tn__conv_dims *d)
{
    return d->groups == 1 && d->dh == 1 && d->dw == 1 && d->c > 0;
}

enum { PIXELS = 256, WINDOW_BYTES = 96 << 10 };

int TN_K(conv_forward)(const tn__conv_dims *d, const float *x, const float *weight, const float *bias, float *y)
{
    if (!covered(d))
        return 1;
    if (d->n * d->oh * d->ow * d->oc == 0)
        return 0;
    phase whole = {
        .rows = forward_axis(d->oh, d->kh, d->sh, d->ph),
        .cols = forward_axis(d->ow, d->kw, d->sw, d->pw),
    };
    convolution v = {
        .view = {.source = x, .n = d->n, .h = d->h, .w = d->w, .c = d->c},
        .phases = 1, .phase = &whole,
        .weight = weight, .kernel_w = d->kw, .tap_stride = d->c, .source_stride = 1, .out_stride = (int64_t)d->kh * d->kw * d->c,
        .out = y, .out_image = d->oh * d->ow * d->oc, .out_c = d->oc,
    };
    view_plan(&v.view, 1, &whole, PIXELS, WINDOW_BYTES);
    return convolve(&v, bias, d->ow);
}

int TN_K(conv_backward_data)(const tn__conv_dims *d, const float *dy, const float *weight, float *dx)
{
    if (!covered(d))
        return 1;
    int64_t floats = d->n * d->h * d->w * d->c, phases = (int64_t)d->sh * d->sw;
    if (d->n * d->oh * d->ow * d->oc == 0) {
        memset(dx, 0, (size_t)floats * sizeof(float));
        return 0;
    }
    phase *p = tn__scratch((size_t)phases * sizeof *p);
    if (!p)
        return -1;
    for (int64_t i = 0; i < phases; i++)
        p[i] = (phase){
            .rows = backward_axis(d->h, d->kh, d->sh, d->ph, i / d->sw),
            .cols = backward_axis(d->w, d->kw, d->sw, d->pw, i % d->sw),
        };
    convolution v = {
        .view = {.source = dy, .n = d->n, .h = d->oh, .w = d->ow, .c = d->oc},
        .phases = phases, .phase = p,
        .weight = weight, .kernel_w = d->kw, .tap_stride = d->c, .source_stride = (int64_t)d->kh * d->kw * d->c, .out_stride = 1,
        .out = dx, .out_image = d->h * d->w * d->c, .out_c = d->c,
    };
    view_plan(&v.view, phases, p, PIXELS, WINDOW_BYTES);
    int result = convolve(&v, NULL, d->w);
    tn__scratch_free(p);
    return result;
}

/* ---- The gradient of the weight ---- */

/*
 * dw[o][tap, c] = sum over pixels of dy[o] * x[tap, c]. A register tile is a few consecutive inputs times two vectors of outputs, and
 * the loop runs over the pixels of a view. Views are summed into the partial gradient of their chunk, chunks are added at the end: how
 * many there are is a function of the shapes alone.
 */
typedef struct gradient {
    view view;
    phase phase; /* without weights */
    const float *dy;
    float *dw;      /* [oc, depth] */
    float *partial; /* [chunks][blocks][depth][BLOCK] */
    float *workers; /* the window, then dy of a view's pixels as [blocks][pixels][BLOCK] */
    int64_t oc, blocks, chunks, splits;
    bool packed; /* dy is copied: its vectors are ragged, or too far apart (see gradient_plan) */
    int64_t segments, length, depth; /* inputs of a pixel: segments of contiguous floats, depth floats in all */
    int64_t pixels, worker_floats;   /* most pixels in a view; floats at `workers` of each worker */
} gradient;

TN_INLINE void gradient_tile(int taps, int vectors, const float *x, const int64_t *from, int64_t pixels, const float *dy,
                             int64_t stride, float *dw, bool fresh)
{
    vf sum[2 * TAPS][2];
    int width = vectors * TN_VEC;
    TN_UNROLL for (int i = 0; i < taps; i++) {
        sum[i][0] = fresh ? (vf){0} : tn__load(dw + i * width);
        sum[i][1] = fresh || vectors == 1 ? (vf){0} : tn__load(dw + i * width + TN_VEC);
    }
    for (int64_t p = 0; p < pixels; p++, dy += stride) {
        const float *at = x + from[p];
        vf g0 = tn__load(dy), g1 = vectors == 2 ? tn__load(dy + TN_VEC) : (vf){0};
        TN_UNROLL for (int i = 0; i < taps; i++) {
            vf s = tn__splat(at[i]);
            sum[i][0] += s * g0;
            if (vectors == 2)
                sum[i][1] += s * g1;
        }
    }
    TN_UNROLL for (int i = 0; i < taps; i++) {
        tn__store(dw + i * width, sum[i][0]);
        if (vectors == 2)
            tn__store(dw + i * width + TN_VEC, sum[i][1]);
    }
}

#define GRADIENT_FUNCTION(n, vectors)                                                                                    static void gradient_##n##_##vectors(const float *x, const int64_t *from, int64_t pixels, const float *dy, int64_t stride, float *dw, bool fresh)     {                                                                                                                        gradient_tile(n, vectors, x, from, pixels, dy, stride, dw, fresh);                                                       }
#define GRADIENT_NAME(n, vectors) gradient_##n##_##vectors,
#define UP_TO_6(X, v) X(1, v) X(2, v) X(3, v) X(4, v) X(5, v) X(6, v)
#define UP_TO_12(X, v) UP_TO_6(X, v) X(7, v) X(8, v) X(9, v) X(10, v) X(11, v) X(12, v)
#define UP_TO_24(X, v)                                                                                UP_TO_12(X, v) X(13, v) X(14, v) X(15, v) X(16, v) X(17, v) X(18, v) X(19, v) X(20, v) X(21, v)     X(22, v) X(23, v) X(24, v)
#if TN_VEC == 16
#define FOR_ONE_VECTOR UP_TO_24
#define FOR_TWO_VECTORS UP_TO_12
#else
#define FOR_ONE_VECTOR UP_TO_12
#define FOR_TWO_VECTORS UP_TO_6
#endif
FOR_ONE_VECTOR(GRADIENT_FUNCTION, 1)
FOR_TWO_VECTORS(GRADIENT_FUNCTION, 2)

typedef void gradient_function(const float *x, const int64_t *from, int64_t pixels, const float *dy, int64_t stride, float *dw, bool fresh);
static gradient_function *const gradient_functions[2][2 * TAPS] = {
    {FOR_ONE_VECTOR(GRADIENT_NAME, 1)},
    {FOR_TWO_VECTORS(GRADIENT_NAME, 2)},
};

/* dy of some pixels, for blocks [begin, end): the vectors of a block side by side for all pixels, the last one padded with zeros. */
static void pack_dy(const gradient *g, const float *dy, int64_t pixels, int64_t begin, int64_t end, float *to)
{
    for (int64_t b = begin; b < end; b++) {
        int64_t channels = least(g->oc - b * BLOCK, BLOCK), width = channels > TN_VEC ? BLOCK : TN_VEC;
        const float *from = dy + b * BLOCK;
        for (int64_t p = 0; p < pixels; p++, from += g->oc, to += width) {
            if (channels == BLOCK) {
                tn__store(to, tn__load(from));
                tn__store(to + TN_VEC, tn__load(from + TN_VEC));
                continue;
            }
            for (int64_t j = 0; j < width; j++)
                to[j] = j < channels ? from[j] : 0;
        }
    }
}

/* One view's share of inputs [k, k + inputs) of a segment, for blocks [begin, end); x is the segment's first input. */
static void gradient_stripe(const gradient *g, const float *x, const int64_t *from, int64_t pixels, const float *dy, int64_t k,
                            int64_t inputs, float *dw, int64_t begin, int64_t end, bool fresh, ahead *next)
{
    for (int64_t b = begin; b < end; b++) {
        bool two = g->oc - b * BLOCK > TN_VEC;
        int64_t width = two ? BLOCK : TN_VEC, stride = g->packed ? width : g->oc, tiles = ceil_div(inputs, two ? TAPS : 2 * TAPS);
        float *block = dw + (b * g->depth) * BLOCK + k * width;
        for (int64_t i = 0; i < tiles; i++) {
            int64_t at = inputs * i / tiles, n = inputs * (i + 1) / tiles - at;
            fetch(next);
            fetch(next + 1);
            gradient_functions[two][n - 1](x + at, from, pixels, dy, stride, block + at * width, fresh);
        }
        dy += g->packed ? pixels * width : width;
    }
}

static void gradient_view(const gradient *g, int64_t i, int64_t begin, int64_t end, float *scratch, float *dw, bool fresh, bool more)
{
    enum { STRIPE = 96 }; /* inputs per pixel that stay near while all blocks of outputs pass over them */
    place at = view_place(&g->view, i);
    const float *x = view_open(&g->view, &at, scratch);
    int64_t p, last;
    phase_range(&g->phase, &g->view, &at, &p, &last);
    const float *dy = g->dy + (at.image * phase_pixels(&g->phase) + p) * g->oc;
    if (g->packed) {
        float *packed = scratch + window_floats(&g->view);
        pack_dy(g, dy, last - p, begin, end, packed);
        dy = packed;
    } else {
        dy += begin * BLOCK;
    }
    const int64_t *from = g->phase.from + (g->view.direct ? p : 0); /* windows of all bands look like that of the first */
    ahead next[2] = {0}; /* x, dy */
    if (more) {
        int64_t tiles_of_view = g->depth / TAPS * (end - begin);
        look_ahead_view(&next[0], &g->view, i + 1, tiles_of_view);
        look_ahead(&next[1], g->dy + (at.image * phase_pixels(&g->phase) + last) * g->oc, g->pixels * g->oc, tiles_of_view);
    }
    int64_t in_row = g->segments / g->phase.rows.taps;
    for (int64_t s = 0; s < g->segments; s++) {
        const float *segment = x + s / in_row * g->view.row + s % in_row * g->view.pixel;
        int64_t stripes = ceil_div(g->length, STRIPE);
        for (int64_t t = 0; t < stripes; t++) {
            int64_t k = g->length * t / stripes, inputs = g->length * (t + 1) / stripes - k;
            gradient_stripe(g, segment + k, from, last - p, dy, s * g->length + k, inputs, dw, begin, end, fresh,
                            next);
        }
    }
}

static void gradient_unit(void *arg, int64_t i, int worker)
{
    const gradient *g = arg;
    int64_t chunk = i / g->splits, split = i % g->splits, views = view_count(&g->view);
    int64_t begin = g->blocks * split / g->splits, end = g->blocks * (split + 1) / g->splits;
    int64_t first = views * chunk / g->chunks, last = views * (chunk + 1) / g->chunks;
    float *scratch = g->workers + worker * g->worker_floats, *dw = g->partial + chunk * g->blocks * g->depth * BLOCK;
    for (int64_t k = first; k < last; k++)
        gradient_view(g, k, begin, end, scratch, dw, k == first, k + 1 < last);
}

/* Adds the chunks and turns [depth][BLOCK] into [oc][depth], for SUM_DEPTH inputs of one block. */
enum { SUM_DEPTH = 16 };
static void gradient_sum(void *arg, int64_t i, int worker)
{
    (void)worker;
    const gradient *g = arg;
    int64_t pieces = ceil_div(g->depth, SUM_DEPTH), b = i / pieces, k = i % pieces * SUM_DEPTH;
    int64_t channels = least(g->oc - b * BLOCK, BLOCK), width = channels > TN_VEC ? BLOCK : TN_VEC;
    int64_t inputs = least(SUM_DEPTH, g->depth - k);
    float sum[SUM_DEPTH * BLOCK];
    const float *from = g->partial + b * g->depth * BLOCK + k * width;
    memcpy(sum, from, (size_t)(inputs * width) * sizeof(float));
    for (int64_t c = 1; c < g->chunks; c++) {
        from += g->blocks * g->depth * BLOCK;
        for (int64_t j = 0; j < inputs * width; j++)
            sum[j] += from[j];
    }
    for (int64_t o = 0; o < channels; o++)
        for (int64_t j = 0; j < inputs; j++)
            g->dw[(b * BLOCK + o) * g->depth + k + j] = sum[j * width + o];
}

/* How x is seen: pixels a multiple of four cache lines apart would share few of the sets of the first cache, so they are spread. */
static void gradient_plan(gradient *g, const tn__conv_dims *d)
{
    enum { GRADIENT_PIXELS = 96, GRADIENT_BYTES = 24 << 10, PARTIAL_BYTES = 2 << 20, MOST_CHUNKS = 64 };
    view *v = &g->view;
    view_plan(v, 1, &g->phase, GRADIENT_PIXELS, GRADIENT_BYTES);
    g->depth = (int64_t)d->kh * d->kw * d->c;
    g->segments = d->kh;
    if (d->sw * d->c % (4 * ALIGN) == 0) {
        v->direct = false;
        v->height = (v->rows - 1) * v->step + d->kh;
        view_strides(v, d->c + ALIGN, v->width, v->height);
        g->segments *= d->kw;
    }
    g->length = g->depth / g->segments;
    g->packed = d->oc % TN_VEC || d->oc % (4 * ALIGN) == 0;
    g->blocks = ceil_div(d->oc, BLOCK);
    g->pixels = v->images > 1 ? v->images * d->oh * d->ow : v->rows * d->ow;
    g->worker_floats = window_floats(v) + g->pixels * g->blocks * BLOCK;

    int64_t bytes = g->blocks * BLOCK * g->depth * (int64_t)sizeof(float);
    int64_t limit = least(least(view_count(v), MOST_CHUNKS), PARTIAL_BYTES / bytes);
    for (g->chunks = 1; 2 * g->chunks <= limit;)
        g->chunks *= 2;
    g->splits = splits_of(g->chunks, g->blocks);
}

int TN_K(conv_backward_weight)(const tn__conv_dims *d, const float *x, const float *dy, float *dw)
{
    if (!covered(d))
        return 1;
    if (d->n * d->oh * d->ow * d->oc == 0) {
        memset(dw, 0, (size_t)(d->oc * d->kh * d->kw * d->c) * sizeof(float));
        return 0;
    }
    gradient g = {
        .view = {.source = x, .n = d->n, .h = d->h, .w = d->w, .c = d->c},
        .phase = {
            .rows = forward_axis(d->oh, d->kh, d->sh, d->ph),
            .cols = forward_axis(d->ow, d->kw, d->sw, d->pw),
        },
        .dy = dy, .dw = dw, .oc = d->oc,
    };
    gradient_plan(&g, d);
    int64_t partial = g.chunks * g.blocks * BLOCK * g.depth, workers = tn__threads() * g.worker_floats;
    int64_t offsets = 2 * g.view.images * phase_pixels(&g.phase);
    g.partial = tn__scratch((size_t)aligned(partial + workers) * sizeof(float) + (size_t)offsets * sizeof(int64_t));
    if (!g.partial)
        return -1;
    g.workers = g.partial + partial;
    g.phase.from = (int64_t *)(void *)(g.partial + aligned(partial + workers));
    g.phase.to = g.phase.from + offsets / 2;
    phase_offsets(&g.phase, &g.view, d->ow, d->oc, d->oh * d->ow * d->oc);
    tn__parallel(g.chunks * g.splits, gradient_unit, &g);
    tn__parallel(g.blocks * ceil_div(g.depth, SUM_DEPTH), gradient_sum, &g);
    tn__scratch_free(g.partial);
    return 0;
}
