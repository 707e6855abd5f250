/* Layers.  Each constructor returns a module to be freed, or given to another
 * constructor.  Options by name; zero means the default.  Weights start as PyTorch's
 * same-named layers start, and have their names and shapes in files. */
#ifndef TENON_NN_H
#define TENON_NN_H

#include "module.h"

#ifdef __cplusplus
extern "C" {
#endif

/* y = x weight^T + bias; x [..., in], weight [out, in], bias [out] */
typedef struct tn_linear_args {
    int64_t in, out;
    bool no_bias;
    tn_init *init; /* of the weight; NULL: U(+-1/sqrt(in)), bias the same */
} tn_linear_args;
TN_API tn_module *tn_linear_call(tn_linear_args args);
#define tn_linear(...) TN_AT(tn_linear_call((tn_linear_args){.in = __VA_ARGS__}))

/* x [N,H,W,in] -> [N,OH,OW,out]; weight [out,kernel,kernel,in/groups] */
typedef struct tn_conv2d_args {
    int64_t in, out;
    int kernel, stride, padding, dilation, groups;
    bool no_bias;
    tn_init *init; /* NULL: U(+-1/sqrt(fan_in)), bias the same */
} tn_conv2d_args;
TN_API tn_module *tn_conv2d_call(tn_conv2d_args args);
#define tn_conv2d(...) TN_AT(tn_conv2d_call((tn_conv2d_args){.in = __VA_ARGS__}))

/* Over the last dim of x; weight, bias, running_mean, running_var [channels].
 * Two inputs: the second is added before the (optional) ReLU, all in one pass. */
typedef struct tn_batch_norm2d_args {
    int64_t channels;
    double eps, momentum; /* 1e-5, 0.1 */
    bool relu;
} tn_batch_norm2d_args;
TN_API tn_module *tn_batch_norm2d_call(tn_batch_norm2d_args args);
#define tn_batch_norm2d(...) TN_AT(tn_batch_norm2d_call((tn_batch_norm2d_args){.channels = __VA_ARGS__}))

/* Over the last dim; weight, bias [dim] */
typedef struct tn_layernorm_args {
    int64_t dim;
    double eps; /* 1e-5 */
    bool no_affine;
} tn_layernorm_args;
TN_API tn_module *tn_layernorm_call(tn_layernorm_args args);
#define tn_layernorm(...) TN_AT(tn_layernorm_call((tn_layernorm_args){.dim = __VA_ARGS__}))

/* index [...] -> [..., dim]; weight [count, dim] ~ N(0, 1) */
typedef struct tn_embedding_args {
    int64_t count, dim;
    tn_init *init;
    bool sparse; /* a step touches few rows: the others wait for their updates, with the same numbers */
} tn_embedding_args;
TN_API tn_module *tn_embedding_call(tn_embedding_args args);
#define tn_embedding(...) TN_AT(tn_embedding_call((tn_embedding_args){.count = __VA_ARGS__}))

/* Multi-head attention on sequences without padding, as torch.nn.MultiheadAttention: forward(m, x, spans) attends to
 * itself, forward(m, x, spans, source, source_spans) to a source; x [T, dim] -> [T, dim], spans and causal as in
 * tn_attention().  In eval mode the random state stays as it is.
 * in_proj_weight [3 dim, dim], in_proj_bias, out_proj.weight, out_proj.bias; Xavier-uniform, biases 0. */
typedef struct tn_multihead_attention_args {
    int64_t dim;
    int heads;
    bool causal;
    double dropout; /* of the probabilities */
} tn_multihead_attention_args;
TN_API tn_module *tn_multihead_attention_call(tn_multihead_attention_args args);
#define tn_multihead_attention(...) \
    TN_AT(tn_multihead_attention_call((tn_multihead_attention_args){.dim = __VA_ARGS__}))

/* Recurrent layers as torch.nn.LSTM, GRU and RNN: forward(m, x) or forward(m, x, lengths) from zeros, x [T, B, in]
 * (T steps of B sequences) -> [T, B, hidden, or 2 hidden when bidirectional]; lengths and the cells as in
 * tn_lstm_scan(), tn_gru_scan(), tn_rnn_scan().
 * Of layer k: weight_ih_lk [G hidden, its input], weight_hh_lk [G hidden, hidden], bias_ih_lk, bias_hh_lk [G hidden],
 * and the same with _reverse; G = 4, 3, 1.  All start as U(+-1/sqrt(hidden)). */
typedef struct tn_recurrent_args {
    int64_t in, hidden;
    int layers;         /* default 1, at most 32 */
    bool bidirectional, no_bias;
    double dropout;     /* of what a layer passes to the next, in training */
    bool relu;          /* instead of tanh; of tn_rnn alone */
} tn_recurrent_args;
TN_API tn_module *tn_lstm_call(tn_recurrent_args args);
TN_API tn_module *tn_gru_call(tn_recurrent_args args);
TN_API tn_module *tn_rnn_call(tn_recurrent_args args);
#define tn_lstm(...) TN_AT(tn_lstm_call((tn_recurrent_args){.in = __VA_ARGS__}))
#define tn_gru(...) TN_AT(tn_gru_call((tn_recurrent_args){.in = __VA_ARGS__}))
#define tn_rnn(...) TN_AT(tn_rnn_call((tn_recurrent_args){.in = __VA_ARGS__}))
/* Hidden states and, of an LSTM, cell states [layers * directions, B, hidden]: layer 0, layer 0 reverse, layer 1 ...
 * NULL: zeros. */
typedef struct tn_state {
    tn_tensor *h, *c;
} tn_state;
/* forward() of such a layer that begins with a state and leaves the last one in its place, part of the graph and in
 * the innermost scope like the result.  For truncated back-propagation copy it into tensors of your own, which cuts
 * it off, and begin the next chunk with those: tn_copy_(h, state.h).  state NULL: from zeros; lengths NULL: T. */
TN_API tn_tensor *tn_recurrent(tn_module *m, tn_tensor *x, tn_state *state, tn_tensor *lengths);

/* Softmax over many classes, ordered by how frequent they are (Grave et al. 2016), as
 * torch.nn.AdaptiveLogSoftmaxWithLoss: the head decides between the classes before the first cutoff and the clusters
 * that the other cutoffs make, a cluster between its own from a projection to in / div^(cluster + 1) columns.
 *     tn_adaptive_softmax(2048, 640001, {4000, 40000, 200000}, .head_bias = true)
 * head.weight [first cutoff + clusters, in], head.bias, tail.i.0.weight [columns, in], tail.i.1.weight [classes of
 * cluster i, columns]; start as tn_linear()'s.  forward(m, x) is tn_adaptive_log_probs(), forward(m, x, target)
 * tn_adaptive_loss(). */
enum { TN_CUTOFFS = 7 };
typedef struct tn_adaptive_softmax_args {
    int64_t in, classes;
    int64_t cutoffs[TN_CUTOFFS + 1]; /* ascending, below classes; at least one, 0 ends them */
    double div;                      /* default 4 */
    bool head_bias;
} tn_adaptive_softmax_args;
TN_API tn_module *tn_adaptive_softmax_call(tn_adaptive_softmax_args args);
#define tn_adaptive_softmax(...) TN_AT(tn_adaptive_softmax_call((tn_adaptive_softmax_args){.in = __VA_ARGS__}))
/* Mean over the rows of -log p(target), nats; x [N, in], target [N] integers.  Costs a cluster's part only for the
 * rows whose target is in it, which are counted on the host: with targets on a GPU it waits for them.  It does not with
 * a plan made of the same targets before, on the host, where a batch has them anyway; and as the plan tells the course
 * of the step, which is a part of its key, the step can be recorded:
 *     const int64_t plan = tn_adaptive_plan(layer, batch.y);
 *     TN_RECORD(often, plan, 2, in) {
 *         tn_tensor *loss = tn_adaptive_loss(layer, features(in[0]), in[1], .plan = plan);
 * A plan knows how many rows each cluster has, up to a sixteenth of all, so that few differ in a run.  With one of
 * other targets there is an error, at the next wait for the device. */
typedef struct tn_adaptive_loss_args {
    tn_module *m;
    tn_tensor *x, *target;
    int64_t plan; /* 0: none; not needed where the targets are on the host */
} tn_adaptive_loss_args;
TN_API tn_tensor *tn_adaptive_loss_call(tn_adaptive_loss_args args);
#define tn_adaptive_loss(...) TN_AT(tn_adaptive_loss_call((tn_adaptive_loss_args){.m = __VA_ARGS__}))
/* Of integers of any shape, in the order of their rows; never negative, below 2^30.  0: the error is set, or m NULL. */
TN_API int64_t tn_adaptive_plan(tn_module *m, tn_tensor *target);
TN_API tn_tensor *tn_adaptive_log_probs(tn_module *m, tn_tensor *x); /* [N, in] -> [N, classes] */
TN_API tn_tensor *tn_adaptive_predict(tn_module *m, tn_tensor *x);   /* the likeliest classes, [N] i64; no gradient */

TN_API tn_module *tn_drop(double p); /* dropout in training, nothing in eval */
TN_API tn_module *tn_max_pool2d(int kernel, int stride, int padding); /* stride 0: kernel */
TN_API tn_module *tn_avg_pool2d(int kernel, int stride, int padding);
TN_API tn_module *tn_global_avg_pool(void);      /* [N,H,W,C] -> [N,C] */
TN_API tn_module *tn_flatten_layer(void);        /* [N, ...] -> [N, rest] */
TN_API tn_module *tn_fn(tn_tensor *(*f)(tn_tensor *x)); /* any op of one input: tn_fn(tn_relu) */

/* Children in order, named "0", "1", ... */
TN_API tn_module *tn_seq_call(int n, tn_module *const *children);
#define tn_seq(...) tn_seq_call((int)(sizeof((tn_module *[]){__VA_ARGS__}) / sizeof(tn_module *)), \
                                (tn_module *[]){__VA_ARGS__})
TN_API tn_module *tn_residual(tn_module *body);  /* x + body(x) */

/* ---- by name, for configs and plug-ins: numbers in, layer out ---- */
typedef tn_module *tn_layer_make(int n, const double *args); /* args [n] */
TN_API bool tn_register_layer(const char *name, tn_layer_make *make); /* name is kept, not copied */
TN_API tn_module *tn_layer_named(const char *name, int n, const double *args);
TN_API const char *const *tn_layers(int *n); /* names of all */

#ifdef __cplusplus
}
#endif
#endif
