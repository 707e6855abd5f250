/* The graph that recording leaves behind.  A node is held by the tensors it made and by the nodes that
 * read those; it holds its inputs' nodes and the data that its gradient reads. */
#ifndef TN_NODE_H
#define TN_NODE_H

#include "tensor/internal.h"

typedef struct tn__edge {
    tn_node *node; /* NULL: no gradient is wanted there */
    int out;
} tn__edge;

struct tn_node {
    int refs;
    uint64_t seq;         /* grows as ops run: backward goes down */
    const tn_op *op;      /* NULL: a leaf */
    tn_tensor *leaf;      /* NULL once the leaf's handle is gone */
    int n_in, n_out;
    tn_tensor *saved;     /* [n_in + n_out]: shapes, and storage where `reads` says so */
    uint64_t *version;    /* [n_in + n_out]: of the storages when they were saved */
    tn__edge *edge;       /* [n_in] */
    tn_tensor **grad;     /* [n_out]: what has arrived so far during backward */
    bool walked;          /* backward has been here and freed what was saved */
    uint64_t visit;       /* the backward that last met it */
    tn_node *next;        /* work lists */
    _Alignas(16) unsigned char attr[TN_MAX_ATTR];
};

void tn__node_release(tn_node *node);      /* gives up one reference */
void tn__node_forget(tn_node *node);       /* drops saved data and edges */
tn_rule *tn__rule_of(const tn_op *op);

/* Where values stop being finite (anomaly.c); true when the check is off or all is well. */
bool tn__finite_op(const tn_call *c);

#endif
