/* Ops and optimizer rules on CUDA: which have a launcher, and how it is called.  The launchers are
 * in the .cu file, or the .c file, that is named as the op's in ../ops; test_cuda_emulated.c lists
 * the ops that have none yet. */
#include "cuda.h"
#include "launch.h"
#include "libs/libs.h"

/* Those that nobody defines are NULL. */
#define WEAK(name) extern tn__cuda_launch tn__cuda_##name __attribute__((weak));
#define OP(name, ...) WEAK(name)
#include "tenon/ops.def"

static tn__cuda_launch *const launch[TN_OP_COUNT] = {
#define ENTRY(name) [TN_OP_##name] = tn__cuda_##name,
#define MAP(name, ...) ENTRY(name) ENTRY(name##_backward)
#define BIN(name, ...) ENTRY(name) ENTRY(name##_dx) ENTRY(name##_dz)
#define CMP(name, ...) ENTRY(name)
#include "tenon/ops_map.def"
#define OP(name, ...) ENTRY(name)
#include "tenon/ops.def"
};

/* These are tried first. */
static tn__cuda_launch *const library[TN_OP_COUNT] = {
#define CUDNN(name) [TN_OP_##name] = tn__cudnn_##name,
    CUDNN(conv) CUDNN(conv_backward_data) CUDNN(conv_backward_weight)
    CUDNN(batch_norm) CUDNN(batch_norm_backward)
};

/* Ops on tensors of any dtype move elements by their size: one launcher serves all. */
static const bool any_dtype[TN_OP_COUNT] = {
#define OP(name, in, ...) [TN_OP_##name] = in[0] == 'a',
#include "tenon/ops.def"
};

size_t tn__cuda_size(tn_dtype t)
{
    static const size_t size[TN_DTYPE_COUNT] = {
#define X(id, bytes, ...) [TN_##id] = bytes,
        TN_DTYPES(X)
#undef X
    };
    return size[t];
}

int64_t tn__cuda_count(const tn_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->ndim; i++)
        n *= t->shape[i];
    return n;
}

void *tn__cuda_data(const tn_tensor *t)
{
    return t ? (char *)t->storage->data + (size_t)t->offset * tn__cuda_size(t->dtype) : NULL;
}

/* Memory that is given back before the kernel has run: its next user comes later on the stream. */
void *tn__cuda_scratch(tn__cuda_work *w, size_t bytes)
{
    void *p = w->n_scratch < TN_CUDA_SCRATCH ? tn__cuda_alloc(w->device, bytes) : NULL;
    if (p) {
        w->scratch[w->n_scratch] = p;
        w->scratch_bytes[w->n_scratch++] = bytes;
    }
    return p;
}

int tn__cuda_zero(void *p, size_t bytes, const tn__cuda_work *w)
{
    return bytes ? (int)cudaMemsetAsync(p, 0, bytes, (cudaStream_t)w->stream) : 0;
}

int tn__cuda_copy(void *to, const void *from, size_t bytes, const tn__cuda_work *w)
{
    return bytes ? (int)cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, (cudaStream_t)w->stream) : 0;
}

static tn_done run(const tn_call *c)
{
    tn__cuda_work w = {.device = c->out[0]->storage->device, .watch.op = c->op->id};
    cudaStream_t stream;
    if (!tn__cuda_on(w.device, &stream))
        return TN_FAILED;
    w.stream = stream;
    w.drawn = tn__cuda_drawn(w.device);
    w.counters = tn__cuda_counters(w.device);
    w.half = tn__cuda_precision(w.device) == TN_PRECISION_BF16;
    w.watch.fault = tn__cuda_fault_of(w.device);
    tn__cuda_launch *first = library[c->op->id];
    int failed = first ? first(c, &w) : TN_CUDA_DECLINED;
    if (failed == TN_CUDA_DECLINED)
        failed = launch[c->op->id](c, &w);
    while (w.n_scratch--)
        tn__cuda_release(w.device, w.scratch[w.n_scratch], w.scratch_bytes[w.n_scratch]);
    return tn__cuda_ok(w.device, c->op->name, (cudaError_t)failed) ? TN_DONE : TN_FAILED;
}

tn_kernel *tn__cuda_kernel(int op, tn_dtype t)
{
    return launch[op] && (t == TN_F32 || any_dtype[op]) ? run : NULL;
}

bool tn__cuda_step(const tn__rule_call *c)
{
    cudaStream_t stream;
    return tn__cuda_on(c->device, &stream) &&
           tn__cuda_ok(c->device, "optimizer step", (cudaError_t)tn__cuda_rule(c, stream));
}

bool tn__cuda_add_all(int device, int count, const tn__addition *all)
{
    cudaStream_t stream;
    return tn__cuda_on(device, &stream) &&
           tn__cuda_ok(device, "add", (cudaError_t)tn__cuda_additions(count, all, stream));
}
