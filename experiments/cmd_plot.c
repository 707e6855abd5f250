/* tenon plot: a metric of several runs as a table and a figure. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "config.h"
#include "figure.h"
#include "histogram.h"
#include "run.h"
#include "series.h"
#include "suite.h"

enum { MOST_RUNS = 64, NAME = 96 };

typedef struct curve {
    char name[NAME]; /* of the run directory */
    config c;
    series s;
    double *y; /* at the common x */
} curve;

typedef struct plot {
    const char *metric, *x_key;
    double scale; /* accuracies are shown in % */
    int n;
    curve *curves; /* [n] */
    int rows;
    double *x; /* [rows], all that any run has */
} plot;

static void name_of(const char *dir, char name[NAME])
{
    size_t n = strlen(dir);
    while (n > 1 && dir[n - 1] == '/')
        n--;
    size_t start = n;
    while (start > 0 && dir[start - 1] != '/')
        start--;
    snprintf(name, NAME, "%.*s", (int)(n - start), dir + start);
}

static bool load(plot *p, char *const *dirs)
{
    char path[CONFIG_TEXT + 16];
    for (int i = 0; i < p->n; i++) {
        curve *v = &p->curves[i];
        name_of(dirs[i], v->name);
        snprintf(path, sizeof path, "%.*s/config.yaml", CONFIG_TEXT - 1, dirs[i]);
        config_defaults(&v->c);
        if (!config_read_file(&v->c, path) || !series_read(&v->s, dirs[i], p->x_key, p->metric))
            return false;
        for (int k = 0; k < v->s.n; k++)
            v->s.y[k] *= p->scale;
        p->rows += v->s.n;
    }
    return true;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static ptrdiff_t row_of(const plot *p, double x)
{
    const double *at = bsearch(&x, p->x, (size_t)p->rows, sizeof *p->x, by_value);
    return at - p->x;
}

/* One x for all runs: the sorted union of theirs. */
static bool align(plot *p)
{
    int n = 0;
    p->x = calloc((size_t)p->rows + 1, sizeof *p->x);
    for (int i = 0; p->x && i < p->n; i++)
        for (int k = 0; k < p->curves[i].s.n; k++)
            p->x[n++] = p->curves[i].s.x[k];
    if (p->x)
        qsort(p->x, (size_t)n, sizeof *p->x, by_value);
    p->rows = 0;
    for (int i = 0; p->x && i < n; i++)
        if (p->rows == 0 || p->x[i] > p->x[p->rows - 1])
            p->x[p->rows++] = p->x[i];
    for (int i = 0; i < p->n; i++) {
        curve *v = &p->curves[i];
        v->y = calloc((size_t)p->rows + 1, sizeof *v->y);
        if (!p->x || !v->y) {
            tn_fail(TN_ENOMEM, "no memory for %d points", n);
            return false;
        }
        for (int k = 0; k < p->rows; k++)
            v->y[k] = NAN;
        for (int k = 0; k < v->s.n; k++)
            v->y[row_of(p, v->s.x[k])] = v->s.y[k];
    }
    return true;
}

static void print_table(const plot *p)
{
    const bool low = suite_low(p->metric);
    int width = 3;
    for (int i = 0; i < p->n; i++)
        width = (int)strlen(p->curves[i].name) > width ? (int)strlen(p->curves[i].name) : width;
    printf("%-*s  %-9s %9s %7s %9s %9s %9s   %s%s\n", width, "run", "optimizer", "lr", "warmup",
           "last", "best", p->x_key, p->metric, p->scale > 1 ? " in %" : "");
    for (int i = 0; i < p->n; i++) {
        const curve *v = &p->curves[i];
        int best = 0;
        for (int k = 1; k < v->s.n; k++)
            if (low ? v->s.y[k] < v->s.y[best] : v->s.y[k] > v->s.y[best])
                best = k;
        printf("%-*s  %-9.9s %9.4g %7lld %9.4g %9.4g %9.4g\n", width, v->name, v->c.optim.name,
               v->c.optim.lr, (long long)v->c.optim.warmup_steps, v->s.y[v->s.n - 1], v->s.y[best],
               v->s.x[best]);
    }
}

/* The base of the figure's files; makes their folder. */
static bool base_of(const char *out, char base[CONFIG_TEXT])
{
    char folder[CONFIG_TEXT];
    snprintf(base, CONFIG_TEXT, "%s", out);
    char *ending = strrchr(base, '.');
    if (ending && (!strcmp(ending, ".png") || !strcmp(ending, ".svg")))
        *ending = 0;
    snprintf(folder, sizeof folder, "%s", base);
    char *slash = strrchr(folder, '/');
    if (!slash || slash == folder)
        return true;
    *slash = 0;
    return make_directory(folder);
}

static bool draw(const plot *p, const char *out)
{
    char base[CONFIG_TEXT], label[NAME];
    figure_line lines[MOST_RUNS];
    for (int i = 0; i < p->n; i++)
        lines[i] = (figure_line){p->curves[i].name, p->curves[i].y, i % 8, i / 8 % 2 == 1};
    if (!base_of(out, base))
        return false;
    snprintf(label, sizeof label, "%s%s", p->metric, p->scale > 1 ? " (%)" : "");
    for (char *c = label; *c; c++)
        *c = *c == '_' ? ' ' : *c;
    return figure_write(&(figure){.title = label, .x_name = p->x_key, .x_label = p->x_key,
                                  .y_label = label, .settings = "", .rows = p->rows, .x = p->x,
                                  .n_lines = p->n, .lines = lines}, base);
}

static int plot_histograms(const cli *c)
{
    char base[CONFIG_TEXT], names[HISTOGRAM_PANELS][NAME];
    histogram_source runs[HISTOGRAM_PANELS];
    if (c->n > HISTOGRAM_PANELS)
        return cli_wrong(c->command, "--histograms takes at most %d runs", HISTOGRAM_PANELS);
    for (int i = 0; i < c->n; i++) {
        name_of(c->arguments[i], names[i]);
        runs[i] = (histogram_source){c->arguments[i], names[i]};
    }
    if (base_of(cli_text(c, "out", "histograms"), base))
        histogram_plot(c->n, runs, NULL, 0, base);
    return cli_status();
}

static int run_plot(const cli *c)
{
    char out[NAME];
    if (cli_has(c, "histograms"))
        return plot_histograms(c);
    plot p = {.metric = cli_text(c, "metric", "test_accuracy"), .x_key = cli_text(c, "x", "epoch")};
    p.scale = suite_unit(p.metric);
    p.n = c->n;
    p.curves = calloc((size_t)c->n, sizeof *p.curves);
    if (!p.curves)
        tn_fail(TN_ENOMEM, "no memory for %d runs", c->n);
    snprintf(out, sizeof out, "%.80s", p.metric);
    if (tn_ok() && load(&p, c->arguments) && align(&p)) {
        print_table(&p);
        draw(&p, cli_text(c, "out", out));
    }
    for (int i = 0; p.curves && i < p.n; i++) {
        series_free(&p.curves[i].s);
        free(p.curves[i].y);
    }
    free(p.curves);
    free(p.x);
    return cli_status();
}

const command command_plot = {
    .name = "plot",
    .arguments = "RUN...",
    .about = "compares runs: a table and a figure\n"
             "gnuplot draws the figure as PNG and SVG; its data and script are left beside it.",
    .least = 1,
    .most = MOST_RUNS,
    .options = (const option_row[]){
        {"metric", "KEY", "of metrics.jsonl: test_accuracy (default), train_loss, valid_ppl ..."},
        {"x", "KEY", "epoch (default), step or seconds"},
        {"histograms", NULL, "of gradients (histograms.jsonl), a panel for each run, a ridge for each step"},
        {"out", "FILE", "with or without .png; default the metric's name or histograms"},
        {NULL, NULL, NULL},
    },
    .run = run_plot,
};
