/* The page of a report: one HTML file that asks for nothing else, neither script nor network, and
 * is legible in light and dark.  What it tells is gathered in cmd_report.c. */
#define _GNU_SOURCE
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "environment.h"
#include "report.h"

/* Colours that stay apart for the colour-blind (Okabe and Ito), lighter on a dark ground. */
static const char style[] =
    ":root{color-scheme:light dark;--ground:#fff;--ink:#1b1f24;--pale:#5b6570;--rule:#d8dee4;"
    "--band:#f5f7f9;--c0:#0072b2;--c1:#d55e00;--c2:#009e73;--c3:#b8568f;--c4:#b07d00;--c5:#3d9bd4;"
    "--c6:#1b1f24;--c7:#7a7a00}\n"
    "@media(prefers-color-scheme:dark){:root{--ground:#14181d;--ink:#e3e7ec;--pale:#98a2ad;"
    "--rule:#353d46;--band:#1c2229;--c0:#4ea3e0;--c1:#f0803c;--c2:#2dc495;--c3:#e19cc5;--c4:#e6b145;"
    "--c5:#8fd0f5;--c6:#e3e7ec;--c7:#c9c94a}}\n"
    "body{margin:0 auto;padding:1.5rem;max-width:80rem;background:var(--ground);color:var(--ink);"
    "font:14px/1.5 system-ui,sans-serif}\n"
    "h1{font-size:1.6rem;margin:0}h2{font-size:1.15rem;margin:2rem 0 .6rem}"
    "p,.about{color:var(--pale);margin:.2rem 0 1rem}\n"
    ".wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}"
    "th,td{padding:.25rem .6rem;border-bottom:1px solid var(--rule);text-align:left;"
    "white-space:nowrap}td.text{white-space:normal;max-width:36rem}"
    "td.n,th.n{text-align:right}th{font-weight:600;color:var(--pale)}"
    "tbody tr:hover{background:var(--band)}\n"
    ".charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(27rem,100%),1fr));gap:1rem}"
    "svg{display:block;width:100%;height:auto}svg text{font-size:12px;fill:var(--pale)}"
    "svg .title{font-size:14px;font-weight:600;fill:var(--ink)}.grid{stroke:var(--rule)}"
    ".axis{fill:none;stroke:var(--pale)}"
    ".run{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}"
    ".run:hover{stroke-width:4}.d1{stroke-dasharray:7 5}.d2{stroke-dasharray:1 5}\n"
    ".key{display:inline-block;vertical-align:middle;width:28px;height:10px;margin-right:.5rem}\n"
    "details{border-bottom:1px solid var(--rule);padding:.3rem 0}summary{cursor:pointer}"
    "pre{background:var(--band);padding:.8rem;overflow-x:auto;font-size:13px;line-height:1.4}\n"
    "@media print{body{max-width:none}}\n";

void report_text(const char *text, FILE *out)
{
    for (; *text; text++)
        switch (*text) {
        case '&': fputs("&amp;", out); break;
        case '<': fputs("&lt;", out); break;
        case '>': fputs("&gt;", out); break;
        case '"': fputs("&quot;", out); break;
        case '\'': fputs("&#39;", out); break;
        default: fputc((unsigned char)*text < ' ' && *text != '\n' ? ' ' : *text, out);
        }
}

static void cell(const char *tag, const char *text, bool number, FILE *out)
{
    fprintf(out, "<%s%s>", tag, number ? " class='n'" : "");
    report_text(text, out);
    fprintf(out, "</%s>", tag);
}

/* An empty cell for NAN. */
static void number_cell(int decimals, double value, FILE *out)
{
    char text[352] = "";
    if (!isnan(value))
        snprintf(text, sizeof text, "%.*f", decimals, value);
    cell("td", text, true, out);
}

/* The sign of run i in the charts, and its name. */
static void run_cell(const report *r, int i, FILE *out)
{
    fprintf(out, "<td><svg class='key' viewBox='0 0 28 10' aria-hidden='true'>"
            "<path class='run c%d d%d' d='M1 5H27'/></svg>",
            i % REPORT_COLOURS, i / REPORT_COLOURS % REPORT_DASHES);
    report_text(r->runs[i].name, out);
    fputs("</td>", out);
}

static void open_table(const char *title, FILE *out)
{
    fprintf(out, "<h2>%s</h2>\n<div class='wide'><table>\n", title);
}

static void close_table(FILE *out) { fputs("</tbody></table></div>\n", out); }

/* ---- summary ---- */

/* Whether any run has the metric: images have no perplexity, sentences no accuracy. */
static bool told(const report *r, int m)
{
    for (int i = 0; i < r->n; i++)
        if (r->runs[i].s[m].n > 0)
            return true;
    return false;
}

static double last(const series *s) { return s->n ? s->y[s->n - 1] : NAN; }

/* The highest, or lowest, and its epoch; an empty cell when there is none. */
static void best_cell(const series *s, bool low, FILE *out)
{
    char text[96] = "";
    int k = 0;
    for (int i = 1; i < s->n; i++)
        k = (low ? s->y[i] < s->y[k] : s->y[i] > s->y[k]) ? i : k;
    if (s->n)
        snprintf(text, sizeof text, "%.2f (epoch %g)", s->y[k], s->x[k]);
    cell("td", text, true, out);
}

/* "3 of 10" epochs; of how many is not said where updates are counted. */
static void length_cell(const report_run *one, FILE *out)
{
    char text[96], of[48] = "";
    const series *t = &one->s[REPORT_SECONDS];
    if (one->c.train.epochs)
        snprintf(of, sizeof of, " of %lld", (long long)one->c.train.epochs);
    snprintf(text, sizeof text, "%g%s%s", t->n ? t->x[t->n - 1] : 0, of, one->finished ? "" : ", not finished");
    cell("td", text, true, out);
}

static void summary_row(const report *r, int i, FILE *out)
{
    const report_run *one = &r->runs[i];
    char text[96] = "";
    fputs("<tr>", out);
    run_cell(r, i, out);
    cell("td", one->c.model.name, false, out);
    cell("td", one->c.optim.name, false, out);
    snprintf(text, sizeof text, "%g", one->c.optim.lr);
    cell("td", text, true, out);
    length_cell(one, out);
    if (told(r, REPORT_ACCURACY)) {
        number_cell(2, last(&one->s[REPORT_ACCURACY]), out);
        best_cell(&one->s[REPORT_ACCURACY], false, out);
    }
    if (told(r, REPORT_TEST_LOSS))
        number_cell(4, last(&one->s[REPORT_TEST_LOSS]), out);
    number_cell(4, last(&one->s[REPORT_TRAIN_LOSS]), out);
    if (told(r, REPORT_PPL))
        best_cell(&one->s[REPORT_PPL], true, out);
    const double seconds = last(&one->s[REPORT_SECONDS]);
    *text = 0;
    if (seconds >= 0 && seconds < 1e9)
        snprintf(text, sizeof text, "%d:%02d:%02d", (int)seconds / 3600, (int)seconds / 60 % 60,
                 (int)seconds % 60);
    cell("td", text, true, out);
    fputs("</tr>\n", out);
}

static void summary(const report *r, FILE *out)
{
    open_table("Summary", out);
    fprintf(out, "<thead><tr><th>run</th><th>model</th><th>optimizer</th><th class='n'>lr</th>"
            "<th class='n'>epochs</th>%s%s<th class='n'>training loss</th>%s<th class='n'>wall time</th></tr></thead>"
            "<tbody>\n",
            told(r, REPORT_ACCURACY) ? "<th class='n'>last test acc., %</th><th class='n'>best test acc., %</th>" : "",
            told(r, REPORT_TEST_LOSS) ? "<th class='n'>test loss</th>" : "",
            told(r, REPORT_PPL) ? "<th class='n'>best valid. ppl</th>" : "");
    for (int i = 0; i < r->n; i++)
        summary_row(r, i, out);
    close_table(out);
}

/* ---- tables of suites ---- */

/* "| a | b |": all but the first cell are numbers, as suite_table.c writes them. */
static void table_row(char *line, const char *tag, FILE *out)
{
    char *next = line + 1;
    bool first = true;
    fputs("<tr>", out);
    for (char *text; (text = strsep(&next, "|")) && next; first = false) {
        text += strspn(text, " ");
        for (size_t n = strlen(text); n > 0 && text[n - 1] == ' ';)
            text[--n] = 0;
        cell(tag, text, !first, out);
    }
    fputs("</tr>\n", out);
}

/* A Markdown file: its title, what is said about the table, the table. */
static void suite_table(const char *path, FILE *out)
{
    char *line = NULL;
    size_t room = 0;
    int rows = 0;
    FILE *in = fopen(path, "r");
    if (!in) {
        tn_fail(TN_EIO, "%s: %s", path, strerror(errno));
        return;
    }
    fputs("<h2>", out);
    if (getline(&line, &room, in) > 0)
        report_text(line, out);
    fputs("</h2>\n<p>", out);
    while (getline(&line, &room, in) > 0) {
        if (*line != '|') {
            report_text(line, out);
            continue;
        }
        if (rows++ == 0)
            fputs("</p>\n<div class='wide'><table><thead>\n", out);
        if (rows != 2) /* that of dashes */
            table_row(line, rows == 1 ? "th" : "td", out);
        else
            fputs("</thead><tbody>\n", out);
    }
    if (rows > 1)
        close_table(out);
    else
        fputs(rows ? "</thead></table></div>\n" : "</p>\n", out);
    free(line);
    fclose(in);
}

/* ---- configs ---- */

static char *value_of(const report_run *one, const config_knob *k)
{
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    if (f)
        config_print_value(&one->c, k, f);
    if (f && fclose(f) == 0)
        return text;
    free(text);
    return tn_fail(TN_ENOMEM, "no memory for a setting");
}

/* The name tells nothing that the run's own does not. */
static bool differs(const report *r, const config_knob *k)
{
    bool same = true;
    if (strcmp(k->section, "top") == 0 && strcmp(k->key, "name") == 0)
        return false;
    char *first = value_of(&r->runs[0], k);
    for (int i = 1; first && same && i < r->n; i++) {
        char *other = value_of(&r->runs[i], k);
        same = other && strcmp(first, other) == 0;
        free(other);
    }
    free(first);
    return !same;
}

static void differences(const report *r, FILE *out)
{
    int n = 0;
    bool *shown = calloc((size_t)config_knob_count, sizeof *shown);
    for (int k = 0; shown && k < config_knob_count; k++)
        n += shown[k] = differs(r, &config_knobs[k]);
    if (!shown)
        tn_fail(TN_ENOMEM, "no memory for a table");
    if (n == 0) {
        free(shown);
        return;
    }
    open_table("Settings that differ", out);
    fputs("<thead><tr><th>run</th>", out);
    for (int k = 0; k < config_knob_count; k++)
        if (shown[k]) {
            const bool top = strcmp(config_knobs[k].section, "top") == 0;
            fprintf(out, "<th>%s%s%s</th>", top ? "" : config_knobs[k].section, top ? "" : ".",
                    config_knobs[k].key);
        }
    fputs("</tr></thead><tbody>\n", out);
    for (int i = 0; i < r->n; i++) {
        fputs("<tr>", out);
        run_cell(r, i, out);
        for (int k = 0; k < config_knob_count; k++) {
            char *text = shown[k] ? value_of(&r->runs[i], &config_knobs[k]) : NULL;
            if (text)
                cell("td", text, false, out);
            free(text);
        }
        fputs("</tr>\n", out);
    }
    close_table(out);
    free(shown);
}

static void configs(const report *r, FILE *out)
{
    fputs("<h2>Configs</h2>\n", out);
    for (int i = 0; i < r->n; i++) {
        char *text = NULL;
        size_t size;
        FILE *f = open_memstream(&text, &size);
        if (f)
            config_print(&r->runs[i].c, f);
        if (!f || fclose(f) != 0) {
            tn_fail(TN_ENOMEM, "no memory for a config");
            return;
        }
        fputs("<details><summary>", out);
        report_text(r->runs[i].dir, out);
        fputs("</summary><pre>", out);
        report_text(text, out);
        fputs("</pre></details>\n", out);
        free(text);
    }
}

/* ---- environment ---- */

/* How many runs share the environment of run i, when none before it does; else 0. */
static int sharing(const report *r, int i)
{
    int n = 0;
    for (int k = 0; k < r->n; k++) {
        const json_t *a = r->runs[i].environment, *b = r->runs[k].environment;
        if (a != b && !json_equal(a, b))
            continue;
        if (k < i)
            return 0;
        n++;
    }
    return n;
}

/* One column for each environment that occurs. */
static void environments(const report *r, FILE *out)
{
    char text[ENVIRONMENT_TEXT];
    open_table("Environment", out);
    fputs("<thead><tr><th></th>", out);
    for (int i = 0; i < r->n; i++) {
        const int n = sharing(r, i);
        const char *unknown = r->runs[i].environment ? "" : ", not recorded";
        if (n > 0)
            fprintf(out, "<th>%d run%s%s</th>", n, n == 1 ? "" : "s", unknown);
    }
    fputs("</tr></thead><tbody>\n", out);
    for (const environment_row *e = environment_rows; e->key; e++) {
        fputs("<tr>", out);
        cell("th", e->title, false, out);
        for (int i = 0; i < r->n; i++)
            if (sharing(r, i) > 0) {
                fputs("<td class='text'>", out);
                report_text(environment_text(r->runs[i].environment, e->key, text), out);
                fputs("</td>", out);
            }
        fputs("</tr>\n", out);
    }
    close_table(out);
}

/* ---- the page ---- */

static void head(const report *r, FILE *out)
{
    char when[32];
    struct tm parts;
    const time_t now = time(NULL);
    int finished = 0;
    for (int i = 0; i < r->n; i++)
        finished += r->runs[i].finished;
    strftime(when, sizeof when, "%F %R", localtime_r(&now, &parts));
    fputs("<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>\n"
          "<meta name='viewport' content='width=device-width,initial-scale=1'>\n<title>", out);
    report_text(r->title, out);
    fprintf(out, "</title>\n<style>\n%s", style);
    for (int i = 0; i < REPORT_COLOURS; i++)
        fprintf(out, ".c%d{stroke:var(--c%d)}", i, i);
    fputs("\n</style></head><body>\n<h1>", out);
    report_text(r->title, out);
    fprintf(out, "</h1>\n<p>%d run%s, %d finished; written %s by Tenon %s</p>\n", r->n,
            r->n == 1 ? "" : "s", finished, when, tn_version());
}

bool report_page(const report *r, FILE *out)
{
    head(r, out);
    summary(r, out);
    fputs("<h2>Curves</h2>\n<div class='charts'>\n", out);
    for (int m = 0; m < REPORT_CHARTS; m++)
        report_chart(r, m, out);
    fputs("</div>\n", out);
    for (int i = 0; i < r->n_tables; i++)
        suite_table(r->tables[i], out);
    differences(r, out);
    configs(r, out);
    environments(r, out);
    fputs("</body></html>\n", out);
    return tn_ok();
}
