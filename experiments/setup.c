/* From config to objects; see setup.h. */
#define _GNU_SOURCE
#include "setup.h"

#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "task.h"

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
    const bool is_run = is_directory(given);
    snprintf(run_dir, CONFIG_TEXT, "%s", is_run ? given : "");
    snprintf(path, sizeof path, "%.*s%s", CONFIG_TEXT - 1, given, is_run ? "/config.yaml" : "");
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

bool setup_weights(const cli *args, char dir[RUN_PATH], char weights[RUN_PATH])
{
    static const char *const files[] = {"best.safetensors", "model.safetensors", "checkpoint.safetensors"};
    const char *given = args->arguments[0], *named = cli_text(args, "weights", NULL);
    snprintf(dir, RUN_PATH, "%s", given);
    *weights = 0;
    if (access(given, F_OK) == 0 && !is_directory(given)) {
        char *slash = strrchr(dir, '/');
        snprintf(weights, RUN_PATH, "%s", given);
        snprintf(slash ? slash : dir, slash ? 1 : RUN_PATH, "%s", slash ? "" : ".");
    }
    for (int i = 0; !*weights && !named && i < 3; i++) {
        snprintf(weights, RUN_PATH, "%.*s/%s", RUN_PATH - 32, dir, files[i]);
        if (access(weights, R_OK) != 0)
            *weights = 0;
    }
    if (named)
        snprintf(weights, RUN_PATH, "%s", named);
    return *weights || tn_fail(TN_ESTATE, "%s has no weights yet: train it, or name some with --weights", dir);
}

bool setup_load(tn_module *net, const char *weights)
{
    const char *slash = strrchr(weights, '/');
    return tn_load(net, weights, .strict = !strstr(slash ? slash : weights, "checkpoint"));
}

/* ---- words of the config with a meaning in the library ---- */

#define WORD_VALUE(word, value) \
    if (strcmp(text, word) == 0) \
        return value;
static int threshold_of(const char *text) { CONFIG_THRESHOLDS(WORD_VALUE) return 0; }
static int degenerate_of(const char *text) { CONFIG_DEGENERATES(WORD_VALUE) return 0; }
static int warmup_of(const char *text) { CONFIG_WARMUPS(WORD_VALUE) return 0; }
static int schedule_of(const char *text) { CONFIG_SCHEDULES(WORD_VALUE) return 0; }
static int precision_of(const char *text) { CONFIG_PRECISIONS(WORD_VALUE) return 0; }
static int share_of(const char *text) { CONFIG_SHARES(WORD_VALUE) return 0; }

#define WORD_OF(word, value) \
    if (value == share) \
        return word;
static const char *share_word(tn_share share) { CONFIG_SHARES(WORD_OF) return "none"; }

/* As structs of options want it: unset is 0, "its own"; a real zero has a sign. */
static double given(double value) { return isnan(value) ? 0 : value == 0 ? TN_ZERO : value; }

/* ---- data and model ---- */

static const char *or_null(const char *text) { return *text ? text : NULL; }

/* Images stay on a GPU and are cropped there: the whole set takes less than this of its memory. */
enum { RESIDENT = 1 << 30 };

static bool kept_on_device(const config *c, const tn_dataset *d)
{
    const int64_t bytes = d && d->image ? d->x_shape[0] * d->x_shape[1] * d->x_shape[2] : 0;
    return bytes > 0 && d->len <= RESIDENT / bytes && tn_device_named(c->device.name).backend != tn_cpu().backend;
}

bool setup_images(const config *c, const tn_dataset *d, tn_tensor **images, tn_tensor **table)
{
    const tn_device device = tn_device_named(c->device.name);
    *images = *table = NULL;
    if (!kept_on_device(c, d))
        return tn_ok();
    *images = tn_on(tn_dataset_images(d), device);
    *table = tn_on(tn_dataset_table(d), device);
    return *images && *table;
}

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
        .source = or_null(c->data.source),
        .target = or_null(c->data.target),
        .longest = c->data.longest,
        .batch = c->data.batch,
        .steps = train ? c->data.steps : c->data.test_steps,
        .carries = strcmp(c->data.reset, "never") == 0,
        .seed = (uint64_t)c->top.seed,
    });
    const char *how = train ? c->data.augment : "none";
    const int64_t samples = train ? c->data.batch : c->data.test_batch;
    const bool runs = data && data->cls->begins; /* a sample is a batch */
    return tn_loader(data, .batch = c->data.max_tokens ? 0 : runs ? 1 : samples, .max_tokens = c->data.max_tokens,
                     .places = train && kept_on_device(c, data), .multiple = (int)c->data.multiple, .shuffle = train,
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

/* What the config says of it; what follows from the data is not filled in. */
static tn_model_spec model_spec(const config *c)
{
    tn_model_spec s = {
        .name = c->model.name,
        .classes = c->model.classes,
        .hidden = c->model.hidden,
        .layers = c->model.layers,
        .width = c->model.width,
        .shortcut = c->model.shortcut,
        .stack = c->model.stack,
        .transformer = {
            .dim = c->model.dim,
            .ffn = c->model.ffn,
            .heads = (int)c->model.heads,
            .encoder_layers = (int)c->model.encoder_layers,
            .decoder_layers = (int)c->model.decoder_layers,
            .dropout = c->model.dropout,
            .attention_dropout = c->model.attention_dropout,
            .activation_dropout = c->model.activation_dropout,
            .pre_norm = strcmp(c->model.norm, "pre") == 0,
            .gelu = strcmp(c->model.activation, "gelu") == 0,
            .share = (tn_share)share_of(c->model.share),
        },
        .lstm_lm = {
            .dim = c->model.dim,
            .hidden = c->model.hidden,
            .layers = (int)c->model.layers,
            .dropout = c->model.dropout,
            .tied = share_of(c->model.share) != TN_SHARE_NONE,
            .init = c->model.init,
        },
    };
    for (int i = 0; i < c->model.cutoffs.n && i <= TN_CUTOFFS; i++)
        s.lstm_lm.cutoffs[i] = (int64_t)c->model.cutoffs.at[i];
    return s;
}

static tn_module *make_model(const config *c, const tn_model_spec *spec, FILE *log)
{
    tn_module *net = tn_model_named(spec);
    const tn_device device = tn_device_named(c->device.name);
    bool good = tn_ok() && tn_set_precision(device, (tn_precision)precision_of(c->device.precision)) &&
                tn_to(net, device);
    if (good && *c->model.init_from)
        good = load_start(c, net, log);
    if (good)
        return net;
    tn_free(net);
    return NULL;
}

tn_module *setup_model(const config *c, const tn_dataset *data, FILE *log)
{
    if (!data)
        return NULL;
    tn_model_spec spec = model_spec(c);
    spec.source = data->x_classes;
    spec.in_ndim = data->x_ndim;
    memcpy(spec.in, data->x_shape, sizeof spec.in);
    if (spec.classes == 0)
        spec.classes = data->classes;
    if (spec.classes == 0)
        return tn_fail(TN_EARG, "data.name: %s has no classes to learn; labels are whole numbers",
                       c->data.name);
    return make_model(c, &spec, log);
}

tn_module *setup_model_of_words(const config *c, int64_t source, int64_t target, FILE *log)
{
    tn_model_spec spec = model_spec(c);
    spec.source = source;
    spec.classes = target;
    return make_model(c, &spec, log);
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

/* Whether the rule reads the field; when not, `set` knobs are told. */
static bool reads(const config *c, const char *field, const char *knob, bool set, FILE *log)
{
    if (tn_optim_reads(c->optim.name, field))
        return true;
    if (set && tn_ok())
        fprintf(log, "optim.%s is no knob of %s: left out\n", knob, c->optim.name);
    return false;
}

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

/* Of a network that is none nothing is known. */
static void resolve_transformer(config *c, const tn_transformer_args *a)
{
    if (!a)
        return;
    c->model.dim = a->dim;
    c->model.ffn = a->ffn;
    c->model.heads = a->heads;
    c->model.encoder_layers = a->encoder_layers;
    c->model.decoder_layers = a->decoder_layers;
    c->model.dropout = a->dropout;
    c->model.attention_dropout = a->attention_dropout;
    c->model.activation_dropout = a->activation_dropout;
    strcpy(c->model.norm, a->pre_norm ? "pre" : "post");
    strcpy(c->model.activation, a->gelu ? "gelu" : "relu");
    strcpy(c->model.share, share_word(a->share));
}

/* The only size that a language model has of its own. */
static void resolve_lstm_lm(config *c, const tn_lstm_lm_args *a)
{
    if (a)
        c->model.dim = a->dim;
}

/* The languages as the folder has them; what is no folder of translation data has none. */
static bool resolve_languages(config *c, const tn_dataset *data)
{
    char source[16], target[16], folder[TN_DATA_PATH];
    if (task_of(data) != &task_translate || *c->data.source)
        return true;
    if (!tn_codec_languages(tn_data_path(c->data.root, folder), source, target))
        return false;
    strcpy(c->data.source, source);
    strcpy(c->data.target, target);
    return true;
}

bool setup_resolve(config *c, const tn_dataset *data, const tn_module *net, const tn_optim *opt, int64_t length)
{
    const int kind = schedule_of(c->schedule.name);
    if ((kind == TN_LINEAR || kind == TN_COSINE) && c->schedule.total == 0)
        c->schedule.total = (double)length;
    resolve_transformer(c, tn_transformer_settings(net));
    resolve_lstm_lm(c, tn_lstm_lm_settings(net));
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
    return resolve_languages(c, data);
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
