/* Transformers: sizes, names, how weights start, the loss, gradients, exactness, memory, what cannot be.
 * Their numbers against PyTorch's: test_parity_transformer.c; decoding: test_beam.c. */
#include "check.h"

#include <math.h>
#include <stdlib.h>

#include "tensor/internal.h"

/* ---- sizes, names, beginnings ---- */

/* fairseq's dictionaries of IWSLT'14 German and English */
enum { GERMAN = 8848, ENGLISH = 6632 };

typedef struct beginning {
    const char *pattern;
    double low, high; /* of all elements */
    double std;       /* 0: all elements are `low` */
    int tensors;
} beginning;

/* of dim 512, ffn 1024; sqrt(6 / (in + out)), and sqrt(3) times less as standard deviation */
static const beginning beginnings[] = {
    {"*embed_tokens.weight", -.3, .3, .0441942, 2},
    {"decoder.embed_out.weight", -.3, .3, .0441942, 1},
    {"*.in_proj_weight", -.0541266, .0541266, .0541266 / 1.7320508, 18},
    {"*.out_proj.weight", -.0765466, .0765466, .0765466 / 1.7320508, 18},
    {"*.linear?.weight", -.0625, .0625, .0625 / 1.7320508, 24},
    {"*.norm?.weight", 1, 1, 0, 30},
    {"*bias", 0, 0, 0, 18 + 18 + 24 + 30},
};

typedef struct visit {
    int seen[sizeof beginnings / sizeof *beginnings], others;
} visit;

static bool check_beginning(void *arg, const char *path, tn_param *p)
{
    visit *v = arg;
    const int64_t n = tn_numel(&p->t);
    const float *x = tn_f32(&p->t);
    double sum = 0, squares = 0, low = INFINITY, high = -INFINITY;
    size_t k = 0;
    while (k < sizeof beginnings / sizeof *beginnings && !tn_match(beginnings[k].pattern, path))
        k++;
    if (k == sizeof beginnings / sizeof *beginnings) {
        print_message("%s\n", path);
        v->others++;
        return true;
    }
    for (int64_t i = 0; i < n; i++) {
        sum += (double)x[i];
        squares += (double)x[i] * (double)x[i];
        low = fmin(low, (double)x[i]);
        high = fmax(high, (double)x[i]);
    }
    const beginning *b = &beginnings[k];
    v->seen[k]++;
    assert_true(low >= b->low - 1e-6 && high <= b->high + 1e-6);
    if (b->std > 0) {
        assert_true(fabs(sum / (double)n) < 5 * b->std / sqrt((double)n));
        assert_true(fabs(sqrt(squares / (double)n) / b->std - 1) < .005);
    }
    if (b->std > 0 && b->high < .1) /* uniform numbers reach their bounds */
        assert_true(low < .999 * b->low && high > .999 * b->high);
    return true;
}

static double row_norm(tn_module *net, const char *path, int64_t row)
{
    double sum = 0;
    const tn_tensor *t = &tn_find_param(net, path)->t;
    for (int64_t k = 0; k < tn_dim(t, 1); k++)
        sum += pow(tn_at(t, (const int64_t[]){row, k}), 2);
    return sqrt(sum);
}

static void test_the_network_of_iwslt(void **state)
{
    const tn_model_spec spec = {.name = "transformer_iwslt_de_en", .source = GERMAN, .classes = ENGLISH};
    visit v = {.others = 0};
    (void)state;
    tn_seed(3);
    tn_module *net = tn_model_named(&spec);
    assert_int_equal(tn_param_count(net), 42864640);
    assert_true(tn_each_param(net, check_beginning, &v));
    assert_int_equal(v.others, 0);
    for (size_t k = 0; k < sizeof beginnings / sizeof *beginnings; k++)
        assert_int_equal(v.seen[k], beginnings[k].tensors);
    assert_true(row_norm(net, "encoder.embed_tokens.weight", TN_PAD) == 0);
    assert_true(row_norm(net, "decoder.embed_tokens.weight", TN_PAD) == 0);
    assert_true(row_norm(net, "decoder.embed_tokens.weight", TN_EOS) > .8);
    assert_true(row_norm(net, "decoder.embed_out.weight", TN_PAD) > .8);
    const tn_transformer_args *a = tn_transformer_settings(net);
    assert_true(a->dim == 512 && a->ffn == 1024 && a->heads == 4 && a->encoder_layers == 6 && a->decoder_layers == 6);
    assert_true(a->source == GERMAN && a->target == ENGLISH && a->share == TN_SHARE_NONE && a->dropout == 0);
    tn_free(net);
    assert_ok();
}

static void test_sizes_by_name(void **state)
{
    static const struct {
        tn_model_spec spec;
        int64_t count;
    } t[] = {
        {{.name = "transformer", .source = ENGLISH, .classes = GERMAN}, 43999232},
        {{.name = "transformer_wmt_en_de", .source = 32768, .classes = 32768}, 60915712},
        {{.name = "transformer_wmt_en_de", .source = 64, .classes = 64,
          .transformer = {.ffn = 1024, .heads = 4, .share = TN_SHARE_DECODER}}, 31543296 + 2 * 64 * 512},
        {{.name = "transformer_lm", .classes = 100, .transformer = {.dim = 8, .ffn = 16, .decoder_layers = 2}}, 2800},
        {{.name = "transformer_lm", .source = 7, .classes = 100,
          .transformer = {.dim = 8, .ffn = 16, .decoder_layers = 2, .pre_norm = true, .share = TN_SHARE_ALL}}, 2016},
    };
    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        tn_module *net = tn_model_named(&t[i].spec);
        assert_ok();
        assert_int_equal(tn_param_count(net), t[i].count);
        tn_free(net);
    }
}

static void test_names(void **state)
{
    (void)state;
    tn_module *net = tn_transformer(9, 9, .dim = 8, .ffn = 8, .heads = 2, .pre_norm = true, .share = TN_SHARE_ALL);
    assert_non_null(tn_find_param(net, "encoder.norm.weight"));
    assert_non_null(tn_find_param(net, "decoder.norm.bias"));
    assert_non_null(tn_find_param(net, "decoder.layers.5.multihead_attn.in_proj_bias"));
    assert_non_null(tn_find_param(net, "decoder.embed_tokens.weight"));
    assert_null(tn_find_param(net, "encoder.embed_tokens.weight"));
    assert_null(tn_find_param(net, "decoder.embed_out.weight"));
    assert_null(tn_find_param(net, "encoder.layers.0.norm3.weight"));
    tn_free(net);
    net = tn_transformer_lm(9, .dim = 8, .ffn = 8, .heads = 2);
    assert_null(tn_find_module(net, "encoder"));
    assert_null(tn_find_module(net, "decoder.layers.0.multihead_attn"));
    assert_null(tn_find_module(net, "decoder.norm"));
    assert_non_null(tn_find_param(net, "decoder.embed_out.weight"));
    const tn_transformer_args *a = tn_transformer_settings(net);
    assert_true(a->source == 0 && a->encoder_layers == 0 && a->decoder_layers == 6);
    tn_free(net);
    net = tn_linear(2, 2);
    assert_null(tn_transformer_settings(net));
    assert_null(tn_transformer_settings(NULL));
    tn_free(net);
    assert_ok();
}

/* ---- a small one ---- */

enum { WORDS = 23, DIM = 16, SENTENCES = 4, X_ROWS = 18, Y_ROWS = 16, LM = 1, PRE = 2, GELU = 4, DROPS = 8 };

static const int64_t x_ids[X_ROWS] = {4, 5, 6, 2, 9, 2, 12, 4, 4, 7, 22, 3, 2, 5, 8, 13, 11, 2};
static const int64_t x_spans[SENTENCES][2] = {{0, 4}, {4, 2}, {6, 7}, {13, 5}};
static const int64_t y_ids[Y_ROWS] = {7, 2, 4, 11, 10, 2, 5, 6, 7, 8, 9, 10, 2, 21, 4, 2};
static const int64_t y_spans[SENTENCES][2] = {{0, 2}, {2, 4}, {6, 7}, {13, 3}};

typedef struct sides {
    tn_tensor *x, *x_spans, *y, *y_spans;
} sides;

/* n sentences from `first` on; of a language model y alone */
static sides sentences(int kind, int first, int n)
{
    int64_t xs[SENTENCES][2], ys[SENTENCES][2];
    const int last = first + n - 1;
    const int64_t x_from = x_spans[first][0], y_from = y_spans[first][0];
    for (int i = 0; i < n; i++) {
        memcpy(xs[i], x_spans[first + i], sizeof xs[i]);
        memcpy(ys[i], y_spans[first + i], sizeof ys[i]);
        xs[i][0] -= x_from;
        ys[i][0] -= y_from;
    }
    sides s = {.y = tn_from_i64(y_ids + y_from, TN_SHAPE(y_spans[last][0] + y_spans[last][1] - y_from)),
               .y_spans = tn_from_i64(&ys[0][0], TN_SHAPE(n, 2))};
    if (!(kind & LM)) {
        s.x = tn_from_i64(x_ids + x_from, TN_SHAPE(x_spans[last][0] + x_spans[last][1] - x_from));
        s.x_spans = tn_from_i64(&xs[0][0], TN_SHAPE(n, 2));
    }
    return s;
}

static tn_module *small(int kind, tn_share share)
{
    const double p = kind & DROPS ? .2 : 0;
    const tn_transformer_args a = {
        .source = WORDS, .target = WORDS, .dim = DIM, .ffn = 24, .heads = 2, .encoder_layers = 2, .decoder_layers = 2,
        .dropout = p, .attention_dropout = p, .activation_dropout = p, .pre_norm = kind & PRE, .gelu = kind & GELU,
        .share = share};
    tn_seed(11);
    tn_module *net = kind & LM ? tn_transformer_lm_call(a) : tn_transformer_call(a);
    assert_non_null(net);
    return net;
}

static tn_tensor *logits_of(tn_module *net, int kind, sides s)
{
    tn_tensor *prev = tn_shift(s.y, s.y_spans, TN_EOS);
    return kind & LM ? tn_forward(net, prev, s.y_spans) : tn_forward(net, s.x, s.x_spans, prev, s.y_spans);
}

static tn_tensor *loss_of(tn_module *net, sides s, tn_tensor **nll)
{
    return tn_transformer_loss(net, s.x, s.x_spans, s.y, s.y_spans, .1, nll);
}

static void test_loss_is_that_of_the_logits(void **state)
{
    (void)state;
    for (int kind = 0; kind < 2 * DROPS; kind++)
        TN_SCOPE {
            tn_module *net = small(kind, kind & GELU ? TN_SHARE_DECODER : TN_SHARE_NONE);
            const sides s = sentences(kind, 0, SENTENCES);
            tn_tensor *nll;
            tn_seed(5);
            tn_tensor *loss = loss_of(net, s, &nll);
            tn_seed(5);
            tn_tensor *logits = logits_of(net, kind, s);
            assert_ok();
            assert_true(fabs(tn_item(loss) / tn_item(tn_cross_entropy(logits, s.y, .smoothing = .1, .sum = true)) - 1) <
                        1e-6);
            assert_true(fabs(tn_item(nll) / tn_item(tn_cross_entropy(logits, s.y, .sum = true)) - 1) < 1e-6);
            assert_true(loss->requires_grad && !nll->requires_grad);
            tn_seed(6); /* other masks, other losses; in eval mode there are none */
            assert_true((tn_item(loss_of(net, s, NULL)) == tn_item(loss)) == !(kind & DROPS));
            tn_eval(net);
            const tn_rng before = tn_rng_state();
            const double plain = tn_item(loss_of(net, s, NULL));
            tn_seed(5);
            assert_true(tn_item(loss_of(net, s, NULL)) == plain);
            assert_true(tn_rng_state().step == 0 && before.seed == 6);
            tn_free(net);
        }
    assert_ok();
}

/* ---- gradients: along themselves the loss rises by their length ---- */

typedef struct move {
    double squares, step;
} move;

static bool add_squares(void *arg, const char *path, tn_param *p)
{
    move *m = arg;
    const float *g = tn_f32(p->t.grad);
    (void)path;
    for (int64_t i = 0; g && i < tn_numel(&p->t); i++)
        m->squares += (double)g[i] * (double)g[i];
    return g;
}

static bool move_one(void *arg, const char *path, tn_param *p)
{
    const move *m = arg;
    float *x = tn_f32(&p->t), *g = tn_f32(p->t.grad);
    (void)path;
    for (int64_t i = 0; i < tn_numel(&p->t); i++)
        x[i] += (float)(m->step * (double)g[i]);
    return true;
}

static double loss_after(tn_module *net, sides s, double step)
{
    move m = {.step = step};
    double loss = 0;
    tn_each_param(net, move_one, &m);
    tn_seed(5); /* the same masks */
    TN_SCOPE {
        TN_NO_GRAD {
            loss = tn_item(loss_of(net, s, NULL));
        }
    }
    return loss;
}

static void test_gradients_by_differences(void **state)
{
    (void)state;
    for (int kind = 0; kind < 2 * DROPS; kind++)
        for (tn_share share = TN_SHARE_NONE; share <= TN_SHARE_ALL; share++)
            TN_SCOPE {
                tn_module *net = small(kind, share);
                const sides s = sentences(kind, 0, SENTENCES);
                move m = {.squares = 0};
                tn_seed(5);
                assert_true(tn_backward(loss_of(net, s, NULL)) && tn_each_param(net, add_squares, &m));
                const double h = 2e-3 / sqrt(m.squares);
                const double above = loss_after(net, s, h), below = loss_after(net, s, -2 * h);
                const double slope = (above - below) / (2 * h);
                if (!(fabs(slope / m.squares - 1) < .01))
                    fail_msg("kind %d, share %d: slope %g, squared length of the gradient %g", kind, (int)share, slope,
                             m.squares);
                tn_free(net);
            }
    assert_ok();
}

/* ---- exactness ---- */

/* How far a is from b, in units of 1. */
static double farthest(const float *a, const float *b, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; i++)
        most = fmax(most, fabs((double)a[i] - (double)b[i]));
    return most;
}

/* The same bits in company as alone, whatever comes later. */
static void test_sentences_do_not_see_each_other(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        tn_module *net = small(kind | DROPS, TN_SHARE_NONE);
        tn_eval(net);
        TN_SCOPE {
            const sides all = sentences(kind, 0, SENTENCES);
            const float *together = tn_f32(logits_of(net, kind, all));
            for (int i = 0; i < SENTENCES; i++) {
                const sides one = sentences(kind, i, 1);
                const float *alone = tn_f32(logits_of(net, kind, one));
                const size_t words = (size_t)y_spans[i][1] * WORDS;
                assert_ok();
                assert_true(farthest(together + y_spans[i][0] * WORDS, alone, words) == 0);
                tn_i64(one.y)[y_spans[i][1] - 2] = 3; /* what the last row reads */
                const float *changed = tn_f32(logits_of(net, kind, one));
                assert_memory_equal(changed, alone, (words - WORDS) * sizeof *alone);
                assert_true(farthest(changed + words - WORDS, alone + words - WORDS, WORDS) > .01);
            }
        }
        tn_free(net);
    }
    assert_ok();
}

static bool copy_out(void *arg, const char *path, tn_param *p)
{
    float **at = arg;
    (void)path;
    memcpy(*at, tn_f32(&p->t), (size_t)tn_numel(&p->t) * sizeof(float));
    *at += tn_numel(&p->t);
    return true;
}

static float *after_training(int threads, int64_t *n)
{
    tn_set_threads(threads);
    tn_module *net = small(DROPS, TN_SHARE_DECODER);
    tn_optim *opt = tn_adam(net, .lr = 1e-2);
    for (int step = 0; step < 3; step++)
        TN_SCOPE {
            assert_true(tn_backward(loss_of(net, sentences(0, 0, SENTENCES), NULL)) && tn_step(opt));
        }
    *n = tn_param_count(net);
    float *weights = malloc((size_t)*n * sizeof *weights), *at = weights;
    assert_true(weights && tn_each_param(net, copy_out, &at));
    tn_free(opt, net);
    return weights;
}

static void test_same_bits_for_any_number_of_threads(void **state)
{
    const int before = tn_threads();
    int64_t n;
    (void)state;
    float *one = after_training(1, &n);
    for (int threads = 2; threads < 5; threads++) {
        float *more = after_training(threads, &n);
        assert_memory_equal(one, more, (size_t)n * sizeof *one);
        free(more);
    }
    free(one);
    tn_set_threads(before);
    assert_ok();
}

static void test_files(void **state)
{
    const char *file = TN_BINARY_DIR "/transformer.safetensors";
    (void)state;
    tn_module *net = small(0, TN_SHARE_ALL), *other = small(0, TN_SHARE_ALL), *untied = small(0, TN_SHARE_NONE);
    tn_seed(9);
    tn_init_(&tn_find_param(other, "decoder.embed_tokens.weight")->t, (tn_init){.kind = TN_INIT_NORMAL, .b = 1});
    assert_true(tn_save(net, file) && tn_load(other, file, .strict = true));
    TN_SCOPE {
        const sides s = sentences(0, 0, SENTENCES);
        assert_true(tn_item(loss_of(net, s, NULL)) == tn_item(loss_of(other, s, NULL)));
        tn_safetensors *f = tn_safetensors_open(file);
        for (int i = 0; i < tn_safetensors_count(f); i++)
            assert_null(strstr(tn_safetensors_name(f, i), "sines"));
        tn_free(f);
    }
    assert_ok();
    assert_non_null(tn_find_param(net, "decoder.sines"));
    assert_false(tn_load(untied, file, .strict = true));
    expect_error(TN_EFORMAT, "encoder.embed_tokens.weight");
    tn_free(net, other, untied);
    remove(file);
}

/* ---- memory ---- */

/* What a training step holds between forward and backward: in each layer, of a row, the projections, what
 * attention and both norms gave and began with, and the inside of the feed-forward layer; never all logits.
 * The first test, as the peak is that of the whole program. */
static void test_memory(void **state)
{
    enum { LAYERS = 2, ROWS = 1024, LENGTH = 32, WIDE = 64, INSIDE = 128, DICTIONARY = 8000 };
    (void)state;
    tn_seed(1);
    tn_module *net = tn_transformer_lm(DICTIONARY, .dim = WIDE, .ffn = INSIDE, .decoder_layers = LAYERS,
                                       .dropout = .1);
    TN_SCOPE {
        int64_t spans[ROWS / LENGTH][2];
        for (int i = 0; i < ROWS / LENGTH; i++)
            spans[i][0] = LENGTH * i, spans[i][1] = LENGTH;
        const sides s = {.y = tn_arange(ROWS, TN_I64),
                         .y_spans = tn_from_i64(&spans[0][0], TN_SHAPE(ROWS / LENGTH, 2))};
        assert_true(tn_backward(loss_of(net, s, NULL))); /* gradients are there now */
        const tn_memory before = tn_memory_stats();
        tn_tensor *loss = loss_of(net, s, NULL);
        const tn_memory after = tn_memory_stats();
        const double table = 4.0 * DICTIONARY * WIDE, logits = 4.0 * ROWS * DICTIONARY;
        const double row = ((double)(after.live - before.live) - table) / ROWS / LAYERS / 4;
        const double wanted = 8 * WIDE + INSIDE, above = (double)(after.peak - before.live);
        print_message("  %.0f floats are held of a row in a layer: 8 dim + ffn are %.0f\n", row, wanted);
        print_message("  %.1f MB above the weights at most: all logits are %.1f MB\n", above / 1e6, logits / 1e6);
        assert_true(row < 1.15 * wanted && above < .75 * logits);
        assert_true(tn_backward(loss));
    }
    tn_free(net);
    assert_ok();
}

/* ---- what cannot be ---- */

static void test_settings_that_cannot_be(void **state)
{
    static const struct {
        tn_transformer_args a;
        const char *error;
    } t[] = {
        {{.source = 0, .target = 5}, "dictionaries of 0 and 5 words"},
        {{.source = 5, .target = 1ll << 40}, "words"},
        {{.source = 5, .target = 5, .dim = 9, .heads = 3}, "dim 9, ffn 1024, 3 heads"},
        {{.source = 5, .target = 5, .dim = 8, .heads = 3}, "the heads must divide dim"},
        {{.source = 5, .target = 5, .heads = -4}, "-4 heads"},
        {{.source = 5, .target = 5, .ffn = -1}, "ffn -1"},
        {{.source = 5, .target = 5, .encoder_layers = -1}, "-1 and 6 layers"},
        {{.source = 5, .target = 5, .decoder_layers = 1 << 20}, "1 to 1024 are possible"},
        {{.source = 5, .target = 5, .dropout = 1.5}, "dropout 1.5"},
        {{.source = 5, .target = 5, .attention_dropout = -.1}, "-0.1 of attention"},
        {{.source = 5, .target = 5, .activation_dropout = NAN}, "nan of activations"},
        {{.source = 5, .target = 6, .share = TN_SHARE_ALL}, "one embedding for 5 and 6 words"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        assert_null(tn_transformer_call(t[i].a));
        expect_error(TN_EARG, t[i].error);
    }
    assert_null(tn_transformer_lm_call((tn_transformer_args){.target = 0}));
    expect_error(TN_EARG, "dictionaries of 0 and 0 words");
}

#define SPANS(n, ...) tn_from_i64((const int64_t[]){__VA_ARGS__}, TN_SHAPE(n, 2))

static void test_inputs_that_cannot_be(void **state)
{
    (void)state;
    tn_module *net = small(0, TN_SHARE_NONE), *lm = small(LM, TN_SHARE_NONE), *linear = tn_linear(2, 2);
    TN_SCOPE {
        const sides s = sentences(0, 0, SENTENCES);
        assert_null(tn_forward(net, s.x, s.x_spans));
        expect_error(TN_EARG, "x, x_spans, prev, y_spans are wanted, 2 inputs");
        assert_null(tn_forward(lm, s.x, s.x_spans, s.y, s.y_spans));
        expect_error(TN_EARG, "prev, spans are wanted, 4 inputs");
        assert_null(tn_forward(tn_find_module(net, "decoder"), s.y, s.y_spans, s.x));
        expect_error(TN_EARG, "3 inputs were given");
        assert_null(tn_forward(tn_find_module(net, "decoder.layers"), s.y));
        expect_error(TN_ESTATE, "a list of layers has no forward");
        assert_null(tn_transformer_loss(linear, s.x, s.x_spans, s.y, s.y_spans, 0, NULL));
        expect_error(TN_EARG, "transformer_loss: a Transformer is wanted, this is a Linear");
        assert_null(tn_transformer_loss(NULL, s.x, s.x_spans, s.y, s.y_spans, 0, NULL));
        assert_null(tn_transformer_loss(net, NULL, NULL, s.y, s.y_spans, 0, NULL));
        assert_ok();
        assert_null(tn_transformer_loss(net, s.x, s.x_spans, s.y, s.y_spans, 2, NULL));
        expect_error(TN_EARG, "smoothing 2");

        assert_null(loss_of(net, (sides){s.x, SPANS(3, 0, 4, 4, 2, 6, 7), s.y, s.y_spans}, NULL));
        expect_error(TN_ESHAPE, "4 sequences of queries, but 3 of keys");
        assert_null(loss_of(net, (sides){s.x, SPANS(4, 0, 4, 4, 2, 6, 7, 13, 6), s.y, s.y_spans}, NULL));
        expect_error(TN_EARG, "sequence 3 begins at row 13 and has 6");
        assert_null(loss_of(net, (sides){s.x, tn_reshape(s.x_spans, TN_SHAPE(8)), s.y, s.y_spans}, NULL));
        expect_error(TN_ESHAPE, "spans are [n,2]");
        tn_i64(s.x)[3] = WORDS;
        assert_null(loss_of(net, s, NULL));
        expect_error(TN_EARG, "in encoder");

        const int64_t rows = 2049;
        tn_tensor *ids = tn_empty(TN_I64, 1, &rows);
        assert_true(tn_fill_(ids, 4));
        assert_null(loss_of(lm, (sides){NULL, NULL, ids, SPANS(1, 0, rows)}, NULL));
        expect_error(TN_EARG, "sequence 0 has 2049 words; 2048 are possible");
    }
    tn_free(net, lm, linear);
    assert_ok();
}

static void test_failing_allocations(void **state)
{
    const tn_transformer_args a = {.source = WORDS, .target = WORDS, .dim = 4, .ffn = 4, .heads = 2,
                                   .encoder_layers = 1, .decoder_layers = 1, .dropout = .1, .pre_norm = true};
    const size_t live = tn_memory_stats().live;
    tn_module *net = NULL;
    (void)state;
    for (long n = 0; !net; n++) {
        assert_true(n < 2000);
        tn__fail_alloc_after(n);
        net = tn_transformer_call(a);
        tn__fail_alloc_after(-1);
        if (net)
            break;
        expect_error(TN_ENOMEM, "out of memory");
        assert_int_equal(tn_memory_stats().live, live);
    }
    assert_ok();
    bool done = false;
    for (long n = 0; !done; n++)
        TN_SCOPE {
            const sides s = sentences(0, 0, SENTENCES);
            tn_tensor *nll = NULL;
            assert_true(n < 2000);
            tn__fail_alloc_after(n);
            tn_tensor *loss = loss_of(net, s, &nll);
            done = tn_backward(loss);
            tn__fail_alloc_after(-1);
            if (!done)
                expect_error(TN_ENOMEM, "out of memory");
        }
    tn_free(net);
    assert_ok();
    assert_int_equal(tn_memory_stats().live, live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_the_network_of_iwslt),
        cmocka_unit_test(test_sizes_by_name),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_loss_is_that_of_the_logits),
        cmocka_unit_test(test_gradients_by_differences),
        cmocka_unit_test(test_sentences_do_not_see_each_other),
        cmocka_unit_test(test_same_bits_for_any_number_of_threads),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_settings_that_cannot_be),
        cmocka_unit_test(test_inputs_that_cannot_be),
        cmocka_unit_test(test_failing_allocations),
    };
    return cmocka_run_group_tests(tests, quiet_errors, NULL);
}
