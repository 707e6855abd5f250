/* What tokenizer.c and detokenizer.c share. */
#ifndef TN_DATA_TOKENIZER_H
#define TN_DATA_TOKENIZER_H

#include "prefixes.h"

struct tn_tokenizer {
    const tn_type *type;
    bool english, aggressive, no_escape;
    const tn__prefixes *prefixes;
};

#endif
