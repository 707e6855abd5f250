/* Files that are there whole or not at all: written under a temporary name beside, renamed when all of it is on
 * the disk. */
#ifndef TN_DATA_OUTPUT_H
#define TN_DATA_OUTPUT_H

#include <tenon.h>

typedef struct tn__output {
    const char *who; /* begins error texts; kept, not copied */
    char *path, *tmp;
    int fd;
    size_t held;     /* bytes in `buffer` */
    char *buffer;
    bool failed;     /* what follows does nothing; told already */
} tn__output;

/* False, with the error set and nothing to close, when there can be no such file. */
bool tn__output_open(tn__output *f, const char *who, const char *path);
bool tn__output_write(tn__output *f, const void *from, size_t n);
/* Renames when all writes went well, else removes the temporary file. */
bool tn__output_close(tn__output *f);
void tn__output_drop(tn__output *f); /* removes it; zeroed or closed: does nothing */

/* All of it at once. */
bool tn__output_whole(const char *who, const char *path, const void *from, size_t n);

#endif
