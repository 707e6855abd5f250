/* Attention beyond what its samples show (test_ops.c): that it is softmax(scale q k^T) v, that a sequence's bits
 * do not depend on its batch nor a query's on the queries beside it, its dropout, its layer, PyTorch's numbers
 * (tests/parity/attention.py wrote them); and the integers of sequences. */
#include "check.h"
#include "internal.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

static void on_each_isa(void (*test)(void))
{
    const char *isa[8];
    for (int i = 0, n = tn__isa_list(isa, 8); i < n; i++) {
        assert_true(tn__isa_set(isa[i]));
        TN_SCOPE {
            test();
            assert_ok();
        }
        tn__isa_set(isa[0]);
    }
}

/* Sequences of these lengths, one after the other. */
static tn_tensor *spans_of(int n, const int64_t *length)
{
    tn_tensor *t = tn_empty(TN_I64, TN_SHAPE(n, 2));
    int64_t *span = tn_i64(t), at = 0;
    for (int i = 0; i < n; i++, at += length[i - 1]) {
        span[2 * i] = at;
        span[2 * i + 1] = length[i];
    }
    return t;
}
#define ROWS(...) spans_of((int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (const int64_t[]){__VA_ARGS__})
#define SPANS(n, ...) tn_from_i64((const int64_t[]){__VA_ARGS__}, TN_SHAPE(n, 2))

static tn_tensor *rows(tn_tensor *x, int64_t from, int64_t end) { return tn_slice(x, 0, from, end, 1); }

static tn_tensor *columns(tn_tensor *x, int64_t from, int64_t end)
{
    return tn_contiguous(tn_slice(x, 1, from, end, 1));
}

static double worst(tn_tensor *a, tn_tensor *b)
{
    assert_true(a && b && tn_same_shape(a, b));
    double most = 0;
    TN_SCOPE {
        tn_tensor *x = tn_contiguous(a), *y = tn_contiguous(b);
        double *v = malloc((size_t)(2 * tn_numel(x) + 1) * sizeof *v), *w = v + tn_numel(x);
        assert_true(v && tn_read_f64(x, v) && tn_read_f64(y, w));
        for (int64_t i = 0; i < tn_numel(x); i++)
            most = fmax(most, fabs(v[i] - w[i]));
        free(v);
    }
    return most;
}

static void expect_same_bits(tn_tensor *a, tn_tensor *b, const char *what)
{
    assert_true(a && b && tn_same_shape(a, b));
    TN_SCOPE {
        tn_tensor *x = tn_contiguous(a), *y = tn_contiguous(b);
        if (memcmp(tn_data(x), tn_data(y), (size_t)tn_numel(x) * sizeof(float)))
            fail_msg("%s: other bits on %s", what, tn_isa());
    }
}

/* ---- what it computes ---- */

/* One head of one sequence, by other ops. */
static tn_tensor *composed(tn_tensor *q, tn_tensor *k, tn_tensor *v, bool causal)
{
    const int64_t m = tn_dim(q, 0), n = tn_dim(k, 0);
    tn_tensor *s = tn_mul_scalar(tn_matmul(q, k, .transpose_b = true), 1 / sqrt((double)tn_dim(q, 1)));
    if (causal) {
        tn_tensor *hidden = tn_full(0, TN_U8, TN_SHAPE(m, n));
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = n - m + i + 1; j < n; j++)
                tn_u8(hidden)[i * n + j] = 1;
        s = tn_where(hidden, tn_full(-INFINITY, q->dtype, TN_SCALAR), s);
    }
    return tn_matmul(tn_softmax(s, 1), v);
}

static void compare_with_composition(tn_dtype t, bool causal, double tolerance)
{
    enum { HEADS = 3, DIM = 8, WIDTH = HEADS * DIM };
    static const int64_t queries[] = {5, 1, 70}, keys[] = {7, 4, 90};
    tn_tensor *q = tn_want_grad(tn_cast(tn_randn(0, 1, TN_SHAPE(76, WIDTH)), t));
    tn_tensor *kv = tn_want_grad(tn_cast(tn_randn(0, 1, TN_SHAPE(101, 2 * WIDTH)), t)), *part[3 * HEADS];
    int64_t at = 0, kv_at = 0;
    for (int s = 0; s < 3; at += queries[s], kv_at += keys[s], s++) {
        tn_tensor *head[HEADS];
        for (int h = 0; h < HEADS; h++) {
            tn_tensor *a = tn_slice(rows(q, at, at + queries[s]), 1, h * DIM, (h + 1) * DIM, 1);
            tn_tensor *b = rows(kv, kv_at, kv_at + keys[s]);
            head[h] = composed(a, tn_slice(b, 1, h * DIM, (h + 1) * DIM, 1),
                               tn_slice(b, 1, WIDTH + h * DIM, WIDTH + (h + 1) * DIM, 1), causal);
        }
        part[s] = tn_concat(HEADS, head, 1);
    }
    tn_tensor *want = tn_concat(3, part, 0);
    tn_tensor *got = tn_attention(q, kv, spans_of(3, queries), spans_of(3, keys), .heads = HEADS, .causal = causal);
    tn_tensor *g = tn_cast(tn_randn(0, 1, TN_SHAPE(76, WIDTH)), t);
    assert_true(worst(got, want) < tolerance);
    assert_true(tn_backward_from(want, g));
    tn_tensor *dq = tn_like(q), *dkv = tn_like(kv);
    assert_true(tn_copy_(dq, q->grad) && tn_copy_(dkv, kv->grad));
    tn_zero_grad(q);
    tn_zero_grad(kv);
    assert_true(tn_backward_from(got, g));
    assert_true(worst(q->grad, dq) < 3 * tolerance && worst(kv->grad, dkv) < 3 * tolerance);
}

static void is_a_softmax_between_products(void)
{
    for (int causal = 0; causal < 2; causal++) {
        compare_with_composition(TN_F32, causal, 2e-6);
        compare_with_composition(TN_F64, causal, 1e-14);
    }
}

static void rows_outside_are_zero(void)
{
    tn_tensor *x = tn_want_grad(tn_randn(0, 1, TN_SHAPE(9, 24)));
    tn_tensor *y = tn_attention(x, .spans = SPANS(2, 1, 3, 6, 2), .heads = 2);
    assert_true(tn_backward_from(y, tn_ones(TN_SHAPE(9, 8))));
    for (int i = 0; i < 9; i++) {
        const bool outside = i == 0 || i == 4 || i == 5 || i == 8;
        for (int k = 0; k < 8; k++)
            assert_true((tn_f32(y)[8 * i + k] == 0) == outside);
        for (int k = 16; k < 24; k++)
            assert_true((tn_f32(x->grad)[24 * i + k] == 0) == outside);
    }
}

static void queries_without_keys_give_zeros(void)
{
    tn_tensor *q = tn_want_grad(tn_randn(0, 1, TN_SHAPE(5, 4))), *kv = tn_want_grad(tn_randn(0, 1, TN_SHAPE(3, 8)));
    tn_anomaly(true);
    tn_tensor *y = tn_attention(q, kv, .heads = 1, .causal = true);
    assert_true(tn_backward_from(y, tn_ones(TN_SHAPE(5, 4))));
    tn_anomaly(false);
    for (int i = 0; i < 20; i++)
        assert_true((tn_f32(y)[i] == 0) == (i < 8) && (i >= 8 || tn_f32(q->grad)[i] == 0));
    /* the third query sees the first key alone */
    for (int k = 0; k < 4; k++)
        assert_true(tn_f32(y)[8 + k] == tn_f32(kv)[4 + k]);
}

static void large_scores_stay_finite(void)
{
    tn_tensor *x = tn_want_grad(tn_randn(0, 300, TN_SHAPE(40, 96)));
    tn_tensor *y = tn_attention(x, .heads = 2, .causal = true);
    assert_true(tn_backward_from(y, tn_ones(TN_SHAPE(40, 32))));
    for (int i = 0; i < 40 * 32; i++)
        assert_true(isfinite(tn_f32(y)[i]) && isfinite(tn_f32(x->grad)[i]));
}

/* ---- bits ---- */

/* Widths of heads: whole vectors of any instruction set, and not; lengths: one block of queries, and several. */
static void each_size(void (*check)(int64_t dim, bool causal))
{
    static const int64_t dim[] = {64, 16, 20, 5};
    for (int d = 0; d < 4; d++)
        for (int causal = 0; causal < 2; causal++)
            TN_SCOPE {
                check(dim[d], causal);
            }
}

static void compare_alone_and_in_batch(int64_t dim, bool causal)
{
    static const int64_t length[] = {25, 3, 130, 66, 1};
    const int64_t width = 2 * dim;
    tn_tensor *x = tn_randn(0, 1, TN_SHAPE(225, 3 * width)), *g = tn_randn(0, 1, TN_SHAPE(225, width));
    tn_tensor *leaf = tn_want_grad(tn_detach(x));
    tn_tensor *y = tn_attention(leaf, .spans = spans_of(5, length), .heads = 2, .causal = causal);
    assert_true(tn_backward_from(y, g));
    int64_t at = 0;
    for (int s = 0; s < 5; at += length[s], s++) {
        const int64_t end = at + length[s];
        tn_tensor *one = tn_want_grad(tn_detach(tn_contiguous(rows(x, at, end))));
        tn_tensor *z = tn_attention(one, .heads = 2, .causal = causal);
        assert_true(tn_backward_from(z, rows(g, at, end)));
        expect_same_bits(z, rows(y, at, end), "a sequence by itself");
        expect_same_bits(one->grad, rows(leaf->grad, at, end), "the gradient of a sequence by itself");
    }
}

static void a_sequence_is_the_same_in_any_batch(void) { each_size(compare_alone_and_in_batch); }

/* What decoding with cached keys does: the last queries against all keys so far. */
static void compare_step_by_step(int64_t dim, bool causal)
{
    const int64_t width = 2 * dim;
    static const int64_t cut[] = {1, 2, 7, 31, 64, 65, 140, 141};
    tn_tensor *x = tn_randn(0, 1, TN_SHAPE(141, 3 * width)), *y = tn_attention(x, .heads = 2, .causal = true);
    tn_tensor *q = columns(x, 0, width), *kv = columns(x, width, 3 * width);
    for (int i = 0; i < 8; i++)
        for (int64_t last = 1; last <= cut[i] && last < 8; last += 3)
            expect_same_bits(tn_attention(rows(q, cut[i] - last, cut[i]), rows(kv, 0, cut[i]), .heads = 2,
                                          .causal = causal || last > 1),
                             rows(y, cut[i] - last, cut[i]), "the last queries against cached keys");
}

static void a_query_is_the_same_by_itself(void) { each_size(compare_step_by_step); }

static void shared_keys_are_those_of_each(void)
{
    tn_tensor *q = tn_randn(0, 1, TN_SHAPE(6, 32)), *kv = tn_randn(0, 1, TN_SHAPE(20, 64));
    tn_tensor *y = tn_attention(q, kv, ROWS(1, 1, 1, 1, 1, 1), SPANS(6, 0, 9, 0, 9, 0, 9, 9, 11, 9, 11, 9, 11),
                                .heads = 2);
    tn_tensor *z = tn_attention(q, kv, ROWS(3, 3), ROWS(9, 11), .heads = 2);
    expect_same_bits(y, z, "lines that share their keys");
}

static void threads_do_not_show(void)
{
    tn_tensor *x = tn_randn(0, 1, TN_SHAPE(480, 96)), *g = tn_randn(0, 1, TN_SHAPE(480, 32)), *y[3], *dx[3];
    tn_tensor *spans = tn_empty(TN_I64, TN_SHAPE(40, 2));
    for (int i = 0; i < 40; i++) {
        tn_i64(spans)[2 * i] = 12 * i;
        tn_i64(spans)[2 * i + 1] = 1 + i * 5 % 12;
    }
    for (int t = 0; t < 3; t++) {
        tn_set_threads(t + 1);
        tn_tensor *leaf = tn_want_grad(tn_detach(x));
        tn_seed(9);
        y[t] = tn_attention(leaf, .spans = spans, .heads = 4, .dropout = .2);
        assert_true(tn_backward_from(y[t], g));
        dx[t] = leaf->grad;
        expect_same_bits(y[t], y[0], "forward");
        expect_same_bits(dx[t], dx[0], "backward");
    }
    tn_set_threads(0);
}

/* ---- dropout ---- */

/* With scores that are all 0 and values that tell keys apart, y shows which of 32 keys were kept. */
static void dropout_drops_the_right_share(void)
{
    enum { ROWS_ = 400, KEYS = 32, HEADS = 2 };
    tn_tensor *q = tn_zeros(TN_SHAPE(ROWS_, HEADS * KEYS)), *kv = tn_zeros(TN_SHAPE(KEYS, 2 * HEADS * KEYS));
    for (int k = 0; k < KEYS; k++)
        for (int h = 0; h < HEADS; h++)
            tn_f32(kv)[(2 * HEADS * k + HEADS + h) * KEYS + k] = 1;
    const double p = .3;
    tn_seed(4);
    tn_tensor *y = tn_attention(q, kv, .heads = HEADS, .dropout = p);
    int kept[HEADS] = {0}, alike = 0;
    for (int r = 0; r < ROWS_; r++)
        for (int k = 0; k < KEYS; k++) {
            const float *at = tn_f32(y) + (int64_t)r * HEADS * KEYS + k;
            for (int h = 0; h < HEADS; h++) {
                const double v = (double)at[h * KEYS];
                assert_true(v == 0 || fabs(v - 1 / (KEYS * (1 - p))) < 1e-7);
                kept[h] += v > 0;
            }
            alike += (at[0] > 0) == (at[KEYS] > 0);
        }
    for (int h = 0; h < HEADS; h++) /* 12800 draws: a standard deviation is 0.004 */
        assert_true(fabs((double)kept[h] / (ROWS_ * KEYS) - (1 - p)) < .017);
    assert_true(fabs((double)alike / (ROWS_ * KEYS) - (p * p + (1 - p) * (1 - p))) < .018); /* heads draw apart */
}

static void dropout_counts_one_op(void)
{
    tn_tensor *x = tn_randn(0, 1, TN_SHAPE(6, 24));
    static const double p[] = {0, .5, 1};
    for (int i = 0; i < 3; i++) {
        tn_seed(7);
        tn_tensor *y = tn_want_grad(tn_detach(x));
        assert_true(tn_backward_from(tn_attention(y, .heads = 2, .dropout = p[i]), tn_ones(TN_SHAPE(6, 8))));
        assert_int_equal(tn_rng_state().step, 1);
    }
}

/* ---- the layer ---- */

static void the_layer_is_projections_around_attention(void)
{
    tn_module *m = tn_multihead_attention(12, 3, .causal = true);
    tn_tensor *x = tn_randn(0, 1, TN_SHAPE(9, 12)), *source = tn_randn(0, 1, TN_SHAPE(11, 12));
    tn_tensor *spans = ROWS(4, 5), *source_spans = ROWS(6, 5);
    tn_tensor *w = &tn_find_param(m, "in_proj_weight")->t, *b = &tn_find_param(m, "in_proj_bias")->t;
    tn_tensor *ow = &tn_find_param(m, "out_proj.weight")->t, *ob = &tn_find_param(m, "out_proj.bias")->t;
    assert_true(tn_copy_(b, tn_randn(0, 1, TN_SHAPE(36))));
    TN_NO_GRAD {
        tn_tensor *y = tn_attention(tn_affine(x, w, b), .spans = spans, .heads = 3, .causal = true);
        expect_same_bits(tn_forward(m, x, spans), tn_affine(y, ow, ob), "self-attention");
        expect_same_bits(tn_forward(m, rows(x, 0, 4)), rows(tn_affine(y, ow, ob), 0, 4), "one sequence");
        tn_tensor *q = tn_affine(x, rows(w, 0, 12), rows(b, 0, 12)),
                  *kv = tn_affine(source, rows(w, 12, 36), rows(b, 12, 36));
        y = tn_affine(tn_attention(q, kv, spans, source_spans, .heads = 3, .causal = true), ow, ob);
        expect_same_bits(tn_forward(m, x, spans, source, source_spans), y, "attention to a source");
        assert_true(worst(tn_forward(m, x, spans, x, spans), tn_forward(m, x, spans)) < 1e-6);
    }
    assert_ok();
    assert_null(tn_forward(m, source_spans));
    expect_error(TN_ESHAPE, "multihead_attention: input [2,2] is not [rows,12]");
    assert_null(tn_forward(m, x, spans, spans));
    expect_error(TN_ESHAPE, "multihead_attention: source [2,2] is not [rows,12]");
    tn_free(m);
}

static void the_layer_drops_in_training_alone(void)
{
    tn_module *m = tn_multihead_attention(8, 2, .dropout = .5);
    tn_tensor *x = tn_randn(0, 1, TN_SHAPE(9, 8));
    const tn_rng before = tn_rng_state();
    TN_NO_GRAD {
        tn_tensor *one = tn_forward(m, x), *two = tn_forward(m, x);
        assert_true(worst(one, two) > 1e-3);
        assert_int_equal(tn_rng_state().step, before.step + 2);
        tn_eval(m);
        expect_same_bits(tn_forward(m, x), tn_forward(m, x), "evaluation");
        assert_int_equal(tn_rng_state().step, before.step + 2);
    }
    tn_free(m);
}

static void expect_start(tn_module *m, const char *path, int ndim, const int64_t *shape, double bound)
{
    tn_param *p = tn_find_param(m, path);
    double least = 0, most = 0;
    assert_non_null(p);
    assert_true(p->t.ndim == ndim && !memcmp(p->t.shape, shape, (size_t)ndim * sizeof *shape));
    for (int64_t i = 0; i < tn_numel(&p->t); i++) {
        least = fmin(least, (double)tn_f32(&p->t)[i]);
        most = fmax(most, (double)tn_f32(&p->t)[i]);
    }
    assert_true(least >= -bound * 1.000001 && least <= -.98 * bound);
    assert_true(most <= bound * 1.000001 && most >= .98 * bound);
}

static void the_layer_starts_as_pytorchs(void)
{
    enum { DIM = 64 };
    tn_module *m = tn_multihead_attention(DIM, 4);
    expect_start(m, "in_proj_weight", TN_SHAPE(3 * DIM, DIM), sqrt(6. / (4 * DIM)));
    expect_start(m, "in_proj_bias", TN_SHAPE(3 * DIM), 0);
    expect_start(m, "out_proj.weight", TN_SHAPE(DIM, DIM), sqrt(6. / (2 * DIM)));
    expect_start(m, "out_proj.bias", TN_SHAPE(DIM), 0);
    assert_int_equal(tn_param_count(m), 4 * DIM * DIM + 4 * DIM);
    tn_free(m);
    assert_null(tn_multihead_attention(8, 3));
    expect_error(TN_EARG, "multihead_attention: 3 heads do not divide 8 columns");
    assert_null(tn_multihead_attention(INT64_MAX, 1));
    expect_error(TN_EARG, "multihead_attention: 1 heads");
    assert_null(tn_multihead_attention(8, 2, .dropout = NAN));
    expect_error(TN_EARG, "is not a probability");
}

/* ---- PyTorch ---- */

static double unit(uint64_t stream, uint64_t index)
{
    uint64_t z = (stream << 32) + index + 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return (double)((z ^ z >> 31) >> 40) * 0x1p-23 - 1;
}

static tn_tensor *units(uint64_t stream, tn_tensor *t)
{
    for (int64_t i = 0; i < tn_numel(t); i++)
        tn_f32(t)[i] = (float)unit(stream, (uint64_t)i);
    return t;
}

static void expect_pytorch(const json_t *test, const char *name, tn_tensor *got)
{
    const json_t *want = json_object_get(json_object_get(test, "results"), name),
                 *values = json_object_get(want, "values");
    const double gap = json_number_value(json_object_get(want, "float32_max_abs_diff"));
    assert_non_null(got);
    assert_int_equal(json_array_size(values), tn_numel(got));
    for (int64_t i = 0; i < tn_numel(got); i++) {
        const double v = json_number_value(json_array_get(values, (size_t)i));
        if (!(fabs((double)tn_f32(got)[i] - v) <= 5 * gap + 1e-6))
            fail_msg("%s, %s: element %d is %.9g, PyTorch's %.9g", json_string_value(json_object_get(test, "name")),
                     name, (int)i, (double)tn_f32(got)[i], v);
    }
}

static tn_tensor *json_spans(const json_t *lengths)
{
    int64_t n[8];
    const size_t count = json_array_size(lengths);
    assert_true(count > 0 && count <= 8);
    for (size_t i = 0; i < count; i++)
        n[i] = json_integer_value(json_array_get(lengths, i));
    return spans_of((int)count, n);
}

static int64_t rows_in(tn_tensor *spans)
{
    const int64_t *last = tn_i64(spans) + 2 * (tn_dim(spans, 0) - 1);
    return last[0] + last[1];
}

static void run_pytorch_case(const json_t *test)
{
    static const char *const params[] = {"in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"};
    const int64_t dim = json_integer_value(json_object_get(test, "dim"));
    tn_module *m = tn_multihead_attention(dim, (int)json_integer_value(json_object_get(test, "heads")),
                                          .causal = json_is_true(json_object_get(test, "causal")));
    for (uint64_t i = 0; i < 4; i++)
        units(i + 1, &tn_find_param(m, params[i])->t);
    tn_tensor *spans = json_spans(json_object_get(test, "rows"));
    tn_tensor *x = tn_want_grad(units(5, tn_empty(TN_F32, TN_SHAPE(rows_in(spans), dim)))), *source = NULL, *y;
    if (json_object_get(test, "source_rows")) {
        tn_tensor *source_spans = json_spans(json_object_get(test, "source_rows"));
        source = tn_want_grad(units(6, tn_empty(TN_F32, TN_SHAPE(rows_in(source_spans), dim))));
        y = tn_forward(m, x, spans, source, source_spans);
    } else {
        y = tn_forward(m, x, spans);
    }
    assert_true(tn_backward_from(y, units(7, tn_like(y))));
    expect_pytorch(test, "y", y);
    expect_pytorch(test, "x", x->grad);
    if (source)
        expect_pytorch(test, "source", source->grad);
    for (int i = 0; i < 4; i++)
        expect_pytorch(test, params[i], tn_find_param(m, params[i])->t.grad);
    tn_free(m);
}

static void the_layer_has_pytorchs_numbers(void)
{
    json_t *all = json_load_file(TN_SOURCE_DIR "/tests/parity/attention.json", 0, NULL), *cases;
    assert_non_null(all);
    cases = json_object_get(all, "cases");
    assert_true(json_array_size(cases) > 0);
    for (size_t i = 0; i < json_array_size(cases); i++)
        TN_SCOPE {
            run_pytorch_case(json_array_get(cases, i));
        }
    json_decref(all);
}

/* ---- integers of sequences ---- */

static void expect_integers(tn_tensor *t, int n, const int64_t *want)
{
    assert_true(t && t->dtype == TN_I64 && tn_numel(t) == n);
    assert_memory_equal(tn_i64(t), want, (size_t)n * sizeof *want);
}

static void sequences_are_shifted_and_counted(void)
{
    tn_tensor *x = tn_from_i64((const int64_t[]){4, 5, 6, 7, 8, 9, 10, 2}, TN_SHAPE(8));
    tn_tensor *spans = SPANS(4, 0, 3, 4, 3, 3, 0, 7, 1); /* row 3 is outside */
    expect_integers(tn_shift(x, spans, 2), 8, (const int64_t[]){2, 4, 5, 7, 2, 8, 9, 2});
    expect_integers(tn_shift(tn_cast(x, TN_I32), tn_cast(spans, TN_I32), -1), 8,
                    (const int64_t[]){-1, 4, 5, 7, -1, 8, 9, -1});
    expect_integers(tn_positions(spans, 8), 8, (const int64_t[]){0, 1, 2, 0, 0, 1, 2, 0});
    expect_integers(tn_positions(SPANS(1, 0, 0), 0), 0, (const int64_t[]){0});
}

/* ---- no memory ---- */

static void running_out_of_memory_is_an_error(void)
{
    tn_tensor *x = tn_randn(0, 1, TN_SHAPE(9, 24)), *spans = ROWS(4, 5), *g = tn_ones(TN_SHAPE(9, 8));
    bool ok = false;
    for (long n = 0; !ok; n++)
        TN_SCOPE {
            tn_tensor *leaf = tn_want_grad(tn_detach(x));
            tn__fail_alloc_after(n);
            ok = tn_backward_from(tn_attention(leaf, .spans = spans, .heads = 2), g) &&
                 tn_positions(spans, 9) && tn_shift(tn_positions(spans, 9), spans, 1);
            tn__fail_alloc_after(-1);
            if (!ok)
                expect_error(TN_ENOMEM, "out of memory");
            assert_true(n < 1000);
        }
}

#define TESTS(X)                                                                                       \
    X(is_a_softmax_between_products) X(rows_outside_are_zero) X(queries_without_keys_give_zeros)       \
    X(large_scores_stay_finite) X(a_sequence_is_the_same_in_any_batch) X(a_query_is_the_same_by_itself) \
    X(shared_keys_are_those_of_each) X(threads_do_not_show) X(dropout_drops_the_right_share)           \
    X(dropout_counts_one_op) X(the_layer_is_projections_around_attention)                              \
    X(the_layer_drops_in_training_alone) X(the_layer_starts_as_pytorchs) X(the_layer_has_pytorchs_numbers) \
    X(sequences_are_shifted_and_counted) X(running_out_of_memory_is_an_error)

#define TEST(name)                         \
    static void test_##name(void **state)  \
    {                                      \
        (void)state;                       \
        on_each_isa(name);                 \
    }
TESTS(TEST)

int main(void)
{
#define ROW(name) cmocka_unit_test(test_##name),
    const struct CMUnitTest tests[] = {TESTS(ROW)};
    return cmocka_run_group_tests_name("attention", tests, quiet_errors, NULL);
}
