/* The CUDA backend as the library sees it: struct tn_backend, handed out by the module's one
 * exported function.  The driver is bound at run time by the CUDA runtime, which is linked in; so
 * the module loads on any machine and says what is missing. */
#include "cuda.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "launch.h"
#include "libs/libs.h"
#include "version.h"

enum { OLDEST = 8 }; /* compute capability 8.0: there is no machine code here for older ones */

static const tn__host *host;

static struct {
    pthread_mutex_t lock;
    int count;
    cudaStream_t stream[TN_CUDA_DEVICES]; /* NULL until first used */
    atomic_int precision[TN_CUDA_DEVICES];
} cuda = {.lock = PTHREAD_MUTEX_INITIALIZER};

bool tn__cuda_ok(int device, const char *what, cudaError_t e)
{
    if (e != cudaSuccess)
        host->fail(e == cudaErrorMemoryAllocation ? TN_ENOMEM : TN_EDEVICE, "%s: cuda:%d: %s", what, device,
                   cudaGetErrorString(e));
    if (e != cudaSuccess)
        cudaGetLastError(); /* told: it is not the next launch's */
    return e == cudaSuccess;
}

void tn__cuda_trouble(int device, const char *what, const char *why)
{
    host->fail(TN_EDEVICE, "%s: cuda:%d: %s", what, device, why);
}

void tn__cuda_told(tn_code code, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    host->fail(code, "%s", text);
}

bool tn__cuda_on(int device, cudaStream_t *stream)
{
    if (!tn__cuda_ok(device, "open", cudaSetDevice(device)))
        return false;
    pthread_mutex_lock(&cuda.lock);
    cudaStream_t *s = &cuda.stream[device], fresh;
    const bool ok = *s || (tn__cuda_fault_new(device) &&
                           tn__cuda_ok(device, "open", cudaStreamCreateWithFlags(&fresh, cudaStreamNonBlocking)) &&
                           tn__cuda_drawn_new(device, fresh) && tn__cuda_counters_new(device, fresh));
    if (ok && !*s)
        *s = fresh;
    *stream = *s;
    pthread_mutex_unlock(&cuda.lock);
    return ok && tn__cuda_alone(device);
}

bool tn__cuda_wait(int device, const char *what, cudaStream_t stream)
{
    return tn__cuda_unrecorded(device, what) && tn__cuda_ok(device, what, cudaStreamSynchronize(stream)) &&
           tn__cuda_faultless(device, host);
}

/* Waits wherever the host, or another device's stream, could meet a copy half done. */
static bool copy(int to, void *dst, int from, const void *src, size_t bytes, int direction)
{
    static const enum cudaMemcpyKind kinds[] = {
        [TN_COPY_TO_HOST] = cudaMemcpyDeviceToHost,
        [TN_COPY_ON_DEVICE] = cudaMemcpyDeviceToDevice,
    };
    const int device = direction == TN_COPY_TO_HOST ? from : to;
    const bool between = direction == TN_COPY_ON_DEVICE && from != to;
    cudaStream_t stream, other;
    if (!bytes)
        return true;
    if (between && !(tn__cuda_on(from, &other) && tn__cuda_wait(from, "copy", other)))
        return false;
    if (!tn__cuda_on(device, &stream))
        return false;
    if (direction == TN_COPY_TO_DEVICE)
        return tn__cuda_unrecorded(device, "copy") && tn__cuda_send(device, dst, src, bytes, stream);
    if (!tn__cuda_ok(device, "copy", cudaMemcpyAsync(dst, src, bytes, kinds[direction], stream)))
        return false;
    return (direction == TN_COPY_ON_DEVICE && !between) || tn__cuda_wait(device, "copy", stream);
}

static bool fill(int device, void *p, const void *element, size_t size, int64_t n)
{
    cudaStream_t stream;
    return !n || (tn__cuda_on(device, &stream) &&
                  tn__cuda_ok(device, "fill", (cudaError_t)tn__cuda_fill(p, element, size, n, stream)));
}

static int devices(void) { return cuda.count; }

static void set_precision(int device, tn_precision p) { atomic_store(&cuda.precision[device], (int)p); }

tn_precision tn__cuda_precision(int device) { return (tn_precision)atomic_load(&cuda.precision[device]); }

static const tn_backend backend = {.name = "cuda", .alloc = tn__cuda_alloc,
                                   .release = tn__cuda_release, .copy = copy, .fill = fill,
                                   .kernel = tn__cuda_kernel, .rule = tn__cuda_step,
                                   .add = tn__cuda_add_all,
                                   .devices = devices, .precision = set_precision,
                                   .engines = tn__cuda_engines, .take_engines = tn__cuda_take_engines,
                                   .record = tn__cuda_record, .recorded = tn__cuda_recorded,
                                   .replay = tn__cuda_replay, .forget = tn__cuda_forget};

/* ---- opening ---- */

/* Why there is no device, given what cudaGetDeviceCount says. */
static void explain(cudaError_t e, char *trouble, size_t size)
{
    int driver = 0, runtime = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    cudaGetLastError();
    if (!driver)
        snprintf(trouble, size, "there is no NVIDIA driver on this machine (libcuda.so.1)");
    else if (e == cudaErrorInsufficientDriver)
        snprintf(trouble, size,
                 "the NVIDIA driver is too old: it is for CUDA %d.%d, %d.%d is needed",
                 driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
    else if (e == cudaErrorNoDevice || e == cudaSuccess)
        snprintf(trouble, size, "the NVIDIA driver finds no GPU (is CUDA_VISIBLE_DEVICES set?)");
    else
        snprintf(trouble, size, "the NVIDIA driver does not work: %s", cudaGetErrorString(e));
}

/* How many devices, from the first on, are new enough. */
static int usable(int count)
{
    for (int i = 0; i < count; i++) {
        int major = 0;
        cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, i);
        if (major < OLDEST)
            return i;
    }
    return count;
}

/* NULL, with a sentence in trouble [size], when no device can be used.  `h` must stay. */
__attribute__((visibility("default")))
const tn_backend *tn__cuda_backend(const tn__host *h, char *trouble, size_t size)
{
    int count = 0;
    if (strcmp(h->version, TN_VERSION) || h->ops != TN_OP_COUNT) {
        snprintf(trouble, size,
                 "the CUDA module is of version %s with %d ops, the library of %s with %d",
                 TN_VERSION, TN_OP_COUNT, h->version, h->ops);
        return NULL;
    }
    host = h;
    const cudaError_t e = cudaGetDeviceCount(&count);
    if (e != cudaSuccess || !count) {
        explain(e, trouble, size);
        return NULL;
    }
    cuda.count = usable(count < TN_CUDA_DEVICES ? count : TN_CUDA_DEVICES);
    if (!cuda.count)
        snprintf(trouble, size, "the GPU is too old: compute capability %d.0 is needed", OLDEST);
    return cuda.count ? &backend : NULL;
}

/* ---- what is there ---- */

__attribute__((format(printf, 4, 5)))
static void tell(tn_cuda_row *row, void *arg, const char *what, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    row(arg, what, text);
}

__attribute__((visibility("default"))) void tn__cuda_info(tn_cuda_row *row, void *arg)
{
    int driver = 0, runtime = 0, count = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    if (driver)
        tell(row, arg, "CUDA", "driver for %d.%d, built with %d.%d", driver / 1000, driver % 1000 / 10, runtime / 1000,
             runtime % 1000 / 10);
    if (cudaGetDeviceCount(&count) != cudaSuccess)
        count = 0;
    for (int i = 0; i < count; i++) {
        struct cudaDeviceProp p;
        char name[16];
        snprintf(name, sizeof name, "cuda:%d", i);
        if (cudaGetDeviceProperties(&p, i) == cudaSuccess)
            tell(row, arg, name, "%s, %.0f GB, compute capability %d.%d", p.name,
                 (double)p.totalGlobalMem / (1 << 30), p.major, p.minor);
    }
    cudaGetLastError();
    tn__cuda_libraries(row, arg);
}
