/* A folder that is made in steps; see folder.h. */
#include "folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "output.h"

enum { LONGEST_NAME = 100 }; /* of a file in the folder */
#define WORK "prepare.work"

/* ---- names ---- */

const char *tn__folder_path(const tn__folder *f, char path[TN__FOLDER_PATH], const char *fmt, ...)
{
    va_list args;
    int n = snprintf(path, TN__FOLDER_PATH, "%s/", f->path);
    n = n < TN__FOLDER_PATH ? n : TN__FOLDER_PATH - 1;
    va_start(args, fmt);
    vsnprintf(path + n, TN__FOLDER_PATH - (size_t)n, fmt, args);
    va_end(args);
    return path;
}

bool tn__file_there(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 && S_ISREG(s.st_mode);
}

/* ---- progress ---- */

/* Bytes of a file, unpacked when it is gzip's: an estimate, for progress alone. */
static int64_t plain_bytes(const char *path)
{
    uint8_t head[2] = {0}, tail[4] = {0};
    struct stat s;
    FILE *f = fopen(path, "rb");
    if (!f)
        return 0;
    const bool good = fstat(fileno(f), &s) == 0 && S_ISREG(s.st_mode);
    int64_t bytes = good ? s.st_size : 0;
    if (good && fread(head, 1, 2, f) == 2 && head[0] == 0x1f && head[1] == 0x8b && fseek(f, -4, SEEK_END) == 0 &&
        fread(tail, 1, 4, f) == 4) {
        const int64_t said = tail[0] | tail[1] << 8 | tail[2] << 16 | (int64_t)tail[3] << 24;
        bytes = said > bytes ? said : 4 * bytes; /* of more than 4 GiB only the rest is said */
    }
    fclose(f);
    return bytes;
}

bool tn__folder_tell(void *folder)
{
    tn__folder *f = folder;
    const double share = f->all_bytes > 0 ? (double)f->bytes / (double)f->all_bytes : 0;
    if (!f->progress || f->progress(f->arg, f->what, share < 1 ? share : 1))
        return tn_ok();
    tn_fail(TN_ESTATE, "%s: stopped; the same call goes on with %s", f->who, f->path);
    return false;
}

bool tn__folder_step(tn__folder *f, const char *what, int n, const char *const *files)
{
    f->bytes = f->all_bytes = 0;
    snprintf(f->what, sizeof f->what, "%s", what);
    for (int i = 0; i < n; i++)
        f->all_bytes += plain_bytes(files[i]);
    return tn__folder_tell(f);
}

/* ---- the folder ---- */

/* Made with the folders above it. */
static bool make_folder(const tn__folder *f, const char *path)
{
    char part[TN__FOLDER_PATH];
    const size_t n = (size_t)snprintf(part, sizeof part, "%s", path);
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != 0)
            continue;
        part[i] = 0;
        if (mkdir(part, 0777) != 0 && errno != EEXIST) {
            tn_fail(TN_EIO, "%s: %s cannot be made: %s", f->who, part, strerror(errno));
            return false;
        }
        part[i] = path[i];
    }
    return true;
}

/* One process at a time: what another left unfinished may be removed. */
bool tn__folder_open(tn__folder *f)
{
    char work[TN__FOLDER_PATH];
    if (!f->path || !*f->path || strlen(f->path) > TN__FOLDER_PATH - LONGEST_NAME)
        return tn_fail(TN_EARG, "%s: dest is wanted: the folder to make", f->who), false;
    if (!make_folder(f, f->path))
        return false;
    f->fd = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (f->fd < 0) {
        tn_fail(TN_EIO, "%s: %s: %s", f->who, f->path, strerror(errno));
        return false;
    }
    if (flock(f->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        tn_fail(TN_ESTATE, "%s: %s is being prepared by another process", f->who, f->path);
        return false;
    }
    return make_folder(f, tn__folder_path(f, work, WORK));
}

/* Temporary names of ours, left by a process that was killed. */
static bool unfinished(const char *name)
{
    static const char *const begins[] = {"train.", "valid.", "test.", "dict.", "code.",
                                         "text.json.", "stream.json.", "prepare.txt."};
    bool ours = false;
    for (int i = 0; i < (int)(sizeof begins / sizeof *begins); i++)
        ours = ours || strncmp(name, begins[i], strlen(begins[i])) == 0;
    return ours && strstr(name, ".tmp-");
}

static bool any(const char *name) { return *name != '.'; }

static void remove_files(const char *folder, bool wanted(const char *name))
{
    char path[TN__FOLDER_PATH];
    DIR *d = opendir(folder);
    const struct dirent *e;
    while (d && (e = readdir(d))) {
        const int n = wanted(e->d_name) ? snprintf(path, sizeof path, "%s/%s", folder, e->d_name) : -1;
        if (n > 0 && n < (int)sizeof path)
            unlink(path);
    }
    if (d)
        closedir(d);
}

bool tn__folder_complete(tn__folder *f)
{
    char path[TN__FOLDER_PATH];
    remove_files(tn__folder_path(f, path, WORK), any);
    rmdir(path);
    return tn__folder_step(f, "done", 0, NULL);
}

void tn__folder_close(tn__folder *f)
{
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
}

/* ---- what the folder is made from, so that it is never made from two things ---- */

bool tn__folder_add_file(const tn__folder *f, tn_text *settings, const char *what, const char *path)
{
    char line[256];
    struct stat s;
    errno = 0;
    if (stat(path, &s) != 0 || !(S_ISREG(s.st_mode) || S_ISDIR(s.st_mode))) {
        tn_fail(TN_EIO, "%s: %s: %s", f->who, path, errno ? strerror(errno) : "not a regular file");
        return false;
    }
    const int n = snprintf(line, sizeof line, "%s: %lld bytes\n", what,
                           S_ISREG(s.st_mode) ? (long long)s.st_size : 0);
    return tn_text_add(settings, line, (size_t)n);
}

/* The first line that differs between what is there and what is wanted. */
static bool tell_difference(const tn__folder *f, tn_lines *there, const char *wanted)
{
    const char *line;
    size_t n;
    for (;; wanted += strcspn(wanted, "\n"), wanted += *wanted == '\n') {
        const bool more = tn_lines_next(there, &line, &n);
        const int length = (int)strcspn(wanted, "\n");
        if (!more && !*wanted)
            return tn_ok();
        if (more && n == (size_t)length && memcmp(line, wanted, n) == 0)
            continue;
        tn_fail(TN_ESTATE,
                "%s: %s was begun with \"%.*s\", now it is \"%.*s\"; set that back, or take another folder", f->who,
                f->path, more ? (int)n : 7, more ? line : "nothing", length ? length : 7,
                length ? wanted : "nothing");
        return false;
    }
}

/* Files of the folder's names that came from elsewhere would be taken for complete ones. */
bool tn__folder_settle(const tn__folder *f, const tn_text *settings, const char *foreign)
{
    char path[TN__FOLDER_PATH];
    tn__folder_path(f, path, "prepare.txt");
    const bool begun = tn__file_there(path);
    if (!begun && foreign) {
        tn_fail(TN_ESTATE, "%s: %s is there, but no prepare.txt that tells what from; take another folder", f->who,
                foreign);
        return false;
    }
    tn_lines *there = begun ? tn_lines_open(path) : NULL;
    const bool same = begun ? there && tell_difference(f, there, settings->at)
                            : tn__output_whole(f->who, path, settings->at, settings->len);
    tn_free(there);
    if (same)
        remove_files(f->path, unfinished);
    return same;
}
