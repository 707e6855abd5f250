/* A linear layer and its cross-entropy in one on CUDA, for a run of rows at a time: their logits are made, each row's
 * loss is read off them and what the loss's gradient by them is takes their place, then the two products that pass
 * it on follow (../ops/linear_loss.c).  How rows are cut follows from the shape alone. */
#include "convert.h"
#include "launch.h"
#include "targets.h"

/* Logits that are held at once, but of so many rows at least: the gradient of w is read and written once a run. */
enum { ROWS = K_LOGITS >> 17 ? K_LOGITS >> 17 : 1 };

struct linear_loss {
    k_targets t;
    int64_t first;       /* row of the run */
    float *z;            /* [rows of the run, classes] */
    uint16_t *z_half;    /* its gradient in bf16, too; NULL: not wanted */
    float *loss, *nll;   /* [all rows] */
    float smoothing;
    const double *share;
    bool wanted;         /* the gradient by z, in its place */
};

template <int W, bool RUN>
static __global__ void loss_rows(const __grid_constant__ linear_loss c, int64_t rows, const tn__cuda_watch watch)
{
    K_SHARED(float, room, K_WARPS);
    const int64_t cols = c.t.classes;
    const float eps = c.smoothing, share = c.share ? (float)*c.share : 1;
    K_EACH_ROW(here, rows) {
        const int64_t row = c.first + here, target = c.t.target[row];
        const bool counts = c.t.counts(row);
        float *z = c.z + here * cols, spread = 0;
        const float aim = counts ? z[target] : 0, most = k_row_max<W, RUN>(z, cols, room);
        const float sum = k_row_exp_sum<W, RUN>(z, cols, most, room);
        if (eps > 0) {
            K_EACH_FOUR(j, cols) {
                const k_four v = k_load<RUN>(z + j, cols - j, most);
                for (int e = 0; e < 4; e++)
                    spread += most - v.v[e];
            }
            spread = k_all<W, k_sum>(spread, room) * (eps / (float)cols);
        }
        if (threadIdx.x % W == 0) {
            const float nll = logf(sum) + (most - aim);
            c.nll[row] = counts ? nll : 0;
            c.loss[row] = counts ? logf(sum) + (1 - eps) * (most - aim) + spread : 0;
            c.t.check(row, watch);
        }
        if (!c.wanted)
            continue;
        const float scale = share / sum, floor = share * eps / (float)cols;
        k_meet<W>(); /* all have read their aim */
        K_EACH_FOUR(j, cols) {
            k_four v = k_load<RUN>(z + j, cols - j, 0);
            for (int e = 0; e < 4; e++) {
                const float hit = j + e == target ? share * (1 - eps) : 0;
                v.v[e] = counts ? expf(v.v[e] - most) * scale - floor - hit : 0;
            }
            k_store<RUN>(z + j, cols - j, v);
            for (int e = 0; e < 4 && c.z_half; e++)
                if (RUN || j + e < cols)
                    c.z_half[here * cols + j + e] = tn__to_bf16(v.v[e]);
        }
    }
}

struct both_losses {
    const float *loss, *nll;
    __device__ void add(int64_t i, double *sum) const
    {
        sum[0] += (double)loss[i];
        sum[1] += (double)nll[i];
    }
};

struct matrices {
    const float *x, *w;
    float *dx, *dw; /* NULL: not wanted */
    int64_t dim;
    const uint16_t *x_half, *w_half;
};

/* Rows c.first .. c.first + n - 1. */
static int one_run(const linear_loss &c, const matrices &m, int64_t n, tn__cuda_work *w)
{
    const int64_t classes = c.t.classes, dim = m.dim;
    const float *x = m.x + c.first * dim;
    const uint16_t *x_half = m.x_half ? m.x_half + c.first * dim : NULL;
    const tn__cuda_product z = {1, n, classes, dim, x, m.w, NULL, c.z, dim, 1, 1, dim, classes, 0, 0, 0, false, true,
                                x_half, m.w_half};
    int failed = tn__cuda_multiply(&z, w);
    if (!failed)
        failed = K_LAUNCH_ROWS(loss_rows, k_fours(classes, c.z), n, classes, w->stream, c, n, w->watch);
    if (!failed && m.dx) {
        const tn__cuda_product dx = {1, n, dim, classes, c.z, m.w, NULL, m.dx + c.first * dim, classes, 1, dim, 1, dim,
                                     0, 0, 0, false, true, c.z_half, m.w_half};
        failed = tn__cuda_multiply(&dx, w);
    }
    if (!failed && m.dw) {
        const tn__cuda_product dw = {1, classes, dim, n, c.z, x, NULL, m.dw, 1, classes, dim, 1, dim, 0, 0, 0,
                                     c.first > 0, true, c.z_half, x_half};
        failed = tn__cuda_multiply(&dw, w);
    }
    return failed;
}

/* Cuts the rows into the fewest even runs. */
static int64_t run_length(int64_t rows, int64_t classes)
{
    const int64_t fit = K_LOGITS / classes, most = fit > ROWS ? fit : (int64_t)ROWS, count = (rows + most - 1) / most;
    const int64_t even = count ? (rows + count - 1) / count : 1, rounded = (even + 15) / 16 * 16;
    return rounded < most ? rounded : most;
}

int tn__cuda_linear_cross_entropy(const tn_call *c, tn__cuda_work *w)
{
    const tn__linear_loss_attr *a = (const tn__linear_loss_attr *)c->attr;
    const int64_t classes = c->in[1]->shape[0];
    const matrices m = {(const float *)tn__cuda_data(c->in[0]), (const float *)tn__cuda_data(c->in[1]),
                        a->wanted & 4 ? (float *)tn__cuda_data(c->out[2]) : NULL,
                        a->wanted & 8 ? (float *)tn__cuda_data(c->out[3]) : NULL, c->in[1]->shape[1],
                  tn__cuda_rounded(c->in[0], w), tn__cuda_rounded(c->in[1], w)};
    linear_loss l = {};
    l.t = k_targets_of(c->in[2], classes, &a->loss);
    l.smoothing = (float)a->loss.smoothing;
    l.wanted = m.dx || m.dw;
    const int64_t rows = l.t.rows, run = run_length(rows, classes);
    l.z = (float *)tn__cuda_scratch(w, (size_t)(run * classes) * sizeof *l.z);
    l.loss = (float *)tn__cuda_scratch(w, (size_t)(2 * rows) * sizeof *l.loss);
    if (m.x_half && l.wanted)
        l.z_half = (uint16_t *)tn__cuda_scratch(w, (size_t)(run * classes) * sizeof *l.z_half);
    if (!l.z || !l.loss)
        return TN_CUDA_NO_MEMORY;
    l.nll = l.loss + rows;
    int failed = k_share(l.t, &a->loss, &l.share, w);
    if (!failed && m.dw && !rows)
        failed = tn__cuda_zero(m.dw, (size_t)(classes * m.dim) * sizeof *m.dw, w);
    for (; !failed && l.first < rows; l.first += run)
        failed = one_run(l, m, run < rows - l.first ? run : rows - l.first, w);
    const k_total to = {{(float *)tn__cuda_data(c->out[0]), (float *)tn__cuda_data(c->out[1])}, 1, l.share};
    return failed ? failed : k_add_up(both_losses{l.loss, l.nll}, rows, to, w);
}
