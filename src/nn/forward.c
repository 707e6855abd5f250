/* Running a module: a scope of its own, so that what only it needs dies with it, and its name for error
 * texts.  The layers themselves are in layers/. */
#include "internal.h"

_Thread_local tn__watch tn__forward_watch;

static tn_tensor *run(tn_module *m, int n, tn_tensor *const *x)
{
    tn_scope *scope = tn_scope_begin();
    tn_tensor *y = scope ? m->cls->forward(m, n, x) : NULL;
    if (!y && tn_ok())
        tn_fail(TN_ESTATE, "forward: %s returned nothing, and no error", m->cls->name);
    if (y && y->scope == scope) /* not an input, which lives elsewhere, nor a parameter */
        tn_keep(y);
    if (y && tn__forward_watch.saw)
        tn__forward_watch.saw(tn__forward_watch.arg, m, y);
    tn_scope_end(&scope);
    return y;
}

tn_tensor *tn_forward_call(tn_module *m, int n, tn_tensor *const *x)
{
    const int most = m && m->cls->inputs ? m->cls->inputs : 1;
    if (!m)
        return NULL;
    for (int i = 0; i < n; i++)
        if (!x[i])
            return NULL;
    tn__path_push(m->name);
    tn_tensor *y = NULL;
    if (n < 1 || n > most)
        tn_fail(TN_EARG, "forward: %s takes %s%d input%s, was given %d", m->cls->name,
                most > 1 ? "1 to " : "", most, most > 1 ? "s" : "", n);
    else
        y = run(m, n, x);
    tn__path_pop();
    return y;
}
