/* Attention and its gradient on CUDA, over sequences without padding.  A block makes 32 queries of a head against 32
 * keys after the other and never keeps a probability; backward makes them again, once for the gradient by queries and
 * once for that by keys and values, so that each element is summed up by one thread in one order.  Heads wider than 64
 * columns are dealt to several blocks, which make the same scores.  What a query gets depends on its sequence alone.
 * With HALF the operands of products are rounded to bf16 for tensor cores, and a thread's results are elsewhere.
 * Further blocks of the same launch look at rows instead, and clear those outside all sequences.  The same on the CPU:
 * ../ops/attention.c. */
#include "attention_tile.h"
#include "launch.h"
#include "philox.h"
#include "spans.h"

enum {
    BLOCKS = 6,    /* that a multiprocessor's registers are to suffice for */
    ENOUGH = 1024, /* blocks that keep a device busy */
};

/* What the blocks of a kernel share out by queries or by keys. */
typedef struct shares {
    int64_t cuts;              /* blocks for the tiles of a head */
    int64_t heads, all;        /* shares of heads, which come first; with those of rows */
} shares;

typedef struct attention_args {
    const float *q, *kv;       /* kv: the first key's first column; values are `width` further */
    int64_t q_row, kv_row;     /* from one row to the next */
    int64_t width, dim, heads; /* columns of y; of a head */
    span_list spans, kv_spans;
    int causal, drops;
    float scale, rest;         /* rest: a probability that is not dropped is multiplied by it */
    uint32_t threshold;
    tn__cuda_key key;
    uint64_t row_words, head_words; /* of the key's stream, from one row or head to the next */
    int64_t chunks;            /* blocks for the columns of a head */
    shares by_queries, by_keys; /* none of a gradient that nobody wants */
    float *y, *lse;
    const float *g;
    float *dq, *dkv;
    uint16_t *y_half, *dq_half, *dkv_half; /* the same in bf16, too; NULL: not wanted */
} attention_args;

/* What a block works on: some tiles of a head of a sequence. */
typedef struct head {
    int64_t first, queries, kv_first, keys;
    int64_t index, column, chunk, cut; /* column: the head's first; chunk: the block's first in the head */
    const float *q, *k, *v;
} head;

static __device__ head head_of(const attention_args &a, int64_t cuts, int64_t share)
{
    head h = {};
    const int64_t chunk = k_quotient(share, cuts), index = k_quotient(chunk, a.chunks), s = k_quotient(index, a.heads);
    h.cut = share - chunk * cuts;
    h.chunk = (chunk - index * a.chunks) * COLUMNS;
    h.index = index - s * a.heads;
    h.column = h.index * a.dim;
    if (!span_sound(a.spans, s) || !span_sound(a.kv_spans, s))
        return h;
    h.first = a.spans.at[2 * s];
    h.queries = a.spans.at[2 * s + 1];
    h.kv_first = a.kv_spans.at[2 * s];
    h.keys = a.kv_spans.at[2 * s + 1];
    h.q = a.q + h.first * a.q_row + h.column;
    h.k = a.kv + h.kv_first * a.kv_row + h.column;
    h.v = h.k + a.width;
    if (a.drops && h.keys > TN__ATTENTION_KEYS && threadIdx.x == 0)
        k_wrong(a.kv_spans.watch, TN_TOO_MANY_KEYS, s, h.keys, 0, 0);
    return h;
}

/* Keys that query i of the sequence sees: the first so many.  Those beyond the last one see what it sees. */
static __device__ int64_t seen(const attention_args &a, const head &h, int64_t i)
{
    const int64_t most = a.causal && i < h.queries ? h.keys - h.queries + i + 1 : h.keys;
    return most < 0 ? 0 : most;
}

/* How many of four keys a query sees. */
static __device__ int seen_of_four(const attention_args &a, const head &h, int64_t query, int64_t key)
{
    const int64_t n = seen(a, h, query) - key;
    return n < 0 ? 0 : n < 4 ? (int)n : 4;
}


/* Writes the sums of rows from `row` on, those of them that are there, times room.row where that is wanted: from place
 * `first` of `to`, and of `half` where that is not NULL. */
template <bool HALF>
static __device__ void write(const attention_args &a, const head &h, float *to, uint16_t *half, int64_t first,
                             int64_t step, int64_t row, int64_t rows, const rooms &room, bool scaled,
                             const float (&sum)[32])
{
    for (int i = 0; i < 32; i++) {
        const int64_t at = row + row_of<HALF>(i), column = h.chunk + column_of<HALF>(i);
        if (at >= rows || column >= a.dim)
            continue;
        const float y = sum[i] * (scaled ? room.row[row_of<HALF>(i)] : 1);
        to[first + at * step + column] = y;
        if (HALF && half)
            half[first + at * step + column] = tn__to_bf16(y);
    }
}

/* Zeros for rows that are in no span: a share of rows is 32 for each warp, and of those `rest` are to be cleared. */
static __device__ void clear(uint32_t rest, int64_t first, float *to, uint16_t *half, int64_t step, int64_t columns)
{
    for (int i = 0; i < SPAN_ROWS; i++)
        for (int64_t k = threadIdx.x % SPAN_ROWS; rest >> i & 1 && k < columns; k += SPAN_ROWS) {
            to[(first + i) * step + k] = 0;
            if (half)
                half[(first + i) * step + k] = 0;
        }
}

static __device__ int64_t first_row(int64_t share) { return share * THREADS + threadIdx.x / SPAN_ROWS * SPAN_ROWS; }

/* What dropout leaves of the probabilities of keys `key`.. of a query: words of a run begin at multiples of 4. */
static __device__ void draw(const attention_args &a, const head &h, int64_t query, int64_t key, float (&rest)[4])
{
    const uint64_t first = (uint64_t)(h.first + query) * a.row_words + (uint64_t)h.index * a.head_words;
    const tn_rng stream = k_key(a.key);
    const tn__philox4 word = tn__philox(stream.seed, stream.step, (first + (uint64_t)key) / 4);
    for (int j = 0; j < 4; j++)
        rest[j] = word.v[j] >= a.threshold ? a.rest : 0;
}

/* ---- forward ---- */

/* Over the threads that share a row: they are neighbours. */
static __device__ float row_most(float v)
{
    for (int m = 1; m < FOURS; m *= 2)
        v = fmaxf(v, __shfl_xor_sync(0xffffffff, v, m));
    return v;
}

static __device__ float row_sum(float v)
{
    for (int m = 1; m < FOURS; m *= 2)
        v += __shfl_xor_sync(0xffffffff, v, m);
    return v;
}

/* A query's keys so far: the largest score, the sum of exponentials of scores less that. */
typedef struct softmax {
    float most, sum;
} softmax;

/* Makes four scores of a row exponentials, and tells by what the sums until now are to be multiplied. */
static __device__ float exponentials(softmax &of, float (&score)[4], int n, float scale)
{
    float most = -INFINITY, sum = 0;
    for (int j = 0; j < 4; j++) {
        score[j] = j < n ? score[j] * scale : -INFINITY;
        most = fmaxf(most, score[j]);
    }
    most = fmaxf(of.most, row_most(most));
    const float before = of.most < most ? expf(of.most - most) : 1;
    for (int j = 0; j < 4; j++) {
        score[j] = j < n ? expf(score[j] - most) : 0;
        sum += score[j];
    }
    of.sum = of.sum * before + row_sum(sum);
    of.most = most;
    return before;
}

template <bool HALF>
static __device__ void forward_tile(const attention_args &a, const head &h, int64_t query, const rooms &room)
{
    const int x = (int)threadIdx.x % FOURS, y = (int)threadIdx.x / FOURS;
    const int64_t limit = seen(a, h, query + SIDE - 1);
    softmax of[4];
    float sum[32] = {};
    for (int i = 0; i < 4; i++) {
        of[i].most = -INFINITY;
        of[i].sum = 0;
    }
    for (int64_t key = 0; key < limit; key += SIDE) {
        float score[4][4], rest[4];
        dots<HALF>(a.dim, h.q + query * a.q_row, a.q_row, h.queries - query, h.k + key * a.kv_row, a.kv_row,
                   h.keys - key, room, score);
        for (int i = 0; i < 4; i++) {
            const int64_t at = query + 4 * y + i;
            const float before = exponentials(of[i], score[i], seen_of_four(a, h, at, key + 4 * x), a.scale);
            if (x == 0)
                room.row[4 * y + i] = before;
            if (a.drops) {
                draw(a, h, at, key + 4 * x, rest);
                for (int j = 0; j < 4; j++)
                    score[i][j] *= rest[j];
            }
            for (int j = 0; j < 4; j++)
                ((float *)room.w)[(4 * x + j) * (4 * LINE) + 4 * y + i] = score[i][j];
        }
        mix<HALF>(room.w, h.v + key * a.kv_row + h.chunk, a.kv_row, h.keys - key, a.dim - h.chunk, room, true, sum);
    }
    __syncthreads();
    for (int i = 0; i < 4; i++) {
        const int64_t at = query + 4 * y + i;
        if (x == 0)
            room.row[4 * y + i] = of[i].sum > 0 ? 1 / of[i].sum : 0;
        if (x == 0 && h.chunk == 0 && at < h.queries)
            a.lse[h.index * a.spans.rows + h.first + at] = of[i].sum > 0 ? of[i].most + logf(of[i].sum) : 0;
    }
    __syncthreads();
    write<HALF>(a, h, a.y, a.y_half, h.first * a.width + h.column, a.width, query, h.queries, room, true, sum);
}

static __device__ void forward_rest(const attention_args &a, int64_t share)
{
    const int64_t first = first_row(share), lane = threadIdx.x % SPAN_ROWS;
    const uint32_t rest = span_rest(a.spans, first);
    clear(rest, first, a.y, a.y_half, a.width, a.width);
    for (int64_t h = 0; rest >> lane & 1 && h < a.heads; h++)
        a.lse[h * a.spans.rows + first + lane] = 0;
}

template <bool HALF>
static __global__ void __launch_bounds__(THREADS, BLOCKS) forward(const __grid_constant__ attention_args a)
{
    ROOMS
    const shares by = a.by_queries;
    for (int64_t share = blockIdx.x; share < by.all; share += gridDim.x) {
        if (share >= by.heads) {
            forward_rest(a, share - by.heads);
            continue;
        }
        const head h = head_of(a, by.cuts, share);
        for (int64_t query = h.cut * SIDE; query < h.queries; query += by.cuts * SIDE)
            forward_tile<HALF>(a, h, query, room);
    }
}

/* ---- backward ---- */

/* What a tile's scores weigh: probabilities as dropout left them, and slopes of products of queries and keys. */
typedef struct slopes {
    float p[4][4], d[4][4];
} slopes;

/* The products of this thread's four rows of g and y. */
static __device__ void row_products(const attention_args &a, const head &h, int64_t query, float (&product)[4])
{
    const int x = (int)threadIdx.x % FOURS, y = (int)threadIdx.x / FOURS;
    const int64_t at = (h.first + query + 4 * y) * a.width + h.column, left = h.queries - query - 4 * y;
    for (int i = 0; i < 4; i++)
        product[i] = 0;
    for (int64_t k = x; k < a.dim; k += FOURS)
        for (int i = 0; i < 4; i++)
            if (i < left)
                product[i] = fmaf(a.g[at + i * a.width + k], a.y[at + i * a.width + k], product[i]);
    for (int i = 0; i < 4; i++)
        product[i] = row_sum(product[i]);
}

/* mean: what row_products() gives */
template <bool HALF>
static __device__ void slopes_of(const attention_args &a, const head &h, int64_t query, int64_t key,
                                 const float (&mean)[4], const rooms &room, slopes &s)
{
    const int x = (int)threadIdx.x % FOURS, y = (int)threadIdx.x / FOURS;
    const int64_t queries = h.queries - query, keys = h.keys - key;
    const float *g = a.g + (h.first + query) * a.width + h.column;
    dots<HALF>(a.dim, h.q + query * a.q_row, a.q_row, queries, h.k + key * a.kv_row, a.kv_row, keys, room, s.p);
    dots<HALF>(a.dim, g, a.width, queries, h.v + key * a.kv_row, a.kv_row, keys, room, s.d);
    for (int i = 0; i < 4; i++) {
        const int64_t at = query + 4 * y + i, row = h.index * a.spans.rows + h.first + at;
        const int n = at < h.queries ? seen_of_four(a, h, at, key + 4 * x) : 0;
        const float lse = n > 0 ? a.lse[row] : 0;
        float rest[4] = {1, 1, 1, 1};
        if (a.drops)
            draw(a, h, at, key + 4 * x, rest);
        for (int j = 0; j < 4; j++) {
            const float p = j < n ? expf(s.p[i][j] * a.scale - lse) : 0;
            s.d[i][j] = p * (rest[j] * s.d[i][j] - mean[i]) * a.scale;
            s.p[i][j] = p * rest[j];
        }
    }
}

template <bool HALF>
static __device__ void queries_back(const attention_args &a, const head &h, int64_t query, const rooms &room)
{
    const int x = (int)threadIdx.x % FOURS, y = (int)threadIdx.x / FOURS;
    const int64_t limit = seen(a, h, query + SIDE - 1);
    float sum[32] = {}, mean[4];
    row_products(a, h, query, mean);
    for (int64_t key = 0; key < limit; key += SIDE) {
        slopes s;
        slopes_of<HALF>(a, h, query, key, mean, room, s);
        for (int i = 0; i < 16; i++)
            ((float *)room.w)[(4 * x + i % 4) * (4 * LINE) + 4 * y + i / 4] = s.d[i / 4][i % 4];
        mix<HALF>(room.w, h.k + key * a.kv_row + h.chunk, a.kv_row, h.keys - key, a.dim - h.chunk, room, false, sum);
    }
    write<HALF>(a, h, a.dq, a.dq_half, h.first * a.q_row + h.column, a.q_row, query, h.queries, room, false, sum);
}

template <bool HALF>
static __device__ void keys_back(const attention_args &a, const head &h, int64_t key, const rooms &room)
{
    const int x = (int)threadIdx.x % FOURS, y = (int)threadIdx.x / FOURS;
    const int64_t sees = a.causal ? key - h.keys + h.queries : 0; /* the first query that does */
    float dk[32] = {}, dv[32] = {};
    for (int64_t query = sees > 0 ? sees / SIDE * SIDE : 0; query < h.queries; query += SIDE) {
        const int64_t left = h.queries - query;
        float mean[4];
        slopes s;
        row_products(a, h, query, mean);
        slopes_of<HALF>(a, h, query, key, mean, room, s);
        for (int i = 0; i < 16; i++) {
            ((float *)room.w)[(4 * y + i / 4) * (4 * LINE) + 4 * x + i % 4] = s.p[i / 4][i % 4];
            ((float *)room.u)[(4 * y + i / 4) * (4 * LINE) + 4 * x + i % 4] = s.d[i / 4][i % 4];
        }
        const float *g = a.g + (h.first + query) * a.width + h.column;
        mix<HALF>(room.w, g + h.chunk, a.width, left, a.dim - h.chunk, room, false, dv);
        mix<HALF>(room.u, h.q + query * a.q_row + h.chunk, a.q_row, left, a.dim - h.chunk, room, false, dk);
    }
    const int64_t first = h.kv_first * a.kv_row + h.column;
    write<HALF>(a, h, a.dkv, a.dkv_half, first, a.kv_row, key, h.keys, room, false, dk);
    write<HALF>(a, h, a.dkv, a.dkv_half, first + a.width, a.kv_row, key, h.keys, room, false, dv);
}

template <bool HALF>
static __device__ void share_by_queries(const attention_args &a, int64_t share, const rooms &room)
{
    const shares by = a.by_queries;
    if (share >= by.heads) {
        const int64_t first = first_row(share - by.heads);
        clear(span_rest(a.spans, first), first, a.dq, a.dq_half, a.q_row, a.width);
        return;
    }
    const head h = head_of(a, by.cuts, share);
    for (int64_t query = h.cut * SIDE; query < h.queries; query += by.cuts * SIDE)
        queries_back<HALF>(a, h, query, room);
}

template <bool HALF>
static __device__ void share_by_keys(const attention_args &a, int64_t share, const rooms &room)
{
    const shares by = a.by_keys;
    if (share >= by.heads) {
        const int64_t first = first_row(share - by.heads);
        clear(span_rest(a.kv_spans, first), first, a.dkv, a.dkv_half, a.kv_row, 2 * a.width);
        return;
    }
    const head h = head_of(a, by.cuts, share);
    for (int64_t key = h.cut * SIDE; key < h.keys; key += by.cuts * SIDE)
        keys_back<HALF>(a, h, key, room);
}

/* Those by keys come first, as they take longest. */
template <bool HALF>
static __global__ void __launch_bounds__(THREADS, BLOCKS) backward(const __grid_constant__ attention_args a)
{
    ROOMS
    for (int64_t share = blockIdx.x; share < a.by_keys.all + a.by_queries.all; share += gridDim.x)
        if (share < a.by_keys.all)
            share_by_keys<HALF>(a, share, room);
        else
            share_by_queries<HALF>(a, share - a.by_keys.all, room);
}

/* ---- launchers ---- */

static span_list spans_of(const tn_tensor *t, int64_t rows, bool apart, tn__cuda_spans spans, const tn__cuda_work *w)
{
    span_list l = {(const int64_t *)tn__cuda_data(t), t->shape[0], rows, apart, w->watch};
    l.watch.spans = spans;
    return l;
}

/* What forward and backward are given alike. */
static attention_args args_of(const tn_call *c, bool kv_apart, const tn__cuda_work *w)
{
    const tn__attention_attr *attr = (const tn__attention_attr *)c->attr;
    const tn_tensor *q = c->in[0], *kv = c->in[1];
    attention_args a = {};
    a.q = (const float *)tn__cuda_data(q);
    a.q_row = q->shape[1];
    a.width = kv ? a.q_row : a.q_row / 3;
    a.kv = kv ? (const float *)tn__cuda_data(kv) : a.q + a.width;
    a.kv_row = kv ? kv->shape[1] : a.q_row;
    a.heads = attr->heads;
    a.dim = a.width / a.heads;
    a.spans = spans_of(c->in[2], q->shape[0], true, TN_QUERY_SPANS, w);
    a.kv_spans = spans_of(c->in[3], kv ? kv->shape[0] : q->shape[0], kv_apart, TN_KEY_SPANS, w);
    a.causal = attr->causal;
    a.scale = (float)attr->scale;
    a.drops = attr->p > 0;
    a.threshold = tn__drop_threshold(attr->p);
    a.rest = attr->p < 1 ? (float)(1 / (1 - attr->p)) : 0;
    a.key = {attr->key, w->drawn};
    a.row_words = tn__attention_words(1, 0, attr->heads);
    a.head_words = tn__attention_words(0, 1, attr->heads);
    a.chunks = (a.dim + COLUMNS - 1) / COLUMNS;
    return a;
}

/* Shares of heads whose sequences have `rows` at most, so many that the device is busy, and of the rows. */
static shares deal(const attention_args &a, int64_t rows)
{
    const int64_t heads = a.spans.n * a.heads * a.chunks, tiles = (rows + SIDE - 1) / SIDE;
    const int64_t wanted = heads ? (ENOUGH + heads - 1) / heads : 1, cuts = tiles < wanted ? tiles : wanted;
    shares s = {cuts > 1 ? cuts : 1, 0, 0};
    s.heads = heads * s.cuts;
    s.all = s.heads + (rows + THREADS - 1) / THREADS;
    return s;
}

int tn__cuda_attention(const tn_call *c, tn__cuda_work *w)
{
    attention_args a = args_of(c, false, w);
    a.y = (float *)tn__cuda_data(c->out[0]);
    a.y_half = tn__cuda_rounded_out(c->out[0], w);
    a.lse = (float *)tn__cuda_data(c->out[1]);
    a.by_queries = deal(a, a.spans.rows);
    const unsigned blocks = k_blocks(a.by_queries.all, 1);
    return w->half ? K_LAUNCH(forward<true>, blocks, THREADS, w->stream, a)
                   : K_LAUNCH(forward<false>, blocks, THREADS, w->stream, a);
}

int tn__cuda_attention_backward(const tn_call *c, tn__cuda_work *w)
{
    const tn__attention_attr *attr = (const tn__attention_attr *)c->attr;
    const bool packed = !c->in[1], with_q = attr->wanted & 1, with_kv = packed ? with_q : attr->wanted & 2;
    attention_args a = args_of(c, with_kv, w);
    a.y = (float *)tn__cuda_data(c->in[4]);
    a.lse = (float *)tn__cuda_data(c->in[5]);
    a.g = (const float *)tn__cuda_data(c->in[6]);
    a.dq = (float *)tn__cuda_data(c->out[0]);
    a.dkv = packed ? a.dq + a.width : (float *)tn__cuda_data(c->out[1]);
    a.dq_half = with_q ? tn__cuda_rounded_out(c->out[0], w) : NULL;
    a.dkv_half = !packed && with_kv ? tn__cuda_rounded_out(c->out[1], w) : a.dq_half ? a.dq_half + a.width : NULL;
    if (with_q)
        a.by_queries = deal(a, a.spans.rows);
    if (with_kv)
        a.by_keys = deal(a, a.kv_spans.rows);
    const unsigned blocks = k_blocks(a.by_keys.all + a.by_queries.all, 1);
    return w->half ? K_LAUNCH(backward<true>, blocks, THREADS, w->stream, a)
                   : K_LAUNCH(backward<false>, blocks, THREADS, w->stream, a);
}
