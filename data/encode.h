/* Files of lines to files of subwords or ids, through all threads, as steps of a folder. */
#ifndef TN_DATA_ENCODE_H
#define TN_DATA_ENCODE_H

#include "folder.h"

typedef struct tn__encode {
    tn__folder *to;
    const char *what;                /* the step's name */
    const char *from;                /* a file, plain or gzip */
    const tn_bpe *bpe;               /* NULL: the words stay */
    const tn_dictionary *dictionary; /* for ids */
    bool skip_blank;                 /* ids: lines without a word give no sentence */
} tn__encode;

/* Makes the file `path`; false with the error set. */
bool tn__encode_text(const tn__encode *e, const char *path);
bool tn__encode_ids(const tn__encode *e, const char *path); /* no file without a sentence */

#endif
