/* The product of linear layers: what a row becomes does not depend on the rows beside it, on threads or on tiles,
 * bit by bit and on every instruction set; and it is right. */
#include "check.h"
#include "tensor/internal.h"

#include <math.h>
#include <stdlib.h>

enum { MOST = 200 }; /* rows */

static const char *isas[8];
static int count;

static int list_isas(void **state)
{
    count = tn__isa_list(isas, 8);
    return quiet_errors(state);
}

/* The first n rows of x, as a tensor of their own. */
static tn_tensor *rows_of(tn_tensor *x, int64_t from, int64_t n)
{
    return tn_contiguous(tn_slice(x, 0, from, from + n, 1));
}

static void expect_rows(const tn_tensor *y, const tn_tensor *all, int64_t from)
{
    assert_ok();
    const int64_t cols = tn_dim(all, 1);
    const float *want = tn_f32((tn_tensor *)(uintptr_t)all) + from * cols;
    assert_memory_equal(tn_f32((tn_tensor *)(uintptr_t)y), want, (size_t)tn_numel(y) * sizeof(float));
}

static void test_rows_do_not_know_each_other(void **state)
{
    static const struct { int64_t n, k; } sizes[] = {
        {33, 1}, {40, 9}, {16, 32}, {70, 300}, {130, 512}, {1, 1000}, {17, 1000}, {65, 2048}, {5, 513},
    };
    (void)state;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (int i = 0; i < count; i++) TN_SCOPE {
            tn__isa_set(isas[i]);
            tn_tensor *x = tn_rand(-1, 1, TN_SHAPE(MOST, sizes[s].k)), *bias = tn_rand(-1, 1, TN_SHAPE(sizes[s].n));
            tn_tensor *w = tn_rand(-1, 1, TN_SHAPE(sizes[s].n, sizes[s].k)), *all = tn_affine(x, w, bias);
            for (int64_t m = 1; m <= 70; m++) TN_SCOPE {
                const int64_t from = m * 7 % (MOST - m);
                expect_rows(tn_affine(rows_of(x, from, m), w, bias), all, from);
            }
        }
    tn__isa_set(isas[0]);
}

/* Many rows are cut in other ways than few: into parts, and into rounds where x is large. */
static void test_rows_of_many(void **state)
{
    static const struct { int64_t m, n, k; } sizes[] = {{3001, 70, 40}, {5000, 20, 2048}, {1500, 200, 300}};
    (void)state;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (int i = 0; i < count; i++) TN_SCOPE {
            if (!strcmp(isas[i], "plain"))
                continue;
            tn__isa_set(isas[i]);
            const int64_t m = sizes[s].m;
            tn_tensor *x = tn_rand(-1, 1, TN_SHAPE(m, sizes[s].k));
            tn_tensor *w = tn_rand(-1, 1, TN_SHAPE(sizes[s].n, sizes[s].k)), *all = tn_affine(x, w, NULL);
            for (int threads = 1; threads <= 5; threads += 2) {
                tn_set_threads(threads);
                expect_rows(tn_affine(x, w, NULL), all, 0);
                expect_rows(tn_affine(rows_of(x, m / 2, 1), w, NULL), all, m / 2);
                expect_rows(tn_affine(rows_of(x, m - 320, 320), w, NULL), all, m - 320);
            }
            tn_set_threads(0);
        }
    tn__isa_set(isas[0]);
}

/* Columns too: each depends on its own row of w and its own bias. */
static void test_columns_do_not_know_each_other(void **state)
{
    (void)state;
    for (int i = 0; i < count; i++) TN_SCOPE {
        tn__isa_set(isas[i]);
        tn_tensor *x = tn_rand(-1, 1, TN_SHAPE(23, 600)), *w = tn_rand(-1, 1, TN_SHAPE(77, 600));
        tn_tensor *bias = tn_rand(-1, 1, TN_SHAPE(77)), *all = tn_affine(x, w, bias);
        for (int64_t n = 1; n < 77; n += 5) {
            tn_tensor *some = tn_affine(x, rows_of(w, 77 - n, n), rows_of(bias, 77 - n, n));
            expect_rows(some, tn_contiguous(tn_slice(all, 1, 77 - n, 77, 1)), 0);
        }
    }
    tn__isa_set(isas[0]);
}

static void test_against_float64(void **state)
{
    static const struct { int64_t m, n, k; } sizes[] = {
        {1, 1, 1}, {3, 4, 0}, {7, 9, 5}, {13, 17, 515}, {101, 33, 1025}, {250, 3, 4100}, {5, 700, 64},
    };
    (void)state;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (int i = 0; i < count; i++) TN_SCOPE {
            tn__isa_set(isas[i]);
            const int64_t n = sizes[s].n, k = sizes[s].k;
            tn_tensor *x = tn_rand(-1, 1, TN_SHAPE(sizes[s].m, k)), *w = tn_rand(-1, 1, TN_SHAPE(n, k));
            for (int biased = 0; biased < 2; biased++) {
                tn_tensor *bias = biased ? tn_rand(-1, 1, TN_SHAPE(n)) : NULL;
                tn_tensor *want = tn_affine(tn_cast(x, TN_F64), tn_cast(w, TN_F64), tn_cast(bias, TN_F64));
                tn_tensor *y = tn_affine(x, w, bias);
                const double off = tn_item(tn_amax(tn_abs(tn_sub(tn_cast(y, TN_F64), want)), TN_ALL, false));
                assert_ok();
                assert_true(off < 1e-6 * (1 + sqrt((double)k)));
            }
        }
    tn__isa_set(isas[0]);
}

/* A value that is not a number stays in its row, or in its column. */
static void test_not_a_number_stays_where_it_is(void **state)
{
    (void)state;
    for (int i = 0; i < count; i++) TN_SCOPE {
        tn__isa_set(isas[i]);
        tn_tensor *x = tn_ones(TN_SHAPE(14, 21)), *w = tn_ones(TN_SHAPE(35, 21));
        tn_f32(x)[5 * 21 + 20] = NAN;
        tn_f32(w)[33 * 21] = INFINITY;
        const float *y = tn_f32(tn_affine(x, w, NULL));
        for (int64_t m = 0; m < 14; m++)
            for (int64_t n = 0; n < 35; n++)
                assert_true(m == 5 ? isnan(y[m * 35 + n]) : n == 33 ? isinf(y[m * 35 + n]) : y[m * 35 + n] == 21);
    }
    tn__isa_set(isas[0]);
}

static void test_without_memory(void **state)
{
    (void)state;
    TN_SCOPE {
        tn_tensor *x = tn_ones(TN_SHAPE(14, 21)), *w = tn_ones(TN_SHAPE(35, 21)), *y = NULL;
        for (long after = 0; !y && after < 20; after++) {
            tn__fail_alloc_after(after);
            y = tn_affine(x, w, NULL);
            tn__fail_alloc_after(-1);
            if (!y)
                expect_error(TN_ENOMEM, "out of memory");
        }
        assert_non_null(y);
        assert_ok();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_do_not_know_each_other),
        cmocka_unit_test(test_rows_of_many),
        cmocka_unit_test(test_columns_do_not_know_each_other),
        cmocka_unit_test(test_against_float64),
        cmocka_unit_test(test_not_a_number_stays_where_it_is),
        cmocka_unit_test(test_without_memory),
    };
    return cmocka_run_group_tests_name("the product of linear layers", tests, list_isas, NULL);
}
