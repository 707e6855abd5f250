/* Byte-pair encoding: what bpe.c (files, applying) and bpe_learn.c share. */
#ifndef TN_DATA_BPE_H
#define TN_DATA_BPE_H

#include "words.h"

/* A table from pairs of numbers to a number; zeroed at first. */
typedef struct tn__pairs {
    uint64_t *key;
    int32_t *value; /* [mask + 1], -1 empty */
    size_t mask, n;
} tn__pairs;
int32_t tn__pairs_find(const tn__pairs *p, int32_t a, int32_t b); /* -1: absent */
/* One that is absent; false without an error set when there is no memory. */
bool tn__pairs_add(tn__pairs *p, int32_t a, int32_t b, int32_t value);
void tn__pairs_end(tn__pairs *p);

/* Ends the last symbol of a word. */
#define TN__WORD_END "</w>"
enum { TN__WORD_END_BYTES = 4 };

tn_bpe *tn__bpe_new(void);
/* The next code: left and right become one.  False with the error set. */
bool tn__bpe_add(tn_bpe *b, const char *left, size_t n_left, const char *right, size_t n_right);

#endif
