/* Ops that copy elements to new places, on CUDA: each writes its input through a view of its output, by the size of an
 * element.  Where neighbours in the one are far apart in the other, tiles of 32 x 32 go through shared memory.
 * The same ops on the CPU: ../ops/copy.c. */
#include "convert.h"
#include "kdefs.h"
#include "launch.h"
#include "walks.h"

#include <string.h>

typedef struct copy_args {
    tn__walk walk;
    void *to;
    const void *from;
} copy_args;

enum { EACH = 4 }; /* elements of a thread, all loaded before the first is stored */

template <class T> static __global__ void copy(const __grid_constant__ copy_args c)
{
    const int64_t n = c.walk.total, step = (int64_t)gridDim.x * (K_THREADS * EACH);
    for (int64_t i = (int64_t)blockIdx.x * (K_THREADS * EACH) + threadIdx.x; i < n; i += step) {
        int64_t at[EACH][2] = {};
        T v[EACH] = {};
        for (int e = 0; e < EACH; e++)
            if (i + e * K_THREADS < n) {
                walk_to<0>(c.walk, i + e * K_THREADS, at[e]);
                v[e] = ((const T *)c.from)[at[e][1]];
            }
        for (int e = 0; e < EACH; e++)
            if (i + e * K_THREADS < n)
                ((T *)c.to)[at[e][0]] = v[e];
    }
}

/* ---- transposes ---- */

enum { SIDE = 32, AT_ONCE = K_THREADS / SIDE }; /* of a tile; rows that a block moves at once */

typedef struct turn_args {
    tn__walk outer; /* over the matrices */
    void *to;
    const void *from;
    int64_t rows, cols;       /* columns run in `to`, rows in `from` */
    int64_t to_row, from_col; /* steps */
} turn_args;

static __host__ __device__ inline int64_t tiles(int64_t n) { return (n + SIDE - 1) / SIDE; }

template <class T> static __global__ void turn(const __grid_constant__ turn_args a)
{
    K_SHARED(T, tile, SIDE * (SIDE + 1)); /* one more, so that columns are in as many banks as rows */
    const int x = (int)threadIdx.x % SIDE, y = (int)threadIdx.x / SIDE;
    const int64_t across = tiles(a.cols), each = tiles(a.rows) * across, n = a.outer.total * each;
    for (int64_t t = blockIdx.x; t < n; t += gridDim.x) {
        const int64_t matrix = k_quotient(t, each), down = k_quotient(t - matrix * each, across);
        const int64_t row = down * SIDE, col = (t - matrix * each - down * across) * SIDE;
        int64_t at[2];
        walk_to<0>(a.outer, matrix, at);
        for (int i = y; i < SIDE; i += AT_ONCE)
            if (row + x < a.rows && col + i < a.cols)
                tile[i * (SIDE + 1) + x] = ((const T *)a.from)[at[1] + row + x + (col + i) * a.from_col];
        __syncthreads();
        for (int i = y; i < SIDE; i += AT_ONCE)
            if (row + i < a.rows && col + x < a.cols)
                ((T *)a.to)[at[0] + (row + i) * a.to_row + col + x] = tile[x * (SIDE + 1) + i];
        __syncthreads();
    }
}

/* The dim that runs in `from` while the last runs in `to`, both at least as long as a tile; -1: there is none. */
static int turned_dim(const tn__walk &w)
{
    const int last = w.ndim - 1;
    if (w.stride[0][last] == 1 && w.stride[1][last] > 1 && w.shape[last] >= SIDE)
        for (int d = 0; d < last; d++)
            if (w.stride[1][d] == 1 && w.shape[d] >= SIDE)
                return d;
    return -1;
}

static turn_args turn_of(const copy_args &c, int dim)
{
    const tn__walk &w = c.walk;
    const int last = w.ndim - 1;
    turn_args a = {{}, c.to, c.from, w.shape[dim], w.shape[last], w.stride[0][dim], w.stride[1][last]};
    a.outer = {2, 1, 1, {1}, {{0}}};
    int n = 0;
    for (int d = 0; d < last; d++)
        if (d != dim) {
            a.outer.total *= a.outer.shape[n] = w.shape[d];
            for (int k = 0; k < 2; k++)
                a.outer.stride[k][n] = w.stride[k][d];
            a.outer.ndim = ++n;
        }
    return a;
}

template <class T> static int launch(const copy_args &c, void *stream)
{
    const int dim = c.walk.total ? turned_dim(c.walk) : -1;
    if (dim < 0)
        return K_LAUNCH(copy<T>, k_blocks(c.walk.total, K_THREADS * EACH), K_THREADS, stream, c);
    const turn_args a = turn_of(c, dim);
    return K_LAUNCH(turn<T>, k_blocks(a.outer.total * tiles(a.rows) * tiles(a.cols), 1), K_THREADS, stream, a);
}

/* Of one dtype; x is stretched to y's shape. */
static int copy_to(const tn_tensor *y, const tn_tensor *x, void *stream)
{
    const copy_args c = {tn__walk_over(y, 1, &x), tn__cuda_data(y), tn__cuda_data(x)};
    switch (tn__cuda_size(y->dtype)) {
    case 1: return launch<uint8_t>(c, stream);
    case 2: return launch<uint16_t>(c, stream);
    case 4: return launch<uint32_t>(c, stream);
    default: return launch<uint64_t>(c, stream);
    }
}

/* Elements start, start + step, ... of an axis, as many as count. */
static tn_tensor part(const tn_tensor *t, int axis, int64_t start, int64_t count, int64_t step)
{
    tn_tensor p = *t;
    p.offset += start * t->stride[axis];
    p.shape[axis] = count;
    p.stride[axis] *= step;
    return p;
}

int tn__cuda_contiguous(const tn_call *c, tn__cuda_work *w) { return copy_to(c->out[0], c->in[0], w->stream); }

int tn__cuda_concat(const tn_call *c, tn__cuda_work *w)
{
    const int axis = ((const tn__axis_attr *)c->attr)->axis;
    int64_t from = 0;
    int failed = 0;
    for (int i = 0; !failed && i < c->n_in; i++) {
        const int64_t count = c->in[i]->shape[axis];
        const tn_tensor to = part(c->out[0], axis, from, count, 1);
        failed = copy_to(&to, c->in[i], w->stream);
        from += count;
    }
    return failed;
}

template <class T> static __global__ void fill(T *y, int64_t n, T value)
{
    const int64_t step = (int64_t)gridDim.x * K_THREADS;
    for (int64_t i = (int64_t)blockIdx.x * K_THREADS + threadIdx.x; i < n; i += step)
        y[i] = value;
}

template <class T> static int fill_with(void *y, const void *element, int64_t n, void *stream)
{
    T value;
    memcpy(&value, element, sizeof value);
    return K_LAUNCH(fill<T>, k_blocks(n, K_THREADS), K_THREADS, stream, (T *)y, n, value);
}

int tn__cuda_fill(void *y, const void *element, size_t size, int64_t n, void *stream)
{
    switch (size) {
    case 1: return fill_with<uint8_t>(y, element, n, stream);
    case 2: return fill_with<uint16_t>(y, element, n, stream);
    case 4: return fill_with<uint32_t>(y, element, n, stream);
    default: return fill_with<uint64_t>(y, element, n, stream);
    }
}

int tn__cuda_pad(const tn_call *c, tn__cuda_work *w)
{
    const tn__pad_attr *a = (const tn__pad_attr *)c->attr;
    const tn_tensor *x = c->in[0];
    const int64_t n = tn__cuda_count(c->out[0]);
    tn_tensor inner = *c->out[0];
    for (int d = 0; d < x->ndim; d++)
        inner = part(&inner, d, a->before[d], x->shape[d], 1);
    const float value = (float)a->value;
    const int failed = tn__cuda_fill(tn__cuda_data(c->out[0]), &value, sizeof value, n, w->stream);
    return failed ? failed : copy_to(&inner, x, w->stream);
}

int tn__cuda_slice_backward(const tn_call *c, tn__cuda_work *w)
{
    const tn__slice_attr *s = (const tn__slice_attr *)c->attr;
    const tn_tensor to = part(c->out[0], s->axis, s->start, s->count, s->step);
    const int failed = s->count == s->full ? 0
                                           : tn__cuda_zero(tn__cuda_data(c->out[0]),
                                                           (size_t)tn__cuda_count(c->out[0]) * sizeof(float), w);
    return failed ? failed : copy_to(&to, c->in[0], w->stream);
}

/* ---- cast: as ../convert.c has it ---- */

/* Reals out of range become the nearest integer there is, NaN becomes 0; integers wrap. */
template <class T> static __device__ T whole(double x, T lo, T hi)
{
    return x >= (double)hi ? hi : x <= (double)lo ? lo : x == x ? (T)x : 0;
}
template <class T> static __device__ T whole(int64_t x, T, T) { return (T)x; }

/* Wide: double, which holds every float, or int64_t */
template <class Wide> static __device__ void put(void *y, int64_t i, tn_dtype to, Wide x)
{
    switch (to) {
    case TN_F32: ((float *)y)[i] = (float)x; break;
    case TN_F64: ((double *)y)[i] = (double)x; break;
    case TN_BF16: ((uint16_t *)y)[i] = tn__to_bf16((float)x); break;
    case TN_F16: ((uint16_t *)y)[i] = tn__to_f16((float)x); break;
    case TN_I32: ((int32_t *)y)[i] = whole<int32_t>(x, INT32_MIN, INT32_MAX); break;
    case TN_I64: ((int64_t *)y)[i] = whole<int64_t>(x, INT64_MIN, INT64_MAX); break;
    case TN_U8: ((uint8_t *)y)[i] = whole<uint8_t>(x, 0, UINT8_MAX); break;
    case TN_DTYPE_COUNT: break;
    }
}

/* The branches are the same for all threads. */
static __global__ void cast(const void *x, tn_dtype from, void *y, tn_dtype to, int64_t n)
{
    const int64_t step = (int64_t)gridDim.x * K_THREADS;
    for (int64_t i = (int64_t)blockIdx.x * K_THREADS + threadIdx.x; i < n; i += step)
        switch (from) {
        case TN_F32: put(y, i, to, (double)((const float *)x)[i]); break;
        case TN_F64: put(y, i, to, ((const double *)x)[i]); break;
        case TN_BF16: put(y, i, to, (double)tn__from_bf16(((const uint16_t *)x)[i])); break;
        case TN_F16: put(y, i, to, (double)tn__from_f16(((const uint16_t *)x)[i])); break;
        case TN_I32: put(y, i, to, (int64_t)((const int32_t *)x)[i]); break;
        case TN_I64: put(y, i, to, ((const int64_t *)x)[i]); break;
        case TN_U8: put(y, i, to, (int64_t)((const uint8_t *)x)[i]); break;
        case TN_DTYPE_COUNT: break;
        }
}

int tn__cuda_cast(const tn_call *c, tn__cuda_work *w)
{
    const tn__cast_attr *a = (const tn__cast_attr *)c->attr;
    const int64_t n = tn__cuda_count(c->out[0]);
    return K_LAUNCH(cast, k_blocks(n, K_THREADS), K_THREADS, w->stream, (const void *)tn__cuda_data(c->in[0]), a->from,
                    tn__cuda_data(c->out[0]), a->to, n);
}
