/* The matrix products of all ops on CUDA.  The kernel: gemm.cu. */
#include "cuda.h"
#include "launch.h"
#include "libs/libs.h"

int tn__cuda_multiply(const tn__cuda_product *p, tn__cuda_work *w)
{
    int failed = tn__cublaslt_multiply(p, w);
    if (failed != TN_CUDA_DECLINED)
        return failed;
    const size_t bytes = (size_t)tn__cuda_gemm_room(p) * sizeof(float);
    float *room = bytes ? tn__cuda_alloc(w->device, bytes) : NULL;
    failed = bytes && !room ? TN_CUDA_NO_MEMORY : tn__cuda_gemm(p, room, w->stream);
    tn__cuda_release(w->device, room, bytes);
    return failed;
}
