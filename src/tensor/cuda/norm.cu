/* Batch norm on CUDA, with its gradients (../ops/norm.c), where cuDNN does not have it (libs/norm.c).  Sums down the
 * columns are taken in float64, over runs of rows whose length follows from the shape, and then over the runs. */
#include "launch.h"
#include "reduce.h"

/* ---- sums down columns ---- */

enum { ACROSS = K_WARP, DOWN = K_THREADS / ACROSS }; /* threads of a tile of columns */

/* Term: void add(int64_t row, int64_t col, double sum[2]) const
 * Last: void write(int64_t col, const double sum[2]) const
 * part: [tiles, parts, 2, ACROSS] */
template <class Term, class Last>
static __global__ void add_columns(const __grid_constant__ Term term, const __grid_constant__ Last last, int64_t rows,
                                   int64_t cols, const k_cut cut, double *part, unsigned *counters)
{
    K_SHARED(double, room, 2 * K_THREADS);
    const int across = (int)threadIdx.x % ACROSS, down = (int)threadIdx.x / ACROSS;
    const int64_t tiles = (cols + ACROSS - 1) / ACROSS;
    for (int64_t work = blockIdx.x; work < tiles * cut.parts; work += gridDim.x) {
        const int64_t tile = work % tiles, col = tile * ACROSS + across, p = work / tiles;
        const int64_t first_part = tile * cut.parts;
        const int64_t end = (p + 1) * cut.length < rows ? (p + 1) * cut.length : rows;
        double sum[2] = {0, 0};
        for (int64_t row = p * cut.length + down; col < cols && row < end; row += DOWN)
            term.add(row, col, sum);
        const auto leave = [&](unsigned at) { /* what the threads have becomes one */
            for (int k = 0; k < 2; k++)
                room[k * K_THREADS + threadIdx.x] = sum[k];
            __syncthreads();
            for (int k = 0; k < 2 && down == 0; k++) {
                for (int i = 1; i < DOWN; i++)
                    sum[k] += room[k * K_THREADS + i * ACROSS + across];
                if (part)
                    part[(2 * (first_part + at) + k) * ACROSS + across] = sum[k];
            }
            __syncthreads();
        };
        leave((unsigned)p);
        const auto merge = [&](unsigned first, unsigned step, unsigned count) {
            for (int k = 0; k < 2; k++) {
                sum[k] = 0;
                for (unsigned i = down; i < count; i += DOWN)
                    sum[k] += part[(2 * (first_part + first + i * step) + k) * ACROSS + across];
            }
            leave(first);
        };
        if (k_whole(counters + first_part, (unsigned)p, cut.parts, merge) && down == 0 && col < cols)
            last.write(col, sum);
    }
}

template <class Term, class Last>
static int sum_columns(const Term &term, const Last &last, int64_t rows, int64_t cols, tn__cuda_work *w)
{
    enum { BUSY = TN_CUDA_COUNTERS, LEAST = 8 * DOWN }; /* blocks; rows of a part */
    const int64_t tiles = (cols + ACROSS - 1) / ACROSS;
    if (!cols)
        return 0;
    const k_cut cut = k_cut_of(rows, rows / LEAST < BUSY / tiles ? rows / LEAST : BUSY / tiles);
    double *part = NULL;
    if (cut.parts > 1) {
        part = (double *)tn__cuda_scratch(w, (size_t)(2 * tiles * cut.parts * ACROSS) * sizeof *part);
        if (!part)
            return TN_CUDA_NO_MEMORY;
    }
    return K_LAUNCH((add_columns<Term, Last>), k_blocks(tiles * cut.parts, 1), K_THREADS, w->stream, term, last, rows,
                    cols, cut, part, w->counters);
}

/* ---- batch norm ---- */

/* Elements of a channel are shifted by its first one, so that its mean costs no digits. */
struct batch_sums {
    const float *x;
    int64_t cols;
    __device__ void add(int64_t row, int64_t col, double *sum) const
    {
        const double away = (double)x[row * cols + col] - (double)x[col];
        sum[0] += away;
        sum[1] += away * away;
    }
};

struct batch_stats {
    const float *x;
    float *mean, *rstd, *running_mean, *running_var; /* running: NULL is none */
    double eps, momentum, n;
    __device__ void write(int64_t col, const double *sum) const
    {
        const double away = sum[0] / n, center = (double)x[col] + away, squares = fmax(sum[1] - sum[0] * away, 0.0);
        mean[col] = (float)center;
        rstd[col] = (float)(1 / sqrt(squares / n + eps));
        if (running_mean) {
            running_mean[col] = (float)((1 - momentum) * (double)running_mean[col] + momentum * center);
            running_var[col] = (float)((1 - momentum) * (double)running_var[col] + momentum * squares / (n - 1));
        }
    }
};

static __global__ void use_running(const float *running_mean, const float *running_var, double eps, int64_t cols,
                                   float *mean, float *rstd)
{
    const int64_t step = (int64_t)gridDim.x * K_THREADS;
    for (int64_t i = (int64_t)blockIdx.x * K_THREADS + threadIdx.x; i < cols; i += step) {
        mean[i] = running_mean[i];
        rstd[i] = (float)(1 / sqrt((double)running_var[i] + eps));
    }
}

struct batch {
    const float *x, *mean, *rstd, *gain, *bias, *add; /* the last three: NULL is none */
    float *y;
    int64_t n, cols;
    bool relu;
};

template <bool RUN> static __global__ void batch_apply(const __grid_constant__ batch b)
{
    K_EACH_FOUR_OF_ALL(at, b.n) {
        int64_t ch = k_rest(at, b.cols);
        k_four v = k_load<RUN>(b.x + at, b.n - at, 0);
        const k_four add = b.add ? k_load<RUN>(b.add + at, b.n - at, 0) : k_four{{0, 0, 0, 0}};
        for (int e = 0; e < 4; e++, ch = k_next(ch, b.cols)) {
            const float gain = b.gain ? b.gain[ch] : 1, bias = b.bias ? b.bias[ch] : 0;
            const float y = (v.v[e] - b.mean[ch]) * (b.rstd[ch] * gain) + bias + add.v[e];
            v.v[e] = b.relu && y < 0 ? 0 : y;
        }
        k_store<RUN>(b.y + at, b.n - at, v);
    }
}

int tn__cuda_batch_norm(const tn_call *c, tn__cuda_work *w)
{
    const tn__norm_attr *a = (const tn__norm_attr *)c->attr;
    const tn_tensor *x = c->in[0];
    const int64_t cols = x->shape[x->ndim - 1], n = tn__cuda_count(x);
    float *mean = (float *)tn__cuda_data(c->out[1]), *rstd = (float *)tn__cuda_data(c->out[2]);
    float *running_mean = (float *)tn__cuda_data(c->in[3]), *running_var = (float *)tn__cuda_data(c->in[4]);
    const batch b = {(const float *)tn__cuda_data(x), mean, rstd, (const float *)tn__cuda_data(c->in[1]),
                     (const float *)tn__cuda_data(c->in[2]), (const float *)tn__cuda_data(c->in[5]),
                     (float *)tn__cuda_data(c->out[0]), n, cols, a->relu};
    int failed;
    if (a->train) {
        const int64_t rows = cols ? n / cols : 0;
        const batch_stats stats = {b.x, mean, rstd, running_mean, running_var, a->eps, a->momentum, (double)rows};
        failed = sum_columns(batch_sums{b.x, cols}, stats, rows, cols, w);
    } else {
        failed = K_LAUNCH(use_running, k_blocks(cols, K_THREADS), K_THREADS, w->stream, (const float *)running_mean,
                          (const float *)running_var, a->eps, cols, mean, rstd);
    }
    if (failed)
        return failed;
    return K_LAUNCH_ALL(batch_apply, k_fours(n, b.x, b.add, b.y), n, w->stream, b);
}

struct batch_back {
    const float *x, *g, *gain, *mean, *rstd, *y; /* gain: NULL is 1; y: NULL without ReLU */
    float *dx, *dadd;                            /* NULL: not wanted */
    const float *shift, *tilt;                   /* [cols] */
    int64_t n, cols;

    __device__ void add(int64_t row, int64_t col, double *sum) const
    {
        const int64_t i = row * cols + col;
        const float d = y && !(y[i] > 0) ? 0 : g[i];
        sum[0] += (double)(d * ((x[i] - mean[col]) * rstd[col]));
        sum[1] += (double)d;
    }
};

/* Gradients of gain and bias, and what the batch's statistics take off dx: nothing without training. */
struct batch_slopes {
    float *dgain, *dbias; /* NULL: not wanted */
    float *shift, *tilt;
    double share; /* 1 / elements of a channel, or 0 */
    __device__ void write(int64_t col, const double *sum) const
    {
        if (dgain)
            dgain[col] = (float)sum[0];
        if (dbias)
            dbias[col] = (float)sum[1];
        tilt[col] = (float)(sum[0] * share);
        shift[col] = (float)(sum[1] * share);
    }
};

template <bool RUN> static __global__ void batch_apply_back(const __grid_constant__ batch_back b)
{
    K_EACH_FOUR_OF_ALL(at, b.n) {
        int64_t ch = k_rest(at, b.cols);
        const int64_t left = b.n - at;
        k_four x = k_load<RUN>(b.x + at, left, 0), g = k_load<RUN>(b.g + at, left, 0);
        const k_four y = b.y ? k_load<RUN>(b.y + at, left, 0) : k_four{{1, 1, 1, 1}};
        for (int e = 0; e < 4; e++, ch = k_next(ch, b.cols)) {
            const float rstd = b.rstd[ch], slope = b.gain ? rstd * b.gain[ch] : rstd;
            g.v[e] = y.v[e] > 0 ? g.v[e] : 0;
            x.v[e] = slope * (g.v[e] - b.shift[ch] - (x.v[e] - b.mean[ch]) * rstd * b.tilt[ch]);
        }
        if (b.dx)
            k_store<RUN>(b.dx + at, left, x);
        if (b.dadd)
            k_store<RUN>(b.dadd + at, left, g);
    }
}

int tn__cuda_batch_norm_backward(const tn_call *c, tn__cuda_work *w)
{
    const tn__norm_attr *a = (const tn__norm_attr *)c->attr;
    const tn_tensor *x = c->in[0];
    const int64_t cols = x->shape[x->ndim - 1], n = tn__cuda_count(x), rows = cols ? n / cols : 0;
    float *room = (float *)tn__cuda_scratch(w, (size_t)(2 * cols) * sizeof *room);
    if (!room)
        return TN_CUDA_NO_MEMORY;
    const batch_back b = {(const float *)tn__cuda_data(x), (const float *)tn__cuda_data(c->in[1]),
                          (const float *)tn__cuda_data(c->in[2]), (const float *)tn__cuda_data(c->in[3]),
                          (const float *)tn__cuda_data(c->in[4]),
                          a->relu ? (const float *)tn__cuda_data(c->in[5]) : NULL, k_wanted(c, a->wanted, 0),
                          k_wanted(c, a->wanted, 3), room, room + cols, n, cols};
    const batch_slopes slopes = {k_wanted(c, a->wanted, 1), k_wanted(c, a->wanted, 2), room, room + cols,
                                 a->train && rows ? 1 / (double)rows : 0};
    const int failed = sum_columns(b, slopes, rows, cols, w);
    if (failed || !(a->wanted & 9))
        return failed;
    return K_LAUNCH_ALL(batch_apply_back, k_fours(n, b.x, b.g, b.y, b.dx, b.dadd), n, w->stream, b);
}
