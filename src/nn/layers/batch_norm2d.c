/* Batch normalization over the last dim, as torch.nn.BatchNorm2d, with an optional second input and ReLU
 * in the same pass. */
#include "tensor/internal.h"
#include "tenon/nn.h"

typedef struct batch_norm2d {
    tn_module base;
    tn_tensor *weight, *bias, *mean, *var; /* [channels] */
    tn_tensor *batches;                    /* [] i64: how many have been seen in training */
    double eps, momentum;
    bool relu;
} batch_norm2d;

static bool count(void *batches)
{
    int64_t *n = tn_i64(batches);
    if (n)
        ++*n;
    return n != NULL;
}

static tn_tensor *forward(tn_module *m, int n, tn_tensor *const *x)
{
    const batch_norm2d *l = (batch_norm2d *)m;
    tn_tensor *y = tn_batch_norm(x[0], l->weight, l->bias, l->mean, l->var, n > 1 ? x[1] : NULL,
                                 .train = m->training, .relu = l->relu, .eps = l->eps,
                                 .momentum = l->momentum);
    return y && (!m->training || tn_each_time(count, l->batches)) ? y : NULL;
}

static const tn_module_class batch_norm2d_class = {
    .name = "BatchNorm2d", .size = sizeof(batch_norm2d), .forward = forward, .inputs = 2};

tn_module *tn_batch_norm2d_call(tn_batch_norm2d_args a)
{
    if (a.channels < 1 || a.eps < 0 || a.momentum < 0 || a.momentum > 1)
        return tn_fail(TN_EARG, "batch_norm2d: %lld channels, eps %g, momentum %g; at least 1, 0, and 0 to 1 "
                                "are possible", (long long)a.channels, a.eps, a.momentum);
    const tn_init one = {.kind = TN_INIT_CONST, .a = 1};
    batch_norm2d *l = tn_module_new(&batch_norm2d_class);
    if (!l)
        return NULL;
    l->eps = a.eps;
    l->momentum = a.momentum;
    l->relu = a.relu;
    l->weight = tn_param_new(&l->base, "weight", one, TN_SHAPE(a.channels));
    l->bias = tn_param_new(&l->base, "bias", (tn_init){.kind = TN_INIT_ZEROS}, TN_SHAPE(a.channels));
    l->mean = tn_buffer_new(&l->base, "running_mean", TN_F32, 0, TN_SHAPE(a.channels));
    l->var = tn_buffer_new(&l->base, "running_var", TN_F32, 1, TN_SHAPE(a.channels));
    l->batches = tn_buffer_new(&l->base, "num_batches_tracked", TN_I64, 0, TN_SCALAR);
    return tn_module_done(l);
}
