/* Spans of sequences on the emulated CUDA backend, more of them than a warp looks at and over more rows than a block
 * does: what rows outside all of them hold, which row two of them share, and that all of this is one launch. */
#include "samples.h"

#include "emulated.h"
#include "ops/sample.h"

enum { MANY = 40 };

/* Beside a tensor; in no order, some empty, with gaps between them; `step` rows for each, and none after the last. */
static tn_tensor *many(const tn_tensor *beside, int64_t step)
{
    int64_t span[2 * MANY];
    for (int64_t i = 0; i < MANY; i++) {
        span[2 * i] = step * (i * 7 % MANY) + i % 2;
        span[2 * i + 1] = i % step;
    }
    return tn__beside(beside, tn_from_i64(span, TN_SHAPE(MANY, 2)));
}
#define QUERIES many(in[0], 4)
#define KEYS many(in[0], 6)

MAKE(self, tn_attention(in[0], .spans = QUERIES, .heads = 2, .causal = true))
MAKE(self_wide, tn_attention(in[0], .spans = QUERIES, .heads = 1, .dropout = .2))
MAKE(cross, tn_attention(in[0], in[1], QUERIES, KEYS, .heads = 2))
MAKE(shift, tn_shift(in[0], QUERIES, 77))
MAKE(positions, tn_positions(QUERIES, 250))

static const tn__sample ragged[] = {
    {.what = "self-attention", .make = make_self, .in = {FLOATS(250, 24)}},
    {.what = "self-attention, a wide head", .make = make_self_wide, .in = {FLOATS(250, 210)}},
    {.what = "attention, both want a gradient", .make = make_cross, .in = {FLOATS(250, 8), FLOATS(310, 16)}},
    {.what = "attention, queries want a gradient", .make = make_cross, .in = {FLOATS(250, 8), CONSTS(310, 16)}},
    {.what = "attention, keys want a gradient", .make = make_cross, .in = {CONSTS(250, 8), FLOATS(310, 16)}},
    {.what = "shift", .make = make_shift, .in = {INTS(50, 250)}},
    {.what = "positions", .make = make_positions, .in = {FLOAT}},
    {0},
};

static void run_on_gpu(const tn__sample *s)
{
    elsewhere = on_gpu;
    assert_true(run("ragged", s, TN_F32, false, &other));
    elsewhere = NULL;
}

/* Fresh memory is NaN in the emulator. */
static void rows_outside_are_as_on_the_cpu(void **state)
{
    (void)state;
    for (const tn__sample *s = next_good(ragged); s->what; s = next_good(s + 1)) {
        emu_reverse(0);
        run("ragged", s, TN_F32, false, &reference);
        run_on_gpu(s);
        compare_results("ragged", s, "on cuda", &other, &reference, 2e-5);
        reference = other;
        emu_reverse(1);
        run_on_gpu(s);
        expect_same_bits("ragged", s, "gives other bits when threads run in reverse");
    }
}

static double numbers[150 * 16];

static tn_tensor *values(int64_t rows, int64_t cols) { return on_gpu(tn_randn(0, 1, TN_SHAPE(rows, cols))); }

/* Of queries that were their own result, and gradient. */
static tn_tensor *gradient(tn_tensor *q, tn_tensor *kv, tn_tensor *spans, tn_tensor *kv_spans, tn_tensor *lse)
{
    const tn__attention_attr a = {.heads = 2, .scale = 1, .wanted = 3};
    return tn_apply(TN_OP(attention_backward), &a, sizeof a, 7, (tn_tensor *[]){q, kv, spans, kv_spans, q, lse, q});
}

/* What only backward reads. */
static void logs_of_sums_are_zero_outside(void **state)
{
    const tn__attention_attr a = {.heads = 2, .scale = 1};
    (void)state;
    IN_BOTH_ORDERS TN_SCOPE {
        tn_tensor *q = values(250, 8), *kv = values(310, 16), *out[2];
        assert_true(tn__apply(TN_OP(attention), &a, sizeof a, 4, (tn_tensor *[]){q, kv, many(q, 4), many(q, 6)}, out));
        assert_true(tn_read_f64(out[1], numbers));
        for (int row = 4 * MANY; row < 2 * 250; row = row == 249 ? 250 + 4 * MANY : row + 1)
            assert_true(numbers[row] == 0);
    }
}

static void expect_told(tn_tensor *y, const char *what)
{
    assert_false(y && tn_read_f64(y, numbers));
    expect_error(TN_EARG, what);
}

/* Sequence 5 has rows 40..139; sequence 37 has `count` from `first` on; the others are empty. */
static tn_tensor *two(int64_t first, int64_t count)
{
    const int64_t span[2 * MANY] = {[2 * 5] = 40, [2 * 5 + 1] = 100, [2 * 37] = first, [2 * 37 + 1] = count};
    return on_gpu(tn_from_i64(span, TN_SHAPE(MANY, 2)));
}

/* Whichever of the rows that they share is met first. */
static void the_first_shared_row_is_told(void **state)
{
    (void)state;
    IN_BOTH_ORDERS TN_SCOPE {
        tn_tensor *q = values(150, 8), *kv = values(150, 16), *lse = values(2, 150);
        tn_tensor *x = on_gpu(tn_full(1, TN_I64, TN_SHAPE(150))), *sound = two(0, 40), *shared = two(30, 100);
        expect_told(tn_attention(q, kv, shared, sound, .heads = 2),
                    "attention: spans of queries: sequence 37 shares row 40 with one before it");
        expect_told(gradient(q, kv, two(60, 70), sound, lse),
                    "attention_backward: spans of queries: sequence 37 shares row 60 with one before it");
        expect_told(gradient(q, kv, sound, shared, lse),
                    "attention_backward: spans of keys: sequence 37 shares row 40 with one before it");
        expect_told(tn_shift(x, shared, 1), "shift: spans: sequence 37 shares row 40 with one before it");
        expect_told(tn_positions(shared, 150), "positions: spans: sequence 37 shares row 40 with one before it");
        tn_tensor *y = tn_attention(q, kv, sound, shared, .heads = 2);
        assert_true(tn_read_f64(y, numbers));
    }
}

static void rows_that_are_not_there_are_told(void **state)
{
    (void)state;
    IN_BOTH_ORDERS TN_SCOPE {
        tn_tensor *q = values(150, 8), *kv = values(150, 16), *lse = values(2, 150), *sound = two(0, 40);
        expect_told(gradient(q, kv, two(140, 11), sound, lse), "spans of queries: sequence 37 begins at row 140 and "
                    "has 11, but there are rows 0..149");
        expect_told(gradient(q, kv, sound, two(-1, 2), lse), "spans of keys: sequence 37 begins at row -1 and has 2");
    }
}

static void spans_are_looked_at_without_rows(void **state)
{
    (void)state;
    emu_reverse(0);
    TN_SCOPE {
        tn_tensor *none = values(0, 8), *kv = values(0, 16);
        tn_tensor *one = on_gpu(tn_from_i64((const int64_t[]){0, 1}, TN_SHAPE(1, 2)));
        assert_non_null(tn_attention(none, kv, one, one, .heads = 2));
        expect_told(one, "attention: spans of queries: sequence 0 begins at row 0 and has 1"); /* something to read */
    }
}

static void one_launch_each(void **state)
{
    (void)state;
    TN_SCOPE {
        tn_tensor *q = values(250, 8), *kv = values(310, 16), *lse = values(2, 250);
        tn_tensor *x = on_gpu(tn_full(1, TN_I64, TN_SHAPE(250))), *spans = many(q, 4), *kv_spans = many(q, 6);
        const long before = emu_counts.launches;
        tn_attention(q, kv, spans, kv_spans, .heads = 2);
        gradient(q, kv, spans, kv_spans, lse);
        tn_shift(x, spans, 1);
        tn_positions(spans, 250);
        assert_int_equal(emu_counts.launches, before + 4);
        assert_ok();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_outside_are_as_on_the_cpu),
        cmocka_unit_test(logs_of_sums_are_zero_outside),
        cmocka_unit_test(the_first_shared_row_is_told),
        cmocka_unit_test(rows_that_are_not_there_are_told),
        cmocka_unit_test(spans_are_looked_at_without_rows),
        cmocka_unit_test(one_launch_each),
    };
    return cmocka_run_group_tests(tests, open_gpu, NULL);
}
