/* Files, whole: read at given places, or written under a temporary name that replaces the old file
 * only when all of it is on the disk.  For npy.c and the readers of src/nn. */
#ifndef TN_FILE_H
#define TN_FILE_H

#include "internal.h"

typedef struct tn__in {
    const char *who;  /* for errors: "load_npy" */
    const char *path; /* kept, not copied */
    int fd;
    int64_t size;
    /* A part of an archive has no fd: its next n bytes, or false with the error set. */
    bool (*next)(const struct tn__in *f, void *to, size_t n);
    void *stream; /* for `next` */
} tn__in;
/* Regular files only; false with the error set. */
bool tn__in_open(tn__in *f, const char *who, const char *path);
/* Exactly n bytes from `at`, or false with the error set.  With `next`, `at` is where the last call ended. */
bool tn__in_read(const tn__in *f, int64_t at, void *to, size_t n);
void tn__in_close(tn__in *f);
/* TN_EFORMAT with file and offset; false. */
bool tn__in_bad(const tn__in *f, int64_t at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

typedef struct tn__out {
    const char *who, *path;
    char *tmp;
    int fd;
    int64_t at;
    uint32_t crc; /* CRC-32 of what was written so far */
    bool failed;
} tn__out;
bool tn__out_open(tn__out *f, const char *who, const char *path);
bool tn__out_write(tn__out *f, const void *from, size_t n);
bool tn__out_tensor(tn__out *f, const tn_tensor *t); /* its elements, outermost first */
/* t, or a copy in the innermost scope, with its elements in that order in this memory; NULL with the error set. */
const tn_tensor *tn__in_order(const tn_tensor *t);
/* Writes over what stands at `at`; crc is as if it had stayed. */
bool tn__out_over(tn__out *f, int64_t at, const void *from, size_t n);
/* fsync and rename when all writes went well, else the temporary file is removed. */
bool tn__out_close(tn__out *f);

/* ---- one array in .npy form, wherever it stands (npy.c) ---- */

/* All of f is the array; reads it in order, without holes.  In the innermost scope. */
tn_tensor *tn__npy_read(const tn__in *f);
/* What stands before the elements of t: its length, or 0 with the error set. */
enum { TN__NPY_HEADER = 512 };
size_t tn__npy_header(const char *who, const tn_tensor *t, char text[TN__NPY_HEADER]);

#endif
