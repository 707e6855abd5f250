/* The ops that do several steps in one, against the steps one by one: values, gradients, masks, memory, and
 * the same bits for any number of threads.  Their definitions are tested by test_ops.c. */
#include "check.h"
#include "attrs.h"
#include "internal.h"

#include <math.h>

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

/* The largest difference, in parts of the largest value. */
static void expect_near(tn_tensor *got, tn_tensor *want, double tol)
{
    const float *a = tn_f32(got), *b = tn_f32(want);
    double largest = 1e-6, worst = 0;
    assert_ok();
    assert_true(a && b && tn_same_shape(got, want));
    for (int64_t i = 0; i < tn_numel(got); i++) {
        const double away = fabs((double)a[i] - (double)b[i]);
        largest = fabs((double)b[i]) > largest ? fabs((double)b[i]) : largest;
        worst = away <= worst ? worst : away;
    }
    if (!(worst <= tol * largest))
        fail_msg("%g away from what is %g at most", worst, largest);
}

static tn_tensor *classes(int64_t n, int64_t count)
{
    tn_tensor *t = tn_empty(TN_I64, TN_SHAPE(n));
    for (int64_t i = 0; i < n; i++)
        tn_i64(t)[i] = (int64_t)(tn__philox_at(3, 0, (uint64_t)i) % (uint64_t)count);
    return t;
}

static tn_tensor *leaf(double scale, int ndim, const int64_t *shape)
{
    return tn_want_grad(tn_rand(-scale, scale, ndim, shape));
}

/* A leaf of the same values. */
static tn_tensor *twin(tn_tensor *t)
{
    tn_tensor *y = tn_like(t);
    assert_true(tn_copy_(y, t));
    return tn_want_grad(y);
}

/* ---- linear_cross_entropy ---- */

/* Enough rows and classes for several runs, which are 256 rows at least. */
static const struct { int64_t rows, dim, classes; bool ignore, sum; } losses[] = {
    {1, 8, 30000, false, false}, {257, 3, 17000, false, false}, {530, 2, 17000, true, true},
    {700, 24, 50, true, false},  {1, 1, 1, false, false},
};

static void one_loss(size_t i)
{
    const int64_t rows = losses[i].rows;
    tn_tensor *x = leaf(2, TN_SHAPE(rows, losses[i].dim)), *w = leaf(1, TN_SHAPE(losses[i].classes, losses[i].dim));
    tn_tensor *target = classes(rows, losses[i].classes), *x2 = twin(x), *w2 = twin(w), *nll;
    const bool ignore = losses[i].ignore, sum = losses[i].sum;
    tn_tensor *loss = tn_linear_cross_entropy(x, w, target, .smoothing = .1, .ignore = ignore, .ignore_index = 7,
                                              .sum = sum, .nll = &nll);
    tn_tensor *logits = tn_affine(x2, w2, NULL);
    tn_tensor *want = tn_cross_entropy(logits, target, .smoothing = .1, .ignore = ignore, .ignore_index = 7,
                                       .sum = sum);
    expect_near(loss, want, 2e-6);
    expect_near(nll, tn_cross_entropy(tn_detach(logits), target, .ignore = ignore, .ignore_index = 7, .sum = sum),
                2e-6);
    assert_false(nll->requires_grad);
    assert_true(tn_backward(loss) && tn_backward(want));
    expect_near(x->grad, x2->grad, 2e-5);
    expect_near(w->grad, w2->grad, 2e-5);
}

static void loss_equals_its_two_steps(void)
{
    for (size_t i = 0; i < sizeof losses / sizeof *losses; i++)
        TN_SCOPE {
            one_loss(i);
        }
}

static void loss_gives_ignored_rows_nothing(void)
{
    tn_tensor *x = leaf(2, TN_SHAPE(9, 4)), *w = leaf(1, TN_SHAPE(5, 4)), *target = classes(9, 5);
    tn_tensor *rest = tn_empty(TN_F32, TN_SHAPE(9, 4)), *some = tn_empty(TN_I64, TN_SHAPE(9)), *want;
    int64_t n = 0;
    tn_i64(target)[4] = -100;
    tn_i64(target)[8] = -100;
    for (int64_t i = 0; i < 9; i++)
        if (tn_i64(target)[i] >= 0) {
            memcpy(tn_f32(rest) + 4 * n, tn_f32(x) + 4 * i, 4 * sizeof(float));
            tn_i64(some)[n++] = tn_i64(target)[i];
        }
    want = tn_cross_entropy(tn_affine(tn_slice(rest, 0, 0, n, 1), tn_detach(w), NULL), tn_slice(some, 0, 0, n, 1));
    tn_tensor *loss = tn_linear_cross_entropy(x, w, target, .ignore = true, .ignore_index = -100);
    expect_near(loss, want, 1e-6);
    assert_true(tn_backward(loss));
    for (int64_t i = 0; i < 36; i++)
        assert_true((tn_f32(x->grad)[i] == 0) == (i / 4 == 4 || i / 4 == 8));
}

static void loss_adds_to_gradients_that_are_there(void)
{
    tn_tensor *x = leaf(2, TN_SHAPE(9, 4)), *w = leaf(1, TN_SHAPE(5, 4)), *target = classes(9, 5), *once;
    assert_true(tn_backward(tn_linear_cross_entropy(x, w, target)));
    once = tn_mul_scalar(w->grad, 1);
    assert_true(tn_backward(tn_linear_cross_entropy(x, w, target)));
    expect_near(w->grad, tn_mul_scalar(once, 2), 1e-6);
    assert_true(tn_backward(tn_mul_scalar(tn_linear_cross_entropy(x, w, target), -2)));
    expect_near(tn_add(w->grad, once), once, 1e-6); /* 2 - 2 + 1 */
}

static void loss_fails_without_an_output(void)
{
    tn_tensor *x = tn_ones(TN_SHAPE(3, 4)), *w = tn_ones(TN_SHAPE(5, 4)), *nll = x;
    assert_null(tn_linear_cross_entropy(x, w, tn_full(5, TN_I64, TN_SHAPE(3)), .nll = &nll));
    expect_error(TN_EARG, "target 5 at position 0 is not a class in 0..4");
    assert_null(nll);
    assert_null(tn_linear_cross_entropy(x, w, NULL, .nll = &nll));
    for (int n = 0; n < 8; n++) {
        tn__fail_alloc_after(n);
        tn_linear_cross_entropy(x, w, tn_full(1, TN_I64, TN_SHAPE(3)));
        tn__fail_alloc_after(-1);
        if (!tn_ok())
            expect_error(TN_ENOMEM, "");
    }
}

/* ---- memory of linear_cross_entropy; runs first, while the pool is empty ---- */

static void test_logits_are_never_all_there(void **state)
{
    enum { ROWS = 4096, CLASSES = 6000, DIM = 4 };
    const size_t all = (size_t)ROWS * CLASSES * sizeof(float);
    (void)state;
    TN_SCOPE {
        tn_tensor *x = leaf(2, TN_SHAPE(ROWS, DIM)), *w = leaf(1, TN_SHAPE(CLASSES, DIM));
        tn_tensor *target = classes(ROWS, CLASSES);
        const tn_memory before = tn_memory_stats();
        assert_true(tn_backward(tn_linear_cross_entropy(x, w, target)));
        const tn_memory after = tn_memory_stats();
        assert_true(after.peak - before.live < all / 64);
        assert_true(after.reserved - before.reserved < all / 2);
    }
    assert_ok();
}

static size_t held_by_a_loss(tn_tensor *x, tn_tensor *w, tn_tensor *target)
{
    size_t held = 0;
    TN_SCOPE {
        const size_t before = tn_memory_stats().live;
        assert_non_null(tn_linear_cross_entropy(x, w, target));
        held = tn_memory_stats().live - before;
    }
    return held;
}

static void test_gradients_are_made_where_wanted(void **state)
{
    enum { ROWS = 512, CLASSES = 1024, DIM = 64 };
    const size_t dx = ROWS * DIM * sizeof(float), dw = CLASSES * DIM * sizeof(float);
    (void)state;
    TN_SCOPE {
        tn_tensor *x = leaf(2, TN_SHAPE(ROWS, DIM)), *w = leaf(1, TN_SHAPE(CLASSES, DIM));
        tn_tensor *target = classes(ROWS, CLASSES);
        assert_in_range(held_by_a_loss(x, w, target), dx + dw, 2 * (dx + dw));
        assert_in_range(held_by_a_loss(x, tn_detach(w), target), dx, dx + dw / 2);
        assert_in_range(held_by_a_loss(tn_detach(x), w, target), dw, dw + dx / 2);
        assert_in_range(held_by_a_loss(tn_detach(x), tn_detach(w), target), 0, dx / 2);
        TN_NO_GRAD {
            assert_in_range(held_by_a_loss(x, w, target), 0, dx / 2);
        }
    }
    assert_ok();
}

/* ---- dropout ---- */

static const struct { int64_t rows, cols; } masks[] = {{37, 101}, {5, 1029}, {1000, 3}, {70, 512}, {1, 1}};
enum { MASKS = sizeof masks / sizeof *masks };

/* The same values and the very zeros of dropout(relu(x + bias)). */
static void relu_drops_what_dropout_drops(void)
{
    for (int i = 0; i < MASKS; i++) TN_SCOPE {
        const int64_t cols = masks[i].cols;
        tn_tensor *x = leaf(2, TN_SHAPE(masks[i].rows, cols)), *bias = leaf(1, TN_SHAPE(cols));
        tn_tensor *x2 = twin(x), *bias2 = twin(bias);
        tn_seed(11);
        tn_tensor *y = tn_bias_relu_dropout(x, bias, .3);
        tn_seed(11);
        tn_tensor *want = tn_dropout(tn_relu(tn_add(x2, bias2)), .3);
        expect_near(y, want, 1e-6);
        for (int64_t k = 0; k < tn_numel(y); k++)
            assert_true((tn_f32(y)[k] == 0) == (tn_f32(want)[k] == 0));
        assert_true(tn_backward_from(y, tn_detach(x2)) && tn_backward_from(want, tn_detach(x2)));
        expect_near(x->grad, x2->grad, 1e-6);
        expect_near(bias->grad, bias2->grad, 1e-5);
    }
}

static void norm_drops_what_dropout_drops(void)
{
    for (int i = 0; i < MASKS; i++) TN_SCOPE {
        const int64_t cols = masks[i].cols;
        const tn__drop_norm_attr a = {.drop = {.p = .3, .key = {11, 0}}, .eps = 1e-5};
        tn_tensor *x = tn_rand(1, 2, TN_SHAPE(masks[i].rows, cols)), *zero = tn_zeros_like(x), *out[4];
        tn_seed(11);
        tn_tensor *want = tn_dropout(x, .3);
        assert_true(tn__apply(TN_OP(dropout_add_layer_norm), &a, sizeof a, 2, (tn_tensor *[]){x, zero}, out));
        expect_near(out[1], want, 1e-7);
        for (int64_t k = 0; k < tn_numel(x); k++)
            assert_true((tn_f32(out[1])[k] == 0) == (tn_f32(want)[k] == 0));
    }
}

static void norm_equals_its_steps(void)
{
    static const double ps[] = {0, .1, 1};
    for (int i = 0; i < 3 * MASKS; i++) TN_SCOPE {
        const double p = ps[i % 3];
        const int64_t rows = masks[i / 3].rows, cols = masks[i / 3].cols;
        tn_tensor *in[4] = {leaf(2, TN_SHAPE(rows, cols)), leaf(2, TN_SHAPE(rows, cols)), leaf(1, TN_SHAPE(cols)),
                            leaf(1, TN_SHAPE(cols))};
        tn_tensor *two[4], *g = tn_rand(-1, 1, TN_SHAPE(rows, cols));
        for (int k = 0; k < 4; k++)
            two[k] = twin(in[k]);
        tn_seed(11);
        tn_tensor *y = tn_dropout_add_layer_norm(in[0], in[1], in[2], in[3], p, 1e-3);
        tn_seed(11);
        tn_tensor *want = tn_layer_norm(tn_add(two[1], tn_dropout(two[0], p)), two[2], two[3], 1e-3);
        expect_near(y, want, 1e-5);
        assert_true(tn_backward_from(y, g) && tn_backward_from(want, g));
        for (int k = 0; k < 4; k++)
            expect_near(in[k]->grad, two[k]->grad, 1e-4);
    }
}

/* What is made for an input does not depend on which others want a gradient. */
static void norm_gradients_are_made_where_wanted(void)
{
    enum { ROWS = 30, COLS = 20, ALL = 15 };
    static const double ps[] = {0, .4, 1};
    for (int i = 0; i < 3; i++) TN_SCOPE {
        tn_tensor *all[4] = {leaf(2, TN_SHAPE(ROWS, COLS)), leaf(2, TN_SHAPE(ROWS, COLS)), leaf(1, TN_SHAPE(COLS)),
                             leaf(1, TN_SHAPE(COLS))};
        tn_tensor *g = tn_rand(-1, 1, TN_SHAPE(ROWS, COLS));
        for (unsigned wanted = ALL; wanted > 0; wanted--) {
            tn_tensor *in[4];
            for (int k = 0; k < 4; k++) {
                in[k] = wanted == ALL ? all[k] : tn_detach(all[k]);
                if (wanted >> k & 1)
                    tn_want_grad(in[k]);
            }
            tn_seed(11);
            assert_true(tn_backward_from(tn_dropout_add_layer_norm(in[0], in[1], in[2], in[3], ps[i], 1e-3), g));
            for (int k = 0; k < 4; k++) {
                assert_true(!in[k]->grad == !(wanted >> k & 1));
                if (in[k]->grad)
                    assert_memory_equal(tn_f32(in[k]->grad), tn_f32(all[k]->grad),
                                        (size_t)tn_numel(in[k]) * sizeof(float));
            }
        }
    }
}

static void random_state_moves_by_one(void)
{
    tn_tensor *x = tn_ones(TN_SHAPE(3, 4));
    for (int i = 0; i < 3; i++) {
        const double p = i / 2.;
        const tn_rng before = tn_rng_state();
        tn_bias_relu_dropout(x, NULL, p);
        assert_int_equal(tn_rng_state().step, before.step + 1);
        tn_dropout_add_layer_norm(x, x, NULL, NULL, p, 1e-5);
        assert_int_equal(tn_rng_state().step, before.step + 2);
    }
}

static void everything_dropped_leaves_no_trace(void)
{
    tn_tensor *x = tn_full(INFINITY, TN_F32, TN_SHAPE(3, 4)), *residual = tn_rand(-1, 1, TN_SHAPE(3, 4));
    const float *y = tn_f32(tn_bias_relu_dropout(x, NULL, 1));
    for (int i = 0; i < 12; i++)
        assert_true(y[i] == 0);
    expect_near(tn_dropout_add_layer_norm(x, residual, NULL, NULL, 1, 1e-5), tn_layer_norm(residual, NULL, NULL, 1e-5),
                1e-6);
}

/* ---- threads ---- */

enum { OUTS = 9 };
static void all_three(tn_tensor **out)
{
    enum { ROWS = 1700, COLS = 320 };
    tn_seed(5);
    tn_tensor *x = leaf(1, TN_SHAPE(ROWS, COLS)), *w = leaf(1, TN_SHAPE(700, COLS)), *bias = leaf(1, TN_SHAPE(COLS));
    tn_tensor *z = leaf(1, TN_SHAPE(ROWS, COLS)), *gain = leaf(1, TN_SHAPE(COLS)), *nll;
    tn_tensor *h = tn_bias_relu_dropout(x, bias, .2);
    tn_tensor *s = tn_dropout_add_layer_norm(h, z, gain, bias, .1, 1e-5);
    tn_tensor *loss = tn_linear_cross_entropy(s, w, classes(ROWS, 700), .smoothing = .1, .nll = &nll);
    assert_true(tn_backward(loss));
    tn_tensor *all[OUTS] = {h, s, loss, nll, x->grad, w->grad, bias->grad, z->grad, gain->grad};
    for (int i = 0; i < OUTS; i++)
        tn_copy_(out[i] = tn_like(all[i]), all[i]);
}

static void bits_do_not_depend_on_threads(void)
{
    tn_tensor *one[OUTS], *more[OUTS];
    tn_set_threads(1);
    all_three(one);
    for (int threads = 2; threads <= 3; threads++) {
        tn_set_threads(threads);
        all_three(more);
        for (int i = 0; i < OUTS; i++)
            assert_memory_equal(tn_f32(one[i]), tn_f32(more[i]), (size_t)tn_numel(one[i]) * sizeof(float));
    }
    tn_set_threads(0);
}

#define TESTS(X)                                                                                    \
    X(loss_equals_its_two_steps) X(loss_gives_ignored_rows_nothing)                                 \
    X(loss_adds_to_gradients_that_are_there) X(loss_fails_without_an_output)                        \
    X(relu_drops_what_dropout_drops) X(norm_drops_what_dropout_drops) X(norm_equals_its_steps)      \
    X(norm_gradients_are_made_where_wanted)                                                         \
    X(random_state_moves_by_one) X(everything_dropped_leaves_no_trace) X(bits_do_not_depend_on_threads)

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
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_logits_are_never_all_there),
                                       cmocka_unit_test(test_gradients_are_made_where_wanted), TESTS(ROW)};
    return cmocka_run_group_tests_name("fused", tests, quiet_errors, NULL);
}
