/* What bleu.c and bleu_13a.c share. */
#ifndef TN_DATA_BLEU_H
#define TN_DATA_BLEU_H

#include <tenon.h>

/* A line as sacrebleu's tokenizer "13a" leaves it, but for runs of white space; false with the error set. */
bool tn__bleu_13a(const char *line, size_t n, tn_text *out);

#endif
