/*
 * Normalisation over channels-last arrays on the CPU, float32: batch norm fused with residual add
 * and ReLU, and layer norm. These are the fast kernels; the plain loops that define the operations
 * are in src/tensor/ops. See vec.h for the names.
 *
 * All arrays are contiguous. Every function returns 0, or -1 when out of memory (error set).
 * The bits of a result do not depend on the number of threads.
 *
 * The prototypes stand outside the include guard of vec.h: a file that chooses between instruction
 * sets defines TN_ISA anew and includes again.
 */
#include <stdbool.h>

#include "vec.h"

#include "../attrs.h"

/* Mean and biased variance of each channel: x [m, c], mean [c], var [c]. */
int TN_K(bn_stats)(int64_t m, int64_t c, const float *x, float *mean, float *var);

/* y = act((x - mean) * rstd * gain + bias + add), act = ReLU if relu. x, add, y [m, c], the others
 * [c]; gain, bias, add may be NULL. */
int TN_K(bn_apply)(int64_t m, int64_t c, const float *x, const float *mean, const float *rstd,
                   const float *gain, const float *bias, const float *add, bool relu, float *y);

/*
 * Gradients of bn_apply, with mean and rstd taken from x (train) or constant. y [m, c] is read only
 * when relu. dx, dadd [m, c], dgain, dbias [c]; each may be NULL. dadd is dy where y > 0.
 */
int TN_K(bn_backward)(int64_t m, int64_t c, const float *x, const float *y, const float *dy,
                      const float *mean, const float *rstd, const float *gain, bool relu,
                      bool train, float *dx, float *dgain, float *dbias, float *dadd);

/* Rows of x [m, d]: y = (x - mean) * rstd * gain + bias, variance biased. mean, rstd [m] are
 * written; gain, bias [d] may be NULL. */
int TN_K(ln_forward)(int64_t m, int64_t d, const float *x, const float *gain, const float *bias,
                     float eps, float *y, float *mean, float *rstd);
/* The same of sum = residual + dropout(x), which is written too. */
int TN_K(ln_drop_forward)(int64_t m, int64_t d, const float *x, const float *residual, const tn__dropout_attr *drop,
                          const float *gain, const float *bias, float eps, float *y, float *sum, float *mean,
                          float *rstd);
/* dropped: dx through a mask, which needs dx. dx, dropped, dgain, dbias may be NULL. */
int TN_K(ln_backward)(int64_t m, int64_t d, const float *x, const float *gain, const float *dy,
                      const float *mean, const float *rstd, const tn__dropout_attr *drop, float *dx, float *dropped,
                      float *dgain, float *dbias);
