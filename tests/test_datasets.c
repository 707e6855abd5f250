/* Data sets: by name, from arrays, drawn, and real ones where they lie beside the project.  Damaged
 * files are in test_data_files.c, loaders in test_data.c. */
#include "data_files.h"
#include "real_data.h"

/* ---- by name ---- */

static tn_dataset *make_mine(const tn_dataset_spec *spec)
{
    return tn_shapes(spec->split, 3, spec->seed);
}

static void by_name(void **state)
{
    (void)state;
    int n;
    const char *const *names = tn_datasets(&n);
    assert_in_range(n, 5, 64);
    assert_string_equal(names[0], "cifar10");
    assert_null(tn_dataset_named(&(tn_dataset_spec){.name = "cifra10"}));
    expect_error(TN_EARG, "'cifar10'");
    assert_null(tn_dataset_named(&(tn_dataset_spec){.root = "x"}));
    expect_error(TN_EARG, "no name");
    tn_dataset *d = tn_dataset_named(&(tn_dataset_spec){.name = "shapes", .split = TN_TEST});
    assert_int_equal(tn_dataset_len(d), 2000);
    tn_free(d);
    assert_null(tn_dataset_named(&(tn_dataset_spec){.name = "mnist", .root = "x", .split = TN_VALID}));
    expect_error(TN_EARG, "mnist: there is no validation split");
    assert_null(tn_dataset_named(&(tn_dataset_spec){.name = "cifar100", .root = "x", .split = TN_VALID}));
    expect_error(TN_EARG, "cifar100: there is no validation split");

    assert_true(tn_register_dataset("mine", make_mine));
    d = tn_dataset_named(&(tn_dataset_spec){.name = "mine"});
    assert_int_equal(tn_dataset_len(d), 3);
    tn_free(d);
    assert_false(tn_register_dataset("mine", make_mine));
    expect_error(TN_EARG, "the name 'mine' is taken");
    assert_false(tn_register_dataset("cifar10", make_mine));
    expect_error(TN_EARG, "the name 'cifar10' is taken");
    assert_false(tn_register_dataset(NULL, make_mine));
    expect_error(TN_EARG, "a name and a function");
    names = tn_datasets(&n);
    assert_string_equal(names[n - 1], "mine");
}

/* ---- arrays ---- */

static void from_tensors(void **state)
{
    (void)state;
    tn_dataset *d;
    TN_SCOPE {
        tn_tensor *wide = tn_randn(0, 1, TN_SHAPE(3, 5, 2));
        tn_tensor *x = tn_permute(wide, TN_SHAPE(1, 0, 2)); /* strided [5,3,2] */
        tn_tensor *y = tn_from((int32_t[]){2, 0, 1, 2, 6}, TN_I32, TN_SHAPE(5));
        d = tn_tensors(x, y);
        assert_non_null(d);
        assert_int_equal(d->len, 5);
        assert_int_equal(d->classes, 7);
        assert_int_equal(d->y_dtype, TN_I64);
        assert_false(d->image);
        float got[6];
        int64_t label;
        assert_true(d->cls->get(d, 4, got, &label));
        assert_int_equal(label, 6);
        for (int i = 0; i < 6; i++)
            assert_true(got[i] == (float)tn_at(x, (int64_t[]){4, i / 2, i % 2}));
        tn_free(d);

        d = tn_tensors(x, tn_rand(0, 1, TN_SHAPE(5, 4))); /* regression */
        assert_int_equal(d->classes, 0);
        assert_int_equal(d->y_ndim, 1);
        tn_free(d);
        assert_null(tn_tensors(x, tn_zeros(TN_SHAPE(4))));
        expect_error(TN_ESHAPE, "[5,3,2] and y [4]");
        assert_null(tn_tensors(x, tn_from_i64((int64_t[]){0, 1, -3, 0, 0}, TN_SHAPE(5))));
        expect_error(TN_EARG, "label -3 of sample 2");
        assert_null(tn_tensors(tn_zeros(TN_SCALAR), y));
        expect_error(TN_ESHAPE, "same number of samples");
        assert_null(tn_tensors(tn_cast(x, TN_BF16), y));
        expect_error(TN_EDTYPE, "bf16 is not taken");
        assert_null(tn_tensors(NULL, y));
        assert_ok();
    }
}

static void from_npy(void **state)
{
    (void)state;
    TN_SCOPE {
        tn_tensor *x = tn_cast(tn_randn(0, 1, TN_SHAPE(6, 3)), TN_F64);
        assert_true(tn_save_npy(x, at("x.npy")));
        assert_true(tn_save_npy(tn_arange(6, TN_U8), at("y.npy")));
        tn_dataset *d = tn_arrays(at("x.npy"), at("y.npy"));
        assert_non_null(d);
        assert_int_equal(d->x_dtype, TN_F32);
        assert_int_equal(d->classes, 6);
        tn_free(d);
        assert_true(tn_save_npy(tn_full(7, TN_U8, TN_SHAPE(6, 4, 4, 3)), at("images.npy")));
        setenv("TENON_DATA", folder, 1);
        d = tn_dataset_named(&(tn_dataset_spec){.name = "arrays", .x = "images.npy", .y = "y.npy"});
        unsetenv("TENON_DATA");
        assert_non_null(d);
        assert_true(d->image);
        tn_loader *l = tn_loader(d, .batch = 6);
        TN_EACH(b, l)
            assert_true(tn_f32(b.x)[95] == 7.0f / 255.0f);
        tn_free(l);
    }
    assert_null(tn_arrays(at("absent.npy"), at("y.npy")));
    expect_error(TN_EIO, "absent.npy");
    assert_null(tn_arrays(NULL, at("y.npy")));
    expect_error(TN_EARG, "two .npy files");
}

/* ---- shapes ---- */

static void drawn_shapes(void **state)
{
    (void)state;
    enum { N = 200, BYTES = 32 * 32 * 3 };
    static uint8_t x[5][N][BYTES];
    const struct {
        tn_split split;
        int64_t n;
        uint64_t seed;
    } sets[] = {{TN_TRAIN, N, 1}, {TN_TRAIN, 2 * N, 1}, {TN_TEST, N, 1}, {TN_TRAIN, N, 2}};
    for (int s = 0; s < 4; s++) {
        tn_dataset *d = tn_shapes(sets[s].split, sets[s].n, sets[s].seed);
        assert_non_null(d);
        assert_true(d->image);
        for (int64_t k = 0; k < N; k++) {
            const int64_t i = s == 1 ? N - 1 - k : k; /* in any order */
            int64_t y;
            assert_true(d->cls->get(d, i, x[s][i], &y));
            assert_int_equal(y, i % d->classes);
            assert_non_null(d->class_names[y]);
        }
        tn_free(d);
    }
    assert_memory_equal(x[0], x[1], sizeof x[0]);
    for (int i = 0; i < N; i++) {
        assert_memory_not_equal(x[0][i], x[2][i], BYTES);
        assert_memory_not_equal(x[0][i], x[3][i], BYTES);
        assert_memory_not_equal(x[0][i], x[0][(i + 10) % N], BYTES); /* same class */
    }
    assert_null(tn_shapes(TN_TRAIN, 0, 1));
    expect_error(TN_EARG, "0 samples");
}

/* ---- real data ---- */

static void real_mnist(void **state)
{
    (void)state;
    const char *dir = unpacked("mnist", "mnist/train-images-idx3-ubyte.gz");
    if (!dir)
        skip();
    static const int counts[2][10] = {
        {5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949},
        {980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009},
    };
    setenv("TENON_DATA", dir, 1);
    for (int split = TN_TRAIN; split <= TN_TEST; split++) {
        tn_dataset *d = tn_dataset_named(
            &(tn_dataset_spec){.name = "mnist", .root = "mnist", .split = (tn_split)split});
        assert_ok();
        assert_int_equal(d->len, split == TN_TRAIN ? 60000 : 10000);
        int count[10] = {0};
        double sum = 0;
        for (int64_t i = 0; i < d->len; i++) {
            uint8_t x[784];
            int64_t y;
            assert_true(d->cls->get(d, i, x, &y));
            count[y]++;
            for (int p = 0; p < 784; p++)
                sum += x[p];
        }
        assert_memory_equal(count, counts[split], sizeof count);
        if (split == TN_TRAIN) /* the published mean */
            assert_true(sum / 255 / 784 / 60000 > 0.13065 && sum / 255 / 784 / 60000 < 0.13067);
        tn_free(d);
    }
    unsetenv("TENON_DATA");
}

static void real_cifar10(void **state)
{
    (void)state;
    const char *dir = unpacked("cifar10", "cifar-10-batches-bin/batches.meta.txt");
    if (!dir)
        skip();
    char path[700];
    snprintf(path, sizeof path, "%s/cifar-10-batches-bin", dir);
    for (int split = TN_TRAIN; split <= TN_TEST; split++) {
        tn_dataset *d = tn_cifar10(path, (tn_split)split);
        assert_ok();
        int count[10] = {0};
        double sum[3] = {0};
        static uint8_t x[3072];
        for (int64_t i = 0; i < d->len; i++) {
            int64_t y;
            d->cls->get(d, i, x, &y);
            count[y]++;
            for (int p = 0; p < 3072; p++)
                sum[p % 3] += x[p];
        }
        for (int c = 0; c < 10; c++)
            assert_int_equal(count[c], split == TN_TRAIN ? 5000 : 1000);
        for (int c = 0; c < 3; c++) {
            const double mean = sum[c] / 255 / 1024 / (double)d->len;
            assert_true(mean > d->mean[c] - 0.006 && mean < d->mean[c] + 0.006);
        }
        tn_free(d);
    }
}

/* True pixels, repeated to the published sizes, through a folder and through an archive. */
static void real_cifar10_bytes(void **state)
{
    (void)state;
    const char *dir = unpacked("cifar10-lossless", "cifar-10-lossless-part/test_batch.part.bin");
    if (!dir)
        skip();
    item items[6];
    static char names[6][80];
    mkdir(at("cifar-10-batches-bin"), 0755);
    for (int k = 0; k < 6; k++) {
        char path[800], part[40];
        snprintf(part, sizeof part, k < 5 ? "data_batch_%d" : "test_batch", k + 1);
        snprintf(path, sizeof path, "%s/cifar-10-lossless-part/%s.part.bin", dir, part);
        uint8_t *bytes = malloc(BATCH);
        FILE *f = fopen(path, "rb");
        assert_non_null(f);
        const size_t n = fread(bytes, 1, BATCH, f);
        fclose(f);
        assert_true(n > 0 && n % RECORD == 0);
        for (size_t i = n; i < BATCH; i++)
            bytes[i] = bytes[i - n];
        snprintf(names[k], sizeof names[k], "cifar-10-batches-bin/%s.bin", part);
        items[k] = (item){names[k], bytes, BATCH, 0};
        write_file(at(names[k]), bytes, BATCH);
    }
    const item order[] = {items[0], items[4], items[5], items[2], items[1], items[3]};
    write_archive(at("cifar-10-binary.tar.gz"), 6, order);
    for (int archive = 0; archive < 2; archive++)
        for (int split = TN_TRAIN; split <= TN_TEST; split++) {
            const char *name = archive ? "cifar-10-binary.tar.gz" : "cifar-10-batches-bin";
            tn_dataset *d = tn_cifar10(at(name), (tn_split)split);
            assert_ok();
            for (int64_t i = 0; i < d->len; i++) {
                const uint8_t *file = items[split == TN_TRAIN ? i / RECORDS : 5].data;
                same_image(d, i, file + i % RECORDS * RECORD, 1);
            }
            tn_free(d);
        }
    for (int k = 0; k < 6; k++)
        free((void *)(uintptr_t)items[k].data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_name),
        cmocka_unit_test(from_tensors),
        cmocka_unit_test(from_npy),
        cmocka_unit_test(drawn_shapes),
        cmocka_unit_test(real_mnist),
        cmocka_unit_test(real_cifar10),
        cmocka_unit_test(real_cifar10_bytes),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
