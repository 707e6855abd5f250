/* Matrix products of the CUDA backend over the emulator (emu/): every way that factors lie in memory, tiles of both
 * sizes, terms in parts; and that a row's bits are its own. */
#include "check.h"
#include "cuda.h"

#include <math.h>

#include "emu.h"
#include "launch.h"
#include "version.h"

static const tn__host host = {TN_VERSION, TN_OP_COUNT, tn_fail};
static const tn_backend *gpu;

#define IN_BOTH_ORDERS for (int reverse = 0; reverse < 2 && (emu_reverse(reverse), true); reverse++)

static tn_tensor *on_gpu(const tn_tensor *t)
{
    tn_tensor *y = tn__tensor_on(gpu, 0, t->dtype, t->ndim, t->shape);
    assert_true(tn_copy_(y, t));
    return y;
}

static tn_tensor *on_cpu(const tn_tensor *t)
{
    tn_tensor *y = tn_empty(t->dtype, t->ndim, t->shape);
    assert_true(tn_copy_(y, t));
    return y;
}

static tn_tensor *uniform(int ndim, const int64_t *shape) { return tn_rand(-1, 1, ndim, shape); }

static void expect_close(const char *what, const tn_tensor *got, const tn_tensor *want, double tol)
{
    const float *x = tn_f32(on_cpu(got)), *y = tn_f32((tn_tensor *)(uintptr_t)want);
    double largest = 1e-6;
    for (int64_t i = 0; i < tn_numel(want); i++)
        largest = fmax(largest, fabs((double)y[i]));
    for (int64_t i = 0; i < tn_numel(want); i++)
        if (!(fabs((double)x[i] - (double)y[i]) <= tol * largest))
            fail_msg("%s: element %lld is %.9g, not %.9g", what, (long long)i, (double)x[i], (double)y[i]);
}

/* c = c + a b + bias with steps of every kind, against a plain loop. */
static void products_of_all_steps(void **state)
{
    enum { BATCH = 2, M = 70, N = 67, K = 19 };
    (void)state;
    IN_BOTH_ORDERS for (unsigned how = 0; how < 16; how++) TN_SCOPE {
        const bool ta = how & 1, tb = how & 2, add = how & 4, wide = how & 8;
        tn_tensor *a = uniform(TN_SHAPE(BATCH, ta ? K : M, ta ? M : K)), *b = uniform(TN_SHAPE(tb ? N : K, tb ? K : N));
        tn_tensor *c = uniform(TN_SHAPE(BATCH, M, wide ? N + 3 : N)), *bias = uniform(TN_SHAPE(N)), *y = on_gpu(c);
        const int64_t row = c->shape[2];
        const tn__cuda_product p = {
            .batch = BATCH, .m = M, .n = N, .k = K, .a = tn__data(on_gpu(a)), .b = tn__data(on_gpu(b)),
            .bias = wide ? tn__data(on_gpu(bias)) : NULL, .c = tn__data(y), .a_row = ta ? 1 : K, .a_col = ta ? M : 1,
            .b_row = tb ? 1 : N, .b_col = tb ? K : 1, .c_row = row, .a_batch = M * K, .c_batch = M * row, .add = add};
        cudaStream_t stream;
        assert_true(tn__cuda_on(0, &stream));
        tn__cuda_work w = {.stream = stream};
        assert_int_equal(tn__cuda_multiply(&p, &w), 0);
        for (int64_t t = 0; t < BATCH; t++)
            for (int64_t i = 0; i < M; i++)
                for (int64_t j = 0; j < N; j++) {
                    float *at = tn_f32(c) + (t * M + i) * row + j;
                    double sum = (add ? (double)*at : 0) + (wide ? (double)tn_f32(bias)[j] : 0);
                    for (int64_t k = 0; k < K; k++)
                        sum += (double)tn_f32(a)[t * M * K + i * p.a_row + k * p.a_col] *
                               (double)tn_f32(b)[k * p.b_row + j * p.b_col];
                    *at = (float)sum;
                }
        expect_close("product", y, c, 1e-6);
    }
}

static void a_rows_bits_are_its_own(void **state)
{
    (void)state;
    IN_BOTH_ORDERS TN_SCOPE { /* large tiles for all rows, small ones for some */
        tn_tensor *x = uniform(TN_SHAPE(1500, 13)), *w = uniform(TN_SHAPE(1430, 13)), *bias = uniform(TN_SHAPE(1430));
        tn_tensor *gx = on_gpu(x), *gw = on_gpu(w), *gb = on_gpu(bias), *all = tn_affine(gx, gw, gb);
        expect_close("affine", all, tn_affine(x, w, bias), 1e-6);
        const float *whole = tn_f32(on_cpu(all));
        const float *some = tn_f32(on_cpu(tn_affine(tn_slice(gx, 0, 700, 705, 1), gw, gb)));
        assert_memory_equal(some, whole + (ptrdiff_t)700 * 1430, 5 * 1430 * sizeof(float));
    }
}

static void terms_in_parts(void **state)
{
    (void)state;
    IN_BOTH_ORDERS TN_SCOPE {
        tn_tensor *a = uniform(TN_SHAPE(3, 5000, 5)), *b = uniform(TN_SHAPE(3, 5000, 66));
        expect_close("many terms", tn_matmul(on_gpu(a), on_gpu(b), .transpose_a = true),
                     tn_matmul(a, b, .transpose_a = true), 1e-6);
    }
}

static void room_that_there_is_not(void **state)
{
    (void)state;
    TN_SCOPE {
        tn_tensor *a = on_gpu(uniform(TN_SHAPE(5000, 5))), *b = on_gpu(uniform(TN_SHAPE(5000, 6)));
        tn_tensor *y = tn__tensor_on(gpu, 0, TN_F32, TN_SHAPE(5, 6));
        const tn__cuda_product p = {.batch = 1, .m = 5, .n = 6, .k = 5000, .a = tn__data(a), .b = tn__data(b),
                                    .c = tn__data(y), .a_row = 1, .a_col = 5, .b_row = 6, .b_col = 1, .c_row = 6,
                                    .split = true};
        tn__cuda_work w = {0};
        emu_machine.blocks = 0;
        assert_int_equal(tn__cuda_multiply(&p, &w), TN_CUDA_NO_MEMORY);
        emu_machine.blocks = 1000000;
        assert_int_equal(tn__cuda_multiply(&p, &w), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_of_all_steps),
        cmocka_unit_test(a_rows_bits_are_its_own),
        cmocka_unit_test(terms_in_parts),
        cmocka_unit_test(room_that_there_is_not),
    };
    char trouble[256];
    tn_on_error(NULL, NULL);
    tn__isa_set("plain");
    gpu = tn__cuda_backend(&host, trouble, sizeof trouble);
    if (!gpu) {
        fprintf(stderr, "%s\n", trouble);
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
