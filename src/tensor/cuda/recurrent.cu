/* Gates and states of one step of a recurrent layer on CUDA: a thread for each unit of each sequence.  Who calls:
 * recurrent.c; the same on the CPU: ../cpu/recurrent.c. */
#include "kdefs.h"
#include "launch.h"

static __device__ float sigmoid(float x) { return 1 / (1 + expf(-x)); }

static __device__ bool runs(const tn__cuda_cells &s, int64_t b) { return !s.lengths || s.time < s.lengths[b]; }

/* A unit, and where its step begins in rows of `runs` times the width. */
typedef struct unit {
    int64_t b, j, step;
} unit;

static __device__ unit unit_of(const tn__cuda_cells &s, int64_t i)
{
    const int64_t b = k_quotient(i, s.width);
    const unit u = {b, i - b * s.width, s.time * s.batch + b};
    return u;
}

static __device__ int64_t in_step(const tn__cuda_cells &s, const unit &u, int runs)
{
    return u.step * runs * s.width + u.j;
}

/* ---- forward ---- */

static __device__ void lstm(const tn__cuda_cells &s, const unit &u)
{
    const int64_t n = s.width, at = in_step(s, u, 1), state = u.b * n + u.j;
    const float *x = s.x + in_step(s, u, 4), *part = s.part + 4 * u.b * n + u.j;
    float *saved = s.saved + in_step(s, u, 4);
    const float i = sigmoid(x[0] + part[0]), f = sigmoid(x[n] + part[n]);
    const float g = tanhf(x[2 * n] + part[2 * n]), o = sigmoid(x[3 * n] + part[3 * n]);
    const float c = f * s.c[state] + i * g;
    saved[0] = i;
    saved[n] = f;
    saved[2 * n] = g;
    saved[3 * n] = o;
    s.c[state] = s.cells[at] = c;
    s.h[state] = s.y[at] = o * tanhf(c);
}

static __device__ void gru(const tn__cuda_cells &s, const unit &u)
{
    const int64_t n = s.width, state = u.b * n + u.j;
    const float *x = s.x + in_step(s, u, 3), *part = s.part + 3 * u.b * n + u.j;
    float *saved = s.saved + in_step(s, u, 4);
    const float reset = sigmoid(x[0] + part[0]), z = sigmoid(x[n] + part[n]);
    const float made = tanhf(x[2 * n] + reset * part[2 * n]);
    saved[0] = reset;
    saved[n] = z;
    saved[2 * n] = made;
    saved[3 * n] = part[2 * n];
    s.h[state] = s.y[in_step(s, u, 1)] = made + z * (s.h[state] - made);
}

static __device__ void plain(const tn__cuda_cells &s, const unit &u)
{
    const int64_t at = in_step(s, u, 1), state = u.b * s.width + u.j;
    const float v = s.x[at] + s.part[state];
    s.h[state] = s.y[at] = !s.relu ? tanhf(v) : v < 0 ? 0 : v;
}

static __device__ void nothing(const tn__cuda_cells &s, const unit &u)
{
    s.y[in_step(s, u, 1)] = 0;
    if (s.cells)
        s.cells[in_step(s, u, 1)] = 0;
    for (int k = 0; s.saved && k < 4; k++)
        s.saved[in_step(s, u, 4) + k * s.width] = 0;
}

template <int GATES> static __global__ void forward(const __grid_constant__ tn__cuda_cells s)
{
    const int64_t step = (int64_t)gridDim.x * K_THREADS;
    for (int64_t i = (int64_t)blockIdx.x * K_THREADS + threadIdx.x; i < s.batch * s.width; i += step) {
        const unit u = unit_of(s, i);
        if (!runs(s, u.b))
            nothing(s, u);
        else if (GATES == 4)
            lstm(s, u);
        else if (GATES == 3)
            gru(s, u);
        else
            plain(s, u);
    }
}

/* ---- backward ---- */

/* What the step began with: the states of the one before it, or the first ones. */
static __device__ float state_before(const tn__cuda_cells &s, const unit &u, const float *states, const float *first)
{
    const int64_t before = s.reverse ? s.time + 1 : s.time - 1;
    const int64_t length = s.lengths && s.lengths[u.b] < s.steps ? s.lengths[u.b] : s.steps;
    if (before < 0 || before >= length)
        return first ? first[u.b * s.width + u.j] : 0;
    return states[(before * s.batch + u.b) * s.width + u.j];
}

static __device__ void lstm_back(const tn__cuda_cells &s, const unit &u)
{
    const int64_t n = s.width, at = in_step(s, u, 1), state = u.b * n + u.j;
    const float *saved = s.saved + in_step(s, u, 4);
    const float i = saved[0], f = saved[n], g = saved[2 * n], o = saved[3 * n], t = tanhf(s.cells[at]);
    const float dh = s.dh[state] + s.g[at], dc = s.dc[state] + dh * o * (1 - t * t);
    float *dx = s.dx + in_step(s, u, 4);
    dx[0] = dc * g * i * (1 - i);
    dx[n] = dc * state_before(s, u, s.cells, s.c0) * f * (1 - f);
    dx[2 * n] = dc * i * (1 - g * g);
    dx[3 * n] = dh * t * o * (1 - o);
    s.dc[state] = dc * f;
    s.dh[state] = 0;
}

static __device__ void gru_back(const tn__cuda_cells &s, const unit &u)
{
    const int64_t n = s.width, state = u.b * n + u.j;
    const float *saved = s.saved + in_step(s, u, 4);
    const float reset = saved[0], z = saved[n], made = saved[2 * n], dh = s.dh[state] + s.g[in_step(s, u, 1)];
    const float d = dh * (1 - z) * (1 - made * made);
    float *dx = s.dx + in_step(s, u, 3), *dr = s.dr + in_step(s, u, 3);
    dx[0] = dr[0] = d * saved[3 * n] * reset * (1 - reset);
    dx[n] = dr[n] = dh * (state_before(s, u, s.y, s.h0) - made) * z * (1 - z);
    dx[2 * n] = d;
    dr[2 * n] = d * reset;
    s.dh[state] = dh * z;
}

static __device__ void plain_back(const tn__cuda_cells &s, const unit &u)
{
    const int64_t at = in_step(s, u, 1), state = u.b * s.width + u.j;
    const float y = s.y[at], slope = !s.relu ? 1 - y * y : y > 0 ? 1 : 0;
    s.dx[at] = (s.dh[state] + s.g[at]) * slope;
    s.dh[state] = 0;
}

template <int GATES> static __device__ void nothing_back(const tn__cuda_cells &s, const unit &u)
{
    for (int k = 0; k < GATES; k++)
        s.dx[in_step(s, u, GATES) + k * s.width] = s.dr[in_step(s, u, GATES) + k * s.width] = 0;
}

template <int GATES> static __global__ void backward(const __grid_constant__ tn__cuda_cells s)
{
    const int64_t step = (int64_t)gridDim.x * K_THREADS;
    for (int64_t i = (int64_t)blockIdx.x * K_THREADS + threadIdx.x; i < s.batch * s.width; i += step) {
        const unit u = unit_of(s, i);
        const bool running = runs(s, u.b);
        if (s.before)
            s.before[in_step(s, u, 1)] = running ? state_before(s, u, s.y, s.h0) : 0;
        if (!running)
            nothing_back<GATES>(s, u);
        else if (GATES == 4)
            lstm_back(s, u);
        else if (GATES == 3)
            gru_back(s, u);
        else
            plain_back(s, u);
    }
}

/* ---- launchers ---- */

int tn__cuda_cells_forward(const tn__cuda_cells *s, void *stream)
{
    const unsigned blocks = k_blocks(s->batch * s->width, K_THREADS);
    return s->gates == 4   ? K_LAUNCH(forward<4>, blocks, K_THREADS, stream, *s)
           : s->gates == 3 ? K_LAUNCH(forward<3>, blocks, K_THREADS, stream, *s)
                           : K_LAUNCH(forward<1>, blocks, K_THREADS, stream, *s);
}

int tn__cuda_cells_backward(const tn__cuda_cells *s, void *stream)
{
    const unsigned blocks = k_blocks(s->batch * s->width, K_THREADS);
    return s->gates == 4   ? K_LAUNCH(backward<4>, blocks, K_THREADS, stream, *s)
           : s->gates == 3 ? K_LAUNCH(backward<3>, blocks, K_THREADS, stream, *s)
                           : K_LAUNCH(backward<1>, blocks, K_THREADS, stream, *s);
}

static __global__ void tell_lengths(const int64_t *length, int64_t batch, int64_t steps,
                                    const __grid_constant__ tn__cuda_watch watch)
{
    const int64_t step = (int64_t)gridDim.x * K_THREADS;
    for (int64_t b = (int64_t)blockIdx.x * K_THREADS + threadIdx.x; b < batch; b += step)
        if (length[b] < 0 || length[b] > steps)
            k_wrong(watch, TN_BAD_LENGTH, b, length[b], steps, 0);
}

int tn__cuda_lengths_told(const tn__cuda_cells *s, void *stream)
{
    return s->lengths ? K_LAUNCH(tell_lengths, k_blocks(s->batch, K_THREADS), K_THREADS, stream, s->lengths, s->batch,
                                 s->steps, s->watch)
                      : 0;
}
