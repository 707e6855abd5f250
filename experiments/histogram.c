/* See histogram.h.  Nothing is kept between two recorded steps; histogram_plot.c draws. */
#define _GNU_SOURCE
#include "histogram.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "events.h"

typedef struct histogram {
    double min, max, sum, squares;
    int64_t n, counts[HISTOGRAM_BINS];
    int64_t above; /* from |v| = 1 on; infinities and what is no number too */
} histogram;

static bool wants_gradients(const config *c) { return !strcmp(c->train.histogram_of, "gradient"); }

/* Steps count from the end of a freeze: nothing moves before. */
static bool wanted(const config *c, const tn_optim *opt, int64_t step)
{
    const config_numbers *steps = &c->train.histogram_steps;
    const int64_t n = step - (int64_t)tn_optim_settings(opt)->freeze_steps;
    bool yes = n > 0 && c->train.histogram_every > 0 && n % c->train.histogram_every == 0;
    for (int i = 0; i < steps->n; i++)
        yes |= (double)n == steps->at[i];
    return yes;
}

/* ---- counting ---- */

static void count_value(histogram *h, float v)
{
    const double x = log(fabs((double)v) + 1e-9);
    if (x < 0)
        h->counts[(int)((x - HISTOGRAM_LOW) / HISTOGRAM_WIDTH)]++;
    else
        h->above++;
    h->n++;
    h->min = fmin(h->min, x);
    h->max = fmax(h->max, x);
    h->sum += x;
    h->squares += x * x;
}

static bool count_tensor(histogram *h, const tn_tensor *t)
{
    const int64_t n = tn_numel(t);
    float *values = malloc((size_t)n * sizeof *values + 1);
    if (!values)
        tn_fail(TN_ENOMEM, "histogram: no memory for %lld numbers", (long long)n);
    else if (tn_read_f32(t, values))
        for (int64_t i = 0; i < n; i++)
            count_value(h, values[i]);
    free(values);
    return tn_ok();
}

static bool count_gradient(void *arg, const char *path, tn_param *p)
{
    (void)path;
    return !p->t.requires_grad || count_tensor(arg, p->t.grad);
}

/* What tn_optim_state() puts before the names of the state wanted; NULL when the rule has none. */
static const char *state_prefix(const config *c)
{
    const bool momentum = strcmp(c->train.histogram_of, "momentum") == 0;
    if (tn_optim_reads(c->optim.name, "beta1"))
        return momentum ? "state.0." : "state.1.";
    return momentum && strcmp(c->optim.name, "sgd") == 0 ? "state.0." : NULL;
}

static bool count_states(histogram *h, const char *prefix, tn_optim *opt)
{
    const int n = tn_optim_state(opt, 0, NULL, NULL);
    tn_named *item = calloc((size_t)n + 1, sizeof *item);
    char(*names)[256] = calloc((size_t)n + 1, sizeof *names);
    if (!item || !names)
        tn_fail(TN_ENOMEM, "histogram: no memory for the names of %d tensors", n);
    else if (tn_optim_state(opt, n, item, names) == n)
        for (int i = 0; i < n && tn_ok(); i++)
            if (strncmp(names[i], prefix, strlen(prefix)) == 0)
                count_tensor(h, item[i].t);
    free(item);
    free(names);
    return tn_ok();
}

/* ---- writing ---- */

static bool write_line(run *r, const config *c, int64_t step, const histogram *h)
{
    char path[RUN_PATH];
    json_t *edges = json_array(), *counts = json_array();
    for (int i = 0; i <= HISTOGRAM_BINS; i++)
        json_array_append_new(edges, json_real(HISTOGRAM_LOW + i * HISTOGRAM_WIDTH));
    for (int i = 0; i < HISTOGRAM_BINS; i++)
        json_array_append_new(counts, json_integer(h->counts[i]));
    json_t *line = json_pack("{s:I,s:s,s:o,s:o,s:I}", "step", (json_int_t)step, "of",
                             c->train.histogram_of, "edges", edges, "counts", counts, "above",
                             (json_int_t)h->above);
    FILE *f = fopen(run_path(r, "histograms.jsonl", path), "a");
    const bool good = f && json_print_line(line, f);
    if (!f)
        json_decref(line);
    if (!f || ((fclose(f) != 0) | !good))
        tn_fail(TN_EIO, "%s cannot be written: %s", path, strerror(errno));
    return tn_ok();
}

/* Without the empty bins at both ends, as TensorBoard expects it. */
static bool write_event(run *r, const config *c, int64_t step, const histogram *h)
{
    double limit[HISTOGRAM_BINS + 1], count[HISTOGRAM_BINS + 1];
    char tag[CONFIG_TEXT + 16];
    int first = HISTOGRAM_BINS, end = 0;
    for (int i = 0; i <= HISTOGRAM_BINS; i++) {
        count[i] = (double)(i < HISTOGRAM_BINS ? h->counts[i] : h->above);
        limit[i] = i < HISTOGRAM_BINS ? HISTOGRAM_LOW + (i + 1) * HISTOGRAM_WIDTH : DBL_MAX;
        first = count[i] > 0 && i < first ? i : first;
        end = count[i] > 0 ? i + 1 : end;
    }
    snprintf(tag, sizeof tag, "histogram/%s", c->train.histogram_of);
    return events_histogram(r->events, step, tag,
                            &(events_buckets){h->min, h->max, (double)h->n, h->sum, h->squares,
                                              end > first ? end - first : 0, limit + first,
                                              count + first});
}

bool histogram_take(run *r, const config *c, tn_module *net, tn_optim *opt, int64_t step,
                    bool updated)
{
    histogram h = {.min = INFINITY, .max = -INFINITY};
    if (!tn_ok() || updated == wants_gradients(c) || !wanted(c, opt, step))
        return tn_ok();
    TN_SCOPE TN_NO_GRAD {
        if (updated)
            count_states(&h, state_prefix(c), opt);
        else
            tn_each_param(net, count_gradient, &h);
    }
    return tn_ok() && write_line(r, c, step, &h) && write_event(r, c, step, &h);
}

/* ---- beginning ---- */

/* Bytes of the whole lines up to `step`. */
static long good_bytes(FILE *f, int64_t step)
{
    char *line = NULL;
    size_t room = 0;
    long good = 0;
    for (ssize_t n; (n = getline(&line, &room, f)) > 0 && line[n - 1] == '\n'; good += n) {
        json_t *object = json_loads(line, 0, NULL);
        const json_t *at = json_object_get(object, "step");
        const bool stays = json_is_integer(at) && json_integer_value(at) <= step;
        json_decref(object);
        if (!stays)
            break;
    }
    free(line);
    return good;
}

bool histogram_begin(run *r, const config *c, tn_optim *opt, int64_t step)
{
    char path[RUN_PATH];
    if (!wants_gradients(c) && (!state_prefix(c) || tn_optim_state(opt, 0, NULL, NULL) == 0))
        tn_fail(TN_EARG, "train.histogram_of: %s keeps no %s", c->optim.name,
                c->train.histogram_of);
    FILE *f = tn_ok() ? fopen(run_path(r, "histograms.jsonl", path), "r+") : NULL;
    if (f && ftruncate(fileno(f), good_bytes(f, step)) != 0)
        tn_fail(TN_EIO, "%s: cannot be cut back: %s", path, strerror(errno));
    if (f)
        fclose(f);
    return tn_ok();
}
