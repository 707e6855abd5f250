/* The host's memory on its way to a device: through pinned memory, in a ring, so that nobody waits for the copy and the
 * caller may change its own at once.  A piece of the ring is written again when the copies out of it are done. */
#include <pthread.h>
#include <string.h>

#include "cuda.h"

#ifdef TN_EMULATE
enum { PIECES = 3, PIECE = 4096 }; /* so that small tests go round */
#else
enum { PIECES = 8, PIECE = 4 << 20 };
#endif
enum { ALIGN = 256 };

typedef struct ring {
    char *at;
    int piece;   /* being filled */
    size_t used; /* of it */
    cudaEvent_t done[PIECES];
} ring;

static struct {
    pthread_mutex_t lock;
    ring ring[TN_CUDA_DEVICES];
} staging = {.lock = PTHREAD_MUTEX_INITIALIZER};

static cudaError_t begin(ring *r)
{
    cudaError_t e = cudaSuccess;
    for (int i = 0; i < PIECES && e == cudaSuccess; i++)
        if (!r->done[i])
            e = cudaEventCreateWithFlags(&r->done[i], cudaEventDisableTiming);
    return e != cudaSuccess ? e : cudaHostAlloc((void **)&r->at, (size_t)PIECES * PIECE, cudaHostAllocDefault);
}

/* On to the next piece. */
static cudaError_t turn(ring *r, cudaStream_t stream)
{
    const cudaError_t e = cudaEventRecord(r->done[r->piece], stream);
    r->piece = (r->piece + 1) % PIECES;
    r->used = 0;
    return e != cudaSuccess ? e : cudaEventSynchronize(r->done[r->piece]);
}

static cudaError_t send(ring *r, char *to, const char *from, size_t bytes, cudaStream_t stream)
{
    cudaError_t e = r->at ? cudaSuccess : begin(r);
    while (bytes && e == cudaSuccess) {
        if (r->used == PIECE && (e = turn(r, stream)) != cudaSuccess)
            break;
        const size_t room = PIECE - r->used, n = bytes < room ? bytes : room;
        char *here = r->at + (size_t)r->piece * PIECE + r->used;
        memcpy(here, from, n);
        e = cudaMemcpyAsync(to, here, n, cudaMemcpyHostToDevice, stream);
        r->used += (n + ALIGN - 1) / ALIGN * ALIGN;
        to += n;
        from += n;
        bytes -= n;
    }
    return e;
}

bool tn__cuda_send(int device, void *to, const void *from, size_t bytes, cudaStream_t stream)
{
    pthread_mutex_lock(&staging.lock);
    const cudaError_t e = send(&staging.ring[device], to, from, bytes, stream);
    pthread_mutex_unlock(&staging.lock);
    return tn__cuda_ok(device, "copy", e);
}
