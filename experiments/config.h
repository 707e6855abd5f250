/* The knobs of a run.
 *
 * One row is one knob: the C struct, the YAML keys, the defaults, `tenon train --help-config`,
 * --set and the resolved config.yaml all come from it.  This file is the schema; config.c reads
 * YAML into it, config_text.c writes it out, setup.c makes data, model and optimizer of it. */
#ifndef TENON_CONFIG_H
#define TENON_CONFIG_H

#include <stdio.h>
#include <tenon.h>

enum { CONFIG_TEXT = 512, CONFIG_NUMBERS = 16 };

/* The types of knobs.  An empty default of a number is NAN: "as the rule itself has it". */
typedef char config_text[CONFIG_TEXT];
typedef int64_t config_integer;
typedef double config_number;
typedef bool config_flag;
typedef struct config_numbers {
    int n;
    double at[CONFIG_NUMBERS];
} config_numbers;
typedef enum config_unit { CONFIG_STEPS, CONFIG_EPOCHS, CONFIG_MINUTES } config_unit;
typedef struct config_interval { /* "1 epoch", "500 steps", "10 minutes", "never" (0) */
    double every;
    config_unit unit;
} config_interval;

/* Words with a meaning in the library: the word, its value. */
#define CONFIG_SCHEDULES(W)                                                                      \
    W("constant", TN_CONSTANT) W("multistep", TN_MULTISTEP) W("linear", TN_LINEAR)               \
    W("inverse_sqrt", TN_INVERSE_SQRT) W("cosine", TN_COSINE)
#define CONFIG_THRESHOLDS(W)                                                                     \
    W("rho > 5", TN_RHO_OVER_5) W("rho > 4", TN_RHO_OVER_4) W("rho >= 5", TN_RHO_FROM_5)
#define CONFIG_DEGENERATES(W) W("sgd", TN_DEGENERATE_SGD) W("skip", TN_DEGENERATE_SKIP)
#define CONFIG_WARMUPS(W) W("cifar", TN_WARMUP_CIFAR) W("generic", TN_WARMUP_GENERIC)
#define CONFIG_SHARES(W)                                                                         \
    W("none", TN_SHARE_NONE) W("decoder", TN_SHARE_DECODER) W("all", TN_SHARE_ALL)
#define CONFIG_PRECISIONS(W)                                                                     \
    W("f32", TN_PRECISION_F32) W("tf32", TN_PRECISION_TF32) W("bf16", TN_PRECISION_BF16)
#define CONFIG_WORD(word, value) word "|"

/* X(section, key, type, default, unit, allowed, help).
 * allowed: "lo..hi" for numbers (either may be missing), "a|b|" for text, "" for anything. */
#define CONFIG_TOP(X)                                                                            \
    X(top, name, text, "run", "", "", "of the run; it goes to runs/NAME unless --out says else") \
    X(top, seed, integer, "1", "", "0..", "of weights, order, augmentation and dropout")
#define CONFIG_MODEL(X)                                                                          \
    X(model, name, text, "resnet20", "", "", "a built-in or registered model")                   \
    X(model, classes, integer, "0", "", "0..", "outputs; 0: as many as the data have")           \
    X(model, hidden, integer, "128", "units", "1..", "mlp, lstm_lm: units of a hidden layer") \
    X(model, layers, integer, "2", "", "0..", "mlp, lstm_lm: hidden layers")                     \
    X(model, width, integer, "0", "channels", "0..", "resnet: of the first stage; 0: 16 or 64")  \
    X(model, shortcut, text, "projection", "", "projection|zero-pad|", "resnet: at new shapes")  \
    X(model, stack, text, "", "", "", "stack: layers with their numbers, \"flatten, linear 784 10\"") \
    X(model, dim, integer, "0", "", "0..", "transformer, lstm_lm: width; 0: as the named one has it") \
    X(model, ffn, integer, "0", "units", "0..", "transformer: inner width of feed-forward layers; 0: likewise") \
    X(model, heads, integer, "0", "", "0..", "transformer: of attention; must divide dim")           \
    X(model, encoder_layers, integer, "0", "", "0..", "transformer")                                 \
    X(model, decoder_layers, integer, "0", "", "0..", "transformer")                                 \
    X(model, dropout, number, "0", "", "0..1",                                                           \
      "transformer: of embeddings and sublayers; lstm_lm: of embeddings and layers")                 \
    X(model, attention_dropout, number, "0", "", "0..1", "transformer: of attention's probabilities") \
    X(model, activation_dropout, number, "0", "", "0..1", "transformer: inside feed-forward layers") \
    X(model, norm, text, "post", "", "post|pre|", "transformer: layer norm after each sum or before") \
    X(model, activation, text, "relu", "", "relu|gelu|", "transformer: of feed-forward layers")      \
    X(model, share, text, "none", "", CONFIG_SHARES(CONFIG_WORD),                                    \
      "transformer: one matrix for the decoder's words in and out, or for all; lstm_lm: decoder")    \
    X(model, cutoffs, numbers, "", "words", "1..", "lstm_lm: of an adaptive softmax, [4000, 40000]; none: a full one") \
    X(model, init, number, "0", "", "0..", "lstm_lm: weights start within +- this; 0: as the paper's") \
    X(model, init_from, text, "", "", "", "a safetensors file to start from; mismatches are told")   \
    X(model, strict, flag, "false", "", "", "init_from: mismatches are errors")
#define CONFIG_DATA(X)                                                                           \
    X(data, name, text, "cifar10", "", "", "a built-in or registered data set")                  \
    X(data, root, text, "", "", "", "folder or archive: under $TENON_DATA, else as given")       \
    X(data, x, text, "", "", "", "arrays: training inputs, .npy [N, ...]") \
    X(data, y, text, "", "", "", "arrays: training classes, .npy [N]")                           \
    X(data, test_x, text, "", "", "", "arrays: test inputs")                                     \
    X(data, test_y, text, "", "", "", "arrays: test classes")                                    \
    X(data, count, integer, "10000", "images", "1..", "shapes: training images to draw")         \
    X(data, test_count, integer, "2000", "images", "1..", "shapes: test images to draw")         \
    X(data, source, text, "", "", "", "pairs: language translated from; empty: as prepared")     \
    X(data, target, text, "", "", "", "pairs: language translated into")                         \
    X(data, longest, integer, "0", "ids", "0..", "pairs: with a longer side are left out; 0: 1024") \
    X(data, batch, integer, "128", "samples", "1..", "in one batch, unless max_tokens is set; text: rows") \
    X(data, test_batch, integer, "100", "samples", "1..", "of one evaluation step, likewise; text: one row") \
    X(data, steps, integer, "20", "tokens", "1..", "text: of a row in one batch")                \
    X(data, test_steps, integer, "128", "tokens", "1..", "text: of one evaluation step")         \
    X(data, reset, text, "shard", "", "shard|never|", "text: where states begin anew; never: only with an epoch") \
    X(data, max_tokens, integer, "0", "ids", "0..", "pairs: samples x longest side in a batch at most") \
    X(data, multiple, integer, "8", "samples", "1..1024", "pairs: of which these batches have a multiple") \
    X(data, workers, integer, "2", "threads", "0..64", "that read ahead; 0: none")               \
    X(data, prefetch, integer, "0", "batches", "0..1024", "read ahead; 0: two a worker")         \
    X(data, augment, text, "none", "", "none|crop|flip|crop-flip|", "of training images")        \
    X(data, crop_pad, integer, "4", "pixels", "1..64", "of zeros around before the crop")        \
    X(data, drop_last, flag, "false", "", "", "leave out the short last batch")
#define CONFIG_OPTIM(X)                                                                          \
    X(optim, name, text, "sgd", "", "", "a built-in or registered update rule")                  \
    X(optim, lr, number, "0.1", "", "0..", "learning rate, before the schedule")                 \
    X(optim, momentum, number, "", "", "0..1", "sgd, rmsprop")                                   \
    X(optim, dampening, number, "", "", "0..1", "sgd: of the momentum")                          \
    X(optim, nesterov, flag, "false", "", "", "sgd")                                             \
    X(optim, betas, numbers, "", "", "0..1", "adam family: [beta1, beta2]")                      \
    X(optim, eps, number, "", "", "0..", "added to the denominator")                             \
    X(optim, weight_decay, number, "", "", "0..", "of every trained parameter")                  \
    X(optim, warmup_steps, integer, "0", "updates", "0..", "adam: of linear warmup in the rule") \
    X(optim, warmup_formula, text, "cifar", "", CONFIG_WARMUPS(CONFIG_WORD), "adam: which code") \
    X(optim, freeze_steps, integer, "0", "updates", "0..", "adam-2k: only the 2nd moment moves") \
    X(optim, eps_inside, flag, "false", "", "", "eps after the bias correction, as PyTorch")     \
    X(optim, decoupled, flag, "false", "", "", "adam: decay outside the gradient, as adamw")     \
    X(optim, coupled, flag, "false", "", "", "radam: decay inside the gradient")                 \
    X(optim, threshold, text, "rho > 5", "", CONFIG_THRESHOLDS(CONFIG_WORD),                     \
      "radam: when the variance is trusted")                                                     \
    X(optim, degenerate, text, "sgd", "", CONFIG_DEGENERATES(CONFIG_WORD),                       \
      "radam: the step before: sgd with momentum, or none")                                      \
    X(optim, alpha, number, "", "", "0..1", "rmsprop: smoothing of squares")                     \
    X(optim, centered, flag, "false", "", "", "rmsprop")                                         \
    X(optim, momentum_decay, number, "", "", "0..", "nadam")                                     \
    X(optim, lr_decay, number, "", "", "0..", "adagrad")                                         \
    X(optim, initial, number, "", "", "0..", "adagrad: accumulator at the start")                \
    X(optim, rho, number, "", "", "0..1", "adadelta: smoothing of squares")
#define CONFIG_SCHEDULE(X)                                                                       \
    X(schedule, name, text, "constant", "", CONFIG_SCHEDULES(CONFIG_WORD), "of the learning rate") \
    X(schedule, per, text, "epoch", "", "epoch|update|", "unit of at, warmup and total")         \
    X(schedule, at, numbers, "", "epochs or updates", "0..", "multistep: milestones, ascending") \
    X(schedule, factor, number, "0.1", "", "0..", "multistep: at each milestone")                \
    X(schedule, warmup, number, "0", "epochs or updates", "0..", "from init to optim.lr")        \
    X(schedule, init, number, "0", "", "0..", "rate at the start of the warmup")                 \
    X(schedule, total, number, "0", "epochs or updates", "0..", "linear, cosine; 0: to the end") \
    X(schedule, min, number, "0", "", "0..", "linear, cosine: rate at the end")
#define CONFIG_TRAIN(X)                                                                          \
    X(train, epochs, integer, "10", "epochs", "0..", "passes over the data; 0: as many as max_steps needs") \
    X(train, max_steps, integer, "0", "updates", "0..", "stop after so many; 0: epochs decide")  \
    X(train, update_freq, integer, "1", "batches", "1..", "of one update; the last of an epoch may have fewer") \
    X(train, clip_norm, number, "0", "", "0..", "global L2 norm of the gradient; 0: no clipping") \
    X(train, label_smoothing, number, "0", "", "0..1", "probability spread over all classes")    \
    X(train, log_every, integer, "50", "updates", "1..", "between lines of metrics.jsonl")       \
    X(train, histogram_of, text, "gradient", "", "gradient|momentum|second_moment|",             \
      "what histograms.jsonl counts")                                                            \
    X(train, histogram_steps, numbers, "", "updates", "1..",                                     \
      "that get one; counted from optim.freeze_steps")                                           \
    X(train, histogram_every, integer, "0", "updates", "0..", "and the multiples of this")       \
    X(train, checkpoint_every, interval, "1 epoch", "", "", "N epochs, steps or minutes; never") \
    X(train, keep, integer, "2", "checkpoints", "1..9", "the newest and those before it")        \
    X(train, epoch_checkpoints, integer, "0", "files", "0..", "epoch-NNN.safetensors, the last so many kept") \
    X(train, judge, text, "auto", "", "auto|valid|test|", "split judged after each epoch; auto: of classes test") \
    X(train, bleu, numbers, "", "files", "1..", "at the end: BLEU of means of so many, [10, 20]")
#define CONFIG_DEVICE(X)                                                                         \
    X(device, name, text, "auto", "", "", "cpu, cuda, cuda:N, or auto: a GPU where there is one") \
    X(device, threads, integer, "0", "threads", "0..256", "0: one a core")                       \
    X(device, precision, text, "f32", "", CONFIG_PRECISIONS(CONFIG_WORD),                        \
      "operands of products and convolutions; the CPU has f32 alone")

#define CONFIG_SECTIONS(S)                                                                       \
    S(top, CONFIG_TOP) S(model, CONFIG_MODEL) S(data, CONFIG_DATA) S(optim, CONFIG_OPTIM)        \
    S(schedule, CONFIG_SCHEDULE) S(train, CONFIG_TRAIN) S(device, CONFIG_DEVICE)

#define CONFIG_FIELD(section, key, type, ...) config_##type key;
#define CONFIG_STRUCT(section, rows) struct { rows(CONFIG_FIELD) } section;
typedef struct config {
    CONFIG_SECTIONS(CONFIG_STRUCT)
} config;

typedef enum config_type {
    CONFIG_IS_text,
    CONFIG_IS_integer,
    CONFIG_IS_number,
    CONFIG_IS_flag,
    CONFIG_IS_numbers,
    CONFIG_IS_interval
} config_type;

/* The rows at run time; knobs of section "top" stand at the top of the YAML. */
typedef struct config_knob {
    const char *section, *key;
    config_type type;
    size_t offset; /* in config */
    const char *initial, *unit, *allowed, *help;
} config_knob;
extern const config_knob config_knobs[];
extern const int config_knob_count;

void config_defaults(config *c);
/* Reads YAML over what `c` holds.  False with the error set: file and line, what is wrong, and for
 * an unknown key the nearest known one. */
bool config_read_file(config *c, const char *path);
bool config_read(config *c, const char *name, const char *yaml, size_t size);
/* "optim.lr=0.1" */
bool config_set(config *c, const char *assignment);

/* All knobs as YAML that reads back to the same values. */
bool config_write(const config *c, const char *path); /* the old file or all of the new one */
void config_print(const config *c, FILE *out);
void config_print_value(const config *c, const config_knob *k, FILE *out); /* "unset" when it is */
void config_print_help(FILE *out);

/* What changed, as "key: before -> now; ...": keys that may change while a run stops, and those that
 * may not.  False with the error set when there is no memory. */
enum { CONFIG_CHANGES = 1024 };
bool config_changes(const config *before, const config *now, char allowed[CONFIG_CHANGES],
                    char refused[CONFIG_CHANGES]);

#endif
