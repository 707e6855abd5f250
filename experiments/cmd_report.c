/* tenon report: what stands in run directories, on one HTML page.  The page is report_page.c. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tenon.h>
#include <unistd.h>

#include "cli.h"
#include "report.h"
#include "run.h"

enum { MOST = 64 }; /* arguments */

const report_metric report_metrics[REPORT_SERIES] = {
#define X(id, over, key, title, unit) [id] = {over, key, title, unit},
    REPORT_METRICS(X)
#undef X
};

/* ---- gathering ---- */

static bool has(const char *dir, const char *file)
{
    char path[RUN_PATH];
    snprintf(path, sizeof path, "%.*s/%s", CONFIG_TEXT - 1, dir, file);
    return access(path, F_OK) == 0;
}

/* A run that has not come so far has no such numbers yet. */
static void read_metric(report_run *one, int m)
{
    if (!series_read(&one->s[m], one->dir, report_metrics[m].over, report_metrics[m].key) &&
        (tn_error()->code == TN_EARG || !has(one->dir, "metrics.jsonl")))
        tn_error_clear();
    for (int k = 0; k < one->s[m].n; k++)
        one->s[m].y[k] *= report_metrics[m].unit;
}

static bool add_run(report *r, const char *dir)
{
    char path[RUN_PATH];
    report_run *more = realloc(r->runs, (size_t)(r->n + 1) * sizeof *more);
    if (!more)
        return tn_fail(TN_ENOMEM, "no memory for %d runs", r->n + 1), false;
    r->runs = more;
    report_run *one = &r->runs[r->n++];
    *one = (report_run){.finished = has(dir, "model.safetensors")};
    snprintf(one->dir, sizeof one->dir, "%s", dir);
    config_defaults(&one->c);
    snprintf(path, sizeof path, "%.*s/config.yaml", CONFIG_TEXT - 1, dir);
    if (!config_read_file(&one->c, path))
        return false;
    snprintf(path, sizeof path, "%.*s/environment.json", CONFIG_TEXT - 1, dir);
    one->environment = json_load_file(path, 0, NULL);
    for (int m = 0; tn_ok() && m < REPORT_SERIES; m++)
        read_metric(one, m);
    return tn_ok();
}

static bool add_table(report *r, const char *path)
{
    char (*more)[CONFIG_TEXT] = realloc(r->tables, (size_t)(r->n_tables + 1) * sizeof *more);
    if (!more)
        return tn_fail(TN_ENOMEM, "no memory for a table"), false;
    r->tables = more;
    snprintf(r->tables[r->n_tables++], CONFIG_TEXT, "%s", path);
    return true;
}

/* A run, or a folder of runs and tables, as a suite leaves it. */
static bool add(report *r, const char *dir)
{
    struct dirent **list;
    char path[CONFIG_TEXT];
    const int before = r->n;
    if (has(dir, "config.yaml"))
        return add_run(r, dir);
    const int n = scandir(dir, &list, NULL, versionsort);
    if (n < 0)
        return tn_fail(TN_EIO, "%s: %s", dir, strerror(errno)), false;
    for (int i = 0; i < n; i++) {
        const bool fits = snprintf(path, sizeof path, "%s/%s", dir, list[i]->d_name) < CONFIG_TEXT;
        if (tn_ok() && *list[i]->d_name != '.' && fits) {
            if (has(path, "config.yaml"))
                add_run(r, path);
            else if (tn_match("*-table.md", path))
                add_table(r, path);
        }
        free(list[i]);
    }
    free(list);
    if (tn_ok() && r->n == before)
        tn_fail(TN_EARG, "%s is no run directory and holds none: there is no config.yaml", dir);
    return tn_ok();
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

/* The last part of the path; all of it where another run has the same. */
static void name_runs(report *r)
{
    for (int i = 0; i < r->n; i++) {
        report_run *one = &r->runs[i];
        one->name = last_part(one->dir);
        for (int k = 0; k < r->n; k++)
            if (k != i && strcmp(last_part(one->dir), last_part(r->runs[k].dir)) == 0)
                one->name = one->dir;
    }
}

/* ---- the command ---- */

static void write_page(const report *r, const char *path)
{
    FILE *f = fopen(path, "w");
    if (f)
        report_page(r, f);
    const bool failed = f && ferror(f);
    if (!f || (fclose(f) != 0) | failed)
        tn_fail(TN_EIO, "%s: cannot be written: %s", path, strerror(errno));
    if (tn_ok())
        printf("%s: %d run%s\n", path, r->n, r->n == 1 ? "" : "s");
}

/* Without slashes at its end. */
static bool take_argument(const char *given, char dir[CONFIG_TEXT])
{
    size_t n = strlen(given);
    while (n > 1 && given[n - 1] == '/')
        n--;
    if (n >= CONFIG_TEXT)
        return tn_fail(TN_EARG, "%.40s...: this path is too long", given), false;
    snprintf(dir, CONFIG_TEXT, "%.*s", (int)n, given);
    return true;
}

static int run_report(const cli *c)
{
    char dir[CONFIG_TEXT], path[RUN_PATH] = "report.html", title[CONFIG_TEXT] = "Training runs";
    report r = {.title = title};
    for (int i = 0; tn_ok() && i < c->n; i++)
        if (take_argument(c->arguments[i], dir))
            add(&r, dir);
    if (tn_ok() && c->n == 1) {
        snprintf(path, sizeof path, "%s/report.html", dir);
        char *full = realpath(dir, NULL); /* "." has a name, too */
        snprintf(title, sizeof title, "%s", last_part(full ? full : dir));
        free(full);
    }
    if (tn_ok()) {
        name_runs(&r);
        write_page(&r, cli_text(c, "out", path));
    }
    for (int i = 0; i < r.n; i++) {
        for (int m = 0; m < REPORT_SERIES; m++)
            series_free(&r.runs[i].s[m]);
        json_decref(r.runs[i].environment);
    }
    free(r.runs);
    free(r.tables);
    return cli_status();
}

const command command_report = {
    .name = "report",
    .arguments = "DIR...",
    .about = "writes one HTML page about runs\n"
             "DIR is a run directory or one that holds some, as a suite leaves it.  The page has\n"
             "summary, tables of suites, curves, configs and environment; it needs no network.",
    .least = 1,
    .most = MOST,
    .options = (const option_row[]){
        {"out", "FILE.html", "default DIR/report.html of a single DIR, else report.html"},
        {NULL, NULL, NULL},
    },
    .run = run_report,
};
