/* Preparing translation data when things go wrong: stopped anywhere and called again, killed, two at a time, other
 * settings, damaged archives, sides that do not fit; and the program's words. */
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "prepare_files.h"

/* ---- going on ---- */

typedef struct stopper {
    int calls, last;  /* the call that stops; 0: none */
    char steps[4096]; /* what was called, each once */
    double share;
    bool falls;       /* a share fell within a step, or left 0..1 */
} stopper;

static bool count_calls(void *arg, const char *what, double share)
{
    stopper *s = arg;
    const size_t n = strlen(what), m = strlen(s->steps);
    const bool same = m > n && s->steps[m - 1] == '\n' && !strncmp(s->steps + m - 1 - n, what, n);
    if (!same && m + n + 2 < sizeof s->steps) {
        strcat(s->steps, what);
        strcat(s->steps, "\n");
    }
    s->falls |= share < 0 || share > 1 || (same && share < s->share);
    s->share = share;
    return ++s->calls != s->last;
}

/* Stopped at each stride-th call in turn and called again: the folder that was never stopped, byte by byte. */
static void stop_everywhere(bool (*prepare)(tn_prepare_args args), int stride)
{
    char name[24], command[1000];
    stopper all = {0};
    tn_prepare_args a = ours("whole");
    a.progress = count_calls;
    a.arg = &all;
    succeeds(prepare(a));
    assert_false(all.falls);
    assert_true(all.calls > 10);
    for (int i = 1; i <= all.calls; i += stride) {
        stopper s = {.last = i};
        snprintf(name, sizeof name, "stopped%d", i);
        a = ours(name);
        a.progress = count_calls;
        a.arg = &s;
        assert_false(prepare(a));
        expect_error(TN_ESTATE, "stopped; the same call goes on with");
        s.last = 0;
        succeeds(prepare(a));
        same_folder("whole", name);
        snprintf(command, sizeof command, "rm -rf '%s'", at(name));
        assert_int_equal(system(command), 0);
    }
}

static bool prepare_ours(tn_prepare_args a) { return tn_prepare(a); }

static bool prepare_archive(tn_prepare_args a)
{
    return tn_prepare_iwslt14(at("de-en.tgz"), (tn_prepare_args){.dest = a.dest, .merges = 100,
                                                                 .progress = a.progress, .arg = a.arg});
}

static void test_stopped_anywhere(void **state)
{
    (void)state;
    stop_everywhere(prepare_ours, 1);
}

static void test_stopped_anywhere_in_an_archive(void **state)
{
    (void)state;
    static archive_text a;
    build_small(&a);
    write_members(&a, "de-en.tgz");
    stop_everywhere(prepare_archive, 3);
    free_members(&a);
}

/* What is complete stays as it is; what is missing is made, and nothing else. */
static void test_only_what_is_missing(void **state)
{
    (void)state;
    static const struct { const char *file, *steps; } cases[] = {
        {"valid.en", "valid: text\ndone\n"}, {"code", "200 codes\ndone\n"}, {"test.de.tok", "test.de: ids\ndone\n"},
        {"dict.en.txt", "train.de: subwords\ntrain.en: subwords\ndict.en.txt\ndone\n"},
        {"train.de.tok", "train.de: subwords\ntrain.en: subwords\ntrain.de: ids\ndone\n"}, {"text.json", "done\n"},
        {"none", "done\n"},
    };
    succeeds(tn_prepare(ours("whole")));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        stopper s = {0};
        tn_prepare_args a = ours("part");
        struct stat before, after;
        if (i == 0)
            succeeds(tn_prepare(a));
        a.progress = count_calls;
        a.arg = &s;
        unlink(in("part", cases[i].file));
        assert_int_equal(stat(in("part", "train.en"), &before), 0);
        succeeds(tn_prepare(a));
        assert_string_equal(s.steps, cases[i].steps);
        assert_int_equal(stat(in("part", "train.en"), &after), 0);
        assert_int_equal(before.st_ino, after.st_ino);
        same_folder("whole", "part");
    }
}

static void test_any_number_of_threads(void **state)
{
    (void)state;
    static const int threads[] = {1, 2, 3, 7};
    char name[16];
    for (int i = 0; i < 4; i++) {
        tn_set_threads(threads[i]);
        snprintf(name, sizeof name, "t%d", i);
        succeeds(tn_prepare(ours(name)));
        same_folder("t0", name);
    }
    tn_set_threads(0);
}

/* Killed at any moment: what it left is no hindrance, and the outcome is the same. */
static void test_killed(void **state)
{
    (void)state;
    succeeds(tn_prepare(ours("whole")));
    for (int i = 0; i < 12; i++) {
        const pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            const tn_prepare_args a = ours("killed");
            char pair[3][1700];
            const char *const *file[] = {a.train, a.valid, a.test};
            for (int k = 0; k < 3; k++)
                snprintf(pair[k], sizeof pair[k], "%s,%s", file[k][0], file[k][1]);
            execl(TN_PROGRAM, "tenon", "prepare", "parallel", a.dest, "--source", "de", "--target", "en", "--merges", "200",
                  "--quiet", "--train", pair[0], "--valid", pair[1], "--test", pair[2], (char *)NULL);
            _exit(1);
        }
        usleep((useconds_t)(10000 * i));
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, NULL, 0), child);
        if (i % 3 == 2) {
            char command[1000];
            succeeds(tn_prepare(ours("killed")));
            same_folder("whole", "killed");
            snprintf(command, sizeof command, "rm -rf '%s'", at("killed"));
            assert_int_equal(system(command), 0);
        }
    }
}

static void test_one_at_a_time(void **state)
{
    (void)state;
    succeeds(tn_prepare(ours("one")));
    const int fd = open(at("one"), O_RDONLY | O_DIRECTORY);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_false(tn_prepare(ours("one")));
    expect_error(TN_ESTATE, "is being prepared by another process");
    close(fd);
    succeeds(tn_prepare(ours("one")));
}

/* ---- other settings, other folders ---- */

static void test_other_settings(void **state)
{
    (void)state;
    succeeds(tn_prepare(ours("s")));
    tn_prepare_args a = ours("s");
    a.merges = 201;
    assert_false(tn_prepare(a));
    expect_error(TN_ESTATE, "was begun with \"merges: 200\", now it is \"merges: 201\"");
    a = ours("s");
    a.source = "en";
    a.target = "de";
    assert_false(tn_prepare(a));
    expect_error(TN_ESTATE, "\"source: de\", now it is \"source: en\"");
    a = ours("s");
    a.test[0] = a.test[1] = NULL;
    assert_false(tn_prepare(a));
    expect_error(TN_ESTATE, "now it is \"valid.de: ");
    write_sentences("t.en", true, 2000, 49);
    assert_false(tn_prepare(ours("s")));
    expect_error(TN_ESTATE, "was begun with \"test.en: ");
    write_sentences("t.en", true, 2000, 50);
    unlink(in("s", "prepare.txt"));
    assert_false(tn_prepare(ours("s")));
    expect_error(TN_ESTATE, "but no prepare.txt that tells what from");
    assert_false(tn_prepare(ours("a.de"))); /* a file */
    expect_error(TN_EIO, "a.de: Not a directory");
    assert_false(tn_prepare(ours("a.de/b")));
    expect_error(TN_EIO, "a.de/b cannot be made: Not a directory");
    assert_int_equal(mkdir(at("taken"), 0777), 0);
    assert_int_equal(mkdir(in("taken", "train.de"), 0777), 0);
    assert_false(tn_prepare(ours("taken")));
    expect_error(TN_EIO, "train.de exists and is not a regular file");
}

static void expect_bad(tn_prepare_args a, const char *words)
{
    assert_false(tn_prepare(a));
    expect_error(TN_EARG, words);
    assert_false(exists(at("bad")));
}

static void test_bad_arguments(void **state)
{
    (void)state;
#define BAD(words, ...)                 \
    do {                                \
        tn_prepare_args a = ours("bad"); \
        __VA_ARGS__;                    \
        expect_bad(a, words);           \
    } while (0)
    BAD("dest is wanted", a.dest = NULL);
    BAD("dest is wanted", a.dest = "");
    BAD("two languages", a.source = NULL);
    BAD("two languages", a.target = "de");
    BAD("two languages", a.target = "../x");
    BAD("two languages", a.target = "abcdefghijklmnop");
    BAD("files for training are wanted", a.train[0] = a.train[1] = NULL);
    BAD("train has one file alone", a.train[1] = NULL);
    BAD("valid has one file alone", a.valid[0] = NULL);
    BAD("test has one file alone", a.test[1] = NULL);
    BAD("merges -2", a.merges = -2);
    BAD("ratio 0.5", a.ratio = 0.5);
    BAD("longest -1", a.longest = -1);
    BAD("codes are given, but no BPE", a.merges = -1, a.code = "x");
    char *deep = calloc(1, 8001);
    memset(deep, 'a', 8000);
    BAD("dest is wanted", a.dest = deep);
    free(deep);
    tn_prepare_args a = ours("bad");
    assert_false(tn_prepare_iwslt14(NULL, a));
    expect_error(TN_EARG, "iwslt14: an archive and a folder to make are wanted; give de-en.tgz");
    assert_false(tn_prepare_iwslt14("x", a));
    expect_error(TN_EARG, "iwslt14: which files there are");
    assert_false(tn_prepare_iwslt14("x", (tn_prepare_args){.dest = at("bad"), .source = "fr"}));
    expect_error(TN_EARG, "the languages are \"de\" and \"en\"");
    assert_false(tn_prepare_iwslt14(at("x"), (tn_prepare_args){.dest = at("bad")}));
    expect_error(TN_EIO, "x: No such file or directory; give de-en.tgz");
    assert_false(tn_prepare_wmt16(at("a.de"), (tn_prepare_args){.dest = at("bad"), .merges = 5}));
    expect_error(TN_EARG, "wmt16: the archive's subwords are taken as they are");
    assert_false(exists(at("bad")));
}

/* ---- inputs that are no good ---- */

static void test_unequal_sides(void **state)
{
    (void)state;
    write_sentences("v.de", false, 1000, 47);
    assert_false(tn_prepare(ours("u")));
    expect_error(TN_EFORMAT, "v.de has 47 sentences, but");
    assert_false(tn_prepare(ours("u")));
    expect_error(TN_EFORMAT, "v.en 50: it ends after line 47; line by line they must be translations");
    assert_false(exists(in("u", "valid.de")));
    assert_true(exists(in("u", "train.de"))); /* which was good */
    write_sentences("v.de", false, 1000, 50);
    put("t.en", "");
    assert_false(tn_prepare(ours("u2")));
    expect_error(TN_EFORMAT, "t.en has 0 sentences, but");
    put("t.de", "");
    assert_false(tn_prepare(ours("u3")));
    expect_error(TN_EFORMAT, "t.de holds no sentences");
    put("a.de", "a b c\n");
    put("a.en", "a\n");
    assert_false(tn_prepare(ours("u4")));
    expect_error(TN_EFORMAT, "no pair is left for training: each side wants 1 to 175 words");
    put("a.en", "a b c\n");
    tn_prepare_args a = ours("u5");
    a.valid[0] = a.valid[1] = NULL;
    assert_false(tn_prepare(a));
    expect_error(TN_EFORMAT, "a.de has 1 good pairs, too few to set aside every 23rd");
    unlink(at("a.en"));
    assert_false(tn_prepare(ours("u6")));
    expect_error(TN_EIO, "a.en: No such file");
}

static void test_bad_code(void **state)
{
    (void)state;
    put("code", "#version: 0.2\nnot a code at all\n");
    tn_prepare_args a = ours("c");
    char path[800];
    snprintf(path, sizeof path, "%s", at("code"));
    a.code = path;
    assert_false(tn_prepare(a));
    expect_error(TN_EFORMAT, "code");
    put("code", "#version: 0.2\nt h\n");
    assert_false(tn_prepare(a)); /* another file now */
    expect_error(TN_ESTATE, "was begun with \"code: ");
}

static void expect_archive(const char *archive, tn_code code, const char *words)
{
    char command[1000];
    assert_false(tn_prepare_iwslt14(at(archive), (tn_prepare_args){.dest = at("d"), .merges = 50}));
    expect_error(code, words);
    snprintf(command, sizeof command, "rm -rf '%s'", at("d"));
    assert_int_equal(system(command), 0);
}

static void test_bad_archives(void **state)
{
    (void)state;
    static archive_text a;
    size_t n;
    build_small(&a);
    write_members(&a, "good.tgz");
    char *bytes = whole(at("good.tgz"), &n);
    write_file(at("cut"), bytes, n / 2);
    expect_archive("cut", TN_EFORMAT, "iwslt14:");
    write_file(at("cut"), bytes, n - 4);
    expect_archive("cut", TN_EFORMAT, "truncated");
    bytes[n / 2] ^= 16;
    write_file(at("flipped"), bytes, n);
    expect_archive("flipped", TN_EFORMAT, "iwslt14:");
    free(bytes);
    put("text", "hello, this is no archive\n");
    expect_archive("text", TN_EFORMAT, "not a folder, tar or zip archive; give de-en.tgz");
    put("empty", "");
    expect_archive("empty", TN_EFORMAT, "the file is empty");
    assert_int_equal(mkdir(at("folder"), 0777), 0);
    expect_archive("folder", TN_EIO, "no train.tags.de-en.de there; give de-en.tgz");

    item few[12];
    for (int i = 0; i < 12; i++)
        few[i] = (item){a.name[i], a.member[i].at, a.member[i].len, 0};
    write_archive(at("few.tgz"), 11, few);
    expect_archive("few.tgz", TN_EFORMAT, "no IWSLT14.TED.tst2012.de-en.en.xml in it");
    few[11] = few[3];
    write_archive(at("twice.tgz"), 12, few);
    expect_archive("twice.tgz", TN_EFORMAT, "holds IWSLT14.TED.dev2010.de-en.en.xml twice");
    few[11] = (item){a.name[11], "<mteval>\n</mteval>\n", 19, 0};
    write_archive(at("no.tgz"), 12, few);
    expect_archive("no.tgz", TN_EFORMAT, "IWSLT14.TED.tst2012.de-en.en.xml has 0 sentences, but");
    few[11] = (item){a.name[11], a.member[11].at, a.member[11].len, 0};
    few[4].size /= 2; /* the XML ends in its middle */
    write_archive(at("short.tgz"), 12, few);
    expect_archive("short.tgz", TN_EFORMAT, "IWSLT14.TEDX.dev2012.de-en.de.xml has ");
    few[4].size = a.member[4].len;
    few[0].size = (size_t)(strchr(few[0].data, '\n') - (const char *)few[0].data) + 1; /* one tag */
    write_archive(at("tag.tgz"), 12, few);
    expect_archive("tag.tgz", TN_EFORMAT, "train.tags.de-en.de has 0 sentences, but");
    free_members(&a);
}

static void test_wmt16_wants_codes(void **state)
{
    (void)state;
    item items[6];
    static const char *const names[] = {"train.tok.clean.bpe.32000.en", "train.tok.clean.bpe.32000.de",
                                        "newstest2013.tok.bpe.32000.en", "newstest2013.tok.bpe.32000.de",
                                        "newstest2014.tok.bpe.32000.en", "newstest2014.tok.bpe.32000.de"};
    for (int i = 0; i < 6; i++)
        items[i] = (item){names[i], "Th@@ e h@@ ouse\n", 16, 0};
    write_archive(at("w.tgz"), 6, items);
    assert_false(tn_prepare_wmt16(at("w.tgz"), (tn_prepare_args){.dest = at("w")}));
    expect_error(TN_EFORMAT, "no bpe.32000 in it; give wmt16_en_de.tar.gz");
    put("code", "#version: 0.2\nT h\n");
    char path[800];
    snprintf(path, sizeof path, "%s", at("code"));
    succeeds(tn_prepare_wmt16(at("w.tgz"), (tn_prepare_args){.dest = at("w3"), .code = path}));
    same_file(in("w3", "code"), at("code"));
    size_t n;
    char *text = whole(in("w3", "test.de"), &n);
    assert_string_equal(text, "The house\n");
    free(text);
}

/* A disk that is full: the error names the file, no half file has a good name, and the rest is done later. */
static void test_full_disk(void **state)
{
    (void)state;
    struct rlimit old, small;
    succeeds(tn_prepare(ours("whole")));
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_IGN);
    static const struct { rlim_t bytes; const char *words; bool text; } cases[] = {
        {200, "prepare.txt", false}, {4000, "train.de", false}, {45000, "train.", true},
    };
    for (int i = 0; i < 3; i++) {
        char name[16];
        snprintf(name, sizeof name, "full%d", i);
        small = old;
        small.rlim_cur = cases[i].bytes;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        const bool done = tn_prepare(ours(name));
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
        assert_false(done);
        expect_error(TN_EIO, cases[i].words);
        assert_int_equal(exists(in(name, "train.de")), cases[i].text);
        succeeds(tn_prepare(ours(name)));
        same_folder("whole", name);
    }
    signal(SIGXFSZ, SIG_DFL);
}

/* ---- the program ---- */

static void expect_said(int wanted, int status, const char *words)
{
    if (status != wanted || !strstr(output, words))
        fail_msg("status %d, no '%s' in: %s", status, words, output);
}

static void test_program(void **state)
{
    (void)state;
    static archive_text a;
    build_small(&a);
    write_members(&a, "de-en.tgz");
    free_members(&a);
    expect_said(0, program("iwslt14 de-en.tgz i --merges 100"),
                "train        861 pairs");
    expect_said(0, program("iwslt14 de-en.tgz i --merges 100 --quiet --json"), "{\"train\":{\"pairs\":861,\"ids\":[");
    assert_ptr_equal(strstr(output, "{"), output);
    expect_said(0, program("parallel p --source de --target en --train a.de,a.en --valid v.de,v.en --test t.de,t.en "
                           "--merges 200 --threads 2"), "test          50 pairs");
    succeeds(tn_prepare(ours("l")));
    same_folder("l", "p");
    expect_said(1, program("parallel p --source de --target en --train a.de,a.en --valid v.de,v.en"),
                "p was begun with \"merges: 200\", now it is \"merges: 10000\"");
    expect_said(1, program("iwslt14 a.de x"), "tenon: iwslt14: a.de: not a folder, tar or zip archive");
    expect_said(2, program("parallel x --source de --target en --train a.de"), "--train wants two files");
    expect_said(2, program("parallel x y"), "parallel wants DEST alone");
    expect_said(2, program("wmt16 x"), "wmt16 wants ARCHIVE and DEST");
    expect_said(2, program("cifar x y"), "parallel, iwslt14, wmt16, text or lm1b is wanted, not 'cifar'");
    expect_said(2, program("parallel x --ratio 0"), "--ratio wants a number from 1 on, not '0'");
    expect_said(1, program("parallel x --train a.de,a.en"), "two languages");
}

int main(void)
{
#define WITH_SENTENCES(test) cmocka_unit_test_setup_teardown(test, make_sentences, remove_folder)
    const struct CMUnitTest tests[] = {
        WITH_SENTENCES(test_stopped_anywhere), WITH_SENTENCES(test_stopped_anywhere_in_an_archive),
        WITH_SENTENCES(test_only_what_is_missing), WITH_SENTENCES(test_any_number_of_threads),
        WITH_SENTENCES(test_killed), WITH_SENTENCES(test_one_at_a_time), WITH_SENTENCES(test_other_settings),
        WITH_SENTENCES(test_bad_arguments), WITH_SENTENCES(test_unequal_sides), WITH_SENTENCES(test_bad_code),
        WITH_SENTENCES(test_bad_archives), WITH_SENTENCES(test_wmt16_wants_codes),
        WITH_SENTENCES(test_full_disk), WITH_SENTENCES(test_program),
    };
    return cmocka_run_group_tests_name("prepare trouble", tests, NULL, NULL);
}
