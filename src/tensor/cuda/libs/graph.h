/* cuDNN's graph API in one small form: a graph is described by plain values, which are also the
 * key under which its plan is found again; graph.c plans it, plans.c keeps plans and runs them.
 *
 * Graphs and descriptors: NVIDIA's cuDNN documentation, "Graph API", and cudnn_graph.h. */
#ifndef TN_CUDA_GRAPH_H
#define TN_CUDA_GRAPH_H

#include "cuda.h"
#include "launch.h"
#include "load.h"

enum { TN_GRAPH_TENSORS = 16, TN_GRAPH_NODES = 4, TN_GRAPH_ENDS = 12 };
enum { TN_GRAPH_WORKSPACE = 256 << 20 }; /* bytes at most */

typedef struct tn__graph_tensor {
    int32_t type;  /* cudnnDataType_t */
    int32_t place; /* below */
    int64_t dim[4]; /* n, c, h, w; channels last in memory */
} tn__graph_tensor;
enum { TN_GRAPH_DATA, TN_GRAPH_VIRTUAL, TN_GRAPH_NUMBER }; /* on the device, never written, on the host */

enum { TN_NODE_CONV, TN_NODE_CONV_DATA, TN_NODE_CONV_WEIGHT, TN_NODE_POINTWISE, TN_NODE_NORM, TN_NODE_NORM_BACKWARD };
typedef struct tn__graph_node {
    int32_t op;
    int32_t mode; /* cudnnPointwiseMode_t of TN_NODE_POINTWISE */
    int32_t pad[2], stride[2], dilation[2]; /* of convolutions */
    int32_t end[TN_GRAPH_ENDS]; /* tensors, in the order that graph.c has for the op; -1 none */
} tn__graph_node;

typedef struct tn__graph {
    int32_t precision; /* tn_precision */
    int32_t tensors, nodes, unused;
    tn__graph_tensor tensor[TN_GRAPH_TENSORS];
    tn__graph_node node[TN_GRAPH_NODES];
} tn__graph;

/* Each returns the number of what it added. */
int tn__graph_add_tensor(tn__graph *g, int type, int place, int64_t n, int64_t c, int64_t h, int64_t w);
tn__graph_node *tn__graph_add_node(tn__graph *g, int op, int ends, const int *end);

/* What a plan is for: a device of this machine, or one that is only described. */
typedef struct tn__graph_device {
    cudnnHandle_t handle;                /* NULL: described by */
    cudnnBackendDescriptor_t properties;
    char name[256];
} tn__graph_device;

typedef struct tn__plan {
    cudnnBackendDescriptor_t plan; /* NULL: there is none that may be used */
    int64_t workspace;             /* bytes */
    int64_t engine;
    unsigned notes;                /* a bit for each cudnnBackendNumericalNote_t of the engine */
} tn__plan;

/* The first plan in cuDNN's own order that is deterministic, as exact as the precision asks and
 * within the workspace; none is no error. */
tn__plan tn__graph_plan(const tn__graph *g, const tn__graph_device *d);
/* A plan as text, and back; NULL or no plan when cuDNN does not take it. */
char *tn__plan_text(const tn__plan *p, int64_t *size); /* to be freed */
tn__plan tn__plan_of_text(const char *text, int64_t size, const tn__graph_device *d);

/* Runs g in order with all else on the device; data[i] is where tensor i is. */
int tn__graph_run(const tn__graph *g, void *const *data, tn__cuda_work *w);

/* plans.c: the plan of g, from disk when it is there; and kept there. */
tn__plan tn__plan_find(const tn__graph *g, const tn__graph_device *d);
/* The same, kept in memory, of device number `index`; NULL with the error set. */
const tn__plan *tn__plan_of(const tn__graph *g, int index, const tn__graph_device *d);
/* What tn__plan_of() gives from now on: the plan of the text; of none, no plan.  False when cuDNN does not take it. */
bool tn__plan_take(const tn__graph *g, int index, const tn__graph_device *d, const void *text, size_t size);

/* The graphs of ops (conv.c, norm.c); x for its shape. */
tn__graph tn__conv_graph(int node, const tn__window_attr *a, bool bias, tn_precision p);
tn__graph tn__norm_graph(const tn_tensor *x, bool running, bool add, bool relu);
tn__graph tn__norm_backward_graph(const tn_tensor *x, bool relu, bool masked_wanted);

#endif
