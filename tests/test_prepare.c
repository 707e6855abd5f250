/* Folders of translation data: what comes out of parallel text and of archives in their published layout.  The
 * archives are built here, out of the shared texts where they are.  Stops and bad inputs: test_prepare_trouble.c. */
#include "prepare_files.h"

#include "../data/prepare.h"

/* ---- parallel text ---- */

/* Ids of file NAME.tok are what the folder's codec makes of the raw line, and back they are the text. */
static void check_ids(const char *dir, const char *split, const char *lang, const char *raw)
{
    char name[40];
    snprintf(name, sizeof name, "%s.%s", split, lang);
    list text = read_list(in(dir, name)), lines = {0};
    if (raw)
        lines = read_list(at(raw));
    snprintf(name, sizeof name, "%s.%s.tok", split, lang);
    tn_tokens *t = tn_tokens_open(in(dir, name));
    tn_codec *c = tn_codec_open(at(dir), lang);
    tn_ids ids = {0};
    tn_text back = {0};
    assert_ok();
    assert_true(tn_tokens_check(t));
    assert_int_equal(tn_tokens_sentences(t), text.n);
    for (int i = 0; i < text.n; i++) {
        int64_t n;
        const int32_t *at_i = tn_tokens_at(t, i, &n);
        assert_true(raw ? tn_codec_encode(c, lines.line[i], strlen(lines.line[i]), &ids)
                        : tn_codec_encode_tokens(c, text.line[i], strlen(text.line[i]), &ids));
        assert_int_equal(ids.len, n);
        assert_memory_equal(ids.at, at_i, (size_t)n * sizeof *ids.at);
        assert_true(tn_codec_decode(c, at_i, n, &back));
        bool unknown = false;
        for (int64_t k = 0; k < n; k++)
            unknown |= at_i[k] == TN_UNK;
        if (!unknown)
            assert_string_equal(back.at, text.line[i]);
    }
    tn_ids_end(&ids);
    tn_text_end(&back);
    tn_free(t, c);
    free_list(text);
    if (raw)
        free_list(lines);
}

static void test_parallel(void **state)
{
    (void)state;
    char source[16], target[16];
    succeeds(tn_prepare(ours("p")));
    assert_ok();
    assert_true(tn_codec_languages(at("p"), source, target));
    assert_string_equal(source, "de");
    assert_string_equal(target, "en");
    list text = read_list(in("p", "train.en"));
    assert_int_equal(text.n, PAIRS);
    assert_string_equal(text.line[1], "the street isn &apos;t &quot; 1 &quot; house &amp; houses &apos; own , is it ?");
    free_list(text);
    for (int i = 0; i < 2; i++) {
        const char *lang = i ? "en" : "de";
        check_ids("p", "train", lang, i ? "a.en" : "a.de");
        check_ids("p", "valid", lang, i ? "v.en" : "v.de");
        check_ids("p", "test", lang, i ? "t.en" : "t.de");
    }
    list code = read_list(in("p", "code"));
    assert_true(code.n > 100);
    free_list(code);
    assert_false(exists(in("p", "prepare.work")));
}

/* Reads "word count" lines. */
static int64_t count_of(const char *path, const char *word)
{
    list d = read_list(path);
    int64_t count = -1;
    for (int i = 0; i < d.n; i++)
        if (!strncmp(d.line[i], word, strlen(word)) && d.line[i][strlen(word)] == ' ')
            count = atoll(d.line[i] + strlen(word) + 1);
    free_list(d);
    return count;
}

static void test_options(void **state)
{
    (void)state;
    tn_prepare_args a = ours("joined");
    a.joined = true;
    succeeds(tn_prepare(a));
    same_file(in("joined", "dict.de.txt"), in("joined", "dict.en.txt"));
    check_ids("joined", "test", "en", "t.en");

    a = ours("words"); /* no BPE, with its case, rare words unknown, no test */
    a.merges = -1;
    a.keep_case = true;
    a.threshold = 60;
    a.test[0] = a.test[1] = NULL;
    succeeds(tn_prepare(a));
    check_ids("words", "valid", "en", "v.en");
    assert_int_equal(count_of(in("words", "dict.en.txt"), "The"), PAIRS);
    assert_int_equal(count_of(in("words", "dict.en.txt"), "the"), -1);
    assert_int_equal(count_of(in("words", "dict.en.txt"), "7"), -1);
    assert_false(exists(in("words", "code")));
    assert_false(exists(in("words", "test.de")));

    a = ours("again"); /* tokenised already: the text stays, the codes of before give the same ids */
    succeeds(tn_prepare(ours("p2")));
    static char path[7][800];
    static const char *const names[] = {"train.de", "train.en", "valid.de", "valid.en", "test.de", "test.en", "code"};
    for (int i = 0; i < 7; i++)
        snprintf(path[i], sizeof path[i], "%s", in("p2", names[i]));
    for (int i = 0; i < 2; i++) {
        a.train[i] = path[i];
        a.valid[i] = path[2 + i];
        a.test[i] = path[4 + i];
    }
    a.tokenized = true;
    a.code = path[6];
    succeeds(tn_prepare(a));
    for (int i = 0; i < 7; i++)
        same_file(in("again", names[i]), path[i]);
    same_file(in("again", "train.de.tok"), in("p2", "train.de.tok"));
    check_ids("again", "test", "de", NULL);
    assert_ok();
}

/* Every 23rd of what the cleaning left. */
static void test_cleaning(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"", "a"}, {"a", "  "}, {"a b c d", "a b"}, {"a", "a b"}, {"a b", "a"}, {"\t", "\t"},
    };
    tn_text de = {0}, en = {0}, longest = {0};
    for (int i = 0; i < 176; i++)
        tn_text_add(&longest, "w ", 2);
    char word[1003];
    memset(word, 'x', sizeof word);
    for (int i = 0; i < 100; i++) {
        char line[64];
        const int n = snprintf(line, sizeof line, "satz %d\n", i);
        tn_text_add(&de, line, (size_t)n);
        tn_text_add(&en, line, (size_t)n);
        for (int k = 0; i % 10 == 0 && k < 6; k++) {
            tn_text_add(&de, bad[k][0], strlen(bad[k][0]));
            tn_text_add(&de, "\n", 1);
            tn_text_add(&en, bad[k][1], strlen(bad[k][1]));
            tn_text_add(&en, "\n", 1);
        }
    }
    const struct { const char *text; size_t n; bool good; } tail[] = {
        {longest.at, 352, false}, {longest.at, 350, true}, {word, 1001, false}, {word, 1000, true},
    };
    for (int i = 0; i < 4; i++) {
        tn_text_add(&de, tail[i].text, tail[i].n);
        tn_text_add(&en, tail[i].text, tail[i].n);
        tn_text_add(&de, "\n", 1);
        tn_text_add(&en, "\n", 1);
    }
    tn_text_add(&de, "a  b\fc\n", 7); /* three to two is allowed */
    tn_text_add(&en, "A B\n", 4);
    write_file(at("c.de.gz"), de.at, de.len);
    write_file(at("c.en"), en.at, en.len);
    char path[2][800];
    snprintf(path[0], sizeof path[0], "%s", at("c.de.gz"));
    snprintf(path[1], sizeof path[1], "%s", at("c.en"));
    succeeds(tn_prepare((tn_prepare_args){.dest = at("new/folder/clean"), .source = "de", .target = "en",
                                             .train = {path[0], path[1]}, .merges = 20, .tokenized = true}));
    list train = read_list(in("new/folder/clean", "train.de")), valid = read_list(in("new/folder/clean", "valid.de"));
    assert_int_equal(train.n, 103 - 4);
    assert_int_equal(valid.n, 4);
    assert_string_equal(valid.line[0], "satz 22");
    assert_string_equal(valid.line[3], "satz 91");
    assert_string_equal(train.line[22], "satz 23");
    assert_int_equal(strlen(train.line[96]), 349);
    assert_int_equal(strlen(train.line[97]), 1000);
    assert_string_equal(train.line[98], "a b c");
    free_list(train);
    free_list(valid);
    tn_text_end(&de);
    tn_text_end(&en);
    tn_text_end(&longest);
}

/* ---- IWSLT'14 ---- */

static void test_lines_of_iwslt14(void **state)
{
    (void)state;
    static const struct { const char *line, *wanted; bool test; } cases[] = {
        {"Some text", "Some text", false}, {"", "", false}, {"a <url>x</url>", NULL, false},
        {"<talkid>1</talkid>", NULL, false}, {" <keywords>a</keywords>", NULL, false},
        {"<title>A <i>b</i></title>", "A <i>b</i>", false}, {"<description>TED: x</description> ", "TED: x ", false},
        {"<<title>>", "<>", false}, {"<speaker>A B</speaker>", "<speaker>A B</speaker>", false},
        {"a \u2019", "a \u2019", false}, {"<url", "<url", false},
        {"<seg id=\"1\"> It\u2019s so.  </seg>", "It's so.", true}, {"<doc>", NULL, true}, {"", NULL, true},
        {"  <seg id=\"12\">a  b</seg>  ", "  a  b", true}, {"<seg id=\"x\">a</seg>", "<seg id=\"x\">a", true},
        {"<seg id=\"\"></seg>", "", true}, {"<seg id=\"1\">a", "a", true}, {"<seg id=\"1", "<seg id=\"1", true},
        {"<seg id=\"1\"> </seg> </seg> b", "b", true}, {"<seg id=\"1\">\u2019\u2019 \u2019</seg>", "'' '", true},
    };
    tn_text t = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool there;
        assert_true((cases[i].test ? tn__iwslt14_test : tn__iwslt14_train)(cases[i].line, strlen(cases[i].line), &t,
                                                                          &there));
        assert_int_equal(there, cases[i].wanted != NULL);
        if (there)
            assert_string_equal(t.at, cases[i].wanted);
    }
    tn_text_end(&t);
}

static tn_prepare_args small_iwslt(const char *dest) { return (tn_prepare_args){.dest = at(dest), .merges = 150}; }

static void test_iwslt14_small(void **state)
{
    (void)state;
    static archive_text a;
    char command[2000];
    build_small(&a);
    write_members(&a, "de-en.tgz");
    write_members(&a, "de-en.zip");
    succeeds(tn_prepare_iwslt14(at("de-en.tgz"), small_iwslt("i")));
    assert_ok();
    list train = read_list(in("i", "train.en")), valid = read_list(in("i", "valid.en")), test = read_list(in("i", "test.en"));
    assert_int_equal(train.n, 900 - 900 / 23);
    assert_int_equal(valid.n, 900 / 23);
    assert_int_equal(test.n, 300);
    tn_text line = {0};
    sentence(&line, 22, true); /* sentences 40 and 41 stood in tags */
    tn_tokenizer *tok = tn_tokenizer("en");
    tn_text words = {0}, lower = {0};
    assert_true(tn_tokenize(tok, line.at, line.len, &words) && tn_lowercase(words.at, words.len, &lower));
    assert_string_equal(valid.line[0], lower.at);
    line.len = 0;
    sentence(&line, 1041, true);
    assert_true(tn_tokenize(tok, line.at, line.len, &words) && tn_lowercase(words.at, words.len, &lower));
    assert_string_equal(test.line[101], lower.at);
    for (int i = 0; i < 3; i++)
        check_ids("i", (const char *[]){"train", "valid", "test"}[i], "de", NULL);
    /* the other way round is the same text; so is another kind of archive, and the folder unpacked from it */
    tn_prepare_args turned = small_iwslt("turned");
    turned.source = "en";
    turned.target = "de";
    succeeds(tn_prepare_iwslt14(at("de-en.zip"), turned));
    same_file(in("i", "train.en.tok"), in("turned", "train.en.tok"));
    same_file(in("i", "dict.de.txt"), in("turned", "dict.de.txt"));
    snprintf(command, sizeof command, "cd '%s' && tar -xmzf de-en.tgz && gzip de-en/train.tags.de-en.de", folder);
    assert_int_equal(system(command), 0);
    succeeds(tn_prepare_iwslt14(at("de-en"), small_iwslt("unpacked")));
    unlink(in("unpacked", "prepare.txt"));
    unlink(in("i", "prepare.txt"));
    same_folder("i", "unpacked");
    tn_text_end(&line);
    tn_text_end(&words);
    tn_text_end(&lower);
    tn_free(tok);
    free_list(train);
    free_list(valid);
    free_list(test);
    free_members(&a);
    assert_ok();
}

/* ---- the shared texts ---- */

static bool have_shared(const char *set, const char *name)
{
    char command[1000];
    snprintf(command, sizeof command,
             "test -x '%s/data/unpack.sh' && { test -d '%s/%s' || sh '%s/data/unpack.sh' '%s' %s >/dev/null; }", TN_SHARED,
             folder, name, TN_SHARED, folder, set);
    const bool there = system(command) == 0;
    if (!there)
        print_message("no %s under %s/data: not compared with real data\n", set, TN_SHARED);
    return there;
}

/* The shared training text as it is, with the shared codes: text as it was, subwords as they were published. */
static void test_shared_tokenized(void **state)
{
    (void)state;
    if (!have_shared("iwslt14", "iwslt14-de-en"))
        skip();
    static char path[7][800];
    static const char *const names[] = {"train.de", "train.en", "valid.de", "valid.en", "test.de", "test.en"};
    for (int i = 0; i < 6; i++)
        snprintf(path[i], sizeof path[i], "%s", in("iwslt14-de-en/tokenized", names[i]));
    snprintf(path[6], sizeof path[6], "%s", in("iwslt14-de-en", "code"));
    succeeds(tn_prepare((tn_prepare_args){.dest = at("st"), .source = "de", .target = "en", .tokenized = true,
                                             .train = {path[0], path[1]}, .valid = {path[2], path[3]},
                                             .test = {path[4], path[5]}, .code = path[6]}));
    for (int i = 2; i < 6; i++) {
        const char *lang = i % 2 ? "en" : "de";
        char name[40];
        same_file(in("st", names[i]), path[i]);
        list bpe = read_list(in("iwslt14-de-en/bpe10k", names[i]));
        snprintf(name, sizeof name, "%s.tok", names[i]);
        tn_tokens *t = tn_tokens_open(in("st", name));
        snprintf(name, sizeof name, "dict.%s.txt", lang);
        tn_dictionary *d = tn_dictionary_open(in("st", name));
        tn_ids ids = {0};
        assert_int_equal(tn_tokens_sentences(t), bpe.n);
        for (int k = 0; k < bpe.n; k++) {
            int64_t n;
            const int32_t *wanted = tn_tokens_at(t, k, &n);
            assert_true(tn_dictionary_encode(d, bpe.line[k], strlen(bpe.line[k]), &ids));
            assert_int_equal(ids.len, n);
            assert_memory_equal(ids.at, wanted, (size_t)n * sizeof *wanted);
        }
        tn_ids_end(&ids);
        tn_free(t, d);
        free_list(bpe);
    }
    assert_ok();
}

/* An archive of the shared test texts, which are tokenised, made into plain text again by the detokenizer. */
static void build_shared(archive_text *a, const list *plain)
{
    memset(a, 0, sizeof *a);
    name_members(a);
    static const int sizes[] = {887, 1165, 1568, 1433, 1697}; /* 6,750 in all */
    for (int k = 0; k < 2; k++) {
        int line = 0;
        for (int s = 0; s < 5; s++) {
            tn_text *t = &a->member[2 + 2 * s + k];
            begin_test(t, sets[s]);
            for (int i = 0; i < sizes[s]; i++)
                add_test(t, i, plain[k].line[line++]);
            add(t, "</doc>\n</srcset>\n</mteval>\n");
        }
        assert_int_equal(line, plain[k].n);
        for (int i = 0; i < plain[k].n; i++)
            add_train(&a->member[k], i, plain[k].line[i]);
    }
}

static list detokenized(const char *path, const char *lang)
{
    list words = read_list(path), out = {0};
    tn_tokenizer *tok = tn_tokenizer(lang);
    tn_text line = {0}, all = {0};
    for (int i = 0; i < words.n; i++) {
        assert_true(tn_detokenize(tok, words.line[i], strlen(words.line[i]), &line));
        tn_text_add(&all, line.at, line.len);
        tn_text_add(&all, "\n", 1);
    }
    write_file(at("plain"), all.at, all.len);
    out = read_list(at("plain"));
    tn_text_end(&line);
    tn_text_end(&all);
    tn_free(tok);
    free_list(words);
    return out;
}

static int words_in(const char *s)
{
    int n = *s != 0;
    for (; *s; s++)
        n += *s == ' ';
    return n;
}

/* The whole way: most of the text is as published again, and the rest is what the tokenizer says of the line; the
 * training text is the test's here, cleaned, with every 23rd pair set aside. */
static void test_shared_archive(void **state)
{
    (void)state;
    if (!have_shared("iwslt14", "iwslt14-de-en"))
        skip();
    static archive_text a;
    const list plain[2] = {detokenized(in("iwslt14-de-en/tokenized", "test.de"), "de"),
                           detokenized(in("iwslt14-de-en/tokenized", "test.en"), "en")};
    build_shared(&a, plain);
    write_members(&a, "shared.tgz");
    succeeds(tn_prepare_iwslt14(at("shared.tgz"), (tn_prepare_args){.dest = at("sa"), .merges = 2000}));
    list text[2], train[2], valid[2];
    for (int k = 0; k < 2; k++) {
        const char *lang = k ? "en" : "de";
        tn_tokenizer *tok = tn_tokenizer(lang);
        tn_text words = {0}, lower = {0};
        list published = read_list(in("iwslt14-de-en/tokenized", k ? "test.en" : "test.de"));
        int same = 0;
        text[k] = read_list(in("sa", k ? "test.en" : "test.de"));
        train[k] = read_list(in("sa", k ? "train.en" : "train.de"));
        valid[k] = read_list(in("sa", k ? "valid.en" : "valid.de"));
        assert_int_equal(text[k].n, 6750);
        for (int i = 0; i < 6750; i++) {
            assert_true(tn_tokenize(tok, plain[k].line[i], strlen(plain[k].line[i]), &words) &&
                        tn_lowercase(words.at, words.len, &lower));
            assert_string_equal(text[k].line[i], lower.at);
            same += strcmp(published.line[i], lower.at) == 0;
        }
        assert_true(same > 6000);
        check_ids("sa", "test", lang, NULL);
        check_ids("sa", "valid", lang, NULL);
        tn_text_end(&words);
        tn_text_end(&lower);
        tn_free(tok);
        free_list(published);
    }
    int kept = 0;
    for (int i = 0; i < 6750; i++) {
        const int n = words_in(text[0].line[i]), m = words_in(text[1].line[i]);
        if (n == 0 || m == 0 || n > 175 || m > 175 || 2 * n > 3 * m || 2 * m > 3 * n)
            continue;
        kept++;
        const list *to = kept % 23 ? train : valid;
        const int at_line = kept % 23 ? kept - kept / 23 - 1 : kept / 23 - 1;
        assert_string_equal(to[0].line[at_line], text[0].line[i]);
        assert_string_equal(to[1].line[at_line], text[1].line[i]);
    }
    assert_int_equal(train[0].n, kept - kept / 23);
    assert_int_equal(valid[1].n, kept / 23);
    for (int k = 0; k < 2; k++) {
        free_list(text[k]);
        free_list(train[k]);
        free_list(valid[k]);
        free_list(plain[k]);
    }
    free_members(&a);
    assert_ok();
}

static void test_shared_multi30k(void **state)
{
    (void)state;
    if (!have_shared("multi30k", "multi30k"))
        skip();
    static char path[6][800];
    static const char *const names[] = {"train.de", "train.en", "val.de", "val.en", "test_2016_flickr.de", "test_2016_flickr.en"};
    for (int i = 0; i < 6; i++)
        snprintf(path[i], sizeof path[i], "%s", in("multi30k", names[i]));
    succeeds(tn_prepare((tn_prepare_args){.dest = at("m"), .source = "de", .target = "en", .merges = 6000,
                                             .train = {path[0], path[1]}, .valid = {path[2], path[3]},
                                             .test = {path[4], path[5]}}));
    check_ids("m", "valid", "de", "multi30k/val.de");
    check_ids("m", "valid", "en", "multi30k/val.en");
    check_ids("m", "test", "de", "multi30k/test_2016_flickr.de");
    check_ids("m", "test", "en", "multi30k/test_2016_flickr.en");
    list test = read_list(in("m", "test.en"));
    assert_int_equal(test.n, 1000);
    free_list(test);
    assert_ok();
}

/* ---- WMT'16 ---- */

static const char *const wmt16[] = {
    "wmt16/train.tok.clean.bpe.32000.en", "wmt16/train.tok.clean.bpe.32000.de", "wmt16/newstest2013.tok.bpe.32000.en",
    "wmt16/newstest2013.tok.bpe.32000.de", "wmt16/newstest2014.tok.bpe.32000.en", "wmt16/newstest2014.tok.bpe.32000.de",
    "wmt16/bpe.32000", "wmt16/vocab.bpe.32000",
};

/* A miniature of Google's archive out of a folder that was prepared with its case: subwords of its text. */
static void build_wmt16(const char *dir, const char *path)
{
    static const char *const from[] = {"train.en", "train.de", "valid.en", "valid.de", "test.en", "test.de"};
    tn_text member[8] = {0}, words = {0};
    item items[8];
    tn_bpe *b = tn_bpe_open(in(dir, "code"));
    for (int i = 0; i < 6; i++) {
        list text = read_list(in(dir, from[i]));
        for (int k = 0; k < text.n; k++) {
            assert_true(tn_bpe_apply(b, text.line[k], strlen(text.line[k]), &words));
            tn_text_add(&member[i], words.at, words.len);
            tn_text_add(&member[i], "\n", 1);
        }
        free_list(text);
    }
    size_t n;
    char *code = whole(in(dir, "code"), &n);
    add(&member[6], code);
    add(&member[7], "<unk>\n<s>\n</s>\n,\n.\n");
    for (int i = 0; i < 8; i++)
        items[(i + 5) % 8] = (item){wmt16[i], member[i].at, member[i].len, 0};
    write_archive(at(path), 8, items);
    for (int i = 0; i < 8; i++)
        tn_text_end(&member[i]);
    tn_text_end(&words);
    free(code);
    tn_free(b);
}

static void test_wmt16(void **state)
{
    (void)state;
    char command[2000];
    tn_prepare_args a = ours("cased");
    a.keep_case = true;
    a.longest = 1000;
    succeeds(tn_prepare(a));
    build_wmt16("cased", "wmt16_en_de.tar.gz");
    succeeds(tn_prepare_wmt16(at("wmt16_en_de.tar.gz"), (tn_prepare_args){.dest = at("w")}));
    assert_ok();
    static const char *const same[] = {"train.de", "train.en", "valid.de", "valid.en", "test.de", "test.en", "code"};
    for (int i = 0; i < 7; i++)
        same_file(in("w", same[i]), in("cased", same[i]));
    same_file(in("w", "dict.de.txt"), in("w", "dict.en.txt"));
    check_ids("w", "train", "en", "a.en"); /* raw text comes to the same ids */
    check_ids("w", "train", "de", "a.de");
    check_ids("w", "valid", "de", "v.de");
    check_ids("w", "test", "en", "t.en");
    assert_false(exists(in("w", "prepare.work")));
    snprintf(command, sizeof command, "cd '%s' && tar -xmzf wmt16_en_de.tar.gz && gzip wmt16/train.tok.clean*.en wmt16/*2014*",
             folder);
    assert_int_equal(system(command), 0);
    succeeds(tn_prepare_wmt16(at("wmt16"), (tn_prepare_args){.dest = at("w2")}));
    unlink(in("w", "prepare.txt"));
    unlink(in("w2", "prepare.txt"));
    same_folder("w", "w2");
    assert_ok();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_parallel, make_sentences, remove_folder),
        cmocka_unit_test_setup_teardown(test_options, make_sentences, remove_folder),
        cmocka_unit_test_setup_teardown(test_cleaning, make_folder, remove_folder),
        cmocka_unit_test(test_lines_of_iwslt14),
        cmocka_unit_test_setup_teardown(test_iwslt14_small, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_shared_tokenized, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_shared_archive, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_shared_multi30k, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_wmt16, make_sentences, remove_folder),
    };
    return cmocka_run_group_tests_name("prepare", tests, NULL, NULL);
}
