/* Pairs of sentences out of a folder of translation data: what was written comes back, in either direction, and
 * damage is told.  How they are batched is in test_ragged.c, files of ids in test_tokens.c. */
#include <sys/stat.h>

#include "../data/codec.h"
#include "files.h"

enum { N = 60, DE_WORDS = 40, EN_WORDS = 24, SPECIALS = 4 };
static const char *const langs[] = {"de", "en"};
static const char *const splits[] = {"train", "test", "valid"};
static const int64_t words[] = {DE_WORDS, EN_WORDS};

/* Sentence i of a split: its length with TN_EOS, and its ids. */
static int64_t length_of(int split, int lang, int64_t i) { return 1 + (i * 7 + 3 * lang + split) % 23; }
static int32_t id_of(int split, int lang, int64_t i, int64_t k)
{
    if (k == length_of(split, lang, i) - 1)
        return TN_EOS;
    return (int32_t)(SPECIALS + (i * 31 + k * 5 + lang + split) % (words[lang] - SPECIALS));
}

static const char *tok(int split, int lang)
{
    char name[32];
    snprintf(name, sizeof name, "%s.%s.tok", splits[split], langs[lang]);
    return in_folder(name);
}

static void write_side(int split, int lang, int64_t n)
{
    tn_token_writer *w = tn_token_writer_open(tok(split, lang));
    for (int64_t i = 0; i < n; i++) {
        int32_t ids[32];
        for (int64_t k = 0; k < length_of(split, lang, i); k++)
            ids[k] = id_of(split, lang, i, k);
        assert_true(tn_token_writer_add(w, ids, length_of(split, lang, i)));
    }
    assert_true(tn_token_writer_close(w));
}

static void write_dictionary(int lang, int64_t n)
{
    char text[2000];
    size_t at = 0;
    for (int64_t i = SPECIALS; i < n; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "w%lld 5\n", (long long)i);
    put_file(lang ? "dict.en.txt" : "dict.de.txt", text, at);
}

static void write_info(void)
{
    const struct tn__codec_info info = {
        .lang = {"de", "en"}, .dictionary = {"dict.de.txt", "dict.en.txt"},
    };
    assert_true(tn__codec_write(folder, &info));
}

/* A sound folder again, whatever a test left. */
static int whole_folder(void **state)
{
    (void)state;
    write_info();
    for (int lang = 0; lang < 2; lang++) {
        write_dictionary(lang, words[lang]);
        for (int split = 0; split < 3; split++)
            write_side(split, lang, N - 10 * split);
    }
    assert_ok();
    return 0;
}

/* ---- what is in it ---- */

static void same_ids(const int64_t *ids, int64_t n, int split, int lang, int64_t i)
{
    assert_int_equal(n, length_of(split, lang, i));
    for (int64_t k = 0; k < n; k++)
        assert_int_equal(ids[k], id_of(split, lang, i, k));
}

static void same_pair(const tn_dataset *d, int64_t at, int split, int source, int64_t i)
{
    int64_t x[32], y[32], x_rows, y_rows;
    d->cls->rows(d, at, &x_rows, &y_rows);
    assert_true(d->cls->get(d, at, x, y));
    same_ids(x, x_rows, split, source, i);
    same_ids(y, y_rows, split, 1 - source, i);
}

static void every_split_in_both_directions(void **state)
{
    (void)state;
    for (int split = 0; split < 3; split++)
        for (int source = 0; source < 3; source++) { /* 2: not asked */
            tn_dataset *d = source == 2 ? tn_pairs(folder, NULL, NULL, (tn_split)split, 0)
                                        : tn_pairs(folder, langs[source], langs[1 - source], (tn_split)split, 0);
            assert_ok();
            assert_int_equal(tn_dataset_len(d), N - 10 * split);
            assert_int_equal(d->x_classes, words[source % 2]);
            assert_int_equal(d->classes, words[1 - source % 2]);
            assert_int_equal(d->x_dtype, TN_I64);
            assert_int_equal(d->y_dtype, TN_I64);
            for (int64_t i = 0; i < d->len; i++)
                same_pair(d, i, split, source % 2, i);
            tn_free(d);
        }
}

static void longer_pairs_are_left_out(void **state)
{
    (void)state;
    enum { MOST = 12 };
    tn_dataset *d = tn_pairs(folder, "en", "de", TN_TRAIN, MOST);
    assert_ok();
    int64_t at = 0;
    for (int64_t i = 0; i < N; i++)
        if (length_of(TN_TRAIN, 0, i) <= MOST && length_of(TN_TRAIN, 1, i) <= MOST)
            same_pair(d, at++, TN_TRAIN, 1, i);
    assert_int_equal(d->len, at);
    assert_in_range(at, 1, N - 1);
    tn_free(d);
}

static void through_a_loader(void **state)
{
    (void)state;
    const tn_dataset_spec spec = {
        .name = "pairs", .root = folder, .split = TN_VALID, .source = "en", .target = "de", .x = "", .y = "",
    };
    tn_loader *l = tn_loader(tn_dataset_named(&spec), .max_tokens = 200, .shuffle = true, .workers = 2);
    assert_ok();
    int64_t samples = 0, batches = 0;
    TN_EACH(b, l) {
        assert_int_equal(b.x->ndim, 1);
        assert_int_equal(b.y->ndim, 1);
        for (int64_t k = 0; k < b.n; k++) {
            const int64_t *x = tn_i64(b.x_spans) + 2 * k, *y = tn_i64(b.y_spans) + 2 * k;
            same_ids(tn_i64(b.x) + x[0], x[1], TN_VALID, 1, b.samples[k]);
            same_ids(tn_i64(b.y) + y[0], y[1], TN_VALID, 0, b.samples[k]);
        }
        samples += b.n;
        batches++;
    }
    assert_ok();
    assert_int_equal(samples, N - 20);
    assert_in_range(batches, 2, 20);
    tn_free(l);
    tn_dataset *d = tn_dataset_named(&(tn_dataset_spec){.name = "pairs", .root = folder, .source = "", .target = ""});
    assert_ok(); /* as configs give what is not set */
    assert_int_equal(d->x_classes, DE_WORDS);
    tn_free(d);
}

/* ---- what is wrong ---- */

static void bad_arguments(void **state)
{
    (void)state;
    assert_null(tn_pairs(NULL, NULL, NULL, TN_TRAIN, 0));
    expect_error(TN_EARG, "tenon prepare");
    assert_null(tn_pairs(folder, "de", NULL, TN_TRAIN, 0));
    expect_error(TN_EARG, "both languages or neither");
    assert_null(tn_pairs(folder, "de", "fr", TN_TRAIN, 0));
    expect_error(TN_EARG, "holds de and en, not 'fr'");
    assert_null(tn_pairs(folder, "en", "en", TN_TRAIN, 0));
    expect_error(TN_EARG, "from 'en' into itself");
    assert_null(tn_pairs(folder, NULL, NULL, (tn_split)3, 0));
    expect_error(TN_EARG, "no split 3");
    assert_null(tn_pairs(folder, NULL, NULL, TN_TRAIN, -1));
    expect_error(TN_EARG, "longest is -1");
    write_side(TN_TEST, 0, 3);
    write_side(TN_TEST, 1, 3);
    assert_null(tn_pairs(folder, NULL, NULL, TN_TEST, 1));
    expect_error(TN_EARG, "none of 3 pairs has at most 1 ids");
}

static void missing_files(void **state)
{
    (void)state;
    assert_null(tn_pairs(in_folder("nowhere"), NULL, NULL, TN_TRAIN, 0));
    expect_error(TN_EIO, "nowhere/text.json");
    assert_int_equal(unlink(tok(TN_TEST, 1)), 0);
    assert_null(tn_pairs(folder, NULL, NULL, TN_TEST, 0));
    expect_error(TN_EIO, "test.en.tok");
    assert_int_equal(unlink(in_folder("dict.de.txt")), 0);
    assert_null(tn_pairs(folder, NULL, NULL, TN_TRAIN, 0));
    expect_error(TN_EIO, "dict.de.txt");
}

static void sides_that_do_not_fit(void **state)
{
    (void)state;
    write_side(TN_TRAIN, 1, N - 1);
    assert_null(tn_pairs(folder, "en", "de", TN_TRAIN, 0));
    expect_error(TN_EFORMAT, "train.en.tok has 59 sentences and train.de.tok 60");
    write_dictionary(0, 20);
    assert_null(tn_pairs(folder, NULL, NULL, TN_VALID, 0));
    expect_error(TN_EFORMAT, "valid.de.tok: sentence 1 has id 37");
}

static void write_one(const int32_t *ids, int64_t n)
{
    tn_token_writer *w = tn_token_writer_open(tok(TN_TRAIN, 1));
    assert_true(tn_token_writer_add(w, (int32_t[]){5, TN_EOS}, 2));
    assert_true(tn_token_writer_add(w, ids, n));
    assert_true(tn_token_writer_close(w));
}

static void damaged_sentences(void **state)
{
    (void)state;
    write_one((int32_t[]){7, EN_WORDS, TN_EOS}, 3);
    assert_null(tn_pairs(folder, NULL, NULL, TN_TRAIN, 0));
    expect_error(TN_EFORMAT, "train.en.tok: sentence 1 has id 24, and its dictionary 24 words");
    write_one((int32_t[]){7, 8}, 2);
    assert_null(tn_pairs(folder, NULL, NULL, TN_TRAIN, 0));
    expect_error(TN_EFORMAT, "train.en.tok: sentence 1 does not end in </s>");
    write_one(NULL, 0);
    assert_null(tn_pairs(folder, NULL, NULL, TN_TRAIN, 0));
    expect_error(TN_EFORMAT, "train.en.tok: sentence 1 does not end in </s>");
    FILE *f = fopen(tok(TN_TRAIN, 0), "r+b"); /* one id becomes another that is as good */
    assert_non_null(f);
    assert_int_equal(fseek(f, 64 + 8 * N + 4 * 20, SEEK_SET), 0);
    const int was = fgetc(f);
    assert_int_equal(fseek(f, -1, SEEK_CUR), 0);
    fputc(was == 9 ? 10 : 9, f);
    fclose(f);
    assert_null(tn_pairs(folder, NULL, NULL, TN_TRAIN, 0));
    expect_error(TN_EFORMAT, "train.de.tok: damaged: its checksum is");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(every_split_in_both_directions, whole_folder),
        cmocka_unit_test_setup(longer_pairs_are_left_out, whole_folder),
        cmocka_unit_test_setup(through_a_loader, whole_folder),
        cmocka_unit_test_setup(bad_arguments, whole_folder),
        cmocka_unit_test_setup(missing_files, whole_folder),
        cmocka_unit_test_setup(sides_that_do_not_fit, whole_folder),
        cmocka_unit_test_setup(damaged_sentences, whole_folder),
    };
    return cmocka_run_group_tests_name("pairs", tests, folder_begin, folder_end);
}
