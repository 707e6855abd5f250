/* Gradients by reverse-mode automatic differentiation.
 *
 * An op with an input that requires a gradient leaves a node behind which holds
 * what its gradient reads, and nothing else.  tn_backward() walks the nodes behind
 * a scalar in reverse order and adds to the `grad` of every leaf.  Nodes die with
 * the last tensor that was made from them. */
#ifndef TENON_AUTOGRAD_H
#define TENON_AUTOGRAD_H

#include "ops.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Makes a leaf whose gradient is wanted; floating dtypes only.  Returns t. */
TN_API tn_tensor *tn_want_grad(tn_tensor *t);

/* Adds dloss/dleaf to the grad of every leaf behind a scalar.  What the nodes hold is freed on the
 * way, so a graph is walked once.  False with the error set on failure. */
TN_API bool tn_backward_call(tn_tensor *loss);
#define tn_backward(loss) TN_AT(tn_backward_call(loss))
/* The same from any tensor, given dL/dy of y's shape. */
TN_API bool tn_backward_from(tn_tensor *y, tn_tensor *dy);
TN_API void tn_zero_grad(tn_tensor *t); /* one tensor's; tn_step() does all parameters' */

/* TN_NO_GRAD { ... }: ops inside are not recorded. */
TN_API bool tn_grad_enabled(void);
TN_API bool tn_grad_set(bool on);          /* returns what was before */
TN_API void tn_grad_restore(const bool *was);
#define TN_NO_GRAD TN_NO_GRAD_(TN_CAT(tn_was_, __LINE__), TN_CAT(tn_go_, __LINE__))
#define TN_NO_GRAD_(was, go)                                                          \
    for (bool was __attribute__((cleanup(tn_grad_restore), unused)) = tn_grad_set(false), go = true; \
         go; go = false)

/* While on, every op and every gradient is searched for NaN and infinity and the first op that made
 * one from finite inputs is named in an error (TN_ENUM).  Slow. */
TN_API void tn_anomaly(bool on);

/* Compares tn_backward() with central differences.  f builds a tensor from inputs [n]; float64 inputs
 * give sharp answers.  0 means the default. */
typedef struct tn_gradcheck_args {
    tn_tensor *(*f)(void *arg, int n, tn_tensor *const *in);
    void *arg;
    int n;
    tn_tensor *const *in; /* leaves; those that want a gradient are checked */
    double step;          /* 1e-5 in f64, 1e-2 in f32 */
    double rtol, atol;    /* 1e-6 and 1e-8 in f64; 2e-2 and 1e-3 in f32 */
    int most;             /* elements tried per input, evenly spread; default 64 */
} tn_gradcheck_args;
TN_API bool tn_gradcheck_call(tn_gradcheck_args args); /* false: error says where and by how much */
#define tn_gradcheck(...) TN_AT(tn_gradcheck_call((tn_gradcheck_args){.f = __VA_ARGS__}))

/* ---- ops of your own ---- */
typedef struct tn_back { /* one node during backward */
    const tn_op *op;
    int n_in, n_out;
    tn_tensor *in[TN_MAX_IN];   /* data only where `reads` says so; shape and dtype always */
    tn_tensor *out[TN_MAX_OUT]; /* likewise */
    tn_tensor *g;               /* dL/d out[0], contiguous or not, out[0]'s shape */
    bool needs[TN_MAX_IN];      /* whether anybody wants dL/d in[i] */
    tn_tensor *onto[TN_MAX_IN]; /* contiguous: what dL/d in[i] may be added to instead, in place, which leaves d[i]
                                   NULL; NULL where nothing is yet */
    tn_tensor *d[TN_MAX_IN];    /* to be filled: of in[i]'s shape, or of the broadcast shape (the engine sums it
                                   down); NULL where there is none */
    const void *attr;
} tn_back;
typedef bool tn_rule(tn_back *b); /* false with the error set on failure */

typedef struct tn_op_def {
    const char *name;
    const char *in, *out;   /* letters as in ops.def */
    unsigned reads;         /* TN_READS_IN(i) | TN_READS_OUT(i) */
    bool strided;           /* the kernels read strides themselves */
    tn_shape_rule *shape;   /* NULL: out[0] like in[0] */
    tn_kernel *cpu_f32;     /* at least one of the two */
    tn_kernel *cpu_f64;
    tn_rule *gradient;      /* NULL: not differentiable */
} tn_op_def;
#define TN_READS_IN(i) (1u << (i))
#define TN_READS_OUT(i) (1u << (8 + (i)))
/* The op for tn_apply(); strings are kept, not copied.  The same name twice is an error. */
TN_API const tn_op *tn_register_op(const tn_op_def *def);
/* A registered or built-in op by name; NULL (and no error) when there is none. */
TN_API const tn_op *tn_op_named(const char *name);
TN_API const char *tn_op_name(const tn_op *op);

#ifdef __cplusplus
}
#endif
#endif
