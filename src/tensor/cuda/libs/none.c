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

static uint64_t no_version(void) { return 0; }

static void no_engines(int device, tn__engine_row *row, void *arg)
{
    (void)device;
    (void)row;
    (void)arg;
}

static bool take_none(int device, const void *key, size_t key_size, const void *engine, size_t size)
{
    (void)device;
    (void)key;
    (void)key_size;
    (void)engine;
    (void)size;
    return false;
}

const tn__chooser tn__cudnn_engines = {no_version, no_engines, take_none};
const tn__chooser tn__cublaslt_engines = {no_version, no_engines, take_none};

int tn__cublaslt_multiply(const tn__cuda_product *p, tn__cuda_work *w)
{
    (void)p;
    (void)w;
    return TN_CUDA_DECLINED;
}
