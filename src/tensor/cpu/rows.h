/* What softmax and cross-entropy do with one row of scores, vectorised, in an order that depends on
 * its length alone.  Used by softmax.c and loss.c. */
#ifndef TN_CPU_ROWS_H
#define TN_CPU_ROWS_H

#include <math.h>

#include "vec.h"

#include "../map_math.h"

enum { ROW_BLOCK = 512 }; /* elements that are summed in float before they go into a double */

static inline int64_t row_least(int64_t a, int64_t b) { return a < b ? a : b; }

/* Rows that one task takes, from a row's length. */
static inline int64_t rows_per_task(int64_t cols)
{
    return cols > 0 && cols < 4096 ? 4096 / cols : 1;
}

TN_INLINE float row_max(const float *x, int64_t n)
{
    vf most = tn__splat(-INFINITY);
    int64_t j = 0;
    for (; j + TN_VEC <= n; j += TN_VEC) {
        const vf v = tn__load(x + j);
        const vi more = v > most;
        most = (vf)(((vi)v & more) | ((vi)most & ~more));
    }
    float best = -INFINITY;
    for (int k = 0; k < TN_VEC; k++)
        best = most[k] > best ? most[k] : best;
    for (; j < n; j++)
        best = x[j] > best ? x[j] : best;
    return best;
}

/* The sum of (x - shift) * y; y NULL: of x - shift. */
TN_INLINE double row_dot(const float *x, float shift, const float *y, int64_t n)
{
    double sum = 0;
    for (int64_t from = 0; from < n; from += ROW_BLOCK) {
        const int64_t end = row_least(from + ROW_BLOCK, n);
        vf lanes = {0};
        int64_t j = from;
        for (; j + TN_VEC <= end; j += TN_VEC)
            lanes += y ? (tn__load(x + j) - shift) * tn__load(y + j) : tn__load(x + j) - shift;
        float block = 0;
        for (; j < end; j++)
            block += y ? (x[j] - shift) * y[j] : x[j] - shift;
        for (int k = 0; k < TN_VEC; k++)
            block += lanes[k];
        sum += (double)block;
    }
    return sum;
}

TN_INLINE void row_exp(const float *restrict x, float shift, int64_t n, float *restrict y)
{
    for (int64_t j = 0; j < n; j++)
        y[j] = tn__expf(x[j] - shift);
}

/* The sum of exp(x - shift), whose terms go to y unless that is NULL. */
TN_INLINE double row_exp_sum(const float *x, float shift, int64_t n, float *y)
{
    float terms[ROW_BLOCK];
    double sum = 0;
    for (int64_t j = 0; j < n; j += ROW_BLOCK) {
        const int64_t count = row_least(ROW_BLOCK, n - j);
        float *to = y ? y + j : terms;
        row_exp(x + j, shift, count, to);
        sum += row_dot(to, 0, NULL, count);
    }
    return sum;
}

#endif
