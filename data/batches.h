/* Which samples make up which batch of an epoch, and in what order the batches come. */
#ifndef TN_DATA_BATCHES_H
#define TN_DATA_BATCHES_H

#include <tenon.h>

typedef struct tn__batches {
    int64_t n;               /* an epoch */
    int64_t most;            /* samples of the largest */
    int64_t x_most, y_most;  /* rows of the largest */
    /* the rest is read through the functions below */
    int64_t len, size;       /* samples; of a batch at most */
    int64_t *order;          /* [len] samples; NULL: as they come */
    int64_t *first;          /* [n + 1] places in order where batches begin; NULL: `size` samples each */
    int64_t *turns;          /* [n] which of them is the k-th of this epoch; NULL: as they were made */
    int64_t n_runs;          /* of samples that go on from one to the next; 0: each stands alone */
    int64_t *runs;           /* [n_runs + 1] samples that begin one, and len */
    int64_t *run_turns;      /* [n_runs] which of them is the k-th of this epoch; NULL: as they come */
    int32_t *x, *y;          /* [len] rows of each sample; NULL: one each */
    bool shuffle;
    uint64_t seed;
    int64_t epoch;           /* whose order it is; -1: none yet */
} tn__batches;

/* For checked arguments, with their defaults filled in but for `batch`.  NULL with the error set on failure. */
tn__batches *tn__batches_new(const tn_loader_args *a);
void tn__batches_free(tn__batches *b);

/* Puts the batches in the order of that epoch; costs nothing when they are in it. */
void tn__batches_order(tn__batches *b, int64_t epoch);

int64_t tn__batch_len(const tn__batches *b, int64_t batch);                  /* samples */
int64_t tn__batch_sample(const tn__batches *b, int64_t batch, int64_t k);    /* the k-th of them */
bool tn__batch_begins(const tn__batches *b, int64_t batch);                  /* a run, or whatever samples do alone */
int64_t tn__sample_rows(const int32_t *rows, int64_t sample);                /* rows: b->x or b->y */
int64_t tn__batch_rows(const tn__batches *b, const int32_t *rows, int64_t batch);

#endif
