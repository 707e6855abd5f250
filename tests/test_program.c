/* The `tenon` program from outside: what it prints, writes and returns.  TENON_BIN names another
 * binary. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>

#include "program.h"

/* A network that trains in no time. */
#define SMALL                                                                                    \
    "name: small\n"                                                                              \
    "model: {name: mlp, hidden: 16, layers: 1}\n"                                                \
    "data: {name: shapes, count: 200, test_count: 60, batch: 32, workers: 2, augment: crop-flip}\n" \
    "optim: {name: adam, lr: 0.001}\n"                                                           \
    "train: {epochs: 3, log_every: 2}\n"

static double number(const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);
    if (!json_is_number(v))
        fail_msg("no number '%s' in: %s", key, output);
    return json_number_value(v);
}

static json_t *parse_output(void)
{
    json_t *object = json_loads(output, 0, NULL);
    if (!json_is_object(object))
        fail_msg("not JSON: %s", output);
    return object;
}

/* ---- usage ---- */

static void test_help(void **state)
{
    (void)state;
    static const char *const commands[] = {
        "train", "suite", "eval", "average", "translate", "score", "prepare", "tokenize", "detokenize", "bpe", "plot",
        "report", "convert", "simulate", "bench", "info"};
    expect(0, tenon("--help"));
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        expect_words(output, commands[i]);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        expect(0, tenon("%s --help", commands[i]));
        expect_words(output, "usage: tenon ");
        expect_words(output, commands[i]);
        expect_words(output, "Exit status");
    }
    expect(0, tenon("--version"));
    expect_words(output, tn_version());
    expect(0, tenon("train --help-config"));
    expect_words(output, "checkpoint_every");
}

static void test_wrong_usage(void **state)
{
    (void)state;
    expect_complaint(2, tenon(" "), "a command is wanted");
    expect_complaint(2, tenon("trian x"), "did you mean 'train'");
    expect_complaint(2, tenon("train"), "CONFIG is wanted");
    expect_complaint(2, tenon("train a b"), "'b' is one argument too many");
    expect_complaint(2, tenon("train a --ouut b"), "did you mean --out");
    expect_complaint(2, tenon("train a --out"), "--out wants a value");
    expect_complaint(2, tenon("train a --threads few"), "--threads wants a whole number");
    expect_complaint(2, tenon("train a --resume --force"), "exclude each other");
    expect_complaint(2, tenon("bench resnet21"), "did you mean resnet20");
    expect_complaint(2, tenon("bench gemm --steps 0"), "at least 1");
    expect_complaint(2, tenon("simulate fig7"), "did you mean fig");
    expect_complaint(2, tenon("info x"), "one argument too many");
}

static void test_failures(void **state)
{
    (void)state;
    write_text("small.yaml", SMALL);
    write_text("bad.yaml", "optim: {lrr: 1}\n");
    expect_complaint(1, tenon("train nowhere.yaml"), "nowhere.yaml: No such file");
    expect_complaint(1, tenon("train bad.yaml"),
                     "bad.yaml:1: optim.lrr: unknown key; the nearest is optim.lr");
    expect_complaint(1, tenon("train small.yaml --set model.name=resnet21 --out r1"), "resnet21");
    expect_complaint(1, tenon("train small.yaml --set data.name=shape --out r1"), "shapes");
    expect_complaint(1, tenon("train small.yaml --set optim.name=rdam --out r1"), "radam");
    expect_complaint(
        1, tenon("train small.yaml --set data.name=cifar10 --set data.root=none --out r1"), "none");
    expect_complaint(1, tenon("train small.yaml --set schedule.name=multistep --out r1"),
                     "schedule.at");
    expect_complaint(1, tenon("train small.yaml --set optim.betas=[0.9] --out r1"), "optim.betas");
    expect_complaint(1, tenon("train small.yaml --set optim.name=sgd --set optim.lr=1e30 --out r2"),
                     "the loss is not a number");
    expect_complaint(1, tenon("train small.yaml --plugin none.so"), "none.so");
    expect_complaint(1, tenon("train small.yaml --out bad.yaml/x"), "bad.yaml");
    expect_complaint(1, tenon("eval small.yaml"), "no weights");
    expect_complaint(1, tenon("eval r0"), "r0");
    expect_complaint(1, tenon("plot r0"), "r0/config.yaml");
    if (tn_cuda_trouble())
        expect_complaint(1, tenon("train small.yaml --device cuda --out r1"), "cuda: ");
    expect_complaint(1, tenon("train small.yaml --device cpu --set device.precision=bf16 --out r1"),
                     "precision: cpu computes in f32 alone; bf16 needs a GPU");
}

/* ---- train and eval ---- */

static void test_train_and_eval(void **state)
{
    (void)state;
    write_text("small.yaml", SMALL);
    expect(0, tenon("train small.yaml --set optim.momentum=0.5"));
    expect_words(output, "epoch 3/3");
    expect_words(output, "done: test accuracy");
    static const char *const files[] = {
        "config.yaml",       "metrics.jsonl",          "log.txt",
        "model.safetensors", "checkpoint.safetensors", "checkpoint-1.safetensors"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char name[64];
        snprintf(name, sizeof name, "runs/small/%s", files[i]);
        if (!exists(name))
            fail_msg("no %s", name);
    }
    read_whole(in_folder("runs/small/log.txt"), output, sizeof output);
    expect_words(output, "optim.momentum is no knob of adam: left out");
    read_whole(in_folder("runs/small/config.yaml"), output, sizeof output);
    expect_words(output, "classes: 10");
    expect_words(output, "betas: [0.9, 0.999]");
    read_whole(in_folder("runs/small/metrics.jsonl"), output, sizeof output);
    char *last = strstr(output, "\"epoch\":3,");
    assert_non_null(last);
    assert_non_null(strstr(output, "\"images_per_s\""));
    double recorded = NAN;
    sscanf(strstr(last, "\"test_accuracy\":"), "\"test_accuracy\":%lf", &recorded);

    expect_complaint(1, tenon("train small.yaml"), "runs/small holds a run");
    expect(0, tenon("eval runs/small --json"));
    json_t *score = parse_output();
    assert_true(fabs(number(score, "test_accuracy") - recorded) < 1e-8);
    assert_true(number(score, "samples") == 60);
    json_decref(score);
    expect(0, tenon("eval small.yaml --set model.init_from=runs/small/model.safetensors"));
    expect_words(output, "accuracy");
    expect(0, tenon("eval small.yaml --weights runs/small/checkpoint.safetensors"));

    expect(0, tenon("train small.yaml --force --json --threads 1"));
    json_t *result = parse_output();
    assert_true(fabs(number(result, "test_accuracy") - recorded) < 1e-8);
    assert_true(number(result, "step") == 21);
    json_decref(result);
    expect(0, tenon("train small.yaml --out quiet --quiet"));
    assert_string_equal(output, "");
    assert_true(same_files("quiet/model.safetensors", "runs/small/model.safetensors"));
}

/* One line that is written over and over; elsewhere nothing of the kind. */
static void test_progress_on_a_terminal(void **state)
{
    (void)state;
    static char shown[1 << 16];
    static const char *const parts[] = {"\repoch 1/2  step ", "/1200  loss ", " accuracy ", " % ", " images/s  data ",
                                        ":", " left\033[K", "\r\033[K", "epoch 2/2  step 1200  lr ", "done: test accuracy "};
    const char *bin = getenv("TENON_BIN");
    const int terminal = posix_openpt(O_RDWR | O_NOCTTY);
    if (terminal < 0 || grantpt(terminal) != 0 || unlockpt(terminal) != 0)
        skip();
    write_text("small.yaml", SMALL);
    const pid_t child = fork();
    if (child == 0) {
        const int out = open(ptsname(terminal), O_WRONLY | O_NOCTTY);
        if (chdir(folder) == 0 && out >= 0 && dup2(out, STDOUT_FILENO) >= 0)
            execl(bin ? bin : TN_PROGRAM, "tenon", "train", "small.yaml", "--out", "shown", "--set", "train.epochs=2",
                  "--set", "data.count=19200", (char *)NULL);
        _exit(99);
    }
    size_t n = 0;
    int status;
    for (ssize_t got; n < sizeof shown - 1 && (got = read(terminal, shown + n, sizeof shown - 1 - n)) > 0;)
        n += (size_t)got;
    shown[n] = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    close(terminal);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        expect_words(shown, parts[i]);
    expect(0, tenon("train small.yaml --out plain"));
    assert_null(strchr(output, '\r'));
}

static void test_every_rule_trains(void **state)
{
    (void)state;
    int n;
    const char *const *rules = tn_optimizers(&n);
    write_text("small.yaml", SMALL);
    for (int i = 0; i < n; i++)
        expect(0, tenon("train small.yaml --set optim.name=%s --set train.epochs=1 --out rule-%s "
                        "--set train.clip_norm=1 --set train.label_smoothing=0.1 --set "
                        "schedule.name=cosine "
                        "--set schedule.per=update",
                        rules[i], rules[i]));
}

/* ---- stopping and going on ---- */

static void test_resume_gives_the_same_bytes(void **state)
{
    (void)state;
    write_text("small.yaml", SMALL);
    expect(0, tenon("train small.yaml --out whole --quiet"));
    expect(0, tenon("train small.yaml --out parts --set train.max_steps=10"));
    expect(0, tenon("train small.yaml --out parts --resume"));
    expect_words(output, "resumed at step 10, epoch 2");
    assert_true(same_files("whole/model.safetensors", "parts/model.safetensors"));
    expect(0, tenon("train parts --resume")); /* nothing is left to do */
    assert_true(same_files("whole/model.safetensors", "parts/model.safetensors"));
    char whole[sizeof output];
    read_whole(in_folder("whole/metrics.jsonl"), whole, sizeof whole);
    read_whole(in_folder("parts/metrics.jsonl"), output, sizeof output);
    int lines[2] = {0, 0};
    for (const char *p = whole; (p = strchr(p, '\n')); p++)
        lines[0]++;
    for (const char *p = output; (p = strchr(p, '\n')); p++)
        lines[1]++;
    assert_int_equal(lines[0], lines[1]);
}

static void test_threads_and_workers_do_not_show(void **state)
{
    (void)state;
    write_text("net.yaml", SMALL "schedule: {name: cosine, per: update}\n");
    static const char net[] =
        "--quiet --set model.name=resnet20 --set model.width=4 --set data.count=96 "
        "--set optim.name=radam";
    expect(0, tenon("train net.yaml %s --out t2 --threads 2", net));
    expect(0, tenon("train net.yaml %s --out t1 --threads 1 --set data.workers=0", net));
    assert_true(same_files("t1/model.safetensors", "t2/model.safetensors"));
    expect(0, tenon("train net.yaml %s --out t3 --set train.checkpoint_every='2 steps' --set "
                    "data.workers=3",
                    net));
    assert_int_equal(remove(in_folder("t3/checkpoint.safetensors")),
                     0); /* the one before is of step 8 */
    expect(0, tenon("train t3 --resume"));
    expect_words(output, "resumed at step 8, epoch 3");
    assert_true(same_files("t3/model.safetensors", "t2/model.safetensors"));
}

static void test_damaged_checkpoint(void **state)
{
    (void)state;
    write_text("small.yaml", SMALL);
    expect(0, tenon("train small.yaml --out first --set train.epochs=2 --quiet"));
    assert_int_equal(truncate(in_folder("first/checkpoint.safetensors"), 3000), 0);
    expect(0, tenon("train small.yaml --out first --resume"));
    expect_words(output, "refused: safetensors: first/checkpoint.safetensors");
    expect_words(output, "resumed at step 7, epoch 2");
    expect(0, tenon("train small.yaml --out straight --quiet"));
    assert_true(same_files("first/model.safetensors", "straight/model.safetensors"));
    assert_int_equal(truncate(in_folder("first/checkpoint.safetensors"), 3000), 0);
    assert_int_equal(truncate(in_folder("first/checkpoint-1.safetensors"), 3000), 0);
    expect_complaint(1, tenon("train small.yaml --out first --resume"),
                     "no checkpoint is good, 2 refused");
    expect_complaint(1, tenon("train small.yaml --out straight --resume --set model.hidden=17"),
                     "model.hidden: 16 -> 17");
}

static void wait_for(const char *name)
{
    for (int i = 0; i < 3000 && !exists(name); i++)
        usleep(10000);
    assert_true(exists(name));
}

static void test_interrupting(void **state)
{
    (void)state;
    const char *bin = getenv("TENON_BIN");
    write_text("small.yaml", SMALL);
    const pid_t child = fork();
    if (child == 0) {
        const int err = open(in_folder("err"), O_WRONLY | O_CREAT | O_TRUNC, 0666);
        if (dup2(err, STDERR_FILENO) >= 0 && chdir(folder) == 0)
            execl(bin ? bin : TN_PROGRAM, "tenon", "train", "small.yaml", "--out", "cut", "--quiet",
                  "--set", "train.epochs=100000", (char *)NULL);
        _exit(99);
    }
    int status = 0;
    wait_for("cut/checkpoint.safetensors");
    kill(child, SIGINT);
    assert_int_equal(waitpid(child, &status, 0), child);
    read_whole(in_folder("err"), errors, sizeof errors);
    expect_complaint(1, WIFEXITED(status) ? WEXITSTATUS(status) : -1,
                     "go on with: tenon train cut --resume");
    long long step = 0;
    assert_int_equal(sscanf(strstr(errors, "step "), "step %lld", &step), 1);
    const long long goal = step + 10;
    expect(0, tenon("train cut --resume --quiet --set train.max_steps=%lld", goal));
    expect(0, tenon("train small.yaml --out uncut --quiet --set train.epochs=100000 "
                    "--set train.max_steps=%lld", goal));
    assert_true(same_files("cut/model.safetensors", "uncut/model.safetensors"));
}

/* ---- anybody's data, rules and networks ---- */

static void test_arrays(void **state)
{
    (void)state;
    enum { N = 300 };
    TN_SCOPE {
        tn_seed(3);
        tn_tensor *x = tn_randn(0, 1, TN_SHAPE(N, 4)), *y = tn_zeros(TN_SHAPE(N));
        for (int64_t i = 0; i < N; i++)
            tn_f32(y)[i] = tn_f32(x)[4 * i] > 0 ? 1.0f : 0.0f;
        tn_save_npy(x, in_folder("x.npy"));
        tn_save_npy(tn_cast(y, TN_I64), in_folder("y.npy"));
    }
    assert_ok();
    expect(0, tenon("train " TN_SOURCE_DIR "/experiments/arrays.yaml --set data.test_x=x.npy "
                    "--set data.test_y=y.npy --set optim.lr=0.01 --json"));
    json_t *result = parse_output();
    assert_true(number(result, "test_accuracy") > 0.95);
    json_decref(result);
    expect_complaint(
        1, tenon("train " TN_SOURCE_DIR "/experiments/arrays.yaml --set data.x=z.npy --out z"),
        "z.npy");
}

static const char plugin[] =
    "#include <tenon.h>\n"
    "static bool update(const tn_update *u)\n"
    "{\n"
    "    for (int64_t i = 0; i < u->n; i++)\n"
    "        u->p[i] -= (float)u->h.lr * u->g[i];\n"
    "    return true;\n"
    "}\n"
    "static const tn_optim_class plain = {.name = \"plain\", .defaults = {.lr = 0.1}, .update = "
    "update};\n"
    "static tn_module *make(const tn_model_spec *s)\n"
    "{\n"
    "    return tn_seq(tn_flatten_layer(), tn_linear(s->in[0] * s->in[1] * s->in[2], "
    "s->classes));\n"
    "}\n"
    "bool tenon_plugin(void)\n"
    "{\n"
    "    return tn_register_optimizer(&plain) && tn_register_model(\"line\", make);\n"
    "}\n";

static void test_plugin(void **state)
{
    (void)state;
    char command[1024];
    write_text("small.yaml", SMALL);
    write_text("mine.c", plugin);
    write_text("empty.c", "int nothing;\n");
    snprintf(command, sizeof command,
             "cd %s && cc -std=gnu11 -shared -fPIC -I" TN_SOURCE_DIR "/include "
             "mine.c -o mine.so && cc -shared -fPIC empty.c -o empty.so",
             folder);
    if (system(command) != 0)
        skip();
    expect(0,
           tenon("train small.yaml --plugin mine.so --set optim.name=plain --set model.name=line "
                 "--set optim.lr=0.01 --out mine"));
    expect(0, tenon("eval mine --plugin ./mine.so"));
    expect_complaint(1, tenon("eval mine"), "line");
    expect_complaint(1, tenon("train small.yaml --plugin empty.so"), "tenon_plugin");
}

/* ---- tables and figures ---- */

static void test_plot(void **state)
{
    (void)state;
    write_text("small.yaml", SMALL);
    expect(0, tenon("train small.yaml --out one --quiet"));
    expect(0,
           tenon("train small.yaml --out two --quiet --set optim.name=sgd --set train.epochs=2"));
    expect(0, tenon("plot one two/ --out figures/a.png"));
    expect_words(output, "one");
    expect_words(output, "adam");
    expect_words(output, "sgd");
    assert_true(exists("figures/a.csv") && exists("figures/a.gp"));
    if (system("gnuplot --version >/dev/null 2>&1") == 0)
        assert_true(exists("figures/a.png") && exists("figures/a.svg"));
    expect(0, tenon("plot one two --metric loss --x step"));
    assert_true(exists("loss.csv"));
    expect_complaint(1, tenon("plot one --metric nothing"), "no line has both epoch and nothing");
    char *path = strdup(getenv("PATH"));
    setenv("PATH", "/nonexistent", 1);
    const int status = tenon("plot one --out b");
    setenv("PATH", path, 1);
    free(path);
    expect(0, status);
    expect_words(output, "apt install gnuplot");
    assert_true(exists("b.csv") && !exists("b.png"));
}

static void test_fig8(void **state)
{
    (void)state;
    static const double published[][3] = {
        {5, .251956, .833333},      {6, .174641, .375},          {7, .132419, .233333},
        {8, .106149, .166667},      {10, .075546, .104167},      {20, .0304241, .0347222},
        {50, .0107936, .0113225},   {100, .00519282, .00531463}, {200, .00254753, .00257679},
        {500, .00100754, .00101211}};
    expect(0, tenon("simulate fig8 --out f8"));
    FILE *f = fopen(in_folder("f8/fig8.csv"), "r");
    assert_non_null(f);
    char line[256];
    size_t next = 0;
    double v[4];
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "%lf,%lf,%lf,%lf", &v[0], &v[1], &v[2], &v[3]) == 4 &&
            v[0] == published[next][0]) {
            assert_true(fabs(v[1] / published[next][1] - 1) < 1e-5);
            assert_true(fabs(v[2] / published[next][2] - 1) < 1e-5);
            assert_true(fabs(v[3] - fabs(v[1] - v[2])) < 1e-8);
            if (++next == sizeof published / sizeof *published)
                break;
        }
    fclose(f);
    assert_int_equal(next, sizeof published / sizeof *published);
}

/* Columns: t, Var psi for mu 0, 0.001, 0.01, 0.1, 1, 10, then Var r psi for the same. */
static void test_fig9(void **state)
{
    (void)state;
    static const double wanted[][5] = { /* t; psi at mu 0, 1; r psi at mu 0, 10 */
        {10, .076, .0266, 1.83e-4, 2.3e-8},
        {100, .0052, .00195, 2.42e-4, 4.5e-8},
        {1000, 5.3e-4, 2.1e-4, 2.2e-4, 4.4e-8},
        {6000, 2.55e-4, 9.55e-5, 2.52e-4, 4.9e-8}};
    expect(0, tenon("simulate fig9 --out f9 --threads 2"));
    expect(0, tenon("simulate fig9 --out f9-one --threads 1"));
    assert_true(same_files("f9/fig9.csv", "f9-one/fig9.csv"));
    FILE *f = fopen(in_folder("f9/fig9.csv"), "r");
    assert_non_null(f);
    char line[512];
    size_t next = 0;
    while (next < 4 && fgets(line, sizeof line, f)) {
        double v[13] = {0};
        int n = 0;
        for (char *p = line, *end; n < 13; p = end + (*end == ',')) {
            v[n] = strtod(p, &end);
            if (end == p)
                break;
            n++;
        }
        if (n < 13 || v[0] != wanted[next][0])
            continue;
        const double found[] = {v[1], v[5], v[7], v[12]};
        for (int k = 0; k < 4; k++)
            if (fabs(found[k] / wanted[next][k + 1] - 1) > 0.12)
                fail_msg("t %g, column %d: %g, not %g", v[0], k, found[k], wanted[next][k + 1]);
        next++;
    }
    fclose(f);
    assert_int_equal(next, 4);
}

/* ---- the machine ---- */

static void test_info(void **state)
{
    (void)state;
    expect(0, tenon("info"));
    expect_words(output, tn_isa());
    expect(0, tenon("info --json"));
    json_t *info = parse_output();
    assert_string_equal(json_string_value(json_object_get(info, "version")), tn_version());
    assert_true(number(info, "threads") >= 1);
    assert_true(json_array_size(json_object_get(info, "optimizers")) >= 8);
    assert_true(json_is_object(json_object_get(info, "cuda")));
    json_decref(info);
}

static void test_bench(void **state)
{
    (void)state;
    static const char *const benches[] = {"peak", "gemm", "optim --optim radam", "transformer --batch 1",
                                          "lstm --batch 2 --vocab 5000 --hidden 8", "resnet20 --batch 8",
                                          "resnet18 --batch 1"};
    static const char *const keys[] = {"ms_median", "ms_min",      "rate",
                                       "gflops",    "peak_rss_mb", "threads"};
    for (size_t i = 0; i < sizeof benches / sizeof *benches; i++) {
        expect(0, tenon("bench %s --steps 2 --warmup 1 --json", benches[i]));
        json_t *result = parse_output();
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
            assert_true(number(result, keys[k]) >= 0);
        assert_true(number(result, "ms_min") > 0);
        assert_true(number(result, "ms_min") <= number(result, "ms_median"));
        json_decref(result);
    }
    expect(0, tenon("bench gemm --steps 2"));
    expect_words(output, "GFLOP/s");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_help),
        cmocka_unit_test(test_wrong_usage),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_train_and_eval),
        cmocka_unit_test(test_progress_on_a_terminal),
        cmocka_unit_test(test_every_rule_trains),
        cmocka_unit_test(test_resume_gives_the_same_bytes),
        cmocka_unit_test(test_threads_and_workers_do_not_show),
        cmocka_unit_test(test_damaged_checkpoint),
        cmocka_unit_test(test_interrupting),
        cmocka_unit_test(test_arrays),
        cmocka_unit_test(test_plugin),
        cmocka_unit_test(test_plot),
        cmocka_unit_test(test_fig8),
        cmocka_unit_test(test_fig9),
        cmocka_unit_test(test_info),
        cmocka_unit_test(test_bench),
    };
    unsetenv("TENON_DATA");
    return cmocka_run_group_tests_name("program", tests, folder_begin, folder_end);
}
