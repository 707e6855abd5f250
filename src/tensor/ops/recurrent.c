/* All steps of a recurrent layer in one direction: LSTM, GRU and plain RNN: definition, shapes, samples, plain
 * kernels.  Output 0 holds the hidden states of all steps and the last states; the others are what backward reads:
 * the cell states, and of each step the gates after their function (i f g o; of a GRU r z n and w h + bias of n).
 * Backward gives the gradient by each step's sums of gates and the hidden states that the steps began with: the
 * gradient of w is one product of the two over all steps, made in src/autograd/rules/recurrent.c.
 * Fast: src/tensor/cpu/recurrent.c; which tensor is what: scan.h. */
#include "op.h"
#include "sample.h"
#include "scan.h"
#include "wrong.h"

/* Row i of t in rows of n; NULL where there is no t. */
static real *row_of(const tn_tensor *t, int64_t i, int64_t n)
{
    return t ? (real *)tn__data(t) + i * n : NULL;
}

static void clear(const tn_tensor *t)
{
    if (tn_numel(t))
        memset(tn__data(t), 0, (size_t)tn_numel(t) * sizeof(real));
}

/* The time of step k of a sequence. */
static int64_t time_of(const tn__scan *s, int64_t length, int64_t k)
{
    return s->a->reverse ? length - 1 - k : k;
}

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

/* ---- forward ---- */

typedef struct step { /* of one sequence, in runs of n */
    const tn__scan *s;
    int64_t n;
    const real *x;
    const double *sum;         /* the hidden state's part of the gates */
    real *h, *c;               /* states: before, and then after */
    real *y, *cell, *saved;
} step;

static void lstm_step(const step *r)
{
    const int64_t n = r->n;
    for (int64_t j = 0; j < n; j++) {
        const double i = sigmoid((double)r->x[j] + r->sum[j]), f = sigmoid((double)r->x[n + j] + r->sum[n + j]);
        const double g = tanh((double)r->x[2 * n + j] + r->sum[2 * n + j]);
        const double o = sigmoid((double)r->x[3 * n + j] + r->sum[3 * n + j]), c = f * (double)r->c[j] + i * g;
        r->saved[j] = (real)i;
        r->saved[n + j] = (real)f;
        r->saved[2 * n + j] = (real)g;
        r->saved[3 * n + j] = (real)o;
        r->c[j] = r->cell[j] = (real)c;
        r->h[j] = r->y[j] = (real)(o * tanh(c));
    }
}

static void gru_step(const step *r)
{
    const int64_t n = r->n;
    for (int64_t j = 0; j < n; j++) {
        const double reset = sigmoid((double)r->x[j] + r->sum[j]), z = sigmoid((double)r->x[n + j] + r->sum[n + j]);
        const double made = tanh((double)r->x[2 * n + j] + reset * r->sum[2 * n + j]);
        r->saved[j] = (real)reset;
        r->saved[n + j] = (real)z;
        r->saved[2 * n + j] = (real)made;
        r->saved[3 * n + j] = (real)r->sum[2 * n + j];
        r->h[j] = r->y[j] = (real)((1 - z) * made + z * (double)r->h[j]);
    }
}

static void rnn_step(const step *r)
{
    for (int64_t j = 0; j < r->n; j++) {
        const double v = (double)r->x[j] + r->sum[j];
        r->h[j] = r->y[j] = (real)(r->s->a->relu ? (v > 0 ? v : 0) : tanh(v));
    }
}

/* sum = w h + bias */
static void hidden_part(const tn__scan *s, const real *h, double *sum)
{
    const int64_t n = s->width;
    for (int64_t i = 0; i < s->gates * n; i++) {
        const real *w = row_of(s->w, i, n);
        sum[i] = s->bias ? (double)*row_of(s->bias, i, 1) : 0;
        for (int64_t j = 0; j < n; j++)
            sum[i] += (double)w[j] * (double)h[j];
    }
}

static tn_done forward(const tn_call *c, void (*step_of)(const step *r))
{
    const tn__scan s = tn__scan_forward(c);
    const int64_t n = s.width;
    double *sum = tn__scan_ok(c, &s) ? tn__scratch((size_t)(s.gates * n) * sizeof *sum) : NULL;
    if (!sum)
        return TN_FAILED;
    for (int i = 0; i < c->n_out; i++)
        clear(c->out[i]);
    for (int64_t b = 0; b < s.batch; b++) {
        const int64_t length = tn__scan_length(&s, b);
        step r = {.s = &s, .n = n, .sum = sum, .h = row_of(s.y, s.steps * s.batch + b, n),
                  .c = s.cells ? row_of(s.y, (s.steps + 1) * s.batch + b, n) : NULL};
        if (s.h0)
            memcpy(r.h, row_of(s.h0, b, n), (size_t)n * sizeof *r.h);
        if (s.c0)
            memcpy(r.c, row_of(s.c0, b, n), (size_t)n * sizeof *r.c);
        for (int64_t k = 0; k < length; k++) {
            const int64_t at = time_of(&s, length, k) * s.batch + b;
            hidden_part(&s, r.h, sum);
            r.x = row_of(s.x, at, s.gates * n);
            r.y = row_of(s.y, at, n);
            r.cell = row_of(s.cells, at, n);
            r.saved = row_of(s.saved, at, s.kept * n);
            step_of(&r);
        }
    }
    tn__scratch_free(sum);
    return TN_DONE;
}

tn_done KERNEL(lstm_scan)(const tn_call *c) { return forward(c, lstm_step); }
tn_done KERNEL(gru_scan)(const tn_call *c) { return forward(c, gru_step); }
tn_done KERNEL(rnn_scan)(const tn_call *c) { return forward(c, rnn_step); }

/* ---- backward ---- */

typedef struct back_step { /* of one sequence, in runs of n */
    const tn__scan *s;
    int64_t n;
    const real *y, *cell, *saved;
    const real *h, *c;         /* states before the step; NULL: zeros */
    double *dh, *dc;           /* by the states after the step, then what came past the gates by those before */
    real *dx, *dr;             /* dr may be dx */
} back_step;

static void lstm_back(const back_step *r)
{
    const int64_t n = r->n;
    for (int64_t j = 0; j < n; j++) {
        const double i = (double)r->saved[j], f = (double)r->saved[n + j], g = (double)r->saved[2 * n + j];
        const double o = (double)r->saved[3 * n + j], t = tanh((double)r->cell[j]);
        const double dc = r->dc[j] + r->dh[j] * o * (1 - t * t);
        r->dx[j] = (real)(dc * g * i * (1 - i));
        r->dx[n + j] = (real)(dc * (r->c ? (double)r->c[j] : 0) * f * (1 - f));
        r->dx[2 * n + j] = (real)(dc * i * (1 - g * g));
        r->dx[3 * n + j] = (real)(r->dh[j] * t * o * (1 - o));
        r->dc[j] = dc * f;
        r->dh[j] = 0;
    }
}

static void gru_back(const back_step *r)
{
    const int64_t n = r->n;
    for (int64_t j = 0; j < n; j++) {
        const double reset = (double)r->saved[j], z = (double)r->saved[n + j], made = (double)r->saved[2 * n + j];
        const double d = r->dh[j] * (1 - z) * (1 - made * made);
        r->dr[j] = r->dx[j] = (real)(d * (double)r->saved[3 * n + j] * reset * (1 - reset));
        r->dr[n + j] = r->dx[n + j] = (real)(r->dh[j] * ((r->h ? (double)r->h[j] : 0) - made) * z * (1 - z));
        r->dx[2 * n + j] = (real)d;
        r->dr[2 * n + j] = (real)(d * reset);
        r->dh[j] *= z;
    }
}

static void rnn_back(const back_step *r)
{
    for (int64_t j = 0; j < r->n; j++) {
        const double y = (double)r->y[j];
        r->dx[j] = (real)(r->dh[j] * (r->s->a->relu ? (y > 0 ? 1 : 0) : 1 - y * y));
        r->dh[j] = 0;
    }
}

/* What the step at row `at` of all steps begins with, step k of sequence b: states of the step before, rows of `t`
 * (NULL: there is none), or the first ones. */
static const real *state_before(const tn__scan *s, const tn_tensor *t, const tn_tensor *first, int64_t at, int64_t b,
                                int64_t k)
{
    return k == 0 ? row_of(first, b, s->width) : row_of(t, at + (s->a->reverse ? s->batch : -s->batch), s->width);
}

static void one_back(const tn__scan *s, int64_t b, back_step *r, void (*step_of)(const back_step *r))
{
    const int64_t n = r->n, all = s->gates * n, length = tn__scan_length(s, b);
    for (int64_t j = 0; j < n; j++) {
        r->dh[j] = (double)row_of(s->g, s->steps * s->batch + b, n)[j];
        r->dc[j] = s->cells ? (double)row_of(s->g, (s->steps + 1) * s->batch + b, n)[j] : 0;
    }
    for (int64_t k = length; k-- > 0;) {
        const int64_t at = time_of(s, length, k) * s->batch + b;
        r->y = row_of(s->y, at, n);
        r->cell = row_of(s->cells, at, n);
        r->saved = row_of(s->saved, at, s->kept * n);
        r->h = state_before(s, s->y, s->h0, at, b, k);
        r->c = state_before(s, s->cells, s->c0, at, b, k);
        r->dx = row_of(s->dx, at, all);
        r->dr = row_of(s->dr, at, all);
        for (int64_t j = 0; j < n; j++)
            r->dh[j] += (double)row_of(s->g, at, n)[j];
        step_of(r);
        for (int64_t i = 0; i < all; i++)
            for (int64_t j = 0; j < n; j++)
                r->dh[j] += (double)r->dr[i] * (double)row_of(s->w, i, n)[j];
        if (s->before && r->h)
            memcpy(row_of(s->before, at, n), r->h, (size_t)n * sizeof(real));
    }
    for (int64_t j = 0; j < n; j++) {
        if (s->dh0)
            row_of(s->dh0, b, n)[j] = (real)r->dh[j];
        if (s->dc0)
            row_of(s->dc0, b, n)[j] = (real)r->dc[j];
    }
}

static tn_done backward(const tn_call *c, void (*step_of)(const back_step *r))
{
    const tn__scan s = tn__scan_backward(c);
    double *room = tn__scan_ok(c, &s) ? tn__scratch((size_t)(2 * s.width) * sizeof *room) : NULL;
    if (!room)
        return TN_FAILED;
    for (int i = 0; i < c->n_out; i++)
        clear(c->out[i]);
    back_step r = {.s = &s, .n = s.width, .dh = room, .dc = room + s.width};
    for (int64_t b = 0; b < s.batch; b++)
        one_back(&s, b, &r, step_of);
    tn__scratch_free(room);
    return TN_DONE;
}

tn_done KERNEL(lstm_scan_backward)(const tn_call *c) { return backward(c, lstm_back); }
tn_done KERNEL(gru_scan_backward)(const tn_call *c) { return backward(c, gru_back); }
tn_done KERNEL(rnn_scan_backward)(const tn_call *c) { return backward(c, rnn_back); }

#if TN_WHOLE

bool tn__scan_ok(const tn_call *c, const tn__scan *s)
{
    const int64_t *length = s->lengths ? tn__data(s->lengths) : NULL;
    for (int64_t b = 0; length && b < s->batch; b++)
        if (length[b] < 0 || length[b] > s->steps)
            return tn_fail(TN_EARG, TN_WRONG_LENGTH, c->op->name, (long long)b, (long long)length[b],
                           (long long)s->steps), false;
    return true;
}

/* ---- wrappers; absent lengths are left out ---- */

tn_tensor *tn_lstm_scan_call(tn_lstm_scan_args a)
{
    const tn__scan_attr attr = {.reverse = a.reverse};
    return tn_apply(TN_OP(lstm_scan), &attr, sizeof attr, a.lengths ? 5 : 4,
                    (tn_tensor *[]){a.x, a.w, a.h0, a.c0, a.lengths});
}

tn_tensor *tn_gru_scan_call(tn_gru_scan_args a)
{
    const tn__scan_attr attr = {.reverse = a.reverse};
    return tn_apply(TN_OP(gru_scan), &attr, sizeof attr, a.lengths ? 5 : 4,
                    (tn_tensor *[]){a.x, a.w, a.h0, a.bias, a.lengths});
}

tn_tensor *tn_rnn_scan_call(tn_rnn_scan_args a)
{
    const tn__scan_attr attr = {.reverse = a.reverse, .relu = a.relu};
    return tn_apply(TN_OP(rnn_scan), &attr, sizeof attr, a.lengths ? 4 : 3,
                    (tn_tensor *[]){a.x, a.w, a.h0, a.lengths});
}

/* ---- shapes ---- */

static bool is_shaped(const tn_call *c, const char *what, const tn_tensor *t, int ndim, const int64_t *shape)
{
    char s[TN_SHAPE_TEXT], u[TN_SHAPE_TEXT];
    tn_tensor wanted = {0};
    tn__set_shape(&wanted, ndim, shape);
    if (!t || tn_same_shape(t, &wanted))
        return true;
    return tn_fail(TN_ESHAPE, "%s: %s are %s, not %s", c->op->name, what, tn_shape_text(t, s),
                   tn_shape_text(&wanted, u)), false;
}

static bool shape_forward(tn_call *c)
{
    const tn__scan s = tn__scan_forward(c);
    char xs[TN_SHAPE_TEXT], ws[TN_SHAPE_TEXT];
    static const char *const times[] = {"", "", "", "3", "4"};
    const int64_t n = s.width;
    if (s.x->ndim != 3 || s.w->ndim != 2 || n < 1 || s.w->shape[0] / n != s.gates || s.w->shape[0] % n ||
        s.x->shape[2] != s.w->shape[0])
        return tn_fail(TN_ESHAPE, "%s: shapes do not fit: %s x %s; wanted are [T,B,%sH] and [%sH,H]", c->op->name,
                       tn_shape_text(s.x, xs), tn_shape_text(s.w, ws), times[s.gates], times[s.gates]), false;
    tn__set_shape(c->out[0], TN_SHAPE(s.steps + s.states, s.batch, n));
    if (s.cells)
        tn__set_shape(c->out[1], TN_SHAPE(s.steps, s.batch, n));
    if (s.saved)
        tn__set_shape(c->out[c->n_out - 1], TN_SHAPE(s.steps, s.batch, s.kept * n));
    return is_shaped(c, "first hidden states", s.h0, TN_SHAPE(s.batch, n)) &&
           is_shaped(c, "first cell states", s.c0, TN_SHAPE(s.batch, n)) &&
           is_shaped(c, "biases", s.bias, TN_SHAPE(s.gates * n)) &&
           is_shaped(c, "lengths", s.lengths, TN_SHAPE(s.batch));
}

bool tn__shape_lstm_scan(tn_call *c) { return shape_forward(c); }
bool tn__shape_gru_scan(tn_call *c) { return shape_forward(c); }
bool tn__shape_rnn_scan(tn_call *c) { return shape_forward(c); }

static bool shape_backward(tn_call *c)
{
    const tn__scan s = tn__scan_backward(c);
    for (int i = 0; i < c->n_out; i++)
        tn__set_shape(c->out[i], TN_SHAPE(0));
    tn__set_shape(c->out[0], TN_SHAPE(s.steps, s.batch, s.gates * s.width));
    if (s.dr != s.dx)
        tn__set_shape(c->out[1], 3, c->out[0]->shape);
    if (s.before)
        tn__set_shape(c->out[s.dr != s.dx ? 2 : 1], TN_SHAPE(s.steps, s.batch, s.width));
    if (s.dh0)
        tn__set_shape(c->out[s.dr != s.dx ? 3 : 2], TN_SHAPE(s.batch, s.width));
    if (s.dc0)
        tn__set_shape(c->out[3], TN_SHAPE(s.batch, s.width));
    return is_shaped(c, "gradients", s.g, s.y->ndim, s.y->shape);
}

bool tn__shape_lstm_scan_backward(tn_call *c) { return shape_backward(c); }
bool tn__shape_gru_scan_backward(tn_call *c) { return shape_backward(c); }
bool tn__shape_rnn_scan_backward(tn_call *c) { return shape_backward(c); }

/* ---- samples: shapes of x, w, h0, c0 or bias, lengths ---- */

#define SIZES_LSTM(T, B, H) FLOATS(T, B, 4 * (H)), FLOATS(4 * (H), H), FLOATS(B, H), FLOATS(B, H)
#define SIZES_GRU(T, B, H) FLOATS(T, B, 3 * (H)), FLOATS(3 * (H), H), FLOATS(B, H), FLOATS(3 * (H))
#define SIZES_RNN(T, B, H) FLOATS(T, B, H), RANGE('f', -.6, .6, H, H), FLOATS(B, H)
#define LENGTHS(T, B) INTS((T) + 1, B)

MAKE(lstm, tn_lstm_scan(in[0], in[1], in[2], in[3]))
MAKE(lstm_zero, tn_lstm_scan(in[0], in[1]))
MAKE(lstm_cell, tn_lstm_scan(in[0], in[1], .c0 = in[2]))
MAKE(lstm_lengths, tn_lstm_scan(in[0], in[1], in[2], in[3], in[4]))
MAKE(lstm_reverse, tn_lstm_scan(in[0], in[1], in[2], in[3], .reverse = true))
MAKE(lstm_both, tn_lstm_scan(in[0], in[1], in[2], in[3], in[4], .reverse = true))
MAKE(lstm_zero_both, tn_lstm_scan(in[0], in[1], .lengths = in[2], .reverse = true))
MAKE(lstm_i32, tn_lstm_scan(in[0], in[1], .lengths = tn_cast(in[2], TN_I32)))
MAKE(lstm_output, tn_slice(tn_lstm_scan(in[0], in[1], in[2], in[3]), 0, 0, -2, 1))
SAMPLES(lstm_scan) = {
    {.what = "with first states", .make = make_lstm, .in = {SIZES_LSTM(4, 3, 5)}},
    {.what = "from zeros", .make = make_lstm_zero, .in = {FLOATS(3, 2, 12), FLOATS(12, 3)}},
    {.what = "from a cell state", .make = make_lstm_cell, .in = {FLOATS(3, 2, 12), FLOATS(12, 3), FLOATS(2, 3)}},
    {.what = "lengths", .make = make_lstm_lengths, .in = {SIZES_LSTM(5, 7, 4), LENGTHS(5, 7)}},
    {.what = "reverse", .make = make_lstm_reverse, .in = {SIZES_LSTM(4, 3, 5)}},
    {.what = "reverse, lengths", .make = make_lstm_both, .in = {SIZES_LSTM(5, 7, 4), LENGTHS(5, 7)}},
    {.what = "reverse, lengths, from zeros", .make = make_lstm_zero_both,
     .in = {FLOATS(4, 6, 12), FLOATS(12, 3), LENGTHS(4, 6)}},
    {.what = "one step", .make = make_lstm, .in = {SIZES_LSTM(1, 4, 3)}},
    {.what = "one step of few wide ones", .make = make_lstm, .in = {SIZES_LSTM(1, 3, 21)}},
    {.what = "one step of many wide ones", .make = make_lstm, .in = {SIZES_LSTM(1, 9, 21)}},
    {.what = "many units", .make = make_lstm,
     .in = {FLOATS(2, 3, 560), RANGE('f', -.1, .1, 560, 140), FLOATS(3, 140), FLOATS(3, 140)}},
    {.what = "one step from zeros", .make = make_lstm_zero, .in = {FLOATS(1, 2, 12), FLOATS(12, 3)}},
    {.what = "one sequence", .make = make_lstm, .in = {SIZES_LSTM(6, 1, 7)}},
    {.what = "one unit", .make = make_lstm, .in = {SIZES_LSTM(3, 2, 1)}},
    {.what = "no steps", .make = make_lstm, .in = {SIZES_LSTM(0, 2, 3)}},
    {.what = "no sequences", .make = make_lstm, .in = {SIZES_LSTM(3, 0, 3)}},
    {.what = "several tasks and tiles", .make = make_lstm_both,
     .in = {FLOATS(2, 70, 420), RANGE('f', -.1, .1, 420, 105), CONSTS(70, 105), CONSTS(70, 105), LENGTHS(2, 70)}},
    {.what = "hidden states alone", .make = make_lstm_output, .in = {SIZES_LSTM(4, 3, 5)}},
    {.what = "constant weight", .make = make_lstm, .in = {FLOATS(4, 3, 8), CONSTS(8, 2), CONSTS(3, 2), FLOATS(3, 2)}},
    {.what = "constant input", .make = make_lstm, .in = {CONSTS(4, 3, 8), FLOATS(8, 2), CONSTS(3, 2), CONSTS(3, 2)}},
    {.what = "large sums", .make = make_lstm_zero, .in = {RANGE('f', -60, 60, 3, 5, 12), FLOATS(12, 3)}},
    {.what = "int32 lengths", .make = make_lstm_i32, .in = {FLOATS(4, 6, 12), FLOATS(12, 3), LENGTHS(4, 6)}},
    {.what = "no four gates", .make = make_lstm_zero, .in = {FLOATS(3, 2, 12), FLOATS(12, 4)},
     .error = "lstm_scan: shapes do not fit: [3,2,12] x [12,4]; wanted are [T,B,4H] and [4H,H]"},
    {.what = "no fit", .make = make_lstm_zero, .in = {FLOATS(3, 2, 8), FLOATS(12, 3)}, .error = "[3,2,8] x [12,3]"},
    {.what = "no units", .make = make_lstm_zero, .in = {FLOATS(3, 2, 0), FLOATS(0, 0)}, .error = "[3,2,0] x [0,0]"},
    {.what = "a state too many", .make = make_lstm, .in = {FLOATS(3, 2, 12), FLOATS(12, 3), FLOATS(2, 3), FLOATS(3, 3)},
     .error = "lstm_scan: first cell states are [3,3], not [2,3]"},
    {.what = "a length too many", .make = make_lstm_zero_both, .in = {FLOATS(3, 2, 12), FLOATS(12, 3), INTS(3, 3)},
     .error = "lstm_scan: lengths are [3], not [2]"},
    {.what = "a sequence too long", .make = make_lstm_zero_both,
     .in = {FLOATS(3, 2, 12), FLOATS(12, 3), RANGE('i', 4, 5, 2)},
     .error = "lstm_scan: sequence 0 has length 4, there are 3 steps"},
    {0},
};

MAKE(gru, tn_gru_scan(in[0], in[1], in[3], in[2]))
MAKE(gru_zero, tn_gru_scan(in[0], in[1]))
MAKE(gru_lengths, tn_gru_scan(in[0], in[1], in[3], in[2], in[4]))
MAKE(gru_reverse, tn_gru_scan(in[0], in[1], in[3], in[2], .reverse = true))
MAKE(gru_both, tn_gru_scan(in[0], in[1], in[3], in[2], in[4], .reverse = true))
MAKE(gru_biased, tn_gru_scan(in[0], in[1], in[2], .lengths = in[3]))
SAMPLES(gru_scan) = {
    {.what = "with first states", .make = make_gru, .in = {SIZES_GRU(4, 3, 5)}},
    {.what = "from zeros", .make = make_gru_zero, .in = {FLOATS(3, 2, 9), FLOATS(9, 3)}},
    {.what = "from zeros, bias, lengths", .make = make_gru_biased,
     .in = {FLOATS(4, 5, 9), FLOATS(9, 3), FLOATS(9), LENGTHS(4, 5)}},
    {.what = "lengths", .make = make_gru_lengths, .in = {SIZES_GRU(5, 7, 4), LENGTHS(5, 7)}},
    {.what = "reverse", .make = make_gru_reverse, .in = {SIZES_GRU(4, 3, 5)}},
    {.what = "reverse, lengths", .make = make_gru_both, .in = {SIZES_GRU(5, 7, 4), LENGTHS(5, 7)}},
    {.what = "one step", .make = make_gru, .in = {SIZES_GRU(1, 4, 3)}},
    {.what = "one sequence", .make = make_gru, .in = {SIZES_GRU(6, 1, 7)}},
    {.what = "no steps", .make = make_gru, .in = {SIZES_GRU(0, 2, 3)}},
    {.what = "several tasks and tiles", .make = make_gru_both,
     .in = {CONSTS(2, 70, 315), RANGE('f', -.1, .1, 315, 105), FLOATS(70, 105), CONSTS(315), LENGTHS(2, 70)}},
    {.what = "constant weight", .make = make_gru, .in = {FLOATS(4, 3, 6), CONSTS(6, 2), CONSTS(3, 2), FLOATS(6)}},
    {.what = "no three gates", .make = make_gru_zero, .in = {FLOATS(3, 2, 12), FLOATS(12, 3)},
     .error = "gru_scan: shapes do not fit: [3,2,12] x [12,3]; wanted are [T,B,3H] and [3H,H]"},
    {.what = "a bias too short", .make = make_gru, .in = {FLOATS(3, 2, 9), FLOATS(9, 3), FLOATS(2, 3), FLOATS(8)},
     .error = "gru_scan: biases are [8], not [9]"},
    {0},
};

MAKE(rnn, tn_rnn_scan(in[0], in[1], in[2]))
MAKE(rnn_relu, tn_rnn_scan(in[0], in[1], in[2], .relu = true))
MAKE(rnn_zero, tn_rnn_scan(in[0], in[1]))
MAKE(rnn_lengths, tn_rnn_scan(in[0], in[1], in[2], in[3]))
MAKE(rnn_both, tn_rnn_scan(in[0], in[1], in[2], in[3], .reverse = true))
SAMPLES(rnn_scan) = {
    {.what = "with first states", .make = make_rnn, .in = {SIZES_RNN(4, 3, 5)}},
    {.what = "ReLU", .make = make_rnn_relu, .in = {SIZES_RNN(4, 3, 5)}},
    {.what = "from zeros", .make = make_rnn_zero, .in = {FLOATS(3, 2, 4), FLOATS(4, 4)}},
    {.what = "lengths", .make = make_rnn_lengths, .in = {SIZES_RNN(5, 7, 4), LENGTHS(5, 7)}},
    {.what = "reverse, lengths", .make = make_rnn_both, .in = {SIZES_RNN(5, 7, 4), LENGTHS(5, 7)}},
    {.what = "one step", .make = make_rnn, .in = {SIZES_RNN(1, 4, 3)}},
    {.what = "one sequence", .make = make_rnn, .in = {SIZES_RNN(6, 1, 7)}},
    {.what = "several tasks and tiles", .make = make_rnn_both,
     .in = {FLOATS(3, 70, 105), RANGE('f', -.1, .1, 105, 105), FLOATS(70, 105), LENGTHS(3, 70)}},
    {.what = "many units", .make = make_rnn,
     .in = {FLOATS(2, 4, 530), RANGE('c', -.05, .05, 530, 530), FLOATS(4, 530)}},
    {.what = "not square", .make = make_rnn_zero, .in = {FLOATS(3, 2, 4), FLOATS(4, 3)},
     .error = "rnn_scan: shapes do not fit: [3,2,4] x [4,3]; wanted are [T,B,H] and [H,H]"},
    {0},
};

static const tn__scan_attr all_wanted = {.wanted = 15};
MAKE(lstm_backward, tn_apply(TN_OP(lstm_scan_backward), &all_wanted, sizeof all_wanted, 7, in))
MAKE(gru_backward, tn_apply(TN_OP(gru_scan_backward), &all_wanted, sizeof all_wanted, 5, in))
MAKE(rnn_backward, tn_apply(TN_OP(rnn_scan_backward), &all_wanted, sizeof all_wanted, 4, in))
SAMPLES(lstm_scan_backward) = {
    {.what = "all gradients", .make = make_lstm_backward,
     .in = {CONSTS(12, 3), CONSTS(2, 3), CONSTS(2, 3), CONSTS(6, 2, 3), CONSTS(4, 2, 3), RANGE('c', 0, 1, 4, 2, 12),
            CONSTS(6, 2, 3)}},
    {.what = "gradients of other steps", .make = make_lstm_backward,
     .in = {CONSTS(12, 3), CONSTS(2, 3), CONSTS(2, 3), CONSTS(6, 2, 3), CONSTS(4, 2, 3), RANGE('c', 0, 1, 4, 2, 12),
            CONSTS(5, 2, 3)}, .error = "lstm_scan_backward: gradients are [5,2,3], not [6,2,3]"},
    {0},
};
SAMPLES(gru_scan_backward) = {
    {.what = "all gradients", .make = make_gru_backward,
     .in = {CONSTS(9, 3), CONSTS(2, 3), CONSTS(5, 2, 3), RANGE('c', 0, 1, 4, 2, 12), CONSTS(5, 2, 3)}},
    {0},
};
SAMPLES(rnn_scan_backward) = {
    {.what = "all gradients", .make = make_rnn_backward,
     .in = {CONSTS(3, 3), CONSTS(2, 3), RANGE('c', -1, 1, 5, 2, 3), CONSTS(5, 2, 3)}},
    {0},
};

#endif
