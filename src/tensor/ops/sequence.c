/* Sequences of differing length, one after the other: what is done to their integers, and whether their
 * spans are sound.  Attention over them: attention.c. */
#include "op.h"
#include "sample.h"
#include "wrong.h"

tn_done KERNEL(shift)(const tn_call *c)
{
    const tn__sequence_attr *a = c->attr;
    const int64_t rows = c->in[0]->shape[0], *x = INDEX(0), *span = INDEX(1);
    int64_t *y = tn__data(c->out[0]);
    if (!tn__spans_ok("shift", "spans", c->in[1], rows, true))
        return TN_FAILED;
    for (int64_t i = 0; i < rows; i++)
        y[i] = x[i];
    for (int64_t s = 0; s < c->in[1]->shape[0]; s++)
        for (int64_t i = 0, from = span[2 * s]; i < span[2 * s + 1]; i++)
            y[from + i] = i ? x[from + i - 1] : a->first;
    return TN_DONE;
}

tn_done KERNEL(positions)(const tn_call *c)
{
    const tn__sequence_attr *a = c->attr;
    const int64_t *span = INDEX(0);
    int64_t *y = tn__data(c->out[0]);
    if (!tn__spans_ok("positions", "spans", c->in[0], a->rows, true))
        return TN_FAILED;
    for (int64_t i = 0; i < a->rows; i++)
        y[i] = 0;
    for (int64_t s = 0; s < c->in[0]->shape[0]; s++)
        for (int64_t i = 0; i < span[2 * s + 1]; i++)
            y[span[2 * s] + i] = i;
    return TN_DONE;
}

#if TN_WHOLE

bool tn__spans_shape(const char *op, const tn_tensor *spans)
{
    char s[TN_SHAPE_TEXT];
    if (spans->ndim == 2 && spans->shape[1] == 2)
        return true;
    return tn_fail(TN_ESHAPE, "%s: spans are [n,2], first row and number of rows of each sequence, not %s", op,
                   tn_shape_text(spans, s)), false;
}

/* Each row is in one span at most. */
static bool apart_ok(const char *op, const char *what, const tn_tensor *spans, int64_t rows)
{
    const int64_t *span = tn__data(spans);
    unsigned char *taken = tn__scratch(rows > 0 ? (size_t)rows : 1);
    bool ok = taken != NULL;
    if (ok && rows)
        memset(taken, 0, (size_t)rows);
    for (int64_t s = 0; ok && s < spans->shape[0]; s++) {
        unsigned char *rest = taken + span[2 * s];
        const size_t count = (size_t)span[2 * s + 1];
        const unsigned char *met = count ? memchr(rest, 1, count) : NULL;
        if (met)
            ok = tn_fail(TN_EARG, TN_WRONG_SHARED, op, what, (long long)s, (long long)(met - taken));
        else if (count)
            memset(rest, 1, count);
    }
    tn__scratch_free(taken);
    return ok;
}

bool tn__spans_ok(const char *op, const char *what, const tn_tensor *spans, int64_t rows, bool apart)
{
    const int64_t *span = tn__data(spans);
    for (int64_t s = 0; s < spans->shape[0]; s++) {
        const int64_t from = span[2 * s], count = span[2 * s + 1];
        if (from < 0 || count < 0 || from > rows || count > rows - from)
            return tn_fail(TN_EARG, TN_WRONG_SPAN, op, what, (long long)s, (long long)from, (long long)count,
                           (long long)rows - 1), false;
    }
    return !apart || apart_ok(op, what, spans, rows);
}

bool tn__shape_shift(tn_call *c)
{
    char s[TN_SHAPE_TEXT];
    if (c->in[0]->ndim != 1)
        return tn_fail(TN_ESHAPE, "shift: %s is not one row of integers after the other, [rows]",
                       tn_shape_text(c->in[0], s)), false;
    tn__set_shape(c->out[0], 1, c->in[0]->shape);
    return tn__spans_shape("shift", c->in[1]);
}

tn_tensor *tn_shift(tn_tensor *x, tn_tensor *spans, int64_t first)
{
    const tn__sequence_attr a = {.first = first};
    return tn_apply(TN_OP(shift), &a, sizeof a, 2, (tn_tensor *[]){x, spans});
}

bool tn__shape_positions(tn_call *c)
{
    const tn__sequence_attr *a = c->attr;
    tn__set_shape(c->out[0], TN_SHAPE(a->rows));
    return tn__spans_shape("positions", c->in[0]);
}

tn_tensor *tn_positions(tn_tensor *spans, int64_t rows)
{
    const tn__sequence_attr a = {.rows = rows};
    if (rows < 0)
        return tn_fail(TN_EARG, "positions: %lld rows", (long long)rows);
    return tn_apply(TN_OP(positions), &a, sizeof a, 1, &spans);
}

/* ---- samples ---- */

#define SPANS(n, ...) tn__beside(in[0], tn_from_i64((const int64_t[]){__VA_ARGS__}, TN_SHAPE(n, 2)))

MAKE(shift, tn_shift(in[0], SPANS(3, 0, 4, 6, 1, 4, 2), 77))
MAKE(shift_nothing, tn_shift(in[0], SPANS(2, 0, 0, 9, 0), 77))
MAKE(shift_shared, tn_shift(in[0], SPANS(2, 0, 4, 3, 2), 77))
MAKE(shift_outside, tn_shift(in[0], SPANS(2, 0, 4, 4, 6), 77))
SAMPLES(shift) = {
    {.what = "three sequences and a gap", .make = make_shift, .in = {INTS(50, 9)}},
    {.what = "empty sequences", .make = make_shift_nothing, .in = {INTS(50, 9)}},
    {.what = "a row in two sequences", .make = make_shift_shared, .in = {INTS(50, 9)},
     .error = "shift: spans: sequence 1 shares row 3 with one before it"},
    {.what = "a sequence too long", .make = make_shift_outside, .in = {INTS(50, 9)},
     .error = "shift: spans: sequence 1 begins at row 4 and has 6, but there are rows 0..8"},
    {.what = "a matrix", .make = make_shift, .in = {INTS(50, 9, 1)}, .error = "shift: [9,1] is not one row"},
    {0},
};

MAKE(positions, tn_positions(SPANS(3, 0, 4, 6, 1, 4, 2), 9))
MAKE(positions_given, tn_positions(in[0], 9))
MAKE(positions_before, tn_positions(SPANS(1, -1, 4), 9))
MAKE(positions_less, tn_positions(SPANS(1, 0, 4), -1))
SAMPLES(positions) = {
    {.what = "three sequences and a gap", .make = make_positions, .in = {FLOAT}},
    {.what = "no sequences", .make = make_positions_given, .in = {INTS(1, 0, 2)}},
    {.what = "no pairs", .make = make_positions_given, .in = {INTS(1, 2, 3)}, .error = "positions: spans are [n,2]"},
    {.what = "a negative row", .make = make_positions_before, .in = {FLOAT},
     .error = "sequence 0 begins at row -1 and has 4"},
    {.what = "fewer than no rows", .make = make_positions_less, .in = {FLOAT}, .error = "positions: -1 rows"},
    {0},
};

#endif
