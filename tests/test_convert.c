/* `tenon convert` and model.init_from: weights in and out. */
#include "program.h"

#define NET                                                                             \
    "name: net\nmodel: {name: mlp, hidden: 4, layers: 1}\n"                             \
    "data: {name: shapes, count: 32, test_count: 16, batch: 16, workers: 0}\n"          \
    "train: {epochs: 1}\ndevice: {threads: 1}\n"

static void save_some(const char *name, tn_dtype also)
{
    TN_SCOPE {
        const tn_named list[] = {
            {"layer.weight", tn_reshape(tn_arange(6, TN_F32), TN_SHAPE(2, 3))},
            {"größe", tn_full(2, TN_F64, TN_SCALAR)},
            {"steps", tn_arange(3, TN_I64)},
            {"none", tn_empty(also, TN_SHAPE(0, 4))},
        };
        assert_true(tn_safetensors_save(in_folder(name), 4, list, NULL));
    }
}

static void test_there_and_back(void **state)
{
    (void)state;
    save_some("a.safetensors", TN_U8);
    expect(0, tenon("convert a.safetensors b.npz"));
    expect(0, tenon("convert b.npz c.safetensors"));
    assert_true(same_files("a.safetensors", "c.safetensors"));
    expect(0, tenon("convert c.safetensors d.npz"));
    assert_true(same_files("b.npz", "d.npz"));
    for (int i = 0; i < 2; i++) {
        expect(0, tenon("convert --list %s", i ? "a.safetensors" : "b.npz"));
        expect_words(output, "layer.weight  f32   [2,3]\n");
        expect_words(output, "f64   []\n");
        expect_words(output, "steps         i64   [3]\n");
        expect_words(output, "none          u8    [0,4]\n");
        expect_words(output, "4 tensors, 10 elements\n");
    }
}

static void test_convert_refuses(void **state)
{
    (void)state;
    save_some("bf.safetensors", TN_BF16);
    expect_complaint(1, tenon("convert bf.safetensors b.npz"), "cannot hold bf16");
    assert_false(exists("b.npz"));
    expect_complaint(2, tenon("convert bf.safetensors b.npy"), "b.npy: a file is known by its end");
    expect_complaint(2, tenon("convert bf.safetensors"), "IN and OUT are wanted");
    expect_complaint(2, tenon("convert --list a.npz b.npz"), "--list takes one file");
    expect_complaint(1, tenon("convert absent.npz b.npz"), "absent.npz");
    expect_complaint(1, tenon("convert bf.safetensors absent/b.safetensors"), "absent/b.safetensors");
    write_text("text.npz", "hello, this is no archive at all");
    expect_complaint(1, tenon("convert --list text.npz"), "text.npz, byte 0: not a zip file");
    assert_int_equal(truncate(in_folder("bf.safetensors"), 200), 0);
    expect_complaint(1, tenon("convert --list bf.safetensors"), "bf.safetensors");
}

/* What does not fit is told in log.txt and on the terminal; with model.strict it is an error. */
static void test_init_from(void **state)
{
    static char log[1 << 14];
    (void)state;
    write_text("net.yaml", NET);
    expect(0, tenon("train net.yaml --out run"));
    TN_SCOPE {
        tn_safetensors *f = tn_safetensors_open(in_folder("run/model.safetensors"));
        assert_true(tn_safetensors_count(f) >= 3);
        const char *name = tn_safetensors_name(f, 0), *last = tn_safetensors_name(f, tn_safetensors_count(f) - 1);
        const tn_named list[] = {{name, tn_safetensors_read(f, name)}, {last, tn_zeros(TN_SHAPE(7, 7, 7))},
                                 {"stranger", tn_zeros(TN_SHAPE(1))}};
        assert_true(tn_safetensors_save(in_folder("part.safetensors"), 3, list, NULL));
        tn_free(f);
    }
    expect(0, tenon("train net.yaml --out again --set model.init_from=run/model.safetensors --set model.strict=true"));
    assert_null(strstr(errors, "model.safetensors"));
    expect(0, tenon("train net.yaml --out from --quiet --set model.init_from=part.safetensors"));
    read_whole(in_folder("from/log.txt"), log, sizeof log);
    const char *const words[] = {" is missing\n", "stranger is unexpected\n", "f32 [7,7,7] in the file, f32 ["};
    for (int i = 0; i < 3; i++) {
        expect_words(log, words[i]);
        expect_words(errors, words[i]);
    }
    expect(1, tenon("train net.yaml --out strict --set model.init_from=part.safetensors --set model.strict=true"));
    expect_words(errors, "stranger is unexpected\n");
    expect_words(errors, "tenon: load: part.safetensors does not fit this");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_there_and_back, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_convert_refuses, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_init_from, folder_begin, folder_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
