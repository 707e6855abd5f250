/* Maximum and average over windows of channels-last images, on CUDA: a thread for each element of what is made, which
 * in backward asks the windows that it lies in.  The same on the CPU, whose order of additions this is:
 * ../ops/pool.c. */
#include "kdefs.h"
#include "launch.h"

typedef struct span {
    int64_t first, last; /* first <= i < last */
} span;

/* The part of window `at` that lies inside the image. */
static __device__ span inside(int64_t at, int kernel, int stride, int pad, int64_t size)
{
    const int64_t lo = at * stride - pad, hi = lo + kernel;
    const span s = {lo > 0 ? lo : 0, hi < size ? hi : size};
    return s;
}

/* The windows that pixel `at` lies in. */
static __device__ span windows(int64_t at, int kernel, int stride, int pad, int64_t count)
{
    const int64_t first = at + pad - kernel + stride, last = k_quotient(at + pad, stride) + 1;
    const span s = {first > 0 ? k_quotient(first, stride) : 0, last < count ? last : count};
    return s;
}

typedef struct element { /* of images of h x w pixels */
    int64_t n, row, col, ch;
} element;

static __device__ element element_of(int64_t i, int64_t h, int64_t w, int64_t c)
{
    const int64_t pixel = k_quotient(i, c), row = k_quotient(pixel, w), n = k_quotient(row, h);
    const element e = {n, row - n * h, pixel - row * w, i - pixel * c};
    return e;
}

static __device__ float window_size(const tn__window_attr &a, const span &rows, const span &cols)
{
    return a.count_pad ? (float)a.kh * (float)a.kw : (float)((rows.last - rows.first) * (cols.last - cols.first));
}

static __global__ void max_pool(const __grid_constant__ tn__window_attr a, const float *x, float *y, int64_t *where)
{
    const int64_t n = a.n * a.oh * a.ow * a.c, step = (int64_t)gridDim.x * K_THREADS;
    for (int64_t i = (int64_t)blockIdx.x * K_THREADS + threadIdx.x; i < n; i += step) {
        const element e = element_of(i, a.oh, a.ow, a.c);
        const span rows = inside(e.row, a.kh, a.sh, a.ph, a.h), cols = inside(e.col, a.kw, a.sw, a.pw, a.w);
        const float *image = x + e.n * a.h * a.w * a.c + e.ch;
        int64_t best = rows.first * a.w + cols.first;
        float most = image[best * a.c];
        for (int64_t row = rows.first; row < rows.last; row++)
            for (int64_t col = cols.first; col < cols.last; col++) {
                const float value = image[(row * a.w + col) * a.c];
                if (value > most || value != value) {
                    best = row * a.w + col;
                    most = value;
                }
            }
        y[i] = most;
        where[i] = best;
    }
}

static __global__ void max_pool_backward(const __grid_constant__ tn__window_attr a, const float *g,
                                         const int64_t *where, float *dx)
{
    const int64_t n = a.n * a.h * a.w * a.c, step = (int64_t)gridDim.x * K_THREADS;
    for (int64_t i = (int64_t)blockIdx.x * K_THREADS + threadIdx.x; i < n; i += step) {
        const element e = element_of(i, a.h, a.w, a.c);
        const span rows = windows(e.row, a.kh, a.sh, a.ph, a.oh), cols = windows(e.col, a.kw, a.sw, a.pw, a.ow);
        const int64_t pixel = e.row * a.w + e.col;
        float sum = 0;
        for (int64_t row = rows.first; row < rows.last; row++)
            for (int64_t col = cols.first; col < cols.last; col++) {
                const int64_t at = ((e.n * a.oh + row) * a.ow + col) * a.c + e.ch;
                if (where[at] == pixel)
                    sum += g[at];
            }
        dx[i] = sum;
    }
}

static __global__ void avg_pool(const __grid_constant__ tn__window_attr a, const float *x, float *y)
{
    const int64_t n = a.n * a.oh * a.ow * a.c, step = (int64_t)gridDim.x * K_THREADS;
    for (int64_t i = (int64_t)blockIdx.x * K_THREADS + threadIdx.x; i < n; i += step) {
        const element e = element_of(i, a.oh, a.ow, a.c);
        const span rows = inside(e.row, a.kh, a.sh, a.ph, a.h), cols = inside(e.col, a.kw, a.sw, a.pw, a.w);
        float sum = 0;
        for (int64_t row = rows.first; row < rows.last; row++)
            for (int64_t col = cols.first; col < cols.last; col++)
                sum += x[((e.n * a.h + row) * a.w + col) * a.c + e.ch];
        y[i] = sum / window_size(a, rows, cols);
    }
}

static __global__ void avg_pool_backward(const __grid_constant__ tn__window_attr a, const float *g, float *dx)
{
    const int64_t n = a.n * a.h * a.w * a.c, step = (int64_t)gridDim.x * K_THREADS;
    for (int64_t i = (int64_t)blockIdx.x * K_THREADS + threadIdx.x; i < n; i += step) {
        const element e = element_of(i, a.h, a.w, a.c);
        const span rows = windows(e.row, a.kh, a.sh, a.ph, a.oh), cols = windows(e.col, a.kw, a.sw, a.pw, a.ow);
        float sum = 0;
        for (int64_t row = rows.first; row < rows.last; row++)
            for (int64_t col = cols.first; col < cols.last; col++)
                sum += g[((e.n * a.oh + row) * a.ow + col) * a.c + e.ch] /
                       window_size(a, inside(row, a.kh, a.sh, a.ph, a.h), inside(col, a.kw, a.sw, a.pw, a.w));
        dx[i] = sum;
    }
}

/* Blocks for all elements of a tensor. */
static unsigned blocks(const tn_tensor *t) { return k_blocks(tn__cuda_count(t), K_THREADS); }

int tn__cuda_max_pool(const tn_call *c, tn__cuda_work *w)
{
    return K_LAUNCH(max_pool, blocks(c->out[0]), K_THREADS, w->stream, *(const tn__window_attr *)c->attr,
                    (const float *)tn__cuda_data(c->in[0]), (float *)tn__cuda_data(c->out[0]),
                    (int64_t *)tn__cuda_data(c->out[1]));
}

int tn__cuda_max_pool_backward(const tn_call *c, tn__cuda_work *w)
{
    return K_LAUNCH(max_pool_backward, blocks(c->out[0]), K_THREADS, w->stream, *(const tn__window_attr *)c->attr,
                    (const float *)tn__cuda_data(c->in[0]), (const int64_t *)tn__cuda_data(c->in[1]),
                    (float *)tn__cuda_data(c->out[0]));
}

int tn__cuda_avg_pool(const tn_call *c, tn__cuda_work *w)
{
    return K_LAUNCH(avg_pool, blocks(c->out[0]), K_THREADS, w->stream, *(const tn__window_attr *)c->attr,
                    (const float *)tn__cuda_data(c->in[0]), (float *)tn__cuda_data(c->out[0]));
}

int tn__cuda_avg_pool_backward(const tn_call *c, tn__cuda_work *w)
{
    return K_LAUNCH(avg_pool_backward, blocks(c->out[0]), K_THREADS, w->stream, *(const tn__window_attr *)c->attr,
                    (const float *)tn__cuda_data(c->in[0]), (float *)tn__cuda_data(c->out[0]));
}
