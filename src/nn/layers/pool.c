/* Pooling of images [N,H,W,C]: windows, or all positions at once. */
#include "tensor/internal.h"
#include "tenon/nn.h"

typedef struct pool {
    tn_module base;
    int kernel, stride, padding;
} pool;

static tn_tensor *forward_max(tn_module *m, int n, tn_tensor *const *x)
{
    const pool *l = (pool *)m;
    (void)n;
    return tn_max_pool(x[0], .kernel = l->kernel, .stride = l->stride, .padding = l->padding);
}

static tn_tensor *forward_avg(tn_module *m, int n, tn_tensor *const *x)
{
    const pool *l = (pool *)m;
    (void)n;
    return tn_avg_pool(x[0], .kernel = l->kernel, .stride = l->stride, .padding = l->padding);
}

static tn_tensor *forward_global(tn_module *m, int n, tn_tensor *const *x)
{
    char s[TN_SHAPE_TEXT];
    (void)m;
    (void)n;
    if (x[0]->ndim != 4)
        return tn_fail(TN_ESHAPE, "global_avg_pool: %s is not [N,H,W,C]", tn_shape_text(x[0], s));
    return tn_mean(x[0], TN_AXIS(1) | TN_AXIS(2), false);
}

static const tn_module_class max_class = {.name = "MaxPool2d", .size = sizeof(pool), .forward = forward_max};
static const tn_module_class avg_class = {.name = "AvgPool2d", .size = sizeof(pool), .forward = forward_avg};
static const tn_module_class global_class = {
    .name = "GlobalAvgPool", .size = sizeof(tn_module), .forward = forward_global};

static tn_module *pool_new(const tn_module_class *cls, int kernel, int stride, int padding)
{
    if (kernel < 1 || stride < 0 || padding < 0 || padding > kernel / 2)
        return tn_fail(TN_EARG, "%s: kernel %d, stride %d, padding %d; the kernel must be at least 1 and the "
                                "padding at most half of it", cls->name, kernel, stride, padding);
    pool *l = tn_module_new(cls);
    if (!l)
        return NULL;
    l->kernel = kernel;
    l->stride = stride;
    l->padding = padding;
    return &l->base;
}

tn_module *tn_max_pool2d(int kernel, int stride, int padding)
{
    return pool_new(&max_class, kernel, stride, padding);
}

tn_module *tn_avg_pool2d(int kernel, int stride, int padding)
{
    return pool_new(&avg_class, kernel, stride, padding);
}

tn_module *tn_global_avg_pool(void) { return tn_module_new(&global_class); }
