/* Layers by name, so that a config or a plug-in can ask for them: numbers in, layer out. */
#include <math.h>

#include "tensor/internal.h"
#include "tenon/nn.h"

/* ---- those that come along ---- */

/* Makers are told how many numbers they get; those that were left out are 0, the default. */
#define LAYER(name, ...)                              \
    static tn_module *name(int n, const double *a)    \
    {                                                 \
        (void)n, (void)a;                             \
        return __VA_ARGS__;                           \
    }
#define A(i) (n > (i) ? a[i] : 0)
#define I(i) ((int)A(i))
LAYER(linear, tn_linear(I(0), I(1)))
LAYER(conv2d, tn_conv2d(I(0), I(1), I(2), .stride = I(3), .padding = I(4)))
LAYER(batch_norm2d, tn_batch_norm2d(I(0)))
LAYER(layernorm, tn_layernorm(I(0)))
LAYER(embedding, tn_embedding(I(0), I(1)))
LAYER(lstm, tn_lstm(I(0), I(1), .layers = I(2)))
LAYER(gru, tn_gru(I(0), I(1), .layers = I(2)))
LAYER(rnn, tn_rnn(I(0), I(1), .layers = I(2)))
LAYER(dropout, tn_drop(A(0)))
LAYER(max_pool2d, tn_max_pool2d(I(0), I(1), I(2)))
LAYER(avg_pool2d, tn_avg_pool2d(I(0), I(1), I(2)))
LAYER(global_avg_pool, tn_global_avg_pool())
LAYER(flatten, tn_flatten_layer())
#define FUNCTION_0(name) LAYER(function_##name, tn_fn(tn_##name))
#define FUNCTION_1(name)
#define FUNCTION_2(name)
#define MAP(name, P, ...) FUNCTION_##P(name)
#include "tenon/ops_map.def"
#undef FUNCTION_0

/* How many numbers a layer takes, and whether they may be fractions. */
typedef struct numbers { int least, most; bool fraction; } numbers;

#define EACH_LAYER(X)                                                                          \
    X(linear, 2, 2, false) X(conv2d, 3, 5, false) X(batch_norm2d, 1, 1, false)                 \
    X(layernorm, 1, 1, false) X(embedding, 2, 2, false) X(dropout, 1, 1, true)                 \
    X(max_pool2d, 1, 3, false) X(avg_pool2d, 1, 3, false) X(global_avg_pool, 0, 0, false)      \
    X(flatten, 0, 0, false) X(lstm, 2, 3, false) X(gru, 2, 3, false) X(rnn, 2, 3, false)

static const tn_entry rows[] = {
#define X(name, ...) {#name, (void (*)(void))(name)},
    EACH_LAYER(X)
#undef X
#define FUNCTION_0(name) {#name, (void (*)(void))(function_##name)},
#define MAP(name, P, ...) FUNCTION_##P(name)
#include "tenon/ops_map.def"
};
static const numbers taken[sizeof rows / sizeof *rows] = { /* functions of one input take none */
#define X(name, ...) {__VA_ARGS__},
    EACH_LAYER(X)
#undef X
};
enum { ROWS = sizeof rows / sizeof *rows };
static tn_registry layers = {.what = "layer", .rows = rows, .n_rows = ROWS};

/* ---- all ---- */

bool tn_register_layer(const char *name, tn_layer_make *make)
{
    return tn_registry_add(&layers, name, (void (*)(void))make);
}

const char *const *tn_layers(int *n) { return tn_registry_names(&layers, n); }

static bool numbers_ok(int row, int n, const double *args)
{
    if (n < taken[row].least || n > taken[row].most)
        return tn_fail(TN_EARG, "%s: %d numbers given, %d to %d are taken", rows[row].name, n,
                       taken[row].least, taken[row].most), false;
    for (int i = 0; i < n; i++)
        if (!(fabs(args[i]) < 2e9) || (!taken[row].fraction && args[i] != floor(args[i])))
            return tn_fail(TN_EARG, "%s: %g is too large or not a whole number", rows[row].name, args[i]), false;
    return true;
}

tn_module *tn_layer_named(const char *name, int n, const double *args)
{
    const int i = tn_registry_find(&layers, name);
    if (i < 0 || (i < ROWS && !numbers_ok(i, n, args)))
        return NULL;
    return ((tn_layer_make *)layers.entry[i].make)(n, args);
}
