/* What is launched between tn__cuda_record() and tn__cuda_recorded() does not run: it becomes a CUDA graph, which
 * tn__cuda_replay() runs as a whole as often as wanted (../record.c says who wants it).  Addresses are part of it, so
 * memory taken meanwhile comes from an arena (memory.c) that is the recordings' own; so is the count of random ops, to
 * which kernels add what has been drawn since. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "cuda.h"

static struct {
    atomic_bool on;
    bool spoilt;
    pthread_t by;
    int kept;        /* recordings that may be replayed */
    uint64_t *drawn; /* on the device: 0, and how many random ops after its recording a replay begins */
} recording[TN_CUDA_DEVICES];

bool tn__cuda_recording(int device) { return recording[device].on; }

/* What another thread asked for would become part of the recording. */
bool tn__cuda_alone(int device)
{
    if (!recording[device].on || pthread_equal(recording[device].by, pthread_self()))
        return true;
    tn__cuda_told(TN_ESTATE, "cuda:%d is being recorded by another thread; use it from one thread", device);
    return false;
}

bool tn__cuda_unrecorded(int device, const char *what)
{
    if (!recording[device].on)
        return true;
    recording[device].spoilt = true;
    tn__cuda_told(TN_ESTATE, "%s: the host and cuda:%d meet here, which cannot be recorded", what, device);
    return false;
}

const uint64_t *tn__cuda_drawn(int device)
{
    const uint64_t *drawn = recording[device].drawn;
    return drawn ? drawn + recording[device].on : NULL;
}

bool tn__cuda_drawn_new(int device, cudaStream_t stream)
{
    void *p = NULL;
    if (!tn__cuda_ok(device, "open", cudaMalloc(&p, 2 * sizeof(uint64_t))) ||
        !tn__cuda_ok(device, "open", cudaMemsetAsync(p, 0, 2 * sizeof(uint64_t), stream)))
        return false;
    recording[device].drawn = p;
    return true;
}

bool tn__cuda_record(int device)
{
    cudaStream_t stream;
    tn__cuda_forget_rounded(device, NULL);
    if (!tn__cuda_on(device, &stream) ||
        !tn__cuda_ok(device, "record", cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed)))
        return false;
    recording[device].by = pthread_self();
    recording[device].on = true;
    recording[device].spoilt = false;
    return true;
}

void *tn__cuda_recorded(int device, bool good)
{
    cudaStream_t stream;
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;
    recording[device].on = false;
    if (!tn__cuda_on(device, &stream))
        return NULL;
    cudaError_t e = cudaStreamEndCapture(stream, &graph);
    if (good && !recording[device].spoilt &&
        (e != cudaSuccess || (e = cudaGraphInstantiate(&exec, graph, 0)) != cudaSuccess))
        tn__cuda_ok(device, "record", e);
    if (graph)
        cudaGraphDestroy(graph);
    cudaGetLastError(); /* that something could not be recorded is no fault of the device: forget it */
    recording[device].kept += exec != NULL;
    tn__cuda_forget_rounded(device, NULL);
    if (!recording[device].kept)
        tn__cuda_arena_end(device);
    return exec;
}

bool tn__cuda_replay(int device, void *exec, const uint64_t *drawn)
{
    cudaStream_t stream;
    tn__cuda_forget_rounded(device, NULL);
    return tn__cuda_on(device, &stream) &&
           (!drawn || tn__cuda_send(device, recording[device].drawn + 1, drawn, sizeof *drawn, stream)) &&
           tn__cuda_ok(device, "replay", cudaGraphLaunch(exec, stream));
}

void tn__cuda_forget(int device, void *exec)
{
    cudaStream_t stream;
    if (!tn__cuda_on(device, &stream))
        return;
    cudaStreamSynchronize(stream);
    cudaGraphExecDestroy(exec);
    if (!--recording[device].kept)
        tn__cuda_arena_end(device);
}
