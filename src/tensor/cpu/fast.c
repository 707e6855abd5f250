/* The table of one instruction set's kernels; compiled once per ISA like the kernels themselves. */
#include "vec.h"

#include "fast.h"
#include "rules.h"

/* Structured ops with a fast kernel of this ISA, and with one for all. */
#define PER_ISA(X)                                                                                 \
    X(contiguous) X(sum) X(mean) X(embed) X(embed_backward)                                        \
    X(softmax) X(softmax_backward) X(log_softmax) X(log_softmax_backward)                          \
    X(conv) X(conv_backward_data) X(conv_backward_weight)                                          \
    X(max_pool) X(max_pool_backward) X(avg_pool) X(avg_pool_backward)                              \
    X(batch_norm) X(batch_norm_backward) X(layer_norm) X(layer_norm_backward)                      \
    X(affine) X(dropout) X(bias_relu_dropout) X(bias_relu_dropout_backward)                        \
    X(dropout_add_layer_norm) X(dropout_add_layer_norm_backward)                                   \
    X(cross_entropy) X(cross_entropy_backward) X(linear_cross_entropy)                             \
    X(attention) X(attention_backward)                                                             \
    X(lstm_scan) X(lstm_scan_backward) X(gru_scan) X(gru_scan_backward)                            \
    X(rnn_scan) X(rnn_scan_backward)
#define FOR_ALL(X) X(matmul)

#define MAP(name, ...) tn_kernel TN_K(fast_##name), TN_K(fast_##name##_backward);
#define BIN(name, ...) tn_kernel TN_K(fast_##name), TN_K(fast_##name##_dx), TN_K(fast_##name##_dz);
#define CMP(name, ...) tn_kernel TN_K(fast_##name);
#include "tenon/ops_map.def"
#define DECLARE(name) tn_kernel TN_K(fast_##name);
PER_ISA(DECLARE)
#define DECLARE_ALL(name) tn_kernel tn__fast_##name;
FOR_ALL(DECLARE_ALL)

const tn__fast_set TN_K(fast_set) = {
    .kernel = {
#define ENTRY(name) [TN_OP_##name] = TN_K(fast_##name),
#define MAP(name, ...) ENTRY(name) ENTRY(name##_backward)
#define BIN(name, ...) ENTRY(name) ENTRY(name##_dx) ENTRY(name##_dz)
#define CMP(name, ...) ENTRY(name)
#include "tenon/ops_map.def"
        PER_ISA(ENTRY)
#define ENTRY_ALL(name) [TN_OP_##name] = tn__fast_##name,
        FOR_ALL(ENTRY_ALL)
    },
    .rule = TN_K(rule),
    .replay = TN_K(replay),
};
