/* The engines that a device's libraries have chosen (libs/), as one block of bytes that a checkpoint holds: so a run
 * that is resumed computes with the same, whatever the libraries would choose by then.
 *
 * The block is a head, then rows, each with its key and its engine behind it.  What another GPU or another version
 * of a library has chosen means nothing here, and is passed over. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda.h"
#include "libs/libs.h"

static const tn__chooser *const libraries[] = {&tn__cudnn_engines, &tn__cublaslt_engines};
enum { LIBRARIES = sizeof libraries / sizeof *libraries };

typedef struct head {
    char format[16];
    uint64_t version[LIBRARIES];
    char device[256]; /* its name */
} head;

typedef struct row {
    uint32_t library, key; /* a number; bytes */
    uint64_t engine;       /* bytes */
} row;

static bool head_of(int device, head *h)
{
    struct cudaDeviceProp properties;
    *h = (head){.format = "tenon engines 1"};
    if (!tn__cuda_ok(device, "engines", cudaGetDeviceProperties(&properties, device)))
        return false;
    snprintf(h->device, sizeof h->device, "%s", properties.name);
    for (int i = 0; i < LIBRARIES; i++)
        h->version[i] = libraries[i]->version();
    return true;
}

/* ---- given ---- */

typedef struct writer {
    FILE *out;
    uint32_t library;
    int64_t rows;
} writer;

static void write_row(void *arg, const void *key, size_t key_size, const void *engine, size_t size)
{
    writer *w = arg;
    const row r = {w->library, (uint32_t)key_size, size};
    fwrite(&r, sizeof r, 1, w->out);
    fwrite(key, 1, key_size, w->out);
    if (size)
        fwrite(engine, 1, size, w->out);
    w->rows++;
}

void *tn__cuda_engines(int device, size_t *size)
{
    head h;
    char *bytes = NULL;
    writer w = {0};
    if (!head_of(device, &h))
        return NULL;
    bool good = (w.out = open_memstream(&bytes, size)) && fwrite(&h, sizeof h, 1, w.out) == 1;
    for (; good && w.library < LIBRARIES; w.library++)
        libraries[w.library]->each(device, write_row, &w);
    good = good && !ferror(w.out);
    if (w.out)
        good = fclose(w.out) == 0 && good;
    if (good && w.rows)
        return bytes;
    free(bytes);
    tn__cuda_ok(device, "engines", good ? cudaSuccess : cudaErrorMemoryAllocation);
    return NULL;
}

/* ---- taken back ---- */

/* The next row; its key is at *at, the engine behind it.  False at the end, and where a length is wrong. */
static bool next_row(const char **at, const char *end, row *r)
{
    size_t left = (size_t)(end - *at);
    if (left < sizeof *r)
        return false;
    memcpy(r, *at, sizeof *r);
    left -= sizeof *r;
    if (r->library >= LIBRARIES || r->key > left || r->engine > left - r->key)
        return false;
    *at += sizeof *r;
    return true;
}

int64_t tn__cuda_take_engines(int device, const void *bytes, size_t size)
{
    const char *at = (const char *)bytes + sizeof(head), *end = (const char *)bytes + size;
    head here, there;
    row r;
    cudaStream_t stream;
    int64_t refused = 0;
    if (size < sizeof there)
        return -1;
    memcpy(&there, bytes, sizeof there);
    const char *last = at;
    while (next_row(&last, end, &r))
        last += r.key + r.engine;
    /* those there were are freed: nothing may run any more */
    if (last != end || !head_of(device, &here) || memcmp(here.format, there.format, sizeof here.format) ||
        !tn__cuda_on(device, &stream) || !tn__cuda_wait(device, "engines", stream))
        return -1;
    const bool same = !memcmp(here.device, there.device, sizeof here.device);
    for (; next_row(&at, end, &r); at += r.key + r.engine)
        refused += !(same && here.version[r.library] && here.version[r.library] == there.version[r.library] &&
                     libraries[r.library]->take(device, at, r.key, at + r.key, r.engine));
    return refused;
}
