/* See train.h.  One epoch is run_batches() and end_epoch(); a checkpoint may fall anywhere between
 * two steps, so what comes next is always read off the loader's cursor and the state. */
#define _GNU_SOURCE
#include "train.h"

#include <math.h>
#include <signal.h>
#include <string.h>

#include "events.h"
#include "histogram.h"
#include "environment.h"
#include "progress.h"
#include "setup.h"
#include "tally.h"

typedef struct trainer {
    const config *c;
    run *r;
    tn_loader *data, *test;
    tn_module *net;
    tn_optim *opt;
    tn_schedule schedule;
    bool by_update;     /* the schedule's unit */
    int64_t last_step;
    train_state s;
    tally epoch, line;  /* since the epoch's start, and since the last line of metrics */
    progress bar;
    double started, line_started, saved;
    int64_t saved_step;
} trainer;

static volatile sig_atomic_t stop_asked;

static void ask_to_stop(int signal)
{
    (void)signal;
    stop_asked = 1;
}

/* The second signal of a kind kills as ever. */
static void catch_signals(void)
{
    struct sigaction a = {.sa_handler = ask_to_stop, .sa_flags = (int)SA_RESETHAND | SA_RESTART};
    stop_asked = 0;
    sigaction(SIGINT, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
    signal(SIGXFSZ, SIG_IGN); /* a file size limit is an error of write() like a full disk */
}

/* ---- checkpoints ---- */

static bool save(trainer *t)
{
    const tn_cursor at = tn_loader_cursor(t->data);
    const tn_rng random = tn_rng_state();
    train_state s = t->s;
    s.loader_epoch = at.epoch;
    s.loader_batch = at.batch;
    s.random_seed = (int64_t)random.seed;
    s.random_step = (int64_t)random.step;
    s.epoch_loss = t->epoch.loss;
    s.epoch_right = t->epoch.right;
    s.epoch_seen = t->epoch.seen;
    s.line_loss = t->line.loss;
    s.line_right = t->line.right;
    s.line_seen = t->line.seen;
    s.seconds += now_seconds() - t->started;
    s.metrics_bytes = run_metrics_size(t->r);
    t->saved = now_seconds();
    if (!checkpoint_save(t->r, t->c, t->net, t->opt, &s))
        return false;
    t->saved_step = s.step;
    return true;
}

static bool resume(trainer *t)
{
    bool found;
    train_state s = t->s;
    if (!checkpoint_load(t->r, t->c, t->net, t->opt, &s, &found))
        return false;
    run_metrics_cut(t->r, found ? s.metrics_bytes : 0);
    if (!found) {
        run_say(t->r, "%s has no checkpoint yet: from the beginning", t->r->dir);
        return tn_ok();
    }
    t->s = s;
    t->epoch = (tally){s.epoch_loss, s.epoch_right, s.epoch_seen};
    t->line = (tally){s.line_loss, s.line_right, s.line_seen};
    t->saved_step = s.step;
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

/* ---- steps ---- */

static void log_line(trainer *t, double images, double epoch)
{
    const double now = now_seconds();
    run_metric(t->r, json_pack("{s:I,s:f,s:f,s:f,s:f,s:f}", "step", (json_int_t)t->s.step, "epoch",
                               epoch, "loss", tally_loss(&t->line), "accuracy",
                               tally_accuracy(&t->line), "lr", tn_lr(t->opt), "images_per_s",
                               images / fmax(now - t->line_started, 1e-9)));
    t->line = (tally){0};
    t->line_started = now;
}

static void step(trainer *t, const tn_batch *b)
{
    const double n = (double)(t->by_update ? t->s.step : t->s.epoch);
    tn_set_lr(t->opt, tn_schedule_at(&t->schedule, n));
    tn_tensor *logits = tn_forward(t->net, b->x);
    tn_tensor *loss = tn_cross_entropy(logits, b->y, .smoothing = t->c->train.label_smoothing);
    if (loss && !isfinite(tn_item(loss)))
        tn_fail(TN_ENUM, "step %lld: the loss is not a number; a lower optim.lr may help",
                (long long)t->s.step + 1);
    tn_backward(loss);
    if (t->c->train.clip_norm > 0)
        tn_clip_norm(t->opt, t->c->train.clip_norm);
    histogram_take(t->r, t->c, t->net, t->opt, t->s.step + 1, false);
    if (!tn_step(t->opt))
        return;
    t->s.step++;
    histogram_take(t->r, t->c, t->net, t->opt, t->s.step, true);
    tally batch = {0};
    tally_add(&batch, loss, logits, b->y);
    tally *const sums[] = {&t->epoch, &t->line};
    for (int i = 0; i < 2; i++) {
        sums[i]->loss += batch.loss;
        sums[i]->right += batch.right;
        sums[i]->seen += batch.seen;
    }
}

static void show(trainer *t, const tn_batch *b)
{
    progress_show(&t->bar, &(progress_step){
        .epoch = t->s.epoch + 1,
        .epochs = t->c->train.epochs,
        .step = t->s.step,
        .steps = t->last_step,
        .images = b->n,
        .loss = tally_loss(&t->epoch),
        .accuracy = tally_accuracy(&t->epoch),
        .waited = b->waited,
    });
}

/* Batches until the epoch, the run or somebody's patience ends. */
static void run_batches(trainer *t)
{
    const double batches = (double)tn_loader_batches(t->data);
    t->line_started = now_seconds();
    int64_t since_line = 0;
    TN_EACH(b, t->data) {
        step(t, &b);
        if (!tn_ok())
            break;
        since_line += b.n;
        show(t, &b);
        if (t->s.step % t->c->train.log_every == 0) {
            log_line(t, (double)since_line, (double)t->s.epoch + (double)(b.index + 1) / batches);
            since_line = 0;
        }
        if (due(t, CONFIG_STEPS, t->s.step) || due(t, CONFIG_MINUTES, 0))
            save(t);
        if (stop_asked || t->s.step >= t->last_step)
            break;
    }
}

/* ---- epochs ---- */

/* Only of whole epochs, which a longer run has too. */
static void save_best(trainer *t)
{
    char path[RUN_PATH];
    tn_save(t->net, run_path(t->r, "best.safetensors", path));
}

static void end_epoch(trainer *t, bool complete)
{
    score s;
    train_state *at = &t->s;
    const double seconds = at->seconds + now_seconds() - t->started;
    if (!evaluate(t->net, t->test, &s))
        return;
    at->epoch++;
    at->test_loss = s.loss;
    at->test_accuracy = s.accuracy;
    if (s.accuracy > at->best) {
        at->best = s.accuracy;
        at->best_epoch = at->epoch;
        if (complete)
            save_best(t);
    }
    run_metric(t->r, json_pack("{s:I,s:I,s:f,s:f,s:o,s:f,s:f,s:f,s:f}", "step",
                               (json_int_t)at->step, "epoch", (json_int_t)at->epoch, "train_loss",
                               tally_loss(&t->epoch), "train_accuracy", tally_accuracy(&t->epoch),
                               "test_loss", json_number(s.loss), "test_accuracy", s.accuracy,
                               "best", at->best, "lr", tn_lr(t->opt), "seconds", seconds));
    progress_clear(&t->bar);
    run_say(t->r, "epoch %lld/%lld  step %lld  lr %.4g  train loss %.4f accuracy %.2f %%  "
            "test loss %.4f accuracy %.2f %%  best %.2f %%  %.0f images/s  data %.0f %%",
            (long long)at->epoch, (long long)t->c->train.epochs, (long long)at->step, tn_lr(t->opt),
            tally_loss(&t->epoch), 100 * tally_accuracy(&t->epoch), s.loss, 100 * s.accuracy,
            100 * at->best, progress_rate(&t->bar), 100 * progress_data_share(&t->bar));
    t->epoch = (tally){0};
}

static void run_epochs(trainer *t)
{
    const int64_t batches = tn_loader_batches(t->data);
    while (tn_ok() && !stop_asked) {
        const tn_cursor at = tn_loader_cursor(t->data);
        const int64_t given = (at.epoch - t->s.epoch) * batches + at.batch; /* of this epoch */
        const bool complete = given >= batches;
        if (!complete && t->s.epoch < t->c->train.epochs && t->s.step < t->last_step) {
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

static bool finish(trainer *t, train_result *result)
{
    char path[RUN_PATH];
    progress_clear(&t->bar);
    if (stop_asked && tn_ok()) {
        result->interrupted = save(t);
    } else if (tn_ok()) {
        if (t->saved_step != t->s.step && t->c->train.checkpoint_every.every > 0)
            save(t);
        tn_save(t->net, run_path(t->r, "model.safetensors", path));
    }
    t->s.seconds += now_seconds() - t->started;
    return tn_ok();
}

static bool prepare(trainer *t, config *c)
{
    tn_seed((uint64_t)c->top.seed);
    t->data = setup_loader(c, TN_TRAIN);
    t->test = setup_loader(c, TN_TEST);
    t->net = setup_model(c, tn_loader_dataset(t->data), t->r->log);
    t->opt = setup_optim(c, t->net, t->r->log);
    if (!tn_ok())
        return false;
    const int64_t batches = tn_loader_batches(t->data), all = c->train.epochs * batches;
    setup_resolve(c, tn_loader_dataset(t->data), t->opt, batches);
    t->last_step = c->train.max_steps && c->train.max_steps < all ? c->train.max_steps : all;
    t->schedule = setup_schedule(c);
    t->by_update = strcmp(c->schedule.per, "update") == 0;
    run_say(t->r, "%s: %s, %lld parameters; %s, %lld training and %lld test samples; %s lr %g; "
            "%lld epochs of %lld updates; %s, %d threads",
            t->r->dir, c->model.name, (long long)tn_param_count(t->net), c->data.name,
            (long long)tn_dataset_len(tn_loader_dataset(t->data)),
            (long long)tn_dataset_len(tn_loader_dataset(t->test)), c->optim.name, c->optim.lr,
            (long long)c->train.epochs, (long long)batches,
            tn_device_name(tn_device_named(c->device.name)), tn_threads());
    return tn_ok();
}

/* What is written beside metrics.jsonl; the steps after this one may be written a second time. */
static bool begin_records(trainer *t)
{
    if (histogram_begin(t->r, t->c, t->opt, t->s.step))
        t->r->events = events_open(t->r->dir, t->s.step);
    return t->r->events != NULL;
}

bool train(config *c, run *r, bool goes_on, train_result *result)
{
    char path[RUN_PATH];
    trainer t = {.c = c, .r = r, .s = {.best = -1}, .saved_step = -1};
    *result = (train_result){.state = t.s};
    bool good = prepare(&t, c) && (!goes_on || resume(&t)) &&
                begin_records(&t) && environment_write(r, c->device.name) &&
                config_write(c, run_path(r, "config.yaml", path));
    if (good) {
        catch_signals();
        t.started = t.saved = now_seconds();
        progress_start(&t.bar, !r->quiet, t.s.step);
        run_epochs(&t);
        good = finish(&t, result);
    }
    result->state = t.s;
    result->saved_step = t.saved_step;
    tn_free(t.opt, t.net, t.data, t.test);
    return good && tn_ok();
}
