/* Files of token ids: a reader that maps one into memory, and its writer; see tenon/text.h.
 *
 *     0 "TENONTOK"   8 u64 version 1   16 u64 sentences   24 u64 tokens
 *     32 u32 CRC-32 of all behind the header   36 zeros   64 ends, ids
 *
 * What stands in them comes out of dictionary.c; who reads them in training: pairs.c, stream.c. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "output.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files are little-endian, and so must be memory");

enum { VERSION = 1 };
typedef struct header {
    char magic[8];
    uint64_t version, sentences, tokens;
    uint32_t crc;
    char zeros[28];
} header;
_Static_assert(sizeof(header) == 64, "as in the file");

static const header blank = {.magic = "TENONTOK", .version = VERSION};

/* ---- reading ---- */

struct tn_tokens {
    const tn_type *type;
    char *path;
    int fd;
    const header *head; /* mapped */
    size_t size;
    uint64_t *ends;     /* [sentences] */
    const int32_t *ids; /* [tokens], mapped */
};

static void tokens_free(void *object)
{
    tn_tokens *t = object;
    if (t->head)
        munmap((void *)(uintptr_t)t->head, t->size);
    if (t->fd >= 0)
        close(t->fd);
    free(t->ends);
    free(t->path);
    free(t);
}

static const tn_type tokens_type = {"tokens", tokens_free};

static bool map(tn_tokens *t)
{
    struct stat s;
    void *at = MAP_FAILED;
    t->fd = open(t->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not make us wait */
    if (t->fd < 0 || fstat(t->fd, &s) < 0)
        tn_fail(TN_EIO, "tokens: %s: %s", t->path, strerror(errno));
    else if (!S_ISREG(s.st_mode))
        tn_fail(TN_EIO, "tokens: %s is not a regular file", t->path);
    else if (s.st_size < (off_t)sizeof *t->head)
        tn_fail(TN_EFORMAT, "tokens: %s: truncated: ends at byte %lld of a %zu-byte header", t->path,
                (long long)s.st_size, sizeof *t->head);
    else if ((at = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_SHARED, t->fd, 0)) == MAP_FAILED)
        tn_fail(TN_EIO, "tokens: %s: cannot map %lld bytes: %s", t->path, (long long)s.st_size, strerror(errno));
    if (at == MAP_FAILED)
        return false;
    t->head = at;
    t->size = (size_t)s.st_size;
    return true;
}

/* The counts against the size, so that neither a product nor a sum can overflow. */
static bool check_size(const tn_tokens *t)
{
    const header *h = t->head;
    const uint64_t body = t->size - sizeof *h, sentences = h->sentences, tokens = h->tokens;
    if (memcmp(h->magic, blank.magic, sizeof h->magic) != 0)
        tn_fail(TN_EFORMAT, "tokens: %s: not a file of token ids: it does not begin with TENONTOK", t->path);
    else if (h->version != VERSION)
        tn_fail(TN_EFORMAT, "tokens: %s: version %llu at byte 8; this library reads version %d", t->path,
                (unsigned long long)h->version, VERSION);
    else if (memcmp(h->zeros, blank.zeros, sizeof h->zeros) != 0)
        tn_fail(TN_EFORMAT, "tokens: %s: damaged: bytes 36 to 63 must be zero", t->path);
    else if (sentences > body / 8 || tokens > (body - 8 * sentences) / 4 || 8 * sentences + 4 * tokens != body)
        tn_fail(TN_EFORMAT, "tokens: %s: %llu bytes cannot be %llu sentences of %llu tokens together; truncated "
                "or damaged", t->path, (unsigned long long)t->size, (unsigned long long)sentences,
                (unsigned long long)tokens);
    else
        return true;
    return false;
}

/* Not through the map: a file that is cut short while it is in use would end the process. */
static bool read_at(const tn_tokens *t, void *to, size_t n, size_t at)
{
    for (size_t done = 0; done < n;) {
        const ssize_t got = pread(t->fd, (char *)to + done, n - done, (off_t)(at + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return tn_fail(TN_EIO, "tokens: %s: cannot be read at byte %zu: %s", t->path, at + done,
                           strerror(errno)), false;
        if (got == 0)
            return tn_fail(TN_EIO, "tokens: %s: was cut short while in use: there is no byte %zu of %zu",
                           t->path, at + done, t->size), false;
        done += (size_t)got;
    }
    return true;
}

static bool read_ends(tn_tokens *t)
{
    const size_t size = t->head->sentences * sizeof *t->ends;
    t->ends = malloc(size ? size : 1);
    if (!t->ends)
        return tn_fail(TN_ENOMEM, "tokens: %s: no memory for the ends of %llu sentences", t->path,
                       (unsigned long long)t->head->sentences), false;
    t->ids = (const void *)((const char *)(t->head + 1) + size);
    return read_at(t, t->ends, size, sizeof *t->head);
}

static bool check_ends(const tn_tokens *t)
{
    const uint64_t n = t->head->sentences;
    uint64_t last = 0;
    for (uint64_t i = 0; i < n; i++) {
        const uint64_t end = t->ends[i];
        if (end < last || end > t->head->tokens)
            return tn_fail(TN_EFORMAT, "tokens: %s: damaged: sentence %llu ends at token %llu, after %llu of %llu "
                           "(byte %llu)", t->path, (unsigned long long)i, (unsigned long long)end,
                           (unsigned long long)last, (unsigned long long)t->head->tokens,
                           (unsigned long long)(sizeof *t->head + 8 * i)), false;
        last = end;
    }
    if (last != t->head->tokens)
        tn_fail(TN_EFORMAT, "tokens: %s: damaged: sentences end at token %llu of %llu", t->path,
                (unsigned long long)last, (unsigned long long)t->head->tokens);
    return last == t->head->tokens;
}

tn_tokens *tn_tokens_open(const char *path)
{
    if (!path)
        return tn_fail(TN_EARG, "tokens: no file name given");
    tn_tokens *t = calloc(1, sizeof *t);
    if (t) {
        t->type = &tokens_type;
        t->fd = -1;
        t->path = strdup(path);
    }
    if (!t || !t->path) {
        tn_fail(TN_ENOMEM, "tokens: %s: no memory", path);
    } else if (map(t) && check_size(t) && read_ends(t) && check_ends(t)) {
        return t;
    }
    tn_free(t);
    return NULL;
}

bool tn_tokens_check(const tn_tokens *t)
{
    if (!t)
        return false;
    const uint32_t crc = (uint32_t)crc32_z(0, (const Bytef *)(t->head + 1), t->size - sizeof *t->head);
    if (crc != t->head->crc)
        return tn_fail(TN_EFORMAT, "tokens: %s: damaged: its checksum is %08x, but %08x stands at byte 32", t->path,
                       (unsigned)crc, (unsigned)t->head->crc), false;
    for (uint64_t i = 0; i < t->head->tokens; i++)
        if (t->ids[i] < 0)
            return tn_fail(TN_EFORMAT, "tokens: %s: token %llu is %d; ids are not negative", t->path,
                           (unsigned long long)i, (int)t->ids[i]), false;
    return true;
}

int64_t tn_tokens_sentences(const tn_tokens *t) { return t ? (int64_t)t->head->sentences : 0; }
int64_t tn_tokens_len(const tn_tokens *t) { return t ? (int64_t)t->head->tokens : 0; }

const int32_t *tn_tokens_at(const tn_tokens *t, int64_t sentence, int64_t *n)
{
    if (n)
        *n = 0;
    if (!t || !n)
        return NULL;
    if (sentence < 0 || sentence >= tn_tokens_sentences(t))
        return tn_fail(TN_EARG, "tokens: %s: there is no sentence %lld; it holds %lld", t->path, (long long)sentence,
                       (long long)tn_tokens_sentences(t));
    const uint64_t begin = sentence ? t->ends[sentence - 1] : 0;
    *n = (int64_t)(t->ends[sentence] - begin);
    return t->ids + begin;
}

bool tn_tokens_read(const tn_tokens *t, int64_t first, int64_t n, int32_t *to)
{
    if (!t || !to)
        return false;
    if (first < 0 || n < 0 || first > tn_tokens_len(t) - n)
        return tn_fail(TN_EARG, "tokens: %s: there are %lld ids, not %lld from the one at %lld on", t->path,
                       (long long)tn_tokens_len(t), (long long)n, (long long)first), false;
    return read_at(t, to, (size_t)n * sizeof *to, (size_t)((const char *)(t->ids + first) - (const char *)t->head));
}

/* ---- writing: the ends wait in memory, the ids in a file without a name, until both are complete ---- */

struct tn_token_writer {
    const tn_type *type;
    tn__output out;
    int spool;            /* -1: none yet */
    uint64_t *ends;       /* [room] */
    uint64_t sentences, tokens, room;
    int32_t *held;        /* [HELD] ids that are not in the spool yet */
    size_t n_held;
    uint32_t crc;         /* of the ids in the spool */
    bool failed;
};
enum { HELD = 1 << 18 };

static void writer_free(void *object)
{
    tn_token_writer *w = object;
    tn__output_drop(&w->out);
    if (w->spool >= 0)
        close(w->spool);
    free(w->ends);
    free(w->held);
    free(w);
}

static const tn_type writer_type = {"token writer", writer_free};

tn_token_writer *tn_token_writer_open(const char *path)
{
    tn_token_writer *w = calloc(1, sizeof *w);
    if (w) {
        w->type = &writer_type;
        w->spool = -1;
        w->held = malloc(HELD * sizeof *w->held);
    }
    if (!w || !w->held)
        tn_fail(TN_ENOMEM, "token writer: %s: no memory", path ? path : "");
    else if (tn__output_open(&w->out, "token writer", path))
        return w;
    tn_free(w);
    return NULL;
}

static bool spool_trouble(tn_token_writer *w, const char *what)
{
    w->failed = true;
    tn_fail(TN_EIO, "token writer: cannot %s what becomes %s: %s", what, w->out.path, strerror(errno));
    return false;
}

/* Gone with the process, whatever ends that. */
static bool open_spool(tn_token_writer *w)
{
    const size_t room = strlen(w->out.tmp) + 8;
    char *name = malloc(room);
    if (!name) {
        w->failed = true;
        return tn_fail(TN_ENOMEM, "token writer: %s: no memory", w->out.path), false;
    }
    snprintf(name, room, "%s-ids", w->out.tmp);
    w->spool = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    const bool ok = w->spool >= 0 ? unlink(name) == 0 || spool_trouble(w, "unlink") : spool_trouble(w, "write");
    free(name);
    return ok;
}

static bool spool_held(tn_token_writer *w)
{
    if (w->spool < 0 && !open_spool(w))
        return false;
    const char *from = (const char *)w->held;
    const size_t n = w->n_held * sizeof *w->held;
    for (size_t done = 0; done < n;) {
        const ssize_t got = write(w->spool, from + done, n - done);
        if (got < 0 && errno != EINTR)
            return spool_trouble(w, "write");
        done += got > 0 ? (size_t)got : 0;
    }
    w->crc = (uint32_t)crc32_z(w->crc, (const Bytef *)from, n);
    w->n_held = 0;
    return true;
}

static bool add_end(tn_token_writer *w)
{
    if (w->sentences == w->room) {
        const uint64_t room = w->room ? 2 * w->room : 1024;
        uint64_t *more = realloc(w->ends, room * sizeof *more);
        if (!more) {
            w->failed = true;
            return tn_fail(TN_ENOMEM, "token writer: %s: no memory for sentence %llu", w->out.path,
                           (unsigned long long)w->sentences), false;
        }
        w->ends = more;
        w->room = room;
    }
    w->ends[w->sentences++] = w->tokens;
    return true;
}

bool tn_token_writer_add(tn_token_writer *w, const int32_t *ids, int64_t n)
{
    if (!w || n < 0 || (!ids && n) || w->failed)
        return false;
    for (int64_t i = 0; i < n; i++)
        if (ids[i] < 0) {
            w->failed = true;
            return tn_fail(TN_EARG, "token writer: %s: sentence %llu has id %d; ids are not negative", w->out.path,
                           (unsigned long long)w->sentences, (int)ids[i]), false;
        }
    for (size_t done = 0, left = (size_t)n; left;) {
        const size_t part = left < HELD - w->n_held ? left : HELD - w->n_held;
        memcpy(w->held + w->n_held, ids + done, part * sizeof *ids);
        w->n_held += part;
        done += part;
        left -= part;
        if (w->n_held == HELD && !spool_held(w))
            return false;
    }
    w->tokens += (uint64_t)n;
    return add_end(w);
}

/* What is in the spool, then what was held back. */
static bool copy_ids(tn_token_writer *w)
{
    const size_t n_held = w->n_held;
    const uint64_t spooled = (w->tokens - n_held) * sizeof(int32_t);
    bool ok = true;
    char *part = spooled ? malloc(HELD) : NULL;
    if (spooled && !part)
        return tn_fail(TN_ENOMEM, "token writer: %s: no memory", w->out.path), false;
    for (uint64_t done = 0; ok && done < spooled;) {
        const ssize_t got = pread(w->spool, part, HELD, (off_t)done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            errno = got ? errno : EIO;
            ok = spool_trouble(w, "read back");
        } else {
            ok = tn__output_write(&w->out, part, (size_t)got);
            done += (uint64_t)got;
        }
    }
    free(part);
    return ok && tn__output_write(&w->out, w->held, n_held * sizeof *w->held);
}

bool tn_token_writer_close(tn_token_writer *w)
{
    if (!w)
        return false;
    header h = blank;
    const size_t ends = w->sentences * sizeof *w->ends, held = w->n_held * sizeof *w->held;
    const uint64_t ids = w->tokens * sizeof *w->held;
    const uLong of_ends = ends ? crc32_z(0, (const Bytef *)w->ends, ends) : 0;
    const uLong of_ids = crc32_z(w->crc, (const Bytef *)w->held, held);
    h.sentences = w->sentences;
    h.tokens = w->tokens;
    h.crc = (uint32_t)crc32_combine(of_ends, of_ids, (z_off_t)ids);
    const bool ok = !w->failed && tn__output_write(&w->out, &h, sizeof h) &&
                    tn__output_write(&w->out, w->ends, ends) && copy_ids(w) && tn__output_close(&w->out);
    tn_free(w);
    return ok;
}
