/* Convolutions through cuDNN.  Definition: ../../ops/conv.c; the kernel of our own: ../conv.cu. */
#include "graph.h"
#include "libs.h"

static int image(tn__graph *g, int type, int64_t n, int64_t c, int64_t h, int64_t w)
{
    return tn__graph_add_tensor(g, type, TN_GRAPH_DATA, n, c, h, w);
}

/* Tensors 0, 1, 2 are image, weight and result (or their gradients), 3 the bias. */
tn__graph tn__conv_graph(int node, const tn__window_attr *a, bool bias, tn_precision p)
{
    const int type = CUDNN_DATA_FLOAT;
    tn__graph g = {.precision = (int32_t)p};
    image(&g, type, a->n, a->c, a->h, a->w);
    image(&g, type, a->oc, a->c / a->groups, a->kh, a->kw);
    image(&g, type, a->n, a->oc, a->oh, a->ow);
    int end[] = {0, 1, 2};
    if (bias) {
        image(&g, type, 1, a->oc, 1, 1);
        end[2] = tn__graph_add_tensor(&g, type, TN_GRAPH_VIRTUAL, a->n, a->oc, a->oh, a->ow);
    }
    tn__graph_node *n = tn__graph_add_node(&g, node, 3, end);
    for (int i = 0; i < 2; i++) {
        n->pad[i] = i ? a->pw : a->ph;
        n->stride[i] = i ? a->sw : a->sh;
        n->dilation[i] = i ? a->dw : a->dh;
    }
    if (bias)
        tn__graph_add_node(&g, TN_NODE_POINTWISE, 3, (int[]){end[2], 3, 2})->mode = CUDNN_POINTWISE_ADD;
    return g;
}

static int run(const tn_call *c, tn__cuda_work *work, int node, const tn_tensor *x, const tn_tensor *w,
               const tn_tensor *y, const tn_tensor *bias)
{
    void *data[] = {tn__cuda_data(x), tn__cuda_data(w), tn__cuda_data(y), tn__cuda_data(bias), NULL};
    if (!tn__cuda_count(x) || !tn__cuda_count(w) || !tn__cuda_count(y))
        return TN_CUDA_DECLINED;
    const tn__graph g = tn__conv_graph(node, c->attr, bias != NULL, tn__cuda_precision(work->device));
    return tn__graph_run(&g, data, work);
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
