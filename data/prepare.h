/* Preparing translation data: what prepare.c, prepare_text.c, prepare_ids.c and the readers of published archives
 * (prepare_iwslt14.c, prepare_wmt16.c) share.
 *
 *     archive --unpack--> files in prepare.work --text--> train.de ... --code, subwords, dictionaries--> ids
 *
 * The folder they are made in: folder.h. */
#ifndef TN_DATA_PREPARE_H
#define TN_DATA_PREPARE_H

#include "folder.h"

enum { TN__PREPARE_FILES = 8 };

/* The sentence in a line of a file into `out`; *there is false when it holds none.  False: an error. */
typedef bool tn__sentence_of(const char *line, size_t n, tn_text *out, bool *there);
tn__sentence_of tn__iwslt14_train, tn__iwslt14_test;

/* Pairs of files, one after the other: sentence i of one is the translation of sentence i of the other. */
typedef struct tn__bitext {
    int n;
    char *file[TN__PREPARE_FILES][2];
    tn__sentence_of *of; /* NULL: each line is one */
} tn__bitext;

typedef struct tn__prepare {
    tn__folder to;
    tn_prepare_args args;        /* with the defaults in place of zeros */
    tn__bitext split[3];         /* by tn_split; n is 0: none */
    bool subwords;               /* the files hold subwords, and nothing is to be left out of them */
    int64_t most;                /* of tn_dictionary_args */
    char *code;                  /* file of BPE codes; NULL: learned */
    /* Makes the files above out of an archive, where they are not there; NULL: they are. */
    bool (*unpack)(struct tn__prepare *p);
    bool unpacked;
} tn__prepare;

/* ---- prepare.c ---- */
/* With nothing to be made from yet. */
tn__prepare tn__prepare_begin(const char *who, tn_prepare_args args);
/* All of it; what `p` holds is freed in any case. */
bool tn__prepare_run(tn__prepare *p);
/* Keeps a copy of the two names; false with the error set. */
bool tn__bitext_add(tn__bitext *b, const char *source, const char *target);
bool tn__prepare_code(tn__prepare *p, const char *path); /* likewise, of the codes to use */
const char *tn__prepare_lang(const tn__prepare *p, int side);
/* The files of the splits are there: unpacks them when need be, once. */
bool tn__prepare_unpacked(tn__prepare *p);
/* Begins with an archive, or a folder of what it holds, of German and English; `unpack` is for the former.  False,
 * with the error set, when there is neither, or when `p->args` ask for what the archive tells. */
bool tn__prepare_archive(tn__prepare *p, const char *path, bool (*unpack)(tn__prepare *p), const char *hint);

/* ---- the steps ---- */
bool tn__prepare_text(tn__prepare *p); /* prepare_text.c */
bool tn__prepare_ids(tn__prepare *p);  /* prepare_ids.c */

#endif
