/* The machine's own peak.  On the CPU: independent multiply-adds on registers, in the widest vectors there are; the
 * instruction is spelt out because a compiler may fold or split a loop without memory.  On a GPU: a large product, and
 * a copy of memory. */
#include "bench.h"
#include "progress.h"

/* The accumulators by name: an array of them would live in memory. */
#define EACH_CHAIN(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define COUNT(k) +1
enum { CHAINS = 0 EACH_CHAIN(COUNT), TURNS = 100000, TASKS_A_THREAD = 32 };

#define ZERO(k) vector a##k = b;
#define ADD(k) sum += a##k[0];
/* TURNS times, each chain is multiplied and added to: 2 operations an element. */
#define PEAK_LOOP(name, target, lanes, STEP)                                        \
    target static float name(void)                                                  \
    {                                                                               \
        typedef float vector __attribute__((vector_size((lanes) * sizeof(float)))); \
        vector b = {0}, c = {0};                                                    \
        float sum = 0;                                                              \
        EACH_CHAIN(ZERO)                                                            \
        for (int i = 0; i < TURNS; i++) {                                           \
            EACH_CHAIN(STEP)                                                        \
        }                                                                           \
        EACH_CHAIN(ADD)                                                             \
        return sum;                                                                 \
    }

#define PLAIN(k) a##k = a##k * b + c;
PEAK_LOOP(peak_base, , 4, PLAIN)
#if defined(__x86_64__)
#define FMA(k) __asm__ volatile("vfmadd231ps %1, %2, %0" : "+v"(a##k) : "v"(b), "v"(c));
PEAK_LOOP(peak_avx2, __attribute__((target("avx2,fma"))), 8, FMA)
PEAK_LOOP(peak_avx512, __attribute__((target("avx512f"))), 16, FMA)
#endif

typedef struct loop {
    float (*run)(void);
    int lanes;
} loop;

static loop widest(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f"))
        return (loop){peak_avx512, 16};
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return (loop){peak_avx2, 8};
#endif
    return (loop){peak_base, 4};
}

static void run_loop(void *arg, int64_t i, int worker)
{
    volatile float sink;
    (void)i, (void)worker;
    sink = ((const loop *)arg)->run();
    (void)sink;
}

double peak_run(void)
{
    loop l = widest();
    const int tasks = tn_threads() * TASKS_A_THREAD;
    tn_parallel(tasks, run_loop, &l);
    return 2.0 * l.lanes * CHAINS * TURNS * tasks;
}

enum { SIDE = 8192, COPIED = 256 << 20 /* elements */ };

static double seconds_of(tn_tensor *y, tn_tensor *const *x, tn_tensor *(*work)(tn_tensor *y, tn_tensor *const *x))
{
    double seconds = 0;
    for (int i = 0; i < 2 && tn_ok(); i++) TN_SCOPE { /* the second time counts */
        const double from = now_seconds();
        tn_tensor *done = work(y, x);
        tn_item(done ? tn_slice(tn_reshape(done, TN_SHAPE(tn_numel(done))), 0, 0, 1, 1) : NULL);
        seconds = now_seconds() - from;
    }
    return seconds;
}

static tn_tensor *multiply(tn_tensor *y, tn_tensor *const *x)
{
    (void)y;
    return tn_matmul(x[0], x[1]);
}

static tn_tensor *copy(tn_tensor *y, tn_tensor *const *x) { return tn_copy_(y, x[0]) ? y : NULL; }

static double rate_of_gpu(tn_device d)
{
    double rate = 0;
    TN_SCOPE {
        tn_tensor *a = tn_on(tn_randn(0, 1, TN_SHAPE(SIDE, SIDE)), d), *x[] = {a, a};
        rate = 2.0 * SIDE * SIDE * SIDE / seconds_of(NULL, x, multiply);
    }
    return rate;
}

double peak_rate(tn_device d)
{
    if (d.backend)
        return rate_of_gpu(d);
    const double from = now_seconds(), operations = peak_run();
    return operations / (now_seconds() - from);
}

double copy_rate(tn_device d)
{
    double rate = 0;
    TN_SCOPE {
        tn_tensor *y = tn_on(tn_zeros(TN_SHAPE(COPIED)), d), *x[] = {tn_on(tn_zeros(TN_SHAPE(COPIED)), d)};
        rate = 2.0 * COPIED * sizeof(float) / seconds_of(y, x, copy);
    }
    return rate;
}
