/* The ready-made networks: sizes, names, shapes, both kinds of shortcut, and asking by name. */
#include "check.h"

#include <stdlib.h>

#define FIXTURE TN_SOURCE_DIR "/tests/parity/resnet20-init.safetensors"

static void assert_shape(const tn_tensor *t, const char *shape)
{
    char s[TN_SHAPE_TEXT];
    assert_ok();
    assert_string_equal(tn_shape_text(t, s), shape);
}

/* ---- sizes ---- */

static void test_parameter_counts(void **state)
{
    static const struct {
        int depth;
        bool zero_pad;
        int64_t count;
    } t[] = {
        {20, false, 272474}, {32, false, 466906}, {44, false, 661338}, {56, false, 855770},
        {110, false, 1730714}, {20, true, 269722}, {18, false, 11689512}, {34, false, 21797672},
    };
    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        tn_module *net = tn_resnet(t[i].depth, 0, .zero_pad = t[i].zero_pad);
        assert_int_equal(tn_param_count(net), t[i].count);
        tn_free(net);
    }
    tn_module *mlp = tn_mlp(784, 256, 2, 10);
    assert_int_equal(tn_param_count(mlp), 784 * 256 + 256 + 256 * 256 + 256 + 2560 + 10);
    tn_free(mlp);
    assert_ok();
}

/* ---- names: PyTorch's, in PyTorch's order ---- */

typedef struct names {
    char text[130][48];
    int n;
} names;

static bool add_name(void *arg, const char *path, tn_param *p)
{
    names *list = arg;
    (void)p;
    snprintf(list->text[list->n++], sizeof list->text[0], "%s", path);
    return true;
}

static void test_resnet20_has_the_names_of_pytorch(void **state)
{
    names list = {.n = 0};
    (void)state;
    tn_module *net = tn_resnet20(10);
    tn_safetensors *f = tn_safetensors_open(FIXTURE);
    tn_each_param(net, add_name, &list);
    assert_int_equal(list.n, tn_safetensors_count(f));
    for (int i = 0; i < list.n; i++)
        assert_string_equal(list.text[i], tn_safetensors_name(f, i));
    assert_true(tn_load(net, FIXTURE, .strict = true));
    assert_ok();
    tn_free(f, net);
}

static void test_resnet18_has_the_names_of_torchvision(void **state)
{
    static const char *const some[] = {
        "conv1.weight", "bn1.running_var", "layer1.0.conv1.weight", "layer1.1.bn2.bias",
        "layer2.0.downsample.0.weight", "layer2.0.downsample.1.num_batches_tracked",
        "layer4.1.conv2.weight", "fc.bias"};
    names list = {.n = 0};
    (void)state;
    tn_module *net = tn_resnet18(0);
    tn_each_param(net, add_name, &list);
    assert_int_equal(list.n, 122); /* torchvision's state_dict */
    for (size_t i = 0; i < sizeof some / sizeof *some; i++)
        assert_non_null(tn_find_param(net, some[i]));
    assert_null(tn_find_module(net, "layer1.0.downsample"));
    TN_SCOPE {
        assert_shape(&tn_find_param(net, "conv1.weight")->t, "[64,7,7,3]");
        assert_shape(&tn_find_param(net, "fc.weight")->t, "[1000,512]");
    }
    tn_free(net);
}

/* ---- running ---- */

static void run_both_ways(int depth, bool zero_pad, const int64_t *in, const char *out)
{
    tn_module *net = tn_resnet(depth, 7, .width = 4, .channels = (int)in[3], .zero_pad = zero_pad);
    TN_SCOPE {
        tn_tensor *y = tn_forward(net, tn_randn(0, 1, 4, in));
        assert_shape(y, out);
        assert_true(tn_backward(tn_sum(tn_square(y), TN_ALL, false)));
        tn_eval(net);
        assert_shape(tn_forward(net, tn_randn(0, 1, 4, in)), out);
    }
    assert_ok();
    assert_true((tn_find_module(net, "layer2.0.downsample") == NULL) == zero_pad);
    assert_non_null(tn_find_param(net, "conv1.weight")->t.grad);
    tn_free(net);
}

static void test_forward_and_backward(void **state)
{
    (void)state;
    tn_seed(1);
    for (int zero_pad = 0; zero_pad < 2; zero_pad++) {
        run_both_ways(8, zero_pad, (const int64_t[]){2, 8, 8, 3}, "[2,7]");
        run_both_ways(20, zero_pad, (const int64_t[]){2, 5, 7, 1}, "[2,7]"); /* odd sizes */
        run_both_ways(18, zero_pad, (const int64_t[]){2, 33, 32, 3}, "[2,7]");
    }
}

/* Option A by hand: of a block whose convolutions give 0, only relu(shortcut) is left. */
static void test_zero_padded_shortcut(void **state)
{
    (void)state;
    tn_module *net = tn_resnet(8, 2, .width = 2, .zero_pad = true);
    tn_module *block = tn_find_module(net, "layer2.0");
    TN_SCOPE {
        tn_tensor *x = tn_reshape(tn_arange(2 * 3 * 3, TN_F32), TN_SHAPE(1, 3, 3, 2));
        tn_init_(&tn_find_param(block, "conv2.weight")->t, (tn_init){.kind = TN_INIT_ZEROS});
        tn_tensor *y = tn_forward(block, x);
        assert_shape(y, "[1,2,2,4]");
        for (int64_t i = 0; i < 2; i++)
            for (int64_t j = 0; j < 2; j++)
                for (int64_t c = 0; c < 4; c++) {
                    const double want = c < 1 || c > 2 ? 0 : (double)((2 * i * 3 + 2 * j) * 2 + c - 1);
                    assert_true(tn_at(y, (const int64_t[]){0, i, j, c}) == want);
                }
    }
    tn_free(net);
}

static void test_errors_name_the_place(void **state)
{
    (void)state;
    tn_module *net = tn_resnet(8, 10);
    TN_SCOPE {
        assert_null(tn_forward(net, tn_zeros(TN_SHAPE(1, 8, 8, 4))));
        expect_error(TN_ESHAPE, " in conv1");
        assert_null(tn_forward(tn_find_module(net, "layer3"), tn_zeros(TN_SHAPE(1, 8, 8, 4))));
        expect_error(TN_ESHAPE, " in layer3.0.conv1");
    }
    tn_free(net);
    assert_null(tn_resnet(50, 10));
    expect_error(TN_EARG, "no network has depth 50");
    assert_null(tn_resnet(20, -1));
    expect_error(TN_EARG, "-1 classes");
    assert_null(tn_mlp(4, 4, 65, 2));
    expect_error(TN_EARG, "65 hidden layers");
    assert_null(tn_mlp(4, 0, 1, 2));
    expect_error(TN_EARG, "4 inputs and 0 outputs");
}

/* ---- by name ---- */

static tn_module *make_one(const tn_model_spec *s) { return tn_linear(1, s->classes); }

static void test_models_by_name(void **state)
{
    int n;
    (void)state;
    assert_true(tn_register_model("one", make_one));
    assert_false(tn_register_model("one", make_one));
    expect_error(TN_EARG, "the name 'one' is taken");
    const char *const *known = tn_models(&n);
    assert_string_equal(known[0], "resnet20");
    assert_string_equal(known[n - 1], "one");
    for (int i = 0; i < n; i++) {
        const tn_model_spec spec = {.name = known[i], .classes = 3, .in = {32, 32, 1}, .in_ndim = 3,
                                    .stack = "flatten, linear 1024 3", .source = 3,
                                    .transformer = {.dim = 8, .ffn = 8, .heads = 2},
                                    .lstm_lm = {.dim = 8, .hidden = 8}};
        tn_module *net = tn_model_named(&spec);
        assert_ok();
        assert_non_null(net);
        tn_free(net);
    }
    const tn_model_spec a = {.name = "resnet20", .shortcut = "zero-pad", .width = 8};
    tn_module *net = tn_model_named(&a);
    assert_null(tn_find_module(net, "layer2.0.downsample"));
    assert_shape(&tn_find_param(net, "conv1.weight")->t, "[8,3,3,3]");
    tn_free(net);
    const tn_model_spec m = {.name = "mlp", .classes = 2, .in = {3, 2}, .in_ndim = 2, .hidden = 5, .layers = 3};
    net = tn_model_named(&m);
    assert_int_equal(tn_param_count(net), 6 * 5 + 5 + 2 * (25 + 5) + 10 + 2);
    TN_SCOPE {
        assert_shape(tn_forward(net, tn_ones(TN_SHAPE(4, 3, 2))), "[4,2]");
    }
    tn_free(net);
}

static void test_models_that_cannot_be(void **state)
{
    static const struct {
        tn_model_spec spec;
        tn_code code;
        const char *error;
    } t[] = {
        {{.name = "resnet21"}, TN_EARG, "model: there is no 'resnet21'; do you mean 'resnet20'?  Known: resnet20, "},
        {{.name = NULL}, TN_EARG, "model: "},
        {{.name = "resnet20", .shortcut = "zeropad"}, TN_EARG, "shortcut 'zeropad'"},
        {{.name = "resnet20", .in = {784}, .in_ndim = 1}, TN_ESHAPE, "images [H,W,C] are needed"},
        {{.name = "resnet20", .classes = 1ll << 40}, TN_EARG, "too large"},
        {{.name = "mlp", .layers = -1, .classes = 2}, TN_EARG, "-1 layers"},
        {{.name = "mlp", .classes = 0}, TN_EARG, "256 inputs and 0 outputs"},
        {{.name = "mlp", .in = {1ll << 40, 1ll << 40}, .in_ndim = 2}, TN_ESHAPE, "too large"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        assert_null(tn_model_named(&t[i].spec));
        expect_error(t[i].code, t[i].error);
    }
    assert_null(tn_model_named(NULL));
    assert_ok();
}

static void test_stacks(void **state)
{
    (void)state;
    tn_module *net = tn_stack("flatten, linear 12 5,relu , dropout 0.5, linear 5 3");
    TN_SCOPE {
        assert_int_equal(tn_dim(tn_forward(net, tn_zeros(TN_SHAPE(2, 2, 2, 3))), 1), 3);
        assert_non_null(tn_find_param(net, "4.weight"));
    }
    tn_free(net);
    assert_ok();
    static const struct { const char *text, *error; } bad[] = {
        {"", "no layers"}, {"linear 3", "1 numbers given"}, {"linaer 3 4", "do you mean 'linear'?"},
        {"relu, , relu", "missing"}, {"linear 3 x", "'x' is not a number"}, {"relu,", "no error"},
        {"linear 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7", "more than 16"}, {"linear 3 4.5", "whole"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        tn_module *m = tn_stack(bad[i].text);
        if (!strcmp(bad[i].error, "no error")) {
            assert_non_null(m);
            tn_free(m);
            continue;
        }
        assert_null(m);
        expect_error(TN_EARG, bad[i].error);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parameter_counts),
        cmocka_unit_test(test_resnet20_has_the_names_of_pytorch),
        cmocka_unit_test(test_resnet18_has_the_names_of_torchvision),
        cmocka_unit_test(test_forward_and_backward),
        cmocka_unit_test(test_zero_padded_shortcut),
        cmocka_unit_test(test_errors_name_the_place),
        cmocka_unit_test(test_models_by_name),
        cmocka_unit_test(test_stacks),
        cmocka_unit_test(test_models_that_cannot_be),
    };
    return cmocka_run_group_tests(tests, quiet_errors, NULL);
}
