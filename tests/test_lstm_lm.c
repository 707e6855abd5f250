/* Recurrent language models: sizes and beginnings, that chunks with a carried state are one long text bit for bit, that
 * gradients are right through dropout and both softmaxes, and what is refused.  PyTorch's numbers:
 * test_parity_lstm_lm.c. */
#include "check.h"
#include "internal.h"

#include <math.h>
#include <stdlib.h>

enum { WORDS = 30, T = 6, B = 3, KINDS = 3 };

static tn_lstm_lm_args settings(int kind)
{
    tn_lstm_lm_args a = {.words = WORDS, .dim = 8, .hidden = 8, .layers = 2};
    if (kind == 0)
        a.cutoffs[0] = 9, a.cutoffs[1] = 20, a.hidden = 20;
    a.tied = kind == 1;
    return a;
}

static tn_module *small(int kind, double dropout)
{
    tn_lstm_lm_args a = settings(kind);
    a.dropout = dropout;
    tn_seed(11);
    tn_module *net = tn_lstm_lm_call(a);
    assert_non_null(net);
    return net;
}

/* Steps from..to-1 of rows r.. of a text. */
static tn_tensor *text(int64_t from, int64_t to, int64_t row, int64_t rows)
{
    tn_tensor *x = tn_empty(TN_I32, TN_SHAPE(to - from, rows));
    for (int64_t t = from; t < to; t++)
        for (int64_t r = 0; r < rows; r++)
            tn_i32(x)[(t - from) * rows + r] = (int32_t)((t * 7 + (row + r) * 11 + t * t) % WORDS);
    return x;
}

static tn_tensor *loss_of(tn_module *net, int chunk, tn_state *state)
{
    return tn_lm_loss(net, text(chunk * T, chunk * T + T, 0, B), text(chunk * T + 1, chunk * T + T + 1, 0, B), state);
}

/* ---- how large, how it starts ---- */

/* Rows times columns of all that model.h lists. */
static int64_t count(const tn_lstm_lm_args *a)
{
    int64_t n = a->words * a->dim, end = a->cutoffs[0], clusters = 0;
    for (int k = 0; k < a->layers; k++)
        n += 4 * a->hidden * ((k ? a->hidden : a->dim) + a->hidden) + 8 * a->hidden;
    while (a->cutoffs[clusters])
        clusters++;
    if (!clusters)
        return n + (a->tied ? 0 : a->words * a->hidden);
    n += (end + clusters) * (a->hidden + 1);
    for (int64_t i = 0, columns = a->hidden / 4; i < clusters; i++, columns /= 4) {
        const int64_t next = i + 1 < clusters ? a->cutoffs[i + 1] : a->words;
        n += columns * (a->hidden + next - a->cutoffs[i]);
    }
    return n;
}

static void test_sizes(void **state)
{
    (void)state;
    const tn_lstm_lm_args paper = {.words = 640000, .dim = 300, .hidden = 2048, .layers = 2,
                                   .cutoffs = {4000, 40000, 200000}};
    assert_int_equal(count(&paper), 307392419);
    for (int kind = 0; kind < KINDS; kind++) {
        const tn_lstm_lm_args a = settings(kind);
        tn_module *net = small(kind, 0);
        assert_int_equal(tn_param_count(net), count(&a));
        tn_free(net);
    }
    tn_module *net = tn_model_named(&(tn_model_spec){.name = "lstm_lm", .classes = 5, .lstm_lm = {.words = 9}});
    const tn_lstm_lm_args *a = tn_lstm_lm_settings(net);
    assert_true(a && a->words == 5 && a->dim == 300 && a->hidden == 2048 && a->layers == 2 && a->dropout == 0);
    assert_int_equal(tn_param_count(net), count(a));
    tn_free(net);
    net = tn_linear(1, 1);
    assert_null(tn_lstm_lm_settings(net));
    assert_null(tn_lstm_lm_settings(NULL));
    tn_free(net);
    assert_ok();
}

/* All of it within the bound, and filling it; of a normal distribution by its deviation. */
static void expect_even(tn_module *net, const char *path, double bound)
{
    tn_param *p = tn_find_param(net, path);
    assert_non_null(p);
    double most = 0;
    for (int64_t i = 0; i < tn_numel(&p->t); i++)
        most = fmax(most, fabs((double)tn_f32(&p->t)[i]));
    if (!(most <= bound * (1 + 1e-6) && most > .9 * bound))
        fail_msg("%s reaches %g, not %g", path, most, bound);
}

static void expect_normal(tn_module *net, const char *path, double std)
{
    tn_param *p = tn_find_param(net, path);
    assert_non_null(p);
    double squares = 0;
    const double n = (double)tn_numel(&p->t);
    for (int64_t i = 0; i < tn_numel(&p->t); i++)
        squares += pow((double)tn_f32(&p->t)[i], 2);
    if (!(fabs(sqrt(squares / n) / std - 1) < 4 / sqrt(2 * n)))
        fail_msg("%s has deviation %g, not %g", path, sqrt(squares / n), std);
}

static void test_it_starts_as_the_authors(void **state)
{
    (void)state;
    tn_seed(1);
    tn_module *net = tn_lstm_lm(400, .dim = 30, .hidden = 64, .cutoffs = {50, 150});
    expect_even(net, "encoder.weight", sqrt(3 / 30.0));
    expect_even(net, "rnn.weight_ih_l0", sqrt(6 / (64 + 30.0)));
    expect_even(net, "rnn.weight_hh_l0", sqrt(6 / 128.0));
    expect_even(net, "rnn.weight_ih_l1", sqrt(6 / 128.0));
    expect_even(net, "decoder.head.bias", 1 / sqrt(64));
    expect_normal(net, "decoder.head.weight", sqrt(2 / (52 + 64.0)));
    expect_normal(net, "decoder.tail.0.0.weight", sqrt(2 / (16 + 64.0)));
    expect_normal(net, "decoder.tail.0.1.weight", sqrt(2 / (100 + 16.0)));
    expect_normal(net, "decoder.tail.1.1.weight", sqrt(2 / (250 + 4.0)));
    static const char *const biases[] = {"rnn.bias_ih_l0", "rnn.bias_hh_l0", "rnn.bias_ih_l1", "rnn.bias_hh_l1"};
    for (int k = 0; k < 4; k++)
        for (int i = 0; i < 4 * 64; i++)
            assert_true(tn_f32(&tn_find_param(net, biases[k])->t)[i] == (i >= 64 && i < 128));
    tn_free(net);
    net = tn_lstm_lm(400, .dim = 30, .hidden = 64, .init = .05);
    expect_even(net, "encoder.weight", .05);
    expect_even(net, "rnn.bias_hh_l1", .05);
    expect_even(net, "decoder.weight", .05);
    tn_free(net);
    net = tn_lstm_lm(400, .dim = 30, .hidden = 30, .tied = true);
    expect_even(net, "encoder.weight", sqrt(3 / 30.0));
    assert_null(tn_find_module(net, "decoder"));
    tn_free(net);
    assert_ok();
}

/* ---- chunks ---- */

static void same_bits(tn_tensor *a, tn_tensor *b)
{
    assert_true(a && b && tn_same_shape(a, b));
    a = tn_contiguous(a), b = tn_contiguous(b);
    assert_memory_equal(tn_f32(a), tn_f32(b), (size_t)tn_numel(a) * sizeof(float));
}

/* A text in one piece, in pieces of any length, and each row by itself: the same bits. */
static void test_a_carried_state_is_one_long_text(void **state)
{
    enum { ALL = 12 };
    static const int64_t cuts[][5] = {{0, ALL}, {0, 4, 8, ALL}, {0, 1, 2, 7, ALL}};
    (void)state;
    for (int kind = 0; kind < KINDS; kind++)
        TN_SCOPE {
            tn_module *net = small(kind, .3);
            tn_eval(net);
            tn_tensor *whole = tn_forward(net, text(0, ALL, 0, B));
            assert_ok();
            for (int k = 0; k < 3; k++)
                for (int64_t row = -1; row < B; row++) { /* -1: all rows */
                    const int64_t from = row < 0 ? 0 : row, rows = row < 0 ? B : 1;
                    tn_state at = tn_lm_state(net, rows);
                    for (int i = 0; i == 0 || cuts[k][i] < ALL; i++) {
                        tn_tensor *next = tn_lm_next(net, text(cuts[k][i], cuts[k][i + 1], from, rows), &at);
                        tn_tensor *want = tn_slice(tn_slice(whole, 0, cuts[k][i + 1] - 1, cuts[k][i + 1], 1), 1, from,
                                                   from + rows, 1);
                        same_bits(next, tn_reshape(want, TN_SHAPE(rows, WORDS)));
                    }
                }
            tn_free(net);
        }
    assert_ok();
}

static void test_loss_is_that_of_the_probabilities(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS; kind++)
        TN_SCOPE {
            tn_module *net = small(kind, 0);
            tn_tensor *loss = loss_of(net, 0, NULL);
            tn_tensor *logs = tn_reshape(tn_forward(net, text(0, T, 0, B)), TN_SHAPE(T * B, WORDS));
            tn_tensor *nll = tn_nll(logs, tn_reshape(text(1, T + 1, 0, B), TN_SHAPE(T * B)));
            assert_ok();
            assert_true(fabs(tn_item(loss) - tn_item(nll)) < 1e-5);
            tn_state at = tn_lm_state(net, B);
            assert_true(tn_item(loss_of(net, 0, &at)) == tn_item(loss));
            assert_true(tn_item(loss_of(net, 0, &at)) != tn_item(loss)); /* from another state */
            assert_false(at.h->requires_grad || at.c->requires_grad);
            tn_free(net);
        }
    assert_ok();
}

/* Dropout is in training alone, and only there random numbers are drawn. */
static void test_dropout(void **state)
{
    tn_module *net = small(0, .4);
    (void)state;
    TN_SCOPE {
        tn_seed(5);
        const double one = tn_item(loss_of(net, 0, NULL)), other = tn_item(loss_of(net, 0, NULL));
        tn_seed(5);
        assert_true(one != other && tn_item(loss_of(net, 0, NULL)) == one);
        tn_eval(net);
        const tn_rng before = tn_rng_state();
        const double plain = tn_item(loss_of(net, 0, NULL));
        assert_true(plain != one && tn_item(loss_of(net, 0, NULL)) == plain);
        assert_true(tn_rng_state().step == before.step);
    }
    tn_free(net);
    assert_ok();
}

/* ---- gradients: along themselves the loss rises by their length ---- */

typedef struct move {
    double squares, step;
} move;

static bool add_squares(void *arg, const char *path, tn_param *p)
{
    move *m = arg;
    const float *g = tn_f32(p->t.grad);
    (void)path;
    for (int64_t i = 0; g && i < tn_numel(&p->t); i++)
        m->squares += (double)g[i] * (double)g[i];
    return g;
}

static bool move_one(void *arg, const char *path, tn_param *p)
{
    const move *m = arg;
    float *x = tn_f32(&p->t), *g = tn_f32(p->t.grad);
    (void)path;
    for (int64_t i = 0; i < tn_numel(&p->t); i++)
        x[i] += (float)(m->step * (double)g[i]);
    return true;
}

/* Of chunk 1, from a state that stays as it is. */
static tn_tensor *second_loss(tn_module *net, const tn_state *from)
{
    tn_state at = {tn_like(from->h), tn_like(from->c)};
    assert_true(tn_copy_(at.h, from->h) && tn_copy_(at.c, from->c));
    tn_seed(5); /* the same masks */
    return loss_of(net, 1, &at);
}

static double loss_after(tn_module *net, const tn_state *from, double step)
{
    move m = {.step = step};
    double loss = 0;
    tn_each_param(net, move_one, &m);
    TN_SCOPE TN_NO_GRAD {
        loss = tn_item(second_loss(net, from));
    }
    return loss;
}

static void test_gradients_by_differences(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS; kind++)
        for (int drops = 0; drops < 2; drops++)
            TN_SCOPE {
                tn_module *net = small(kind, drops ? .3 : 0);
                tn_state from = tn_lm_state(net, B);
                move m = {.squares = 0};
                assert_true(tn_item(loss_of(net, 0, &from)) > 0);
                assert_true(tn_backward(second_loss(net, &from)) && tn_each_param(net, add_squares, &m));
                const double h = 2e-3 / sqrt(m.squares);
                const double above = loss_after(net, &from, h), below = loss_after(net, &from, -2 * h);
                const double slope = (above - below) / (2 * h);
                if (!(fabs(slope / m.squares - 1) < .01))
                    fail_msg("kind %d, dropout %d: slope %g, squared length of the gradient %g", kind, drops, slope,
                             m.squares);
                tn_free(net);
            }
    assert_ok();
}

/* ---- training ---- */

static bool copy_out(void *arg, const char *path, tn_param *p)
{
    float **at = arg;
    (void)path;
    memcpy(*at, tn_f32(&p->t), (size_t)tn_numel(&p->t) * sizeof(float));
    *at += tn_numel(&p->t);
    return true;
}

static float *after_training(int kind, int threads, int64_t *n)
{
    tn_set_threads(threads);
    tn_module *net = small(kind, .3);
    tn_optim *opt = tn_adam(net, .lr = 3e-2);
    TN_SCOPE {
        tn_state at = tn_lm_state(net, B);
        double first = 0, last = 0;
        for (int step = 0; step < 40; step++)
            TN_SCOPE {
                tn_tensor *loss = loss_of(net, step % 5, &at);
                last = tn_item(loss);
                first = step ? first : last;
                assert_true(tn_backward(loss) && tn_clip_norm(opt, 5) > 0 && tn_step(opt));
            }
        assert_true(last < first - .5); /* it learns */
    }
    *n = tn_param_count(net);
    float *weights = malloc((size_t)*n * sizeof *weights), *at = weights;
    assert_true(weights && tn_each_param(net, copy_out, &at));
    tn_free(opt, net);
    return weights;
}

static void test_same_bits_for_any_number_of_threads(void **state)
{
    const int before = tn_threads();
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        int64_t n;
        float *one = after_training(kind, 1, &n);
        for (int threads = 2; threads < 4; threads++) {
            float *more = after_training(kind, threads, &n);
            assert_memory_equal(one, more, (size_t)n * sizeof *one);
            free(more);
        }
        free(one);
    }
    tn_set_threads(before);
    assert_ok();
}

/* ---- what cannot be ---- */

#define REFUSED(call, code, words) \
    assert_null(call);             \
    expect_error(code, words)

static void test_settings_that_cannot_be(void **state)
{
    (void)state;
    REFUSED(tn_lstm_lm(0), TN_EARG, "lstm_lm: a dictionary of 0 words");
    REFUSED(tn_lstm_lm(1ll << 40), TN_EARG, "lstm_lm: a dictionary of 1099511627776 words");
    REFUSED(tn_lstm_lm(9, .dim = -1), TN_EARG, "embedding: 9 rows of -1");
    REFUSED(tn_lstm_lm(9, .dim = 4, .hidden = -1), TN_EARG, "lstm: 4 inputs and -1 hidden units");
    REFUSED(tn_lstm_lm(9, .dim = 4, .hidden = 4, .layers = 77), TN_EARG, "lstm: 77 layers");
    REFUSED(tn_lstm_lm(9, .dim = 4, .hidden = 4, .dropout = 1.5), TN_EARG, "lstm: 1.5 is not a probability");
    REFUSED(tn_lstm_lm(9, .dim = 4, .hidden = 4, .cutoffs = {9}), TN_EARG, "cutoff 9; they ascend and are below the 9");
    REFUSED(tn_lstm_lm(9, .dim = 4, .hidden = 4, .cutoffs = {3, 6}), TN_EARG, "4 columns divided by 4 2 times");
    REFUSED(tn_lstm_lm(9, .dim = 4, .hidden = 5, .tied = true), TN_EARG, "dim 4, hidden 5: tied is for one matrix");
    REFUSED(tn_lstm_lm(9, .dim = 4, .hidden = 4, .cutoffs = {3}, .tied = true), TN_EARG, "4, cutoffs: tied");
    REFUSED(tn_lstm_lm(9, .dim = 4, .hidden = 4, .init = NAN), TN_EARG, "+-nan");
}

static void test_inputs_that_cannot_be(void **state)
{
    tn_module *net = small(0, 0), *full = small(2, 0), *other = tn_linear(3, 4);
    (void)state;
    TN_SCOPE {
        tn_tensor *x = text(0, T, 0, B), *y = text(1, T + 1, 0, B);
        tn_state at = tn_lm_state(net, B), none = {NULL, NULL}, half = {at.h, NULL};
        tn_fill_(at.h, .5);
        REFUSED(tn_lm_loss(net, x, text(1, T, 0, B), &at), TN_ESHAPE, "lm_loss: words [6,3] and [5,3] that follow");
        REFUSED(tn_lm_loss(net, tn_reshape(x, TN_SHAPE(T * B)), tn_reshape(y, TN_SHAPE(T * B)), &at), TN_ESHAPE,
                "lstm_lm: words [18] are not [T,B]");
        REFUSED(tn_lm_loss(other, x, y, &at), TN_EARG, "lm_loss: a language model with a state is wanted");
        REFUSED(tn_lm_next(other, x, NULL), TN_EARG, "lm_next: a language model");
        assert_int_equal(tn_lm_plan(other, y), 0);
        expect_error(TN_EARG, "lm_plan: a language model");
        assert_true(tn_lm_plan(net, y) > 0 && tn_lm_plan(full, y) == 0 && tn_lm_plan(NULL, y) == 0);
        REFUSED(tn_lm_state(other, 1).h, TN_EARG, "lm_state: a language model");
        REFUSED(tn_lm_state(net, 0).h, TN_EARG, "lm_state: 0 rows");
        REFUSED(tn_lm_loss(net, x, y, &none), TN_EARG, "lm: the state has no h; tn_lm_state() makes one");
        REFUSED(tn_lm_loss(net, x, y, &half), TN_EARG, "lm: the state has no c");
        REFUSED(tn_lm_loss(net, text(0, T, 0, 2), text(1, T + 1, 0, 2), &at), TN_ESHAPE,
                "lstm: the state's h is [2,3,20], not [2,2,20]");
        REFUSED(tn_lm_next(net, text(0, 0, 0, B), &at), TN_ESHAPE, "no words");
        REFUSED(tn_forward(net, tn_cast(x, TN_F32)), TN_EDTYPE, "in encoder");
        tn_i32(x)[4] = WORDS;
        REFUSED(tn_lm_loss(net, x, y, &at), TN_EARG, "index 30, element 4 of the indices, is outside 0..29");
        tn_i32(x)[4] = 0;
        tn_i32(y)[2] = -1;
        REFUSED(tn_lm_loss(net, x, y, &at), TN_EARG, "target -1 of row 2 is not a class");
        REFUSED(tn_lm_loss(full, x, y, NULL), TN_EARG, "-1");
        assert_int_equal(tn_lm_plan(net, y), 0);
        expect_error(TN_EARG, "adaptive_plan: target -1 of row 2 is not a class");
        for (int64_t i = 0; i < tn_numel(at.h); i++) /* an error leaves the state as it was */
            assert_true(tn_f32(at.h)[i] == .5f && tn_f32(at.c)[i] == 0);
        assert_null(tn_lm_loss(NULL, x, y, NULL));
        assert_null(tn_lm_loss(net, NULL, y, NULL));
        assert_null(tn_lm_next(net, NULL, NULL));
        assert_null(tn_lm_state(NULL, 1).h);
    }
    assert_ok();
    tn_free(net, full, other);
}

static void test_failing_allocations(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        bool done = false;
        const size_t live = tn_memory_stats().live;
        for (long n = 0; !done; n++) {
            TN_SCOPE {
                assert_true(n < 3000);
                tn_tensor *x = text(0, T, 0, B), *y = text(1, T + 1, 0, B);
                tn__fail_alloc_after(n);
                tn_module *net = tn_lstm_lm_call(settings(kind));
                tn_state at = tn_lm_state(net, B);
                tn_tensor *loss = net ? tn_lm_loss(net, x, y, &at) : NULL;
                done = tn_backward(loss) && tn_lm_next(net, x, &at);
                tn__fail_alloc_after(-1);
                tn_free(net);
                if (!done)
                    expect_error(TN_ENOMEM, "out of memory");
            }
            assert_int_equal(tn_memory_stats().live, live);
        }
        assert_ok();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_it_starts_as_the_authors),
        cmocka_unit_test(test_a_carried_state_is_one_long_text),
        cmocka_unit_test(test_loss_is_that_of_the_probabilities),
        cmocka_unit_test(test_dropout),
        cmocka_unit_test(test_gradients_by_differences),
        cmocka_unit_test(test_same_bits_for_any_number_of_threads),
        cmocka_unit_test(test_settings_that_cannot_be),
        cmocka_unit_test(test_inputs_that_cannot_be),
        cmocka_unit_test(test_failing_allocations),
    };
    return cmocka_run_group_tests(tests, quiet_errors, NULL);
}
