/* Device memory.  Blocks are kept by size class (../classes.h) when they are released: cudaFree
 * waits for the whole device, and a training step repeats its sizes.  A released block may still
 * be in use by a kernel; its next user comes later on the same stream. */
#include <pthread.h>
#include <stdlib.h>

#include "classes.h"
#include "cuda.h"

typedef struct shelf {
    void **kept;
    int n_kept, n_blocks, room; /* room for all n_blocks, so that releasing cannot fail */
} shelf;

static struct {
    pthread_mutex_t lock;
    shelf shelf[TN_CUDA_DEVICES][TN_CLASSES];
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
    if (!TN_POOLED)
        return fresh(device, bytes ? bytes : 1);
    pthread_mutex_lock(&pool.lock);
    void *p = take(device, &pool.shelf[device][cls], size);
    pthread_mutex_unlock(&pool.lock);
    return p;
}

void tn__cuda_release(int device, void *p, size_t bytes)
{
    size_t size;
    if (!p)
        return;
    shelf *s = &pool.shelf[device][tn__class_of(bytes, &size)];
    if (!TN_POOLED) {
        cudaFree(p);
        return;
    }
    pthread_mutex_lock(&pool.lock);
    s->kept[s->n_kept++] = p;
    pthread_mutex_unlock(&pool.lock);
}
