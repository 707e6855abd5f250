/* The parts of a scan of a recurrent layer by their names, of all three kinds, forward and backward, as shape rules
 * and kernels see them.  What they mean: recurrent.c. */
#ifndef TN_OPS_SCAN_H
#define TN_OPS_SCAN_H

#include "attrs.h"
#include "internal.h"

typedef struct tn__scan {
    const tn__scan_attr *a;
    int gates, kept, states;          /* G; runs of H kept of a step for backward; states behind the last step */
    int64_t steps, batch, width;      /* T, B, H */
    const tn_tensor *w, *h0, *lengths; /* those that are absent, here and below, are NULL */
    const tn_tensor *c0, *bias;       /* of an LSTM; of a GRU */
    const tn_tensor *x;               /* forward */
    const tn_tensor *y, *cells, *saved; /* made forward, read backward */
    const tn_tensor *g;               /* backward: of y's shape */
    const tn_tensor *dx;              /* [T, B, G H]; */
    const tn_tensor *dr;              /* the gradient by the hidden state's part: a GRU's has its own */
    const tn_tensor *before;          /* [T, B, H]: the hidden states that the steps began with */
    const tn_tensor *dh0, *dc0;
} tn__scan;

static inline tn__scan tn__scan_sized(const tn_call *c, bool lstm, bool gru)
{
    return (tn__scan){.a = c->attr, .gates = lstm ? 4 : gru ? 3 : 1, .kept = lstm || gru ? 4 : 0,
                      .states = lstm ? 2 : 1};
}

static inline tn__scan tn__scan_forward(const tn_call *c)
{
    const bool lstm = c->op->id == TN_OP_lstm_scan, gru = c->op->id == TN_OP_gru_scan;
    const tn_tensor *const *in = c->in;
    tn__scan s = tn__scan_sized(c, lstm, gru);
    s.x = in[0];
    s.w = in[1];
    s.h0 = in[2];
    s.c0 = lstm ? in[3] : NULL;
    s.bias = gru ? in[3] : NULL;
    s.lengths = in[lstm || gru ? 4 : 3];
    s.y = c->out[0];
    s.cells = lstm ? c->out[1] : NULL;
    s.saved = lstm ? c->out[2] : gru ? c->out[1] : NULL;
    s.steps = s.x->shape[0];
    s.batch = s.x->shape[1];
    s.width = s.w->shape[1];
    return s;
}

static inline const tn_tensor *tn__scan_wanted(const tn_call *c, const tn__scan *s, int i)
{
    return s->a->wanted >> i & 1 ? c->out[i] : NULL;
}

static inline tn__scan tn__scan_backward(const tn_call *c)
{
    const bool lstm = c->op->id == TN_OP_lstm_scan_backward, gru = c->op->id == TN_OP_gru_scan_backward;
    const tn_tensor *const *in = c->in;
    tn__scan s = tn__scan_sized(c, lstm, gru);
    int i = 0, o = 0;
    s.w = in[i++];
    s.h0 = in[i++];
    s.c0 = lstm ? in[i++] : NULL;
    s.y = in[i++];
    s.cells = lstm ? in[i++] : NULL;
    s.saved = lstm || gru ? in[i++] : NULL;
    s.g = in[i++];
    s.lengths = in[i];
    s.dx = c->out[o++];
    s.dr = gru ? c->out[o++] : s.dx;
    s.before = tn__scan_wanted(c, &s, o++);
    s.dh0 = tn__scan_wanted(c, &s, o++);
    s.dc0 = lstm ? tn__scan_wanted(c, &s, o) : NULL;
    s.steps = s.y->shape[0] - s.states;
    s.batch = s.y->shape[1];
    s.width = s.w->shape[1];
    return s;
}

static inline int64_t tn__scan_length(const tn__scan *s, int64_t sequence)
{
    return s->lengths ? ((const int64_t *)tn__data(s->lengths))[sequence] : s->steps;
}

/* Whether the lengths, i64 on the CPU, are in 0..T; sets the error (recurrent.c). */
bool tn__scan_ok(const tn_call *c, const tn__scan *s);

#endif
