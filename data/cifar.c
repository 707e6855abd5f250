/* CIFAR-10 and CIFAR-100 (Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html), binary
 * version: each record is its labels, a byte each, then the red, green and blue planes of 32 x 32
 * bytes.  In memory the images are [32,32,3]. */
#include <string.h>

#include "archive.h"
#include "memory.h"

enum { SIDE = 32, PLANE = SIDE * SIDE, IMAGE = 3 * PLANE, MOST_FILES = 5, MOST_LABELS = 2 };

static const char *const names10[] = {
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
};

static const char *const names100[] = {
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle",
    "bottle", "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle",
    "caterpillar", "cattle", "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch",
    "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish", "forest", "fox",
    "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion",
    "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom",
    "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree",
    "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road",
    "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake",
    "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank",
    "telephone", "television", "tiger", "tractor", "train", "trout", "tulip", "turtle",
    "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm",
};

typedef struct layout {
    const char *who;
    int labels, classes[MOST_LABELS]; /* bytes before the planes; the last one is given */
    struct {
        int n;                        /* files */
        int64_t records;              /* in each */
        const char *names[MOST_FILES];
    } files[2];                       /* by split */
    float mean[3], std[3];
    const char *const *class_names;
    const char *hint;
} layout;

static const layout cifar10 = {
    .who = "cifar10", .labels = 1, .classes = {10},
    .files = {
        [TN_TRAIN] = {5, 10000, {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                                 "data_batch_4.bin", "data_batch_5.bin"}},
        [TN_TEST] = {1, 10000, {"test_batch.bin"}},
    },
    .mean = {0.4914f, 0.4822f, 0.4465f}, .std = {0.2023f, 0.1994f, 0.2010f}, .class_names = names10,
    .hint = "give cifar-10-binary.tar.gz or the folder cifar-10-batches-bin unpacked from it",
};

static const layout cifar100 = {
    .who = "cifar100", .labels = 2, .classes = {20, 100},
    .files = {
        [TN_TRAIN] = {1, 50000, {"train.bin"}},
        [TN_TEST] = {1, 10000, {"test.bin"}},
    },
    .mean = {0.5071f, 0.4867f, 0.4408f}, .std = {0.2675f, 0.2565f, 0.2761f},
    .class_names = names100,
    .hint = "give cifar-100-binary.tar.gz or the folder cifar-100-binary unpacked from it",
};

typedef struct reading {
    const layout *l;
    tn_split split;
    tn__memory_set *set; /* made when the first file is found good */
} reading;

static void interleave(const uint8_t *planes, uint8_t *pixels)
{
    for (int i = 0; i < PLANE; i++)
        for (int c = 0; c < 3; c++)
            pixels[3 * i + c] = planes[c * PLANE + i];
}

static bool take_file(void *arg, int which, const uint8_t *data, size_t size, const char *where)
{
    reading *r = arg;
    const layout *l = r->l;
    const int64_t records = l->files[r->split].records;
    const size_t bytes = (size_t)l->labels + IMAGE, whole = (size_t)records * bytes;
    if (size != whole) {
        tn_fail(TN_EFORMAT, "%s: %s: truncated: ends at byte %zu of %zu, in record %zu", l->who,
                where, size, whole, size / bytes);
        return false;
    }
    const tn_dataset shape = {
        .len = records * l->files[r->split].n, .x_dtype = TN_U8, .x_ndim = 3,
        .x_shape = {SIDE, SIDE, 3}, .y_dtype = TN_I64,
    };
    if (!r->set && !(r->set = tn__memory_set_new(l->who, &shape)))
        return false;
    for (int64_t i = 0; i < records; i++) {
        const size_t at = (size_t)i * bytes;
        for (int k = 0; k < l->labels; k++)
            if (data[at + (size_t)k] >= l->classes[k]) {
                tn_fail(TN_EFORMAT, "%s: %s: label %d at byte %zu (record %lld) is not below %d",
                        l->who, where, data[at + (size_t)k], at + (size_t)k, (long long)i,
                        l->classes[k]);
                return false;
            }
        const size_t to = (size_t)(which * records + i);
        interleave(data + at + l->labels, (uint8_t *)r->set->x + to * IMAGE);
        ((int64_t *)(void *)r->set->y)[to] = data[at + (size_t)l->labels - 1];
    }
    return true;
}

static tn_dataset *cifar(const layout *l, const char *path, tn_split split)
{
    reading r = {l, split == TN_TEST ? TN_TEST : TN_TRAIN, NULL};
    if (split == TN_VALID)
        return tn_fail(TN_EARG, "%s: there is no validation split, only train and test", l->who);
    const tn__source source = {
        .who = l->who, .path = path, .n = l->files[r.split].n, .names = l->files[r.split].names,
        .limit = (size_t)l->files[r.split].records * ((size_t)l->labels + IMAGE), .hint = l->hint,
    };
    if (!tn__source_read(&source, take_file, &r)) {
        tn_free(r.set);
        return NULL;
    }
    tn_dataset *d = &r.set->base;
    d->classes = l->classes[l->labels - 1];
    d->class_names = l->class_names;
    d->image = true;
    memcpy(d->mean, l->mean, sizeof l->mean);
    memcpy(d->std, l->std, sizeof l->std);
    return d;
}

tn_dataset *tn_cifar10(const char *path, tn_split split) { return cifar(&cifar10, path, split); }
tn_dataset *tn_cifar100(const char *path, tn_split split) { return cifar(&cifar100, path, split); }
