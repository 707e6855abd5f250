/* Residual networks (He et al. 2015, "Deep residual learning for image recognition") with basic blocks: the
 * small ones for 32x32 images (section 4.2) and ResNet-18 and -34 for large ones (table 1).  Names are those
 * of torchvision.  Bottleneck blocks (ResNet-50 on) are not here. */
#include <tenon.h>

#include <stdio.h>

/* N(0, sqrt(2 / (k k out))): the authors of RAdam and torchvision both start convolutions like this. */
static tn_module *conv(int64_t in, int64_t out, int kernel, int stride, int padding)
{
    tn_init init = {.kind = TN_INIT_KAIMING_NORMAL, .fan_out = true};
    return tn_conv2d(in, out, kernel, .stride = stride, .padding = padding, .no_bias = true, .init = &init);
}

/* ---- the block: relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x)) ---- */

typedef struct block {
    tn_module base;
    tn_module *conv1, *bn1, *conv2, *bn2, *downsample; /* downsample: NULL for the other two shortcuts */
    int64_t in, out;
    int stride;
} block;

/* Option A: every stride-th position, and zeros for the channels that are new. */
static tn_tensor *zero_padded(const block *b, tn_tensor *x)
{
    const int64_t more = b->out - b->in, before[4] = {[3] = more / 2}, after[4] = {[3] = more - more / 2};
    const int64_t h = tn_dim(x, 1), w = tn_dim(x, 2);
    x = tn_slice(tn_slice(x, 1, 0, h, b->stride), 2, 0, w, b->stride);
    return more ? tn_pad(x, before, after, 0) : x;
}

static tn_tensor *block_forward(tn_module *m, int n, tn_tensor *const *x)
{
    const block *b = (block *)m;
    (void)n;
    tn_tensor *y = tn_forward(b->conv1, x[0]);
    y = tn_forward(b->bn1, y);
    y = tn_forward(b->conv2, y);
    tn_tensor *shortcut = x[0];
    if (b->downsample)
        shortcut = tn_forward(b->downsample, x[0]);
    else if (b->stride != 1 || b->in != b->out)
        shortcut = zero_padded(b, x[0]);
    return tn_forward(b->bn2, y, shortcut);
}

static const tn_module_class block_class = {
    .name = "BasicBlock", .size = sizeof(block), .forward = block_forward};

static tn_module *block_new(int64_t in, int64_t out, int stride, bool zero_pad)
{
    block *b = tn_module_new(&block_class);
    if (!b)
        return NULL;
    b->in = in;
    b->out = out;
    b->stride = stride;
    b->conv1 = tn_add_child(&b->base, "conv1", conv(in, out, 3, stride, 1));
    b->bn1 = tn_add_child(&b->base, "bn1", tn_batch_norm2d(out, .relu = true));
    b->conv2 = tn_add_child(&b->base, "conv2", conv(out, out, 3, 1, 1));
    b->bn2 = tn_add_child(&b->base, "bn2", tn_batch_norm2d(out, .relu = true));
    if (!zero_pad && (stride != 1 || in != out))
        b->downsample = tn_add_child(&b->base, "downsample",
                                     tn_seq(conv(in, out, 1, stride, 0), tn_batch_norm2d(out)));
    return tn_module_done(b);
}

/* ---- the network ---- */

enum { MOST_STAGES = 4 };

typedef struct plan {
    int stages, blocks[MOST_STAGES];
    bool large; /* images: a 7x7 stem with stride 2 and a max pool */
} plan;

typedef struct resnet {
    tn_module base;
    tn_module *conv1, *bn1, *stage[MOST_STAGES], *fc;
    bool large;
} resnet;

static tn_tensor *resnet_forward(tn_module *m, int n, tn_tensor *const *x)
{
    const resnet *r = (resnet *)m;
    (void)n;
    tn_tensor *y = tn_forward(r->bn1, tn_forward(r->conv1, x[0]));
    if (r->large)
        y = tn_max_pool(y, .kernel = 3, .stride = 2, .padding = 1);
    for (int i = 0; i < MOST_STAGES && r->stage[i]; i++)
        y = tn_forward(r->stage[i], y);
    return tn_forward(r->fc, tn_mean(y, TN_AXIS(1) | TN_AXIS(2), false));
}

static const tn_module_class resnet_class = {
    .name = "ResNet", .size = sizeof(resnet), .forward = resnet_forward};

/* depth = two layers a block, the stem and the classifier */
static bool plan_of(int depth, plan *p)
{
    static const plan imagenet18 = {4, {2, 2, 2, 2}, true}, imagenet34 = {4, {3, 4, 6, 3}, true};
    const int each = (depth - 2) / 6;
    const bool bottleneck = depth == 50 || depth == 152; /* what everybody means by these */
    if (depth == 18)
        *p = imagenet18;
    else if (depth == 34)
        *p = imagenet34;
    else if (depth >= 8 && depth <= 1202 && (depth - 2) % 6 == 0 && !bottleneck)
        *p = (plan){3, {each, each, each}, false};
    else
        return tn_fail(TN_EARG, "resnet: no network has depth %d; there are 18, 34, and 6n + 2 "
                                "(20, 32, 44, 56, 110)", depth), false;
    return true;
}

static tn_module *stage_new(int blocks, int64_t in, int64_t out, int stride, bool zero_pad)
{
    tn_module *stage[200];
    for (int i = 0; i < blocks; i++)
        stage[i] = block_new(i ? out : in, out, i ? 1 : stride, zero_pad);
    return tn_seq_call(blocks, stage);
}

tn_module *tn_resnet_call(int depth, tn_resnet_args a)
{
    plan p;
    if (!plan_of(depth, &p))
        return NULL;
    if (a.classes < 0 || a.channels < 0 || a.width < 0)
        return tn_fail(TN_EARG, "resnet: %d classes, %d channels, width %d; none can be negative", a.classes,
                       a.channels, a.width);
    const int64_t classes = a.classes ? a.classes : p.large ? 1000 : 10;
    const int64_t channels = a.channels ? a.channels : 3;
    int64_t in = a.width ? a.width : p.large ? 64 : 16, out = in;
    resnet *r = tn_module_new(&resnet_class);
    if (!r)
        return NULL;
    r->large = p.large;
    tn_module *stem = p.large ? conv(channels, in, 7, 2, 3) : conv(channels, in, 3, 1, 1);
    r->conv1 = tn_add_child(&r->base, "conv1", stem);
    r->bn1 = tn_add_child(&r->base, "bn1", tn_batch_norm2d(in, .relu = true));
    for (int i = 0; i < p.stages; i++, in = out, out *= 2) {
        char name[16];
        snprintf(name, sizeof name, "layer%d", i + 1);
        r->stage[i] = tn_add_child(&r->base, name, stage_new(p.blocks[i], in, out, i ? 2 : 1, a.zero_pad));
    }
    r->fc = tn_add_child(&r->base, "fc", tn_linear(in, classes));
    return tn_module_done(r);
}
