/* Reading with offsets in every error, and writing that leaves either the old file or the new one.
 * What is inside a file is the business of npy.c and src/nn/safetensors.c. */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files are little-endian, and so must be memory");

/* ---- reading ---- */

bool tn__in_open(tn__in *f, const char *who, const char *path)
{
    *f = (tn__in){.who = who, .path = path, .fd = -1};
    if (!path)
        return tn_fail(TN_EARG, "%s: no file name given", who), false;
    f->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not make us wait */
    if (f->fd < 0)
        return tn_fail(TN_EIO, "%s: cannot open %s: %s", who, path, strerror(errno)), false;
    struct stat s;
    if (fstat(f->fd, &s) < 0)
        tn_fail(TN_EIO, "%s: cannot look at %s: %s", who, path, strerror(errno));
    else if (!S_ISREG(s.st_mode))
        tn_fail(TN_EIO, "%s: %s is not a regular file", who, path);
    else {
        f->size = s.st_size;
        return true;
    }
    tn__in_close(f);
    return false;
}

bool tn__in_read(const tn__in *f, int64_t at, void *to, size_t n)
{
    if (f->next)
        return f->next(f, to, n);
    for (size_t done = 0; done < n;) {
        const ssize_t got = pread(f->fd, (char *)to + done, n - done, at + (int64_t)done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return tn_fail(TN_EIO, "%s: cannot read %s at byte %lld: %s", f->who, f->path,
                           (long long)(at + (int64_t)done), strerror(errno)), false;
        if (got == 0)
            return tn__in_bad(f, at + (int64_t)done, "the file ends here, %zu bytes early", n - done);
        done += (size_t)got;
    }
    return true;
}

void tn__in_close(tn__in *f)
{
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
}

bool tn__in_bad(const tn__in *f, int64_t at, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    tn_fail(TN_EFORMAT, "%s: %s, byte %lld: %s", f->who, f->path, (long long)at, text);
    return false;
}

/* ---- writing ---- */

static bool out_trouble(tn__out *f, const char *what)
{
    f->failed = true;
    tn_fail(TN_EIO, "%s: cannot %s %s: %s", f->who, what, f->path, strerror(errno));
    return false;
}

/* A new file beside the old one: same file system, so rename() is one step. */
static bool open_temporary(tn__out *f)
{
    static atomic_uint count;
    const size_t room = strlen(f->path) + 40;
    f->tmp = tn__alloc(room);
    for (int tries = 0; f->tmp && tries < 100; tries++) {
        snprintf(f->tmp, room, "%s.tmp-%ld-%u", f->path, (long)getpid(), atomic_fetch_add(&count, 1));
        f->fd = open(f->tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (f->fd >= 0 || errno != EEXIST)
            break;
    }
    return f->tmp && (f->fd >= 0 || out_trouble(f, "write"));
}

bool tn__out_open(tn__out *f, const char *who, const char *path)
{
    struct stat s;
    *f = (tn__out){.who = who, .path = path, .fd = -1};
    if (!path || !*path)
        return tn_fail(TN_EARG, "%s: no file name given", who), false;
    if (stat(path, &s) == 0 && !S_ISREG(s.st_mode)) /* rename() would put a file in its place */
        return tn_fail(TN_EIO, "%s: %s exists and is not a regular file", who, path), false;
    if (open_temporary(f))
        return true;
    tn__free(f->tmp);
    return false;
}

bool tn__out_write(tn__out *f, const void *from, size_t n)
{
    for (size_t done = 0; !f->failed && done < n;) {
        const ssize_t put = write(f->fd, (const char *)from + done, n - done);
        if (put < 0 && errno != EINTR)
            out_trouble(f, "write");
        else if (put > 0)
            done += (size_t)put;
    }
    f->crc = (uint32_t)crc32_z(f->crc, from, n);
    f->at += (int64_t)n;
    return !f->failed;
}

bool tn__out_over(tn__out *f, int64_t at, const void *from, size_t n)
{
    if (!f->failed && pwrite(f->fd, from, n, at) != (ssize_t)n)
        out_trouble(f, "write");
    return !f->failed;
}

const tn_tensor *tn__in_order(const tn_tensor *t)
{
    tn__open(t, false);
    if (tn_is_contiguous(t) && t->storage->backend == &tn__cpu)
        return t;
    tn_tensor *plain = tn_empty(t->dtype, t->ndim, t->shape);
    return tn_copy_(plain, t) ? plain : NULL;
}

bool tn__out_tensor(tn__out *f, const tn_tensor *t)
{
    bool ok = false;
    TN_SCOPE {
        t = tn__in_order(t);
        ok = t && tn__out_write(f, tn__data(t), (size_t)tn_numel(t) * tn_dtype_size(t->dtype));
    }
    f->failed |= !ok;
    return ok;
}

/* The rename itself must reach the disk; some file systems cannot sync a folder, and say EINVAL. */
static bool sync_folder(tn__out *f)
{
    const char *slash = strrchr(f->path, '/');
    char *folder = tn__strdup(slash ? f->path : ".");
    if (!folder)
        return false;
    if (slash)
        folder[slash == f->path ? 1 : slash - f->path] = 0;
    const int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const bool ok = fd >= 0 && (fsync(fd) == 0 || errno == EINVAL);
    if (!ok)
        out_trouble(f, "sync the folder of");
    if (fd >= 0)
        close(fd);
    tn__free(folder);
    return ok;
}

bool tn__out_close(tn__out *f)
{
    bool ok = !f->failed && (fsync(f->fd) == 0 || out_trouble(f, "sync"));
    ok &= close(f->fd) == 0 || (ok && out_trouble(f, "close"));
    ok = ok && (rename(f->tmp, f->path) == 0 || out_trouble(f, "rename to"));
    if (!ok)
        unlink(f->tmp);
    ok = ok && sync_folder(f);
    tn__free(f->tmp);
    return ok;
}
