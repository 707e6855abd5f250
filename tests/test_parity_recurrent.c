/* Recurrent layers and the adaptive softmax against PyTorch: from the same weights and inputs the same outputs, last
 * states and gradients, under the same names.  tests/parity/recurrent.py wrote the references. */
#include "parity.h"

static const char *about; /* the case, for messages */

/* Stream `stream` of "formula". */
static tn_tensor *units(uint64_t stream, tn_tensor *t)
{
    float *x = tn_f32(t);
    for (int64_t i = 0; i < tn_numel(t); i++)
        x[i] = (float)(splitmix64((stream << 32) + (uint64_t)i) >> 40) * 0x1p-23f - 1;
    return t;
}

static bool is_set(const json_t *object, const char *key) { return json_is_true(json_object_get(object, key)); }

static void expect(const json_t *test, const char *name, tn_tensor *got)
{
    const json_t *want = json_object_get(json_object_get(test, "results"), name);
    const json_t *values = json_object_get(want, "values");
    if (!want || !got)
        fail_msg("%s: %s is not %s", about, name, want ? "here" : "in PyTorch");
    got = tn_contiguous(got);
    assert_int_equal(json_array_size(values), tn_numel(got));
    const double gap = number(want, "float32_max_abs_diff");
    for (int64_t i = 0; i < tn_numel(got); i++) {
        const double v = json_number_value(json_array_get(values, (size_t)i)), x = (double)tn_f32(got)[i];
        if (!(fabs(x - v) <= SLACK_FIVE * gap + 1e-6))
            fail_msg("%s: %s: element %d is %.9g, PyTorch's %.9g", about, name, (int)i, x, v);
    }
}

static bool fill_one(void *stream, const char *path, tn_param *p)
{
    (void)path;
    units((*(uint64_t *)stream)++, &p->t);
    return true;
}

static bool expect_one(void *test, const char *path, tn_param *p)
{
    TN_SCOPE {
        expect(test, path, p->t.grad ? p->t.grad : tn_zeros_like(&p->t));
    }
    return true;
}

static void fill(tn_module *m)
{
    uint64_t stream = 100;
    assert_true(m && tn_each_param(m, fill_one, &stream));
}

/* ---- layers ---- */

static tn_module *layer_of(const json_t *test)
{
    const char *kind = json_string_value(json_object_get(test, "kind"));
    const tn_recurrent_args a = {
        .in = integer(json, "ins"), .hidden = integer(json, "hidden"), .layers = (int)integer(json, "layers"),
        .bidirectional = is_set(test, "bidirectional"), .no_bias = is_set(test, "no_bias"),
        .relu = is_set(test, "relu")};
    return *kind == 'l' ? tn_lstm_call(a) : *kind == 'g' ? tn_gru_call(a) : tn_rnn_call(a);
}

static tn_tensor *lengths_of(const json_t *test)
{
    const json_t *list = json_object_get(test, "lengths");
    tn_tensor *t = list ? tn_empty(TN_I64, TN_SHAPE((int64_t)json_array_size(list))) : NULL;
    for (size_t i = 0; t && i < json_array_size(list); i++)
        tn_i64(t)[i] = json_integer_value(json_array_get(list, i));
    return t;
}

/* sum(t * its stream) added to loss */
static tn_tensor *weighed(tn_tensor *loss, uint64_t stream, tn_tensor *t)
{
    tn_tensor *sum = tn_sum(tn_mul(t, units(stream, tn_empty(TN_F32, t->ndim, t->shape))), TN_ALL, false);
    return loss ? tn_add(loss, sum) : sum;
}

static void one_layer(json_t *test)
{
    const int64_t steps = integer(json, "steps"), batch = integer(json, "batch"), hidden = integer(json, "hidden");
    const int64_t cells = integer(json, "layers") * (is_set(test, "bidirectional") ? 2 : 1);
    const bool has_c = *json_string_value(json_object_get(test, "kind")) == 'l', from = is_set(test, "state");
    tn_module *m = layer_of(test);
    fill(m);
    tn_tensor *x = tn_want_grad(units(1, tn_empty(TN_F32, TN_SHAPE(steps, batch, integer(json, "ins")))));
    tn_state first = {NULL, NULL};
    if (from)
        first.h = tn_want_grad(units(2, tn_empty(TN_F32, TN_SHAPE(cells, batch, hidden))));
    if (from && has_c)
        first.c = tn_want_grad(units(3, tn_empty(TN_F32, TN_SHAPE(cells, batch, hidden))));
    tn_state last = first;
    tn_tensor *y = tn_recurrent(m, x, &last, lengths_of(test)), *loss;
    assert_ok();
    expect(test, "y", y);
    expect(test, "last h", last.h);
    loss = weighed(weighed(NULL, 4, y), 5, last.h);
    if (has_c) {
        expect(test, "last c", last.c);
        loss = weighed(loss, 6, last.c);
    }
    assert_true(tn_backward(loss));
    expect(test, "x", x->grad);
    if (from)
        expect(test, "first h", first.h->grad);
    if (first.c)
        expect(test, "first c", first.c->grad);
    assert_true(tn_each_param(m, expect_one, test));
    tn_free(m);
}

static void each_case(const char *list, void (*one)(json_t *test))
{
    const json_t *cases = json_object_get(json, list);
    assert_true(json_array_size(cases) > 0);
    for (size_t i = 0; i < json_array_size(cases); i++)
        TN_SCOPE {
            char text[64];
            snprintf(text, sizeof text, "%s, case %d", list, (int)i);
            about = text;
            one(json_array_get(cases, i));
            assert_ok();
        }
}

static void test_layers(void **state)
{
    (void)state;
    each_case("cases", one_layer);
}

/* ---- adaptive softmax ---- */

static void expect_classes(const json_t *test, tn_tensor *got)
{
    const json_t *values = json_object_get(json_object_get(json_object_get(test, "results"), "predicted"), "values");
    assert_true(got && got->dtype == TN_I64);
    assert_int_equal(json_array_size(values), tn_numel(got));
    for (int64_t i = 0; i < tn_numel(got); i++)
        assert_int_equal(tn_i64(got)[i], (int64_t)json_number_value(json_array_get(values, (size_t)i)));
}

static void one_softmax(json_t *test)
{
    const json_t *cutoffs = json_object_get(test, "cutoffs");
    const int64_t rows = integer(test, "rows");
    tn_adaptive_softmax_args a = {.in = integer(test, "ins"), .classes = integer(test, "classes"),
                                  .div = number(test, "div"), .head_bias = is_set(test, "head_bias")};
    for (size_t i = 0; i < json_array_size(cutoffs); i++)
        a.cutoffs[i] = json_integer_value(json_array_get(cutoffs, i));
    tn_module *m = tn_adaptive_softmax_call(a);
    fill(m);
    tn_tensor *x = tn_want_grad(units(1, tn_empty(TN_F32, TN_SHAPE(rows, a.in))));
    tn_tensor *target = tn_empty(TN_I64, TN_SHAPE(rows));
    const uint64_t below = (uint64_t)integer(test, "targets");
    for (int64_t i = 0; i < rows; i++)
        tn_i64(target)[i] = (int64_t)(splitmix64((UINT64_C(7) << 32) + (uint64_t)i) % below);
    tn_tensor *loss = tn_adaptive_loss(m, x, target);
    expect(test, "loss", loss);
    assert_true(tn_backward(loss));
    expect(test, "x", x->grad);
    assert_true(tn_each_param(m, expect_one, test));
    expect(test, "log_probs", tn_adaptive_log_probs(m, x));
    expect_classes(test, tn_adaptive_predict(m, x));
    tn_free(m);
}

static void test_adaptive_softmax(void **state)
{
    (void)state;
    each_case("softmaxes", one_softmax);
}

static int load(void **state) { return load_json(state, "recurrent.json"); }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layers),
        cmocka_unit_test(test_adaptive_softmax),
    };
    return cmocka_run_group_tests_name("parity of recurrent layers", tests, load, drop_json);
}
