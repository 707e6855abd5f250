/* From config to objects; see setup.h. */
#define _GNU_SOURCE
#include "setup.h"

#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- the config of a command line ---- */

static bool is_directory(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 && S_ISDIR(s.st_mode);
}

/* Runs `bool tenon_plugin(void)` of a shared object; it stays loaded. */
static bool load_plugin(const char *path)
{
    char *full = realpath(path, NULL); /* a name without a slash would be looked for elsewhere */
    void *so = dlopen(full ? full : path, RTLD_NOW | RTLD_LOCAL);
    free(full);
    if (!so) {
        tn_fail(TN_EIO, "--plugin: %s", dlerror());
        return false;
    }
    bool (*entry)(void);
    *(void **)&entry = dlsym(so, "tenon_plugin");
    if (!entry)
        tn_fail(TN_EFORMAT, "--plugin: %s has no function bool tenon_plugin(void)", path);
    else if (!entry())
        tn_fail(TN_ESTATE, "--plugin: %s: tenon_plugin() failed", path);
    return tn_ok();
}

enum { MOST_MILESTONES = sizeof((tn_schedule *)NULL)->at / sizeof *((tn_schedule *)NULL)->at };

static bool check_lists(const config *c)
{
    if (c->optim.betas.n != 0 && c->optim.betas.n != 2)
        tn_fail(TN_EARG, "optim.betas: two numbers are wanted, [beta1, beta2]");
    if (c->schedule.at.n > MOST_MILESTONES)
        tn_fail(TN_EARG, "schedule.at: at most %d milestones", MOST_MILESTONES);
    for (int i = 1; i < c->schedule.at.n; i++)
        if (c->schedule.at.at[i] <= c->schedule.at.at[i - 1])
            tn_fail(TN_EARG, "schedule.at: the milestones must ascend");
    if (strcmp(c->schedule.name, "multistep") == 0 && c->schedule.at.n == 0)
        tn_fail(TN_EARG, "schedule.at: multistep needs milestones, [81, 122]");
    return tn_ok();
}

bool setup_config(config *c, const cli *args, char run_dir[CONFIG_TEXT])
{
    char path[CONFIG_TEXT + 16], text[32];
    const char *given = args->arguments[0], *option;
    const bool run = is_directory(given);
    snprintf(run_dir, CONFIG_TEXT, "%s", run ? given : "");
    snprintf(path, sizeof path, "%.*s%s", CONFIG_TEXT - 1, given, run ? "/config.yaml" : "");
    config_defaults(c);
    for (int i = 0; (option = cli_each(args, "plugin", i)); i++)
        if (!load_plugin(option))
            return false;
    if (!config_read_file(c, path))
        return false;
    for (int i = 0; (option = cli_each(args, "set", i)); i++)
        if (!config_set(c, option))
            return false;
    if ((option = cli_text(args, "device", NULL)))
        snprintf(c->device.name, sizeof c->device.name, "%s", option);
    if ((option = cli_text(args, "threads", NULL))) {
        snprintf(text, sizeof text, "device.threads=%.10s", option);
        if (!config_set(c, text))
            return false;
    }
    tn_set_threads((int)c->device.threads);
    return check_lists(c);
}

/* ---- data and model ---- */

tn_loader *setup_loader(const config *c, tn_split split)
{
    const bool train = split == TN_TRAIN;
    const char *x = train ? c->data.x : c->data.test_x, *y = train ? c->data.y : c->data.test_y;
    tn_dataset *data = tn_dataset_named(&(tn_dataset_spec){
        .name = c->data.name,
        .root = c->data.root,
        .split = split,
        .x = x,
        .y = y,
        .count = train ? c->data.count : c->data.test_count,
        .seed = (uint64_t)c->top.seed,
    });
    const char *how = train ? c->data.augment : "none";
    return tn_loader(data, .batch = train ? c->data.batch : c->data.test_batch, .shuffle = train,
                     .drop_last = train && c->data.drop_last, .workers = (int)c->data.workers,
                     .prefetch = (int)c->data.prefetch, .seed = (uint64_t)c->top.seed,
                     .augment = {.crop_pad = strstr(how, "crop") ? (int)c->data.crop_pad : 0,
                                 .flip = strstr(how, "flip") != NULL});
}

/* What does not match goes to the log, and to standard error when that is another. */
static bool load_start(const config *c, tn_module *net, FILE *log)
{
    char *list = NULL;
    size_t size = 0;
    FILE *text = open_memstream(&list, &size);
    if (!text)
        tn_fail(TN_ENOMEM, "no memory for a list");
    tn_load(net, c->model.init_from, .strict = c->model.strict, .log = text);
    if (text)
        fclose(text);
    if (size > 0)
        fputs(list, log);
    if (size > 0 && log != stderr)
        fputs(list, stderr);
    free(list);
    return tn_ok();
}

tn_module *setup_model(const config *c, const tn_dataset *data, FILE *log)
{
    if (!data)
        return NULL;
    tn_model_spec spec = {
        .name = c->model.name,
        .classes = c->model.classes ? c->model.classes : data->classes,
        .in_ndim = data->x_ndim,
        .hidden = c->model.hidden,
        .layers = c->model.layers,
        .width = c->model.width,
        .shortcut = c->model.shortcut,
        .stack = c->model.stack,
    };
    memcpy(spec.in, data->x_shape, sizeof spec.in);
    if (spec.classes == 0)
        return tn_fail(TN_EARG, "data.name: %s has no classes to learn; labels are whole numbers",
                       c->data.name);
    tn_module *net = tn_model_named(&spec);
    const tn_device device = tn_device_named(c->device.name);
    bool good = tn_to(net, device);
    if (good && *c->model.init_from)
        good = load_start(c, net, log);
    if (good)
        return net;
    tn_free(net);
    return NULL;
}

/* ---- optimizer ---- */

/* Number knobs of optim and the fields of tn_hyper that they set. */
#define HYPER_NUMBERS(X)                                                                        \
    X(momentum, momentum) X(dampening, dampening) X(eps, eps) X(weight_decay, decay)            \
    X(alpha, alpha) X(momentum_decay, momentum_decay) X(lr_decay, lr_decay) X(initial, initial) \
    X(rho, rho)
/* Switches and counts: unset is the same as false and 0. */
#define HYPER_OTHERS(X)                                                                         \
    X(nesterov, bool) X(eps_inside, bool) X(decoupled, bool) X(coupled, bool) X(centered, bool) \
    X(warmup_steps, double) X(freeze_steps, double)

#define WORD_VALUE(word, value) \
    if (strcmp(text, word) == 0) \
        return value;
static int threshold_of(const char *text) { CONFIG_THRESHOLDS(WORD_VALUE) return 0; }
static int degenerate_of(const char *text) { CONFIG_DEGENERATES(WORD_VALUE) return 0; }
static int warmup_of(const char *text) { CONFIG_WARMUPS(WORD_VALUE) return 0; }
static int schedule_of(const char *text) { CONFIG_SCHEDULES(WORD_VALUE) return 0; }

/* Whether the rule reads the field; when not, `set` knobs are told. */
static bool reads(const config *c, const char *field, const char *knob, bool set, FILE *log)
{
    if (tn_optim_reads(c->optim.name, field))
        return true;
    if (set && tn_ok())
        fprintf(log, "optim.%s is no knob of %s: left out\n", knob, c->optim.name);
    return false;
}

/* As tn_hyper wants it: 0 is "the rule's own", a real zero has a sign. */
static double given(double value) { return isnan(value) ? 0 : value == 0 ? TN_ZERO : value; }

tn_optim *setup_optim(const config *c, tn_module *net, FILE *log)
{
    tn_hyper h = {.lr = given(c->optim.lr)};
#define NUMBER(knob, field)                                                     \
    if (reads(c, #field, #knob, !isnan(c->optim.knob), log))                    \
        h.field = given(c->optim.knob);
    HYPER_NUMBERS(NUMBER)
#define OTHER(knob, type)                                                       \
    if (reads(c, #knob, #knob, c->optim.knob != 0, log))                        \
        h.knob = (type)c->optim.knob;
    HYPER_OTHERS(OTHER)
    if (reads(c, "beta1", "betas", c->optim.betas.n > 0, log) && c->optim.betas.n > 0) {
        h.beta1 = given(c->optim.betas.at[0]);
        h.beta2 = given(c->optim.betas.at[1]);
    }
    if (reads(c, "warmup", "warmup_formula", false, log))
        h.warmup = (tn_warmup)warmup_of(c->optim.warmup_formula);
    if (reads(c, "threshold", "threshold", false, log))
        h.threshold = (tn_rho)threshold_of(c->optim.threshold);
    if (reads(c, "degenerate", "degenerate", false, log))
        h.degenerate = (tn_degenerate)degenerate_of(c->optim.degenerate);
    return tn_ok() ? tn_optim_new(c->optim.name, net, h) : NULL;
}

/* The learning rate of schedules that end depends on how long the run is meant to be. */
static double whole_run(const config *c, int64_t updates_per_epoch)
{
    const int64_t all = c->train.epochs * updates_per_epoch, most = c->train.max_steps;
    if (strcmp(c->schedule.per, "epoch") == 0)
        return (double)c->train.epochs;
    return (double)(most && most < all ? most : all);
}

void setup_resolve(config *c, const tn_dataset *data, const tn_optim *opt,
                   int64_t updates_per_epoch)
{
    const int kind = schedule_of(c->schedule.name);
    if ((kind == TN_LINEAR || kind == TN_COSINE) && c->schedule.total == 0)
        c->schedule.total = whole_run(c, updates_per_epoch);
    const tn_hyper *h = tn_optim_settings(opt);
    if (c->model.classes == 0)
        c->model.classes = data->classes;
#define RESOLVE(knob, field) c->optim.knob = tn_optim_reads(c->optim.name, #field) ? h->field : NAN;
    HYPER_NUMBERS(RESOLVE)
    c->optim.decoupled = h->decoupled && !h->coupled;
    if (tn_optim_reads(c->optim.name, "beta1"))
        c->optim.betas = (config_numbers){2, {h->beta1, h->beta2}};
    else
        c->optim.betas.n = 0;
}

tn_schedule setup_schedule(const config *c)
{
    tn_schedule s = {
        .kind = (tn_schedule_kind)schedule_of(c->schedule.name),
        .base = c->optim.lr,
        .factor = given(c->schedule.factor),
        .warmup = c->schedule.warmup,
        .init = c->schedule.init,
        .total = c->schedule.total,
        .min = c->schedule.min,
    };
    memcpy(s.at, c->schedule.at.at, (size_t)c->schedule.at.n * sizeof *s.at);
    return s;
}
