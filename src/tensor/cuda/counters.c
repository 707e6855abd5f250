/* With these, blocks of a kernel find out which of them is the last (k_last_of() in reduce.h).  Each is 0 before a
 * kernel and after it, and kernels of a device run one after the other: so all share them. */
#include "cuda.h"
#include "launch.h"

static unsigned *counters[TN_CUDA_DEVICES];

unsigned *tn__cuda_counters(int device) { return counters[device]; }

bool tn__cuda_counters_new(int device, cudaStream_t stream)
{
    const size_t bytes = TN_CUDA_COUNTERS * sizeof **counters;
    void *p = NULL;
    if (!tn__cuda_ok(device, "open", cudaMalloc(&p, bytes)) ||
        !tn__cuda_ok(device, "open", cudaMemsetAsync(p, 0, bytes, stream)))
        return false;
    counters[device] = p;
    return true;
}
