/*
 * Convolution of channels-last images on the CPU: forward and both gradients, float32. These are
 * the fast kernels; the plain loops that define the operation, and that cover what is declined
 * here, are in src/tensor/ops.
 *
 * All arrays are contiguous: x, dx [n, h, w, c]; weight, dw [oc, kh, kw, c / groups]; bias [oc] or
 * NULL; y, dy [n, oh, ow, oc]. Every function returns 0 when done, 1 when it declines the shape
 * (nothing was written), -1 when out of memory (error set). Covered: groups 1, dilation 1, any
 * kernel, stride, padding and channel count. The bits of a result do not depend on the number of
 * threads.
 *
 * The prototypes stand outside the include guard: a file that chooses between instruction sets
 * defines TN_ISA anew and includes again.
 */
#include "vec.h"

#ifndef TN_CPU_CONV_H
#define TN_CPU_CONV_H

typedef struct tn__conv_dims {
    int64_t n, h, w, c, oh, ow, oc;
    int kh, kw, sh, sw, ph, pw, dh, dw, groups; /* kernel, stride, padding, dilation */
} tn__conv_dims;

#endif

int TN_K(conv_forward)(const tn__conv_dims *d, const float *x, const float *weight,
                       const float *bias, float *y);
int TN_K(conv_backward_data)(const tn__conv_dims *d, const float *dy, const float *weight,
                             float *dx);
int TN_K(conv_backward_weight)(const tn__conv_dims *d, const float *x, const float *dy, float *dw);
