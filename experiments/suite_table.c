/* The table of a suite: what was published, what was measured (best and last, mean and standard
 * deviation over the seeds), and the difference; as text, CSV and Markdown. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "run.h"
#include "series.h"
#include "suite.h"

/* The columns: X(id, title). */
#define COLUMNS(X)                                                                               \
    X(RUN, "run") X(BEST_OF, "best of") X(PUBLISHED, "published") X(BEST, "best")                \
    X(BEST_STD, "std") X(DIFFERENCE, "difference") X(LAST, "last") X(LAST_STD, "std")            \
    X(SEEDS, "seeds")
enum {
#define X(id, title) id,
    COLUMNS(X)
#undef X
    WIDTH,
    CELL = SUITE_LABEL
};
static const char *const titles[] = {
#define X(id, title) title,
    COLUMNS(X)
#undef X
};

typedef struct mean {
    double mean, std; /* of the sample; NAN when there is too little */
} mean;
typedef struct result { /* of a label, over its seeds */
    int n;
    mean best, last;
} result;
typedef struct table {
    const plan *p;
    bool low; /* is better */
    result *results; /* [labels] */
    int rows;
    char (*cells)[WIDTH][CELL];
} table;

bool suite_low(const char *metric)
{
    return strstr(metric, "loss") || strstr(metric, "nll") || strstr(metric, "ppl");
}

double suite_unit(const char *metric)
{
    return strstr(metric, "accuracy") || strcmp(metric, "best") == 0 ? 100 : 1;
}

/* ---- numbers ---- */

static mean mean_of(const double *x, int n)
{
    mean m = {n > 0 ? 0 : NAN, n > 1 ? 0 : NAN};
    for (int i = 0; i < n; i++)
        m.mean += x[i] / n;
    for (int i = 0; n > 1 && i < n; i++)
        m.std += (x[i] - m.mean) * (x[i] - m.mean) / (n - 1);
    m.std = sqrt(m.std);
    return m;
}

static void gather(table *t, int label)
{
    char dir[PLAN_PATH];
    double best[SUITE_SEEDS], last[SUITE_SEEDS];
    result *r = &t->results[label];
    const char *metric = t->p->s->metric;
    const double unit = suite_unit(metric);
    for (int i = label * t->p->seeds; i < (label + 1) * t->p->seeds; i++) {
        series s;
        if (t->p->runs[i].state != RUN_IS_DONE)
            continue;
        if (series_read(&s, plan_path(t->p, &t->p->runs[i], "", dir), "epoch", metric)) {
            double top = s.y[0];
            for (int k = 1; k < s.n; k++)
                top = t->low ? fmin(top, s.y[k]) : fmax(top, s.y[k]);
            best[r->n] = unit * top;
            last[r->n++] = unit * s.y[s.n - 1];
        }
        series_free(&s);
    }
    r->best = mean_of(best, r->n);
    r->last = mean_of(last, r->n);
}

/* ---- rows ---- */

static void set_number(char cell[CELL], const char *format, double value)
{
    if (!isnan(value))
        snprintf(cell, CELL, format, value);
}

/* best_of "" : a row of its own label. */
static void add_row(table *t, int label, const char *best_of, double published)
{
    char (*cell)[CELL] = t->cells[t->rows++];
    const result *r = label < 0 ? &(result){0, {NAN, NAN}, {NAN, NAN}} : &t->results[label];
    const int digits = t->p->s->published.n || suite_unit(t->p->s->metric) > 1;
    const char *format = digits ? "%.2f" : "%.4g";
    snprintf(cell[RUN], CELL, "%s", label < 0 ? "" : t->p->runs[label * t->p->seeds].label);
    snprintf(cell[BEST_OF], CELL, "%s", best_of);
    set_number(cell[PUBLISHED], format, published);
    set_number(cell[BEST], format, r->best.mean);
    set_number(cell[BEST_STD], format, r->best.std);
    if (t->p->scale->compare)
        set_number(cell[DIFFERENCE], digits ? "%+.2f" : "%+.4g", r->best.mean - published);
    set_number(cell[LAST], format, r->last.mean);
    set_number(cell[LAST_STD], format, r->last.std);
    snprintf(cell[SEEDS], CELL, "%d", r->n);
}

static const char *label_of(const table *t, int label)
{
    return t->p->runs[label * t->p->seeds].label;
}

/* Of the labels that match, the one with the best mean; -1 when none has been run. */
static int best_label(const table *t, const char *pattern)
{
    int found = -1;
    for (int i = 0; i < t->p->labels; i++) {
        const double x = t->results[i].best.mean;
        if (t->results[i].n == 0 || !tn_match(pattern, label_of(t, i)))
            continue;
        const double y = found < 0 ? NAN : t->results[found].best.mean;
        if (found < 0 || (t->low ? x < y : x > y))
            found = i;
    }
    return found;
}

static bool is_label(const table *t, const char *name)
{
    bool found = false;
    for (int i = 0; i < t->p->labels; i++)
        found |= strcmp(name, label_of(t, i)) == 0;
    return found;
}

static void fill(table *t)
{
    const suite *s = t->p->s;
    for (int k = 0; k < s->published.n; k++)
        if (!is_label(t, s->published.at[k].runs))
            add_row(t, best_label(t, s->published.at[k].runs), s->published.at[k].runs,
                    s->published.at[k].value);
    for (int i = 0; i < t->p->labels; i++) {
        double published = NAN;
        for (int k = 0; k < s->published.n; k++)
            if (strcmp(s->published.at[k].runs, label_of(t, i)) == 0)
                published = s->published.at[k].value;
        add_row(t, i, "", published);
    }
}

/* ---- writing ---- */

static int width_of(const table *t, int column)
{
    size_t width = strlen(titles[column]);
    for (int i = 0; i < t->rows; i++)
        width = strlen(t->cells[i][column]) > width ? strlen(t->cells[i][column]) : width;
    return (int)width;
}

static void about(const table *t, FILE *out)
{
    const plan *p = t->p;
    fprintf(out, "%s\n%s scale%s%s; %s%s; mean and standard deviation over the seeds.\n",
            p->s->title, p->scale->name, *p->scale->about ? ": " : "", p->scale->about,
            p->s->metric, suite_unit(p->s->metric) > 1 ? " in %" : "");
    if (!p->scale->compare && p->s->published.n)
        fputs("The published values are of the paper's own task and cannot be compared at this "
              "scale.\n",
              out);
}

static void write_text(const table *t, FILE *out)
{
    about(t, out);
    for (int i = -1; i < t->rows; i++) {
        for (int c = 0; c < WIDTH; c++) {
            const int width = width_of(t, c);
            fprintf(out, "%s%*s", c ? "  " : "", c < PUBLISHED ? -width : width,
                    i < 0 ? titles[c] : t->cells[i][c]);
        }
        fputc('\n', out);
    }
}

static void write_csv(const table *t, FILE *out)
{
    for (int c = 0; c < WIDTH; c++)
        fprintf(out, "%s%s%s", c ? "," : "", titles[c],
                c == BEST_STD ? " of best" : c == LAST_STD ? " of last" : "");
    fputc('\n', out);
    for (int i = 0; i < t->rows; i++)
        for (int c = 0; c < WIDTH; c++)
            fprintf(out, "%s%c", t->cells[i][c], c == WIDTH - 1 ? '\n' : ',');
}

static void write_markdown(const table *t, FILE *out)
{
    about(t, out);
    for (int i = -2; i < t->rows; i++) {
        fputc(i == -2 ? '\n' : '|', out);
        if (i == -2)
            fputc('|', out);
        for (int c = 0; c < WIDTH; c++)
            fprintf(out, " %s |",
                    i == -2   ? titles[c]
                    : i == -1 ? c < PUBLISHED ? "---" : "---:"
                              : t->cells[i][c]);
        fputc('\n', out);
    }
}

static void write_file(const table *t, const char *ending, void (*write)(const table *, FILE *))
{
    char path[PLAN_PATH];
    snprintf(path, sizeof path, "%.*s/%s-%s%s", CONFIG_TEXT - 1, t->p->out, t->p->s->name,
             t->p->s->table, ending);
    FILE *f = fopen(path, "w");
    if (f)
        write(t, f);
    const bool failed = !f || ferror(f);
    if ((f && fclose(f) != 0) | failed)
        tn_fail(TN_EIO, "%s: cannot be written: %s", path, strerror(errno));
}

bool suite_table(const plan *p)
{
    table t = {.p = p, .low = suite_low(p->s->metric)};
    t.results = calloc((size_t)p->labels, sizeof *t.results);
    t.cells = calloc((size_t)(p->labels + p->s->published.n), sizeof *t.cells);
    if (!t.results || !t.cells)
        tn_fail(TN_ENOMEM, "no memory for the table");
    for (int i = 0; tn_ok() && i < p->labels; i++)
        gather(&t, i);
    if (tn_ok() && make_directory(p->out)) {
        fill(&t);
        write_text(&t, stdout);
        write_file(&t, ".txt", write_text);
        write_file(&t, ".csv", write_csv);
        write_file(&t, ".md", write_markdown);
    }
    free(t.results);
    free(t.cells);
    return tn_ok();
}
