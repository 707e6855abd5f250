/* Ready-made networks. */
#ifndef TENON_MODEL_H
#define TENON_MODEL_H

#include "module.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ResNets for 32x32 images (He et al. 2015, section 4.2), x [N,32,32,channels] -> [N, classes]. */
typedef struct tn_resnet_args {
    int classes;     /* default 10 (CIFAR), 1000 (ImageNet) */
    int channels;    /* of the input; default 3 */
    int width;       /* of the first stage; default 16 (CIFAR), 64 (ImageNet) */
    bool zero_pad;   /* parameter-free shortcuts (option A) instead of 1x1 projections (option B) */
} tn_resnet_args;
/* depth 20, 32, 44, 56, 110 (6n + 2): CIFAR; 18, 34: ImageNet, x [N,224,224,3] */
TN_API tn_module *tn_resnet_call(int depth, tn_resnet_args args);
#define tn_resnet(depth, ...) TN_AT(tn_resnet_call(depth, (tn_resnet_args){.classes = __VA_ARGS__}))
#define tn_resnet20(...) tn_resnet(20, __VA_ARGS__)
#define tn_resnet18(...) tn_resnet(18, __VA_ARGS__)
/* in -> hidden x layers with ReLU -> classes */
TN_API tn_module *tn_mlp(int64_t in, int64_t hidden, int layers, int64_t classes);

/* Layers one after the other, by their registered names and numbers (tn_register_layer):
 * "conv2d 3 16 3, relu, global_avg_pool, linear 16 10" */
TN_API tn_module *tn_stack(const char *layers);

/* ---- by name, for configs ---- */
typedef struct tn_model_spec {
    const char *name;
    int64_t classes;
    int64_t in[TN_MAX_DIMS]; /* shape of one input */
    int in_ndim;
    int64_t hidden, layers, width;
    const char *shortcut;    /* "projection" or "zero-pad" */
    const char *stack;       /* of a stack: its layers */
} tn_model_spec;
typedef tn_module *tn_model_make(const tn_model_spec *spec);
TN_API bool tn_register_model(const char *name, tn_model_make *make);
TN_API tn_module *tn_model_named(const tn_model_spec *spec);
TN_API const char *const *tn_models(int *n);

#ifdef __cplusplus
}
#endif
#endif
