/* Word language models with recurrent layers: embedding, LSTM, softmax over the vocabulary.  The layers are those of
 * nn.h; here is how they are put together, how they start, and the state that goes on from chunk to chunk. */
#include <math.h>
#include <stdio.h>

#include <tenon.h>

typedef struct language_model {
    tn_module base;
    tn_lstm_lm_args args;
    tn_module *encoder, *rnn, *decoder; /* decoder: NULL when the encoder's matrix is used */
    tn_tensor *out;                     /* [words, hidden]; NULL: the softmax is an adaptive one */
} language_model;

/* ---- forward ---- */

/* x [T, B] -> what the softmax reads, [T, B, hidden] */
static tn_tensor *features(const language_model *l, tn_tensor *x, tn_state *at)
{
    char s[TN_SHAPE_TEXT];
    const double p = l->base.training ? l->args.dropout : 0;
    if (x->ndim != 2)
        return tn_fail(TN_ESHAPE, "lstm_lm: words %s are not [T,B]", tn_shape_text(x, s));
    tn_tensor *y = tn_forward(l->encoder, x);
    if (p > 0)
        y = tn_dropout(y, p);
    y = tn_recurrent(l->rnn, y, at, NULL);
    return p > 0 ? tn_dropout(y, p) : y;
}

static tn_tensor *rows_of(tn_tensor *y)
{
    return y ? tn_reshape(y, TN_SHAPE(y->shape[0] * y->shape[1], y->shape[2])) : NULL;
}

/* [N, hidden] -> [N, words] */
static tn_tensor *log_probs(const language_model *l, tn_tensor *rows)
{
    return l->out ? tn_log_softmax(tn_affine(rows, l->out, NULL), -1) : tn_adaptive_log_probs(l->decoder, rows);
}

static tn_tensor *forward(tn_module *m, int n, tn_tensor *const *x)
{
    const language_model *l = (language_model *)m;
    (void)n;
    tn_tensor *y = log_probs(l, rows_of(features(l, x[0], NULL)));
    return y ? tn_reshape(y, TN_SHAPE(x[0]->shape[0], x[0]->shape[1], l->args.words)) : NULL;
}

static const tn_module_class lm_class = {
    .name = "LanguageModel", .size = sizeof(language_model), .forward = forward};

static language_model *as_lm(tn_module *net, const char *who)
{
    if (net && net->cls != &lm_class)
        return tn_fail(TN_EARG, "%s: a language model with a state is wanted, this is a %s", who, net->cls->name);
    return (language_model *)net;
}

const tn_lstm_lm_args *tn_lstm_lm_settings(const tn_module *net)
{
    return net && net->cls == &lm_class ? &((const language_model *)net)->args : NULL;
}

/* ---- with a state ---- */

tn_state tn_lm_state(tn_module *net, int64_t batch)
{
    const language_model *l = as_lm(net, "lm_state");
    tn_state state = {NULL, NULL};
    if (!l)
        return state;
    if (batch < 1) {
        tn_fail(TN_EARG, "lm_state: %lld rows; at least 1 is needed", (long long)batch);
        return state;
    }
    TN_SCOPE TN_NO_GRAD {
        tn_tensor *like = tn_slice(&tn_find_param(l->rnn, "weight_hh_l0")->t, 0, 0, 1, 1); /* also its device */
        like = tn_expand(like ? tn_reshape(like, TN_SHAPE(1, 1, l->args.hidden)) : NULL, 3,
                         (const int64_t[]){l->args.layers, batch, l->args.hidden});
        state = (tn_state){tn_keep(tn_zeros_like(like)), tn_keep(tn_zeros_like(like))};
    }
    return state;
}

/* Tensors of their own, so that the user's may be written before backward has read them. */
static tn_tensor *copy_of(const tn_tensor *t)
{
    tn_tensor *copy = tn_like(t);
    return tn_copy_(copy, t) ? copy : NULL;
}

static bool copy_state(tn_state *to, const tn_state *from)
{
    if (!from->h || !from->c)
        return tn_fail(TN_EARG, "lm: the state has no %s; tn_lm_state() makes one", from->h ? "c" : "h"), false;
    *to = (tn_state){copy_of(from->h), copy_of(from->c)};
    return to->h && to->c;
}

typedef tn_tensor *reader(const language_model *l, tn_tensor *y, const tn_lm_loss_args *a);

/* What `read` makes of the features, and only when that is well the state that follows. */
static tn_tensor *run(const language_model *l, const tn_lm_loss_args *a, reader *read)
{
    tn_state at, *state = a->state;
    tn_tensor *result = NULL;
    TN_SCOPE {
        if (state && !copy_state(&at, state))
            break;
        result = read(l, features(l, a->x, state ? &at : NULL), a);
        if (result && state && !(tn_copy_(state->h, at.h) && tn_copy_(state->c, at.c)))
            result = NULL;
        tn_keep(result);
    }
    return result;
}

static tn_tensor *read_loss(const language_model *l, tn_tensor *y, const tn_lm_loss_args *a)
{
    tn_tensor *rows = rows_of(y), *t = tn_reshape(a->y, TN_SHAPE(tn_numel(a->y)));
    return l->out ? tn_linear_cross_entropy(rows, l->out, t) : tn_adaptive_loss(l->decoder, rows, t, .plan = a->plan);
}

tn_tensor *tn_lm_loss_call(tn_lm_loss_args a)
{
    char s[TN_SHAPE_TEXT], t[TN_SHAPE_TEXT];
    const language_model *l = as_lm(a.net, "lm_loss");
    if (!l || !a.x || !a.y)
        return NULL;
    if (!tn_same_shape(a.x, a.y))
        return tn_fail(TN_ESHAPE, "lm_loss: words %s and %s that follow them; one for each is needed",
                       tn_shape_text(a.x, s), tn_shape_text(a.y, t));
    return run(l, &a, read_loss);
}

int64_t tn_lm_plan(tn_module *net, tn_tensor *y)
{
    const language_model *l = as_lm(net, "lm_plan");
    return l && !l->out ? tn_adaptive_plan(l->decoder, y) : 0;
}

static tn_tensor *read_next(const language_model *l, tn_tensor *y, const tn_lm_loss_args *a)
{
    (void)a;
    const int64_t steps = tn_dim(y, 0);
    if (y && steps < 1)
        return tn_fail(TN_ESHAPE, "lm_next: no words, so nothing to go by");
    return log_probs(l, rows_of(tn_slice(y, 0, steps - 1, steps, 1)));
}

tn_tensor *tn_lm_next(tn_module *net, tn_tensor *x, tn_state *state)
{
    const language_model *l = as_lm(net, "lm_next");
    return l && x ? run(l, &(tn_lm_loss_args){.x = x, .state = state}, read_next) : NULL;
}

/* ---- how it starts ---- */

static void start(tn_module *m, const char *path, tn_init how)
{
    tn_param *p = tn_find_param(m, path);
    if (p)
        tn_init_(&p->t, how);
}

/* Gates are in the order i, f, g, o. */
static void start_bias(tn_module *rnn, const char *stem, int layer)
{
    char name[32];
    snprintf(name, sizeof name, "%s_l%d", stem, layer);
    tn_param *p = tn_find_param(rnn, name);
    float *b = p ? tn_f32(&p->t) : NULL;
    const int64_t hidden = p ? p->t.shape[0] / 4 : 0;
    for (int64_t i = 0; b && i < 4 * hidden; i++)
        b[i] = i / hidden == 1;
}

static void start_authors(language_model *l)
{
    const tn_init xavier = {TN_INIT_XAVIER_NORMAL, 0, 0, false};
    char name[32];
    for (int k = 0; k < l->args.layers; k++) {
        for (int recurrent = 0; recurrent < 2; recurrent++) {
            const int64_t in = k || recurrent ? l->args.hidden : l->args.dim;
            const double bound = sqrt(6 / (double)(l->args.hidden + in));
            snprintf(name, sizeof name, "%s_l%d", recurrent ? "weight_hh" : "weight_ih", k);
            start(l->rnn, name, (tn_init){TN_INIT_UNIFORM, -bound, bound, false});
        }
        start_bias(l->rnn, "bias_ih", k);
        start_bias(l->rnn, "bias_hh", k);
    }
    start(l->decoder, l->out ? "weight" : "head.weight", xavier);
    for (int i = 0; i < TN_CUTOFFS && l->args.cutoffs[i]; i++)
        for (int part = 0; part < 2; part++) {
            snprintf(name, sizeof name, "tail.%d.%d.weight", i, part);
            start(l->decoder, name, xavier);
        }
}

static bool start_evenly(void *range, const char *path, tn_param *p)
{
    (void)path;
    const double r = *(const double *)range;
    return tn_init_(&p->t, (tn_init){TN_INIT_UNIFORM, -r, r, false});
}

/* ---- making one ---- */

static bool settle(tn_lstm_lm_args *a)
{
    a->dim = a->dim ? a->dim : 300;
    a->hidden = a->hidden ? a->hidden : 2048;
    a->layers = a->layers ? a->layers : 2;
    if (a->words < 1 || a->words > INT32_MAX)
        tn_fail(TN_EARG, "lstm_lm: a dictionary of %lld words", (long long)a->words);
    else if (a->tied && (a->cutoffs[0] || a->dim != a->hidden))
        tn_fail(TN_EARG, "lstm_lm: dim %lld, hidden %lld%s: tied is for one matrix of both, so they must be equal, "
                "without cutoffs", (long long)a->dim, (long long)a->hidden, a->cutoffs[0] ? ", cutoffs" : "");
    else if (!(a->init >= 0 && a->init <= 1e6))
        tn_fail(TN_EARG, "lstm_lm: weights in +-%g are none to start with", a->init);
    else
        return true;
    return false;
}

static tn_module *softmax_new(const tn_lstm_lm_args *a)
{
    tn_adaptive_softmax_args s = {.in = a->hidden, .classes = a->words, .head_bias = true};
    if (!a->cutoffs[0])
        return tn_linear(a->hidden, a->words, .no_bias = true);
    for (int i = 0; i <= TN_CUTOFFS; i++)
        s.cutoffs[i] = a->cutoffs[i];
    return tn_adaptive_softmax_call(s);
}

tn_module *tn_lstm_lm_call(tn_lstm_lm_args a)
{
    language_model *l = settle(&a) ? tn_module_new(&lm_class) : NULL;
    if (!l)
        return NULL;
    const double wide = sqrt(3 / (double)a.dim);
    tn_init even = {TN_INIT_UNIFORM, -wide, wide, false};
    l->args = a;
    l->encoder = tn_add_child(&l->base, "encoder", tn_embedding(a.words, a.dim, .init = &even,
                                                                .sparse = !a.tied));
    l->rnn = tn_add_child(&l->base, "rnn", tn_lstm(a.dim, a.hidden, .layers = a.layers, .dropout = a.dropout));
    if (!a.tied)
        l->decoder = tn_add_child(&l->base, "decoder", softmax_new(&a));
    if (!a.cutoffs[0]) {
        tn_param *p = tn_find_param(a.tied ? l->encoder : l->decoder, "weight");
        l->out = p ? &p->t : NULL;
    }
    if (a.init > 0)
        tn_each_param(&l->base, start_evenly, &a.init);
    else
        start_authors(l);
    return tn_module_done(l);
}
