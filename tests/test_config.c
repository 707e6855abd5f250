/* Configs: what is accepted, what is refused with which words, and that writing reads back. */
#define _GNU_SOURCE
#include "../experiments/config.h"

#include <dirent.h>
#include <math.h>
#include <stdlib.h>

#include "check.h"

static config c;

static bool read_text(const char *yaml)
{
    config_defaults(&c);
    return config_read(&c, "x.yaml", yaml, strlen(yaml));
}

static void test_defaults_are_in_range(void **state)
{
    (void)state;
    config_defaults(&c);
    assert_string_equal(c.model.name, "resnet20");
    assert_int_equal(c.top.seed, 1);
    assert_true(isnan(c.optim.momentum));
    assert_int_equal(c.optim.betas.n, 0);
    assert_true(c.schedule.factor == 0.1);
    assert_int_equal(c.train.checkpoint_every.unit, CONFIG_EPOCHS);
    assert_true(c.train.checkpoint_every.every == 1);
    assert_true(read_text(""));
    assert_true(read_text("# nothing\n"));
    assert_true(read_text("{}"));
}

static void test_the_documented_shape(void **state)
{
    (void)state;
    assert_true(read_text(
        "name: cifar10-radam\n"
        "seed: 1\n"
        "model:    {name: resnet20, classes: 10, init_from: \"\"}\n"
        "data:     {name: cifar10, root: cifar-10-batches-bin, batch: 128, workers: 2, augment: "
        "crop-flip}\n"
        "optim:    {name: radam, lr: 0.03, betas: [0.9, 0.999], eps: 1.0e-8, weight_decay: 1.0e-4, "
        "warmup_steps: 0}\n"
        "schedule: {name: multistep, at: [81, 122], factor: 0.1}\n"
        "train:    {epochs: 164, max_steps: 0, clip_norm: 0, log_every: 50, checkpoint_every: 1 "
        "epoch, "
        "keep: 2}\n"
        "device:   {name: auto, threads: 0, precision: f32}\n"));
    assert_string_equal(c.top.name, "cifar10-radam");
    assert_string_equal(c.data.augment, "crop-flip");
    assert_true(c.optim.lr == 0.03 && c.optim.eps == 1e-8);
    assert_true(c.optim.betas.n == 2 && c.optim.betas.at[1] == 0.999);
    assert_true(c.schedule.at.n == 2 && c.schedule.at.at[1] == 122);
    assert_int_equal(c.train.epochs, 164);
}

/* A suite names the config that its runs begin with; test_suite.c reads those. */
static bool is_suite(const char *path)
{
    char line[512];
    bool found = false;
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (!found && fgets(line, sizeof line, f))
        found = !strncmp(line, "config:", strlen("config:"));
    fclose(f);
    return found;
}

static void test_committed_configs(void **state)
{
    (void)state;
    int n = 0;
    DIR *d = opendir(TN_SOURCE_DIR "/experiments");
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        char path[512];
        if (!tn_match("*.yaml", e->d_name))
            continue;
        snprintf(path, sizeof path, TN_SOURCE_DIR "/experiments/%s", e->d_name);
        if (is_suite(path))
            continue;
        config_defaults(&c);
        if (!config_read_file(&c, path))
            fail_msg("%s", tn_error()->text);
        n++;
    }
    closedir(d);
    assert_true(n >= 4);
}

/* yaml is refused with the words. */
static const struct refused {
    const char *yaml, *words;
} refusals[] = {
    {"optim:\n  lrr: 0.1\n", "x.yaml:2: optim.lrr: unknown key; the nearest is optim.lr"},
    {"optim: {lr: 1}\nmodle: {name: x}\n", "x.yaml:2: modle: unknown key; the nearest is model"},
    {"model: {name: a}\ntrain:\n  epochs: 3\n  lr: 1\n",
     "x.yaml:4: train.lr: unknown key; the nearest is optim.lr"},
    {"optim: {lr: fast}", "x.yaml:1: optim.lr: a number is wanted"},
    {"optim: {lr: -1}", "optim.lr: out of range 0.. (not '-1')"},
    {"optim: {lr: .nan}", "optim.lr: a number is wanted"},
    {"optim: {lr: 1e999}", "optim.lr: a number is wanted"},
    {"optim: {lr: }", "optim.lr: a value is wanted"},
    {"optim: {lr: [1]}", "optim.lr: one value is wanted, not a list"},
    {"optim: {lr: {a: 1}}", "optim.lr: a value is wanted, not a mapping"},
    {"optim: {nesterov: maybe}", "optim.nesterov: true or false is wanted"},
    {"optim: {betas: 0.9}", "optim.betas: a list is wanted"},
    {"optim: {betas: [0.9, 2]}", "optim.betas: out of range 0..1"},
    {"optim: {betas: [0.9, [1]]}", "optim.betas: a list of numbers is wanted"},
    {"schedule: {at: [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]}",
     "schedule.at: at most 16 numbers are wanted"},
    {"schedule: {name: linaer}",
     "one of these is wanted: constant|multistep|linear|inverse_sqrt|cosine"},
    {"train: {epochs: 3.5}", "train.epochs: a whole number is wanted"},
    {"train: {epochs: -1}", "train.epochs: out of range 0.."},
    {"train: {update_freq: 0}", "train.update_freq: out of range 1.."},
    {"train: {bleu: 10}", "train.bleu: a list is wanted"},
    {"train: {bleu: [0]}", "train.bleu: out of range 1.."},
    {"data: {max_token: 3}", "unknown key; the nearest is data.max_tokens"},
    {"data: {multiple: 0}", "data.multiple: out of range 1..1024"},
    {"model: {norm: middle}", "one of these is wanted: post|pre"},
    {"model: {share: encoder}", "one of these is wanted: none|decoder|all"},
    {"model: {dropout: 2}", "model.dropout: out of range 0..1"},
    {"train: {epochs: 99999999999999999999}", "a whole number is wanted"},
    {"train: {checkpoint_every: 3 weeks}", "checkpoint_every: \"1 epoch\""},
    {"train: {checkpoint_every: 0 steps}", "checkpoint_every: \"1 epoch\""},
    {"train: {checkpoint_every: 1.5 epochs}", "checkpoint_every: \"1 epoch\""},
    {"train: {epochs: 1, epochs: 2}", "epochs: given twice"},
    {"train: {epochs: 1}\ntrain: {keep: 2}", "x.yaml:2: train: given twice"},
    {"train: 3", "x.yaml:1: train: a section is wanted"},
    {"train:", "train: a section is wanted"},
    {"[1, 2]", "keys and values are wanted"},
    {"name: a\n---\nname: b", "one document is wanted"},
    {"train: {? [a] : 2}", "train: keys are words"},
    {"optim: {lr: 1\nname: b: c", "not YAML"},
    {"name: *x", "not YAML"},
    {"name: \"a\\0b\"", "a zero byte in the text"},
    {"device: {precision: f16}", "one of these is wanted: f32"},
};

static void test_translation(void **state)
{
    (void)state;
    config_defaults(&c);
    assert_true(config_read_file(&c, TN_SOURCE_DIR "/experiments/iwslt14.yaml"));
    assert_string_equal(c.model.name, "transformer");
    assert_string_equal(c.model.norm, "post");
    assert_string_equal(c.model.share, "none");
    assert_string_equal(c.optim.threshold, "rho > 4");
    assert_true(c.model.dim == 512 && c.model.dropout == 0.3 && c.model.attention_dropout == 0);
    assert_true(c.data.max_tokens == 4000 && c.data.multiple == 8 && c.data.longest == 0);
    assert_true(c.train.epochs == 0 && c.train.max_steps == 70000 && c.train.update_freq == 1);
    assert_true(c.schedule.warmup == 1 && c.schedule.init == c.optim.lr && c.train.clip_norm == 25);
    assert_true(c.train.histogram_steps.n == 9 && c.train.bleu.n == 0);
    assert_true(config_set(&c, "train.bleu=[10, 20]") && c.train.bleu.at[1] == 20);
}

static void test_refusals(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        if (read_text(refusals[i].yaml))
            fail_msg("accepted: %s", refusals[i].yaml);
        if (!strstr(tn_error()->text, refusals[i].words))
            fail_msg("%s\nsays: %s\nnot: %s", refusals[i].yaml, tn_error()->text,
                     refusals[i].words);
        tn_error_clear();
    }
}

static void test_long_text_and_large_file(void **state)
{
    (void)state;
    static char yaml[CONFIG_TEXT + 16] = "name: ";
    memset(yaml + 6, 'a', CONFIG_TEXT);
    assert_false(read_text(yaml));
    expect_error(TN_EARG, "too long");
    char path[] = "/tmp/tenon-config-XXXXXX";
    const int fd = mkstemp(path);
    FILE *f = fdopen(fd, "w");
    for (int i = 0; i < 1 << 20; i++)
        fputc('#', f);
    fclose(f);
    assert_false(config_read_file(&c, path));
    expect_error(TN_EFORMAT, "larger than a config");
    remove(path);
    assert_false(config_read_file(&c, path));
    expect_error(TN_EIO, path);
}

static void test_set(void **state)
{
    (void)state;
    config_defaults(&c);
    assert_true(config_set(&c, "optim.lr=3e-4") && c.optim.lr == 3e-4);
    assert_true(config_set(&c, "optim.threshold=rho>4"));
    assert_string_equal(c.optim.threshold, "rho > 4");
    assert_true(config_set(&c, "schedule.at=[1, 2.5]") && c.schedule.at.at[1] == 2.5);
    assert_true(config_set(&c, "data.root=/a,b c"));
    assert_string_equal(c.data.root, "/a,b c");
    assert_true(config_set(&c, "data.root="));
    assert_string_equal(c.data.root, "");
    assert_true(config_set(&c, "name=other"));
    assert_string_equal(c.top.name, "other");
    assert_true(config_set(&c, "train.checkpoint_every=10 minutes"));
    assert_int_equal(c.train.checkpoint_every.unit, CONFIG_MINUTES);
    assert_true(config_set(&c, "optim.nesterov=true") && c.optim.nesterov);
    assert_false(config_set(&c, "optim.lrr=1"));
    expect_error(TN_EARG, "--set: optim.lrr: unknown key; the nearest is optim.lr");
    assert_false(config_set(&c, "lr=1"));
    expect_error(TN_EARG, "--set: lr: unknown key; the nearest is optim.lr");
    assert_false(config_set(&c, "optim.lr"));
    expect_error(TN_EARG, "section.key=value is wanted");
    assert_false(config_set(&c, "optim.lr=fast"));
    expect_error(TN_EARG, "--set: optim.lr: a number is wanted");
    assert_false(config_set(&c, "schedule.at=[1"));
    expect_error(TN_EFORMAT, "not YAML");
}

static char *printed(const config *from)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    config_print(from, out);
    fclose(out);
    return text;
}

static void test_writing_reads_back(void **state)
{
    (void)state;
    config_defaults(&c);
    c.optim.lr = 1.0 / 3;
    c.optim.eps = 1e-8;
    c.optim.weight_decay = 0;
    c.schedule.warmup = 4000;
    c.optim.betas = (config_numbers){2, {0.9, 1 - 1e-16}};
    strcpy(c.data.root, "a \"b\" \\ # : \t\x01 é");
    c.train.checkpoint_every = (config_interval){0.5, CONFIG_MINUTES};
    char *first = printed(&c);
    config again;
    config_defaults(&again);
    assert_true(config_read(&again, "again", first, strlen(first)));
    assert_true(again.optim.lr == c.optim.lr && again.optim.betas.at[1] == c.optim.betas.at[1]);
    assert_true(again.optim.weight_decay == 0 && isnan(again.optim.momentum));
    assert_string_equal(again.data.root, c.data.root);
    char *second = printed(&again);
    assert_string_equal(first, second);
    assert_non_null(strstr(first, "eps: 1.0e-08"));
    assert_non_null(strstr(first, "warmup: 4000\n"));
    free(first);
    free(second);
}

static void test_help_has_every_knob(void **state)
{
    (void)state;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    config_print_help(out);
    fclose(out);
    for (int i = 0; i < config_knob_count; i++) {
        assert_non_null(strstr(text, config_knobs[i].key));
        assert_non_null(strstr(text, config_knobs[i].help));
        assert_true(*config_knobs[i].help);
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_are_in_range),
        cmocka_unit_test(test_the_documented_shape),
        cmocka_unit_test(test_committed_configs),
        cmocka_unit_test(test_translation),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_long_text_and_large_file),
        cmocka_unit_test(test_set),
        cmocka_unit_test(test_writing_reads_back),
        cmocka_unit_test(test_help_has_every_knob),
    };
    return cmocka_run_group_tests_name("config", tests, quiet_errors, NULL);
}
