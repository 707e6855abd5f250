/* Classes that rows of scores are to hit, on CUDA: what loss.cu and linear_loss.cu share. */
#ifndef TN_TARGETS_H
#define TN_TARGETS_H

#include "reduce.h"

struct k_targets {
    const int64_t *target;
    int64_t rows, classes;
    bool ignore;
    int64_t ignored;

    /* Whether a row counts.  One whose target is no class does not. */
    __device__ bool counts(int64_t row) const
    {
        const int64_t t = target[row];
        return !(ignore && t == ignored) && t >= 0 && t < classes;
    }
    /* For one thread of those that look at a row. */
    __device__ void check(int64_t row, const tn__cuda_watch &watch) const
    {
        const int64_t t = target[row];
        if (!(ignore && t == ignored) && (t < 0 || t >= classes))
            k_wrong(watch, TN_BAD_TARGET, t, row, classes - 1, 0);
    }
};

static inline k_targets k_targets_of(const tn_tensor *target, int64_t classes, const tn__cross_entropy_attr *a)
{
    const bool ignore = a && a->ignore;
    return {(const int64_t *)tn__cuda_data(target), tn__cuda_count(target), classes, ignore,
            ignore ? a->ignore_index : 0};
}

/* 1 / rows that count; 1 where none does.  In one block. */
static __global__ void k_share_of_rows(const k_targets t, double *share)
{
    K_SHARED(double, room, K_WARPS);
    double count = 0;
    for (int64_t row = threadIdx.x; row < t.rows; row += K_THREADS)
        count += t.counts(row);
    count = k_all<K_THREADS, k_sum>(count, room);
    if (threadIdx.x == 0)
        *share = count > 0 ? 1 / count : 1;
}

/* *share becomes what the loss of a row is multiplied by: NULL is 1.  0, or why not. */
static inline int k_share(const k_targets &t, const tn__cross_entropy_attr *a, const double **share, tn__cuda_work *w)
{
    *share = NULL;
    if (a->sum)
        return 0;
    double *room = (double *)tn__cuda_scratch(w, sizeof *room);
    if (!room)
        return TN_CUDA_NO_MEMORY;
    *share = room;
    return K_LAUNCH(k_share_of_rows, 1, K_THREADS, w->stream, t, room);
}

#endif
