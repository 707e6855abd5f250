/* NumPy's .npy files (format 1.0 and 2.0, numpy/lib/format.py): one array, its shape and dtype in a
 * header that looks like a Python dict. */
#include <stdio.h>
#include <string.h>

#include "file.h"

#define MAGIC "\x93NUMPY"
enum { MAGIC_BYTES = 6, ALIGN = 64, MOST_HEADER = 1 << 20 };

static const struct {
    tn_dtype dtype;
    char descr[4];
} kinds[] = {{TN_F32, "<f4"}, {TN_F64, "<f8"}, {TN_F16, "<f2"}, {TN_I32, "<i4"}, {TN_I64, "<i8"}, {TN_U8, "|u1"}};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* ---- reading ---- */

typedef struct header {
    const tn__in *f;
    const char *text, *at, *end;
    int64_t start; /* of text, in the file */
    tn_dtype dtype;
    int ndim;
    int64_t shape[TN_MAX_DIMS];
} header;

static bool bad(const header *h, const char *what)
{
    return tn__in_bad(h->f, h->start + (h->at - h->text), "%s", what);
}

static void skip_spaces(header *h)
{
    while (h->at < h->end && (*h->at == ' ' || *h->at == '\n'))
        h->at++;
}

static bool accept(header *h, char c)
{
    skip_spaces(h);
    const bool is = h->at < h->end && *h->at == c;
    h->at += is;
    return is;
}

/* 'text' into out; Python's other ways to write a string do not occur. */
static bool quoted(header *h, char *out, size_t room)
{
    size_t n = 0;
    if (!accept(h, '\''))
        return bad(h, "expected a string in quotes");
    while (h->at < h->end && *h->at != '\'' && n + 1 < room)
        out[n++] = *h->at++;
    out[n] = 0;
    return accept(h, '\'') || bad(h, "the string does not end, or is too long");
}

static bool parse_descr(header *h)
{
    char descr[16];
    if (!quoted(h, descr, sizeof descr))
        return false;
    for (int i = 0; i < KINDS; i++)
        if (!strcmp(descr, kinds[i].descr)) {
            h->dtype = kinds[i].dtype;
            return true;
        }
    return tn__in_bad(h->f, h->start + (h->at - h->text),
                      "dtype '%s' cannot be read; use <f4, <f8, <f2, <i4, <i8 or |u1", descr);
}

static bool word(header *h, const char *w)
{
    const size_t n = strlen(w);
    skip_spaces(h);
    const bool is = (size_t)(h->end - h->at) >= n && !memcmp(h->at, w, n);
    h->at += is ? n : 0;
    return is;
}

static bool parse_order(header *h)
{
    if (word(h, "True"))
        return bad(h, "fortran_order is True; save numpy.ascontiguousarray(a) instead");
    return word(h, "False") || bad(h, "fortran_order must be True or False");
}

static bool parse_dim(header *h, int64_t *dim)
{
    skip_spaces(h);
    const char *first = h->at;
    for (*dim = 0; h->at < h->end && *h->at >= '0' && *h->at <= '9'; h->at++)
        if (__builtin_mul_overflow(*dim, 10, dim) || __builtin_add_overflow(*dim, *h->at - '0', dim))
            return bad(h, "a dim is too large");
    return h->at > first || bad(h, "expected a dim");
}

static bool parse_shape(header *h)
{
    if (!accept(h, '('))
        return bad(h, "expected the shape in parentheses");
    for (h->ndim = 0; !accept(h, ')'); h->ndim++) {
        if (h->ndim == TN_MAX_DIMS)
            return bad(h, "more than 8 dims");
        if (!parse_dim(h, &h->shape[h->ndim]))
            return false;
        const bool comma = accept(h, ',');
        if (!comma && (h->ndim == 0 || h->at == h->end || *h->at != ')'))
            return bad(h, "expected a comma in the shape");
    }
    return true;
}

static bool parse_header(header *h)
{
    static const struct {
        const char *key;
        bool (*parse)(header *h);
    } keys[] = {{"descr", parse_descr}, {"fortran_order", parse_order}, {"shape", parse_shape}};
    enum { KEYS = sizeof keys / sizeof *keys };
    unsigned seen = 0;
    if (!accept(h, '{'))
        return bad(h, "the header must start with {");
    while (!accept(h, '}')) {
        char key[20];
        int k = 0;
        if (!quoted(h, key, sizeof key))
            return false;
        while (k < KEYS && strcmp(key, keys[k].key))
            k++;
        if (k == KEYS || (seen & 1u << k))
            return bad(h, k == KEYS ? "unknown key" : "a key occurs twice");
        seen |= 1u << k;
        if (!accept(h, ':') || !keys[k].parse(h))
            return h->at == h->end ? bad(h, "the header ends too early") : bad(h, "expected a value");
        if (!accept(h, ',') && (h->at == h->end || *h->at != '}'))
            return bad(h, "expected a comma or }");
    }
    skip_spaces(h);
    if (h->at != h->end)
        return bad(h, "something follows the header's }");
    return seen == (1u << KEYS) - 1 || bad(h, "descr, fortran_order and shape must all be given");
}

/* Magic, version and length; where the header's text starts and how long it is. */
static bool read_start(const tn__in *f, int64_t *start, size_t *length)
{
    uint8_t b[MAGIC_BYTES + 6] = {0};
    if (!tn__in_read(f, 0, b, MAGIC_BYTES + 2))
        return false;
    if (memcmp(b, MAGIC, MAGIC_BYTES) != 0)
        return tn__in_bad(f, 0, "not a .npy file");
    const int major = b[MAGIC_BYTES], minor = b[MAGIC_BYTES + 1], wide = major == 1 ? 2 : 4;
    if (major < 1 || major > 2 || minor != 0)
        return tn__in_bad(f, MAGIC_BYTES, "version %d.%d; 1.0 and 2.0 can be read", major, minor);
    *start = MAGIC_BYTES + 2 + wide;
    if (!tn__in_read(f, MAGIC_BYTES + 2, b + MAGIC_BYTES + 2, (size_t)wide))
        return false;
    *length = 0;
    for (int i = wide; i-- > 0;)
        *length = *length << 8 | b[MAGIC_BYTES + 2 + i];
    if (*length > MOST_HEADER || (int64_t)*length > f->size - *start)
        return tn__in_bad(f, MAGIC_BYTES + 2, "a header of %zu bytes in a file of %lld", *length,
                          (long long)f->size);
    return true;
}

/* The data must be exactly what the header says. */
static bool data_fits(const header *h, int64_t start)
{
    int64_t bytes = (int64_t)tn_dtype_size(h->dtype);
    bool empty = false;
    for (int i = 0; i < h->ndim; i++) {
        empty |= h->shape[i] == 0;
        if (__builtin_mul_overflow(bytes, h->shape[i] ? h->shape[i] : 1, &bytes))
            return tn__in_bad(h->f, h->start, "the shape is too large");
    }
    bytes = empty ? 0 : bytes;
    if (bytes == h->f->size - start)
        return true;
    return tn__in_bad(h->f, h->f->size < start + bytes ? h->f->size : start + bytes,
                      "the header tells of %lld bytes of data, the file has %lld", (long long)bytes,
                      (long long)(h->f->size - start));
}

tn_tensor *tn__npy_read(const tn__in *f)
{
    header h = {.f = f};
    size_t length = 0;
    if (!read_start(f, &h.start, &length))
        return NULL;
    char *text = tn__alloc(length);
    if (!text)
        return NULL;
    h.text = h.at = text;
    h.end = text + length;
    const int64_t data = h.start + (int64_t)length;
    tn_tensor *t = NULL;
    if (tn__in_read(f, h.start, text, length) && parse_header(&h) && data_fits(&h, data))
        t = tn_empty(h.dtype, h.ndim, h.shape);
    tn__free(text);
    if (t && !tn__in_read(f, data, tn__data(t), t->storage->bytes)) {
        tn_drop_now(t);
        return NULL;
    }
    return t;
}

tn_tensor *tn_load_npy(const char *path)
{
    tn__in f;
    if (!tn__in_open(&f, "load_npy", path))
        return NULL;
    tn_tensor *t = tn__npy_read(&f);
    tn__in_close(&f);
    return t;
}

/* ---- writing ---- */

size_t tn__npy_header(const char *who, const tn_tensor *t, char text[TN__NPY_HEADER])
{
    const size_t start = MAGIC_BYTES + 4, room = TN__NPY_HEADER;
    int k = 0;
    while (k < KINDS && kinds[k].dtype != t->dtype)
        k++;
    if (k == KINDS)
        return tn_fail(TN_EDTYPE, "%s: a .npy file cannot hold %s; use tn_cast()", who,
                       tn_dtype_name(t->dtype)), 0;
    memcpy(text, MAGIC "\x01", MAGIC_BYTES + 2); /* version 1.0, then two bytes of length */
    size_t n = start + (size_t)snprintf(text + start, room - start,
                                        "{'descr': '%s', 'fortran_order': False, 'shape': (",
                                        kinds[k].descr);
    for (int i = 0; i < t->ndim; i++)
        n += (size_t)snprintf(text + n, room - n, t->ndim == 1 ? "%lld," : i ? ", %lld" : "%lld",
                              (long long)t->shape[i]);
    n += (size_t)snprintf(text + n, room - n, "), }");
    while ((n + 1) % ALIGN)
        text[n++] = ' ';
    text[n++] = '\n';
    text[MAGIC_BYTES + 2] = (char)((n - start) & 255);
    text[MAGIC_BYTES + 3] = (char)((n - start) >> 8);
    return n;
}

bool tn_save_npy(const tn_tensor *t, const char *path)
{
    char text[TN__NPY_HEADER];
    const size_t n = t ? tn__npy_header("save_npy", t, text) : 0;
    tn__out f;
    if (n == 0 || !tn__out_open(&f, "save_npy", path))
        return false;
    tn__out_write(&f, text, n);
    tn__out_tensor(&f, t);
    return tn__out_close(&f);
}
