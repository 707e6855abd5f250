/*
 * Direct convolution of channels-last images. See conv.h for the contract; the reference loops are
 * in src/tensor/ops.
 *
 * One idea carries all convolutions. In a channels-last image the kw * c inputs that one kernel
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
 * The gradient of the weight sums over pixels instead: conv_weight.c.
 */
#include "conv_view.h"

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
