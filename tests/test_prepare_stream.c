/* Folders of running text: what comes out of files and of the One Billion Word archive, built here in its published
 * layout, the same for any number of threads and after any stop; bad inputs; the program's words.  How it is read in
 * chunks: test_stream.c. */
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "prepare_files.h"
#include "real_data.h"

/* ---- what came out ---- */

static tn_dictionary *dictionary_of(const char *dir)
{
    tn_dictionary *d = tn_dictionary_open_ranked(in(dir, "dict.txt"));
    assert_ok();
    return d;
}

/* The words of a shard, "|" for the end of each sentence. */
static const char *words_of(const char *dir, const char *file)
{
    static char text[1 << 16];
    size_t at = 0;
    tn_tokens *t = tn_tokens_open(in(dir, file));
    tn_dictionary *d = dictionary_of(dir);
    assert_true(tn_tokens_check(t));
    for (int64_t i = 0; i < tn_tokens_sentences(t); i++) {
        int64_t n;
        const int32_t *ids = tn_tokens_at(t, i, &n);
        assert_int_equal(ids[n - 1], tn_dictionary_eos(d));
        for (int64_t k = 0; k < n; k++)
            at += (size_t)snprintf(text + at, sizeof text - at, k < n - 1 ? "%s " : "| ",
                                   tn_dictionary_word(d, ids[k]));
    }
    tn_free(t, d);
    return text;
}

static void expect_file(const char *dir, const char *file, const char *wanted)
{
    size_t n;
    char *text = whole(in(dir, file), &n);
    assert_string_equal(text, wanted);
    free(text);
}

static tn_prepare_stream_args from(const char *dest, const char *train, const char *test)
{
    static char path[8][3][800];
    static const char *files[8][2];
    static int turn;
    const int k = turn++ % 8;
    snprintf(path[k][0], sizeof path[k][0], "%s/%s", folder, dest);
    snprintf(path[k][1], sizeof path[k][1], "%s/%s", folder, train);
    snprintf(path[k][2], sizeof path[k][2], "%s/%s", folder, test ? test : "");
    files[k][0] = path[k][1];
    files[k][1] = path[k][2];
    return (tn_prepare_stream_args){.dest = path[k][0], .n_train = 1, .train = &files[k][0], .n_test = test != NULL,
                                    .test = &files[k][1]};
}

static void test_words(void **state)
{
    (void)state;
    put("a", "the cat sat\n\n the  cat\tran \r\n<unk> a\xff" "b </s>\n\xc2\xa0\nthe end");
    put("t", "a dog sat\n<unk> a\xfe" "b\n\n");
    succeeds(tn_prepare_stream(from("w", "a", "t")));
    assert_string_equal(words_of("w", "train.00001.tok"),
                        "the cat sat | | the cat ran | <unk> a\xef\xbf\xbd" "b <unk> | | the end | ");
    assert_string_equal(words_of("w", "test.00001.tok"), "<unk> <unk> sat | <unk> a\xef\xbf\xbd" "b | | ");
    expect_file("w", "dict.txt", "</s> 6\nthe 3\n<unk> 2\ncat 2\na\xef\xbf\xbd" "b 1\nend 1\nran 1\nsat 1\n");
    expect_file("w", "stream.json", "{\"train\": 1, \"valid\": 0, \"test\": 1}\n");
    assert_false(exists(in("w", "prepare.work")));

    tn_prepare_stream_args a = from("b", "a", "t");
    a.skip_blank = true;
    a.threshold = 1;
    succeeds(tn_prepare_stream(a));
    assert_string_equal(words_of("b", "train.00001.tok"),
                        "the cat <unk> | the cat <unk> | <unk> <unk> <unk> | the <unk> | ");
    assert_string_equal(words_of("b", "test.00001.tok"), "<unk> <unk> <unk> | <unk> <unk> | ");
    expect_file("b", "dict.txt", "<unk> 6\n</s> 4\nthe 3\ncat 2\n");

    size_t n; /* gzip is the same */
    char *text = whole(at("a"), &n);
    write_file(at("a.gz"), text, n);
    free(text);
    succeeds(tn_prepare_stream(from("z", "a.gz", "t")));
    same_file(in("w", "train.00001.tok"), in("z", "train.00001.tok"));
    same_file(in("w", "dict.txt"), in("z", "dict.txt"));
}

/* Each file is a shard, in the order they were given. */
static void test_shards(void **state)
{
    (void)state;
    char path[4][800];
    const char *files[4];
    for (int i = 0; i < 4; i++) {
        char name[8], text[40];
        snprintf(name, sizeof name, "s%d", i);
        snprintf(text, sizeof text, "w%d is here\nand w%d\n", 9 - i, i);
        put(name, text);
        snprintf(path[i], sizeof path[i], "%s", at(name));
        files[i] = path[i];
    }
    tn_prepare_stream_args a = from("shards", "s0", NULL);
    a.train = files;
    a.n_train = 3;
    a.valid = files + 3;
    a.n_valid = 1;
    succeeds(tn_prepare_stream(a));
    assert_string_equal(words_of("shards", "train.00002.tok"), "w8 is here | and w1 | ");
    assert_string_equal(words_of("shards", "train.00003.tok"), "w7 is here | and w2 | ");
    assert_string_equal(words_of("shards", "valid.00001.tok"), "<unk> is here | and <unk> | ");
    expect_file("shards", "stream.json", "{\"train\": 3, \"valid\": 1, \"test\": 0}\n");
}

/* A line of 10 MB, and of one word of 10 MB. */
static void test_long_lines(void **state)
{
    (void)state;
    enum { LONG = 10 << 20 };
    char *text = malloc(LONG + 40);
    for (int i = 0; i < LONG; i++)
        text[i] = (char)(i % 7 == 6 ? ' ' : 'a' + i % 7 + i / 7 % 3);
    text[LONG] = '\n';
    memcpy(text + LONG + 1, "x y\n", 4);
    write_file(at("long"), text, LONG + 5);
    succeeds(tn_prepare_stream(from("l", "long", NULL)));
    tn_tokens *t = tn_tokens_open(in("l", "train.00001.tok"));
    assert_int_equal(tn_tokens_sentences(t), 2);
    assert_int_equal(tn_tokens_len(t), LONG / 7 + 1 + 1 + 3);
    tn_free(t);
    memset(text, 'a', LONG);
    write_file(at("long"), text, LONG + 5);
    succeeds(tn_prepare_stream(from("w1", "long", NULL)));
    tn_dictionary *d = dictionary_of("w1");
    assert_int_equal(tn_dictionary_len(d), 5);
    assert_int_equal(strlen(tn_dictionary_word(d, 1)), LONG);
    tn_free(d);
    free(text);
}

/* ---- many lines ---- */

enum { LINES = 30000 };

static void write_lines(const char *name, uint32_t r)
{
    tn_text t = {0};
    char word[24];
    for (int i = 0; i < LINES; i++) {
        r = r * 1664525 + 1013904223;
        for (uint32_t k = 0; k < (r >> 8) % 9; k++) {
            r = r * 1664525 + 1013904223;
            const uint32_t w = (r >> 16) % (1 + (r >> 8) % 900);
            tn_text_add(&t, word, (size_t)snprintf(word, sizeof word, k ? " w%u" : "W%u", w));
        }
        tn_text_add(&t, "\n", 1);
    }
    write_file(at(name), t.at, t.len);
    tn_text_end(&t);
}

static void test_any_number_of_threads(void **state)
{
    (void)state;
    char name[8];
    const int before = tn_threads();
    write_lines("m", 1);
    write_lines("mt", 2);
    for (int threads = 1; threads <= 4; threads++) {
        tn_set_threads(threads);
        snprintf(name, sizeof name, "m%d", threads);
        tn_prepare_stream_args a = from(name, "m", "mt");
        a.threshold = 20;
        succeeds(tn_prepare_stream(a));
        same_folder("m1", name);
    }
    tn_set_threads(before);
}

typedef struct stopper {
    int calls, last; /* the call that stops; 0: none */
    double share;
    char what[64], steps[512];
    bool falls;
} stopper;

static bool count_calls(void *arg, const char *what, double share)
{
    stopper *s = arg;
    const bool same = strcmp(what, s->what) == 0;
    s->falls |= share < 0 || share > 1 || (same && share < s->share);
    s->share = share;
    if (!same) {
        snprintf(s->what, sizeof s->what, "%s", what);
        snprintf(s->steps + strlen(s->steps), sizeof s->steps - strlen(s->steps), "%s\n", what);
    }
    return ++s->calls != s->last;
}

static void remove_dir(const char *name)
{
    char command[1000];
    snprintf(command, sizeof command, "rm -rf '%s'", at(name));
    assert_int_equal(system(command), 0);
}

static void test_stopped_anywhere(void **state)
{
    (void)state;
    stopper all = {0};
    write_lines("m", 1);
    write_lines("mt", 2);
    tn_prepare_stream_args a = from("whole", "m", "mt");
    a.progress = count_calls;
    a.arg = &all;
    succeeds(tn_prepare_stream(a));
    assert_false(all.falls);
    assert_string_equal(all.steps, "dict.txt\ntrain 1/1\ntest 1/1\ndone\n");
    assert_true(all.calls > 10);
    for (int i = 1; i <= all.calls; i++) {
        stopper s = {.last = i};
        a = from("stopped", "m", "mt");
        a.progress = count_calls;
        a.arg = &s;
        assert_false(tn_prepare_stream(a));
        expect_error(TN_ESTATE, "stopped; the same call goes on with");
        s.last = 0;
        succeeds(tn_prepare_stream(a));
        same_folder("whole", "stopped");
        remove_dir("stopped");
    }
}

static void test_only_what_is_missing(void **state)
{
    (void)state;
    static const struct { const char *file, *steps; } cases[] = {
        {"test.00001.tok", "test 1/1\ndone\n"}, {"dict.txt", "dict.txt\ndone\n"},
        {"train.00001.tok", "train 1/1\ndone\n"}, {"stream.json", "done\n"}, {"none", "done\n"},
    };
    write_lines("m", 1);
    write_lines("mt", 2);
    succeeds(tn_prepare_stream(from("whole", "m", "mt")));
    succeeds(tn_prepare_stream(from("part", "m", "mt")));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        stopper s = {0};
        tn_prepare_stream_args a = from("part", "m", "mt");
        a.progress = count_calls;
        a.arg = &s;
        unlink(in("part", cases[i].file));
        succeeds(tn_prepare_stream(a));
        assert_string_equal(s.steps, cases[i].steps);
        same_folder("whole", "part");
    }
}

static void test_killed(void **state)
{
    (void)state;
    write_lines("m", 1);
    write_lines("mt", 2);
    succeeds(tn_prepare_stream(from("whole", "m", "mt")));
    for (int i = 0; i < 9; i++) {
        const pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            const tn_prepare_stream_args a = from("killed", "m", "mt");
            execl(TN_PROGRAM, "tenon", "prepare", "text", a.train[0], a.dest, "--quiet", "--test", a.test[0],
                  (char *)NULL);
            _exit(1);
        }
        usleep((useconds_t)(8000 * i));
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, NULL, 0), child);
        if (i % 3 == 2) {
            succeeds(tn_prepare_stream(from("killed", "m", "mt")));
            same_folder("whole", "killed");
            remove_dir("killed");
        }
    }
}

/* ---- what is refused ---- */

static void test_settings(void **state)
{
    (void)state;
    put("a", "b c\n");
    put("t", "c d\n");
    succeeds(tn_prepare_stream(from("s", "a", "t")));
    tn_prepare_stream_args a = from("s", "a", "t");
    a.threshold = 2;
    assert_false(tn_prepare_stream(a));
    expect_error(TN_ESTATE, "text: ");
    a = from("s", "a", "t");
    a.threshold = -1; /* the same as none said */
    a.skip_blank = true;
    assert_false(tn_prepare_stream(a));
    expect_error(TN_ESTATE, "was begun with \"skip_blank: 0\", now it is \"skip_blank: 1\"");
    put("a", "b c d\n");
    assert_false(tn_prepare_stream(from("s", "a", "t")));
    expect_error(TN_ESTATE, "was begun with \"train.00001: 4 bytes\", now it is \"train.00001: 6 bytes\"");
    put("a", "b c\n");
    const int fd = open(at("s"), O_RDONLY | O_DIRECTORY);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_false(tn_prepare_stream(from("s", "a", "t")));
    expect_error(TN_ESTATE, "is being prepared by another process");
    close(fd);
    unlink(in("s", "prepare.txt"));
    assert_false(tn_prepare_stream(from("s", "a", "t")));
    expect_error(TN_ESTATE, "but no prepare.txt that tells what from");
}

static void test_arguments(void **state)
{
    (void)state;
    put("a", "b c\n");
    tn_prepare_stream_args a = from("bad", "a", NULL);
    a.dest = NULL;
    assert_false(tn_prepare_stream(a));
    expect_error(TN_EARG, "dest is wanted");
    a = from("bad", "a", NULL);
    a.n_train = 0;
    assert_false(tn_prepare_stream(a));
    expect_error(TN_EARG, "files for training are wanted");
    a.n_train = -1;
    assert_false(tn_prepare_stream(a));
    expect_error(TN_EARG, "-1 files for train");
    a = from("bad", "a", NULL);
    a.n_valid = 1;
    assert_false(tn_prepare_stream(a));
    expect_error(TN_EARG, "file 1 for valid has no name");
    a = from("bad", "a", NULL);
    a.threshold = -2;
    assert_false(tn_prepare_stream(a));
    expect_error(TN_EARG, "threshold is -2");
    assert_false(exists(at("bad")));
    assert_false(tn_prepare_stream(from("none", "nowhere", NULL)));
    expect_error(TN_EIO, "nowhere: No such file");
    put("empty", "");
    assert_false(tn_prepare_stream(from("e", "empty", NULL)));
    expect_error(TN_EFORMAT, "empty holds no text");
    assert_false(tn_prepare_stream(from("e2", "a", "empty")));
    expect_error(TN_EFORMAT, "empty holds no text");
    put("blank", "\n \n");
    a = from("e3", "blank", NULL);
    a.skip_blank = true;
    assert_false(tn_prepare_stream(a));
    expect_error(TN_EFORMAT, "blank holds no text");
    write_file(at("cut.gz"), "a b c d e f g\n", 14);
    assert_int_equal(truncate(at("cut.gz"), 20), 0);
    assert_false(tn_prepare_stream(from("cut", "cut.gz", NULL)));
    expect_error(TN_EFORMAT, "cut.gz: truncated");
}

static void test_full_disk(void **state)
{
    (void)state;
    struct rlimit old, small;
    write_lines("m", 1);
    write_lines("mt", 2);
    succeeds(tn_prepare_stream(from("whole", "m", "mt")));
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_IGN);
    static const struct { rlim_t bytes; const char *words; } cases[] = {
        {20, "prepare.txt"}, {1000, "dict.txt"}, {100000, "train.00001.tok"},
    };
    for (int i = 0; i < 3; i++) {
        small = old;
        small.rlim_cur = cases[i].bytes;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        const bool done = tn_prepare_stream(from("full", "m", "mt"));
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
        assert_false(done);
        expect_error(TN_EIO, cases[i].words);
        succeeds(tn_prepare_stream(from("full", "m", "mt")));
        same_folder("whole", "full");
        remove_dir("full");
    }
    signal(SIGXFSZ, SIG_DFL);
}

/* ---- One Billion Word ---- */

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

/* The dictionary by an independent count: awk. */
static void same_as_awk(const char *dir, const char *files, int threshold)
{
    char command[4000];
    snprintf(command, sizeof command,
             "cat %s | awk -v T=%d '{n += NF > 0; for (i = 1; i <= NF; i++) c[$i]++} END {u = c[\"<unk>\"] > T ? "
             "c[\"<unk>\"] : 0; for (w in c) if (c[w] > T) {if (w != \"<unk>\") print c[w], w} else u += c[w]; "
             "print u, \"<unk>\"; print n, \"</s>\"}' | LC_ALL=C sort -k1,1nr -k2,2 | awk '{print $2, $1}' > '%s' && "
             "cmp '%s' '%s'", files, threshold, at("wanted"), at("wanted"), in(dir, "dict.txt"));
    assert_int_equal(system(command), 0);
}

static void test_ptb(void **state)
{
    (void)state;
    const char *dir = unpacked("ptb", "ptb/ptb.train.txt");
    if (!dir)
        skip();
    char path[3][700], train[800];
    const char *files[3] = {path[0], path[1], path[2]};
    static const char *const names[] = {"train", "valid", "test"};
    static const struct { int64_t lines, tokens; } counts[] = {{42068, 929589}, {3370, 73760}, {3761, 82430}};
    for (int i = 0; i < 3; i++)
        snprintf(path[i], sizeof path[i], "%s/ptb/ptb.%s.txt", dir, names[i]);
    const tn_prepare_stream_args a = {.dest = at("ptb"), .n_train = 1, .train = &files[0], .n_valid = 1,
                                      .valid = &files[1], .n_test = 1, .test = &files[2]};
    succeeds(tn_prepare_stream(a));
    for (int i = 0; i < 3; i++) {
        char name[24];
        snprintf(name, sizeof name, "%s.00001.tok", names[i]);
        tn_tokens *t = tn_tokens_open(in("ptb", name));
        assert_int_equal(tn_tokens_sentences(t), counts[i].lines);
        assert_int_equal(tn_tokens_len(t), counts[i].tokens);
        tn_free(t);
    }
    snprintf(train, sizeof train, "'%s'", path[0]);
    same_as_awk("ptb", train, 0);
    tn_dictionary *d = dictionary_of("ptb");
    assert_int_equal(tn_dictionary_len(d), 10000);
    tn_loader *l = tn_loader(tn_text_stream(at("ptb"), TN_TRAIN, .batch = 20, .steps = 35), .workers = 2);
    assert_ok();
    assert_int_equal(tn_loader_batches(l), 929588 / (20 * 35));
    tn_text text = {0};
    TN_EACH(b, l) {
        if (b.index == 0) { /* the beginning of Mikolov's file, down the first row */
            int32_t row[24];
            for (int t = 0; t < 24; t++)
                row[t] = tn_i32(b.x)[t * 20];
            assert_true(tn_dictionary_decode(d, row, 24, &text));
        }
    }
    assert_ok();
    assert_string_equal(text.at, "aer banknote berlitz calloway centrust cluett fromstein gitano guterman hydro-quebec "
                        "ipo kia memotec mlx nahb punts rake regatta rubens sim snack-food ssangyong swapo wachter");
    tn_text_end(&text);
    tn_free(l, d);
}

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

static char output[1 << 16];

static void expect_said(int wanted, const char *arguments, const char *words)
{
    char command[6000];
    snprintf(command, sizeof command, "cd '%s' && '%s' prepare %s >output 2>&1", folder, TN_PROGRAM, arguments);
    const int status = system(command);
    size_t n;
    char *text = whole(at("output"), &n);
    snprintf(output, sizeof output, "%s", text);
    free(text);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != wanted || !strstr(output, words))
        fail_msg("status %d, no '%s' in: %s", WEXITSTATUS(status), words, output);
}

static void test_program(void **state)
{
    (void)state;
    put("a", "b c\nb\n");
    put("t", "c d\n");
    expect_said(0, "text a t a p --test t --threads 2",
                "train      3 shards           5 lines           13 tokens");
    assert_non_null(strstr(output, "dictionary  5 words"));
    expect_said(0, "text a t a p --test t --quiet --json",
                "{\"train\":{\"shards\":3,\"lines\":5,\"tokens\":13},\"test\":{");
    expect_said(0, "text a p1 --threshold 1", "dictionary  3 words");
    expect_said(1, "text a p1 --threshold 0", "was begun with \"threshold: 1\", now it is \"threshold: 0\"");
    expect_said(2, "text a p --merges 5", "--merges is for translation, not for text");
    expect_said(2, "text a p --train a,b", "--train is for translation, not for text");
    expect_said(2, "lm1b x", "lm1b wants ARCHIVE and DEST");
    expect_said(2, "text x", "text wants FILE... and DEST");
    expect_said(1, "text a absent x", ": No such file or directory");
    expect_said(2, "parallel x --skip-blank", "--skip-blank is for text alone");
    shard *s = make_shards(text_shard);
    write_shards("lm1b.tgz", s, -1);
    free_shards(s);
    expect_said(0, "lm1b lm1b.tgz o --threshold 0 --quiet", "test      50 shards");
    expect_said(1, "lm1b lm1b.tgz o --quiet", "was begun with \"threshold: 0\", now it is \"threshold: 3\"");
}

int main(void)
{
#define IN_A_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        IN_A_FOLDER(test_words), IN_A_FOLDER(test_shards), IN_A_FOLDER(test_long_lines),
        IN_A_FOLDER(test_any_number_of_threads), IN_A_FOLDER(test_stopped_anywhere),
        IN_A_FOLDER(test_only_what_is_missing), IN_A_FOLDER(test_killed), IN_A_FOLDER(test_settings),
        IN_A_FOLDER(test_arguments), IN_A_FOLDER(test_full_disk), IN_A_FOLDER(test_lm1b),
        IN_A_FOLDER(test_lm1b_stopped), IN_A_FOLDER(test_lm1b_damage), IN_A_FOLDER(test_ptb),
        IN_A_FOLDER(test_real_lm1b), IN_A_FOLDER(test_program),
    };
    return cmocka_run_group_tests_name("prepare stream", tests, NULL, NULL);
}
