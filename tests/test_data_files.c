/* The readers of published files (CIFAR, MNIST's idx, archives), on files made here, whole and
 * damaged. */
#include "data_files.h"

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
    expect_error(TN_EIO, "cifar: no test_batch.bin there; give cifar-10-binary.tar.gz or");
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
    write_archive(at("h.tar"), 2, (item[]){
        {"test_batch.bin/", "", 0, AE_IFDIR}, {"._test_batch.bin", "", 0, 0},
    });
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
        const size_t part = i < 7 ? size / 64 * (size_t)(7 + i * 8) : size - 3;
        const size_t keep = i < 3 ? (size_t)cuts[i] : part;
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cifar_damage),
        cmocka_unit_test(archives),
        cmocka_unit_test(damaged_archives),
        cmocka_unit_test(cifar100),
        cmocka_unit_test(idx_damage),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
