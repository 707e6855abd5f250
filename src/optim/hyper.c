/* Options: which there are, their ranges, and defaults for those the caller left at zero. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "optim.h"

typedef enum kind { NUMBER, FLAG, CHOICE } kind;
static const struct field {
    const char *name;
    size_t at;
    kind kind;
    double max;    /* NUMBER: from 0 to this; CHOICE: the last value */
    bool below;    /* max itself is too much */
} fields[] = {
#define FIELD(name, ...) {#name, offsetof(tn_hyper, name), __VA_ARGS__}
    FIELD(lr, NUMBER, DBL_MAX, false),
    FIELD(momentum, NUMBER, 1, true),
    FIELD(dampening, NUMBER, 1, false),
    FIELD(beta1, NUMBER, 1, true),
    FIELD(beta2, NUMBER, 1, true),
    FIELD(eps, NUMBER, DBL_MAX, false),
    FIELD(decay, NUMBER, DBL_MAX, false),
    FIELD(alpha, NUMBER, 1, true),
    FIELD(rho, NUMBER, 1, true),
    FIELD(lr_decay, NUMBER, DBL_MAX, false),
    FIELD(initial, NUMBER, DBL_MAX, false),
    FIELD(momentum_decay, NUMBER, DBL_MAX, false),
    FIELD(warmup_steps, NUMBER, DBL_MAX, false),
    FIELD(freeze_steps, NUMBER, DBL_MAX, false),
    FIELD(nesterov, FLAG, 1, false),
    FIELD(decoupled, FLAG, 1, false),
    FIELD(coupled, FLAG, 1, false),
    FIELD(eps_inside, FLAG, 1, false),
    FIELD(centered, FLAG, 1, false),
    FIELD(warmup, CHOICE, TN_WARMUP_GENERIC, false),
    FIELD(threshold, CHOICE, TN_RHO_FROM_5, false),
    FIELD(degenerate, CHOICE, TN_DEGENERATE_SKIP, false),
};
enum { FIELDS = sizeof fields / sizeof *fields };

static size_t size_of(const struct field *f)
{
    return f->kind == NUMBER ? sizeof(double) : f->kind == FLAG ? sizeof(bool) : sizeof(tn_rho);
}
_Static_assert(sizeof(tn_rho) == sizeof(int) && sizeof(tn_warmup) == sizeof(int) &&
                  sizeof(tn_degenerate) == sizeof(int), "CHOICE fields are read as int");

static double value_of(const tn_hyper *h, const struct field *f)
{
    const char *p = (const char *)h + f->at;
    double x = 0;
    int choice = 0;
    if (f->kind == NUMBER) {
        memcpy(&x, p, sizeof x);
        return x;
    }
    if (f->kind == FLAG)
        return *(const bool *)(const void *)p;
    memcpy(&choice, p, sizeof choice);
    return choice;
}

bool tn__given(double x) { return x != 0 || signbit(x); } /* NaN too */

static bool has_word(const char *words, const char *word)
{
    const size_t n = strlen(word);
    for (const char *p = words; (p = strstr(p, word)); p += n)
        if ((p == words || p[-1] == ' ') && (p[n] == ' ' || !p[n]))
            return true;
    return false;
}

bool tn__hyper_check(const tn_hyper *h, const char *rule)
{
    for (const struct field *f = fields; f < fields + FIELDS; f++) {
        const double x = value_of(h, f);
        if (x >= 0 && (f->below ? x < f->max : x <= f->max))
            continue;
        if (f->max == DBL_MAX)
            return tn_fail(TN_EARG, "%s: %s is %g; it must be a number >= 0", rule, f->name, x),
                   false;
        return tn_fail(TN_EARG, "%s: %s is %g; it must be in [0, %g%c", rule, f->name, x, f->max,
                       f->below ? ')' : ']'), false;
    }
    if (h->nesterov && (h->momentum == 0 || h->dampening != 0))
        return tn_fail(TN_EARG, "%s: nesterov needs momentum and no dampening; momentum is %g, "
                       "dampening %g", rule, h->momentum, h->dampening), false;
    return true;
}

bool tn__hyper_complete(tn_hyper *h, const char *rule, const tn_hyper *defaults, const char *knobs)
{
    if (h->coupled && h->decoupled)
        return tn_fail(TN_EARG, "%s: coupled and decoupled are both set; choose one", rule), false;
    for (const struct field *f = fields; f < fields + FIELDS; f++) {
        const double x = value_of(h, f);
        char *to = (char *)h + f->at;
        if (!tn__given(x))
            memcpy(to, (const char *)defaults + f->at, size_of(f));
        else if (knobs && !has_word(knobs, f->name))
            return tn_fail(TN_EARG, "%s: %s is not an option of this rule; it has: %s", rule,
                           f->name, knobs), false;
        else if (x == 0) /* TN_ZERO */
            memset(to, 0, size_of(f));
    }
    return tn__hyper_check(h, rule);
}

bool tn_optim_reads(const char *name, const char *field)
{
    const tn__update_rule *rule;
    const tn_optim_class *cls = tn__optim_class_named(name, &rule);
    return cls && (!rule || has_word(rule->knobs, field));
}
