/* Ready-made networks. */
#ifndef TENON_MODEL_H
#define TENON_MODEL_H

#include "nn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ResNets for 32x32 images (He et al. 2015, section 4.2), x [N,32,32,channels] -> [N, classes]. */
typedef struct tn_resnet_args {
    int classes;     /* default 10 (CIFAR), 1000 (ImageNet) */
    int channels;    /* of the input; default 3 */
    int width;       /* of the first stage; default 16 (CIFAR), 64 (ImageNet) */
    bool zero_pad;   /* parameter-free shortcuts (option A) instead of 1x1 projections (option B) */
} tn_resnet_args;
/* depth 20, 32, 44, 56, 110 (6n + 2): CIFAR; 18, 34: ImageNet, x [N,224,224,3] */
TN_API tn_module *tn_resnet_call(int depth, tn_resnet_args args);
#define tn_resnet(depth, ...) TN_AT(tn_resnet_call(depth, (tn_resnet_args){.classes = __VA_ARGS__}))
#define tn_resnet20(...) tn_resnet(20, __VA_ARGS__)
#define tn_resnet18(...) tn_resnet(18, __VA_ARGS__)
/* in -> hidden x layers with ReLU -> classes */
TN_API tn_module *tn_mlp(int64_t in, int64_t hidden, int layers, int64_t classes);

/* Layers one after the other, by their registered names and numbers (tn_register_layer):
 * "conv2d 3 16 3, relu, global_avg_pool, linear 16 10" */
TN_API tn_module *tn_stack(const char *layers);

/* ---- Transformers (Vaswani et al. 2017) on sequences without padding; spans as in tn_attention() ----
 * As fairseq 0.7.2 builds and starts them: embeddings times sqrt(dim), N(0, 1/dim); sinusoids in two blocks, positions
 * from 2; fused in_proj, Xavier-uniform; layer norm after each residual sum (post-norm) unless pre_norm, which also
 * ends either stack in one.  Parameter names are torch.nn.Transformer's ("encoder.layers.0.self_attn.in_proj_weight",
 * "decoder.layers.0.multihead_attn.out_proj.bias", "...linear1.weight", "...norm1.weight"), with
 * "encoder.embed_tokens.weight", "decoder.embed_tokens.weight" and "decoder.embed_out.weight"; pre_norm's last norms
 * are "encoder.norm.weight" and so on.  Row TN_PAD of the embeddings starts as zeros.  A sequence has at most 2048
 * rows; the table of sinusoids is in no file. */
typedef enum tn_share { /* of [words, dim] matrices */
    TN_SHARE_NONE,
    TN_SHARE_DECODER,  /* decoder's input and output: there is no embed_out */
    TN_SHARE_ALL       /* and encoder's input: there is decoder.embed_tokens alone */
} tn_share;            /* A file holds a shared matrix once.  A PyTorch module that registers it under other names too
                          wants those added before load_state_dict(strict=True). */
enum { TN_POSITIONS = 2048 }; /* words of a sentence at most, its end counted */
typedef struct tn_transformer_args {
    int64_t source, target;              /* words of either side */
    int64_t dim, ffn;                    /* default 512, 1024 */
    int heads;                           /* default 4 */
    int encoder_layers, decoder_layers;  /* default 6 */
    double dropout;                      /* of embeddings and of what each sublayer adds; default 0 */
    double attention_dropout, activation_dropout; /* of the probabilities; in between the linear layers */
    bool pre_norm, gelu;
    tn_share share;
} tn_transformer_args;
/* forward(net, x, x_spans, prev, y_spans) -> logits [rows of y, target]; prev = tn_shift(y, y_spans, TN_EOS) */
TN_API tn_module *tn_transformer_call(tn_transformer_args args);
#define tn_transformer(...) TN_AT(tn_transformer_call((tn_transformer_args){.source = __VA_ARGS__}))
/* The decoder alone, without attention to a source: a causal language model.  forward(net, prev, spans) -> logits.
 * `source` and encoder_layers do not count. */
TN_API tn_module *tn_transformer_lm_call(tn_transformer_args args);
#define tn_transformer_lm(...) TN_AT(tn_transformer_lm_call((tn_transformer_args){.target = __VA_ARGS__}))
/* The sum over the rows of y of the label-smoothed cross-entropy (nats; smoothing / words on every class, fairseq
 * 0.7.2's rule) without ever holding all logits; nll (may be NULL) receives the plain sum, cut off from the graph.
 * Of a language model: x and x_spans NULL. */
TN_API tn_tensor *tn_transformer_loss(tn_module *net, tn_tensor *x, tn_tensor *x_spans, tn_tensor *y,
                                      tn_tensor *y_spans, double smoothing, tn_tensor **nll);
TN_API const tn_transformer_args *tn_transformer_settings(const tn_module *net); /* NULL: it is none */

/* Decoding step by step with cached keys and values; in eval mode and without gradients.  A decoder has one line per
 * hypothesis; lines of one sentence share its encoding. */
typedef struct tn_decoder tn_decoder; /* free with tn_free; must not outlive its net */
/* x [rows], x_spans [n, 2]: sentences to translate; each gets `lines` lines, sentence i those from i * lines on.
 * x_spans lie on the CPU, wherever the net is. */
TN_API tn_decoder *tn_decoder_new(tn_module *net, tn_tensor *x, tn_tensor *x_spans, int lines);
/* One step: line i goes on from what line from[i] has seen (of the same sentence), with word ids[i].
 * from NULL: as they are.  Returns log-probabilities of the next word [n * lines, target]. */
TN_API tn_tensor *tn_decoder_step(tn_decoder *d, const int32_t *ids, const int32_t *from);
/* Keeps only these sentences (ascending), so that finished ones cost nothing. */
TN_API bool tn_decoder_keep(tn_decoder *d, int64_t n, const int64_t *sentences);
/* Attention of the last step to the source, mean over the heads of the last layer: of line i, rows of its sentence. */
TN_API const float *tn_decoder_attention(const tn_decoder *d, int64_t line, int64_t *n);

/* Beam search as fairseq 0.7.2: of the 2 beam best continuations those that end within the first `beam` are
 * finished with their sum of log-probabilities / length^lenpen (the end counts); a sentence is done with `beam`
 * finished ones.  beam 1 is greedy search. */
typedef struct tn_beam_args {
    tn_module *net;
    tn_tensor *x, *x_spans; /* as in tn_decoder_new() */
    int beam;               /* default 5 */
    int best;               /* hypotheses kept of each sentence; default 1, at most beam */
    double lenpen;          /* default 1; TN_ZERO: 0 */
    double max_a;           /* at most max_a * source rows + max_b ids before the end; default 0 and 200 */
    int64_t max_b;
    int64_t least;          /* ids before the end at least; default 1 */
    bool align;             /* record for each id the source row it attends to most */
} tn_beam_args;
typedef struct tn_hypothesis {
    int64_t n;
    int32_t *ids;           /* [n], ends in TN_EOS */
    float *scores;          /* [n]: log-probability of each id */
    int32_t *align;         /* [n] or NULL */
    double score;           /* of the whole, as ranked */
} tn_hypothesis;
typedef struct tn_hypotheses tn_hypotheses; /* free with tn_free */
TN_API tn_hypotheses *tn_beam_call(tn_beam_args args);
#define tn_beam(...) TN_AT(tn_beam_call((tn_beam_args){.net = __VA_ARGS__}))
/* The k-th best of a sentence, from 0; NULL beyond the last. */
TN_API const tn_hypothesis *tn_hypothesis_at(const tn_hypotheses *h, int64_t sentence, int k);

/* ---- recurrent language models ----
 * Words into an embedding, `layers` LSTMs, a softmax over all words; dropout on what goes into the first LSTM, from
 * one to the next, and out of the last (Zaremba et al. 2014).  Names are those of PyTorch's word_language_model:
 * "encoder.weight" (nn.Embedding), "rnn.weight_ih_l0" (nn.LSTM), and "decoder.weight" (nn.Linear without bias), or with
 * cutoffs "decoder.head.weight", "decoder.head.bias", "decoder.tail.0.0.weight" (nn.AdaptiveLogSoftmaxWithLoss).
 * Starts as the paper's (RAdam, language-model/model_word_ada): embeddings U(+-sqrt(3/dim)), weights of LSTMs
 * U(+-sqrt(6/(hidden + columns))), their biases 0 and those of forget gates 1 in both, softmax Xavier-normal, the bias
 * of its head U(+-1/sqrt(hidden)).
 *     tn_lstm_lm(640000, .dropout = 0.1, .cutoffs = {4000, 40000, 200000})                  the paper's, 307 M weights
 *     tn_lstm_lm(10000, .dim = 650, .hidden = 650, .dropout = 0.5, .init = 0.05)            Zaremba's medium one */
typedef struct tn_lstm_lm_args {
    int64_t words;
    int64_t dim, hidden;             /* default 300, 2048 */
    int layers;                      /* default 2 */
    double dropout;                  /* default 0 */
    int64_t cutoffs[TN_CUTOFFS + 1]; /* of an adaptive softmax; none: one over all words */
    bool tied;                       /* decoder.weight is encoder.weight; a file holds it once, under that name */
    double init;                     /* every weight and bias starts in U(+-init); 0: as above */
} tn_lstm_lm_args;
/* forward(net, x [T, B]) -> log-probabilities of the words that follow, [T, B, words], from a state of zeros. */
TN_API tn_module *tn_lstm_lm_call(tn_lstm_lm_args args);
#define tn_lstm_lm(...) TN_AT(tn_lstm_lm_call((tn_lstm_lm_args){.words = __VA_ARGS__}))
TN_API const tn_lstm_lm_args *tn_lstm_lm_settings(const tn_module *net); /* NULL: it is none */
/* What a text of `batch` rows begins with: zeros, h and c [layers, batch, hidden], in the innermost scope. */
TN_API tn_state tn_lm_state(tn_module *net, int64_t batch);
/* Mean over T x B of -log p(y), nats; x [T, B] words, y [T, B] those that follow them.  Begins with the state and
 * overwrites it with the last one, cut off from the graph, so that the next chunk goes on from there.  NULL: from
 * zeros.  plan: as tn_lm_plan() makes it of y on the host; with an adaptive softmax on a GPU, see tn_adaptive_loss(). */
typedef struct tn_lm_loss_args {
    tn_module *net;
    tn_tensor *x, *y;
    tn_state *state;
    int64_t plan; /* 0: none */
} tn_lm_loss_args;
TN_API tn_tensor *tn_lm_loss_call(tn_lm_loss_args args);
#define tn_lm_loss(...) TN_AT(tn_lm_loss_call((tn_lm_loss_args){.net = __VA_ARGS__}))
TN_API int64_t tn_lm_plan(tn_module *net, tn_tensor *y); /* 0 without cutoffs */
/* Log-probabilities of the word after the last step, [B, words]; state as in tn_lm_loss(). */
TN_API tn_tensor *tn_lm_next(tn_module *net, tn_tensor *x, tn_state *state);

/* ---- by name, for configs ---- */
typedef struct tn_model_spec {
    const char *name;
    int64_t classes;
    int64_t in[TN_MAX_DIMS]; /* shape of one input */
    int in_ndim;
    int64_t hidden, layers, width;
    const char *shortcut;    /* "projection" or "zero-pad" */
    const char *stack;       /* of a stack: its layers */
    int64_t source;          /* transformers: words of x; classes: of y */
    tn_transformer_args transformer; /* its own source and target do not count.  Sizes and share that are 0: as the
                                named architecture has them in fairseq; dropouts are what they say */
    tn_lstm_lm_args lstm_lm; /* its own words do not count: classes do */
} tn_model_spec;
typedef tn_module *tn_model_make(const tn_model_spec *spec);
TN_API bool tn_register_model(const char *name, tn_model_make *make);
TN_API tn_module *tn_model_named(const tn_model_spec *spec);
TN_API const char *const *tn_models(int *n);

#ifdef __cplusplus
}
#endif
#endif
