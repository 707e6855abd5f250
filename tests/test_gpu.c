/* On a machine with a GPU: every sample of every op on it against the CPU's plain kernels, in each precision; the
 * same bits twice; whole trainings against the CPU's; what happens without memory.  Elsewhere it is skipped;
 * tools/gpu-check.sh runs it there. */
#include "samples.h"

#include <stdlib.h>

static tn_device gpu;

static tn_tensor *on_gpu(const tn_tensor *t) { return tn_on((tn_tensor *)(uintptr_t)t, gpu); }

/* ---- faults: all of them, as time on a GPU is dear ---- */

enum { TOLD = 40 };
static int faults;

static void count_fault(const char *text)
{
    if (faults++ < TOLD)
        print_error("%s\n", text);
}

static int begin_faults(void **state)
{
    (void)state;
    faults = 0;
    tell_fault = count_fault;
    return 0;
}

static void no_faults(void)
{
    if (faults)
        fail_msg("%d faults, of which %d are told", faults, faults < TOLD ? faults : TOLD);
}

/* ---- ops ---- */

static const struct mode {
    const char *name;
    tn_precision precision;
    double tolerance; /* of products' operands: relative to the largest of the results */
} modes[] = {
    {"in f32", TN_PRECISION_F32, 2e-5},
    {"in tf32", TN_PRECISION_TF32, 4e-3},
    {"in bf16", TN_PRECISION_BF16, 3e-2},
};

static bool run_on_gpu(const char *op, const tn__sample *s, bool strided)
{
    elsewhere = on_gpu;
    const bool done = run(op, s, TN_F32, strided, &other);
    elsewhere = NULL;
    if (!done && !strstr(tn_error()->text, ": no kernel for f32 on cuda"))
        fault("%s: %s", label(op, s, ""), tn_error()->text);
    tn_error_clear();
    return done;
}

/* Rounded operands may put a value on the other side of a ReLU's corner, and then a part of the gradient is there or
 * not; f32 is held to what rounding does without. */
static bool has_a_corner(const char *op, const tn__sample *s, const struct mode *m)
{
    return m->precision != TN_PRECISION_F32 && !strcmp(op, "rnn_scan") && !strcmp(s->what, "ReLU");
}

static void check_samples(const struct mode *m, bool strided)
{
    int done = 0, left_out = 0;
    assert_true(tn_set_precision(gpu, m->precision));
    FOR_GOOD(op, s) {
        const double own = has_a_corner(op, s, m) ? .25 : s->tol > 0 ? s->tol : 2e-5;
        run(op, s, TN_F32, false, &reference);
        if (!run_on_gpu(op, s, strided)) {
            left_out++;
            continue;
        }
        compare_results(op, s, m->name, &other, &reference, own > m->tolerance ? own : m->tolerance);
        done++;
    }
    print_message("%s: %d samples, %d left out because an op has no CUDA kernel\n", m->name, done, left_out);
    tn_set_precision(gpu, TN_PRECISION_F32);
}

static void samples_as_on_the_cpu(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        check_samples(&modes[i], false);
    no_faults();
}

static void strided_samples(void **state)
{
    (void)state;
    check_samples(&modes[0], true);
    no_faults();
}

static void samples_twice_the_same_bits(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        assert_true(tn_set_precision(gpu, modes[i].precision));
        FOR_GOOD(op, s) {
            if (!run_on_gpu(op, s, false))
                continue;
            reference = other;
            run_on_gpu(op, s, false);
            expect_same_bits(op, s, "gives other bits the second time");
        }
    }
    tn_set_precision(gpu, TN_PRECISION_F32);
    no_faults();
}

/* A network that has gone wrong shows it: the channel with the NaN is NaN in every row, as on the CPU. */
static void a_nan_passes_relu(void **state)
{
    enum { N = 16 * 8 * 8, C = 16 };
    static float cpu[N * C], cuda[N * C];
    (void)state;
    TN_SCOPE {
        tn_tensor *x = tn_randn(0, 1, TN_SHAPE(16, 8, 8, C)), *gain = tn_ones(TN_SHAPE(C));
        tn_tensor *bias = tn_zeros(TN_SHAPE(C));
        tn_f32(x)[7 * C + 3] = NAN;
        tn_tensor *there = tn_batch_norm(on_gpu(x), on_gpu(gain), on_gpu(bias), .train = true, .relu = true);
        assert_true(tn_read_f32(tn_batch_norm(x, gain, bias, .train = true, .relu = true), cpu));
        assert_true(tn_read_f32(there, cuda));
        for (int i = 0; i < N * C; i++)
            if (!isnan(cuda[i]) != !isnan(cpu[i]) || !isnan(cpu[i]) != (i % C != 3))
                fail_msg("row %d, channel %d: %g, on the CPU %g", i / C, i % C, cuda[i], cpu[i]);
    }
}

/* Whatever rows are beside it. */
static void a_row_of_affine_has_its_own_bits(void **state)
{
    enum { ROWS = 600, IN = 512, OUT = 200 };
    static const int64_t rows[] = {1, 3, 17, ROWS};
    static float alone[OUT], beside[ROWS * OUT];
    (void)state;
    TN_SCOPE {
        tn_tensor *x = on_gpu(tn_randn(0, 1, TN_SHAPE(ROWS, IN))), *w = on_gpu(tn_randn(0, 1, TN_SHAPE(OUT, IN)));
        tn_tensor *bias = on_gpu(tn_randn(0, 1, TN_SHAPE(OUT)));
        for (int i = 0; i < 4; i++) {
            assert_true(tn_read_f32(tn_affine(tn_slice(x, 0, 0, rows[i], 1), w, bias), i ? beside : alone));
            for (int k = 0; i && k < OUT; k++)
                if (memcmp(&beside[k], &alone[k], sizeof *alone))
                    fail_msg("column %d of the first of %d rows is %.9g, alone %.9g", k, (int)rows[i], beside[k],
                             alone[k]);
        }
    }
}

/* ---- trainings ---- */

enum { STEPS = 12, WORDS = 40, INPUTS = 3 };

typedef struct training {
    const char *name;
    tn_module *(*make)(void);
    void (*batch)(tn_tensor **in); /* on the CPU, INPUTS of them; the same in each step */
    tn_tensor *(*loss)(tn_module *net, tn_tensor **in, int64_t plan);
    int64_t (*plan)(tn_module *net, tn_tensor **in); /* NULL: it needs none */
} training;

static tn_tensor *words(uint64_t stream, int ndim, const int64_t *shape)
{
    tn_tensor *t = tn_empty(TN_I64, ndim, shape);
    for (int64_t i = 0; i < tn_numel(t); i++)
        tn_i64(t)[i] = 4 + tn__philox_at(7, stream, (uint64_t)i) % (WORDS - 4);
    return t;
}

static void images(tn_tensor **in)
{
    in[0] = tn_randn(0, 1, TN_SHAPE(16, 16, 16, 3));
    in[1] = tn_empty(TN_I64, TN_SHAPE(16));
    for (int64_t i = 0; i < 16; i++)
        tn_i64(in[1])[i] = i * 7 % 10;
}

static tn_tensor *image_loss(tn_module *net, tn_tensor **in, int64_t plan)
{
    (void)plan;
    return tn_cross_entropy(tn_forward(net, in[0]), in[1]);
}

static void sentences(tn_tensor **in)
{
    static const int64_t spans[] = {0, 7, 7, 4, 11, 9};
    in[0] = words(1, TN_SHAPE(20));
    in[1] = words(2, TN_SHAPE(20));
    in[2] = tn_from_i64(spans, TN_SHAPE(3, 2));
}

static tn_tensor *sentence_loss(tn_module *net, tn_tensor **in, int64_t plan)
{
    (void)plan;
    return tn_mul_scalar(tn_transformer_loss(net, in[0], in[2], in[1], in[2], 0.1, NULL), 1.0 / 20);
}

static void text(tn_tensor **in)
{
    in[0] = words(1, TN_SHAPE(9, 4));
    in[1] = words(2, TN_SHAPE(9, 4));
}

static tn_tensor *text_loss(tn_module *net, tn_tensor **in, int64_t plan)
{
    return tn_lm_loss(net, in[0], in[1], NULL, .plan = plan);
}

static int64_t text_plan(tn_module *net, tn_tensor **in) { return tn_lm_plan(net, in[1]); }

static tn_module *make_resnet(void) { return tn_resnet20(10); }
static tn_module *make_transformer(void)
{
    return tn_transformer(WORDS, WORDS, .dim = 32, .ffn = 64, .heads = 4, .encoder_layers = 2, .decoder_layers = 2,
                          .dropout = 0.1, .attention_dropout = 0.1);
}
static tn_module *make_lstm(void) { return tn_lstm_lm(WORDS, .dim = 24, .hidden = 40, .dropout = 0.1); }
static tn_module *make_adaptive(void)
{
    return tn_lstm_lm(WORDS, .dim = 24, .hidden = 40, .dropout = 0.1, .cutoffs = {WORDS / 4, WORDS / 2});
}

static const training trainings[] = {
    {"ResNet-20", make_resnet, images, image_loss, NULL},
    {"a Transformer", make_transformer, sentences, sentence_loss, NULL},
    {"an LSTM language model", make_lstm, text, text_loss, NULL},
    {"an LSTM with an adaptive softmax", make_adaptive, text, text_loss, text_plan},
};

static void update(const training *t, tn_module *net, tn_optim *opt, tn_tensor **in, int64_t plan, tn_tensor *to)
{
    tn_tensor *loss = t->loss(net, in, plan);
    tn_backward(loss);
    tn_step(opt);
    tn_copy_(to, loss);
}

/* STEPS updates from one start, on whatever device, recorded or not. */
static void train(const training *t, tn_device d, bool record, double *losses)
{
    tn_seed(1);
    tn_module *net = t->make();
    tn_to(net, d);
    tn_optim *opt = tn_radam(net, .lr = 0.003);
    tn_recorder *often = tn_recorder_new(record ? d : tn_cpu());
    TN_SCOPE {
        tn_tensor *batch[INPUTS] = {NULL}, *loss = tn_on(tn_zeros(TN_SCALAR), d);
        t->batch(batch);
        const int64_t plan = t->plan ? t->plan(net, batch) : 0;
        for (int i = 0; i < INPUTS; i++)
            batch[i] = tn_on(batch[i], d);
        for (int i = 0; i < STEPS && tn_ok(); i++) TN_SCOPE {
            tn_tensor *in[INPUTS];
            memcpy(in, batch, sizeof in);
            if (record)
                TN_RECORD(often, plan, INPUTS, in) {
                    update(t, net, opt, in, plan, loss);
                }
            else
                update(t, net, opt, in, plan, loss);
            losses[i] = tn_item(loss);
        }
    }
    if (!tn_ok())
        fault("%s on %s: %s", t->name, tn_device_name(d), tn_error()->text);
    tn_error_clear();
    int64_t recordings, replays;
    tn_recorder_counts(often, &recordings, &replays);
    if (record && (recordings != 1 || replays != STEPS - 1))
        fault("%s: %d steps recorded and %d replays, not 1 and %d; %s", t->name, (int)recordings, (int)replays,
              STEPS - 1, tn_recorder_trouble(often) ? tn_recorder_trouble(often) : "nothing was in the way");
    tn_free(often, opt, net);
}

/* The first loss differs by rounding alone; the later ones by what it grows to, which from a few steps on is no longer
 * a matter of the kernels: ReLUs that flip change the course. */
static double how_near(const struct mode *m, int step)
{
    return fmin(0.4, m->tolerance * (step == 0 ? 1 : step < 4 ? 20 : 200));
}

static void trainings_as_on_the_cpu(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof trainings / sizeof *trainings; k++) {
        double cpu[STEPS], cuda[STEPS];
        train(&trainings[k], tn_cpu(), false, cpu);
        for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
            assert_true(tn_set_precision(gpu, modes[m].precision));
            train(&trainings[k], gpu, false, cuda);
            print_message("%s %s, by how much losses differ:", trainings[k].name, modes[m].name);
            for (int i = 0; i < STEPS; i++)
                print_message(" %.1e", fabs(cuda[i] / cpu[i] - 1));
            print_message("; loss %.4g to %.4g\n", cpu[0], cpu[STEPS - 1]);
            for (int i = 0; i < STEPS; i++)
                if (!(fabs(cuda[i] - cpu[i]) <= how_near(&modes[m], i) * fabs(cpu[i])))
                    fault("%s %s, step %d: loss %.9g, on the CPU %.9g", trainings[k].name, modes[m].name, i, cuda[i],
                          cpu[i]);
        }
        tn_set_precision(gpu, TN_PRECISION_F32);
    }
    no_faults();
}

static void trainings_twice_the_same_bits(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof trainings / sizeof *trainings; k++)
        for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
            double first[STEPS], second[STEPS];
            assert_true(tn_set_precision(gpu, modes[m].precision));
            train(&trainings[k], gpu, false, first);
            train(&trainings[k], gpu, false, second);
            if (memcmp(first, second, sizeof first))
                fault("%s %s: other losses the second time", trainings[k].name, modes[m].name);
            train(&trainings[k], gpu, true, second);
            if (memcmp(first, second, sizeof first))
                fault("%s %s: other losses when steps are recorded and replayed", trainings[k].name, modes[m].name);
        }
    tn_set_precision(gpu, TN_PRECISION_F32);
    no_faults();
}

/* ---- memory ---- */

static void too_much_memory_is_an_error_and_no_more(void **state)
{
    const int64_t shape[] = {(int64_t)1 << 40};
    (void)state;
    TN_SCOPE {
        assert_null(tn__tensor_on(gpu.backend, gpu.index, TN_F32, 1, shape));
        expect_error(TN_ENOMEM, "on cuda");
        float ones[6];
        assert_true(tn_read_f32(tn_exp(on_gpu(tn_zeros(TN_SHAPE(2, 3)))), ones));
        assert_true(ones[0] == 1 && ones[5] == 1);
        assert_ok();
    }
}

static int open_gpu(void **state)
{
    tn__isa_set("plain");
    gpu = tn_cuda(0);
    return quiet_errors(state);
}

/* Of the tests those that match argv[1]. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(samples_as_on_the_cpu, begin_faults),
        cmocka_unit_test_setup(strided_samples, begin_faults),
        cmocka_unit_test_setup(samples_twice_the_same_bits, begin_faults),
        cmocka_unit_test(a_nan_passes_relu),
        cmocka_unit_test(a_row_of_affine_has_its_own_bits),
        cmocka_unit_test_setup(trainings_as_on_the_cpu, begin_faults),
        cmocka_unit_test_setup(trainings_twice_the_same_bits, begin_faults),
        cmocka_unit_test(too_much_memory_is_an_error_and_no_more),
    };
    if (tn_cuda_trouble()) {
        printf("%s: skipped\n", tn_cuda_trouble());
        return 77;
    }
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, open_gpu, NULL);
}
