/* Devices by name, the CPU backend, and opening the CUDA module.  The module is looked for beside this
 * library, in TN_CUDA_MODULE, and on the loader's path; it exports one function that hands out its backend. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/fast.h"
#include "internal.h"
#include "subnormals.h"
#include "version.h"

const char *tn_version(void) { return TN_VERSION; }

/* ---- CPU ---- */

static void *cpu_alloc(int device, size_t bytes)
{
    (void)device;
    return tn__data_alloc(bytes);
}

static void cpu_release(int device, void *p, size_t bytes)
{
    (void)device;
    tn__data_free(p, bytes);
}

static bool cpu_copy(int to, void *dst, int from, const void *src, size_t bytes, int direction)
{
    (void)to;
    (void)from;
    (void)direction;
    if (bytes)
        memmove(dst, src, bytes);
    return true;
}

static bool cpu_fill(int device, void *p, const void *element, size_t size, int64_t n)
{
    static const char zero[sizeof(int64_t)];
    (void)device;
    if (n && !memcmp(element, zero, size))
        memset(p, 0, (size_t)n * size);
    else
        for (int64_t i = 0; i < n; i++)
            memcpy((char *)p + (size_t)i * size, element, size);
    return true;
}

static tn_kernel *cpu_kernel(int op, tn_dtype t)
{
    return t == TN_F32 || t == TN_F64 ? tn__cpu_plain(op, t) : NULL;
}

static bool cpu_rule(const tn__rule_call *c)
{
    const unsigned before = tn__flush_subnormals();
    tn__fast_current()->rule(c);
    tn__restore_subnormals(before);
    return true;
}

void tn__replay(const tn__replay_call *c)
{
    const unsigned before = tn__flush_subnormals();
    tn__fast_current()->replay(c);
    tn__restore_subnormals(before);
}

static int cpu_devices(void) { return 1; }

const tn_backend tn__cpu = {.name = "cpu", .alloc = cpu_alloc, .release = cpu_release, .copy = cpu_copy,
                            .fill = cpu_fill, .kernel = cpu_kernel, .rule = cpu_rule,
                            .devices = cpu_devices};

tn_device tn_cpu(void) { return (tn_device){&tn__cpu, 0}; }

/* ---- CUDA ---- */

static struct {
    pthread_once_t once;
    const tn_backend *backend;
    tn__cuda_info_entry *info; /* NULL: there is no module */
    char trouble[512];
} cuda = {.once = PTHREAD_ONCE_INIT};

static void *open_module(void)
{
    static const char name[] = "libtenon_cuda.so";
    const char *given = getenv("TN_CUDA_MODULE");
    char path[4096];
    Dl_info here;
    if (given)
        return dlopen(given, RTLD_NOW | RTLD_LOCAL);
    if (dladdr((void *)(uintptr_t)open_module, &here) && strrchr(here.dli_fname, '/')) {
        const int folder = (int)(strrchr(here.dli_fname, '/') - here.dli_fname);
        void *m;
        snprintf(path, sizeof path, "%.*s/%s", folder, here.dli_fname, name);
        if ((m = dlopen(path, RTLD_NOW | RTLD_LOCAL)))
            return m;
    }
    return dlopen(name, RTLD_NOW | RTLD_LOCAL);
}

static void open_cuda(void)
{
    void *module = open_module();
    if (!module) {
        snprintf(cuda.trouble, sizeof cuda.trouble,
                 "the CUDA module is not there (build with -DTN_CUDA=ON, or set TN_CUDA_MODULE): %s", dlerror());
        return;
    }
    static const tn__host host = {TN_VERSION, TN_OP_COUNT, tn_fail};
    tn__cuda_entry *get;
    *(void **)&get = dlsym(module, "tn__cuda_backend");
    if (!get)
        snprintf(cuda.trouble, sizeof cuda.trouble, "the CUDA module is of another version: %s", dlerror());
    else
        cuda.backend = get(&host, cuda.trouble, sizeof cuda.trouble);
    *(void **)&cuda.info = dlsym(module, "tn__cuda_info");
}

const tn_backend *tn__cuda(void)
{
    pthread_once(&cuda.once, open_cuda);
    return cuda.backend;
}

const char *tn_cuda_trouble(void) { return tn__cuda() ? NULL : cuda.trouble; }

void tn_cuda_info(tn_cuda_row *row, void *arg)
{
    pthread_once(&cuda.once, open_cuda);
    if (cuda.info)
        cuda.info(row, arg);
}

bool tn_set_precision(tn_device d, tn_precision p)
{
    static const char *const names[] = {"f32", "tf32", "bf16"};
    if ((unsigned)p > TN_PRECISION_BF16)
        return tn_fail(TN_EARG, "precision: %d is none of f32, tf32, bf16", (int)p), false;
    if (d.backend && d.backend->precision)
        d.backend->precision(d.index, p);
    else if (p != TN_PRECISION_F32)
        return tn_fail(TN_EDEVICE, "precision: %s computes in f32 alone; %s needs a GPU", tn_device_name(d),
                       names[p]), false;
    return true;
}

tn_tensor *tn_engines(tn_device d)
{
    size_t size = 0;
    void *bytes = d.backend && d.backend->engines ? d.backend->engines(d.index, &size) : NULL;
    tn_tensor *t = bytes ? tn_empty(TN_U8, 1, (const int64_t[]){(int64_t)size}) : NULL;
    if (t)
        memcpy(tn_u8(t), bytes, size);
    free(bytes);
    return t;
}

int64_t tn_set_engines(tn_device d, const tn_tensor *t)
{
    if (!t || !d.backend || !d.backend->take_engines)
        return tn_ok() ? 0 : -1;
    const void *bytes = t->dtype == TN_U8 ? tn_data(t) : NULL;
    const int64_t refused = bytes ? d.backend->take_engines(d.index, bytes, (size_t)tn_numel(t)) : -1;
    if (refused < 0)
        tn_fail(TN_EFORMAT, "engines: these are none: not what tn_engines() gave");
    return tn_ok() ? refused : -1;
}

tn_device tn_cuda(int index)
{
    const tn_backend *be = tn__cuda();
    if (!be)
        tn_fail(TN_EDEVICE, "cuda: %s", cuda.trouble);
    else if (index < 0 || index >= be->devices())
        tn_fail(TN_EDEVICE, "cuda:%d: there are %d devices", index, be->devices());
    else
        return (tn_device){be, index};
    return tn_cpu();
}

tn_device tn_device_named(const char *name)
{
    char *end = NULL;
    if (!name || !strcmp(name, "cpu"))
        return tn_cpu();
    if (!strcmp(name, "auto"))
        return tn__cuda() ? tn_cuda(0) : tn_cpu();
    if (!strcmp(name, "cuda"))
        return tn_cuda(0);
    if (!strncmp(name, "cuda:", 5) && name[5]) {
        const long i = strtol(name + 5, &end, 10);
        if (!*end && i >= 0 && i < 1024)
            return tn_cuda((int)i);
    }
    tn_fail(TN_EDEVICE, "device: '%s' is not one of cpu, cuda, cuda:0, auto", name);
    return tn_cpu();
}

const char *tn_device_name(tn_device d)
{
    static _Thread_local char text[64];
    if (!d.backend || d.backend == &tn__cpu)
        return "cpu";
    snprintf(text, sizeof text, "%s:%d", d.backend->name, d.index);
    return text;
}
