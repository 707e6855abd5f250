/* Recurrent layers as torch.nn.LSTM, GRU and RNN, with their names and shapes.  The input's part of all gates is one
 * product over all steps; what goes from step to step is src/tensor/ops/recurrent.c. */
#include <math.h>
#include <stdio.h>

#include "tensor/internal.h"
#include "tenon/nn.h"

enum { MOST = 32 }; /* layers */

typedef struct cell { /* of one layer in one direction; biases may be NULL */
    tn_tensor *w_ih, *w_hh, *b_ih, *b_hh;
} cell;

typedef struct kind {
    tn_module_class cls;
    const char *name;
    int gates;
    bool has_c;
    tn_tensor *(*scan)(const tn_recurrent_args *a, const cell *p, tn_tensor *x, tn_state from, tn_tensor *lengths,
                       bool reverse);
} kind;

typedef struct recurrent {
    tn_module base;
    const kind *kind;
    tn_recurrent_args args;
    cell cell[2 * MOST];
} recurrent;

/* ---- the kinds ---- */

/* Both biases are added where one is. */
static tn_tensor *input_part(const cell *p, tn_tensor *x)
{
    return tn_affine(x, p->w_ih, p->b_ih ? tn_add(p->b_ih, p->b_hh) : NULL);
}

static tn_tensor *lstm_scan(const tn_recurrent_args *a, const cell *p, tn_tensor *x, tn_state from, tn_tensor *lengths,
                            bool reverse)
{
    (void)a;
    return tn_lstm_scan(input_part(p, x), p->w_hh, from.h, from.c, lengths, reverse);
}

static tn_tensor *gru_scan(const tn_recurrent_args *a, const cell *p, tn_tensor *x, tn_state from, tn_tensor *lengths,
                           bool reverse)
{
    (void)a;
    return tn_gru_scan(tn_affine(x, p->w_ih, p->b_ih), p->w_hh, p->b_hh, from.h, lengths, reverse);
}

static tn_tensor *rnn_scan(const tn_recurrent_args *a, const cell *p, tn_tensor *x, tn_state from, tn_tensor *lengths,
                           bool reverse)
{
    return tn_rnn_scan(input_part(p, x), p->w_hh, from.h, lengths, reverse, a->relu);
}

static tn_tensor *forward(tn_module *m, int n, tn_tensor *const *x);
#define CLASS(name_) {.name = name_, .size = sizeof(recurrent), .forward = forward, .inputs = 2}
static const kind lstm_kind = {CLASS("LSTM"), "lstm", 4, true, lstm_scan};
static const kind gru_kind = {CLASS("GRU"), "gru", 3, false, gru_scan};
static const kind rnn_kind = {CLASS("RNN"), "rnn", 1, false, rnn_scan};

/* ---- forward ---- */

static int directions(const recurrent *l) { return l->args.bidirectional ? 2 : 1; }

static bool state_fits(const recurrent *l, const char *name, const tn_tensor *t, int64_t batch)
{
    char s[TN_SHAPE_TEXT];
    const int n = l->args.layers * directions(l);
    return !t || (t->ndim == 3 && t->shape[0] == n && t->shape[1] == batch && t->shape[2] == l->args.hidden) ||
           (tn_fail(TN_ESHAPE, "%s: the state's %s is %s, not [%d,%lld,%lld]", l->kind->name, name,
                    tn_shape_text(t, s), n, (long long)batch, (long long)l->args.hidden), false);
}

static bool fits(const recurrent *l, const tn_tensor *x, const tn_state *from)
{
    char s[TN_SHAPE_TEXT];
    if (x->ndim != 3 || x->shape[2] != l->args.in)
        return tn_fail(TN_ESHAPE, "%s: input %s is not [T,B,%lld]", l->kind->name, tn_shape_text(x, s),
                       (long long)l->args.in), false;
    return state_fits(l, "h", from->h, x->shape[1]) && state_fits(l, "c", from->c, x->shape[1]);
}

/* Row i of the states of all cells; NULL of zeros. */
static tn_tensor *state_of(tn_tensor *all, int i)
{
    return all ? tn_reshape(tn_slice(all, 0, i, i + 1, 1), TN_SHAPE(all->shape[1], all->shape[2])) : NULL;
}

/* last: NULL when nobody wants it */
static tn_tensor *run(const recurrent *l, tn_tensor *x, tn_state from, tn_state *last, tn_tensor *lengths)
{
    const int sides = directions(l), layers = l->args.layers;
    tn_tensor *h[2 * MOST], *c[2 * MOST];
    if (!l->kind->has_c)
        from.c = NULL;
    if (!fits(l, x, &from))
        return NULL;
    const int64_t steps = x->shape[0];
    for (int layer = 0; layer < layers; layer++) {
        tn_tensor *side[2];
        for (int d = 0; d < sides; d++) {
            const int i = layer * sides + d;
            const tn_state first = {state_of(from.h, i), state_of(from.c, i)};
            tn_tensor *all = l->kind->scan(&l->args, &l->cell[i], x, first, lengths, d);
            side[d] = tn_slice(all, 0, 0, steps, 1);
            h[i] = last ? tn_slice(all, 0, steps, steps + 1, 1) : NULL;
            c[i] = last && l->kind->has_c ? tn_slice(all, 0, steps + 1, steps + 2, 1) : NULL;
        }
        x = sides == 2 ? tn_concat(2, side, 2) : side[0];
        if (l->base.training && l->args.dropout > 0 && layer + 1 < layers)
            x = tn_dropout(x, l->args.dropout);
        if (!x)
            return NULL;
    }
    if (last)
        *last = (tn_state){tn_concat(layers * sides, h, 0), l->kind->has_c ? tn_concat(layers * sides, c, 0) : NULL};
    return x;
}

static tn_tensor *forward(tn_module *m, int n, tn_tensor *const *x)
{
    return run((recurrent *)m, x[0], (tn_state){NULL, NULL}, NULL, n > 1 ? x[1] : NULL);
}

tn_tensor *tn_recurrent(tn_module *m, tn_tensor *x, tn_state *state, tn_tensor *lengths)
{
    tn_state last = {NULL, NULL};
    tn_tensor *y = NULL;
    if (!m || !x || !tn_ok())
        return NULL;
    if (m->cls->forward != forward)
        return tn_fail(TN_EARG, "recurrent: %s is none of LSTM, GRU, RNN", m->cls->name);
    tn__path_push(m->name);
    TN_SCOPE {
        y = run((recurrent *)m, x, state ? *state : last, state ? &last : NULL, lengths);
        if (!tn_ok())
            y = NULL;
        if (y) {
            tn_keep(y);
            tn_keep(last.h);
            tn_keep(last.c);
        }
    }
    tn__path_pop();
    if (y && state)
        *state = last;
    return y;
}

/* ---- making ---- */

static void make_cell(recurrent *l, int layer, bool reverse, tn_init even)
{
    const int64_t rows = l->kind->gates * l->args.hidden;
    const int64_t in = layer ? l->args.hidden * directions(l) : l->args.in;
    cell *p = &l->cell[layer * directions(l) + reverse];
    char name[4][32];
    static const char *const stem[] = {"weight_ih", "weight_hh", "bias_ih", "bias_hh"};
    for (int i = 0; i < 4; i++)
        snprintf(name[i], sizeof name[i], "%s_l%d%s", stem[i], layer, reverse ? "_reverse" : "");
    p->w_ih = tn_param_new(&l->base, name[0], even, TN_SHAPE(rows, in));
    p->w_hh = tn_param_new(&l->base, name[1], even, TN_SHAPE(rows, l->args.hidden));
    if (l->args.no_bias)
        return;
    p->b_ih = tn_param_new(&l->base, name[2], even, TN_SHAPE(rows));
    p->b_hh = tn_param_new(&l->base, name[3], even, TN_SHAPE(rows));
}

static tn_module *make(const kind *k, tn_recurrent_args a)
{
    a.layers = a.layers ? a.layers : 1;
    if (a.in < 1 || a.hidden < 1 || a.hidden > INT64_MAX / 8)
        return tn_fail(TN_EARG, "%s: %lld inputs and %lld hidden units; both must be at least 1", k->name,
                       (long long)a.in, (long long)a.hidden);
    if (a.layers < 1 || a.layers > MOST)
        return tn_fail(TN_EARG, "%s: %d layers; 1 to %d are possible", k->name, a.layers, (int)MOST);
    if (!(a.dropout >= 0 && a.dropout <= 1))
        return tn_fail(TN_EARG, "%s: %g is not a probability", k->name, a.dropout);
    if (a.relu && k != &rnn_kind)
        return tn_fail(TN_EARG, "%s: ReLU is an option of rnn alone", k->name);
    recurrent *l = tn_module_new(&k->cls);
    if (!l)
        return NULL;
    l->kind = k;
    l->args = a;
    const double bound = 1 / sqrt((double)a.hidden);
    for (int layer = 0; layer < a.layers; layer++)
        for (int d = 0; d < directions(l); d++)
            make_cell(l, layer, d, (tn_init){TN_INIT_UNIFORM, -bound, bound, false});
    return tn_module_done(l);
}

tn_module *tn_lstm_call(tn_recurrent_args args) { return make(&lstm_kind, args); }
tn_module *tn_gru_call(tn_recurrent_args args) { return make(&gru_kind, args); }
tn_module *tn_rnn_call(tn_recurrent_args args) { return make(&rnn_kind, args); }
