/* Layer norm on CUDA, alone and behind dropout and residual add, with its gradients (../ops/norm.c).  Forward, rows are
 * normalised by a warp or a block each.  Backward, a block has a run of rows, whose length follows from the shape, and
 * its sums down the columns are a part of those over all rows. */
#include "launch.h"
#include "philox.h"
#include "reduce.h"

/* ---- forward ---- */

struct layer {
    const float *gain, *bias; /* NULL: none */
    float *y, *mean, *rstd;
    uint16_t *half;           /* y in bf16; NULL: not wanted */
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
        k_store<RUN>(l.y, l.half, row * l.cols + j, left, v);
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

struct mask {
    uint64_t threshold; /* above any word: all are dropped */
    float scale;
    tn__cuda_key key;
};

static mask mask_of(const tn__dropout_attr *a, const tn__cuda_work *w)
{
    return {a->p < 1 ? tn__drop_threshold(a->p) : UINT64_MAX, (float)(1 / (1 - a->p)), {a->key, w->drawn}};
}

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

struct dropped {
    const float *x, *residual;
    float *sum;
    mask drop;
};

template <int W, bool RUN>
static __global__ void drop_add_normalize(const __grid_constant__ layer l, const __grid_constant__ dropped d)
{
    K_SHARED(float, room, K_WARPS);
    const tn_rng key = k_key(d.drop.key);
    K_EACH_ROW(row, l.rows) {
        const int64_t at = row * l.cols;
        K_EACH_FOUR(j, l.cols) {
            const k_four x = k_load<RUN>(d.x + at + j, l.cols - j, 0);
            k_four sum = k_load<RUN>(d.residual + at + j, l.cols - j, 0);
            const tn__philox4 word = words_at<RUN>(key, at + j);
            for (int e = 0; e < 4; e++)
                sum.v[e] = word.v[e] >= d.drop.threshold ? sum.v[e] + x.v[e] * d.drop.scale : sum.v[e];
            k_store<RUN>(d.sum + at + j, l.cols - j, sum);
        }
        normalize_row<W, RUN>(l, d.sum + at, row, d.residual[at], room); /* a thread reads what it wrote */
    }
}

static layer layer_of(const tn_call *c, int gain, int stats, double eps, tn__cuda_work *w)
{
    const tn_tensor *x = c->in[0];
    const int64_t cols = x->shape[x->ndim - 1];
    return {(const float *)tn__cuda_data(c->in[gain]), (const float *)tn__cuda_data(c->in[gain + 1]),
            (float *)tn__cuda_data(c->out[0]), (float *)tn__cuda_data(c->out[stats]),
            (float *)tn__cuda_data(c->out[stats + 1]), tn__cuda_rounded_out(c->out[0], w), (float)eps,
            tn__cuda_count(x) / cols, cols};
}

int tn__cuda_layer_norm(const tn_call *c, tn__cuda_work *w)
{
    const layer l = layer_of(c, 1, 1, ((const tn__norm_attr *)c->attr)->eps, w);
    const float *x = (const float *)tn__cuda_data(c->in[0]);
    return K_LAUNCH_ROWS(normalize, k_fours(l.cols, x, l.gain, l.bias, l.y), l.rows, l.cols, w->stream, l, x);
}

int tn__cuda_dropout_add_layer_norm(const tn_call *c, tn__cuda_work *w)
{
    const tn__drop_norm_attr *a = (const tn__drop_norm_attr *)c->attr;
    const layer l = layer_of(c, 2, 2, a->eps, w);
    const dropped d = {(const float *)tn__cuda_data(c->in[0]), (const float *)tn__cuda_data(c->in[1]),
                       (float *)tn__cuda_data(c->out[1]), mask_of(&a->drop, w)};
    const bool run = k_fours(l.cols, d.x, d.residual, d.sum, l.gain, l.bias, l.y);
    return K_LAUNCH_ROWS(drop_add_normalize, run, l.rows, l.cols, w->stream, l, d);
}

/* ---- backward ---- */

/* Fours that a thread has at once, columns that its warp has; runs of rows. */
enum { EACH = 4, ACROSS = 4 * K_WARP * EACH, RUNS = 256 };

struct layer_back {
    const float *x, *g, *gain, *mean, *rstd; /* gain: NULL is 1 */
    float *dx, *dropped, *dgain, *dbias;     /* NULL: not wanted; dropped: dx through the mask */
    uint16_t *half;                          /* dropped, without it dx, in bf16; NULL: not wanted */
    mask drop;
    int64_t rows, cols;
    float *sums;  /* [rows, 2], see row_sums() */
    k_cut runs;   /* of rows */
    k_four *part; /* [runs, 2, fours of columns]: sums for dgain and dbias; NULL: neither is wanted */
};

/* Four elements of a row: h = (x - mean) rstd and g. */
template <bool RUN>
static __device__ void load_back(const layer_back &l, int64_t row, int64_t col, float mean, float rstd, k_four &h,
                                 k_four &g)
{
    const int64_t at = row * l.cols + col, left = l.cols - col;
    h = k_load<RUN>(l.x + at, left, mean);
    g = k_load<RUN>(l.g + at, left, 0);
    for (int e = 0; e < 4; e++)
        h.v[e] = (h.v[e] - mean) * rstd;
}

/* Makes d = g gain of g, and adds up d and d h. */
template <bool RUN>
static __device__ void add_back(const layer_back &l, int64_t col, const k_four &h, k_four &g, float &sum, float &dot)
{
    const k_four gain = l.gain ? k_load<RUN>(l.gain + col, l.cols - col, 1) : k_four{{1, 1, 1, 1}};
    for (int e = 0; e < 4; e++) {
        g.v[e] *= gain.v[e];
        sum += g.v[e];
        dot += g.v[e] * h.v[e];
    }
}

/* The sums of d and of d h over a row that a warp cannot have at once. */
template <bool RUN> static __device__ void row_sums(const layer_back &l, int64_t row)
{
    enum { W = K_WARP };
    const float mean = l.mean[row], rstd = l.rstd[row];
    float sum = 0, dot = 0;
    K_EACH_FOUR(j, l.cols) {
        k_four h, g;
        load_back<RUN>(l, row, j, mean, rstd, h, g);
        add_back<RUN>(l, j, h, g, sum, dot);
    }
    sum = k_all<W, k_sum>(sum, (float *)NULL);
    dot = k_all<W, k_sum>(dot, (float *)NULL);
    if (threadIdx.x % W == 0) {
        l.sums[2 * row] = sum;
        l.sums[2 * row + 1] = dot;
    }
    k_meet<W>();
}

/* dx = rstd (d - mean of d - h mean of d h) in columns from.. of a row; adds g h and g to those of its columns.  WHOLE:
 * these are all columns. */
template <bool WHOLE, bool RUN>
static __device__ void back_row(const layer_back &l, tn_rng key, int64_t row, int64_t from, k_four (&column)[2][EACH])
{
    const float mean = l.mean[row], rstd = l.rstd[row], share = 1 / (float)l.cols;
    const int64_t first = from + 4 * (int64_t)(threadIdx.x % K_WARP);
    float sum = 0, dot = 0;
    k_four h[EACH] = {}, g[EACH] = {};
    K_UNROLL for (int f = 0; f < EACH; f++)
        if (first + f * 4 * K_WARP < l.cols)
            load_back<RUN>(l, row, first + f * 4 * K_WARP, mean, rstd, h[f], g[f]);
    K_UNROLL for (int f = 0; f < EACH; f++)
        for (int e = 0; e < 4; e++) {
            column[0][f].v[e] += g[f].v[e] * h[f].v[e];
            column[1][f].v[e] += g[f].v[e];
        }
    if (!l.dx)
        return;
    K_UNROLL for (int f = 0; f < EACH; f++)
        if (first + f * 4 * K_WARP < l.cols)
            add_back<RUN>(l, first + f * 4 * K_WARP, h[f], g[f], sum, dot);
    sum = share * (WHOLE ? k_all<K_WARP, k_sum>(sum, (float *)NULL) : l.sums[2 * row]);
    dot = share * (WHOLE ? k_all<K_WARP, k_sum>(dot, (float *)NULL) : l.sums[2 * row + 1]);
    K_UNROLL for (int f = 0; f < EACH; f++) {
        const int64_t j = first + f * 4 * K_WARP, at = row * l.cols + j;
        if (j >= l.cols)
            continue;
        for (int e = 0; e < 4; e++)
            g[f].v[e] = rstd * (g[f].v[e] - sum - h[f].v[e] * dot);
        k_store<RUN>(l.dx, l.dropped ? NULL : l.half, at, l.cols - j, g[f]);
        if (!l.dropped)
            continue;
        const tn__philox4 word = words_at<RUN>(key, at);
        for (int e = 0; e < 4; e++)
            g[f].v[e] = word.v[e] >= l.drop.threshold ? g[f].v[e] * l.drop.scale : 0;
        k_store<RUN>(l.dropped, l.half, at, l.cols - j, g[f]);
    }
}

/* The sum of `count` fours, `step` apart. */
static __device__ k_four sum_fours(const k_four *p, int64_t step, unsigned count)
{
    enum { AT_ONCE = 8 };
    double sum[4] = {0, 0, 0, 0};
    for (unsigned i = 0; i < count; i += AT_ONCE) {
        k_four v[AT_ONCE] = {};
        K_UNROLL for (unsigned a = 0; a < AT_ONCE; a++)
            if (i + a < count)
                v[a] = p[(i + a) * step];
        K_UNROLL for (unsigned a = 0; a < AT_ONCE; a++)
            for (int e = 0; e < 4; e++)
                sum[e] += (double)v[a].v[e];
    }
    return {{(float)sum[0], (float)sum[1], (float)sum[2], (float)sum[3]}};
}

/* A block has a run of rows, a warp every eighth of them. */
template <bool WHOLE, bool RUN>
static __global__ void __launch_bounds__(K_THREADS, RUN ? 2 : 1)
    normalize_back(const __grid_constant__ layer_back l, unsigned *counters)
{
    static_assert(2 * EACH * K_WARP == K_THREADS, "a thread for each four of both sums");
    K_SHARED(k_four, room, K_WARPS * K_THREADS);
    const tn_rng key = l.dropped ? k_key(l.drop.key) : tn_rng{};
    const int thread = (int)threadIdx.x, warp = thread / K_WARP, lane = thread % K_WARP;
    const int64_t fours = (l.cols + 3) / 4;
    for (unsigned run = blockIdx.x; run < l.runs.parts; run += gridDim.x) {
        const int64_t first = run * l.runs.length + warp, beyond = (run + 1) * l.runs.length;
        const int64_t end = beyond < l.rows ? beyond : l.rows;
        for (int64_t row = first; !WHOLE && l.dx && row < end; row += K_WARPS)
            row_sums<RUN>(l, row);
        for (int64_t from = 0; from < l.cols; from += ACROSS) {
            k_four column[2][EACH] = {};
            for (int64_t row = first; row < end; row += K_WARPS)
                back_row<WHOLE, RUN>(l, key, row, from, column);
            if (!l.part)
                continue;
            K_UNROLL for (int k = 0; k < 2 * EACH; k++)
                room[warp * K_THREADS + k * K_WARP + lane] = column[k / EACH][k % EACH];
            __syncthreads();
            const int64_t four = from / 4 + thread % (EACH * K_WARP);
            if (four < fours)
                l.part[(2 * run + thread / (EACH * K_WARP)) * fours + four] =
                    sum_fours(room + thread, K_THREADS, K_WARPS);
            __syncthreads();
        }
        const auto merge = [&](unsigned into, unsigned step, unsigned count) {
            for (int64_t four = thread; four < 2 * fours; four += K_THREADS) {
                k_four *p = l.part + 2 * into * fours + four;
                *p = sum_fours(p, 2 * step * fours, count);
            }
            __syncthreads();
        };
        if (!l.part || !k_whole(counters, run, l.runs.parts, merge))
            continue;
        for (int64_t j = thread; j < l.cols; j += K_THREADS) {
            if (l.dgain)
                l.dgain[j] = l.part[j / 4].v[j % 4];
            if (l.dbias)
                l.dbias[j] = l.part[fours + j / 4].v[j % 4];
        }
    }
}

static int layer_norm_back(const tn_call *c, unsigned wanted, const mask &drop, float *dropped, uint16_t *half,
                           tn__cuda_work *w)
{
    const tn_tensor *x = c->in[0];
    const int64_t cols = x->shape[x->ndim - 1], rows = cols ? tn__cuda_count(x) / cols : 0;
    const int64_t eights = (rows + K_WARPS - 1) / K_WARPS;
    layer_back l = {(const float *)tn__cuda_data(x), (const float *)tn__cuda_data(c->in[1]),
                    (const float *)tn__cuda_data(c->in[2]), (const float *)tn__cuda_data(c->in[3]),
                    (const float *)tn__cuda_data(c->in[4]), k_wanted(c, wanted, 0), dropped,
                    k_wanted(c, wanted, 1), k_wanted(c, wanted, 2), half, drop, rows, cols, NULL,
                    k_cut_of(eights, eights < RUNS ? eights : (int64_t)RUNS), NULL};
    l.runs.length *= K_WARPS;
    const bool run = k_fours(cols, l.x, l.g, l.gain, l.dx, l.dropped), whole = cols <= ACROSS;
    if (!whole)
        l.sums = (float *)tn__cuda_scratch(w, (size_t)(2 * rows) * sizeof *l.sums);
    if (wanted & 6)
        l.part = (k_four *)tn__cuda_scratch(w, (size_t)(2 * l.runs.parts * ((cols + 3) / 4)) * sizeof *l.part);
    if ((!whole && !l.sums) || ((wanted & 6) && !l.part))
        return TN_CUDA_NO_MEMORY;
#define NORMALIZE_BACK(whole, run) \
    K_LAUNCH((normalize_back<whole, run>), k_blocks(l.runs.parts, 1), K_THREADS, w->stream, l, w->counters)
    return whole ? (run ? NORMALIZE_BACK(true, true) : NORMALIZE_BACK(true, false))
                 : (run ? NORMALIZE_BACK(false, true) : NORMALIZE_BACK(false, false));
}

int tn__cuda_layer_norm_backward(const tn_call *c, tn__cuda_work *w)
{
    return layer_norm_back(c, ((const tn__norm_attr *)c->attr)->wanted, {}, NULL, NULL, w);
}

int tn__cuda_dropout_add_layer_norm_backward(const tn_call *c, tn__cuda_work *w)
{
    const tn__drop_norm_attr *a = (const tn__drop_norm_attr *)c->attr;
    float *dropped = k_wanted(c, a->wanted, 3);
    uint16_t *half = dropped || a->wanted & 1 ? tn__cuda_rounded_out(c->out[dropped ? 3 : 0], w) : NULL;
    return layer_norm_back(c, a->wanted, mask_of(&a->drop, w), dropped, half, w);
}
