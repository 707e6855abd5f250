/* In the place of cuDNN and cuBLASLt, which decline everything; but what a product is given in bf16 is looked at. */
#define tn__cublaslt_multiply multiply_none
#include "libs/none.c"
#undef tn__cublaslt_multiply

#include "halves.h"

int tn__cublaslt_multiply(const tn__cuda_product *p, tn__cuda_work *w)
{
    return halves_look(p, w->stream) ? TN_CUDA_TOLD : TN_CUDA_DECLINED;
}
