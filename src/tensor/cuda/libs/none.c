/* In place of the rest of this folder where NVIDIA's headers are not there to build with: every
 * op takes the kernel of our own. */
#include "libs.h"

void tn__cuda_libraries(tn_cuda_row *row, void *arg)
{
    row(arg, "cuDNN", "built without it and cuBLASLt: their headers were not found");
}

#define NONE(op)                                           \
    int tn__cudnn_##op(const tn_call *c, tn__cuda_work *w) \
    {                                                      \
        (void)c;                                           \
        (void)w;                                           \
        return TN_CUDA_DECLINED;                           \
    }
NONE(conv) NONE(conv_backward_data) NONE(conv_backward_weight)
NONE(batch_norm) NONE(batch_norm_backward)

int tn__cublaslt_multiply(const tn__cuda_product *p, tn__cuda_work *w)
{
    (void)p;
    (void)w;
    return TN_CUDA_DECLINED;
}
