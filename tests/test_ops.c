/* Every op, because it is a row: each elementwise row on several shapes, each structured op on its samples.
 *
 *   forward    float32 on every ISA of this machine against float64 plain kernels
 *   gradient   float64 against central differences, float32 against float64
 *   bits       run twice, one against two threads, strided views against contiguous copies
 *   errors     samples that must fail, with their text
 */
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

/* Forward and, where it can be differentiated, the gradient of a fixed weighted sum of the output. */
static void run(const char *op, const tn__sample *s, tn_dtype t, bool strided, result *r)
{
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
        tn_tensor *y = make(s, n, in);
        if (!y)
            fail_msg("%s: %s", label(op, s, "gave nothing"), tn_error()->text);
        r->n_out = tn_numel(y);
        assert_true(r->n_out <= MOST / 4);
        assert_true(tn_read_f64(y, r->out));
        if (!y->requires_grad)
            break;
        tn_tensor *w = tn_like(y);
        for (int64_t i = 0; i < r->n_out; i++) {
            const double v = (double)tn__uniform(tn__philox_at(23, 0, (uint64_t)i)) * 2 - 1;
            tn__convert(&v, TN_F64, (char *)tn__data(w) + (size_t)i * tn_dtype_size(t), t, 1);
        }
        if (!tn_backward_from(y, w))
            fail_msg("%s: %s", label(op, s, "backward"), tn_error()->text);
        for (int k = 0; k < n; k++) {
            r->n_grad[k] = leaf[k]->grad ? tn_numel(leaf[k]->grad) : 0;
            assert_true(r->n_grad[k] <= MOST / 8);
            if (leaf[k]->grad)
                assert_true(tn_read_f64(leaf[k]->grad, r->grad[k]));
        }
    }
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
        fail_msg("%s: element %lld is %.9g, float64 gives %.9g (largest %.3g, tolerance %.1e)", what,
                 (long long)where, got[where], want[where], largest, tol);
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

/* ---- the tests ---- */

static void test_each_op_has_samples(void **state)
{
    (void)state;
    for (int i = 0; i < LISTED; i++)
        if (!next_good(all[i].samples)->what)
            fail_msg("%s has no sample that succeeds", all[i].op);
}

static void test_forward_and_gradient_on_each_isa(void **state)
{
    const char *isa[8];
    const int n = tn__isa_list(isa, 8);
    (void)state;
    FOR_GOOD(op, s) {
        run(op, s, TN_F64, false, &reference);
        for (int i = 0; i < n; i++) {
            tn__isa_set(isa[i]);
            run(op, s, TN_F32, false, &other);
            compare_results(op, s, isa[i], &other, &reference, s->tol > 0 ? s->tol : 2e-5);
        }
        tn__isa_set(isa[0]);
    }
}

static tn_tensor *call_sample(void *arg, int n, tn_tensor *const *in)
{
    return make(arg, n, in);
}

static void test_gradient_by_differences(void **state)
{
    (void)state;
    FOR_GOOD(op, s) TN_SCOPE {
        tn_tensor *in[TN_MAX_IN];
        const int n = inputs(s, TN_F64, false, in);
        bool wanted = false;
        TN_SCOPE {
            const tn_tensor *y = make(s, n, in);
            wanted = y && y->requires_grad;
        }
        if (wanted && !tn_gradcheck(call_sample, .arg = (void *)(uintptr_t)s, .n = n, .in = in, .most = 24, .step = 1e-5,
                                    .rtol = 1e-5, .atol = 1e-7))
            fail_msg("%s: %s", label(op, s, "gradcheck"), tn_error()->text);
    }
}

static void expect_same_bits(const char *op, const tn__sample *s, const char *how)
{
    assert_int_equal(other.n_out, reference.n_out);
    if (memcmp(other.out, reference.out, (size_t)other.n_out * sizeof *other.out))
        fail_msg("%s", label(op, s, how));
    for (int k = 0; k < TN_MAX_IN; k++)
        if (other.n_grad[k] != reference.n_grad[k] ||
            memcmp(other.grad[k], reference.grad[k], (size_t)other.n_grad[k] * sizeof *other.grad[k]))
            fail_msg("%s", label(op, s, how));
}

static void test_same_bits_twice_and_for_any_threads(void **state)
{
    (void)state;
    FOR_GOOD(op, s) {
        tn_set_threads(2);
        run(op, s, TN_F32, false, &reference);
        run(op, s, TN_F32, false, &other);
        expect_same_bits(op, s, "gives other bits the second time");
        tn_set_threads(1);
        run(op, s, TN_F32, false, &other);
        expect_same_bits(op, s, "gives other bits on one thread than on two");
        tn_set_threads(3);
        run(op, s, TN_F32, false, &other);
        expect_same_bits(op, s, "gives other bits on three threads than on two");
    }
    tn_set_threads(0);
}

static void test_strided_inputs(void **state)
{
    (void)state;
    FOR_GOOD(op, s) {
        run(op, s, TN_F32, false, &reference);
        run(op, s, TN_F32, true, &other);
        compare_results(op, s, "with strided inputs", &other, &reference, 1e-5);
    }
}

static void test_bad_samples(void **state)
{
    (void)state;
    for (int l = 0; l < LISTED; l++)
        for (const tn__sample *s = all[l].samples; s->what; s++)
            if (s->error) TN_SCOPE {
                tn_tensor *in[TN_MAX_IN];
                const int n = inputs(s, TN_F32, false, in);
                if (make(s, n, in) && tn_ok())
                    fail_msg("%s", label(all[l].op, s, "should have failed"));
                if (!strstr(tn_error()->text, s->error))
                    fail_msg("%s: expected '%s', got '%s'", label(all[l].op, s, ""), s->error, tn_error()->text);
                tn_error_clear();
            }
}

static void test_fast_maths_is_close_to_libm(void **state)
{
    const char *isa[8];
    const int isas = tn__isa_list(isa, 8);
    static const struct { const char *name; tn_tensor *(*f)(tn_tensor *); double (*want)(double); double lo, hi; } rows[] = {
        {"exp", tn_exp, exp, -86, 88}, {"log", tn_log, log, 1e-6, 1e6}, {"tanh", tn_tanh, tanh, -9, 9},
        {"erf", tn_erf, erf, -4, 4}, {"expm1", tn_expm1, expm1, -3, 3}, {"log1p", tn_log1p, log1p, -.9, 9},
    };
    enum { N = 20000 };
    (void)state;
    for (int k = 0; k < isas; k++)
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) TN_SCOPE {
            tn__isa_set(isa[k]);
            tn_tensor *x = tn_rand(rows[r].lo, rows[r].hi, TN_SHAPE(N)), *y = rows[r].f(x);
            for (int i = 0; i < N; i++) {
                const double want = rows[r].want((double)tn_f32(x)[i]), got = (double)tn_f32(y)[i];
                if (fabs(got - want) > 6e-7 * fabs(want) + 1e-37)
                    fail_msg("%s(%.9g) is %.9g on %s, should be %.9g", rows[r].name, (double)tn_f32(x)[i], got,
                             isa[k], want);
            }
        }
    tn__isa_set(isa[0]);
}

static void test_special_values(void **state)
{
    const float x[6] = {0.0f, -0.0f, INFINITY, -INFINITY, NAN, 1e-42f};
    const char *isa[8];
    (void)state;
    for (int k = 0, n = tn__isa_list(isa, 8); k < n; k++) TN_SCOPE {
        tn__isa_set(isa[k]);
        tn_tensor *v = tn_from_f32(x, TN_SHAPE(6));
        const float *e = tn_f32(tn_exp(v)), *l = tn_f32(tn_log(v)), *t = tn_f32(tn_tanh(v)), *r = tn_f32(tn_relu(v));
        assert_true(e[0] == 1 && isinf(e[2]) && e[3] == 0 && isnan(e[4]));
        assert_true(isinf(l[0]) && l[0] < 0 && isinf(l[2]) && isnan(l[3]) && isnan(l[4]));
        assert_true(t[2] == 1 && t[3] == -1 && isnan(t[4]));
        assert_true(isinf(r[2]) && r[3] == 0 && isnan(r[4]));
        assert_true(fabsf(l[5] - logf(1e-42f)) < 1e-4f);
    }
    tn__isa_set(isa[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_op_has_samples),
        cmocka_unit_test(test_forward_and_gradient_on_each_isa),
        cmocka_unit_test(test_gradient_by_differences),
        cmocka_unit_test(test_same_bits_twice_and_for_any_threads),
        cmocka_unit_test(test_strided_inputs),
        cmocka_unit_test(test_bad_samples),
        cmocka_unit_test(test_fast_maths_is_close_to_libm),
        cmocka_unit_test(test_special_values),
    };
    return cmocka_run_group_tests_name("ops", tests, quiet_errors, NULL);
}
