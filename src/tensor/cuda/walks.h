/* How kernels find operands that lie in memory in any way (../walk.h). */
#ifndef TN_WALKS_H
#define TN_WALKS_H

#include "kdefs.h"
#include "walk.h"

static __device__ inline uint32_t walk_quotient(uint32_t i, int64_t by) { return i / (uint32_t)by; }
static __device__ inline int64_t walk_quotient(int64_t i, int64_t by) { return k_quotient(i, by); }

/* Where element i of a walk lies in N operands from FIRST on.  A contiguous walk has one dim: no division. */
template <int FIRST, int N, class Index> static __device__ void walk_to(const tn__walk &w, Index i, int64_t (&at)[N])
{
    for (int k = 0; k < N; k++)
        at[k] = 0;
    for (int d = w.ndim - 1; d > 0; d--) {
        const Index outer = walk_quotient(i, w.shape[d]), here = i - outer * (Index)w.shape[d];
        for (int k = 0; k < N; k++)
            at[k] += here * w.stride[FIRST + k][d];
        i = outer;
    }
    for (int k = 0; k < N; k++)
        at[k] += i * w.stride[FIRST + k][0];
}

#endif
