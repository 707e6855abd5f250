/* MNIST and the sets in its form (Fashion-MNIST): idx files as published at
 * http://yann.lecun.com/exdb/mnist.  An idx file is two zero bytes, a type (8: bytes), the number
 * of dims, each dim as 4 bytes with the highest first, then the elements. */
#include <stdlib.h>
#include <string.h>

#include "archive.h"
#include "memory.h"

enum { IMAGES, LABELS, FILES };
enum { CLASSES = 10 };

static const char *const file_names[][FILES] = {
    [TN_TRAIN] = {"train-images-idx3-ubyte", "train-labels-idx1-ubyte"},
    [TN_TEST] = {"t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"},
};

typedef struct reading {
    uint8_t *bytes[FILES];
    int64_t dim[FILES][3];
} reading;

static uint32_t big_endian(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Checks the header against what is there; the elements begin after 4 + 4 ndim bytes. */
static bool check_idx(const uint8_t *data, size_t size, int ndim, int64_t *dim, const char *where)
{
    const size_t head = 4 + 4 * (size_t)ndim;
    if (size < head) {
        tn_fail(TN_EFORMAT, "mnist: %s: truncated: ends at byte %zu of a %zu-byte header",
                where, size, head);
        return false;
    }
    const uint32_t magic = 0x800u + (uint32_t)ndim;
    if (big_endian(data) != magic) {
        tn_fail(TN_EFORMAT, "mnist: %s: not an idx file of bytes with %d dims: it begins 0x%08x at "
                "byte 0, not 0x%08x", where, ndim, (unsigned)big_endian(data), (unsigned)magic);
        return false;
    }
    uint64_t elements = 1;
    for (int i = 0; i < ndim; i++) {
        dim[i] = big_endian(data + 4 + 4 * i);
        if (dim[i] == 0 || __builtin_mul_overflow(elements, (uint64_t)dim[i], &elements)) {
            tn_fail(TN_EFORMAT, "mnist: %s: dim %d at byte %d is %lld", where, i, 4 + 4 * i,
                    (long long)dim[i]);
            return false;
        }
    }
    if (size - head != elements)
        tn_fail(TN_EFORMAT, "mnist: %s: %s: %zu bytes from byte %zu on, not %llu", where,
                size - head < elements ? "truncated" : "too large", size - head, head,
                (unsigned long long)elements);
    return size - head == elements;
}

static bool take_idx(void *arg, int which, const uint8_t *data, size_t size, const char *where)
{
    reading *r = arg;
    const int ndim = which == IMAGES ? 3 : 1;
    if (!check_idx(data, size, ndim, r->dim[which], where))
        return false;
    const size_t head = 4 + 4 * (size_t)ndim;
    for (size_t i = head; which == LABELS && i < size; i++)
        if (data[i] >= CLASSES) {
            tn_fail(TN_EFORMAT, "mnist: %s: label %d at byte %zu is not below %d", where, data[i],
                    i, CLASSES);
            return false;
        }
    r->bytes[which] = malloc(size - head);
    if (!r->bytes[which]) {
        tn_fail(TN_ENOMEM, "mnist: %s: no memory for %zu bytes", where, size - head);
        return false;
    }
    memcpy(r->bytes[which], data + head, size - head);
    return true;
}

static tn_dataset *join(const char *path, const reading *r)
{
    const int64_t *dim = r->dim[IMAGES];
    if (dim[0] != r->dim[LABELS][0])
        return tn_fail(TN_EFORMAT, "mnist: %s: %lld images but %lld labels", path,
                       (long long)dim[0], (long long)r->dim[LABELS][0]);
    const tn_dataset shape = {
        .len = dim[0], .x_dtype = TN_U8, .x_ndim = 3, .x_shape = {dim[1], dim[2], 1},
        .y_dtype = TN_I64,
    };
    tn__memory_set *m = tn__memory_set_new("mnist", &shape);
    if (!m)
        return NULL;
    memcpy(m->x, r->bytes[IMAGES], (size_t)dim[0] * m->x_bytes);
    for (int64_t i = 0; i < dim[0]; i++)
        ((int64_t *)(void *)m->y)[i] = r->bytes[LABELS][i];
    m->base.classes = CLASSES;
    m->base.image = true;
    m->base.mean[0] = 0.1307f;
    m->base.std[0] = 0.3081f;
    return &m->base;
}

tn_dataset *tn_mnist(const char *path, tn_split split)
{
    const tn__source source = {
        .who = "mnist", .path = path, .n = FILES, .names = file_names[split == TN_TEST],
        .limit = (size_t)256 << 20,
        .hint = "give the folder with the four published idx files, .gz or not",
    };
    if (split == TN_VALID)
        return tn_fail(TN_EARG, "mnist: there is no validation split, only train and test");
    reading r = {0};
    tn_dataset *d = tn__source_read(&source, take_idx, &r) ? join(path, &r) : NULL;
    free(r.bytes[IMAGES]);
    free(r.bytes[LABELS]);
    return d;
}
