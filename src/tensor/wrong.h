/* What can be wrong with integers that choose rows: one wording for CPU kernels, which look before they start,
 * and for CUDA kernels, which skip what is wrong and have it told at the next wait (cuda/faults.c).  After the
 * op's name come numbers. */
#ifndef TN_WRONG_H
#define TN_WRONG_H

/* index, its place, last that is possible */
#define TN_WRONG_INDEX "%s: index %lld, element %lld of the indices, is outside 0..%lld"
/* target, its place, last class */
#define TN_WRONG_TARGET "%s: target %lld at position %lld is not a class in 0..%lld"
/* after what the spans are called: sequence, first row, rows, last row there is; sequence, row */
#define TN_WRONG_SPAN "%s: %s: sequence %lld begins at row %lld and has %lld, but there are rows 0..%lld"
#define TN_WRONG_SHARED "%s: %s: sequence %lld shares row %lld with one before it"
/* sequence, its length, steps there are */
#define TN_WRONG_LENGTH "%s: sequence %lld has length %lld, there are %lld steps"
/* sequence, its keys, the most there can be */
#define TN_WRONG_KEYS "%s: sequence %lld has %lld keys, with dropout it can have %d at most"
/* cluster, its rows, places for them */
#define TN_WRONG_ROOM "%s: cluster %lld has %lld rows, the plan has %lld; it is one of other targets"

#endif
