/* The benchmarks themselves: the same work as PyTorch's on the same shapes, on made-up data. */
#include <string.h>

#include "bench.h"

/* ---- networks: forward, loss, backward, update ---- */

static tn_optim *make_optim(const bench *b)
{
    const bool sgd = strcmp(b->options.rule, "sgd") == 0;
    const tn_hyper h = {.lr = sgd ? 0.1 : 1e-3, .momentum = sgd ? 0.9 : 0, .decay = 1e-4};
    return tn_optim_new(b->options.rule, b->net, h);
}

static bool prepare_images(bench *b, int64_t batch, int64_t size, int64_t classes)
{
    b->x = tn_randn(0, 1, TN_SHAPE(batch, size, size, 3));
    b->y = tn_empty(TN_I64, TN_SHAPE(batch));
    int64_t *y = tn_i64(b->y);
    for (int64_t i = 0; y && i < batch; i++)
        y[i] = i * 7919 % classes;
    b->opt = make_optim(b);
    b->items = (double)batch;
    b->unit = "images/s";
    return b->opt && tn_ok();
}

/* Multiply-adds of a forward pass to operations of a training step: the gradient of the input is
 * not needed where the images come in. */
static double training_flops(double macs, double first, double batch)
{
    return (2 * macs * 3 - 2 * first) * batch;
}

static bool prepare_resnet20(bench *b)
{
    const int64_t batch = b->options.batch ? b->options.batch : 128;
    const double first = 3 * 16 * 9 * 1024;
    const double macs = first + 6 * 16 * 16 * 9 * 1024 + (16 * 32 + 5 * 32 * 32) * 9 * 256 +
                        (32 * 64 + 5 * 64 * 64) * 9 * 64 + 640;
    b->net = tn_resnet20(10, .zero_pad = true);
    b->flops = training_flops(macs, first, (double)batch);
    return prepare_images(b, batch, 32, 10);
}

static bool prepare_resnet18(bench *b)
{
    static const int widths[] = {64, 64, 128, 256, 512};
    const int64_t batch = b->options.batch ? b->options.batch : 16;
    const double first = 3.0 * 64 * 49 * 112 * 112;
    double macs = first + 512000;
    for (int i = 1, size = 56; i < 5; i++) {
        const double in = widths[i - 1], out = widths[i];
        size /= in < out ? 2 : 1;
        macs += ((in < out ? in * out : 0) + in * out * 9 + 3 * out * out * 9) * size * size;
    }
    b->net = tn_resnet18(1000);
    b->flops = training_flops(macs, first, (double)batch);
    return prepare_images(b, batch, 224, 1000);
}

static bool step_network(bench *b)
{
    tn_tensor *loss = tn_cross_entropy(tn_forward(b->net, b->x), b->y);
    return tn_backward(loss) && tn_step(b->opt);
}

/* ---- one matrix product ---- */

enum { GEMM = 1024 };

static bool prepare_gemm(bench *b)
{
    b->x = tn_randn(0, 1, TN_SHAPE(GEMM, GEMM));
    b->y = tn_randn(0, 1, TN_SHAPE(GEMM, GEMM));
    b->items = 1;
    b->unit = "products/s";
    b->flops = 2.0 * GEMM * GEMM * GEMM;
    return tn_ok();
}

static bool step_gemm(bench *b) { return tn_matmul(b->x, b->y) != NULL; }

/* ---- the update alone: 60 tensors, 10 million parameters ---- */

enum { TENSORS = 60, PARAMETERS = 10000000 };

static tn_tensor *no_forward(tn_module *m, int n, tn_tensor *const *x)
{
    (void)m, (void)n;
    return x[0];
}

static bool prepare_optim(bench *b)
{
    static const tn_module_class parameters = {
        .name = "Parameters", .size = sizeof(tn_module), .forward = no_forward};
    b->net = tn_module_new(&parameters);
    for (int i = 0; i < TENSORS; i++) {
        char name[16];
        snprintf(name, sizeof name, "p%d", i);
        tn_param_new(b->net, name, (tn_init){TN_INIT_NORMAL, 0, 1, false},
                     TN_SHAPE(PARAMETERS / TENSORS));
    }
    b->opt = make_optim(b);
    if (!b->opt)
        return false;
    for (tn_param *p = b->net->params; p; p = p->next)
        tn_fill_(p->t.grad, 0.01);
    /* the least to read and write, in units of the parameters: sgd 3 + 2, adam and radam 4 + 3 */
    const int arrays = strcmp(b->options.rule, "sgd") == 0 ? 5 : 7;
    b->items = 1e-9 * arrays * (int)sizeof(float) * TENSORS * (PARAMETERS / TENSORS);
    b->unit = "GB/s";
    return tn_ok();
}

static bool step_optim(bench *b) { return tn_step(b->opt); }

/* ---- the peak itself ---- */

static bool prepare_peak(bench *b)
{
    b->flops = peak_look();
    b->items = b->flops * 1e-9;
    b->unit = "GFLOP/s";
    return true;
}

static bool step_peak(bench *b)
{
    (void)b;
    return peak_look() > 0;
}

const bench_row benches[] = {
    {"peak", "multiply-adds on registers", 20, prepare_peak, step_peak},
    {"gemm", "a 1024 x 1024 x 1024 product", 50, prepare_gemm, step_gemm},
    {"resnet20", "a training step, 32 x 32, batch 128", 20, prepare_resnet20, step_network},
    {"resnet18", "a training step, 224 x 224, batch 16", 10, prepare_resnet18, step_network},
    {"optim", "an update of 10 million parameters", 50, prepare_optim, step_optim},
};
const int bench_count = (int)(sizeof benches / sizeof *benches);
