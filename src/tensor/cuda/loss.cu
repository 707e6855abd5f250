/* Losses on CUDA (../ops/loss.c).  A target that is no class is told by the kernel; its row gives nothing. */
#include "launch.h"
#include "targets.h"

/* ---- cross-entropy ---- */

struct entropy {
    k_targets t;
    const float *x;
    float smoothing;
    float *loss, *lse;  /* of each row: forward */
    const float *g;     /* [1]; of backward, where lse is read */
    const double *share;
    float *dx;
};

template <int W, bool RUN>
static __global__ void entropy_rows(const __grid_constant__ entropy c, const tn__cuda_watch watch)
{
    K_SHARED(float, room, K_WARPS);
    const int64_t cols = c.t.classes;
    K_EACH_ROW(row, c.t.rows) {
        const float *x = c.x + row * cols;
        const float most = k_row_max<W, RUN>(x, cols, room), log_sum = logf(k_row_exp_sum<W, RUN>(x, cols, most, room));
        float all = 0;
        if (c.smoothing > 0) {
            K_EACH_FOUR(j, cols) {
                const k_four v = k_load<RUN>(x + j, cols - j, most);
                for (int e = 0; e < 4; e++)
                    all += most - v.v[e];
            }
            all = k_all<W, k_sum>(all, room);
        }
        if (threadIdx.x % W)
            continue;
        c.lse[row] = most + log_sum;
        c.loss[row] = c.t.counts(row) ? log_sum + (1 - c.smoothing) * (most - x[c.t.target[row]]) +
                                            c.smoothing / (float)cols * all
                                      : 0;
        c.t.check(row, watch);
    }
}

template <int W, bool RUN>
static __global__ void entropy_back(const __grid_constant__ entropy c, const tn__cuda_watch watch)
{
    const int64_t cols = c.t.classes;
    const float g = (float)((double)c.g[0] * (c.share ? *c.share : 1)), floor = c.smoothing / (float)cols;
    K_EACH_ROW(row, c.t.rows) {
        const bool counts = c.t.counts(row);
        const float lse = c.lse[row];
        if (threadIdx.x % W == 0)
            c.t.check(row, watch);
        K_EACH_FOUR(j, cols) {
            k_four v = k_load<RUN>(c.x + row * cols + j, cols - j, 0);
            for (int e = 0; e < 4; e++) {
                const float wanted = j + e == c.t.target[row] ? floor + (1 - c.smoothing) : floor;
                v.v[e] = counts ? g * (expf(v.v[e] - lse) - wanted) : 0;
            }
            k_store<RUN>(c.dx + row * cols + j, cols - j, v);
        }
    }
}

/* Of the terms loss[i]. */
struct row_losses {
    const float *loss;
    __device__ void add(int64_t i, double *sum) const { sum[0] += (double)loss[i]; }
};

static entropy entropy_of(const tn_call *c, int target)
{
    const tn__cross_entropy_attr *a = (const tn__cross_entropy_attr *)c->attr;
    entropy e = {};
    e.t = k_targets_of(c->in[target], c->in[0]->shape[c->in[0]->ndim - 1], a);
    e.x = (const float *)tn__cuda_data(c->in[0]);
    e.smoothing = (float)a->smoothing;
    return e;
}

int tn__cuda_cross_entropy(const tn_call *c, tn__cuda_work *w)
{
    entropy e = entropy_of(c, 1);
    e.lse = (float *)tn__cuda_data(c->out[1]);
    e.loss = (float *)tn__cuda_scratch(w, (size_t)e.t.rows * sizeof *e.loss);
    if (!e.loss)
        return TN_CUDA_NO_MEMORY;
    int failed = k_share(e.t, (const tn__cross_entropy_attr *)c->attr, &e.share, w);
    if (!failed)
        failed = K_LAUNCH_ROWS(entropy_rows, k_fours(e.t.classes, e.x), e.t.rows, e.t.classes, w->stream, e, w->watch);
    const k_total to = {{(float *)tn__cuda_data(c->out[0]), NULL}, 1, e.share};
    return failed ? failed : k_add_up(row_losses{e.loss}, e.t.rows, to, w);
}

int tn__cuda_cross_entropy_backward(const tn_call *c, tn__cuda_work *w)
{
    entropy e = entropy_of(c, 2);
    e.g = (const float *)tn__cuda_data(c->in[1]);
    e.lse = (float *)tn__cuda_data(c->in[3]);
    e.dx = (float *)tn__cuda_data(c->out[0]);
    const int failed = k_share(e.t, (const tn__cross_entropy_attr *)c->attr, &e.share, w);
    return failed ? failed
                  : K_LAUNCH_ROWS(entropy_back, k_fours(e.t.classes, e.x, e.dx), e.t.rows, e.t.classes, w->stream, e,
                                  w->watch);
}

/* ---- negative log-likelihood ---- */

struct chosen {
    k_targets t;
    const float *x;
    tn__cuda_watch watch;
    __device__ void add(int64_t row, double *sum) const
    {
        if (t.counts(row))
            sum[0] -= (double)x[row * t.classes + t.target[row]];
        t.check(row, watch);
    }
};

static __global__ void nll_back(const k_targets t, const float *g, float *dx, const tn__cuda_watch watch)
{
    const int64_t step = (int64_t)gridDim.x * K_THREADS;
    for (int64_t row = (int64_t)blockIdx.x * K_THREADS + threadIdx.x; row < t.rows; row += step) {
        if (t.counts(row))
            dx[row * t.classes + t.target[row]] = -g[0] / (float)t.rows;
        t.check(row, watch);
    }
}

static double mean_of(int64_t n) { return n ? 1 / (double)n : 0; }

int tn__cuda_nll(const tn_call *c, tn__cuda_work *w)
{
    const tn_tensor *x = c->in[0];
    const chosen term = {k_targets_of(c->in[1], x->shape[x->ndim - 1], NULL), (const float *)tn__cuda_data(x),
                         w->watch};
    const k_total to = {{(float *)tn__cuda_data(c->out[0]), NULL}, mean_of(term.t.rows), NULL};
    return k_add_up(term, term.t.rows, to, w);
}

int tn__cuda_nll_backward(const tn_call *c, tn__cuda_work *w)
{
    const tn_tensor *dx = c->out[0];
    const k_targets t = k_targets_of(c->in[1], dx->shape[dx->ndim - 1], NULL);
    const int failed = tn__cuda_zero(tn__cuda_data(dx), (size_t)tn__cuda_count(dx) * sizeof(float), w);
    return failed ? failed
                  : K_LAUNCH(nll_back, k_blocks(t.rows, K_THREADS), K_THREADS, w->stream, t,
                             (const float *)tn__cuda_data(c->in[0]), (float *)tn__cuda_data(dx), w->watch);
}

/* ---- of two arrays ---- */

struct squares {
    const float *x, *target;
    __device__ void add(int64_t i, double *sum) const
    {
        const double away = (double)x[i] - (double)target[i];
        sum[0] += away * away;
    }
};

struct logistic {
    const float *x, *target;
    __device__ void add(int64_t i, double *sum) const
    {
        const float v = x[i];
        sum[0] += (double)(v > 0 ? v : 0) - (double)v * (double)target[i] + (double)log1pf(expf(-fabsf(v)));
    }
};

template <class Term> static int mean_over(const tn_call *c, tn__cuda_work *w)
{
    const int64_t n = tn__cuda_count(c->in[0]);
    const Term term = {(const float *)tn__cuda_data(c->in[0]), (const float *)tn__cuda_data(c->in[1])};
    const k_total to = {{(float *)tn__cuda_data(c->out[0]), NULL}, mean_of(n), NULL};
    return k_add_up(term, n, to, w);
}

int tn__cuda_mse(const tn_call *c, tn__cuda_work *w) { return mean_over<squares>(c, w); }
int tn__cuda_bce_with_logits(const tn_call *c, tn__cuda_work *w) { return mean_over<logistic>(c, w); }
