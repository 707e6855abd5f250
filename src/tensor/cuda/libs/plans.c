/* Plans in memory and on disk, and running them; see graph.h.
 *
 * Making a plan takes milliseconds for a convolution and up to a second for a norm, so it is done
 * once for each graph and kept in $XDG_CACHE_HOME/tenon/plans, one file a plan.  A file holds the
 * whole key before the plan and a sum over both after it; one that does not fit in every byte is
 * as good as none, and is written anew.  Plans are not promised to be safe in several threads at
 * once, so one lock is held while one is looked up and run. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "graph.h"
#include "libs.h"

/* ---- keys ---- */

typedef struct key {
    char format[16];
    uint64_t cudnn;   /* its version */
    char device[256]; /* its name */
    tn__graph graph;
} key;

static uint64_t sum_of(const void *p, size_t bytes, uint64_t sum)
{
    for (const unsigned char *c = p; bytes--; c++)
        sum = (sum ^ *c) * 1099511628211u; /* FNV-1a */
    return sum;
}
enum { SUM = 0x5bd1e995 };

static key key_of(const tn__graph *g, const tn__graph_device *d)
{
    key k = {.format = "tenon plan 2\n", .cudnn = tn__nvidia.cudnnGetVersion(), .graph = *g};
    memcpy(k.device, d->name, sizeof k.device);
    return k;
}

/* ---- on disk ---- */

typedef char path_text[4096];

/* The file of a key, its folder made; false when there is no place for caches. */
static bool file_of(const key *k, path_text path)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n = cache && *cache == '/' ? snprintf(path, sizeof(path_text), "%s", cache)
            : home && *home        ? snprintf(path, sizeof(path_text), "%s/.cache", home)
                                   : -1;
    static const char *const folders[] = {"", "/tenon", "/plans"};
    for (int i = 0; i < 3 && n >= 0 && n < (int)sizeof(path_text) - 64; i++) {
        n += snprintf(path + n, 16, "%s", folders[i]);
        mkdir(path, 0777);
    }
    if (n < 0 || n >= (int)sizeof(path_text) - 64)
        return false;
    snprintf(path + n, 64, "/%016llx", (unsigned long long)sum_of(k, sizeof *k, SUM));
    return true;
}

static char *read_file(const char *path, size_t *size)
{
    enum { MOST = 64 << 20 };
    FILE *f = fopen(path, "rb");
    struct stat st;
    char *all = NULL;
    if (f && fstat(fileno(f), &st) == 0 && st.st_size > 0 && st.st_size < MOST && (all = malloc((size_t)st.st_size))) {
        *size = (size_t)st.st_size;
        if (fread(all, 1, *size, f) != *size) {
            free(all);
            all = NULL;
        }
    }
    if (f)
        fclose(f);
    return all;
}

static tn__plan load(const key *k, const tn__graph_device *d)
{
    path_text path;
    size_t size = 0;
    uint64_t sum;
    tn__plan p = {0};
    char *all = file_of(k, path) ? read_file(path, &size) : NULL;
    if (all && size > sizeof *k + sizeof sum) {
        const size_t end = size - sizeof sum;
        memcpy(&sum, all + end, sizeof sum);
        if (!memcmp(all, k, sizeof *k) && sum_of(all, end, SUM) == sum)
            p = tn__plan_of_text(all + sizeof *k, (int64_t)(end - sizeof *k), d);
    }
    free(all);
    return p;
}

/* All of it under the last name, or nothing.  Nobody depends on it: a full disk is no error. */
static void save(const key *k, const tn__plan *p)
{
    path_text path, fresh;
    int64_t size = 0;
    char *text = file_of(k, path) ? tn__plan_text(p, &size) : NULL;
    if (!text || snprintf(fresh, sizeof fresh, "%s.%ld", path, (long)getpid()) >= (int)sizeof fresh) {
        free(text);
        return;
    }
    const uint64_t sum = sum_of(text, (size_t)size, sum_of(k, sizeof *k, SUM));
    FILE *f = fopen(fresh, "wb");
    bool good = f && fwrite(k, sizeof *k, 1, f) == 1 && fwrite(text, (size_t)size, 1, f) == 1 &&
                fwrite(&sum, sizeof sum, 1, f) == 1;
    good = f && (fclose(f) == 0) & good;
    if (!good || rename(fresh, path) != 0)
        unlink(fresh);
    free(text);
}

tn__plan tn__plan_find(const tn__graph *g, const tn__graph_device *d)
{
    const key k = key_of(g, d);
    tn__plan p = load(&k, d);
    if (p.plan)
        return p;
    p = tn__graph_plan(g, d);
    if (p.plan)
        save(&k, &p);
    return p;
}

/* ---- in memory ---- */

enum { LISTS = 256 };
typedef struct entry {
    struct entry *next;
    tn__graph graph;
    tn__plan plan; /* also that there is none */
} entry;

static struct {
    pthread_mutex_t lock;
    tn__graph_device device[TN_CUDA_DEVICES];
    entry *list[TN_CUDA_DEVICES][LISTS];
    entry *replaced; /* which a recording may hold */
} plans = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool dnn_ok(int device, const char *what, cudnnStatus_t s)
{
    char why[768] = "";
    if (s == CUDNN_STATUS_SUCCESS)
        return true;
    const int n = snprintf(why, sizeof why, "%s; ", tn__nvidia.cudnnGetErrorString(s));
    tn__nvidia.cudnnGetLastErrorString(why + n, sizeof why - (size_t)n);
    return tn__cuda_trouble(device, what, why), false;
}

static tn__graph_device *device_of(int index, cudaStream_t stream)
{
    tn__graph_device *d = &plans.device[index];
    struct cudaDeviceProp properties;
    if (d->handle)
        return d;
    if (!tn__cuda_ok(index, "open", cudaGetDeviceProperties(&properties, index)))
        return NULL;
    snprintf(d->name, sizeof d->name, "%s", properties.name);
    return dnn_ok(index, "opening cuDNN", tn__nvidia.cudnnCreate(&d->handle)) &&
                   dnn_ok(index, "opening cuDNN", tn__nvidia.cudnnSetStream(d->handle, stream))
               ? d
               : NULL;
}

/* Where the entry of g is, or belongs. */
static entry **place_of(const tn__graph *g, int index)
{
    entry **at = &plans.list[index][sum_of(g, sizeof *g, SUM) % LISTS];
    while (*at && memcmp(&(*at)->graph, g, sizeof *g))
        at = &(*at)->next;
    return at;
}

const tn__plan *tn__plan_of(const tn__graph *g, int index, const tn__graph_device *d)
{
    entry **at = place_of(g, index);
    if (*at)
        return &(*at)->plan;
    if (!(*at = malloc(sizeof **at)))
        return tn__cuda_trouble(index, "cuDNN", "no memory for a plan"), NULL;
    **at = (entry){NULL, *g, tn__plan_find(g, d)};
    return &(*at)->plan;
}

/* ---- given and taken back ---- */

static uint64_t version(void) { return tn__library(TN_LIB_CUDNN) ? tn__nvidia.cudnnGetVersion() : 0; }

static void each(int device, tn__engine_row *row, void *arg)
{
    pthread_mutex_lock(&plans.lock);
    for (int i = 0; i < LISTS; i++)
        for (const entry *e = plans.list[device][i]; e; e = e->next) {
            int64_t size = 0;
            char *text = e->plan.plan ? tn__plan_text(&e->plan, &size) : NULL;
            if (text || !e->plan.plan)
                row(arg, &e->graph, sizeof e->graph, text, (size_t)size);
            free(text);
        }
    pthread_mutex_unlock(&plans.lock);
}

bool tn__plan_take(const tn__graph *g, int index, const tn__graph_device *d, const void *text, size_t size)
{
    entry *fresh = malloc(sizeof *fresh), **at = place_of(g, index), *old = *at;
    const tn__plan p = size && fresh ? tn__plan_of_text(text, (int64_t)size, d) : (tn__plan){0};
    if (!fresh || (size && !p.plan)) {
        free(fresh);
        return false;
    }
    *fresh = (entry){old ? old->next : NULL, *g, p};
    *at = fresh;
    if (old) {
        old->next = plans.replaced;
        plans.replaced = old;
    }
    return true;
}

static bool take(int device, const void *graph, size_t graph_size, const void *engine, size_t size)
{
    cudaStream_t stream;
    tn__graph g;
    if (graph_size != sizeof g || !tn__cuda_on(device, &stream))
        return false;
    memcpy(&g, graph, sizeof g);
    pthread_mutex_lock(&plans.lock);
    const tn__graph_device *d = device_of(device, stream);
    const bool good = d && tn__plan_take(&g, device, d, engine, size);
    pthread_mutex_unlock(&plans.lock);
    return good;
}

const tn__chooser tn__cudnn_engines = {version, each, take};

/* ---- running ---- */

static int run(const tn__graph *g, const tn__plan *p, cudnnHandle_t handle, void *const *data, tn__cuda_work *w)
{
    int64_t id[TN_GRAPH_TENSORS], n = 0;
    void *at[TN_GRAPH_TENSORS], *workspace = NULL;
    cudnnBackendDescriptor_t pack = NULL;
    for (int i = 0; i < g->tensors; i++)
        if (g->tensor[i].place != TN_GRAPH_VIRTUAL) {
            id[n] = i + 1;
            at[n++] = data[i];
        }
    if (p->workspace && !(workspace = tn__cuda_scratch(w, (size_t)p->workspace)))
        return TN_CUDA_NO_MEMORY;
    const struct tn__nvidia *nv = &tn__nvidia;
    cudnnStatus_t s = nv->cudnnBackendCreateDescriptor(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &pack);
    s = s ? s : nv->cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, n, id);
    s = s ? s : nv->cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, n, at);
    s = s ? s : nv->cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1,
                                             &workspace);
    s = s ? s : nv->cudnnBackendFinalize(pack);
    s = s ? s : nv->cudnnBackendExecute(handle, p->plan, pack);
    const bool good = dnn_ok(w->device, "cuDNN", s);
    if (pack)
        nv->cudnnBackendDestroyDescriptor(pack);
    return good ? 0 : TN_CUDA_TOLD;
}

/* Plans are for addresses that are multiples of 16. */
static bool aligned(const tn__graph *g, void *const *data)
{
    for (int i = 0; i < g->tensors; i++)
        if (g->tensor[i].place == TN_GRAPH_DATA && (uintptr_t)data[i] % 16)
            return false;
    return true;
}

int tn__graph_run(const tn__graph *g, void *const *data, tn__cuda_work *w)
{
    int failed = TN_CUDA_TOLD;
    if (!tn__library(TN_LIB_CUDNN) || !aligned(g, data))
        return TN_CUDA_DECLINED;
    pthread_mutex_lock(&plans.lock);
    const tn__graph_device *d = device_of(w->device, w->stream);
    const tn__plan *p = d ? tn__plan_of(g, w->device, d) : NULL;
    if (p)
        failed = p->plan ? run(g, p, d->handle, data, w) : TN_CUDA_DECLINED;
    pthread_mutex_unlock(&plans.lock);
    return failed;
}
