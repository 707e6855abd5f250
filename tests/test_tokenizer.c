/* Tokenizer, detokenizer and lower case: what Moses' scripts (commit 75d4c67, under Perl 5.36) made of each line
 * here, and of the real data where there are any; then lines nobody writes, and the program. */
#include "program.h"

#include "real_data.h"

typedef struct line_case {
    const char *lang, *in, *out;
} line_case;

typedef bool change_line(const tn_tokenizer *t, const char *line, size_t n, tn_text *out);

static bool lower(const tn_tokenizer *t, const char *line, size_t n, tn_text *out)
{
    (void)t;
    return tn_lowercase(line, n, out);
}

static void check_cases(const line_case *cases, int n, change_line *change, bool aggressive, bool no_escape)
{
    for (int i = 0; i < n; i++) {
        tn_text out = {0};
        tn_tokenizer *t = tn_tokenizer(cases[i].lang, .aggressive = aggressive, .no_escape = no_escape);
        assert_true(change(t, cases[i].in, strlen(cases[i].in), &out));
        assert_string_equal(out.at, cases[i].out);
        assert_int_equal(out.len, strlen(cases[i].out));
        tn_text_end(&out);
        tn_free(t);
    }
}
#define CHECK(cases, ...) check_cases(cases, (int)(sizeof(cases) / sizeof *(cases)), __VA_ARGS__)

static const line_case tokens[] = {
    {"de", "Das ist z.B. ein Test, oder?", "Das ist z.B. ein Test , oder ?"},
    {"de", "Er kam am 3. Mai um 17.30 Uhr.", "Er kam am 3. Mai um 17.30 Uhr ."},
    {"de", "Dr. Müller wohnt im 2. Stock, Nr. 5.", "Dr. Müller wohnt im 2. Stock , Nr. 5 ."},
    {"de", "Er sagte: \"Das geht so nicht!\"", "Er sagte : &quot; Das geht so nicht ! &quot;"},
    {"de", "„Na gut“, sagte sie – und ging.", "„ Na gut “ , sagte sie – und ging ."},
    {"de", "Das kostet 1.234,56 € (inkl. MwSt.).", "Das kostet 1.234,56 € ( inkl . MwSt. ) ."},
    {"de", "Hans' Auto, geht's noch?", "Hans &apos; Auto , geht &apos; s noch ?"},
    {"de", "Ende usw. Anfang", "Ende usw. Anfang"},
    {"de", "Ende bzw. anfang", "Ende bzw. anfang"},
    {"de", "Im XIV. Jahrhundert", "Im XIV. Jahrhundert"},
    {"de", "100. Tag und 09. Tag und 99. Tag", "100 . Tag und 09 . Tag und 99. Tag"},
    {"de", "U-Bahn-Station, E-Mail-Adresse", "U-Bahn-Station , E-Mail-Adresse"},
    {"de", "Hallo... Welt", "Hallo ... Welt"},
    {"de", "Warte.. was....", "Warte .. was ...."},
    {"de", "Das ist gut. das auch. Und das.", "Das ist gut. das auch . Und das ."},
    {"de", "a,b,,c,5,6,d", "a , b , , c , 5,6 , d"},
    {"de", "5,", "5 ,"},
    {"de", "Straße des 17. Juni, o.ä. Dinge", "Straße des 17. Juni , o.ä. Dinge"},
    {"en", "I can't believe it's John's, is it?", "I can &apos;t believe it &apos;s John &apos;s , is it ?"},
    {"en", "the 1990's and the '90s", "the 1990 &apos;s and the &apos; 90s"},
    {"en", "rock 'n' roll 'em", "rock &apos; n &apos; roll &apos; em"},
    {"en", "He said 'no.'", "He said &apos; no . &apos; "},
    {"en", "Mr. Smith paid $5,300.50 on Jan. 5.", "Mr. Smith paid $ 5,300.50 on Jan. 5 ."},
    {"en", "No. 5 is No. Five, pp. 3-4, pp. x.", "No. 5 is No . Five , pp. 3-4 , pp. x ."},
    {"en", "See http://www.example.com/a?b=c&d=[e] now.",
     "See http : / / www.example.com / a ? b = c &amp; d = &#91; e &#93; now ."},
    {"en", "Wait... what?!", "Wait ... what ? !"},
    {"en", "A & B | C < D > E [F] \"G\" `H`", "A &amp; B &#124; C &lt; D &gt; E &#91; F &#93; &quot; G &quot; `H`"},
    {"en", "U.S. troops, e.g. the U.N. ones, i.e. those.", "U.S. troops , e.g. the U.N. ones , i.e. those ."},
    {"en", "etc. And so on. and on", "etc . And so on. and on"},
    {"en", "well-known state-of-the-art", "well-known state-of-the-art"},
    {"en", "x'5'y 5'y y'5 ''", "x &apos; 5&apos;y 5&apos;y y &apos; 5 &apos; &apos;"},
    {"en", "it's 5's and 5'z", "it &apos;s 5 &apos;s and 5&apos;z"},
    {"en", "Ph.D. J. R. Smith vs. Dr. No", "Ph.D. J. R. Smith vs. Dr. No"},
    {"en", "...", "..."},
    {"en", "..", ".."},
    {"en", ".", "."},
    {"en", "'", "&apos;"},
    {"en", "a .' b .'", "a . &apos; b  . &apos; "},
    {"en", "naïve café—déjà vu…", "naïve café — déjà vu …"},
    {"en", "日本語。中文", "日本語 。 中文"},
    {"en", "a b c\342\200\213d\302\255e", "a b c \342\200\213 d \302\255 e"},
    {"en", "½ ² Ⅷ, x", "½ ² Ⅷ , x"},
    {"en", "tab\there\001\002 \177", "tab here \177"},
    {"en", "3.", "3 ."},
    {"en", "Mr.", "Mr ."},
    {"en", "v. A a. B", "v. A a . B"},
    {"fr", "l'homme n'est M. Dr. X", "l &apos; homme n &apos; est M . Dr . X"},
    {"fr", "Dr. x", "Dr. x"},
};

static const line_case aggressive[] = {
    {"en", "well-known -a- 5-6 a--b x-y-z U-Bahn", "well @-@ known -a- 5 @-@ 6 a--b x @-@ y @-@ z U @-@ Bahn"},
    {"en", "a-'b & [c]", "a- ' b & [ c ]"},
};

static const line_case joined[] = {
    {"en", "I can &apos;t believe it &apos;s John &apos;s , is it ?", "I can't believe it's John's, is it?"},
    {"en", "&quot; Well , &quot; he said ( twice ) : &quot; no ! &quot;", "\"Well,\" he said (twice): \"no!\""},
    {"en", "the Jones &apos; house and &apos; this &apos;", "the Jones' house and 'this'"},
    {"en", "It costs $ 5 , 300 or € 5 or £ 5 %", "It costs $5, 300 or €5 or £5%"},
    {"en", "a @-@ b @-@ @-@ c", "a-b-@-@ c"},
    {"en", "&amp;lt; &amp;amp; &bar; &#124; &lt; &gt; &bra; &ket; &#91; x &#93;", "&lt; &amp; | | < > [] [x]"},
    {"en", "„ a “ b „ c “", "„a“ b „c“"},
    {"en", "&quot; a  &quot; b", "\"a \" b"},
    {"en", "&lt;p&gt; x", "<p> x"},
    {"en", "<p> x </p>", "<p> x </p>"},
    {"en", "¿ qué ? ¡ sí !", "¿qué? ¡sí!"},
    {"en", "日本 語 abc 中 文 。", "日本語 abc 中文。"},
    {"en", "&quot;&quot; a &quot;&quot; b &apos;&apos; c &apos;&apos;", "\"\"a\"\" b ''c''"},
    {"en", " a   ,  b ", "a , b"},
    {"en", "@-@ a @-@", "-a-"},
    {"de", "„ Na gut “ , sagte sie .", "„Na gut“, sagte sie."},
    {"de", "geht &apos; s &apos; noch", "geht 's' noch"},
    {"de", "das Auto &apos;s", "das Auto 's"},
    {"de", "&quot; a &quot; und ` b `", "\"a\" und `b`"},
};

/* U+0130 alone becomes two characters; a sigma at the end of a word is like any other. */
static const line_case lowered[] = {
    {"de", "ÄÖÜ GRÖSSE ẞ ß &QUOT; 5", "äöü grösse ß ß &quot; 5"},
    {"en", "İ I ı ΣΑΣ ΩÅK Ǆ ǅ ǆ Ⅷ Ⓐ Ა Ꭰ ꭰ Ꞁ 𐐀 Ж", "i̇ i ı σασ ωåk ǆ ǆ ǆ ⅷ ⓐ ა ꭰ ꭰ ꞁ 𐐨 ж"},
    {"en", "", ""},
};

static void what_moses_makes_of_lines(void **state)
{
    (void)state;
    CHECK(tokens, tn_tokenize, false, false);
    CHECK(aggressive, tn_tokenize, true, true);
    CHECK(joined, tn_detokenize, false, false);
    CHECK(lowered, lower, false, false);
}

/* Each longest piece that is no UTF-8 is one U+FFFD, a character like any other symbol. */
static void broken_utf8(void **state)
{
    (void)state;
    static const char *const pieces[][2] = {
        {"\x80", "1"}, {"\xc0\xaf", "11"}, {"\xc3", "1"}, {"\xe2\x82", "1"}, {"\xe0\x80\x80", "111"},
        {"\xed\xa0\x80", "111"}, {"\xf0\x9f\x98", "1"}, {"\xf4\x90\x80\x80", "1111"}, {"\xff\xfe", "11"},
        {"\xe2\x82\xe2\x82\xac", "1\xe2\x82\xac"}, {"\xf0\x9f\xc3\xa4", "1\xc3\xa4"},
    };
    tn_tokenizer *t = tn_tokenizer("en");
    tn_text out = {0};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        char in[16], wanted[64] = "A";
        snprintf(in, sizeof in, "A%sB", pieces[i][0]);
        for (const char *s = pieces[i][1]; *s; s++)
            snprintf(wanted + strlen(wanted), 4, *s == '1' ? "\xef\xbf\xbd" : "%c", *s);
        strcat(wanted, "B");
        assert_true(tn_detokenize(t, in, strlen(in), &out));
        assert_string_equal(out.at, wanted);
        for (char *s = wanted; *s; s++)
            if (*s == 'A' || *s == 'B')
                *s |= 32;
        assert_true(tn_lowercase(in, strlen(in), &out));
        assert_string_equal(out.at, wanted);
    }
    assert_true(tn_tokenize(t, "A\xffz\xc3", 4, &out));
    assert_string_equal(out.at, "A \xef\xbf\xbd z \xef\xbf\xbd");
    tn_text_end(&out);
    tn_free(t);
}

static void bytes_of_any_kind(void **state)
{
    (void)state;
    tn_tokenizer *t = tn_tokenizer("en");
    tn_text out = {0};
    assert_true(tn_tokenize(t, "a\0b \0\0 c", 8, &out)); /* control characters go */
    assert_string_equal(out.at, "ab c");
    assert_true(tn_lowercase("A\0B", 3, &out));
    assert_int_equal(out.len, 3);
    assert_memory_equal(out.at, "a\0b", 4);
    assert_true(tn_detokenize(t, "a\0 ,", 4, &out));
    assert_int_equal(out.len, 3);
    assert_memory_equal(out.at, "a\0,", 4);
    for (int i = 0; i < 3; i++) { /* blank lines stay as they are */
        change_line *const change = i == 0 ? tn_tokenize : i == 1 ? tn_detokenize : lower;
        assert_true(change(t, " \t\xc2\xa0 ", 5, &out));
        assert_string_equal(out.at, " \t\xc2\xa0 ");
        assert_true(change(t, NULL, 0, &out));
        assert_int_equal(out.len, 0);
        assert_string_equal(out.at, "");
    }
    tn_text_end(&out);
    tn_free(t);
}

/* Of `n` bytes that repeat a pattern; each rule has one that makes it work hardest. */
static void long_lines(void **state)
{
    (void)state;
    static const char *const patterns[] = {"a", ".", "..,", "'", "a'b", "a,", "a-", "x. ", "&", "\"' ", "<", "\xff",
                                           " ", " @-@", "\xe4\xb8\xad ", "word Dr. No. 5 'tis, "};
    enum { N = 1 << 20 };
    char *line = malloc(N);
    assert_non_null(line);
    tn_tokenizer *t[2] = {tn_tokenizer("de"), tn_tokenizer("en", .aggressive = true)};
    tn_text out = {0}, back = {0};
    for (size_t p = 0; p < sizeof patterns / sizeof *patterns; p++) {
        const size_t m = strlen(patterns[p]);
        for (size_t i = 0; i < N; i++)
            line[i] = patterns[p][i % m];
        for (int l = 0; l < 2; l++) {
            assert_true(tn_tokenize(t[l], line, N, &out));
            assert_true(tn_detokenize(t[l], out.at, out.len, &back));
            assert_true(tn_lowercase(out.at, out.len, &back));
        }
    }
    for (size_t i = 0, k = 0; i < N; k++) { /* a new kind of quotation mark each time */
        for (size_t bits = k + 1; bits && i < N; bits >>= 1)
            line[i++] = bits & 1 ? '\'' : '"';
        if (i < N)
            line[i++] = ' ';
    }
    assert_true(tn_detokenize(t[0], line, N, &out));
    tn_text_end(&out);
    tn_text_end(&back);
    tn_free(t[0], t[1]);
    free(line);
}

static void wrong_arguments(void **state)
{
    (void)state;
    tn_text out = {0};
    assert_null(tn_tokenizer(NULL));
    expect_error(TN_EARG, "tokenizer: no language given");
    assert_null(tn_tokenizer(""));
    expect_error(TN_EARG, "tokenizer: no language given");
    assert_false(tn_tokenize(NULL, "a", 1, &out));
    assert_false(tn_detokenize(NULL, "a", 1, &out));
    assert_false(tn_lowercase(NULL, 1, &out));
    assert_false(tn_lowercase("a", 1, NULL));
    assert_ok();
    assert_null(out.at);
}

/* One tokenizer, used by many threads. */
typedef struct shared_use {
    const tn_tokenizer *t;
    bool same[64];
} shared_use;

static void use_shared(void *arg, int64_t i, int worker)
{
    shared_use *u = arg;
    tn_text out = {0};
    (void)worker;
    u->same[i] = true;
    for (size_t k = 0; k < sizeof tokens / sizeof *tokens; k++)
        if (!strcmp(tokens[k].lang, "de"))
            u->same[i] = u->same[i] && tn_tokenize(u->t, tokens[k].in, strlen(tokens[k].in), &out) &&
                         !strcmp(out.at, tokens[k].out);
    tn_text_end(&out);
}

static void many_threads(void **state)
{
    (void)state;
    tn_tokenizer *t = tn_tokenizer("de");
    shared_use u = {.t = t};
    tn_parallel(64, use_shared, &u);
    for (int i = 0; i < 64; i++)
        assert_true(u.same[i]);
    tn_free(t);
}

/* ---- real data ---- */

/* FNV-1a of all lines the scripts wrote: tokens; aggressive without escapes; tokens in lower case; tokens joined. */
static const struct real_file {
    const char *set, *path;
    int column;
    const char *lang;
    uint64_t sums[4];
} real_files[] = {
    {"tatoeba", "tatoeba/deu.txt", 1, "de",
     {0x09aa959769ab5b13, 0x46224176fcb39420, 0x887c6c3c0c28c278, 0x8e1e7df173a2cb0e}},
    {"tatoeba", "tatoeba/deu.txt", 0, "en",
     {0x421fb20d1161820f, 0x2bbb23d30dc8e124, 0xf27df2bc24ba3fef, 0xffe23cec225ab8c2}},
    {"europarl", "europarl20k-de-en/train.de", 0, "de",
     {0x09cf39203dbe8c0e, 0xfe1d34cd4a2e6e07, 0xce9910ef5d59d62e, 0xb0065cf22b13934f}},
    {"europarl", "europarl20k-de-en/train.en", 0, "en",
     {0x3b2905631b30073e, 0x38ec910e49264ded, 0xb4c6b5e29552a41e, 0xba303f060f79f339}},
    {"wmt", "wmt-newstest/newstest2014.de", 0, "de",
     {0x159a8e0af58f2feb, 0x238babbafa788a86, 0x5bebd9344f1c81eb, 0x2e75308f97716cec}},
    {"wmt", "wmt-newstest/newstest2014.en", 0, "en",
     {0x3c88a602183bac1c, 0x88c9b81c152ca479, 0x36d59f04eed94b7c, 0xb20b66d79b26a5c1}},
};

static uint64_t sum(uint64_t h, const tn_text *t)
{
    for (size_t i = 0; i <= t->len; i++)
        h = (h ^ (uint8_t)(i < t->len ? t->at[i] : '\n')) * 1099511628211u;
    return h;
}

static void check_real_file(const char *dir, const struct real_file *f)
{
    tn_tokenizer *t = tn_tokenizer(f->lang), *a = tn_tokenizer(f->lang, .aggressive = true, .no_escape = true);
    tn_text out[4] = {{0}};
    uint64_t sums[4] = {14695981039346656037u, 14695981039346656037u, 14695981039346656037u, 14695981039346656037u};
    char path[800];
    const char *line;
    size_t n;
    snprintf(path, sizeof path, "%s/%s", dir, f->path);
    tn_lines *lines = tn_lines_open(path);
    while (tn_lines_next(lines, &line, &n)) {
        const char *tab = memchr(line, '\t', n);
        if (tab && f->column == 1) {
            n -= (size_t)(tab + 1 - line);
            line = tab + 1;
            tab = memchr(line, '\t', n);
        }
        n = tab ? (size_t)(tab - line) : n;
        assert_true(tn_tokenize(t, line, n, &out[0]) && tn_tokenize(a, line, n, &out[1]) &&
                    tn_lowercase(out[0].at, out[0].len, &out[2]) &&
                    tn_detokenize(t, out[0].at, out[0].len, &out[3]));
        for (int i = 0; i < 4; i++)
            sums[i] = sum(sums[i], &out[i]);
    }
    assert_ok();
    for (int i = 0; i < 4; i++) {
        if (sums[i] != f->sums[i])
            fail_msg("%s, %s: lines of kind %d are not Moses'", f->path, f->lang, i);
        tn_text_end(&out[i]);
    }
    tn_free(t, a, lines);
}

static void real_text_as_moses_has_it(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof real_files / sizeof *real_files; i++) {
        const char *dir = unpacked(real_files[i].set, real_files[i].path);
        if (!dir)
            skip();
        check_real_file(dir, &real_files[i]);
    }
}

/* Drops spaces before full stops. */
static void close_stops(tn_text *t)
{
    size_t len = 0;
    for (size_t i = 0; i < t->len; i++)
        if (t->at[i] != ' ' || i + 1 == t->len || t->at[i + 1] != '.')
            t->at[len++] = t->at[i];
    t->len = len;
}

/* The test set as the known preparation leaves it, joined and split again.  It is in lower case, where a full stop
 * inside a line stays with its word; nothing else may differ. */
static void iwslt14_there_and_back(void **state)
{
    (void)state;
    const char *dir = unpacked("iwslt14", "iwslt14-de-en/tokenized/test.de");
    if (!dir)
        skip();
    for (int l = 0; l < 2; l++) {
        const char *lang = l ? "en" : "de", *line;
        char path[800];
        size_t n;
        tn_tokenizer *t = tn_tokenizer(lang);
        tn_text text = {0}, again = {0}, was = {0};
        snprintf(path, sizeof path, "%s/iwslt14-de-en/tokenized/test.%s", dir, lang);
        tn_lines *lines = tn_lines_open(path);
        while (tn_lines_next(lines, &line, &n)) {
            assert_true(tn_detokenize(t, line, n, &text) && tn_tokenize(t, text.at, text.len, &again));
            was.len = 0;
            assert_true(tn_text_add(&was, line, n));
            close_stops(&was);
            close_stops(&again);
            if (was.len != again.len || memcmp(was.at, again.at, was.len))
                fail_msg("test.%s, line %lld", lang, (long long)tn_lines_count(lines));
        }
        assert_int_equal(tn_lines_count(lines), 6750);
        tn_free(lines, t);
        tn_text_end(&text);
        tn_text_end(&again);
        tn_text_end(&was);
    }
}

/* ---- the program ---- */

static void filters(void **state)
{
    (void)state;
    write_text("en", "I can't, Mr. \"X\".\n\nWell-known; İ\n");
    expect(0, tenon("tokenize --lang en <en"));
    assert_string_equal(output, "I can &apos;t , Mr. &quot; X &quot; .\n\nWell-known ; İ\n");
    expect(0, tenon("tokenize --lang en --aggressive --no-escape --lowercase <en"));
    assert_string_equal(output, "i can 't , mr. \" x \" .\n\nwell @-@ known ; i̇\n");
    expect(0, tenon("tokenize --lang en <en | '%s' detokenize --lang en", TN_PROGRAM));
    assert_string_equal(output, "I can't, Mr. \"X\".\n\nWell-known; İ\n");
    expect(0, tenon("tokenize --lang de <en"));
    expect_words(output, "can &apos; t , Mr. &quot;");
    expect(0, tenon("tokenize --lang de </dev/null"));
    assert_string_equal(output, "");
    expect(0, tenon("detokenize --help"));
    expect_words(output, "--lang");
    expect_complaint(2, tenon("tokenize <en"), "--lang is wanted");
    expect_complaint(2, tenon("detokenize <en"), "--lang is wanted");
    expect_complaint(1, tenon("tokenize --lang '' <en"), "tokenizer: no language given");
    expect_complaint(1, tenon("tokenize --lang de </"), "standard input: Is a directory");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_moses_makes_of_lines),
        cmocka_unit_test(broken_utf8),
        cmocka_unit_test(bytes_of_any_kind),
        cmocka_unit_test(long_lines),
        cmocka_unit_test(wrong_arguments),
        cmocka_unit_test(many_threads),
        cmocka_unit_test(real_text_as_moses_has_it),
        cmocka_unit_test(iwslt14_there_and_back),
        cmocka_unit_test(filters),
    };
    return cmocka_run_group_tests_name("tokenizer", tests, folder_begin, folder_end);
}
