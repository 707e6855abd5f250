/* Data sets: from arrays, drawn, by name, and from published files, whole and damaged.  Loaders are in
 * test_data.c.  Real data are used where the workplace has them, else skipped with a message. */
#include <archive.h>
#include <archive_entry.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "check.h"

static char folder[200]; /* of this run, removed at its end */

/* A path in that folder; a few at a time. */
static const char *at(const char *name)
{
    static char paths[8][800];
    static int turn;
    char *path = paths[turn++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void write_file(const char *path, const void *data, size_t size)
{
    const size_t n = strlen(path);
    const bool gz = n > 3 && strcmp(path + n - 3, ".gz") == 0;
    gzFile f = gzopen(path, gz ? "wb1" : "wbT");
    assert_non_null(f);
    assert_int_equal(gzfwrite(data, 1, size, f), size);
    assert_int_equal(gzclose(f), Z_OK);
}

typedef struct item {
    const char *name;
    const void *data;
    size_t size;
    __LA_MODE_T type; /* 0: a plain file */
} item;

static void write_archive(const char *path, int n, const item *items)
{
    struct archive *a = archive_write_new();
    if (strstr(path, ".zip"))
        archive_write_set_format_zip(a);
    else
        archive_write_set_format_ustar(a);
    if (strstr(path, ".tgz") || strstr(path, ".gz")) {
        archive_write_add_filter_gzip(a);
        archive_write_set_filter_option(a, NULL, "compression-level", "1");
    }
    assert_int_equal(archive_write_open_filename(a, path), ARCHIVE_OK);
    for (int i = 0; i < n; i++) {
        struct archive_entry *e = archive_entry_new();
        archive_entry_set_pathname(e, items[i].name);
        archive_entry_set_filetype(e, items[i].type ? items[i].type : AE_IFREG);
        if (items[i].type == AE_IFLNK)
            archive_entry_set_symlink(e, "/etc/passwd");
        archive_entry_set_perm(e, 0644);
        archive_entry_set_size(e, (int64_t)items[i].size);
        assert_int_equal(archive_write_header(a, e), ARCHIVE_OK);
        assert_int_equal(archive_write_data(a, items[i].data, items[i].size), items[i].size);
        archive_entry_free(e);
    }
    assert_int_equal(archive_write_close(a), ARCHIVE_OK);
    archive_write_free(a);
}

static size_t size_of(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return (size_t)st.st_size;
}

static void change_byte(const char *path, long where, int by)
{
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    fseek(f, where, where < 0 ? SEEK_END : SEEK_SET);
    const int byte = fgetc(f);
    fseek(f, -1, SEEK_CUR);
    fputc(byte + by, f);
    fclose(f);
}

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

    assert_true(tn_register_dataset("mine", make_mine));
    d = tn_dataset_named(&(tn_dataset_spec){.name = "mine"});
    assert_int_equal(tn_dataset_len(d), 3);
    tn_free(d);
    assert_false(tn_register_dataset("mine", make_mine));
    expect_error(TN_EARG, "\"mine\" is registered already");
    assert_false(tn_register_dataset("cifar10", make_mine));
    expect_error(TN_EARG, "registered already");
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
        tn_tensor *x = tn_permute(tn_randn(0, 1, TN_SHAPE(3, 5, 2)), TN_SHAPE(1, 0, 2)); /* strided [5,3,2] */
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

/* ---- CIFAR ---- */

enum { RECORD = 3073, RECORDS = 10000, BATCH = RECORD * RECORDS };

/* Any record: a label, then bytes that differ by record, plane and place. */
static void fill_records(uint8_t *to, int64_t n, int labels, int classes)
{
    for (int64_t i = 0; i < n; i++) {
        for (int k = 0; k < labels; k++)
            *to++ = (uint8_t)(i % (k == labels - 1 ? classes : 20));
        for (int p = 0; p < 3072; p++)
            *to++ = (uint8_t)(i * 5 + p * 3 + p / 1024 * 11);
    }
}

/* Sample i must hold the planes of `record` [labels + 3072], interleaved. */
static void same_image(const tn_dataset *d, int64_t i, const uint8_t *record, int labels)
{
    static uint8_t x[32 * 32 * 3];
    int64_t y;
    assert_true(d->cls->get(d, i, x, &y));
    assert_int_equal(y, record[labels - 1]);
    bool same = true;
    for (int p = 0; p < 1024; p++)
        for (int c = 0; c < 3; c++)
            same = same && x[3 * p + c] == record[labels + 1024 * c + p];
    assert_true(same);
}

static uint8_t *batch_bytes(void)
{
    uint8_t *bytes = calloc(1, BATCH + 1);
    assert_non_null(bytes);
    fill_records(bytes, RECORDS, 1, 10);
    return bytes;
}

static void cifar_damage(void **state)
{
    (void)state;
    uint8_t *bytes = batch_bytes();
    const char *dir = at("cifar"), *file = at("cifar/test_batch.bin");
    mkdir(dir, 0755);
    assert_null(tn_cifar10(dir, TN_TEST));
    expect_error(TN_EIO, "cifar: no test_batch.bin there; give cifar-10-binary.tar.gz or the folder");
    assert_null(tn_cifar10(at("nowhere"), TN_TEST));
    expect_error(TN_EIO, "nowhere: No such file or directory; give cifar-10-binary.tar.gz");
    assert_null(tn_cifar10(NULL, TN_TEST));
    expect_error(TN_EARG, "no path given");
    write_file(file, bytes, BATCH);
    tn_dataset *d = tn_cifar10(dir, TN_TEST);
    assert_non_null(d);
    assert_string_equal(d->class_names[9], "truck");
    same_image(d, 9999, bytes + 9999 * RECORD, 1);
    tn_free(d);
    assert_null(tn_cifar10(dir, TN_TRAIN));
    expect_error(TN_EIO, "no data_batch_1.bin there");
    write_file(file, bytes, BATCH + 1);
    assert_null(tn_cifar10(dir, TN_TEST));
    expect_error(TN_EFORMAT, "test_batch.bin: too large: it goes on after byte 30730000");
    assert_int_equal(truncate(file, BATCH - 1), 0);
    assert_null(tn_cifar10(dir, TN_TEST));
    expect_error(TN_EFORMAT, "truncated: ends at byte 30729999 of 30730000, in record 9999");
    assert_int_equal(truncate(file, RECORD * 10), 0);
    assert_null(tn_cifar10(dir, TN_TEST));
    expect_error(TN_EFORMAT, "truncated: ends at byte 30730 of 30730000, in record 10");
    assert_int_equal(truncate(file, 0), 0);
    assert_null(tn_cifar10(dir, TN_TEST));
    expect_error(TN_EFORMAT, "test_batch.bin: the file is empty");
    bytes[17 * RECORD] = 10;
    write_file(file, bytes, BATCH);
    assert_null(tn_cifar10(dir, TN_TEST));
    expect_error(TN_EFORMAT, "label 10 at byte 52241 (record 17) is not below 10");
    bytes[17 * RECORD] = 7;
    unlink(file);
    write_file(at("cifar/test_batch.bin.gz"), bytes, BATCH);
    d = tn_cifar10(dir, TN_TEST);
    assert_non_null(d);
    tn_free(d);
    assert_int_equal(truncate(at("cifar/test_batch.bin.gz"), 5000), 0);
    assert_null(tn_cifar10(dir, TN_TEST));
    expect_error(TN_EFORMAT, "test_batch.bin.gz: truncated: cut off at byte 5000, inside its gzip");
    mkdir(file, 0755);
    assert_null(tn_cifar10(dir, TN_TEST));
    expect_error(TN_EIO, "Is a directory");
    free(bytes);
}

static void archives(void **state)
{
    (void)state;
    uint8_t *bytes = batch_bytes();
    const item good = {"cifar-10-batches-bin/test_batch.bin", bytes, BATCH, 0};
    const item other = {"cifar-10-batches-bin/readme.html", "<html>", 6, 0};
    static const char *const names[] = {"c.tar.gz", "c.tgz", "c.tar", "c.zip", "no-ending"};
    for (int i = 0; i < 5; i++) {
        write_archive(at(names[i]), 2, (item[]){other, good});
        tn_dataset *d = tn_cifar10(at(names[i]), TN_TEST);
        assert_ok();
        same_image(d, 1234, bytes + 1234 * RECORD, 1);
        tn_free(d);
        assert_null(tn_cifar10(at(names[i]), TN_TRAIN));
        expect_error(TN_EFORMAT, "no data_batch_1.bin in it");
    }
    static const char *const hostile[] = {
        "../../../../../../tmp/test_batch.bin", "/test_batch.bin", "./a//../test_batch.bin",
    };
    for (int i = 0; i < 3; i++) { /* only the last part counts, and nothing is written */
        write_archive(at("h.tar"), 1, &(item){hostile[i], bytes, BATCH, 0});
        tn_dataset *d = tn_cifar10(at("h.tar"), TN_TEST);
        assert_non_null(d);
        tn_free(d);
    }
    assert_int_not_equal(access("/test_batch.bin", F_OK), 0);
    write_archive(at("h.tar"), 2, (item[]){{"test_batch.bin/", "", 0, AE_IFDIR}, {"._test_batch.bin", "", 0, 0}});
    assert_null(tn_cifar10(at("h.tar"), TN_TEST));
    expect_error(TN_EFORMAT, "no test_batch.bin in it");
    write_archive(at("h.tar"), 1, &(item){"a/test_batch.bin", "", 0, AE_IFLNK});
    assert_null(tn_cifar10(at("h.tar"), TN_TEST));
    expect_error(TN_EFORMAT, "not a plain file; its header is at byte 0");
    write_archive(at("h.tar"), 2, (item[]){good, {"again/test_batch.bin", "x", 1, 0}});
    assert_null(tn_cifar10(at("h.tar"), TN_TEST));
    expect_error(TN_EFORMAT, "holds test_batch.bin twice, again at byte 30730752");
    write_archive(at("h.tar"), 1, &(item){"test_batch.bin", "", 0, 0});
    assert_null(tn_cifar10(at("h.tar"), TN_TEST));
    expect_error(TN_EFORMAT, "h.tar: test_batch.bin: the file is empty");
    write_archive(at("h.tar"), 1, &(item){"test_batch.bin", bytes, BATCH + 1, 0});
    assert_null(tn_cifar10(at("h.tar"), TN_TEST));
    expect_error(TN_EFORMAT, "too large: 30730001 bytes instead of 30730000");
    write_file(at("h.tar"), "just some words", 15);
    assert_null(tn_cifar10(at("h.tar"), TN_TEST));
    expect_error(TN_EFORMAT, "not a folder, tar or zip archive; give cifar-10-binary.tar.gz");
    write_file(at("h.tar"), "", 0);
    assert_null(tn_cifar10(at("h.tar"), TN_TEST));
    expect_error(TN_EFORMAT, "h.tar: the file is empty");
    free(bytes);
}

static void damaged_archives(void **state)
{
    (void)state;
    uint8_t *bytes = batch_bytes();
    const item items[] = {{"c/test_batch.bin", bytes, BATCH, 0}, {"c/readme.html", bytes, 99, 0}};
    const char *gz = at("d.tar.gz"), *tar = at("d.tar"), *zip = at("d.zip");
    write_archive(gz, 2, items);
    change_byte(gz, -6, 1); /* the sum at the end of the stream */
    assert_null(tn_cifar10(gz, TN_TEST));
    expect_error(TN_EFORMAT, "incorrect data check");
    const size_t size = size_of(gz);
    static const int cuts[] = {4, 11, 40}; /* bytes; then in 64ths */
    for (int i = 0; i < 8; i++) {
        const size_t keep = i < 3 ? (size_t)cuts[i] : i < 7 ? size / 64 * (size_t)(7 + i * 8) : size - 3;
        write_archive(gz, 2, items);
        assert_int_equal(truncate(gz, (off_t)keep), 0);
        assert_null(tn_cifar10(gz, TN_TEST));
        char words[64];
        snprintf(words, sizeof words, "cut off at byte %zu", keep);
        expect_error(TN_EFORMAT, words);
    }
    write_archive(gz, 2, items);
    change_byte(gz, (long)size / 2, 1);
    assert_null(tn_cifar10(gz, TN_TEST));
    expect_error(TN_EFORMAT, "damaged near byte");
    write_archive(tar, 2, items);
    assert_int_equal(truncate(tar, 1 << 20), 0);
    assert_null(tn_cifar10(tar, TN_TEST));
    expect_error(TN_EFORMAT, "d.tar: test_batch.bin: damaged near byte 1048576");
    write_archive(tar, 2, items);
    change_byte(tar, 150, 1); /* the header's own sum */
    assert_null(tn_cifar10(tar, TN_TEST));
    assert_int_equal(tn_error()->code, TN_EFORMAT);
    tn_error_clear();
    write_archive(zip, 2, items);
    change_byte(zip, (long)size_of(zip) / 2, 1);
    assert_null(tn_cifar10(zip, TN_TEST));
    expect_error(TN_EFORMAT, "d.zip: test_batch.bin: damaged near byte");
    free(bytes);
}

static void cifar100(void **state)
{
    (void)state;
    enum { BYTES = 3074 };
    uint8_t *bytes = calloc(50000, BYTES);
    assert_non_null(bytes);
    fill_records(bytes, 50000, 2, 100);
    write_archive(at("cifar-100-binary.tar.gz"), 2, (item[]){
        {"cifar-100-binary/test.bin", bytes, (size_t)10000 * BYTES, 0},
        {"cifar-100-binary/train.bin", bytes, (size_t)50000 * BYTES, 0},
    });
    for (int split = TN_TRAIN; split <= TN_TEST; split++) {
        tn_dataset *d = tn_cifar100(at("cifar-100-binary.tar.gz"), (tn_split)split);
        assert_ok();
        assert_int_equal(d->len, split == TN_TRAIN ? 50000 : 10000);
        assert_int_equal(d->classes, 100);
        assert_string_equal(d->class_names[0], "apple");
        assert_string_equal(d->class_names[99], "worm");
        for (int64_t i = 7; i < d->len; i += 997)
            same_image(d, i, bytes + i * BYTES, 2);
        tn_free(d);
    }
    mkdir(at("c100"), 0755);
    bytes[5 * BYTES] = 20; /* coarse */
    write_file(at("c100/test.bin"), bytes, (size_t)10000 * BYTES);
    assert_null(tn_cifar100(at("c100"), TN_TEST));
    expect_error(TN_EFORMAT, "cifar100: ");
    bytes[5 * BYTES] = 5;
    bytes[5 * BYTES + 1] = 100; /* fine */
    write_file(at("c100/test.bin"), bytes, (size_t)10000 * BYTES);
    assert_null(tn_cifar100(at("c100"), TN_TEST));
    expect_error(TN_EFORMAT, "label 100 at byte 15371 (record 5) is not below 100");
    free(bytes);
}

/* ---- MNIST's form ---- */

enum { IDX_IMAGES = 12, IDX_BYTES = 16 + IDX_IMAGES * 5 * 4, IDX_LABELS = 8 + IDX_IMAGES };

static void idx_folder(uint8_t images[IDX_BYTES], uint8_t labels[IDX_LABELS])
{
    memcpy(images, (uint8_t[]){0, 0, 8, 3, 0, 0, 0, IDX_IMAGES, 0, 0, 0, 5, 0, 0, 0, 4}, 16);
    memcpy(labels, (uint8_t[]){0, 0, 8, 1, 0, 0, 0, IDX_IMAGES}, 8);
    for (int i = 16; i < IDX_BYTES; i++)
        images[i] = (uint8_t)i;
    for (int i = 0; i < IDX_IMAGES; i++)
        labels[8 + i] = (uint8_t)(i % 10);
}

/* Writes both files, with one byte changed or a size changed, and expects this error. */
static void expect_idx(int file, size_t size, int where, int value, const char *words)
{
    uint8_t bytes[2][IDX_BYTES + 8] = {0};
    size_t sizes[2] = {IDX_BYTES, IDX_LABELS};
    idx_folder(bytes[0], bytes[1]);
    if (size)
        sizes[file] = size;
    if (where >= 0)
        bytes[file][where] = (uint8_t)value;
    write_file(at("idx/t10k-images-idx3-ubyte"), bytes[0], sizes[0]);
    write_file(at("idx/t10k-labels-idx1-ubyte"), bytes[1], sizes[1]);
    tn_dataset *d = tn_mnist(at("idx"), TN_TEST);
    if (words) {
        assert_null(d);
        expect_error(TN_EFORMAT, words);
        return;
    }
    assert_ok();
    assert_int_equal(d->len, IDX_IMAGES);
    assert_int_equal(d->x_shape[0], 5);
    assert_int_equal(d->x_shape[1], 4);
    uint8_t x[20];
    int64_t y;
    assert_true(d->cls->get(d, 11, x, &y));
    assert_memory_equal(x, bytes[0] + 16 + 11 * 20, 20);
    assert_int_equal(y, 1);
    tn_free(d);
}

static void idx_damage(void **state)
{
    (void)state;
    mkdir(at("idx"), 0755);
    assert_null(tn_mnist(at("idx"), TN_TEST));
    expect_error(TN_EIO, "no t10k-images-idx3-ubyte there; give the folder");
    expect_idx(0, 0, -1, 0, NULL);
    expect_idx(0, 0, 3, 1, "it begins 0x00000801 at byte 0, not 0x00000803");
    expect_idx(0, 0, 2, 9, "it begins 0x00000903");
    expect_idx(0, 15, -1, 0, "truncated: ends at byte 15 of a 16-byte header");
    expect_idx(0, 3, -1, 0, "truncated: ends at byte 3");
    expect_idx(0, IDX_BYTES - 1, -1, 0, "truncated: 239 bytes from byte 16 on, not 240");
    expect_idx(0, IDX_BYTES + 1, -1, 0, "too large: 241 bytes from byte 16 on, not 240");
    expect_idx(1, IDX_LABELS - 2, -1, 0, "truncated: 10 bytes from byte 8 on, not 12");
    expect_idx(0, 0, 15, 0, "dim 2 at byte 12 is 0");
    expect_idx(0, 0, 4, 255, "truncated: 240 bytes from byte 16 on, not 85563801840");
    expect_idx(1, 0, 19, 10, "label 10 at byte 19 is not below 10");
    uint8_t bytes[IDX_BYTES], labels[IDX_LABELS];
    idx_folder(bytes, labels);
    labels[7] = IDX_IMAGES - 1;
    write_file(at("idx/t10k-labels-idx1-ubyte"), labels, IDX_LABELS - 1);
    write_file(at("idx/t10k-images-idx3-ubyte"), bytes, IDX_BYTES);
    assert_null(tn_mnist(at("idx"), TN_TEST));
    expect_error(TN_EFORMAT, "12 images but 11 labels");
    unlink(at("idx/t10k-labels-idx1-ubyte"));
    assert_null(tn_mnist(at("idx"), TN_TEST));
    expect_error(TN_EIO, "no t10k-labels-idx1-ubyte there");
    memset(bytes + 4, 255, 12); /* 2^96 bytes */
    write_file(at("idx/t10k-images-idx3-ubyte"), bytes, IDX_BYTES);
    assert_null(tn_mnist(at("idx"), TN_TEST));
    expect_error(TN_EFORMAT, "dim 2 at byte 12 is 4294967295");
    unlink(at("idx/t10k-images-idx3-ubyte"));
    write_file(at("idx/t10k-images-idx3-ubyte.gz"), bytes, IDX_BYTES);
    assert_int_equal(truncate(at("idx/t10k-images-idx3-ubyte.gz"), 60), 0);
    assert_null(tn_mnist(at("idx"), TN_TEST));
    expect_error(TN_EFORMAT, "idx3-ubyte.gz: truncated: cut off at byte 60");
}

/* ---- real data ---- */

/* The folder with these sets, unpacked once a build folder; NULL, said, when there are none here. */
static const char *unpacked(const char *sets, const char *witness)
{
    static char dir[600];
    char command[2400];
    snprintf(dir, sizeof dir, "%s/real-data", TN_BINARY_DIR);
    snprintf(command, sizeof command, "%s/%s", dir, witness);
    if (access(command, F_OK) == 0)
        return dir;
    snprintf(command, sizeof command, "test -f '%s/data/unpack.sh' && mkdir -p '%s' && "
             "sh '%s/data/unpack.sh' '%s' %s >/dev/null", TN_SHARED, dir, TN_SHARED, dir, sets);
    if (system(command) == 0)
        return dir;
    print_message("no %s under %s/data: not compared with real data\n", sets, TN_SHARED);
    return NULL;
}

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

/* True pixels, repeated to the published sizes, through a folder and through the published archive. */
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
            tn_dataset *d = tn_cifar10(at(archive ? "cifar-10-binary.tar.gz" : "cifar-10-batches-bin"),
                                       (tn_split)split);
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

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "%s/datasets-XXXXXX", TN_BINARY_DIR);
    return mkdtemp(folder) ? quiet_errors(state) : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    char command[300];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_name),
        cmocka_unit_test(from_tensors),
        cmocka_unit_test(from_npy),
        cmocka_unit_test(drawn_shapes),
        cmocka_unit_test(cifar_damage),
        cmocka_unit_test(archives),
        cmocka_unit_test(damaged_archives),
        cmocka_unit_test(cifar100),
        cmocka_unit_test(idx_damage),
        cmocka_unit_test(real_mnist),
        cmocka_unit_test(real_cifar10),
        cmocka_unit_test(real_cifar10_bytes),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
