/* Dictionaries: numbered and written as fairseq does, refused when damaged. */
#include <unistd.h>

#include "files.h"

static const char *put(const char *name, const char *text) { return put_file(name, text, strlen(text)); }

static tn_dictionary *build(const char *text, int64_t threshold, int64_t most, int multiple)
{
    const char *files[] = {put("text", text)};
    return tn_dictionary_build((tn_dictionary_args){.n = 1, .files = files, .threshold = threshold, .most = most,
                                                    .multiple = multiple});
}

/* All words of d from id 4 on, with spaces between; frees d. */
static const char *words_of(tn_dictionary *d)
{
    static char text[4096];
    assert_ok();
    *text = 0;
    for (int32_t i = 4; i < tn_dictionary_len(d); i++) {
        strcat(text, i > 4 ? " " : "");
        strcat(text, tn_dictionary_word(d, i));
    }
    tn_free(d);
    return text;
}

static void test_order(void **state)
{
    (void)state;
    assert_string_equal(words_of(build("b a\nc b\n", 0, 0, 1)), "b a c");
    assert_string_equal(words_of(build("b a\nc b\n", 0, 0, 0)), "b a c madeupword0000");
    assert_string_equal(words_of(build("b a\nc b\n", 2, 0, 0)), "b madeupword0000 madeupword0001 madeupword0002");
    assert_string_equal(words_of(build("b a\nc b\n", 0, 6, 1)), "b a");
    assert_string_equal(words_of(build("b a\nc b\n", 0, 6, 0)), "b a madeupword0000 madeupword0001");
    assert_string_equal(words_of(build("", 0, 0, 1)), "");
    assert_string_equal(words_of(build("\n\n", 0, 0, 6)), "madeupword0000 madeupword0001");
    /* by code point, which is not the order of UTF-16, and a beginning before the whole */
    assert_string_equal(words_of(build("\xf0\x90\x80\x80 \xef\xbf\xbd é z ab a B", 0, 0, 1)),
                        "B a ab z é \xef\xbf\xbd \xf0\x90\x80\x80");
    /* a fill word that the text has already */
    assert_string_equal(words_of(build("madeupword0000 a a", 0, 0, 0)),
                        "a madeupword0000 madeupword0001 madeupword0002");
}

/* What Python's \s matches parts words: tab, no-break space, ideographic space, line separator, U+0085. */
static void test_white_space(void **state)
{
    static const char line[] = "  a\tb\xc2\xa0" "c\xe3\x80\x80" "d\xe2\x80\xa8" "e\xc2\x85" "f \x1c g\x0b\x0c\r";
    static const char none[] = "a\xe2\x80\x8b" "b"; /* a zero-width space is no white space */
    (void)state;
    assert_string_equal(words_of(build(line, 0, 0, 1)), "a b c d e f g");
    assert_string_equal(words_of(build(none, 0, 0, 1)), none);
}

static void test_encode_and_decode(void **state)
{
    static const int32_t wanted[] = {4, 3, 5, 3, 3, 2}, odd[] = {0, 1, 4, 1, 3, 5, 2, 4};
    tn_ids ids = {0};
    tn_text text = {0};
    tn_dictionary *d = build("x x y", 0, 0, 8);
    (void)state;
    assert_int_equal(tn_dictionary_len(d), 8);
    const char *line = " x z  y </s> <unk>";
    assert_true(tn_dictionary_encode(d, line, strlen(line), &ids));
    assert_int_equal(ids.len, 6);
    assert_memory_equal(ids.at, wanted, sizeof wanted);
    assert_true(tn_dictionary_decode(d, ids.at, ids.len, &text));
    assert_string_equal(text.at, "x <unk> y <unk> <unk>");
    assert_true(tn_dictionary_decode(d, odd, 8, &text));
    assert_string_equal(text.at, "x <unk> y");
    assert_true(tn_dictionary_encode(d, NULL, 0, &ids));
    assert_true(ids.len == 1 && ids.at[0] == TN_EOS);
    assert_true(tn_dictionary_decode(d, NULL, 0, &text));
    assert_string_equal(text.at, "");
    assert_false(tn_dictionary_decode(d, (const int32_t[]){4, 8}, 2, &text));
    expect_error(TN_EARG, "id 8 at place 1");
    assert_false(tn_dictionary_decode(d, (const int32_t[]){-1}, 1, &text));
    expect_error(TN_EARG, "id -1");
    assert_int_equal(tn_dictionary_id(d, "y", 1), 5);
    assert_int_equal(tn_dictionary_id(d, "yy", 2), TN_UNK);
    assert_int_equal(tn_dictionary_id(d, "</s>", 4), TN_EOS);
    assert_string_equal(tn_dictionary_word(d, TN_PAD), "<pad>");
    assert_null(tn_dictionary_word(d, 8));
    assert_null(tn_dictionary_word(d, -1));
    tn_free(d);
    tn_ids_end(&ids);
    tn_text_end(&text);
}

static void test_broken_bytes_and_nul(void **state)
{
    static const char bytes[] = "a\xff a\xff a\xe2\x82 n\0n b\n";
    const char *files[] = {put_file("bytes", bytes, sizeof bytes - 1)};
    tn_ids ids = {0};
    (void)state;
    tn_dictionary *d = tn_dictionary_build((tn_dictionary_args){.n = 1, .files = files, .multiple = 1});
    assert_true(tn_dictionary_encode(d, "a\xf0\x9f\x92 n\0n", 8, &ids));
    assert_int_equal(ids.len, 3);
    assert_string_equal(tn_dictionary_word(d, ids.at[0]), "a\xef\xbf\xbd");
    assert_int_equal(ids.at[1], TN_UNK);
    assert_string_equal(words_of(d), "a\xef\xbf\xbd b");
    tn_ids_end(&ids);
}

static void test_files(void **state)
{
    char bytes[256];
    (void)state;
    tn_dictionary *d = build("b a\nc b <unk> <s>\n", 0, 0, 0);
    assert_true(tn_dictionary_save(d, in_folder("dict.txt")));
    tn_free(d);
    const size_t n = get_file(in_folder("dict.txt"), (unsigned char *)bytes, sizeof bytes);
    bytes[n] = 0;
    assert_string_equal(bytes, "b 2\na 1\nc 1\nmadeupword0000 0\n");
    d = tn_dictionary_open(in_folder("dict.txt"));
    assert_true(tn_dictionary_save(d, in_folder("again.txt")));
    assert_int_equal(tn_dictionary_len(d), 8);
    assert_int_equal(tn_dictionary_id(d, "c", 1), 6);
    tn_free(d);
    assert_int_equal(get_file(in_folder("again.txt"), (unsigned char *)bytes, sizeof bytes), n);
    assert_string_equal(bytes, "b 2\na 1\nc 1\nmadeupword0000 0\n");
    assert_string_equal(words_of(tn_dictionary_open(put("cr", "x 3\r\ny 99"))), "x y");
}

static void test_damaged_files(void **state)
{
    static const struct { const char *text, *words; } bad[] = {
        {"", "the file is empty"},          {"a 1\nb\n", "line 2 has no count"},
        {"a 1\n\nb 2\n", "line 2 has no count"}, {"a 1\nb x\n", "line 2 does not end in a count"},
        {"a -1\n", "line 1 does not end"},  {"a 1.5\n", "line 1 does not end"},
        {"a \n", "line 1 does not end"},    {"a 99999999999999999999\n", "line 1 does not end"},
        {" 5\n", "line 1 has no word"},     {"a b 5\n", "line 1 holds more than one word"},
        {"a\tb 5\n", "holds more than one word"}, {"a 1\nb 1\na 2\n", "line 3 has a word for the second time"},
        {"</s> 4\n", "line 1 is a special word"}, {"a\xff 4\n", "line 1 is not UTF-8"},
        {"a\xed\xa0\x80 4\n", "line 1 is not UTF-8"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_null(tn_dictionary_open(put("bad.txt", bad[i].text)));
        assert_non_null(strstr(tn_error()->text, "bad.txt"));
        expect_error(TN_EFORMAT, bad[i].words);
    }
    assert_null(tn_dictionary_open(put_file("nul.txt", "a 1\nb\0 2\n", 9)));
    expect_error(TN_EFORMAT, "nul.txt: line 2 holds a NUL byte");
    assert_null(tn_dictionary_open(in_folder("none.txt")));
    expect_error(TN_EIO, "none.txt");
    assert_null(tn_dictionary_open(NULL));
    expect_error(TN_EARG, "no file name");
}

static void test_arguments(void **state)
{
    const char *none[] = {NULL}, *missing[] = {in_folder("missing")};
    (void)state;
    assert_null(tn_dictionary_build((tn_dictionary_args){0}));
    expect_error(TN_EARG, "no files given");
    assert_null(tn_dictionary_build((tn_dictionary_args){.n = 1, .files = none}));
    expect_error(TN_EARG, "file 0 has no name");
    assert_null(tn_dictionary_build((tn_dictionary_args){.n = 1, .files = missing}));
    expect_error(TN_EIO, "missing");
    assert_null(tn_dictionary_build((tn_dictionary_args){.n = 1, .files = missing, .most = 3}));
    expect_error(TN_EARG, "most 3");
    assert_null(tn_dictionary_build((tn_dictionary_args){.n = 1, .files = missing, .multiple = -8}));
    expect_error(TN_EARG, "multiple -8");
    assert_false(tn_dictionary_save(NULL, "x") || tn_dictionary_encode(NULL, "", 0, NULL) ||
                 tn_dictionary_decode(NULL, NULL, 0, NULL));
    assert_int_equal(tn_dictionary_len(NULL), 0);
    assert_int_equal(tn_dictionary_id(NULL, "a", 1), TN_UNK);
    assert_ok();
}

/* More text than the threads take at once, in lines of all lengths. */
static void test_any_number_of_threads(void **state)
{
    (void)state;
    FILE *f = fopen(in_folder("large"), "w");
    uint32_t r = 1;
    assert_non_null(f);
    for (int i = 0; i < 1200000; i++) {
        r = r * 1664525 + 1013904223;
        fprintf(f, "w%u%c", (r >> 16) % (1u + (r >> 8) % 3000), (r >> 5) % 11 ? ' ' : '\n');
    }
    fclose(f);
    const int before = tn_threads();
    char large[256];
    strcpy(large, in_folder("large"));
    for (int threads = 1; threads <= 3; threads++) {
        const char *files[] = {large, put("small", "w1 w2\nw1")};
        tn_set_threads(threads);
        tn_dictionary *d = tn_dictionary_build((tn_dictionary_args){.n = 2, .files = files});
        assert_true(tn_dictionary_save(d, in_folder(threads == 1 ? "one" : "more")));
        tn_free(d);
        char command[600];
        snprintf(command, sizeof command, "cmp '%s' '%s'", in_folder("one"), in_folder(threads == 1 ? "one" : "more"));
        assert_int_equal(system(command), 0);
    }
    tn_set_threads(before);
}

/* As fairseq's own dictionary of the shared tokens, by an independent count: sort and uniq. */
static void test_against_sort_and_uniq(void **state)
{
    static const char text[] = TN_SHARED "/data/iwslt14-de-en.tar.xz";
    char command[1200];
    (void)state;
    if (access(text, R_OK) != 0)
        skip();
    snprintf(command, sizeof command, "cd '%s' && tar -xJf '%s' --wildcards '*/bpe10k/valid.*' && "
             "cat */bpe10k/valid.en */bpe10k/valid.de | tr -s ' ' '\\n' | grep -v '^$' | LC_ALL=C sort | uniq -c | "
             "LC_ALL=C sort -k1,1nr -k2,2 | awk '{print $2, $1}' > wanted; mv */bpe10k/valid.* .", folder, text);
    assert_int_equal(system(command), 0);
    const char *files[] = {in_folder("valid.de"), in_folder("valid.en")};
    tn_dictionary *d = tn_dictionary_build((tn_dictionary_args){.n = 2, .files = files, .multiple = 1});
    assert_true(tn_dictionary_len(d) > 5000);
    assert_true(tn_dictionary_save(d, in_folder("got")));
    tn_free(d);
    snprintf(command, sizeof command, "cmp '%s' '%s'", in_folder("wanted"), in_folder("got"));
    assert_int_equal(system(command), 0);
}

/* ---- ranked ---- */

static tn_dictionary *build_ranked(const char *text, int64_t threshold, bool skip_blank)
{
    const char *files[] = {put("text", text)};
    return tn_dictionary_build((tn_dictionary_args){.n = 1, .files = files, .threshold = threshold, .ranked = true,
                                                    .skip_blank = skip_blank});
}

/* What is written of it; frees d. */
static const char *file_of(tn_dictionary *d)
{
    static char text[4096];
    assert_ok();
    assert_true(tn_dictionary_save(d, in_folder("dict.txt")));
    text[get_file(in_folder("dict.txt"), (unsigned char *)text, sizeof text)] = 0;
    tn_dictionary *again = tn_dictionary_open_ranked(in_folder("dict.txt"));
    assert_ok();
    assert_int_equal(tn_dictionary_len(again), tn_dictionary_len(d));
    assert_int_equal(tn_dictionary_eos(again), tn_dictionary_eos(d));
    assert_int_equal(tn_dictionary_unk(again), tn_dictionary_unk(d));
    tn_free(d, again);
    return text;
}

static void test_ranked(void **state)
{
    (void)state;
    assert_string_equal(file_of(build_ranked("b a b\n\n b c\n<s>\n", 0, false)),
                        "</s> 4\nb 3\n<s> 1\na 1\nc 1\n<unk> 0\n");
    assert_string_equal(file_of(build_ranked("b a b\n\n b c\n \t\n", 0, true)), "b 3\n</s> 2\na 1\nc 1\n<unk> 0\n");
    /* rare words, text that reads like one of the two, and words with a NUL are all the one <unk> */
    assert_string_equal(file_of(build_ranked("b a b\nb c a\nd\n", 2, false)), "</s> 3\nb 3\n<unk> 2\na 2\n");
    assert_string_equal(file_of(build_ranked("b b <unk> <unk>\n</s> b c", 2, false)), "<unk> 4\nb 3\n</s> 2\n");
    const char *files[] = {put_file("nul", "a\0b a\0b a", 9)};
    assert_string_equal(file_of(tn_dictionary_build((tn_dictionary_args){.n = 1, .files = files, .ranked = true})),
                        "<unk> 2\n</s> 1\na 1\n");
    assert_string_equal(file_of(build_ranked("", 0, false)), "</s> 0\n<unk> 0\n");
}

static void test_ranked_ids(void **state)
{
    static const int32_t wanted[] = {1, 2, 3, 1, 1, 2, 0};
    tn_ids ids = {0};
    tn_text text = {0};
    tn_dictionary *d = build_ranked("x x y\n<s>\n<s> y x\n<s> x\n<s>\n<s>", 2, false); /* </s> <s> x y <unk> */
    (void)state;
    assert_string_equal(tn_dictionary_word(d, 0), "</s>");
    assert_int_equal(tn_dictionary_eos(d), 0);
    assert_int_equal(tn_dictionary_unk(d), 4);
    assert_int_equal(tn_dictionary_id(d, "none", 4), 4);
    const char *line = "<s> x y <s> <s> x";
    assert_true(tn_dictionary_encode(d, line, strlen(line), &ids));
    assert_int_equal(ids.len, 7);
    assert_memory_equal(ids.at, wanted, sizeof wanted);
    assert_true(tn_dictionary_decode(d, ids.at, ids.len, &text));
    assert_string_equal(text.at, line);
    assert_true(tn_dictionary_encode(d, "z </s> <unk>", 12, &ids));
    assert_memory_equal(ids.at, ((int32_t[]){4, 4, 4, 0}), 16);
    tn_free(d);
    tn_ids_end(&ids);
    tn_text_end(&text);
}

static bool count_bytes(void *arg, int64_t bytes)
{
    *(int64_t *)arg += bytes;
    return *(int64_t *)arg < 20;
}

static void test_ranked_arguments(void **state)
{
    int64_t bytes = 0;
    const char *files[] = {put("text", "a b\nc\n")};
    (void)state;
    assert_null(tn_dictionary_build((tn_dictionary_args){.n = 1, .files = files, .ranked = true, .most = 10}));
    expect_error(TN_EARG, "not for ranked ones");
    assert_null(tn_dictionary_build((tn_dictionary_args){.n = 1, .files = files, .ranked = true, .multiple = 8}));
    expect_error(TN_EARG, "not for ranked ones");
    assert_null(tn_dictionary_build((tn_dictionary_args){.n = 1, .files = files, .skip_blank = true}));
    expect_error(TN_EARG, "skip_blank is for these alone");
    assert_null(tn_dictionary_open_ranked(put("bad", "a 1\nb 2\n")));
    expect_error(TN_EFORMAT, "no </s> among the words");
    assert_null(tn_dictionary_open_ranked(put("bad", "a 1\n</s> 2\n</s> 1\n")));
    expect_error(TN_EFORMAT, "line 3 has a word for the second time");
    tn_dictionary_args a = {.n = 1, .files = files, .progress = count_bytes, .arg = &bytes};
    tn_dictionary *d = tn_dictionary_build(a);
    assert_ok();
    assert_int_equal(bytes, 6);
    tn_free(d);
    bytes = 15;
    assert_null(tn_dictionary_build(a));
    expect_error(TN_ESTATE, "stopped");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_order, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_white_space, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_encode_and_decode, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_broken_bytes_and_nul, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_files, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_damaged_files, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_arguments, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_any_number_of_threads, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_against_sort_and_uniq, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_ranked, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_ranked_ids, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_ranked_arguments, folder_begin, folder_end),
    };
    return cmocka_run_group_tests_name("dictionary", tests, NULL, NULL);
}
