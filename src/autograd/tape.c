/* Recording: what an op leaves behind for backward, and how long it lives. */
#include <string.h>

#include "node.h"
#include "rules.h"

static _Thread_local bool paused;
static _Thread_local uint64_t sequence;

bool tn_grad_enabled(void) { return !paused; }

bool tn_grad_set(bool on)
{
    const bool was = !paused;
    paused = !on;
    return was;
}

void tn_grad_restore(const bool *was) { paused = !*was; }

/* ---- life of a node ---- */

static void push(tn_node **list, tn_node *node)
{
    if (node && --node->refs == 0) {
        node->next = *list;
        *list = node;
    }
}

static void forget(tn_node *node, tn_node **dead)
{
    for (int i = 0; i < node->n_in + node->n_out; i++)
        tn__storage_drop(node->saved[i].storage), node->saved[i].storage = NULL;
    for (int i = 0; i < node->n_in; i++) {
        push(dead, node->edge[i].node);
        node->edge[i].node = NULL;
    }
}

/* A list instead of recursion: graphs can be as deep as a sequence is long. */
static void bury(tn_node *dead)
{
    while (dead) {
        tn_node *node = dead;
        dead = node->next;
        forget(node, &dead);
        for (int i = 0; i < node->n_out && node->grad; i++)
            tn__tensor_free(node->grad[i]);
        tn__free(node->saved);
        tn__free(node->version);
        tn__free(node->edge);
        tn__free(node->grad);
        tn__free(node);
    }
}

void tn__node_forget(tn_node *node)
{
    tn_node *dead = NULL;
    forget(node, &dead);
    node->walked = true;
    bury(dead);
}

void tn__node_release(tn_node *node)
{
    tn_node *dead = NULL;
    push(&dead, node);
    bury(dead);
}

static void handle_died(tn_node *node)
{
    node->leaf = NULL;
    tn__node_release(node);
}

/* ---- leaves ---- */

static tn_node *node_new(int n_in, int n_out)
{
    tn_node *node = tn__alloc(sizeof *node);
    if (!node)
        return NULL;
    node->refs = 1;
    node->n_in = n_in;
    node->n_out = n_out;
    node->saved = tn__alloc((size_t)(n_in + n_out) * sizeof *node->saved);
    node->version = tn__alloc((size_t)(n_in + n_out) * sizeof *node->version);
    node->edge = tn__alloc((size_t)n_in * sizeof *node->edge);
    node->grad = tn__alloc((size_t)n_out * sizeof(tn_tensor *));
    if (!node->saved || !node->version || !node->edge || !node->grad) {
        node->n_in = node->n_out = 0;
        tn__node_release(node);
        return NULL;
    }
    node->seq = ++sequence;
    return node;
}

static tn__op_hook record;

tn_tensor *tn_want_grad(tn_tensor *t)
{
    if (!t)
        return NULL;
    if (!tn_dtype_floating(t->dtype))
        return tn_fail(TN_EDTYPE, "want_grad: a %s tensor has no gradient", tn_dtype_name(t->dtype));
    if (t->node && t->node->op)
        return tn_fail(TN_ESTATE, "want_grad: the tensor was made by %s; only leaves can be asked, use tn_detach()",
                       t->node->op->name);
    tn__on_op = record;
    tn__node_drop = handle_died;
    if (!t->node && !(t->node = node_new(0, 0)))
        return NULL;
    t->node->leaf = t;
    t->requires_grad = true;
    return t;
}

/* ---- recording ---- */

/* Shape always, data only where the gradient reads it. */
static void save(tn_node *node, int i, const tn_tensor *t, bool data)
{
    if (!t)
        return;
    node->saved[i] = (tn_tensor){.offset = t->offset, .ndim = t->ndim, .dtype = t->dtype};
    memcpy(node->saved[i].shape, t->shape, sizeof t->shape);
    memcpy(node->saved[i].stride, t->stride, sizeof t->stride);
    if (!data)
        return;
    node->saved[i].storage = tn__storage_ref(t->storage);
    node->version[i] = t->storage->version;
}

static bool record(const tn_call *c, size_t attr_size, tn_tensor *const *in)
{
    bool wanted = false;
    if (!tn__finite_op(c))
        return false;
    if (paused)
        return true;
    for (int i = 0; i < c->n_in; i++)
        wanted |= in[i] && in[i]->requires_grad;
    if (!wanted || c->op->gradient == NONE)
        return true;
    if (c->op->gradient == TWICE)
        return tn_fail(TN_ESTATE, "%s: gradients of gradients are not supported; use TN_NO_GRAD", c->op->name), false;
    tn_node *node = node_new(c->n_in, c->n_out);
    if (!node)
        return false;
    node->op = c->op;
    if (attr_size)
        memcpy(node->attr, c->attr, attr_size);
    for (int i = 0; i < c->n_in; i++) {
        save(node, i, c->in[i], c->op->reads & (unsigned)I0 << i);
        if (!in[i] || !in[i]->requires_grad)
            continue;
        node->edge[i] = (tn__edge){in[i]->node, in[i]->out};
        in[i]->node->refs++;
    }
    for (int i = 0; i < c->n_out; i++)
        save(node, c->n_in + i, c->out[i], c->op->reads & (unsigned)O0 << i);
    c->out[0]->node = node;
    c->out[0]->requires_grad = true;
    return true;
}

/* ---- the table of rules ---- */

#define RULE_RULE(name) [TN_OP_##name] = tn__rule_##name,
#define RULE_NONE(name)
#define RULE_TWICE(name)
static tn_rule *const rules[TN_OP_COUNT] = {
#define MAP(name, ...) RULE_RULE(name)
#define BIN(name, ...) RULE_RULE(name)
#include "tenon/ops_map.def"
#define OP(name, in, out, reads, flags, gradient) RULE_##gradient(name)
#include "tenon/ops.def"
};

static tn_rule **user_rules;
static int user_count;

tn_rule *tn__rule_of(const tn_op *op)
{
    return op->id < TN_OP_COUNT ? rules[op->id] : user_rules[op->id - TN_OP_COUNT];
}

const tn_op *tn_register_op(const tn_op_def *def)
{
    tn_rule **grown = tn__alloc((size_t)(user_count + 1) * sizeof *grown);
    const tn_op *op = grown ? tn__register_op(def) : NULL;
    if (!op) {
        tn__free(grown);
        return NULL;
    }
    if (user_count)
        memcpy(grown, user_rules, (size_t)user_count * sizeof *grown);
    tn__free(user_rules);
    user_rules = grown;
    user_rules[user_count++] = def->gradient;
    return op;
}
