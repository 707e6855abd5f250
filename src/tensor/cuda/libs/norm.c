/* Batch norm of a training step through cuDNN, with the add and the ReLU after it in the same
 * kernel.  Definition: ../../ops/norm.c; the kernels of our own, which do all the rest: ../norm.cu. */
#include "graph.h"
#include "libs.h"

enum { X, GAIN, BIAS, EPS, NORMAL, MEAN, RSTD, MOMENTUM, OLD_MEAN, OLD_VAR, NEW_MEAN, NEW_VAR, FORWARD_ENDS };
enum { DX = 1, DGAIN = 2, DBIAS = 4, DADD = 8 }; /* bits of wanted */

/* [N, H, W, C] as it is, other shapes as N rows of C. */
static int image(tn__graph *g, const tn_tensor *t, int type, int place)
{
    const int64_t c = t->shape[t->ndim - 1];
    if (t->ndim == 4)
        return tn__graph_add_tensor(g, type, place, t->shape[0], c, t->shape[1], t->shape[2]);
    return tn__graph_add_tensor(g, type, place, tn__cuda_count(t) / c, c, 1, 1);
}

static int channels(tn__graph *g, const tn_tensor *x)
{
    return tn__graph_add_tensor(g, CUDNN_DATA_FLOAT, TN_GRAPH_DATA, 1, x->shape[x->ndim - 1], 1, 1);
}

static int number(tn__graph *g)
{
    return tn__graph_add_tensor(g, CUDNN_DATA_FLOAT, TN_GRAPH_NUMBER, 1, 1, 1, 1);
}

/* Tensors 0..FORWARD_ENDS-1 as the enum has them (the last five without running statistics too),
 * then add, if any, then what is between, then y. */
tn__graph tn__norm_graph(const tn_tensor *x, bool running, bool add, bool relu)
{
    tn__graph g = {0};
    int end[FORWARD_ENDS], last = NORMAL;
    const int place = add || relu ? TN_GRAPH_VIRTUAL : TN_GRAPH_DATA;
    for (int i = 0; i < (running ? FORWARD_ENDS : MOMENTUM); i++)
        end[i] = i == X         ? image(&g, x, CUDNN_DATA_FLOAT, TN_GRAPH_DATA)
                 : i == NORMAL  ? image(&g, x, CUDNN_DATA_FLOAT, place)
                 : i == EPS || i == MOMENTUM ? number(&g)
                                             : channels(&g, x);
    tn__graph_add_node(&g, TN_NODE_NORM, running ? FORWARD_ENDS : MOMENTUM, end);
    if (add) {
        const int other = image(&g, x, CUDNN_DATA_FLOAT, TN_GRAPH_DATA);
        const int sum = image(&g, x, CUDNN_DATA_FLOAT, relu ? TN_GRAPH_VIRTUAL : TN_GRAPH_DATA);
        tn__graph_add_node(&g, TN_NODE_POINTWISE, 3, (int[]){last, other, sum})->mode = CUDNN_POINTWISE_ADD;
        last = sum;
    }
    if (relu) {
        const int y = image(&g, x, CUDNN_DATA_FLOAT, TN_GRAPH_DATA);
        tn__graph_add_node(&g, TN_NODE_POINTWISE, 3, (int[]){last, -1, y})->mode = CUDNN_POINTWISE_RELU_FWD;
    }
    return g;
}

int tn__cudnn_batch_norm(const tn_call *c, tn__cuda_work *w)
{
    const tn__norm_attr *a = c->attr;
    const tn_tensor *x = c->in[0], *add = c->in[5];
    float eps = (float)a->eps, momentum = (float)a->momentum;
    void *data[TN_GRAPH_TENSORS] = {NULL};
    if (!a->train || !c->in[1] || !c->in[2] || !tn__cuda_count(x))
        return TN_CUDA_DECLINED;
    const bool running = c->in[3] != NULL;
    const tn__graph g = tn__norm_graph(x, running, add != NULL, a->relu);
    data[X] = tn__cuda_data(x);
    data[GAIN] = tn__cuda_data(c->in[1]);
    data[BIAS] = tn__cuda_data(c->in[2]);
    data[EPS] = &eps;
    data[MEAN] = tn__cuda_data(c->out[1]);
    data[RSTD] = tn__cuda_data(c->out[2]);
    for (int i = 0; running && i < 2; i++) /* moved in place */
        data[OLD_MEAN + i] = data[NEW_MEAN + i] = tn__cuda_data(c->in[3 + i]);
    if (running)
        data[MOMENTUM] = &momentum;
    if (add)
        data[running ? FORWARD_ENDS : MOMENTUM] = tn__cuda_data(add);
    data[add || a->relu ? g.tensors - 1 : NORMAL] = tn__cuda_data(c->out[0]);
    return tn__graph_run(&g, data, w);
}

/* Tensors: x, g, gain, mean, rstd, dx, dgain, dbias; with ReLU y, 0, the mask and the masked g. */
tn__graph tn__norm_backward_graph(const tn_tensor *x, bool relu, bool masked_wanted)
{
    tn__graph g = {0};
    int end[8];
    for (int i = 0; i < 8; i++)
        end[i] = i < 2 || i == 5 ? image(&g, x, CUDNN_DATA_FLOAT, TN_GRAPH_DATA) : channels(&g, x);
    if (relu) {
        const int y = image(&g, x, CUDNN_DATA_FLOAT, TN_GRAPH_DATA), zero = number(&g);
        const int mask = image(&g, x, CUDNN_DATA_BOOLEAN, TN_GRAPH_VIRTUAL);
        const int masked = image(&g, x, CUDNN_DATA_FLOAT, masked_wanted ? TN_GRAPH_DATA : TN_GRAPH_VIRTUAL);
        tn__graph_add_node(&g, TN_NODE_POINTWISE, 3, (int[]){y, zero, mask})->mode = CUDNN_POINTWISE_CMP_GT;
        tn__graph_add_node(&g, TN_NODE_POINTWISE, 3, (int[]){end[1], mask, masked})->mode = CUDNN_POINTWISE_MUL;
        end[1] = masked;
    }
    tn__graph_add_node(&g, TN_NODE_NORM_BACKWARD, 8, end);
    return g;
}

int tn__cudnn_batch_norm_backward(const tn_call *c, tn__cuda_work *w)
{
    const tn__norm_attr *a = c->attr;
    const tn_tensor *x = c->in[0];
    const unsigned must = DX | DGAIN | DBIAS;
    float zero = 0;
    void *data[TN_GRAPH_TENSORS] = {NULL};
    if (!a->train || !c->in[2] || !tn__cuda_count(x) || (a->wanted & must) != must)
        return TN_CUDA_DECLINED;
    const tn__graph g = tn__norm_backward_graph(x, a->relu, a->wanted & DADD);
    for (int i = 0; i < 8; i++)
        data[i] = tn__cuda_data(i < 5 ? c->in[i] : c->out[i - 5]);
    if (a->relu) {
        data[8] = tn__cuda_data(c->in[5]);
        data[9] = &zero;
        data[11] = a->wanted & DADD ? tn__cuda_data(c->out[3]) : NULL;
    }
    return tn__graph_run(&g, data, w);
}
