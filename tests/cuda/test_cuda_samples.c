/* All samples of all ops (../samples.h) on the emulated CUDA backend, forward and backward, against
 * the CPU's plain kernels: with threads in both orders, which must give the same bits, and with
 * strided inputs.  A sample that comes upon an op without a kernel is left out and counted. */
#include "samples.h"

#include "emulated.h"

static int left_out;

/* Whether a sample ran; if not, an op that it needs has no kernel in f32 yet. */
static bool ran(const char *op, const tn__sample *s, bool done)
{
    char name[64];
    if (done)
        return true;
    if (sscanf(tn_error()->text, "%63[^:]: no kernel for f32 on cuda", name) != 1 || !tn_op_named(name) ||
        gpu->kernel(tn_op_named(name)->id, TN_F32))
        fail_msg("%s: %s", label(op, s, ""), tn_error()->text);
    tn_error_clear();
    left_out++;
    return false;
}

static bool run_on_gpu(const char *op, const tn__sample *s, bool strided)
{
    elsewhere = on_gpu;
    const bool done = ran(op, s, run(op, s, TN_F32, strided, &other));
    elsewhere = NULL;
    return done;
}

static double tolerance(const tn__sample *s) { return s->tol > 0 ? s->tol : 2e-5; }

static void samples_as_on_the_cpu_in_both_orders(void **state)
{
    int done = 0;
    (void)state;
    left_out = 0;
    FOR_GOOD(op, s) {
        emu_reverse(0);
        run(op, s, TN_F32, false, &reference);
        if (!run_on_gpu(op, s, false))
            continue;
        compare_results(op, s, "on cuda", &other, &reference, tolerance(s));
        reference = other;
        emu_reverse(1);
        run_on_gpu(op, s, false);
        expect_same_bits(op, s, "gives other bits when threads run in reverse");
        done++;
    }
    print_message("%d samples, %d left out because an op has no CUDA kernel\n", done, left_out);
}

/* Those whose operands are rounded to bf16 here, too (cuBLASLt's and cuDNN's: ../test_gpu.c). */
static void samples_in_bf16(void **state)
{
    int done = 0;
    (void)state;
    gpu->precision(0, TN_PRECISION_BF16);
    FOR_GOOD(op, s) {
        if (strncmp(op, "attention", 9))
            continue;
        emu_reverse(0);
        run(op, s, TN_F32, false, &reference);
        run_on_gpu(op, s, false);
        compare_results(op, s, "on cuda in bf16", &other, &reference, 0.01);
        reference = other;
        emu_reverse(1);
        run_on_gpu(op, s, false);
        expect_same_bits(op, s, "gives other bits in bf16 when threads run in reverse");
        done++;
    }
    gpu->precision(0, TN_PRECISION_F32);
    assert_true(done > 10);
}

static void strided_samples(void **state)
{
    (void)state;
    emu_reverse(0);
    FOR_GOOD(op, s) {
        run(op, s, TN_F32, false, &reference);
        if (run_on_gpu(op, s, true))
            compare_results(op, s, "on cuda with strided inputs", &other, &reference, tolerance(s));
    }
}

/* Kernels tell what is wrong with integers when the host waits for them; the rest is told at once. */
static void bad_samples(void **state)
{
    (void)state;
    emu_reverse(0);
    elsewhere = on_gpu;
    for (int l = 0; l < LISTED; l++)
        for (const tn__sample *s = all[l].samples; s->what; s++)
            if (s->error) TN_SCOPE {
                tn_tensor *in[TN_MAX_IN], *y = make(s, inputs(s, TN_F32, false, in), in);
                if (y && tn_ok() && tn_read_f64(y, other.out))
                    fail_msg("%s", label(all[l].op, s, "should have failed"));
                if (tn_error()->code == TN_EKERNEL)
                    ran(all[l].op, s, false);
                else if (!strstr(tn_error()->text, s->error))
                    fail_msg("%s: expected '%s', got '%s'", label(all[l].op, s, ""), s->error, tn_error()->text);
                tn_error_clear();
            }
    elsewhere = NULL;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples_as_on_the_cpu_in_both_orders),
        cmocka_unit_test(samples_in_bf16),
        cmocka_unit_test(strided_samples),
        cmocka_unit_test(bad_samples),
    };
    return cmocka_run_group_tests(tests, open_gpu, NULL);
}
