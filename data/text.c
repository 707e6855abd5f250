/* Text and ids that grow, and lines out of files; see tenon/text.h.
 *
 * Lines are read as they come, so that a pipe or a terminal is answered line by line; that is why zlib is fed
 * by hand here and not through gzread(), which waits for all it was asked for.  What is made of a line:
 * tokenizer.c and detokenizer.c. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <tenon.h>
#include <unistd.h>
#include <zlib.h>

static bool no_memory(const char *who, size_t bytes)
{
    tn_fail(TN_ENOMEM, "%s: no memory for %zu bytes", who, bytes);
    return false;
}

bool tn_text_add(tn_text *t, const char *s, size_t n)
{
    if (!t || (!s && n))
        return false;
    size_t least;
    if (__builtin_add_overflow(t->len, n, &least) || least > PTRDIFF_MAX - 1)
        return no_memory("text", n);
    if (least >= t->room) {
        const size_t twice = t->room < PTRDIFF_MAX / 2 ? 2 * t->room : 0;
        const size_t room = twice > least ? twice : least < 63 ? 64 : least + 1;
        char *more = realloc(t->at, room);
        if (!more)
            return no_memory("text", room);
        t->at = more;
        t->room = room;
    }
    if (n)
        memcpy(t->at + t->len, s, n);
    t->len = least;
    t->at[least] = 0;
    return true;
}

void tn_text_end(tn_text *t)
{
    if (!t)
        return;
    free(t->at);
    *t = (tn_text){0};
}

bool tn_ids_add(tn_ids *t, int32_t id)
{
    if (!t)
        return false;
    if (t->len == t->room) {
        const int64_t room = t->room ? 2 * t->room : 64;
        int32_t *more = t->room <= PTRDIFF_MAX / 8 ? realloc(t->at, (size_t)room * sizeof *more) : NULL;
        if (!more)
            return no_memory("ids", (size_t)room * sizeof *more);
        t->at = more;
        t->room = room;
    }
    t->at[t->len++] = id;
    return true;
}

void tn_ids_end(tn_ids *t)
{
    if (!t)
        return;
    free(t->at);
    *t = (tn_ids){0};
}

/* ---- lines ---- */

enum { CHUNK = 1 << 16 };

struct tn_lines {
    const tn_type *type;
    char *name;        /* in error texts */
    int fd;
    bool begun, packed, between; /* packed: gzip; between: no member of it is begun */
    bool over;         /* nothing more to read, or an error */
    z_stream z;
    char *at;          /* [room]: read and not given out are begin..end; one byte is left for a NUL */
    size_t begin, end, room;
    int64_t count;
    uint8_t in[CHUNK]; /* of a gzip file */
};

static void lines_free(void *object)
{
    tn_lines *l = object;
    inflateEnd(&l->z);
    if (l->fd > STDIN_FILENO)
        close(l->fd);
    free(l->name);
    free(l->at);
    free(l);
}

static const tn_type lines_type = {"lines", lines_free};

tn_lines *tn_lines_open(const char *path)
{
    const bool standard = !path || strcmp(path, "-") == 0;
    tn_lines *l = calloc(1, sizeof *l);
    if (l) {
        *l = (tn_lines){.type = &lines_type, .name = strdup(standard ? "standard input" : path), .at = malloc(CHUNK),
                        .room = CHUNK, .between = true};
        l->fd = standard ? STDIN_FILENO : -1;
    }
    if (!l || !l->name || !l->at || inflateInit2(&l->z, 15 + 16) != Z_OK)
        tn_fail(TN_ENOMEM, "lines: %s: no memory to read", standard ? "standard input" : path);
    else if (!standard && (l->fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
        tn_fail(TN_EIO, "lines: %s: %s", path, strerror(errno));
    else
        return l;
    if (l)
        lines_free(l);
    return NULL;
}

static ssize_t read_some(tn_lines *l, void *to, size_t n)
{
    ssize_t got;
    do
        got = read(l->fd, to, n);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        tn_fail(TN_EIO, "lines: %s: %s after line %lld", l->name, strerror(errno), (long long)l->count);
    return got;
}

/* The first bytes tell whether the file is gzip's; they wait as input. */
static bool begin_reading(tn_lines *l)
{
    ssize_t got = 1;
    unsigned n = 0;
    while (got > 0 && (n == 0 || (n == 1 && l->in[0] == 0x1f)))
        if ((got = read_some(l, l->in + n, CHUNK - n)) > 0)
            n += (unsigned)got;
    l->packed = n >= 2 && l->in[0] == 0x1f && l->in[1] == 0x8b;
    l->z.next_in = l->in;
    l->z.avail_in = n;
    return got >= 0;
}

/* Unpacks some bytes: > 0, 0 at the end, < 0 with the error set. */
static ssize_t unpack_some(tn_lines *l, char *to, size_t n)
{
    z_stream *z = &l->z;
    const unsigned room = n < CHUNK ? (unsigned)n : CHUNK;
    z->next_out = (Bytef *)to;
    z->avail_out = room;
    while (z->avail_out == room) {
        if (z->avail_in == 0) {
            const ssize_t got = read_some(l, l->in, CHUNK);
            if (got == 0 && !l->between)
                tn_fail(TN_EFORMAT, "lines: %s: truncated: cut off inside its gzip stream after line %lld", l->name,
                        (long long)l->count);
            if (got <= 0)
                return l->between ? got : -1;
            z->next_in = l->in;
            z->avail_in = (unsigned)got;
        }
        l->between = false;
        const int code = inflate(z, Z_NO_FLUSH);
        if (code == Z_STREAM_END) { /* another member may follow */
            l->between = true;
            inflateReset(z);
        } else if (code == Z_MEM_ERROR) {
            tn_fail(TN_ENOMEM, "lines: %s: no memory to unpack", l->name);
            return -1;
        } else if (code != Z_OK && code != Z_BUF_ERROR) {
            tn_fail(TN_EFORMAT, "lines: %s: damaged after line %lld: %s", l->name, (long long)l->count,
                    z->msg ? z->msg : "no gzip stream");
            return -1;
        }
    }
    return room - z->avail_out;
}

/* Appends some bytes of the file: > 0, 0 at its end, < 0 with the error set. */
static ssize_t append_some(tn_lines *l)
{
    if (!l->begun && !begin_reading(l))
        return -1;
    l->begun = true;
    char *to = l->at + l->end;
    const size_t n = l->room - 1 - l->end;
    if (l->packed)
        return unpack_some(l, to, n);
    if (!l->z.avail_in)
        return read_some(l, to, n);
    const unsigned first = l->z.avail_in < n ? l->z.avail_in : (unsigned)n;
    memcpy(to, l->z.next_in, first);
    l->z.next_in += first;
    l->z.avail_in -= first;
    return first;
}

/* Reads more behind `end`; what is not given out moves to the front.  False at the end of the file, and on an
 * error, after which nothing is left. */
static bool read_more(tn_lines *l)
{
    if (l->over)
        return false;
    memmove(l->at, l->at + l->begin, l->end - l->begin);
    l->end -= l->begin;
    l->begin = 0;
    ssize_t got = -1;
    char *wider = l->at;
    if (l->end + 1 >= l->room) {
        wider = l->room < PTRDIFF_MAX / 2 ? realloc(l->at, 2 * l->room) : NULL;
        if (!wider)
            tn_fail(TN_ENOMEM, "lines: %s: no memory for line %lld of more than %zu bytes", l->name,
                    (long long)l->count + 1, l->end);
        else
            l->room *= 2;
    }
    if (wider) {
        l->at = wider;
        got = append_some(l);
    }
    l->over = got <= 0;
    l->end = got < 0 ? 0 : l->end + (size_t)got;
    return got > 0;
}

bool tn_lines_next(tn_lines *l, const char **line, size_t *n)
{
    if (!l || !line || !n)
        return false;
    char *end = NULL;
    for (size_t seen = 0;;) {
        const size_t there = l->end - l->begin;
        end = memchr(l->at + l->begin + seen, '\n', there - seen);
        if (end || !read_more(l))
            break;
        seen = there;
    }
    if (!end && l->begin == l->end)
        return false;
    char *at = l->at + l->begin;
    const bool cr = end > at && end[-1] == '\r';
    l->begin = end ? (size_t)(end + 1 - l->at) : l->end;
    if (!end)
        end = l->at + l->end;
    *line = at;
    *n = (size_t)(end - at) - cr;
    at[*n] = 0;
    l->count++;
    return true;
}

int64_t tn_lines_count(const tn_lines *l) { return l ? l->count : 0; }
