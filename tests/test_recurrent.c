/* Recurrent layers beyond what the samples of their ops show (test_ops.c): that chunks of a sequence give the whole,
 * reverse is forward of what is turned round, a sequence by itself is what it is in a batch, threads do not show; the
 * layers' states, dropout, starts and refusals.  PyTorch's numbers: test_parity_recurrent.c. */
#include "check.h"
#include "internal.h"

#include <math.h>

enum { T = 7, B = 5, IN = 6, H = 9 };

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

static double worst(tn_tensor *a, tn_tensor *b)
{
    assert_true(a && b && tn_same_shape(a, b));
    double most = 0;
    TN_SCOPE {
        tn_tensor *d = tn_amax(tn_abs(tn_sub(a, b)), TN_ALL, false);
        most = tn_item(d);
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

/* ---- scans, all alike ---- */

static tn_tensor *lstm(tn_tensor *x, tn_tensor *w, tn_tensor *h, tn_tensor *c, tn_tensor *lengths, bool reverse)
{
    return tn_lstm_scan(x, w, h, c, lengths, reverse);
}

static tn_tensor *gru(tn_tensor *x, tn_tensor *w, tn_tensor *h, tn_tensor *c, tn_tensor *lengths, bool reverse)
{
    (void)c;
    return tn_gru_scan(x, w, NULL, h, lengths, reverse);
}

static tn_tensor *rnn(tn_tensor *x, tn_tensor *w, tn_tensor *h, tn_tensor *c, tn_tensor *lengths, bool reverse)
{
    (void)c;
    return tn_rnn_scan(x, w, h, lengths, reverse);
}

static const struct {
    tn_tensor *(*scan)(tn_tensor *x, tn_tensor *w, tn_tensor *h, tn_tensor *c, tn_tensor *lengths, bool reverse);
    int gates, states;
} kinds[] = {{lstm, 4, 2}, {gru, 3, 1}, {rnn, 1, 1}};
#define FOR_KINDS(k) for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)

static tn_tensor *steps(tn_tensor *x, int64_t from, int64_t end) { return tn_slice(x, 0, from, end, 1); }

/* Row i of the dim of steps as a matrix. */
static tn_tensor *at(tn_tensor *x, int64_t i)
{
    return tn_reshape(steps(x, i, i + 1), TN_SHAPE(tn_dim(x, 1), tn_dim(x, 2)));
}

static void chunks_give_the_whole(void)
{
    FOR_KINDS(k) for (int reverse = 0; reverse < 2; reverse++) {
        const int64_t cut = 3, first = reverse ? cut : 0, second = reverse ? 0 : cut;
        tn_tensor *x = tn_randn(0, 1, TN_SHAPE(T, B, kinds[k].gates * H));
        tn_tensor *w = tn_randn(0, .4, TN_SHAPE(kinds[k].gates * H, H));
        tn_tensor *all = kinds[k].scan(x, w, NULL, NULL, NULL, reverse);
        tn_tensor *one = kinds[k].scan(steps(x, first, reverse ? T : cut), w, NULL, NULL, NULL, reverse);
        const int64_t n = tn_dim(one, 0) - kinds[k].states;
        tn_tensor *two = kinds[k].scan(steps(x, second, reverse ? cut : T), w, at(one, n),
                                       kinds[k].states > 1 ? at(one, n + 1) : NULL, NULL, reverse);
        expect_same_bits(steps(all, first, first + n), steps(one, 0, n), "the first chunk");
        expect_same_bits(steps(all, second, second + T - n), steps(two, 0, T - n), "the second chunk");
        expect_same_bits(steps(all, T, T + kinds[k].states), steps(two, T - n, T - n + kinds[k].states), "last states");
    }
}

/* Sequence b of x turned round within its length. */
static tn_tensor *turned(tn_tensor *x, const int64_t *length)
{
    const int64_t n = tn_dim(x, 2);
    tn_tensor *y = tn_zeros_like(x);
    for (int64_t b = 0; b < B; b++)
        for (int64_t t = 0; t < length[b]; t++)
            memcpy(tn_f32(y) + (t * B + b) * n, tn_f32(x) + ((length[b] - 1 - t) * B + b) * n,
                   (size_t)n * sizeof(float));
    return y;
}

static const int64_t some_lengths[B] = {3, T, 0, 1, 6};

static void reverse_is_forward_of_what_is_turned_round(void)
{
    FOR_KINDS(k) {
        tn_tensor *x = tn_randn(0, 1, TN_SHAPE(T, B, kinds[k].gates * H)), *h = tn_randn(0, 1, TN_SHAPE(B, H));
        tn_tensor *w = tn_randn(0, .4, TN_SHAPE(kinds[k].gates * H, H)), *c = tn_randn(0, 1, TN_SHAPE(B, H));
        tn_tensor *lengths = tn_from_i64(some_lengths, TN_SHAPE(B));
        tn_tensor *back = kinds[k].scan(x, w, h, c, lengths, true);
        tn_tensor *there = kinds[k].scan(turned(x, some_lengths), w, h, c, lengths, false);
        expect_same_bits(steps(back, 0, T), turned(tn_contiguous(steps(there, 0, T)), some_lengths), "hidden states");
        expect_same_bits(steps(back, T, T + kinds[k].states), steps(there, T, T + kinds[k].states), "last states");
    }
}

static tn_tensor *sequence(tn_tensor *x, int64_t b, int64_t length)
{
    return tn_contiguous(tn_slice(steps(x, 0, length), 1, b, b + 1, 1));
}

static void a_sequence_by_itself_is_what_it_is_in_a_batch(void)
{
    FOR_KINDS(k) for (int reverse = 0; reverse < 2; reverse++) {
        tn_tensor *x = tn_randn(0, 1, TN_SHAPE(T, B, kinds[k].gates * H)), *h = tn_randn(0, 1, TN_SHAPE(B, H));
        tn_tensor *w = tn_randn(0, .4, TN_SHAPE(kinds[k].gates * H, H)), *c = tn_randn(0, 1, TN_SHAPE(B, H));
        for (int64_t b = 0; b < B; b++) /* what lies beyond an end is not read */
            for (int64_t t = some_lengths[b]; t < T; t++)
                tn_f32(x)[(t * B + b) * tn_dim(x, 2)] = NAN;
        tn_tensor *all = kinds[k].scan(x, w, h, c, tn_from_i64(some_lengths, TN_SHAPE(B)), reverse);
        for (int64_t b = 0; b < B; b++) {
            const int64_t n = some_lengths[b];
            tn_tensor *own = kinds[k].scan(sequence(x, b, n), w, tn_slice(h, 0, b, b + 1, 1),
                                           tn_slice(c, 0, b, b + 1, 1), NULL, reverse);
            expect_same_bits(sequence(all, b, n), steps(own, 0, n), "hidden states");
            expect_same_bits(tn_slice(steps(all, T, T + kinds[k].states), 1, b, b + 1, 1),
                             steps(own, n, n + kinds[k].states), "last states");
            tn_tensor *beyond = tn_slice(steps(all, n, T), 1, b, b + 1, 1);
            assert_true(n == T || tn_item(tn_amax(tn_abs(beyond), TN_ALL, false)) == 0);
        }
    }
}

/* ---- layers ---- */

static bool zero_grad(void *arg, const char *path, tn_param *p)
{
    (void)arg, (void)path;
    tn_zero_grad(&p->t);
    return true;
}

static bool add_grad(void *to, const char *path, tn_param *p)
{
    (void)path;
    tn_tensor *g = tn_reshape(tn_detach(p->t.grad), TN_SHAPE(tn_numel(&p->t))), **sum = to;
    *sum = *sum ? tn_concat(2, (tn_tensor *[]){*sum, g}, 0) : tn_contiguous(g);
    return *sum != NULL;
}

/* All gradients one after the other, of sum(y^2 + h^2). */
static tn_tensor *gradients(tn_module *m, tn_tensor *y, tn_tensor *h)
{
    tn_tensor *all = NULL;
    tn_each_param(m, zero_grad, NULL);
    assert_true(tn_backward(tn_add(tn_sum(tn_square(y), TN_ALL, false), tn_sum(tn_square(h), TN_ALL, false))));
    assert_true(tn_each_param(m, add_grad, &all));
    return all;
}

static void threads_do_not_show(void)
{
    tn_module *nets[] = {tn_lstm(IN, 130, .layers = 2, .bidirectional = true), tn_gru(IN, 130, .bidirectional = true),
                         tn_rnn(IN, 130, .layers = 3, .relu = true)};
    for (int k = 0; k < 3; k++) {
        tn_tensor *x = tn_randn(0, 1, TN_SHAPE(4, 70, IN)), *lengths = tn_empty(TN_I64, TN_SHAPE(70)), *y[3], *g[3];
        for (int64_t b = 0; b < 70; b++)
            tn_i64(lengths)[b] = b % 5;
        for (int n = 0; n < 3; n++) {
            tn_state state = {NULL, NULL};
            tn_set_threads(n + 1);
            y[n] = tn_recurrent(nets[k], x, &state, lengths);
            g[n] = gradients(nets[k], y[n], state.h);
        }
        tn_set_threads(0);
        for (int n = 1; n < 3; n++) {
            expect_same_bits(y[0], y[n], "outputs");
            expect_same_bits(g[0], g[n], "gradients");
        }
    }
    tn_free(nets[0], nets[1], nets[2]);
}

/* Chunks with the state between them are one pass, gradients too: the state is part of the graph. */
static void a_state_carries_on(void)
{
    tn_module *nets[] = {tn_lstm(IN, H, .layers = 2), tn_gru(IN, H, .layers = 2), tn_rnn(IN, H)};
    for (int k = 0; k < 3; k++) {
        tn_state all = {NULL, NULL}, part = all;
        tn_tensor *x = tn_randn(0, 1, TN_SHAPE(T, B, IN)), *y = tn_recurrent(nets[k], x, &all, NULL), *chunk[3];
        for (int i = 0; i < 3; i++)
            chunk[i] = tn_recurrent(nets[k], steps(x, 3 * i, 3 * i + 3), &part, NULL);
        tn_tensor *joined = tn_concat(3, chunk, 0);
        expect_same_bits(y, joined, "outputs");
        expect_same_bits(all.h, part.h, "last hidden states");
        assert_true((all.c != NULL) == (k == 0));
        if (all.c)
            expect_same_bits(all.c, part.c, "last cell states");
        assert_true(worst(gradients(nets[k], y, all.h), gradients(nets[k], joined, part.h)) < 2e-5);
    }
    tn_free(nets[0], nets[1], nets[2]);
}

/* Truncated back-propagation: nothing of a chunk is left but the state, in tensors that were there before. */
static void a_copied_state_is_cut_off(void)
{
    tn_module *m = tn_lstm(IN, H, .layers = 2);
    tn_tensor *h = tn_zeros(TN_SHAPE(2, B, H)), *c = tn_zeros(TN_SHAPE(2, B, H));
    tn_tensor *x = tn_randn(0, 1, TN_SHAPE(T, B, IN));
    size_t live = 0;
    for (int i = 0; i < 4; i++) {
        TN_SCOPE {
            tn_state state = {h, c};
            tn_tensor *y = tn_recurrent(m, x, &state, NULL);
            assert_true(tn_backward(tn_mean(y, TN_ALL, false)));
            assert_true(tn_copy_(h, state.h) && tn_copy_(c, state.c));
            assert_false(h->requires_grad);
            assert_true(worst(at(h, 1), at(y, T - 1)) == 0);
        }
        assert_true(i < 1 || tn_memory_stats().live == live);
        live = tn_memory_stats().live;
    }
    tn_free(m);
}

static void both_directions_see_the_whole(void)
{
    tn_module *m = tn_gru(IN, H, .bidirectional = true);
    tn_tensor *x = tn_randn(0, 1, TN_SHAPE(T, B, IN));
    tn_state state = {NULL, NULL};
    tn_tensor *y = tn_recurrent(m, x, &state, NULL);
    assert_int_equal(tn_dim(y, 2), 2 * H);
    assert_true(worst(at(state.h, 0), tn_slice(at(y, T - 1), 1, 0, H, 1)) == 0);
    assert_true(worst(at(state.h, 1), tn_slice(at(y, 0), 1, H, 2 * H, 1)) == 0);
    expect_same_bits(tn_forward(m, x), y, "forward");
    tn_tensor *lengths = tn_from_i64(some_lengths, TN_SHAPE(B));
    expect_same_bits(tn_forward(m, x, lengths), tn_recurrent(m, x, NULL, lengths), "forward with lengths");
    tn_free(m);
}

static void dropout_lies_between_layers(void)
{
    tn_module *one = tn_rnn(IN, H, .dropout = 1), *two = tn_rnn(IN, H, .layers = 2, .dropout = 1);
    tn_tensor *x = tn_randn(0, 1, TN_SHAPE(T, B, IN)), *zeros = tn_zeros_like(x);
    const uint64_t step = tn_rng_state().step;
    assert_true(worst(tn_forward(one, x), tn_forward(one, zeros)) > 0);
    assert_true(tn_rng_state().step == step);
    assert_true(worst(tn_forward(two, x), tn_forward(two, zeros)) == 0);
    assert_true(tn_rng_state().step == step + 2);
    tn_eval(two);
    assert_true(worst(tn_forward(two, x), tn_forward(two, zeros)) > 0);
    assert_true(tn_rng_state().step == step + 2);
    tn_free(one, two);
}

static bool starts_evenly(void *arg, const char *path, tn_param *p)
{
    const double bound = 1 / sqrt(100), least = tn_item(tn_amin(&p->t, TN_ALL, false)),
                 most = tn_item(tn_amax(&p->t, TN_ALL, false));
    (void)arg, (void)path;
    assert_true(least >= -bound && least < -.97 * bound && most <= bound && most > .97 * bound);
    return true;
}

static void layers_start_as_pytorchs(void)
{
    tn_module *m = tn_lstm(20, 100), *named = tn_layer_named("gru", 3, (const double[]){3, 4, 2});
    assert_true(tn_each_param(m, starts_evenly, NULL));
    assert_int_equal(tn_param_count(m), 400 * 20 + 400 * 100 + 800);
    assert_non_null(tn_find_param(named, "bias_hh_l1"));
    assert_null(tn_find_param(named, "weight_ih_l0_reverse"));
    tn_free(m, named);
}

static void bad_ones_are_refused(void)
{
#define REFUSED(call, code, words) \
    assert_null(call);             \
    expect_error(code, words)
    tn_module *m = tn_lstm(3, 4), *other = tn_linear(3, 4);
    tn_state state = {NULL, tn_zeros(TN_SHAPE(1, 2, 5))};
    tn_tensor *x = tn_zeros(TN_SHAPE(6, 2, 3));
    REFUSED(tn_lstm(0, 4), TN_EARG, "lstm: 0 inputs and 4 hidden units");
    REFUSED(tn_gru(3, 4, .layers = -1), TN_EARG, "gru: -1 layers; 1 to 32");
    REFUSED(tn_gru(3, 4, .dropout = NAN), TN_EARG, "gru: nan is not a probability");
    REFUSED(tn_gru(3, 4, .relu = true), TN_EARG, "ReLU is an option of rnn alone");
    REFUSED(tn_lstm(3, INT64_MAX / 2), TN_EARG, "hidden units");
    REFUSED(tn_forward(m, tn_zeros(TN_SHAPE(2, 3))), TN_ESHAPE, "lstm: input [2,3] is not [T,B,3]");
    REFUSED(tn_recurrent(m, x, &state, NULL), TN_ESHAPE, "lstm: the state's c is [1,2,5], not [1,2,4]");
    REFUSED(tn_recurrent(other, x, NULL, NULL), TN_EARG, "recurrent: Linear is none of");
    REFUSED(tn_forward(m, x, tn_zeros(TN_SHAPE(2))), TN_EDTYPE, "lstm_scan: input 4 should be an integer");
    REFUSED(tn_forward(m, x, tn_full(7, TN_I32, TN_SHAPE(2))), TN_EARG, "sequence 0 has length 7, there are 6 steps");
    assert_null(tn_recurrent(NULL, x, NULL, NULL));
    assert_null(tn_recurrent(m, NULL, NULL, NULL));
    assert_true(state.h == NULL && state.c != NULL);
    tn_free(m, other);
}

static void running_out_of_memory_is_an_error(void)
{
    tn_tensor *x = tn_randn(0, 1, TN_SHAPE(3, 2, 4)), *lengths = tn_from_i64((const int64_t[]){3, 2}, TN_SHAPE(2));
    bool ok = false;
    for (long n = 0; !ok; n++)
        TN_SCOPE {
            tn_state state = {NULL, NULL};
            tn__fail_alloc_after(n);
            tn_module *m = tn_gru(4, 3, .bidirectional = true);
            tn_tensor *y = tn_recurrent(m, x, &state, lengths);
            ok = tn_backward(tn_sum(y, TN_ALL, false));
            tn__fail_alloc_after(-1);
            tn_free(m);
            if (!ok)
                expect_error(TN_ENOMEM, "out of memory");
            assert_true(n < 2000);
        }
}

#define TESTS(X)                                                                                            \
    X(chunks_give_the_whole) X(reverse_is_forward_of_what_is_turned_round)                                  \
    X(a_sequence_by_itself_is_what_it_is_in_a_batch) X(threads_do_not_show) X(a_state_carries_on)           \
    X(a_copied_state_is_cut_off) X(both_directions_see_the_whole) X(dropout_lies_between_layers)            \
    X(layers_start_as_pytorchs) X(bad_ones_are_refused) X(running_out_of_memory_is_an_error)

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
    return cmocka_run_group_tests_name("recurrent", tests, quiet_errors, NULL);
}
