/* Words: cutting lines into them, tables that number them, and counting those of whole files. */
#ifndef TN_DATA_WORDS_H
#define TN_DATA_WORDS_H

#include <tenon.h>

/* ---- bytes ---- */

/* Bytes of the character at s [n], n > 0, of clean text. */
size_t tn__char_bytes(const char *s, size_t n);
/* The line itself when it is UTF-8, else a copy in `room` with U+FFFD; NULL with the error set.  *n: its length. */
const char *tn__clean(const char *line, size_t *n, tn_text *room);

/* What stands between words: spaces alone (and "\r" at a line's ends), or all that Python's \s matches. */
typedef enum tn__parting { TN__AT_SPACES, TN__AT_WHITE } tn__parting;
/* The next word of a clean line, *at .. end; false when there is none.  Moves *at on. */
bool tn__word_next(const char **at, const char *end, tn__parting by, const char **word, size_t *n);

/* ---- tables ---- */

typedef struct tn__word {
    size_t at;         /* in `text` */
    uint32_t len, hash;
    int64_t count;     /* whatever the owner counts */
} tn__word;
typedef struct tn__words { /* zeroed at first */
    tn__word *word;    /* [n], in the order they were added */
    int32_t n;
    size_t room;       /* of `word` */
    char *text;        /* each word and a NUL */
    size_t text_len, text_room;
    int32_t *slots;    /* [mask + 1]: numbers, -1 empty */
    size_t mask;
} tn__words;
int32_t tn__words_find(const tn__words *w, const char *s, size_t n); /* its number, or -1 */
/* Its number, given now when it is new; -1 without an error set when there is no memory. */
int32_t tn__words_add(tn__words *w, const char *s, size_t n);
static inline const char *tn__words_text(const tn__words *w, int32_t id) { return w->text + w->word[id].at; }
/* By bytes, the shorter of two that begin alike first: UTF-8 in order of code points. */
int tn__words_order(const tn__words *w, int32_t a, int32_t b);
void tn__words_end(tn__words *w); /* zeroed again */

typedef struct tn__counting {
    const char *who;          /* begins error texts */
    int n;
    const char *const *files; /* [n] */
    tn__parting by;
    int64_t lines, blank;     /* counted, those without a word too: of all, of them */
    bool (*tell)(void *arg, int64_t bytes); /* now and then: read since the last time; false, with the error set,
                                 stops.  May be NULL */
    void *arg;
} tn__counting;
/* Adds the words of the files and how often they come, on all threads; in which order they are numbered is open.
 * False with the error set. */
bool tn__words_count(tn__words *w, tn__counting *how);

#endif
