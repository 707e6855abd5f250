/* Byte-pair encoding against what subword-nmt 0.3.8 printed, against plain loops, and against the shared texts. */
#include <signal.h>
#include <sys/resource.h>
#include <zlib.h>

#include "program.h"

static const char *put(const char *name, const char *text) { return put_file(name, text, strlen(text)); }

static tn_bpe *learn(const char *path, int64_t merges, int64_t least)
{
    return tn_bpe_learn((tn_bpe_args){.n = 1, .files = &path, .merges = merges, .least = least});
}

/* The file of codes, without its first line. */
static const char *codes_of(const tn_bpe *b)
{
    static char text[1 << 16];
    assert_ok();
    assert_true(tn_bpe_save(b, in_folder("codes")));
    read_whole(in_folder("codes"), text, sizeof text);
    assert_memory_equal(text, "#version: 0.2\n", 14);
    return text + 14;
}

static void expect_codes(const char *text, int64_t merges, int64_t least, const char *wanted)
{
    tn_bpe *b = learn(put("text", text), merges, least);
    assert_string_equal(codes_of(b), wanted);
    tn_free(b);
}

static void expect_line(const tn_bpe *b, const char *line, const char *wanted)
{
    tn_text out = {0};
    assert_true(tn_bpe_apply(b, line, strlen(line), &out));
    assert_string_equal(out.at, wanted);
    tn_text_end(&out);
}

#define LOW "low low low low low lower lower newest newest newest newest newest newest widest widest widest\n"

static void test_learning_as_subword_nmt(void **state)
{
    (void)state;
    expect_codes(LOW, 10, 0, "s t</w>\ne st</w>\nl o\nw est</w>\nn e\nne west</w>\nlo w</w>\nw i\nwi d\nwid est</w>\n");
    expect_codes("aaaa aaa aa aaaaa aaaa\n", 10, 0, "a a\na a</w>\naa aa</w>\naa a</w>\n");
    expect_codes(" xy yx xy yx\nAb Ab éa éa \r\n", 10, 0, "é a</w>\ny x</w>\nx y</w>\nA b</w>\n");
    expect_codes("ab ab cd", 10, 1, "a b</w>\nc d</w>\n");
    expect_codes("ab ab cd", 10, 3, "");
    expect_codes("ab cd a b c", 0, 0, "");
    expect_codes("", 0, 0, "");
    expect_codes("\n\n \n", 0, 0, "");
}

static void test_applying_as_subword_nmt(void **state)
{
    (void)state;
    tn_bpe *b = learn(put("text", LOW), 8, 0);
    expect_line(b, "  lowest  newer wider l a  ", "  lo@@ west ne@@ w@@ e@@ r wi@@ d@@ e@@ r l a  ");
    expect_line(b, "", "");
    expect_line(b, "   ", "   ");
    expect_line(b, "lower\t low", "lo@@ w@@ e@@ r@@ \t low");
    expect_line(b, "widestnewest", "wi@@ d@@ e@@ s@@ t@@ newest");
    expect_line(b, "\r low \r new \r", "\r low \r ne@@ w \r");
    tn_free(b);
}

/* Without a version the end of a word is a symbol of its own; of equal codes the first counts. */
static void test_old_codes(void **state)
{
    (void)state;
    tn_bpe *b = tn_bpe_open(put("old", "l o\nlo w\ne r\ner </w>\nlow </w>\nl o\n\n"));
    assert_ok();
    expect_line(b, "low lower lowe x er", "low low@@ er low@@ e x er");
    char bytes[256];
    assert_true(tn_bpe_save(b, in_folder("again")));
    read_whole(in_folder("again"), bytes, sizeof bytes);
    assert_string_equal(bytes, "#version: 0.1\nl o\nlo w\ne r\ner </w>\nlow </w>\nl o\n");
    tn_free(b);
}

static void test_damaged_codes(void **state)
{
    static const struct { const char *text, *words; } bad[] = {
        {"", "the file is empty"},
        {"#version: 0.3\na b\n", "line 1 names another version"},
        {"#version:\n", "line 1 names another version"},
        {"#version: 0.2\na b\nab\n", "line 3 is not two symbols"},
        {"#version: 0.2\na b c\n", "line 2 is not two symbols"},
        {"#version: 0.2\na  b\n", "line 2 is not two symbols"},
        {"#version: 0.2\na b\n\nc d\n", "line 3 is blank"},
        {"#version: 0.2\na \xff\n", "line 2 is not UTF-8"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_null(tn_bpe_open(put("bad", bad[i].text)));
        assert_non_null(strstr(tn_error()->text, "/bad: "));
        expect_error(TN_EFORMAT, bad[i].words);
    }
    tn_bpe *b = tn_bpe_open(put("none", "#version: 0.2\n"));
    expect_line(b, "ab", "a@@ b");
    tn_free(b);
    assert_null(tn_bpe_open(NULL));
    expect_error(TN_EARG, "no file name");
    assert_null(tn_bpe_open(in_folder("missing")));
    expect_error(TN_EIO, "missing");
    assert_null(learn(in_folder("missing"), 0, 0));
    expect_error(TN_EIO, "missing");
    assert_null(tn_bpe_learn((tn_bpe_args){0}));
    expect_error(TN_EARG, "no files");
    assert_null(learn("x", -1, 0));
    expect_error(TN_EARG, "merges -1");
    assert_false(tn_bpe_apply(NULL, "", 0, NULL) || tn_bpe_save(NULL, "x") || tn_bpe_undo(NULL, 1, NULL));
    assert_ok();
}

static void test_undo(void **state)
{
    static const char *const lines[][2] = {
        {"fo@@ o b@@ a@@ r", "foo bar"}, {"", ""}, {"a", "a"}, {"@@", ""}, {"a@@", "a"}, {"a@@ ", "a"},
        {"@@@ b", "@b"}, {"a@@b @ @", "a@@b @ @"}, {" a@@ b ", " ab "}, {"@", "@"}, {"a @@ @@ b", "a b"},
    };
    tn_text out = {0};
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        assert_true(tn_bpe_undo(lines[i][0], strlen(lines[i][0]), &out));
        assert_string_equal(out.at, lines[i][1]);
    }
    assert_true(tn_bpe_undo(NULL, 0, &out));
    tn_text_end(&out);
}

static void test_broken_bytes(void **state)
{
    static const char text[] = "a\xff" "b a\xff" "b \xe2\x82 x\0y x\0y\n";
    tn_text out = {0};
    (void)state;
    tn_bpe *b = learn(put_file("text", text, sizeof text - 1), 2, 0);
    assert_true(tn_bpe_save(b, in_folder("codes")));
    tn_free(b);
    b = tn_bpe_open(in_folder("codes"));
    assert_ok();
    expect_line(b, "\xf0\x9f\x92" "a\xfe" "b", "\xef\xbf\xbd@@ a@@ \xef\xbf\xbd" "b");
    assert_true(tn_bpe_apply(b, "x\0y", 3, &out));
    assert_int_equal(out.len, 6);
    assert_memory_equal(out.at, "x\0@@ y", 6);
    tn_text_end(&out);
    tn_free(b);
}

/* ---- plain loops ---- */

enum { WORDS = 40, SYMBOLS = 16, TEXT = 80 };
typedef struct plain {
    int n, len[WORDS], count[WORDS];
    char at[WORDS][SYMBOLS][TEXT];
} plain;

static int count_pair(const plain *p, const char *left, const char *right)
{
    int sum = 0;
    for (int w = 0; w < p->n; w++)
        for (int i = 0; i + 1 < p->len[w]; i++)
            sum += !strcmp(p->at[w][i], left) && !strcmp(p->at[w][i + 1], right) ? p->count[w] : 0;
    return sum;
}

static void merge_pair(plain *p, const char *left, const char *right)
{
    for (int w = 0; w < p->n; w++)
        for (int i = 0; i + 1 < p->len[w]; i++)
            if (!strcmp(p->at[w][i], left) && !strcmp(p->at[w][i + 1], right)) {
                strcat(p->at[w][i], p->at[w][i + 1]);
                memmove(p->at[w][i + 1], p->at[w][i + 2], (size_t)(p->len[w] - i - 2) * TEXT);
                p->len[w]--;
            }
}

static void learn_plainly(plain *p, int merges, char *codes)
{
    char left[TEXT] = "", right[TEXT] = "";
    *codes = 0;
    for (int m = 0; m < merges; m++) {
        int best = 1;
        for (int w = 0; w < p->n; w++)
            for (int i = 0; i + 1 < p->len[w]; i++) {
                const char *a = p->at[w][i], *b = p->at[w][i + 1];
                const int n = count_pair(p, a, b), order = strcmp(a, left);
                if (n > best || (n == best && n > 1 && (order > 0 || (order == 0 && strcmp(b, right) > 0)))) {
                    best = n;
                    strcpy(left, a);
                    strcpy(right, b);
                }
            }
        if (best < 2)
            return;
        sprintf(codes + strlen(codes), "%s %s\n", left, right);
        char a[TEXT], b[TEXT];
        strcpy(a, left);
        strcpy(b, right);
        merge_pair(p, a, b);
    }
}

/* Each code in turn merges all that it can: what applying amounts to for codes that were learned. */
static void apply_plainly(plain *p, const char *codes)
{
    char left[TEXT], right[TEXT];
    for (int used; sscanf(codes, "%79s %79s\n%n", left, right, &used) == 2; codes += used)
        merge_pair(p, left, right);
}

static uint32_t state_of_random;
static uint32_t random_below(uint32_t n)
{
    state_of_random = state_of_random * 1664525 + 1013904223;
    return (state_of_random >> 16) % n;
}

static void draw_words(plain *p, int n, uint32_t letters)
{
    static const char *const letter[] = {"a", "b", "c", "é", "世", "<", "/", "w", ">"};
    p->n = n;
    for (int w = 0; w < n; w++) {
        p->len[w] = 1 + (int)random_below(SYMBOLS - 1);
        p->count[w] = 1 + (int)random_below(3);
        for (int i = 0; i < p->len[w]; i++)
            strcpy(p->at[w][i], letter[random_below(letters)]);
        strcat(p->at[w][p->len[w] - 1], "</w>");
    }
}

static void write_words(const plain *p, FILE *f, bool counted)
{
    for (int w = 0; w < p->n; w++)
        for (int k = 0; k < (counted ? p->count[w] : 1); k++)
            for (int i = 0; i < p->len[w]; i++) {
                const bool last = i + 1 == p->len[w];
                fprintf(f, "%.*s%s", (int)strlen(p->at[w][i]) - (last ? 4 : 0), p->at[w][i],
                        !last ? "" : w % 5 == 4 ? "\n" : " ");
            }
}

static void test_against_plain_loops(void **state)
{
    static plain words, others;
    static char wanted[1 << 16], line[1 << 14], cut[1 << 14];
    tn_text out = {0};
    (void)state;
    for (uint32_t seed = 0; seed < 120; seed++) {
        state_of_random = seed * 7919;
        const uint32_t letters = seed % 4 == 3 ? 9 : 2 + seed % 4;
        draw_words(&words, 3 + (int)random_below(WORDS - 3), letters);
        FILE *f = fopen(in_folder("text"), "w");
        write_words(&words, f, true);
        fclose(f);
        learn_plainly(&words, 60, wanted);
        tn_bpe *b = learn(in_folder("text"), 60, 0);
        const char *codes = codes_of(b);
        if (strcmp(codes, wanted) != 0)
            fail_msg("seed %u: codes\n%s and plainly\n%s", seed, codes, wanted);
        draw_words(&others, 4, letters);
        f = fmemopen(line, sizeof line, "w");
        write_words(&others, f, false);
        fclose(f);
        apply_plainly(&others, wanted);
        *cut = 0;
        for (int w = 0; w < others.n; w++)
            for (int i = 0; i < others.len[w]; i++) {
                const bool last = i + 1 == others.len[w];
                sprintf(cut + strlen(cut), "%.*s%s", (int)strlen(others.at[w][i]) - (last ? 4 : 0), others.at[w][i],
                        last ? " " : "@@ ");
            }
        assert_true(tn_bpe_apply(b, line, strlen(line), &out));
        assert_string_equal(out.at, cut);
        tn_free(b);
    }
    tn_text_end(&out);
}

/* ---- large and small ---- */

static void test_long_words(void **state)
{
    const size_t n = 1 << 20;
    char *word = malloc(2 * n + 2);
    tn_text cut = {0}, back = {0};
    (void)state;
    assert_non_null(word);
    state_of_random = 5;
    for (size_t i = 0; i < n; i++)
        word[i] = "aaabcd"[random_below(6)];
    word[n] = ' ';
    memset(word + n + 1, 'a', n);
    tn_bpe *b = learn(put_file("long", word, 2 * n + 1), 500, 0);
    assert_ok();
    assert_true(tn_bpe_apply(b, word, 2 * n + 1, &cut));
    assert_true(tn_bpe_undo(cut.at, cut.len, &back));
    assert_int_equal(back.len, 2 * n + 1);
    assert_memory_equal(back.at, word, 2 * n + 1);
    tn_free(b);
    tn_text_end(&cut);
    tn_text_end(&back);
    free(word);
}

/* Some megabytes, so that every thread has some. */
static void test_any_number_of_threads(void **state)
{
    static char first[1 << 16];
    char path[256];
    const int before = tn_threads();
    (void)state;
    strcpy(path, in_folder("large"));
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    state_of_random = 3;
    for (int i = 0; i < 500000; i++) {
        for (uint32_t k = 0, len = 1 + random_below(6); k < len; k++)
            fputs(((const char *const[]){"ka", "to", "ri", "nß", "u"})[random_below(5)], f);
        fputc(random_below(9) ? ' ' : '\n', f);
    }
    fclose(f);
    for (int threads = 1; threads <= 3; threads++) {
        tn_set_threads(threads);
        const char *files[] = {path, put("more", "kato kato riu\n")};
        tn_bpe *b = tn_bpe_learn((tn_bpe_args){.n = 2, .files = files, .merges = 300});
        if (threads == 1)
            strcpy(first, codes_of(b));
        else
            assert_string_equal(codes_of(b), first);
        tn_free(b);
    }
    tn_set_threads(before);
}

static void test_failed_write_leaves_the_old_file(void **state)
{
    struct rlimit was;
    (void)state;
    tn_bpe *b = learn(put("text", LOW), 8, 0);
    assert_true(tn_bpe_save(b, in_folder("kept")));
    const int files = files_in_folder();
    getrlimit(RLIMIT_FSIZE, &was);
    const struct rlimit tight = {20, was.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &tight);
    assert_false(tn_bpe_save(b, in_folder("kept")));
    setrlimit(RLIMIT_FSIZE, &was);
    expect_error(TN_EIO, "File too large");
    assert_int_equal(files_in_folder(), files);
    tn_free(b);
    tn_free(tn_bpe_open(in_folder("kept")));
    assert_ok();
}

/* ---- the program, and with it the shared texts ---- */

static void test_program(void **state)
{
    (void)state;
    put("low", LOW);
    expect(0, tenon("bpe learn --merges 8 low"));
    write_text("codes", output);
    expect(0, tenon("bpe apply --codes codes <low"));
    expect_words(output, "low low low low low lo@@ w@@ e@@ r");
    write_text("cut", output);
    expect(0, tenon("bpe undo <cut"));
    assert_string_equal(output, LOW);
    expect_complaint(2, tenon("bpe learn"), "learn wants FILE");
    expect_complaint(2, tenon("bpe apply <low"), "--codes FILE");
    expect_complaint(2, tenon("bpe undo low"), "on standard input");
    expect_complaint(2, tenon("bpe unlearn"), "not 'unlearn'");
    expect_complaint(1, tenon("bpe apply --codes low <low"), "low: line 1 is not two symbols");
    expect_complaint(1, tenon("bpe learn none"), "none: No such file");
}

static uint32_t crc_of(const char *name)
{
    static unsigned char bytes[1 << 20];
    return (uint32_t)crc32(0, bytes, (unsigned)get_file(in_folder(name), bytes, sizeof bytes));
}

/* Applying the shared codes gives the shared subwords; learning from the shared part of the training text gives
 * the 10,000 codes that subword-nmt 0.3.8 learned from it, by their checksum. */
static void test_shared_texts(void **state)
{
    static const char packed[] = TN_SHARED "/data/iwslt14-de-en.tar.xz";
    static const char *const texts[] = {"valid.de", "valid.en", "test.de", "test.en"};
    char command[600], name[32];
    (void)state;
    if (access(packed, R_OK) != 0)
        skip();
    snprintf(command, sizeof command, "cd '%s' && tar -xJf '%s' && mv iwslt14-de-en/* .", folder, packed);
    assert_int_equal(system(command), 0);
    for (int i = 0; i < 4; i++) {
        expect(0, tenon("bpe apply --codes code <tokenized/%s", texts[i]));
        snprintf(name, sizeof name, "bpe10k/%s", texts[i]);
        assert_true(same_files("out", name));
        expect(0, tenon("bpe undo <bpe10k/%s", texts[i]));
        snprintf(name, sizeof name, "tokenized/%s", texts[i]);
        assert_true(same_files("out", name));
    }
    expect(0, tenon("bpe learn tokenized/train.de tokenized/train.en"));
    assert_int_equal(crc_of("out"), 0x57edda5d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_learning_as_subword_nmt, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_applying_as_subword_nmt, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_old_codes, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_damaged_codes, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_undo, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_broken_bytes, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_against_plain_loops, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_long_words, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_any_number_of_threads, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_failed_write_leaves_the_old_file, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_program, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_shared_texts, folder_begin, folder_end),
    };
    return cmocka_run_group_tests_name("bpe", tests, NULL, NULL);
}
