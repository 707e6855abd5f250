/* NumPy's .npz files: zip archives of .npy files (numpy/lib/format.py), of which libarchive reads and
 * writes the zip.  What stands in one member is src/tensor/npy.c; the files of checkpoints are
 * safetensors.c. */
#define _GNU_SOURCE /* newlocale */
#include <archive.h>
#include <archive_entry.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"
#include "tensor/file.h"

#define ENDING ".npy"
enum { ENDING_BYTES = 4, BLOCK = 1 << 16 };
enum { MOST_INFLATED = 1032 }; /* bytes out of one, the most that deflate can do */

struct tn_npz {
    const tn_type *type;
    char *path;
    tn__in in;         /* its size limits what a member may claim */
    struct archive *a; /* NULL: at no member */
    int at;            /* the member that comes next in `a` */
    int n, room;
    char **names;      /* [n], in the order of the file */
};

/* ---- names in UTF-8 ---- */

/* libarchive keeps names in the character set of the locale, which may have no word for them. */
typedef struct speech {
    locale_t utf8, before;
} speech;

static speech speak_utf8(void)
{
    speech s = {.utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0)};
    if (s.utf8)
        s.before = uselocale(s.utf8);
    return s;
}

static void speak_again(speech s)
{
    if (!s.utf8)
        return;
    uselocale(s.before);
    freelocale(s.utf8);
}

/* ---- reading: the directory ---- */

static void close_archive(tn_npz *f)
{
    archive_read_free(f->a);
    f->a = NULL;
    f->at = 0;
}

static void file_free(void *object)
{
    tn_npz *f = object;
    close_archive(f);
    tn__in_close(&f->in);
    for (int i = 0; i < f->n; i++)
        tn__free(f->names[i]);
    tn__free(f->names);
    tn__free(f->path);
    tn__free(f);
}

static const tn_type file_type = {"npz", file_free};

static bool damaged(const tn_npz *f, const char *what)
{
    const char *text = f->a ? archive_error_string(f->a) : NULL;
    return tn__in_bad(&f->in, f->a ? archive_filter_bytes(f->a, 0) : 0, "%s%s%s", what, text ? ": " : "",
                      text ? text : "");
}

/* From the first member again. */
static bool rewind_archive(tn_npz *f)
{
    close_archive(f);
    f->a = archive_read_new();
    if (!f->a)
        return tn_fail(TN_ENOMEM, "npz: out of memory for %s", f->path), false;
    if (archive_read_support_format_zip_seekable(f->a) != ARCHIVE_OK || lseek(f->in.fd, 0, SEEK_SET) != 0 ||
        archive_read_open_fd(f->a, f->in.fd, BLOCK) != ARCHIVE_OK)
        return damaged(f, "not a zip file, or its end is missing");
    return true;
}

/* NULL in `entry` at the end; false with the error set. */
static bool next_member(tn_npz *f, struct archive_entry **entry)
{
    const int got = archive_read_next_header(f->a, entry);
    if (got != ARCHIVE_OK && got != ARCHIVE_EOF)
        return damaged(f, "the zip directory is damaged");
    if (got == ARCHIVE_EOF)
        *entry = NULL;
    f->at += got == ARCHIVE_OK;
    return true;
}

static bool add_name(tn_npz *f, struct archive_entry *entry)
{
    const char *full = archive_entry_pathname_utf8(entry);
    const size_t n = full ? strlen(full) : 0;
    if (n < ENDING_BYTES || strcmp(full + n - ENDING_BYTES, ENDING) != 0)
        return tn__in_bad(&f->in, 0, "member '%.100s' is not NAME.npy", full ? full : "?");
    if (f->n == f->room) {
        const int room = f->room ? 2 * f->room : 64;
        char **more = tn__alloc((size_t)room * sizeof *more);
        if (!more)
            return false;
        memcpy(more, f->names, (size_t)f->n * sizeof *more);
        tn__free(f->names);
        f->names = more;
        f->room = room;
    }
    char *name = tn__strdup(full);
    if (!name)
        return false;
    name[n - ENDING_BYTES] = 0;
    f->names[f->n++] = name;
    return true;
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static bool names_differ(const tn_npz *f)
{
    bool ok = true;
    char **sorted = tn__alloc((size_t)(f->n + 1) * sizeof *sorted);
    if (!sorted)
        return false;
    memcpy(sorted, f->names, (size_t)f->n * sizeof *sorted);
    qsort(sorted, (size_t)f->n, sizeof *sorted, by_text);
    for (int i = 1; ok && i < f->n; i++)
        if (!strcmp(sorted[i - 1], sorted[i]))
            ok = tn__in_bad(&f->in, 0, "two members are called '%.100s" ENDING "'", sorted[i]);
    tn__free(sorted);
    return ok;
}

/* Nothing but the end of a directory, which libarchive does not take for a zip. */
static bool is_empty(const tn_npz *f)
{
    enum { END = 22 };
    const char nothing[END] = "PK\5\6";
    char found[END];
    return f->in.size == END && tn__in_read(&f->in, 0, found, END) && !memcmp(found, nothing, END);
}

static bool read_directory(tn_npz *f)
{
    struct archive_entry *entry = NULL;
    if (is_empty(f))
        return true;
    if (!rewind_archive(f))
        return false;
    do
        if (!next_member(f, &entry) || (entry && !add_name(f, entry)))
            return false;
    while (entry);
    return names_differ(f);
}

tn_npz *tn_npz_open(const char *path)
{
    if (!path)
        return tn_fail(TN_EARG, "npz: no file name given");
    tn_npz *f = tn__alloc(sizeof *f);
    if (!f)
        return NULL;
    f->type = &file_type;
    f->in.fd = -1;
    f->names = tn__alloc(sizeof *f->names);
    f->path = tn__strdup(path);
    const speech s = speak_utf8();
    const bool ok = f->names && f->path && tn__in_open(&f->in, "npz", f->path) && read_directory(f);
    speak_again(s);
    if (ok)
        return f;
    file_free(f);
    return NULL;
}

/* ---- reading: the arrays ---- */

int tn_npz_count(const tn_npz *f) { return f ? f->n : 0; }

const char *tn_npz_name(const tn_npz *f, int i) { return f && i >= 0 && i < f->n ? f->names[i] : NULL; }

static int find(const tn_npz *f, const char *name)
{
    int i = 0;
    while (i < f->n && (!name || strcmp(f->names[i], name) != 0))
        i++;
    return i;
}

/* Less than n only at the end of the member; < 0 with the error set. */
static int64_t read_some(const tn__in *member, void *to, size_t n)
{
    const tn_npz *f = member->stream;
    const ssize_t got = archive_read_data(f->a, to, n);
    if (got >= 0)
        return got;
    const char *text = archive_error_string(f->a);
    tn_fail(TN_EFORMAT, "npz: %s, near byte %lld: %s", member->path, (long long)archive_filter_bytes(f->a, 0),
            text ? text : "the data are damaged");
    return -1;
}

static bool read_next(const tn__in *member, void *to, size_t n)
{
    const int64_t got = read_some(member, to, n);
    if (got >= 0 && got < (int64_t)n)
        return tn__in_bad(member, member->size, "the member ends %lld bytes early", (long long)n - (long long)got);
    return got >= 0;
}

/* libarchive compares the checksum when it is asked for more than there is. */
static bool at_its_end(const tn__in *member)
{
    char more;
    const int64_t got = read_some(member, &more, 1);
    return got == 0 || (got > 0 && tn__in_bad(member, member->size, "the member goes on behind its end"));
}

static tn_tensor *read_member(tn_npz *f, const char *name, struct archive_entry *entry)
{
    char where[512];
    snprintf(where, sizeof where, "%.300s, member '%.100s" ENDING "'", f->path, name);
    const tn__in member = {"npz", where, -1, archive_entry_size(entry), read_next, f};
    if (!archive_entry_size_is_set(entry) || member.size < 0 || member.size / MOST_INFLATED > f->in.size)
        return tn__in_bad(&member, 0, "a member of %lld bytes in a file of %lld", (long long)member.size,
                          (long long)f->in.size), NULL;
    tn_tensor *t = tn__npy_read(&member);
    if (t && !at_its_end(&member)) {
        tn_drop_now(t);
        return NULL;
    }
    return t;
}

static tn_tensor *read_at(tn_npz *f, int i)
{
    struct archive_entry *entry = NULL;
    if ((!f->a || f->at > i) && !rewind_archive(f))
        return NULL;
    while (f->at <= i)
        if (!next_member(f, &entry))
            return NULL;
        else if (!entry)
            return tn_fail(TN_EFORMAT, "npz: %s has changed since it was opened", f->path);
    return read_member(f, f->names[i], entry);
}

tn_tensor *tn_npz_read(tn_npz *f, const char *name)
{
    if (!f)
        return NULL;
    const int i = find(f, name);
    if (i == f->n)
        return tn_fail(TN_EARG, "npz: %s has no array '%.100s'", f->path, name ? name : "");
    const speech s = speak_utf8();
    tn_tensor *t = read_at(f, i);
    if (!t)
        close_archive(f);
    speak_again(s);
    return t;
}

/* ---- writing ---- */

static la_ssize_t write_out(struct archive *a, void *out, const void *bytes, size_t n)
{
    (void)a;
    return tn__out_write(out, bytes, n) ? (la_ssize_t)n : -1;
}

/* What write_out() has told stays the first error. */
static bool trouble(struct archive *a, const char *name)
{
    const char *text = archive_error_string(a);
    return tn_fail(TN_EIO, "npz: '%.100s' cannot be written: %s", name, text ? text : "out of memory"), false;
}

static bool put_bytes(struct archive *a, const char *name, const void *bytes, size_t n)
{
    for (size_t done = 0; done < n;) {
        const la_ssize_t put = archive_write_data(a, (const char *)bytes + done, n - done);
        if (put <= 0)
            return trouble(a, name);
        done += (size_t)put;
    }
    return true;
}

static bool put_member(struct archive *a, struct archive_entry *entry, const tn_named *one)
{
    char text[TN__NPY_HEADER], *full = tn__alloc(strlen(one->name) + ENDING_BYTES + 1);
    const size_t header = full ? tn__npy_header("npz", one->t, text) : 0;
    const tn_tensor *t = header ? tn__in_order(one->t) : NULL;
    bool ok = t != NULL;
    if (ok) {
        const size_t bytes = (size_t)tn_numel(t) * tn_dtype_size(t->dtype);
        strcpy(full, one->name);
        strcat(full, ENDING);
        archive_entry_clear(entry);
        archive_entry_set_pathname_utf8(entry, full);
        archive_entry_set_filetype(entry, AE_IFREG);
        archive_entry_set_perm(entry, 0644);
        archive_entry_set_size(entry, (la_int64_t)(header + bytes));
        ok = archive_write_header(a, entry) == ARCHIVE_OK || trouble(a, one->name);
        ok = ok && put_bytes(a, one->name, text, header) && put_bytes(a, one->name, tn_data(t), bytes);
        ok = ok && (archive_write_finish_entry(a) == ARCHIVE_OK || trouble(a, one->name));
    }
    tn__free(full);
    return ok;
}

static bool put_members(struct archive *a, tn__out *out, int n, const tn_named *list)
{
    struct archive_entry *entry = archive_entry_new();
    bool ok = entry && archive_write_set_format_zip(a) == ARCHIVE_OK &&
              archive_write_set_options(a, "zip:compression=store,zip:hdrcharset=UTF-8") == ARCHIVE_OK &&
              archive_write_set_bytes_in_last_block(a, 1) == ARCHIVE_OK && /* no padding */
              archive_write_open(a, out, NULL, write_out, NULL) == ARCHIVE_OK;
    if (!ok)
        trouble(a, out->path);
    for (int i = 0; ok && i < n; i++)
        TN_SCOPE {
            ok = put_member(a, entry, &list[i]);
        }
    archive_entry_free(entry);
    return ok && (archive_write_close(a) == ARCHIVE_OK || trouble(a, out->path));
}

static bool names_are_good(int n, const tn_named *list)
{
    for (int i = 0; i < n; i++) {
        if (!list[i].name || !list[i].t)
            return tn_fail(TN_EARG, "npz: entry %d has no %s", i, list[i].name ? "tensor" : "name"), false;
        if (!*list[i].name || mbstowcs(NULL, list[i].name, 0) == (size_t)-1)
            return tn_fail(TN_EARG, "npz: entry %d: its name is empty or not UTF-8", i), false;
        for (int k = 0; k < i; k++)
            if (!strcmp(list[k].name, list[i].name))
                return tn_fail(TN_EARG, "npz: the name '%.100s' is taken", list[i].name), false;
    }
    return true;
}

bool tn_npz_save(const char *path, int n, const tn_named *list)
{
    tn__out out;
    const speech s = speak_utf8();
    bool ok = names_are_good(n, list) && tn__out_open(&out, "npz", path);
    if (ok) {
        struct archive *a = archive_write_new();
        if (!a)
            tn_fail(TN_ENOMEM, "npz: out of memory for %s", path);
        out.failed |= !a || !put_members(a, &out, n, list);
        archive_write_free(a);
        ok = tn__out_close(&out);
    }
    speak_again(s);
    return ok;
}
