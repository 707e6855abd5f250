/* Reductions, rows and losses on the emulated CUDA backend, with shapes that the samples of the ops are too small
 * for: rows that a block shares, elements cut into parts, parts merged in groups; and numbers that are none. */
#include "samples.h"

#include "emulated.h"
#include "ops/sample.h"

MAKE(sum_all, tn_sum(in[0], TN_ALL, false))
MAKE(sum_rows, tn_sum(in[0], TN_AXIS(1), false))
MAKE(sum_down, tn_sum(in[0], TN_AXIS(0), false))
MAKE(sum_across, tn_sum(tn_permute(in[0], 3, (const int64_t[]){1, 2, 0}), TN_AXIS(1) | TN_AXIS(2), false))
MAKE(var_all, tn_var(in[0], TN_ALL, false, 1))
MAKE(var_down, tn_var(in[0], TN_AXIS(0), false, 0))
MAKE(norm_all, tn_norm(in[0], TN_ALL, false))
MAKE(logsumexp_down, tn_logsumexp(in[0], TN_AXIS(0), true))
MAKE(logsumexp_all, tn_logsumexp(in[0], TN_ALL, true))
MAKE(argmax_down, tn_argmax(in[0], 0))
MAKE(argmin_last, tn_argmin(in[0], -1))
MAKE(softmax, tn_softmax(in[0], -1))
MAKE(log_softmax, tn_log_softmax(in[0], -1))
MAKE(layer_norm, tn_layer_norm(in[0], in[1], in[2], 1e-5))
MAKE(drop_norm, tn_dropout_add_layer_norm(in[0], in[1], in[2], in[3], .3, 1e-5))
MAKE(batch_norm, tn_batch_norm(in[0], in[1], in[2], .train = true, .relu = true))
MAKE(relu_drop, tn_bias_relu_dropout(in[0], in[1], .4))
MAKE(entropy, tn_cross_entropy(in[0], in[1], .smoothing = .1))
MAKE(nll, tn_nll(in[0], in[1]))
MAKE(mse, tn_mse(in[0], in[1]))
MAKE(bce, tn_bce_with_logits(in[0], in[1]))
MAKE(linear_entropy, tn_linear_cross_entropy(in[0], in[1], in[2], .smoothing = .1, .ignore = true, .ignore_index = 3))

static const tn__sample larger[] = {
    {.what = "sum of parts", .make = make_sum_all, .in = {CONSTS(9001)}},
    {.what = "sum of groups of parts", .make = make_sum_all, .in = {CONSTS(150000)}},
    {.what = "sums of parts", .make = make_sum_rows, .in = {CONSTS(3, 9001)}},
    {.what = "sums side by side", .make = make_sum_down, .in = {CONSTS(700, 40)}},
    {.what = "sums side by side of several dims", .make = make_sum_across, .in = {CONSTS(30, 20, 20)}},
    {.what = "sums side by side of groups of parts", .make = make_sum_down, .in = {CONSTS(4500, 19)}},
    {.what = "variance of parts", .make = make_var_all, .in = {RANGE('f', 99, 101, 9001)}},
    {.what = "variances side by side", .make = make_var_down, .in = {FLOATS(700, 40)}},
    {.what = "norm of parts", .make = make_norm_all, .in = {CONSTS(30, 301)}},
    {.what = "logsumexp side by side", .make = make_logsumexp_down, .in = {RANGE('f', -90, 90, 700, 40)}},
    {.what = "logsumexp of parts", .make = make_logsumexp_all, .in = {RANGE('f', -90, 90, 9001)}},
    {.what = "argmax side by side", .make = make_argmax_down, .in = {CONSTS(700, 40)}},
    {.what = "argmin of long rows", .make = make_argmin_last, .in = {CONSTS(3, 9001)}},
    {.what = "softmax by blocks", .make = make_softmax, .in = {FLOATS(5, 1028)}},
    {.what = "log-softmax by blocks", .make = make_log_softmax, .in = {FLOATS(5, 1027)}},
    {.what = "layer norm by blocks", .make = make_layer_norm,
     .in = {RANGE('f', 99, 101, 20, 1028), RANGE('f', .5, 2, 1028), FLOATS(1028)}},
    {.what = "layer norm by warps", .make = make_layer_norm,
     .in = {FLOATS(140, 132), RANGE('f', .5, 2, 132), FLOATS(132)}},
    {.what = "layer norm of runs of long rows", .make = make_layer_norm,
     .in = {FLOATS(44, 1029), RANGE('f', .5, 2, 1029), FLOATS(1029)}},
    {.what = "layer norm of groups of runs", .make = make_layer_norm,
     .in = {FLOATS(2150, 12), RANGE('f', .5, 2, 12), FLOATS(12)}},
    {.what = "dropout and layer norm by blocks", .make = make_drop_norm,
     .in = {FLOATS(25, 1028), FLOATS(25, 1028), RANGE('f', .5, 2, 1028), FLOATS(1028)}},
    {.what = "dropout and layer norm of groups of runs", .make = make_drop_norm,
     .in = {FLOATS(300, 133), FLOATS(300, 133), RANGE('f', .5, 2, 133), FLOATS(133)}},
    {.what = "batch norm of runs", .make = make_batch_norm,
     .in = {RANGE('f', 9, 11, 300, 40), RANGE('f', .5, 2, 40), FLOATS(40)}},
    {.what = "batch norm of groups of runs", .make = make_batch_norm,
     .in = {RANGE('f', 9, 11, 2600, 35), RANGE('f', .5, 2, 35), FLOATS(35)}},
    {.what = "bias, ReLU and dropout", .make = make_relu_drop, .in = {FLOATS(99, 41), FLOATS(41)}},
    {.what = "cross-entropy of many rows", .make = make_entropy, .in = {FLOATS(300, 4), INTS(4, 300)}},
    {.what = "cross-entropy of long rows", .make = make_entropy, .in = {FLOATS(5, 1028), INTS(1028, 5)}},
    {.what = "nll of many rows", .make = make_nll, .in = {RANGE('f', -5, 0, 5000, 4), INTS(4, 5000)}},
    {.what = "mse of parts", .make = make_mse, .in = {FLOATS(9001), FLOATS(9001)}},
    {.what = "mse of groups of parts", .make = make_mse, .in = {CONSTS(150000), CONSTS(150000)}},
    {.what = "bce of parts", .make = make_bce, .in = {FLOATS(9001), RANGE('c', 0, 1, 9001)}},
    {.what = "linear cross-entropy in runs", .make = make_linear_entropy,
     .in = {FLOATS(61, 8), FLOATS(516, 8), INTS(516, 61)}},
    {.what = "linear cross-entropy in runs of short rows", .make = make_linear_entropy,
     .in = {FLOATS(600, 4), FLOATS(7, 4), INTS(7, 600)}},
    {0},
};

static void on_gpu_into_other(const tn__sample *s)
{
    elsewhere = on_gpu;
    if (!run("larger", s, TN_F32, false, &other))
        fail_msg("%s: %s", s->what, tn_error()->text);
    elsewhere = NULL;
}

static void larger_samples_as_on_the_cpu_in_both_orders(void **state)
{
    (void)state;
    for (const tn__sample *s = next_good(larger); s->what; s = next_good(s + 1)) {
        emu_reverse(0);
        run("larger", s, TN_F32, false, &reference);
        on_gpu_into_other(s);
        compare_results("larger", s, "on cuda", &other, &reference, 2e-5);
        reference = other;
        emu_reverse(1);
        on_gpu_into_other(s);
        expect_same_bits("larger", s, "gives other bits when threads run in reverse");
    }
    emu_reverse(0);
}

/* ---- numbers that are none ---- */

static tn_tensor *copy_of(int64_t rows, int64_t cols, const float *v)
{
    tn_tensor *t = tn_empty(TN_F32, TN_SHAPE(rows, cols));
    memcpy(tn_f32(t), v, (size_t)(rows * cols) * sizeof *v);
    return t;
}

static tn_tensor *each(int op, tn_tensor *x, bool down)
{
    const unsigned axes = down ? TN_AXIS(0) : TN_AXIS(1);
    switch (op) {
    case 0: return tn_sum(x, axes, false);
    case 1: return tn_amax(x, axes, false);
    case 2: return tn_amin(x, axes, false);
    case 3: return tn_logsumexp(x, axes, false);
    case 4: return tn_argmax(x, down ? 0 : 1);
    case 5: return tn_argmin(x, down ? 0 : 1);
    case 6: return tn_softmax(x, 1);
    default: return tn_log_softmax(x, 1);
    }
}

static void infinities_and_nans(void **state)
{
    enum { ROWS = 20, COLS = 20 };
    const float inf = INFINITY, some[] = {1, -2, inf, -inf, NAN};
    float v[ROWS][COLS];
    (void)state;
    for (int i = 0; i < ROWS; i++) /* the two lowest digits of i in base 3 say what row i has */
        for (int j = 0; j < COLS; j++)
            v[i][j] = j % 7 == 3 && i % 3 ? some[1 + i % 3] : j % 5 == 2 && i / 3 % 3 == 1 ? NAN : some[j % 2];
    for (int j = 0; j < COLS; j++) {
        v[ROWS - 1][j] = -inf;
        v[j][COLS - 1] = -inf;
    }
    for (int op = 0; op < 8; op++)
        for (int down = 0; down < (op < 6 ? 2 : 1); down++) TN_SCOPE {
            tn_tensor *x = copy_of(ROWS, COLS, v[0]), *cpu = each(op, x, down);
            tn_tensor *cuda = each(op, on_gpu(x), down);
            double a[ROWS * COLS], b[ROWS * COLS];
            assert_ok();
            assert_true(tn_read_f64(cpu, a) && tn_read_f64(cuda, b));
            for (int64_t i = 0; i < tn_numel(cpu); i++)
                if (!(a[i] == b[i] || fabs(a[i] - b[i]) < 1e-5 || (isnan(a[i]) && isnan(b[i]))))
                    fail_msg("op %d%s, element %lld: CPU %g, CUDA %g", op, down ? ", down" : "", (long long)i, a[i],
                             b[i]);
        }
}

/* ---- exact bits ---- */

static void sums_do_not_know_where_rows_lie(void **state)
{
    enum { ROWS = 3, COLS = 1028 };
    (void)state;
    TN_SCOPE {
        tn_tensor *x = tn_empty(TN_F32, TN_SHAPE(ROWS * COLS + 1)), *y[2];
        float *p = tn_f32(x);
        for (int i = 0; i < ROWS * COLS; i++)
            p[i + 1] = tn__uniform(tn__philox_at(1, 0, (uint64_t)i));
        tn_tensor *there = on_gpu(x), *shifted = tn_slice(there, 0, 1, ROWS * COLS + 1, 1);
        tn_tensor *aligned = on_gpu(tn_slice(x, 0, 1, ROWS * COLS + 1, 1));
        y[0] = tn_layer_norm(tn_reshape(shifted, TN_SHAPE(ROWS, COLS)), NULL, NULL, 1e-5);
        y[1] = tn_layer_norm(tn_reshape(aligned, TN_SHAPE(ROWS, COLS)), NULL, NULL, 1e-5);
        assert_ok();
        double a[ROWS * COLS], b[ROWS * COLS];
        assert_true(tn_read_f64(y[0], a) && tn_read_f64(y[1], b));
        assert_memory_equal(a, b, sizeof a);
    }
}

static void masks_are_the_cpus(void **state)
{
    static const int64_t cols[] = {12, 13, 516};
    (void)state;
    for (int i = 0; i < 3; i++) TN_SCOPE {
        tn_tensor *x = tn_ones(TN_SHAPE(9, cols[i])), *none = tn_zeros(TN_SHAPE(9, cols[i])), *y[2][2];
        for (int k = 0; k < 2; k++) {
            tn_tensor *in = k ? on_gpu(x) : x, *residual = k ? on_gpu(none) : none;
            tn_seed(7);
            y[0][k] = tn_bias_relu_dropout(in, NULL, .3);
            y[1][k] = tn_dropout_add_layer_norm(in, residual, NULL, NULL, .3, 1e-5);
        }
        assert_ok();
        for (int op = 0; op < 2; op++) {
            double a[9 * 516], b[9 * 516];
            assert_true(tn_read_f64(y[op][0], a) && tn_read_f64(y[op][1], b));
            for (int64_t j = 0; j < 9 * cols[i]; j++)
                assert_true((a[j] > 0) == (b[j] > 0));
        }
    }
}

/* ---- targets that are no class ---- */

static void a_wrong_target_is_named(void **state)
{
    (void)state;
    TN_SCOPE {
        tn_tensor *x = tn_zeros(TN_SHAPE(9, 4)), *target = tn_full(0, TN_I64, TN_SHAPE(9));
        ((int64_t *)tn__data(target))[6] = 4;
        x = on_gpu(x);
        target = on_gpu(target);
        double loss;
        tn_tensor *y = tn_cross_entropy(x, target);
        assert_ok();
        assert_false(tn_read_f64(y, &loss));
        expect_error(TN_EARG, "cross_entropy: target 4 at position 6 is not a class in 0..3");
        y = tn_nll(x, target);
        assert_false(tn_read_f64(y, &loss));
        expect_error(TN_EARG, "nll: target 4 at position 6 is not a class in 0..3");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(larger_samples_as_on_the_cpu_in_both_orders),
        cmocka_unit_test(infinities_and_nans),
        cmocka_unit_test(sums_do_not_know_where_rows_lie),
        cmocka_unit_test(masks_are_the_cpus),
        cmocka_unit_test(a_wrong_target_is_named),
    };
    return cmocka_run_group_tests(tests, open_gpu, NULL);
}
