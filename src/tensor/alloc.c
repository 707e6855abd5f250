/* Memory.  Tensor data comes from size classes (classes.h) whose blocks are kept when
 * freed: a training step repeats its sizes, so it meets warm pages at the same addresses and never the
 * kernel.  Under AddressSanitizer every block is malloc's own, so that use after a scope is seen. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "classes.h"
#include "internal.h"

#define HUGE_PAGE ((size_t)2 << 20)

typedef struct block {
    struct block *next;
} block;

static struct {
    pthread_mutex_t lock;
    block *free[TN_CLASSES];
    tn_memory figures;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER};

static atomic_long fail_after = -1;

void tn__fail_alloc_after(long n) { atomic_store(&fail_after, n); }

/* Whether this allocation is the one that a test wants to fail. */
static bool told_to_fail(void)
{
    return atomic_load(&fail_after) >= 0 && atomic_fetch_sub(&fail_after, 1) == 0;
}

static void out_of_memory(size_t bytes)
{
    const tn_memory m = tn_memory_stats();
    tn_fail(TN_ENOMEM, "out of memory: %zu bytes asked for; tensors hold %zu, the pool %zu", bytes,
            m.live, m.reserved);
}

void *tn__alloc(size_t bytes)
{
    void *p = told_to_fail() ? NULL : calloc(1, bytes ? bytes : 1);
    if (!p)
        out_of_memory(bytes);
    return p;
}

void tn__free(void *p) { free(p); }

char *tn__strdup(const char *s)
{
    char *copy = tn__alloc(strlen(s) + 1);
    return copy ? strcpy(copy, s) : NULL;
}

void tn__trim(void)
{
    pthread_mutex_lock(&pool.lock);
    for (int i = 0; i < TN_CLASSES; i++)
        while (pool.free[i]) {
            block *b = pool.free[i];
            pool.free[i] = b->next;
            free(b);
        }
    pool.figures.reserved = pool.figures.live;
    pthread_mutex_unlock(&pool.lock);
}

static void *fresh(size_t size)
{
    void *p = NULL;
    const bool large = size >= HUGE_PAGE;
    const size_t align = large ? HUGE_PAGE : TN_ALIGN;
    if (posix_memalign(&p, align, size)) {
        tn__trim();
        if (posix_memalign(&p, align, size))
            return NULL;
    }
    if (large)
        madvise(p, size, MADV_HUGEPAGE); /* 4 KiB faults cost ten times as much */
    return p;
}

static void *take(size_t size, int cls)
{
    pthread_mutex_lock(&pool.lock);
    block *b = pool.free[cls];
    if (b)
        pool.free[cls] = b->next;
    else
        pool.figures.reserved += size;
    pthread_mutex_unlock(&pool.lock);
    return b ? b : fresh(size);
}

static void count_live(size_t size)
{
    pthread_mutex_lock(&pool.lock);
    tn_memory *m = &pool.figures;
    m->live += size;
    m->peak = m->live > m->peak ? m->live : m->peak;
    pthread_mutex_unlock(&pool.lock);
}

static void *get(size_t bytes, size_t *size)
{
    if (told_to_fail() || bytes > SIZE_MAX / 4)
        return NULL;
    const int cls = tn__class_of(bytes, size);
    return TN_POOLED ? take(*size, cls) : fresh(*size);
}

static void put(void *p, size_t bytes)
{
    size_t size;
    const int cls = tn__class_of(bytes, &size);
    if (!TN_POOLED) {
        free(p);
        return;
    }
    pthread_mutex_lock(&pool.lock);
    ((block *)p)->next = pool.free[cls];
    pool.free[cls] = p;
    pthread_mutex_unlock(&pool.lock);
}

void *tn__data_alloc(size_t bytes)
{
    size_t size;
    void *p = get(bytes, &size);
    if (p)
        count_live(size);
    else
        out_of_memory(bytes);
    return p;
}

void tn__data_free(void *p, size_t bytes)
{
    size_t size;
    if (!p)
        return;
    tn__class_of(bytes, &size);
    put(p, bytes);
    pthread_mutex_lock(&pool.lock);
    pool.figures.live -= size;
    pthread_mutex_unlock(&pool.lock);
}

void tn__zero_pages(void *p, size_t bytes)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), before = -(uintptr_t)p % page;
    const size_t whole = bytes > before ? (bytes - before) / page * page : 0;
    char *from = (char *)p + before;
    if (whole < HUGE_PAGE || madvise(from, whole, MADV_NOHUGEPAGE) || madvise(from, whole, MADV_DONTNEED)) {
        memset(p, 0, bytes);
        return;
    }
    memset(p, 0, before);
    memset(from + whole, 0, bytes - before - whole);
}

/* Scratch remembers its size in front, one alignment unit wide. */
void *tn__scratch(size_t bytes)
{
    size_t size;
    char *p = get(bytes + TN_ALIGN, &size);
    if (!p) {
        out_of_memory(bytes);
        return NULL;
    }
    *(size_t *)(void *)p = bytes + TN_ALIGN;
    return p + TN_ALIGN;
}

void tn__scratch_free(void *p)
{
    if (p)
        put((char *)p - TN_ALIGN, *(size_t *)(void *)((char *)p - TN_ALIGN));
}

tn_memory tn_memory_stats(void)
{
    pthread_mutex_lock(&pool.lock);
    const tn_memory m = pool.figures;
    pthread_mutex_unlock(&pool.lock);
    return m;
}
