/* A network of bare parameters w0, w1, ..., for the tests of optimizers. */
#ifndef OPTIM_NET_H
#define OPTIM_NET_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tenon/optim.h"
#include "tensor/internal.h"

static inline tn_tensor *first_input(tn_module *m, int n, tn_tensor *const *x)
{
    (void)m;
    return n ? x[0] : NULL;
}

/* n parameters of the given sizes, all 0.5; NULL when memory fails. */
static inline tn_module *plain_net(int n, const int64_t *sizes)
{
    static const tn_module_class cls = {
        .name = "Plain", .size = sizeof(tn_module), .forward = first_input};
    tn_module *net = tn_module_new(&cls);
    for (int i = 0; i < n; i++) {
        char name[16];
        snprintf(name, sizeof name, "w%d", i);
        tn_param_new(net, name, (tn_init){.kind = TN_INIT_CONST, .a = 0.5}, 1, &sizes[i]);
    }
    return net;
}

static inline tn_tensor *tensor(tn_module *net, int i)
{
    char name[16];
    snprintf(name, sizeof name, "w%d", i);
    return &tn_find_param(net, name)->t;
}

static inline float *weights(tn_module *net, int i) { return tn_f32(tensor(net, i)); }
static inline float *grads(tn_module *net, int i) { return tn_f32(tensor(net, i)->grad); }

/* The error is set and its text has these words; clears it. */
#define expect_error(words)                                                    \
    do {                                                                       \
        if (tn_ok() || !strstr(tn_error()->text, words))                       \
            fail_msg("wanted '%s' in the error '%s'", words, tn_error()->text); \
        tn_error_clear();                                                      \
    } while (0)

#endif
