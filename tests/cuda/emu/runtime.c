/* See cuda_runtime_api.h. */
#include "cuda_runtime_api.h"

#include <stdlib.h>
#include <string.h>

enum { RUNTIME = 13000 };

struct emu_machine emu_machine = {.driver = RUNTIME, .devices = 2, .major = 9, .blocks = 1000000};
static int blocks_out;

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
    *p = (struct cudaDeviceProp){"emulated", 1u << 30, emu_machine.major, 0};
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

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    return stream ? cudaSuccess : cudaErrorLaunchFailure;
}

/* Fresh memory is full of NaN, so that a result made from it shows. */
cudaError_t cudaMalloc(void **p, size_t bytes)
{
    *p = blocks_out < emu_machine.blocks ? malloc(bytes) : NULL;
    if (!*p)
        return cudaErrorMemoryAllocation;
    blocks_out++;
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
    blocks_out -= p != NULL;
    free(p);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    (void)kind;
    (void)stream;
    memmove(dst, src, bytes);
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *p, int byte, size_t bytes, cudaStream_t stream)
{
    (void)stream;
    memset(p, byte, bytes);
    return cudaSuccess;
}

cudaError_t cudaGetLastError(void) { return cudaSuccess; }

const char *cudaGetErrorString(cudaError_t e)
{
    return e == cudaErrorInvalidDevice      ? "invalid device ordinal"
           : e == cudaErrorMemoryAllocation ? "out of memory"
                                            : "unspecified launch failure";
}
