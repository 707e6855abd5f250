/* tenon suite: all runs of a suite file, then its table and figures. */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "progress.h"
#include "series.h"
#include "setup.h"
#include "suite.h"
#include "task.h"

enum { CORES_OF_A_JOB = 4, MOST_USES = 32, MEASURED = 3 };

/* The uses of a repeatable option. */
static int all_of(const cli *c, const char *option, const char *uses[MOST_USES])
{
    int n = 0;
    while (n < MOST_USES && (uses[n] = cli_each(c, option, n)))
        n++;
    return n;
}

static const char *plural(int64_t n) { return n == 1 ? "" : "s"; }

/* ---- how much there is to do ---- */

typedef struct amount {
    int64_t updates, items; /* a tested item counts as a third of a trained one */
} amount;

typedef struct measured {
    double seconds;      /* of a batch */
    int64_t train, test; /* items */
    bool text;           /* they are tokens of it */
} measured;

/* Items are samples, or where batches are made by tokens or of text, these; of a batch. */
static int64_t batch_of(const config *c, bool text)
{
    return text ? c->data.batch * c->data.steps : c->data.max_tokens ? c->data.max_tokens : c->data.batch;
}

static int64_t items_of(const config *c, const tn_loader *l, bool train)
{
    const tn_dataset *d = tn_loader_dataset(l);
    if (d->cls->begins)
        return tn_dataset_len(d) * (train ? batch_of(c, true) : c->data.test_steps);
    return c->data.max_tokens ? tn_loader_batches(l) * c->data.max_tokens : tn_dataset_len(d);
}

/* Of the updates of a run those that its metrics do not show yet. */
static amount left_of(const plan *p, const suite_run *r, const measured *m)
{
    char dir[PLAN_PATH];
    const int64_t batch = batch_of(&r->c, m->text), freq = r->c.train.update_freq, most = r->c.train.max_steps;
    const int64_t batches = (m->train + (r->c.data.drop_last ? 0 : batch - 1)) / batch;
    const int64_t epoch = (batches + freq - 1) / freq, all = r->c.train.epochs * epoch;
    int64_t updates = most && (most < all || all == 0) ? most : all;
    series s = {0};
    if (r->state == RUN_IS_PARTIAL && series_read(&s, plan_path(p, r, "", dir), "step", "loss"))
        updates -= (int64_t)s.x[s.n - 1];
    series_free(&s);
    tn_error_clear();
    const int64_t tests = epoch ? (updates + epoch - 1) / epoch : 0;
    return (amount){updates, updates * batch * freq + tests * m->test / 3};
}

static double time_batch(const config *c, tn_loader *data)
{
    const task *k = task_of(tn_loader_dataset(data));
    FILE *log = fopen("/dev/null", "w"); /* the run itself will tell */
    tn_module *net = log ? setup_model(c, tn_loader_dataset(data), log) : NULL;
    tn_optim *opt = log ? setup_optim(c, net, log) : NULL;
    double started = 0, seconds = 0;
    int steps = 0;
    tn_state carried = task_carry(k, net, tn_loader_dataset(data));
    tn_tensor *images, *table;
    setup_images(c, tn_loader_dataset(data), &images, &table);
    TN_EACH(b, data) {
        tn_batch there = task_batch_on(&b, tn_device_named(c->device.name));
        if (images)
            there.x = tn_crops(images, there.x, table);
        tn_tensor *score = NULL, *loss = NULL;
        if (opt)
            loss = k->loss(c, net, &there, task_plan(k, net, &b), &carried, &score);
        const double part = k->sum ? 1 / (double)task_count(&b) : 1;
        if (!loss || !tn_backward(tn_mul_scalar(loss, part)) || !tn_step(opt) || isnan(tn_item(loss)))
            break;
        const double now = now_seconds();
        if (steps > 0)
            seconds = (now - started) / steps;
        else
            started = now;
        if (steps++ == MEASURED)
            break;
    }
    tn_free(opt, net);
    if (log)
        fclose(log);
    return seconds;
}

/* False with the error set. */
static bool measure(const suite_run *r, int threads, measured *m)
{
    tn_set_threads(threads);
    tn_loader *data = setup_loader(&r->c, TN_TRAIN);
    const task *k = task_of(tn_loader_dataset(data));
    tn_loader *more = k ? setup_loader(&r->c, task_split(k, &r->c)) : NULL;
    if (data && more) {
        m->train = items_of(&r->c, data, true);
        m->test = items_of(&r->c, more, false);
        m->text = tn_loader_dataset(data)->cls->begins != NULL;
        m->seconds = time_batch(&r->c, data);
    }
    tn_free(data, more);
    return tn_ok();
}

static void print_time(double seconds)
{
    if (seconds < 120)
        printf("%.0f seconds", seconds);
    else if (seconds < 7200)
        printf("%.0f minutes", seconds / 60);
    else if (seconds < 172800)
        printf("%.1f hours", seconds / 3600);
    else
        printf("%.1f days", seconds / 86400);
}

static void print_estimate(const plan *p, const job_options *o)
{
    measured m = {0};
    int64_t updates = 0;
    double items = 0;
    const suite_run *first = NULL;
    for (int i = p->n - 1; i >= 0; i--)
        if (p->runs[i].chosen && p->runs[i].state != RUN_IS_DONE)
            first = &p->runs[i];
    if (!first)
        return;
    if (!measure(first, o->threads, &m)) {
        printf("no estimate of the time: %s\n", tn_error()->text);
        tn_error_clear();
        return;
    }
    for (int i = 0; i < p->n; i++) {
        if (!p->runs[i].chosen || p->runs[i].state == RUN_IS_DONE)
            continue;
        const amount a = left_of(p, &p->runs[i], &m);
        updates += a.updates;
        items += (double)a.items;
    }
    printf("%lld updates, about ", (long long)updates);
    print_time(items * m.seconds / (double)batch_of(&first->c, m.text) / o->jobs);
    printf(" from a measured update of %.3g ms of %s\n", 1e3 * m.seconds * (double)first->c.train.update_freq,
           first->name);
}

static int dry_run(const plan *p, const job_options *o)
{
    static const char *const states[] = {
        [RUN_IS_NEW] = "to do", [RUN_IS_PARTIAL] = "begun", [RUN_IS_DONE] = "done"};
    int todo = 0;
    for (int i = 0; i < p->n; i++) {
        const suite_run *r = &p->runs[i];
        config_text difference;
        if (!r->chosen)
            continue;
        todo += r->state != RUN_IS_DONE;
        printf("  %-32s ", r->name);
        if (r->state == RUN_IS_OTHER) {
            plan_difference(p, r, difference);
            printf("other settings: %s\n", difference);
        } else {
            printf("%s\n", states[r->state]);
        }
    }
    printf("%d run%s to do in %s, %d at once with %d thread%s each\n", todo, plural(todo), p->out,
           o->jobs, o->threads, plural(o->threads));
    print_estimate(p, o);
    return cli_status();
}

/* ---- the command ---- */

static int choose(plan *p, const char *pattern)
{
    int n = 0;
    for (int i = 0; i < p->n; i++) {
        p->runs[i].chosen = !pattern || tn_match(pattern, p->runs[i].name);
        n += p->runs[i].chosen;
    }
    return n;
}

/* Results of other settings must neither be taken for these nor be lost. */
static bool all_fit(const plan *p)
{
    char dir[PLAN_PATH];
    config_text difference;
    for (int i = 0; i < p->n; i++) {
        const suite_run *r = &p->runs[i];
        if (!r->chosen || r->state != RUN_IS_OTHER)
            continue;
        plan_difference(p, r, difference);
        tn_fail(TN_ESTATE,
                "%s holds a run with other settings (%s); remove it or choose another --out",
                plan_path(p, r, "", dir), difference);
    }
    return tn_ok();
}

static void tell_failed(const plan *p)
{
    char names[CONFIG_TEXT] = "";
    int failed = 0, chosen = 0;
    for (int i = 0; i < p->n; i++) {
        chosen += p->runs[i].chosen;
        if (p->runs[i].state != RUN_HAS_FAILED)
            continue;
        const size_t n = strlen(names);
        snprintf(names + n, sizeof names - n, "%s%s", failed++ ? ", " : "", p->runs[i].name);
    }
    if (failed)
        tn_fail(TN_ESTATE, "%d of %d runs failed: %s; the same command tries them again", failed,
                chosen, names);
}

/* One that is not there would fail every run. */
static bool devices_are_there(const plan *p)
{
    for (int i = 0; i < p->n && tn_ok(); i++)
        if (p->runs[i].chosen && p->runs[i].state != RUN_IS_DONE)
            tn_device_named(p->runs[i].c.device.name);
    return tn_ok();
}

static int train_all(plan *p, const job_options *o)
{
    int done = 0, chosen = 0;
    for (int i = 0; i < p->n; i++) {
        chosen += p->runs[i].chosen;
        done += p->runs[i].chosen && p->runs[i].state == RUN_IS_DONE;
    }
    if (!all_fit(p) || !devices_are_there(p))
        return FAILED;
    if (!o->quiet)
        printf("%s, scale %s: %d run%s in %s, %d done before; %d at once with %d thread%s each\n",
               p->s->name, p->scale->name, chosen, plural(chosen), p->out, done, o->jobs,
               o->threads, plural(o->threads));
    if (!jobs_run(p, o)) {
        tn_fail(TN_ESTATE, "stopped; the same command goes on where the runs were");
        return FAILED;
    }
    if (tn_ok() && suite_table(p) && suite_figures(p))
        tell_failed(p);
    return cli_status();
}

static int run_plan(const cli *c, plan *p)
{
    const char *only = cli_text(c, "only", NULL), *plugins[MOST_USES];
    const int cores = tn_threads(), usual = cores / CORES_OF_A_JOB;
    const int asked = (int)cli_integer(c, "jobs", usual);
    job_options o = {.quiet = cli_has(c, "quiet"), .plugins = plugins};
    const int chosen = choose(p, only);
    if (chosen == 0)
        return cli_wrong(c->command, "no run of %s is called %s, but %s", p->s->name, only,
                         p->runs[0].name);
    o.jobs = asked < 1 ? 1 : asked > chosen ? chosen : asked;
    o.threads = cores > o.jobs ? cores / o.jobs : 1;
    o.n_plugins = all_of(c, "plugin", plugins);
    plan_look(p);
    return cli_has(c, "dry-run") ? dry_run(p, &o) : train_all(p, &o);
}

/* What is wrong in a suite file is wrong usage. */
static int tell_wrong(void)
{
    fprintf(stderr, "tenon: %s\n", tn_error()->text);
    return WRONG_USAGE;
}

/* Another than the usual one has a table of its own. */
static void choose_metric(suite *s, const suite_scale *scale, const char *asked)
{
    if (*scale->metric)
        strcpy(s->metric, scale->metric);
    if (!asked)
        return;
    snprintf(s->metric, sizeof s->metric, "%s", asked);
    snprintf(s->table, sizeof s->table, "table-%.*s", SUITE_LABEL - 8, asked);
}

static int run_suite(const cli *c)
{
    plan p = {0};
    const char *set[MOST_USES + 1], *device = cli_text(c, "device", NULL);
    char device_set[CONFIG_TEXT];
    int n_set = all_of(c, "set", set);
    if (cli_each(c, "set", MOST_USES) || cli_each(c, "plugin", MOST_USES))
        return cli_wrong(c->command, "--set and --plugin can be given %d times each", MOST_USES);
    if (device) {
        snprintf(device_set, sizeof device_set, "device.name=%s", device);
        set[n_set++] = device_set;
    }
    suite *s = calloc(1, sizeof *s);
    if (!s) {
        tn_fail(TN_ENOMEM, "no memory for a suite");
        return FAILED;
    }
    const suite_scale *scale =
        suite_read(s, c->arguments[0]) ? suite_scale_named(s, cli_text(c, "scale", NULL)) : NULL;
    if (scale)
        choose_metric(s, scale, cli_text(c, "metric", NULL));
    const bool good = scale && plan_make(&p, s, scale, cli_text(c, "out", NULL), n_set, set);
    const int status = good ? run_plan(c, &p) : tell_wrong();
    plan_free(&p);
    free(s);
    return status;
}

const command command_suite = {
    .name = "suite",
    .arguments = "SUITE",
    .about = "all runs of a suite file, then its table and figures\n"
             "SUITE is a YAML file; see experiments/fig6.yaml.  Runs that are done are skipped,\n"
             "those that were interrupted go on, those that fail are tried once more.",
    .least = 1,
    .most = 1,
    .options = (const option_row[]){
        {"scale", "NAME", "one of the suite's; default the first"},
        {"only", "GLOB", "the runs whose names match, as 'RAdam-*'"},
        {"jobs", "N", "runs at once, which share the cores; default one for every 4 cores"},
        {"metric", "KEY", "of metrics.jsonl for the table, instead of the suite's own"},
        {"dry-run", NULL, "print the runs, the updates and the time they would take"},
        {"out", "DIR", "for runs, table and figures; default runs/SUITE-SCALE"},
        {"set", "KEY=VALUE", "a knob of all runs, as train.epochs=186; repeatable"},
        {"device", "NAME", "cpu, cuda, cuda:N or auto, of all runs"},
        {"plugin", "FILE.so", "load what it registers; repeatable"},
        {"quiet", NULL, "no line for each finished run"},
        {NULL, NULL, NULL},
    },
    .run = run_suite,
};
