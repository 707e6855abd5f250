/* Products: OpenBLAS against the plain C loops, the cut into tiles against the plain kernel, and the same
 * bits for any number of threads; sums and means large enough to be cut in chunks likewise. */
#include "check.h"
#include "tensor/internal.h"

#include <math.h>

static double worst_difference(const tn_tensor *a, const tn_tensor *b)
{
    double worst = 0;
    assert_ok();
    TN_SCOPE {
        tn_tensor *x = tn_cast(tn_detach((tn_tensor *)(uintptr_t)a), TN_F64);
        tn_tensor *z = tn_cast(tn_detach((tn_tensor *)(uintptr_t)b), TN_F64);
        worst = tn_item(tn_amax(tn_abs(tn_sub(x, z)), TN_ALL, false));
    }
    return worst;
}

static tn_tensor *operand(int64_t rows, int64_t cols, bool transposed)
{
    return transposed ? tn_rand(-1, 1, TN_SHAPE(cols, rows)) : tn_rand(-1, 1, TN_SHAPE(rows, cols));
}

static const struct { int64_t m, n, k; } sizes[] = {
    {1, 1, 1},     {5, 1, 300},   {1, 600, 70},  {17, 33, 129},  {513, 40, 65},
    {40, 1100, 8}, {530, 520, 64}, {9, 7, 20000}, {130, 65, 5000}, {3, 4, 0},
};
enum { SIZES = sizeof sizes / sizeof *sizes };

static void test_library_against_plain_loops(void **state)
{
    (void)state;
    for (size_t s = 0; s < SIZES; s++)
        for (int flags = 0; flags < 4; flags++) TN_SCOPE {
            const bool ta = flags & 1, tb = flags & 2;
            const int64_t m = sizes[s].m, n = sizes[s].n, k = sizes[s].k;
            tn_tensor *a = operand(m, k, ta), *b = operand(k, n, tb), *c[2];
            for (int plain = 0; plain < 2; plain++) {
                c[plain] = tn_ones(TN_SHAPE(m, n));
                tn__blas_plain(plain);
                tn__gemm_f32(ta, tb, m, n, k, 0.5f, tn_f32(a), ta ? m : k, tn_f32(b), tb ? k : n, 2, tn_f32(c[plain]),
                             n);
            }
            assert_true(worst_difference(c[0], c[1]) < 1e-5 * (1 + sqrt((double)k)));
            tn_tensor *a64 = tn_cast(a, TN_F64), *b64 = tn_cast(b, TN_F64), *c64 = tn_full(1, TN_F64, TN_SHAPE(m, n));
            tn__blas_plain(false);
            tn__gemm_f64(ta, tb, m, n, k, 0.5, tn_f64(a64), ta ? m : k, tn_f64(b64), tb ? k : n, 2, tn_f64(c64), n);
            assert_true(worst_difference(c64, c[1]) < 1e-5 * (1 + sqrt((double)k)));
        }
}

static void test_tiles_against_the_plain_kernel(void **state)
{
    (void)state;
    for (size_t s = 0; s < SIZES; s++)
        for (int flags = 0; flags < 4; flags++) TN_SCOPE {
            const bool ta = flags & 1, tb = flags & 2;
            const int64_t m = sizes[s].m, n = sizes[s].n, k = sizes[s].k;
            tn_tensor *a = operand(m, k, ta), *b = operand(k, n, tb);
            const char *isa = tn_isa();
            tn_tensor *fast = tn_matmul(a, b, .transpose_a = ta, .transpose_b = tb);
            tn__isa_set("plain");
            tn_tensor *plain = tn_matmul(a, b, .transpose_a = ta, .transpose_b = tb);
            tn__isa_set(isa);
            assert_true(worst_difference(fast, plain) < 1e-6 * (1 + sqrt((double)k)));
        }
}

/* Calls f on 1, 2 and 3 threads and wants the same bits. */
static void expect_same_bits(tn_tensor *(*f)(tn_tensor *const *in), tn_tensor *const *in)
{
    tn_tensor *first = NULL;
    for (int threads = 1; threads <= 3; threads++) {
        tn_set_threads(threads);
        tn_tensor *y = tn_contiguous(f(in));
        assert_non_null(y);
        first = first ? first : y;
        assert_memory_equal(tn_f32(y), tn_f32(first), (size_t)tn_numel(y) * sizeof(float));
    }
    tn_set_threads(0);
}

static tn_tensor *times(tn_tensor *const *in) { return tn_matmul(in[0], in[1]); }
static tn_tensor *weight_gradient(tn_tensor *const *in) { return tn_matmul(in[0], in[1], .transpose_a = true); }
static tn_tensor *heads(tn_tensor *const *in)
{
    return tn_matmul(tn_transpose(in[0], 1, 2), tn_transpose(in[1], 1, 2), .transpose_b = true);
}
static tn_tensor *affine(tn_tensor *const *in) { return tn_affine(in[0], in[1], in[2]); }
static tn_tensor *sum_columns(tn_tensor *const *in) { return tn_sum(in[0], TN_AXIS(0), false); }
static tn_tensor *mean_all(tn_tensor *const *in) { return tn_mean(in[0], TN_ALL, false); }
static tn_tensor *table_gradient(tn_tensor *const *in)
{
    tn_tensor *w = tn_want_grad(tn_zeros(TN_SHAPE(37, 64)));
    tn_backward_from(tn_embed(w, in[0]), in[1]);
    return w->grad;
}

/* onto + a b, by the plain kernel and by the fast one. */
static void test_added_to_what_is_there(void **state)
{
    (void)state;
    for (size_t s = 0; s < SIZES; s++)
        for (int flags = 0; flags < 4; flags++) TN_SCOPE {
            const bool ta = flags & 1, tb = flags & 2;
            const int64_t m = sizes[s].m, n = sizes[s].n, k = sizes[s].k;
            tn_tensor *a = operand(m, k, ta), *b = operand(k, n, tb), *there = operand(m, n, false);
            for (int plain = 0; plain < 2; plain++) {
                tn_tensor *onto = tn_like(there);
                tn__isa_set(plain ? "plain" : "base");
                assert_true(tn_copy_(onto, there) && tn__matmul_onto(onto, a, ta, b, tb));
                tn_tensor *want = tn_add(there, tn_matmul(a, b, .transpose_a = ta, .transpose_b = tb));
                assert_true(worst_difference(onto, want) < 1e-5 * (1 + sqrt((double)k)));
            }
        }
    TN_SCOPE {
        tn_tensor *a = operand(2, 3, false), *b = operand(3, 4, false);
        assert_false(tn__matmul_onto(operand(4, 2, false), a, false, b, false));
        expect_error(TN_ESHAPE, "matmul: a result [2,4] is to be added to [4,2]");
        assert_false(tn__matmul_onto(tn_transpose(operand(4, 2, false), 0, 1), a, false, b, false));
        expect_error(TN_ESHAPE, "is to be added to");
        assert_false(tn__matmul_onto(NULL, a, false, b, false));
    }
}

static void test_bits_do_not_depend_on_threads(void **state)
{
    (void)state;
    TN_SCOPE {
        expect_same_bits(times, (tn_tensor *[]){operand(700, 300, false), operand(300, 900, false)});
        expect_same_bits(weight_gradient, (tn_tensor *[]){operand(20000, 10, false), operand(20000, 30, false)});
        expect_same_bits(heads, (tn_tensor *[]){tn_rand(-1, 1, TN_SHAPE(8, 25, 8, 64)),
                                                tn_rand(-1, 1, TN_SHAPE(8, 30, 8, 64))});
        expect_same_bits(affine, (tn_tensor *[]){operand(1000, 300, false), operand(200, 300, false),
                                                 tn_rand(-1, 1, TN_SHAPE(200))});
        expect_same_bits(sum_columns, (tn_tensor *[]){operand(100000, 16, false)});
        expect_same_bits(mean_all, (tn_tensor *[]){operand(1000, 1001, false)});
        tn_tensor *index = tn_cast(tn_rand(0, 37, TN_SHAPE(3000)), TN_I32);
        expect_same_bits(table_gradient, (tn_tensor *[]){index, operand(3000, 64, false)});
        assert_ok();
    }
}

/* The fast sum against float64 where it is cut: chunks, blocks of columns, rows taken side by side. */
static void test_sums_that_are_cut(void **state)
{
    static const struct { int64_t outer, n, inner; } shapes[] = {
        {1, 300000, 1}, {3, 70001, 1}, {2000, 37, 1}, {1, 50021, 16}, {1, 700, 1500}, {5, 333, 40}, {4000, 3, 5},
    };
    const char *isa[8];
    const int isas = tn__isa_list(isa, 8);
    (void)state;
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) TN_SCOPE {
        tn_tensor *x = tn_rand(0, 1, TN_SHAPE(shapes[s].outer, shapes[s].n, shapes[s].inner));
        tn_tensor *want = tn_sum(tn_cast(x, TN_F64), TN_AXIS(1), false);
        for (int i = 0; i < isas; i++) {
            tn__isa_set(isa[i]);
            const double n = (double)shapes[s].n;
            assert_true(worst_difference(tn_sum(x, TN_AXIS(1), false), want) < 1e-7 * n + 1e-6);
            assert_true(worst_difference(tn_mul_scalar(tn_mean(x, TN_AXIS(1), false), n), want) < 2e-7 * n + 1e-6);
        }
        tn__isa_set(isa[0]);
    }
}

static void test_extremes(void **state)
{
    (void)state;
    TN_SCOPE {
        const float v[2][4] = {{1, 3, NAN, 3}, {2, 5, 5, 1}};
        tn_tensor *x = tn_want_grad(tn_from_f32(v[0], TN_SHAPE(2, 4)));
        tn_tensor *max = tn_amax(x, TN_AXIS(1), false), *at = tn_argmax(x, 1);
        assert_true(isnan(tn_at(max, (int64_t[]){0})) && tn_at(max, (int64_t[]){1}) == 5);
        assert_true(tn_i64(at)[0] == 2 && tn_i64(at)[1] == 1); /* a NaN wins, else the first */
        assert_true(tn_backward(tn_sum(tn_slice(max, 0, 1, 2, 1), TN_ALL, false)));
        assert_true(tn_at(x->grad, (int64_t[]){1, 1}) == 0.5 && tn_at(x->grad, (int64_t[]){1, 2}) == 0.5);
        tn_tensor *none = tn_logsumexp(tn_full(-INFINITY, TN_F32, TN_SHAPE(3)), TN_ALL, false);
        assert_true(tn_item(none) == (double)-INFINITY);
        assert_true(isnan(tn_item(tn_var(tn_ones(TN_SHAPE(1)), TN_ALL, false, 1))));
        assert_ok();
    }
}

static void test_blas_text(void **state)
{
    (void)state;
    tn__blas_plain(true);
    assert_string_equal(tn_blas(), "plain C loops");
    tn__blas_plain(false);
    assert_true(strstr(tn_blas(), "OpenBLAS ") == tn_blas() || strstr(tn_blas(), "plain C loops") == tn_blas());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_library_against_plain_loops),
        cmocka_unit_test(test_tiles_against_the_plain_kernel),
        cmocka_unit_test(test_added_to_what_is_there),
        cmocka_unit_test(test_bits_do_not_depend_on_threads),
        cmocka_unit_test(test_sums_that_are_cut),
        cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_blas_text),
    };
    return cmocka_run_group_tests_name("products and sums", tests, quiet_errors, NULL);
}
