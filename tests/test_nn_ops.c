/* What the samples of the ops cannot show (test_ops.c): random masks, statistics that move, extreme
 * values, numbers worked out by hand.  Each on every instruction set. */
#include "check.h"
#include "attrs.h"
#include "internal.h"

#include <math.h>

/* Runs a test on each set, the plain kernels included. */
static void on_each_isa(void (*test)(void))
{
    const char *isa[8];
    const int n = tn__isa_list(isa, 8);
    for (int i = 0; i < n; i++) {
        assert_true(tn__isa_set(isa[i]));
        TN_SCOPE {
            test();
            assert_ok();
        }
    }
    tn__isa_set(isa[0]);
}

static void expect_values(tn_tensor *t, int64_t n, const double *want, double tol)
{
    double got[64];
    assert_int_equal(tn_numel(t), n);
    assert_true(n <= 64 && tn_read_f64(t, got));
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(got[i] - want[i]) <= tol * (1 + fabs(want[i]))))
            fail_msg("element %d is %.9g, should be %.9g", (int)i, got[i], want[i]);
}

/* ---- dropout ---- */

enum { MANY = 100000 };

static void dropout_keeps_the_right_share(void)
{
    static const double ps[] = {.1, .5, .9};
    for (int k = 0; k < 3; k++) {
        tn_seed(3);
        const float *y = tn_f32(tn_dropout(tn_ones(TN_SHAPE(MANY)), ps[k]));
        int64_t kept = 0, twice = 0;
        for (int64_t i = 0; i < MANY; i++) {
            assert_true(y[i] == 0 || fabs((double)y[i] - 1 / (1 - ps[k])) < 1e-6 / (1 - ps[k]));
            kept += y[i] != 0;
            twice += i > 0 && y[i] != 0 && y[i - 1] != 0;
        }
        const double q = 1 - ps[k];
        assert_true(fabs((double)kept / MANY - q) < 5 * sqrt(q * (1 - q) / MANY));
        assert_true(fabs((double)twice / MANY - q * q) <
                    5 * sqrt(2 * q * q / MANY)); /* neighbours: independent */
    }
}

static void dropout_draws_the_mask_again(void)
{
    tn_seed(4);
    tn_tensor *x = tn_want_grad(tn_rand(1, 2, TN_SHAPE(37, 101)));
    tn_tensor *y = tn_dropout(x, .4), *other = tn_dropout(x, .4);
    assert_true(tn_backward(tn_sum(tn_mul_scalar(y, 3), TN_ALL, false)));
    int64_t different = 0;
    for (int64_t i = 0; i < 37 * 101; i++) {
        const bool kept = tn_f32(y)[i] != 0;
        assert_true(fabs((double)tn_f32(x->grad)[i] - (kept ? 3 / .6 : 0)) < 1e-5);
        different += kept != (tn_f32(other)[i] != 0);
    }
    assert_in_range(different, 37 * 101 / 3, 37 * 101 * 2 / 3);
}

static void dropout_is_the_same_everywhere(void)
{
    const tn__dropout_attr a = {.p = .3, .key = {12, 34}};
    tn_tensor *x = tn_ones(TN_SHAPE(MANY));
    const float *y = tn_f32(tn_apply(TN_OP(dropout), &a, sizeof a, 1, &x));
    for (uint64_t i = 0; i < MANY; i++)
        assert_int_equal(y[i] != 0, tn__philox_at(12, 34, i) >= tn__drop_threshold(.3));
}

static void dropout_at_the_ends(void)
{
    tn_tensor *x = tn_full(INFINITY, TN_F32, TN_SHAPE(5));
    const tn_rng before = tn_rng_state();
    assert_ptr_equal(tn_dropout(x, 0), x);
    assert_int_equal(tn_rng_state().step, before.step + 1);
    expect_values(tn_dropout(x, 1), 5, (double[5]){0}, 0);
}

/* ---- norms ---- */

static void running_statistics_move(void)
{
    tn_tensor *x = tn_from_f32((const float[]){1, 10, 2, 20, 3, 30, 6, 60}, TN_SHAPE(4, 2));
    tn_tensor *mean = tn_from_f32((const float[]){5, -5}, TN_SHAPE(2)), *var = tn_ones(TN_SHAPE(2));
    tn_batch_norm(x, .running_mean = mean, .running_var = var, .train = true);
    /* mean 3, sum of squares 14: unbiased variance 14 / 3 */
    expect_values(mean, 2, (double[]){.9 * 5 + .1 * 3, .9 * -5 + .1 * 30}, 1e-6);
    expect_values(var, 2, (double[]){.9 + .1 * 14 / 3, .9 + .1 * 1400 / 3}, 1e-6);
    tn_batch_norm(x, .running_mean = mean, .running_var = var, .train = true, .momentum = 1);
    expect_values(mean, 2, (double[]){3, 30}, 1e-6);
    expect_values(var, 2, (double[]){14. / 3, 1400. / 3}, 1e-6);
}

static void evaluation_uses_them_and_leaves_them(void)
{
    tn_tensor *x = tn_from_f32((const float[]){1, 10, 2, 20}, TN_SHAPE(2, 2));
    tn_tensor *mean = tn_from_f32((const float[]){1, 5}, TN_SHAPE(2));
    tn_tensor *var = tn_from_f32((const float[]){4, 25}, TN_SHAPE(2));
    tn_tensor *gain = tn_from_f32((const float[]){2, -1}, TN_SHAPE(2)),
              *bias = tn_ones(TN_SHAPE(2));
    tn_tensor *y = tn_batch_norm(x, gain, bias, mean, var, .eps = 1e-12);
    expect_values(y, 4, (double[]){1, 0, 2, -2}, 1e-6);
    expect_values(tn_batch_norm(x, gain, bias, mean, var, .eps = 1e-12, .relu = true), 4,
                  (double[]){1, 0, 2, 0}, 1e-6);
    expect_values(mean, 2, (double[]){1, 5}, 0);
    expect_values(var, 2, (double[]){4, 25}, 0);
}

/* Values that are small beside their mean: what one pass over squares would lose. */
static void norms_survive_a_large_mean(void)
{
    enum { ROWS = 4096, COLS = 24 };
    tn_tensor *x = tn_empty(TN_F32, TN_SHAPE(ROWS, COLS)), *rows, *out[3];
    tn_seed(9);
    tn_copy_(x, tn_add_scalar(tn_randn(0, .25, TN_SHAPE(ROWS, COLS)), 1e4));
    const tn__norm_attr a = {.eps = 1e-5, .momentum = .1, .train = true};
    assert_true(tn__apply(TN_OP(batch_norm), &a, sizeof a, 1, &x, out));
    for (int64_t ch = 0; ch < COLS; ch++) {
        double sum = 0, squares = 0;
        for (int64_t i = 0; i < ROWS; i++)
            sum += (double)tn_f32(x)[i * COLS + ch];
        for (int64_t i = 0; i < ROWS; i++)
            squares += pow((double)tn_f32(x)[i * COLS + ch] - sum / ROWS, 2);
        assert_true(fabs((double)tn_f32(out[1])[ch] - sum / ROWS) < 1.5e-3);
        assert_true(fabs((double)tn_f32(out[2])[ch] * sqrt(squares / ROWS + 1e-5) - 1) < 1e-3);
    }
    rows = tn_reshape(x, TN_SHAPE(COLS * 4, ROWS / 4));
    assert_true(tn__apply(TN_OP(layer_norm), &a, sizeof a, 1, &rows, out));
    for (int64_t row = 0; row < COLS * 4; row++) {
        double sum = 0, squares = 0;
        const float *v = tn_f32(rows) + row * (ROWS / 4);
        for (int64_t j = 0; j < ROWS / 4; j++)
            sum += (double)v[j];
        for (int64_t j = 0; j < ROWS / 4; j++)
            squares += pow((double)v[j] - sum / (ROWS / 4), 2);
        assert_true(fabs((double)tn_f32(out[1])[row] - sum / (ROWS / 4)) < 1.5e-3);
        assert_true(fabs((double)tn_f32(out[2])[row] * sqrt(squares / (ROWS / 4) + 1e-5) - 1) <
                    1e-3);
    }
}

/* ---- losses ---- */

static void cross_entropy_by_hand(void)
{
    tn_tensor *x = tn_want_grad(
        tn_from_f32((const float[]){0, 0, 0, (float)log(2)}, TN_SHAPE(2, 2)));
    tn_tensor *target = tn_from_i64((const int64_t[]){0, 1}, TN_SHAPE(2));
    /* p = (1/2, 1/2) and (1/3, 2/3) */
    const double first = log(2), second = log(1.5), other = log(3);
    expect_values(tn_cross_entropy(x, target), 1, (double[]){(first + second) / 2}, 1e-6);
    expect_values(tn_cross_entropy(x, target, .sum = true), 1, (double[]){first + second}, 1e-6);
    expect_values(tn_cross_entropy(x, target, .ignore = true, .ignore_index = 0), 1, &second, 1e-6);
    /* smoothing: its share goes to all classes, the target included */
    tn_tensor *smooth = tn_cross_entropy(x, target, .smoothing = .2, .sum = true);
    expect_values(smooth, 1, (double[]){first + .9 * second + .1 * other}, 1e-6);
    assert_true(tn_backward(smooth));
    expect_values(x->grad, 4, (double[]){.5 - .9, .5 - .1, 1. / 3 - .1, 2. / 3 - .9}, 1e-6);
}

static void cross_entropy_of_extreme_logits(void)
{
    tn_tensor *x = tn_want_grad(tn_from_f32(
        (const float[]){1e4f, 0, -1e4f, -1e4f, 1e4f, 0, 1e4f, 1e4f, 1e4f, -3e38f, 3e38f, 0},
        TN_SHAPE(4, 3)));
    tn_tensor *target = tn_from_i64((const int64_t[]){0, 0, 1, 1}, TN_SHAPE(4));
    tn_tensor *loss = tn_cross_entropy(x, target, .sum = true);
    expect_values(loss, 1, (double[]){0 + 2e4 + log(3) + 0}, 1e-6);
    assert_true(tn_backward(loss));
    expect_values(x->grad, 12, (double[]){0, 0, 0, -1, 1, 0, 1. / 3, -2. / 3, 1. / 3, 0, 0, 0},
                  1e-3);
}

static void cross_entropy_with_nothing_to_learn(void)
{
    tn_tensor *x = tn_want_grad(tn_rand(-1, 1, TN_SHAPE(3, 4)));
    tn_tensor *target = tn_from_i64((const int64_t[]){-100, -100, -100}, TN_SHAPE(3));
    tn_tensor *loss = tn_cross_entropy(x, target, .smoothing = .1, .ignore = true,
                                       .ignore_index = -100);
    assert_true(tn_item(loss) == 0);
    assert_true(tn_backward(loss));
    expect_values(x->grad, 12, (double[12]){0}, 0);
}

static void cross_entropy_names_the_bad_target(void)
{
    tn_tensor *x = tn_zeros(TN_SHAPE(3, 4));
    tn_tensor *target = tn_from_i64((const int64_t[]){0, 3, 4}, TN_SHAPE(3));
    assert_null(tn_cross_entropy(x, target));
    expect_error(TN_EARG, "cross_entropy: target 4 at position 2 is not a class in 0..3");
}

static void losses_agree(void)
{
    tn_tensor *x = tn_want_grad(tn_rand(-3, 3, TN_SHAPE(6, 5))), *z = tn_want_grad(tn_detach(x));
    tn_tensor *target = tn_from_i64((const int64_t[]){0, 4, 2, 1, 1, 3}, TN_SHAPE(6));
    tn_tensor *a = tn_cross_entropy(x, target), *b = tn_nll(tn_log_softmax(z, 1), target);
    assert_true(fabs(tn_item(a) - tn_item(b)) < 1e-6);
    assert_true(tn_backward(a) && tn_backward(b));
    double want[30];
    tn_read_f64(x->grad, want);
    expect_values(z->grad, 30, want, 1e-6);
}

/* ---- convolution and pooling ---- */

static void conv_by_hand(void)
{
    /* 3x3 image of 1..9, a 2x2 kernel that looks at the main diagonal, padding 1, stride 2 */
    tn_tensor *x = tn_want_grad(
        tn_from_f32((const float[]){1, 2, 3, 4, 5, 6, 7, 8, 9}, TN_SHAPE(1, 3, 3, 1)));
    tn_tensor *w = tn_want_grad(tn_from_f32((const float[]){10, 0, 0, 1}, TN_SHAPE(1, 2, 2, 1)));
    tn_tensor *bias = tn_want_grad(tn_full(.5, TN_F32, TN_SHAPE(1)));
    tn_tensor *y = tn_conv(x, w, bias, .stride = 2, .padding = 1);
    expect_values(y, 4, (double[]){1.5, 3.5, 7.5, 59.5}, 1e-6);
    assert_true(
        tn_backward_from(y, tn_from_f32((const float[]){1, 2, 3, 4}, TN_SHAPE(1, 2, 2, 1))));
    expect_values(x->grad, 9, (double[]){1, 0, 2, 0, 40, 0, 3, 0, 4}, 1e-6);
    /* each tap: the sum over outputs of dy times what it saw */
    expect_values(w->grad, 4,
                  (double[]){4 * 5, 3 * 4 + 4 * 6, 2 * 2 + 4 * 8, 1 + 2 * 3 + 3 * 7 + 4 * 9}, 1e-6);
    expect_values(bias->grad, 1, (double[]){10}, 1e-6);
}

static void first_conv_has_no_image_gradient(void)
{
    tn_tensor *x = tn_rand(-1, 1, TN_SHAPE(1, 4, 4, 3)),
              *w = tn_want_grad(tn_rand(-1, 1, TN_SHAPE(2, 3, 3, 3)));
    assert_true(tn_backward(tn_sum(tn_conv(x, w, NULL), TN_ALL, false)));
    assert_null(x->grad);
    assert_non_null(w->grad);
}

static void max_pool_ties_and_nans(void)
{
    tn_tensor *x = tn_want_grad(
        tn_from_f32((const float[]){2, 2, 1, NAN, 2, 2, 5, 7}, TN_SHAPE(1, 2, 4, 1)));
    tn_tensor *y = tn_max_pool(x, .kernel = 2);
    assert_true(tn_f32(y)[0] == 2 && isnan(tn_f32(y)[1]));
    assert_true(tn_backward_from(y, tn_from_f32((const float[]){3, 4}, TN_SHAPE(1, 1, 2, 1))));
    expect_values(x->grad, 8, (double[]){3, 0, 0, 4, 0, 0, 0, 0}, 0); /* the first of equals */
}

#define TESTS(X)                                                                             \
    X(dropout_keeps_the_right_share)                                                         \
    X(dropout_draws_the_mask_again) X(dropout_is_the_same_everywhere) X(dropout_at_the_ends) \
        X(running_statistics_move) X(evaluation_uses_them_and_leaves_them)                   \
            X(norms_survive_a_large_mean) X(cross_entropy_by_hand)                           \
                X(cross_entropy_of_extreme_logits) X(cross_entropy_with_nothing_to_learn)    \
                    X(cross_entropy_names_the_bad_target) X(losses_agree) X(conv_by_hand)    \
                        X(first_conv_has_no_image_gradient) X(max_pool_ties_and_nans)

#define TEST(name)                         \
    static void test_##name(void **state)  \
    {                                      \
        (void)state;                       \
        on_each_isa(name);                 \
    }
TESTS(TEST)

int main(void)
{
#define ROW(name) cmocka_unit_test(test_##name),
    const struct CMUnitTest tests[] = {TESTS(ROW)};
    return cmocka_run_group_tests_name("nn_ops", tests, quiet_errors, NULL);
}
