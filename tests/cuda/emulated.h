/* What the tests of the emulated CUDA backend share: opening it, and tensors on it. */
#ifndef TN_TESTS_EMULATED_H
#define TN_TESTS_EMULATED_H

#include "check.h"
#include "cuda.h"
#include "emu.h"
#include "version.h"

static const tn__host host = {TN_VERSION, TN_OP_COUNT, tn_fail};
static const tn_backend *gpu;
static char trouble[256];

#define IN_BOTH_ORDERS for (int reverse = 0; reverse < 2 && (emu_reverse(reverse), true); reverse++)

/* The CPU's plain kernels are what the GPU's are held against. */
static int open_gpu(void **state)
{
    tn__isa_set("plain");
    gpu = tn__cuda_backend(&host, trouble, sizeof trouble);
    if (!gpu)
        fprintf(stderr, "%s\n", trouble);
    return gpu ? quiet_errors(state) : -1;
}

static inline tn_tensor *on_gpu(const tn_tensor *t)
{
    tn_tensor *y = t ? tn__tensor_on(gpu, 0, t->dtype, t->ndim, t->shape) : NULL;
    return tn_copy_(y, t) ? y : NULL;
}

#endif
