/* All steps of a recurrent layer: of each the product of the states with the weight, then gates and states of all
 * sequences in one pass, in parallel over sequences.  States live in the result's last rows (backward: in the
 * gradients of the first states), so a sequence that has ended is one whose rows are left alone.
 * Definition: src/tensor/ops/recurrent.c; the product: packed.h. */
#include <string.h>

#include "packed.h"
#include "rows.h"

#include "../internal.h"
#include "../ops/scan.h"

typedef struct job {
    tn__scan s;
    int64_t time;       /* of this step */
    int64_t per_task;   /* sequences */
    float *part;        /* [B, G H]: the hidden states' part of the gates */
    float *h, *c;       /* [B, H]: the states; c NULL of a GRU and a plain RNN */
    float *dh, *dc;     /* backward, instead of h and c */
    void (*row)(const struct job *j, int64_t sequence);
} job;

static float *row_of(const tn_tensor *t, int64_t i, int64_t n)
{
    return t ? (float *)tn__data(t) + i * n : NULL;
}

TN_INLINE float sigmoid(float x) { return 1 / (1 + tn__expf(-x)); }

static void zero(float *x, int64_t n)
{
    if (x)
        memset(x, 0, (size_t)n * sizeof *x);
}

/* n floats of x, or zeros. */
static void copy(float *y, const float *x, int64_t n)
{
    if (x)
        memcpy(y, x, (size_t)n * sizeof *y);
    else
        zero(y, n);
}

/* ---- forward ---- */

static void lstm_row(const job *j, int64_t b)
{
    const int64_t n = j->s.width, at = j->time * j->s.batch + b;
    const float *x = row_of(j->s.x, at, 4 * n), *part = j->part + 4 * b * n;
    float *in = row_of(j->s.saved, at, 4 * n), *forget = in + n, *cell = in + 2 * n;
    float *out = in + 3 * n, *c = j->c + b * n, *h = j->h + b * n;
    float *c_kept = row_of(j->s.cells, at, n), *y = row_of(j->s.y, at, n);
    TN_APART for (int64_t k = 0; k < n; k++) {
        const float i = sigmoid(x[k] + part[k]), f = sigmoid(x[n + k] + part[n + k]);
        const float g = tn__tanhf(x[2 * n + k] + part[2 * n + k]), o = sigmoid(x[3 * n + k] + part[3 * n + k]);
        const float state = f * c[k] + i * g, hidden = o * tn__tanhf(state);
        in[k] = i;
        forget[k] = f;
        cell[k] = g;
        out[k] = o;
        c[k] = c_kept[k] = state;
        h[k] = y[k] = hidden;
    }
}

static void gru_row(const job *j, int64_t b)
{
    const int64_t n = j->s.width, at = j->time * j->s.batch + b;
    const float *x = row_of(j->s.x, at, 3 * n), *part = j->part + 3 * b * n;
    float *reset = row_of(j->s.saved, at, 4 * n), *update = reset + n, *made = reset + 2 * n;
    float *inner = reset + 3 * n, *h = j->h + b * n, *y = row_of(j->s.y, at, n);
    TN_APART for (int64_t k = 0; k < n; k++) {
        const float r = sigmoid(x[k] + part[k]), z = sigmoid(x[n + k] + part[n + k]);
        const float m = tn__tanhf(x[2 * n + k] + r * part[2 * n + k]), hidden = m + z * (h[k] - m);
        reset[k] = r;
        update[k] = z;
        made[k] = m;
        inner[k] = part[2 * n + k];
        h[k] = y[k] = hidden;
    }
}

static void rnn_row(const job *j, int64_t b)
{
    const int64_t n = j->s.width, at = j->time * j->s.batch + b;
    const float *x = row_of(j->s.x, at, n), *part = j->part + b * n;
    float *h = j->h + b * n, *y = row_of(j->s.y, at, n);
    if (j->s.a->relu) {
        TN_APART for (int64_t k = 0; k < n; k++) {
            const float v = x[k] + part[k];
            h[k] = y[k] = v < 0 ? 0 : v;
        }
    } else {
        TN_APART for (int64_t k = 0; k < n; k++)
            h[k] = y[k] = tn__tanhf(x[k] + part[k]);
    }
}

static void some_rows(void *arg, int64_t task, int worker)
{
    const job *j = arg;
    const int64_t end = row_least((task + 1) * j->per_task, j->s.batch), n = j->s.width;
    (void)worker;
    for (int64_t b = task * j->per_task; b < end; b++) {
        const int64_t at = j->time * j->s.batch + b;
        if (j->time < tn__scan_length(&j->s, b)) {
            j->row(j, b);
            continue;
        }
        zero(row_of(j->s.y, at, n), n);
        zero(row_of(j->s.cells, at, n), n);
        zero(row_of(j->s.saved, at, j->s.kept * n), j->s.kept * n);
    }
}

static int64_t tasks(const job *j) { return (j->s.batch + j->per_task - 1) / j->per_task; }

/* Room for a product of the states of all sequences with w, `steps` times. */
static bool begin(packed *p, const tn__scan *s, bool across)
{
    const int64_t n = s->width, all = s->gates * n;
    *p = (packed){.w = tn__data(s->w), .across = across, .n = across ? n : all, .k = across ? all : n};
    return packed_begin(p, s->batch, s->steps);
}

/* The hidden states' part where those are zero. */
static void begin_part(const job *j)
{
    const int64_t all = j->s.gates * j->s.width;
    for (int64_t b = 0; b < j->s.batch; b++)
        copy(j->part + b * all, row_of(j->s.bias, 0, 1), all);
}

static bool forward_steps(job *j)
{
    const int64_t steps = j->s.steps, batch = j->s.batch;
    packed w;
    if (!batch || !steps)
        return true;
    if (!begin(&w, &j->s, false))
        return false;
    for (int64_t k = 0; k < steps; k++) {
        j->time = j->s.a->reverse ? steps - 1 - k : k;
        if (k > 0 || j->s.h0)
            packed_product(&w, j->h, row_of(j->s.bias, 0, 1), false, j->part);
        else
            begin_part(j);
        tn__parallel(tasks(j), some_rows, j);
    }
    packed_end(&w);
    return true;
}

static tn_done forward(const tn_call *call, void (*row)(const job *j, int64_t b))
{
    job j = {.s = tn__scan_forward(call), .row = row};
    const int64_t n = j.s.width, batch = j.s.batch, steps = j.s.steps;
    j.per_task = rows_per_task(n);
    j.part = tn__scan_ok(call, &j.s) ? tn__scratch((size_t)(batch * j.s.gates * n) * sizeof *j.part) : NULL;
    if (!j.part)
        return TN_FAILED;
    j.h = row_of(j.s.y, steps * batch, n);
    copy(j.h, row_of(j.s.h0, 0, n), batch * n);
    if (j.s.cells) {
        j.c = row_of(j.s.y, (steps + 1) * batch, n);
        copy(j.c, row_of(j.s.c0, 0, n), batch * n);
    }
    const bool ok = forward_steps(&j);
    tn__scratch_free(j.part);
    return ok ? TN_DONE : TN_FAILED;
}

tn_done TN_K(fast_lstm_scan)(const tn_call *c) { return forward(c, lstm_row); }
tn_done TN_K(fast_gru_scan)(const tn_call *c) { return forward(c, gru_row); }
tn_done TN_K(fast_rnn_scan)(const tn_call *c) { return forward(c, rnn_row); }

/* ---- backward: what a row leaves in dh, the product with the weight is added to ---- */

/* The time of the step before, seen from sequence b; -1: this is its first. */
static int64_t time_before(const job *j, int64_t b)
{
    return !j->s.a->reverse ? j->time - 1 : j->time + 1 < tn__scan_length(&j->s, b) ? j->time + 1 : -1;
}

/* States of the step before, rows of t, or the first ones, which may be NULL: zeros. */
static const float *state_before(const job *j, const tn_tensor *t, const tn_tensor *first, int64_t b)
{
    const int64_t time = time_before(j, b);
    return time < 0 ? row_of(first, b, j->s.width) : row_of(t, time * j->s.batch + b, j->s.width);
}

static void lstm_back(const job *j, int64_t b)
{
    const int64_t n = j->s.width, at = j->time * j->s.batch + b;
    const float *in = row_of(j->s.saved, at, 4 * n), *c = row_of(j->s.cells, at, n);
    const float *g = row_of(j->s.g, at, n), *before = state_before(j, j->s.cells, j->s.c0, b);
    float *dh = j->dh + b * n, *dc = j->dc + b * n, *dx = row_of(j->s.dx, at, 4 * n);
    float *dforget = dx + n, *dcell = dx + 2 * n, *dout = dx + 3 * n;
    TN_APART for (int64_t k = 0; k < n; k++) {
        const float i = in[k], f = in[n + k], m = in[2 * n + k], o = in[3 * n + k], t = tn__tanhf(c[k]);
        const float dy = dh[k] + g[k], d = dc[k] + dy * o * (1 - t * t);
        dx[k] = d * m * i * (1 - i);
        dforget[k] = d * f * (1 - f);
        dcell[k] = d * i * (1 - m * m);
        dout[k] = dy * t * o * (1 - o);
        dc[k] = d * f;
        dh[k] = 0;
    }
    if (!before)
        zero(dforget, n);
    for (int64_t k = 0; before && k < n; k++)
        dforget[k] *= before[k];
}

static void gru_back(const job *j, int64_t b)
{
    const int64_t n = j->s.width, at = j->time * j->s.batch + b;
    const float *saved = row_of(j->s.saved, at, 4 * n), *g = row_of(j->s.g, at, n);
    const float *before = state_before(j, j->s.y, j->s.h0, b);
    float *dh = j->dh + b * n, *dx = row_of(j->s.dx, at, 3 * n), *dr = row_of(j->s.dr, at, 3 * n);
    float *dz = dx + n, *dm = dx + 2 * n, *dinner = dr + 2 * n;
    TN_APART for (int64_t k = 0; k < n; k++) {
        const float r = saved[k], z = saved[n + k], m = saved[2 * n + k], dy = dh[k] + g[k];
        const float d = dy * (1 - z) * (1 - m * m);
        dx[k] = d * saved[3 * n + k] * r * (1 - r);
        dz[k] = dy * ((before ? before[k] : 0) - m) * z * (1 - z);
        dm[k] = d;
        dinner[k] = d * r;
        dh[k] = dy * z;
    }
    memcpy(dr, dx, (size_t)(2 * n) * sizeof *dr);
}

static void rnn_back(const job *j, int64_t b)
{
    const int64_t n = j->s.width, at = j->time * j->s.batch + b;
    const float *y = row_of(j->s.y, at, n), *g = row_of(j->s.g, at, n);
    float *dh = j->dh + b * n, *dx = row_of(j->s.dx, at, n);
    const bool relu = j->s.a->relu;
    TN_APART for (int64_t k = 0; k < n; k++) {
        const float slope = relu ? (y[k] > 0 ? 1 : 0) : 1 - y[k] * y[k];
        dx[k] = (dh[k] + g[k]) * slope;
        dh[k] = 0;
    }
}

static void some_back(void *arg, int64_t task, int worker)
{
    const job *j = arg;
    const int64_t end = row_least((task + 1) * j->per_task, j->s.batch), n = j->s.width, all = j->s.gates * n;
    (void)worker;
    for (int64_t b = task * j->per_task; b < end; b++) {
        const int64_t at = j->time * j->s.batch + b;
        const bool runs = j->time < tn__scan_length(&j->s, b);
        if (j->s.before)
            copy(row_of(j->s.before, at, n), runs ? state_before(j, j->s.y, j->s.h0, b) : NULL, n);
        if (runs) {
            j->row(j, b);
            continue;
        }
        zero(row_of(j->s.dx, at, all), all);
        zero(row_of(j->s.dr, at, all), all);
    }
}

static bool backward_steps(job *j)
{
    const int64_t steps = j->s.steps, batch = j->s.batch;
    packed w;
    if (!batch || !steps)
        return true;
    if (!begin(&w, &j->s, true))
        return false;
    for (int64_t k = steps; k-- > 0;) {
        j->time = j->s.a->reverse ? steps - 1 - k : k;
        tn__parallel(tasks(j), some_back, j);
        if (k > 0 || j->s.dh0)
            packed_product(&w, row_of(j->s.dr, j->time * batch, j->s.gates * j->s.width), NULL, true, j->dh);
    }
    packed_end(&w);
    return true;
}

static tn_done backward(const tn_call *call, void (*row)(const job *j, int64_t b))
{
    job j = {.s = tn__scan_backward(call), .row = row};
    const int64_t n = j.s.width, batch = j.s.batch, steps = j.s.steps;
    float *room = tn__scan_ok(call, &j.s) ? tn__scratch((size_t)(2 * batch * n) * sizeof *room) : NULL;
    if (!room)
        return TN_FAILED;
    j.per_task = rows_per_task(n);
    j.dh = j.s.dh0 ? row_of(j.s.dh0, 0, n) : room;
    copy(j.dh, row_of(j.s.g, steps * batch, n), batch * n);
    if (j.s.cells) {
        j.dc = j.s.dc0 ? row_of(j.s.dc0, 0, n) : room + batch * n;
        copy(j.dc, row_of(j.s.g, (steps + 1) * batch, n), batch * n);
    }
    const bool ok = backward_steps(&j);
    tn__scratch_free(room);
    return ok ? TN_DONE : TN_FAILED;
}

tn_done TN_K(fast_lstm_scan_backward)(const tn_call *c) { return backward(c, lstm_back); }
tn_done TN_K(fast_gru_scan_backward)(const tn_call *c) { return backward(c, gru_back); }
tn_done TN_K(fast_rnn_scan_backward)(const tn_call *c) { return backward(c, rnn_back); }
