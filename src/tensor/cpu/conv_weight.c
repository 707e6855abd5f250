/*
 * The gradient of a convolution's weight. See conv.h for the contract, conv.c for views and phases.
 */
#include "conv_view.h"

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
