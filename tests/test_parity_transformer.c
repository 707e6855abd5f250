/* Transformers against PyTorch: from the same weights and sentences, the same logits, losses and gradients,
 * the same twenty steps, and checkpoints that PyTorch takes.  tests/parity/transformer.py wrote the references;
 * PyTorch pads and masks there, here nothing is padded. */
#include "parity.h"

#include <stdlib.h>
#include <sys/wait.h>

enum { SENTENCES = 6, SETS = 4, LONGEST = 9, FIRST = 4, PROBES = 4 };
static const double SMOOTHING = .1;

/* ---- weights and sentences: "formula" of transformer.json ---- */

static bool fill_one(void *arg, const char *path, tn_param *p)
{
    uint64_t h = 0xCBF29CE484222325u;
    const bool one = strstr(path, "norm") && strstr(path, ".weight");
    const double scale = p->t.ndim == 2 ? sqrt(6 / (double)(p->t.shape[0] + p->t.shape[1])) : .2;
    float *x = tn_f32(&p->t);
    (void)arg;
    for (const char *c = path; *c; c++)
        h = (h ^ (uint8_t)*c) * 0x100000001B3u;
    for (int64_t e = 0; e < tn_numel(&p->t); e++) {
        const double u = (double)(splitmix64(h + (uint64_t)e) >> 11) * 0x1p-53;
        x[e] = (float)(scale * (2 * u - 1) + (one ? 1 : 0));
    }
    return true;
}

typedef struct sentences {
    tn_tensor *ids, *spans;
} sentences;

/* Of one side of batch b: 0 the source, 1 the target. */
static sentences side_of(uint64_t side, int b, int64_t words)
{
    int64_t ids[SENTENCES * LONGEST], spans[SENTENCES][2], rows = 0;
    for (int k = 0; k < SENTENCES; k++) {
        const uint64_t n = (uint64_t)(SENTENCES * (b % SETS) + k);
        spans[k][0] = rows;
        spans[k][1] = 3 + (int64_t)(splitmix64(((3 + side) << 32) + n) % 7);
        for (int64_t i = 0; i < spans[k][1]; i++)
            ids[rows++] = i + 1 == spans[k][1] ? TN_EOS : FIRST + (int64_t)(splitmix64(((5 + side) << 32) + 16 * n +
                                                                        (uint64_t)i) % (uint64_t)(words - FIRST));
    }
    return (sentences){tn_from_i64(ids, TN_SHAPE(rows)), tn_from_i64(&spans[0][0], TN_SHAPE(SENTENCES, 2))};
}

static int64_t integer(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static tn_module *network(const char *name)
{
    const json_t *config = json_object_get(json_object_get(json_object_get(json, "nets"), name), "config");
    const char *share = json_string_value(json_object_get(config, "share"));
    const tn_transformer_args a = {
        .source = integer(config, "source"), .target = integer(config, "target"), .dim = integer(json, "dim"),
        .ffn = integer(json, "ffn"), .heads = (int)integer(json, "heads"),
        .encoder_layers = (int)integer(json, "layers"), .decoder_layers = (int)integer(json, "layers"),
        .pre_norm = json_is_true(json_object_get(config, "pre_norm")),
        .gelu = json_is_true(json_object_get(config, "gelu")),
        .share = !share ? TN_SHARE_NONE : strcmp(share, "all") ? TN_SHARE_DECODER : TN_SHARE_ALL};
    tn_module *net = a.source ? tn_transformer_call(a) : tn_transformer_lm_call(a);
    assert_true(tn_each_param(net, fill_one, NULL));
    return net;
}

/* The sum; *rows of the target. */
static tn_tensor *sum_of(tn_module *net, int b, int64_t *rows, tn_tensor **nll)
{
    const tn_transformer_args *a = tn_transformer_settings(net);
    const sentences y = side_of(1, b, a->target), x = a->source ? side_of(0, b, a->source) : (sentences){NULL, NULL};
    *rows = tn_numel(y.ids);
    return tn_transformer_loss(net, x.ids, x.spans, y.ids, y.spans, SMOOTHING, nll);
}

static tn_tensor *loss_of(tn_module *net, int b)
{
    int64_t rows;
    tn_tensor *sum = sum_of(net, b, &rows, NULL);
    return tn_mul_scalar(sum, 1 / (double)rows);
}

/* ---- one pass ---- */

/* How far t is from its norm and probes, which estimate the distance of all elements: relative. */
static double gap_of(const tn_tensor *t, const json_t *want)
{
    const int64_t n = tn_numel(t);
    double *x = malloc((size_t)n * sizeof *x), have[1 + PROBES] = {0}, gap = 0;
    assert_true(x && tn_read_f64(t, x) && json_array_size(want) == 1 + PROBES);
    for (int64_t e = 0; e < n; e++) {
        const uint64_t bits = splitmix64((uint64_t)e);
        have[0] += x[e] * x[e];
        for (int k = 0; k < PROBES; k++)
            have[1 + k] += bits >> k & 1 ? -x[e] : x[e];
    }
    free(x);
    have[0] = sqrt(have[0]);
    for (int k = 0; k <= PROBES; k++) {
        const double off = have[k] - json_number_value(json_array_get(want, (size_t)k));
        gap += off * off / PROBES;
    }
    return sqrt(gap) / json_number_value(json_array_get(want, 0));
}

typedef struct comparison {
    const json_t *want;
    double worst;
    size_t n;
} comparison;

static bool compare_one(void *arg, const char *path, tn_param *p)
{
    comparison *c = arg;
    const json_t *want = json_object_get(c->want, path);
    if (!want || !p->t.grad)
        fail_msg("%s: %s", path, want ? "no gradient" : "PyTorch has no such parameter");
    c->worst = fmax(c->worst, gap_of(p->t.grad, want));
    c->n++;
    return true;
}

static void one_pass(const char *name)
{
    const json_t *want = json_object_get(json_object_get(json, "nets"), name);
    const json_t *spread = json_object_get(want, "float32_rel_diff");
    const double logits = number(spread, "logits");
    tn_module *net = network(name);
    comparison c = {.want = json_object_get(want, "tensors")};
    print_message(" %s\n", name);
    assert_int_equal(tn_param_count(net), integer(want, "parameters"));
    TN_SCOPE {
        int64_t rows;
        const tn_transformer_args *a = tn_transformer_settings(net);
        tn_tensor *nll, *loss = sum_of(net, 0, &rows, &nll), *all;
        assert_within("loss", fabs(tn_item(loss) / number(want, "loss") - 1), logits, SLACK_ONE);
        assert_within("plain loss", fabs(tn_item(nll) / number(want, "nll") - 1), logits, SLACK_ONE);
        assert_true(tn_backward(loss));
        tn_each_param(net, compare_one, &c);
        assert_int_equal(c.n + 1, json_object_size(c.want));
        assert_within("gradients", c.worst, number(spread, "gradients"), SLACK_FIVE);
        const sentences y = side_of(1, 0, a->target);
        tn_tensor *prev = tn_shift(y.ids, y.spans, TN_EOS);
        if (a->source) {
            const sentences x = side_of(0, 0, a->source);
            all = tn_forward(net, x.ids, x.spans, prev, y.spans);
        } else {
            all = tn_forward(net, prev, y.spans);
        }
        assert_within("logits", gap_of(all, json_object_get(c.want, "logits")), logits, SLACK_ONE);
    }
    assert_ok();
    tn_free(net);
}

static void test_post_norm(void **state) { (void)state, one_pass("post"); }
static void test_pre_norm_with_gelu_and_a_shared_table(void **state) { (void)state, one_pass("pre"); }
static void test_one_table_for_all(void **state) { (void)state, one_pass("shared"); }
static void test_language_model(void **state) { (void)state, one_pass("lm"); }

/* ---- twenty steps ---- */

static void learn(const char *name, tn_module *net, tn_optim *opt)
{
    twenty_steps(name, net, opt, loss_of);
    tn_free(opt, net);
}

static void test_sgd(void **state)
{
    (void)state;
    tn_module *net = network("post");
    learn("sgd", net, tn_sgd(net, .lr = .1, .momentum = .9, .decay = 1e-4));
}

static void test_adam(void **state)
{
    (void)state;
    tn_module *net = network("post");
    learn("adam", net, tn_adam(net, .lr = 1e-3, .decay = 1e-4, .eps_inside = true));
}

static void test_adamw(void **state)
{
    (void)state;
    tn_module *net = network("post");
    learn("adamw", net, tn_adamw(net, .lr = 1e-3, .decay = 1e-2, .eps_inside = true));
}

static void test_radam(void **state)
{
    (void)state;
    tn_module *net = network("post");
    learn("radam", net, tn_radam(net, .lr = 1e-2, .threshold = TN_RHO_OVER_5));
    net = network("post");
    learn("radam_small", net, tn_radam(net, .lr = 1e-3, .threshold = TN_RHO_OVER_5));
}

/* ---- weights back to PyTorch ---- */

static void test_pytorch_takes_our_checkpoints(void **state)
{
    const char *file = TN_BINARY_DIR "/parity-transformer.safetensors";
    (void)state;
    for (const char *const *name = (const char *const[]){"post", "pre", "shared", "lm", NULL}; *name; name++) {
        char command[1024];
        double loss = 0;
        tn_module *net = network(*name);
        tn_optim *opt = tn_sgd(net, .lr = .01);
        TN_SCOPE {
            int64_t rows;
            assert_true(tn_backward(loss_of(net, 0)) && tn_step(opt));
            loss = tn_item(sum_of(net, 0, &rows, NULL));
            assert_true(tn_save(net, file));
        }
        tn_free(opt, net);
        snprintf(command, sizeof command, "cd '%s' && /usr/bin/python3 check_transformer.py %s '%s' %.9g", PARITY,
                 *name, file, loss);
        const int status = system(command);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
            skip();
        assert_int_equal(status, 0);
    }
}

static int load(void **state) { return load_json(state, "transformer.json"); }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_post_norm),
        cmocka_unit_test(test_pre_norm_with_gelu_and_a_shared_table),
        cmocka_unit_test(test_one_table_for_all),
        cmocka_unit_test(test_language_model),
        cmocka_unit_test(test_sgd),
        cmocka_unit_test(test_adam),
        cmocka_unit_test(test_adamw),
        cmocka_unit_test(test_radam),
        cmocka_unit_test(test_pytorch_takes_our_checkpoints),
    };
    return cmocka_run_group_tests(tests, load, drop_json);
}
