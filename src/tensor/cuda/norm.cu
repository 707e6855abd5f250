/* Layer norm, alone and behind dropout and residual add, and batch norm on CUDA, with their gradients (../ops/norm.c).
 * Rows are normalised by a warp or a block each.  Sums down the columns are taken in float64, over runs of rows whose
 * length follows from the shape, and then over the runs.  Batch norm goes through cuDNN first (libs/norm.c). */
#include "launch.h"
#include "philox.h"
#include "reduce.h"

/* ---- layer norm ---- */

struct layer {
    const float *gain, *bias; /* NULL: none */
    float *y, *mean, *rstd;
    float eps;
    int64_t rows, cols;
};

/* Row x, whose numbers are about as large as `near`. */
template <int W, bool RUN>
static __device__ void normalize_row(const layer &l, const float *x, int64_t row, float near, float *room)
{
    const float share = 1 / (float)l.cols;
    float sum = 0, squares = 0;
    K_EACH_FOUR(j, l.cols) {
        const k_four v = k_load<RUN>(x + j, l.cols - j, near);
        for (int e = 0; e < 4; e++)
            sum += v.v[e] - near;
    }
    const float mean = near + k_all<W, k_sum>(sum, room) * share;
    K_EACH_FOUR(j, l.cols) {
        const k_four v = k_load<RUN>(x + j, l.cols - j, mean);
        for (int e = 0; e < 4; e++)
            squares += (v.v[e] - mean) * (v.v[e] - mean);
    }
    const float rstd = 1 / sqrtf(k_all<W, k_sum>(squares, room) * share + l.eps);
    K_EACH_FOUR(j, l.cols) {
        const int64_t left = l.cols - j;
        k_four v = k_load<RUN>(x + j, left, 0);
        const k_four gain = l.gain ? k_load<RUN>(l.gain + j, left, 1) : k_four{{1, 1, 1, 1}};
        const k_four bias = l.bias ? k_load<RUN>(l.bias + j, left, 0) : k_four{{0, 0, 0, 0}};
        for (int e = 0; e < 4; e++)
            v.v[e] = (v.v[e] - mean) * rstd * gain.v[e] + bias.v[e];
        k_store<RUN>(l.y + row * l.cols + j, left, v);
    }
    if (threadIdx.x % W == 0) {
        l.mean[row] = mean;
        l.rstd[row] = rstd;
    }
}

template <int W, bool RUN> static __global__ void normalize(const __grid_constant__ layer l, const float *x)
{
    K_SHARED(float, room, K_WARPS);
    K_EACH_ROW(row, l.rows)
        normalize_row<W, RUN>(l, x + row * l.cols, row, x[row * l.cols], room);
}

struct dropped {
    const float *x, *residual;
    float *sum;
    uint64_t threshold; /* above any word: all are dropped */
    float scale;
    tn__cuda_key key;
};

/* The words of elements at..at+3 of a mask. */
template <bool RUN> static __device__ tn__philox4 words_at(tn_rng key, int64_t at)
{
    tn__philox4 word;
    if constexpr (RUN)
        word = tn__philox(key.seed, key.step, (uint64_t)at / 4);
    else
        for (int e = 0; e < 4; e++)
            word.v[e] = tn__philox_at(key.seed, key.step, (uint64_t)(at + e));
    return word;
}

template <int W, bool RUN>
static __global__ void drop_add_normalize(const __grid_constant__ layer l, const __grid_constant__ dropped d)
{
    K_SHARED(float, room, K_WARPS);
    const tn_rng key = k_key(d.key);
    K_EACH_ROW(row, l.rows) {
        const int64_t at = row * l.cols;
        K_EACH_FOUR(j, l.cols) {
            const k_four x = k_load<RUN>(d.x + at + j, l.cols - j, 0);
            k_four sum = k_load<RUN>(d.residual + at + j, l.cols - j, 0);
            const tn__philox4 word = words_at<RUN>(key, at + j);
            for (int e = 0; e < 4; e++)
                sum.v[e] = word.v[e] >= d.threshold ? sum.v[e] + x.v[e] * d.scale : sum.v[e];
            k_store<RUN>(d.sum + at + j, l.cols - j, sum);
        }
        normalize_row<W, RUN>(l, d.sum + at, row, d.residual[at], room); /* a thread reads what it wrote */
    }
}

static layer layer_of(const tn_call *c, int gain, int stats, double eps)
{
    const tn_tensor *x = c->in[0];
    const int64_t cols = x->shape[x->ndim - 1];
    return {(const float *)tn__cuda_data(c->in[gain]), (const float *)tn__cuda_data(c->in[gain + 1]),
            (float *)tn__cuda_data(c->out[0]), (float *)tn__cuda_data(c->out[stats]),
            (float *)tn__cuda_data(c->out[stats + 1]), (float)eps, tn__cuda_count(x) / cols, cols};
}

int tn__cuda_layer_norm(const tn_call *c, tn__cuda_work *w)
{
    const layer l = layer_of(c, 1, 1, ((const tn__norm_attr *)c->attr)->eps);
    const float *x = (const float *)tn__cuda_data(c->in[0]);
    return K_LAUNCH_ROWS(normalize, k_fours(l.cols, x, l.gain, l.bias, l.y), l.rows, l.cols, w->stream, l, x);
}

int tn__cuda_dropout_add_layer_norm(const tn_call *c, tn__cuda_work *w)
{
    const tn__drop_norm_attr *a = (const tn__drop_norm_attr *)c->attr;
    const layer l = layer_of(c, 2, 2, a->eps);
    const dropped d = {(const float *)tn__cuda_data(c->in[0]), (const float *)tn__cuda_data(c->in[1]),
                       (float *)tn__cuda_data(c->out[1]),
                       a->drop.p < 1 ? tn__drop_threshold(a->drop.p) : UINT64_MAX, (float)(1 / (1 - a->drop.p)),
                       {a->drop.key, w->drawn}};
    const bool run = k_fours(l.cols, d.x, d.residual, d.sum, l.gain, l.bias, l.y);
    return K_LAUNCH_ROWS(drop_add_normalize, run, l.rows, l.cols, w->stream, l, d);
}

/* ---- sums down columns ---- */

enum { ACROSS = K_WARP, DOWN = K_THREADS / ACROSS }; /* threads of a tile of columns */
struct runs {
    int64_t rows, cols, count, length; /* count: of the runs, of so many rows each */
};

/* Term: void add(int64_t row, int64_t col, double sum[2]) const.  part: [2, cols, count] */
template <class Term>
static __global__ void add_columns(const __grid_constant__ Term term, const runs r, double *part)
{
    K_SHARED(double, room, 2 * K_THREADS);
    const int across = (int)threadIdx.x % ACROSS, down = (int)threadIdx.x / ACROSS;
    const int64_t tiles = (r.cols + ACROSS - 1) / ACROSS;
    for (int64_t tile = blockIdx.x; tile < tiles * r.count; tile += gridDim.x) {
        const int64_t col = tile % tiles * ACROSS + across, run = tile / tiles;
        const int64_t end = (run + 1) * r.length < r.rows ? (run + 1) * r.length : r.rows;
        double sum[2] = {0, 0};
        for (int64_t row = run * r.length + down; col < r.cols && row < end; row += DOWN)
            term.add(row, col, sum);
        for (int k = 0; k < 2; k++)
            room[k * K_THREADS + threadIdx.x] = sum[k];
        __syncthreads();
        for (int k = 0; k < 2 && down == 0 && col < r.cols; k++) {
            for (int i = 1; i < DOWN; i++)
                sum[k] += room[k * K_THREADS + i * ACROSS + across];
            part[(k * r.cols + col) * r.count + run] = sum[k];
        }
        __syncthreads();
    }
}

/* Last: void write(int64_t col, const double sum[2]) const */
template <class Last>
static __global__ void finish_columns(const __grid_constant__ Last last, const runs r, const double *part)
{
    enum { W = K_WARP };
    K_EACH_ROW(col, r.cols) {
        double sum[2] = {0, 0};
        for (int k = 0; k < 2; k++) {
            for (int64_t run = threadIdx.x % W; run < r.count; run += W)
                sum[k] += part[(k * r.cols + col) * r.count + run];
            sum[k] = k_all<W, k_sum>(sum[k], (double *)NULL);
        }
        if (threadIdx.x % W == 0)
            last.write(col, sum);
    }
}

template <class Term, class Last>
static int sum_columns(const Term &term, const Last &last, int64_t rows, int64_t cols, tn__cuda_work *w)
{
    enum { BUSY = 1024, LEAST = 8 * DOWN }; /* blocks that keep any device busy; rows of a run */
    const int64_t tiles = (cols + ACROSS - 1) / ACROSS;
    if (!cols)
        return 0;
    const int64_t most = rows / LEAST < BUSY / tiles ? rows / LEAST : BUSY / tiles;
    runs r = {rows, cols, 1, rows};
    if (most > 1) {
        r.length = (rows + most - 1) / most;
        r.count = (rows + r.length - 1) / r.length;
    }
    double *part = (double *)tn__cuda_scratch(w, (size_t)(2 * cols * r.count) * sizeof *part);
    if (!part)
        return TN_CUDA_NO_MEMORY;
    const int failed =
        K_LAUNCH(add_columns<Term>, k_blocks(tiles * r.count, 1), K_THREADS, w->stream, term, r, part);
    return failed ? failed
                  : K_LAUNCH(finish_columns<Last>, k_blocks(cols, K_WARPS), K_THREADS, w->stream, last, r,
                             (const double *)part);
}

/* ---- layer norm, backward ---- */

struct layer_back {
    const float *x, *g, *gain, *mean, *rstd; /* gain: NULL is 1 */
    float *dx;
    int64_t rows, cols;

    __device__ void add(int64_t row, int64_t col, double *sum) const
    {
        const float d = g[row * cols + col];
        sum[0] += (double)(d * ((x[row * cols + col] - mean[row]) * rstd[row]));
        sum[1] += (double)d;
    }
};

/* With d = g gain and h = (x - mean) rstd: dx = rstd (d - mean of d - h mean of d h). */
template <int W, bool RUN> static __global__ void normalize_back(const __grid_constant__ layer_back l)
{
    K_SHARED(float, room, K_WARPS);
    K_EACH_ROW(row, l.rows) {
        const float mean = l.mean[row], rstd = l.rstd[row], share = 1 / (float)l.cols;
        float sum = 0, dot = 0;
        K_EACH_FOUR(j, l.cols) {
            const int64_t at = row * l.cols + j, left = l.cols - j;
            const k_four x = k_load<RUN>(l.x + at, left, mean), g = k_load<RUN>(l.g + at, left, 0);
            const k_four gain = l.gain ? k_load<RUN>(l.gain + j, left, 1) : k_four{{1, 1, 1, 1}};
            for (int e = 0; e < 4; e++) {
                const float d = g.v[e] * gain.v[e];
                sum += d;
                dot += d * ((x.v[e] - mean) * rstd);
            }
        }
        sum = k_all<W, k_sum>(sum, room) * share;
        dot = k_all<W, k_sum>(dot, room) * share;
        K_EACH_FOUR(j, l.cols) {
            const int64_t at = row * l.cols + j, left = l.cols - j;
            const k_four x = k_load<RUN>(l.x + at, left, mean), gain =
                l.gain ? k_load<RUN>(l.gain + j, left, 1) : k_four{{1, 1, 1, 1}};
            k_four g = k_load<RUN>(l.g + at, left, 0);
            for (int e = 0; e < 4; e++)
                g.v[e] = rstd * (g.v[e] * gain.v[e] - sum - (x.v[e] - mean) * rstd * dot);
            k_store<RUN>(l.dx + at, left, g);
        }
    }
}

/* Sums of columns as they are; NULL: not wanted. */
struct two_vectors {
    float *first, *second;
    __device__ void write(int64_t col, const double *sum) const
    {
        if (first)
            first[col] = (float)sum[0];
        if (second)
            second[col] = (float)sum[1];
    }
};

static float *wanted_out(const tn_call *c, unsigned wanted, int i)
{
    return wanted >> i & 1 ? (float *)tn__cuda_data(c->out[i]) : NULL;
}

int tn__cuda_layer_norm_backward(const tn_call *c, tn__cuda_work *w)
{
    const unsigned wanted = ((const tn__norm_attr *)c->attr)->wanted;
    const tn_tensor *x = c->in[0];
    const int64_t cols = x->shape[x->ndim - 1];
    const layer_back l = {(const float *)tn__cuda_data(x), (const float *)tn__cuda_data(c->in[1]),
                          (const float *)tn__cuda_data(c->in[2]), (const float *)tn__cuda_data(c->in[3]),
                          (const float *)tn__cuda_data(c->in[4]), wanted_out(c, wanted, 0),
                          cols ? tn__cuda_count(x) / cols : 0, cols};
    int failed = l.dx ? K_LAUNCH_ROWS(normalize_back, k_fours(cols, l.x, l.g, l.gain, l.dx), l.rows, cols, w->stream, l)
                      : 0;
    if (!failed && (wanted & 6))
        failed = sum_columns(l, two_vectors{wanted_out(c, wanted, 1), wanted_out(c, wanted, 2)}, l.rows, cols, w);
    return failed;
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
    two_vectors wanted;
    float *shift, *tilt;
    double share; /* 1 / elements of a channel, or 0 */
    __device__ void write(int64_t col, const double *sum) const
    {
        wanted.write(col, sum);
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
                          a->relu ? (const float *)tn__cuda_data(c->in[5]) : NULL, wanted_out(c, a->wanted, 0),
                          wanted_out(c, a->wanted, 3), room, room + cols, n, cols};
    const batch_slopes slopes = {{wanted_out(c, a->wanted, 1), wanted_out(c, a->wanted, 2)}, room, room + cols,
                                 a->train && rows ? 1 / (double)rows : 0};
    const int failed = sum_columns(b, slopes, rows, cols, w);
    if (failed || !(a->wanted & 9))
        return failed;
    return K_LAUNCH_ALL(batch_apply_back, k_fours(n, b.x, b.g, b.y, b.dx, b.dadd), n, w->stream, b);
}
