/* Dropout while training; the input itself in eval mode. */
#include "tensor/internal.h"
#include "tenon/nn.h"

typedef struct dropout {
    tn_module base;
    double p;
} dropout;

static tn_tensor *forward(tn_module *m, int n, tn_tensor *const *x)
{
    const double p = ((dropout *)m)->p;
    (void)n;
    return m->training && p > 0 ? tn_dropout(x[0], p) : x[0];
}

static const tn_module_class dropout_class = {.name = "Dropout", .size = sizeof(dropout), .forward = forward};

tn_module *tn_drop(double p)
{
    if (!(p >= 0 && p <= 1))
        return tn_fail(TN_EARG, "drop: %g is not a probability", p);
    dropout *l = tn_module_new(&dropout_class);
    if (!l)
        return NULL;
    l->p = p;
    return &l->base;
}
