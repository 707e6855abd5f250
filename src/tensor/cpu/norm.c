/*
 * Batch norm over channels-last arrays, fused with residual add and ReLU. See norm.h for the
 * contract; the reference loops are in src/tensor/ops, layer norm in layer_norm.c.
 *
 * Batch norm sees x [m, c] as strips: as many rows as make a whole number of vectors, and enough of
 * them to keep the processor busy. What belongs to a channel is repeated for every row of a strip,
 * so no loop knows how many channels there are. Rows left over after the last strip are done one
 * number at a time.
 *
 * Sums are taken in chunks whose size depends on the shape only and combined in float64 in a fixed
 * order. All of this is bound by memory, so every formula is written in the form that rounds best:
 * differences from the mean first.
 */
#include "norm.h"

#include <math.h>
#include <string.h>

enum {
    STRIP = 64,       /* floats a strip has at least */
    CHUNK = 32 << 10, /* floats of one array in a unit of work */
    NEAR = 4 << 10,   /* floats that are read twice in a row: half of the first cache */
    ALIGN = 16,       /* floats in a cache line */
};

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* ---- Batch norm ---- */

typedef struct strips {
    int64_t m, c;
    int64_t rows, width;  /* of a strip; width = rows * c, a multiple of TN_VEC */
    int64_t count;        /* whole strips in x; the rows from count * rows on are left over */
    int64_t size, chunks; /* strips in a chunk */
} strips;

static strips strips_of(int64_t m, int64_t c)
{
    int64_t power = c & -c; /* the largest power of two that divides c */
    int64_t rows = TN_VEC / least(power, TN_VEC);
    rows *= ceil_div(STRIP, rows * c);
    strips s = {.m = m, .c = c, .rows = rows, .width = rows * c, .count = m / rows};
    s.size = most(CHUNK / s.width, 1);
    s.chunks = ceil_div(s.count, s.size);
    return s;
}

static void strip_range(const strips *s, int64_t chunk, int64_t *first, int64_t *last)
{
    *first = chunk * s->size;
    *last = least(*first + s->size, s->count);
}

/* One value per channel, repeated over a strip; NULL means a constant. */
static void repeat(const strips *s, const float *from, float constant, float *to)
{
    for (int64_t r = 0; r < s->rows; r++)
        for (int64_t k = 0; k < s->c; k++)
            *to++ = from ? from[k] : constant;
}

typedef struct stats {
    strips s;
    const float *x;
    float *partial; /* [chunks][4][width]: mean less the chunk's first strip, squares; scratch */
} stats;

/* to += the sum over strips of x - center, or of its square. */
TN_INLINE void add_strips(bool square, const float *x, int64_t count, int64_t width,
                          const float *center, float *to)
{
    for (; count >= 4; count -= 4, x += 4 * width)
        for (int64_t j = 0; j < width; j += TN_VEC) {
            vf mid = tn__load(center + j);
            vf a = tn__load(x + j) - mid, b = tn__load(x + width + j) - mid;
            vf c = tn__load(x + 2 * width + j) - mid, d = tn__load(x + 3 * width + j) - mid;
            vf sum = square ? (a * a + b * b) + (c * c + d * d) : (a + b) + (c + d);
            tn__store(to + j, tn__load(to + j) + sum);
        }
    for (; count > 0; count--, x += width)
        for (int64_t j = 0; j < width; j += TN_VEC) {
            vf a = tn__load(x + j) - tn__load(center + j);
            tn__store(to + j, tn__load(to + j) + (square ? a * a : a));
        }
}

/*
 * Pieces that fit the first cache are read twice, for the mean and for the differences from it, and
 * joined by Chan's rule. Means are kept relative to the chunk's first strip: far from zero a float
 * could not hold how little they differ.
 */
static void stats_unit(void *arg, int64_t i, int worker)
{
    (void)worker;
    const stats *t = arg;
    int64_t width = t->s.width, first, last, piece = most(NEAR / width, 8);
    strip_range(&t->s, i, &first, &last);
    const float *shift = t->x + first * width;
    float *mean = t->partial + 4 * i * width, *squares = mean + width;
    float *near = squares + width, *center = near + width;
    memset(mean, 0, (size_t)(3 * width) * sizeof(float));
    for (int64_t at = first; at < last; at += piece) {
        int64_t n = least(piece, last - at);
        const float *x = t->x + at * width;
        float scale = 1 / (float)n, before = (float)(at - first);
        float share = (float)n / (before + (float)n);
        add_strips(false, x, n, width, shift, near);
        for (int64_t j = 0; j < width; j += TN_VEC) {
            vf near_mean = tn__load(near + j) * scale, step = near_mean - tn__load(mean + j);
            tn__store(center + j, tn__load(shift + j) + near_mean);
            tn__store(mean + j, tn__load(mean + j) + step * share);
            tn__store(squares + j, tn__load(squares + j) + step * step * (before * share));
            tn__store(near + j, (vf){0});
        }
        add_strips(true, x, n, width, center, squares);
    }
}

/* total[k] = the sum over all rows of x - middle[k], or of its square. */
static void stats_total(const stats *t, bool square, const double *middle, double *total)
{
    const strips *s = &t->s;
    memset(total, 0, (size_t)s->c * sizeof *total);
    for (int64_t i = 0; i < s->chunks; i++) {
        int64_t first, last;
        strip_range(s, i, &first, &last);
        const float *mean = t->partial + 4 * i * s->width, *shift = t->x + first * s->width;
        double n = (double)(last - first);
        for (int64_t r = 0; r < s->rows; r++, mean += s->c, shift += s->c)
            for (int64_t k = 0; k < s->c; k++) {
                double off = (double)shift[k] + mean[k] - middle[k];
                total[k] += square ? mean[s->width + k] + n * off * off : n * off;
            }
    }
    for (int64_t i = s->count * s->width; i < s->m * s->c; i++) {
        double off = t->x[i] - middle[i % s->c];
        total[i % s->c] += square ? off * off : off;
    }
}

int TN_K(bn_stats)(int64_t m, int64_t c, const float *x, float *mean, float *var)
{
    if (m * c == 0) {
        memset(mean, 0, (size_t)c * sizeof(float));
        memset(var, 0, (size_t)c * sizeof(float));
        return 0;
    }
    stats t = {.s = strips_of(m, c), .x = x};
    double *middle = tn__scratch((size_t)(2 * c) * sizeof(double) +
                                 (size_t)(4 * t.s.chunks * t.s.width) * sizeof(float));
    if (!middle)
        return -1;
    double *total = middle + c;
    t.partial = (float *)(void *)(total + c);
    tn__parallel(t.s.chunks, stats_unit, &t);

    memset(middle, 0, (size_t)c * sizeof *middle);
    stats_total(&t, false, middle, total);
    for (int64_t k = 0; k < c; k++) {
        middle[k] = total[k] / (double)m;
        mean[k] = (float)middle[k];
    }
    stats_total(&t, true, middle, total);
    for (int64_t k = 0; k < c; k++)
        var[k] = (float)(total[k] / (double)m);
    tn__scratch_free(middle);
    return 0;
}

typedef struct apply {
    strips s;
    const float *x, *add;
    const float *mean, *scale, *bias; /* [width] */
    float *y;
    bool relu;
} apply;

TN_INLINE void apply_strips(const apply *a, int64_t first, int64_t last, bool add, bool relu)
{
    int64_t width = a->s.width;
    for (int64_t at = first * width; at < last * width; at += width)
        for (int64_t j = 0; j < width; j += TN_VEC) {
            vf v = (tn__load(a->x + at + j) - tn__load(a->mean + j)) * tn__load(a->scale + j) +
                   tn__load(a->bias + j);
            if (add)
                v += tn__load(a->add + at + j);
            if (relu)
                v = tn__keep(~(v < 0), v); /* not v > 0: what is not a number stays so */
            tn__store(a->y + at + j, v);
        }
}

static void apply_unit(void *arg, int64_t i, int worker)
{
    (void)worker;
    const apply *a = arg;
    int64_t first, last; /* from the end: what was read last is still in the cache */
    strip_range(&a->s, a->s.chunks - 1 - i, &first, &last);
    if (a->add && a->relu)
        apply_strips(a, first, last, true, true);
    else if (a->add)
        apply_strips(a, first, last, true, false);
    else if (a->relu)
        apply_strips(a, first, last, false, true);
    else
        apply_strips(a, first, last, false, false);
}

int TN_K(bn_apply)(int64_t m, int64_t c, const float *x, const float *mean, const float *rstd,
                   const float *gain, const float *bias, const float *add, bool relu, float *y)
{
    if (m * c == 0)
        return 0;
    apply a = {.s = strips_of(m, c), .x = x, .add = add, .y = y, .relu = relu};
    int64_t width = a.s.width;
    float *lanes = tn__scratch((size_t)(4 * width) * sizeof(float));
    if (!lanes)
        return -1;
    float *scale = lanes + width;
    a.mean = lanes;
    a.scale = scale;
    a.bias = scale + width;
    repeat(&a.s, mean, 0, lanes);
    repeat(&a.s, rstd, 0, scale);
    repeat(&a.s, bias, 0, scale + width);
    repeat(&a.s, gain, 1, scale + 2 * width);
    for (int64_t j = 0; j < width; j++)
        scale[j] *= scale[2 * width + j];
    tn__parallel(a.s.chunks, apply_unit, &a);
    for (int64_t i = a.s.count * width; i < m * c; i++) {
        int64_t k = i % c;
        float v = (x[i] - a.mean[k]) * a.scale[k] + a.bias[k] + (add ? add[i] : 0);
        y[i] = relu && v < 0 ? 0 : v;
    }
    tn__scratch_free(lanes);
    return 0;
}

/* dx = scale * (g - g_mean - (x - mean) * slope), g = dy where y > 0. The last two terms vanish
 * when mean and rstd are constants. */
typedef struct backward {
    strips s;
    const float *x, *y, *dy;              /* y NULL: no ReLU */
    float *dx, *g;                        /* g: where to keep dy where y > 0, or NULL */
    float *mean, *scale, *g_mean, *slope; /* [width] */
    float *partial;                       /* [chunks][2][width] sums of g and of g * (x - mean) */
} backward;

TN_INLINE vf masked(const backward *b, bool relu, int64_t at)
{
    vf g = tn__load(b->dy + at);
    return relu ? tn__keep(tn__load(b->y + at) > 0, g) : g;
}

TN_INLINE void sum_strips(const backward *b, int64_t first, int64_t last, bool relu, bool keep,
                          float *sums)
{
    int64_t width = b->s.width, at = first * width, end = last * width;
    for (; at + width < end; at += 2 * width)
        for (int64_t j = 0; j < width; j += TN_VEC) {
            vf mean = tn__load(b->mean + j);
            vf g0 = masked(b, relu, at + j), g1 = masked(b, relu, at + width + j);
            vf x0 = tn__load(b->x + at + j) - mean, x1 = tn__load(b->x + at + width + j) - mean;
            if (keep) {
                tn__store(b->g + at + j, g0);
                tn__store(b->g + at + width + j, g1);
            }
            tn__store(sums + j, tn__load(sums + j) + (g0 + g1));
            tn__store(sums + width + j, tn__load(sums + width + j) + (g0 * x0 + g1 * x1));
        }
    if (at < end)
        for (int64_t j = 0; j < width; j += TN_VEC) {
            vf g = masked(b, relu, at + j), x = tn__load(b->x + at + j) - tn__load(b->mean + j);
            if (keep)
                tn__store(b->g + at + j, g);
            tn__store(sums + j, tn__load(sums + j) + g);
            tn__store(sums + width + j, tn__load(sums + width + j) + g * x);
        }
}

static void sum_unit(void *arg, int64_t i, int worker)
{
    (void)worker;
    const backward *b = arg;
    int64_t first, last;
    strip_range(&b->s, i, &first, &last);
    float *sums = b->partial + 2 * i * b->s.width;
    memset(sums, 0, (size_t)(2 * b->s.width) * sizeof(float));
    if (b->y && b->g)
        sum_strips(b, first, last, true, true, sums);
    else if (b->y)
        sum_strips(b, first, last, true, false, sums);
    else
        sum_strips(b, first, last, false, b->g != NULL, sums);
}

TN_INLINE void dx_strips(const backward *b, int64_t first, int64_t last, bool relu)
{
    int64_t width = b->s.width;
    for (int64_t at = first * width; at < last * width; at += width)
        for (int64_t j = 0; j < width; j += TN_VEC) {
            vf x = tn__load(b->x + at + j) - tn__load(b->mean + j);
            vf g = masked(b, relu, at + j) - tn__load(b->g_mean + j);
            tn__store(b->dx + at + j, tn__load(b->scale + j) * (g - x * tn__load(b->slope + j)));
        }
}

static void dx_unit(void *arg, int64_t i, int worker)
{
    (void)worker;
    const backward *b = arg;
    int64_t first, last;
    strip_range(&b->s, b->s.chunks - 1 - i, &first, &last); /* from the end, as in apply_unit */
    if (b->y)
        dx_strips(b, first, last, true);
    else
        dx_strips(b, first, last, false);
}

static float masked_one(const backward *b, int64_t i)
{
    return b->y && !(b->y[i] > 0) ? 0 : b->dy[i];
}

/* Sums of g and of g * (x - mean) over all rows, by channel: total [2][c]. Keeps g on the way. */
static void sum_all(backward *b, double *total)
{
    const strips *s = &b->s;
    double *times_x = total + s->c;
    tn__parallel(s->chunks, sum_unit, b);
    memset(total, 0, (size_t)(2 * s->c) * sizeof(double));
    for (int64_t i = 0; i < s->chunks; i++) {
        const float *part = b->partial + 2 * i * s->width;
        for (int64_t r = 0; r < s->rows; r++)
            for (int64_t k = 0; k < s->c; k++, part++) {
                total[k] += *part;
                times_x[k] += part[s->width];
            }
    }
    for (int64_t i = s->count * s->width; i < s->m * s->c; i++) {
        int64_t k = i % s->c;
        float g = masked_one(b, i);
        total[k] += g;
        times_x[k] += (double)g * (b->x[i] - b->mean[k]);
        if (b->g)
            b->g[i] = g;
    }
}

int TN_K(bn_backward)(int64_t m, int64_t c, const float *x, const float *y, const float *dy,
                      const float *mean, const float *rstd, const float *gain, bool relu,
                      bool train, float *dx, float *dgain, float *dbias, float *dadd)
{
    if (c == 0)
        return 0;
    backward b = {.s = strips_of(m, c), .x = x, .y = relu ? y : NULL, .dy = dy, .dx = dx};
    const strips *s = &b.s;
    int64_t width = s->width;
    double *total = tn__scratch((size_t)c * 2 * sizeof(double) +
                                (size_t)((4 + 2 * s->chunks) * width) * sizeof(float));
    if (!total)
        return -1;
    b.mean = (float *)(void *)(total + 2 * c);
    b.scale = b.mean + width;
    b.g_mean = b.scale + width;
    b.slope = b.g_mean + width;
    b.partial = b.slope + width;
    repeat(s, mean, 0, b.mean);
    memset(total, 0, (size_t)(2 * c) * sizeof(double));
    if ((train && dx) || dgain || dbias || dadd) {
        b.g = dadd ? dadd : relu ? dx : NULL;
        sum_all(&b, total);
        if (b.g) { /* from here on dy is masked already: one array to read instead of two */
            b.dy = b.g;
            b.y = NULL;
        }
    }
    for (int64_t k = 0; k < c; k++) {
        if (dbias)
            dbias[k] = (float)total[k];
        if (dgain)
            dgain[k] = (float)(total[c + k] * rstd[k]);
    }
    for (int64_t j = 0; dx && j < width; j++) {
        int64_t k = j % c;
        double r = rstd[k], n = (double)m;
        b.scale[j] = rstd[k] * (gain ? gain[k] : 1);
        b.g_mean[j] = train ? (float)(total[k] / n) : 0;
        b.slope[j] = train ? (float)(total[c + k] * r * r / n) : 0;
    }
    if (dx) {
        tn__parallel(s->chunks, dx_unit, &b);
        for (int64_t i = s->count * width; i < m * c; i++) {
            int64_t k = i % c;
            float g = masked_one(&b, i) - b.g_mean[k];
            dx[i] = b.scale[k] * (g - (x[i] - b.mean[k]) * b.slope[k]);
        }
    }
    tn__scratch_free(total);
    return 0;
}
