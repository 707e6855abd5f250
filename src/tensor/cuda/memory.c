/* Device memory.  Blocks are kept by size class (../classes.h) when they are released: cudaFree waits for the whole
 * device, and a training step repeats its sizes.  A released block may still be in use by a kernel; its next user comes
 * later on the same stream.
 *
 * What recordings (recording.c) use while they run is theirs for good, so it comes from an arena: slabs apart from the
 * pool's blocks, cut into blocks that only recordings take.  They run one after the other, so they share it. */
#include <pthread.h>
#include <stdlib.h>

#include "classes.h"
#include "cuda.h"

typedef struct shelf {
    void **kept;
    int n_kept, n_blocks, room; /* room for all n_blocks, so that releasing cannot fail */
} shelf;

#ifdef TN_EMULATE
#define SLAB ((size_t)1 << 20)
#else
#define SLAB ((size_t)256 << 20)
#endif
enum { SLABS = 4096, ALIGN = 256 /* as cudaMalloc's */ };
typedef struct arena {
    char *slab[SLABS];
    size_t size[SLABS];
    int n;
    size_t used; /* of the last slab */
    shelf shelf[TN_CLASSES];
} arena;

static struct {
    pthread_mutex_t lock;
    shelf shelf[TN_CUDA_DEVICES][TN_CLASSES];
    arena arena[TN_CUDA_DEVICES];
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool make_room(shelf *s)
{
    if (s->n_blocks < s->room)
        return true;
    const int room = s->room ? 2 * s->room : 8;
    void **kept = realloc(s->kept, (size_t)room * sizeof *kept);
    if (!kept)
        return false;
    s->kept = kept;
    s->room = room;
    return true;
}

/* Gives all that is kept back to the driver. */
static void trim(int device)
{
    for (shelf *s = pool.shelf[device]; s < pool.shelf[device] + TN_CLASSES; s++) {
        s->n_blocks -= s->n_kept;
        while (s->n_kept)
            cudaFree(s->kept[--s->n_kept]);
    }
}

static void *fresh(int device, size_t size)
{
    void *p = NULL;
    if (cudaMalloc(&p, size) == cudaSuccess)
        return p;
    trim(device);
    if (cudaMalloc(&p, size) == cudaSuccess)
        return p;
    cudaGetLastError(); /* out of memory is no fault of the device: forget it */
    return NULL;
}

/* ---- of recordings ---- */

static bool in_arena(const arena *a, const char *p)
{
    for (int i = 0; i < a->n; i++)
        if (p >= a->slab[i] && p < a->slab[i] + a->size[i])
            return true;
    return false;
}

static void *cut(arena *a, size_t size)
{
    size = (size + ALIGN - 1) / ALIGN * ALIGN;
    if (!a->n || a->used + size > a->size[a->n - 1]) {
        const size_t bytes = size > SLAB ? size : SLAB;
        void *slab = NULL;
        if (a->n == SLABS || cudaMalloc(&slab, bytes) != cudaSuccess) { /* nothing can be freed while it is recorded */
            cudaGetLastError();
            return NULL;
        }
        a->slab[a->n] = slab;
        a->size[a->n++] = bytes;
        a->used = 0;
    }
    a->used += size;
    return a->slab[a->n - 1] + a->used - size;
}

static void *take_from_arena(arena *a, int cls, size_t size)
{
    shelf *s = &a->shelf[cls];
    if (s->n_kept)
        return s->kept[--s->n_kept];
    void *p = make_room(s) ? cut(a, size) : NULL;
    s->n_blocks += p != NULL;
    return p;
}

static bool all_back(const arena *a)
{
    for (const shelf *s = a->shelf; s < a->shelf + TN_CLASSES; s++)
        if (s->n_kept < s->n_blocks)
            return false;
    return true;
}

/* Somebody who kept a tensor that was made while something was recorded keeps all of it. */
void tn__cuda_arena_end(int device)
{
    pthread_mutex_lock(&pool.lock);
    arena *a = &pool.arena[device];
    if (all_back(a)) {
        while (a->n)
            cudaFree(a->slab[--a->n]);
        for (shelf *s = a->shelf; s < a->shelf + TN_CLASSES; s++) {
            free(s->kept);
            *s = (shelf){0};
        }
    }
    pthread_mutex_unlock(&pool.lock);
}

/* ---- of all others ---- */

static void *take(int device, shelf *s, size_t size)
{
    if (s->n_kept)
        return s->kept[--s->n_kept];
    void *p = make_room(s) ? fresh(device, size) : NULL;
    s->n_blocks += p != NULL;
    return p;
}

void *tn__cuda_alloc(int device, size_t bytes)
{
    cudaStream_t stream;
    size_t size;
    if (!tn__cuda_on(device, &stream) || bytes > SIZE_MAX / 4)
        return NULL;
    const int cls = tn__class_of(bytes, &size);
    const bool recorded = tn__cuda_recording(device);
    if (!TN_POOLED && !recorded)
        return fresh(device, bytes ? bytes : 1);
    pthread_mutex_lock(&pool.lock);
    void *p = recorded ? take_from_arena(&pool.arena[device], cls, size)
                       : take(device, &pool.shelf[device][cls], size);
    pthread_mutex_unlock(&pool.lock);
    return p;
}

void tn__cuda_release(int device, void *p, size_t bytes)
{
    size_t size;
    if (!p)
        return;
    tn__cuda_forget_rounded(device, p);
    const int cls = tn__class_of(bytes, &size);
    pthread_mutex_lock(&pool.lock);
    arena *a = &pool.arena[device];
    shelf *s = in_arena(a, p) ? &a->shelf[cls] : &pool.shelf[device][cls];
    if (TN_POOLED || s == &a->shelf[cls])
        s->kept[s->n_kept++] = p;
    else
        cudaFree(p);
    pthread_mutex_unlock(&pool.lock);
}
