/* Runs that are killed, starved and tampered with, from outside: what goes on must give the bits of
 * a run that nothing happened to.  TENON_BIN names another binary. */
#define _GNU_SOURCE
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "real_data.h"
#include "murder.h"

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED true
#endif
#endif
#ifndef SANITIZED
#define SANITIZED false
#endif

/* Everything that has state: buffers, dropout, augmentation, a short last batch. */
#define CONFIG                                                                                \
    "name: tiny\n"                                                                            \
    "model: {name: stack, stack: 'conv2d 3 4 3 2, batch_norm2d 4, relu, flatten, "            \
    "dropout 0.1, linear 900 10'}\n"                                                          \
    "data: {name: shapes, count: 200, test_count: 40, batch: 32, workers: 0, "                \
    "augment: crop-flip}\n"                                                                   \
    "optim: {name: adam, lr: 0.001}\n"                                                        \
    "train: {epochs: 6, log_every: 1, checkpoint_every: 2 steps}\n"                           \
    "device: {name: cpu, threads: 1}\n"
enum { STEPS = 42 };

/* Also after a failure in test_small_disk. */
static int end(void **state)
{
    umount(in_folder("disk"));
    return folder_end(state);
}

static int begin(void **state)
{
    const int status = folder_begin(state);
    if (status == 0)
        put_file("tiny.yaml", CONFIG, strlen(CONFIG));
    return status;
}

/* ---- murder ---- */

static void test_murder(void **state)
{
    (void)state;
    murder("tiny.yaml", "sgd", STEPS, 15);
    murder("tiny.yaml", "adam", STEPS, 15);
    murder("tiny.yaml", "radam", STEPS, 15);
}

/* ---- every rule, any number of threads and workers ---- */

static void test_every_rule_goes_on(void **state)
{
    int n;
    const char *const *rules = tn_optimizers(&n);
    (void)state;
    for (int i = 0; i < n; i++) {
        const char *fixed = "--quiet --set optim.lr=0.001 --set train.checkpoint_every='1 epoch'";
        expect(0, tenon("train tiny.yaml --set optim.name=%s %s --set train.max_steps=11 --out a",
                        rules[i], fixed));
        expect(0, tenon("train tiny.yaml --set optim.name=%s %s --set train.max_steps=5 --out b",
                        rules[i], fixed));
        expect(0, tenon("train tiny.yaml --set optim.name=%s %s --set train.max_steps=11 --out b "
                        "--resume --threads 2 --set data.workers=2", rules[i], fixed));
        same_runs("a", "b", 11);
        shell("rm -r a b");
    }
}

/* Real images, killed in the middle of an epoch of ten updates. */
static void test_cifar10(void **state)
{
    char how[1200];
    (void)state;
    const char *dir = unpacked("cifar10", "cifar-10-batches-bin/batches.meta.txt");
    if (!dir)
        skip();
    snprintf(how, sizeof how, "train tiny.yaml --quiet --set data.name=cifar10 --set data.batch=5000 "
             "--set data.root=%s/cifar-10-batches-bin --set optim.name=radam --set train.max_steps=13", dir);
    expect(0, tenon("%s --out a --threads 2 --set data.workers=2", how));
    strcat(how, " --out b");
    const pid_t child = start("", how);
    for (int i = 0; i < 6000 && !exists("b/checkpoint.safetensors"); i++)
        usleep(10000);
    kill(child, SIGKILL);
    assert_int_equal(finish(child), -SIGKILL);
    expect(0, tenon("%s --resume --set data.workers=1", how));
    same_runs("a", "b", 13);
    shell("grep -q 'resumed at step' b/log.txt && rm -r a b");
}

/* ---- tampering ---- */

/* A run `name` that stands at step 10, checkpoint-1 at step 8. */
static void halfway(const char *name)
{
    expect(0, tenon("train tiny.yaml --out %s --quiet --set train.max_steps=10", name));
}

/* The run that nothing happened to, and the other after it was gone on with. */
static void goes_on_as_if_nothing_were(const char *name)
{
    if (access(in_folder("whole"), F_OK) != 0)
        expect(0, tenon("train tiny.yaml --out whole --quiet"));
    expect(0, tenon("train tiny.yaml --out %s --resume", name));
    same_runs("whole", name, STEPS);
}

static void damage(const char *name, int64_t at, int bit)
{
    FILE *f = fopen(in_folder(name), "r+b");
    assert_non_null(f);
    fseek(f, (long)at, SEEK_SET);
    const int byte = fgetc(f);
    fseek(f, (long)at, SEEK_SET);
    fputc(byte ^ 1 << bit, f);
    assert_int_equal(fclose(f), 0);
}

static void test_damaged_checkpoints(void **state)
{
    (void)state;
    struct stat s;
    halfway("good");
    assert_int_equal(stat(in_folder("good/checkpoint.safetensors"), &s), 0);
    for (int i = 0; i < 14; i++) {
        shell("rm -rf bad && cp -r good bad");
        const int64_t at = i < 7 ? dice(3000) : dice((uint32_t)s.st_size);
        if (i % 7 == 6)
            assert_int_equal(truncate(in_folder("bad/checkpoint.safetensors"), at), 0);
        else
            damage("bad/checkpoint.safetensors", at, (int)dice(8));
        expect(0, tenon("train tiny.yaml --out bad --resume --set train.max_steps=12"));
        expect_words(output, "refused: ");
        expect_words(output, "bad/checkpoint.safetensors");
        expect_words(output, "bad/checkpoint-1.safetensors is used instead");
        expect_words(output, "resumed at step 8");
        shell("test -e bad/checkpoint.safetensors.damaged");
    }
    goes_on_as_if_nothing_were("bad");
    shell("rm -r bad && cp -r good bad");
    damage("bad/checkpoint.safetensors", s.st_size - 1, 0);
    damage("bad/checkpoint-1.safetensors", s.st_size - 1, 0);
    for (int i = 0; i < 2; i++)
        expect_complaint(1, tenon("train tiny.yaml --out bad --resume"),
                         "no checkpoint is good, 2 refused");
    shell("rm -r bad && cp -r good bad && head -n 9 good/metrics.jsonl > bad/metrics.jsonl");
    expect(0, tenon("train tiny.yaml --out bad --resume --set train.max_steps=12"));
    expect_words(output, "metrics.jsonl has lost lines");
    goes_on_as_if_nothing_were("bad");
    shell("rm -r good bad");
}

static void test_changed_config(void **state)
{
    (void)state;
    halfway("changed");
    expect_complaint(1, 
        tenon("train tiny.yaml --out changed --resume --set seed=2 --set optim.lr=0.01 "
              "--set data.batch=16 --threads 2"),
        "another config: seed: 1 -> 2; data.batch: 32 -> 16; optim.lr: 0.001 -> 0.01;");
    expect(0, tenon("train changed --resume --threads 2 --set train.max_steps=11"));
    expect_words(output, "changed since the checkpoint: train.max_steps: 10 -> 11; "
                         "device.threads: 1 -> 2\n");
    goes_on_as_if_nothing_were("changed");
    const char *cosine = "--quiet --set schedule.name=cosine --out cosine";
    expect(0, tenon("train tiny.yaml %s --set train.epochs=1", cosine));
    expect_complaint(1, tenon("train tiny.yaml %s --resume", cosine), "schedule.total: 1 -> 6");
}

/* ---- signals and rivals ---- */

/* A run without end that has a checkpoint. */
static pid_t start_endless(const char *name)
{
    char arguments[256], checkpoint[64];
    snprintf(checkpoint, sizeof checkpoint, "%s/checkpoint.safetensors", name);
    snprintf(arguments, sizeof arguments, "train tiny.yaml --out %s --set train.epochs=100000",
             name);
    const pid_t child = start("", arguments);
    for (int i = 0; i < 3000 && access(in_folder(checkpoint), F_OK) != 0; i++)
        usleep(10000);
    return child;
}

/* Ends it; the step in the line that says how to go on. */
static int stop(pid_t child, int signal)
{
    int step = 0;
    shell(": >err");
    kill(child, signal);
    expect_complaint(1, finish(child), "go on with: tenon train ");
    assert_int_equal(sscanf(strstr(errors, "step "), "step %d", &step), 1);
    return step;
}

static void test_signals(void **state)
{
    static const int signals[] = {SIGINT, SIGTERM};
    (void)state;
    for (int i = 0; i < 2; i++) {
        const int step = stop(start_endless("stopped"), signals[i]), goal = step + 5;
        expect(0, tenon("train stopped --resume --set train.max_steps=%d", goal));
        char words[64];
        snprintf(words, sizeof words, "resumed at step %d,", step);
        expect_words(output, words);
        json_t *lines = metrics_of("stopped");
        every_step_once(lines, goal);
        json_decref(lines);
        expect(0, tenon("train tiny.yaml --quiet --set train.epochs=100000 --set "
                        "train.max_steps=%d --out straight", goal));
        shell("cmp stopped/model.safetensors straight/model.safetensors && rm -r stopped straight");
    }
}

static void test_one_process_at_a_time(void **state)
{
    (void)state;
    char words[64];
    const pid_t first = start_endless("mine");
    snprintf(words, sizeof words, "mine is in use by process %d;", (int)first);
    expect_complaint(1, tenon("train tiny.yaml --out mine --resume"), words);
    expect_complaint(1, tenon("train tiny.yaml --out mine --force"), words);
    expect_complaint(1, tenon("train tiny.yaml --out mine"), words);
    const int step = stop(first, SIGINT);
    expect(0, tenon("train mine --resume --quiet --set train.max_steps=%d", step + 1));
    json_t *lines = metrics_of("mine");
    every_step_once(lines, step + 1);
    json_decref(lines);
}

/* ---- disks, data, clocks ---- */

static void test_file_size_limit(void **state)
{
    (void)state;
    halfway("limited");
    expect_complaint(1, finish(start("ulimit -f 64 &&", "train tiny.yaml --out limited --resume")),
                     "File too large; when that is mended, go on from step 10 with: tenon train "
                     "limited --resume");
    goes_on_as_if_nothing_were("limited");
}

static void test_small_disk(void **state)
{
    (void)state;
    shell("mkdir disk");
    if (mount("none", in_folder("disk"), "tmpfs", 0, "size=800k") != 0) {
        print_message("no tmpfs can be mounted: %s\n", strerror(errno));
        skip();
    }
    halfway("disk/run");
    shell("head -c 1000000 /dev/zero > disk/ballast 2>/dev/null || true");
    expect_complaint(1, tenon("train tiny.yaml --out disk/run --resume"), "No space left on device");
    shell("rm disk/ballast && test -z \"$(ls disk/run | grep tmp-)\"");
    const bool sealed =
        mount("none", in_folder("disk"), "tmpfs", MS_REMOUNT | MS_RDONLY, "size=800k") == 0;
    const int status = tenon("train tiny.yaml --out disk/run --resume");
    mount("none", in_folder("disk"), "tmpfs", MS_REMOUNT, "size=800k");
    if (sealed)
        expect_complaint(1, status, "Read-only file system");
    goes_on_as_if_nothing_were("disk/run");
    umount(in_folder("disk"));
}

static const char fragile[] =
    "#include <math.h>\n"
    "#include <tenon.h>\n"
    "#include <unistd.h>\n"
    "static int given;\n"
    "static bool get(const tn_dataset *d, int64_t i, void *x, void *y)\n"
    "{\n"
    "    (void)d;\n"
    "    if (given++ > 150 && access(\"broken\", F_OK) == 0)\n"
    "        return tn_fail(TN_EIO, \"sample %d cannot be read\", (int)i), false;\n"
    "    for (int k = 0; k < 8; k++)\n"
    "        ((float *)x)[k] = sinf((float)(i * (k + 1)));\n"
    "    *(int64_t *)y = i % 4;\n"
    "    return true;\n"
    "}\n"
    "static const tn_dataset_class fragile = {\"fragile\", sizeof(tn_dataset), get, NULL};\n"
    "static tn_dataset *make(const tn_dataset_spec *s)\n"
    "{\n"
    "    tn_dataset *d = tn_dataset_new(&fragile);\n"
    "    if (!d)\n"
    "        return NULL;\n"
    "    d->len = s->count, d->x_ndim = 1, d->x_shape[0] = 8, d->classes = 4;\n"
    "    return d;\n"
    "}\n"
    "bool tenon_plugin(void) { return tn_register_dataset(\"fragile\", make); }\n";

static void test_data_that_fail(void **state)
{
    (void)state;
    const char *how = "train tiny.yaml --plugin ./fragile.so --set data.name=fragile --set "
                      "data.augment=none --set model.stack='linear 8 16, tanh, linear 16 4'";
    put_file("fragile.c", fragile, strlen(fragile));
    char command[512];
    snprintf(command, sizeof command,
             "cd %s && cc -shared -fPIC -I" TN_SOURCE_DIR "/include fragile.c -o fragile.so",
             folder);
    if (system(command) != 0)
        skip();
    expect(0, tenon("%s --out sound --quiet", how));
    put_file("broken", "", 0);
    expect_complaint(1, tenon("%s --out hurt --quiet", how), "cannot be read");
    expect_words(errors, "go on from step 4 with: tenon train hurt --resume");
    assert_int_equal(remove(in_folder("broken")), 0);
    expect(0, tenon("%s --out hurt --quiet --resume", how));
    same_runs("sound", "hurt", STEPS);
}

/* Each look at the wall clock finds it an hour earlier. */
static const char clock_shim[] =
    "#define _GNU_SOURCE\n"
    "#include <sys/syscall.h>\n"
    "#include <time.h>\n"
    "#include <unistd.h>\n"
    "static time_t now = 1900000000;\n"
    "time_t time(time_t *t) { now -= 3600; if (t) *t = now; return now; }\n"
    "int clock_gettime(clockid_t c, struct timespec *t)\n"
    "{\n"
    "    const int status = (int)syscall(SYS_clock_gettime, c, t);\n"
    "    if (c == CLOCK_REALTIME)\n"
    "        t->tv_sec = time(NULL);\n"
    "    return status;\n"
    "}\n";

static void test_clock_that_jumps(void **state)
{
    (void)state;
    put_file("clock.c", clock_shim, strlen(clock_shim));
    char command[256];
    snprintf(command, sizeof command, "cd %s && cc -shared -fPIC clock.c -o clock.so", folder);
    if (SANITIZED || system(command) != 0)
        skip();
    expect(0, finish(start("LD_PRELOAD=./clock.so", "train tiny.yaml --out jumpy --set "
                           "train.checkpoint_every='0.001 minutes'")));
    read_whole(in_folder("jumpy/metrics.jsonl"), output, sizeof output);
    for (char *line = strtok(output, "\n"); line; line = strtok(NULL, "\n")) {
        json_t *object = json_loads(line, 0, NULL);
        assert_non_null(object);
        const json_t *rate = json_object_get(object, "images_per_s");
        const json_t *seconds = json_object_get(object, "seconds");
        assert_true(rate ? json_number_value(rate) > 0 && isfinite(json_number_value(rate))
                         : json_number_value(seconds) >= 0 && json_number_value(seconds) < 60);
        json_decref(object);
    }
    goes_on_as_if_nothing_were("jumpy");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_murder),
        cmocka_unit_test(test_every_rule_goes_on),
        cmocka_unit_test(test_cifar10),
        cmocka_unit_test(test_damaged_checkpoints),
        cmocka_unit_test(test_changed_config),
        cmocka_unit_test(test_signals),
        cmocka_unit_test(test_one_process_at_a_time),
        cmocka_unit_test(test_file_size_limit),
        cmocka_unit_test(test_small_disk),
        cmocka_unit_test(test_data_that_fail),
        cmocka_unit_test(test_clock_that_jumps),
    };
    unsetenv("TENON_DATA");
    return cmocka_run_group_tests_name("resume", tests, begin, end);
}
