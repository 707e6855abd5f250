/* Copies of tensors in bf16, for the operands of products and convolutions (tn_set_precision()).  One is made when it
 * is first asked for and lasts as long as what it is a copy of stays the same, so an activation is rounded once for
 * forward and backward, and all weights of a slab together.  The host does not see what a recording writes: copies do
 * not outlast its beginning, its end or a replay. */
#include <pthread.h>
#include <stdlib.h>

#include "cuda.h"
#include "launch.h"

enum { LISTS = 1024, WHOLE = 64 << 20 /* elements of a storage of which a part may be meant and all is rounded */ };

typedef struct rounded {
    struct rounded *next;
    const void *of; /* the storage's data */
    uint64_t version;
    int64_t first, count; /* elements */
    uint16_t *at;
} rounded;

static struct {
    pthread_mutex_t lock;
    int count[TN_CUDA_DEVICES];
    rounded *list[TN_CUDA_DEVICES][LISTS];
} copies = {.lock = PTHREAD_MUTEX_INITIALIZER};

static size_t bytes_of(const rounded *r) { return (size_t)r->count * sizeof *r->at; }

static rounded **list_of(int device, const void *data)
{
    return &copies.list[device][(uintptr_t)data / 256 * 2654435761u % LISTS];
}

/* Takes those out that are copies of `data`; NULL: all of the list. */
static rounded *take_out(int device, rounded **at, const void *data)
{
    rounded *out = NULL;
    while (*at) {
        rounded *r = *at;
        if (data && r->of != data) {
            at = &r->next;
            continue;
        }
        *at = r->next;
        r->next = out;
        out = r;
        copies.count[device]--;
    }
    return out;
}

static void drop(int device, rounded *list)
{
    while (list) {
        rounded *r = list;
        list = r->next;
        tn__cuda_release(device, r->at, bytes_of(r));
        free(r);
    }
}

void tn__cuda_forget_rounded(int device, const void *data)
{
    rounded *out = NULL;
    pthread_mutex_lock(&copies.lock);
    if (copies.count[device] && data)
        out = take_out(device, list_of(device, data), data);
    for (int i = 0; copies.count[device] && !data && i < LISTS; i++) {
        rounded *some = take_out(device, &copies.list[device][i], NULL), **end = &some;
        while (*end)
            end = &(*end)->next;
        *end = out;
        out = some;
    }
    pthread_mutex_unlock(&copies.lock);
    drop(device, out);
}

/* The elements from t's first to its last one, or all of its storage. */
static rounded wanted(const tn_tensor *t)
{
    const int64_t all = (int64_t)(t->storage->bytes / sizeof(float));
    rounded r = {.of = t->storage->data, .version = t->storage->version, .count = all};
    if (all <= WHOLE)
        return r;
    r.first = t->offset;
    r.count = 1;
    for (int i = 0; i < t->ndim; i++)
        r.count += (t->shape[i] - 1) * t->stride[i];
    return r;
}

static bool same(const rounded *a, const rounded *b)
{
    return a->of == b->of && a->first == b->first && a->count == b->count;
}

/* In its place in the list: what is there may be of another version. */
static rounded **place_of(int device, const rounded *r)
{
    rounded **at = list_of(device, r->of);
    while (*at && !same(*at, r))
        at = &(*at)->next;
    return at;
}

static bool fill(rounded *r, tn__cuda_work *w)
{
    const tn__cuda_matrix from = {(const float *)r->of + r->first, 1, 1, r->count, 0, 0, 1};
    return tn__cuda_to_bf16(&from, r->at, w->stream) == 0;
}

static rounded *made(const rounded *like, int device)
{
    rounded *r = malloc(sizeof *r);
    uint16_t *at = r ? tn__cuda_alloc(device, bytes_of(like)) : NULL;
    if (!at) {
        free(r);
        return NULL;
    }
    *r = *like;
    r->at = at;
    r->version = ~like->version; /* not filled yet */
    return r;
}

/* The copy of what `now` says, which may be of another version yet or not be filled; NULL: no memory. */
static rounded *found_or_made(const rounded *now, int device)
{
    rounded **place = place_of(device, now), *r = *place;
    if (!r && (r = made(now, device))) {
        *place = r;
        r->next = NULL;
        copies.count[device]++;
    }
    return r;
}

const uint16_t *tn__cuda_rounded(const tn_tensor *t, tn__cuda_work *w)
{
    const uint16_t *at = NULL;
    if (!w->half || !tn__cuda_count(t))
        return NULL;
    const rounded now = wanted(t);
    pthread_mutex_lock(&copies.lock);
    rounded *r = found_or_made(&now, w->device);
    if (r && (r->version == now.version || fill(r, w))) {
        r->version = now.version;
        at = r->at + (t->offset - r->first);
    }
    pthread_mutex_unlock(&copies.lock);
    return at;
}

uint16_t *tn__cuda_rounded_out(const tn_tensor *t, tn__cuda_work *w)
{
    const rounded now = t ? wanted(t) : (rounded){0};
    if (!w->half || !now.count || now.count != tn__cuda_count(t))
        return NULL;
    pthread_mutex_lock(&copies.lock);
    rounded *r = found_or_made(&now, w->device);
    if (r)
        r->version = now.version;
    pthread_mutex_unlock(&copies.lock);
    return r ? r->at : NULL;
}
