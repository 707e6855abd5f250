/* Rules by name: the rows of optim.def and the classes that users register. */
#include <pthread.h>
#include <string.h>

#include "optim.h"
#include "scalars.h"

#define LIST(...) {__VA_ARGS__}
#define RULE(name, states, knobs, defaults, scalars, falls, ...)                            \
    static void name##_scalars(const tn_hyper *h, double t, float k[TN_RULE_SCALARS])       \
    {                                                                                       \
        const double c[] = LIST scalars;                                                    \
        _Static_assert(sizeof c / sizeof *c <= TN_RULE_SCALARS, #name " has too many scalars"); \
        (void)t;                                                                            \
        for (size_t i = 0; i < sizeof c / sizeof *c; i++)                                   \
            k[i] = (float)c[i];                                                             \
    }                                                                                       \
    _Static_assert((states) <= TN_RULE_STATES, #name " has too many states");
#include "tenon/optim.def"

static const tn__update_rule rows[TN_RULE_COUNT] = {
#define RULE(name, states, knobs, defaults, scalars, falls, ...)                            \
    [TN_RULE_##name] = {{#name, states, LIST defaults, NULL}, knobs, name##_scalars,      \
                        TN_RULE_##name},
#include "tenon/optim.def"
};

enum { MOST = 64 }; /* classes of users */
static struct {
    pthread_mutex_t lock;
    int n; /* of users */
    const tn_optim_class *user[MOST];
    const char *names[TN_RULE_COUNT + MOST]; /* rows, then users' */
} registry = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .names = {
#define RULE(name, ...) [TN_RULE_##name] = #name,
#include "tenon/optim.def"
    },
};

const char *const *tn_optimizers(int *n)
{
    pthread_mutex_lock(&registry.lock);
    *n = TN_RULE_COUNT + registry.n;
    pthread_mutex_unlock(&registry.lock);
    return registry.names;
}

static const tn_optim_class *find(const char *name, const tn__update_rule **rule)
{
    *rule = NULL;
    for (int i = 0; i < TN_RULE_COUNT; i++)
        if (!strcmp(rows[i].cls.name, name)) {
            *rule = &rows[i];
            return &rows[i].cls;
        }
    for (int i = 0; i < registry.n; i++)
        if (!strcmp(registry.user[i]->name, name))
            return registry.user[i];
    return NULL;
}

const tn_optim_class *tn__optim_class_named(const char *name, const tn__update_rule **rule)
{
    int n;
    pthread_mutex_lock(&registry.lock);
    const tn_optim_class *cls = name ? find(name, rule) : NULL;
    pthread_mutex_unlock(&registry.lock);
    const char *const *known = tn_optimizers(&n);
    return cls ? cls : tn_fail_unknown("optimizer", name, n, known);
}

bool tn_register_optimizer(const tn_optim_class *cls)
{
    const tn__update_rule *rule;
    if (!cls)
        return false;
    if (!cls->name || !*cls->name || !cls->update)
        return tn_fail(TN_EARG, "register_optimizer: a class needs a name and an update"), false;
    if (cls->states < 0 || cls->states > TN_RULE_STATES)
        return tn_fail(TN_EARG, "register_optimizer: %s: %d states; 0 to %d are possible",
                       cls->name, cls->states, TN_RULE_STATES), false;
    pthread_mutex_lock(&registry.lock);
    const bool taken = find(cls->name, &rule), full = registry.n == MOST;
    if (!taken && !full) {
        registry.names[TN_RULE_COUNT + registry.n] = cls->name;
        registry.user[registry.n++] = cls;
    }
    pthread_mutex_unlock(&registry.lock);
    if (taken)
        return tn_fail(TN_EARG, "register_optimizer: the name '%s' is taken", cls->name), false;
    if (full)
        return tn_fail(TN_ESTATE, "register_optimizer: %s: there are %d classes already", cls->name,
                       MOST), false;
    return true;
}
