/* Describing and planning; see graph.h.  Who keeps and runs plans: plans.c. */
#include "graph.h"

#include <stdlib.h>
#include <string.h>

typedef cudnnBackendDescriptor_t descriptor;
typedef cudnnBackendAttributeName_t attribute;

/* ---- describing ---- */

int tn__graph_add_tensor(tn__graph *g, int type, int place, int64_t n, int64_t c, int64_t h, int64_t w)
{
    g->tensor[g->tensors] = (tn__graph_tensor){type, place, {n, c, h, w}};
    return g->tensors++;
}

tn__graph_node *tn__graph_add_node(tn__graph *g, int op, int ends, const int *end)
{
    tn__graph_node *node = &g->node[g->nodes++];
    *node = (tn__graph_node){.op = op};
    for (int i = 0; i < TN_GRAPH_ENDS; i++)
        node->end[i] = i < ends ? end[i] : -1;
    return node;
}

/* ---- cuDNN's descriptors: all of one graph, and whether each went well ---- */

enum { MADE = 64 };
typedef struct build {
    descriptor made[MADE];
    int n;
    bool ok;
} build;

static descriptor make(build *b, cudnnBackendDescriptorType_t type)
{
    descriptor d = NULL;
    b->ok = b->ok && b->n < MADE &&
            tn__nvidia.cudnnBackendCreateDescriptor(type, &d) == CUDNN_STATUS_SUCCESS;
    if (b->ok)
        b->made[b->n++] = d;
    return d;
}

static void set(build *b, descriptor d, attribute name, cudnnBackendAttributeType_t type, int64_t count,
                const void *value)
{
    b->ok = b->ok &&
            tn__nvidia.cudnnBackendSetAttribute(d, name, type, count, value) == CUDNN_STATUS_SUCCESS;
}

static void set_type(build *b, descriptor d, attribute name, cudnnDataType_t type)
{
    set(b, d, name, CUDNN_TYPE_DATA_TYPE, 1, &type);
}

static void set_two(build *b, descriptor d, attribute name, const int32_t two[2])
{
    set(b, d, name, CUDNN_TYPE_INT64, 2, (int64_t[]){two[0], two[1]});
}

static void finish(build *b, descriptor d)
{
    b->ok = b->ok && tn__nvidia.cudnnBackendFinalize(d) == CUDNN_STATUS_SUCCESS;
}

static void destroy(build *b)
{
    while (b->n)
        tn__nvidia.cudnnBackendDestroyDescriptor(b->made[--b->n]);
}

/* ---- a graph ---- */

static descriptor tensor(build *b, const tn__graph_tensor *t, int64_t id)
{
    const int64_t *d = t->dim, align = 16;
    const bool yes = true;
    descriptor made = make(b, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    set_type(b, made, CUDNN_ATTR_TENSOR_DATA_TYPE, (cudnnDataType_t)t->type);
    set(b, made, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, d);
    set(b, made, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4,
        (int64_t[]){d[1] * d[2] * d[3], 1, d[1] * d[3], d[1]});
    set(b, made, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &id);
    set(b, made, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &align);
    if (t->place == TN_GRAPH_VIRTUAL)
        set(b, made, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &yes);
    if (t->place == TN_GRAPH_NUMBER)
        set(b, made, CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, &yes);
    finish(b, made);
    return made;
}

/* For each op its descriptor, its parameters' attribute, and the attributes of its tensors. */
static const struct op {
    cudnnBackendDescriptorType_t type;
    attribute end[TN_GRAPH_ENDS];
    attribute parameters, alpha, beta;
} ops[] = {
    [TN_NODE_CONV] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
        {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
         CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y},
        CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
        CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA},
    [TN_NODE_CONV_DATA] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
        {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY},
        CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
        CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA},
    [TN_NODE_CONV_WEIGHT] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
        {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY},
        CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
        CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA},
    [TN_NODE_POINTWISE] = {CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR,
        {CUDNN_ATTR_OPERATION_POINTWISE_XDESC, CUDNN_ATTR_OPERATION_POINTWISE_BDESC,
         CUDNN_ATTR_OPERATION_POINTWISE_YDESC},
        CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, 0, 0},
    [TN_NODE_NORM] = {CUDNN_BACKEND_OPERATION_NORM_FORWARD_DESCRIPTOR,
        {CUDNN_ATTR_OPERATION_NORM_FWD_XDESC, CUDNN_ATTR_OPERATION_NORM_FWD_SCALE_DESC,
         CUDNN_ATTR_OPERATION_NORM_FWD_BIAS_DESC, CUDNN_ATTR_OPERATION_NORM_FWD_EPSILON_DESC,
         CUDNN_ATTR_OPERATION_NORM_FWD_YDESC, CUDNN_ATTR_OPERATION_NORM_FWD_MEAN_DESC,
         CUDNN_ATTR_OPERATION_NORM_FWD_INV_VARIANCE_DESC, CUDNN_ATTR_OPERATION_NORM_FWD_EXP_AVG_FACTOR_DESC,
         CUDNN_ATTR_OPERATION_NORM_FWD_INPUT_RUNNING_MEAN_DESC,
         CUDNN_ATTR_OPERATION_NORM_FWD_INPUT_RUNNING_VAR_DESC,
         CUDNN_ATTR_OPERATION_NORM_FWD_OUTPUT_RUNNING_MEAN_DESC,
         CUDNN_ATTR_OPERATION_NORM_FWD_OUTPUT_RUNNING_VAR_DESC}, 0, 0, 0},
    [TN_NODE_NORM_BACKWARD] = {CUDNN_BACKEND_OPERATION_NORM_BACKWARD_DESCRIPTOR,
        {CUDNN_ATTR_OPERATION_NORM_BWD_XDESC, CUDNN_ATTR_OPERATION_NORM_BWD_DYDESC,
         CUDNN_ATTR_OPERATION_NORM_BWD_SCALE_DESC, CUDNN_ATTR_OPERATION_NORM_BWD_MEAN_DESC,
         CUDNN_ATTR_OPERATION_NORM_BWD_INV_VARIANCE_DESC, CUDNN_ATTR_OPERATION_NORM_BWD_DXDESC,
         CUDNN_ATTR_OPERATION_NORM_BWD_DSCALE_DESC, CUDNN_ATTR_OPERATION_NORM_BWD_DBIAS_DESC}, 0, 0, 0},
};

/* All sums are made in f32. */
static descriptor window(build *b, const tn__graph_node *n)
{
    const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    const int64_t dims = 2;
    descriptor d = make(b, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    set(b, d, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &dims);
    set_type(b, d, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_DATA_FLOAT);
    set(b, d, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
    set_two(b, d, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, n->pad);
    set_two(b, d, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, n->pad);
    set_two(b, d, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, n->stride);
    set_two(b, d, CUDNN_ATTR_CONVOLUTION_DILATIONS, n->dilation);
    finish(b, d);
    return d;
}

static descriptor pointwise(build *b, const tn__graph_node *n)
{
    const cudnnPointwiseMode_t mode = (cudnnPointwiseMode_t)n->mode;
    const cudnnNanPropagation_t nan = CUDNN_PROPAGATE_NAN; /* a ReLU must not hide that a training has failed */
    descriptor d = make(b, CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    set(b, d, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
    set_type(b, d, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_FLOAT);
    if (mode == CUDNN_POINTWISE_RELU_FWD)
        set(b, d, CUDNN_ATTR_POINTWISE_NAN_PROPAGATION, CUDNN_TYPE_NAN_PROPOGATION, 1, &nan);
    finish(b, d);
    return d;
}

static descriptor node(build *b, const tn__graph_node *n, const descriptor *tensors)
{
    const struct op *op = &ops[n->op];
    const cudnnBackendNormMode_t norm = CUDNN_BATCH_NORM;
    const cudnnBackendNormFwdPhase_t training = CUDNN_NORM_FWD_TRAINING;
    const float one = 1, zero = 0;
    descriptor parameters = NULL;
    if (op->parameters)
        parameters = n->op == TN_NODE_POINTWISE ? pointwise(b, n) : window(b, n);
    descriptor d = make(b, op->type);
    if (parameters)
        set(b, d, op->parameters, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &parameters);
    if (op->alpha) {
        set(b, d, op->alpha, CUDNN_TYPE_FLOAT, 1, &one);
        set(b, d, op->beta, CUDNN_TYPE_FLOAT, 1, &zero);
    }
    if (n->op == TN_NODE_NORM) {
        set(b, d, CUDNN_ATTR_OPERATION_NORM_FWD_MODE, CUDNN_TYPE_NORM_MODE, 1, &norm);
        set(b, d, CUDNN_ATTR_OPERATION_NORM_FWD_PHASE, CUDNN_TYPE_NORM_FWD_PHASE, 1, &training);
    }
    if (n->op == TN_NODE_NORM_BACKWARD)
        set(b, d, CUDNN_ATTR_OPERATION_NORM_BWD_MODE, CUDNN_TYPE_NORM_MODE, 1, &norm);
    for (int i = 0; i < TN_GRAPH_ENDS; i++)
        if (n->end[i] >= 0)
            set(b, d, op->end[i], CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &tensors[n->end[i]]);
    finish(b, d);
    return d;
}

static descriptor graph(build *b, const tn__graph *g, const tn__graph_device *to)
{
    descriptor tensors[TN_GRAPH_TENSORS], nodes[TN_GRAPH_NODES];
    for (int i = 0; i < g->tensors; i++)
        tensors[i] = tensor(b, &g->tensor[i], i + 1);
    for (int i = 0; i < g->nodes; i++)
        nodes[i] = node(b, &g->node[i], tensors);
    descriptor d = make(b, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    set(b, d, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, g->nodes, nodes);
    if (to->handle)
        set(b, d, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &to->handle);
    finish(b, d);
    return d;
}

/* ---- a plan ---- */

#define NOTE(name) (1u << CUDNN_NUMERICAL_NOTE_##name)

/* What engines must not do.  Without tensor cores f32 is the arithmetic of the CPU. */
static unsigned refused(tn_precision p)
{
    const unsigned always = NOTE(NONDETERMINISTIC) | NOTE(REDUCED_PRECISION_REDUCTION) |
                            NOTE(DOWN_CONVERT_INPUTS);
    return p == TN_PRECISION_F32 ? always | NOTE(TENSOR_CORE) | NOTE(FFT) | NOTE(WINOGRAD) : always;
}

static bool get(descriptor d, attribute name, cudnnBackendAttributeType_t type, int64_t room, int64_t *count,
                void *value)
{
    return tn__nvidia.cudnnBackendGetAttribute(d, name, type, room, count, value) == CUDNN_STATUS_SUCCESS;
}

/* Engine and notes of a configuration. */
static bool read_engine(descriptor config, tn__plan *p)
{
    cudnnBackendNumericalNote_t notes[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
    build b = {.ok = true};
    int64_t count = 0;
    descriptor engine = make(&b, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    const bool good =
        b.ok && get(config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &count, &engine) &&
        get(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &count, &p->engine) &&
        get(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
            CUDNN_NUMERICAL_NOTE_TYPE_COUNT, &count, notes);
    for (int64_t i = 0; good && i < count && i < CUDNN_NUMERICAL_NOTE_TYPE_COUNT; i++)
        p->notes |= 1u << notes[i];
    destroy(&b);
    return good;
}

/* Finishes a plan whose other attributes are set; without one when that fails. */
static tn__plan finish_plan(build *b, descriptor d, tn__plan p)
{
    int64_t count = 0;
    finish(b, d);
    if (b->ok && get(d, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &count, &p.workspace) &&
        p.workspace <= TN_GRAPH_WORKSPACE) {
        p.plan = d;
        b->n = 0; /* the plan's alone */
    }
    destroy(b);
    return p;
}

static void set_device(build *b, descriptor d, attribute handle, attribute properties, const tn__graph_device *to)
{
    if (to->handle && handle)
        set(b, d, handle, CUDNN_TYPE_HANDLE, 1, &to->handle);
    else if (!to->handle)
        set(b, d, properties, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &to->properties);
}

static tn__plan plan_config(descriptor config, const tn__graph_device *to, tn_precision precision)
{
    tn__plan p = {0};
    build b = {.ok = true};
    if (!read_engine(config, &p) || (p.notes & refused(precision)))
        return p;
    descriptor d = make(&b, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    set(&b, d, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &config);
    if (to->handle)
        set(&b, d, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &to->handle);
    return finish_plan(&b, d, p);
}

enum { CONFIGS = 60 }; /* looked at, at most */

static tn__plan plan_by(cudnnBackendHeurMode_t mode, descriptor operations, const tn__graph_device *to,
                        tn_precision precision)
{
    build b = {.ok = true};
    tn__plan p = {0};
    descriptor config[CONFIGS];
    int64_t count = 0;
    descriptor d = make(&b, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    set(&b, d, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &operations);
    set(&b, d, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
    set_device(&b, d, 0, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, to);
    finish(&b, d);
    for (int i = 0; i < CONFIGS; i++)
        config[i] = make(&b, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    if (b.ok && get(d, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, CONFIGS, &count, config))
        for (int64_t i = 0; i < count && i < CONFIGS && !p.plan; i++)
            p = plan_config(config[i], to, precision);
    destroy(&b);
    return p;
}

tn__plan tn__graph_plan(const tn__graph *g, const tn__graph_device *to)
{
    build b = {.ok = true};
    tn__plan p = {0};
    descriptor d = graph(&b, g, to);
    if (b.ok)
        p = plan_by(CUDNN_HEUR_MODE_A, d, to, (tn_precision)g->precision);
    if (b.ok && !p.plan)
        p = plan_by(CUDNN_HEUR_MODE_FALLBACK, d, to, (tn_precision)g->precision);
    destroy(&b);
    return p;
}

/* ---- plans as text ---- */

char *tn__plan_text(const tn__plan *p, int64_t *size)
{
    char *text = NULL;
    if (!get(p->plan, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, 0, size, NULL) ||
        *size < 1 || !(text = malloc((size_t)*size)))
        return NULL;
    if (get(p->plan, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, *size, size, text))
        return text;
    free(text);
    return NULL;
}

tn__plan tn__plan_of_text(const char *text, int64_t size, const tn__graph_device *to)
{
    build b = {.ok = true};
    descriptor d = make(&b, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    set_device(&b, d, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, to);
    set(&b, d, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, size, text);
    return finish_plan(&b, d, (tn__plan){0});
}
