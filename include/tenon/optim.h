/* Optimizers, parameter groups, clipping and learning-rate schedules.
 *
 *     tn_optim *opt = tn_radam(net, .lr = 0.03f, .decay = 1e-4f);
 *     ... tn_backward(loss); tn_step(opt);
 *
 * An optimizer gathers the trained parameters of a module into one slab, their gradients into
 * another, and each of its states into one more, so that a step is one pass.  tn_step() applies the
 * gradients and zeroes them; it refuses (false) while an error is set.
 *
 * The module stays yours: it and its optimizers may be freed in any order.  Several optimizers may work on
 * one module when they train the same parameters or parts of them in order; otherwise the last one made has
 * them, and a step of the others is an error.  Formulas and defaults: docs/optimizers.md. */
#ifndef TENON_OPTIM_H
#define TENON_OPTIM_H

#include "module.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tn_optim tn_optim;

/* When RAdam trusts its variance estimate. */
typedef enum tn_rho { TN_RHO_OVER_5, TN_RHO_OVER_4, TN_RHO_FROM_5 } tn_rho; /* rho_t > 5, > 4, >= 5 */
/* What RAdam does before: a step of SGD with momentum, or none (neither decay). */
typedef enum tn_degenerate { TN_DEGENERATE_SGD, TN_DEGENERATE_SKIP } tn_degenerate;
/* Warmup of Adam: none; the authors' CIFAR/ImageNet code (t < W: 1e-6 + t (lr - 1e-6) / W); their
 * generic code (1e-8 + t lr / W). */
typedef enum tn_warmup { TN_WARMUP_CIFAR, TN_WARMUP_GENERIC } tn_warmup;

/* Every knob of every rule; zero means the rule's default, TN_ZERO a real zero.  Setting one that the rule
 * does not have is an error, as is a value outside its range (negative; betas, alpha, rho and momentum
 * from 1 on). */
#define TN_ZERO (-0.0)
typedef struct tn_hyper {
    void *module;             /* no knob: the constructors' first argument */
    double lr;
    double momentum, dampening;
    double beta1, beta2, eps;
    double decay;             /* weight decay */
    double alpha;             /* RMSprop: smoothing of squares */
    double rho;               /* Adadelta: smoothing of squares */
    double lr_decay;          /* Adagrad */
    double initial;           /* Adagrad: accumulator at the start */
    double momentum_decay;    /* NAdam */
    double warmup_steps;      /* Adam: linear warmup over so many steps */
    double freeze_steps;      /* Adam-2k: only the second moment moves in the first so many steps */
    bool nesterov;            /* SGD */
    bool decoupled;           /* decay outside the gradient (AdamW); RAdam always */
    bool coupled;             /* RAdam: L2 decay in the gradient, as torch.optim.RAdam does by default */
    bool eps_inside;          /* eps added after the bias correction, as PyTorch does */
    bool centered;            /* RMSprop */
    tn_warmup warmup;
    tn_rho threshold;
    tn_degenerate degenerate;
} tn_hyper;

/* ---- constructors: tn_NAME(module, .field = value, ...); NULL with the error set ---- */
TN_API tn_optim *tn_optim_new(const char *rule, tn_module *m, tn_hyper h); /* by name: "radam" */
/* Whether a rule reads this field of tn_hyper ("momentum"); a rule of your own may read any.  False with
 * the error set when there is no such rule. */
TN_API bool tn_optim_reads(const char *rule, const char *field);
/* The settings in use, defaults filled in. */
TN_API const tn_hyper *tn_optim_settings(const tn_optim *o);
TN_API tn_optim *tn_optim_call(const char *rule, tn_hyper h);
#define TN_OPTIM(rule, ...) TN_AT(tn_optim_call(rule, (tn_hyper){.module = __VA_ARGS__}))
#define tn_sgd(...) TN_OPTIM("sgd", __VA_ARGS__)
#define tn_adam(...) TN_OPTIM("adam", __VA_ARGS__)
#define tn_adamw(...) TN_OPTIM("adamw", __VA_ARGS__) /* adam, decoupled, decay 1e-2 */
#define tn_radam(...) TN_OPTIM("radam", __VA_ARGS__)
#define tn_rmsprop(...) TN_OPTIM("rmsprop", __VA_ARGS__)
#define tn_nadam(...) TN_OPTIM("nadam", __VA_ARGS__)
#define tn_adagrad(...) TN_OPTIM("adagrad", __VA_ARGS__)
#define tn_adadelta(...) TN_OPTIM("adadelta", __VA_ARGS__)

/* ---- groups: what differs for parameters whose path matches; later groups win, field by field.  A frozen
 * parameter keeps its value and state; its gradient is zeroed and does not count in the norm ---- */
typedef struct tn_group_args {
    tn_optim *o;
    const char *pattern;  /* "*.bias", "encoder.*" */
    double lr_scale;      /* times the optimizer's lr; TN_ZERO freezes */
    double decay;         /* instead of the optimizer's; TN_ZERO: none */
    bool has_decay;       /* decay is meant even when it is a plain 0 */
} tn_group_args;
TN_API int tn_group_call(tn_group_args args); /* number of parameters matched; -1 with the error set */
#define tn_group(...) TN_AT(tn_group_call((tn_group_args){.o = __VA_ARGS__}))

/* ---- stepping ---- */
TN_API bool tn_step_call(tn_optim *o);
#define tn_step(o) TN_AT(tn_step_call(o))
TN_API void tn_zero_grads(tn_optim *o);
TN_API void tn_set_lr(tn_optim *o, double lr);
TN_API double tn_lr(const tn_optim *o);
TN_API int64_t tn_steps_done(const tn_optim *o);
/* Scales all gradients so that their global L2 norm is at most max (factor max / (norm + 1e-6), as
 * clip_grad_norm_); returns the norm before.  NAN on failure. */
TN_API double tn_clip_norm(tn_optim *o, double max);
/* The same; the norm is a scalar on the optimizer's device (f32; f64 on the CPU), and nothing waits for it. */
TN_API tn_tensor *tn_clip_norm_lazy(tn_optim *o, double max);
TN_API bool tn_clip_value(tn_optim *o, double max); /* each element to [-max, max] */
TN_API double tn_grad_norm(tn_optim *o);

/* State: named tensors ("state.0.layer1.0.conv1.weight") and the step, for checkpoints.  The tensors are
 * views and belong to the innermost scope. */
TN_API int tn_optim_state(tn_optim *o, int max, tn_named *out, char (*names)[256]); /* how many there are */
TN_API bool tn_optim_set_steps(tn_optim *o, int64_t steps);

/* ---- learning rate as a function of progress; lr = schedule * base ---- */
typedef enum tn_schedule_kind { TN_CONSTANT, TN_MULTISTEP, TN_LINEAR, TN_INVERSE_SQRT, TN_COSINE } tn_schedule_kind;
typedef struct tn_schedule {
    tn_schedule_kind kind;
    double base;          /* peak learning rate */
    double at[8];         /* MULTISTEP: milestones, ascending, 0 ends */
    double factor;        /* MULTISTEP: 0 means 0.1 */
    double warmup, init;  /* LINEAR, INVERSE_SQRT, COSINE: updates of warmup from init to base */
    double total, min;    /* LINEAR, COSINE: reaches min at total */
} tn_schedule;
/* The rate after n epochs or updates already done (n from 0). */
TN_API double tn_schedule_at(const tn_schedule *s, double n);

/* ---- rules of your own: see docs/add-an-optimizer.md ---- */
typedef struct tn_update { /* a stretch of parameters with the same settings, on the CPU */
    int64_t n;             /* padding between parameters (zeros in g) counts */
    float *p, *g;          /* parameters, gradients; g is zeroed after the update */
    float *s[3];           /* states */
    tn_hyper h;            /* lr and decay as they are for this run */
    int64_t t;             /* step, from 1 */
} tn_update;
typedef struct tn_optim_class {
    const char *name;
    int states;            /* 0..3 */
    tn_hyper defaults;
    bool (*update)(const tn_update *u); /* false, best with the error set, on failure */
} tn_optim_class;
TN_API bool tn_register_optimizer(const tn_optim_class *cls); /* kept, not copied */
TN_API const char *const *tn_optimizers(int *n); /* names of all */

#ifdef __cplusplus
}
#endif
#endif
