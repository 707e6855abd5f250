/* Layers by name, so that a config or a plug-in can ask for them: numbers in, layer out. */
#include <math.h>
#include <pthread.h>
#include <string.h>

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

static const struct {
    const char *name;
    tn_layer_make *make;
    int least, most; /* numbers it takes */
    bool fraction;   /* they need not be whole */
} rows[] = {
    {"linear", linear, 2, 2, false},
    {"conv2d", conv2d, 3, 5, false},
    {"batch_norm2d", batch_norm2d, 1, 1, false},
    {"layernorm", layernorm, 1, 1, false},
    {"embedding", embedding, 2, 2, false},
    {"dropout", dropout, 1, 1, true},
    {"max_pool2d", max_pool2d, 1, 3, false},
    {"avg_pool2d", avg_pool2d, 1, 3, false},
    {"global_avg_pool", global_avg_pool, 0, 0, false},
    {"flatten", flatten, 0, 0, false},
#define FUNCTION_0(name) {#name, function_##name, 0, 0, false},
#define MAP(name, P, ...) FUNCTION_##P(name)
#include "tenon/ops_map.def"
};
enum { ROWS = sizeof rows / sizeof *rows, MOST = ROWS + 64 };

/* ---- all ---- */

static struct {
    pthread_mutex_t lock;
    int n;
    const char *name[MOST];
    tn_layer_make *make[MOST];
} registry = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int find(const char *name)
{
    int i = 0;
    while (i < registry.n && strcmp(registry.name[i], name) != 0)
        i++;
    return i;
}

static void append(const char *name, tn_layer_make *make)
{
    registry.name[registry.n] = name;
    registry.make[registry.n++] = make;
}

static void lock(void)
{
    pthread_mutex_lock(&registry.lock);
    while (registry.n < ROWS)
        append(rows[registry.n].name, rows[registry.n].make);
}

static void unlock(void) { pthread_mutex_unlock(&registry.lock); }

bool tn_register_layer(const char *name, tn_layer_make *make)
{
    if (!name || !*name || !make)
        return tn_fail(TN_EARG, "register_layer: a name and a function are needed"), false;
    lock();
    const bool taken = find(name) < registry.n, full = registry.n == MOST;
    if (!taken && !full)
        append(name, make);
    unlock();
    if (taken)
        tn_fail(TN_EARG, "register_layer: the name '%s' is taken", name);
    else if (full)
        tn_fail(TN_ESTATE, "register_layer: %s: there are %d layers already", name, MOST);
    return !taken && !full;
}

const char *const *tn_layers(int *n)
{
    lock();
    *n = registry.n;
    unlock();
    return registry.name;
}

static bool numbers_ok(int row, int n, const double *args)
{
    if (n < rows[row].least || n > rows[row].most)
        return tn_fail(TN_EARG, "%s: %d numbers given, %d to %d are taken", rows[row].name, n,
                       rows[row].least, rows[row].most), false;
    for (int i = 0; i < n; i++)
        if (!(fabs(args[i]) < 2e9) || (!rows[row].fraction && args[i] != floor(args[i])))
            return tn_fail(TN_EARG, "%s: %g is too large or not a whole number", rows[row].name, args[i]), false;
    return true;
}

tn_module *tn_layer_named(const char *name, int n, const double *args)
{
    lock();
    const int known = registry.n, i = name ? find(name) : known;
    tn_layer_make *make = i < known ? registry.make[i] : NULL;
    unlock();
    if (!make)
        return tn_fail_unknown("layer", name, known, registry.name);
    return i >= ROWS || numbers_ok(i, n, args) ? make(n, args) : NULL;
}
