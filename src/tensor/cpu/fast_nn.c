/* From tn_call to the fast convolutions and norms of conv.c, norm.c and layer_norm.c. */
#include <math.h>
#include <string.h>

#include "conv.h"
#include "norm.h"

#include "../attrs.h"
#include "../internal.h"

/* What conv.h and norm.h return: 0 done, 1 declined, -1 failed. */
static tn_done outcome(int code)
{
    return code == 0 ? TN_DONE : code > 0 ? TN_DECLINED : TN_FAILED;
}

static float *in(const tn_call *c, int i) { return c->in[i] ? tn__data(c->in[i]) : NULL; }

/* NULL when nobody wants this output. */
static float *out(const tn_call *c, int i, unsigned wanted)
{
    return wanted >> i & 1 ? tn__data(c->out[i]) : NULL;
}

/* ---- convolution ---- */

static tn__conv_dims dims(const tn_call *c)
{
    const tn__window_attr *a = c->attr;
    return (tn__conv_dims){
        .n = a->n, .h = a->h, .w = a->w, .c = a->c, .oh = a->oh, .ow = a->ow, .oc = a->oc,
        .kh = a->kh, .kw = a->kw, .sh = a->sh, .sw = a->sw, .ph = a->ph, .pw = a->pw,
        .dh = a->dh, .dw = a->dw, .groups = a->groups,
    };
}

tn_done TN_K(fast_conv)(const tn_call *c)
{
    const tn__conv_dims d = dims(c);
    return outcome(TN_K(conv_forward)(&d, in(c, 0), in(c, 1), in(c, 2), tn__data(c->out[0])));
}

tn_done TN_K(fast_conv_backward_data)(const tn_call *c)
{
    const tn__conv_dims d = dims(c);
    return outcome(TN_K(conv_backward_data)(&d, in(c, 0), in(c, 1), tn__data(c->out[0])));
}

tn_done TN_K(fast_conv_backward_weight)(const tn_call *c)
{
    const tn__conv_dims d = dims(c);
    return outcome(TN_K(conv_backward_weight)(&d, in(c, 0), in(c, 1), tn__data(c->out[0])));
}

/* ---- norms ---- */

static void move(float *running, const float *batch, int64_t n, double momentum, double factor)
{
    for (int64_t i = 0; running && i < n; i++)
        running[i] = (float)((1 - momentum) * (double)running[i] +
                             momentum * factor * (double)batch[i]);
}

tn_done TN_K(fast_batch_norm)(const tn_call *c)
{
    const tn__norm_attr *a = c->attr;
    const int64_t channels = tn_dim(c->in[0], -1), n = channels ? tn_numel(c->in[0]) / channels : 0;
    float *mean = tn__data(c->out[1]),
          *rstd = tn__data(c->out[2]); /* first the variance, then 1 / its root */
    if (n == 0)
        return TN_DECLINED;
    if (a->train) {
        if (TN_K(bn_stats)(n, channels, in(c, 0), mean, rstd))
            return TN_FAILED;
        move(in(c, 3), mean, channels, a->momentum, 1);
        move(in(c, 4), rstd, channels, a->momentum, (double)n / (double)(n - 1));
    } else {
        memcpy(mean, in(c, 3), (size_t)channels * sizeof *mean);
        memcpy(rstd, in(c, 4), (size_t)channels * sizeof *rstd);
    }
    for (int64_t i = 0; i < channels; i++)
        rstd[i] = (float)(1 / sqrt((double)rstd[i] + a->eps));
    return outcome(TN_K(bn_apply)(n, channels, in(c, 0), mean, rstd, in(c, 1), in(c, 2), in(c, 5),
                                  a->relu, tn__data(c->out[0])));
}

tn_done TN_K(fast_batch_norm_backward)(const tn_call *c)
{
    const tn__norm_attr *a = c->attr;
    const int64_t channels = tn_dim(c->in[0], -1), n = channels ? tn_numel(c->in[0]) / channels : 0;
    if (n == 0)
        return TN_DECLINED;
    return outcome(TN_K(bn_backward)(
        n, channels, in(c, 0), in(c, 5), in(c, 1), in(c, 3), in(c, 4), in(c, 2), a->relu, a->train,
        out(c, 0, a->wanted), out(c, 1, a->wanted), out(c, 2, a->wanted), out(c, 3, a->wanted)));
}

tn_done TN_K(fast_layer_norm)(const tn_call *c)
{
    const tn__norm_attr *a = c->attr;
    const int64_t cols = tn_dim(c->in[0], -1);
    return outcome(TN_K(ln_forward)(tn_numel(c->in[0]) / cols, cols, in(c, 0), in(c, 1), in(c, 2),
                                    (float)a->eps, tn__data(c->out[0]), tn__data(c->out[1]),
                                    tn__data(c->out[2])));
}

tn_done TN_K(fast_dropout_add_layer_norm)(const tn_call *c)
{
    const tn__drop_norm_attr *a = c->attr;
    const int64_t cols = tn_dim(c->in[0], -1);
    return outcome(TN_K(ln_drop_forward)(tn_numel(c->in[0]) / cols, cols, in(c, 0), in(c, 1), &a->drop, in(c, 2),
                                         in(c, 3), (float)a->eps, tn__data(c->out[0]), tn__data(c->out[1]),
                                         tn__data(c->out[2]), tn__data(c->out[3])));
}

static tn_done layer_norm_back(const tn_call *c, unsigned wanted, const tn__dropout_attr *drop, float *dropped)
{
    const int64_t cols = tn_dim(c->in[0], -1);
    return outcome(TN_K(ln_backward)(tn_numel(c->in[0]) / cols, cols, in(c, 0), in(c, 2), in(c, 1), in(c, 3), in(c, 4),
                                     drop, out(c, 0, wanted), dropped, out(c, 1, wanted), out(c, 2, wanted)));
}

tn_done TN_K(fast_layer_norm_backward)(const tn_call *c)
{
    return layer_norm_back(c, ((const tn__norm_attr *)c->attr)->wanted, NULL, NULL);
}

tn_done TN_K(fast_dropout_add_layer_norm_backward)(const tn_call *c)
{
    const tn__drop_norm_attr *a = c->attr;
    return layer_norm_back(c, a->wanted, &a->drop, out(c, 3, a->wanted));
}
