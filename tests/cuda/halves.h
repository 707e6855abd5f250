/* What products are given in bf16 (tn__cuda_product.a_half), compared with what it should be a copy of when the product's
 * turn comes. */
#ifndef TN_HALVES_H
#define TN_HALVES_H

#include "launch.h"

#ifdef __cplusplus
extern "C" {
#endif
extern struct halves {
    long right, wrong; /* elements */
} halves;
int halves_look(const tn__cuda_product *p, void *stream);
#ifdef __cplusplus
}
#endif
#endif
