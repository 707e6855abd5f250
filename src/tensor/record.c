/* Bodies of TN_RECORD(): which have come before, with which shapes, and what a replay needs besides the device's
 * recording: inputs at the addresses it reads, the count of random ops, and what the host must do each time. */
#include <stdio.h>
#include <string.h>

#include "internal.h"

enum { MOST = 4096 };
enum { SKIP, DO, RECORD, RECORDING, DONE }; /* tn_pass.state */

typedef struct hook {
    bool (*fn)(void *arg);
    void *arg;
} hook;

/* Sign of a body: its key, the seed, dtype and shape of each input. */
enum { SIGN = 2 + TN_RECORD_INPUTS * (TN_MAX_DIMS + 1) };
typedef struct sign {
    int n;
    int64_t word[SIGN];
} sign;

typedef struct tn__recorded {
    sign sign;
    bool never;                     /* to be recorded */
    tn_tensor in[TN_RECORD_INPUTS]; /* without a storage: none */
    void *recording;                /* NULL: not yet */
    tn_rng at;                      /* where it begins */
    uint64_t draws;                 /* random ops in it */
    hook *hooks;
    int n_hooks, room;
} recorded;

struct tn_recorder {
    const tn_type *type;
    const tn_backend *backend;
    int device, n;
    int64_t n_recorded, n_replayed;
    char trouble[sizeof((tn_err *)0)->text];
    recorded *all[MOST];
};

static _Thread_local recorded *current; /* being recorded */

bool tn_each_time(bool (*fn)(void *arg), void *arg)
{
    recorded *e = current;
    if (!e)
        return fn(arg);
    if (e->n_hooks == e->room) {
        const int room = e->room ? 2 * e->room : 8;
        hook *more = tn__alloc((size_t)room * sizeof *more);
        if (!more)
            return false;
        if (e->n_hooks)
            memcpy(more, e->hooks, (size_t)e->n_hooks * sizeof *more);
        tn__free(e->hooks);
        e->hooks = more;
        e->room = room;
    }
    e->hooks[e->n_hooks++] = (hook){fn, arg};
    return true;
}

/* ---- made and freed ---- */

static void forget(const tn_recorder *r, recorded *e)
{
    if (e->recording)
        r->backend->forget(r->device, e->recording);
    for (int i = 0; i < TN_RECORD_INPUTS; i++)
        tn__storage_drop(e->in[i].storage);
    tn__free(e->hooks);
    tn__free(e);
}

static void recorder_free(void *object)
{
    tn_recorder *r = object;
    for (int i = 0; i < r->n; i++)
        forget(r, r->all[i]);
    tn__free(r);
}

static const tn_type recorder_type = {"recorder", recorder_free};

tn_recorder *tn_recorder_new(tn_device d)
{
    tn_recorder *r = tn__alloc(sizeof *r);
    if (!r)
        return NULL;
    r->type = &recorder_type;
    r->backend = d.backend ? d.backend : &tn__cpu;
    r->device = d.index;
    return r;
}

void tn_recorder_counts(const tn_recorder *r, int64_t *recordings, int64_t *replays)
{
    *recordings = r ? r->n_recorded : 0;
    *replays = r ? r->n_replayed : 0;
}

const char *tn_recorder_trouble(const tn_recorder *r) { return r && *r->trouble ? r->trouble : NULL; }

/* ---- inputs ---- */

static bool sign_of(int64_t key, int n, tn_tensor *const *in, sign *s)
{
    *s = (sign){2, {key, (int64_t)tn_rng_state().seed}};
    if (n < 0 || n > TN_RECORD_INPUTS)
        return tn_fail(TN_EARG, "record: %d inputs; 0 to %d are possible", n, TN_RECORD_INPUTS), false;
    for (int i = 0; i < n; i++) {
        s->word[s->n++] = in[i] ? ((int)in[i]->dtype + 1) * (TN_MAX_DIMS + 1) + in[i]->ndim : 0;
        for (int d = 0; in[i] && d < in[i]->ndim; d++)
            s->word[s->n++] = in[i]->shape[d];
    }
    return true;
}

static recorded *find(const tn_recorder *r, const sign *s)
{
    for (int i = 0; i < r->n; i++)
        if (r->all[i]->sign.n == s->n && !memcmp(r->all[i]->sign.word, s->word, (size_t)s->n * sizeof *s->word))
            return r->all[i];
    return NULL;
}

/* Remembers that such a body came. */
static void note(tn_recorder *r, const sign *s)
{
    recorded *e = r->n < MOST ? tn__alloc(sizeof *e) : NULL;
    if (r->n == MOST)
        snprintf(r->trouble, sizeof r->trouble, "record: %d bodies are remembered, and not this one", MOST);
    if (!e)
        return;
    e->sign = *s;
    r->all[r->n++] = e;
}

static bool place(const tn_recorder *r, tn_tensor *to, const tn_tensor *like)
{
    TN_SCOPE {
        const tn_tensor *t = tn__tensor_on(r->backend, r->device, like->dtype, like->ndim, like->shape);
        *to = (tn_tensor){.storage = t ? tn__storage_ref(t->storage) : NULL, .dtype = like->dtype};
        tn__set_shape(to, like->ndim, like->shape);
    }
    return to->storage != NULL;
}

/* The body's inputs become those of the recording. */
static bool put(const tn_recorder *r, recorded *e, int n, tn_tensor **in)
{
    for (int i = 0; i < n; i++) {
        if (!in[i])
            continue;
        if ((!e->in[i].storage && !place(r, &e->in[i], in[i])) || !tn_copy_(&e->in[i], in[i]))
            return false;
        in[i] = &e->in[i];
    }
    return true;
}

static bool put_for_once(const tn_recorder *r, int n, tn_tensor **in)
{
    for (int i = 0; i < n; i++)
        if (in[i] && !(in[i] = tn_on(in[i], (tn_device){r->backend, r->device})))
            return false;
    return true;
}

/* ---- passes ---- */

static bool replay(tn_recorder *r, recorded *e)
{
    tn_rng now = tn_rng_state();
    for (int i = 0; i < e->n_hooks; i++)
        if (!e->hooks[i].fn(e->hooks[i].arg))
            return false;
    const uint64_t drawn = now.step - e->at.step;
    if (!r->backend->replay(r->device, e->recording, e->draws ? &drawn : NULL))
        return false;
    now.step += e->draws;
    tn_rng_restore(now);
    r->n_replayed++;
    return true;
}

tn_pass tn_pass_begin(tn_recorder *r, int64_t key, int n, tn_tensor **in)
{
    tn_pass p = {.recorder = r, .state = SKIP};
    sign s;
    if (!r || !tn_ok() || !sign_of(key, n, in, &s))
        return p;
    recorded *e = r->backend->record && !current ? find(r, &s) : NULL;
    if (!e || e->never) {
        if (!e && r->backend->record && !current)
            note(r, &s);
        p.state = put_for_once(r, n, in) ? DO : SKIP;
        return p;
    }
    p.recorded = e;
    if (!put(r, e, n, in))
        return p;
    if (e->recording)
        p.state = replay(r, e) ? DONE : SKIP;
    else
        p.state = RECORD;
    return p;
}

/* Errors while a body is recorded are not told: it is done once more, and meets them again if they are its own. */
static bool begin(tn_pass *p)
{
    const tn_recorder *r = p->recorder;
    recorded *e = p->recorded;
    e->at = tn_rng_state();
    if (!r->backend->record(r->device))
        return false;
    p->quiet = tn__error_quiet(true);
    current = e;
    p->state = RECORDING;
    return true;
}

static void end(tn_pass *p, bool good)
{
    tn_recorder *r = p->recorder;
    recorded *e = p->recorded;
    current = NULL;
    e->draws = tn_rng_state().step - e->at.step;
    e->recording = r->backend->recorded(r->device, good && tn_ok());
    r->n_recorded += e->recording != NULL;
    e->never = !e->recording;
    if (e->never)
        snprintf(r->trouble, sizeof r->trouble, "%s", tn_ok() ? "record: left in its middle" : tn_error()->text);
    tn_error_clear();
    tn__error_quiet(p->quiet);
    tn_rng_restore(e->at);
}

bool tn_pass_next(tn_pass *p)
{
    if (p->state == RECORD)
        return begin(p);
    if (p->state == RECORDING) {
        end(p, true);
        if (p->recorded->recording) {
            p->state = DONE;
            replay(p->recorder, p->recorded);
            return false;
        }
        p->state = DO; /* its inputs stay those that were put aside */
    }
    if (p->state != DO)
        return false;
    p->state = DONE;
    return true;
}

/* Left in the middle of it, a body was no body to record. */
void tn_pass_end(tn_pass *p)
{
    if (p->state == RECORDING)
        end(p, false);
}
