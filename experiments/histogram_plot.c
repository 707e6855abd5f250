/* Draws histograms.jsonl: a panel for each run, in it a ridge for each recorded step, time upward; see
 * histogram.h. */
#define _GNU_SOURCE
#include "histogram.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "figure.h"

/* An empty bin stands below the first one, so that ridges begin at their base; what is above the
 * last one has the last row. */
enum { NAME = 24, SETTINGS = 2048, MOST_LABELS = 20, ROWS = HISTOGRAM_BINS + 2 };

typedef struct ridge {
    char step[NAME];
    double share[ROWS]; /* of all elements */
} ridge;

typedef struct ridges { /* those of a run stand together */
    int n, most; /* of all runs; of the one with the most */
    ridge *at;   /* [n] */
    char of[NAME];
    double highest;
    int64_t freeze, until; /* of the run that is read */
} ridges;

static bool read_line(ridges *all, const char *text)
{
    json_t *line = json_loads(text, 0, NULL), *counts = NULL;
    const char *of = "";
    json_int_t step = 0, above = 0;
    bool good = line && json_unpack(line, "{s:I,s:s,s:o,s:I}", "step", &step, "of", &of, "counts",
                                    &counts, "above", &above) == 0;
    good = good && json_array_size(counts) == HISTOGRAM_BINS;
    step -= all->freeze;
    if (good && all->until > 0 && step > all->until)
        return json_decref(line), true;
    ridge *more = good ? realloc(all->at, (size_t)(all->n + 1) * sizeof *more) : NULL;
    if (more) {
        ridge *r = &(all->at = more)[all->n++];
        double sum = r->share[ROWS - 1] = (double)above;
        r->share[0] = 0;
        snprintf(r->step, NAME, "%lld", (long long)step);
        snprintf(all->of, NAME, "%s", of);
        for (int i = 0; i < HISTOGRAM_BINS; i++)
            sum += r->share[i + 1] = json_number_value(json_array_get(counts, (size_t)i));
        for (int i = 0; i < ROWS; i++) {
            r->share[i] /= sum > 0 ? sum : 1;
            all->highest = r->share[i] > all->highest ? r->share[i] : all->highest;
        }
    } else if (good) {
        tn_fail(TN_ENOMEM, "no memory for %d histograms", all->n + 1);
    }
    json_decref(line);
    return good;
}

/* How many steps of the run only looked on. */
static bool read_freeze(ridges *all, const char *dir)
{
    char path[CONFIG_TEXT + 24];
    config *c = malloc(sizeof *c);
    if (!c)
        return tn_fail(TN_ENOMEM, "no memory for a config") != NULL;
    config_defaults(c);
    snprintf(path, sizeof path, "%.*s/config.yaml", CONFIG_TEXT - 1, dir);
    const bool good = config_read_file(c, path);
    all->freeze = c->optim.freeze_steps;
    free(c);
    return good;
}

/* Adds those of a run; how many, or -1 with the error set. */
static int read_ridges(ridges *all, const char *dir)
{
    char path[CONFIG_TEXT + 24], *line = NULL;
    size_t room = 0;
    int number = 0;
    const int before = all->n;
    snprintf(path, sizeof path, "%.*s/histograms.jsonl", CONFIG_TEXT - 1, dir);
    FILE *f = fopen(path, "r");
    if (!f) {
        tn_fail(TN_EIO, "%s: %s; train.histogram_steps makes one", path, strerror(errno));
        return -1;
    }
    read_freeze(all, dir);
    for (ssize_t n; tn_ok() && (n = getline(&line, &room, f)) > 0 && line[n - 1] == '\n';) {
        number++;
        if (!read_line(all, line))
            tn_fail(TN_EFORMAT, "%s:%d: not a line of histograms", path, number);
    }
    if (tn_ok() && all->n == before)
        tn_fail(TN_EARG, "%s: no step is recorded yet", path);
    free(line);
    fclose(f);
    all->most = all->n - before > all->most ? all->n - before : all->most;
    return tn_ok() ? all->n - before : -1;
}

/* The steps along y, so many that they can be read. */
static void label_steps(const ridge *at, int rows, double lift, char text[SETTINGS])
{
    const int stride = (rows + MOST_LABELS - 1) / MOST_LABELS;
    int n = snprintf(text, SETTINGS, "set ytics (");
    for (int i = 0; i < rows; i += stride)
        n += snprintf(text + n, (size_t)(SETTINGS - n), "%s'%s' %.9g", i ? ", " : "", at[i].step, i * lift);
    snprintf(text + n, (size_t)(SETTINGS - n), ")\n");
}

typedef struct drawing {
    figure_panel panels[HISTOGRAM_PANELS];
    char settings[HISTOGRAM_PANELS][SETTINGS];
} drawing;

/* A ridge may cover three of its neighbours, and where there are many, a tenth of the figure. */
static double lift_of(const ridges *all)
{
    const double lift = all->highest / (all->most > 30 ? all->most / 10.0 : 3);
    return lift > 0 ? lift : 1;
}

static bool draw(const ridges *all, int n, const histogram_source *runs, const int counts[HISTOGRAM_PANELS],
                 const char *title, const char *base)
{
    double x[ROWS];
    char of[NAME], own[2 * NAME], x_label[2 * NAME], settings[128];
    drawing *d = calloc(1, sizeof *d);
    figure_line *lines = calloc((size_t)all->n + 1, sizeof *lines);
    const double lift = lift_of(all);
    for (int i = 0; i < ROWS; i++)
        x[i] = HISTOGRAM_LOW + (i - 0.5) * HISTOGRAM_WIDTH;
    if (!d || !lines) {
        free(d);
        free(lines);
        return tn_fail(TN_ENOMEM, "no memory for %d histograms", all->n) != NULL;
    }
    for (int i = 0; i < all->n; i++)
        lines[i] = (figure_line){.name = all->at[i].step, .y = all->at[i].share};
    for (int i = 0, from = 0; i < n; from += counts[i++]) {
        label_steps(all->at + from, counts[i], lift, d->settings[i]);
        d->panels[i] = (figure_panel){runs[i].name, counts[i], d->settings[i]};
    }
    snprintf(settings, sizeof settings, "set xrange [%g:%g]\nset yrange [0:*]\nset xtics -20,%d\n"
             "set format x 'e^{%%g}'\nunset key\nset grid noytics\n", x[0], x[ROWS - 1], n > 1 ? 4 : 2);
    if (n == 1)
        strcat(d->settings[0], settings);
    strcpy(of, all->of);
    for (char *c = of; *c; c++)
        *c = *c == '_' ? ' ' : *c;
    snprintf(own, sizeof own, "%s, all elements", of);
    snprintf(x_label, sizeof x_label, "|%s| + 1e-9", of);
    figure_write(&(figure){.title = title ? title : own, .x_name = "ln(|v| + 1e-9)", .x_label = x_label,
                           .y_label = "step", .settings = n == 1 ? d->settings[0] : settings, .lift = lift,
                           .rows = ROWS, .x = x, .n_lines = all->n, .lines = lines,
                           .n_panels = n > 1 ? n : 0, .panels = d->panels},
                 base);
    free(lines);
    free(d);
    return tn_ok();
}

bool histogram_plot(int n, const histogram_source *runs, const char *title, int64_t until, const char *base)
{
    ridges all = {.until = until};
    int counts[HISTOGRAM_PANELS];
    if (n > HISTOGRAM_PANELS)
        tn_fail(TN_EARG, "histograms of at most %d runs fit on one figure", HISTOGRAM_PANELS);
    for (int i = 0; i < n && tn_ok(); i++)
        counts[i] = read_ridges(&all, runs[i].dir);
    const bool good = tn_ok() && draw(&all, n, runs, counts, title, base);
    free(all.at);
    return good;
}
