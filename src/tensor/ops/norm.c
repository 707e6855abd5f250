/* Batch norm (with residual add and ReLU fused in) and layer norm (with dropout and residual add):
 * definition, shapes, samples, plain kernels. The last outputs are the mean and 1 / sqrt(variance +
 * eps) that were used, for backward; that of dropout_add_layer_norm is layer_norm's, of the sum which
 * is its output 1. Gradients: src/autograd/rules/norm.c; fast: src/tensor/cpu/norm.c. */
#include "op.h"
#include "drop.h"
#include "sample.h"

static double item(const real *p, int64_t i, double absent) { return p ? (double)p[i] : absent; }

static double mean_of(const real *x, int64_t n, int64_t step)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i * step];
    return sum / (double)n;
}

static double squares_around(const real *x, int64_t n, int64_t step, double mean)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        const double d = (double)x[i * step] - mean;
        sum += d * d;
    }
    return sum;
}

tn_done KERNEL(batch_norm)(const tn_call *c)
{
    const tn__norm_attr *a = c->attr;
    const real *x = IN(0), *gain = IN(1), *bias = IN(2), *add = IN(5);
    real *running_mean = (real *)IN(3), *running_var = (real *)IN(4); /* moved in training */
    real *y = OUT(0), *mean = OUT(1), *rstd = OUT(2);
    const int64_t channels = tn_dim(c->in[0], -1), n = channels ? tn_numel(c->in[0]) / channels : 0;
    for (int64_t ch = 0; ch < channels; ch++) {
        double center = item(running_mean, ch, 0), var = item(running_var, ch, 0);
        if (a->train) {
            const double keep = 1 - a->momentum;
            center = mean_of(x + ch, n, channels);
            const double squares = squares_around(x + ch, n, channels, center);
            var = squares / (double)n;
            if (running_mean) {
                running_mean[ch] = (real)(keep * (double)running_mean[ch] + a->momentum * center);
                running_var[ch] = (real)(keep * (double)running_var[ch] +
                                         a->momentum * squares / (double)(n - 1));
            }
        }
        const double scale = 1 / sqrt(var + a->eps);
        mean[ch] = (real)center;
        rstd[ch] = (real)scale;
        for (int64_t i = ch; i < n * channels; i += channels) {
            const double v = ((double)x[i] - center) * scale * item(gain, ch, 1) +
                             item(bias, ch, 0) + item(add, i, 0);
            y[i] = (real)(a->relu && v < 0 ? 0 : v);
        }
    }
    return TN_DONE;
}

tn_done KERNEL(batch_norm_backward)(const tn_call *c)
{
    const tn__norm_attr *a = c->attr;
    const real *x = IN(0), *g = IN(1), *gain = IN(2), *mean = IN(3), *rstd = IN(4), *y = IN(5);
    real *dx = OUT(0), *dgain = OUT(1), *dbias = OUT(2), *dadd = OUT(3);
    const int64_t channels = tn_dim(c->in[0], -1), n = channels ? tn_numel(c->in[0]) / channels : 0;
    for (int64_t ch = 0; ch < channels; ch++) {
        const double center = (double)mean[ch], scale = (double)rstd[ch];
        const double slope = scale * item(gain, ch, 1);
        double sum = 0, dot = 0;
        for (int64_t i = ch; i < n * channels; i += channels) {
            const double d = a->relu && !(y[i] > 0) ? 0 : (double)g[i];
            sum += d;
            dot += d * ((double)x[i] - center) * scale;
        }
        const double shift = a->train ? sum / (double)n : 0, tilt = a->train ? dot / (double)n : 0;
        for (int64_t i = ch; i < n * channels; i += channels) {
            const double d = a->relu && !(y[i] > 0) ? 0 : (double)g[i];
            if (a->wanted & 1)
                dx[i] = (real)(slope * (d - shift - ((double)x[i] - center) * scale * tilt));
            if (a->wanted & 8)
                dadd[i] = (real)d;
        }
        if (a->wanted & 2)
            dgain[ch] = (real)dot;
        if (a->wanted & 4)
            dbias[ch] = (real)sum;
    }
    return TN_DONE;
}

/* Rows of x, of the shape of out[0]; the mean goes to out[stats], 1 / deviation to the next. */
static void normalize_rows(const tn_call *c, const real *x, const real *gain, const real *bias, double eps,
                           int stats)
{
    real *y = OUT(0), *mean = OUT(stats), *rstd = OUT(stats + 1);
    const int64_t cols = tn_dim(c->in[0], -1), rows = tn_numel(c->in[0]) / cols;
    for (int64_t row = 0; row < rows; row++, x += cols, y += cols) {
        const double center = mean_of(x, cols, 1);
        const double scale = 1 / sqrt(squares_around(x, cols, 1, center) / (double)cols + eps);
        mean[row] = (real)center;
        rstd[row] = (real)scale;
        for (int64_t j = 0; j < cols; j++)
            y[j] = (real)(((double)x[j] - center) * scale * item(gain, j, 1) + item(bias, j, 0));
    }
}

tn_done KERNEL(layer_norm)(const tn_call *c)
{
    const tn__norm_attr *a = c->attr;
    normalize_rows(c, IN(0), IN(1), IN(2), a->eps, 1);
    return TN_DONE;
}

tn_done KERNEL(dropout_add_layer_norm)(const tn_call *c)
{
    const tn__drop_norm_attr *a = c->attr;
    const real *x = IN(0), *residual = IN(1);
    real *sum = OUT(1);
    const real scale = (real)(1 / (1 - a->drop.p));
    for (int64_t i = 0, n = tn_numel(c->in[0]); i < n; i++)
        sum[i] = tn__dropout_keeps(&a->drop, i) ? residual[i] + x[i] * scale : residual[i];
    normalize_rows(c, sum, IN(2), IN(3), a->eps, 2);
    return TN_DONE;
}

static void layer_norm_columns(const tn_call *c, unsigned wanted)
{
    real *dgain = OUT(1), *dbias = OUT(2);
    const real *x = IN(0), *g = IN(1), *mean = IN(3), *rstd = IN(4);
    const int64_t cols = tn_dim(c->in[0], -1), rows = tn_numel(c->in[0]) / cols;
    for (int64_t j = 0; j < cols; j++) {
        double dot = 0, sum = 0;
        for (int64_t row = 0; row < rows; row++) {
            const int64_t i = row * cols + j;
            sum += (double)g[i];
            dot += (double)g[i] * ((double)x[i] - (double)mean[row]) * (double)rstd[row];
        }
        if (wanted & 2)
            dgain[j] = (real)dot;
        if (wanted & 4)
            dbias[j] = (real)sum;
    }
}

static void layer_norm_back(const tn_call *c, unsigned wanted)
{
    const real *x = IN(0), *g = IN(1), *gain = IN(2), *mean = IN(3), *rstd = IN(4);
    real *dx = OUT(0);
    const int64_t cols = tn_dim(c->in[0], -1), rows = tn_numel(c->in[0]) / cols;
    for (int64_t row = 0; (wanted & 1) && row < rows; row++, x += cols, g += cols, dx += cols) {
        const double center = (double)mean[row], scale = (double)rstd[row];
        double sum = 0, dot = 0;
        for (int64_t j = 0; j < cols; j++) {
            const double d = (double)g[j] * item(gain, j, 1);
            sum += d;
            dot += d * ((double)x[j] - center) * scale;
        }
        for (int64_t j = 0; j < cols; j++) {
            const double d = (double)g[j] * item(gain, j, 1);
            const double normal = ((double)x[j] - center) * scale;
            dx[j] = (real)(scale * (d - (sum + normal * dot) / (double)cols));
        }
    }
    layer_norm_columns(c, wanted);
}

tn_done KERNEL(layer_norm_backward)(const tn_call *c)
{
    const tn__norm_attr *a = c->attr;
    layer_norm_back(c, a->wanted);
    return TN_DONE;
}

/* Output 3, which is output 0 through the mask, is wanted only beside it. */
tn_done KERNEL(dropout_add_layer_norm_backward)(const tn_call *c)
{
    const tn__drop_norm_attr *a = c->attr;
    const real *dsum = OUT(0), scale = (real)(1 / (1 - a->drop.p));
    real *dx = OUT(3);
    layer_norm_back(c, a->wanted);
    for (int64_t i = 0, n = tn_numel(c->in[0]); (a->wanted & 8) && i < n; i++)
        dx[i] = tn__dropout_keeps(&a->drop, i) ? dsum[i] * scale : 0;
    return TN_DONE;
}

#if TN_WHOLE

tn_tensor *tn_batch_norm_call(tn_batch_norm_args args)
{
    if (!args.x)
        return NULL;
    tn_tensor *running[] = {args.running_mean, args.running_var};
    if (!running[0] != !running[1] || (!args.train && !running[0]))
        return tn_fail(TN_EARG, "batch_norm: running_mean and running_var go together%s",
                       args.train ? "" : ", and without training they must be given");
    for (int i = 0; i < 2 && args.train; i++)
        if (running[i] && !tn_is_contiguous(running[i]))
            return tn_fail(TN_EARG,
                           "batch_norm: running statistics must be contiguous: they change "
                           "in place");
    if (args.eps < 0 || args.momentum < 0 || args.momentum > 1)
        return tn_fail(TN_EARG,
                       "batch_norm: eps %g must not be negative, momentum %g must be in 0..1",
                       args.eps, args.momentum);
    const tn__norm_attr a = {.eps = args.eps > 0 ? args.eps : 1e-5,
                             .momentum = args.momentum > 0 ? args.momentum : .1,
                             .train = args.train, .relu = args.relu};
    tn_tensor *y = tn_apply(
        TN_OP(batch_norm), &a, sizeof a, 6,
        (tn_tensor *[]){args.x, args.gain, args.bias, running[0], running[1], args.add});
    for (int i = 0; i < 2 && y && args.train; i++)
        if (running[i])
            running[i]->storage->version++;
    return y;
}

tn_tensor *tn_layer_norm(tn_tensor *x, tn_tensor *gain, tn_tensor *bias, double eps)
{
    const tn__norm_attr a = {.eps = eps};
    return x ? tn_apply(TN_OP(layer_norm), &a, sizeof a, 3, (tn_tensor *[]){x, gain, bias}) : NULL;
}

tn_tensor *tn_dropout_add_layer_norm(tn_tensor *x, tn_tensor *residual, tn_tensor *gain, tn_tensor *bias,
                                     double p, double eps)
{
    if (!x || !residual)
        return NULL;
    if (!(p >= 0 && p <= 1))
        return tn_fail(TN_EARG, "dropout_add_layer_norm: probability %g is not in 0..1", p);
    const tn__drop_norm_attr a = {.drop = {.p = p, .key = tn__rng_next()}, .eps = eps};
    return tn_apply(TN_OP(dropout_add_layer_norm), &a, sizeof a, 4, (tn_tensor *[]){x, residual, gain, bias});
}

/* Inputs first..last are absent or as long as the last dim of in[0]. */
static bool channel_vectors(const tn_call *c, int first, int last)
{
    char xs[TN_SHAPE_TEXT], vs[TN_SHAPE_TEXT];
    const tn_tensor *x = c->in[0];
    if (x->ndim < 1)
        return tn_fail(TN_ESHAPE, "%s: a scalar has no channels", c->op->name);
    for (int i = first; i <= last; i++) {
        const tn_tensor *v = c->in[i];
        if (v && (v->ndim != 1 || v->shape[0] != tn_dim(x, -1)))
            return tn_fail(TN_ESHAPE, "%s: shapes do not fit: %s for %s; it must be [%lld]",
                           c->op->name, tn_shape_text(v, vs), tn_shape_text(x, xs),
                           (long long)tn_dim(x, -1));
    }
    return true;
}

bool tn__shape_batch_norm(tn_call *c)
{
    const tn__norm_attr *a = c->attr;
    const tn_tensor *x = c->in[0], *add = c->in[5];
    char xs[TN_SHAPE_TEXT], as[TN_SHAPE_TEXT];
    if (!channel_vectors(c, 1, 4))
        return false;
    if (add && !tn_same_shape(x, add))
        return tn_fail(TN_ESHAPE, "batch_norm: shapes do not fit: %s + %s", tn_shape_text(x, xs),
                       tn_shape_text(add, as));
    const int64_t channels = tn_dim(x, -1);
    if (a->train && channels && tn_numel(x) / channels < 2)
        return tn_fail(TN_ESHAPE,
                       "batch_norm: training needs two values per channel or more, %s has %lld",
                       tn_shape_text(x, xs), (long long)(tn_numel(x) / channels));
    tn__set_shape(c->out[0], x->ndim, x->shape);
    tn__set_shape(c->out[1], TN_SHAPE(channels));
    tn__set_shape(c->out[2], TN_SHAPE(channels));
    return true;
}

/* Outputs before `stats` are like x, that one and the next [rows]; inputs from `first` on are gain and bias. */
static bool layer_norm_shapes(tn_call *c, int first, int stats)
{
    const tn_tensor *x = c->in[0];
    char text[TN_SHAPE_TEXT];
    if (!channel_vectors(c, first, first + 1))
        return false;
    if (tn_dim(x, -1) < 1)
        return tn_fail(TN_ESHAPE, "%s: the last dim of %s is empty", c->op->name,
                       tn_shape_text(x, text));
    const int64_t rows = tn_numel(x) / tn_dim(x, -1);
    for (int i = 0; i < stats; i++)
        tn__set_shape(c->out[i], x->ndim, x->shape);
    tn__set_shape(c->out[stats], TN_SHAPE(rows));
    tn__set_shape(c->out[stats + 1], TN_SHAPE(rows));
    return true;
}

bool tn__shape_layer_norm(tn_call *c) { return layer_norm_shapes(c, 1, 1); }

bool tn__shape_dropout_add_layer_norm(tn_call *c)
{
    return tn_same_shape(c->in[0], c->in[1]) ? layer_norm_shapes(c, 2, 2) : tn__shapes_differ(c);
}

/* Outputs 0 and 3 are like x, dgain and dbias [channels]. */
static bool gradient_shapes(tn_call *c, unsigned wanted)
{
    const tn_tensor *x = c->in[0];
    for (int i = 0; i < c->n_out; i++) {
        const int64_t channels = wanted >> i & 1 ? tn_dim(x, -1) : 0;
        if (channels && (i == 0 || i == 3))
            tn__set_shape(c->out[i], x->ndim, x->shape);
        else
            tn__set_shape(c->out[i], TN_SHAPE(channels));
    }
    return tn_same_shape(x, c->in[1]) || tn__shapes_differ(c);
}

#define SHAPES_OF(name, type) \
    bool tn__shape_##name(tn_call *c) { return gradient_shapes(c, ((const type *)c->attr)->wanted); }
SHAPES_OF(batch_norm_backward, tn__norm_attr)
SHAPES_OF(layer_norm_backward, tn__norm_attr)
SHAPES_OF(dropout_add_layer_norm_backward, tn__drop_norm_attr)

MAKE(train, tn_batch_norm(in[0], .train = true))
MAKE(train_affine, tn_batch_norm(in[0], in[1], in[2], .train = true, .eps = 1e-3))
MAKE(train_running, tn_batch_norm(in[0], in[1], in[2], in[3], in[4], .train = true, .momentum = .3))
MAKE(train_relu, tn_batch_norm(in[0], in[1], in[2], .train = true, .relu = true))
MAKE(train_add, tn_batch_norm(in[0], in[1], in[2], .add = in[3], .train = true))
MAKE(train_add_relu, tn_batch_norm(in[0], in[1], in[2], .add = in[3], .train = true, .relu = true))
MAKE(eval, tn_batch_norm(in[0], in[1], in[2], in[3], in[4]))
MAKE(eval_plain, tn_batch_norm(in[0], .running_mean = in[1], .running_var = in[2]))
MAKE(eval_add_relu, tn_batch_norm(in[0], in[1], in[2], in[3], in[4], in[5], .relu = true))
MAKE(eval_alone, tn_batch_norm(in[0], in[1], in[2]))
MAKE(layer, tn_layer_norm(in[0], in[1], in[2], 1e-5))
MAKE(layer_plain, tn_layer_norm(in[0], NULL, NULL, 1e-5))

static const tn__norm_attr bn_back = {.train = true, .relu = true, .wanted = 15};
static const tn__norm_attr ln_back = {.wanted = 7};
MAKE(bn_backward, tn_apply(TN_OP(batch_norm_backward), &bn_back, sizeof bn_back, 6, in))
MAKE(ln_backward, tn_apply(TN_OP(layer_norm_backward), &ln_back, sizeof ln_back, 5, in))

SAMPLES(batch_norm) = {
    {.what = "training", .make = make_train, .in = {FLOATS(3, 4, 2, 5)}},
    {.what = "training with gain and bias", .make = make_train_affine,
     .in = {FLOATS(7, 21), RANGE('f', .5, 2, 21), FLOATS(21)}},
    {.what = "training with running statistics", .make = make_train_running,
     .in = {FLOATS(7, 5), RANGE('f', .5, 2, 5), FLOATS(5), CONSTS(5), RANGE('c', .5, 2, 5)}},
    {.what = "training with ReLU", .make = make_train_relu,
     .in = {FLOATS(3, 4, 2, 21), RANGE('f', .5, 2, 21), FLOATS(21)}},
    {.what = "training with add", .make = make_train_add,
     .in = {FLOATS(3, 4, 5), RANGE('f', .5, 2, 5), FLOATS(5), FLOATS(3, 4, 5)}},
    {.what = "training with add and ReLU", .make = make_train_add_relu,
     .in = {FLOATS(9, 4, 21), RANGE('f', .5, 2, 21), FLOATS(21), FLOATS(9, 4, 21)}},
    {.what = "training with constant x", .make = make_train_affine,
     .in = {CONSTS(7, 5), RANGE('f', .5, 2, 5), FLOATS(5)}},
    {.what = "evaluation", .make = make_eval,
     .in = {FLOATS(7, 21), RANGE('f', .5, 2, 21), FLOATS(21), CONSTS(21), RANGE('c', .5, 2, 21)}},
    {.what = "evaluation without gain", .make = make_eval_plain,
     .in = {FLOATS(7, 5), CONSTS(5), RANGE('c', .5, 2, 5)}},
    {.what = "evaluation with add and ReLU", .make = make_eval_add_relu,
     .in = {FLOATS(7, 5), RANGE('f', .5, 2, 5), FLOATS(5), CONSTS(5), RANGE('c', .5, 2, 5),
            FLOATS(7, 5)}},
    {.what = "evaluation without statistics", .make = make_eval_alone,
     .in = {FLOATS(7, 5), RANGE('f', .5, 2, 5), FLOATS(5)}, .error = "must be given"},
    {.what = "one value per channel", .make = make_train, .in = {FLOATS(1, 5)},
     .error = "batch_norm: training needs two values per channel or more, [1,5] has 1"},
    {.what = "gain of another size", .make = make_train_affine,
     .in = {FLOATS(7, 21), RANGE('f', .5, 2, 5), FLOATS(21)},
     .error = "batch_norm: shapes do not fit: [5] for [7,21]; it must be [21]"},
    {.what = "add of another shape", .make = make_train_add,
     .in = {FLOATS(4, 5), RANGE('f', .5, 2, 5), FLOATS(5), FLOATS(3, 5)},
     .error = "batch_norm: shapes do not fit: [4,5] + [3,5]"},
    {0},
};
SAMPLES(batch_norm_backward) = {
    {.what = "training with ReLU", .make = make_bn_backward,
     .in = {CONSTS(7, 5), CONSTS(7, 5), RANGE('c', .5, 2, 5), CONSTS(5), RANGE('c', .5, 2, 5),
            CONSTS(7, 5)}},
    {0},
};
SAMPLES(layer_norm) = {
    {.what = "rows", .make = make_layer_plain, .in = {FLOATS(4, 37)}},
    {.what = "rows with gain and bias", .make = make_layer,
     .in = {FLOATS(2, 3, 21), RANGE('f', .5, 2, 21), FLOATS(21)}},
    {.what = "constant x", .make = make_layer,
     .in = {CONSTS(6, 5), RANGE('f', .5, 2, 5), FLOATS(5)}},
    {.what = "no rows", .make = make_layer_plain, .in = {FLOATS(0, 5)}},
    {.what = "no rows, with gain", .make = make_layer,
     .in = {FLOATS(0, 5), RANGE('f', .5, 2, 5), FLOATS(5)}},
    {.what = "empty rows", .make = make_layer_plain, .in = {FLOATS(3, 0)},
     .error = "layer_norm: the last dim of [3,0] is empty"},
    {.what = "gain of another size", .make = make_layer,
     .in = {FLOATS(7, 21), RANGE('f', .5, 2, 5), FLOATS(21)},
     .error = "layer_norm: shapes do not fit: [5] for [7,21]; it must be [21]"},
    {0},
};
SAMPLES(layer_norm_backward) = {
    {.what = "rows", .make = make_ln_backward,
     .in = {CONSTS(4, 5), CONSTS(4, 5), RANGE('c', .5, 2, 5), CONSTS(4), RANGE('c', .5, 2, 4)}},
    {0},
};

MAKE(drop, tn_dropout_add_layer_norm(in[0], in[1], in[2], in[3], .3, 1e-5))
MAKE(drop_plain, tn_dropout_add_layer_norm(in[0], in[1], NULL, NULL, .3, 1e-5))
MAKE(drop_none, tn_dropout_add_layer_norm(in[0], in[1], in[2], in[3], 0, 1e-5))
MAKE(drop_all, tn_dropout_add_layer_norm(in[0], in[1], in[2], in[3], 1, 1e-5))
MAKE(drop_too_much, tn_dropout_add_layer_norm(in[0], in[1], NULL, NULL, 2, 1e-5))
SAMPLES(dropout_add_layer_norm) = {
    {.what = "rows", .make = make_drop_plain, .in = {FLOATS(4, 37), FLOATS(4, 37)}},
    {.what = "rows with gain and bias", .make = make_drop,
     .in = {FLOATS(2, 3, 21), FLOATS(2, 3, 21), RANGE('f', .5, 2, 21), FLOATS(21)}},
    {.what = "many rows", .make = make_drop,
     .in = {FLOATS(600, 64), FLOATS(600, 64), RANGE('f', .5, 2, 64), FLOATS(64)}},
    {.what = "long rows", .make = make_drop,
     .in = {FLOATS(5, 1029), FLOATS(5, 1029), RANGE('f', .5, 2, 1029), FLOATS(1029)}},
    {.what = "no dropout", .make = make_drop_none,
     .in = {FLOATS(7, 21), FLOATS(7, 21), RANGE('f', .5, 2, 21), FLOATS(21)}},
    {.what = "all dropped", .make = make_drop_all,
     .in = {FLOATS(7, 21), FLOATS(7, 21), RANGE('f', .5, 2, 21), FLOATS(21)}},
    {.what = "constant x", .make = make_drop,
     .in = {CONSTS(6, 5), FLOATS(6, 5), RANGE('f', .5, 2, 5), FLOATS(5)}},
    {.what = "no rows", .make = make_drop_plain, .in = {FLOATS(0, 5), FLOATS(0, 5)}},
    {.what = "empty rows", .make = make_drop_plain, .in = {FLOATS(3, 0), FLOATS(3, 0)},
     .error = "dropout_add_layer_norm: the last dim of [3,0] is empty"},
    {.what = "a residual of another shape", .make = make_drop_plain, .in = {FLOATS(4, 5), FLOATS(5)},
     .error = "dropout_add_layer_norm: shapes do not fit: [4,5] x [5]"},
    {.what = "gain of another size", .make = make_drop,
     .in = {FLOATS(7, 21), FLOATS(7, 21), RANGE('f', .5, 2, 5), FLOATS(21)},
     .error = "dropout_add_layer_norm: shapes do not fit: [5] for [7,21]; it must be [21]"},
    {.what = "probability above 1", .make = make_drop_too_much, .in = {FLOATS(4, 5), FLOATS(4, 5)},
     .error = "dropout_add_layer_norm: probability 2 is not in 0..1"},
    {0},
};

static const tn__drop_norm_attr drop_back = {.drop = {.p = .3, .key = {5, 7}}, .wanted = 15};
MAKE(drop_backward, tn_apply(TN_OP(dropout_add_layer_norm_backward), &drop_back, sizeof drop_back, 5, in))
SAMPLES(dropout_add_layer_norm_backward) = {
    {.what = "rows", .make = make_drop_backward,
     .in = {CONSTS(4, 5), CONSTS(4, 5), RANGE('c', .5, 2, 5), CONSTS(4), RANGE('c', .5, 2, 4)}},
    {0},
};

#endif
