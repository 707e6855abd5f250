/* Running sums of loss and right answers. */
#ifndef TENON_TALLY_H
#define TENON_TALLY_H

#include <tenon.h>

typedef struct tally {
    double loss; /* sum over samples */
    int64_t right, seen;
} tally;

/* A batch: its mean loss, logits [N, classes], classes y [N] i64. */
bool tally_add(tally *t, const tn_tensor *loss, tn_tensor *logits, tn_tensor *y);

static inline double tally_loss(const tally *t) { return t->seen ? t->loss / (double)t->seen : 0; }
static inline double tally_accuracy(const tally *t)
{
    return t->seen ? (double)t->right / (double)t->seen : 0;
}

#endif
