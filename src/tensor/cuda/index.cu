/* Elements chosen by integers, on CUDA: embed and its gradient, gather, scatter_add, where.  Whoever adds to an element
 * is one thread and does so in the order of the indices; of an index that is outside there is nothing.  The same on the
 * CPU: ../ops/index.c. */
#include "kdefs.h"
#include "launch.h"
#include "walks.h"

/* ---- embed ---- */

static __global__ void embed(const float *w, const int64_t *index, float *y, int64_t n, int64_t rows, int64_t dim,
                             const __grid_constant__ tn__cuda_watch watch)
{
    const int64_t step = (int64_t)gridDim.x * K_THREADS;
    for (int64_t i = (int64_t)blockIdx.x * K_THREADS + threadIdx.x; i < n * dim; i += step) {
        const int64_t at = k_quotient(i, dim), column = i - at * dim, row = index[at];
        const bool inside = row >= 0 && row < rows;
        if (!inside && !column)
            k_wrong(watch, TN_BAD_INDEX, row, at, rows - 1, 0);
        y[i] = inside ? w[row * dim + column] : 0;
    }
}

int tn__cuda_embed(const tn_call *c, tn__cuda_work *w)
{
    const int64_t n = tn__cuda_count(c->in[1]), rows = c->in[0]->shape[0], dim = c->in[0]->shape[1];
    return K_LAUNCH(embed, k_blocks(n * dim, K_THREADS), K_THREADS, w->stream, (const float *)tn__cuda_data(c->in[0]),
                    (const int64_t *)tn__cuda_data(c->in[1]), (float *)tn__cuda_data(c->out[0]), n, rows, dim,
                    w->watch);
}

/* ---- its gradient: indices sorted, then a sum for each run of equal ones ---- */

enum {
    EACH = 4,
    TILE = EACH * K_THREADS, /* indices that one block sorts */
    PIECE = 32,              /* of a run: a thread's share */
};

/* Where an index stands; they are sorted by row, then by place, so no two are equal. */
typedef struct place {
    int64_t row, at;
} place;

static __device__ bool before(const place &a, const place &b) { return a.row != b.row ? a.row < b.row : a.at < b.at; }

/* Each element of a tile counts those before it.  Indices outside go to the end. */
static __global__ void sort_tiles(const int64_t *index, place *to, int64_t n, int64_t rows,
                                  const __grid_constant__ tn__cuda_watch watch)
{
    K_SHARED(place, tile, TILE);
    for (int64_t first = (int64_t)blockIdx.x * TILE; first < n; first += (int64_t)gridDim.x * TILE) {
        const int count = (int)(n - first < TILE ? n - first : (int64_t)TILE);
        place mine[EACH] = {};
        int rank[EACH] = {};
        for (int e = 0; e < EACH; e++) {
            const int i = e * K_THREADS + (int)threadIdx.x;
            if (i >= count)
                continue;
            const int64_t row = index[first + i];
            const bool inside = row >= 0 && row < rows;
            if (!inside)
                k_wrong(watch, TN_BAD_INDEX, row, first + i, rows - 1, 0);
            mine[e].row = inside ? row : rows;
            mine[e].at = first + i;
            tile[i] = mine[e];
        }
        __syncthreads();
        for (int k = 0; k < count; k++) {
            const place other = tile[k];
            for (int e = 0; e < EACH; e++)
                rank[e] += before(other, mine[e]);
        }
        for (int e = 0; e < EACH; e++)
            if (e * K_THREADS + (int)threadIdx.x < count)
                to[first + rank[e]] = mine[e];
        __syncthreads();
    }
}

/* Merges neighbours among sorted parts of `length`: each element looks up how many of the other part are before it. */
static __global__ void merge(const place *from, place *to, int64_t n, int64_t length)
{
    const int64_t step = (int64_t)gridDim.x * K_THREADS;
    for (int64_t i = (int64_t)blockIdx.x * K_THREADS + threadIdx.x; i < n; i += step) {
        const place mine = from[i];
        const int64_t part = i / length, other = (part ^ 1) * length, own = i - part * length;
        int64_t low = other < n ? other : n, high = other + length < n ? other + length : n;
        while (low < high) {
            const int64_t middle = (low + high) / 2;
            if (before(from[middle], mine))
                low = middle + 1;
            else
                high = middle;
        }
        const int64_t met = other < n ? low - other : 0;
        to[part / 2 * 2 * length + own + met] = mine;
    }
}

/* The first of the sorted that has this row. */
static __device__ int64_t run_of(const place *sorted, int64_t last, int64_t row)
{
    int64_t low = 0, high = last;
    while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (sorted[middle].row < row)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Whether a piece of a run begins at i.  Mostly nothing needs to be looked up: few runs are longer than a piece. */
static __device__ bool piece_begins(const place *sorted, int64_t i, int64_t row)
{
    if (i == 0 || sorted[i - 1].row != row)
        return true;
    if (i < PIECE || sorted[i - PIECE].row != row)
        return false;
    return (i - run_of(sorted, i, row)) % PIECE == 0;
}

/* Sums of pieces: a run's first one goes to its row, others wait in `more`, where no two pieces that are not the first
 * of their run share a place: they begin more than PIECE apart. */
static __global__ void sum_pieces(const float *g, const place *sorted, float *dw, float *more, int64_t n, int64_t rows,
                                  int64_t dim, bool onto)
{
    const int64_t step = (int64_t)gridDim.x * K_THREADS;
    for (int64_t k = (int64_t)blockIdx.x * K_THREADS + threadIdx.x; k < n * dim; k += step) {
        const int64_t i = k_quotient(k, dim), column = k - i * dim, row = sorted[i].row;
        if (row == rows || !piece_begins(sorted, i, row))
            continue;
        const int64_t end = i + PIECE < n ? i + PIECE : n;
        float sum = 0;
        for (int64_t j = i; j < end && sorted[j].row == row; j++)
            sum += g[sorted[j].at * dim + column];
        const bool first = i == 0 || sorted[i - 1].row != row;
        float *to = first ? dw + row * dim : more + i / PIECE * dim;
        to[column] = first && onto ? to[column] + sum : sum;
    }
}

static __global__ void add_pieces(const place *sorted, float *dw, const float *more, int64_t n, int64_t rows,
                                  int64_t dim)
{
    const int64_t step = (int64_t)gridDim.x * K_THREADS;
    for (int64_t k = (int64_t)blockIdx.x * K_THREADS + threadIdx.x; k < n * dim; k += step) {
        const int64_t i = k_quotient(k, dim), column = k - i * dim, row = sorted[i].row;
        if (row == rows || i + PIECE >= n || sorted[i + PIECE].row != row || (i > 0 && sorted[i - 1].row == row))
            continue;
        float sum = dw[row * dim + column];
        for (int64_t j = i + PIECE; j < n && sorted[j].row == row; j += PIECE)
            sum += more[j / PIECE * dim + column];
        dw[row * dim + column] = sum;
    }
}

/* Gives the sorted in *in_order, one of the two rooms of n. */
static int sort(const int64_t *index, int64_t n, int64_t rows, place *const room[2], place **in_order,
                const tn__cuda_work *w)
{
    int now = 0, failed = K_LAUNCH(sort_tiles, k_blocks(n, TILE), K_THREADS, w->stream, index, room[0], n, rows,
                                   w->watch);
    for (int64_t length = TILE; !failed && length < n; length *= 2, now = !now)
        failed = K_LAUNCH(merge, k_blocks(n, K_THREADS), K_THREADS, w->stream, (const place *)room[now], room[!now], n,
                          length);
    *in_order = room[now];
    return failed;
}

int tn__cuda_embed_backward(const tn_call *c, tn__cuda_work *w)
{
    const int64_t n = tn__cuda_count(c->in[1]), rows = c->out[0]->shape[0], dim = c->out[0]->shape[1];
    const int64_t *index = (const int64_t *)tn__cuda_data(c->in[1]);
    const float *g = (const float *)tn__cuda_data(c->in[0]);
    const bool onto = ((const tn__axis_attr *)c->attr)->add;
    float *dw = (float *)tn__cuda_data(c->out[0]);
    const int cleared = onto ? 0 : tn__cuda_zero(dw, (size_t)(rows * dim) * sizeof *dw, w);
    if (cleared || !n)
        return cleared;
    place *const room[2] = {(place *)tn__cuda_scratch(w, (size_t)n * sizeof(place)),
                            (place *)tn__cuda_scratch(w, (size_t)n * sizeof(place))};
    float *more = (float *)tn__cuda_scratch(w, (size_t)((n / PIECE + 1) * dim) * sizeof *more);
    place *sorted;
    if (!room[0] || !room[1] || !more)
        return TN_CUDA_NO_MEMORY;
    int failed = sort(index, n, rows, room, &sorted, w);
    if (!failed)
        failed = K_LAUNCH(sum_pieces, k_blocks(n * dim, K_THREADS), K_THREADS, w->stream, g, (const place *)sorted, dw,
                          more, n, rows, dim, onto);
    if (!failed && n > PIECE)
        failed = K_LAUNCH(add_pieces, k_blocks(n * dim, K_THREADS), K_THREADS, w->stream, (const place *)sorted, dw,
                          (const float *)more, n, rows, dim);
    return failed;
}

/* ---- gather, scatter_add ---- */

typedef struct along { /* an index tensor, and the tensor whose axis it chooses places of */
    tn__walk walk;     /* over the index: itself, and the tensor with a step of 0 along the axis */
    const int64_t *index;
    int64_t size, step, count, index_step; /* of the axis of the tensor; of the index */
} along;

static along along_of(const tn_tensor *x, const tn_tensor *index, int axis, bool lines)
{
    tn_tensor across = *x, chosen = *index;
    for (int d = 0; d < index->ndim; d++)
        across.shape[d] = index->shape[d];
    across.stride[axis] = 0;
    if (lines) /* one element for each line of the index along the axis */
        across.shape[axis] = chosen.shape[axis] = index->shape[axis] > 0;
    const tn_tensor *other = &across;
    const along a = {tn__walk_over(&chosen, 1, &other), (const int64_t *)tn__cuda_data(index), x->shape[axis],
                     x->stride[axis], index->shape[axis], index->stride[axis]};
    return a;
}

static __device__ bool chosen(const along &a, int64_t i, int64_t *row, const tn__cuda_watch &watch)
{
    *row = a.index[i];
    if (*row >= 0 && *row < a.size)
        return true;
    k_wrong(watch, TN_BAD_INDEX, *row, i, a.size - 1, 0);
    return false;
}

static __global__ void gather(const __grid_constant__ along a, const float *x, float *y,
                              const __grid_constant__ tn__cuda_watch watch)
{
    const int64_t step = (int64_t)gridDim.x * K_THREADS;
    for (int64_t i = (int64_t)blockIdx.x * K_THREADS + threadIdx.x; i < a.walk.total; i += step) {
        int64_t at[2], row;
        walk_to<0>(a.walk, i, at);
        y[at[0]] = chosen(a, at[0], &row, watch) ? x[at[1] + row * a.step] : 0;
    }
}

int tn__cuda_gather(const tn_call *c, tn__cuda_work *w)
{
    const along a = along_of(c->in[0], c->in[1], ((const tn__axis_attr *)c->attr)->axis, false);
    return K_LAUNCH(gather, k_blocks(a.walk.total, K_THREADS), K_THREADS, w->stream, a,
                    (const float *)tn__cuda_data(c->in[0]), (float *)tn__cuda_data(c->out[0]), w->watch);
}

static __global__ void scatter_add(const __grid_constant__ along a, const float *source, float *y,
                                   const __grid_constant__ tn__cuda_watch watch)
{
    const int64_t step = (int64_t)gridDim.x * K_THREADS;
    for (int64_t i = (int64_t)blockIdx.x * K_THREADS + threadIdx.x; i < a.walk.total; i += step) {
        int64_t at[2], row;
        walk_to<0>(a.walk, i, at);
        for (int64_t k = 0; k < a.count; k++)
            if (chosen(a, at[0] + k * a.index_step, &row, watch))
                y[at[1] + row * a.step] += source[at[0] + k * a.index_step];
    }
}

int tn__cuda_scatter_add(const tn_call *c, tn__cuda_work *w)
{
    const along a = along_of(c->in[0], c->in[1], ((const tn__axis_attr *)c->attr)->axis, true);
    float *y = (float *)tn__cuda_data(c->out[0]);
    const int failed = tn__cuda_copy(y, tn__cuda_data(c->in[0]), (size_t)tn__cuda_count(c->in[0]) * sizeof *y, w);
    return failed ? failed : K_LAUNCH(scatter_add, k_blocks(a.walk.total, K_THREADS), K_THREADS, w->stream, a,
                                      (const float *)tn__cuda_data(c->in[2]), y, w->watch);
}

/* ---- where ---- */

typedef struct where_args {
    tn__walk walk;
    float *y;
    const uint8_t *cond;
    const float *x, *z;
} where_args;

static __global__ void where(const __grid_constant__ where_args a)
{
    const int64_t step = (int64_t)gridDim.x * K_THREADS;
    for (int64_t i = (int64_t)blockIdx.x * K_THREADS + threadIdx.x; i < a.walk.total; i += step) {
        int64_t at[4];
        walk_to<0>(a.walk, i, at);
        a.y[at[0]] = a.cond[at[1]] ? a.x[at[2]] : a.z[at[3]];
    }
}

int tn__cuda_where(const tn_call *c, tn__cuda_work *w)
{
    const where_args a = {tn__walk_over(c->out[0], 3, c->in), (float *)tn__cuda_data(c->out[0]),
                          (const uint8_t *)tn__cuda_data(c->in[0]), (const float *)tn__cuda_data(c->in[1]),
                          (const float *)tn__cuda_data(c->in[2])};
    return K_LAUNCH(where, k_blocks(a.walk.total, K_THREADS), K_THREADS, w->stream, a);
}
