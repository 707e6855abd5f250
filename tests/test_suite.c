/* `tenon suite` from outside: what it runs, skips, resumes, refuses and writes.  TENON_BIN names
 * another binary. */
#include <fcntl.h>
#include <math.h>
#include <signal.h>

#include "program.h"

/* Networks that train in no time. */
#define CONFIG                                                                           \
    "model: {name: mlp, hidden: 8, layers: 1}\n"                                         \
    "data: {name: shapes, count: 64, test_count: 20, batch: 32, workers: 0}\n"           \
    "train: {epochs: 1, log_every: 1}\n"
#define HEAD                                                                             \
    "name: tiny\n"                                                                       \
    "title: A tiny suite\n"                                                              \
    "config: tiny-config.yaml\n"
#define GRID                                                                             \
    "grid:\n"                                                                            \
    "  rule: {SGD: {optim.name: sgd}, Adam: {optim.name: adam}}\n"                       \
    "  lr: {optim.lr: [0.01, 0.001]}\n"
#define SUITE                                                                            \
    HEAD GRID                                                                            \
    "scales:\n"                                                                          \
    "  once: {about: one epoch}\n"                                                       \
    "  twice: {compare: false, set: {train.epochs: 2}, seeds: [1, 2, 3]}\n"              \
    "published: {'SGD-*': 50, Adam-lr0.01: 40}\n"                                        \
    "figures:\n"                                                                         \
    "  - {x: epoch, y: train_loss, lines: lr, panels: rule}\n"                           \
    "  - {x: lr, y: test_accuracy, lines: rule}\n"

static const char *text_in(const char *name, char *text, size_t room)
{
    FILE *f = fopen(in_folder(name), "r");
    const size_t n = f ? fread(text, 1, room - 1, f) : 0;
    text[n] = 0;
    if (f)
        fclose(f);
    return text;
}

static void put_text(const char *name, const char *text) { put_file(name, text, strlen(text)); }

static const char *program(void)
{
    const char *bin = getenv("TENON_BIN");
    return bin ? bin : TN_PROGRAM;
}

#define suite(...) tenon("suite " __VA_ARGS__)

static int count(const char *text, const char *words)
{
    int n = 0;
    for (const char *at = text; (at = strstr(at, words)); at++)
        n++;
    return n;
}

static int begin(void **state)
{
    if (folder_begin(state))
        return 1;
    put_text("tiny-config.yaml", CONFIG);
    put_text("tiny.yaml", SUITE);
    return 0;
}

/* ---- what it does ---- */

static void test_dry_run(void **state)
{
    (void)state;
    expect(0, suite("tiny.yaml --dry-run --out dry --jobs 2"));
    assert_int_equal(count(output, "to do\n"), 4);
    expect_words(output, "4 runs to do in dry, 2 at once");
    expect_words(output, "8 updates, about ");
    expect_words(output, "ms of SGD-lr0.01-seed1");
    assert_false(exists("dry"));
    expect(0, suite("tiny.yaml --dry-run --scale twice --only 'Adam-lr0.01-*'"));
    expect_words(output, "3 runs to do in runs/tiny-twice");
    expect_words(output, "12 updates");
    expect(0,
           suite("tiny.yaml --dry-run --only 'SGD*' --set data.name=mnist --set data.root=none"));
    expect_words(output, "2 runs to do");
    expect_words(output, "no estimate of the time: ");
}

static void test_runs_and_skips(void **state)
{
    (void)state;
    char text[4096];
    expect(0, suite("tiny.yaml --out all --jobs 2"));
    expect_words(output, "4 runs in all, 0 done before; 2 at once");
    expect_words(output, "[4/4] ");
    expect_words(output, "one epoch");
    static const char *const runs[] = {"SGD-lr0.01", "SGD-lr0.001", "Adam-lr0.01", "Adam-lr0.001"};
    for (int i = 0; i < 4; i++) {
        char name[64];
        snprintf(name, sizeof name, "all/%s-seed1/model.safetensors", runs[i]);
        assert_true(exists(name));
    }
    static const char *const files[] = {
        "tiny-table.txt", "tiny-table.md", "tiny-train_loss-over-epoch.gp",
        "tiny-train_loss-over-epoch.csv", "tiny-test_accuracy-over-lr.gp"};
    for (int i = 0; i < 5; i++) {
        char name[64];
        snprintf(name, sizeof name, "all/%s", files[i]);
        assert_true(exists(name));
    }
    text_in("all/tiny-test_accuracy-over-lr.csv", text, sizeof text);
    expect_words(text, "\"lr\",\"SGD\",\"Adam\"\n0.001,");
    text_in("all/tiny-train_loss-over-epoch.csv", text, sizeof text);
    expect_words(text,
                 "\"epoch\",\"SGD lr0.01\",\"SGD lr0.001\",\"Adam lr0.01\",\"Adam lr0.001\"\n1,");

    expect(0, suite("tiny.yaml --out all"));
    expect_words(output, "4 done before");
    assert_int_equal(count(output, "[1/"), 0);

    assert_int_equal(system(strcat(strcpy(text, "rm -r "), in_folder("all/Adam-lr0.01-seed1"))), 0);
    expect(0, suite("tiny.yaml --out all --only 'SGD*'"));
    assert_false(exists("all/Adam-lr0.01-seed1"));
    expect(0, suite("tiny.yaml --out all"));
    expect_words(output, "3 done before");
    expect_words(output, "[1/1] Adam-lr0.01-seed1: ");

    expect(1, suite("tiny.yaml --out all --set train.epochs=2"));
    expect_words(
        errors,
        "all/SGD-lr0.01-seed1 holds a run with other settings (epochs: 1 there, epochs: 2 here)");
    expect(0, suite("tiny.yaml --out all --set train.epochs=2 --dry-run"));
    expect_words(output, "other settings: epochs: 1 there, epochs: 2 here");

    expect(1, suite("tiny.yaml --out nowhere --device cuda:99"));
    expect_words(errors, "cuda");
    assert_false(exists("nowhere/SGD-lr0.01-seed1"));
    expect(0, suite("tiny.yaml --out auto --only 'SGD-lr0.01-*' --device auto"));
    expect_words(text_in("auto/SGD-lr0.01-seed1/config.yaml", text, sizeof text), "device:\n  name: \"auto\"\n");
}

/* A scale's own settings of one item; a table of another metric beside the usual one. */
static void test_scales_and_metrics(void **state)
{
    (void)state;
    char text[4096];
    put_text("own.yaml", HEAD "runs:\n  SGD: {optim.name: sgd, optim.lr: 0.1}\n  Adam: {optim.name: adam}\n"
                         "scales:\n  a: {metric: test_loss}\n  b:\n    set: {optim.lr: 0.01}\n"
                         "    runs: {SGD: {optim.lr: 0.5, train.max_steps: 1}}\n");
    expect(0, suite("own.yaml --scale b --out own --quiet"));
    expect_words(text_in("own/SGD-seed1/config.yaml", text, sizeof text), "lr: 0.5");
    expect_words(text_in("own/SGD-seed1/config.yaml", text, sizeof text), "max_steps: 1");
    expect_words(text_in("own/Adam-seed1/config.yaml", text, sizeof text), "lr: 0.01");
    expect_words(text_in("own/tiny-table.txt", text, sizeof text), "test_accuracy in %");
    expect(0, suite("own.yaml --scale b --out own --quiet --metric train_loss"));
    expect_words(text_in("own/tiny-table-train_loss.txt", text, sizeof text), "; train_loss;");
    expect(0, suite("own.yaml --scale a --only SGD-* --out own-a --quiet"));
    expect_words(text_in("own-a/tiny-table.txt", text, sizeof text), "; test_loss;");
    expect(2, suite("own.yaml --scale b --dry-run --set train.max_steps=3"));
    expect_words(errors, "--set train.max_steps=3: the runs of tiny differ in this");
}

/* Panels of the runs that are done. */
static void test_histograms(void **state)
{
    (void)state;
    char text[4096];
    put_text("ridges.yaml", HEAD "runs:\n  SGD: {optim.name: sgd, optim.lr: 0.01}\n  Adam: {optim.name: adam}\n"
                            "scales:\n  a: {set: {train.histogram_steps: [1, 2]}}\n"
                            "figures: [{histograms: [Adam, SGD], name: two, title: Both, until: 1}]\n");
    expect(0, suite("ridges.yaml --out ridges --quiet"));
    expect_words(text_in("ridges/two.csv", text, sizeof text), "\"Adam 1\",\"SGD 1\"\n");
    expect_words(text_in("ridges/two.gp", text, sizeof text), "'Both'");
    put_text("wrong.yaml", HEAD "runs: {Adam: {}}\nfigures: [{histograms: [Adma]}]\n");
    expect(2, suite("wrong.yaml --dry-run"));
    expect_words(errors, "figures: histograms: there is no run Adma");
}

/* The numbers of the table are those of the metrics. */
static void test_table(void **state)
{
    (void)state;
    char text[4096], name[64];
    double last[3], mean = 0, squares = 0;
    expect(0, suite("tiny.yaml --out seeds --scale twice --only 'Adam-lr0.01-*' --quiet"));
    expect_words(output, "cannot be compared at this scale");
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "seeds/Adam-lr0.01-seed%d/metrics.jsonl", i + 1);
        text_in(name, text, sizeof text);
        const char *epoch = strstr(text, "\"epoch\":2,");
        assert_non_null(epoch);
        assert_int_equal(
            sscanf(strstr(epoch, "\"test_accuracy\":"), "\"test_accuracy\":%lf", &last[i]), 1);
        mean += 100 * last[i] / 3;
    }
    for (int i = 0; i < 3; i++)
        squares += (100 * last[i] - mean) * (100 * last[i] - mean) / 2;
    text_in("seeds/tiny-table.csv", text, sizeof text);
    expect_words(text,
                 "run,best of,published,best,std of best,difference,last,std of last,seeds\n");
    expect_words(text, "\n,SGD-*,50.00,,,,,,0\n");
    expect_words(text, "\nSGD-lr0.01,,,,,,,,0\n");
    char wanted[64];
    snprintf(wanted, sizeof wanted, ",,%.2f,%.2f,3\n", mean, sqrt(squares));
    expect_words(text, "\nAdam-lr0.01,,40.00,");
    expect_words(text, wanted);
}

static void test_difference(void **state)
{
    (void)state;
    char text[4096];
    double published, best, difference;
    expect(0, suite("tiny.yaml --out one --only 'Adam-lr0.01-*'"));
    text_in("one/tiny-table.csv", text, sizeof text);
    const char *row = strstr(text, "\nAdam-lr0.01,,");
    assert_non_null(row);
    assert_int_equal(sscanf(row, "\nAdam-lr0.01,,%lf,%lf,,%lf,", &published, &best, &difference),
                     3);
    assert_true(published == 40 && fabs(best - published - difference) < 0.011);
    expect_words(text_in("one/tiny-table.md", text, sizeof text),
                 "| run | best of | published | best |");
}

static void test_failed_run(void **state)
{
    (void)state;
    put_text("fails.yaml", HEAD "runs:\n  good: {optim.lr: 0.1}\n  bad: {optim.name: sdg}\n"
                                "  wild: {optim.lr: 1.0e+30}\n  fine: {optim.lr: 0.01}\n");
    expect(1, suite("fails.yaml --out fails --jobs 2"));
    assert_int_equal(count(errors, "bad-seed1: failed: tenon: "), 2);
    assert_int_equal(count(errors, "once more"), 2);
    expect_words(errors, "do you mean 'sgd'?");
    expect_words(errors, "wild-seed1: failed: tenon: step ");
    expect_words(errors, "2 of 4 runs failed: bad-seed1, wild-seed1");
    assert_true(exists("fails/good-seed1/model.safetensors") &&
                exists("fails/fine-seed1/model.safetensors"));
    assert_true(exists("fails/tiny-table.txt"));
}

static void wait_for(const char *name)
{
    for (int i = 0; i < 3000 && !exists(name); i++)
        usleep(10000);
    assert_true(exists(name));
}

static pid_t start(const char *out)
{
    const pid_t child = fork();
    if (child == 0) {
        const int err = open(in_folder("err"), O_WRONLY | O_CREAT | O_TRUNC, 0666);
        if (dup2(err, STDERR_FILENO) >= 0 && dup2(err, STDOUT_FILENO) >= 0 && chdir(folder) == 0)
            execl(program(), "tenon", "suite", "tiny.yaml", "--jobs", "2", "--out", out, "--set",
                  "train.epochs=20000", (char *)NULL);
        _exit(99);
    }
    return child;
}

/* Stopped runs have saved, and go on from there. */
static void test_interrupting(void **state)
{
    (void)state;
    char text[4096];
    int status = 0;
    const pid_t child = start("cut");
    wait_for("cut/SGD-lr0.01-seed1/checkpoint.safetensors");
    wait_for("cut/SGD-lr0.001-seed1/checkpoint.safetensors");
    kill(child, SIGINT);
    assert_int_equal(waitpid(child, &status, 0), child);
    text_in("err", errors, sizeof errors);
    expect(1, WIFEXITED(status) ? WEXITSTATUS(status) : -1);
    expect_words(errors, "the 2 runs under way finish their step and save");
    expect_words(errors, "the same command goes on where the runs were");
    assert_false(exists("cut/Adam-lr0.01-seed1"));
    assert_false(exists("cut/tiny-table.txt"));
    expect_words(text_in("cut/SGD-lr0.001-seed1/log.txt", text, sizeof text), "stopped at step ");
    expect(0, suite("tiny.yaml --out cut --dry-run --set train.epochs=20000"));
    assert_int_equal(count(output, "begun\n"), 2);

    const pid_t again = start("cut");
    for (int i = 0; i < 3000; i++) {
        if (strstr(text_in("cut/SGD-lr0.01-seed1/log.txt", output, sizeof output),
                   "resumed at step"))
            break;
        usleep(10000);
    }
    expect_words(output, "resumed at step");
    usleep(200000);
    kill(again, SIGTERM);
    assert_int_equal(waitpid(again, &status, 0), again);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
}

/* ---- what it refuses ---- */

static void refuse(const char *text, const char *words)
{
    put_text("wrong.yaml", text);
    expect(2, suite("wrong.yaml --dry-run"));
    expect_words(errors, words);
    assert_int_equal(count(errors, "\n"), 1);
}

static void test_wrong_files(void **state)
{
    (void)state;
    refuse(HEAD "scalse: {a: {}}\n" GRID,
           "wrong.yaml:4: scalse: unknown key; the nearest is scales");
    refuse(HEAD "scales:\n  a: {sett: {}}\n" GRID,
           "wrong.yaml:5: sett: unknown key; the nearest is set");
    refuse(HEAD "runs:\n  a: {optim.lrr: 1}\n",
           "wrong.yaml:5: optim.lrr: unknown key; the nearest is optim.lr");
    refuse(HEAD "runs:\n  a: {optim.lr: fast}\n", "wrong.yaml:5: optim.lr: a number is wanted");
    refuse(HEAD "grid:\n  lr: {optim.lr: [0.1, -2]}\n", "wrong.yaml:5: optim.lr: out of range");
    refuse(HEAD "runs:\n  a/b: {}\n", "wrong.yaml:5: at most 40 letters");
    refuse(HEAD "runs: {a: {}, a: {}}\n", "wrong.yaml:4: this key is given twice: (not 'a')");
    refuse(HEAD "runs: [a]\n", "wrong.yaml:4: keys and values are wanted");
    refuse(HEAD "runs: {}\n", "wrong.yaml:4: there are no runs");
    refuse(HEAD GRID "seeds: [1.5]\n", "a seed is a whole number");
    refuse(HEAD GRID "seeds: 1\n", "a list is wanted");
    refuse(HEAD GRID "published: {SGD: much}\n", "a number is wanted (not 'much')");
    refuse(HEAD GRID "figures: [{lines: lrr}]\n", "lrr");
    refuse(HEAD GRID "scales: {a: {runs: {Sgd: {optim.lr: 1}}}}\n", "scales: a: runs: there is no Sgd");
    refuse(HEAD, "grid (or runs) is missing");
    refuse("name: x\n" GRID, "config is missing");
    refuse("name: x\nconfig: none.yaml\n" GRID, "none.yaml: No such file");
    refuse("name: [\n", "not YAML");
    refuse("", "is empty");
    expect(2, suite("nowhere.yaml"));
    expect_words(errors, "nowhere.yaml: No such file");
    expect(2, suite("tiny.yaml --scale ones"));
    expect_words(errors, "once");
    expect(2, suite("tiny.yaml --only none"));
    expect_words(errors, "no run of tiny is called none");
    expect(2, suite("tiny.yaml --set optim.lr=1 --dry-run"));
    expect_words(errors, "--set optim.lr=1: the runs of tiny differ in this");
    expect(2, suite("tiny.yaml --set optim.lrr=1 --dry-run"));
    expect_words(errors, "optim.lrr");
}

/* The suites that come along are read, and have the runs of the paper. */
static void test_shipped(void **state)
{
    (void)state;
    static const struct shipped {
        const char *name, *scale;
        int runs;
    } shipped[] = {{"fig5-cifar10", "full", 3}, {"fig6", "full", 12},
                   {"fig7", "full-186", 20},    {"table1-cifar10", "full", 36},
                   {"fig6", "cifar-small", 12}, {"fig7", "full", 20},
                   {"fig1", "full", 5},         {"fig1", "small", 5},
                   {"fig2-3", "full", 5},       {"fig2-3", "small", 5},
                   {"table2-iwslt", "full", 20}, {"table2-iwslt", "small", 8},
                   {"table2-wmt16", "full", 2}, {"table2-wmt16", "small", 2}};
    for (size_t i = 0; i < sizeof shipped / sizeof *shipped; i++) {
        expect(0, suite("%s/experiments/%s.yaml --dry-run --scale %s --set data.root=none",
                        TN_SOURCE_DIR, shipped[i].name, shipped[i].scale));
        assert_int_equal(count(output, "to do\n"), shipped[i].runs);
    }
    expect(0, suite("%s/experiments/fig5-cifar10.yaml --dry-run --scale small", TN_SOURCE_DIR));
    expect_words(output, "2844 updates");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dry_run),     cmocka_unit_test(test_runs_and_skips),
        cmocka_unit_test(test_scales_and_metrics), cmocka_unit_test(test_histograms),
        cmocka_unit_test(test_table),       cmocka_unit_test(test_difference),
        cmocka_unit_test(test_failed_run),  cmocka_unit_test(test_interrupting),
        cmocka_unit_test(test_wrong_files), cmocka_unit_test(test_shipped),
    };
    unsetenv("TENON_DATA");
    return cmocka_run_group_tests_name("suite", tests, begin, folder_end);
}
