/* Convolutions through cuDNN.  Definition: ../../ops/conv.c; the kernel of our own: ../conv.cu. */
#include "graph.h"
#include "libs.h"

static int image(tn__graph *g, int type, int64_t n, int64_t c, int64_t h, int64_t w)
{
    return tn__graph_add_tensor(g, type, TN_GRAPH_DATA, n, c, h, w);
}

/* Which of the three tensors the node writes. */
static int result_of(int node) { return node == TN_NODE_CONV ? 2 : node == TN_NODE_CONV_DATA ? 0 : 1; }

/* Tensors 0, 1, 2 are image, weight and result (or their gradients), 3 the bias.  Sums of bf16 are
 * made in f32, and so are results; gradients are written as bf16, since cuDNN has no plan else. */
tn__graph tn__conv_graph(int node, const tn__window_attr *a, bool bias, tn_precision p)
{
    const int result = result_of(node), half = p == TN_PRECISION_BF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
    tn__graph g = {.precision = (int32_t)p};
    int end[] = {0, 1, 2};
    image(&g, half, a->n, a->c, a->h, a->w);
    image(&g, half, a->oc, a->c / a->groups, a->kh, a->kw);
    image(&g, half, a->n, a->oc, a->oh, a->ow);
    if (node == TN_NODE_CONV)
        g.tensor[result].type = CUDNN_DATA_FLOAT;
    if (bias) {
        image(&g, CUDNN_DATA_FLOAT, 1, a->oc, 1, 1);
        end[result] = g.tensors;
        g.tensor[g.tensors] = g.tensor[result];
        g.tensor[g.tensors++].place = TN_GRAPH_VIRTUAL;
    }
    tn__graph_node *n = tn__graph_add_node(&g, node, 3, end);
    for (int i = 0; i < 2; i++) {
        n->pad[i] = i ? a->pw : a->ph;
        n->stride[i] = i ? a->sw : a->sh;
        n->dilation[i] = i ? a->dw : a->dh;
    }
    if (bias)
        tn__graph_add_node(&g, TN_NODE_POINTWISE, 3, (int[]){end[result], 3, result})->mode = CUDNN_POINTWISE_ADD;
    return g;
}

/* data: of image, weight, result and bias */
static int run_in(tn_precision p, const tn_call *c, int node, const tn_tensor *const *t, void *const *data,
                  tn__cuda_work *w)
{
    const bool half = p == TN_PRECISION_BF16, widen = half && node != TN_NODE_CONV;
    const int result = result_of(node);
    const int64_t n = tn__cuda_count(t[result]);
    void *at[TN_GRAPH_TENSORS] = {data[0], data[1], data[2], data[3]};
    int failed = 0;
    for (int i = 0; i < 3 && half && !failed; i++)
        if (i != result && !(at[i] = (void *)(uintptr_t)tn__cuda_rounded(t[i], w)))
            failed = TN_CUDA_NO_MEMORY;
    if (!failed && widen && !(at[result] = tn__cuda_scratch(w, (size_t)n * sizeof(uint16_t))))
        failed = TN_CUDA_NO_MEMORY;
    const tn__graph g = tn__conv_graph(node, c->attr, data[3] != NULL, p);
    failed = failed ? failed : tn__graph_run(&g, at, w);
    return failed || !widen ? failed : tn__cuda_from_bf16(at[result], data[result], n, w->stream);
}

static int run(const tn_call *c, tn__cuda_work *work, int node, const tn_tensor *x, const tn_tensor *w,
               const tn_tensor *y, const tn_tensor *bias)
{
    const tn_precision p = tn__cuda_precision(work->device);
    const tn_tensor *t[] = {x, w, y};
    void *data[] = {tn__cuda_data(x), tn__cuda_data(w), tn__cuda_data(y), tn__cuda_data(bias)};
    if (!tn__library(TN_LIB_CUDNN) || !tn__cuda_count(x) || !tn__cuda_count(w) || !tn__cuda_count(y))
        return TN_CUDA_DECLINED;
    const int failed = run_in(p, c, node, t, data, work);
    /* where bf16 has no plan, tf32 may have one */
    return failed == TN_CUDA_DECLINED && p == TN_PRECISION_BF16 ? run_in(TN_PRECISION_TF32, c, node, t, data, work)
                                                                 : failed;
}

int tn__cudnn_conv(const tn_call *c, tn__cuda_work *w)
{
    return run(c, w, TN_NODE_CONV, c->in[0], c->in[1], c->out[0], c->in[2]);
}

int tn__cudnn_conv_backward_data(const tn_call *c, tn__cuda_work *w)
{
    return run(c, w, TN_NODE_CONV_DATA, c->out[0], c->in[1], c->in[0], NULL);
}

int tn__cudnn_conv_backward_weight(const tn_call *c, tn__cuda_work *w)
{
    return run(c, w, TN_NODE_CONV_WEIGHT, c->in[0], c->out[0], c->in[1], NULL);
}
