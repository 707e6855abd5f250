/* Softmax over classes in a head and clusters (Grave et al. 2016, "Efficient softmax approximation for GPUs"), with the
 * names and shapes of torch.nn.AdaptiveLogSoftmaxWithLoss.  The logits of a cluster are never held all at once:
 * src/tensor/ops/linear_loss.c. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tensor/attrs.h"
#include "tensor/internal.h"
#include "tenon/nn.h"

enum { PREDICTED = 1 << 22 }; /* log-probabilities that tn_adaptive_predict() holds at once */
_Static_assert((int)TN_CUTOFFS == (int)TN__CLUSTERS, "as many as the op sorts targets by");

typedef struct adaptive {
    tn_module base;
    int64_t in, classes;
    int clusters;
    int64_t end[TN_CUTOFFS + 1];      /* of the head's own classes, then of each cluster */
    tn_module *head, *tail[TN_CUTOFFS]; /* tail: projection and weight, one after the other */
} adaptive;

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static tn_tensor *weight_of(tn_module *linear) { return &tn_find_param(linear, "weight")->t; }

/* ---- integers: counted on the CPU, used beside x ---- */

static tn_tensor *on_host(tn_tensor *ids)
{
    tn_tensor *t = tn_cast(ids, TN_I64);
    if (!t || t->storage->backend == &tn__cpu)
        return tn_contiguous(t);
    tn_tensor *host = tn_empty(TN_I64, t->ndim, t->shape);
    return tn_copy_(host, t) ? host : NULL;
}

/* How many targets are in each cluster. */
static bool count_targets(const char *who, const adaptive *l, tn_tensor *target, int64_t *count)
{
    const int64_t *id = tn_i64(target);
    for (int64_t row = 0, rows = id ? tn_numel(target) : 0; row < rows; row++) {
        int i = 0;
        if (id[row] < 0 || id[row] >= l->classes)
            return tn_fail(TN_EARG, "%s: target %lld of row %lld is not a class in 0..%lld", who, (long long)id[row],
                           (long long)row, (long long)l->classes - 1), false;
        while (id[row] >= l->end[i])
            i++;
        if (i)
            count[i - 1]++;
    }
    return id;
}

/* ---- plans: 1 more than a number whose digits are the clusters' rows, in sixteenths of all ---- */

enum { PARTS = 16, LEAST_PART = 16 };

static int64_t part_of(int64_t rows)
{
    const int64_t part = (rows + PARTS - 1) / PARTS;
    return part > LEAST_PART ? part : LEAST_PART;
}

static bool places_of(const adaptive *l, int64_t plan, int64_t rows, int64_t *places)
{
    int64_t left = plan - 1;
    for (int i = 0; i < l->clusters; i++, left /= PARTS + 1)
        places[i] = least(left % (PARTS + 1) * part_of(rows), rows);
    return (plan > 0 && left == 0) ||
           (tn_fail(TN_EARG, "adaptive_loss: %lld is no plan of this layer; tn_adaptive_plan() makes them",
                    (long long)plan), false);
}

static int64_t plan_of(const adaptive *l, tn_tensor *target)
{
    int64_t count[TN_CUTOFFS] = {0}, plan = 0;
    const int64_t part = part_of(tn_numel(target));
    if (tn_dtype_floating(target->dtype))
        return tn_fail(TN_EDTYPE, "adaptive_plan: targets are integers, these are %s", tn_dtype_name(target->dtype)), 0;
    if (!count_targets("adaptive_plan", l, on_host(target), count))
        return 0;
    for (int i = l->clusters - 1; i >= 0; i--)
        plan = plan * (PARTS + 1) + (count[i] + part - 1) / part;
    return plan + 1;
}

/* ---- the loss ---- */

/* The sum over rows; without a bias the logits need not be held. */
static tn_tensor *head_loss(const adaptive *l, tn_tensor *x, tn_tensor *target)
{
    if (tn_find_param(l->head, "bias"))
        return tn_cross_entropy(tn_forward(l->head, x), target, .sum = true);
    return tn_linear_cross_entropy(x, weight_of(l->head), target, .sum = true);
}

/* The sum over the rows `at`, whose targets within cluster i are `own`, or -1: they count nothing. */
static tn_tensor *tail_loss(const adaptive *l, int i, tn_tensor *x, tn_tensor *at, tn_tensor *own)
{
    return tn_linear_cross_entropy(tn_forward(l->tail[i]->child, tn_embed(x, at)), weight_of(l->tail[i]->child->next),
                                   own, .sum = true, .ignore = true, .ignore_index = -1);
}

static bool fits(const adaptive *l, const tn_tensor *x)
{
    char s[TN_SHAPE_TEXT];
    return (x->ndim == 2 && x->shape[1] == l->in) ||
           (tn_fail(TN_ESHAPE, "adaptive_softmax: input %s is not [N,%lld]", tn_shape_text(x, s), (long long)l->in),
            false);
}

static bool one_a_row(const tn_tensor *x, const tn_tensor *target)
{
    char s[TN_SHAPE_TEXT], u[TN_SHAPE_TEXT];
    return (target->ndim == 1 && target->shape[0] == x->shape[0] && !tn_dtype_floating(target->dtype)) ||
           (tn_fail(TN_ESHAPE, "adaptive_loss: targets %s %s for inputs %s; one integer a row is needed",
                    tn_dtype_name(target->dtype), tn_shape_text(target, s), tn_shape_text(x, u)), false);
}

/* How many rows each cluster gets: the targets say it themselves where the host has them. */
static bool settle(const adaptive *l, const tn_tensor *x, tn_tensor **target, int64_t plan, int64_t *places)
{
    if (plan && x->storage->backend != &tn__cpu && (*target)->storage->backend != &tn__cpu)
        return places_of(l, plan, x->shape[0], places);
    tn_tensor *host = on_host(*target);
    *target = host ? tn__beside(x, host) : NULL;
    return *target && count_targets("adaptive_loss", l, host, places);
}

static tn_tensor *loss_of(const adaptive *l, tn_tensor *x, tn_tensor *target, int64_t plan)
{
    tn__clusters_attr a = {.n = l->clusters};
    tn_tensor *sorted[TN_MAX_OUT]; /* the head's targets; rows of all clusters; their targets */
    const int64_t rows = x->shape[0];
    memcpy(a.end, l->end, sizeof a.end);
    if (!one_a_row(x, target) || !settle(l, x, &target, plan, a.room) ||
        !tn__apply(TN_OP(clusters), &a, sizeof a, 1, &target, sorted))
        return NULL;
    tn_tensor *sum = head_loss(l, x, sorted[0]);
    for (int64_t i = 0, at = 0, end; sum && i < l->clusters; i++, at = end) {
        end = at + a.room[i];
        if (a.room[i])
            sum = tn_add(sum, tail_loss(l, (int)i, x, tn_slice(sorted[1], 0, at, end, 1),
                                        tn_slice(sorted[2], 0, at, end, 1)));
    }
    return tn_mul_scalar(sum, rows ? 1 / (double)rows : 1);
}

/* ---- probabilities ---- */

static tn_tensor *log_probs_of(const adaptive *l, tn_tensor *x)
{
    tn_tensor *part[TN_CUTOFFS + 1], *head = tn_log_softmax(tn_forward(l->head, x), 1);
    const int64_t first = l->end[0];
    part[0] = tn_slice(head, 1, 0, first, 1);
    for (int i = 0; i < l->clusters; i++)
        part[i + 1] = tn_add(tn_log_softmax(tn_forward(l->tail[i], x), 1),
                             tn_slice(head, 1, first + i, first + i + 1, 1));
    return tn_concat(l->clusters + 1, part, 1);
}

/* Where the head decides for a cluster the class is the likeliest of all: rows at[0..n-1] of x, into best. */
static bool decide(const adaptive *l, tn_tensor *x, int64_t n, const int64_t *at, int64_t *best)
{
    const int64_t block = PREDICTED / l->classes > 0 ? PREDICTED / l->classes : 1;
    for (int64_t from = 0; from < n; from += block)
        TN_SCOPE {
            const int64_t count = least(block, n - from);
            tn_tensor *rows = tn_embed(x, tn__beside(x, tn_from_i64(at + from, TN_SHAPE(count))));
            tn_tensor *found = on_host(tn_argmax(log_probs_of(l, rows), 1));
            for (int64_t i = 0; found && i < count; i++)
                best[at[from + i]] = tn_i64(found)[i];
        }
    return tn_ok();
}

static tn_tensor *predict(const adaptive *l, tn_tensor *x)
{
    tn_tensor *best = on_host(tn_argmax(tn_forward(l->head, x), 1)), *at = tn_empty(TN_I64, TN_SHAPE(x->shape[0]));
    int64_t n = 0;
    if (!best || !at)
        return NULL;
    for (int64_t row = 0; row < x->shape[0]; row++)
        if (tn_i64(best)[row] >= l->end[0])
            tn_i64(at)[n++] = row;
    return decide(l, x, n, tn_i64(at), tn_i64(best)) ? tn__beside(x, best) : NULL;
}

/* ---- the layer ---- */

static tn_tensor *forward(tn_module *m, int n, tn_tensor *const *x)
{
    const adaptive *l = (adaptive *)m;
    if (!fits(l, x[0]))
        return NULL;
    return n > 1 ? loss_of(l, x[0], x[1], 0) : log_probs_of(l, x[0]);
}

static const tn_module_class adaptive_class = {
    .name = "AdaptiveLogSoftmaxWithLoss", .size = sizeof(adaptive), .forward = forward, .inputs = 2};

static bool is_one(const tn_module *m)
{
    if (m->cls != &adaptive_class)
        tn_fail(TN_EARG, "adaptive_softmax: %s is another layer", m->cls->name);
    return m->cls == &adaptive_class;
}

int64_t tn_adaptive_plan(tn_module *m, tn_tensor *target)
{
    int64_t plan = 0;
    if (m && target && is_one(m))
        TN_SCOPE {
            plan = plan_of((adaptive *)m, target);
        }
    return plan;
}

tn_tensor *tn_adaptive_loss_call(tn_adaptive_loss_args a)
{
    tn_tensor *loss = NULL;
    if (!a.m || !a.x || !a.target || !is_one(a.m))
        return NULL;
    tn__path_push(a.m->name);
    TN_SCOPE {
        loss = fits((adaptive *)a.m, a.x) ? tn_keep(loss_of((adaptive *)a.m, a.x, a.target, a.plan)) : NULL;
    }
    tn__path_pop();
    return loss;
}

tn_tensor *tn_adaptive_log_probs(tn_module *m, tn_tensor *x)
{
    return m && x && is_one(m) ? tn_forward_call(m, 1, &x) : NULL;
}

tn_tensor *tn_adaptive_predict(tn_module *m, tn_tensor *x)
{
    tn_tensor *best = NULL;
    if (!m || !x || !is_one(m))
        return NULL;
    tn__path_push(m->name);
    TN_SCOPE TN_NO_GRAD {
        best = fits((adaptive *)m, x) ? tn_keep(predict((adaptive *)m, x)) : NULL;
    }
    tn__path_pop();
    return best;
}

static bool cutoffs_ok(const tn_adaptive_softmax_args *a, int *n)
{
    for (*n = 0; *n <= TN_CUTOFFS && a->cutoffs[*n]; ++*n)
        if (a->cutoffs[*n] < 1 || a->cutoffs[*n] >= a->classes || (*n && a->cutoffs[*n] <= a->cutoffs[*n - 1]))
            return tn_fail(TN_EARG, "adaptive_softmax: cutoff %lld; they ascend and are below the %lld classes",
                           (long long)a->cutoffs[*n], (long long)a->classes), false;
    return (*n > 0 && *n <= TN_CUTOFFS) ||
           (tn_fail(TN_EARG, "adaptive_softmax: %d cutoffs; 1 to %d are possible", *n, (int)TN_CUTOFFS), false);
}

tn_module *tn_adaptive_softmax_call(tn_adaptive_softmax_args a)
{
    int n;
    const double div = a.div != 0 ? a.div : 4;
    if (a.in < 1 || a.classes < 1)
        return tn_fail(TN_EARG, "adaptive_softmax: %lld columns and %lld classes; both must be at least 1",
                       (long long)a.in, (long long)a.classes);
    if (!cutoffs_ok(&a, &n))
        return NULL;
    if (!(div > 0) || !((double)a.in / pow(div, n) >= 1) || !((double)a.in / pow(div, n) < 0x1p62))
        return tn_fail(TN_EARG, "adaptive_softmax: %lld columns divided by %g %d times leave none, or too many",
                       (long long)a.in, div, n);
    adaptive *l = tn_module_new(&adaptive_class);
    if (!l)
        return NULL;
    tn_module *tail[TN_CUTOFFS];
    l->in = a.in;
    l->classes = a.classes;
    l->clusters = n;
    for (int i = 0; i <= n; i++)
        l->end[i] = i < n ? a.cutoffs[i] : a.classes;
    l->head = tn_add_child(&l->base, "head", tn_linear(a.in, l->end[0] + n, .no_bias = !a.head_bias));
    for (int i = 0; i < n; i++) {
        const int64_t columns = (int64_t)((double)a.in / pow(div, i + 1));
        l->tail[i] = tail[i] = tn_seq(tn_linear(a.in, columns, .no_bias = true),
                                      tn_linear(columns, l->end[i + 1] - l->end[i], .no_bias = true));
    }
    tn_add_child(&l->base, "tail", tn_seq_call(n, tail));
    return tn_module_done(l);
}
