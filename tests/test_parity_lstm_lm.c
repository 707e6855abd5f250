/* Recurrent language models against PyTorch: from the same weights and text, the same log-probabilities, losses and
 * gradients chunk after chunk, the same twenty steps, and checkpoints that go there and back.  tests/parity/lstm_lm.py
 * wrote the references. */
#include "parity.h"

#include <sys/wait.h>

static tn_module *network(const char *name)
{
    const json_t *config = json_object_get(json_object_get(json_object_get(json, "nets"), name), "config");
    const json_t *cutoffs = json_object_get(config, "cutoffs");
    tn_lstm_lm_args a = {.words = integer(json, "words"), .dim = integer(config, "dim"),
                         .hidden = integer(json, "hidden"), .layers = (int)integer(json, "layers"),
                         .tied = json_is_true(json_object_get(config, "tied"))};
    for (size_t i = 0; i < json_array_size(cutoffs); i++)
        a.cutoffs[i] = json_integer_value(json_array_get(cutoffs, i));
    tn_module *net = tn_lstm_lm_call(a);
    assert_true(tn_each_param(net, fill_by_name, NULL));
    return net;
}

/* Steps b * chunk + ahead .. of the text. */
static tn_tensor *words_at(int b, int64_t ahead)
{
    const int64_t steps = integer(json, "chunk"), rows = integer(json, "batch");
    tn_tensor *x = tn_empty(TN_I32, TN_SHAPE(steps, rows));
    for (int64_t t = 0; t < steps; t++)
        for (int64_t r = 0; r < rows; r++) {
            const uint64_t at = (UINT64_C(9) << 32) + 16 * (uint64_t)(b * steps + t + ahead) + (uint64_t)r;
            tn_i32(x)[t * rows + r] = (int32_t)(splitmix64(at) % (uint64_t)integer(json, "words"));
        }
    return x;
}

static tn_state at; /* of the text that is being read */

static tn_tensor *loss_of(tn_module *net, int b) { return tn_lm_loss(net, words_at(b, 0), words_at(b, 1), &at); }

/* ---- two chunks ---- */

static void two_chunks(const char *name)
{
    const json_t *want = json_object_get(json_object_get(json, "nets"), name);
    const json_t *spread = json_object_get(want, "float32_rel_diff");
    const double log_probs = number(spread, "log_probs");
    tn_module *net = network(name);
    probed c = {.want = json_object_get(want, "tensors")};
    print_message(" %s\n", name);
    assert_int_equal(tn_param_count(net), integer(want, "parameters"));
    TN_SCOPE {
        assert_within("log-probabilities",
                      gap_of(tn_forward(net, words_at(0, 0)), json_object_get(c.want, "log_probs")), log_probs, SLACK_ONE);
        at = tn_lm_state(net, integer(json, "batch"));
        for (int b = 0; b < 2; b++) {
            tn_tensor *loss = loss_of(net, b);
            assert_within("loss", fabs(tn_item(loss) / number_at(want, "losses", b) - 1), log_probs, SLACK_ONE);
            assert_true(tn_backward(loss));
        }
        tn_each_param(net, probe_one, &c);
        assert_int_equal(c.n + 1, json_object_size(c.want));
        assert_within("gradients", c.worst, number(spread, "gradients"), SLACK_FIVE);
    }
    assert_ok();
    tn_free(net);
}

static void test_adaptive_softmax(void **state) { (void)state, two_chunks("adaptive"); }
static void test_one_softmax_over_all(void **state) { (void)state, two_chunks("full"); }
static void test_one_matrix_for_words_in_and_out(void **state) { (void)state, two_chunks("tied"); }

/* ---- twenty steps ---- */

static void learn(const char *name, tn_module *net, tn_optim *opt)
{
    TN_SCOPE {
        at = tn_lm_state(net, integer(json, "batch"));
        twenty_steps(name, net, opt, loss_of);
    }
    tn_free(opt, net);
}

static void test_sgd(void **state)
{
    (void)state;
    tn_module *net = network("adaptive");
    learn("sgd", net, tn_sgd(net, .lr = .5, .momentum = .9));
}

static void test_adam(void **state)
{
    (void)state;
    tn_module *net = network("adaptive");
    learn("adam", net, tn_adam(net, .lr = 1e-2, .eps_inside = true));
}

static void test_radam(void **state)
{
    (void)state;
    tn_module *net = network("adaptive");
    learn("radam", net, tn_radam(net, .lr = 1e-2, .threshold = TN_RHO_OVER_5));
}

/* ---- weights to PyTorch and back ---- */

static void test_pytorch_takes_our_checkpoints_and_we_take_its(void **state)
{
    const char *file = TN_BINARY_DIR "/parity-lstm-lm.safetensors";
    (void)state;
    for (const char *const *name = (const char *const[]){"adaptive", "full", "tied", NULL}; *name; name++) {
        char command[1024];
        double loss = 0;
        tn_module *net = network(*name);
        tn_optim *opt = tn_sgd(net, .lr = .5);
        TN_SCOPE {
            assert_true(tn_backward(tn_lm_loss(net, words_at(0, 0), words_at(0, 1), NULL)) && tn_step(opt));
            loss = tn_item(tn_lm_loss(net, words_at(0, 0), words_at(0, 1), NULL));
            assert_true(tn_save(net, file));
        }
        tn_free(opt, net);
        snprintf(command, sizeof command, "cd '%s' && /usr/bin/python3 check_lstm_lm.py %s '%s' %.9g", PARITY, *name,
                 file, loss);
        const int status = system(command);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
            skip();
        assert_int_equal(status, 0);
        net = network(*name);
        assert_true(tn_load(net, file, .strict = true));
        TN_SCOPE {
            assert_true(tn_item(tn_lm_loss(net, words_at(0, 0), words_at(0, 1), NULL)) == loss);
        }
        tn_free(net);
    }
}

static int load(void **state) { return load_json(state, "lstm_lm.json"); }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_adaptive_softmax),
        cmocka_unit_test(test_one_softmax_over_all),
        cmocka_unit_test(test_one_matrix_for_words_in_and_out),
        cmocka_unit_test(test_sgd),
        cmocka_unit_test(test_adam),
        cmocka_unit_test(test_radam),
        cmocka_unit_test(test_pytorch_takes_our_checkpoints_and_we_take_its),
    };
    return cmocka_run_group_tests_name("parity of language models", tests, load, drop_json);
}
