/* Size classes of the memory pools, eight to a power of two: alloc.c on the host, cuda/memory.c
 * on a GPU. Under AddressSanitizer there is no pool: every block is one of its own, so that use
 * after a scope is seen. */
#ifndef TN_CLASSES_H
#define TN_CLASSES_H

#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__)
#define TN_POOLED 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TN_POOLED 0
#endif
#endif
#ifndef TN_POOLED
#define TN_POOLED 1
#endif

enum { TN_ALIGN = 64, TN_CLASS_STEPS = 8, TN_CLASSES = 64 * TN_CLASS_STEPS };

/* The class of a size, and the size all blocks of the class have. */
static inline int tn__class_of(size_t bytes, size_t *size)
{
    size_t units = (bytes + TN_ALIGN - 1) / TN_ALIGN;
    if (units < TN_CLASS_STEPS) {
        units += !units;
        *size = units * TN_ALIGN;
        return (int)units;
    }
    const int log = 63 - __builtin_clzll(units);
    const size_t step = ((size_t)1 << log) / TN_CLASS_STEPS;
    const size_t k = (units - ((size_t)1 << log) + step - 1) / step; /* 0..TN_CLASS_STEPS */
    *size = (((size_t)1 << log) + k * step) * TN_ALIGN;
    return (log - 2) * TN_CLASS_STEPS + (int)k;
}

#endif
