/* Codecs: raw lines to ids and back, and the folder they come from. */
#include <sys/stat.h>

#include "../data/codec.h"
#include "files.h"

static const char *put(const char *name, const char *text) { return put_file(name, text, strlen(text)); }

static const struct tn__codec_info whole = {
    .lang = {"de", "en"}, .moses = true, .lowercase = true, .bpe = "code",
    .dictionary = {"dict.de.txt", "dict.en.txt"},
};

/* A folder with few codes and words. */
static void make_folder(const struct tn__codec_info *info)
{
    put("code", "#version: 0.2\nh a\nha u\nhau s</w>\n");
    put("dict.de.txt", "haus 5\ndas 4\nt@@ 3\nü@@ 2\nr 2\n. 1\n");
    put("dict.en.txt", "house 5\nthe 4\n&apos;s 2\nIt 1\n");
    assert_true(tn__codec_write(folder, info));
}

static void expect_ids(const tn_codec *c, bool raw, const char *line, int n, const int32_t *wanted)
{
    tn_ids ids = {0};
    assert_true(raw ? tn_codec_encode(c, line, strlen(line), &ids)
                    : tn_codec_encode_tokens(c, line, strlen(line), &ids));
    assert_int_equal(ids.len, n);
    assert_memory_equal(ids.at, wanted, (size_t)n * sizeof *wanted);
    tn_ids_end(&ids);
}

static void expect_text(const tn_codec *c, int n, const int32_t *ids, const char *tokens, const char *plain)
{
    tn_text text = {0}, back = {0};
    assert_true(tn_codec_decode(c, ids, n, &text));
    assert_string_equal(text.at, tokens);
    assert_true(tn_codec_detokenize(c, text.at, text.len, &back));
    assert_string_equal(back.at, plain);
    tn_text_end(&text);
    tn_text_end(&back);
}

static void test_all_steps(void **state)
{
    static const int32_t ids[] = {3, 3, 3, 4, 3, 9, 2}, words[] = {4, 6, 7, 8, 9, 2, 5};
    (void)state;
    make_folder(&whole);
    tn_codec *c = tn_codec_open(folder, "de");
    assert_ok();
    assert_int_equal(tn_dictionary_len(tn_codec_dictionary(c)), 10);
    expect_ids(c, true, "Das Haus X.", 7, ids); /* "das" has no codes: d@@ a@@ s */
    expect_ids(c, false, "das haus x .", 7, ids);
    expect_ids(c, true, "Tür", 4, (const int32_t[]){6, 7, 8, 2});
    expect_ids(c, true, "", 1, (const int32_t[]){2});
    expect_text(c, 7, words, "haus tür .", "haus tür.");
    tn_free(c);
}

static void test_fewer_steps(void **state)
{
    struct tn__codec_info bare = whole;
    (void)state;
    bare.moses = bare.lowercase = false;
    *bare.bpe = 0;
    make_folder(&bare);
    tn_codec *c = tn_codec_open(folder, "en");
    expect_ids(c, true, "It &apos;s the House", 5, (const int32_t[]){7, 6, 5, 3, 2});
    expect_text(c, 4, (const int32_t[]){7, 6, 4, 2}, "It &apos;s house", "It &apos;s house");
    tn_free(c);
    bare.lowercase = true;
    make_folder(&bare);
    c = tn_codec_open(folder, "en");
    expect_ids(c, true, "It the House", 4, (const int32_t[]){3, 5, 4, 2});
    expect_ids(c, false, "It the House", 4, (const int32_t[]){7, 5, 3, 2});
    tn_free(c);
}

static void test_text_json(void **state)
{
    static const struct tn__codec_info others = {
        .lang = {"en-GB", "x"}, .joined = true, .dictionary = {"both", "both"},
    };
    struct tn__codec_info back;
    char source[16], target[16];
    (void)state;
    make_folder(&whole);
    assert_true(tn__codec_read(folder, &back));
    assert_memory_equal(&back, &whole, sizeof back);
    assert_true(tn__codec_write(folder, &others) && tn__codec_read(folder, &back));
    assert_memory_equal(&back, &others, sizeof back);
    assert_true(tn_codec_languages(folder, source, target));
    assert_string_equal(source, "en-GB");
    assert_string_equal(target, "x");
    static const char *const names[] = {"en", "../code", ".d", "a/b"};
    for (int i = 0; i < 4; i++) {
        struct tn__codec_info bad = whole;
        strcpy(i == 1 ? bad.bpe : i == 2 ? bad.dictionary[0] : bad.lang[0], names[i]);
        assert_false(tn__codec_write(folder, &bad));
        expect_error(TN_EFORMAT, names[i]);
    }
}

#define START "{\"source\": \"de\", \"target\": \"en\", "
#define END "\"dictionaries\": {\"de\": \"dict.de.txt\", \"en\": \"dict.en.txt\"}, \"joined\": false}"

static void test_damaged_text_json(void **state)
{
    static const struct { const char *text, *words; } bad[] = {
        {"", "line 1, column 0"},
        {"{\n  \"source\": \"de\",,\n", "line 2"},
        {"[]", "an object is wanted"},
        {START "\"tokenizer\": \"moses\", \"lowercase\": 1, \"bpe\": null, " END, "lowercase must be true or false"},
        {START "\"tokenizer\": \"spacy\", \"lowercase\": true, \"bpe\": null, " END, "tokenizer is 'spacy'"},
        {START "\"tokenizer\": \"none\", \"lowercase\": true, " END, "bpe must be a text"},
        {START "\"tokenizer\": \"none\", \"lowercase\": true, \"bpe\": \"/etc/passwd\", " END, "'/etc/passwd'"},
        {START "\"tokenizer\": \"none\", \"lowercase\": true, \"bpe\": null, \"cased\": 1, " END, "no 'cased'"},
        {START "\"tokenizer\": \"none\", \"tokenizer\": \"none\", " END, "line 1"},
        {START "\"tokenizer\": \"none\\u0000\", " END, "line 1"},
        {"{\"source\": \"a language of many letters\"}", "source must be a text of at most 15 bytes"},
        {"{\"source\": \"de\", \"target\": \"e/n\"}", "tokenizer must be a text"},
    };
    (void)state;
    make_folder(&whole);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put("text.json", bad[i].text);
        assert_null(tn_codec_open(folder, "de"));
        assert_non_null(strstr(tn_error()->text, "text.json"));
        expect_error(TN_EFORMAT, bad[i].words);
    }
    unlink(in_folder("text.json"));
    assert_null(tn_codec_open(folder, "de"));
    expect_error(TN_EIO, "text.json: No such file");
    mkdir(in_folder("text.json"), 0777);
    assert_null(tn_codec_open(folder, "de"));
    expect_error(TN_EIO, "text.json is not a regular file");
}

static void test_what_is_missing(void **state)
{
    static const char *const files[] = {"code", "dict.de.txt"};
    (void)state;
    make_folder(&whole);
    assert_null(tn_codec_open(folder, "fr"));
    expect_error(TN_EARG, "has the languages de and en, not 'fr'");
    assert_null(tn_codec_open(folder, NULL));
    expect_error(TN_EARG, "not ''");
    assert_null(tn_codec_open(NULL, "de"));
    expect_error(TN_EARG, "no folder");
    for (int i = 0; i < 2; i++) {
        make_folder(&whole);
        unlink(in_folder(files[i]));
        assert_null(tn_codec_open(folder, "de"));
        expect_error(TN_EIO, files[i]);
        assert_false(tn_codec_copy(folder, in_folder("copy")));
        expect_error(TN_EIO, files[i]);
        assert_int_not_equal(access(in_folder("copy/text.json"), F_OK), 0);
    }
    assert_false(tn_codec_encode(NULL, "", 0, NULL) || tn_codec_decode(NULL, NULL, 0, NULL) ||
                 tn_codec_detokenize(NULL, "", 0, NULL) || tn_codec_languages(folder, NULL, NULL));
    assert_null(tn_codec_dictionary(NULL));
    assert_ok();
}

static void test_copy(void **state)
{
    char command[600];
    (void)state;
    make_folder(&whole);
    for (int twice = 0; twice < 2; twice++)
        assert_true(tn_codec_copy(folder, in_folder("copy")));
    snprintf(command, sizeof command, "cd '%s' && for f in text.json code dict.de.txt dict.en.txt; do cmp $f copy/$f || "
             "exit 1; done; [ $(ls -A copy | wc -l) = 4 ]", folder);
    assert_int_equal(system(command), 0);
    assert_true(tn_codec_copy(folder, folder));
    tn_codec *c = tn_codec_open(in_folder("copy"), "en");
    expect_ids(c, true, "R.", 3, (const int32_t[]){3, 3, 2});
    tn_free(c);
    assert_false(tn_codec_copy(folder, in_folder("none/copy")));
    expect_error(TN_EIO, "none/copy");
    assert_false(tn_codec_copy(folder, in_folder("code")));
    assert_int_equal(tn_error()->code, TN_EIO);
    tn_error_clear();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_all_steps, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_fewer_steps, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_text_json, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_damaged_text_json, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_what_is_missing, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_copy, folder_begin, folder_end),
    };
    return cmocka_run_group_tests_name("codec", tests, NULL, NULL);
}
