/* Which samples make up a batch: so many of them in the order of the epoch, or, for sequences, as many of like
 * length as a number of tokens allows; and in which order runs of samples come.  Not how a batch is read: loader.c. */
#include "batches.h"

#include <stdlib.h>
#include <string.h>

#include "augment.h"

/* ---- asking ---- */

/* Where the batch begins and ends in the order of samples. */
static int64_t place(const tn__batches *b, int64_t batch, int64_t *end)
{
    if (b->first) {
        const int64_t *at = b->first + (b->turns ? b->turns[batch] : batch);
        *end = at[1];
        return at[0];
    }
    const int64_t from = batch * b->size;
    *end = b->len - from < b->size ? b->len : from + b->size;
    return from;
}

int64_t tn__batch_len(const tn__batches *b, int64_t batch)
{
    int64_t end;
    const int64_t from = place(b, batch, &end);
    return end - from;
}

int64_t tn__batch_sample(const tn__batches *b, int64_t batch, int64_t k)
{
    int64_t end;
    const int64_t at = place(b, batch, &end) + k;
    return b->order ? b->order[at] : at;
}

int64_t tn__sample_rows(const int32_t *rows, int64_t sample) { return rows ? rows[sample] : 1; }

int64_t tn__batch_rows(const tn__batches *b, const int32_t *rows, int64_t batch)
{
    const int64_t n = tn__batch_len(b, batch);
    int64_t sum = 0;
    for (int64_t k = 0; k < n; k++)
        sum += tn__sample_rows(rows, tn__batch_sample(b, batch, k));
    return sum;
}

bool tn__batch_begins(const tn__batches *b, int64_t batch)
{
    const int64_t sample = tn__batch_sample(b, batch, 0);
    int64_t low = 0, high = b->n_runs; /* runs[low] <= sample < runs[high] */
    while (high - low > 1) {
        const int64_t middle = low + (high - low) / 2;
        *(b->runs[middle] <= sample ? &low : &high) = middle;
    }
    return b->n_runs == 0 || b->runs[low] == sample;
}

static void order_runs(tn__batches *b, int64_t epoch)
{
    tn__shuffle(b->seed, epoch, b->run_turns, b->n_runs);
    int64_t at = 0;
    for (int64_t k = 0; k < b->n_runs; k++)
        for (int64_t i = b->runs[b->run_turns[k]]; i < b->runs[b->run_turns[k] + 1]; i++)
            b->order[at++] = i;
}

void tn__batches_order(tn__batches *b, int64_t epoch)
{
    if (!b->shuffle || b->epoch == epoch)
        return;
    if (b->run_turns)
        order_runs(b, epoch);
    else
        tn__shuffle(b->seed, epoch, b->turns ? b->turns : b->order, b->turns ? b->n : b->len);
    b->epoch = epoch;
}

/* ---- sorting by length ---- */

/* Stable, by key[sample], a byte at a time; `other` [n] is room. */
static void sort_by(const int32_t *key, int64_t *order, int64_t *other, int64_t n)
{
    int64_t longest = 0;
    for (int64_t i = 0; i < n; i++)
        longest = key[i] > longest ? key[i] : longest;
    for (int shift = 0; longest >> shift > 0; shift += 8) {
        int64_t at[257] = {0};
        for (int64_t i = 0; i < n; i++)
            at[(key[order[i]] >> shift & 255) + 1]++;
        for (int v = 0; v < 255; v++)
            at[v + 1] += at[v];
        for (int64_t i = 0; i < n; i++)
            other[at[key[order[i]] >> shift & 255]++] = order[i];
        memcpy(order, other, (size_t)n * sizeof *order);
    }
}

/* ---- packing by tokens ---- */

static int64_t longer_side(const tn__batches *b, int64_t sample)
{
    const int64_t x = tn__sample_rows(b->x, sample), y = b->y ? b->y[sample] : 0;
    return x > y ? x : y;
}

/* As fairseq 0.7.2 packs (data_utils.batch_by_size).  When the pending samples and one more are too many, the
 * largest multiple of them goes, all when they are fewer than one; the others begin the next batch, which is not
 * looked at again before it meets another sample.  So where lengths jump, a batch of up to one multiple may hold
 * more than max_tokens. */
static void pack(tn__batches *b, const tn_loader_args *a)
{
    const int64_t multiple = a->multiple;
    int64_t start = 0, longest = 0;
    for (int64_t i = 0; i < b->len; i++) {
        const int64_t n = i - start, side = longer_side(b, b->order[i]);
        longest = side > longest ? side : longest;
        if (n == 0 || (n != a->batch && (n + 1) * longest <= a->max_tokens))
            continue;
        start += n < multiple ? n : n - n % multiple;
        b->first[++b->n] = start;
        longest = 0;
        for (int64_t k = start; k <= i; k++) {
            const int64_t left = longer_side(b, b->order[k]);
            longest = left > longest ? left : longest;
        }
    }
    b->first[++b->n] = b->len;
}

static bool check_lengths(const tn__batches *b, const tn_loader_args *a)
{
    for (int64_t i = 0; i < b->len; i++)
        if (longer_side(b, i) > a->max_tokens) {
            tn_fail(TN_EARG, "tn_loader: %s: sample %lld has %lld rows, and max_tokens is %lld; raise data.max_tokens "
                    "or lower data.longest", a->data->cls->name, (long long)i, (long long)longer_side(b, i),
                    (long long)a->max_tokens);
            return false;
        }
    return true;
}

/* Batches of samples of like length. */
static bool make_by_tokens(tn__batches *b, const tn_loader_args *a)
{
    enum { BEFORE = -1 }; /* an epoch that no batch is shuffled by */
    if (!check_lengths(b, a))
        return false;
    const size_t len = (size_t)b->len;
    int64_t *room = malloc(len * sizeof *room);
    b->order = malloc(len * sizeof *b->order);
    b->first = calloc(len + 1, sizeof *b->first);
    if (room && b->order && b->first) {
        for (int64_t i = 0; i < b->len; i++)
            b->order[i] = i;
        if (b->shuffle)
            tn__shuffle(b->seed, BEFORE, b->order, b->len);
        if (b->y)
            sort_by(b->y, b->order, room, b->len);
        sort_by(b->x, b->order, room, b->len);
        pack(b, a);
        b->turns = b->shuffle ? malloc((size_t)b->n * sizeof *b->turns) : NULL;
    }
    free(room);
    if (b->n == 0 || (b->shuffle && !b->turns))
        return false;
    int64_t *fitting = realloc(b->first, ((size_t)b->n + 1) * sizeof *fitting);
    b->first = fitting ? fitting : b->first;
    return true;
}

/* ---- batches of so many samples ---- */

static bool make_by_count(tn__batches *b, const tn_loader_args *a)
{
    const int64_t asked = a->batch ? a->batch : 1;
    b->size = asked < b->len ? asked : b->len;
    b->n = b->len / b->size + (b->len % b->size > 0 && !a->drop_last);
    b->order = b->shuffle ? calloc((size_t)b->len, sizeof *b->order) : NULL;
    return b->order || !b->shuffle;
}

/* ---- how large they get ---- */

/* Rows of the `size` longest samples together: no shuffled batch has more.  -1: no memory. */
static int64_t longest_together(const tn__batches *b, const int32_t *rows)
{
    if (!rows)
        return b->size;
    int64_t *order = malloc((size_t)b->len * sizeof *order), *room = malloc((size_t)b->len * sizeof *room);
    int64_t sum = order && room ? 0 : -1;
    if (sum == 0) {
        for (int64_t i = 0; i < b->len; i++)
            order[i] = i;
        sort_by(rows, order, room, b->len);
        for (int64_t i = b->len - b->size; i < b->len; i++)
            sum += rows[order[i]];
    }
    free(order);
    free(room);
    return sum;
}

static bool measure(tn__batches *b)
{
    if (!b->first && (b->shuffle || !b->x)) {
        b->most = b->size;
        b->x_most = longest_together(b, b->x);
        b->y_most = longest_together(b, b->y);
        return b->x_most >= 0 && b->y_most >= 0;
    }
    tn__batches_order(b, 0); /* any */
    for (int64_t k = 0; k < b->n; k++) {
        const int64_t n = tn__batch_len(b, k);
        const int64_t x = tn__batch_rows(b, b->x, k), y = tn__batch_rows(b, b->y, k);
        b->most = n > b->most ? n : b->most;
        b->x_most = x > b->x_most ? x : b->x_most;
        b->y_most = y > b->y_most ? y : b->y_most;
    }
    return true;
}

/* ---- making ---- */

/* Kept here, because slots are made for what they say now. */
static bool read_rows(tn__batches *b, const tn_dataset *d)
{
    bool ragged_y = false;
    if (b->len > INT32_MAX) {
        tn_fail(TN_EARG, "tn_loader: %s: %lld ragged samples; up to %d are possible", d->cls->name,
                (long long)b->len, INT32_MAX);
        return false;
    }
    b->x = malloc((size_t)b->len * sizeof *b->x);
    b->y = malloc((size_t)b->len * sizeof *b->y);
    if (!b->x || !b->y)
        return false;
    for (int64_t i = 0; i < b->len; i++) {
        int64_t x = -1, y = -1;
        d->cls->rows(d, i, &x, &y);
        if (x < 0 || x > INT32_MAX || y < -1 || y > INT32_MAX) {
            tn_fail(TN_EARG, "tn_loader: %s: sample %lld of %lld and %lld rows", d->cls->name, (long long)i,
                    (long long)x, (long long)y);
            return false;
        }
        if (i > 0 && ragged_y != (y >= 0)) {
            tn_fail(TN_EARG, "tn_loader: %s: y has rows in some samples only, see sample %lld", d->cls->name,
                    (long long)i);
            return false;
        }
        ragged_y = y >= 0;
        b->x[i] = (int32_t)x;
        b->y[i] = (int32_t)y;
    }
    if (!ragged_y) {
        free(b->y);
        b->y = NULL;
    }
    return true;
}

static bool read_runs(tn__batches *b, const tn_dataset *d)
{
    for (int64_t i = 0; i < b->len; i++)
        b->n_runs += i == 0 || d->cls->begins(d, i);
    b->runs = malloc(((size_t)b->n_runs + 1) * sizeof *b->runs);
    b->run_turns = b->shuffle ? malloc((size_t)b->n_runs * sizeof *b->run_turns) : NULL;
    if (!b->runs || (b->shuffle && !b->run_turns))
        return false;
    int64_t k = 0;
    for (int64_t i = 0; i < b->len; i++)
        if (i == 0 || d->cls->begins(d, i))
            b->runs[k++] = i;
    b->runs[k] = b->len;
    return true;
}

tn__batches *tn__batches_new(const tn_loader_args *a)
{
    tn__batches *b = calloc(1, sizeof *b);
    if (b) {
        b->len = a->data->len;
        b->shuffle = a->shuffle;
        b->seed = a->seed;
        b->epoch = -1;
        if ((!a->data->cls->rows || read_rows(b, a->data)) && (!a->data->cls->begins || read_runs(b, a->data)) &&
            (a->max_tokens ? make_by_tokens(b, a) : make_by_count(b, a)) && measure(b))
            return b;
    }
    tn__batches_free(b);
    return tn_fail(TN_ENOMEM, "tn_loader: no memory for the order of %lld samples", (long long)a->data->len);
}

void tn__batches_free(tn__batches *b)
{
    if (!b)
        return;
    free(b->order);
    free(b->first);
    free(b->turns);
    free(b->runs);
    free(b->run_turns);
    free(b->x);
    free(b->y);
    free(b);
}
