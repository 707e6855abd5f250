/* A stand-in for NVIDIA's driver, libcuda.so.1, on machines without one: it knows no device, and
 * everything else that a library asks for does nothing and succeeds.  With it cuDNN plans, and
 * compiles, for a GPU that is only described (h200.json). */
#include <stdint.h>
#include <string.h>

enum { VERSION = 13000 };

int cuInit(unsigned flags);
int cuInit(unsigned flags)
{
    (void)flags;
    return 100; /* no device */
}

int cuDriverGetVersion(int *version);
int cuDriverGetVersion(int *version)
{
    *version = VERSION;
    return 0;
}

int cuDeviceGetCount(int *count);
int cuDeviceGetCount(int *count)
{
    *count = 0;
    return 0;
}

/* functions that are found by their names */
#define NOTHING(function) \
    int function(void);   \
    int function(void) { return 0; }
NOTHING(nothing)
NOTHING(cuCtxGetCurrent) NOTHING(cuCtxGetLimit) NOTHING(cuCtxPopCurrent) NOTHING(cuCtxPushCurrent)
NOTHING(cuDeviceGet) NOTHING(cuGetErrorName) NOTHING(cuGetErrorString) NOTHING(cuKernelGetAttribute)
NOTHING(cuKernelSetAttribute) NOTHING(cuLaunchCooperativeKernel) NOTHING(cuLaunchKernel) NOTHING(cuLaunchKernelEx)
NOTHING(cuLibraryGetKernel) NOTHING(cuLibraryLoadData) NOTHING(cuLibraryLoadFromFile) NOTHING(cuLibraryUnload)
NOTHING(cuLinkAddData) NOTHING(cuLinkComplete) NOTHING(cuLinkCreate) NOTHING(cuLinkDestroy)
NOTHING(cuOccupancyMaxPotentialClusterSize) NOTHING(cuStreamGetCtx)

/* A table of private functions, its size in front. */
int cuGetExportTable(const void **table, const void *id);
int cuGetExportTable(const void **table, const void *id)
{
    static void *functions[64];
    (void)id;
    for (int i = 1; i < 64; i++)
        functions[i] = (void *)(uintptr_t)nothing;
    functions[0] = (void *)sizeof functions;
    *table = functions;
    return 0;
}

int cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags, int *status);
int cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags, int *status)
{
    static const struct {
        const char *name;
        uintptr_t function;
    } ours[] = {
        {"cuInit", (uintptr_t)cuInit},
        {"cuDriverGetVersion", (uintptr_t)cuDriverGetVersion},
        {"cuDeviceGetCount", (uintptr_t)cuDeviceGetCount},
        {"cuGetExportTable", (uintptr_t)cuGetExportTable},
        {"cuGetProcAddress", (uintptr_t)cuGetProcAddress_v2},
    };
    (void)version;
    (void)flags;
    *function = (void *)(uintptr_t)nothing;
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        if (!strcmp(name, ours[i].name))
            *function = (void *)ours[i].function;
    if (status)
        *status = 0;
    return 0;
}
