/* The figures of a suite: a metric over the epochs, a line for each value of one axis and a panel
 * for each of another; or its last value against an axis of numbers.  Several seeds are shown by
 * their mean. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "figure.h"
#include "histogram.h"
#include "run.h"
#include "series.h"
#include "suite.h"

typedef struct drawing {
    const plan *p;
    const suite_figure *f;
    int x_axis, line_axis, panel_axis; /* -1: none */
    int rows, n_lines, n_panels;
    double *x, *y; /* [rows], [n_lines, rows] */
    int *seen;     /* as y: how many seeds are in the mean */
    figure_line *lines;
    figure_panel *panels;
} drawing;

static int items_of(const drawing *d, int axis) { return axis < 0 ? 1 : d->p->s->axes.at[axis].n; }

/* Lines of a panel stand together.  Without axes each label has its line. */
static int line_of(const drawing *d, int i)
{
    const int *item = d->p->runs[i].item;
    if (d->line_axis < 0 && d->panel_axis < 0 && d->x_axis < 0)
        return i / d->p->seeds;
    const int line = d->line_axis < 0 ? 0 : item[d->line_axis];
    return (d->panel_axis < 0 ? 0 : item[d->panel_axis]) * items_of(d, d->line_axis) + line;
}

/* On the axis of x. */
static double place_of(const drawing *d, int i)
{
    return d->p->s->axes.at[d->x_axis].item[d->p->runs[i].item[d->x_axis]].value;
}

/* Adds the points of one run to its line: all of them, or the last at its place on the axis. */
static void add_run(drawing *d, int i)
{
    char dir[PLAN_PATH];
    series s;
    const bool against = d->x_axis >= 0;
    const double unit = suite_unit(d->f->y);
    const size_t line = (size_t)line_of(d, i) * (size_t)d->rows;
    plan_path(d->p, &d->p->runs[i], "", dir);
    if (series_read(&s, dir, against ? "epoch" : d->f->x, d->f->y))
        for (int k = against ? s.n - 1 : 0; k < s.n; k++) {
            const double x = against ? place_of(d, i) : s.x[k];
            int row = 0;
            while (row < d->rows && d->x[row] < x)
                row++;
            if (row == d->rows || d->x[row] > x)
                continue;
            double *mean = &d->y[line + (size_t)row];
            *mean += (unit * s.y[k] - *mean) / ++d->seen[line + (size_t)row];
        }
    series_free(&s);
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The values of x that occur, ascending. */
static bool find_x(drawing *d)
{
    char dir[PLAN_PATH];
    int n = 0, room = 0;
    for (int i = d->x_axis < 0 ? 0 : d->p->n; tn_ok() && i < d->p->n; i++) {
        series s;
        if (d->p->runs[i].state != RUN_IS_DONE)
            continue;
        if (series_read(&s, plan_path(d->p, &d->p->runs[i], "", dir), d->f->x, d->f->y)) {
            double *more = realloc(d->x, (size_t)(room += s.n) * sizeof *d->x);
            if (!more)
                tn_fail(TN_ENOMEM, "no memory for %d points", room);
            d->x = more ? more : d->x;
            for (int k = 0; more && k < s.n; k++)
                d->x[n++] = s.x[k];
        }
        series_free(&s);
    }
    if (d->x_axis >= 0) {
        const suite_axis *axis = &d->p->s->axes.at[d->x_axis];
        d->x = calloc((size_t)axis->n, sizeof *d->x);
        for (int i = 0; d->x && i < axis->n; i++)
            if (!isnan(axis->item[i].value))
                d->x[n++] = axis->item[i].value;
    }
    if (n > 0 && d->x)
        qsort(d->x, (size_t)n, sizeof *d->x, by_value);
    for (int i = 0; d->x && i < n; i++)
        if (d->rows == 0 || d->x[i] > d->x[d->rows - 1])
            d->x[d->rows++] = d->x[i];
    return tn_ok();
}

static bool make_lines(drawing *d)
{
    const suite_axes *axes = &d->p->s->axes;
    const bool by_label = d->line_axis < 0 && d->panel_axis < 0 && d->x_axis < 0;
    const int each = items_of(d, d->line_axis);
    d->n_panels = d->panel_axis < 0 ? 0 : items_of(d, d->panel_axis);
    d->n_lines = by_label ? d->p->labels : each * items_of(d, d->panel_axis);
    d->y = calloc((size_t)d->n_lines * (size_t)d->rows, sizeof *d->y);
    d->seen = calloc((size_t)d->n_lines * (size_t)d->rows, sizeof *d->seen);
    d->lines = calloc((size_t)d->n_lines, sizeof *d->lines);
    d->panels = calloc((size_t)d->n_panels + 1, sizeof *d->panels);
    if (!d->y || !d->seen || !d->lines || !d->panels)
        return tn_fail(TN_ENOMEM, "no memory for a figure") != NULL;
    for (int i = 0; i < d->n_lines; i++) {
        const char *name = d->line_axis >= 0 ? axes->at[d->line_axis].item[i % each].label
                           : by_label        ? d->p->runs[i * d->p->seeds].label
                                             : d->f->y;
        d->lines[i] = (figure_line){name, d->y + (size_t)i * (size_t)d->rows, i % each, false};
        if (by_label)
            d->lines[i].colour = i, d->lines[i].dashed = i / 8 % 2 == 1;
    }
    for (int i = 0; i < d->n_panels; i++)
        d->panels[i] = (figure_panel){.title = axes->at[d->panel_axis].item[i].label, .n_lines = each};
    return true;
}

static bool fill(drawing *d)
{
    for (int i = 0; i < d->p->n && tn_ok(); i++)
        if (d->p->runs[i].state == RUN_IS_DONE)
            add_run(d, i);
    for (size_t i = 0; i < (size_t)d->n_lines * (size_t)d->rows; i++)
        if (d->seen[i] == 0)
            d->y[i] = NAN;
    return tn_ok();
}

static bool is_empty(const drawing *d, const figure_line *line)
{
    int n = 0;
    for (int k = 0; k < d->rows; k++)
        n += !isnan(line->y[k]);
    return n == 0;
}

/* Lines and panels of which nothing has been run yet are left out. */
static void drop_empty(drawing *d)
{
    int from = 0, lines = 0, panels = 0;
    for (int i = 0; from < d->n_lines; i++) {
        const int before = lines, to = d->n_panels ? from + d->panels[i].n_lines : d->n_lines;
        for (; from < to; from++)
            if (!is_empty(d, &d->lines[from]))
                d->lines[lines++] = d->lines[from];
        if (d->n_panels && lines > before)
            d->panels[panels++] = (figure_panel){.title = d->panels[i].title, .n_lines = lines - before};
    }
    d->n_lines = lines;
    d->n_panels = panels;
}

static bool write_it(const drawing *d)
{
    char base[PLAN_PATH], label[SUITE_LABEL + 16], settings[96] = "";
    const suite *s = d->p->s;
    const bool against = d->x_axis >= 0;
    if (*d->f->name)
        snprintf(base, sizeof base, "%.*s/%s", CONFIG_TEXT - 1, d->p->out, d->f->name);
    else
        snprintf(base, sizeof base, "%.*s/%s-%s-over-%s", CONFIG_TEXT - 1, d->p->out, s->name, d->f->y, d->f->x);
    snprintf(label, sizeof label, "%s%s%s", against ? "last " : "", d->f->y,
             suite_unit(d->f->y) > 1 ? " (%)" : "");
    for (char *c = label; *c; c++)
        *c = *c == '_' ? ' ' : *c;
    if (against)
        snprintf(settings, sizeof settings, "set logscale x\nset xrange [%.6g:%.6g]\n",
                 d->x[0] / 1.2, d->x[d->rows - 1] * 1.2);
    return figure_write(&(figure){
        .title = *d->f->title ? d->f->title : s->title,
        .x_name = d->f->x,
        .x_label = d->f->x,
        .y_label = label,
        .settings = settings,
        .rows = d->rows,
        .x = d->x,
        .n_lines = d->n_lines,
        .lines = d->lines,
        .n_panels = d->n_panels,
        .panels = d->panels,
    }, base);
}

static bool draw(const plan *p, const suite_figure *f)
{
    drawing d = {.p = p, .f = f, .x_axis = suite_axis_named(p->s, f->x),
                 .line_axis = suite_axis_named(p->s, f->lines),
                 .panel_axis = suite_axis_named(p->s, f->panels)};
    bool good = find_x(&d);
    if (good && d.rows > 0)
        good = make_lines(&d) && fill(&d);
    if (good && d.rows > 0)
        drop_empty(&d);
    if (good && d.n_lines > 0)
        good = write_it(&d);
    free(d.x);
    free(d.y);
    free(d.seen);
    free(d.lines);
    free(d.panels);
    return good;
}

/* Of the first seed that is done of each label; labels that none is done of are left out. */
static bool draw_histograms(const plan *p, const suite_figure *f)
{
    char base[PLAN_PATH], dirs[SUITE_PANELS][PLAN_PATH];
    histogram_source runs[SUITE_PANELS];
    int n = 0;
    for (int k = 0; k < f->n_histograms; k++)
        for (int i = 0; i < p->n; i++)
            if (strcmp(p->runs[i].label, f->histograms[k]) == 0 && p->runs[i].state == RUN_IS_DONE) {
                runs[n] = (histogram_source){plan_path(p, &p->runs[i], "", dirs[n]), p->runs[i].label};
                n++;
                break;
            }
    snprintf(base, sizeof base, "%.*s/%s", CONFIG_TEXT - 1, p->out, *f->name ? f->name : "histograms");
    return n == 0 || histogram_plot(n, runs, *f->title ? f->title : p->s->title, (int64_t)f->until, base);
}

bool suite_figures(const plan *p)
{
    bool any = false;
    for (int i = 0; i < p->n; i++)
        any |= p->runs[i].state == RUN_IS_DONE;
    for (int i = 0; any && i < p->s->figures.n; i++)
        if (!(p->s->figures.at[i].n_histograms ? draw_histograms : draw)(p, &p->s->figures.at[i]))
            return false;
    return true;
}
