/*
 * Direct convolution of channels-last images. See conv.h for the contract; the reference loops are
 * in src/tensor/ops.
 *
 * One idea carries all three functions. In a channels-last image the kw * c inputs that one kernel
 * row meets are contiguous, so with a border of zeros around the image every output pixel is a sum
 * of kh contiguous dot products, and a tile of a few pixels times two vectors of output channels
 * lives in registers.
 *
 *   view    what a worker sees of the source: a band of rows of one image, or a few whole small
 *           images, copied with its border of zeros into a window (or read in place where there is
 *           no border).
 *   phase   a convolution from the view to some of the destination's pixels. Forward is one phase.
 *           The gradient of the data with stride s is s * s phases: pixels of equal residue meet
 *           the same taps, and nothing is multiplied by an inserted zero.
 *   block   the output channels of a register tile.
 *
 * The gradient of the weight sums over pixels instead; it has the second half of the file.
 */
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

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static int64_t aligned(int64_t floats) { return ceil_div(floats, LINE) * LINE; }

/* The channels of block b, and the floats they take when packed: whole vectors. */
static int64_t block_channels(int64_t channels, int64_t b)
{
    return least(channels - b * BLOCK, BLOCK);
}

static int64_t block_width(int64_t channels, int64_t b)
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

static axis forward_axis(int64_t out, int64_t kernel, int64_t stride, int64_t pad)
{
    return (axis){.hi = out, .step = stride, .origin = -pad, .taps = kernel, .out_step = 1,
                  .tap_step = 1};
}

/* Destinations d = stride * q + residue - pad: they meet source q - j through row
 * residue + stride * j of the kernel, and the taps take j downwards. */
static axis backward_axis(int64_t in, int64_t kernel, int64_t stride, int64_t pad, int64_t residue)
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

static int64_t phase_width(const phase *p) { return most(p->cols.hi - p->cols.lo, 0); }
static int64_t phase_taps(const phase *p) { return p->rows.taps * p->cols.taps; }
static int64_t phase_pixels(const phase *p)
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

static int64_t view_count(const view *v) { return v->groups * v->bands; }
static int64_t window_floats(const view *v)
{
    return v->direct ? 0 : aligned(v->images * v->image);
}

static void view_strides(view *v, int64_t pixel, int64_t width, int64_t height)
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
static void view_plan(view *v, int64_t phases, const phase *p, int64_t pixels, int64_t floats,
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

static void phase_offsets(const phase *p, const view *v, int64_t out_w, int64_t out_c,
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

static place view_place(const view *v, int64_t i)
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
static void phase_range(const phase *p, const view *v, const place *at, int64_t *begin,
                        int64_t *end)
{
    int64_t first = most(at->q, p->rows.lo), last = least(at->q + at->rows, p->rows.hi);
    *begin = (first - p->rows.lo) * phase_width(p);
    *end = *begin + most(last - first, 0) * phase_width(p);
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

/* Returns what phase.from counts from: the window, filled with its part of the source, or the
 * source itself. */
static const float *view_open(const view *v, const place *at, float *window)
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

static ahead look_ahead(const float *from, int64_t floats, int64_t tiles)
{
    return (ahead){(const char *)from, (const char *)(from + floats),
                   floats / (LINE * most(tiles, 1)) + 1};
}

static ahead look_ahead_view(const view *v, int64_t i, int64_t tiles)
{
    place at = view_place(v, i);
    int64_t begin = least(most(at.top, 0), v->h);
    int64_t end = most(least(at.top + at.height, v->h), begin);
    int64_t rows = (at.images - 1) * v->h + end - begin, row = v->w * v->c;
    return look_ahead(v->source + (at.image * v->h + begin) * row, rows * row, tiles);
}

static void fetch(ahead *a)
{
    for (int64_t i = 0; i < a->lines && a->next < a->end; i++, a->next += LINE * sizeof(float))
        __builtin_prefetch(a->next, 0, 2);
}

/* ---- Forward, and the gradient of the data ---- */

typedef struct tile_job {
    const float *x;
    float *y;
    const float *weight; /* [rows * length][vectors * TN_VEC] */
    const float *init;   /* [vectors * TN_VEC] what the sums start from; NULL: from what y holds */
    int64_t shift;
    int64_t rows, length, stride; /* inputs of a pixel: rows of floats, from one row to the next */
} tile_job;

/*
 * With one vector of outputs the pixels alone do not fill the multiplier's pipeline, so even and
 * odd products are summed apart. The order of every sum depends on the shape only, never on the
 * number of pixels in the tile.
 */
TN_INLINE void tile(int pixels, int vectors, const tile_job *job, const int64_t *from,
                    const int64_t *to)
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
        for (; vectors == 1 && k + 1 < end; k += 2, w += 2 * TN_VEC) {
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

typedef void tile_function(const tile_job *job, const int64_t *from, const int64_t *to);

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

#define TILE_NAME(n, vectors) tile_##n##_##vectors,
#define TILE_FUNCTION(n, vectors)                                                                 \
    static void tile_##n##_##vectors(const tile_job *job, const int64_t *from, const int64_t *to) \
    {                                                                                             \
        tile(n, vectors, job, from, to);                                                          \
    }
UP_TO_TILE(TILE_FUNCTION, 1)
UP_TO_TILE(TILE_FUNCTION, 2)

static tile_function *const tile_functions[2][TILE] = {
    {UP_TO_TILE(TILE_NAME, 1)},
    {UP_TO_TILE(TILE_NAME, 2)},
};

/* A tile whose channels end inside a vector goes through whole ones. */
static void ragged_tile(int pixels, int64_t channels, const tile_job *job, const int64_t *from,
                        const int64_t *to)
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
    tile_functions[channels > TN_VEC][pixels - 1](&bounce, from, at);
    for (int i = 0; i < pixels; i++)
        memcpy(job->y + to[i], whole + at[i], (size_t)channels * sizeof(float));
}

/* Pixels [begin, end) in tiles of nearly equal size: no small one is left over at the end. */
static void tiles(const tile_job *job, const phase *p, int64_t begin, int64_t end, int64_t channels,
                  ahead *next)
{
    int64_t count = ceil_div(end - begin, TILE);
    int64_t size = (end - begin) / most(count, 1), larger = (end - begin) - count * size;
    for (int64_t i = 0, at = begin; i < count; i++) {
        int n = (int)(size + (i < larger));
        fetch(next);
        if (channels % TN_VEC)
            ragged_tile(n, channels, job, p->from + at, p->to + at);
        else
            tile_functions[channels > TN_VEC][n - 1](job, p->from + at, p->to + at);
        at += n;
    }
}

typedef struct convolution {
    view view;
    int64_t phases;
    phase *phase;
    const float *weight; /* as the caller has it */
    int64_t kernel_w; /* columns of the weight */
    int64_t tap_stride, source_stride, out_stride; /* of taps and channels in it, in floats */
    const float *bias; /* [blocks * BLOCK], padded with zeros */
    float *out;
    int64_t out_image, out_c, blocks; /* out_image: floats */
    int64_t run, splits; /* views of a unit of work; units sharing views, each with some blocks */
    float *windows;      /* one for each worker */
} convolution;

/* Block i % blocks of phase i / blocks: the outputs of a tile side by side, the inputs in the order
 * in which it meets them. */
static void pack_block(void *arg, int64_t i, int worker)
{
    (void)worker;
    const convolution *v = arg;
    const phase *p = &v->phase[i / v->blocks];
    int64_t block = i % v->blocks, first = block * BLOCK;
    int64_t channels = block_channels(v->out_c, block), width = block_width(v->out_c, block);
    float *to = p->weight + first * phase_taps(p) * v->view.c;
    for (int64_t a = 0; a < p->rows.taps; a++)
        for (int64_t b = 0; b < p->cols.taps; b++) {
            int64_t row = p->rows.tap_first + a * p->rows.tap_step;
            int64_t col = p->cols.tap_first + b * p->cols.tap_step;
            const float *from = v->weight + (row * v->kernel_w + col) * v->tap_stride +
                                first * v->out_stride;
            for (int64_t k = 0; k < v->view.c; k++, to += width)
                for (int64_t j = 0; j < width; j++)
                    to[j] = j < channels ? from[k * v->source_stride + j * v->out_stride] : 0;
        }
}

/* The inputs of a pixel in pieces of about DEPTH, each for all blocks and pixels in turn. */
static void convolve_phase(const convolution *v, const phase *p, const tile_job *job, int64_t begin,
                           int64_t end, int64_t block_begin, int64_t block_end, ahead *next)
{
    int64_t length = p->cols.taps * v->view.c, rows = p->rows.taps, depth = rows * length;
    if (depth == 0) { /* pixels that no output met: one piece, of nothing, makes them zero */
        rows = 1;
        length = 0;
    }
    int64_t pieces = most(ceil_div(length, DEPTH), 1);
    int64_t piece_rows = most(DEPTH / most(length, 1), 1);
    for (int64_t r = 0; r < rows; r += piece_rows)
        for (int64_t i = 0; i < pieces; i++) {
            int64_t k = length * i / pieces;
            tile_job piece = *job;
            piece.x += r * v->view.row + k;
            piece.rows = least(piece_rows, rows - r);
            piece.length = length * (i + 1) / pieces - k;
            for (int64_t b = block_begin; b < block_end; b++) {
                int64_t width = block_width(v->out_c, b);
                piece.weight = p->weight + b * BLOCK * depth + (r * length + k) * width;
                piece.init = r == 0 && i == 0 ? v->bias + b * BLOCK : NULL;
                piece.y = job->y + b * BLOCK;
                tiles(&piece, p, begin, end, block_channels(v->out_c, b), next);
            }
        }
}

static void convolve_unit(void *arg, int64_t i, int worker)
{
    const convolution *v = arg;
    const view *views = &v->view;
    int64_t split = i % v->splits, first = i / v->splits * v->run;
    int64_t last = least(first + v->run, view_count(views));
    int64_t begin = v->blocks * split / v->splits, end = v->blocks * (split + 1) / v->splits;
    int64_t pixels = views->images * views->rows * (views->width / views->step);
    for (int64_t k = first; k < last; k++) {
        ahead next = {0};
        if (k + 1 < last && !views->direct)
            next = look_ahead_view(views, k + 1, pixels / TILE * (end - begin));
        place at = view_place(views, k);
        tile_job job = {
            .x = view_open(views, &at, v->windows + worker * window_floats(views)),
            .y = v->out + at.image * v->out_image, .shift = at.shift, .stride = views->row,
        };
        for (int64_t f = 0; f < v->phases; f++) {
            int64_t from, to;
            phase_range(&v->phase[f], views, &at, &from, &to);
            convolve_phase(v, &v->phase[f], &job, from, to, begin, end, &next);
        }
    }
}

/* Too few units would leave a thread idle at the end: then units share views. */
static int64_t splits_of(int64_t units, int64_t blocks)
{
    int64_t threads = tn__threads(), splits = 1;
    while (threads > 1 && units * splits < 4 * threads && 2 * splits <= blocks)
        splits *= 2;
    return splits;
}

/* Does what v, the axes of its phases and the strides of its weight describe. */
static int convolve(convolution *v, const float *bias, int64_t out_w)
{
    view_plan(&v->view, v->phases, v->phase, 256, 24 << 10, 0);
    int64_t threads = tn__threads(), window = window_floats(&v->view), images = v->view.images;
    v->blocks = ceil_div(v->out_c, BLOCK);
    v->run = most(least(view_count(&v->view) / (8 * threads), 4), 1);
    int64_t units = ceil_div(view_count(&v->view), v->run), padded = v->blocks * BLOCK;
    v->splits = splits_of(units, v->blocks);

    int64_t floats = threads * window + aligned(padded), offsets = 0;
    for (int64_t i = 0; i < v->phases; i++) {
        floats += aligned(padded * phase_taps(&v->phase[i]) * v->view.c);
        offsets += 2 * images * phase_pixels(&v->phase[i]);
    }
    float *memory = tn__scratch((size_t)floats * sizeof(float) + (size_t)offsets * sizeof(int64_t));
    if (!memory)
        return -1;
    v->windows = memory;
    float *next = memory + threads * window;
    memset(next, 0, (size_t)padded * sizeof(float));
    if (bias)
        memcpy(next, bias, (size_t)v->out_c * sizeof(float));
    v->bias = next;
    next += aligned(padded);
    int64_t *table = (int64_t *)(void *)(memory + floats);
    for (phase *p = v->phase; p < v->phase + v->phases; p++) {
        p->weight = next;
        next += aligned(padded * phase_taps(p) * v->view.c);
        p->from = table;
        p->to = p->from + images * phase_pixels(p);
        table = p->to + images * phase_pixels(p);
        phase_offsets(p, &v->view, out_w, v->out_c, v->out_image);
    }
    tn__parallel(v->phases * v->blocks, pack_block, v);
    tn__parallel(units * v->splits, convolve_unit, v);
    tn__scratch_free(memory);
    return 0;
}

static bool covered(const tn__conv_dims *d)
{
    return d->groups == 1 && d->dh == 1 && d->dw == 1 && d->c > 0;
}

int TN_K(conv_forward)(const tn__conv_dims *d, const float *x, const float *weight,
                       const float *bias, float *y)
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
        .weight = weight, .kernel_w = d->kw, .tap_stride = d->c, .source_stride = 1,
        .out_stride = (int64_t)d->kh * d->kw * d->c,
        .out = y, .out_image = d->oh * d->ow * d->oc, .out_c = d->oc,
    };
    return convolve(&v, bias, d->ow);
}

int TN_K(conv_backward_data)(const tn__conv_dims *d, const float *dy, const float *weight,
                             float *dx)
{
    if (!covered(d))
        return 1;
    int64_t phases = (int64_t)d->sh * d->sw, floats = d->n * d->h * d->w * d->c;
    if (floats == 0 || d->oh * d->ow * d->oc == 0) {
        if (floats)
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
        .weight = weight, .kernel_w = d->kw, .tap_stride = d->c, .out_stride = 1,
        .source_stride = (int64_t)d->kh * d->kw * d->c,
        .out = dx, .out_image = d->h * d->w * d->c, .out_c = d->c,
    };
    int result = convolve(&v, NULL, d->w);
    tn__scratch_free(p);
    return result;
}

/* ---- The gradient of the weight ---- */

/*
 * dw[o][k] is the sum over pixels of dy[o] * x[k], k one of the `depth` inputs of a pixel. A tile
 * is a few consecutive inputs times a block of outputs, and its loop runs over the pixels of a
 * view. Views are summed into the partial gradient of their chunk, and the chunks are added at the
 * end: how many there are is a function of the shapes alone.
 */
typedef struct gradient {
    view view;
    phase phase; /* without weights */
    const float *dy;
    float *dw;      /* [oc, depth] */
    float *partial; /* [chunks][blocks][depth][BLOCK] */
    float *workers; /* for each its window, then dy of a view's pixels as [blocks][pixels][BLOCK] */
    int64_t worker_floats;
    int64_t oc, blocks, chunks, splits;
    int64_t segments, length, depth; /* inputs of a pixel: segments of contiguous floats */
    int64_t pixels;                  /* most in a view */
    bool packed;                     /* dy is copied: see gradient_plan */
} gradient;

/* One view, for blocks [begin, end). */
typedef struct pass {
    const float *x, *dy;
    const int64_t *from;
    int64_t pixels, begin, end;
    float *dw;
    bool fresh; /* the first of the chunk */
    ahead next_x, next_dy;
} pass;

TN_INLINE void gradient_tile(int taps, int vectors, const pass *s, const float *x, const float *dy,
                             int64_t stride, float *dw)
{
    vf sum[2 * TAPS][2];
    int width = vectors * TN_VEC;
    TN_UNROLL for (int i = 0; i < taps; i++) {
        float *start = dw + i * width;
        sum[i][0] = s->fresh ? (vf){0} : tn__load(start);
        sum[i][1] = s->fresh || vectors == 1 ? (vf){0} : tn__load(start + TN_VEC);
        for (int j = 0; j < width; j += LINE)
            __builtin_prefetch(start + taps * width + j, 1); /* the next tile's */
    }
    const int64_t *end = s->from + s->pixels;
    for (const int64_t *from = s->from; from < end; from++, dy += stride) {
        const float *at = x + *from;
        vf g0 = tn__load(dy), g1 = vectors == 2 ? tn__load(dy + TN_VEC) : (vf){0};
        TN_UNROLL for (int i = 0; i < taps; i++) {
            vf one = tn__splat(at[i]);
            sum[i][0] += one * g0;
            if (vectors == 2)
                sum[i][1] += one * g1;
        }
    }
    TN_UNROLL for (int i = 0; i < taps; i++) {
        tn__store(dw + i * width, sum[i][0]);
        if (vectors == 2)
            tn__store(dw + i * width + TN_VEC, sum[i][1]);
    }
}

typedef void gradient_function(const pass *s, const float *x, const float *dy, int64_t stride,
                               float *dw);

#define GRADIENT_NAME(n, vectors) gradient_##n##_##vectors,
#define GRADIENT_FUNCTION(n, vectors)                                                             \
    static void gradient_##n##_##vectors(const pass *s, const float *x, const float *dy,          \
                                         int64_t stride, float *dw)                               \
    {                                                                                             \
        gradient_tile(n, vectors, s, x, dy, stride, dw);                                          \
    }
UP_TO_TWICE_TAPS(GRADIENT_FUNCTION, 1)
UP_TO_TAPS(GRADIENT_FUNCTION, 2)

static gradient_function *const gradient_functions[2][2 * TAPS] = {
    {UP_TO_TWICE_TAPS(GRADIENT_NAME, 1)},
    {UP_TO_TAPS(GRADIENT_NAME, 2)},
};

/* The pass's blocks of dy: each for all pixels before the next, the last one padded with zeros. */
static void pack_dy(const gradient *g, const pass *s, float *to)
{
    for (int64_t b = s->begin; b < s->end; b++) {
        int64_t channels = block_channels(g->oc, b), width = block_width(g->oc, b);
        const float *from = s->dy + b * BLOCK;
        for (int64_t p = 0; p < s->pixels; p++, from += g->oc, to += width) {
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

/* Inputs [k, k + inputs) of the gradient; x is the first of them for the pixel with offset 0. */
static void gradient_stripe(const gradient *g, pass *s, const float *x, int64_t k, int64_t inputs)
{
    const float *dy = s->dy;
    for (int64_t b = s->begin; b < s->end; b++) {
        bool two = block_channels(g->oc, b) > TN_VEC;
        int64_t width = block_width(g->oc, b), stride = g->packed ? width : g->oc;
        int64_t count = ceil_div(inputs, two ? TAPS : 2 * TAPS);
        float *dw = s->dw + b * g->depth * BLOCK + k * width;
        for (int64_t i = 0; i < count; i++) {
            int64_t at = inputs * i / count, n = inputs * (i + 1) / count - at;
            fetch(&s->next_x);
            fetch(&s->next_dy);
            gradient_functions[two][n - 1](s, x + at, dy, stride, dw + at * width);
        }
        dy += g->packed ? s->pixels * width : width;
    }
}

static void gradient_view(const gradient *g, int64_t i, pass *s, float *scratch, bool more)
{
    enum { STRIPE = 96 }; /* inputs of each pixel that stay near while all blocks pass over them */
    const view *v = &g->view;
    place at = view_place(v, i);
    int64_t begin, end;
    phase_range(&g->phase, v, &at, &begin, &end);
    int64_t first = at.image * phase_pixels(&g->phase);
    s->x = view_open(v, &at, scratch);
    s->from = g->phase.from + (v->direct ? begin : 0); /* the windows of all bands look alike */
    s->pixels = end - begin;
    s->dy = g->dy + (first + begin) * g->oc;
    if (more) {
        int64_t next = first + end;
        int64_t pixels = least(g->pixels, v->n * phase_pixels(&g->phase) - next);
        int64_t calls = g->depth / TAPS * (s->end - s->begin);
        s->next_x = look_ahead_view(v, i + 1, calls);
        s->next_dy = look_ahead(g->dy + next * g->oc, pixels * g->oc, calls);
    }
    if (g->packed) {
        float *packed = scratch + window_floats(v);
        pack_dy(g, s, packed);
        s->dy = packed;
    } else {
        s->dy += s->begin * BLOCK;
    }
    int64_t in_row = g->segments / g->phase.rows.taps, stripes = ceil_div(g->length, STRIPE);
    for (int64_t seg = 0; seg < g->segments; seg++)
        for (int64_t t = 0; t < stripes; t++) {
            int64_t k = g->length * t / stripes, inputs = g->length * (t + 1) / stripes - k;
            const float *x = s->x + seg / in_row * v->row + seg % in_row * v->pixel + k;
            gradient_stripe(g, s, x, seg * g->length + k, inputs);
        }
}

static void gradient_unit(void *arg, int64_t i, int worker)
{
    const gradient *g = arg;
    int64_t chunk = i / g->splits, split = i % g->splits, views = view_count(&g->view);
    int64_t first = views * chunk / g->chunks, last = views * (chunk + 1) / g->chunks;
    for (int64_t k = first; k < last; k++) {
        pass s = {
            .begin = g->blocks * split / g->splits, .end = g->blocks * (split + 1) / g->splits,
            .dw = g->partial + chunk * g->blocks * g->depth * BLOCK, .fresh = k == first,
        };
        gradient_view(g, k, &s, g->workers + worker * g->worker_floats, k + 1 < last);
    }
}

enum { SUM = 16 };

/* Adds the chunks and turns [depth][BLOCK] into [oc][depth], for SUM inputs of one block. */
static void gradient_sum(void *arg, int64_t i, int worker)
{
    (void)worker;
    const gradient *g = arg;
    int64_t pieces = ceil_div(g->depth, SUM), b = i / pieces, k = i % pieces * SUM;
    int64_t channels = block_channels(g->oc, b), width = block_width(g->oc, b);
    int64_t inputs = least(SUM, g->depth - k);
    const float *from = g->partial + b * g->depth * BLOCK + k * width;
    float sum[SUM * BLOCK];
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

/*
 * Pixels a multiple of four cache lines apart share so few sets of L1 that a view's worth of them
 * evict each other. So x is then spread in its window, and dy packed (as it is when its vectors are
 * ragged).
 */
static void gradient_plan(gradient *g, const tn__conv_dims *d)
{
    enum { PARTIAL_BYTES = 2 << 20, MOST_CHUNKS = 64 };
    view *v = &g->view;
    view_plan(v, 1, &g->phase, 96, 6 << 10, BLOCK);
    g->depth = (int64_t)d->kh * d->kw * d->c;
    g->segments = d->kh;
    if (d->sw * d->c % (4 * LINE) == 0) {
        v->direct = false;
        view_strides(v, d->c + LINE, v->width, v->height);
        g->segments *= d->kw;
    }
    g->length = g->depth / g->segments;
    g->packed = d->oc % TN_VEC || d->oc % (4 * LINE) == 0;
    g->blocks = ceil_div(d->oc, BLOCK);
    g->pixels = v->images * v->rows * d->ow;
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
    int64_t depth = (int64_t)d->kh * d->kw * d->c;
    if (d->n * d->oh * d->ow * d->oc == 0) {
        if (d->oc)
            memset(dw, 0, (size_t)(d->oc * depth) * sizeof(float));
        return 0;
    }
    gradient g = {
        .view = {.source = x, .n = d->n, .h = d->h, .w = d->w, .c = d->c},
        .phase = {.rows = forward_axis(d->oh, d->kh, d->sh, d->ph),
                  .cols = forward_axis(d->ow, d->kw, d->sw, d->pw)},
        .dy = dy, .dw = dw, .oc = d->oc,
    };
    gradient_plan(&g, d);
    int64_t partial = g.chunks * g.blocks * BLOCK * depth;
    int64_t floats = aligned(partial + tn__threads() * g.worker_floats);
    int64_t offsets = g.view.images * phase_pixels(&g.phase);
    g.partial = tn__scratch((size_t)floats * sizeof(float) + 2 * (size_t)offsets * sizeof(int64_t));
    if (!g.partial)
        return -1;
    g.workers = g.partial + partial;
    g.phase.from = (int64_t *)(void *)(g.partial + floats);
    g.phase.to = g.phase.from + offsets;
    phase_offsets(&g.phase, &g.view, d->ow, d->oc, d->oh * d->ow * d->oc);
    tn__parallel(g.chunks * g.splits, gradient_unit, &g);
    tn__parallel(g.blocks * ceil_div(depth, SUM), gradient_sum, &g);
    tn__scratch_free(g.partial);
    return 0;
}
