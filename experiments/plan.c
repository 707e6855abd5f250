/* From a suite and a scale to runs with their configs, and what of them is done already. */
#define _GNU_SOURCE
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "series.h"
#include "suite.h"
#include "task.h"

/* ---- the runs ---- */

static bool apply(config *c, const suite_settings set)
{
    suite_settings line;
    for (const char *at = set, *end; (end = strchr(at, '\n')); at = end + 1) {
        snprintf(line, sizeof line, "%.*s", (int)(end - at), at);
        if (!config_set(c, line))
            return false;
    }
    return true;
}

/* The scale's own settings of an item. */
static bool apply_of_scale(const plan *p, const char *label, config *c)
{
    const suite_axis *runs = &p->scale->runs;
    for (int i = 0; i < runs->n; i++)
        if (strcmp(runs->item[i].label, label) == 0 && !apply(c, runs->item[i].set))
            return false;
    return true;
}

/* Run number `i`: label i / seeds, whose digits are the items, the last axis fastest. */
static bool make_run(plan *p, int i, const config *base, const suite_seeds *seeds)
{
    suite_run *r = &p->runs[i];
    const suite_axes *axes = &p->s->axes;
    int rest = i / p->seeds;
    r->c = *base;
    for (int a = axes->n - 1; a >= 0; a--) {
        r->item[a] = rest % axes->at[a].n;
        rest /= axes->at[a].n;
    }
    for (int a = 0; a < axes->n; a++) {
        const suite_item *item = &axes->at[a].item[r->item[a]];
        const size_t n = strlen(r->label);
        if ((size_t)snprintf(r->label + n, sizeof r->label - n, "%s%s", n ? "-" : "",
                             item->label) >= sizeof r->label - n) {
            tn_fail(TN_EARG, "%s...: the name of this run is too long", r->label);
            return false;
        }
        if (!apply(&r->c, item->set))
            return false;
    }
    for (int a = 0; a < axes->n; a++)
        if (!apply_of_scale(p, axes->at[a].item[r->item[a]].label, &r->c))
            return false;
    r->c.top.seed = seeds->at[i % p->seeds];
    snprintf(r->name, sizeof r->name, "%s-seed%lld", r->label, (long long)r->c.top.seed);
    snprintf(r->c.top.name, sizeof r->c.top.name, "%s", r->name);
    r->chosen = true;
    return true;
}

/* Whether an item of the axis sets the same knob. */
static bool sets(const suite_axis *axis, const char *assignment, size_t n)
{
    bool found = false;
    for (int i = 0; i < axis->n; i++)
        for (const char *line = axis->item[i].set; *line; line = strchr(line, '\n') + 1)
            found |= strncmp(line, assignment, n) == 0;
    return found;
}

/* Settings of the command line hold for all runs: none may be what the runs differ in. */
static bool holds_for_all(const suite *s, const suite_scale *scale, const char *assignment)
{
    const size_t n = strcspn(assignment, "=") + 1;
    bool free_to_set = strncmp(assignment, "seed=", n) && strncmp(assignment, "name=", n);
    for (int a = 0; a < s->axes.n; a++)
        free_to_set &= !sets(&s->axes.at[a], assignment, n);
    free_to_set &= !sets(&scale->runs, assignment, n);
    if (!free_to_set)
        tn_fail(TN_EARG, "--set %s: the runs of %s differ in this", assignment, s->name);
    return free_to_set;
}

static bool names_differ(const plan *p)
{
    for (int i = 0; i < p->n; i++)
        for (int k = 0; k < i; k++)
            if (strcmp(p->runs[i].name, p->runs[k].name) == 0) {
                tn_fail(TN_EARG, "%s: two runs have the name %s", p->s->name, p->runs[i].name);
                return false;
            }
    return true;
}

bool plan_make(plan *p, const suite *s, const suite_scale *scale, const char *out, int n_set,
               const char *const *set)
{
    const suite_seeds *seeds = scale->seeds.n ? &scale->seeds : &s->seeds;
    *p = (plan){.s = s, .scale = scale, .labels = 1, .seeds = seeds->n};
    if (out)
        snprintf(p->out, sizeof p->out, "%s", out);
    else
        snprintf(p->out, sizeof p->out, "runs/%s-%s", s->share, scale->name);
    for (int a = 0; a < s->axes.n && p->labels <= SUITE_RUNS; a++)
        p->labels *= s->axes.at[a].n;
    p->n = p->labels * p->seeds;
    if (p->n > SUITE_RUNS) {
        tn_fail(TN_EARG, "%s: more than %d runs", s->name, SUITE_RUNS);
        return false;
    }
    config *base = malloc(sizeof *base);
    p->runs = calloc((size_t)p->n, sizeof *p->runs);
    if (!base || !p->runs)
        tn_fail(TN_ENOMEM, "no memory for %d runs", p->n);
    if (tn_ok()) {
        config_defaults(base);
        bool good = config_read_file(base, s->config) && apply(base, scale->set);
        for (int i = 0; good && i < n_set; i++)
            good = holds_for_all(s, scale, set[i]) && config_set(base, set[i]);
        for (int i = 0; good && i < p->n; i++)
            good = make_run(p, i, base, seeds);
    }
    free(base);
    return tn_ok() && names_differ(p);
}

void plan_free(plan *p)
{
    free(p->runs);
    *p = (plan){0};
}

const char *plan_path(const plan *p, const suite_run *r, const char *ending, char path[PLAN_PATH])
{
    snprintf(path, PLAN_PATH, "%.*s/%s%s", CONFIG_TEXT - 1, p->out, r->name, ending);
    return path;
}

/* ---- what is there ---- */

static char *as_text(const config *c)
{
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    if (f) {
        config_print(c, f);
        fclose(f);
    }
    return text;
}

static int indent(const char *line) { return (int)strspn(line, " "); }

/* The settings with which the run was started stand beside its directory, in NAME.yaml. */
void plan_difference(const plan *p, const suite_run *r, config_text difference)
{
    char path[PLAN_PATH];
    config *before = malloc(sizeof *before);
    *difference = 0;
    if (before)
        config_defaults(before);
    if (!before || !config_read_file(before, plan_path(p, r, ".yaml", path))) {
        snprintf(difference, CONFIG_TEXT, "%.*s cannot be read", CONFIG_TEXT - 32, path);
        tn_error_clear();
        free(before);
        return;
    }
    char *old = as_text(before), *new = as_text(&r->c);
    const char *a = old, *b = new;
    while (a && b && *a && *b && !*difference) {
        const int n = (int)strcspn(a, "\n"), m = (int)strcspn(b, "\n");
        if (n != m || memcmp(a, b, (size_t)n) != 0)
            snprintf(difference, CONFIG_TEXT, "%.*s there, %.*s here", n - indent(a),
                     a + indent(a), m - indent(b), b + indent(b));
        a += n + 1;
        b += m + 1;
    }
    free(old);
    free(new);
    free(before);
}

static bool exists(const char *path) { return access(path, F_OK) == 0; }

/* The last value of a key over the lines that have `of` too; -1 when none has. */
static double last_of(const char *dir, const char *key, const char *of)
{
    series s;
    const double last = series_read(&s, dir, key, of) ? s.x[s.n - 1] : -1;
    series_free(&s);
    tn_error_clear();
    return last;
}

/* Whether the last epoch, or the last update that was asked for, and the figures at the end are in the metrics. */
static bool is_complete(const plan *p, const suite_run *r)
{
    char path[PLAN_PATH], bleu[TASK_TEXT];
    const int64_t epochs = r->c.train.epochs, steps = r->c.train.max_steps;
    plan_path(p, r, "", path);
    bool complete = (epochs && last_of(path, "epoch", "seconds") >= (double)epochs) ||
                    (steps && last_of(path, "step", "seconds") >= (double)steps);
    for (int i = 0; i < r->c.train.bleu.n && complete; i++)
        complete = last_of(path, "epoch", task_bleu_key(r->c.train.bleu.at[i], bleu)) >= 0;
    return complete && exists(plan_path(p, r, "/model.safetensors", path));
}

static run_state state_of(const plan *p, const suite_run *r)
{
    char path[PLAN_PATH];
    config_text difference;
    if (!exists(plan_path(p, r, "/config.yaml", path)))
        return RUN_IS_NEW;
    plan_difference(p, r, difference);
    if (*difference)
        return RUN_IS_OTHER;
    return is_complete(p, r) ? RUN_IS_DONE : RUN_IS_PARTIAL;
}

void plan_look(plan *p)
{
    for (int i = 0; i < p->n; i++)
        p->runs[i].state = state_of(p, &p->runs[i]);
}
