/* Ops and optimizer rules on CUDA: which have a kernel, and what it is given.  An op that is not
 * in the table has none yet; tests/cuda/test_cuda_emulated.c lists those. */
#include "attrs.h"
#include "cuda.h"
#include "launch.h"

/* f32 or u8 data of a tensor; NULL is absent */
static void *data(const tn_tensor *t, size_t element)
{
    return t ? (char *)t->storage->data + (size_t)t->offset * element : NULL;
}

static tn_done done(const tn_call *c, int failed)
{
    const int device = c->out[0]->storage->device;
    return tn__cuda_ok(device, c->op->name, (cudaError_t)failed) ? TN_DONE : TN_FAILED;
}

static tn_done map(const tn_call *c, tn__cuda_map_launch *launch, size_t out_element)
{
    const tn_tensor *in[TN_LOOP_MAX - 1];
    const tn__map_attr *attr = c->attr;
    cudaStream_t stream;
    for (int i = 0; i < c->n_in; i++) /* absent inputs are given as g, which is always there */
        in[i] = c->in[i] ? c->in[i] : c->in[c->n_in - 1];
    tn__cuda_map m = {.walk = tn__walk_over(c->out[0], c->n_in, in)};
    m.out = data(c->out[0], out_element);
    for (int i = 0; i < c->n_in; i++)
        m.in[i] = data(in[i], sizeof(float));
    m.a = attr ? (float)attr->a : 0;
    m.b = attr ? (float)attr->b : 0;
    if (!m.walk.total)
        return TN_DONE;
    if (!tn__cuda_on(c->out[0]->storage->device, &stream))
        return TN_FAILED;
    return done(c, launch(&m, stream));
}

#define KERNEL(name, type) \
    static tn_done name##_kernel(const tn_call *c) { return map(c, tn__cuda_##name, sizeof(type)); }
#define MAP(name, ...) KERNEL(name, float) KERNEL(name##_backward, float)
#define BIN(name, ...) KERNEL(name, float) KERNEL(name##_dx, float) KERNEL(name##_dz, float)
#define CMP(name, ...) KERNEL(name, uint8_t)
#include "tenon/ops_map.def"

static tn_done dropout_kernel(const tn_call *c)
{
    const tn__dropout_attr *a = c->attr;
    const tn__walk w = tn__walk_over(c->out[0], 0, NULL);
    cudaStream_t stream;
    if (!w.total)
        return TN_DONE;
    if (!tn__cuda_on(c->out[0]->storage->device, &stream))
        return TN_FAILED;
    return done(c, tn__cuda_dropout(data(c->in[0], sizeof(float)), data(c->out[0], sizeof(float)),
                                    w.total, a->p, a->key, stream));
}

static tn_kernel *const kernels[TN_OP_COUNT] = {
#define ENTRY(name) [TN_OP_##name] = name##_kernel,
#define MAP(name, ...) ENTRY(name) ENTRY(name##_backward)
#define BIN(name, ...) ENTRY(name) ENTRY(name##_dx) ENTRY(name##_dz)
#define CMP(name, ...) ENTRY(name)
#include "tenon/ops_map.def"
    ENTRY(dropout)
};

tn_kernel *tn__cuda_kernel(int op, tn_dtype t) { return t == TN_F32 ? kernels[op] : NULL; }

bool tn__cuda_step(const tn__rule_call *c)
{
    cudaStream_t stream;
    if (!c->n)
        return true;
    return tn__cuda_on(c->device, &stream) &&
           tn__cuda_ok(c->device, "optimizer step", (cudaError_t)tn__cuda_rule(c, stream));
}
