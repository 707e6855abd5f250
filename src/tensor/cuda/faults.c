/* What kernels found wrong with integers that they were given.  A kernel cannot fail, and looking
 * before it starts would mean to wait for the device each time.  So it skips what is wrong and
 * notes it in a record that the host sees; the next wait for the device makes it an error, in the
 * words of the CPU's kernels. */
#include <string.h>

#include "cuda.h"
#include "launch.h"
#include "wrong.h"

static tn__cuda_fault *faults[TN_CUDA_DEVICES];

bool tn__cuda_fault_new(int device)
{
    if (!tn__cuda_ok(device, "open", cudaHostAlloc((void **)&faults[device], sizeof *faults[device],
                                                   cudaHostAllocDefault)))
        return false;
    memset(faults[device], 0, sizeof *faults[device]);
    return true;
}

tn__cuda_fault *tn__cuda_fault_of(int device) { return faults[device]; }

static const char *const name[TN_OP_COUNT] = {
#define OP(name, ...) [TN_OP_##name] = #name,
#include "tenon/ops.def"
};

static const char *const spans_name[] = {
    [TN_SPANS] = "spans", [TN_QUERY_SPANS] = "spans of queries", [TN_KEY_SPANS] = "spans of keys",
};

bool tn__cuda_faultless(int device, const tn__host *host)
{
    if (!faults[device]->told)
        return true;
    const tn__cuda_fault f = *faults[device];
    const char *op = name[f.op], *spans = spans_name[f.spans];
    const long long a = f.number[0], b = f.number[1], c = f.number[2], d = f.number[3];
    faults[device]->told = 0;
    switch (f.wrong) {
    case TN_BAD_INDEX: return host->fail(TN_EARG, TN_WRONG_INDEX, op, a, b, c), false;
    case TN_BAD_TARGET: return host->fail(TN_EARG, TN_WRONG_TARGET, op, a, b, c), false;
    case TN_BAD_SPAN: return host->fail(TN_EARG, TN_WRONG_SPAN, op, spans, a, b, c, d), false;
    case TN_SHARED_ROW: return host->fail(TN_EARG, TN_WRONG_SHARED, op, spans, a, b), false;
    case TN_BAD_LENGTH: return host->fail(TN_EARG, TN_WRONG_LENGTH, op, a, b, c), false;
    case TN_TOO_MANY_KEYS: return host->fail(TN_EARG, TN_WRONG_KEYS, op, a, b, TN__ATTENTION_KEYS), false;
    case TN_TOO_MANY_ROWS: return host->fail(TN_EARG, TN_WRONG_ROOM, op, a, b, c), false;
    }
    return true;
}
