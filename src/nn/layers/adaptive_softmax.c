/* Softmax over classes in a head and clusters (Grave et al. 2016, "Efficient softmax approximation for GPUs"), with the
 * names and shapes of torch.nn.AdaptiveLogSoftmaxWithLoss.  The logits of a cluster are never held all at once:
 * src/tensor/ops/linear_loss.c. */
#include <math.h>
#include <stdio.h>

#include "tensor/internal.h"
#include "tenon/nn.h"

enum { PREDICTED = 1 << 22 }; /* log-probabilities that tn_adaptive_predict() holds at once */

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

/* ---- the loss ---- */

/* The sum over rows; without a bias the logits need not be held. */
static tn_tensor *head_loss(const adaptive *l, tn_tensor *x, tn_tensor *target)
{
    if (tn_find_param(l->head, "bias"))
        return tn_cross_entropy(tn_forward(l->head, x), target, .sum = true);
    return tn_linear_cross_entropy(x, weight_of(l->head), target, .sum = true);
}

/* The sum over the rows whose target is in cluster i: 0 <= target - first < classes. */
static tn_tensor *tail_loss(const adaptive *l, int i, tn_tensor *x, const int64_t *target, int64_t rows, int64_t count)
{
    tn_tensor *at = tn_empty(TN_I64, TN_SHAPE(count)), *own = tn_empty(TN_I64, TN_SHAPE(count));
    if (!at || !own)
        return NULL;
    for (int64_t row = 0, n = 0; row < rows; row++)
        if (target[row] >= l->end[i] && target[row] < l->end[i + 1]) {
            tn_i64(at)[n] = row;
            tn_i64(own)[n++] = target[row] - l->end[i];
        }
    tn_tensor *chosen = tn_embed(x, tn__beside(x, at));
    return tn_linear_cross_entropy(tn_forward(l->tail[i]->child, chosen), weight_of(l->tail[i]->child->next),
                                   tn__beside(x, own), .sum = true);
}

/* Targets of the head, and how many are in each cluster; NULL with the error set. */
static tn_tensor *head_targets(const adaptive *l, tn_tensor *target, int64_t *count)
{
    const int64_t rows = tn_numel(target), *id = tn_i64(target);
    tn_tensor *head = tn_empty(TN_I64, TN_SHAPE(rows));
    int64_t *to = tn_i64(head);
    for (int64_t row = 0; to && row < rows; row++) {
        int i = 0;
        if (id[row] < 0 || id[row] >= l->classes)
            return tn_fail(TN_EARG, "adaptive_loss: target %lld of row %lld is not a class in 0..%lld",
                           (long long)id[row], (long long)row, (long long)l->classes - 1);
        while (id[row] >= l->end[i])
            i++;
        to[row] = i ? l->end[0] + i - 1 : id[row];
        if (i)
            count[i - 1]++;
    }
    return head;
}

static bool fits(const adaptive *l, const tn_tensor *x)
{
    char s[TN_SHAPE_TEXT];
    return (x->ndim == 2 && x->shape[1] == l->in) ||
           (tn_fail(TN_ESHAPE, "adaptive_softmax: input %s is not [N,%lld]", tn_shape_text(x, s), (long long)l->in),
            false);
}

static tn_tensor *loss_of(const adaptive *l, tn_tensor *x, tn_tensor *target)
{
    char s[TN_SHAPE_TEXT], u[TN_SHAPE_TEXT];
    int64_t count[TN_CUTOFFS] = {0};
    if (target->ndim != 1 || target->shape[0] != x->shape[0] || tn_dtype_floating(target->dtype))
        return tn_fail(TN_ESHAPE, "adaptive_loss: targets %s %s for inputs %s; one integer a row is needed",
                       tn_dtype_name(target->dtype), tn_shape_text(target, s), tn_shape_text(x, u));
    const int64_t rows = x->shape[0];
    tn_tensor *ids = on_host(target), *head = ids ? head_targets(l, ids, count) : NULL;
    tn_tensor *sum = head ? head_loss(l, x, tn__beside(x, head)) : NULL;
    for (int i = 0; sum && i < l->clusters; i++)
        if (count[i])
            sum = tn_add(sum, tail_loss(l, i, x, tn_i64(ids), rows, count[i]));
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
    return n > 1 ? loss_of(l, x[0], x[1]) : log_probs_of(l, x[0]);
}

static const tn_module_class adaptive_class = {
    .name = "AdaptiveLogSoftmaxWithLoss", .size = sizeof(adaptive), .forward = forward, .inputs = 2};

static bool is_one(const tn_module *m)
{
    if (m->cls != &adaptive_class)
        tn_fail(TN_EARG, "adaptive_softmax: %s is another layer", m->cls->name);
    return m->cls == &adaptive_class;
}

tn_tensor *tn_adaptive_loss(tn_module *m, tn_tensor *x, tn_tensor *target)
{
    return m && x && target && is_one(m) ? tn_forward_call(m, 2, (tn_tensor *[]){x, target}) : NULL;
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
