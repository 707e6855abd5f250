/* The library's one pool of threads.  A job is a count of tasks taken one by one from an atomic counter,
 * so a busy core slows a job by its share and no more.  Workers spin a bounded while after a job (the next
 * one is mostly microseconds away), then sleep on a futex-backed condition.  Which thread runs a task never
 * shows in a result: tasks write to places that depend on their index alone. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "internal.h"

enum { MAX_THREADS = 256, SPINS = 4000 };

static struct {
    pthread_mutex_t lock, job_lock;
    pthread_cond_t wake;
    atomic_int count;          /* threads in all, the caller included; 0: not yet decided */
    pthread_t thread[MAX_THREADS];
    int started;               /* workers running: started + 1 <= count */
    atomic_uint generation;    /* of jobs */
    atomic_int sleeping;
    atomic_bool quit;
    tn__task *fn;
    void *arg;
    int64_t n;
    atomic_llong next;
    atomic_int busy;           /* workers still in the job */
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .job_lock = PTHREAD_MUTEX_INITIALIZER,
          .wake = PTHREAD_COND_INITIALIZER};

static _Thread_local bool inside; /* a task: nested jobs run in place */

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

static void run_tasks(int worker)
{
    inside = true;
    for (int64_t i; (i = atomic_fetch_add(&pool.next, 1)) < pool.n;)
        pool.fn(pool.arg, i, worker);
    inside = false;
}

static unsigned await_job(unsigned seen)
{
    for (int i = 0; i < SPINS; i++) {
        const unsigned g = atomic_load_explicit(&pool.generation, memory_order_acquire);
        if (g != seen)
            return g;
        relax();
    }
    pthread_mutex_lock(&pool.lock);
    atomic_fetch_add(&pool.sleeping, 1);
    while (atomic_load(&pool.generation) == seen)
        pthread_cond_wait(&pool.wake, &pool.lock);
    atomic_fetch_sub(&pool.sleeping, 1);
    pthread_mutex_unlock(&pool.lock);
    return atomic_load(&pool.generation);
}

typedef struct start { int worker; unsigned seen; } start;

static void *work(void *arg)
{
    const start s = *(start *)arg;
    free(arg);
    for (unsigned seen = s.seen;;) {
        seen = await_job(seen);
        if (atomic_load(&pool.quit))
            return NULL;
        run_tasks(s.worker);
        atomic_fetch_sub_explicit(&pool.busy, 1, memory_order_release);
    }
}

static void announce(void)
{
    atomic_fetch_add(&pool.generation, 1);
    if (atomic_load(&pool.sleeping)) {
        pthread_mutex_lock(&pool.lock);
        pthread_cond_broadcast(&pool.wake);
        pthread_mutex_unlock(&pool.lock);
    }
}

static void stop_workers(void)
{
    if (!pool.started)
        return;
    atomic_store(&pool.quit, true);
    announce();
    for (int i = 0; i < pool.started; i++)
        pthread_join(pool.thread[i], NULL);
    pool.started = 0;
    atomic_store(&pool.quit, false);
}

static void at_exit(void)
{
    pthread_mutex_lock(&pool.job_lock);
    stop_workers();
    pthread_mutex_unlock(&pool.job_lock);
}

/* With the job lock held.  A worker that cannot be started is done without. */
static void start_workers(void)
{
    static bool registered;
    if (!registered)
        registered = !atexit(at_exit);
    while (pool.started + 1 < pool.count) {
        start *s = malloc(sizeof *s);
        if (!s)
            return;
        *s = (start){pool.started + 1, atomic_load(&pool.generation)};
        if (pthread_create(&pool.thread[pool.started], NULL, work, s)) {
            free(s);
            return;
        }
        pool.started++;
    }
}

static int available(void)
{
    cpu_set_t set;
    const char *env = getenv("TN_THREADS");
    int n = env ? atoi(env) : 0;
    if (n <= 0)
        n = sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
    return n < MAX_THREADS ? n : MAX_THREADS;
}

void tn_set_threads(int n)
{
    pthread_mutex_lock(&pool.job_lock);
    stop_workers();
    pool.count = n > MAX_THREADS ? MAX_THREADS : n > 0 ? n : available();
    pthread_mutex_unlock(&pool.job_lock);
}

int tn__threads(void)
{
    if (!atomic_load(&pool.count))
        tn_set_threads(0);
    return atomic_load(&pool.count);
}

int tn_threads(void) { return tn__threads(); }

void tn__parallel(int64_t n, tn__task *fn, void *arg)
{
    const bool alone = inside || n <= 1 || tn__threads() == 1;
    if (alone || pthread_mutex_trylock(&pool.job_lock)) { /* or another thread has the pool */
        const bool was = inside;
        inside = true;
        for (int64_t i = 0; i < n; i++)
            fn(arg, i, 0);
        inside = was;
        return;
    }
    start_workers();
    pool.fn = fn;
    pool.arg = arg;
    pool.n = n;
    atomic_store(&pool.next, 0);
    atomic_store(&pool.busy, pool.started);
    announce();
    run_tasks(0);
    for (int spins = 0; atomic_load_explicit(&pool.busy, memory_order_acquire); spins++)
        if (spins < SPINS)
            relax();
        else
            sched_yield();
    pthread_mutex_unlock(&pool.job_lock);
}

void tn_parallel(int64_t n, void (*fn)(void *arg, int64_t i, int worker), void *arg)
{
    tn__parallel(n, fn, arg);
}
