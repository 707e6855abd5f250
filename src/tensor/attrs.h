/* What the wrappers of structured ops hand to shape rules, kernels and gradient rules. */
#ifndef TN_ATTRS_H
#define TN_ATTRS_H

#include "tenon/tensor.h"

typedef struct tn__map_attr { double a, b; } tn__map_attr; /* rows of ops_map.def */
typedef struct tn__shape_attr { int ndim; int64_t shape[TN_MAX_DIMS]; } tn__shape_attr; /* reshape, expand */
typedef struct tn__permute_attr { int axes[TN_MAX_DIMS]; } tn__permute_attr;
/* full: size of the axis before slicing */
typedef struct tn__slice_attr { int axis; int64_t start, count, step, full; } tn__slice_attr;
typedef struct tn__cast_attr { tn_dtype from, to; } tn__cast_attr;
/* concat, gather, argmax; embed_backward: size V, add: to what is in the result */
typedef struct tn__axis_attr { int axis; int64_t size; bool add; } tn__axis_attr;
typedef struct tn__pad_attr { int64_t before[TN_MAX_DIMS], after[TN_MAX_DIMS]; double value; } tn__pad_attr;
typedef struct tn__reduce_attr { unsigned axes; bool keep; int correction; } tn__reduce_attr;
typedef struct tn__matmul_attr { bool ta, tb, add; } tn__matmul_attr; /* add: to what is in the result */
/* everything a convolution or pooling needs, filled by the shape rules' wrappers */
typedef struct tn__window_attr {
    int64_t n, h, w, c, oh, ow, oc;
    int kh, kw, sh, sw, ph, pw, dh, dw, groups;
    bool count_pad;
} tn__window_attr;
/* Positions of a window along one axis; 0: it does not fit. */
static inline int64_t tn__window_count(int64_t size, int64_t kernel, int64_t stride, int64_t pad, int64_t dilation)
{
    const int64_t room = size + 2 * pad - dilation * (kernel - 1) - 1;
    return room < 0 ? 0 : room / stride + 1;
}
/* wanted: bit i is set when somebody wants output i of the backward op; the others have shape [0] */
typedef struct tn__norm_attr { double eps, momentum; bool train, relu; unsigned wanted; } tn__norm_attr;
typedef struct tn__dropout_attr { double p; tn_rng key; } tn__dropout_attr;
/* wanted: as of norms.  A probability is dropped by the word of its key's stream whose index is
 * tn__attention_words(row of the query in q, head, heads) + the key's place in its sequence. */
typedef struct tn__attention_attr {
    int heads;
    bool causal;
    double scale, p;
    tn_rng key;
    unsigned wanted;
} tn__attention_attr;
enum { TN__ATTENTION_KEYS = 1 << 24 }; /* the most that a sequence can have where some are dropped */
static inline uint64_t tn__attention_words(int64_t row, int head, int heads)
{
    return ((uint64_t)row * (uint64_t)heads + (uint64_t)head) * TN__ATTENTION_KEYS;
}
typedef struct tn__sequence_attr { int64_t rows, first; } tn__sequence_attr; /* positions; shift */
/* The head's own classes end at end[0], those of cluster k at end[k + 1]; places for so many rows of each. */
enum { TN__CLUSTERS = 7 };
typedef struct tn__clusters_attr { int n; int64_t end[TN__CLUSTERS + 1], room[TN__CLUSTERS]; } tn__clusters_attr;
/* wanted: bit i is set when somebody wants output i of the backward op; the others have shape [0] */
typedef struct tn__scan_attr { bool reverse, relu; unsigned wanted; } tn__scan_attr;
/* wanted: as of norms */
typedef struct tn__drop_norm_attr { tn__dropout_attr drop; double eps; unsigned wanted; } tn__drop_norm_attr;
typedef struct tn__cross_entropy_attr {
    double smoothing;
    bool ignore, sum;
    int64_t ignore_index;
} tn__cross_entropy_attr;
/* wanted: bit 2 is set when the gradient by x is to be made, bit 3 by w, as these are outputs 2 and 3 */
typedef struct tn__linear_loss_attr { tn__cross_entropy_attr loss; unsigned wanted; } tn__linear_loss_attr;

#endif
