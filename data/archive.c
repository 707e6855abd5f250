/* Whole files out of a folder or an archive; see archive.h.
 *
 * zlib reads every file, gzipped or not: it checks the sums that libarchive's own gzip filter
 * skips.  libarchive sees unpacked bytes and knows tar and zip. */
#include "archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum { CHUNK = 1 << 18 };
enum { WHERE = PATH_MAX + 256 };

/* ---- streams: at most n bytes a call, 0 at the end, < 0 with the error set ---- */

typedef ssize_t stream_read(void *stream, void *to, size_t n);

typedef struct file {
    const char *who, *where;
    gzFile gz;
} file;

static bool file_open(file *f, const char *who, const char *where, const char *path)
{
    errno = 0;
    *f = (file){who, where, gzopen(path, "rbe")};
    if (!f->gz)
        tn_fail(errno ? TN_EIO : TN_ENOMEM, "%s: %s: %s", who, where,
                errno ? strerror(errno) : "no memory");
    return f->gz != NULL;
}

static ssize_t file_read(void *stream, void *to, size_t n)
{
    file *f = stream;
    const int got = gzread(f->gz, to, (unsigned)(n < CHUNK ? n : CHUNK));
    if (got > 0)
        return got;
    int code = Z_OK;
    const char *text = gzerror(f->gz, &code);
    const long long packed = gzoffset(f->gz), unpacked = gztell(f->gz);
    if (code == Z_BUF_ERROR)
        tn_fail(TN_EFORMAT, "%s: %s: truncated: cut off at byte %lld, inside its gzip stream",
                f->who, f->where, packed);
    else if (code == Z_ERRNO)
        tn_fail(TN_EIO, "%s: %s: %s at byte %lld", f->who, f->where, strerror(errno), packed);
    else if (code == Z_MEM_ERROR)
        tn_fail(TN_ENOMEM, "%s: %s: no memory to unpack", f->who, f->where);
    else if (got < 0)
        tn_fail(TN_EFORMAT, "%s: %s: damaged near byte %lld (%lld unpacked): %s", f->who, f->where,
                packed, unpacked, text);
    return code == Z_OK && got == 0 ? 0 : -1;
}

typedef struct member {
    const char *who, *where;
    struct archive *a;
} member;

static ssize_t member_read(void *stream, void *to, size_t n)
{
    member *m = stream;
    const ssize_t got = archive_read_data(m->a, to, n);
    if (got >= 0)
        return got;
    const char *text = archive_error_string(m->a);
    tn_fail(TN_EFORMAT, "%s: %s: damaged near byte %lld of the unpacked archive: %s", m->who,
            m->where, (long long)archive_filter_bytes(m->a, 0), text ? text : "unreadable");
    return -1;
}

/* ---- one member, whole ---- */

typedef struct buffer {
    uint8_t *data;
    size_t size, room;
    bool pieces; /* not the whole is wanted, but one piece after the other */
} buffer;

/* Reads to the end of the stream; the buffer grows with what is there, not with what is claimed. */
static bool read_all(const tn__source *s, const char *where, stream_read *next, void *stream,
                     buffer *b)
{
    b->size = 0;
    for (;;) {
        if (b->size == b->room) {
            const size_t twice = b->room ? 2 * b->room : CHUNK;
            const size_t room = twice < s->limit + 1 ? twice : s->limit + 1;
            uint8_t *more = realloc(b->data, room);
            if (!more) {
                tn_fail(TN_ENOMEM, "%s: %s: no memory for %zu bytes", s->who, where, room);
                return false;
            }
            b->data = more;
            b->room = room;
        }
        const ssize_t got = next(stream, b->data + b->size, b->room - b->size);
        if (got < 0)
            return false;
        if (got == 0)
            break;
        b->size += (size_t)got;
        if (b->size > s->limit) {
            tn_fail(TN_EFORMAT, "%s: %s: too large: it goes on after byte %zu, where it should end",
                    s->who, where, s->limit);
            return false;
        }
    }
    if (b->size == 0)
        tn_fail(TN_EFORMAT, "%s: %s: the file is empty", s->who, where);
    return b->size > 0;
}

/* Gives on what there is, a piece at a time. */
static bool pass_on(const tn__source *s, int which, const char *where, stream_read *next, void *stream, buffer *b,
                    tn__take *take, void *arg)
{
    if (!b->data && !(b->data = malloc(CHUNK))) {
        tn_fail(TN_ENOMEM, "%s: %s: no memory for %d bytes", s->who, where, CHUNK);
        return false;
    }
    ssize_t got;
    b->size = 0;
    while ((got = next(stream, b->data, CHUNK)) > 0) {
        b->size += (size_t)got;
        if (b->size > s->limit) {
            tn_fail(TN_EFORMAT, "%s: %s: too large: it goes on after byte %zu, where it should end",
                    s->who, where, s->limit);
            return false;
        }
        if (!take(arg, which, b->data, (size_t)got, where))
            return false;
    }
    if (got == 0 && b->size == 0)
        tn_fail(TN_EFORMAT, "%s: %s: the file is empty", s->who, where);
    return got == 0 && b->size > 0 && take(arg, which, b->data, 0, where);
}

static bool give(const tn__source *s, int which, const char *where, stream_read *next, void *stream, buffer *b,
                 tn__take *take, void *arg)
{
    if (b->pieces)
        return pass_on(s, which, where, next, stream, b, take, arg);
    return read_all(s, where, next, stream, b) && take(arg, which, b->data, b->size, where);
}

/* ---- a folder ---- */

static bool read_folder(const tn__source *s, buffer *b, tn__take *take, void *arg)
{
    for (int i = 0; i < s->n; i++) {
        char path[WHERE];
        static const char *const ends[] = {"", ".gz"};
        bool there = false;
        for (int e = 0; e < 2 && !there; e++) {
            const int n = snprintf(path, sizeof path, "%s/%s%s", s->path, s->names[i], ends[e]);
            there = n < (int)sizeof path && access(path, F_OK) == 0;
        }
        if (!there) {
            tn_fail(TN_EIO, "%s: %s: no %s there; %s", s->who, s->path, s->names[i], s->hint);
            return false;
        }
        file f;
        if (!file_open(&f, s->who, path, path))
            return false;
        const bool ok = give(s, i, path, file_read, &f, b, take, arg);
        gzclose_r(f.gz);
        if (!ok)
            return false;
    }
    return true;
}

/* ---- an archive ---- */

typedef struct feed {
    file f;
    uint8_t chunk[CHUNK];
} feed;

static ssize_t feed_read(struct archive *a, void *arg, const void **data)
{
    feed *in = arg;
    const ssize_t got = file_read(&in->f, in->chunk, CHUNK);
    *data = in->chunk;
    if (got < 0) /* told already, and the first error stays */
        archive_set_error(a, EIO, "unreadable");
    return got;
}

static int wanted(const tn__source *s, struct archive_entry *e)
{
    const char *name = archive_entry_pathname(e);
    if (!name)
        return -1;
    const char *slash = strrchr(name, '/');
    for (int i = 0; i < s->n; i++)
        if (strcmp(slash ? slash + 1 : name, s->names[i]) == 0)
            return i;
    return -1;
}

static bool take_entry(const tn__source *s, struct archive *a, struct archive_entry *e, int which,
                       buffer *b, tn__take *take, void *arg)
{
    char where[WHERE];
    snprintf(where, sizeof where, "%s: %s", s->path, s->names[which]);
    const long long at = archive_read_header_position(a);
    if (archive_entry_filetype(e) != AE_IFREG || archive_entry_hardlink(e)) {
        tn_fail(TN_EFORMAT, "%s: %s: not a plain file; its header is at byte %lld, unpacked",
                s->who, where, at);
        return false;
    }
    if (archive_entry_size_is_set(e) && archive_entry_size(e) > (int64_t)s->limit) {
        tn_fail(TN_EFORMAT, "%s: %s: too large: %lld bytes instead of %zu; its header is at byte "
                "%lld, unpacked", s->who, where, (long long)archive_entry_size(e), s->limit, at);
        return false;
    }
    member m = {s->who, where, a};
    return give(s, which, where, member_read, &m, b, take, arg);
}

/* What libarchive could not read, `begun` or not even recognised. */
static bool damaged(const tn__source *s, struct archive *a, bool begun)
{
    const char *text = archive_error_string(a);
    if (archive_errno(a) == ENOMEM)
        tn_fail(TN_ENOMEM, "%s: %s: no memory to read the archive", s->who, s->path);
    else if (begun)
        tn_fail(TN_EFORMAT, "%s: %s: damaged near byte %lld of the unpacked archive: %s", s->who,
                s->path, (long long)archive_filter_bytes(a, 0), text ? text : "unreadable");
    else
        tn_fail(TN_EFORMAT, "%s: %s: not a folder, tar or zip archive; %s", s->who, s->path,
                s->hint);
    return false;
}

/* Goes on to the end when all is found, for there may be a second copy. */
static bool walk(const tn__source *s, struct archive *a, buffer *b, bool *found, tn__take *take,
                 void *arg)
{
    for (int entries = 0;; entries++) {
        struct archive_entry *e;
        const int r = archive_read_next_header(a, &e);
        if (r == ARCHIVE_EOF)
            return true;
        if (r != ARCHIVE_OK && r != ARCHIVE_WARN)
            return damaged(s, a, entries > 0);
        const int which = wanted(s, e);
        if (which < 0)
            continue;
        if (found[which]) {
            tn_fail(TN_EFORMAT, "%s: %s: holds %s twice, again at byte %lld, unpacked", s->who,
                    s->path, s->names[which], (long long)archive_read_header_position(a));
            return false;
        }
        found[which] = true;
        if (!take_entry(s, a, e, which, b, take, arg))
            return false;
    }
}

/* An archive may end before its file does; the sums of the file come last. */
static bool drain(feed *in)
{
    ssize_t got;
    while ((got = file_read(&in->f, in->chunk, CHUNK)) > 0)
        ;
    return got == 0;
}

static bool read_archive(const tn__source *s, buffer *b, tn__take *take, void *arg)
{
    feed *in = malloc(sizeof *in);
    struct archive *a = archive_read_new();
    bool *found = calloc((size_t)s->n, sizeof *found);
    bool ok = in && a && found;
    if (!ok)
        tn_fail(TN_ENOMEM, "%s: %s: no memory to read the archive", s->who, s->path);
    bool opened = ok && file_open(&in->f, s->who, s->path, s->path);
    if ((ok = opened)) {
        archive_read_support_format_tar(a);
        archive_read_support_format_zip_streamable(a);
        ok = archive_read_open(a, in, NULL, feed_read, NULL) == ARCHIVE_OK
                 ? walk(s, a, b, found, take, arg) && drain(in)
                 : damaged(s, a, false);
    }
    for (int i = 0; ok && i < s->n; i++)
        if (!found[i]) {
            tn_fail(TN_EFORMAT, "%s: %s: no %s in it; %s", s->who, s->path, s->names[i], s->hint);
            ok = false;
        }
    if (a)
        archive_read_free(a);
    if (opened)
        gzclose_r(in->f.gz);
    free(found);
    free(in);
    return ok;
}

static bool read_source(const tn__source *s, bool pieces, tn__take *take, void *arg)
{
    if (!s->path || !*s->path) {
        tn_fail(TN_EARG, "%s: no path given; %s", s->who, s->hint);
        return false;
    }
    struct stat st;
    if (stat(s->path, &st) != 0) {
        tn_fail(TN_EIO, "%s: %s: %s; %s", s->who, s->path, strerror(errno), s->hint);
        return false;
    }
    if (S_ISREG(st.st_mode) && st.st_size == 0) {
        tn_fail(TN_EFORMAT, "%s: %s: the file is empty", s->who, s->path);
        return false;
    }
    buffer b = {.pieces = pieces};
    const bool ok =
        S_ISDIR(st.st_mode) ? read_folder(s, &b, take, arg) : read_archive(s, &b, take, arg);
    free(b.data);
    return ok;
}

bool tn__source_read(const tn__source *s, tn__take *take, void *arg) { return read_source(s, false, take, arg); }
bool tn__source_pieces(const tn__source *s, tn__take *take, void *arg) { return read_source(s, true, take, arg); }
