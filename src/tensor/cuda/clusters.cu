/* Targets of an adaptive softmax sorted by cluster, on CUDA: a block for each cluster, and one for the head.  The same
 * on the CPU: ../ops/clusters.c. */
#include "kdefs.h"
#include "launch.h"

typedef struct clusters_args {
    tn__clusters_attr of;
    const int64_t *target;
    int64_t *head, *at, *own;
    int64_t rows;
    tn__cuda_watch watch;
} clusters_args;

static __device__ void head_of(const clusters_args &a)
{
    for (int64_t row = threadIdx.x; row < a.rows; row += K_THREADS) {
        const int64_t target = a.target[row];
        const bool sound = target >= 0 && target < a.of.end[a.of.n];
        int part = 0;
        while (sound && target >= a.of.end[part])
            part++;
        if (!sound)
            k_wrong(a.watch, TN_BAD_TARGET, target, row, a.of.end[a.of.n] - 1, 0);
        a.head[row] = !sound ? -1 : part ? a.of.end[0] + part - 1 : target;
    }
}

/* Each thread has rows that lie side by side: it counts its own, learns how many are before, and puts them there. */
static __device__ void cluster_of(const clusters_args &a, int k, int64_t first, int64_t *room)
{
    const int t = (int)threadIdx.x;
    const int64_t low = a.of.end[k], high = a.of.end[k + 1], places = a.of.room[k];
    const int64_t each = (a.rows + K_THREADS - 1) / K_THREADS, from = t * each;
    const int64_t end = from + each < a.rows ? from + each : a.rows;
    int64_t count = 0, at = 0, all = 0;
    for (int64_t row = from; row < end; row++)
        count += a.target[row] >= low && a.target[row] < high;
    room[t] = count;
    __syncthreads();
    for (int i = 0; i < K_THREADS; i++) {
        at += i < t ? room[i] : 0;
        all += room[i];
    }
    for (int64_t row = from; row < end && at < places; row++)
        if (a.target[row] >= low && a.target[row] < high) {
            a.at[first + at] = row;
            a.own[first + at++] = a.target[row] - low;
        }
    for (int64_t i = all + t; i < places; i += K_THREADS) {
        a.at[first + i] = 0;
        a.own[first + i] = -1;
    }
    if (t == 0 && all > places)
        k_wrong(a.watch, TN_TOO_MANY_ROWS, k, all, places, 0);
}

static __global__ void clusters(const __grid_constant__ clusters_args a)
{
    K_SHARED(int64_t, room, K_THREADS);
    const int k = (int)blockIdx.x;
    int64_t first = 0;
    for (int i = 0; i < k && i < a.of.n; i++)
        first += a.of.room[i];
    if (k < a.of.n)
        cluster_of(a, k, first, room);
    else
        head_of(a);
}

int tn__cuda_clusters(const tn_call *c, tn__cuda_work *w)
{
    const clusters_args a = {*(const tn__clusters_attr *)c->attr, (const int64_t *)tn__cuda_data(c->in[0]),
                             (int64_t *)tn__cuda_data(c->out[0]), (int64_t *)tn__cuda_data(c->out[1]),
                             (int64_t *)tn__cuda_data(c->out[2]), c->in[0]->shape[0], w->watch};
    return K_LAUNCH(clusters, (unsigned)(a.of.n + 1), K_THREADS, w->stream, a);
}
