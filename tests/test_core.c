/* Errors, scopes, memory, threads, random numbers, tensors, and what autograd promises beyond single ops. */
#include "check.h"
#include "internal.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

/* ---- errors ---- */

static int handled;
static void count_errors(const tn_err *e, void *arg)
{
    (void)e;
    *(int *)arg += 1;
}

static void test_first_error_sticks_and_null_flows(void **state)
{
    (void)state;
    handled = 0;
    tn_on_error(count_errors, &handled);
    TN_SCOPE {
        tn_tensor *a = tn_zeros(TN_SHAPE(2, 3)), *y = tn_relu(tn_add(tn_matmul(a, a), a));
        assert_null(y);
        assert_int_equal(tn_numel(y), 0);
        assert_true(isnan(tn_item(y)));
        tn_fail(TN_EIO, "later");
    }
    assert_int_equal(handled, 1);
    expect_error(TN_ESHAPE, "matmul: shapes do not fit: [2,3] x [2,3]");
    tn_on_error(NULL, NULL);
}

static void *fail_elsewhere(void *arg)
{
    tn_fail(TN_EARG, "in the other thread");
    *(tn_err *)arg = *tn_error();
    tn_error_clear();
    return NULL;
}

static void test_errors_are_per_thread_and_travel(void **state)
{
    pthread_t t;
    tn_err e;
    (void)state;
    pthread_create(&t, NULL, fail_elsewhere, &e);
    pthread_join(t, NULL);
    assert_true(tn_ok());
    tn_fail_as(&e);
    expect_error(TN_EARG, "in the other thread");
}

/* ---- scopes ---- */

static int leave_early(void)
{
    TN_SCOPE {
        tn_zeros(TN_SHAPE(100));
        TN_SCOPE {
            tn_zeros(TN_SHAPE(200));
            return 1;
        }
    }
    return 0;
}

static void test_scopes_end_on_every_way_out(void **state)
{
    (void)state;
    const size_t before = tn_memory_stats().live;
    for (int i = 0; i < 3; i++)
        TN_SCOPE {
            tn_zeros(TN_SHAPE(10));
            if (i == 1)
                break;
        }
    assert_int_equal(leave_early(), 1);
    TN_SCOPE {
        tn_zeros(TN_SHAPE(10));
        goto out;
    }
out:
    assert_int_equal(tn_memory_stats().live, before);
}

static void test_keep_moves_outward(void **state)
{
    (void)state;
    const size_t before = tn_memory_stats().live;
    TN_SCOPE {
        tn_tensor *kept = NULL;
        TN_SCOPE {
            kept = tn_keep(tn_full(3, TN_F32, TN_SHAPE(2)));
            tn_zeros(TN_SHAPE(1000));
        }
        assert_true(tn_f32(kept)[1] == 3);
    }
    assert_int_equal(tn_memory_stats().live, before);
}

/* (Not under AddressSanitizer, where every block is malloc's own.) */
#ifndef __SANITIZE_ADDRESS__
static void test_same_step_same_addresses(void **state)
{
    void *first[3] = {0};
    (void)state;
    for (int step = 0; step < 3; step++)
        TN_SCOPE {
            for (int i = 0; i < 3; i++) {
                void *p = tn__data(tn_empty(TN_F32, TN_SHAPE(1000 * (i + 1))));
                if (step == 2)
                    assert_ptr_equal(p, first[i]);
                first[i] = p;
            }
        }
}
#endif

/* ---- threads ---- */

static void count_task(void *arg, int64_t i, int worker)
{
    assert_true(worker >= 0 && worker < tn_threads());
    atomic_fetch_add(&((atomic_int *)arg)[i], 1);
}

static void nested_task(void *arg, int64_t i, int worker)
{
    (void)worker;
    tn_parallel(10, count_task, (atomic_int *)arg + 10 * i);
}

static void test_each_task_runs_once(void **state)
{
    static atomic_int seen[1000];
    (void)state;
    for (int threads = 1; threads <= 4; threads++) {
        tn_set_threads(threads);
        for (int round = 0; round < 50; round++) {
            memset((void *)seen, 0, sizeof seen);
            tn_parallel(1000, count_task, seen);
            tn_parallel(100, nested_task, seen);
            for (int i = 0; i < 1000; i++)
                assert_int_equal(seen[i], 2);
        }
    }
    tn_set_threads(0);
}

/* ---- random numbers ---- */

static void test_philox_known_answers(void **state)
{
    /* Random123's kat_vectors: philox4x32-10 */
    (void)state;
    const tn__philox4 zero = tn__philox(0, 0, 0);
    const uint32_t want0[4] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
    const tn__philox4 ones = tn__philox(~0ull, ~0ull, ~0ull);
    const uint32_t want1[4] = {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(zero.v[i], want0[i]);
        assert_int_equal(ones.v[i], want1[i]);
    }
}

static void test_random_state_saves_and_restores(void **state)
{
    (void)state;
    TN_SCOPE {
        tn_seed(3);
        tn_rand(0, 1, TN_SHAPE(5));
        const tn_rng at = tn_rng_state();
        tn_tensor *a = tn_randn(0, 1, TN_SHAPE(1001));
        tn_rng_restore(at);
        tn_tensor *b = tn_randn(0, 1, TN_SHAPE(1001));
        assert_memory_equal(tn_f32(a), tn_f32(b), 1001 * sizeof(float));
        double sum = 0, squares = 0;
        for (int i = 0; i < 1001; i++) {
            sum += (double)tn_f32(a)[i];
            squares += (double)tn_f32(a)[i] * (double)tn_f32(a)[i];
        }
        assert_true(fabs(sum / 1001) < .15 && fabs(squares / 1001 - 1) < .2);
    }
}

/* ---- tensors ---- */

static void test_half_floats(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) { /* every half survives the way through float */
        const float f = tn__from_f16((uint16_t)h), b = tn__from_bf16((uint16_t)h);
        if (!isnan(f))
            assert_int_equal(tn__to_f16(f), h);
        if (!isnan(b))
            assert_int_equal(tn__to_bf16(b), h);
    }
    assert_int_equal(tn__to_f16(65519.9f), 0x7bff);
    assert_int_equal(tn__to_f16(65520.0f), 0x7c00);
    assert_int_equal(tn__to_f16(2.98023224e-8f), 0); /* half of the smallest: to even */
    assert_int_equal(tn__to_f16(2.99e-8f), 1);
    assert_int_equal(tn__to_f16(1.00048828125f), 0x3c00);
    assert_int_equal(tn__to_bf16(1.00390625f), 0x3f80);
    assert_true(isnan(tn__from_f16(tn__to_f16(NAN))) && isnan(tn__from_bf16(tn__to_bf16(NAN))));
}

static void test_casts_are_defined_for_every_number(void **state)
{
    (void)state;
    TN_SCOPE {
        tn_tensor *x = tn_from_f32((float[5]){NAN, 1e20f, -1e20f, 300.7f, -3.7f}, TN_SHAPE(5));
        const int32_t want[5] = {0, INT32_MAX, INT32_MIN, 300, -3};
        const uint8_t bytes[5] = {0, 255, 0, 255, 0};
        assert_memory_equal(tn_i32(tn_cast(x, TN_I32)), want, sizeof want);
        assert_memory_equal(tn_u8(tn_cast(x, TN_U8)), bytes, sizeof bytes);
        assert_int_equal(tn_i64(tn_cast(x, TN_I64))[1], INT64_MAX);
        assert_int_equal(tn_u8(tn_cast(tn_from_i64((int64_t[1]){257}, TN_SHAPE(1)), TN_U8))[0], 1);
    }
}

static void test_bad_shapes(void **state)
{
    (void)state;
    assert_null(tn_empty(TN_F32, TN_SHAPE(-1)));
    expect_error(TN_ESHAPE, "negative");
    assert_null(tn_empty(TN_F32, TN_SHAPE(1ll << 40, 1ll << 40)));
    expect_error(TN_ESHAPE, "too large");
    assert_null(tn_empty(TN_F32, 9, (int64_t[9]){0}));
    expect_error(TN_ESHAPE, "9 dims");
    assert_null(tn_empty(TN_F32, TN_SHAPE(1ll << 45)));
    expect_error(TN_ENOMEM, "out of memory");
    TN_SCOPE {
        tn_tensor *x = tn_zeros(TN_SHAPE(3));
        assert_null(tn_i64(x));
        expect_error(TN_EDTYPE, "wanted i64, the tensor is f32");
        tn_add(x, tn_cast(x, TN_F64));
        expect_error(TN_EDTYPE, "add: input 1 should be f32 but is f64");
        tn_relu(tn_cast(x, TN_I32));
        expect_error(TN_EDTYPE, "relu: input 0 should be floating but is i32");
        tn_relu(tn_cast(x, TN_F16));
        expect_error(TN_EKERNEL, "relu: no kernel for f16 on cpu");
        assert_true(isnan(tn_item(x)));
        expect_error(TN_ESHAPE, "item");
        tn_device_named("gpu");
        expect_error(TN_EDEVICE, "'gpu' is not one of");
    }
}

static void test_in_place(void **state)
{
    (void)state;
    TN_SCOPE {
        tn_tensor *y = tn_full(2, TN_F32, TN_SHAPE(4)), *x = tn_ones(TN_SHAPE(4));
        assert_true(tn_scale_(y, 3) && tn_axpy_(y, .5, x));
        assert_true(tn_f32(y)[3] == 6.5f);
        assert_true(tn_copy_(y, tn_arange(4, TN_I64)) && tn_f32(y)[3] == 3);
        assert_true(tn_at(y, (int64_t[]){2}) == 2);
        tn_at(y, (int64_t[]){4});
        expect_error(TN_EARG, "outside 0..3");
    }
}

/* ---- autograd ---- */

static void test_gradients_add_up_and_branch(void **state)
{
    (void)state;
    TN_SCOPE {
        tn_tensor *x = tn_want_grad(tn_full(3, TN_F32, TN_SHAPE(2)));
        for (int i = 1; i <= 2; i++) { /* y = x x + x: dy = 2x + 1 */
            assert_true(tn_backward(tn_sum(tn_add(tn_mul(x, x), x), TN_ALL, false)));
            assert_true(tn_f32(x->grad)[1] == (float)(7 * i));
        }
        tn_zero_grad(x);
        assert_true(tn_f32(x->grad)[1] == 0);
    }
}

static void test_deep_graph(void **state)
{
    (void)state;
    TN_SCOPE {
        tn_tensor *x = tn_want_grad(tn_full(1, TN_F32, TN_SHAPE(1))), *y = x;
        for (int i = 0; i < 100000; i++)
            y = tn_add_scalar(y, 1e-6);
        assert_true(tn_backward(y));
        assert_true(tn_item(x->grad) == 1);
    }
    TN_SCOPE { /* never walked: must die without recursion too */
        tn_tensor *y = tn_want_grad(tn_full(1, TN_F32, TN_SHAPE(1)));
        for (int i = 0; i < 100000; i++)
            y = tn_neg(y);
    }
}

static void test_what_backward_refuses(void **state)
{
    (void)state;
    TN_SCOPE {
        tn_tensor *x = tn_want_grad(tn_full(2, TN_F32, TN_SHAPE(3)));
        tn_tensor *y = tn_exp(x), *loss = tn_sum(y, TN_ALL, false);
        assert_false(tn_backward(y));
        expect_error(TN_ESHAPE, "[3] is not a scalar");
        tn_fill_(y, 1);
        assert_false(tn_backward(loss));
        expect_error(TN_ESTATE, "exp: a tensor that its gradient reads (output 0) was changed in place");
        loss = tn_sum(tn_exp(x), TN_ALL, false);
        assert_true(tn_backward(loss));
        assert_false(tn_backward(loss));
        expect_error(TN_ESTATE, "walked before");
        assert_false(tn_backward(tn_ones(TN_SCALAR)));
        expect_error(TN_ESTATE, "nothing behind this tensor wants a gradient");
        TN_NO_GRAD {
            assert_false(tn_exp(x)->requires_grad);
        }
        assert_true(tn_grad_enabled());
        assert_null(tn_want_grad(tn_exp(x)));
        expect_error(TN_ESTATE, "only leaves");
        assert_null(tn_want_grad(tn_arange(3, TN_I64)));
        expect_error(TN_EDTYPE, "has no gradient");
        /* a gradient's own gradient */
        tn_apply(TN_OP(exp_backward), &(double[2]){0}, 16, 2, (tn_tensor *[]){x, x});
        expect_error(TN_ESTATE, "gradients of gradients");
    }
}

static void test_saved_data_dies_with_backward(void **state)
{
    (void)state;
    TN_SCOPE {
        tn_tensor *x = tn_want_grad(tn_full(2, TN_F32, TN_SHAPE(1000))), *loss = NULL;
        const size_t before = tn_memory_stats().live;
        TN_SCOPE {
            loss = tn_keep(tn_sum(tn_square(tn_exp(x)), TN_ALL, false));
        }
        assert_true(tn_memory_stats().live >= before + 4000); /* exp's output */
        assert_true(tn_backward(loss));
        tn_drop_now(loss);
        assert_true(tn_memory_stats().live <= before + 4200); /* x's gradient */
    }
}

static void test_anomaly_names_the_op(void **state)
{
    (void)state;
    tn_anomaly(true);
    TN_SCOPE {
        tn_tensor *x = tn_want_grad(tn_full(-1, TN_F32, TN_SHAPE(3)));
        tn_exp(tn_log(tn_add_scalar(x, 0)));
        expect_error(TN_ENUM, "log: the result holds NaN");
        tn_backward(tn_sum(tn_sqrt(tn_add_scalar(x, 1)), TN_ALL, false));
        expect_error(TN_ENUM, "sqrt_backward: the result holds NaN");
    }
    tn_anomaly(false);
}

static tn_tensor *wrong_gradient(void *arg, int n, tn_tensor *const *in)
{
    (void)arg;
    (void)n;
    return tn_add(tn_square(in[0]), tn_detach(in[0])); /* the second part is hidden from backward */
}

static void test_gradcheck_finds_a_wrong_gradient(void **state)
{
    (void)state;
    TN_SCOPE {
        tn_tensor *x = tn_want_grad(tn_full(1.5, TN_F64, TN_SHAPE(2)));
        assert_false(tn_gradcheck(wrong_gradient, .n = 1, .in = &x));
        expect_error(TN_ENUM, "backward gives");
    }
}

/* ---- ops of users ---- */

static tn_done cube_f32(const tn_call *c)
{
    const float *x = tn__data(c->in[0]);
    float *y = tn__data(c->out[0]);
    for (int64_t i = 0, n = tn_numel(c->out[0]); i < n; i++)
        y[i] = x[i] * x[i] * x[i];
    return TN_DONE;
}
static bool cube_rule(tn_back *b)
{
    b->d[0] = tn_mul(b->g, tn_mul_scalar(tn_square(b->in[0]), 3));
    return b->d[0] != NULL;
}

static void test_user_op(void **state)
{
    (void)state;
    const tn_op_def def = {"cube", "f", "f", TN_READS_IN(0), .cpu_f32 = cube_f32, .gradient = cube_rule};
    const tn_op *cube = tn_register_op(&def);
    assert_non_null(cube);
    assert_null(tn_register_op(&def));
    expect_error(TN_EARG, "already");
    assert_ptr_equal(tn_op_named("cube"), cube);
    TN_SCOPE {
        tn_tensor *x = tn_want_grad(tn_full(2, TN_F32, TN_SHAPE(2)));
        tn_tensor *y = tn_apply(cube, NULL, 0, 1, &x);
        assert_true(tn_f32(y)[0] == 8);
        assert_true(tn_backward(tn_sum(y, TN_ALL, false)) && tn_f32(x->grad)[0] == 12);
        tn_apply(cube, NULL, 0, 1, (tn_tensor *[]){tn_cast(x, TN_F64)});
        expect_error(TN_EKERNEL, "cube: no kernel for f64");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_error_sticks_and_null_flows),
        cmocka_unit_test(test_errors_are_per_thread_and_travel),
        cmocka_unit_test(test_scopes_end_on_every_way_out),
        cmocka_unit_test(test_keep_moves_outward),
#ifndef __SANITIZE_ADDRESS__
        cmocka_unit_test(test_same_step_same_addresses),
#endif
        cmocka_unit_test(test_each_task_runs_once),
        cmocka_unit_test(test_philox_known_answers),
        cmocka_unit_test(test_random_state_saves_and_restores),
        cmocka_unit_test(test_half_floats),
        cmocka_unit_test(test_casts_are_defined_for_every_number),
        cmocka_unit_test(test_bad_shapes),
        cmocka_unit_test(test_in_place),
        cmocka_unit_test(test_gradients_add_up_and_branch),
        cmocka_unit_test(test_deep_graph),
        cmocka_unit_test(test_what_backward_refuses),
        cmocka_unit_test(test_saved_data_dies_with_backward),
        cmocka_unit_test(test_anomaly_names_the_op),
        cmocka_unit_test(test_gradcheck_finds_a_wrong_gradient),
        cmocka_unit_test(test_user_op),
    };
    return cmocka_run_group_tests_name("core", tests, quiet_errors, NULL);
}
