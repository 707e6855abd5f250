/* Files of token ids: what is written is read, and what is damaged is refused. */
#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <zlib.h>

#include "files.h"

enum { ROOM = 1 << 16, HEADER = 64 };

/* Sentence i of a test file: a length and ids that depend on i alone. */
static int64_t length_of(int64_t i) { return i % 7 == 3 ? 0 : (i * 37) % 61; }
static int32_t id_of(int64_t i, int64_t k) { return (int32_t)((i * 1000003 + k * 7919) & INT32_MAX); }

static bool write_some(const char *path, int64_t sentences)
{
    tn_token_writer *w = tn_token_writer_open(path);
    int32_t ids[64];
    bool ok = w;
    for (int64_t i = 0; ok && i < sentences; i++) {
        for (int64_t k = 0; k < length_of(i); k++)
            ids[k] = id_of(i, k);
        ok = tn_token_writer_add(w, ids, length_of(i));
    }
    if (!ok)
        tn_free(w);
    return ok && tn_token_writer_close(w);
}

static void same_sentence(const tn_tokens *t, int64_t i)
{
    int64_t n;
    const int32_t *ids = tn_tokens_at(t, i, &n);
    assert_non_null(ids);
    assert_int_equal(n, length_of(i));
    for (int64_t k = 0; k < n; k++)
        if (ids[k] != id_of(i, k))
            fail_msg("sentence %d, token %d", (int)i, (int)k);
}

/* As the map has it: a sentence, and from its second third on, the one after it with it. */
static void read_sentence(const tn_tokens *t, int64_t i)
{
    int32_t ids[128];
    int64_t n, next;
    const int64_t first = tn_tokens_at(t, i, &n) - tn_tokens_at(t, 0, &next), from = n / 3;
    assert_true(tn_tokens_read(t, first, n, ids));
    for (int64_t k = 0; k < n; k++)
        assert_int_equal(ids[k], id_of(i, k));
    if (i + 1 == tn_tokens_sentences(t))
        return;
    tn_tokens_at(t, i + 1, &next);
    assert_true(tn_tokens_read(t, first + from, n - from + next, ids));
    for (int64_t k = 0; k < n - from + next; k++)
        assert_int_equal(ids[k], from + k < n ? id_of(i, from + k) : id_of(i + 1, from + k - n));
}

/* Sizes below and above what the writer holds back. */
static void test_random_access_equals_writing(void **state)
{
    static const int64_t sizes[] = {0, 1, 2, 40, 5000, 60000};
    (void)state;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        assert_true(write_some(in_folder("a.tok"), sizes[s]));
        tn_tokens *t = tn_tokens_open(in_folder("a.tok"));
        assert_ok();
        assert_true(tn_tokens_check(t));
        assert_int_equal(tn_tokens_sentences(t), sizes[s]);
        int64_t sum = 0;
        for (int64_t i = 0; i < sizes[s]; i++) {
            same_sentence(t, i * 7919 % sizes[s]);
            read_sentence(t, i * 7919 % sizes[s]);
            sum += length_of(i);
        }
        assert_int_equal(tn_tokens_len(t), sum);
        tn_free(t);
    }
    assert_int_equal(files_in_folder(), 1);
}

static void test_long_sentence(void **state)
{
    const int64_t n = 3000000;
    int32_t *ids = malloc((size_t)n * sizeof *ids);
    (void)state;
    assert_non_null(ids);
    for (int64_t k = 0; k < n; k++)
        ids[k] = id_of(1, k);
    tn_token_writer *w = tn_token_writer_open(in_folder("long.tok"));
    assert_true(tn_token_writer_add(w, ids, 5) && tn_token_writer_add(w, ids, n) && tn_token_writer_add(w, ids, 3));
    assert_true(tn_token_writer_close(w));
    tn_tokens *t = tn_tokens_open(in_folder("long.tok"));
    int64_t len;
    assert_true(tn_tokens_check(t));
    const int32_t *at = tn_tokens_at(t, 1, &len);
    assert_int_equal(len, n);
    assert_memory_equal(at, ids, (size_t)n * sizeof *ids);
    assert_memory_equal(tn_tokens_at(t, 2, &len), ids, 3 * sizeof *ids);
    assert_int_equal(len, 3);
    tn_free(t);
    free(ids);
}

static void test_bytes(void **state)
{
    static const char wanted[] = "TENONTOK" "\1\0\0\0\0\0\0\0" "\2\0\0\0\0\0\0\0" "\3\0\0\0\0\0\0\0";
    static const uint64_t ends[] = {1, 3};
    static const int32_t ids[] = {5, 6, 2};
    unsigned char bytes[256];
    (void)state;
    tn_token_writer *w = tn_token_writer_open(in_folder("b.tok"));
    assert_true(tn_token_writer_add(w, ids, 1) && tn_token_writer_add(w, ids + 1, 2) && tn_token_writer_close(w));
    assert_int_equal(get_file(in_folder("b.tok"), bytes, sizeof bytes), HEADER + 16 + 12);
    assert_memory_equal(bytes, wanted, 32);
    assert_memory_equal(bytes + HEADER, ends, 16);
    assert_memory_equal(bytes + HEADER + 16, ids, 12);
    const uint32_t crc = (uint32_t)crc32(0, bytes + HEADER, 28);
    assert_memory_equal(bytes + 32, &crc, 4);
}

/* Every cut, and every flipped bit: refused when opened or when checked. */
static void test_damage(void **state)
{
    unsigned char bytes[ROOM];
    (void)state;
    assert_true(write_some(in_folder("c.tok"), 3));
    const size_t n = get_file(in_folder("c.tok"), bytes, ROOM);
    for (size_t cut = 0; cut < n; cut++) {
        assert_null(tn_tokens_open(put_file("d.tok", bytes, cut)));
        assert_int_equal(tn_error()->code, TN_EFORMAT);
        expect_error(TN_EFORMAT, "d.tok");
    }
    bytes[n] = 0;
    assert_null(tn_tokens_open(put_file("d.tok", bytes, n + 1)));
    expect_error(TN_EFORMAT, "cannot be 3 sentences");
    for (size_t bit = 0; bit < 8 * n; bit++) {
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        tn_tokens *t = tn_tokens_open(put_file("d.tok", bytes, n));
        if (bit / 8 < HEADER && (bit < 8 * 32 || bit >= 8 * 36))
            assert_null(t);
        if (t)
            assert_false(tn_tokens_check(t));
        expect_error(TN_EFORMAT, "d.tok");
        tn_free(t);
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
}

/* A file as someone else might have made it, sum and all. */
static const char *made(uint64_t sentences, uint64_t tokens, const uint64_t ends[2], const int32_t ids[2])
{
    unsigned char bytes[HEADER + 24] = "TENONTOK\1";
    memcpy(bytes + 16, &sentences, 8);
    memcpy(bytes + 24, &tokens, 8);
    memcpy(bytes + HEADER, ends, 16);
    memcpy(bytes + HEADER + 16, ids, 8);
    const uint32_t crc = (uint32_t)crc32(0, bytes + HEADER, 24);
    memcpy(bytes + 32, &crc, 4);
    return put_file("e.tok", bytes, sizeof bytes);
}

static void test_lying_files(void **state)
{
    static const uint64_t fine[] = {1, 2}, back[] = {2, 1}, high[] = {1, UINT64_MAX}, early[] = {1, 1};
    static const int32_t ids[] = {4, 2}, negative[] = {4, -1};
    int64_t n;
    (void)state;
    tn_tokens *t = tn_tokens_open(made(2, 2, fine, ids));
    assert_true(tn_tokens_check(t));
    assert_null(tn_tokens_at(t, 2, &n));
    assert_int_equal(n, 0);
    expect_error(TN_EARG, "there is no sentence 2");
    assert_null(tn_tokens_at(t, -1, &n));
    expect_error(TN_EARG, "there is no sentence -1");
    tn_free(t);
    assert_null(tn_tokens_open(made(2, 2, back, ids)));
    expect_error(TN_EFORMAT, "sentence 1 ends at token 1, after 2");
    assert_null(tn_tokens_open(made(2, 2, high, ids)));
    expect_error(TN_EFORMAT, "sentence 1 ends at token 18446744073709551615");
    assert_null(tn_tokens_open(made(2, 2, early, ids)));
    expect_error(TN_EFORMAT, "sentences end at token 1 of 2");
    assert_null(tn_tokens_open(made(0, 6, fine, ids)));
    expect_error(TN_EFORMAT, "sentences end at token 0 of 6");
    assert_null(tn_tokens_open(made((uint64_t)1 << 61 | 2, 2, fine, ids))); /* 8 times it is 16 again */
    expect_error(TN_EFORMAT, "truncated or damaged");
    assert_null(tn_tokens_open(made(2, (uint64_t)1 << 62 | 2, fine, ids)));
    expect_error(TN_EFORMAT, "truncated or damaged");
    t = tn_tokens_open(made(2, 2, fine, negative));
    assert_false(tn_tokens_check(t));
    expect_error(TN_EFORMAT, "token 1 is -1");
    tn_free(t);
}

/* Under the reader's hands: the map would end the process, reading says what is wrong. */
static void test_cut_short_in_use(void **state)
{
    int32_t ids[64];
    int64_t n, m;
    (void)state;
    assert_true(write_some(in_folder("f.tok"), 2000));
    tn_tokens *t = tn_tokens_open(in_folder("f.tok"));
    assert_true(tn_tokens_check(t));
    assert_false(tn_tokens_read(t, tn_tokens_len(t) - 2, 3, ids));
    expect_error(TN_EARG, "f.tok: there are ");
    assert_false(tn_tokens_read(t, -1, 2, ids) || tn_tokens_read(t, 0, -1, ids) || tn_tokens_read(NULL, 0, 0, ids) ||
                 tn_tokens_read(t, INT64_MAX, 2, ids));
    tn_error_clear();
    assert_int_equal(truncate(in_folder("f.tok"), HEADER + 8 * 2000 + 4 * 100), 0);
    read_sentence(t, 1);
    for (int64_t i = 100; i < 2000; i += 100) {
        const int64_t first = tn_tokens_at(t, i, &n) - tn_tokens_at(t, 0, &m);
        assert_int_equal(n, length_of(i));
        assert_true(tn_tokens_read(t, first, n, ids) == (n == 0));
        if (n > 0)
            expect_error(TN_EIO, "f.tok: was cut short while in use: there is no byte ");
    }
    tn_free(t);
}

static void test_what_is_no_file(void **state)
{
    (void)state;
    assert_null(tn_tokens_open(NULL));
    expect_error(TN_EARG, "no file name");
    assert_null(tn_tokens_open(in_folder("none.tok")));
    expect_error(TN_EIO, "none.tok: No such file");
    assert_null(tn_tokens_open(folder));
    expect_error(TN_EIO, "not a regular file");
    assert_null(tn_token_writer_open(folder));
    expect_error(TN_EIO, "not a regular file");
    assert_null(tn_token_writer_open(in_folder("none/a.tok")));
    expect_error(TN_EIO, "No such file");
    assert_null(tn_token_writer_open(NULL));
    expect_error(TN_EARG, "no file name");
    assert_int_equal(tn_tokens_len(NULL) + tn_tokens_sentences(NULL), 0);
    assert_null(tn_tokens_at(NULL, 0, &(int64_t){0}));
    assert_false(tn_tokens_check(NULL) || tn_token_writer_add(NULL, NULL, 0) || tn_token_writer_close(NULL));
    assert_ok();
}

/* Neither half a file nor a temporary one stays; the old one does. */
static void test_writer_given_up(void **state)
{
    (void)state;
    assert_true(write_some(in_folder("kept.tok"), 3));
    const int files = files_in_folder();
    tn_token_writer *w = tn_token_writer_open(in_folder("kept.tok"));
    assert_true(tn_token_writer_add(w, (const int32_t[]){1}, 1));
    tn_free(w);
    w = tn_token_writer_open(in_folder("kept.tok"));
    assert_false(tn_token_writer_add(w, (const int32_t[]){1, -7}, 2));
    expect_error(TN_EARG, "id -7");
    assert_false(tn_token_writer_add(w, (const int32_t[]){1}, 1));
    assert_false(tn_token_writer_close(w));
    assert_int_equal(files_in_folder(), files);
    tn_tokens *t = tn_tokens_open(in_folder("kept.tok"));
    assert_int_equal(tn_tokens_sentences(t), 3);
    tn_free(t);
    tn_error_clear();
}

/* A full disk, met while ids are put aside (60,000 sentences) or when the file is written (100). */
static void test_full_disk(void **state)
{
    static const int64_t sizes[] = {100, 60000};
    struct rlimit was;
    (void)state;
    assert_true(write_some(in_folder("kept.tok"), 3));
    const int files = files_in_folder();
    getrlimit(RLIMIT_FSIZE, &was);
    const struct rlimit tight = {1000, was.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    for (int i = 0; i < 2; i++) {
        setrlimit(RLIMIT_FSIZE, &tight);
        assert_false(write_some(in_folder("kept.tok"), sizes[i]));
        setrlimit(RLIMIT_FSIZE, &was);
        expect_error(TN_EIO, "File too large");
        assert_int_equal(files_in_folder(), files);
    }
    tn_tokens *t = tn_tokens_open(in_folder("kept.tok"));
    assert_true(tn_tokens_check(t));
    assert_int_equal(tn_tokens_sentences(t), 3);
    tn_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_random_access_equals_writing, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_long_sentence, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_bytes, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_damage, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_lying_files, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_cut_short_in_use, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_what_is_no_file, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_writer_given_up, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_full_disk, folder_begin, folder_end),
    };
    return cmocka_run_group_tests_name("tokens", tests, NULL, NULL);
}
