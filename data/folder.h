/* A folder that is made in steps: locked against a second process, made from one thing only, gone on with where a call
 * was stopped.  Each step leaves its files whole or not at all, and is left out when they are there.  What the steps
 * are: prepare.h, prepare_stream.c. */
#ifndef TN_DATA_FOLDER_H
#define TN_DATA_FOLDER_H

#include <limits.h>
#include <tenon.h>

enum { TN__FOLDER_PATH = PATH_MAX + 128 };

typedef struct tn__folder {
    const char *who;      /* begins error texts */
    const char *path;
    const char *archive;  /* what it is made from, or the folder unpacked from that; NULL: files */
    bool packed;          /* it is the archive */
    bool (*progress)(void *arg, const char *what, double share); /* as in tn_prepare_args */
    void *arg;
    int fd;               /* open and locked; -1, at first: not yet */
    int64_t bytes, all_bytes; /* of the step under way: read, in all */
    char what[64];        /* its name */
} tn__folder;

/* ---- the folder ---- */
/* Made when it is not there, with those above it and prepare.work in it, and locked. */
bool tn__folder_open(tn__folder *f);
/* Writes prepare.txt, or compares it with what is there; then removes what a killed process left unfinished.  False,
 * with the error set, when they differ, or when `foreign` (NULL: none), a file of the folder, is there without one. */
bool tn__folder_settle(const tn__folder *f, const tn_text *settings, const char *foreign);
/* Adds "WHAT: N bytes" to such settings; of folders N is 0. */
bool tn__folder_add_file(const tn__folder *f, tn_text *settings, const char *what, const char *path);
/* Removes prepare.work and tells "done". */
bool tn__folder_complete(tn__folder *f);
void tn__folder_close(tn__folder *f);

/* A path in it; it fits once the folder is open. */
const char *tn__folder_path(const tn__folder *f, char path[TN__FOLDER_PATH], const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
bool tn__file_there(const char *path);

/* ---- steps ---- */
/* Begins one that reads `files` [n]: what progress calls it and measures it by. */
bool tn__folder_step(tn__folder *f, const char *what, int n, const char *const *files);
bool tn__folder_tell(void *folder); /* as tn__passage's tell */

/* ---- folder_archive.c: members of the archive as files ---- */
/* Begins with an archive, or a folder of what it holds; false with the error set when there is neither. */
bool tn__folder_from(tn__folder *f, const char *archive, const char *hint);
/* Where a member is, or will be; false with the error set when the folder SUB ("": none) has neither NAME nor
 * NAME.gz. */
bool tn__folder_member(const tn__folder *f, char path[TN__FOLDER_PATH], const char *sub, const char *name,
                       const char *hint);
/* Writes members `names` [n] of the archive to prepare.work/NAME, those that are not there. */
bool tn__folder_unpack(tn__folder *f, int n, const char *const *names, size_t limit, const char *hint);

#endif
