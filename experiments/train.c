/* See train.h.  One epoch is run_batches() and end_epoch(); a checkpoint may fall anywhere between
 * two steps, so what comes next is always read off the loader's cursor and the state. */
#define _GNU_SOURCE
#include "train.h"

#include <math.h>
#include <signal.h>
#include <string.h>

#include "epochs.h"
#include "events.h"
#include "histogram.h"
#include "ledger.h"
#include "environment.h"
#include "progress.h"
#include "setup.h"
#include "stop.h"

/* The update under way: the batches that it has had. */
typedef struct update {
    int64_t batches;
    int64_t count; /* that all its batches will count */
    int64_t seen;  /* that those so far have */
    double waited;
} update;

/* What the body of a TN_RECORD() is: the first batch begins with another state than the others. */
enum { BATCH, FIRST_BATCH, CLIP, STEP, BODIES };

typedef struct trainer {
    const config *c;
    run *r;
    const task *task;
    tn_loader *data, *test;
    tn_module *net;
    tn_optim *opt;
    tn_schedule schedule;
    bool by_update;     /* the schedule's unit */
    int64_t epochs, last_step;
    train_state s;
    tn_state carried;   /* from batch to batch */
    tn_recorder *often;
    ledger figures;
    tn_tensor *norm;    /* of the gradient before it was clipped */
    tn_tensor *images, *table; /* all of the data, on the device; NULL: batches bring their pixels */
    update now;
    tally epoch, line;  /* since the epoch's start, and since the last line of metrics */
    progress bar;
    bool told;          /* why batches are done op by op */
    int64_t line_count; /* since line_started */
    double started, line_started, saved;
    int64_t saved_step;
} trainer;

/* Losses that are still on the device. */
static bool read_figures(trainer *t)
{
    tally sums = {0};
    const bool good = ledger_read(&t->figures, t->task, &sums);
    tally_add(&t->epoch, &sums);
    tally_add(&t->line, &sums);
    return good;
}

/* ---- checkpoints ---- */

static bool save(trainer *t)
{
    if (!read_figures(t))
        return false;
    const tn_cursor at = tn_loader_cursor(t->data);
    const tn_rng random = tn_rng_state();
    train_state s = t->s;
    s.loader_epoch = at.epoch;
    s.loader_batch = at.batch;
    s.random_seed = (int64_t)random.seed;
    s.random_step = (int64_t)random.step;
    s.epoch_loss = t->epoch.loss;
    s.epoch_score = t->epoch.score;
    s.epoch_seen = t->epoch.seen;
    s.line_loss = t->line.loss;
    s.line_score = t->line.score;
    s.line_seen = t->line.seen;
    s.seconds += now_seconds() - t->started;
    s.metrics_bytes = run_metrics_size(t->r);
    t->saved = now_seconds();
    if (!checkpoint_save(t->r, t->c, t->net, t->opt, &t->carried, &s))
        return false;
    t->saved_step = s.step;
    return true;
}

/* The rate of the update after so many, in the present epoch. */
static double rate_at(const trainer *t, int64_t step)
{
    return tn_schedule_at(&t->schedule, (double)(t->by_update ? step : t->s.epoch));
}

static bool resume(trainer *t)
{
    bool found;
    train_state s = t->s;
    if (!checkpoint_load(t->r, t->c, t->net, t->opt, &t->carried, &s, &found))
        return false;
    run_metrics_cut(t->r, found ? s.metrics_bytes : 0);
    if (!found) {
        run_say(t->r, "%s has no checkpoint yet: from the beginning", t->r->dir);
        return tn_ok();
    }
    t->s = s;
    t->epoch = (tally){s.epoch_loss, s.epoch_score, s.epoch_seen};
    t->line = (tally){s.line_loss, s.line_score, s.line_seen};
    t->saved_step = s.step;
    tn_set_lr(t->opt, rate_at(t, s.step - 1)); /* which the line of an epoch tells that ends without another update */
    tn_loader_seek(t->data, (tn_cursor){s.loader_epoch, s.loader_batch});
    tn_rng_restore((tn_rng){(uint64_t)s.random_seed, (uint64_t)s.random_step});
    run_say(t->r, "resumed at step %lld, epoch %lld", (long long)s.step, (long long)s.epoch + 1);
    return tn_ok();
}

static bool due(const trainer *t, config_unit unit, int64_t count)
{
    const config_interval *i = &t->c->train.checkpoint_every;
    if (i->every <= 0 || i->unit != unit)
        return false;
    if (unit == CONFIG_MINUTES)
        return now_seconds() - t->saved >= 60 * i->every;
    return count % (int64_t)i->every == 0;
}

/* ---- updates ---- */

static void log_line(trainer *t, double epoch)
{
    char rate[TASK_TEXT];
    if (!read_figures(t))
        return;
    const double now = now_seconds(), seconds = fmax(now - t->line_started, 1e-9);
    json_t *line = json_pack("{s:I,s:f}", "step", (json_int_t)t->s.step, "epoch", epoch);
    task_figures(t->task, line, "", &t->line);
    if (t->task->words)
        json_object_set_new(line, t->task->unit, json_integer((json_int_t)t->now.seen));
    json_object_set_new(line, "lr", json_real(tn_lr(t->opt)));
    if (t->task->words && t->c->train.clip_norm > 0)
        json_object_set_new(line, "grad_norm", json_number(tn_item(t->norm)));
    snprintf(rate, sizeof rate, "%s_per_s", t->task->unit);
    json_object_set_new(line, rate, json_real((double)t->line_count / seconds));
    run_metric(t->r, line);
    t->line = (tally){0};
    t->line_count = 0;
    t->line_started = now;
}

/* `b` is the first batch; the last update of an epoch takes what is left. */
static void begin_update(trainer *t, const tn_batch *b)
{
    int64_t x, y;
    t->now = (update){.count = task_count(b)};
    const int64_t wide = t->now.count / tn_dim(b->y, 0); /* counted in a row of y */
    for (int64_t i = 0; i < t->c->train.update_freq - 1 && tn_loader_rows(t->data, i, &x, &y); i++)
        t->now.count += y * wide;
    tn_set_lr(t->opt, rate_at(t, t->s.step));
}

/* Adds the batch's part of the gradient of the mean over all that the update counts. */
static void add_batch(trainer *t, const tn_batch *b)
{
    const int64_t count = task_count(b);
    const double part = (t->task->sum ? 1 : (double)count) / (double)t->now.count;
    tn_tensor *in[] = {b->x, b->y, b->x_spans, b->y_spans, tn_full(part, TN_F32, TN_SCALAR)};
    const int64_t plan = task_plan(t->task, t->net, b);
    TN_RECORD(t->often, plan * BODIES + (b->first ? FIRST_BATCH : BATCH), 5, in) {
        const tn_batch there = {.x = t->images ? tn_crops(t->images, in[0], t->table) : in[0], .y = in[1],
                                .x_spans = in[2], .y_spans = in[3], .first = b->first};
        tn_tensor *score = NULL, *loss = t->task->loss(t->c, t->net, &there, plan, &t->carried, &score);
        if (ledger_write(&t->figures, loss, score))
            tn_backward_from(loss, in[4]);
    }
    if (tn_ok() && ledger_next(&t->figures, t->s.step + 1, count) && ledger_full(&t->figures))
        read_figures(t);
    t->now.seen += count;
    t->now.waited += b->waited;
    t->now.batches++;
}

static void end_update(trainer *t)
{
    if (t->c->train.clip_norm > 0)
        TN_RECORD(t->often, CLIP, 0, NULL) {
            tn_copy_(t->norm, tn_clip_norm_lazy(t->opt, t->c->train.clip_norm));
        }
    histogram_take(t->r, t->c, t->net, t->opt, t->s.step + 1, false);
    TN_RECORD(t->often, STEP, 0, NULL) {
        tn_step(t->opt);
    }
    if (!tn_ok())
        return;
    t->s.step++;
    histogram_take(t->r, t->c, t->net, t->opt, t->s.step, true);
    t->line_count += t->now.seen;
}

/* Once: on a GPU it costs much of the speed, and nothing else would tell. */
static void tell_trouble(trainer *t)
{
    const char *why = tn_recorder_trouble(t->often);
    if (!why || t->told)
        return;
    t->told = true;
    progress_clear(&t->bar);
    run_say(t->r, "not all of a step could be recorded, and so it is done op by op: %s", why);
}

static void show(trainer *t)
{
    char figures[2 * TASK_TEXT];
    if (!t->epoch.seen && !read_figures(t)) /* one look is soon enough */
        return;
    progress_show(&t->bar, &(progress_step){
        .epoch = t->s.epoch + 1,
        .epochs = t->epochs,
        .step = t->s.step,
        .steps = t->last_step,
        .counted = t->now.seen,
        .unit = t->task->unit,
        .figures = task_text(t->task, &t->epoch, figures),
        .waited = t->now.waited,
    });
}

/* Batches until the epoch, the run or somebody's patience ends; the latter two after an update. */
static void run_batches(trainer *t)
{
    const int64_t batches = tn_loader_batches(t->data);
    t->line_started = now_seconds();
    t->line_count = 0;
    t->now = (update){0};
    TN_EACH(b, t->data) {
        if (t->now.batches == 0)
            begin_update(t, &b);
        add_batch(t, &b);
        if (tn_ok() && t->now.batches < t->c->train.update_freq && b.index + 1 < batches)
            continue;
        end_update(t);
        if (!tn_ok())
            break;
        tell_trouble(t);
        show(t);
        if (t->s.step % t->c->train.log_every == 0)
            log_line(t, (double)t->s.epoch + (double)(b.index + 1) / (double)batches);
        t->now = (update){0};
        if (due(t, CONFIG_STEPS, t->s.step) || due(t, CONFIG_MINUTES, 0))
            save(t);
        if (stop_asked() || t->s.step >= t->last_step)
            break;
    }
}

/* ---- epochs ---- */

/* Weights, only of whole epochs, which a longer run has too. */
static void save_epoch(trainer *t, bool best)
{
    char path[RUN_PATH];
    const int64_t keep = t->c->train.epoch_checkpoints;
    if (best)
        tn_save(t->net, run_path(t->r, "best.safetensors", path));
    if (keep > 0)
        epochs_save(t->r->dir, t->net, t->s.epoch, keep);
}

static void tell_epoch(trainer *t, const tally *tested)
{
    char train[2 * TASK_TEXT], test[2 * TASK_TEXT], best[TASK_TEXT];
    const task *k = t->task;
    progress_clear(&t->bar);
    run_say(t->r, "epoch %lld/%lld  step %lld  lr %.4g  train %s  %s %s  best %s  %.0f %s/s  data %.0f %%",
            (long long)t->s.epoch, (long long)t->epochs, (long long)t->s.step, tn_lr(t->opt),
            task_text(k, &t->epoch, train), task_split_name(task_split(k, t->c)), task_text(k, tested, test),
            task_score_text(k, t->s.best, best), progress_rate(&t->bar), k->unit,
            100 * progress_data_share(&t->bar));
}

static void end_epoch(trainer *t, bool complete)
{
    tally tested;
    char prefix[TASK_TEXT];
    train_state *at = &t->s;
    const task *k = t->task;
    if (!read_figures(t))
        return;
    const double seconds = at->seconds + now_seconds() - t->started;
    if (!task_evaluate(k, t->c, t->net, t->test, &tested))
        return;
    at->epoch++;
    at->test_loss = tally_loss(&tested);
    at->test_score = tally_score(&tested);
    const bool best = task_better(k, at->test_score, at->best);
    if (best) {
        at->best = at->test_score;
        at->best_epoch = at->epoch;
    }
    if (complete)
        save_epoch(t, best);
    json_t *line = json_pack("{s:I,s:I}", "step", (json_int_t)at->step, "epoch", (json_int_t)at->epoch);
    snprintf(prefix, sizeof prefix, "%s_", task_split_name(task_split(k, t->c)));
    task_figures(k, line, "train_", &t->epoch);
    task_figures(k, line, prefix, &tested);
    json_object_set_new(line, k->best, json_number(at->best));
    json_object_set_new(line, "lr", json_real(tn_lr(t->opt)));
    json_object_set_new(line, "seconds", json_real(seconds));
    run_metric(t->r, line);
    tell_epoch(t, &tested);
    t->epoch = (tally){0};
}

static void run_epochs(trainer *t)
{
    const int64_t batches = tn_loader_batches(t->data);
    while (tn_ok() && !stop_asked()) {
        const tn_cursor at = tn_loader_cursor(t->data);
        const int64_t given = (at.epoch - t->s.epoch) * batches + at.batch; /* of this epoch */
        const bool complete = given >= batches;
        if (!complete && t->s.epoch < t->epochs && t->s.step < t->last_step) {
            run_batches(t);
            continue;
        }
        if (given <= 0)
            break;
        if (!complete && t->saved_step != t->s.step) /* a longer run would go on from here */
            save(t);
        end_epoch(t, complete);
        if (!complete)
            break;
        if (tn_ok() && due(t, CONFIG_EPOCHS, t->s.epoch))
            save(t);
    }
}

/* What the task has to add when all is done. */
static bool last_line(trainer *t)
{
    json_t *line = json_pack("{s:I,s:I}", "step", (json_int_t)t->s.step, "epoch", (json_int_t)t->s.epoch);
    const size_t head = json_object_size(line);
    const bool good = !t->task->end || t->task->end(t->c, t->r, t->net, line);
    if (good && json_object_size(line) > head)
        run_metric(t->r, line);
    else
        json_decref(line);
    return good;
}

static bool finish(trainer *t, train_result *result)
{
    char path[RUN_PATH];
    progress_clear(&t->bar);
    if (stop_asked() && tn_ok()) {
        result->interrupted = save(t);
    } else if (tn_ok()) {
        if (t->saved_step != t->s.step && t->c->train.checkpoint_every.every > 0)
            save(t);
        const bool whole = tn_save(t->net, run_path(t->r, "model.safetensors", path)) && last_line(t);
        result->interrupted = tn_ok() && !whole && t->saved_step == t->s.step;
        if (tn_ok() && !whole && !result->interrupted)
            tn_fail(TN_ESTATE, "%s: stopped while it was judged, and with train.checkpoint_every: never it cannot go "
                    "on; its weights are in model.safetensors", t->r->dir);
    }
    t->s.seconds += now_seconds() - t->started;
    return tn_ok();
}

/* How many updates and epochs the run has. */
static bool set_length(trainer *t, int64_t updates)
{
    const int64_t most = t->c->train.max_steps, epochs = t->c->train.epochs;
    if (epochs == 0 && most == 0)
        tn_fail(TN_EARG, "train.epochs: 0 means as many as train.max_steps needs, which is not set");
    t->epochs = epochs > 0 || updates == 0 ? epochs : (most + updates - 1) / updates;
    t->last_step = most > 0 && most < t->epochs * updates ? most : t->epochs * updates;
    return tn_ok();
}

static bool prepare(trainer *t, config *c)
{
    tn_seed((uint64_t)c->top.seed);
    t->data = setup_loader(c, TN_TRAIN);
    t->task = task_of(tn_loader_dataset(t->data));
    t->test = t->task ? setup_loader(c, task_split(t->task, c)) : NULL;
    t->net = setup_model(c, tn_loader_dataset(t->data), t->r->log);
    t->opt = setup_optim(c, t->net, t->r->log);
    t->carried = task_carry(t->task, t->net, tn_loader_dataset(t->data));
    const tn_device device = tn_device_named(c->device.name);
    const bool host = device.backend == tn_cpu().backend;
    t->often = tn_recorder_new(device);
    t->norm = tn_on(tn_full(0, host ? TN_F64 : TN_F32, TN_SCALAR), device);
    if (!tn_ok() || !ledger_begin(&t->figures, device) ||
        !setup_images(c, tn_loader_dataset(t->data), &t->images, &t->table))
        return false;
    const int64_t batches = tn_loader_batches(t->data);
    const int64_t updates = (batches + c->train.update_freq - 1) / c->train.update_freq;
    if (c->train.bleu.n > 0 && !t->task->end)
        tn_fail(TN_EARG, "train.bleu: %s are no sentences to translate", c->data.name);
    if (!tn_ok() || !set_length(t, updates))
        return false;
    t->by_update = strcmp(c->schedule.per, "update") == 0;
    if (!setup_resolve(c, tn_loader_dataset(t->data), t->net, t->opt, t->by_update ? t->last_step : t->epochs))
        return false;
    t->schedule = setup_schedule(c);
    t->s.best = task_worst(t->task);
    run_say(t->r, "%s: %s, %lld parameters; %s, %lld training and %lld %s samples; %s lr %g; "
            "%lld epochs of %lld updates; %s, %d threads",
            t->r->dir, c->model.name, (long long)tn_param_count(t->net), c->data.name,
            (long long)tn_dataset_len(tn_loader_dataset(t->data)),
            (long long)tn_dataset_len(tn_loader_dataset(t->test)), task_split_name(task_split(t->task, c)),
            c->optim.name, c->optim.lr,
            (long long)t->epochs, (long long)updates,
            tn_device_name(tn_device_named(c->device.name)), tn_threads());
    return tn_ok();
}

/* What is written beside metrics.jsonl; the steps and epochs after this one may be written a second time. */
static bool begin_records(trainer *t)
{
    if (epochs_forget(t->r->dir, t->s.epoch) && (!t->task->begin || t->task->begin(t->c, t->r)) &&
        histogram_begin(t->r, t->c, t->opt, t->s.step))
        t->r->events = events_open(t->r->dir, t->s.step);
    return t->r->events != NULL;
}

bool train(config *c, run *r, bool goes_on, train_result *result)
{
    char path[RUN_PATH];
    trainer t = {.c = c, .r = r, .saved_step = -1};
    bool good = false;
    *result = (train_result){.saved_step = -1};
    TN_SCOPE { /* of what is carried */
        good = prepare(&t, c) && (!goes_on || resume(&t)) && begin_records(&t) &&
               environment_write(r, c->device.name) && config_write(c, run_path(r, "config.yaml", path));
        if (good) {
            stop_catch();
            signal(SIGXFSZ, SIG_IGN); /* a file size limit is an error of write() like a full disk */
            t.started = t.saved = now_seconds();
            progress_start(&t.bar, !r->quiet, t.s.step);
            run_epochs(&t);
            good = finish(&t, result);
        }
    }
    result->task = t.task;
    result->split = t.task ? task_split(t.task, c) : TN_TEST;
    result->state = t.s;
    result->saved_step = t.saved_step;
    tn_free(t.often, t.opt, t.net, t.data, t.test);
    return good && tn_ok();
}
