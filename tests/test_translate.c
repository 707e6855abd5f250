/* From raw text to BLEU as a person does it: prepare, train, average, translate, score.  The language is small enough
 * to be learned in seconds: six things, six doings, with and without "heute".  TENON_BIN names another binary. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>

#include "runs.h"

static const char config[] =
    "name: small\n"
    "model: {name: transformer, dim: 32, ffn: 64, heads: 2, encoder_layers: 1, decoder_layers: 1, dropout: 0}\n"
    "data: {name: pairs, root: p, max_tokens: 300, workers: 0}\n"
    "optim: {name: adam, lr: 0.005}\n"
    "train: {epochs: 40, label_smoothing: 0.1, epoch_checkpoints: 2, bleu: [2]}\n"
    "device: {name: cpu, threads: 1}\n";

/* ---- the language ---- */

static const char *const things[][3] = { /* who, whom, English */
    {"Der Hund", "den Hund", "dog"}, {"Die Katze", "die Katze", "cat"},      {"Das Kind", "das Kind", "child"},
    {"Der Mann", "den Mann", "man"}, {"Die Frau", "die Frau", "woman"},      {"Der Vogel", "den Vogel", "bird"},
};
static const char *const doings[][2] = {
    {"sieht", "sees"}, {"kennt", "knows"}, {"hört", "hears"}, {"ruft", "calls"}, {"findet", "finds"}, {"sucht", "seeks"},
};
enum { THINGS = 6, DOINGS = 6, ALL = THINGS * DOINGS * THINGS * 2, LINE = 96 };

static void say(int i, bool german, char line[LINE])
{
    const char *const *who = things[i % THINGS], *const *whom = things[i / THINGS % THINGS],
               *const *doing = doings[i / THINGS / THINGS % DOINGS];
    const bool today = i >= ALL / 2;
    if (german)
        snprintf(line, LINE, "%s %s %s%s.\n", who[0], doing[0], whom[1], today ? " heute" : "");
    else
        snprintf(line, LINE, "The %s %s the %s%s.\n", who[2], doing[1], whom[2], today ? " today" : "");
}

static int begin(void **state)
{
    static const char *const splits[] = {"train", "valid", "test"};
    char line[LINE];
    if (folder_begin(state))
        return 1;
    for (int file = 0; file < 6; file++) {
        snprintf(line, sizeof line, "%s.%s", splits[file / 2], file % 2 ? "en" : "de");
        FILE *f = fopen(in_folder(line), "w");
        assert_non_null(f);
        for (int i = 0; i < ALL; i++)
            if (file / 2 == (i % 7 == 0 ? 1 : i % 7 == 3 ? 2 : 0)) {
                say(i, file % 2 == 0, line);
                fputs(line, f);
            }
        fclose(f);
    }
    write_text("small.yaml", config);
    expect(0, tenon("prepare parallel p --source de --target en --merges 60 --train train.de,train.en "
                    "--valid valid.de,valid.en --test test.de,test.en --quiet"));
    expect(0, tenon("train small.yaml --out r --quiet"));
    return 0;
}

/* ---- all the way ---- */

static void test_raw_text(void **state)
{
    (void)state;
    double bleu = 0;
    shell("'%s' bpe apply --codes p/code <p/test.de | grep -q '@@ '", TN_PROGRAM); /* there are words in pieces */
    expect(0, tenon("translate r --weights r/average-2.safetensors --detokenize <test.de"));
    shell("tr 'A-Z' 'a-z' <test.en >wanted && cmp wanted out");
    expect(0, tenon("translate r/average-2.safetensors --src test.de | '%s' score - p/test.en", TN_PROGRAM));
    assert_int_equal(sscanf(output, "BLEU = %lf", &bleu), 1);
    assert_true(bleu > 99.9);
    read_whole(in_folder("r/metrics.jsonl"), output, sizeof output);
    expect_words(output, "\"test_bleu_2\":100");
    shell("tr 'A-Z' 'a-z' <test.de | sed 's/\\.$/ ./' >words.de");
    expect(0, tenon("translate r --tokenized <words.de"));
    shell("cp out tokenized");
    expect(0, tenon("translate r <test.de"));
    shell("cmp out tokenized");
}

static void test_lines_stay_in_order(void **state)
{
    (void)state;
    write_text("in", "Der Hund ruft die Katze.\n\nDas Kind sieht den Mann heute.\n \nDie Frau kennt den Vogel.");
    static const char wanted[] = "the dog calls the cat.\n\nthe child sees the man today.\n\nthe woman knows the bird.\n";
    static const char *const ways[] = {"", "--beam 1", "--beam 1 --batch 1 --threads 2", "--batch 2 --threads 2",
                                       "--beam 3 --max-len-a 2 --max-len-b 10", "--lenpen 0"};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        expect(0, tenon("translate r --detokenize %s <in", ways[i]));
        assert_string_equal(output, wanted);
    }
    expect(0, tenon("translate r </dev/null"));
    assert_string_equal(output, "");
}

/* Scores fall, the first is what is printed without columns, and each piece points at a piece of the source. */
static void test_columns(void **state)
{
    (void)state;
    char words[256], pairs[256];
    double before = 0, score;
    int number, n = 0;
    write_text("in", "\nDer Mann findet das Kind.\n");
    expect(0, tenon("translate r --beam 6 --best 4 --align <in"));
    for (char *line = strtok(output, "\n"); line; line = strtok(NULL, "\n"), n++) {
        assert_int_equal(sscanf(line, "%d\t%lf\t%255[^\t]\t%255[^\n]", &number, &score, words, pairs), 4);
        assert_int_equal(number, 2);
        assert_true(score < 0 && (n == 0 || score <= before));
        if (n == 0)
            assert_string_equal(words, "the man finds the child .");
        before = score;
        int source, target, next = 0, used = 0;
        for (const char *at = pairs; sscanf(at, " %d-%d%n", &source, &target, &used) == 2; at += used, next++)
            assert_true(source >= 0 && source < 40 && target == next);
        assert_true(next >= 6);
    }
    assert_int_equal(n, 4);
    expect(0, tenon("translate r --beam 6 --scores <in"));
    assert_int_equal(sscanf(output, "%d\t%lf\t%255[^\n]", &number, &score, words), 3);
    assert_string_equal(words, "the man finds the child .");
}

/* ---- a person types ---- */

/* What comes within ten seconds, up to the end of a line. */
static void read_answer(int from, char answer[LINE])
{
    struct pollfd ready = {.fd = from, .events = POLLIN};
    size_t n = 0;
    while (n < LINE - 1 && poll(&ready, 1, 10000) > 0 && read(from, answer + n, 1) == 1 && answer[n++] != '\n')
        ;
    answer[n] = 0;
}

static void ask(int terminal, int from, const char *question, const char *wanted)
{
    char answer[LINE];
    assert_int_equal(write(terminal, question, strlen(question)), strlen(question));
    read_answer(from, answer);
    assert_string_equal(answer, wanted);
}

/* At a terminal each line is answered before the next is typed. */
static void test_terminal(void **state)
{
    (void)state;
    int out[2], status = 0;
    const char *bin = getenv("TENON_BIN");
    const int terminal = posix_openpt(O_RDWR | O_NOCTTY);
    if (terminal < 0 || grantpt(terminal) != 0 || unlockpt(terminal) != 0)
        skip();
    assert_int_equal(pipe(out), 0);
    const pid_t child = fork();
    if (child == 0) {
        const int in = open(ptsname(terminal), O_RDONLY | O_NOCTTY);
        if (in >= 0 && dup2(in, STDIN_FILENO) >= 0 && dup2(out[1], STDOUT_FILENO) >= 0)
            execl(bin ? bin : TN_PROGRAM, "tenon", "translate", in_folder("r"), "--detokenize", (char *)NULL);
        _exit(99);
    }
    close(out[1]);
    ask(terminal, out[0], "Der Vogel hört den Hund.\n", "the bird hears the dog.\n");
    ask(terminal, out[0], "\n", "\n");
    ask(terminal, out[0], "Die Katze sucht die Frau heute.\n", "the cat seeks the woman today.\n");
    assert_int_equal(write(terminal, "\4", 1), 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    close(out[0]);
    close(terminal);
}

/* ---- what it refuses ---- */

static void test_refusals(void **state)
{
    (void)state;
    expect_complaint(1, tenon("translate nowhere </dev/null"), "nowhere has no weights yet");
    expect_complaint(1, tenon("translate r --src none"), "none: No such file");
    expect_complaint(1, tenon("translate r --weights none </dev/null"), "none: No such file");
    expect_complaint(1, tenon("translate r --beam 0 <in"), "--beam 0");
    expect_complaint(1, tenon("translate r --beam 2 --best 3 <in"), "width 2, best 3");
    shell("(echo a; yes a | head -n 3000 | tr '\\n' ' ') >long");
    expect_complaint(1, tenon("translate r <long"), "line 2 has 3001 words; 2048 are possible");
    expect_complaint(2, tenon("translate r --beam wide <in"), "--beam wants a whole number");
    expect_complaint(1, tenon("translate r --lenpen long <in"), "--lenpen: 'long' is not a number");
    expect_complaint(1, tenon("translate r --set model.dim=16 <in"), "r/best.safetensors");
    shell("head -c 2000 r/best.safetensors >r/short.safetensors");
    expect_complaint(1, tenon("translate r/short.safetensors <in"), "r/short.safetensors");
    shell("! '%s' translate r <in >/dev/full 2>err && grep -q 'standard output cannot be written' err", TN_PROGRAM);
    shell("head -c 50000 /dev/urandom | fold -bw 400 >noise");
    expect(0, tenon("translate r --beam 1 --max-len-b 5 <noise"));
    shell("mv r/dict.en.txt r/dict.gone");
    expect_complaint(1, tenon("translate r <in"), "r/dict.en.txt");
    shell("mv r/dict.gone r/dict.en.txt");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_raw_text), cmocka_unit_test(test_lines_stay_in_order), cmocka_unit_test(test_columns),
        cmocka_unit_test(test_terminal), cmocka_unit_test(test_refusals),
    };
    unsetenv("TENON_DATA");
    return cmocka_run_group_tests_name("translate", tests, begin, folder_end);
}
