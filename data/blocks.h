/* Lines of text through all threads: read in order, changed side by side, written in order.  What is written does
 * not depend on the number of threads. */
#ifndef TN_DATA_BLOCKS_H
#define TN_DATA_BLOCKS_H

#include <tenon.h>

/* A line, or a line and its translation. */
typedef struct tn__slot {
    tn_text in[2], out[2];
    tn_ids ids;
} tn__slot;

typedef struct tn__passage {
    bool (*read)(void *arg, tn__slot *s);        /* the next one into s->in; false at the end, or on an error */
    bool (*change)(void *arg, tn__slot *s);      /* on any thread: depends on s->in alone.  False: an error */
    bool (*write)(void *arg, const tn__slot *s); /* false: an error */
    bool (*tell)(void *arg);                     /* now and then; false, with the error set, stops.  May be NULL */
    void *arg;
} tn__passage;

/* All of it; false with the error set. */
bool tn__blocks_run(const tn__passage *p);

#endif
