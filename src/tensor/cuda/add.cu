/* Many sums of two arrays in one launch: what arrives at the gradients of a network's weights. */
#include "kdefs.h"
#include "launch.h"

enum { PIECE = 4 * K_THREADS }; /* elements of a block at a time */

typedef struct additions {
    tn__addition of[TN_ADDITIONS];
    int64_t first[TN_ADDITIONS + 1]; /* piece of each, counted through all */
    int count;
} additions;

/* The addition that a piece is of: the last one that begins at it or before. */
static __device__ int owner(const additions &a, int64_t piece)
{
    int from = 0, to = a.count;
    while (to - from > 1) {
        const int middle = (from + to) / 2;
        if (a.first[middle] <= piece)
            from = middle;
        else
            to = middle;
    }
    return from;
}

static __global__ void add(const __grid_constant__ additions a)
{
    for (int64_t piece = blockIdx.x; piece < a.first[a.count]; piece += gridDim.x) {
        const int i = owner(a, piece);
        const int64_t from = (piece - a.first[i]) * PIECE + threadIdx.x;
        const tn__addition &one = a.of[i];
        float sum[PIECE / K_THREADS] = {};
        K_UNROLL for (int e = 0; e < PIECE / K_THREADS; e++)
            if (from + e * K_THREADS < one.n)
                sum[e] = one.to[from + e * K_THREADS] + one.from[from + e * K_THREADS];
        K_UNROLL for (int e = 0; e < PIECE / K_THREADS; e++)
            if (from + e * K_THREADS < one.n)
                one.to[from + e * K_THREADS] = sum[e];
    }
}

int tn__cuda_additions(int count, const tn__addition *all, void *stream)
{
    additions a;
    a.count = count;
    a.first[0] = 0;
    for (int i = 0; i < count; i++) {
        a.of[i] = all[i];
        a.first[i + 1] = a.first[i] + (all[i].n + PIECE - 1) / PIECE;
    }
    return K_LAUNCH(add, k_blocks(a.first[count], 1), K_THREADS, stream, a);
}
