/* A machine without a GPU: asking for one is an error that says why, and nothing else
 * changes.  The kernels are tested in cuda/. */
#include "check.h"

#include <stdlib.h>

static void asking_for_a_gpu_is_an_error(void **state)
{
    (void)state;
    tn_device d = tn_cuda(0);
    assert_true(strlen(tn_cuda_trouble()) > 20);
    print_message("%s\n", tn_cuda_trouble());
    expect_error(TN_EDEVICE, tn_cuda_trouble());
    assert_string_equal(tn_device_name(d), "cpu");
    d = tn_device_named("cuda");
    expect_error(TN_EDEVICE, tn_cuda_trouble());
    assert_string_equal(tn_device_name(d), "cpu");
    tn_device_named("cuda:1");
    expect_error(TN_EDEVICE, tn_cuda_trouble());
    assert_string_equal(tn_device_name(tn_device_named("auto")), "cpu");
    assert_ok();
}

/* The module itself must load everywhere: the trouble is then the driver's, not the loader's. */
static void the_module_loads(void **state)
{
    (void)state;
    if (!getenv("TN_CUDA_MODULE"))
        skip();
    if (!strstr(tn_cuda_trouble(), "NVIDIA driver") && !strstr(tn_cuda_trouble(), "GPU"))
        fail_msg("%s", tn_cuda_trouble());
}

static void the_library_stays_usable(void **state)
{
    (void)state;
    TN_SCOPE {
        tn_cuda(0);
        tn_error_clear();
        assert_true(tn_item(tn_sum(tn_exp(tn_zeros(TN_SHAPE(2, 3))), TN_ALL, false)) == 6);
        assert_ok();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(asking_for_a_gpu_is_an_error),
        cmocka_unit_test(the_module_loads),
        cmocka_unit_test(the_library_stays_usable),
    };
    tn_on_error(NULL, NULL);
    if (!tn_cuda_trouble()) {
        printf("this machine has a GPU: skipped\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
