/* What the host code of the CUDA backend (C) and its kernels (.cu) agree on.  A launcher returns
 * 0 or a cudaError_t; nothing waits for the device. */
#ifndef TN_CUDA_LAUNCH_H
#define TN_CUDA_LAUNCH_H

#include "rule.h"
#include "walk.h"

#ifdef __cplusplus
extern "C" {
#endif

/* map.cu: rows of ops_map.def, f32; operands in the order of map_rows.h */
typedef struct tn__cuda_map {
    tn__walk walk;
    void *out;          /* float, or uint8_t of comparisons */
    const float *in[TN_LOOP_MAX - 1];
    float a, b;
} tn__cuda_map;
typedef int tn__cuda_map_launch(const tn__cuda_map *m, void *stream);
#define MAP(name, ...) tn__cuda_map_launch tn__cuda_##name, tn__cuda_##name##_backward;
#define BIN(name, ...) \
    tn__cuda_map_launch tn__cuda_##name, tn__cuda_##name##_dx, tn__cuda_##name##_dz;
#define CMP(name, ...) tn__cuda_map_launch tn__cuda_##name;
#include "tenon/ops_map.def"

/* optim.cu */
int tn__cuda_rule(const tn__rule_call *c, void *stream);

/* dropout.cu: x, y [n] */
int tn__cuda_dropout(const float *x, float *y, int64_t n, double p, tn_rng key, void *stream);

#ifdef __cplusplus
}
#endif
#endif
