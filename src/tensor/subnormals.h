/* In update rules subnormal numbers are zeros: what no gradient feeds would end there and stay, and x86 takes many
 * times as long for them.  Of a CPU that is not x86 nothing is changed. */
#ifndef TN_SUBNORMALS_H
#define TN_SUBNORMALS_H

#ifdef __x86_64__
#include <pmmintrin.h>
#endif

/* In this thread; returns what tn__restore_subnormals() takes. */
static inline unsigned tn__flush_subnormals(void)
{
#ifdef __x86_64__
    const unsigned before = _mm_getcsr();
    _mm_setcsr(before | _MM_FLUSH_ZERO_ON | _MM_DENORMALS_ZERO_ON);
    return before;
#else
    return 0;
#endif
}

static inline void tn__restore_subnormals(unsigned before)
{
#ifdef __x86_64__
    _mm_setcsr(before);
#else
    (void)before;
#endif
}

#endif
