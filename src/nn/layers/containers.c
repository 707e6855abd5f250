/* Layers made of layers, and of plain functions. */
#include "tensor/internal.h"
#include "tenon/nn.h"

#include <stdio.h>

/* ---- in order ---- */

static tn_tensor *forward_seq(tn_module *m, int n, tn_tensor *const *x)
{
    tn_tensor *y = x[0];
    (void)n;
    for (tn_module *c = m->child; c; c = c->next)
        y = tn_forward(c, y);
    return y;
}

static const tn_module_class seq_class = {
    .name = "Sequential", .size = sizeof(tn_module), .forward = forward_seq};

tn_module *tn_seq_call(int n, tn_module *const *children)
{
    tn_module *m = tn_module_new(&seq_class);
    for (int i = 0; i < n; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        tn_add_child(m, name, children[i]);
    }
    return tn_module_done(m);
}

/* ---- x + body(x) ---- */

static tn_tensor *forward_residual(tn_module *m, int n, tn_tensor *const *x)
{
    (void)n;
    return tn_add(x[0], tn_forward(m->child, x[0]));
}

static const tn_module_class residual_class = {
    .name = "Residual", .size = sizeof(tn_module), .forward = forward_residual};

tn_module *tn_residual(tn_module *body)
{
    tn_module *m = tn_module_new(&residual_class);
    tn_add_child(m, "body", body);
    return tn_module_done(m);
}

/* ---- functions ---- */

typedef struct function {
    tn_module base;
    tn_tensor *(*f)(tn_tensor *x);
} function;

static tn_tensor *forward_function(tn_module *m, int n, tn_tensor *const *x)
{
    (void)n;
    return ((function *)m)->f(x[0]);
}

static const tn_module_class function_class = {
    .name = "Function", .size = sizeof(function), .forward = forward_function};

tn_module *tn_fn(tn_tensor *(*f)(tn_tensor *x))
{
    if (!f)
        return tn_fail(TN_EARG, "fn: no function given");
    function *l = tn_module_new(&function_class);
    if (!l)
        return NULL;
    l->f = f;
    return &l->base;
}

static tn_tensor *flatten(tn_tensor *x) { return tn_flatten(x, 1); }

tn_module *tn_flatten_layer(void) { return tn_fn(flatten); }
