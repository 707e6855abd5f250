/* Networks by name, for configs and plug-ins. */
#include <tenon.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* ---- those that come along ---- */

static bool is(const char *word, const char *what) { return word && !strcmp(word, what); }

static bool small(int64_t n) { return n >= 0 && n <= INT32_MAX; }

static tn_module *make_resnet(const tn_model_spec *s)
{
    const bool zero_pad = is(s->shortcut, "zero-pad");
    const int64_t channels = s->in_ndim == 3 ? s->in[2] : 0;
    if (s->in_ndim && s->in_ndim != 3)
        return tn_fail(TN_ESHAPE, "%s: images [H,W,C] are needed, the inputs have %d dims", s->name, s->in_ndim);
    if (s->shortcut && *s->shortcut && !zero_pad && !is(s->shortcut, "projection"))
        return tn_fail(TN_EARG, "%s: shortcut '%s'; there are projection and zero-pad", s->name, s->shortcut);
    if (!small(s->classes) || !small(s->width) || !small(channels))
        return tn_fail(TN_EARG, "%s: %lld classes, width %lld: negative or too large", s->name,
                       (long long)s->classes, (long long)s->width);
    return tn_resnet(atoi(s->name + strlen("resnet")), (int)s->classes, .channels = (int)channels,
                     .width = (int)s->width, .zero_pad = zero_pad);
}

/* Defaults: one hidden layer of 256. */
static tn_module *make_mlp(const tn_model_spec *s)
{
    int64_t in = 1;
    for (int i = 0; i < s->in_ndim && i < TN_MAX_DIMS; i++)
        if (s->in[i] < 0 || __builtin_mul_overflow(in, s->in[i], &in))
            return tn_fail(TN_ESHAPE, "mlp: the inputs are too large");
    if (!small(s->layers))
        return tn_fail(TN_EARG, "mlp: %lld layers are not possible", (long long)s->layers);
    return tn_mlp(in, s->hidden ? s->hidden : 256, s->layers ? (int)s->layers : 1, s->classes);
}

static tn_module *make_stack(const tn_model_spec *s) { return tn_stack(s->stack); }

static const struct {
    const char *name;
    tn_model_make *make;
} rows[] = {
    {"resnet20", make_resnet}, {"resnet32", make_resnet}, {"resnet44", make_resnet}, {"resnet56", make_resnet},
    {"resnet110", make_resnet}, {"resnet18", make_resnet}, {"resnet34", make_resnet}, {"mlp", make_mlp},
    {"stack", make_stack},
};
enum { ROWS = sizeof rows / sizeof *rows, MOST = ROWS + 64 };

/* ---- all ---- */

static struct {
    pthread_mutex_t lock;
    int n;
    const char *name[MOST];
    tn_model_make *make[MOST];
} registry = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int find(const char *name)
{
    int i = 0;
    while (i < registry.n && strcmp(registry.name[i], name) != 0)
        i++;
    return i;
}

static void append(const char *name, tn_model_make *make)
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

bool tn_register_model(const char *name, tn_model_make *make)
{
    if (!name || !*name || !make)
        return tn_fail(TN_EARG, "register_model: a name and a function are needed"), false;
    lock();
    const bool taken = find(name) < registry.n, full = registry.n == MOST;
    if (!taken && !full)
        append(name, make);
    unlock();
    if (taken)
        tn_fail(TN_EARG, "register_model: the name '%s' is taken", name);
    else if (full)
        tn_fail(TN_ESTATE, "register_model: %s: there are %d models already", name, MOST);
    return !taken && !full;
}

const char *const *tn_models(int *n)
{
    lock();
    *n = registry.n;
    unlock();
    return registry.name;
}

tn_module *tn_model_named(const tn_model_spec *spec)
{
    if (!spec)
        return NULL;
    lock();
    const int known = registry.n, i = spec->name ? find(spec->name) : known;
    tn_model_make *make = i < known ? registry.make[i] : NULL;
    unlock();
    return make ? make(spec) : tn_fail_unknown("model", spec->name, known, registry.name);
}
