/* Which instruction set's kernels are used: the best that the processor has, or what TN_ISA names.  "plain"
 * uses the reference kernels of ops/ alone. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "../internal.h"
#include "fast.h"

static bool always(void) { return true; }

#if defined(__x86_64__)
static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512cd");
}
static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
}
#endif

static const struct isa {
    const char *name;
    bool (*present)(void);
    const tn__fast_set *set; /* NULL: plain */
} isas[] = {
#if defined(__x86_64__)
    {"avx512", has_avx512, &tn__fast_set_avx512},
    {"avx2", has_avx2, &tn__fast_set_avx2},
#endif
    {"base", always, &tn__fast_set_base},
    {"plain", always, NULL},
};
enum { ISAS = sizeof isas / sizeof *isas };

static _Atomic(const struct isa *) chosen;

bool tn__isa_set(const char *name)
{
    for (int i = 0; i < ISAS; i++)
        if (!strcmp(isas[i].name, name) && isas[i].present()) {
            atomic_store(&chosen, &isas[i]);
            return true;
        }
    return false;
}

int tn__isa_list(const char **names, int max)
{
    int n = 0;
    for (int i = 0; i < ISAS; i++)
        if (isas[i].present() && n < max)
            names[n++] = isas[i].name;
    return n;
}

static void choose(void)
{
    const char *want = getenv("TN_ISA");
    if (want && tn__isa_set(want))
        return;
    if (want)
        tn_fail(TN_EARG, "TN_ISA=%s: this processor has not got it, or there is no such set; possible are avx512, "
                "avx2, base, plain", want);
    for (int i = 0; i < ISAS; i++)
        if (isas[i].present()) {
            atomic_store(&chosen, &isas[i]);
            return;
        }
}

static const struct isa *current(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (!atomic_load(&chosen))
        pthread_once(&once, choose);
    return atomic_load(&chosen);
}

const tn__fast_set *tn__fast_current(void)
{
    const tn__fast_set *set = current()->set;
    return set ? set : &tn__fast_set_base;
}

tn_kernel *tn__cpu_fast(int op)
{
    const tn__fast_set *set = current()->set;
    return set ? set->kernel[op] : NULL;
}

const char *tn_isa(void) { return current()->name; }
