/* Batches out of a data set, read ahead by worker threads.
 *
 * Batch k of an epoch is made in slot k mod slots.  A worker may claim batch k once the caller is
 * done with batch k - slots, so claims and slots need no queue.  A worker that fails leaves its
 * error in the slot; the caller meets it when it comes to that batch, so what a program sees does
 * not depend on the number of workers.  Which samples are in a batch is decided in batches.c, random choices and
 * pixels are in augment.c. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "augment.h"
#include "batches.h"
#include "memory.h"

enum { PLACE = 4 }; /* integers that tell where a crop is */

typedef struct slot {
    int64_t batch; /* what it holds, complete; -1: nothing */
    char *x, *y;   /* rows of its samples, one sample after the other */
    uint8_t *raw;  /* one sample of an image set */
    tn_err err;
} slot;

struct tn_loader {
    const tn_type *type;
    tn_loader_args args;
    tn__batches *list;
    size_t x_bytes, y_bytes; /* of a row in the batch; a sample that is not ragged is one */
    int64_t *samples, *spans;/* of the batch given last: [most], [most, 2] */
    float table[4][256];     /* per channel: byte -> normalised */
    tn_batch *reader;        /* the TN_EACH under way */
    slot *slots;
    int n_slots, n_threads;
    pthread_t *threads;

    pthread_mutex_t lock;    /* guards what follows, and slots[].batch */
    pthread_cond_t work, done;
    tn_cursor at;
    bool fresh;              /* the next TN_EACH starts at `at`, not at the epoch after */
    int64_t claimed;         /* the next batch a worker takes */
    int busy;                /* workers making one */
    bool stop;
};

/* ---- making a batch ---- */

/* Of what is given; images are normalised, or only their places told. */
static tn_dtype x_dtype(const tn_loader *l)
{
    const tn_dataset *d = l->args.data;
    return l->args.places ? TN_I64 : d->image ? TN_F32 : d->x_dtype;
}

static const int64_t *x_shape(const tn_loader *l, int *ndim)
{
    static const int64_t place[] = {PLACE};
    *ndim = l->args.places ? 1 : l->args.data->x_ndim;
    return l->args.places ? place : l->args.data->x_shape;
}

static bool make_sample(const tn_loader *l, slot *s, int64_t i, char *x, char *y)
{
    const tn_dataset *d = l->args.data;
    const tn_augment how = l->args.augment;
    if (!d->cls->get(d, i, d->image ? (char *)s->raw : x, y)) {
        tn_fail(TN_EIO, "%s: sample %lld could not be read", d->cls->name, (long long)i);
        return false;
    }
    const tn__crop crop = tn__choose_crop(l->args.seed, l->at.epoch, i, how);
    const int64_t place[PLACE] = {i, crop.y - how.crop_pad, crop.x - how.crop_pad, crop.flip};
    if (l->args.places)
        memcpy(x, place, sizeof place);
    else if (d->image)
        tn__crop_image(s->raw, (int)d->x_shape[0], (int)d->x_shape[1], (int)d->x_shape[2], how.crop_pad, crop,
                       l->table, (float *)(void *)x);
    return true;
}

/* What goes wrong is the error of this thread, and then of the slot. */
static void make_batch(const tn_loader *l, slot *s, int64_t batch)
{
    const tn__batches *list = l->list;
    const int64_t n = tn__batch_len(list, batch);
    size_t x = 0, y = 0; /* rows so far */
    bool ok = true;
    for (int64_t k = 0; ok && k < n; k++) {
        const int64_t i = tn__batch_sample(list, batch, k);
        ok = make_sample(l, s, i, s->x + x * l->x_bytes, s->y + y * l->y_bytes);
        x += (size_t)tn__sample_rows(list->x, i);
        y += (size_t)tn__sample_rows(list->y, i);
    }
    s->err = *tn_error();
}

static void *work(void *arg)
{
    tn_loader *l = arg;
    tn_error_quiet(true);
    pthread_mutex_lock(&l->lock);
    for (;;) {
        while (!l->stop && (l->claimed >= l->list->n || l->claimed >= l->at.batch + l->n_slots))
            pthread_cond_wait(&l->work, &l->lock);
        if (l->stop)
            break;
        const int64_t batch = l->claimed++;
        slot *s = &l->slots[batch % l->n_slots];
        l->busy++;
        pthread_mutex_unlock(&l->lock);
        tn_error_clear();
        TN_SCOPE { /* a data set may use tensors */
            make_batch(l, s, batch);
        }
        if (!tn_ok()) /* also when there was no memory for the scope */
            s->err = *tn_error();
        pthread_mutex_lock(&l->lock);
        s->batch = batch;
        l->busy--;
        pthread_cond_signal(&l->done);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* From here to start_epoch() no batch is claimed and none is being made. */
static void pause_workers(tn_loader *l)
{
    pthread_mutex_lock(&l->lock);
    l->claimed = l->list->n;
    while (l->busy > 0)
        pthread_cond_wait(&l->done, &l->lock);
    pthread_mutex_unlock(&l->lock);
}

/* ---- giving batches ---- */

static void start_epoch(tn_loader *l)
{
    pthread_mutex_lock(&l->lock);
    if (!l->fresh)
        l->at = (tn_cursor){l->at.epoch + 1, 0};
    l->fresh = false;
    for (int i = 0; i < l->n_slots; i++)
        l->slots[i].batch = -1;
    tn__batches_order(l->list, l->at.epoch);
    l->claimed = l->at.batch;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
}

static void stand_at(tn_loader *l, tn_cursor at)
{
    pthread_mutex_lock(&l->lock);
    l->at = at.batch < l->list->n ? at : (tn_cursor){at.epoch + 1, 0};
    l->fresh = true;
    pthread_mutex_unlock(&l->lock);
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The slot with the next batch, complete; NULL with the error set when it could not be made. */
static slot *wait_for_batch(tn_loader *l, double *waited)
{
    slot *s = &l->slots[l->at.batch % l->n_slots];
    const double from = seconds();
    if (l->n_threads == 0) {
        make_batch(l, s, l->at.batch);
    } else {
        pthread_mutex_lock(&l->lock);
        while (s->batch != l->at.batch)
            pthread_cond_wait(&l->done, &l->lock);
        pthread_mutex_unlock(&l->lock);
    }
    *waited = seconds() - from;
    return s->err.code == TN_OK ? s : tn_fail_as(&s->err);
}

static tn_tensor *batch_tensor(const char *from, tn_dtype t, int64_t n, int ndim,
                               const int64_t *shape)
{
    int64_t whole[TN_MAX_DIMS] = {n};
    memcpy(whole + 1, shape, (size_t)ndim * sizeof *shape);
    return tn_from(from, t, ndim + 1, whole);
}

/* First row and rows of each sample of the batch that is given. */
static tn_tensor *spans_of(tn_loader *l, const int32_t *rows, int64_t n, int64_t *all)
{
    *all = 0;
    for (int64_t k = 0; k < n; k++) {
        l->spans[2 * k] = *all;
        l->spans[2 * k + 1] = tn__sample_rows(rows, l->samples[k]);
        *all += l->spans[2 * k + 1];
    }
    return rows ? tn_from_i64(l->spans, TN_SHAPE(n, 2)) : NULL;
}

static bool give(tn_loader *l, tn_batch *b)
{
    const tn_dataset *d = l->args.data;
    int x_ndim;
    const int64_t *shape = x_shape(l, &x_ndim);
    int64_t x_rows, y_rows;
    b->scope = tn_scope_begin();
    slot *s = b->scope ? wait_for_batch(l, &b->waited) : NULL;
    if (!s)
        return false;
    b->index = l->at.batch;
    b->n = tn__batch_len(l->list, b->index);
    for (int64_t k = 0; k < b->n; k++)
        l->samples[k] = tn__batch_sample(l->list, b->index, k);
    b->samples = l->samples;
    b->first = b->index == 0 || (!d->carries && tn__batch_begins(l->list, b->index));
    b->x_spans = spans_of(l, l->list->x, b->n, &x_rows);
    b->y_spans = spans_of(l, l->list->y, b->n, &y_rows);
    b->x = batch_tensor(s->x, x_dtype(l), x_rows, x_ndim, shape);
    b->y = batch_tensor(s->y, d->y_dtype, y_rows, d->y_ndim, d->y_shape);
    if (!tn_ok())
        return false;
    pthread_mutex_lock(&l->lock);
    s->batch = -1;
    l->at.batch++;
    pthread_cond_signal(&l->work);
    pthread_mutex_unlock(&l->lock);
    return true;
}

bool tn_batch_next(tn_batch *b)
{
    tn_scope_end(&b->scope);
    b->x = b->y = b->x_spans = b->y_spans = NULL;
    b->samples = NULL;
    tn_loader *l = b->loader;
    if (!l || !tn_ok())
        return false;
    if (l->reader && l->reader != b) {
        tn_fail(TN_ESTATE, "TN_EACH: this loader is inside another TN_EACH; make a second one");
        return false;
    }
    if (!l->reader) {
        l->reader = b;
        start_epoch(l);
    }
    if (l->at.batch < l->list->n)
        return give(l, b);
    stand_at(l, l->at);
    tn_batch_end(b);
    return false;
}

void tn_batch_end(tn_batch *b)
{
    tn_scope_end(&b->scope);
    if (b->loader && b->loader->reader == b) {
        pause_workers(b->loader);
        b->loader->reader = NULL;
    }
    *b = (tn_batch){.index = -1};
}

bool tn_loader_rows(const tn_loader *l, int64_t ahead, int64_t *x_rows, int64_t *y_rows)
{
    if (!l)
        return false;
    const bool going_on = l->reader || l->fresh; /* else the next TN_EACH begins the epoch after */
    const tn_cursor at = going_on ? l->at : (tn_cursor){l->at.epoch + 1, 0};
    if (ahead < 0 || ahead >= l->list->n - at.batch)
        return false;
    tn__batches_order(l->list, at.epoch); /* changes it between epochs only, when no worker reads it */
    if (x_rows)
        *x_rows = tn__batch_rows(l->list, l->list->x, at.batch + ahead);
    if (y_rows)
        *y_rows = tn__batch_rows(l->list, l->list->y, at.batch + ahead);
    return true;
}

tn_cursor tn_loader_cursor(const tn_loader *l) { return l ? l->at : (tn_cursor){0, 0}; }

void tn_loader_seek(tn_loader *l, tn_cursor at)
{
    if (!l)
        return;
    if (l->reader) {
        tn_fail(TN_ESTATE, "tn_loader_seek: inside a TN_EACH over this loader; leave it first");
        return;
    }
    if (at.epoch < 0 || at.batch < 0 || at.batch > l->list->n) {
        tn_fail(TN_EARG, "tn_loader_seek: epoch %lld, batch %lld: an epoch has %lld batches",
                (long long)at.epoch, (long long)at.batch, (long long)l->list->n);
        return;
    }
    stand_at(l, at);
}

/* ---- making and freeing loaders ---- */

int64_t tn_loader_batches(const tn_loader *l) { return l ? l->list->n : 0; }
const tn_dataset *tn_loader_dataset(const tn_loader *l) { return l ? l->args.data : NULL; }

static void loader_free(void *object)
{
    tn_loader *l = object;
    if (l->reader)
        l->reader->loader = NULL;
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
    for (int i = 0; i < l->n_threads; i++)
        pthread_join(l->threads[i], NULL);
    for (int i = 0; l->slots && i < l->n_slots; i++) {
        free(l->slots[i].x);
        free(l->slots[i].y);
        free(l->slots[i].raw);
    }
    free(l->slots);
    free(l->threads);
    tn__batches_free(l->list);
    free(l->samples);
    free(l->spans);
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->work);
    pthread_cond_destroy(&l->done);
    tn_free(l->args.data);
    free(l);
}

static const tn_type loader_type = {"loader", loader_free};

static bool check_image(const tn_dataset *d, tn_augment how, bool places)
{
    const int64_t *shape = d->x_shape;
    if (!d->image && (how.crop_pad || how.flip))
        tn_fail(TN_EARG, "tn_loader: augment is for images; this data set has none");
    else if (!d->image && places)
        tn_fail(TN_EARG, "tn_loader: places are of crops of images; this data set has none");
    else if (d->image && (d->x_dtype != TN_U8 || d->x_ndim != 3 || shape[2] < 1 || shape[2] > 4))
        tn_fail(TN_EARG, "tn_loader: an image set must give u8 [H,W,C] with C from 1 to 4");
    else if (d->image && d->cls->rows)
        tn_fail(TN_EARG, "tn_loader: %s: an image set cannot be ragged", d->cls->name);
    else if (d->image && (how.crop_pad < 0 || how.crop_pad > shape[0] || how.crop_pad > shape[1]))
        tn_fail(TN_EARG, "tn_loader: crop_pad %d for images of %lld x %lld", how.crop_pad,
                (long long)shape[0], (long long)shape[1]);
    else
        return true;
    return false;
}

static bool check_args(const tn_loader_args *a)
{
    enum { MOST = 1024 };
    const tn_dataset *d = a->data;
    if (d->len < 1)
        tn_fail(TN_EARG, "tn_loader: the data set is empty");
    else if (a->batch < 0)
        tn_fail(TN_EARG, "tn_loader: batch is %lld; give the number of samples",
                (long long)a->batch);
    else if (a->max_tokens < 0 || a->multiple < 0)
        tn_fail(TN_EARG, "tn_loader: max_tokens %lld, multiple %d: both are at least 1, or 0 for the default",
                (long long)a->max_tokens, a->multiple);
    else if (a->max_tokens && !d->cls->rows)
        tn_fail(TN_EARG, "tn_loader: max_tokens is for ragged samples, and those of %s are all alike; give batch",
                d->cls->name);
    else if (a->max_tokens && a->drop_last)
        tn_fail(TN_EARG, "tn_loader: with max_tokens no batch is short, so drop_last has nothing to say");
    else if (d->cls->begins && (a->batch > 1 || a->max_tokens))
        tn_fail(TN_EARG, "tn_loader: samples of %s go on from one to the next; batches are of one", d->cls->name);
    else if (a->drop_last && d->len < a->batch)
        tn_fail(TN_EARG, "tn_loader: %lld samples make no full batch of %lld, and drop_last is set",
                (long long)d->len, (long long)a->batch);
    else if (a->workers < 0 || a->workers > MOST || a->prefetch < 0 || a->prefetch > MOST)
        tn_fail(TN_EARG, "tn_loader: workers %d, prefetch %d: both go from 0 to %d", a->workers,
                a->prefetch, MOST);
    else if (d->x_ndim < 0 || d->x_ndim >= TN_MAX_DIMS || d->y_ndim < 0 || d->y_ndim >= TN_MAX_DIMS)
        tn_fail(TN_EARG, "tn_loader: samples of rank %d and %d: up to %d are possible", d->x_ndim,
                d->y_ndim, TN_MAX_DIMS - 1);
    else
        return check_image(d, a->augment, a->places);
    return false;
}

static void *room_for(int64_t n, size_t bytes) { return calloc(n ? (size_t)n : 1, bytes ? bytes : 1); }

static bool reserve(tn_loader *l)
{
    const tn_dataset *d = l->args.data;
    const tn__batches *list = l->list;
    int x_ndim;
    const int64_t *shape = x_shape(l, &x_ndim);
    size_t raw;
    if (!tn__sample_bytes(d->x_dtype, d->x_ndim, d->x_shape, &raw) ||
        !tn__sample_bytes(x_dtype(l), x_ndim, shape, &l->x_bytes) ||
        !tn__sample_bytes(d->y_dtype, d->y_ndim, d->y_shape, &l->y_bytes))
        return false;
    l->slots = calloc((size_t)l->n_slots, sizeof *l->slots);
    l->threads = calloc((size_t)l->args.workers + 1, sizeof *l->threads);
    l->samples = room_for(list->most, sizeof *l->samples);
    l->spans = room_for(list->most, 2 * sizeof *l->spans);
    bool ok = l->slots && l->threads && l->samples && l->spans;
    for (int i = 0; ok && i < l->n_slots; i++) {
        slot *s = &l->slots[i];
        s->x = room_for(list->x_most, l->x_bytes);
        s->y = room_for(list->y_most, l->y_bytes);
        s->raw = room_for(1, d->image ? raw : 1);
        ok = s->x && s->y && s->raw;
    }
    return ok;
}

static bool start_workers(tn_loader *l)
{
    for (; l->n_threads < l->args.workers; l->n_threads++) {
        const int e = pthread_create(&l->threads[l->n_threads], NULL, work, l);
        if (e) {
            tn_fail(TN_ESTATE, "tn_loader: worker %d of %d: %s", l->n_threads + 1, l->args.workers,
                    strerror(e));
            return false;
        }
    }
    return true;
}

tn_loader *tn_loader_call(tn_loader_args args)
{
    if (!args.data)
        return NULL;
    tn_loader *l = check_args(&args) ? calloc(1, sizeof *l) : NULL;
    if (!l) {
        tn_fail(TN_ENOMEM, "tn_loader: no memory"); /* unless the arguments were wrong */
        tn_free(args.data);
        return NULL;
    }
    l->type = &loader_type;
    l->args = args;
    l->args.seed = args.seed ? args.seed : tn_rng_state().seed;
    l->args.multiple = args.multiple ? args.multiple : 8;
    l->fresh = true;
    const int ahead = args.prefetch ? args.prefetch : 2 * args.workers;
    l->n_slots = args.workers && ahead > 1 ? ahead : 1;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->work, NULL);
    pthread_cond_init(&l->done, NULL);
    tn__fill_table(args.data, l->table);
    l->list = tn__batches_new(&l->args);
    l->claimed = l->list ? l->list->n : 0;
    if (l->list && !reserve(l))
        tn_fail(TN_ENOMEM, "tn_loader: no memory for %d batches of %lld samples", l->n_slots,
                (long long)l->list->most);
    else if (l->list && start_workers(l))
        return l;
    tn_free(l);
    return NULL;
}
