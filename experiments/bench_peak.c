/* The machine's own peak: independent multiply-adds on registers, in the widest vectors there are.  The
 * instruction is spelt out because a compiler may fold or split a loop without memory. */
#include <time.h>

#include "bench.h"

enum { CHAINS = 12, TURNS = 20000, TASKS_A_THREAD = 8, LOOKS = 5 };

/* CHAINS vectors are multiplied and added to TURNS times; 2 operations an element. */
#define PEAK_LOOP(name, target, lanes, INSTRUCTION)                                          \
    typedef float name##_vector __attribute__((vector_size((lanes) * sizeof(float))));      \
    target static float name(void)                                                          \
    {                                                                                        \
        name##_vector a[CHAINS], b = {0}, c = {0};                                           \
        for (int k = 0; k < CHAINS; k++)                                                     \
            a[k] = b;                                                                        \
        for (int i = 0; i < TURNS; i++) {                                                    \
            _Pragma("GCC unroll 12") for (int k = 0; k < CHAINS; k++) INSTRUCTION;           \
        }                                                                                    \
        float sum = 0;                                                                       \
        for (int k = 0; k < CHAINS; k++)                                                     \
            sum += a[k][0];                                                                  \
        return sum;                                                                          \
    }

#define PLAIN a[k] = a[k] * b + c
PEAK_LOOP(peak_base, , 4, PLAIN)
#if defined(__x86_64__)
#define FMA __asm__ volatile("vfmadd231ps %1, %2, %0" : "+v"(a[k]) : "v"(b), "v"(c))
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

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double peak_flops(void)
{
    loop l = widest();
    const int tasks = tn_threads() * TASKS_A_THREAD;
    double best = 0;
    for (int look = 0; look < LOOKS; look++) {
        const double from = seconds();
        tn_parallel(tasks, run_loop, &l);
        const double rate = 2.0 * l.lanes * CHAINS * TURNS * tasks / (seconds() - from);
        best = rate > best ? rate : best;
    }
    return best;
}
