/* Rows of a table by index, as torch.nn.Embedding. */
#include "tensor/internal.h"
#include "tenon/nn.h"

typedef struct embedding {
    tn_module base;
    tn_tensor *weight; /* [count, dim] */
} embedding;

static tn_tensor *forward(tn_module *m, int n, tn_tensor *const *x)
{
    (void)n;
    return tn_embed(((embedding *)m)->weight, x[0]);
}

static const tn_module_class embedding_class = {
    .name = "Embedding", .size = sizeof(embedding), .forward = forward};

tn_module *tn_embedding_call(tn_embedding_args a)
{
    if (a.count < 1 || a.dim < 1)
        return tn_fail(TN_EARG, "embedding: %lld rows of %lld; both must be at least 1", (long long)a.count,
                       (long long)a.dim);
    const tn_init normal = {TN_INIT_NORMAL, 0, 1, false};
    embedding *l = tn_module_new(&embedding_class);
    if (!l)
        return NULL;
    l->weight = tn_param_new(&l->base, "weight", a.init ? *a.init : normal, TN_SHAPE(a.count, a.dim));
    if (a.sparse)
        tn_param_sparse(l->weight);
    return tn_module_done(l);
}
