/* On a machine with a GPU: every sample of every op on it against the CPU's plain kernels, in each precision; the
 * same bits twice; whole trainings against the CPU's; what happens without memory.  Elsewhere it is skipped;
 * tools/gpu-check.sh runs it there. */
#include "samples.h"

#include <stdlib.h>

static tn_device gpu;

static tn_tensor *on_gpu(const tn_tensor *t) { return tn_on((tn_tensor *)(uintptr_t)t, gpu); }

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
        fail_msg("%s: %s", label(op, s, ""), tn_error()->text);
    tn_error_clear();
    return done;
}

static void check_samples(const struct mode *m, bool strided)
{
    int done = 0, left_out = 0;
    assert_true(tn_set_precision(gpu, m->precision));
    FOR_GOOD(op, s) {
        const double own = s->tol > 0 ? s->tol : 2e-5;
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
}

static void strided_samples(void **state)
{
    (void)state;
    check_samples(&modes[0], true);
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
    tn_free(often, opt, net);
    if (!tn_ok())
        fail_msg("%s on %s: %s", t->name, tn_device_name(d), tn_error()->text);
}

/* The first loss differs by rounding alone; the later ones, by what it grows to. */
static void trainings_as_on_the_cpu(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof trainings / sizeof *trainings; k++) {
        double cpu[STEPS], cuda[STEPS];
        train(&trainings[k], tn_cpu(), false, cpu);
        for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
            assert_true(tn_set_precision(gpu, modes[m].precision));
            train(&trainings[k], gpu, false, cuda);
            for (int i = 0; i < STEPS; i++)
                if (!(fabs(cuda[i] - cpu[i]) <= (i ? 20 : 1) * modes[m].tolerance * fabs(cpu[i])))
                    fail_msg("%s %s, step %d: loss %.9g, on the CPU %.9g", trainings[k].name, modes[m].name, i, cuda[i],
                             cpu[i]);
        }
        tn_set_precision(gpu, TN_PRECISION_F32);
    }
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
                fail_msg("%s %s: other losses the second time", trainings[k].name, modes[m].name);
            train(&trainings[k], gpu, true, second);
            if (memcmp(first, second, sizeof first))
                fail_msg("%s %s: other losses when steps are recorded and replayed", trainings[k].name, modes[m].name);
        }
    tn_set_precision(gpu, TN_PRECISION_F32);
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
        cmocka_unit_test(samples_as_on_the_cpu),
        cmocka_unit_test(strided_samples),
        cmocka_unit_test(samples_twice_the_same_bits),
        cmocka_unit_test(trainings_as_on_the_cpu),
        cmocka_unit_test(trainings_twice_the_same_bits),
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
