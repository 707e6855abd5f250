/* Draws histograms.jsonl: a ridge for each recorded step, time upward; see histogram.h. */
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

typedef struct ridges {
    int n;
    ridge *at; /* [n] */
    char of[NAME];
    double highest;
} ridges;

static bool read_line(ridges *all, const char *text)
{
    json_t *line = json_loads(text, 0, NULL), *counts = NULL;
    const char *of = "";
    json_int_t step = 0, above = 0;
    bool good = line && json_unpack(line, "{s:I,s:s,s:o,s:I}", "step", &step, "of", &of, "counts",
                                    &counts, "above", &above) == 0;
    good = good && json_array_size(counts) == HISTOGRAM_BINS;
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

static bool read_ridges(ridges *all, const char *dir)
{
    char path[CONFIG_TEXT + 24], *line = NULL;
    size_t room = 0;
    int number = 0;
    snprintf(path, sizeof path, "%.*s/histograms.jsonl", CONFIG_TEXT - 1, dir);
    FILE *f = fopen(path, "r");
    if (!f) {
        tn_fail(TN_EIO, "%s: %s; train.histogram_steps makes one", path, strerror(errno));
        return false;
    }
    for (ssize_t n; tn_ok() && (n = getline(&line, &room, f)) > 0 && line[n - 1] == '\n';) {
        number++;
        if (!read_line(all, line))
            tn_fail(TN_EFORMAT, "%s:%d: not a line of histograms", path, number);
    }
    if (tn_ok() && all->n == 0)
        tn_fail(TN_EARG, "%s: no step is recorded yet", path);
    free(line);
    fclose(f);
    return tn_ok();
}

/* Powers of e along x; the steps along y, so many that they can be read. */
static void axes(const ridges *all, const double x[ROWS], double lift, char text[SETTINGS])
{
    const int stride = (all->n + MOST_LABELS - 1) / MOST_LABELS;
    int n = snprintf(text, SETTINGS, "set xrange [%g:%g]\nset yrange [0:*]\nset xtics -20,2\n"
                     "set format x 'e^{%%g}'\nunset key\nset grid noytics\nset ytics (",
                     x[0], x[ROWS - 1]);
    for (int i = 0; i < all->n; i += stride)
        n += snprintf(text + n, (size_t)(SETTINGS - n), "%s'%s' %.9g", i ? ", " : "",
                      all->at[i].step, i * lift);
    snprintf(text + n, (size_t)(SETTINGS - n), ")\n");
}

static bool draw(const ridges *all, const char *base)
{
    double x[ROWS];
    char of[NAME], title[2 * NAME], x_label[2 * NAME], settings[SETTINGS];
    figure_line *lines = calloc((size_t)all->n, sizeof *lines);
    /* a ridge may cover three of its neighbours, and where there are many, a tenth of the figure */
    const double cover = all->n > 30 ? all->n / 10.0 : 3, lift = all->highest / cover;
    for (int i = 0; i < ROWS; i++)
        x[i] = HISTOGRAM_LOW + (i - 0.5) * HISTOGRAM_WIDTH;
    if (!lines) {
        tn_fail(TN_ENOMEM, "no memory for %d histograms", all->n);
        return false;
    }
    for (int i = 0; i < all->n; i++)
        lines[i] = (figure_line){.name = all->at[i].step, .y = all->at[i].share};
    axes(all, x, lift, settings);
    strcpy(of, all->of);
    for (char *c = of; *c; c++)
        *c = *c == '_' ? ' ' : *c;
    snprintf(title, sizeof title, "%s, all elements", of);
    snprintf(x_label, sizeof x_label, "|%s| + 1e-9", of);
    figure_write(&(figure){.title = title, .x_name = "ln(|v| + 1e-9)", .x_label = x_label,
                           .y_label = "step", .settings = settings, .lift = lift > 0 ? lift : 1,
                           .rows = ROWS, .x = x, .n_lines = all->n, .lines = lines},
                 base);
    free(lines);
    return tn_ok();
}

bool histogram_plot(const char *run_dir, const char *base)
{
    ridges all = {0};
    const bool good = read_ridges(&all, run_dir) && draw(&all, base);
    free(all.at);
    return good;
}
