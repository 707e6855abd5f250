/* See cuda_runtime_api.h. */
#include "cuda_runtime_api.h"

#include <deque>

#include <stdlib.h>
#include <string.h>

#include "emu.h"

enum { RUNTIME = 13000 };

struct emu_machine emu_machine = {RUNTIME, 2, 9, 1000000};
struct emu_counts emu_counts;

/* ---- streams: one queue for all, as every device has the same memory ---- */

using work = std::function<int()>;
struct CUgraph_st {
    std::deque<work> all;
};
struct CUgraphExec_st : CUgraph_st {};
static std::deque<work> queue;
static CUgraph_st *captured; /* while something is */
static bool spoilt;          /* by what cannot be captured */
static unsigned long begun, finished; /* events recorded, events reached */
struct CUevent_st {
    unsigned long number;
};

int emu_later(void *stream, work w)
{
    if (!stream)
        return w();
    if (captured) {
        captured->all.push_back(w);
        return cudaSuccess;
    }
    emu_counts.launches++;
    queue.push_back(w);
    return cudaSuccess;
}

/* Until nothing is left, or `until` events were reached. */
static cudaError_t run_until(unsigned long until)
{
    int failed = 0;
    while (!queue.empty() && finished < until) {
        const work w = queue.front();
        queue.pop_front();
        const int now = w();
        failed = failed ? failed : now;
    }
    return (cudaError_t)failed;
}

static cudaError_t not_while_captured()
{
    spoilt = spoilt || captured;
    return captured ? cudaErrorStreamCaptureUnsupported : cudaSuccess;
}

static cudaError_t wait(unsigned long until)
{
    const cudaError_t e = not_while_captured();
    return e ? e : run_until(until);
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    emu_counts.waits++;
    return stream ? wait(-1ul) : cudaErrorLaunchFailure;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t, enum cudaStreamCaptureMode)
{
    if (captured)
        return not_while_captured();
    captured = new CUgraph_st;
    spoilt = false;
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t *graph)
{
    *graph = captured;
    captured = NULL;
    if (!spoilt)
        return cudaSuccess;
    delete *graph;
    *graph = NULL;
    return cudaErrorStreamCaptureInvalidated;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long)
{
    emu_counts.nodes = (long)graph->all.size();
    *exec = new CUgraphExec_st{*graph};
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    emu_counts.graphs++;
    return (cudaError_t)emu_later(stream, [all = exec->all] {
        int failed = 0;
        for (const work &w : all)
            failed = failed ? failed : w();
        return failed;
    });
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    delete graph;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    delete exec;
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned)
{
    *event = new CUevent_st{0};
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    event->number = ++begun;
    return (cudaError_t)emu_later(stream, [number = event->number] {
        finished = number;
        return cudaSuccess;
    });
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) { return event->number > finished ? wait(event->number) : cudaSuccess; }

/* ---- the machine ---- */

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = emu_machine.driver;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = RUNTIME;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int *count)
{
    *count = emu_machine.driver < RUNTIME ? 0 : emu_machine.devices;
    if (emu_machine.driver < RUNTIME)
        return cudaErrorInsufficientDriver;
    return *count ? cudaSuccess : cudaErrorNoDevice;
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device)
{
    (void)attribute;
    (void)device;
    *value = emu_machine.major;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int device)
{
    *p = cudaDeviceProp{"emulated", 1u << 30, emu_machine.major, 0};
    return cudaSetDevice(device);
}

cudaError_t cudaSetDevice(int device)
{
    return device >= 0 && device < emu_machine.devices ? cudaSuccess : cudaErrorInvalidDevice;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags)
{
    static char something;
    (void)flags;
    *stream = (cudaStream_t)(void *)&something;
    return cudaSuccess;
}

/* Fresh memory is full of NaN, so that a result made from it shows. */
cudaError_t cudaMalloc(void **p, size_t bytes)
{
    *p = emu_counts.blocks < emu_machine.blocks ? malloc(bytes) : NULL;
    if (!*p)
        return cudaErrorMemoryAllocation;
    emu_counts.blocks++;
    memset(*p, 0xff, bytes);
    return cudaSuccess;
}

cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned flags)
{
    (void)flags;
    *p = malloc(bytes);
    return *p ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaFree(void *p)
{
    const cudaError_t e = p ? wait(-1ul) : cudaSuccess;
    if (e == cudaErrorStreamCaptureUnsupported)
        return e;
    emu_counts.blocks -= p != NULL;
    free(p);
    return e;
}

cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    (void)kind;
    return (cudaError_t)emu_later(stream, [=] {
        memmove(dst, src, bytes);
        return cudaSuccess;
    });
}

cudaError_t cudaMemsetAsync(void *p, int byte, size_t bytes, cudaStream_t stream)
{
    return (cudaError_t)emu_later(stream, [=] {
        memset(p, byte, bytes);
        return cudaSuccess;
    });
}

cudaError_t cudaGetLastError(void) { return cudaSuccess; }

const char *cudaGetErrorString(cudaError_t e)
{
    return e == cudaErrorInvalidDevice      ? "invalid device ordinal"
           : e == cudaErrorMemoryAllocation ? "out of memory"
           : e >= cudaErrorStreamCaptureUnsupported ? "operation not permitted when stream is capturing"
                                            : "unspecified launch failure";
}
