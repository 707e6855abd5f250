/* The adaptive softmax: that its probabilities are some, its loss and its predictions are theirs, that an empty
 * cluster costs nothing, and what it refuses.  PyTorch's numbers: test_parity_recurrent.c. */
#include "check.h"
#include "internal.h"

#include <math.h>

enum { N = 40, IN = 16, CLASSES = 50 };

static tn_module *with_bias(void)
{
    return tn_adaptive_softmax(IN, CLASSES, {10, 20, 35}, .div = 2, .head_bias = true);
}

static tn_module *without(void) { return tn_adaptive_softmax(IN, CLASSES, {30}); }

static tn_tensor *targets(int64_t n, int64_t below)
{
    tn_tensor *t = tn_empty(TN_I64, TN_SHAPE(n));
    for (int64_t i = 0; i < n; i++)
        tn_i64(t)[i] = i * 7919 % below;
    return t;
}

static void test_loss_and_predictions_are_those_of_the_probabilities(void **state)
{
    tn_module *nets[] = {with_bias(), without()};
    (void)state;
    for (int k = 0; k < 2; k++)
        TN_SCOPE {
            tn_tensor *x = tn_randn(0, 2, TN_SHAPE(N, IN)), *target = targets(N, CLASSES);
            tn_tensor *logs = tn_adaptive_log_probs(nets[k], x), *best = tn_adaptive_predict(nets[k], x);
            tn_tensor *sums = tn_logsumexp(logs, TN_AXIS(1), false), *likeliest = tn_argmax(logs, 1);
            assert_ok();
            for (int64_t i = 0; i < N; i++) {
                assert_true(fabs(tn_at(sums, &i)) < 1e-5);
                assert_int_equal(tn_i64(best)[i], tn_i64(likeliest)[i]);
            }
            assert_false(best->requires_grad);
            tn_tensor *loss = tn_adaptive_loss(nets[k], x, target), *nll = tn_nll(logs, target);
            assert_true(fabs(tn_item(loss) - tn_item(nll)) < 1e-5);
            assert_true(tn_item(tn_forward(nets[k], x, tn_cast(target, TN_I32))) == tn_item(loss));
            assert_ok();
        }
    tn_free(nets[0], nets[1]);
}

/* Gradients through the probabilities are those of the loss. */
static void test_gradients_are_those_of_the_probabilities(void **state)
{
    tn_module *m = with_bias();
    (void)state;
    TN_SCOPE {
        tn_tensor *x = tn_want_grad(tn_randn(0, 1, TN_SHAPE(N, IN))), *target = targets(N, CLASSES);
        static const char *const path[] = {"head.weight", "head.bias", "tail.0.0.weight", "tail.2.1.weight"};
        tn_tensor *from_loss[5], *from_probs[5], **to = from_loss;
        for (int pass = 0; pass < 2; pass++, to = from_probs) {
            assert_true(tn_backward(pass ? tn_nll(tn_adaptive_log_probs(m, x), target)
                                         : tn_adaptive_loss(m, x, target)));
            for (int i = 0; i < 5; i++) {
                tn_tensor *p = i < 4 ? &tn_find_param(m, path[i])->t : x;
                to[i] = tn_like(p->grad);
                assert_true(tn_copy_(to[i], p->grad) && tn_fill_(p->grad, 0));
            }
        }
        for (int i = 0; i < 5; i++)
            assert_true(tn_item(tn_amax(tn_abs(tn_sub(from_loss[i], from_probs[i])), TN_ALL, false)) < 1e-6);
    }
    assert_ok();
    tn_free(m);
}

static void test_an_empty_cluster_costs_nothing(void **state)
{
    tn_module *m = with_bias();
    (void)state;
    TN_SCOPE {
        assert_true(tn_backward(tn_adaptive_loss(m, tn_randn(0, 1, TN_SHAPE(N, IN)), targets(N, 20))));
        assert_non_null(tn_find_param(m, "tail.0.1.weight")->t.grad);
        assert_null(tn_find_param(m, "tail.1.0.weight")->t.grad);
        assert_null(tn_find_param(m, "tail.2.1.weight")->t.grad);
        assert_true(tn_item(tn_adaptive_loss(m, tn_zeros(TN_SHAPE(0, IN)), targets(0, 1))) == 0);
        assert_int_equal(tn_numel(tn_adaptive_predict(m, tn_zeros(TN_SHAPE(0, IN)))), 0);
    }
    assert_ok();
    tn_free(m);
}

/* More log-probabilities than are held at once. */
static void test_predictions_of_many_classes(void **state)
{
    tn_module *m = tn_adaptive_softmax(4, 90000, {2, 40000}, .div = 1);
    (void)state;
    TN_SCOPE {
        tn_tensor *x = tn_randn(0, 1, TN_SHAPE(100, 4)), *best = tn_adaptive_predict(m, x);
        for (int64_t i = 0; i < 100; i += 9) {
            tn_tensor *likeliest = tn_argmax(tn_adaptive_log_probs(m, tn_slice(x, 0, i, i + 1, 1)), 1);
            assert_int_equal(tn_i64(best)[i], tn_i64(likeliest)[0]);
        }
    }
    assert_ok();
    tn_free(m);
}

/* Digits of the clusters' rows, in parts of 16 rows or a sixteenth of all, whichever is more. */
static void test_plans_tell_rows_of_clusters(void **state)
{
    tn_module *m = with_bias();
    (void)state;
    TN_SCOPE {
        tn_tensor *x = tn_randn(0, 1, TN_SHAPE(N, IN)), *target = targets(N, CLASSES);
        assert_int_equal(tn_adaptive_plan(m, targets(N, 10)), 1);
        assert_int_equal(tn_adaptive_plan(m, targets(N, 20)), 1 + 2);
        assert_int_equal(tn_adaptive_plan(m, targets(N, CLASSES)), 1 + 1 + 17 * (1 + 17));
        assert_int_equal(tn_adaptive_plan(m, targets(1000, 35)), 1 + 5 + 17 * 7); /* of 63 rows */
        assert_int_equal(tn_adaptive_plan(m, tn_reshape(tn_cast(target, TN_I32), TN_SHAPE(4, N / 4))),
                         tn_adaptive_plan(m, target));
        assert_int_equal(tn_adaptive_plan(m, targets(0, 1)), 1);
        assert_int_equal(tn_adaptive_plan(NULL, target), 0);
        /* with targets on the host, none is needed */
        assert_true(tn_item(tn_adaptive_loss(m, x, target, .plan = 1)) == tn_item(tn_adaptive_loss(m, x, target)));
    }
    assert_ok();
    tn_free(m);
}

static void test_shapes_are_pytorchs(void **state)
{
    static const struct { const char *path; int64_t rows, columns; } want[] = {
        {"head.weight", 13, 16}, {"tail.0.0.weight", 8, 16}, {"tail.0.1.weight", 10, 8},
        {"tail.1.0.weight", 4, 16}, {"tail.1.1.weight", 15, 4}, {"tail.2.0.weight", 2, 16}, {"tail.2.1.weight", 15, 2}};
    tn_module *m = with_bias();
    (void)state;
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        const tn_param *p = tn_find_param(m, want[i].path);
        assert_true(p && p->t.shape[0] == want[i].rows && p->t.shape[1] == want[i].columns);
    }
    assert_int_equal(tn_numel(&tn_find_param(m, "head.bias")->t), 13);
    tn_free(m);
}

static void test_bad_ones_are_refused(void **state)
{
    tn_module *m = without(), *other = tn_linear(3, 4);
    (void)state;
#define REFUSED(call, code, words) \
    assert_null(call);             \
    expect_error(code, words)
    REFUSED(tn_adaptive_softmax(0, 5, {2}), TN_EARG, "adaptive_softmax: 0 columns and 5 classes");
    REFUSED(tn_adaptive_softmax(8, 5), TN_EARG, "adaptive_softmax: 0 cutoffs; 1 to 7");
    REFUSED(tn_adaptive_softmax(8, 50, {1, 2, 3, 4, 5, 6, 7, 8}, .div = 1), TN_EARG, "8 cutoffs; 1 to 7");
    REFUSED(tn_adaptive_softmax(8, 5, {2, 5}), TN_EARG, "cutoff 5; they ascend and are below the 5 classes");
    REFUSED(tn_adaptive_softmax(8, 5, {3, 3}), TN_EARG, "cutoff 3; they ascend");
    REFUSED(tn_adaptive_softmax(8, 5, {-3}), TN_EARG, "cutoff -3");
    REFUSED(tn_adaptive_softmax(8, 5, {2, 4}), TN_EARG, "8 columns divided by 4 2 times leave none");
    REFUSED(tn_adaptive_softmax(8, 5, {2}, .div = NAN), TN_EARG, "divided by nan");
    REFUSED(tn_adaptive_softmax(8, 5, {2}, .div = 1e-300), TN_EARG, "or too many");
    TN_SCOPE {
        tn_tensor *x = tn_zeros(TN_SHAPE(2, IN)), *target = targets(2, 2);
        REFUSED(tn_adaptive_loss(m, tn_zeros(TN_SHAPE(2, 3)), target), TN_ESHAPE, "input [2,3] is not [N,16]");
        REFUSED(tn_adaptive_predict(m, tn_zeros(TN_SHAPE(3))), TN_ESHAPE, "input [3] is not [N,16]");
        REFUSED(tn_adaptive_loss(m, x, targets(3, 2)), TN_ESHAPE, "targets i64 [3] for inputs [2,16]");
        REFUSED(tn_adaptive_loss(m, x, tn_zeros(TN_SHAPE(2))), TN_ESHAPE, "targets f32 [2]");
        tn_i64(target)[1] = CLASSES;
        REFUSED(tn_adaptive_loss(m, x, target), TN_EARG, "target 50 of row 1 is not a class in 0..49");
        REFUSED(tn_adaptive_loss(other, x, target), TN_EARG, "adaptive_softmax: Linear is another layer");
        REFUSED(tn_adaptive_predict(other, x), TN_EARG, "another layer");
        assert_null(tn_adaptive_log_probs(NULL, x));
        assert_int_equal(tn_adaptive_plan(m, target), 0);
        expect_error(TN_EARG, "adaptive_plan: target 50 of row 1 is not a class in 0..49");
        assert_int_equal(tn_adaptive_plan(m, x), 0);
        expect_error(TN_EDTYPE, "adaptive_plan: targets are integers, these are f32");
        assert_int_equal(tn_adaptive_plan(other, target), 0);
        expect_error(TN_EARG, "adaptive_softmax: Linear is another layer");
    }
    assert_ok();
    tn_free(m, other);
}

static void test_threads_do_not_show(void **state)
{
    tn_module *m = tn_adaptive_softmax(64, 3000, {300, 1000}, .head_bias = true);
    double loss[3];
    (void)state;
    for (int n = 0; n < 3; n++)
        TN_SCOPE {
            tn_seed(3);
            tn_set_threads(n + 1);
            loss[n] = tn_item(tn_adaptive_loss(m, tn_randn(0, 1, TN_SHAPE(500, 64)), targets(500, 3000)));
        }
    tn_set_threads(0);
    assert_true(loss[0] == loss[1] && loss[0] == loss[2]);
    tn_free(m);
}

static void test_running_out_of_memory_is_an_error(void **state)
{
    bool ok = false;
    (void)state;
    for (long n = 0; !ok; n++)
        TN_SCOPE {
            tn_tensor *x = tn_randn(0, 1, TN_SHAPE(6, IN)), *target = targets(6, CLASSES);
            tn__fail_alloc_after(n);
            tn_module *m = without();
            ok = tn_backward(tn_adaptive_loss(m, x, target)) && tn_adaptive_predict(m, x);
            tn__fail_alloc_after(-1);
            tn_free(m);
            if (!ok)
                expect_error(TN_ENOMEM, "out of memory");
            assert_true(n < 2000);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loss_and_predictions_are_those_of_the_probabilities),
        cmocka_unit_test(test_gradients_are_those_of_the_probabilities),
        cmocka_unit_test(test_an_empty_cluster_costs_nothing),
        cmocka_unit_test(test_predictions_of_many_classes),
        cmocka_unit_test(test_plans_tell_rows_of_clusters),
        cmocka_unit_test(test_shapes_are_pytorchs),
        cmocka_unit_test(test_bad_ones_are_refused),
        cmocka_unit_test(test_threads_do_not_show),
        cmocka_unit_test(test_running_out_of_memory_is_an_error),
    };
    return cmocka_run_group_tests_name("adaptive softmax", tests, quiet_errors, NULL);
}
