/* Whole files out of a folder or an archive.
 *
 * A source is a folder, whose files may be there as NAME or as NAME.gz, or one file that holds
 * the others: tar (gzipped or not) or zip.  Members of an archive go by the last part of their
 * names, so nothing depends on the folder they were packed in, and nothing is ever written. */
#ifndef TN_DATA_ARCHIVE_H
#define TN_DATA_ARCHIVE_H

#include <tenon.h>

typedef struct tn__source {
    const char *who;          /* begins error texts: "cifar10" */
    const char *path;
    int n;                    /* how many members are wanted */
    const char *const *names; /* [n] */
    size_t limit;             /* no member may be larger, in bytes */
    const char *hint;         /* ends the text when something is missing: what to do */
} tn__source;

/* Takes member `which`, whole: data [size].  `where` names it in errors: "cifar.tgz:
 * test_batch.bin".  False, with the error set, stops the reading. */
typedef bool tn__take(void *arg, int which, const uint8_t *data, size_t size, const char *where);

/* Calls `take` once for each wanted member, in the order of the archive.  False with the error set
 * (file, member, offset) when one is missing, there twice, no plain file, empty, larger than the
 * limit, or cut off. */
bool tn__source_read(const tn__source *s, tn__take *take, void *arg);
/* The same for members too large for memory: `take` gets each in pieces, and size 0 at its end. */
bool tn__source_pieces(const tn__source *s, tn__take *take, void *arg);

#endif
