/* What the files of the Transformer share: its parts, as transformer.c makes them, transformer_block.c runs them
 * over whole sequences and decoder.c runs them word by word. */
#ifndef TN_MODELS_TRANSFORMER_H
#define TN_MODELS_TRANSFORMER_H

#include <tenon.h>

/* One layer.  Attention to itself, in a decoder with a source attention to that, then two linear layers; each
 * with its residual sum and norm. */
enum { TN__BLOCK_NORMS = 3 };
typedef struct tn__block {
    tn_module base;
    const tn_transformer_args *args;      /* the network's */
    tn_module *self, *cross;              /* cross: NULL without a source */
    tn_tensor *w1, *b1, *w2, *b2;         /* of linear1 [ffn, dim], linear2 [dim, ffn] */
    tn_tensor *gain[TN__BLOCK_NORMS], *bias[TN__BLOCK_NORMS]; /* of norm1 .. norm3 [dim] */
} tn__block;
tn_module *tn__block_new(const tn_transformer_args *a, bool causal, bool cross);
/* x, its spans, and with a cross-attention the source and its spans; module's forward takes the same four */
tn_tensor *tn__block_forward(tn__block *b, tn_tensor *x, tn_tensor *spans, tn_tensor *source,
                             tn_tensor *source_spans);
/* What sublayer k reads of the stream x, and the stream after it made y; pre-norm and post-norm differ here alone. */
tn_tensor *tn__sublayer_in(const tn__block *b, int k, tn_tensor *x);
tn_tensor *tn__sublayer_out(const tn__block *b, int k, tn_tensor *x, tn_tensor *y);
tn_tensor *tn__feed_forward(const tn__block *b, tn_tensor *x);

/* An encoder or a decoder: embedding, positions, layers, and with pre-norm a last norm. */
typedef struct tn__stack {
    tn_module base;
    const tn_transformer_args *args;
    tn_tensor *words;              /* [words, dim] */
    tn_tensor *sines;              /* [TN_POSITIONS, dim]: of the first word, the second ... */
    tn_tensor *gain, *bias;        /* of the last norm; NULL: there is none */
    tn_module *layers;             /* its children are the blocks */
} tn__stack;
/* Embedded words at positions [rows] (i64), with dropout: what the first layer reads. */
tn_tensor *tn__embed_words(const tn__stack *s, tn_tensor *ids, tn_tensor *positions);
tn_tensor *tn__stack_end(const tn__stack *s, tn_tensor *x); /* the last norm */

typedef struct tn__transformer {
    tn_module base;
    tn_transformer_args args;
    tn__stack *encoder, *decoder;  /* encoder: NULL in a language model */
    tn_tensor *out;                /* [target, dim] */
} tn__transformer;
/* NULL, with an error that begins with `who`, when net is no Transformer. */
tn__transformer *tn__as_transformer(tn_module *net, const char *who);

#endif
