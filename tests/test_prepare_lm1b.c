/* The One Billion Word archive, built here in its published layout, and the genuine held-out parts in that layout: what
 * comes out, the same after any stop; damage; the program's words. */
#include "real_data.h"
#include "stream_files.h"

/* ---- the archive ---- */

enum { TRAIN = 99, TEST = 50, MEMBERS = TRAIN + TEST };
static const char outer[] = "1-billion-word-language-modeling-benchmark-r13output";
typedef struct shard {
    char name[160], *text;
    size_t n;
} shard;

static const char *base(const char *name) { return strrchr(name, '/') + 1; }

/* Member k of the archive, in no order of its own: training shards from 1, held-out ones from 0. */
static void name_shard(shard *s, int k)
{
    if (k < TRAIN)
        snprintf(s->name, sizeof s->name, "%s/training-monolingual.tokenized.shuffled/news.en-%05d-of-00100", outer,
                 k + 1);
    else
        snprintf(s->name, sizeof s->name, "%s/heldout-monolingual.tokenized.shuffled/news.en.heldout-%05d-of-00050",
                 outer, k - TRAIN);
}

static void text_shard(shard *s, int k)
{
    char text[200];
    snprintf(text, sizeof text, "shard %d says : the cat\n\nthe cat of %d\n%s", k, 1000 + k % 30, k % 2 ? "" : "sat .\n");
    s->text = strdup(text);
    s->n = strlen(text);
}

static shard *make_shards(void fill(shard *s, int k))
{
    shard *s = calloc(MEMBERS, sizeof *s);
    for (int k = 0; k < MEMBERS; k++) {
        name_shard(&s[k], k);
        fill(&s[k], k);
    }
    return s;
}

static void free_shards(shard *s)
{
    for (int k = 0; k < MEMBERS; k++)
        free(s[k].text);
    free(s);
}

/* All but `left_out` (-1: none), with what else is in such an archive. */
static void write_shards(const char *path, const shard *s, int left_out)
{
    static item items[MEMBERS + 2];
    int n = 0;
    items[n++] = (item){"1-billion-word-language-modeling-benchmark-r13output/README", "The set\n", 8, 0};
    items[n++] = (item){"1-billion-word-language-modeling-benchmark-r13output/.svn/news.en-00001-of-00100.svn-base",
                        "no text\n", 8, 0};
    for (int i = 0; i < MEMBERS; i++) {
        const int k = (i * 40 + 7) % MEMBERS; /* 149 is prime */
        if (k != left_out)
            items[n++] = (item){s[k].name, s[k].text, s[k].n, 0};
    }
    write_archive(at(path), n, items);
}

static bool lm1b(const char *archive, const char *dest)
{
    return tn_prepare_lm1b(at(archive), (tn_prepare_stream_args){.dest = at(dest)});
}

static void test_lm1b(void **state)
{
    (void)state;
    shard *s = make_shards(text_shard);
    write_shards("lm1b.tar.gz", s, -1);
    succeeds(lm1b("lm1b.tar.gz", "o"));
    expect_file("o", "stream.json", "{\"train\": 99, \"valid\": 0, \"test\": 50}\n");
    /* more than three times: blank lines are no sentences, and words seen three times are unknown */
    assert_string_equal(words_of("o", "train.00001.tok"), "shard <unk> says : the cat | the cat of 1000 | sat . | ");
    assert_string_equal(words_of("o", "train.00008.tok"), "shard <unk> says : the cat | the cat of 1007 | ");
    assert_string_equal(words_of("o", "train.00099.tok"), "shard <unk> says : the cat | the cat of 1008 | sat . | ");
    assert_string_equal(words_of("o", "test.00001.tok"), "shard <unk> says : the cat | the cat of <unk> | ");
    assert_string_equal(words_of("o", "test.00050.tok"), "shard <unk> says : the cat | the cat of <unk> | sat . | ");
    tn_dictionary *d = dictionary_of("o");
    assert_string_equal(tn_dictionary_word(d, 0), "</s>"); /* 99 * 2 + 50, before the cat's 198 */
    assert_string_equal(tn_dictionary_word(d, 1), "cat");
    assert_string_equal(tn_dictionary_word(d, 2), "the");
    tn_free(d);
    char command[2000]; /* unpacked, one of them gzipped, it is the same */
    snprintf(command, sizeof command, "cd '%s' && tar -xzf lm1b.tar.gz && gzip -n %s/heldout*/*-00003-of-00050", folder,
             outer);
    assert_int_equal(system(command), 0);
    succeeds(lm1b(outer, "u"));
    unlink(in("o", "prepare.txt")); /* which has the archive's size */
    unlink(in("u", "prepare.txt"));
    same_folder("o", "u");
    free_shards(s);
}

static void test_lm1b_stopped(void **state)
{
    (void)state;
    stopper all = {0};
    shard *s = make_shards(text_shard);
    write_shards("lm1b.tar.gz", s, -1);
    free_shards(s);
    tn_prepare_stream_args a = {.dest = at("whole"), .progress = count_calls, .arg = &all};
    succeeds(tn_prepare_lm1b(at("lm1b.tar.gz"), a));
    assert_false(all.falls);
    assert_int_equal(strncmp(all.steps, "unpacking\ndict.txt\ntrain 1/99\n", 30), 0);
    static const int stops[] = {1, 100, 200, 60}; /* while unpacking, and among the shards of training */
    for (int i = 0; i < 4; i++) {
        stopper some = {.last = stops[i]};
        a = (tn_prepare_stream_args){.dest = at("stopped"), .progress = count_calls, .arg = &some};
        assert_false(tn_prepare_lm1b(at("lm1b.tar.gz"), a));
        expect_error(TN_ESTATE, "lm1b: stopped; the same call goes on with");
    }
    succeeds(lm1b("lm1b.tar.gz", "stopped"));
    same_folder("whole", "stopped");
}

static void expect_bad(const char *archive, tn_code code, const char *words)
{
    assert_false(lm1b(archive, "bad"));
    expect_error(code, words);
    if (exists(at("bad")))
        remove_dir("bad");
}

static void test_lm1b_damage(void **state)
{
    (void)state;
    size_t n;
    char command[1000];
    shard *s = make_shards(text_shard);
    for (int i = 0; i < 3; i++) {
        static const int missing[] = {0, 56, TRAIN + 49};
        write_shards("few.tar.gz", s, missing[i]);
        char words[200];
        snprintf(words, sizeof words, "few.tar.gz: no %s in it; give 1-billion-word", base(s[missing[i]].name));
        if (i == 1)
            expect_bad("few.tar.gz", TN_EFORMAT, words);
        remove_dir(outer);
        snprintf(command, sizeof command, "cd '%s' && tar -xzf few.tar.gz", folder);
        assert_int_equal(system(command), 0);
        snprintf(words, sizeof words, "no %s there; give 1-billion-word", s[missing[i]].name + sizeof outer);
        expect_bad(outer, TN_EIO, words);
    }
    write_shards("lm1b.tar.gz", s, -1);
    char *bytes = whole(at("lm1b.tar.gz"), &n);
    write_file(at("cut"), bytes, n / 2);
    expect_bad("cut", TN_EFORMAT, "cut: ");
    write_file(at("cut"), bytes, n - 5);
    expect_bad("cut", TN_EFORMAT, "truncated");
    bytes[n / 3] ^= 16;
    write_file(at("flipped"), bytes, n);
    expect_bad("flipped", TN_EFORMAT, "flipped");
    free(bytes);
    free(s[30].text);
    s[30].text = strdup("");
    s[30].n = 0;
    write_shards("empty.tar.gz", s, -1);
    expect_bad("empty.tar.gz", TN_EFORMAT, "news.en-00031-of-00100: the file is empty");
    expect_bad("nowhere", TN_EIO, "nowhere: No such file or directory; give 1-billion-word");
    assert_false(tn_prepare_lm1b(NULL, (tn_prepare_stream_args){.dest = at("bad")}));
    expect_error(TN_EARG, "an archive and a folder to make are wanted");
    const char *files[] = {"x"};
    assert_false(tn_prepare_lm1b("x", (tn_prepare_stream_args){.dest = at("bad"), .n_train = 1, .train = files}));
    expect_error(TN_EARG, "which files there are is not to be said");
    free_shards(s);
}

/* ---- real text ---- */

static char *real_text; /* of the two genuine held-out parts, in one */
static char **real_line;
static int real_lines;

/* Line i of every 149 goes to shard i. */
static void real_shard(shard *s, int k)
{
    tn_text t = {0};
    for (int i = k; i < real_lines; i += MEMBERS) {
        tn_text_add(&t, real_line[i], strlen(real_line[i]));
        tn_text_add(&t, "\n", 1);
    }
    s->text = t.at;
    s->n = t.len;
}

static void test_real_lm1b(void **state)
{
    (void)state;
    const char *dir = unpacked("lm1b", "lm1b-heldout-part/1b_benchmark.dev.tokens");
    if (!dir)
        skip();
    char command[2000], archive[800], dest[800];
    snprintf(command, sizeof command, "cat '%s'/lm1b-heldout-part/*.tokens > '%s'", dir, at("all"));
    assert_int_equal(system(command), 0);
    list all = read_list(at("all"));
    real_text = all.text;
    real_line = all.line;
    real_lines = all.n;
    shard *s = make_shards(real_shard);
    write_shards("real.tar.gz", s, -1);
    snprintf(archive, sizeof archive, "%s", at("real.tar.gz"));
    snprintf(dest, sizeof dest, "%s", at("real"));
    succeeds(tn_prepare_lm1b(archive, (tn_prepare_stream_args){.dest = dest}));
    snprintf(command, sizeof command, "cd '%s' && rm -rf %s && tar -xzf real.tar.gz", folder, outer);
    assert_int_equal(system(command), 0);
    snprintf(command, sizeof command, "'%s'/%s/training*/*", folder, outer);
    same_as_awk("real", command, 3);
    int64_t lines = 0, tokens = 0;
    for (int k = 0; k < MEMBERS; k++) {
        char name[24];
        snprintf(name, sizeof name, k < TRAIN ? "train.%05d.tok" : "test.%05d.tok", k < TRAIN ? k + 1 : k - TRAIN + 1);
        tn_tokens *t = tn_tokens_open(in("real", name));
        lines += tn_tokens_sentences(t);
        tokens += tn_tokens_len(t);
        tn_free(t);
    }
    assert_int_equal(lines, 12216 + 12105);
    assert_int_equal(tokens, 322706 + 318286);
    tn_dataset *d = tn_text_stream(dest, TN_TEST, .whole = true);
    assert_ok();
    tn_free(d);
    free_shards(s);
    free_list(all);
}

/* ---- the program ---- */

static void test_program(void **state)
{
    (void)state;
    shard *s = make_shards(text_shard);
    write_shards("lm1b.tgz", s, -1);
    free_shards(s);
    expect_said(2, "lm1b x", "lm1b wants ARCHIVE and DEST");
    expect_said(0, "lm1b lm1b.tgz o --threshold 0 --quiet", "test      50 shards");
    expect_said(1, "lm1b lm1b.tgz o --quiet", "was begun with \"threshold: 0\", now it is \"threshold: 3\"");
}

int main(void)
{
#define IN_A_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        IN_A_FOLDER(test_lm1b), IN_A_FOLDER(test_lm1b_stopped), IN_A_FOLDER(test_lm1b_damage),
        IN_A_FOLDER(test_real_lm1b), IN_A_FOLDER(test_program),
    };
    return cmocka_run_group_tests_name("prepare lm1b", tests, NULL, NULL);
}
