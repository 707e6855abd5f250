/* All steps of a recurrent layer on CUDA: of each the product of the states with the weight, then gates and states of
 * all sequences in one kernel (recurrent.cu).  States live in the result's last rows (backward: in the gradients of the
 * first states), so a sequence that has ended is one whose rows are left alone.  The same on the CPU:
 * ../ops/recurrent.c. */
#include "launch.h"
#include "ops/scan.h"

static tn__cuda_cells cells_of(const tn__scan *s, const tn__cuda_work *w)
{
    return (tn__cuda_cells){
        .gates = s->gates, .reverse = s->a->reverse, .relu = s->a->relu, .steps = s->steps, .batch = s->batch,
        .width = s->width, .lengths = tn__cuda_data(s->lengths), .y = tn__cuda_data(s->y),
        .cells = tn__cuda_data(s->cells), .saved = tn__cuda_data(s->saved), .watch = w->watch};
}

/* n floats of x, or zeros */
static int begin_state(float *to, const float *x, int64_t n, const tn__cuda_work *w)
{
    const size_t bytes = (size_t)n * sizeof *to;
    return x ? tn__cuda_copy(to, x, bytes, w) : tn__cuda_zero(to, bytes, w);
}

static int forward(const tn_call *c, tn__cuda_work *w)
{
    const tn__scan s = tn__scan_forward(c);
    const int64_t n = s.width, all = s.gates * n, states = s.batch * n;
    tn__cuda_cells of = cells_of(&s, w);
    float *part = tn__cuda_scratch(w, (size_t)(s.batch * all) * sizeof *part);
    if (!part)
        return TN_CUDA_NO_MEMORY;
    of.x = tn__cuda_data(s.x);
    of.part = part;
    of.h = of.y + s.steps * states;
    of.c = s.cells ? of.h + states : NULL;
    const tn__cuda_product p = {.batch = 1, .m = s.batch, .n = all, .k = n, .a = of.h, .a_row = n, .a_col = 1,
                                .b = tn__cuda_data(s.w), .b_row = 1, .b_col = n, .bias = tn__cuda_data(s.bias),
                                .c = part, .c_row = all, .b_half = tn__cuda_rounded(s.w, w)};
    int failed = tn__cuda_lengths_told(&of, w->stream);
    if (!failed)
        failed = begin_state(of.h, tn__cuda_data(s.h0), states, w);
    if (!failed && of.c)
        failed = begin_state(of.c, tn__cuda_data(s.c0), states, w);
    for (int64_t k = 0; !failed && k < s.steps && s.batch; k++) {
        of.time = of.reverse ? s.steps - 1 - k : k;
        failed = tn__cuda_multiply(&p, w);
        if (!failed)
            failed = tn__cuda_cells_forward(&of, w->stream);
    }
    return failed;
}

int tn__cuda_lstm_scan(const tn_call *c, tn__cuda_work *w) { return forward(c, w); }
int tn__cuda_gru_scan(const tn_call *c, tn__cuda_work *w) { return forward(c, w); }
int tn__cuda_rnn_scan(const tn_call *c, tn__cuda_work *w) { return forward(c, w); }

/* ---- backward: what a step leaves in dh, the product with the weight is added to ---- */

/* Where the gradient by states goes: to who wants it, or to room of its own. */
static float *slope_of(const tn_tensor *wanted, int64_t states, tn__cuda_work *w)
{
    return wanted ? tn__cuda_data(wanted) : tn__cuda_scratch(w, (size_t)states * sizeof(float));
}

static int steps_back(const tn__scan *s, tn__cuda_cells *of, tn__cuda_work *w)
{
    const int64_t n = s->width, all = s->gates * n;
    const uint16_t *half = tn__cuda_rounded(s->w, w);
    int failed = 0;
    for (int64_t k = s->steps; !failed && k-- > 0;) {
        of->time = of->reverse ? s->steps - 1 - k : k;
        failed = tn__cuda_cells_backward(of, w->stream);
        const tn__cuda_product p = {.batch = 1, .m = s->batch, .n = n, .k = all,
                                    .a = of->dr + of->time * s->batch * all, .a_row = all, .a_col = 1,
                                    .b = tn__cuda_data(s->w), .b_row = n, .b_col = 1, .c = of->dh, .c_row = n,
                                    .add = true, .b_half = half};
        if (!failed && (k > 0 || s->dh0))
            failed = tn__cuda_multiply(&p, w);
    }
    return failed;
}

static int backward(const tn_call *c, tn__cuda_work *w)
{
    const tn__scan s = tn__scan_backward(c);
    const int64_t states = s.batch * s.width;
    tn__cuda_cells of = cells_of(&s, w);
    of.h0 = tn__cuda_data(s.h0);
    of.c0 = tn__cuda_data(s.c0);
    of.g = tn__cuda_data(s.g);
    of.dx = tn__cuda_data(s.dx);
    of.dr = tn__cuda_data(s.dr);
    of.before = tn__cuda_data(s.before);
    of.dh = slope_of(s.dh0, states, w);
    of.dc = s.cells ? slope_of(s.dc0, states, w) : NULL;
    if (!of.dh || (s.cells && !of.dc))
        return TN_CUDA_NO_MEMORY;
    int failed = tn__cuda_lengths_told(&of, w->stream);
    if (!failed)
        failed = begin_state(of.dh, of.g + s.steps * states, states, w);
    if (!failed && of.dc)
        failed = begin_state(of.dc, of.g + (s.steps + 1) * states, states, w);
    return failed || !s.batch ? failed : steps_back(&s, &of, w);
}

int tn__cuda_lstm_scan_backward(const tn_call *c, tn__cuda_work *w) { return backward(c, w); }
int tn__cuda_gru_scan_backward(const tn_call *c, tn__cuda_work *w) { return backward(c, w); }
int tn__cuda_rnn_scan_backward(const tn_call *c, tn__cuda_work *w) { return backward(c, w); }
