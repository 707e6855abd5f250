/* A whole training step: the same bits on any number of threads and every time, no growth of memory, and
 * survival of every single allocation that fails. */
#include "check.h"
#include "internal.h"

#include <stdlib.h>

/* A network with every layer that training uses, small enough to be run hundreds of times. */
static tn_module *small_net(void)
{
    return tn_seq(tn_conv2d(3, 8, 3, .padding = 1, .no_bias = true), tn_batch_norm2d(8, .relu = true),
                  tn_max_pool2d(2, 2, 0), tn_residual(tn_conv2d(8, 8, 3, .padding = 1)), tn_fn(tn_gelu),
                  tn_avg_pool2d(2, 2, 0), tn_flatten_layer(), tn_drop(0.1), tn_linear(8 * 4, 16), tn_layernorm(16),
                  tn_linear(16, 4));
}

static void train(tn_module *net, tn_optim *opt, int steps)
{
    for (int i = 0; i < steps; i++)
        TN_SCOPE {
            tn_tensor *x = tn_randn(0, 1, TN_SHAPE(9, 8, 8, 3));
            tn_tensor *y = tn_from_i64((int64_t[9]){0, 1, 2, 3, 0, 1, 2, 3, 0}, TN_SHAPE(9));
            tn_backward(tn_cross_entropy(tn_forward(net, x), y, .smoothing = 0.1));
            tn_clip_norm(opt, 5);
            tn_step(opt);
        }
}

typedef struct bytes { size_t n; unsigned char data[1 << 20]; } bytes;

static bool collect(void *arg, const char *path, tn_param *p)
{
    bytes *b = arg;
    (void)path;
    if (p->t.dtype != TN_F32)
        return true;
    const size_t n = (size_t)tn_numel(&p->t) * sizeof(float);
    assert_true(b->n + n <= sizeof b->data);
    assert_true(tn_read_f32(&p->t, (float *)(void *)(b->data + b->n)));
    b->n += n;
    return true;
}

static void weights_after(int threads, const char *isa, bytes *out)
{
    if (isa)
        tn__isa_set(isa);
    tn_set_threads(threads);
    tn_seed(11);
    tn_module *net = small_net();
    tn_optim *opt = tn_radam(net, .lr = 0.01, .decay = 1e-4);
    train(net, opt, 8);
    out->n = 0;
    tn_each_param(net, collect, out);
    tn_free(opt, net);
    assert_ok();
}

static bytes one, other;

static void test_same_bits_for_any_threads_and_every_time(void **state)
{
    const char *isa[8];
    (void)state;
    for (int k = 0, n = tn__isa_list(isa, 8); k < n; k++) {
        weights_after(1, isa[k], &one);
        for (int threads = 1; threads <= 3; threads++) {
            weights_after(threads, isa[k], &other);
            assert_int_equal(one.n, other.n);
            assert_memory_equal(one.data, other.data, one.n);
        }
    }
    tn__isa_set(isa[0]);
    tn_set_threads(0);
}

static void test_memory_does_not_grow(void **state)
{
    (void)state;
    const size_t before = tn_memory_stats().live;
    tn_module *net = small_net();
    tn_optim *opt = tn_sgd(net, .lr = 0.01, .momentum = 0.9);
    train(net, opt, 3);
    const tn_memory warm = tn_memory_stats();
    train(net, opt, 20);
    assert_int_equal(tn_memory_stats().live, warm.live);
    assert_int_equal(tn_memory_stats().reserved, warm.reserved);
    tn_free(opt, net);
    assert_int_equal(tn_memory_stats().live, before);
    assert_ok();
}

static void test_every_allocation_may_fail(void **state)
{
    (void)state;
    tn_set_threads(1); /* so that the n-th allocation is the same one each time */
    const size_t before = tn_memory_stats().live;
    int survived = 0;
    for (bool done = false; !done; survived++) {
        tn_seed(1);
        tn__fail_alloc_after(survived);
        tn_module *net = small_net();
        tn_optim *opt = tn_adam(net, .lr = 0.01);
        train(net, opt, 1);
        tn_save(net, TN_BINARY_DIR "/failing-allocation.safetensors");
        tn_free(opt, net);
        tn__fail_alloc_after(-1);
        done = tn_ok();
        if (!done && tn_error()->code != TN_ENOMEM)
            fail_msg("allocation %d: %s", survived, tn_error()->text);
        tn_error_clear();
        assert_int_equal(tn_memory_stats().live, before);
    }
    tn_set_threads(0);
    print_message("survived the failure of each of %d allocations\n", survived - 1);
    assert_true(survived > 300);
    weights_after(2, NULL, &other); /* and the library is as good as new */
    weights_after(2, NULL, &one);
    assert_memory_equal(one.data, other.data, one.n);
}

static void test_step_refuses_after_an_error(void **state)
{
    (void)state;
    tn_seed(1);
    tn_module *net = small_net();
    tn_optim *opt = tn_sgd(net, .lr = 0.1);
    one.n = other.n = 0;
    tn_each_param(net, collect, &one);
    TN_SCOPE {
        tn_tensor *x = tn_randn(0, 1, TN_SHAPE(2, 8, 8, 4)); /* four channels where three are wanted */
        tn_backward(tn_sum(tn_forward(net, x), TN_ALL, false));
        assert_false(tn_step(opt));
    }
    expect_error(TN_ESHAPE, "in 0");
    tn_each_param(net, collect, &other);
    assert_memory_equal(one.data, other.data, one.n);
    tn_free(net, opt);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bits_for_any_threads_and_every_time),
        cmocka_unit_test(test_memory_does_not_grow),
        cmocka_unit_test(test_every_allocation_may_fail),
        cmocka_unit_test(test_step_refuses_after_an_error),
    };
    return cmocka_run_group_tests_name("train", tests, quiet_errors, NULL);
}
