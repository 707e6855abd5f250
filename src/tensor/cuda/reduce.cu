/* Reductions over any axes of a strided tensor on CUDA (../ops/reduce.c): threads go along the elements behind an
 * output, or several outputs are made side by side where those are the neighbours in memory.  Many elements behind
 * few outputs are cut into parts; how follows from the shape and strides alone. */
#include <string.h>

#include "launch.h"
#include "reduce.h"

/* ---- what is kept of the elements that were seen, and what becomes of it ---- */

struct sink {
    float *y;
    int64_t *index; /* instead of y where it is not NULL */
    float sign;     /* of the elements: -1 makes the largest the smallest */
    double count;   /* what a sum is divided by */
};

struct total {
    double sum;
    static __device__ total none() { return {0}; }
    __device__ void add(float x, int64_t) { sum += (double)x; }
    __device__ void merge(const total &o) { sum += o.sum; }
    __device__ void write(const sink &to, int64_t out) const { to.y[out] = (float)(sum / to.count); }
};

struct squares {
    double sum;
    static __device__ squares none() { return {0}; }
    __device__ void add(float x, int64_t) { sum += (double)x * (double)x; }
    __device__ void merge(const squares &o) { sum += o.sum; }
    __device__ void write(const sink &to, int64_t out) const { to.y[out] = (float)sqrt(sum); }
};

/* Mean and sum of squares around it: Welford 1962, merged as in Chan, Golub and LeVeque 1979. */
struct moments {
    double n, mean, around;
    static __device__ moments none() { return {0, 0, 0}; }
    __device__ void add(float x, int64_t)
    {
        const double away = (double)x - mean;
        n += 1;
        mean += away / n;
        around += away * ((double)x - mean);
    }
    __device__ void merge(const moments &o)
    {
        if (o.n == 0)
            return;
        const double both = n + o.n, away = o.mean - mean;
        mean += away * (o.n / both);
        around += o.around + away * away * (n * o.n / both);
        n = both;
    }
    __device__ void write(const sink &to, int64_t out) const { to.y[out] = (float)(around / to.count); }
};

/* The largest and where it is first; a NaN is larger than anything. */
struct extreme {
    float value;
    int64_t at;
    static __device__ extreme none() { return {-INFINITY, INT64_MAX}; }
    __device__ void add(float x, int64_t i)
    {
        const bool more = !isnan(value) && (isnan(x) || x > value);
        const bool same = isnan(value) ? isnan(x) : x == value;
        if (more || (same && i < at)) {
            value = x;
            at = i;
        }
    }
    __device__ void merge(const extreme &o) { add(o.value, o.at); }
    __device__ void write(const sink &to, int64_t out) const
    {
        if (to.index)
            to.index[out] = at;
        else
            to.y[out] = to.sign * value;
    }
};

/* The sum of exp(x - most). */
struct exps {
    float most;
    double sum;
    static __device__ exps none() { return {-INFINITY, 0}; }
    __device__ void take(float top, double s)
    {
        if (top > most) {
            sum = sum * (double)expf(most - top) + s;
            most = top;
        } else {
            sum += top == most ? s : s * (double)expf(top - most);
        }
    }
    __device__ void add(float x, int64_t) { take(x, 1); }
    __device__ void merge(const exps &o) { take(o.most, o.sum); }
    __device__ void write(const sink &to, int64_t out) const
    {
        to.y[out] = isfinite(most) || isnan(sum) ? (float)((double)most + log(sum)) : most;
    }
};

/* ---- kernels ---- */

struct dims {
    int ndim;
    int64_t n, shape[TN_MAX_DIMS], stride[TN_MAX_DIMS];
};

struct job {
    const float *x;
    dims kept, reduced;
    k_cut cut; /* of the elements behind an output */
    sink to;
};

static __device__ int64_t offset(const dims &d, int64_t i)
{
    int64_t at = 0;
    for (int k = d.ndim - 1; k > 0; k--) {
        const int64_t size = d.shape[k];
        const int64_t outer = (i | size) >> 32 ? i / size : (int64_t)((uint32_t)i / (uint32_t)size);
        at += (i - outer * size) * d.stride[k];
        i = outer;
    }
    return at + i * d.stride[0];
}

/* Every STEP-th element of from..end-1, several of them read before the first is added. */
template <int STEP, class State>
static __device__ void add_elements(State &s, const float *x, const dims &d, float sign, int64_t from, int64_t end)
{
    enum { EACH = 4 };
    for (int64_t i = from; i < end; i += STEP * EACH) {
        float v[EACH] = {};
        K_UNROLL for (int e = 0; e < EACH; e++)
            if (i + e * STEP < end)
                v[e] = x[offset(d, i + e * STEP)];
        K_UNROLL for (int e = 0; e < EACH; e++)
            if (i + e * STEP < end)
                s.add(sign * v[e], i + e * STEP);
    }
}

/* Merges what the lanes of a warp have; the first lane gets it. */
template <class State> static __device__ void merge_warp(State &s)
{
    for (unsigned by = K_WARP / 2; by; by /= 2) {
        uint32_t word[sizeof(State) / 4];
        State o;
        memcpy(word, &s, sizeof o);
        for (uint32_t &w : word)
            w = __shfl_down_sync(0xffffffff, w, by);
        memcpy(&o, word, sizeof o);
        s.merge(o);
    }
}

/* A block makes OUTS outputs; side by side: neighbouring threads make neighbouring outputs. */
template <class State, int OUTS, bool SIDE_BY_SIDE>
static __global__ void reduce(const __grid_constant__ job j, State *part, unsigned *counters)
{
    const int ALONG = K_THREADS / OUTS, STEP = SIDE_BY_SIDE ? OUTS : (int)K_WARP;
    K_SHARED(State, room, K_THREADS);
    const int thread = (int)threadIdx.x;
    const int here = SIDE_BY_SIDE ? thread % OUTS : thread / ALONG;
    const int along = SIDE_BY_SIDE ? thread / OUTS : thread % ALONG;
    const int64_t tiles = (j.kept.n + OUTS - 1) / OUTS;
    for (int64_t work = blockIdx.x; work < tiles * j.cut.parts; work += gridDim.x) {
        const int64_t tile = work % tiles, out = tile * OUTS + here;
        const unsigned p = (unsigned)(work / tiles), first_part = (unsigned)tile * j.cut.parts;
        const int64_t from = p * j.cut.length, beyond = from + j.cut.length;
        const int64_t end = beyond < j.reduced.n ? beyond : j.reduced.n;
        State s = State::none();
        if (out < j.kept.n)
            add_elements<ALONG>(s, j.x + offset(j.kept, out), j.reduced, j.to.sign, from + along, end);
        const auto leave = [&](unsigned at) { /* what the threads have becomes one */
            if constexpr (!SIDE_BY_SIDE)
                merge_warp(s);
            if constexpr (SIDE_BY_SIDE || ALONG > (int)K_WARP) {
                room[thread] = s;
                __syncthreads();
                for (int i = STEP; along == 0 && i < K_THREADS; i += STEP)
                    s.merge(room[here + i]);
                __syncthreads();
            }
            if (along == 0 && part)
                part[(first_part + at) * OUTS + here] = s;
        };
        leave(p);
        const auto merge = [&](unsigned first, unsigned step, unsigned count) {
            s = State::none();
            for (unsigned i = along; i < count; i += ALONG)
                s.merge(part[(first_part + first + i * step) * OUTS + here]);
            leave(first);
        };
        if (k_whole(counters + first_part, p, j.cut.parts, merge) && along == 0 && out < j.kept.n)
            s.write(j.to, out);
    }
}

/* ---- launching ---- */

/* The dims of x that are among `axes`, neighbours joined where one step goes through both. */
static dims dims_of(const tn_tensor *x, unsigned axes)
{
    dims d = {0, 1, {1}, {0}};
    for (int i = 0; i < x->ndim; i++) {
        const int64_t size = x->shape[i], step = x->stride[i];
        if (!(axes >> i & 1) || size == 1)
            continue;
        d.n *= size;
        if (d.ndim && d.stride[d.ndim - 1] == step * size) {
            d.shape[d.ndim - 1] *= size;
            d.stride[d.ndim - 1] = step;
        } else {
            d.shape[d.ndim] = size;
            d.stride[d.ndim++] = step;
        }
    }
    return d;
}

template <class State, int OUTS, bool SIDE_BY_SIDE> static int launch(job &j, tn__cuda_work *w)
{
    enum { BUSY = TN_CUDA_COUNTERS, LEAST = 16 * K_THREADS / OUTS }; /* blocks; elements of a part */
    const int64_t n = j.reduced.n, tiles = (j.kept.n + OUTS - 1) / OUTS;
    if (!tiles)
        return 0;
    j.cut = k_cut_of(n, n / LEAST < BUSY / tiles ? n / LEAST : BUSY / tiles);
    State *part = NULL;
    if (j.cut.parts > 1) {
        part = (State *)tn__cuda_scratch(w, (size_t)(tiles * j.cut.parts * OUTS) * sizeof *part);
        if (!part)
            return TN_CUDA_NO_MEMORY;
    }
    return K_LAUNCH((reduce<State, OUTS, SIDE_BY_SIDE>), k_blocks(tiles * j.cut.parts, 1), K_THREADS, w->stream, j,
                    part, w->counters);
}

static job job_of(const tn_call *c, unsigned axes)
{
    float *y = (float *)tn__cuda_data(c->out[0]);
    return {(const float *)tn__cuda_data(c->in[0]), dims_of(c->in[0], ~axes), dims_of(c->in[0], axes), {},
            {y, NULL, 1, 1}};
}

template <class State> static int go(job j, tn__cuda_work *w)
{
    enum { FEW = 16 }; /* outputs side by side would leave most threads without one */
    const dims &kept = j.kept, &reduced = j.reduced;
    const bool neighbours = kept.ndim && reduced.ndim && kept.n >= FEW &&
                            kept.stride[kept.ndim - 1] < reduced.stride[reduced.ndim - 1];
    if (neighbours)
        return launch<State, K_WARP, true>(j, w);
    return reduced.n <= K_SHORT ? launch<State, K_WARPS, false>(j, w) : launch<State, 1, false>(j, w);
}

/* change: what the job j has other than a sum. */
#define OVER_AXES(name, state, change)                                         \
    int tn__cuda_##name(const tn_call *c, tn__cuda_work *w)                    \
    {                                                                          \
        const tn__reduce_attr *a = (const tn__reduce_attr *)c->attr;           \
        job j = job_of(c, a->axes);                                            \
        change;                                                                \
        return go<state>(j, w);                                                \
    }
OVER_AXES(sum, total, (void)a)
OVER_AXES(mean, total, j.to.count = (double)j.reduced.n)
OVER_AXES(amax, extreme, (void)a)
OVER_AXES(amin, extreme, j.to.sign = -1)
OVER_AXES(var, moments, j.to.count = fmax(0.0, (double)(j.reduced.n - a->correction)))
OVER_AXES(norm, squares, (void)a)
OVER_AXES(logsumexp, exps, (void)a)

static int place(const tn_call *c, tn__cuda_work *w, float sign)
{
    job j = job_of(c, 1u << ((const tn__axis_attr *)c->attr)->axis);
    j.to.index = (int64_t *)tn__cuda_data(c->out[0]);
    j.to.sign = sign;
    return go<extreme>(j, w);
}

int tn__cuda_argmax(const tn_call *c, tn__cuda_work *w) { return place(c, w, 1); }
int tn__cuda_argmin(const tn_call *c, tn__cuda_work *w) { return place(c, w, -1); }
