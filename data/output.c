/* Writing that leaves either the old file or the new one; see output.h.  What is inside is the business of the
 * writers: tokens.c, dictionary.c, bpe.c, codec.c. */
#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ROOM = 1 << 18 };

static bool trouble(tn__output *f, const char *what)
{
    f->failed = true;
    tn_fail(TN_EIO, "%s: cannot %s %s: %s", f->who, what, f->path, strerror(errno));
    return false;
}

/* Beside the old file: the same file system, so rename() is one step. */
static bool open_temporary(tn__output *f, size_t room)
{
    static atomic_uint count;
    for (int tries = 0; tries < 100; tries++) {
        snprintf(f->tmp, room, "%s.tmp-%ld-%u", f->path, (long)getpid(), atomic_fetch_add(&count, 1));
        f->fd = open(f->tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (f->fd >= 0)
            return true;
        if (errno != EEXIST)
            break;
    }
    return trouble(f, "write");
}

static void release(tn__output *f)
{
    free(f->path);
    free(f->tmp);
    free(f->buffer);
    *f = (tn__output){.fd = -1};
}

bool tn__output_open(tn__output *f, const char *who, const char *path)
{
    struct stat s;
    *f = (tn__output){.who = who, .fd = -1};
    if (!path || !*path)
        return tn_fail(TN_EARG, "%s: no file name given", who), false;
    if (stat(path, &s) == 0 && !S_ISREG(s.st_mode)) /* rename() would put a file in its place */
        return tn_fail(TN_EIO, "%s: %s exists and is not a regular file", who, path), false;
    const size_t room = strlen(path) + 40;
    f->path = strdup(path);
    f->tmp = malloc(room);
    f->buffer = malloc(ROOM);
    if (!f->path || !f->tmp || !f->buffer)
        tn_fail(TN_ENOMEM, "%s: %s: no memory to write", who, path);
    else if (open_temporary(f, room))
        return true;
    release(f);
    return false;
}

static bool put(tn__output *f, const char *from, size_t n)
{
    for (size_t done = 0; !f->failed && done < n;) {
        const ssize_t got = write(f->fd, from + done, n - done);
        if (got < 0 && errno != EINTR)
            trouble(f, "write");
        else if (got > 0)
            done += (size_t)got;
    }
    return !f->failed;
}

bool tn__output_write(tn__output *f, const void *from, size_t n)
{
    if (n > ROOM - f->held) {
        put(f, f->buffer, f->held);
        f->held = 0;
    }
    if (n > ROOM)
        return put(f, from, n);
    if (n)
        memcpy(f->buffer + f->held, from, n);
    f->held += n;
    return !f->failed;
}

/* The rename itself must reach the disk; some file systems cannot sync a folder, and say EINVAL. */
static bool sync_folder(tn__output *f)
{
    char *slash = strrchr(f->path, '/');
    if (slash)
        slash[slash == f->path] = 0; /* the path is not needed any more, but for the error's text */
    const int fd = open(slash ? f->path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const bool ok = fd >= 0 && (fsync(fd) == 0 || errno == EINVAL);
    if (!ok)
        trouble(f, "sync the folder");
    if (fd >= 0)
        close(fd);
    return ok;
}

bool tn__output_close(tn__output *f)
{
    if (f->fd < 0)
        return false;
    put(f, f->buffer, f->held);
    bool ok = !f->failed && (fsync(f->fd) == 0 || trouble(f, "sync"));
    ok &= close(f->fd) == 0 || (ok && trouble(f, "close"));
    ok = ok && (rename(f->tmp, f->path) == 0 || trouble(f, "rename to"));
    if (!ok)
        unlink(f->tmp);
    ok = ok && sync_folder(f);
    release(f);
    return ok;
}

void tn__output_drop(tn__output *f)
{
    if (!f->path)
        return;
    close(f->fd);
    unlink(f->tmp);
    release(f);
}

bool tn__output_whole(const char *who, const char *path, const void *from, size_t n)
{
    tn__output f;
    return tn__output_open(&f, who, path) && (tn__output_write(&f, from, n), tn__output_close(&f));
}
