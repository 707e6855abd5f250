/* Pooling of channels-last images, vectorised over channels, in parallel over images.  Definition:
 * src/tensor/ops/pool.c. */
#include <string.h>

#include "vec.h"

#include "../attrs.h"
#include "../internal.h"

typedef struct span { int64_t first, last; } span; /* first <= i < last */

/* The part of window `at` that lies inside the image. */
static span inside(int64_t at, int kernel, int stride, int pad, int64_t size)
{
    const int64_t lo = at * stride - pad, hi = lo + kernel;
    return (span){lo > 0 ? lo : 0, hi < size ? hi : size};
}

typedef struct job job;
typedef void window_function(const job *j, int64_t n, int64_t output, span rows, span cols);
struct job {
    const tn__window_attr *attr;
    window_function *window;
    const float *in;
    float *out;
    int64_t *where; /* of maxima: row * w + column */
    bool backward;  /* windows add to out, an image */
};

static float *pixel(const tn__window_attr *a, float *images, int64_t n, int64_t at)
{
    return images + (n * a->h * a->w + at) * a->c;
}

/* All windows of one image. */
static void one_image(void *arg, int64_t n, int worker)
{
    (void)worker;
    const job *j = arg;
    const tn__window_attr *a = j->attr;
    if (j->backward)
        memset(pixel(a, j->out, n, 0), 0, (size_t)(a->h * a->w * a->c) * sizeof(float));
    for (int64_t oh = 0; oh < a->oh; oh++)
        for (int64_t ow = 0; ow < a->ow; ow++)
            j->window(j, n, ((n * a->oh + oh) * a->ow + ow) * a->c,
                      inside(oh, a->kh, a->sh, a->ph, a->h), inside(ow, a->kw, a->sw, a->pw, a->w));
}

static tn_done by_images(job j)
{
    if (j.attr->h * j.attr->w > INT32_MAX)
        return TN_DECLINED; /* positions are 32 bits wide in a vector */
    tn__parallel(j.attr->n, one_image, &j);
    return TN_DONE;
}

static void max_lanes(const job *j, const float *x, int64_t output, span rows, span cols)
{
    const int64_t w = j->attr->w, c = j->attr->c, start = rows.first * w + cols.first;
    vf best = tn__load(x + start * c);
    vi at = (vi){0} + (int32_t)start;
    for (int64_t row = rows.first; row < rows.last; row++)
        for (int64_t col = cols.first; col < cols.last; col++) {
            const vf v = tn__load(x + (row * w + col) * c);
            const vi take = (v > best) | (v != v);
            best = (vf)(((vi)v & take) | ((vi)best & ~take));
            at = (((vi){0} + (int32_t)(row * w + col)) & take) | (at & ~take);
        }
    tn__store(j->out + output, best);
    for (int k = 0; k < TN_VEC; k++)
        j->where[output + k] = at[k];
}

static void max_one(const job *j, const float *x, int64_t output, span rows, span cols)
{
    const int64_t w = j->attr->w, c = j->attr->c;
    int64_t best = rows.first * w + cols.first;
    for (int64_t row = rows.first; row < rows.last; row++)
        for (int64_t col = cols.first; col < cols.last; col++) {
            const float v = x[(row * w + col) * c];
            if (v > x[best * c] || v != v)
                best = row * w + col;
        }
    j->out[output] = x[best * c];
    j->where[output] = best;
}

static void max_window(const job *j, int64_t n, int64_t output, span rows, span cols)
{
    const tn__window_attr *a = j->attr;
    const float *x = j->in + n * a->h * a->w * a->c;
    int64_t ch = 0;
    for (; ch + TN_VEC <= a->c; ch += TN_VEC)
        max_lanes(j, x + ch, output + ch, rows, cols);
    for (; ch < a->c; ch++)
        max_one(j, x + ch, output + ch, rows, cols);
}

static void max_window_backward(const job *j, int64_t n, int64_t output, span rows, span cols)
{
    (void)rows, (void)cols;
    for (int64_t ch = 0; ch < j->attr->c; ch++)
        pixel(j->attr, j->out, n, j->where[output + ch])[ch] += j->in[output + ch];
}

static float share(const tn__window_attr *a, span rows, span cols)
{
    const int64_t real = (rows.last - rows.first) * (cols.last - cols.first);
    return 1 / (float)(a->count_pad ? (int64_t)a->kh * a->kw : real);
}

static void avg_window(const job *j, int64_t n, int64_t output, span rows, span cols)
{
    const tn__window_attr *a = j->attr;
    const float *x = j->in + n * a->h * a->w * a->c, scale = share(a, rows, cols);
    float *restrict y = j->out + output;
    memset(y, 0, (size_t)a->c * sizeof *y);
    for (int64_t row = rows.first; row < rows.last; row++)
        for (int64_t col = cols.first; col < cols.last; col++)
            for (int64_t ch = 0; ch < a->c; ch++)
                y[ch] += x[(row * a->w + col) * a->c + ch];
    for (int64_t ch = 0; ch < a->c; ch++)
        y[ch] *= scale;
}

static void avg_window_backward(const job *j, int64_t n, int64_t output, span rows, span cols)
{
    const tn__window_attr *a = j->attr;
    const float *g = j->in + output, scale = share(a, rows, cols);
    for (int64_t row = rows.first; row < rows.last; row++)
        for (int64_t col = cols.first; col < cols.last; col++) {
            float *restrict dx = pixel(a, j->out, n, row * a->w + col);
            for (int64_t ch = 0; ch < a->c; ch++)
                dx[ch] += g[ch] * scale;
        }
}

tn_done TN_K(fast_max_pool)(const tn_call *c)
{
    return by_images((job){.attr = c->attr, .window = max_window, .in = tn__data(c->in[0]),
                           .out = tn__data(c->out[0]), .where = tn__data(c->out[1])});
}

tn_done TN_K(fast_max_pool_backward)(const tn_call *c)
{
    return by_images((job){.attr = c->attr,
                           .window = max_window_backward,
                           .in = tn__data(c->in[0]),
                           .out = tn__data(c->out[0]),
                           .where = tn__data(c->in[1]),
                           .backward = true});
}

tn_done TN_K(fast_avg_pool)(const tn_call *c)
{
    return by_images((job){.attr = c->attr, .window = avg_window, .in = tn__data(c->in[0]),
                           .out = tn__data(c->out[0])});
}

tn_done TN_K(fast_avg_pool_backward)(const tn_call *c)
{
    return by_images((job){.attr = c->attr, .window = avg_window_backward, .in = tn__data(c->in[0]),
                           .out = tn__data(c->out[0]), .backward = true});
}
