/* See planted.h. */
#include "kdefs.h"
#include "planted.h"

static __device__ float warp_sum(float v)
{
    for (unsigned m = 16; m; m /= 2)
        v += __shfl_xor_sync(0xffffffff, v, m);
    return v;
}

static __global__ void right(float *out)
{
    K_SHARED(float, s, 64);
    K_SHARED(float, sum, 2);
    const unsigned i = threadIdx.x;
    const float w = warp_sum((float)i);
    s[i] = (float)i;
    if (i % 32 == 0)
        sum[i / 32] = w;
    __syncthreads();
    out[i] = s[63 - i] + sum[0] + sum[1];
}

static __global__ void race(float *out)
{
    K_SHARED(float, s, 64);
    s[threadIdx.x] = (float)threadIdx.x;
    out[threadIdx.x] = s[63 - threadIdx.x];
}

static __global__ void divergent(float *out)
{
    if (threadIdx.x < 32)
        __syncthreads();
    out[threadIdx.x] = 1;
}

int planted_right(float *out) { return K_LAUNCH(right, 1, 64, 0, out); }
int planted_race(float *out) { return K_LAUNCH(race, 1, 64, 0, out); }
int planted_divergent(float *out) { return K_LAUNCH(divergent, 1, 64, 0, out); }
