/* All samples of all ops, elementwise rows on several shapes and structured ops on theirs: running one forward and
 * backward, and comparing what came out.  For test_ops.c and cuda/test_cuda_samples.c. */
#ifndef TN_TESTS_SAMPLES_H
#define TN_TESTS_SAMPLES_H

#include "check.h"
#include "op.h"

#include <math.h>

/* ---- the list of all samples ---- */

#define ROW_FN0(name) tn_##name(in[0])
#define ROW_FN1(name) tn_##name(in[0], par_##name[0])
#define ROW_FN2(name) tn_##name(in[0], par_##name[0], par_##name[1])
#define MAP(name, P, reads, y, dx, lo, hi, a, b)                             \
    static const double par_##name[2] = {a, b};                              \
    static tn_tensor *make_##name(int n, tn_tensor *const *in)               \
    {                                                                        \
        (void)n;                                                             \
        (void)par_##name;                                                    \
        return ROW_FN##P(name);                                              \
    }
#define BIN(name, ...)                                                       \
    static tn_tensor *make_##name(int n, tn_tensor *const *in)               \
    {                                                                        \
        (void)n;                                                             \
        return tn_##name(in[0], in[1]);                                      \
    }
#define CMP(name, ...) BIN(name)
#include "tenon/ops_map.def"

#define IN1(l, h, ...) {.ndim = (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), \
                        .shape = {__VA_ARGS__}, .kind = 'f', .lo = l, .hi = h}
#define ONE(name, words, l, h, ...) {words, make_##name, .in = {IN1(l, h, __VA_ARGS__)}, .tol = 3e-6}
#define UNARY(name, l, h)                                                    \
    ONE(name, "long", l, h, 1037), ONE(name, "matrix", l, h, 5, 7),          \
    ONE(name, "empty", l, h, 3, 0), ONE(name, "one", l, h, 1, 1, 1)
#define PAIR(name, words, l, h, sa, sb) {words, make_##name, .in = {sa, sb}, .tol = 3e-6}
#define BINARY(name, l, h)                                                                     \
    PAIR(name, "same", l, h, IN1(l, h, 5, 67), IN1(l, h, 5, 67)),                              \
    PAIR(name, "rows", l, h, IN1(l, h, 5, 67), IN1(l, h, 67)),                                 \
    PAIR(name, "columns", l, h, IN1(l, h, 5, 1), IN1(l, h, 5, 67)),                            \
    PAIR(name, "both stretch", l, h, IN1(l, h, 4, 1, 3), IN1(l, h, 5, 1)),                     \
    PAIR(name, "empty", l, h, IN1(l, h, 4, 0), IN1(l, h, 1, 1)),                               \
    {"misfit", make_##name, .in = {IN1(l, h, 4, 3), IN1(l, h, 4)},                             \
     .error = #name ": shapes do not fit: [4,3] x [4]"}
#define MAP(name, P, reads, y, dx, lo, hi, ...) static const tn__sample rows_##name[] = {UNARY(name, lo, hi), {0}};
#define BIN(name, reads, y, dx, dz, lo, hi) static const tn__sample rows_##name[] = {BINARY(name, lo, hi), {0}};
#define CMP(name, ...) static const tn__sample rows_##name[] = {BINARY(name, -2, 2), {0}};
#include "tenon/ops_map.def"

static const struct listed { const char *op; const tn__sample *samples; } all[] = {
#define MAP(name, ...) {#name, rows_##name},
#define BIN(name, ...) {#name, rows_##name},
#define CMP(name, ...) {#name, rows_##name},
#include "tenon/ops_map.def"
#define OP(name, ...) {#name, tn__samples_##name},
#include "tenon/ops.def"
};
enum { LISTED = sizeof all / sizeof *all };

/* ---- inputs ---- */

static const char *label(const char *op, const tn__sample *s, const char *more)
{
    static char text[256];
    snprintf(text, sizeof text, "%s (%s) %s", op, s->what, more);
    return text;
}

/* Where inputs go; NULL: they stay on the CPU. */
static tn_tensor *(*elsewhere)(const tn_tensor *t);

/* Input k of a sample in float32 or float64; the same numbers in both.  strided: a transposed view. */
static tn_tensor *input(const tn__sample *s, int k, tn_dtype real_type, bool strided)
{
    const int ndim = s->in[k].ndim;
    const char kind = s->in[k].kind;
    const tn_dtype t = kind == 'i' ? TN_I64 : kind == 'u' ? TN_U8 : real_type;
    int64_t shape[TN_MAX_DIMS], axes[TN_MAX_DIMS];
    for (int i = 0; i < ndim; i++) {
        shape[i] = s->in[k].shape[strided ? ndim - 1 - i : i];
        axes[i] = ndim - 1 - i;
    }
    tn_tensor *x = tn_empty(t, ndim, shape);
    assert_non_null(x);
    int64_t at[TN_MAX_DIMS] = {0};
    for (int64_t i = 0, n = tn_numel(x); i < n; i++) {
        int64_t logical = 0; /* index of this element in the shape that the op sees */
        for (int d = 0; d < ndim; d++)
            logical = logical * s->in[k].shape[d] + at[strided ? ndim - 1 - d : d];
        const float u = tn__uniform(tn__philox_at(17, (uint64_t)k, (uint64_t)logical));
        const double span = s->in[k].hi - s->in[k].lo;
        double v = (double)(float)(s->in[k].lo + span * (double)u);
        if (kind == 'i' || kind == 'u')
            v = floor(s->in[k].lo + span * (double)u);
        tn__convert(&v, TN_F64, (char *)tn__data(x) + (size_t)i * tn_dtype_size(t), t, 1);
        for (int d = ndim; d-- > 0 && ++at[d] == shape[d];)
            at[d] = 0;
    }
    if (elsewhere)
        x = elsewhere(x);
    if (kind == 'f')
        tn_want_grad(x);
    return strided && ndim > 1 ? tn_permute(x, ndim, axes) : x;
}

static int inputs(const tn__sample *s, tn_dtype t, bool strided, tn_tensor **in)
{
    int n = 0;
    for (; n < TN_MAX_IN && s->in[n].kind; n++)
        in[n] = input(s, n, t, strided);
    return n;
}

static tn_tensor *make(const tn__sample *s, int n, tn_tensor *const *in)
{
    tn_seed(5); /* the same masks each time */
    return s->make(n, in);
}

/* ---- comparing ---- */

enum { MOST = 1 << 20 };
typedef struct result {
    int64_t n_out, n_grad[TN_MAX_IN];
    double out[MOST / 4], grad[TN_MAX_IN][MOST / 8];
} result;

/* Numbers to weigh the elements of y by, beside it. */
static tn_tensor *weights(const tn_tensor *y)
{
    tn_tensor *w = tn_empty(y->dtype, y->ndim, y->shape);
    for (int64_t i = 0, n = tn_numel(y); i < n; i++) {
        const double v = (double)tn__uniform(tn__philox_at(23, 0, (uint64_t)i)) * 2 - 1;
        tn__convert(&v, TN_F64, (char *)tn__data(w) + (size_t)i * tn_dtype_size(y->dtype), y->dtype, 1);
    }
    return elsewhere ? elsewhere(w) : w;
}

/* Forward and, where it can be differentiated, the gradient of a fixed weighted sum of the output.  False, with
 * the error set, when an op has no kernel there. */
static bool run(const char *op, const tn__sample *s, tn_dtype t, bool strided, result *r)
{
    bool done = false;
    memset(r->n_grad, 0, sizeof r->n_grad);
    TN_SCOPE {
        tn_tensor *in[TN_MAX_IN], *leaf[TN_MAX_IN];
        const int n = inputs(s, t, false, leaf);
        for (int i = 0; i < n; i++) {
            int64_t axes[TN_MAX_DIMS];
            in[i] = leaf[i];
            if (!strided || leaf[i]->ndim < 2)
                continue;
            /* the same values behind reversed strides, still depending on the leaf */
            for (int d = 0; d < leaf[i]->ndim; d++)
                axes[d] = leaf[i]->ndim - 1 - d;
            in[i] = tn_permute(tn_contiguous(tn_permute(leaf[i], leaf[i]->ndim, axes)), leaf[i]->ndim, axes);
        }
        tn_tensor *y = tn_ok() ? make(s, n, in) : NULL;
        r->n_out = tn_numel(y);
        assert_true(r->n_out <= MOST / 4);
        done = y && tn_read_f64(y, r->out) && (!y->requires_grad || tn_backward_from(y, weights(y)));
        if (!done && tn_error()->code != TN_EKERNEL)
            fail_msg("%s: %s", label(op, s, ""), tn_error()->text);
        if (!done || !y->requires_grad)
            break;
        for (int k = 0; k < n; k++) {
            r->n_grad[k] = leaf[k]->grad ? tn_numel(leaf[k]->grad) : 0;
            assert_true(r->n_grad[k] <= MOST / 8);
            if (leaf[k]->grad)
                assert_true(tn_read_f64(leaf[k]->grad, r->grad[k]));
        }
    }
    return done;
}

/* Where faults go, so that all are seen; NULL: the first ends the test. */
static void (*tell_fault)(const char *text);

__attribute__((format(printf, 1, 2))) static void fault(const char *fmt, ...)
{
    char text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (!tell_fault)
        fail_msg("%s", text);
    tell_fault(text);
}

static void compare(const char *what, int64_t n, const double *got, const double *want, double tol)
{
    double largest = 1e-6, worst = 0;
    int64_t where = 0;
    for (int64_t i = 0; i < n; i++) {
        largest = fabs(want[i]) > largest && isfinite(want[i]) ? fabs(want[i]) : largest;
        const double e = got[i] == want[i] || (isnan(got[i]) && isnan(want[i])) ? 0 : fabs(got[i] - want[i]);
        if (!(e <= worst)) {
            worst = e;
            where = i;
        }
    }
    if (!(worst <= tol * largest))
        fault("%s: element %lld is %.9g, should be %.9g (largest %.3g, tolerance %.1e)", what, (long long)where,
              got[where], want[where], largest, tol);
}

static void compare_results(const char *op, const tn__sample *s, const char *how, const result *got,
                            const result *want, double tol)
{
    assert_int_equal(got->n_out, want->n_out);
    compare(label(op, s, how), got->n_out, got->out, want->out, tol);
    for (int k = 0; k < TN_MAX_IN; k++) {
        assert_int_equal(got->n_grad[k], want->n_grad[k]);
        compare(label(op, s, how), got->n_grad[k], got->grad[k], want->grad[k], 4 * tol);
    }
}

static result reference, other;

static void expect_same_bits(const char *op, const tn__sample *s, const char *how)
{
    assert_int_equal(other.n_out, reference.n_out);
    if (memcmp(other.out, reference.out, (size_t)other.n_out * sizeof *other.out))
        fault("%s", label(op, s, how));
    for (int k = 0; k < TN_MAX_IN; k++)
        if (other.n_grad[k] != reference.n_grad[k] ||
            memcmp(other.grad[k], reference.grad[k], (size_t)other.n_grad[k] * sizeof *other.grad[k]))
            fault("%s", label(op, s, how));
}

static const tn__sample *next_good(const tn__sample *s)
{
    while (s->what && s->error)
        s++;
    return s;
}

#define FOR_GOOD(op, s)                                                                     \
    for (int l_ = 0; l_ < LISTED; l_++)                                                     \
        for (const char *op = all[l_].op; op; op = NULL)                                    \
            for (const tn__sample *s = next_good(all[l_].samples); s->what; s = next_good(s + 1))

#endif
