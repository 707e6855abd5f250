/* Folders of running text out of files: what comes out, the same for any number of threads and after any stop; bad
 * inputs; the program's words.  Out of the One Billion Word archive: test_prepare_lm1b.c; how it is read in chunks:
 * test_stream.c. */
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "real_data.h"
#include "stream_files.h"

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

/* ---- real text ---- */

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

/* ---- the program ---- */

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
    expect_said(2, "text x", "text wants FILE... and DEST");
    expect_said(1, "text a absent x", ": No such file or directory");
    expect_said(2, "parallel x --skip-blank", "--skip-blank is for text alone");
}

int main(void)
{
#define IN_A_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        IN_A_FOLDER(test_words), IN_A_FOLDER(test_shards), IN_A_FOLDER(test_long_lines),
        IN_A_FOLDER(test_any_number_of_threads), IN_A_FOLDER(test_stopped_anywhere),
        IN_A_FOLDER(test_only_what_is_missing), IN_A_FOLDER(test_killed), IN_A_FOLDER(test_settings),
        IN_A_FOLDER(test_arguments), IN_A_FOLDER(test_full_disk), IN_A_FOLDER(test_ptb),
        IN_A_FOLDER(test_program),
    };
    return cmocka_run_group_tests_name("prepare stream", tests, NULL, NULL);
}
