/* See ledger.h. */
#include "ledger.h"

#include <math.h>

bool ledger_begin(ledger *l, tn_device d)
{
    *l = (ledger){.most = d.backend == tn_cpu().backend ? 1 : LEDGER_MOST};
    l->now = tn_on(tn_zeros(TN_SHAPE(2)), d);
    l->rows = tn_on(tn_zeros(TN_SHAPE(l->most, 2)), d);
    return l->now && l->rows;
}

static bool write(tn_tensor *to, int64_t at, tn_tensor *x)
{
    return tn_copy_(tn_slice(to, 0, at, at + 1, 1), tn_reshape(x, TN_SHAPE(1)));
}

bool ledger_write(ledger *l, tn_tensor *loss, tn_tensor *score)
{
    bool good = false;
    l->scored = score != NULL;
    TN_NO_GRAD good = write(l->now, 0, loss) && (!score || write(l->now, 1, score));
    return good;
}

bool ledger_next(ledger *l, int64_t step, int64_t count)
{
    bool good = false;
    TN_SCOPE {
        good = tn_copy_(tn_slice(l->rows, 0, l->n, l->n + 1, 1), tn_reshape(l->now, TN_SHAPE(1, 2)));
    }
    if (!good)
        return false;
    l->step[l->n] = step;
    l->count[l->n++] = count;
    return true;
}

bool ledger_full(const ledger *l) { return l->n == l->most; }

bool ledger_read(ledger *l, const task *k, tally *t)
{
    double figure[LEDGER_MOST][2];
    const int n = l->n;
    l->n = 0;
    if (n && !tn_read_f64(l->rows, figure[0]))
        return false;
    for (int i = 0; i < n; i++) {
        const double loss = k->sum ? figure[i][0] : figure[i][0] * (double)l->count[i];
        if (!isfinite(loss) && l->step[i])
            return tn_fail(TN_ENUM, "step %lld: the loss is not a number; a lower optim.lr may help",
                           (long long)l->step[i]), false;
        t->loss += loss;
        t->score += l->scored ? figure[i][1] : loss;
        t->seen += l->count[i];
    }
    return true;
}

bool ledger_judge(ledger *l, const task *k, const config *c, tn_module *net, const tn_batch *b, tn_state *carried,
                  tally *t)
{
    bool good = false;
    TN_SCOPE {
        const tn_batch there = task_batch_on(b, tn_device_of(l->now));
        tn_tensor *score = NULL, *loss = k->loss(c, net, &there, task_plan(k, net, b), carried, &score);
        good = ledger_write(l, loss, score) && ledger_next(l, 0, task_count(b)) &&
               (!ledger_full(l) || ledger_read(l, k, t));
    }
    return good;
}
