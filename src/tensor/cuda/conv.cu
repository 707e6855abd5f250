/* Convolution of channels-last images and its two gradients on CUDA, in strict f32: products (tile.h) of factors that
 * are never laid out; each group of channels is a product of its own.  What cuDNN does instead: libs/conv.c; the same
 * on the CPU: ../ops/conv.c. */
#include "launch.h"
#include "tile.h"

typedef struct point { /* a row and a column, of an image or of a tap */
    int64_t row, col;
} point;

/* A tap and a channel, or a filter, from their number; it runs fastest.  Numbers are asked for where there are no
 * channels, too. */
typedef struct tap {
    point at;
    int64_t number, ch;
} tap;

static __device__ tap tap_of(const tn__window_attr &a, int64_t i, int64_t channels)
{
    const int64_t number = k_quotient(i, channels + !channels), row = k_quotient(number, a.kw);
    const tap t = {{row, number - row * a.kw}, number, i - number * channels};
    return t;
}

typedef struct pixel {
    int64_t n;
    point at;
} pixel;

static __device__ pixel pixel_of(int64_t i, int64_t h, int64_t w)
{
    const int64_t row = k_quotient(i, w), n = k_quotient(row, h);
    const pixel p = {n, {row - n * h, i - row * w}};
    return p;
}


static __device__ point corner_of(const tn__window_attr &a, const point &window)
{
    const point c = {window.row * a.sh - a.ph, window.col * a.sw - a.pw};
    return c;
}

static __device__ point offset_of(const tn__window_attr &a, const point &tap)
{
    const point o = {tap.row * a.dh, tap.col * a.dw};
    return o;
}

static __device__ bool in_image(const tn__window_attr &a, const point &corner, const point &offset, int64_t *at)
{
    const int64_t row = corner.row + offset.row, col = corner.col + offset.col;
    *at = (row * a.w + col) * a.c;
    return row >= 0 && row < a.h && col >= 0 && col < a.w;
}

/* ---- y[window, filter] = the sum over taps and channels ---- */

struct windows {
    static const bool terms_run = true;
    struct row {
        const float *image; /* NULL: none */
        point corner;
    };
    struct term {
        point offset;
        int64_t ch;
    };
    const float *x;
    tn__window_attr a;

    __device__ void begin(int64_t group) { x += group * (a.c / a.groups); }
    __device__ row row_at(int64_t r) const
    {
        const pixel p = pixel_of(r, a.oh, a.ow);
        const row at = {p.n < a.n ? x + p.n * a.h * a.w * a.c : NULL, corner_of(a, p.at)};
        return at;
    }
    __device__ term term_at(int64_t k) const
    {
        const tap t = tap_of(a, k, a.c / a.groups);
        const term at = {offset_of(a, t.at), t.ch};
        return at;
    }
    __device__ float value(const row &r, const term &k) const
    {
        int64_t at;
        return r.image && in_image(a, r.corner, k.offset, &at) ? r.image[at + k.ch] : 0;
    }
};

/* Filters as columns of terms, which lie as the product wants them. */
struct filters {
    static const bool terms_run = true;
    typedef const float *row;
    typedef int64_t term;
    const float *w;
    int64_t outputs, size; /* of a group; of a filter */

    __device__ void begin(int64_t group) { w += group * outputs * size; }
    __device__ row row_at(int64_t r) const { return r < outputs ? w + r * size : NULL; }
    __device__ term term_at(int64_t k) const { return k; }
    __device__ float value(const row &r, const term &k) const { return r ? r[k] : 0; }
};

int tn__cuda_conv(const tn_call *c, tn__cuda_work *w)
{
    const tn__window_attr a = *(const tn__window_attr *)c->attr;
    const int64_t outputs = a.oc / a.groups, size = (int64_t)a.kh * a.kw * (a.c / a.groups);
    const windows left = {(const float *)tn__cuda_data(c->in[0]), a};
    const filters right = {(const float *)tn__cuda_data(c->in[1]), outputs, size};
    const tile_sink to = {(float *)tn__cuda_data(c->out[0]), (const float *)tn__cuda_data(c->in[2]), a.oc, outputs, 0,
                          0, outputs};
    return tile_launch(left, right, to, tile_cut(a.groups, a.n * a.oh * a.ow, outputs, size, false), NULL, w->stream);
}

/* ---- dx[pixel, channel] = the sum over taps and filters ---- */

/* Which window, along one axis, meets position `at` of the padded image at its start; negative: none. */
static __device__ int64_t window_at(int64_t at, int stride, int64_t count)
{
    const int64_t window = at < 0 ? -1 : k_quotient(at, stride);
    return at >= 0 && window * stride == at && window < count ? window : -1;
}

struct reached {
    static const bool terms_run = true;
    struct row {
        const float *image; /* NULL: none */
        point padded;
    };
    typedef windows::term term;
    const float *g;
    tn__window_attr a;

    __device__ void begin(int64_t group) { g += group * (a.oc / a.groups); }
    __device__ row row_at(int64_t r) const
    {
        const pixel p = pixel_of(r, a.h, a.w);
        const row at = {p.n < a.n ? g + p.n * a.oh * a.ow * a.oc : NULL, {p.at.row + a.ph, p.at.col + a.pw}};
        return at;
    }
    __device__ term term_at(int64_t k) const
    {
        const tap t = tap_of(a, k, a.oc / a.groups);
        const term at = {offset_of(a, t.at), t.ch};
        return at;
    }
    __device__ float value(const row &r, const term &k) const
    {
        const int64_t row = window_at(r.padded.row - k.offset.row, a.sh, a.oh);
        const int64_t col = window_at(r.padded.col - k.offset.col, a.sw, a.ow);
        return r.image && row >= 0 && col >= 0 ? r.image[(row * a.ow + col) * a.oc + k.ch] : 0;
    }
};

/* Channels of taps as columns, their terms are taps and filters. */
struct spread {
    static const bool terms_run = false;
    typedef const float *row;
    typedef int64_t term;
    const float *w;
    tn__window_attr a;

    __device__ void begin(int64_t group) { w += group * (a.oc / a.groups) * a.kh * a.kw * (a.c / a.groups); }
    __device__ row row_at(int64_t r) const { return r < a.c / a.groups ? w + r : NULL; }
    __device__ term term_at(int64_t k) const
    {
        const tap t = tap_of(a, k, a.oc / a.groups);
        return (t.ch * a.kh * a.kw + t.number) * (a.c / a.groups);
    }
    __device__ float value(const row &r, const term &k) const { return r ? r[k] : 0; }
};

int tn__cuda_conv_backward_data(const tn_call *c, tn__cuda_work *w)
{
    const tn__window_attr a = *(const tn__window_attr *)c->attr;
    const int64_t inputs = a.c / a.groups, terms = (int64_t)a.kh * a.kw * (a.oc / a.groups);
    const reached left = {(const float *)tn__cuda_data(c->in[0]), a};
    const spread right = {(const float *)tn__cuda_data(c->in[1]), a};
    const tile_sink to = {(float *)tn__cuda_data(c->out[0]), NULL, a.c, inputs, 0, 0, 0};
    return tile_launch(left, right, to, tile_cut(a.groups, a.n * a.h * a.w, inputs, terms, false), NULL, w->stream);
}

/* ---- dw[filter, tap and channel] = the sum over windows, in parts ---- */

struct slopes {
    static const bool terms_run = false;
    typedef const float *row;
    typedef int64_t term;
    const float *g;
    int64_t outputs, step; /* of a group; from one window to the next */

    __device__ void begin(int64_t group) { g += group * outputs; }
    __device__ row row_at(int64_t r) const { return r < outputs ? g + r : NULL; }
    __device__ term term_at(int64_t k) const { return k * step; }
    __device__ float value(const row &r, const term &k) const { return r ? r[k] : 0; }
};

struct met {
    static const bool terms_run = false;
    struct row {
        const float *x; /* NULL: none */
        point offset;
    };
    struct term {
        int64_t image;
        point corner;
    };
    const float *x;
    tn__window_attr a;

    __device__ void begin(int64_t group) { x += group * (a.c / a.groups); }
    __device__ row row_at(int64_t r) const
    {
        const tap t = tap_of(a, r, a.c / a.groups);
        const row at = {t.number < (int64_t)a.kh * a.kw ? x + t.ch : NULL, offset_of(a, t.at)};
        return at;
    }
    __device__ term term_at(int64_t k) const
    {
        const pixel p = pixel_of(k, a.oh, a.ow);
        const term at = {p.n * a.h * a.w * a.c, corner_of(a, p.at)};
        return at;
    }
    __device__ float value(const row &r, const term &k) const
    {
        int64_t at;
        return r.x && in_image(a, k.corner, r.offset, &at) ? r.x[k.image + at] : 0;
    }
};

int tn__cuda_conv_backward_weight(const tn_call *c, tn__cuda_work *w)
{
    const tn__window_attr a = *(const tn__window_attr *)c->attr;
    const int64_t outputs = a.oc / a.groups, size = (int64_t)a.kh * a.kw * (a.c / a.groups);
    const slopes left = {(const float *)tn__cuda_data(c->in[1]), outputs, a.oc};
    const met right = {(const float *)tn__cuda_data(c->in[0]), a};
    const tile_sink to = {(float *)tn__cuda_data(c->out[0]), NULL, size, outputs * size, 0, 0, 0};
    const tile_extent e = tile_cut(a.groups, outputs, size, a.n * a.oh * a.ow, true);
    const int64_t floats = tile_room(e);
    float *room = floats ? (float *)tn__cuda_scratch(w, (size_t)floats * sizeof *room) : NULL;
    return floats && !room ? TN_CUDA_NO_MEMORY : tile_launch(left, right, to, e, room, w->stream);
}
