/* Whole trainings on the emulated CUDA backend, as small as still use every part of the three families of networks,
 * against the CPU's: a few updates from one start, the same losses and weights but for rounding; and the same bits
 * when they are run again, with threads in reverse or with steps that are recorded and replayed.  Then a translation.
 * One op at a time: test_cuda_samples.c; larger trainings on a real GPU: ../test_gpu.c. */
#include "emulated.h"
#include "halves.h"

#include <math.h>
#include <stdlib.h>

enum { STEPS = 4, MOST = 10000, INPUTS = 4 };

/* Some dozen roundings, which the updates carry on: of losses and norms relative, of weights absolute. */
static const double tolerance = 1e-5;

typedef struct training {
    const char *name;
    tn_module *(*make)(void);
    tn_optim *(*optim)(tn_module *net);
    double clip; /* INFINITY: gradients are left as they are */
    void (*batch)(int step, tn_tensor **in); /* on the CPU, INPUTS of them */
    tn_tensor *(*loss)(tn_module *net, tn_tensor **in, tn_state *carried, int64_t plan);
    tn_state (*carry)(tn_module *net); /* what the first step begins with; NULL: nothing is carried */
    int64_t (*plan)(tn_module *net, tn_tensor **in); /* of the batch on the CPU; NULL: it needs none */
    int plans; /* how many take turns */
    long launches; /* of a recorded step in f32: it may only fall */
} training;

/* Integers in [low, high), others for each stream. */
static tn_tensor *draw(uint32_t low, uint32_t high, uint64_t stream, int ndim, const int64_t *shape)
{
    tn_tensor *t = tn_empty(TN_I64, ndim, shape);
    for (int64_t i = 0; i < tn_numel(t); i++)
        tn_i64(t)[i] = low + tn__philox_at(7, stream, (uint64_t)i) % (high - low);
    return t;
}

/* ---- a residual network: convolutions, batch norm, both poolings ---- */

enum { CLASSES = 5, IMAGES = 4, SIZE = 8 };

static tn_module *make_resnet(void)
{
    return tn_seq(tn_conv2d(3, 4, 3, .padding = 1), tn_max_pool2d(3, 1, 1),
                  tn_resnet(8, CLASSES, .channels = 4, .width = 4));
}

static tn_optim *momentum(tn_module *net) { return tn_sgd(net, .lr = .05, .momentum = .9, .decay = 1e-4); }

static void images(int step, tn_tensor **in)
{
    in[0] = tn_randn(0, 1, TN_SHAPE(IMAGES, SIZE, SIZE, 3));
    in[1] = draw(0, CLASSES, (uint64_t)step, TN_SHAPE(IMAGES));
}

static tn_tensor *image_loss(tn_module *net, tn_tensor **in, tn_state *carried, int64_t plan)
{
    (void)carried, (void)plan;
    return tn_cross_entropy(tn_forward(net, in[0]), in[1]);
}

/* ---- a Transformer: sequences of differing length, dropout everywhere, label smoothing ---- */

enum { WORDS = 24, FIRST = 4 /* word that is no sign */ };

static tn_module *make_transformer(void)
{
    return tn_transformer(WORDS, WORDS, .dim = 8, .ffn = 16, .heads = 2, .encoder_layers = 1, .decoder_layers = 1,
                          .dropout = .1, .attention_dropout = .1, .activation_dropout = .1);
}

static tn_module *make_decoder(void)
{
    return tn_transformer_lm(WORDS, .dim = 8, .ffn = 16, .heads = 2, .decoder_layers = 2, .dropout = .1,
                             .pre_norm = true, .gelu = true, .share = TN_SHARE_ALL);
}

/* The gradient of keys' biases is zero but for rounding: eps is above that, so that Adam does not make steps of it. */
static tn_optim *adam(tn_module *net) { return tn_adam(net, .lr = .01, .eps = 1e-3); }

enum { SENTENCES = 3, X_ROWS = 11, Y_ROWS = 10 };

static void sentences_alone(int step, tn_tensor **in)
{
    static const int64_t spans[] = {0, 3, 3, 6, 9, 1};
    in[2] = draw(FIRST, WORDS, (uint64_t)(2 * step + 1), TN_SHAPE(Y_ROWS));
    in[3] = tn_from_i64(spans, TN_SHAPE(SENTENCES, 2));
}

static void sentences(int step, tn_tensor **in)
{
    static const int64_t spans[] = {0, 5, 5, 2, 7, 4};
    sentences_alone(step, in);
    in[0] = draw(FIRST, WORDS, (uint64_t)(2 * step), TN_SHAPE(X_ROWS));
    in[1] = tn_from_i64(spans, TN_SHAPE(SENTENCES, 2));
}

static tn_tensor *sentence_loss(tn_module *net, tn_tensor **in, tn_state *carried, int64_t plan)
{
    (void)carried, (void)plan;
    return tn_mul_scalar(tn_transformer_loss(net, in[0], in[1], in[2], in[3], .1, NULL), 1. / Y_ROWS);
}

/* ---- LSTM language models: a state that goes on; an adaptive softmax, or one matrix for words in and out ---- */

enum { TEXT_STEPS = 5, TEXTS = 3, MANY = 60, LEXICON = 130 };

static tn_module *make_lstm(void)
{
    return tn_lstm_lm(WORDS, .dim = 8, .hidden = 16, .dropout = .2, .cutoffs = {8, 16});
}

static tn_module *make_small_lstm(void)
{
    return tn_lstm_lm(WORDS, .dim = 8, .hidden = 8, .dropout = .2, .tied = true);
}

static tn_state zero_state(tn_module *net) { return tn_lm_state(net, TEXTS); }

static void text(int step, tn_tensor **in)
{
    in[0] = draw(0, WORDS, (uint64_t)(2 * step), TN_SHAPE(TEXT_STEPS, TEXTS));
    in[1] = draw(0, WORDS, (uint64_t)(2 * step + 1), TN_SHAPE(TEXT_STEPS, TEXTS));
}

static tn_tensor *text_loss(tn_module *net, tn_tensor **in, tn_state *carried, int64_t plan)
{
    return tn_lm_loss(net, in[0], in[1], carried, .plan = plan);
}

static int64_t text_plan(tn_module *net, tn_tensor **in) { return tn_lm_plan(net, in[1]); }

static tn_module *make_large_lstm(void)
{
    return tn_lstm_lm(LEXICON, .dim = 8, .hidden = 16, .dropout = .2, .cutoffs = {20, 90});
}

static tn_state many_states(tn_module *net) { return tn_lm_state(net, MANY); }

/* So many that places of both clusters are left over; every other time the last cluster is empty. */
static void many_texts(int step, tn_tensor **in)
{
    const int64_t words = step % 2 ? 90 : LEXICON;
    in[0] = draw(0, LEXICON, (uint64_t)step, TN_SHAPE(TEXT_STEPS, MANY));
    in[1] = tn_empty(TN_I64, TN_SHAPE(TEXT_STEPS, MANY));
    for (int64_t i = 0; i < TEXT_STEPS * MANY; i++)
        tn_i64(in[1])[i] = (i + 31 * step) % (TEXT_STEPS * MANY) * 7919 % words;
}

static const training trainings[] = {
    {"a ResNet", make_resnet, momentum, INFINITY, images, image_loss, NULL, NULL, 1, 101},
    {"a Transformer", make_transformer, adam, INFINITY, sentences, sentence_loss, NULL, NULL, 1, 148},
    {"a decoder alone, pre-norm", make_decoder, adam, .5, sentences_alone, sentence_loss, NULL, NULL, 1, 127},
    {"an LSTM language model", make_small_lstm, adam, .25, text, text_loss, zero_state, text_plan, 1, 130},
    {"an LSTM with an adaptive softmax", make_lstm, adam, .25, text, text_loss, zero_state, text_plan, 1, 174},
    {"an LSTM with many words", make_large_lstm, adam, .25, many_texts, text_loss, many_states, text_plan, 2, 184},
};
enum { TRAININGS = sizeof trainings / sizeof *trainings };

/* ---- running and comparing them ---- */

typedef struct outcome {
    double loss[STEPS + 1], norm[STEPS]; /* the last loss: in eval mode, behind the last update */
    int64_t n;
    float weight[MOST]; /* and buffers */
} outcome;
static outcome cpu, cuda, half, again;

static bool read_param(void *to, const char *path, tn_param *p)
{
    outcome *o = to;
    if (o->n + tn_numel(&p->t) > MOST)
        fail_msg("%s is beyond %d elements: raise MOST", path, MOST);
    assert_true(tn_read_f32(&p->t, o->weight + o->n));
    o->n += tn_numel(&p->t);
    return true;
}

/* What is found stays where it is until all steps are done: figures [STEPS, 2] of losses and norms. */
static void step(const training *t, tn_module *net, tn_optim *opt, tn_tensor **in, tn_state *carried, int64_t plan,
                 tn_tensor *now)
{
    tn_tensor *loss = t->loss(net, in, carried, plan);
    tn_backward(loss);
    TN_NO_GRAD {
        tn_tensor *norm = tn_cast(tn_clip_norm_lazy(opt, t->clip), TN_F32);
        tn_copy_(tn_slice(now, 0, 0, 1, 1), tn_reshape(loss, TN_SHAPE(1)));
        tn_copy_(tn_slice(now, 0, 1, 2, 1), tn_reshape(norm, TN_SHAPE(1)));
    }
    tn_step(opt);
}

static void move(tn_tensor **in, tn_device d)
{
    for (int i = 0; i < INPUTS; i++)
        in[i] = tn_on(in[i], d);
}

static void steps(const training *t, tn_module *net, tn_optim *opt, tn_device d, tn_recorder *often, tn_state *carried,
                  outcome *o)
{
    double figures[STEPS][2];
    tn_tensor *now = tn_on(tn_zeros(TN_SHAPE(2)), d), *all = tn_on(tn_zeros(TN_SHAPE(STEPS, 2)), d);
    const long waits = emu_counts.waits;
    for (int i = 0; i < STEPS && tn_ok(); i++) TN_SCOPE {
        tn_tensor *in[INPUTS] = {NULL};
        t->batch(i, in);
        const int64_t plan = t->plan ? t->plan(net, in) : 0;
        tn_set_lr(opt, .01 / (i + 1));
        if (often)
            TN_RECORD(often, plan, INPUTS, in) {
                step(t, net, opt, in, carried, plan, now);
            }
        else {
            move(in, d);
            step(t, net, opt, in, carried, plan, now);
        }
        tn_copy_(tn_slice(all, 0, i, i + 1, 1), tn_reshape(now, TN_SHAPE(1, 2)));
    }
    if (emu_counts.waits > waits)
        fail_msg("%s: the host has waited %ld times", t->name, emu_counts.waits - waits);
    assert_true(!tn_ok() || tn_read_f64(all, figures[0]));
    for (int i = 0; i < STEPS; i++) {
        o->loss[i] = figures[i][0];
        o->norm[i] = figures[i][1];
    }
}

static void train(const training *t, tn_device d, bool record, outcome *o)
{
    int64_t recordings, replays;
    memset(o, 0, sizeof *o);
    tn_seed(1);
    tn_module *net = t->make();
    assert_true(tn_to(net, d));
    tn_optim *opt = t->optim(net);
    tn_recorder *often = record ? tn_recorder_new(d) : NULL;
    TN_SCOPE {
        tn_tensor *in[INPUTS] = {NULL};
        tn_state carried = t->carry ? t->carry(net) : (tn_state){NULL, NULL};
        steps(t, net, opt, d, often, &carried, o);
        tn_eval(net);
        TN_NO_GRAD {
            t->batch(STEPS, in);
            const int64_t plan = t->plan ? t->plan(net, in) : 0;
            move(in, d);
            tn_tensor *loss = t->loss(net, in, &carried, plan);
            assert_true(!loss || tn_device_of(loss).backend == d.backend);
            o->loss[STEPS] = loss ? tn_item(loss) : NAN;
        }
    }
    if (!tn_ok() || !tn_each_param(net, read_param, o))
        fail_msg("%s on %s: %s", t->name, tn_device_name(d), tn_error()->text);
    tn_recorder_counts(often, &recordings, &replays);
    assert_int_equal(recordings, often ? t->plans : 0);
    assert_int_equal(replays, often ? STEPS - t->plans : 0);
    tn_free(often, opt, net);
}

static double furthest;

static void compare(const char *name, const char *what, int64_t n, const double *a, const double *b)
{
    for (int64_t i = 0; i < n; i++) {
        const double off = fabs(a[i] - b[i]) / fabs(a[i]);
        if (!(off <= tolerance))
            fail_msg("%s, step %lld: %s %.9g, on the CPU %.9g", name, (long long)i, what, b[i], a[i]);
        furthest = fmax(furthest, off);
    }
}

static double between(const char *name, const outcome *a, const outcome *b)
{
    double most = 0;
    assert_int_equal(a->n, b->n);
    for (int64_t i = 0; i < a->n; i++) {
        const double off = fabs((double)a->weight[i] - (double)b->weight[i]);
        if (!(off <= tolerance))
            fail_msg("%s, weight %lld: %.9g, on the CPU %.9g", name, (long long)i, (double)b->weight[i],
                     (double)a->weight[i]);
        most = fmax(most, off);
    }
    return most;
}

/* Products but attention's are still made in f32; what they are given in bf16 is looked at. */
static void in_bf16(const training *t)
{
    gpu->precision(0, TN_PRECISION_BF16);
    halves = (struct halves){0};
    train(t, (tn_device){gpu, 0}, false, &half);
    train(t, (tn_device){gpu, 0}, true, &again);
    gpu->precision(0, TN_PRECISION_F32);
    assert_true(halves.right > 0);
    assert_int_equal(halves.wrong, 0);
    if (memcmp(&again, &half, sizeof half))
        fail_msg("%s in bf16: other bits when steps are recorded and replayed", t->name);
    for (int i = 0; i <= STEPS; i++)
        if (!(fabs(half.loss[i] - cuda.loss[i]) <= 0.01 * fabs(cuda.loss[i])))
            fail_msg("%s in bf16, step %d: loss %.9g, in f32 %.9g", t->name, i, half.loss[i], cuda.loss[i]);
}

static void trainings_as_on_the_cpu_with_the_same_bits_in_both_orders(void **state)
{
    const tn_device device = {gpu, 0};
    (void)state;
    for (const training *t = trainings; t < trainings + TRAININGS; t++) {
        emu_reverse(0);
        train(t, tn_cpu(), false, &cpu);
        train(t, device, false, &cuda);
        furthest = 0;
        compare(t->name, "loss", STEPS + 1, cpu.loss, cuda.loss);
        compare(t->name, "norm of gradients", STEPS, cpu.norm, cuda.norm);
        const double weights = between(t->name, &cpu, &cuda);
        print_message("%s: losses and norms differ by %.1e from the CPU's, %lld weights by %.1e\n", t->name, furthest,
                      (long long)cpu.n, weights);
        emu_reverse(1);
        train(t, device, false, &again);
        if (memcmp(&again, &cuda, sizeof cuda))
            fail_msg("%s: other bits the second time, when threads run in reverse", t->name);
        train(t, device, true, &again);
        if (memcmp(&again, &cuda, sizeof cuda))
            fail_msg("%s: other bits when steps are recorded and replayed", t->name);
        if (emu_counts.nodes > t->launches)
            fail_msg("%s: %ld launches a step, at most %ld were enough", t->name, emu_counts.nodes, t->launches);
        in_bf16(t);
    }
    emu_reverse(0);
}

/* ---- an adaptive softmax by itself ---- */

enum { ROWS = 70, COLUMNS = 8, SORTS = 100 };

static tn_module *make_softmax(void)
{
    tn_module *m = tn_adaptive_softmax(COLUMNS, SORTS, {10, 40}, .div = 2, .head_bias = true);
    assert_true(tn_to(m, (tn_device){gpu, 0}));
    return m;
}

static tn_tensor *counted(int64_t first, int64_t end)
{
    tn_tensor *t = tn_empty(TN_I32, TN_SHAPE(ROWS));
    for (int64_t i = 0; i < ROWS; i++)
        tn_i32(t)[i] = (int32_t)(first + i * 37 % (end - first));
    return t;
}

static bool read_gradient(void *to, const char *path, tn_param *p)
{
    outcome *o = to;
    (void)path;
    const int64_t n = tn_numel(&p->t);
    assert_true(o->n + n <= MOST && (!p->t.grad || (tn_read_f32(p->t.grad, o->weight + o->n) && tn_fill_(p->t.grad, 0))));
    o->n += n;
    return true;
}

static void judge(tn_module *m, tn_tensor *target, int64_t plan, outcome *o)
{
    memset(o, 0, sizeof *o);
    tn_seed(5);
    tn_tensor *x = tn_want_grad(on_gpu(tn_randn(0, 1, TN_SHAPE(ROWS, COLUMNS))));
    tn_tensor *loss = tn_adaptive_loss(m, x, target, .plan = plan);
    assert_true(tn_backward(loss) && tn_read_f64(loss, o->loss) && tn_read_f32(x->grad, o->weight));
    o->n = tn_numel(x);
    tn_each_param(m, read_gradient, o);
}

/* Places that are left over count nothing: loss and gradients are those of the rows alone. */
static void a_plan_changes_nothing(void **state)
{
    static const int64_t range[][2] = {{0, SORTS}, {3, 30}, {0, 10}, {40, SORTS}, {10, 40}};
    tn_module *m = make_softmax();
    (void)state;
    for (size_t i = 0; i < sizeof range / sizeof *range; i++) TN_SCOPE {
        tn_tensor *target = counted(range[i][0], range[i][1]), *there = on_gpu(target);
        const int64_t plan = tn_adaptive_plan(m, target);
        judge(m, there, 0, &cpu);
        const long waits = emu_counts.waits;
        assert_non_null(tn_adaptive_loss(m, on_gpu(tn_ones(TN_SHAPE(ROWS, COLUMNS))), there, .plan = plan));
        assert_int_equal(emu_counts.waits, waits);
        judge(m, there, plan, &cuda);
        compare("a plan", "loss", 1, cpu.loss, cuda.loss);
        between("a plan", &cpu, &cuda);
    }
    assert_ok();
    tn_free(m);
}

/* What the host cannot know is told when it waits. */
static void plans_that_do_not_fit(void **state)
{
    tn_module *m = make_softmax();
    (void)state;
    TN_SCOPE {
        tn_tensor *x = on_gpu(tn_ones(TN_SHAPE(ROWS, COLUMNS))), *few = counted(0, 12), *many = counted(0, SORTS);
        const int64_t plan = tn_adaptive_plan(m, few);
        tn_tensor *loss = tn_adaptive_loss(m, x, on_gpu(many), .plan = plan);
        assert_non_null(loss);
        assert_true(isnan(tn_item(loss)));
        expect_error(TN_EARG, "clusters: cluster 0 has 21 rows, the plan has 16; it is one of other targets");
        tn_i32(few)[3] = SORTS;
        loss = tn_adaptive_loss(m, x, on_gpu(few), .plan = plan);
        assert_non_null(loss);
        assert_true(isnan(tn_item(loss)));
        expect_error(TN_EARG, "clusters: target 100 at position 3 is not a class in 0..99");
        assert_null(tn_adaptive_loss(m, x, on_gpu(many), .plan = 17 * 17 + 1));
        expect_error(TN_EARG, "adaptive_loss: 290 is no plan of this layer; tn_adaptive_plan() makes them");
        assert_null(tn_adaptive_loss(m, x, on_gpu(many), .plan = -4));
        expect_error(TN_EARG, "adaptive_loss: -4 is no plan");
    }
    assert_ok();
    tn_free(m);
}

/* ---- translating ---- */

static tn_hypotheses *search(tn_module *net)
{
    static const int64_t spans[] = {0, 5, 5, 2};
    tn_tensor *x = draw(FIRST, WORDS, 0, TN_SHAPE(7));
    return tn_beam(net, x, tn_from_i64(spans, TN_SHAPE(2, 2)), .beam = 2, .best = 2, .max_b = 4, .align = true);
}

static void expect_same(const tn_hypothesis *a, const tn_hypothesis *b)
{
    assert_true(a && b && a->n == b->n);
    for (int64_t i = 0; i < a->n; i++) {
        assert_int_equal(a->ids[i], b->ids[i]);
        assert_int_equal(a->align[i], b->align[i]);
        assert_true(fabs((double)a->scores[i] - (double)b->scores[i]) <= tolerance);
    }
}

static void a_beam_search_as_on_the_cpu(void **state)
{
    (void)state;
    tn_seed(2);
    tn_module *net = make_transformer();
    tn_eval(net);
    TN_SCOPE {
        tn_hypotheses *found[2];
        found[0] = search(net);
        assert_true(tn_to(net, (tn_device){gpu, 0}));
        found[1] = search(net);
        assert_ok();
        for (int64_t sentence = 0; sentence < 2; sentence++)
            for (int k = 0; k < 2; k++)
                expect_same(tn_hypothesis_at(found[0], sentence, k), tn_hypothesis_at(found[1], sentence, k));
        tn_free(found[0], found[1]);
    }
    tn_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trainings_as_on_the_cpu_with_the_same_bits_in_both_orders),
        cmocka_unit_test(a_plan_changes_nothing),
        cmocka_unit_test(plans_that_do_not_fit),
        cmocka_unit_test(a_beam_search_as_on_the_cpu),
    };
    return cmocka_run_group_tests(tests, open_gpu, NULL);
}
