/* A suite: runs that differ in a few settings, and what is made of their results.
 *
 * suite_read.c reads the YAML file into `suite`, plan.c makes the runs of one scale of it, jobs.c
 * trains them in child processes, suite_table.c and suite_figure.c tell the results.  The file's
 * keys are the rows of tables in suite_read.c. */
#ifndef TENON_SUITE_H
#define TENON_SUITE_H

#include "config.h"

enum {
    SUITE_LABEL = 96,
    SUITE_SETTINGS = 2048,
    SUITE_AXES = 4,
    SUITE_ITEMS = 32,
    SUITE_SCALES = 8,
    SUITE_SEEDS = 16,
    SUITE_PUBLISHED = 64,
    SUITE_FIGURES = 8,
    SUITE_PANELS = 6,
    SUITE_RUNS = 1024
};

typedef char suite_label[SUITE_LABEL];
typedef char suite_settings[SUITE_SETTINGS]; /* lines of "section.key=value" */

typedef struct suite_seeds {
    int n;
    int64_t at[SUITE_SEEDS];
} suite_seeds;
typedef struct suite_item {
    suite_label label;
    double value; /* on an axis of numbers; else NAN */
    suite_settings set;
} suite_item;
typedef struct suite_axis {
    suite_label name;
    int n;
    suite_item item[SUITE_ITEMS];
} suite_axis;
typedef struct suite_axes {
    int n;
    suite_axis at[SUITE_AXES];
} suite_axes;
typedef struct suite_scale {
    suite_label name, metric; /* metric "": the suite's */
    config_text about;
    bool compare; /* with the published values */
    suite_settings set;
    suite_axis runs;   /* more settings at this scale of items that have these labels */
    suite_seeds seeds; /* none: the suite's */
} suite_scale;
typedef struct suite_published {
    suite_label runs; /* a label, or a pattern, which stands for the best of its labels */
    double value;
} suite_published;
typedef struct suite_figure {
    suite_label x, y;          /* keys of metrics.jsonl; x may be an axis: last value against it */
    suite_label lines, panels; /* axes; without `lines` each run has a line */
    suite_label name;          /* of its files; "": SUITE-Y-over-X */
    config_text title;         /* "": the suite's */
    int n_histograms;          /* instead of lines: of these runs, a panel each */
    suite_label histograms[SUITE_PANELS];
    double until;              /* the last step of histograms; 0: all */
} suite_figure;

#define SUITE_LIST(type, most) struct { int n; type at[most]; }
typedef struct suite {
    suite_label name, share, metric;
    suite_label table; /* SUITE-TABLE.txt ... */
    config_text title, config; /* config: as the file says it, found from the file's folder */
    SUITE_LIST(suite_scale, SUITE_SCALES) scales;
    suite_axes axes;
    suite_seeds seeds;
    SUITE_LIST(suite_published, SUITE_PUBLISHED) published;
    SUITE_LIST(suite_figure, SUITE_FIGURES) figures;
} suite;

/* False with the error set: file, line, what is wrong and for an unknown key the nearest. */
bool suite_read(suite *s, const char *path);
/* NULL with the error set when there is none of this name; the first for NULL. */
const suite_scale *suite_scale_named(const suite *s, const char *name);
/* The axis of this name; -1: none. */
int suite_axis_named(const suite *s, const char *name);

/* ---- the runs of one scale ---- */

typedef enum run_state {
    RUN_IS_NEW,
    RUN_IS_PARTIAL,
    RUN_IS_OTHER,
    RUN_IS_DONE,
    RUN_HAS_FAILED
} run_state;
typedef struct suite_run {
    suite_label label;       /* of its items: "RAdam-lr0.1" */
    char name[SUITE_LABEL + 32]; /* and of its seed: the folder */
    int item[SUITE_AXES];    /* index on each axis */
    bool chosen;             /* by --only */
    run_state state;
    config c;
} suite_run;
typedef struct plan {
    const suite *s;
    const suite_scale *scale;
    config_text out;
    int labels, seeds; /* runs of a label stand together */
    int n;
    suite_run *runs; /* [n] */
} plan;
enum { PLAN_PATH = CONFIG_TEXT + 3 * SUITE_LABEL + 64 };

/* Settings come from the config, over it the scale's, over them `set` [n_set] of the command line,
 * over them those in which the runs differ, over them the scale's for these runs.  False with the error
 * set; plan_free() in any case. */
bool plan_make(plan *p, const suite *s, const suite_scale *scale, const char *out, int n_set,
               const char *const *set);
void plan_free(plan *p);
/* OUT/NAME and an ending, "" for the run directory itself. */
const char *plan_path(const plan *p, const suite_run *r, const char *ending, char path[PLAN_PATH]);
/* Whether the runs are done, begun, or with other settings, from what stands in OUT. */
void plan_look(plan *p);
/* The first setting in which what stands there differs; "" when none does. */
void plan_difference(const plan *p, const suite_run *r, config_text difference);

/* ---- training them ---- */

typedef struct job_options {
    int jobs, threads; /* at once, and of each */
    bool quiet;
    int n_plugins;
    const char *const *plugins;
} job_options;
/* Trains the chosen runs that are not done; their state tells how it went.  Returns whether all
 * were given their chance: false after SIGINT or SIGTERM, when the runs under way have saved. */
bool jobs_run(plan *p, const job_options *o);

/* ---- results ---- */

/* Prints the table and writes OUT/SUITE-TABLE.txt, .csv and .md. */
bool suite_table(const plan *p);
bool suite_figures(const plan *p);
/* Whether a low value is a good one: losses, perplexities. */
bool suite_low(const char *metric);
/* Accuracies are shown in %. */
double suite_unit(const char *metric);

#endif
