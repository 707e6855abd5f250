/* What the CUDA backend asks of NVIDIA's libraries.  Nothing of theirs is needed to include this;
 * where their headers were not there to build with, none.c answers. */
#ifndef TN_CUDA_LIBS_H
#define TN_CUDA_LIBS_H

#include "internal.h"
#include "launch.h"

/* Each library in a word, with its version and path or with what is wrong. */
void tn__cuda_libraries(tn_cuda_row *row, void *arg);

/* TN_CUDA_DECLINED where cuDNN is missing or has no plan that may be used (conv.c, norm.c). */
tn__cuda_launch tn__cudnn_conv, tn__cudnn_conv_backward_data, tn__cudnn_conv_backward_weight;
tn__cuda_launch tn__cudnn_batch_norm, tn__cudnn_batch_norm_backward;

/* The same of cuBLASLt (product.c). */
int tn__cublaslt_multiply(const tn__cuda_product *p, tn__cuda_work *w);

/* The engines that a library has chosen on a device, for ../engines.c.  Keys say what for; an engine is bytes, none at
 * all where the kernel of our own computes. */
typedef void tn__engine_row(void *arg, const void *key, size_t key_size, const void *engine, size_t size);
typedef struct tn__chooser {
    uint64_t (*version)(void); /* 0: the library is not there */
    void (*each)(int device, tn__engine_row *row, void *arg);
    /* Chosen from now on; false: the library does not take it. */
    bool (*take)(int device, const void *key, size_t key_size, const void *engine, size_t size);
} tn__chooser;
extern const tn__chooser tn__cudnn_engines, tn__cublaslt_engines; /* plans.c, product.c */

#endif
