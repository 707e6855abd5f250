/* Transformers against PyTorch: from the same weights and sentences, the same logits, losses and gradients,
 * the same twenty steps, and checkpoints that PyTorch takes.  tests/parity/transformer.py wrote the references;
 * PyTorch pads and masks there, here nothing is padded. */
#include "parity.h"

#include <sys/wait.h>

enum { SENTENCES = 6, SETS = 4, LONGEST = 9, FIRST = 4 };
static const double SMOOTHING = .1;

/* ---- sentences: "formula" of transformer.json ---- */

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
    assert_true(tn_each_param(net, fill_by_name, NULL));
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

static void one_pass(const char *name)
{
    const json_t *want = json_object_get(json_object_get(json, "nets"), name);
    const json_t *spread = json_object_get(want, "float32_rel_diff");
    const double logits = number(spread, "logits");
    tn_module *net = network(name);
    probed c = {.want = json_object_get(want, "tensors")};
    print_message(" %s\n", name);
    assert_int_equal(tn_param_count(net), integer(want, "parameters"));
    TN_SCOPE {
        int64_t rows;
        const tn_transformer_args *a = tn_transformer_settings(net);
        tn_tensor *nll, *loss = sum_of(net, 0, &rows, &nll), *all;
        assert_within("loss", fabs(tn_item(loss) / number(want, "loss") - 1), logits, SLACK_ONE);
        assert_within("plain loss", fabs(tn_item(nll) / number(want, "nll") - 1), logits, SLACK_ONE);
        assert_true(tn_backward(loss));
        tn_each_param(net, probe_one, &c);
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
