/* tenon eval: loss and accuracy of trained weights on the test data. */
#include <string.h>
#include <unistd.h>

#include "cli.h"
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

static bool measure(const config *c, const char *weights, score *s)
{
    tn_seed((uint64_t)c->top.seed);
    tn_loader *test = setup_loader(c, TN_TEST);
    tn_module *net = setup_model(c, tn_loader_dataset(test), stderr);
    const bool strict = !strstr(weights, "checkpoint"); /* which also holds the optimizer's state */
    bool good = tn_ok() && (!*weights || tn_load(net, weights, .strict = strict)) &&
                evaluate(net, test, s);
    tn_free(net, test);
    return good;
}

static int run_eval(const cli *c)
{
    config cfg;
    score s;
    char dir[CONFIG_TEXT], weights[RUN_PATH] = "";
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
    if (!measure(&cfg, path, &s))
        return FAILED;
    if (!cli_has(c, "json")) {
        printf("test loss %.4f  accuracy %.2f %%  of %lld samples\n", s.loss, 100 * s.accuracy,
               (long long)s.samples);
        return DONE;
    }
    json_print_line(json_pack("{s:o,s:f,s:I,s:s}", "test_loss", json_number(s.loss),
                              "test_accuracy", s.accuracy, "samples", (json_int_t)s.samples,
                              "weights", *path ? path : cfg.model.init_from),
                    stdout);
    return DONE;
}

const command command_eval = {
    .name = "eval",
    .arguments = "RUN|CONFIG",
    .about = "prints loss and accuracy on the test data\n"
             "RUN is a run directory: its config and its weights.  With a CONFIG the weights\n"
             "are those of --weights or model.init_from.",
    .least = 1,
    .most = 1,
    .options = (const option_row[]){
        SETUP_OPTIONS,
        {"weights", "FILE", "a safetensors file instead of the run's own"},
        {"json", NULL, "one JSON object"},
        {NULL, NULL, NULL},
    },
    .run = run_eval,
};
