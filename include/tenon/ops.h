/* Mathematics on tensors.
 *
 * Every op returns a new tensor in the innermost scope, or NULL with the error
 * set; NULL inputs give NULL.  Ops are recorded for tn_backward() when an input
 * requires a gradient (autograd.h).  Two inputs broadcast as in NumPy and PyTorch:
 * shapes are aligned at the right, a dim of 1 stretches.  An axis < 0 counts from
 * the end.  Floating inputs of one op share one dtype; indices may be of any
 * integer dtype.
 *
 * Ops with options take them by name, in any order, and zero means the default:
 *     tn_conv(x, w, NULL, .stride = 2, .padding = 1) */
#ifndef TENON_OPS_H
#define TENON_OPS_H

#include "tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- elementwise: prototypes come from ops_map.def, their formulas stand there ----
 *   tn_relu(x)   tn_tanh(x)   tn_leaky_relu(x, a)   tn_clamp(x, lo, hi)   tn_add(x, z)   tn_lt(x, z) ... */
#define TN_P0 tn_tensor *x
#define TN_P1 tn_tensor *x, double a
#define TN_P2 tn_tensor *x, double a, double b
#define MAP(name, P, ...) TN_API tn_tensor *tn_##name(TN_P##P);
#define BIN(name, ...) TN_API tn_tensor *tn_##name(tn_tensor *x, tn_tensor *z);
#define CMP(name, ...) TN_API tn_tensor *tn_##name(tn_tensor *x, tn_tensor *z);
#include "ops_map.def"

/* cond != 0 ? x : z, with broadcasting; cond u8 */
TN_API tn_tensor *tn_where(tn_tensor *cond, tn_tensor *x, tn_tensor *z);

/* ---- shapes: views share storage with x ---- */
TN_API tn_tensor *tn_reshape(tn_tensor *x, int ndim, const int64_t *shape); /* one dim may be -1 */
TN_API tn_tensor *tn_flatten(tn_tensor *x, int from_axis);  /* all dims from `from_axis` on become one */
TN_API tn_tensor *tn_permute(tn_tensor *x, int ndim, const int64_t *axes);
TN_API tn_tensor *tn_transpose(tn_tensor *x, int axis0, int axis1);
TN_API tn_tensor *tn_expand(tn_tensor *x, int ndim, const int64_t *shape); /* -1 keeps a dim */
TN_API tn_tensor *tn_squeeze(tn_tensor *x, int axis);       /* the axis must have size 1 */
TN_API tn_tensor *tn_unsqueeze(tn_tensor *x, int axis);
/* x[..., start:stop:step, ...] along one axis; negative start and stop count from the end,
 * both are clipped; step > 0 */
TN_API tn_tensor *tn_slice(tn_tensor *x, int axis, int64_t start, int64_t stop, int64_t step);
TN_API tn_tensor *tn_contiguous(tn_tensor *x);              /* x itself when it is already */
TN_API tn_tensor *tn_cast(tn_tensor *x, tn_dtype t);        /* x itself when it has that dtype */
TN_API tn_tensor *tn_concat(int n, tn_tensor *const *x, int axis);
/* before[i], after[i]: elements of `value` to add at either end of axis i, [ndim] each, >= 0 */
TN_API tn_tensor *tn_pad(tn_tensor *x, const int64_t *before, const int64_t *after, double value);

/* ---- indexing ---- */
/* Rows of w [V, D] by index [...]: [..., D].  An index outside 0..V-1 is an error. */
TN_API tn_tensor *tn_embed(tn_tensor *w, tn_tensor *index);
/* out[i][j][k] = x[i][index[i][j][k]][k] for axis 1; index has x's rank (torch.gather) */
TN_API tn_tensor *tn_gather(tn_tensor *x, int axis, tn_tensor *index);
/* x with src, of index's shape, added at index along axis, in index order (torch.scatter_add) */
TN_API tn_tensor *tn_scatter_add(tn_tensor *x, int axis, tn_tensor *index, tn_tensor *src);

/* ---- reductions over any axes ---- */
/* axes: bits set with TN_AXIS(i) joined by |, in order from the left; 0 means all.
 * keep: reduced dims stay as 1. */
#define TN_AXIS(i) (1u << (i))
#define TN_ALL 0u
TN_API tn_tensor *tn_sum(tn_tensor *x, unsigned axes, bool keep);
TN_API tn_tensor *tn_mean(tn_tensor *x, unsigned axes, bool keep);
TN_API tn_tensor *tn_amax(tn_tensor *x, unsigned axes, bool keep); /* ties share the gradient */
TN_API tn_tensor *tn_amin(tn_tensor *x, unsigned axes, bool keep);
TN_API tn_tensor *tn_var(tn_tensor *x, unsigned axes, bool keep, int correction); /* / (n - correction) */
TN_API tn_tensor *tn_norm(tn_tensor *x, unsigned axes, bool keep);                /* L2 */
TN_API tn_tensor *tn_logsumexp(tn_tensor *x, unsigned axes, bool keep);
/* First index of the extreme along one axis; i64; the axis is dropped. */
TN_API tn_tensor *tn_argmax(tn_tensor *x, int axis);
TN_API tn_tensor *tn_argmin(tn_tensor *x, int axis);

/* ---- products ---- */
/* [..., M, K] x [..., K, N] -> [..., M, N]; leading dims broadcast; vectors are not promoted.
 * transpose_a: a is [..., K, M]; transpose_b: b is [..., N, K]. */
typedef struct tn_matmul_args {
    tn_tensor *a, *b;
    bool transpose_a, transpose_b;
} tn_matmul_args;
TN_API tn_tensor *tn_matmul_call(tn_matmul_args args);
#define tn_matmul(...) TN_AT(tn_matmul_call((tn_matmul_args){.a = __VA_ARGS__}))
/* x w^T + bias: x [..., in], w [out, in], bias [out] or NULL -> [..., out] (F.linear).  On the CPU each row of the
 * result has the same bits whichever rows of x stand beside it: one at a time, or a batch of any size. */
TN_API tn_tensor *tn_affine(tn_tensor *x, tn_tensor *w, tn_tensor *bias);

/* ---- networks ---- */
TN_API tn_tensor *tn_softmax(tn_tensor *x, int axis);
TN_API tn_tensor *tn_log_softmax(tn_tensor *x, int axis);

/* Convolution of images.  x [N, H, W, C], w [O, KH, KW, C/groups], bias [O] or NULL -> [N, OH, OW, O];
 * OH = (H + 2 padding - dilation (KH-1) - 1) / stride + 1.  *_w: 0 means as for the height. */
typedef struct tn_conv_args {
    tn_tensor *x, *w, *bias;
    int stride, padding, dilation, groups;    /* defaults 1, 0, 1, 1 */
    int stride_w, padding_w, dilation_w;
} tn_conv_args;
TN_API tn_tensor *tn_conv_call(tn_conv_args args);
#define tn_conv(...) TN_AT(tn_conv_call((tn_conv_args){.x = __VA_ARGS__}))

/* Pooling of images [N, H, W, C]; stride 0 means kernel.  Max pads with -inf; average divides by the
 * whole window (padding counted) unless count_pad_off. */
typedef struct tn_pool_args {
    tn_tensor *x;
    int kernel, stride, padding;
    bool count_pad_off;
} tn_pool_args;
TN_API tn_tensor *tn_max_pool_call(tn_pool_args args);
TN_API tn_tensor *tn_avg_pool_call(tn_pool_args args);
#define tn_max_pool(...) TN_AT(tn_max_pool_call((tn_pool_args){.x = __VA_ARGS__}))
#define tn_avg_pool(...) TN_AT(tn_avg_pool_call((tn_pool_args){.x = __VA_ARGS__}))

/* y = relu?((x - mean) / sqrt(var + eps) * gain + bias + add) per channel, the last dim of x.
 * train: mean and biased var of this batch, and running_* move by momentum towards the batch's
 * (var unbiased); else running_* are used.  gain, bias, add may be NULL; running_* may be NULL
 * in training.  x, add [..., C], others [C].  eps 0 means 1e-5, momentum 0 means 0.1. */
typedef struct tn_batch_norm_args {
    tn_tensor *x, *gain, *bias, *running_mean, *running_var, *add;
    bool train, relu;
    double eps, momentum;
} tn_batch_norm_args;
TN_API tn_tensor *tn_batch_norm_call(tn_batch_norm_args args);
#define tn_batch_norm(...) TN_AT(tn_batch_norm_call((tn_batch_norm_args){.x = __VA_ARGS__}))

/* (x - mean) / sqrt(var + eps) * gain + bias over the last dim; gain, bias [D] or NULL */
TN_API tn_tensor *tn_layer_norm(tn_tensor *x, tn_tensor *gain, tn_tensor *bias, double eps);

/* Zeroes with probability p, scales the rest by 1/(1-p).  The mask is drawn again in backward,
 * not stored.  Advances the random state by one op. */
TN_API tn_tensor *tn_dropout(tn_tensor *x, double p);
/* dropout(relu(x + bias), p) in one pass; x [..., D], bias [D] or NULL. Mask as tn_dropout(). */
TN_API tn_tensor *tn_bias_relu_dropout(tn_tensor *x, tn_tensor *bias, double p);
/* tn_layer_norm(residual + dropout(x, p), gain, bias, eps) in one pass: the end of a post-norm Transformer
 * sublayer.  x, residual [..., D], gain, bias [D] or NULL; mask as tn_dropout(). */
TN_API tn_tensor *tn_dropout_add_layer_norm(tn_tensor *x, tn_tensor *residual, tn_tensor *gain, tn_tensor *bias,
                                            double p, double eps);

/* ---- sequences of differing length, one after the other ----
 * A batch of n sequences is kept without padding: the rows of all in one tensor [rows, D], and spans [n, 2] (i64):
 * first row and number of rows of each. */

/* Scaled dot-product attention in several heads (Vaswani et al. 2017).  Sequence i of the queries attends to
 * sequence i of the keys: y = softmax(scale q k^T) v, [rows of q, D].  Scores are made for a block of queries at a
 * time, never for all.
 *   q       [Tq, D], or with kv NULL [T, 3D]: in each row query | key | value (self-attention)
 *   kv      [Tk, 2D]: key | value; spans of keys may lie apart or be shared, but not overlap where a gradient of kv
 *           is wanted
 *   spans   [n, 2] of q, without overlap; NULL: one sequence of all rows.  kv_spans [n, 2] of kv; NULL: as spans.
 *           Rows of q outside all spans give zeros
 *   heads   must divide D
 *   causal  query i of m sees the first keys - m + i + 1 keys; a query that sees none gives zeros
 *   scale   0 means (D / heads)^-0.5
 *   dropout on the probabilities; advances the random state by one op, always */
typedef struct tn_attention_args {
    tn_tensor *q, *kv, *spans, *kv_spans;
    int heads;
    bool causal;
    double scale, dropout;
} tn_attention_args;
TN_API tn_tensor *tn_attention_call(tn_attention_args args);
#define tn_attention(...) TN_AT(tn_attention_call((tn_attention_args){.q = __VA_ARGS__}))
/* Each sequence moved down by one row, `first` in its first row: a decoder's input from its target.
 * x [rows] integers, spans [n, 2] without overlap -> [rows] i64; rows outside all spans keep their value. */
TN_API tn_tensor *tn_shift(tn_tensor *x, tn_tensor *spans, int64_t first);
/* 0, 1, 2 ... in each sequence, spans [n, 2] without overlap: [rows] i64; 0 outside. */
TN_API tn_tensor *tn_positions(tn_tensor *spans, int64_t rows);

/* Crops of images [N, H, W, C] u8, each of a whole image's size, as augmentation wants them: places [n, 4] say which
 * image, at which of its rows and columns the crop begins (zeros are all around it), and whether it is flipped; table
 * [C, 256] gives each byte its value: [n, H, W, C].  A loader with .places makes such places. */
TN_API tn_tensor *tn_crops(tn_tensor *images, tn_tensor *places, tn_tensor *table);

/* ---- recurrent layers: all steps of one layer in one direction ----
 * x [T, B, G H] is the input's part of G gates, made for all steps at once: tn_affine(input, w_ih, bias).  w [G H, H]
 * multiplies the hidden state.  The result has the hidden states of all steps and the last states behind them, so
 * that tn_slice(y, 0, 0, T, 1) is the layer's output.
 *   h0, c0   [B, H] the states before the first step; NULL: zeros
 *   lengths  [B] integers in 0..T, steps of each sequence; NULL: T of all.  A sequence that has ended keeps its states,
 *            and its hidden states beyond its end are zeros (torch.nn.utils.rnn.pack_padded_sequence)
 *   reverse  each sequence from its own end to its beginning */

/* Hochreiter and Schmidhuber 1997, with forget gates (Gers et al. 2000); G = 4, in the order input, forget, cell,
 * output gate.  [T + 2, B, H]: hidden states, the last hidden state, the last cell state. */
typedef struct tn_lstm_scan_args {
    tn_tensor *x, *w, *h0, *c0, *lengths;
    bool reverse;
} tn_lstm_scan_args;
TN_API tn_tensor *tn_lstm_scan_call(tn_lstm_scan_args args);
#define tn_lstm_scan(...) TN_AT(tn_lstm_scan_call((tn_lstm_scan_args){.x = __VA_ARGS__}))
/* Cho et al. 2014 as PyTorch and cuDNN have it: the reset gate multiplies w h + bias; G = 3, in the order reset,
 * update, new.  bias [3H], of the hidden state's part, or NULL.  [T + 1, B, H]: hidden states, the last of them. */
typedef struct tn_gru_scan_args {
    tn_tensor *x, *w, *bias, *h0, *lengths;
    bool reverse;
} tn_gru_scan_args;
TN_API tn_tensor *tn_gru_scan_call(tn_gru_scan_args args);
#define tn_gru_scan(...) TN_AT(tn_gru_scan_call((tn_gru_scan_args){.x = __VA_ARGS__}))
/* h = tanh(x + w h), or the positive part with relu (Elman 1990); G = 1.  [T + 1, B, H] as of tn_gru_scan(). */
typedef struct tn_rnn_scan_args {
    tn_tensor *x, *w, *h0, *lengths;
    bool reverse, relu;
} tn_rnn_scan_args;
TN_API tn_tensor *tn_rnn_scan_call(tn_rnn_scan_args args);
#define tn_rnn_scan(...) TN_AT(tn_rnn_scan_call((tn_rnn_scan_args){.x = __VA_ARGS__}))

/* ---- losses: scalars, means over what counts ---- */
/* Softmax cross-entropy.  logits [..., C], target [...] class indices.  smoothing spreads that much
 * probability evenly over all classes; targets equal to ignore_index (when ignore is set) count nothing. */
typedef struct tn_cross_entropy_args {
    tn_tensor *logits, *target;
    double smoothing;
    bool ignore;
    int64_t ignore_index;
    bool sum; /* sum instead of mean */
} tn_cross_entropy_args;
TN_API tn_tensor *tn_cross_entropy_call(tn_cross_entropy_args args);
#define tn_cross_entropy(...) TN_AT(tn_cross_entropy_call((tn_cross_entropy_args){.logits = __VA_ARGS__}))
/* tn_cross_entropy(tn_affine(x, w, NULL), target, ...) without ever holding all the logits: x [..., D], w [C, D],
 * target [...].  Its gradients are made on the way forward, where wanted, so it costs no more than the two steps.
 * nll, when not NULL, receives the unsmoothed loss, cut off from the graph; a mean or a sum as the result is. */
typedef struct tn_linear_cross_entropy_args {
    tn_tensor *x, *w, *target;
    double smoothing;
    bool ignore;
    int64_t ignore_index;
    bool sum;
    tn_tensor **nll;
} tn_linear_cross_entropy_args;
TN_API tn_tensor *tn_linear_cross_entropy_call(tn_linear_cross_entropy_args args);
#define tn_linear_cross_entropy(...) \
    TN_AT(tn_linear_cross_entropy_call((tn_linear_cross_entropy_args){.x = __VA_ARGS__}))
TN_API tn_tensor *tn_nll(tn_tensor *log_probs, tn_tensor *target); /* [..., C], [...] */
TN_API tn_tensor *tn_mse(tn_tensor *x, tn_tensor *target);
TN_API tn_tensor *tn_bce_with_logits(tn_tensor *x, tn_tensor *target);

/* ---- ops of your own: see docs/add-an-op.md ---- */
enum { TN_MAX_IN = 8, TN_MAX_OUT = 4 };
typedef struct tn_op tn_op;

typedef struct tn_call { /* one application of an op, as shape rules and kernels see it */
    const tn_op *op;
    int n_in, n_out;
    const tn_tensor *in[TN_MAX_IN]; /* NULL where an optional input is absent */
    tn_tensor *out[TN_MAX_OUT];
    const void *attr;               /* what the wrapper passed to tn_apply */
} tn_call;

/* Fills shape (and dtype, when not that of the first floating input) of each out; false with the
 * error set when the inputs do not fit. */
typedef bool tn_shape_rule(tn_call *call);
/* Returns TN_DONE, TN_DECLINED (a fast kernel that leaves the case to the plain one), or TN_FAILED
 * with the error set.  Outputs are allocated and contiguous. */
typedef enum tn_done { TN_DONE, TN_DECLINED, TN_FAILED } tn_done;
typedef tn_done tn_kernel(const tn_call *call);

/* Applies op to n inputs; attr (size bytes, at most TN_MAX_ATTR) is copied for backward. */
enum { TN_MAX_ATTR = 192 };
TN_API tn_tensor *tn_apply(const tn_op *op, const void *attr, size_t size, int n, tn_tensor *const *in);

/* Where the caller stands, for errors. */
#ifndef TN_INTERNAL
#define tn_add(...) TN_AT(tn_add(__VA_ARGS__))
#define tn_sub(...) TN_AT(tn_sub(__VA_ARGS__))
#define tn_mul(...) TN_AT(tn_mul(__VA_ARGS__))
#define tn_div(...) TN_AT(tn_div(__VA_ARGS__))
#define tn_relu(...) TN_AT(tn_relu(__VA_ARGS__))
#define tn_tanh(...) TN_AT(tn_tanh(__VA_ARGS__))
#define tn_sigmoid(...) TN_AT(tn_sigmoid(__VA_ARGS__))
#define tn_gelu(...) TN_AT(tn_gelu(__VA_ARGS__))
#define tn_exp(...) TN_AT(tn_exp(__VA_ARGS__))
#define tn_log(...) TN_AT(tn_log(__VA_ARGS__))
#define tn_where(...) TN_AT(tn_where(__VA_ARGS__))
#define tn_reshape(...) TN_AT(tn_reshape(__VA_ARGS__))
#define tn_permute(...) TN_AT(tn_permute(__VA_ARGS__))
#define tn_transpose(...) TN_AT(tn_transpose(__VA_ARGS__))
#define tn_expand(...) TN_AT(tn_expand(__VA_ARGS__))
#define tn_slice(...) TN_AT(tn_slice(__VA_ARGS__))
#define tn_cast(...) TN_AT(tn_cast(__VA_ARGS__))
#define tn_concat(...) TN_AT(tn_concat(__VA_ARGS__))
#define tn_pad(...) TN_AT(tn_pad(__VA_ARGS__))
#define tn_embed(...) TN_AT(tn_embed(__VA_ARGS__))
#define tn_gather(...) TN_AT(tn_gather(__VA_ARGS__))
#define tn_scatter_add(...) TN_AT(tn_scatter_add(__VA_ARGS__))
#define tn_sum(...) TN_AT(tn_sum(__VA_ARGS__))
#define tn_mean(...) TN_AT(tn_mean(__VA_ARGS__))
#define tn_amax(...) TN_AT(tn_amax(__VA_ARGS__))
#define tn_amin(...) TN_AT(tn_amin(__VA_ARGS__))
#define tn_var(...) TN_AT(tn_var(__VA_ARGS__))
#define tn_norm(...) TN_AT(tn_norm(__VA_ARGS__))
#define tn_argmax(...) TN_AT(tn_argmax(__VA_ARGS__))
#define tn_affine(...) TN_AT(tn_affine(__VA_ARGS__))
#define tn_softmax(...) TN_AT(tn_softmax(__VA_ARGS__))
#define tn_log_softmax(...) TN_AT(tn_log_softmax(__VA_ARGS__))
#define tn_layer_norm(...) TN_AT(tn_layer_norm(__VA_ARGS__))
#define tn_dropout(...) TN_AT(tn_dropout(__VA_ARGS__))
#define tn_bias_relu_dropout(...) TN_AT(tn_bias_relu_dropout(__VA_ARGS__))
#define tn_dropout_add_layer_norm(...) TN_AT(tn_dropout_add_layer_norm(__VA_ARGS__))
#define tn_nll(...) TN_AT(tn_nll(__VA_ARGS__))
#define tn_mse(...) TN_AT(tn_mse(__VA_ARGS__))
#define tn_bce_with_logits(...) TN_AT(tn_bce_with_logits(__VA_ARGS__))
#endif

#ifdef __cplusplus
}
#endif
#endif
