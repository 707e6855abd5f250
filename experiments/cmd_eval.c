/* tenon eval: loss and score of trained weights on the test data, or those held out for validation. */
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "lm_run.h"
#include "setup.h"
#include "train.h"

/* model.safetensors of a finished run, else its checkpoint; "" when there is neither. */
static void find_weights(const char *dir, char path[RUN_PATH])
{
    static const char *const files[] = {"model.safetensors", "checkpoint.safetensors"};
    for (int i = 0; i < 2; i++) {
        snprintf(path, RUN_PATH, "%s/%s", dir, files[i]);
        if (access(path, R_OK) == 0)
            return;
    }
    *path = 0;
}

typedef struct measured {
    const task *task;
    tally sums;
} measured;

static bool measure(const config *c, tn_split split, const char *weights, measured *m)
{
    tn_seed((uint64_t)c->top.seed);
    tn_loader *test = setup_loader(c, split);
    tn_module *net = setup_model(c, tn_loader_dataset(test), stderr);
    m->task = task_of(tn_loader_dataset(test));
    const bool good = tn_ok() && (!*weights || setup_load(net, weights)) &&
                      task_evaluate(m->task, c, net, test, &m->sums);
    tn_free(net, test);
    return good;
}

/* Of a text file, not of the run's data. */
static bool measure_file(const config *c, const char *dir, const char *file, const char *weights, measured *m)
{
    lm_run l;
    m->task = &task_lm;
    const bool good = lm_run_open(&l, c, dir, weights) && lm_run_judge(&l, c, file, c->data.test_steps, &m->sums);
    lm_run_close(&l);
    return good;
}

static void report(const measured *m, const char *split, const char *weights, bool json)
{
    char text[2 * TASK_TEXT];
    const char *counted = m->task->words ? m->task->unit : "samples";
    if (!json) {
        printf("%s %s  of %lld %s\n", split, task_text(m->task, &m->sums, text), (long long)m->sums.seen, counted);
        return;
    }
    json_t *line = json_object();
    snprintf(text, sizeof text, "%s_", split);
    task_figures(m->task, line, text, &m->sums);
    json_object_set_new(line, counted, json_integer((json_int_t)m->sums.seen));
    json_object_set_new(line, "weights", json_string(weights));
    json_print_line(line, stdout);
}

static int run_eval(const cli *c)
{
    config cfg;
    measured m = {0};
    char dir[CONFIG_TEXT], weights[RUN_PATH] = "";
    const char *split = cli_text(c, "split", "test"), *file = cli_text(c, "file", NULL);
    const bool valid = strcmp(split, "valid") == 0;
    if (!valid && strcmp(split, "test") != 0)
        return cli_wrong(c->command, "--split is test or valid");
    if (!setup_config(&cfg, c, dir))
        return FAILED;
    if (*dir)
        find_weights(dir, weights);
    const char *path = cli_text(c, "weights", weights);
    if (!*path && !*cfg.model.init_from) {
        tn_fail(TN_ESTATE,
                "%s has no weights; train it, or name some with --weights or model.init_from",
                c->arguments[0]);
        return FAILED;
    }
    if (file && !*dir)
        tn_fail(TN_EARG, "--file: a run directory is wanted, which has the dictionary");
    else if (file ? measure_file(&cfg, dir, file, path, &m) : measure(&cfg, valid ? TN_VALID : TN_TEST, path, &m))
        report(&m, file ? "text" : split, *path ? path : cfg.model.init_from, cli_has(c, "json"));
    return cli_status();
}

const command command_eval = {
    .name = "eval",
    .arguments = "RUN|CONFIG",
    .about = "prints loss and accuracy or perplexity on the test data\n"
             "RUN is a run directory: its config and its weights.  With a CONFIG the weights\n"
             "are those of --weights or model.init_from.",
    .least = 1,
    .most = 1,
    .options = (const option_row[]){
        SETUP_OPTIONS,
        {"weights", "FILE", "a safetensors file instead of the run's own"},
        {"split", "NAME", "test (default) or valid"},
        {"file", "TEXT", "of a language model: a text file instead, a sentence a line; - is standard input"},
        {"json", NULL, "one JSON object"},
        {NULL, NULL, NULL},
    },
    .run = run_eval,
};
