/* Data sets and loaders.
 *
 * A data set answers "how many" and "give me sample i"; a loader turns one into batches, with
 * workers that read ahead.  Order and augmentation depend on (seed, epoch, sample index) alone, so
 * batches are the same bits for any number of workers. */
#ifndef TENON_DATA_H
#define TENON_DATA_H

#include "ops.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum tn_split { TN_TRAIN, TN_TEST, TN_VALID } tn_split;

typedef struct tn_dataset tn_dataset;
typedef struct tn_dataset_class {
    const char *name;
    size_t size;                    /* of the data set's struct */
    /* Writes sample i: x [x_shape] of x_dtype, y [y_shape] of y_dtype.  Called from several threads
     * at once, but only while a TN_EACH is under way.  False with the error set on failure. */
    bool (*get)(const tn_dataset *d, int64_t i, void *x, void *y);
    void (*free)(tn_dataset *d);    /* what the struct holds, not the struct; NULL: nothing */
    /* Ragged samples (sequences): rows of x and of y of sample i; x_shape and y_shape are those of one row, and
     * get() writes all rows.  y is -1 when this is called; a set whose y is not ragged (a label a sequence) leaves it
     * so for all samples.  Asked once, when a loader is made.  NULL: every sample is one row. */
    void (*rows)(const tn_dataset *d, int64_t i, int64_t *x, int64_t *y);
    /* Samples that go on where the one before ended (a text in pieces): whether sample i begins anew.  All from one
     * that does to the next that does are a run: shuffling moves whole runs.  Asked once, when a loader is made;
     * batches are of one sample.  NULL: every sample stands alone. */
    bool (*begins)(const tn_dataset *d, int64_t i);
} tn_dataset_class;
struct tn_dataset { /* first member of every data set */
    const tn_type *type;
    const tn_dataset_class *cls;
    int64_t len;
    int x_ndim, y_ndim;
    int64_t x_shape[TN_MAX_DIMS], y_shape[TN_MAX_DIMS];
    tn_dtype x_dtype, y_dtype;
    int64_t classes;                /* 0: not a classification; of ragged samples: words of y's dictionary */
    int64_t x_classes;              /* words of x's dictionary; 0: x is not made of words */
    bool carries;                   /* of runs: what is carried goes on from one to the next, anew is an epoch alone */
    /* images (u8 [H,W,C], C <= 4): the loader gives (x / 255 - mean) / std as f32 */
    bool image;
    float mean[4], std[4];          /* per channel */
    const char *const *class_names; /* [classes] or NULL */
};
/* A data set of cls->size bytes, zeroed but for: x f32, y i64, both scalars, std 1.  The maker sets
 * the rest. */
TN_API void *tn_dataset_new(const tn_dataset_class *cls);
TN_API int64_t tn_dataset_len(const tn_dataset *d);
/* Of an image set, in the innermost scope: all images, u8 [len, H, W, C], and f32 [C, 256], what each byte of each
 * channel becomes. */
TN_API tn_tensor *tn_dataset_images(const tn_dataset *d);
TN_API tn_tensor *tn_dataset_table(const tn_dataset *d);

/* `path`: the folder of the binary version, or the published .tar.gz itself */
TN_API tn_dataset *tn_cifar10(const char *path, tn_split split);  /* [32,32,3] u8, 10 classes */
TN_API tn_dataset *tn_cifar100(const char *path, tn_split split); /* fine labels */
/* `path`: the folder (or archive) of idx files, .gz or not; [28,28,1] u8 */
TN_API tn_dataset *tn_mnist(const char *path, tn_split split);
/* Ten classes of drawn shapes on textured ground, made from `seed`; [32,32,3] u8. */
TN_API tn_dataset *tn_shapes(tn_split split, int64_t n, uint64_t seed);
/* x.npy [N, ...] and y.npy [N, ...]; f64 is read as f32.  u8 x of rank 4 with up to 4 channels
 * counts as images, scaled to [0, 1].  Integer y of rank 1 are labels, given as i64. */
TN_API tn_dataset *tn_arrays(const char *x_npy, const char *y_npy);
/* From tensors, in the same way, but f64 stays; copied */
TN_API tn_dataset *tn_tensors(tn_tensor *x, tn_tensor *y);

/* Augmentation of image data sets: zero padding (of the bytes, so the border is -mean / std) and a
 * random crop of the old size, then a horizontal flip with probability one half. */
typedef struct tn_augment {
    int crop_pad;
    bool flip;
} tn_augment;
static inline tn_augment tn_crop_flip(int pad) { return (tn_augment){pad, true}; }

typedef struct tn_loader tn_loader;
typedef struct tn_loader_args {
    tn_dataset *data;   /* taken over */
    int64_t batch;      /* samples; default 1; with max_tokens: at most, 0 any number */
    /* Ragged samples only: batches of samples of like length, as fairseq makes them: in the order of x's rows, then
     * of y's, as many as fit with (samples x longest side of any) <= max_tokens, a multiple of `multiple` where
     * possible.  Made once; shuffling moves whole batches, and breaks ties of length by the seed.  As there, what a
     * multiple leaves over begins the next batch, and where lengths jump that one, of up to `multiple` samples, may
     * exceed max_tokens. */
    int64_t max_tokens;
    int multiple;       /* default 8 */
    bool shuffle;
    bool drop_last;     /* default: the short last batch is kept */
    tn_augment augment;
    bool places;        /* of images: x is i64 [n, 4], which image and which crop of it, instead of its pixels; for
                         * tn_crops() of tn_dataset_images(), wherever these are kept.  The same pixels, in the end */
    int workers;        /* threads that read ahead; 0: batches are made when asked for */
    int prefetch;       /* batches read ahead; default 2 a worker */
    uint64_t seed;      /* default: the seed of tn_seed() */
} tn_loader_args;
TN_API tn_loader *tn_loader_call(tn_loader_args args);
#define tn_loader(...) TN_AT(tn_loader_call((tn_loader_args){.data = __VA_ARGS__}))
TN_API int64_t tn_loader_batches(const tn_loader *l); /* per epoch */
TN_API const tn_dataset *tn_loader_dataset(const tn_loader *l);

/* TN_EACH(b, loader) { ... b.x ... b.y ... } is one epoch; each turn is a scope.  Ends on break,
 * return, goto, and when an error is set.  The next TN_EACH is the next epoch. */
typedef struct tn_batch {
    tn_loader *loader;
    tn_scope *scope;
    tn_tensor *x, *y; /* [n, x_shape], [n, y_shape]: the data set's dtypes; images are f32 */
    /* ragged samples: x [rows of all, x_shape], and [n, 2] i64, first row and rows of each (see tn_attention);
     * y and y_spans likewise.  NULL where samples are not ragged. */
    tn_tensor *x_spans, *y_spans;
    const int64_t *samples; /* [n]: their numbers in the data set; valid during the turn */
    int64_t n;        /* samples in this batch */
    int64_t index;    /* batch number in the epoch, from 0 */
    bool first;       /* what a network carries from batch to batch (hidden states) begins anew here; always, where
                       * samples stand alone */
    double waited;    /* seconds spent waiting for this batch */
} tn_batch;
TN_API bool tn_batch_next(tn_batch *b);
TN_API void tn_batch_end(tn_batch *b);
#define TN_EACH(b, from)                                                                         \
    for (tn_batch b __attribute__((cleanup(tn_batch_end))) = {.loader = (from), .index = -1};    \
         tn_batch_next(&b);)

/* Rows of x and y (either may be NULL) in the batch that is `ahead` turns ahead (0: the one that comes next, between
 * two epochs the first of the next one) without reading it; false beyond the end of the epoch. */
TN_API bool tn_loader_rows(const tn_loader *l, int64_t ahead, int64_t *x_rows, int64_t *y_rows);

/* Where a loader stands: the epoch (from 0) and the batches of it already given.  An early exit
 * leaves the cursor where it was. */
typedef struct tn_cursor {
    int64_t epoch, batch;
} tn_cursor;
TN_API tn_cursor tn_loader_cursor(const tn_loader *l);
/* The next TN_EACH goes on from there; a cursor at the end of an epoch is the start of the next.
 * Not inside a TN_EACH of this loader. */
TN_API void tn_loader_seek(tn_loader *l, tn_cursor at);

/* ---- data sets by name, for configs ---- */
/* `path` under $TENON_DATA (in `room`) when something is there, else `path` itself. */
enum { TN_DATA_PATH = 4096 };
TN_API const char *tn_data_path(const char *path, char room[TN_DATA_PATH]);
/* root, x and y go through tn_data_path(). */
typedef struct tn_dataset_spec {
    const char *name, *root;
    tn_split split;
    const char *x, *y;      /* arrays */
    int64_t count;          /* shapes */
    const char *source, *target; /* pairs: languages */
    int64_t longest;        /* pairs: ids of a side at most */
    int64_t batch, steps;   /* text: rows and time steps of a chunk; the split TN_TRAIN alone has rows */
    bool carries;           /* text: states go on from shard to shard */
    uint64_t seed;
} tn_dataset_spec;
typedef tn_dataset *tn_dataset_make(const tn_dataset_spec *spec);
TN_API bool tn_register_dataset(const char *name, tn_dataset_make *make); /* `name` is kept */
TN_API tn_dataset *tn_dataset_named(const tn_dataset_spec *spec);
TN_API const char *const *tn_datasets(int *n); /* all names [n]; good until the next registration */

#ifdef __cplusplus
}
#endif
#endif
