/* The layers: how their parameters start, what they compute, what they refuse, their names. */
#include "check.h"
#include "internal.h"

#include <math.h>
#include <stdlib.h>

/* ---- starting values ---- */

typedef struct moments {
    double mean, std, low, high;
} moments;

static moments moments_of(const tn_tensor *t)
{
    const int64_t n = tn_numel(t);
    float *v = malloc((size_t)n * sizeof *v);
    moments m = {0, 0, INFINITY, -INFINITY};
    assert_true(tn_read_f32(t, v));
    for (int64_t i = 0; i < n; i++) {
        const double x = (double)v[i];
        m.mean += x / (double)n;
        m.std += x * x / (double)n;
        m.low = fmin(m.low, x);
        m.high = fmax(m.high, x);
    }
    m.std = sqrt(m.std - m.mean * m.mean);
    free(v);
    return m;
}

static void test_init_statistics(void **state)
{
    /* [32, 3, 3, 64]: fan in 576, fan out 288 */
    static const struct {
        tn_init how;
        double std;
        bool uniform;
    } t[] = {
        {{TN_INIT_KAIMING_NORMAL, 0, 0, false}, 0.058925565, false}, /* sqrt(2/576) */
        {{TN_INIT_KAIMING_NORMAL, 0, 0, true}, 0.083333333, false},  /* sqrt(2/288) */
        {{TN_INIT_KAIMING_NORMAL, 1, 0, false}, 0.041666667, false}, /* sqrt(1/576) */
        {{TN_INIT_KAIMING_UNIFORM, 0, 0, false}, 0.058925565, true},
        {{TN_INIT_XAVIER_NORMAL, 0, 0, false}, 0.048112522, false}, /* sqrt(2/864) */
        {{TN_INIT_XAVIER_UNIFORM, 0, 0, false}, 0.048112522, true},
        {{TN_INIT_XAVIER_UNIFORM, 3, 0, false}, 0.144337567, true},
        {{TN_INIT_NORMAL, 0, .5, false}, .5, false},
        {{TN_INIT_UNIFORM, -.3, .3, false}, 0.173205081, true},
    };
    (void)state;
    tn_seed(3);
    TN_SCOPE {
        tn_tensor *w = tn_empty(TN_F32, TN_SHAPE(32, 3, 3, 64));
        for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
            assert_true(tn_init_(w, t[i].how));
            const moments m = moments_of(w);
            assert_true(fabs(m.mean) < 4 * t[i].std / sqrt(18432));
            assert_true(fabs(m.std / t[i].std - 1) < .03);
            if (t[i].uniform) {
                const double bound = sqrt(3) * t[i].std;
                assert_true(m.low >= -bound * 1.000001 && m.low < -.99 * bound);
                assert_true(m.high <= bound * 1.000001 && m.high > .99 * bound);
            } else {
                assert_true(m.low < -3.3 * t[i].std && m.high > 3.3 * t[i].std);
            }
        }
        double in, out;
        tn_fans(w, &in, &out);
        assert_true(in == 576 && out == 288);
        assert_true(tn_init_(w, (tn_init){.kind = TN_INIT_CONST, .a = 2}) && moments_of(w).low == 2);
        assert_true(tn_init_(w, (tn_init){0}) && moments_of(w).high == 0);
        assert_false(tn_init_(tn_zeros(TN_SHAPE(3)), (tn_init){.kind = TN_INIT_KAIMING_NORMAL}));
        expect_error(TN_ESHAPE, "need a weight [out, ..., in]");
        assert_false(tn_init_(w, (tn_init){.kind = (tn_init_kind)77}));
        expect_error(TN_EARG, "77 is not a kind");
    }
}

/* PyTorch's defaults: U(+-1/sqrt(fan_in)) for weight and bias. */
static void test_default_starts(void **state)
{
    (void)state;
    tn_seed(5);
    tn_module *net = tn_seq(tn_linear(100, 300), tn_conv2d(16, 32, 3, .groups = 2), tn_embedding(200, 50),
                            tn_batch_norm2d(7), tn_layernorm(9));
    static const struct {
        const char *path;
        double low, high;
    } t[] = {
        {"0.weight", -.1, .1}, {"0.bias", -.1, .1}, {"1.weight", -0.11785113, 0.11785113},
        {"1.bias", -0.11785113, 0.11785113},
    };
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        const moments m = moments_of(&tn_find_param(net, t[i].path)->t);
        assert_true(m.low >= t[i].low * 1.00001 && m.low < .85 * t[i].low);
        assert_true(m.high <= t[i].high * 1.00001 && m.high > .85 * t[i].high);
    }
    assert_true(fabs(moments_of(&tn_find_param(net, "2.weight")->t).std - 1) < .03);
    static const struct {
        const char *path;
        double value;
    } c[] = {{"3.weight", 1}, {"3.bias", 0}, {"3.running_mean", 0}, {"3.running_var", 1},
             {"3.num_batches_tracked", 0}, {"4.weight", 1}, {"4.bias", 0}};
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        const moments m = moments_of(&tn_find_param(net, c[i].path)->t);
        assert_true(m.low == c[i].value && m.high == c[i].value);
    }
    tn_free(net);
}

static void test_starts_depend_on_seed_and_order_alone(void **state)
{
    float a[12], b[12];
    (void)state;
    tn_seed(11);
    tn_module *one = tn_linear(4, 3), *two = tn_linear(4, 3);
    assert_true(tn_read_f32(&tn_find_param(two, "weight")->t, a));
    tn_read_f32(&tn_find_param(one, "weight")->t, b);
    assert_memory_not_equal(a, b, sizeof a);
    tn_free(one, two);
    tn_seed(11);
    one = tn_linear(40, 30);
    two = tn_linear(4, 3);
    tn_read_f32(&tn_find_param(two, "weight")->t, b);
    assert_memory_equal(a, b, sizeof a);
    tn_free(two, one);
}

/* ---- layers ---- */

static void test_layers_compute(void **state)
{
    (void)state;
    tn_module *lin = tn_linear(2, 1), *drop = tn_drop(.5), *norm = tn_layernorm(4, .no_affine = true),
              *table = tn_embedding(3, 2), *pool = tn_avg_pool2d(2, 1, 0), *flat = tn_flatten_layer();
    TN_SCOPE {
        memcpy(tn_f32(&tn_find_param(lin, "weight")->t), (const float[]){2, 3}, 8);
        tn_f32(&tn_find_param(lin, "bias")->t)[0] = 1;
        assert_true(tn_item(tn_forward(lin, tn_from_f32((const float[]){10, 100}, TN_SHAPE(1, 2)))) == 321);

        tn_tensor *ones = tn_ones(TN_SHAPE(1000));
        const moments m = moments_of(tn_forward(drop, ones));
        assert_true(m.low == 0 && m.high == 2 && fabs(m.mean - 1) < .15);
        tn_eval(drop);
        assert_ptr_equal(tn_forward(drop, ones), ones);

        const moments l = moments_of(tn_forward(norm, tn_from_f32((const float[]){1, 2, 3, 4}, TN_SHAPE(1, 4))));
        assert_true(fabs(l.mean) < 1e-6 && fabs(l.std - 1) < 1e-4);
        assert_null(tn_forward(norm, ones));
        expect_error(TN_ESHAPE, "layernorm: the last dim of [1000] is not 4");

        float row[2];
        assert_true(tn_read_f32(tn_forward(table, tn_from_i64((const int64_t[]){2}, TN_SHAPE(1))), row));
        assert_memory_equal(row, tn_f32(&tn_find_param(table, "weight")->t) + 4, 8);

        tn_tensor *image = tn_reshape(tn_arange(9, TN_F32), TN_SHAPE(1, 3, 3, 1));
        assert_true(tn_at(tn_forward(pool, image), (const int64_t[]){0, 1, 1, 0}) == 6);
        assert_int_equal(tn_forward(flat, image)->ndim, 2);
    }
    assert_ok();
    tn_free(lin, drop, norm, table, pool, flat);
}

static void test_batch_norm_layer(void **state)
{
    (void)state;
    tn_module *bn = tn_batch_norm2d(1, .relu = true);
    TN_SCOPE {
        tn_tensor *x = tn_from_f32((const float[]){1, 3}, TN_SHAPE(2, 1, 1, 1));
        tn_tensor *add = tn_full(.5, TN_F32, TN_SHAPE(2, 1, 1, 1));
        float y[2];
        assert_true(tn_read_f32(tn_forward(bn, x), y)); /* -1, 1 before the ReLU */
        assert_true(y[0] == 0 && fabsf(y[1] - 1) < 1e-4f);
        assert_true(tn_read_f32(tn_forward(bn, x, add), y));
        assert_true(y[0] == 0 && fabsf(y[1] - 1.5f) < 1e-4f);
        assert_true(tn_item(&tn_find_param(bn, "num_batches_tracked")->t) == 2);
        /* twice 0.9 old + 0.1 new: mean 2, unbiased variance 2 */
        assert_true(fabs(tn_item(&tn_find_param(bn, "running_mean")->t) - .38) < 1e-6);
        assert_true(fabs(tn_item(&tn_find_param(bn, "running_var")->t) - 1.19) < 1e-6);
        tn_eval(bn);
        assert_true(tn_read_f32(tn_forward(bn, x), y));
        assert_true(fabs((double)y[1] - 2.62 / sqrt(1.19 + 1e-5)) < 1e-5);
        assert_true(tn_item(&tn_find_param(bn, "num_batches_tracked")->t) == 2);
    }
    assert_ok();
    tn_free(bn);
}

static void test_layers_refuse_bad_options(void **state)
{
    (void)state;
#define REFUSED(call, words)            \
    assert_null(call);                  \
    expect_error(TN_EARG, words)
    REFUSED(tn_linear(3, 0), "linear: 3 inputs and 0 outputs");
    REFUSED(tn_conv2d(3, 4, 0), "kernel 0");
    REFUSED(tn_conv2d(3, 4, 3, .stride = -1), "cannot be negative");
    REFUSED(tn_conv2d(3, 4, 3, .groups = 2), "2 groups do not divide 3 and 4");
    REFUSED(tn_batch_norm2d(0), "batch_norm2d: 0 channels");
    REFUSED(tn_batch_norm2d(3, .momentum = 2), "momentum 2");
    REFUSED(tn_layernorm(0), "layernorm: dim 0");
    REFUSED(tn_embedding(0, 2), "embedding: 0 rows");
    REFUSED(tn_drop(1.5), "drop: 1.5 is not a probability");
    REFUSED(tn_drop(NAN), "is not a probability");
    REFUSED(tn_max_pool2d(2, 0, 2), "padding 2");
    REFUSED(tn_fn(NULL), "no function");
}

static tn_module *make_third(int n, const double *args)
{
    return n == 1 && args[0] == 3 ? tn_drop(1. / args[0]) : NULL;
}

static void test_layers_by_name(void **state)
{
    int n;
    (void)state;
    assert_true(tn_register_layer("third", make_third));
    assert_false(tn_register_layer("third", make_third));
    expect_error(TN_EARG, "the name 'third' is taken");
    assert_false(tn_register_layer("relu", make_third));
    expect_error(TN_EARG, "the name 'relu' is taken");
    const char *const *names = tn_layers(&n);
    assert_string_equal(names[0], "linear");
    assert_string_equal(names[n - 1], "third");
    tn_module *net = tn_seq(tn_layer_named("conv2d", 5, (const double[]){3, 8, 3, 2, 1}),
                            tn_layer_named("relu", 0, NULL),
                            tn_layer_named("dropout", 1, (const double[]){.25}),
                            tn_layer_named("third", 1, (const double[]){3}));
    TN_SCOPE {
        char s[TN_SHAPE_TEXT];
        assert_string_equal(tn_shape_text(tn_forward(net, tn_ones(TN_SHAPE(1, 8, 8, 3))), s), "[1,4,4,8]");
    }
    tn_free(net);
    assert_null(tn_layer_named("conv3d", 0, NULL));
    expect_error(TN_EARG, "layer: there is no 'conv3d'; do you mean 'conv2d'?");
    assert_null(tn_layer_named("linear", 1, (const double[]){3}));
    expect_error(TN_EARG, "linear: 1 numbers given, 2 to 2 are taken");
    assert_null(tn_layer_named("linear", 2, (const double[]){3.5, 1e300}));
    expect_error(TN_EARG, "linear: 3.5 is too large or not a whole number");
    assert_null(tn_layer_named(NULL, 0, NULL));
    expect_error(TN_EARG, "layer: ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_init_statistics),
        cmocka_unit_test(test_default_starts),
        cmocka_unit_test(test_starts_depend_on_seed_and_order_alone),
        cmocka_unit_test(test_layers_compute),
        cmocka_unit_test(test_batch_norm_layer),
        cmocka_unit_test(test_layers_refuse_bad_options),
        cmocka_unit_test(test_layers_by_name),
    };
    return cmocka_run_group_tests(tests, quiet_errors, NULL);
}
