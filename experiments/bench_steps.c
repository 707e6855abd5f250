/* The benchmarks themselves: the same work as PyTorch's on the same shapes, on made-up data. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

/* ---- networks: forward, loss, backward, update ---- */

static const char *rule_of(const bench *b, const char *own) { return b->options.rule ? b->options.rule : own; }

/* All that there is to the device, before the optimizer lays out its arrays there. */
static void move(bench *b)
{
    tn_tensor **all[] = {&b->x, &b->y, &b->x_spans, &b->y_spans};
    for (int i = 0; i < 4; i++)
        *all[i] = tn_on(*all[i], b->options.device);
    b->often = tn_recorder_new(b->options.device);
    b->loss = tn_on(tn_zeros(TN_SCALAR), b->options.device);
    if (b->net)
        tn_to(b->net, b->options.device);
}

static tn_optim *make_optim(bench *b)
{
    move(b);
    const char *rule = rule_of(b, "sgd");
    const bool sgd = strcmp(rule, "sgd") == 0;
    const tn_hyper h = {.lr = sgd ? 0.1 : 1e-3, .momentum = sgd ? 0.9 : 0, .decay = 1e-4};
    return tn_optim_new(rule, b->net, h);
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

/* On a GPU a step has ended when its loss is on the host. */
static bool read_loss(const bench *b, const tn_tensor *loss)
{
    return !b->options.device.backend || !isnan(tn_item(loss));
}

/* A step as a training has it: recorded where that can be. */
static bool step_by(bench *b, bool (*step)(bench *b, tn_tensor **in))
{
    tn_tensor *in[] = {b->x, b->y, b->x_spans, b->y_spans};
    TN_RECORD(b->often, b->plan, 4, in) {
        step(b, in);
    }
    return tn_ok() && read_loss(b, b->loss);
}

static bool keep_loss(const bench *b, const tn_tensor *loss) { return tn_copy_(b->loss, loss); }

static bool train_network(bench *b, tn_tensor **in)
{
    tn_tensor *loss = tn_cross_entropy(tn_forward(b->net, in[0]), in[1]);
    return tn_backward(loss) && tn_step(b->opt) && keep_loss(b, loss);
}

static bool step_network(bench *b) { return step_by(b, train_network); }

/* ---- a Transformer: sentences of 20 to 25 tokens a side, which others pad to 25 ---- */

enum { VOCABULARY = 10000, DIM = 512, FFN = 1024, LAYERS = 6, SENTENCES = 160, LENGTH = 25, SPREAD = 6 };

static int64_t draw(uint64_t stream, uint64_t i, int64_t from, int64_t n)
{
    uint32_t words[4];
    tn_random(1, stream, i, words);
    return from + words[0] % n;
}

/* Ids of all sentences and their spans [batch, 2]; the first has the full length. */
static tn_tensor *draw_sentences(uint64_t stream, int64_t batch, tn_tensor *spans)
{
    int64_t *span = tn_i64(spans), rows = 0;
    for (int64_t i = 0; span && i < batch; i++) {
        span[2 * i] = rows;
        span[2 * i + 1] = i ? draw(stream, (uint64_t)i, LENGTH - SPREAD + 1, SPREAD) : LENGTH;
        rows += span[2 * i + 1];
    }
    tn_tensor *ids = tn_empty(TN_I64, 1, &rows);
    int64_t *id = tn_i64(ids);
    for (int64_t i = 0; id && i < rows; i++)
        id[i] = draw(stream + 1, (uint64_t)i, 1, VOCABULARY - 1);
    return ids;
}

/* Of the rows that are there: two operations a multiply-add, three passes. */
static double transformer_flops(const bench *b, int64_t batch)
{
    const double d = DIM, x = (double)tn_dim(b->x, 0), y = (double)tn_dim(b->y, 0);
    const int64_t *p = tn_i64(b->x_spans), *q = tn_i64(b->y_spans);
    double pairs = 0;
    for (int64_t i = 0; p && q && i < batch; i++) {
        const double n = (double)p[2 * i + 1], m = (double)q[2 * i + 1];
        pairs += n * n + m * m + n * m;
    }
    const double linear = x * (LAYERS * (6 * d * d + 2 * d * FFN)) + y * (LAYERS * (6 * d * d + 2 * d * FFN)) +
                          y * VOCABULARY * d;
    return 3 * 2 * (linear + LAYERS * 2 * d * pairs);
}

static bool prepare_transformer(bench *b)
{
    const int64_t batch = b->options.batch ? b->options.batch : SENTENCES;
    b->x_spans = tn_empty(TN_I64, TN_SHAPE(batch, 2));
    b->y_spans = tn_empty(TN_I64, TN_SHAPE(batch, 2));
    b->x = draw_sentences(1, batch, b->x_spans);
    b->y = draw_sentences(3, batch, b->y_spans);
    b->net = tn_transformer(VOCABULARY, VOCABULARY, .dim = DIM, .ffn = FFN, .heads = 4, .encoder_layers = LAYERS,
                            .decoder_layers = LAYERS, .share = TN_SHARE_DECODER, .dropout = 0.1,
                            .attention_dropout = 0.1, .activation_dropout = 0.1);
    const char *rule = rule_of(b, "adam");
    const bool adam = tn_optim_reads(rule, "beta1");
    b->items = (double)(batch * LENGTH);
    b->real = (double)tn_dim(b->y, 0);
    b->unit = "tgt tokens/s (padded)";
    b->flops = transformer_flops(b, batch);
    move(b);
    b->opt = tn_optim_new(rule, b->net, (tn_hyper){.lr = 1e-4, .beta1 = adam ? 0.9 : 0, .beta2 = adam ? 0.98 : 0});
    return b->opt && tn_ok();
}

static bool train_transformer(bench *b, tn_tensor **in)
{
    tn_tensor *loss = tn_transformer_loss(b->net, in[0], in[2], in[1], in[3], 0.1, NULL);
    return tn_backward(tn_mul_scalar(loss, 1 / b->real)) && tn_step(b->opt) && keep_loss(b, loss);
}

static bool step_transformer(bench *b) { return step_by(b, train_transformer); }

/* ---- a language model: 20 steps of 128 rows of words as Zipf's law has them ---- */

enum { LM_WORDS = 793471, LM_DIM = 300, LM_HIDDEN = 2048, LM_LAYERS = 2, LM_ROWS = 128, LM_STEPS = 20 };

/* Words by their rank, the i-th with a probability in proportion to 1 / (i + 2.7), from 0; [steps + 1, batch]. */
static tn_tensor *draw_words(int64_t words, int64_t batch)
{
    double *upto = malloc((size_t)words * sizeof *upto), sum = 0;
    tn_tensor *ids = tn_empty(TN_I64, TN_SHAPE(LM_STEPS + 1, batch));
    int64_t *id = tn_i64(ids);
    if (!upto)
        tn_fail(TN_ENOMEM, "bench: no memory for %lld words", (long long)words);
    for (int64_t i = 0; upto && i < words; i++)
        upto[i] = sum += 1 / ((double)i + 2.7);
    for (int64_t i = 0; upto && id && i < tn_numel(ids); i++) {
        uint32_t random[4];
        tn_random(1, 5, (uint64_t)i, random);
        const double at = sum * ((double)random[0] + .5) * 0x1p-32;
        int64_t low = 0, high = words - 1; /* the first that reaches it */
        while (low < high) {
            const int64_t middle = low + (high - low) / 2;
            *(upto[middle] < at ? &low : &high) = upto[middle] < at ? middle + 1 : middle;
        }
        id[i] = low;
    }
    free(upto);
    return tn_ok() ? ids : NULL;
}

/* Two operations a multiply-add, three passes; of a cluster for the rows whose word is in it. */
static double lm_flops(const tn_lstm_lm_args *a, tn_tensor *y)
{
    const double n = (double)tn_numel(y), h = (double)a->hidden;
    const int64_t *id = tn_i64(y);
    double macs = n * 4 * h * ((double)a->dim + h + (LM_LAYERS - 1) * 2 * h), columns = h;
    int64_t clusters = 0;
    while (a->cutoffs[clusters])
        clusters++;
    macs += n * h * (clusters ? (double)(a->cutoffs[0] + clusters) : (double)a->words);
    for (int64_t k = 0; k < clusters; k++) {
        const int64_t from = a->cutoffs[k], to = k + 1 < clusters ? a->cutoffs[k + 1] : a->words;
        double rows = 0;
        columns = floor(columns / 4);
        for (int64_t i = 0; id && i < tn_numel(y); i++)
            rows += id[i] >= from && id[i] < to;
        macs += rows * columns * (h + (double)(to - from));
    }
    return 3 * 2 * macs;
}

static bool prepare_lstm(bench *b)
{
    const int64_t batch = b->options.batch ? b->options.batch : LM_ROWS;
    tn_lstm_lm_args a = {.words = b->options.vocab ? b->options.vocab : LM_WORDS, .dim = LM_DIM,
                         .hidden = b->options.hidden ? b->options.hidden : LM_HIDDEN, .layers = LM_LAYERS,
                         .dropout = 0.1};
    for (int k = 0; k < 3 && (int64_t[]){4000, 40000, 200000}[k] < a.words; k++)
        a.cutoffs[k] = (int64_t[]){4000, 40000, 200000}[k];
    tn_tensor *ids = draw_words(a.words, batch);
    b->x = tn_slice(ids, 0, 0, LM_STEPS, 1);
    b->y = tn_contiguous(tn_slice(ids, 0, 1, LM_STEPS + 1, 1));
    b->net = tn_lstm_lm_call(a);
    b->flops = b->y ? lm_flops(&a, b->y) : 0;
    b->items = (double)tn_numel(b->y);
    b->unit = "tokens/s";
    b->plan = tn_lm_plan(b->net, b->y);
    move(b);
    const char *rule = rule_of(b, "adam");
    b->opt = b->net ? tn_optim_new(rule, b->net, (tn_hyper){.lr = strcmp(rule, "sgd") == 0 ? 0.1 : 1e-3}) : NULL;
    return b->opt && tn_ok();
}

static bool train_lstm(bench *b, tn_tensor **in)
{
    tn_tensor *loss = tn_lm_loss(b->net, in[0], in[1], NULL, .plan = b->plan);
    return tn_backward(loss) && tn_clip_norm_lazy(b->opt, 5) && tn_step(b->opt) && keep_loss(b, loss);
}

static bool step_lstm(bench *b) { return step_by(b, train_lstm); }

/* ---- one matrix product ---- */

enum { GEMM = 1024 };

static bool prepare_gemm(bench *b)
{
    b->x = tn_randn(0, 1, TN_SHAPE(GEMM, GEMM));
    b->y = tn_randn(0, 1, TN_SHAPE(GEMM, GEMM));
    b->items = 1;
    b->unit = "products/s";
    b->flops = 2.0 * GEMM * GEMM * GEMM;
    move(b);
    return tn_ok();
}

static bool step_gemm(bench *b)
{
    tn_tensor *y = tn_matmul(b->x, b->y);
    return y && read_loss(b, tn_slice(tn_slice(y, 0, 0, 1, 1), 1, 0, 1, 1));
}

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
    const int arrays = strcmp(rule_of(b, "sgd"), "sgd") == 0 ? 5 : 7;
    b->items = 1e-9 * arrays * (int)sizeof(float) * TENSORS * (PARAMETERS / TENSORS);
    b->unit = "GB/s";
    return tn_ok();
}

static bool step_optim(bench *b) { return tn_step(b->opt); }

/* ---- a large table of which each step looks up few rows ---- */

enum { ROWS = 793471, ROW = 300, WORDS = 2560 };

static bool prepare_table(bench *b, bool sparse)
{
    b->net = tn_embedding(ROWS, ROW, .sparse = sparse, .init = &(tn_init){TN_INIT_UNIFORM, -0.1, 0.1, false});
    b->opt = tn_optim_new(rule_of(b, "adam"), b->net, (tn_hyper){.lr = 1e-3});
    b->items = (double)(b->options.batch ? b->options.batch : WORDS);
    b->unit = "words/s";
    return b->opt && tn_ok();
}

static bool prepare_rows(bench *b) { return prepare_table(b, true); }
static bool prepare_dense(bench *b) { return prepare_table(b, false); }

/* Words by Zipf's law: as many of rank 1 to 10 as of 10 to 100. */
static bool step_table(bench *b)
{
    tn_tensor *x = tn_empty(TN_I64, TN_SHAPE((int64_t)b->items));
    int64_t *word = tn_i64(x);
    for (int64_t i = 0; word && i < tn_numel(x); i++) {
        const double u = (double)draw((uint64_t)tn_steps_done(b->opt), (uint64_t)i, 0, INT32_MAX) / INT32_MAX;
        word[i] = (int64_t)(pow(ROWS, u) * 0.999999);
    }
    tn_tensor *y = tn_forward(b->net, x);
    return tn_backward(tn_mul_scalar(tn_sum(tn_mul(y, y), TN_ALL, false), 1 / b->items)) && tn_step(b->opt);
}

/* ---- the peak itself ---- */

static bool prepare_peak(bench *b)
{
    b->flops = peak_run();
    b->items = b->flops * 1e-9;
    b->unit = "GFLOP/s";
    return true;
}

static bool step_peak(bench *b)
{
    (void)b;
    return peak_run() > 0;
}

const bench_row benches[] = {
    {"peak", "multiply-adds on registers", 20, prepare_peak, step_peak},
    {"gemm", "a 1024 x 1024 x 1024 product", 50, prepare_gemm, step_gemm},
    {"resnet20", "a training step, 32 x 32, batch 128", 20, prepare_resnet20, step_network},
    {"resnet18", "a training step, 224 x 224, batch 16", 10, prepare_resnet18, step_network},
    {"transformer", "a training step, 6 + 6 layers, 160 sentences of 20 to 25 tokens", 10, prepare_transformer,
     step_transformer},
    {"rows", "Adam on a sparse table of 793,471 x 300, 2,560 words a step", 1000, prepare_rows, step_table},
    {"rows-dense", "the same on a dense table", 5, prepare_dense, step_table},
    {"lstm", "a training step, 2 x 2048, 793,471 words, 128 rows of 20 steps", 5, prepare_lstm, step_lstm},
    {"optim", "an update of 10 million parameters", 50, prepare_optim, step_optim},
};
const int bench_count = (int)(sizeof benches / sizeof *benches);
