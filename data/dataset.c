/* What every data set shares, and the table of data sets by name.  Not the sets themselves
 * (cifar.c, mnist.c, shapes.c, arrays.c, pairs.c, stream.c) nor their batches: loader.c is next. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <tenon.h>

#include "augment.h"
#include "memory.h"
#include "splits.h"

const char *const tn__split_names[3] = {[TN_TRAIN] = "train", [TN_TEST] = "test", [TN_VALID] = "valid"};

static void dataset_free(void *object)
{
    tn_dataset *d = object;
    if (d->cls->free)
        d->cls->free(d);
    free(d);
}

static const tn_type dataset_type = {"data set", dataset_free};

void *tn_dataset_new(const tn_dataset_class *cls)
{
    if (!cls)
        return NULL;
    if (cls->size < sizeof(tn_dataset))
        return tn_fail(TN_EARG, "%s: a data set of %zu bytes: its struct begins with a tn_dataset",
                       cls->name, cls->size);
    tn_dataset *d = calloc(1, cls->size);
    if (!d)
        return tn_fail(TN_ENOMEM, "%s: no memory for %zu bytes", cls->name, cls->size);
    d->type = &dataset_type;
    d->cls = cls;
    d->x_dtype = TN_F32;
    d->y_dtype = TN_I64;
    for (int c = 0; c < 4; c++)
        d->std[c] = 1;
    return d;
}

int64_t tn_dataset_len(const tn_dataset *d) { return d ? d->len : 0; }

/* ---- images ---- */

static bool has_images(const tn_dataset *d)
{
    if (d && !d->image)
        tn_fail(TN_EARG, "%s: this data set has no images", d->cls->name);
    return d && d->image;
}

tn_tensor *tn_dataset_images(const tn_dataset *d)
{
    size_t y_bytes;
    if (!has_images(d) || !tn__sample_bytes(d->y_dtype, d->y_ndim, d->y_shape, &y_bytes))
        return NULL;
    tn_tensor *all = tn_empty(TN_U8, TN_SHAPE(d->len, d->x_shape[0], d->x_shape[1], d->x_shape[2]));
    uint8_t *at = tn_u8(all);
    char *y = malloc(y_bytes ? y_bytes : 1);
    if (!y)
        tn_fail(TN_ENOMEM, "%s: no memory for a label", d->cls->name);
    for (int64_t i = 0; i < d->len && tn_ok(); i++, at += tn_numel(all) / d->len)
        if (!d->cls->get(d, i, (char *)at, y))
            tn_fail(TN_EIO, "%s: sample %lld could not be read", d->cls->name, (long long)i);
    free(y);
    return tn_ok() ? all : NULL;
}

tn_tensor *tn_dataset_table(const tn_dataset *d)
{
    float table[4][256];
    if (!has_images(d))
        return NULL;
    tn__fill_table(d, table);
    return tn_from_f32(table[0], TN_SHAPE(d->x_shape[2], 256));
}

/* ---- by name ---- */

const char *tn_data_path(const char *path, char room[TN_DATA_PATH])
{
    const char *base = getenv("TENON_DATA");
    if (!path || !base || path[0] == '/')
        return path;
    const int n = snprintf(room, TN_DATA_PATH, "%s/%s", base, path);
    return n > 0 && n < TN_DATA_PATH && access(room, F_OK) == 0 ? room : path;
}

static tn_dataset *make_cifar10(const tn_dataset_spec *s) { return tn_cifar10(s->root, s->split); }
static tn_dataset *make_cifar100(const tn_dataset_spec *s)
{
    return tn_cifar100(s->root, s->split);
}
static tn_dataset *make_mnist(const tn_dataset_spec *s) { return tn_mnist(s->root, s->split); }
static tn_dataset *make_arrays(const tn_dataset_spec *s) { return tn_arrays(s->x, s->y); }
static tn_dataset *make_shapes(const tn_dataset_spec *s)
{
    const int64_t usual = s->split == TN_TRAIN ? 10000 : 2000;
    return tn_shapes(s->split, s->count ? s->count : usual, s->seed);
}
static tn_dataset *make_pairs(const tn_dataset_spec *s)
{
    return tn_pairs(s->root, s->source, s->target, s->split, s->longest);
}
static tn_dataset *make_text(const tn_dataset_spec *s)
{
    const bool train = s->split == TN_TRAIN;
    return tn_text_stream(s->root, s->split, .batch = train ? s->batch : 0, .steps = s->steps, .whole = !train,
                          .carries = s->carries);
}

#define ROW(name) {#name, (void (*)(void))(make_##name)}
static const tn_entry rows[] = {
    ROW(cifar10), ROW(cifar100), ROW(mnist), ROW(shapes), ROW(arrays), ROW(pairs),
    ROW(text),
};
static tn_registry sets = {.what = "dataset", .rows = rows, .n_rows = sizeof rows / sizeof *rows};

bool tn_register_dataset(const char *name, tn_dataset_make *make)
{
    return tn_registry_add(&sets, name, (void (*)(void))make);
}

const char *const *tn_datasets(int *n) { return tn_registry_names(&sets, n); }

tn_dataset *tn_dataset_named(const tn_dataset_spec *spec)
{
    if (!spec || !spec->name)
        return tn_fail(TN_EARG, "tn_dataset_named: no name given");
    const int i = tn_registry_find(&sets, spec->name);
    if (i < 0)
        return NULL;
    char room[3][TN_DATA_PATH];
    tn_dataset_spec found = *spec;
    found.root = tn_data_path(spec->root, room[0]);
    found.x = tn_data_path(spec->x, room[1]);
    found.y = tn_data_path(spec->y, room[2]);
    return ((tn_dataset_make *)sets.entry[i].make)(&found);
}
