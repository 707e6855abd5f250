/* Views and copies: what shares storage, which elements a view shows, what a concat of many gives. */
#include "check.h"

static tn_tensor *count_to(int64_t n) { return tn_arange(n, TN_F32); }

static void expect_values(const tn_tensor *t, int64_t n, const float *want)
{
    float got[64];
    assert_ok();
    assert_int_equal(tn_numel(t), n);
    assert_true(tn_read_f32(t, got));
    for (int64_t i = 0; i < n; i++)
        assert_true(got[i] == want[i]);
}
#define EXPECT(t, ...)                                                                         \
    expect_values(t, (int64_t)(sizeof((float[]){__VA_ARGS__}) / sizeof(float)), (float[]){__VA_ARGS__})

static void test_views_share_storage(void **state)
{
    (void)state;
    TN_SCOPE {
        tn_tensor *x = tn_reshape(count_to(12), TN_SHAPE(3, 4));
        tn_tensor *turned = tn_transpose(x, 0, 1), *part = tn_slice(x, 1, 1, 3, 1);
        tn_tensor *views[] = {turned, part, tn_expand(x, TN_SHAPE(2, 3, 4)), tn_flatten(x, 0),
                              tn_unsqueeze(part, 0), tn_reshape(turned, TN_SHAPE(2, 2, 3)), tn_detach(x)};
        for (size_t i = 0; i < sizeof views / sizeof *views; i++) {
            assert_non_null(views[i]);
            assert_ptr_equal(views[i]->storage, x->storage);
        }
        tn_f32(x)[1] = 100; /* seen through all of them */
        EXPECT(turned, 0, 4, 8, 100, 5, 9, 2, 6, 10, 3, 7, 11);
        EXPECT(part, 100, 2, 5, 6, 9, 10);
        assert_null(tn_f32(part));
        expect_error(TN_EARG, "strided view");
    }
}

static void test_copies_do_not(void **state)
{
    (void)state;
    TN_SCOPE {
        tn_tensor *x = tn_reshape(count_to(6), TN_SHAPE(2, 3)), *turned = tn_transpose(x, 0, 1);
        tn_tensor *copy = tn_contiguous(turned), *flat = tn_reshape(turned, TN_SHAPE(6));
        assert_ptr_equal(tn_contiguous(x), x);
        assert_ptr_equal(tn_cast(x, TN_F32), x);
        assert_ptr_not_equal(copy->storage, x->storage);
        assert_ptr_not_equal(flat->storage, x->storage);
        assert_true(tn_is_contiguous(copy));
        EXPECT(copy, 0, 3, 1, 4, 2, 5);
        EXPECT(flat, 0, 3, 1, 4, 2, 5);
        EXPECT(tn_contiguous(tn_transpose(tn_cast(x, TN_U8), 0, 1)), 0, 3, 1, 4, 2, 5);
        EXPECT(tn_contiguous(tn_transpose(tn_cast(x, TN_BF16), 0, 1)), 0, 3, 1, 4, 2, 5);
        EXPECT(tn_contiguous(tn_transpose(tn_cast(x, TN_I64), 0, 1)), 0, 3, 1, 4, 2, 5);
    }
}

static void test_slices_count_from_the_end_and_clip(void **state)
{
    (void)state;
    TN_SCOPE {
        tn_tensor *x = count_to(6);
        EXPECT(tn_slice(x, 0, -2, 6, 1), 4, 5);
        EXPECT(tn_slice(x, 0, 0, -4, 1), 0, 1);
        EXPECT(tn_slice(x, -1, -100, 100, 4), 0, 4);
        EXPECT(tn_slice(x, 0, 1, INT64_MAX, INT64_MAX), 1);
        EXPECT(tn_slice(tn_slice(x, 0, 1, 6, 2), 0, -1, 3, 1), 5);
        assert_int_equal(tn_numel(tn_slice(x, 0, 4, 2, 1)), 0);
        assert_int_equal(tn_numel(tn_slice(x, 0, 6, INT64_MIN, 1)), 0);
        assert_ok();
    }
}

static void test_concat_of_many(void **state)
{
    enum { N = 100 };
    (void)state;
    TN_SCOPE {
        tn_tensor *part[N];
        for (int i = 0; i < N; i++)
            part[i] = tn_want_grad(tn_full(i, TN_F32, TN_SHAPE(2, 1 + i % 3)));
        tn_tensor *y = tn_concat(N, part, 1);
        assert_int_equal(tn_dim(y, 1), 199);
        for (int64_t i = 0, column = 0; i < N; column += 1 + i++ % 3)
            assert_true(tn_at(y, (int64_t[]){1, column}) == (double)i);
        assert_true(tn_backward(tn_sum(y, TN_ALL, false)));
        for (int i = 0; i < N; i++)
            assert_true(tn_item(tn_mean(part[i]->grad, TN_ALL, false)) == 1);
        assert_ok();
    }
}

static void test_cast_passes_its_gradient_back(void **state)
{
    (void)state;
    TN_SCOPE {
        tn_tensor *x = tn_want_grad(count_to(3));
        tn_tensor *y = tn_square(tn_cast(x, TN_F64));
        assert_int_equal(y->dtype, TN_F64);
        assert_true(tn_backward(tn_sum(y, TN_ALL, false)));
        assert_int_equal(x->grad->dtype, TN_F32);
        EXPECT(x->grad, 0, 2, 4);
    }
}

static void test_indices_outside(void **state)
{
    (void)state;
    TN_SCOPE {
        tn_tensor *w = tn_zeros(TN_SHAPE(5, 2)), *x = tn_zeros(TN_SHAPE(2, 5));
        tn_tensor *low = tn_from_i64((int64_t[]){0, 4, -1}, TN_SHAPE(3));
        assert_null(tn_embed(w, low));
        expect_error(TN_EARG, "embed: index -1, element 2 of the indices, is outside 0..4");
        assert_null(tn_gather(x, 1, tn_reshape(low, TN_SHAPE(1, 3))));
        expect_error(TN_EARG, "gather: index -1, element 2 of the indices, is outside 0..4");
        assert_null(tn_embed(tn_zeros(TN_SHAPE(0, 2)), tn_from_i64((int64_t[]){0}, TN_SHAPE(1))));
        expect_error(TN_EARG, "outside 0..-1");
        assert_null(tn_embed(w, tn_zeros(TN_SHAPE(2))));
        expect_error(TN_EDTYPE, "integer");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_views_share_storage),
        cmocka_unit_test(test_copies_do_not),
        cmocka_unit_test(test_slices_count_from_the_end_and_clip),
        cmocka_unit_test(test_concat_of_many),
        cmocka_unit_test(test_cast_passes_its_gradient_back),
        cmocka_unit_test(test_indices_outside),
    };
    return cmocka_run_group_tests_name("shape ops", tests, quiet_errors, NULL);
}
