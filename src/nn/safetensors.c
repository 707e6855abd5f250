/* Safetensors files (github.com/huggingface/safetensors): eight bytes of header length, a JSON header,
 * data.  Opening checks everything that can be checked without reading the data, so that reading meets
 * no surprises.  Files written here carry a CRC-32 of all their bytes, its own digits taken as zeros.
 * Which tensors go in or out of a module is checkpoint.c. */
#define _GNU_SOURCE /* memmem */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "internal.h"
#include "tensor/file.h"

enum { PREFIX = 8, MOST_HEADER = 100000000 };
#define METADATA "__metadata__"
#define CRC_KEY "\"crc32\":\"" /* as compact JSON writes it; quotes within a text would be escaped */
enum { CRC_DIGITS = 8 };

static const char *const dtype_names[TN_DTYPE_COUNT] = {
#define X(id, ...) [TN_##id] = #id,
    TN_DTYPES(X)
#undef X
};

struct tn_safetensors {
    const tn_type *type;
    char *path;
    tn__in in;
    int64_t data; /* where it starts */
    int64_t crc;  /* where the checksum's digits stand; 0: there is none */
    json_t *header;
    int n;
    tn__entry *entries; /* by place in the file */
};

/* ---- reading: the header ---- */

static void file_free(void *object)
{
    tn_safetensors *f = object;
    tn__in_close(&f->in);
    json_decref(f->header);
    tn__free(f->entries);
    tn__free(f->path);
    tn__free(f);
}

static const tn_type file_type = {"safetensors", file_free};

/* Where the header speaks of `name`, for errors: the place of the quoted name, else the header's start. */
static int64_t place_of(const char *text, size_t length, const char *name)
{
    const size_t n = strlen(name);
    const char *p = text, *end = text + length;
    while (p < end && (p = memmem(p, (size_t)(end - p), name, n)) != NULL) {
        if (p > text && p[-1] == '"' && p + n < end && p[n] == '"')
            return PREFIX + (p - 1 - text);
        p++;
    }
    return PREFIX;
}

/* A whole number >= 0. */
static bool whole(const json_t *v, int64_t *out)
{
    *out = json_is_integer(v) ? (int64_t)json_integer_value(v) : -1;
    return *out >= 0;
}

static const char *read_dtype(const json_t *v, tn__entry *e)
{
    const char *name = json_string_value(v);
    for (int t = 0; name && t < TN_DTYPE_COUNT; t++)
        if (!strcmp(name, dtype_names[t])) {
            e->dtype = (tn_dtype)t;
            return NULL;
        }
    return "its dtype is none of F32, F64, BF16, F16, I32, I64, U8";
}

static const char *read_shape(const json_t *v, tn__entry *e)
{
    if (!json_is_array(v) || json_array_size(v) > TN_MAX_DIMS)
        return "its shape is not a list of at most 8 numbers";
    e->ndim = (int)json_array_size(v);
    for (int i = 0; i < e->ndim; i++)
        if (!whole(json_array_get(v, (size_t)i), &e->shape[i]))
            return "its shape has a dim that is not a whole number";
    return NULL;
}

/* What the shape needs must be what the offsets give. */
static const char *check_size(const tn__entry *e)
{
    int64_t bytes = (int64_t)tn_dtype_size(e->dtype);
    bool empty = false;
    for (int i = 0; i < e->ndim; i++) {
        empty |= e->shape[i] == 0;
        if (__builtin_mul_overflow(bytes, e->shape[i] ? e->shape[i] : 1, &bytes))
            return "its shape is too large";
    }
    return e->end - e->begin == (empty ? 0 : bytes) ? NULL : "its shape and its data_offsets do not agree";
}

/* Fills e from the header's value; what is wrong, or NULL. */
static const char *read_entry(const json_t *v, tn__entry *e)
{
    const json_t *offsets = json_object_get(v, "data_offsets");
    if (!json_is_object(v))
        return "its description is not an object";
    const char *trouble = read_dtype(json_object_get(v, "dtype"), e);
    if (!trouble)
        trouble = read_shape(json_object_get(v, "shape"), e);
    if (trouble)
        return trouble;
    if (json_array_size(offsets) != 2 || !whole(json_array_get(offsets, 0), &e->begin) ||
        !whole(json_array_get(offsets, 1), &e->end) || e->begin > e->end)
        return "its data_offsets are not two whole numbers in order";
    return check_size(e);
}

static const char *check_metadata(json_t *v)
{
    const char *key;
    json_t *value;
    if (!json_is_object(v))
        return "it is not an object";
    json_object_foreach(v, key, value)
        if (!json_is_string(value))
            return "a value is not a string";
    return NULL;
}

static bool read_entries(tn_safetensors *f, const char *text, size_t length)
{
    const char *name;
    json_t *value;
    json_object_foreach(f->header, name, value) {
        const bool meta = !strcmp(name, METADATA);
        tn__entry *e = &f->entries[f->n];
        const char *trouble = meta ? check_metadata(value) : read_entry(value, e);
        if (trouble)
            return tn__in_bad(&f->in, place_of(text, length, name), "'%.100s': %s", name, trouble);
        e->name = name;
        f->n += !meta;
    }
    return true;
}

static int by_place(const void *a, const void *b)
{
    const tn__entry *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

/* Tensors fill the data from its first byte to its last, without holes and without sharing. */
static bool check_tiling(tn_safetensors *f)
{
    const int64_t size = f->in.size - f->data;
    int64_t at = 0;
    qsort(f->entries, (size_t)f->n, sizeof *f->entries, by_place);
    for (int i = 0; i < f->n; at = f->entries[i++].end) {
        const tn__entry *e = &f->entries[i];
        if (e->end > size)
            return tn__in_bad(&f->in, f->in.size, "'%.100s' ends behind the end of the file, its data_offsets "
                              "end at %lld of %lld", e->name, (long long)e->end, (long long)size);
        if (e->begin > at)
            return tn__in_bad(&f->in, f->data + at, "a hole before '%.100s'", e->name);
        if (e->begin < at)
            return tn__in_bad(&f->in, f->data + e->begin, "'%.100s' and another share bytes", e->name);
    }
    if (at < size)
        tn__in_bad(&f->in, f->data + at, "%lld bytes belong to no tensor", (long long)(size - at));
    return at == size;
}

static bool parse(tn_safetensors *f, const char *text, size_t length)
{
    json_error_t e;
    if (text[0] != '{')
        return tn__in_bad(&f->in, PREFIX, "the header does not start with {");
    f->header = json_loadb(text, length, JSON_REJECT_DUPLICATES, &e);
    if (!f->header && json_error_code(&e) == json_error_out_of_memory)
        return tn_fail(TN_ENOMEM, "%s: out of memory for the header of %s", f->in.who, f->path), false;
    if (!f->header)
        return tn__in_bad(&f->in, PREFIX + e.position, "the header is not JSON: %s", e.text);
    f->entries = tn__alloc((json_object_size(f->header) + 1) * sizeof *f->entries);
    return f->entries && read_entries(f, text, length) && check_tiling(f);
}

/* Where its digits stand in a file with this header; 0: nowhere. */
static int64_t place_of_crc(const char *text, size_t length)
{
    const char *key = memmem(text, length, CRC_KEY, strlen(CRC_KEY));
    return key ? PREFIX + (int64_t)strlen(CRC_KEY) + (key - text) : 0;
}

static bool read_header(tn_safetensors *f)
{
    uint64_t length;
    if (!tn__in_read(&f->in, 0, &length, PREFIX))
        return false;
    if (length < 2 || length > MOST_HEADER || (int64_t)length > f->in.size - PREFIX)
        return tn__in_bad(&f->in, 0, "a header of %llu bytes in a file of %lld", (unsigned long long)length,
                          (long long)f->in.size);
    char *text = tn__alloc((size_t)length);
    if (!text)
        return false;
    f->data = PREFIX + (int64_t)length;
    const bool ok = tn__in_read(&f->in, PREFIX, text, (size_t)length) && parse(f, text, (size_t)length);
    if (ok && tn_safetensors_meta(f, "crc32"))
        f->crc = place_of_crc(text, (size_t)length);
    tn__free(text);
    return ok;
}

tn_safetensors *tn_safetensors_open(const char *path)
{
    if (!path)
        return tn_fail(TN_EARG, "safetensors: no file name given");
    tn_safetensors *f = tn__alloc(sizeof *f);
    if (!f)
        return NULL;
    f->type = &file_type;
    f->in.fd = -1;
    f->path = tn__strdup(path);
    if (f->path && tn__in_open(&f->in, "safetensors", f->path) && read_header(f))
        return f;
    file_free(f);
    return NULL;
}

/* ---- reading: the checksum ---- */

static void print_crc(char text[CRC_DIGITS + 1], uint32_t crc)
{
    snprintf(text, CRC_DIGITS + 1, "%08x", (unsigned)crc);
}

/* With zeros for the digits of the checksum itself. */
static bool sum_file(const tn_safetensors *f, uint32_t *crc)
{
    enum { CHUNK = 1 << 20 };
    unsigned char *bytes = tn__alloc(CHUNK);
    bool ok = bytes != NULL;
    *crc = 0;
    for (int64_t at = 0; ok && at < f->in.size; at += CHUNK) {
        const int64_t left = f->in.size - at, n = left < CHUNK ? left : CHUNK;
        ok = tn__in_read(&f->in, at, bytes, (size_t)n);
        for (int64_t k = f->crc; k < f->crc + CRC_DIGITS; k++)
            if (k >= at && k < at + n)
                bytes[k - at] = '0';
        *crc = ok ? (uint32_t)crc32_z(*crc, bytes, (size_t)n) : 0;
    }
    tn__free(bytes);
    return ok;
}

bool tn_safetensors_check(const tn_safetensors *f)
{
    char found[CRC_DIGITS + 1];
    uint32_t crc;
    const char *written = tn_safetensors_meta(f, "crc32");
    if (!f || !written || !f->crc)
        return f != NULL;
    if (!sum_file(f, &crc))
        return false;
    print_crc(found, crc);
    return !strcmp(found, written) ||
           tn__in_bad(&f->in, f->crc, "the checksum of the file is %s, not %.20s: it is damaged", found, written);
}

/* ---- reading: the tensors ---- */

int tn_safetensors_count(const tn_safetensors *f) { return f ? f->n : 0; }

const char *tn_safetensors_name(const tn_safetensors *f, int i)
{
    return f && i >= 0 && i < f->n ? f->entries[i].name : NULL;
}

const char *tn_safetensors_meta(const tn_safetensors *f, const char *key)
{
    return f && key ? json_string_value(json_object_get(json_object_get(f->header, METADATA), key)) : NULL;
}

const tn__entry *tn__safetensors_find(const tn_safetensors *f, const char *name)
{
    for (int i = 0; f && name && i < f->n; i++)
        if (!strcmp(f->entries[i].name, name))
            return &f->entries[i];
    return NULL;
}

tn_tensor *tn_safetensors_read(tn_safetensors *f, const char *name)
{
    const tn__entry *e = tn__safetensors_find(f, name);
    if (!f)
        return NULL;
    if (!e)
        return tn_fail(TN_EARG, "safetensors: %s has no tensor '%.100s'", f->path, name ? name : "");
    tn_tensor *t = tn_empty(e->dtype, e->ndim, e->shape);
    if (t && !tn__in_read(&f->in, f->data + e->begin, tn__data(t), (size_t)(e->end - e->begin))) {
        tn_drop_now(t);
        return NULL;
    }
    return t;
}

/* ---- writing ---- */

/* {"dtype": "F32", "shape": [2,3], "data_offsets": [0,24]} */
static json_t *describe(const tn_tensor *t, int64_t begin, int64_t end)
{
    json_t *shape = json_array();
    for (int i = 0; i < t->ndim; i++)
        if (json_array_append_new(shape, json_integer(t->shape[i]))) {
            json_decref(shape);
            return NULL;
        }
    return json_pack("{s:s, s:o, s:[I,I]}", "dtype", dtype_names[t->dtype], "shape", shape, "data_offsets",
                     (json_int_t)begin, (json_int_t)end);
}

/* Text in JSON is UTF-8, and jansson checks it. */
static bool add(json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value) == 0)
        return true;
    tn_fail(TN_EARG, "safetensors: '%.100s' cannot be written: not UTF-8, or out of memory", key);
    return false;
}

static bool add_all(json_t *header, int n, const tn_named *list, const char *const *metadata)
{
    json_t *meta = json_object();
    bool ok = add(header, METADATA, meta) && add(meta, "format", json_string("pt"));
    for (; ok && metadata && metadata[0]; metadata += 2)
        ok = add(meta, metadata[0], json_string(metadata[1] ? metadata[1] : ""));
    ok = ok && add(meta, "crc32", json_string("00000000"));
    int64_t at = 0;
    for (int i = 0; ok && i < n; i++) {
        const tn_tensor *t = list[i].t;
        const char *name = list[i].name;
        if (!name || !t)
            return tn_fail(TN_EARG, "safetensors: entry %d has no %s", i, name ? "tensor" : "name"), false;
        if (json_object_get(header, name))
            return tn_fail(TN_EARG, "safetensors: the name '%.100s' is taken", name), false;
        const int64_t end = at + tn_numel(t) * (int64_t)tn_dtype_size(t->dtype);
        ok = add(header, name, describe(t, at, end));
        at = end;
    }
    return ok;
}

static char *header_text(int n, const tn_named *list, const char *const *metadata)
{
    json_t *header = json_object();
    char *text = NULL;
    if (!header)
        tn_fail(TN_ENOMEM, "safetensors: out of memory for the header");
    else if (add_all(header, n, list, metadata) && !(text = json_dumps(header, JSON_COMPACT)))
        tn_fail(TN_ENOMEM, "safetensors: out of memory for the header");
    json_decref(header);
    return text;
}

bool tn_safetensors_save(const char *path, int n, const tn_named *list, const char *const *metadata)
{
    char *text = header_text(n, list, metadata);
    if (!text)
        return false;
    const uint64_t length = strlen(text), padding = -length & 7, padded = length + padding;
    tn__out f;
    bool ok = tn__out_open(&f, "safetensors", path);
    if (ok) {
        tn__out_write(&f, &padded, PREFIX);
        tn__out_write(&f, text, length);
        tn__out_write(&f, "        ", padding);
        for (int i = 0; !f.failed && i < n; i++)
            tn__out_tensor(&f, list[i].t);
        char crc[CRC_DIGITS + 1];
        print_crc(crc, f.crc);
        tn__out_over(&f, place_of_crc(text, length), crc, CRC_DIGITS);
        ok = tn__out_close(&f);
    }
    free(text);
    return ok;
}
