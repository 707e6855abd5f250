/* Engines that a device's libraries have chosen, as a checkpoint holds them: given and taken back, damaged, of another
 * GPU and of another version; and a run of the program on the emulated backend, which is resumed.  What real
 * libraries choose: test_plans.c, test_cublaslt.c. */
#define _GNU_SOURCE
#include "emulated.h"

#include <stdlib.h>

#include "program.h"

static tn_device device(void) { return (tn_device){gpu, 0}; }

static tn_tensor *engines(const char *chosen)
{
    setenv("TN_TEST_ENGINE", chosen, 1);
    return tn_engines(device());
}

static bool names(const tn_tensor *t, const char *engine)
{
    return t && memmem(tn_data(t), (size_t)tn_numel(t), engine, strlen(engine));
}

static tn_tensor *bytes(const void *from, int64_t n)
{
    tn_tensor *t = tn_empty(TN_U8, 1, &n);
    memcpy(tn_u8(t), from, (size_t)n);
    return t;
}

static void none_are_no_error(void **state)
{
    (void)state;
    unsetenv("TN_TEST_ENGINE");
    TN_SCOPE {
        assert_null(tn_engines(device()));
        assert_null(tn_engines(tn_cpu()));
        assert_int_equal(tn_set_engines(device(), NULL), 0);
        assert_int_equal(tn_set_engines(tn_cpu(), tn_full(0, TN_U8, TN_SHAPE(3))), 0);
        assert_ok();
    }
}

static void given_and_taken_back(void **state)
{
    (void)state;
    TN_SCOPE {
        tn_tensor *first = engines("first");
        assert_true(names(first, "first"));
        tn_tensor *other = bytes(tn_data(first), tn_numel(first));
        memcpy(memmem(tn_u8(other), (size_t)tn_numel(other), "first", 5), "other", 5);
        assert_int_equal(tn_set_engines(device(), other), 0);
        assert_true(names(engines("third"), "other"));
        assert_int_equal(tn_set_engines(device(), first), 0);
        assert_true(names(engines("third"), "first"));
        assert_ok();
    }
}

static void what_means_nothing_here_is_counted(void **state)
{
    (void)state;
    TN_SCOPE {
        tn_tensor *now = engines("first");
        tn_tensor *elsewhere = bytes(tn_data(now), tn_numel(now));
        memcpy(memmem(tn_u8(elsewhere), (size_t)tn_numel(elsewhere), "emulated", 8), "a better", 8);
        assert_int_equal(tn_set_engines(device(), elsewhere), 1);
        setenv("TN_TEST_VERSION", "2", 1);
        assert_int_equal(tn_set_engines(device(), now), 1);
        setenv("TN_TEST_VERSION", "0", 1); /* the library is not there */
        assert_int_equal(tn_set_engines(device(), now), 1);
        assert_int_equal(tn_set_engines(device(), engines("first")), 1);
        unsetenv("TN_TEST_VERSION");
        tn_tensor *refused = bytes(tn_data(now), tn_numel(now)); /* by the library: another key */
        memcpy(memmem(tn_u8(refused), (size_t)tn_numel(refused), "of all", 6), "of one", 6);
        assert_int_equal(tn_set_engines(device(), refused), 1);
        assert_ok();
    }
}

static void expect_damage(const tn_tensor *t)
{
    assert_int_equal(tn_set_engines(device(), t), -1);
    expect_error(TN_EFORMAT, "engines: ");
}

static void damage_is_refused(void **state)
{
    (void)state;
    TN_SCOPE {
        const tn_tensor *whole = engines("first");
        const int64_t n = tn_numel(whole), rows = n - (int64_t)(sizeof "of all ops" + 5 + 16); /* where they begin */
        for (int64_t i = 0; i < n; i++)
            if (i != rows)
                TN_SCOPE { expect_damage(bytes(tn_data(whole), i)); }
        for (int64_t at = 0; at < 16; at++) /* library, and lengths of key and engine */
            TN_SCOPE {
                tn_tensor *lies = bytes(tn_data(whole), n);
                tn_u8(lies)[rows + at] ^= 0xe0;
                expect_damage(lies);
            }
        TN_SCOPE {
            tn_tensor *format = bytes(tn_data(whole), n);
            tn_u8(format)[14]++;
            expect_damage(format);
        }
        expect_damage(tn_zeros(TN_SHAPE(400)));
        assert_true(names(engines("third"), "first"));
    }
}

/* ---- a run ---- */

static const char config[] =
    "name: tiny\n"
    "model: {name: stack, stack: 'avg_pool2d 8 8, flatten, linear 48 10'}\n"
    "data: {name: shapes, count: 64, test_count: 16, batch: 32, workers: 0}\n"
    "optim: {name: adam, lr: 0.001}\n"
    "train: {epochs: 3}\n"
    "device: {name: cuda, threads: 1}\n";

static tn_tensor *saved_engines(const char *run)
{
    char path[64];
    snprintf(path, sizeof path, "%s/checkpoint.safetensors", run);
    tn_safetensors *f = tn_safetensors_open(in_folder(path));
    tn_tensor *t = tn_safetensors_read(f, "engines");
    tn_free(f);
    return t;
}

static void train(const char *run, int steps, const char *more)
{
    expect(0, tenon("train tiny.yaml --out %s --set train.max_steps=%d %s", run, steps, more));
}

static void a_resumed_run_computes_with_the_same(void **state)
{
    (void)state;
    setenv("TN_CUDA_MODULE", TN_STAND_IN, 1);
    write_text("tiny.yaml", config);
    TN_SCOPE {
        setenv("TN_TEST_ENGINE", "first", 1);
        train("a", 2, "");
        assert_true(names(saved_engines("a"), "first"));
        setenv("TN_TEST_ENGINE", "other", 1);
        train("a", 4, "--resume");
        assert_null(strstr(output, "engines"));
        assert_true(names(saved_engines("a"), "first"));
        setenv("TN_TEST_VERSION", "2", 1);
        train("a", 6, "--resume");
        expect_words(output, "1 engines of cuDNN or cuBLASLt that the checkpoint names cannot be used here");
        assert_true(names(saved_engines("a"), "other"));
        unsetenv("TN_TEST_VERSION");
        train("b", 6, "");
        assert_true(same_files("a/model.safetensors", "b/model.safetensors"));
        train("c", 1, "--device cpu");
        assert_null(saved_engines("c"));
        expect_error(TN_EARG, "has no tensor 'engines'");
    }
}

static int begin(void **state)
{
    return open_gpu(state) || folder_begin(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(none_are_no_error),
        cmocka_unit_test(given_and_taken_back),
        cmocka_unit_test(what_means_nothing_here_is_counted),
        cmocka_unit_test(damage_is_refused),
        cmocka_unit_test(a_resumed_run_computes_with_the_same),
    };
    return cmocka_run_group_tests(tests, begin, folder_end);
}
