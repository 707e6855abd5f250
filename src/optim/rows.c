/* Tables of which a step looks up few rows (tn_param_sparse).  Their gradient is a tensor like others, but what is not
 * zero in it is known row by row, so nothing passes over the rest.  A row without a gradient waits: the scalars of the
 * steps are kept, and when it is next read, by whomever, it gets them all (src/tensor/cpu/replay.c) and has the bits of
 * an optimizer that never waits.  Where chunks are worked on, a stretch is what of one must be looked at. */
#include <stddef.h>
#include <string.h>

#include "optim.h"

enum {
    HISTORY = 1024,           /* steps that are kept; then all rows are brought up to date */
    TASK = 64,                /* rows of one */
    DIRTY_BYTES = 64 << 20    /* gradients written to before their memory goes back */
};

static bool is_dirty(const tn__rows *r, int64_t row) { return r->dirty[row / 64] >> (row % 64) & 1; }

/* ---- from storages to rows ---- */

static int64_t first_in(const tn_optim *o, const tn__rows *r, const tn_storage *s)
{
    return s == o->params ? r->slot->p : s == o->grads ? r->slot->g : r->slot->s;
}

/* The rows of the table that t, a tensor of s, reaches into: [from, to); NULL is all of s. */
static void reach(const tn_optim *o, const tn__rows *r, const tn_storage *s, const tn_tensor *t, int64_t *from,
                  int64_t *to)
{
    const int64_t first = first_in(o, r, s);
    int64_t low = t ? t->offset - first : 0, high = t ? low : r->count * r->dim - 1;
    *from = *to = 0;
    for (int i = 0; t && i < t->ndim; i++) {
        const int64_t more = (t->shape[i] - 1) * t->stride[i];
        low += more < 0 ? more : 0;
        high += more > 0 ? more : 0;
    }
    if ((t && !tn_numel(t)) || high < 0 || low >= r->count * r->dim)
        return;
    *from = low < 0 ? 0 : low / r->dim;
    *to = high / r->dim + 1 < r->count ? high / r->dim + 1 : r->count;
}

/* ---- waiting rows get their steps ---- */

typedef struct task {
    tn_optim *o;
    tn__rows *r;
    const int64_t *row; /* NULL: all */
    int64_t n;
} task;

/* Elements [at, at + n) of the table, which have had `done` of the steps. */
static void replay(const tn_optim *o, const tn__rows *r, int64_t at, int64_t n, int done)
{
    tn__replay_call c = {.rule = o->rule->row, .states = o->cls->states, .steps = r->steps - done, .n = n,
                         .past = r->past + done, .least = &r->least, .most = &r->most};
    c.p = tn__slab_at(o->params, r->slot->p + at);
    for (int i = 0; i < c.states; i++)
        c.s[i] = tn__slab_at(o->states[i], r->slot->s + at);
    tn__replay(&c);
}

/* Whoever finds a row behind brings it up to date; an index may come twice. */
static void catch_up(void *arg, int64_t i, int worker)
{
    const task *a = arg;
    tn__rows *r = a->r;
    (void)worker;
    for (int64_t k = i * TASK; k < a->n && k < (i + 1) * TASK; k++) {
        const int64_t row = a->row ? a->row[k] : k;
        if (row < 0 || row >= r->count)
            continue;
        const int done = atomic_exchange(&r->done[row], r->steps);
        if (done < r->steps)
            replay(a->o, r, row * r->dim, r->dim, done);
    }
}

static void catch_up_with(tn_optim *o, tn__rows *r, int64_t n, const int64_t *row)
{
    task a = {o, r, row, n};
    if (r->steps)
        tn__parallel((n + TASK - 1) / TASK, catch_up, &a);
}

static void settle(tn_optim *o, tn__rows *r)
{
    catch_up_with(o, r, r->count, NULL);
    if (r->steps)
        memset((void *)r->done, 0, (size_t)r->count * sizeof *r->done);
    r->steps = 0;
}

/* ---- the guard of the slabs ---- */

static tn_optim *owner(tn__guard *g)
{
    return (tn_optim *)(void *)((char *)g - offsetof(tn_optim, guard));
}

static void mark(tn__rows *r, int64_t row) { r->dirty[row / 64] |= (uint64_t)1 << (row % 64); }

static void guard_open(tn__guard *g, const tn_storage *s, const tn_tensor *t, bool write)
{
    tn_optim *o = owner(g);
    int64_t from, to;
    pthread_mutex_lock(&o->lock);
    for (tn__rows *r = o->rows; r < o->rows + o->n_rows; r++) {
        reach(o, r, s, t, &from, &to);
        if (s != o->grads && from < to)
            settle(o, r);
        for (; s == o->grads && write && from < to; from++)
            mark(r, from);
    }
    pthread_mutex_unlock(&o->lock);
}

static bool guard_rows(tn__guard *g, const tn_tensor *t, int64_t n, const int64_t *row)
{
    tn_optim *o = owner(g);
    tn__rows *r = o->rows;
    while (r < o->rows + o->n_rows && t->offset != first_in(o, r, t->storage))
        r++;
    if (r == o->rows + o->n_rows || !tn_is_contiguous(t) || t->shape[0] != r->count || tn_numel(t) != r->count * r->dim)
        return false;
    pthread_mutex_lock(&o->lock);
    if (t->storage != o->grads)
        catch_up_with(o, r, n, row);
    for (int64_t i = 0; i < n && t->storage == o->grads; i++)
        if (row[i] >= 0 && row[i] < r->count)
            mark(r, row[i]);
    pthread_mutex_unlock(&o->lock);
    return true;
}

static void guard_storages(tn_optim *o, tn__guard *g)
{
    o->params->guard = o->grads->guard = g;
    for (int i = 0; i < o->cls->states; i++)
        o->states[i]->guard = g;
}

void tn__rows_end(tn_optim *o)
{
    for (tn__rows *r = o->rows; r < o->rows + o->n_rows; r++) {
        settle(o, r);
        tn__free(r->dirty);
        tn__free((void *)r->done);
        tn__free(r->past);
    }
    if (o->n_rows)
        guard_storages(o, NULL);
    tn__free(o->rows);
    o->rows = NULL;
    o->n_rows = 0;
}

static void guard_leave(tn__guard *g) { tn__rows_end(owner(g)); }

/* ---- made ---- */

static bool rows_new(tn__rows *r, tn__slot *slot)
{
    r->slot = slot;
    r->count = slot->shape[0];
    r->dim = slot->n / r->count;
    r->dirty = tn__alloc((size_t)(r->count / 64 + 1) * sizeof *r->dirty);
    r->done = tn__alloc((size_t)r->count * sizeof *r->done);
    r->past = tn__alloc(HISTORY * sizeof *r->past);
    return r->dirty && r->done && r->past;
}

bool tn__rows_new(tn_optim *o, bool clean)
{
    int n = 0;
    bool ok = true;
    for (const tn__slot *s = o->slots; s < o->slots + o->n_slots; s++)
        n += s->sparse && s->n > 0;
    if (!n || !o->rule || !tn__on_host(o))
        return true;
    if (!(o->rows = tn__alloc((size_t)n * sizeof *o->rows)))
        return false;
    for (tn__slot *s = o->slots; s < o->slots + o->n_slots && ok; s++)
        if (s->sparse && s->n > 0)
            ok = rows_new(&o->rows[o->n_rows++], s);
    for (tn__rows *r = o->rows; r < o->rows + o->n_rows && ok; r++)
        if (!clean)
            memset(r->dirty, 0xff, (size_t)(r->count / 64 + 1) * sizeof *r->dirty);
    o->guard = (tn__guard){guard_open, guard_rows, guard_leave};
    if (ok)
        guard_storages(o, &o->guard);
    return ok;
}

/* ---- stretches ---- */

/* The first dirty row from this one on; count when there is none. */
static int64_t next_dirty(const tn__rows *r, int64_t row)
{
    while (row < r->count && !is_dirty(r, row))
        row += r->dirty[row / 64] >> (row % 64) ? 1 : 64 - row % 64;
    return row < r->count ? row : r->count;
}

static int64_t end_of_dirty(const tn__rows *r, int64_t row)
{
    while (row < r->count && is_dirty(r, row))
        row++;
    return row;
}

bool tn__stretch_next(const tn_optim *o, const tn__chunk *c, tn__stretch *s)
{
    const tn__range *range = &o->ranges[c->range];
    int64_t at = s->at + s->n, end = c->n;
    s->rows = NULL;
    for (const tn__rows *r = o->rows; r < o->rows + o->n_rows && at < c->n; r++) {
        const int64_t first = r->slot->p - range->p - c->at, last = first + r->slot->n; /* in the chunk */
        if (first >= c->n || last <= at)
            continue;
        if (at < first) {
            end = first;
            break;
        }
        const int64_t row = next_dirty(r, (at - first) / r->dim), begin = first + row * r->dim;
        at = row == r->count ? last : begin > at ? begin : at;
        if (row < r->count) {
            end = first + end_of_dirty(r, row) * r->dim;
            s->rows = r;
            break;
        }
    }
    end = end < c->n ? end : c->n;
    s->at = at < c->n ? at : c->n;
    s->n = end > s->at ? end - s->at : 0;
    return s->n > 0;
}

/* ---- steps ---- */

void tn__rows_catch_up(const tn_optim *o, const tn__chunk *c, const tn__stretch *s)
{
    const tn__rows *r = s->rows;
    if (!r || !r->steps)
        return;
    int64_t at = o->ranges[c->range].p + c->at + s->at - r->slot->p; /* in the table */
    for (const int64_t end = at + s->n; at < end;) {
        const int64_t row = at / r->dim, stop = (row + 1) * r->dim < end ? (row + 1) * r->dim : end;
        const int done = atomic_load(&r->done[row]);
        if (done < r->steps)
            replay(o, r, at, stop - at, done);
        at = stop;
    }
}

void tn__rows_before_step(tn_optim *o)
{
    for (tn__rows *r = o->rows; r < o->rows + o->n_rows; r++)
        if (r->steps == HISTORY)
            settle(o, r);
}

/* What a step without a gradient multiplies states by: it makes that of 1. */
static void factors(const tn_optim *o, tn__past *past)
{
    float p = 0, g = 0, s[TN_RULE_STATES] = {1, 1, 1};
    tn__rule_call c = {.rule = o->rule->row, .n = 1, .p = &p, .g = &g, .s = {&s[0], &s[1], &s[2]}, .k = past->k};
    tn__cpu.rule(&c);
    memcpy(past->keep, s, sizeof past->keep);
}

static void widen(float *least, float *most, const float *x, int n, bool first)
{
    for (int i = 0; i < n; i++) {
        least[i] = first || x[i] < least[i] ? x[i] : least[i];
        most[i] = first || x[i] > most[i] ? x[i] : most[i];
    }
}

static void remember(const tn_optim *o, tn__rows *r, const tn__range *range)
{
    tn__past *past = &r->past[r->steps];
    const bool first = r->steps == 0;
    memcpy(past->k, tn__range_scalars(o, range), sizeof past->k);
    factors(o, past);
    widen(r->least.k, r->most.k, past->k, TN_RULE_SCALARS, first);
    widen(r->least.keep, r->most.keep, past->keep, TN_RULE_STATES, first);
    r->steps++;
    for (int64_t row = next_dirty(r, 0); row < r->count; row = next_dirty(r, row + 1))
        atomic_store(&r->done[row], r->steps);
}

static const tn__range *range_of(const tn_optim *o, const tn__rows *r)
{
    const tn__range *range = o->ranges;
    while (r->slot->p < range->p || r->slot->p >= range->p + range->n)
        range++;
    return range;
}

void tn__rows_after_step(tn_optim *o)
{
    for (tn__rows *r = o->rows; r < o->rows + o->n_rows; r++) {
        const tn__range *range = range_of(o, r);
        if (range->set.lr_scale != 0)
            remember(o, r, range);
    }
    tn__rows_clean(o);
}

void tn__rows_clean(tn_optim *o)
{
    for (tn__rows *r = o->rows; r < o->rows + o->n_rows; r++) {
        for (int64_t i = 0; i <= r->count / 64; i++)
            r->written += __builtin_popcountll(r->dirty[i]) * r->dim * (int64_t)sizeof(float);
        memset(r->dirty, 0, (size_t)(r->count / 64 + 1) * sizeof *r->dirty);
        if (r->written > DIRTY_BYTES)
            tn__zero_pages(tn__slab_at(o->grads, r->slot->g), (size_t)r->slot->n * sizeof(float));
        r->written = r->written > DIRTY_BYTES ? 0 : r->written;
    }
}
