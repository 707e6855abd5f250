/* What a config describes, made: data, model, optimizer, schedule.  Shared by train and eval; the
 * loop over them is in train.c. */
#ifndef TENON_SETUP_H
#define TENON_SETUP_H

#include "cli.h"
#include "config.h"
#include "run.h"

/* The config of a command line.  CONFIG is a YAML file or a run directory (then its config.yaml);
 * over it come --set, --device and --threads.  Plug-ins are loaded, threads set.  run_dir gets the
 * run directory when CONFIG is one, else "".  False with the error set. */
bool setup_config(config *c, const cli *args, char run_dir[CONFIG_TEXT]);
/* The options that setup_config reads, for the tables of subcommands. */
#define SETUP_OPTIONS                                                       \
    {"set", "KEY=VALUE", "a knob of the config, as optim.lr=0.1; repeatable"}, \
    {"device", "NAME", "cpu, cuda, cuda:N or auto"},                        \
    {"threads", "N", "of the CPU; 0: one a core"},                          \
    {"plugin", "FILE.so", "load what it registers; repeatable"}

/* Of a command line that names a run directory or a file of weights in one: that directory, and the file, which is that
 * of --weights, else the run's best, or last.  False with the error set when there is none. */
bool setup_weights(const cli *args, char dir[RUN_PATH], char weights[RUN_PATH]);

/* Into a network; strictly, but for a checkpoint (by the file's name), which holds more.  False with the error set. */
bool setup_load(tn_module *net, const char *weights);

tn_loader *setup_loader(const config *c, tn_split split);
/* For tn_crops() of the training batches, in the innermost scope; NULL where these bring their pixels. */
bool setup_images(const config *c, const tn_dataset *d, tn_tensor **images, tn_tensor **table);
/* On the config's device, weights drawn from the current random state, then model.init_from; what
 * did not match there is told on `log` and on standard error. */
tn_module *setup_model(const config *c, const tn_dataset *data, FILE *log);
/* The same without its data: for so many words that go in and come out. */
tn_module *setup_model_of_words(const config *c, int64_t source, int64_t target, FILE *log);
/* Settings that the rule does not read are told on `log` and left out. */
tn_optim *setup_optim(const config *c, tn_module *net, FILE *log);
/* Fills in what was left to the training data, the network, the update rule and the length of the run (in the
 * schedule's unit), so that the config says it.  False with the error set. */
bool setup_resolve(config *c, const tn_dataset *data, const tn_module *net, const tn_optim *opt, int64_t length);
/* Of a resolved config; its unit is epochs or updates, as schedule.per says. */
tn_schedule setup_schedule(const config *c);

#endif
