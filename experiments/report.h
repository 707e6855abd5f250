/* What a report is made of: runs and what stands in their directories.  cmd_report.c gathers it,
 * report_page.c writes the page, report_chart.c its curves. */
#ifndef TENON_REPORT_H
#define TENON_REPORT_H

#include <jansson.h>

#include "config.h"
#include "series.h"

/* What is told of runs: X(id, over what, key in metrics.jsonl, title, unit). */
#define REPORT_METRICS(X)                                                 \
    X(REPORT_ACCURACY, "epoch", "test_accuracy", "Test accuracy, %", 100) \
    X(REPORT_TEST_LOSS, "epoch", "test_loss", "Test loss", 1)             \
    X(REPORT_TRAIN_LOSS, "epoch", "train_loss", "Training loss", 1)       \
    X(REPORT_LOSS, "step", "loss", "Training loss of updates", 1)         \
    X(REPORT_PPL, "epoch", "valid_ppl", "Validation perplexity", 1)       \
    X(REPORT_SECONDS, "epoch", "seconds", "Wall time, s", 1)
enum {
#define X(id, ...) id,
    REPORT_METRICS(X)
#undef X
    REPORT_SERIES,
    REPORT_CHARTS = REPORT_SECONDS /* the others are drawn */
};
typedef struct report_metric {
    const char *over, *key, *title;
    double unit;
} report_metric;
extern const report_metric report_metrics[REPORT_SERIES];

typedef struct report_run {
    char dir[CONFIG_TEXT];
    const char *name;       /* within dir: as short as tells it from the others */
    config c;
    json_t *environment;    /* NULL: the directory does not tell */
    series s[REPORT_SERIES]; /* in their unit; may be empty */
    bool finished;
} report_run;
typedef struct report {
    const char *title;
    int n;
    report_run *runs;        /* [n] */
    int n_tables;
    char (*tables)[CONFIG_TEXT]; /* [n_tables]: Markdown files of suites */
} report;

/* False with the error set. */
bool report_page(const report *r, FILE *out);

/* Metric m of all runs, as SVG whose colours are classes c0..c7, dashes d0..d2. */
void report_chart(const report *r, int m, FILE *out);
enum { REPORT_COLOURS = 8, REPORT_DASHES = 3 };

/* Escaped for HTML, text and quoted attributes. */
void report_text(const char *text, FILE *out);

#endif
