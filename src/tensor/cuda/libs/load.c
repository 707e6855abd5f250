/* See load.h.  Where a library is looked for: $TENON_CUDA_LIBS (folders, with colons between), the
 * loader's own path, the CUDA Toolkit, the packages of Python, where PyTorch's are.  TENON_CUDA_LIBS=none: nowhere. */
#define _GNU_SOURCE
#include "load.h"

#include <dlfcn.h>
#include <glob.h>
#include <link.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libs.h"

struct tn__nvidia tn__nvidia;

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
enum { CUDNN_OLDEST = 91002 }; /* its notes on engines before are not to be relied on */

typedef struct binding {
    const char *function;
    size_t at; /* in tn__nvidia */
} binding;
#define X(function) {#function, offsetof(struct tn__nvidia, function)},
static const binding cudnn[] = {TN_CUDNN_FUNCTIONS(X){NULL, 0}};
static const binding cublaslt[] = {TN_CUBLASLT_FUNCTIONS(X){NULL, 0}};
static const binding nothing[] = {{NULL, 0}};
#undef X

static struct library {
    const char *name, *file;
    const binding *functions;
    bool usable;
    char about[1024]; /* version and path, or what is wrong */
} libraries[TN_LIBS] = {
    /* compiles cuDNN's kernels at run time */
    [TN_LIB_NVRTC] = {.name = "NVRTC", .file = "libnvrtc.so." TEXT(CUBLAS_VER_MAJOR), .functions = nothing},
    [TN_LIB_CUBLASLT] = {.name = "cuBLASLt", .file = "libcublasLt.so." TEXT(CUBLAS_VER_MAJOR),
                         .functions = cublaslt},
    [TN_LIB_CUDNN] = {.name = "cuDNN", .file = "libcudnn.so." TEXT(CUDNN_MAJOR), .functions = cudnn},
};

/* ---- finding ---- */

static void *open_at(const char *folder, int length, const char *file)
{
    char path[4096];
    if (snprintf(path, sizeof path, "%.*s/%s", length, folder, file) >= (int)sizeof path)
        return NULL;
    return dlopen(path, RTLD_NOW | RTLD_LOCAL);
}

static void *open_in_list(const char *folders, const char *file)
{
    void *handle = NULL;
    while (folders && *folders && !handle) {
        const size_t length = strcspn(folders, ":");
        handle = length ? open_at(folders, (int)length, file) : NULL;
        folders += length + (folders[length] == ':');
    }
    return handle;
}

/* ROOT/PATTERN/FILE, of the first match that opens; no root, no match. */
static void *open_matching(const char *root, const char *pattern, const char *file)
{
    char path[4096];
    glob_t found = {0};
    void *handle = NULL;
    if (!root || snprintf(path, sizeof path, "%s%s/%s", root, pattern, file) >= (int)sizeof path)
        return NULL;
    if (glob(path, 0, NULL, &found) == 0)
        for (size_t i = 0; i < found.gl_pathc && !handle; i++)
            handle = dlopen(found.gl_pathv[i], RTLD_NOW | RTLD_LOCAL);
    globfree(&found);
    return handle;
}

static void *find(const char *file)
{
    static const char wheels[] = "/lib/python3*/*-packages/nvidia/*/lib";
    const char *toolkit = getenv("CUDA_HOME");
    void *h = open_in_list(getenv("TENON_CUDA_LIBS"), file);
    h = h ? h : dlopen(file, RTLD_NOW | RTLD_LOCAL);
    h = h ? h : open_in_list(TN_CUDA_LIBRARIES ":/usr/local/cuda/lib64", file);
    h = h ? h : open_matching(toolkit, "/lib64", file);
    h = h ? h : open_matching(getenv("VIRTUAL_ENV"), wheels, file);
    h = h ? h : open_matching(getenv("CONDA_PREFIX"), wheels, file);
    h = h ? h : open_matching(getenv("HOME"), "/.local/lib/python3*/*-packages/nvidia/*/lib", file);
    h = h ? h : open_matching("/usr/local", wheels, file);
    h = h ? h : open_matching("/usr", wheels, file);
    h = h ? h : open_matching("/opt/*", wheels, file);
    h = h ? h : open_matching("/opt/*/.venv", wheels, file);
    return h ? h : open_matching("/opt/*/*", wheels, file);
}

/* ---- opening ---- */

static bool bind(struct library *l, void *handle)
{
    for (const binding *b = l->functions; b->function; b++) {
        void *p = dlsym(handle, b->function);
        if (!p) {
            snprintf(l->about, sizeof l->about, "%s has no %s: another version is needed", l->file,
                     b->function);
            return false;
        }
        memcpy((char *)&tn__nvidia + b->at, &p, sizeof p);
    }
    return true;
}

/* 91900 with major 10000 as "9.19.0" */
static void version_text(size_t v, size_t major, char text[32])
{
    snprintf(text, 32, "%zu.%zu.%zu", v / major, v % major / 100, v % 100);
}

static bool new_enough(struct library *l, char version[32])
{
    *version = 0;
    if (l == &libraries[TN_LIB_CUBLASLT])
        version_text(tn__nvidia.cublasLtGetVersion(), 10000, version);
    if (l != &libraries[TN_LIB_CUDNN])
        return true;
    version_text(tn__nvidia.cudnnGetVersion(), 10000, version);
    if (tn__nvidia.cudnnGetVersion() >= CUDNN_OLDEST)
        return true;
    char oldest[32];
    version_text(CUDNN_OLDEST, 10000, oldest);
    snprintf(l->about, sizeof l->about, "cuDNN %s is too old: %s is needed", version, oldest);
    return false;
}

static void open_library(struct library *l)
{
    char version[32];
    struct link_map *map = NULL;
    const char *where = getenv("TENON_CUDA_LIBS");
    if (where && strcmp(where, "none") == 0) {
        snprintf(l->about, sizeof l->about, "not used: TENON_CUDA_LIBS=none");
        return;
    }
    void *handle = find(l->file);
    if (!handle) {
        snprintf(l->about, sizeof l->about,
                 "%s was not found: neither by the loader nor in the CUDA Toolkit, a Python package or "
                 "$TENON_CUDA_LIBS", l->file);
        return;
    }
    if (!bind(l, handle) || !new_enough(l, version))
        return;
    dlinfo(handle, RTLD_DI_LINKMAP, &map);
    snprintf(l->about, sizeof l->about, "%s%s%s", version, *version ? ", " : "", map ? map->l_name : l->file);
    l->usable = true;
}

static void open_all(void)
{
    for (struct library *l = libraries; l < libraries + TN_LIBS; l++)
        open_library(l);
}

bool tn__library(int which)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, open_all);
    return libraries[which].usable;
}

void tn__cuda_libraries(tn_cuda_row *row, void *arg)
{
    for (int i = TN_LIBS - 1; i >= 0; i--) {
        tn__library(i);
        row(arg, libraries[i].name, libraries[i].about);
    }
}
