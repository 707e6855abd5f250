/* Every op, because it is a row: each elementwise row on several shapes, each structured op on its samples.
 *
 *   forward    float32 on every ISA of this machine against float64 plain kernels
 *   gradient   float64 against central differences, float32 against float64
 *   bits       run twice, one against two threads, strided views against contiguous copies
 *   errors     samples that must fail, with their text
 *
 * Samples on a GPU: cuda/test_cuda_samples.c. */
#include "samples.h"

/* ---- the tests ---- */

static void test_each_op_has_samples(void **state)
{
    (void)state;
    for (int i = 0; i < LISTED; i++)
        if (!next_good(all[i].samples)->what)
            fail_msg("%s has no sample that succeeds", all[i].op);
}

static void test_forward_and_gradient_on_each_isa(void **state)
{
    const char *isa[8];
    const int n = tn__isa_list(isa, 8);
    (void)state;
    FOR_GOOD(op, s) {
        run(op, s, TN_F64, false, &reference);
        for (int i = 0; i < n; i++) {
            tn__isa_set(isa[i]);
            run(op, s, TN_F32, false, &other);
            compare_results(op, s, isa[i], &other, &reference, s->tol > 0 ? s->tol : 2e-5);
        }
        tn__isa_set(isa[0]);
    }
}

static tn_tensor *call_sample(void *arg, int n, tn_tensor *const *in)
{
    return make(arg, n, in);
}

static void test_gradient_by_differences(void **state)
{
    (void)state;
    FOR_GOOD(op, s) TN_SCOPE {
        tn_tensor *in[TN_MAX_IN];
        const int n = inputs(s, TN_F64, false, in);
        bool wanted = false;
        TN_SCOPE {
            const tn_tensor *y = make(s, n, in);
            wanted = y && y->requires_grad;
        }
        if (wanted && !tn_gradcheck(call_sample, .arg = (void *)(uintptr_t)s, .n = n, .in = in, .most = 24, .step = 1e-5,
                                    .rtol = 1e-5, .atol = 1e-7))
            fail_msg("%s: %s", label(op, s, "gradcheck"), tn_error()->text);
    }
}

static void test_same_bits_twice_and_for_any_threads(void **state)
{
    (void)state;
    FOR_GOOD(op, s) {
        tn_set_threads(2);
        run(op, s, TN_F32, false, &reference);
        run(op, s, TN_F32, false, &other);
        expect_same_bits(op, s, "gives other bits the second time");
        tn_set_threads(1);
        run(op, s, TN_F32, false, &other);
        expect_same_bits(op, s, "gives other bits on one thread than on two");
        tn_set_threads(3);
        run(op, s, TN_F32, false, &other);
        expect_same_bits(op, s, "gives other bits on three threads than on two");
    }
    tn_set_threads(0);
}

static void test_strided_inputs(void **state)
{
    (void)state;
    FOR_GOOD(op, s) {
        run(op, s, TN_F32, false, &reference);
        run(op, s, TN_F32, true, &other);
        compare_results(op, s, "with strided inputs", &other, &reference, 1e-5);
    }
}

static void test_bad_samples(void **state)
{
    (void)state;
    for (int l = 0; l < LISTED; l++)
        for (const tn__sample *s = all[l].samples; s->what; s++)
            if (s->error) TN_SCOPE {
                tn_tensor *in[TN_MAX_IN];
                const int n = inputs(s, TN_F32, false, in);
                if (make(s, n, in) && tn_ok())
                    fail_msg("%s", label(all[l].op, s, "should have failed"));
                if (!strstr(tn_error()->text, s->error))
                    fail_msg("%s: expected '%s', got '%s'", label(all[l].op, s, ""), s->error, tn_error()->text);
                tn_error_clear();
            }
}

static void test_fast_maths_is_close_to_libm(void **state)
{
    const char *isa[8];
    const int isas = tn__isa_list(isa, 8);
    static const struct { const char *name; tn_tensor *(*f)(tn_tensor *); double (*want)(double); double lo, hi; } rows[] = {
        {"exp", tn_exp, exp, -86, 88}, {"log", tn_log, log, 1e-6, 1e6}, {"tanh", tn_tanh, tanh, -9, 9},
        {"erf", tn_erf, erf, -4, 4}, {"expm1", tn_expm1, expm1, -3, 3}, {"log1p", tn_log1p, log1p, -.9, 9},
    };
    enum { N = 20000 };
    (void)state;
    for (int k = 0; k < isas; k++)
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) TN_SCOPE {
            tn__isa_set(isa[k]);
            tn_tensor *x = tn_rand(rows[r].lo, rows[r].hi, TN_SHAPE(N)), *y = rows[r].f(x);
            for (int i = 0; i < N; i++) {
                const double want = rows[r].want((double)tn_f32(x)[i]), got = (double)tn_f32(y)[i];
                if (fabs(got - want) > 6e-7 * fabs(want) + 1e-37)
                    fail_msg("%s(%.9g) is %.9g on %s, should be %.9g", rows[r].name, (double)tn_f32(x)[i], got,
                             isa[k], want);
            }
        }
    tn__isa_set(isa[0]);
}

static void test_special_values(void **state)
{
    const float x[6] = {0.0f, -0.0f, INFINITY, -INFINITY, NAN, 1e-42f};
    const char *isa[8];
    (void)state;
    for (int k = 0, n = tn__isa_list(isa, 8); k < n; k++) TN_SCOPE {
        tn__isa_set(isa[k]);
        tn_tensor *v = tn_from_f32(x, TN_SHAPE(6));
        const float *e = tn_f32(tn_exp(v)), *l = tn_f32(tn_log(v)), *t = tn_f32(tn_tanh(v)), *r = tn_f32(tn_relu(v));
        assert_true(e[0] == 1 && isinf(e[2]) && e[3] == 0 && isnan(e[4]));
        assert_true(isinf(l[0]) && l[0] < 0 && isinf(l[2]) && isnan(l[3]) && isnan(l[4]));
        assert_true(t[2] == 1 && t[3] == -1 && isnan(t[4]));
        assert_true(isinf(r[2]) && r[3] == 0 && isnan(r[4]));
        assert_true(fabsf(l[5] - logf(1e-42f)) < 1e-4f);
    }
    tn__isa_set(isa[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_op_has_samples),
        cmocka_unit_test(test_forward_and_gradient_on_each_isa),
        cmocka_unit_test(test_gradient_by_differences),
        cmocka_unit_test(test_same_bits_twice_and_for_any_threads),
        cmocka_unit_test(test_strided_inputs),
        cmocka_unit_test(test_bad_samples),
        cmocka_unit_test(test_fast_maths_is_close_to_libm),
        cmocka_unit_test(test_special_values),
    };
    return cmocka_run_group_tests_name("ops", tests, quiet_errors, NULL);
}
