/* Ops that copy elements to new places: contiguous, cast, concat, pad, and the gradient of a slice.
 * Those that take any dtype move bytes, so their kernel of either type serves all dtypes. */
#include "op.h"
#include "loop.h"
#include "sample.h"
#include "strides.h"

#define COPY_ROW(type)                                        \
    for (int64_t i = 0; i < n; i++)                           \
        ((type *)(void *)p[0])[i] = ((const type *)(const void *)p[1])[i * step[1]]
static void copy_row(int64_t n, char *const *p, const int64_t *step, const void *arg)
{
    const size_t size = *(const size_t *)arg;
    if (step[1] == 1) {
        memcpy(p[0], p[1], (size_t)n * size);
        return;
    }
    switch (size) {
    case 1: COPY_ROW(uint8_t); break;
    case 2: COPY_ROW(uint16_t); break;
    case 4: COPY_ROW(uint32_t); break;
    default: COPY_ROW(uint64_t); break;
    }
}

tn_done KERNEL(contiguous)(const tn_call *c)
{
    const size_t size = tn_dtype_size(c->in[0]->dtype);
    tn__loop(c->out[0], 1, c->in, copy_row, &size);
    return TN_DONE;
}

tn_done KERNEL(cast)(const tn_call *c)
{
    const tn__cast_attr *a = c->attr;
    tn__convert(tn__data(c->in[0]), a->from, tn__data(c->out[0]), a->to, tn_numel(c->in[0]));
    return TN_DONE;
}

tn_done KERNEL(concat)(const tn_call *c)
{
    const tn__axis_attr *a = c->attr;
    const tn__split all = tn__split_at(c->out[0], a->axis);
    const size_t piece = (size_t)all.inner * tn_dtype_size(c->out[0]->dtype);
    char *to = tn__data(c->out[0]);
    for (int i = 0; i < c->n_in; i++) {
        const size_t run = (size_t)c->in[i]->shape[a->axis] * piece;
        const char *from = tn__data(c->in[i]);
        for (int64_t o = 0; o < all.outer && run; o++)
            memcpy(to + (size_t)(o * all.size) * piece, from + (size_t)o * run, run);
        to += run;
    }
    return TN_DONE;
}

tn_done KERNEL(pad)(const tn_call *c)
{
    const tn__pad_attr *a = c->attr;
    const tn_tensor *x = c->in[0], *t = c->out[0];
    const real *from = IN(0);
    real *to = OUT(0);
    for (int64_t i = 0, n = tn_numel(t); i < n; i++)
        to[i] = (real)a->value;
    if (x->ndim == 0)
        to[0] = from[0];
    const int outer = x->ndim - 1;
    const int64_t run = x->ndim ? x->shape[outer] : 0;
    for (int d = 0; d < x->ndim; d++)
        to += a->before[d] * t->stride[d];
    for (int64_t row = 0, rows = run ? tn_numel(x) / run : 0; row < rows; row++)
        memcpy(to + tn__offset(outer, x->shape, t->stride, row), from + row * run, (size_t)run * sizeof *to);
    return TN_DONE;
}

tn_done KERNEL(slice_backward)(const tn_call *c)
{
    const tn__slice_attr *s = c->attr;
    const tn__split to = tn__split_at(c->out[0], s->axis);
    const real *g = IN(0);
    real *dx = OUT(0);
    memset(dx, 0, (size_t)tn_numel(c->out[0]) * sizeof *dx);
    for (int64_t o = 0; o < to.outer; o++)
        for (int64_t i = 0; i < s->count; i++)
            memcpy(dx + (o * to.size + s->start + i * s->step) * to.inner,
                   g + (o * s->count + i) * to.inner, (size_t)to.inner * sizeof *dx);
    return TN_DONE;
}

#if TN_WHOLE

/* ---- contiguous, cast ---- */

bool tn__shape_contiguous(tn_call *c)
{
    tn__set_shape(c->out[0], c->in[0]->ndim, c->in[0]->shape);
    c->out[0]->dtype = c->in[0]->dtype;
    return true;
}

tn_tensor *tn_contiguous(tn_tensor *x)
{
    if (!x || tn_is_contiguous(x))
        return x;
    return tn_apply(TN_OP(contiguous), NULL, 0, 1, &x);
}

bool tn__shape_cast(tn_call *c)
{
    const tn__cast_attr *a = c->attr;
    tn__set_shape(c->out[0], c->in[0]->ndim, c->in[0]->shape);
    c->out[0]->dtype = a->to;
    return true;
}

tn_tensor *tn_cast(tn_tensor *x, tn_dtype t)
{
    if (!x || x->dtype == t)
        return x;
    if (!tn_dtype_size(t))
        return tn_fail(TN_EDTYPE, "cast: %d is not a dtype", (int)t);
    const tn__cast_attr a = {x->dtype, t};
    return tn_apply(TN_OP(cast), &a, sizeof a, 1, &x);
}

/* ---- concat ---- */

bool tn__shape_concat(tn_call *c)
{
    const tn__axis_attr *a = c->attr;
    const tn_tensor *x = c->in[0];
    tn_tensor *y = c->out[0];
    int64_t shape[TN_MAX_DIMS];
    char s[TN_SHAPE_TEXT], u[TN_SHAPE_TEXT];
    memcpy(shape, x->shape, sizeof shape);
    for (int i = 1; i < c->n_in; i++) {
        const tn_tensor *t = c->in[i];
        bool fits = t->ndim == x->ndim && t->dtype == x->dtype;
        for (int d = 0; d < x->ndim && fits; d++)
            fits = d == a->axis || t->shape[d] == x->shape[d];
        if (!fits)
            return tn_fail(TN_ESHAPE, "concat: %s %s does not fit %s %s along axis %d",
                           tn_dtype_name(t->dtype), tn_shape_text(t, u), tn_dtype_name(x->dtype),
                           tn_shape_text(x, s), a->axis), false;
        shape[a->axis] += t->shape[a->axis];
    }
    tn__set_shape(y, x->ndim, shape);
    y->dtype = x->dtype;
    return true;
}

tn_tensor *tn_concat(int n, tn_tensor *const *x, int axis)
{
    tn__axis_attr a = {0};
    if (n < 1)
        return tn_fail(TN_EARG, "concat: of %d tensors", n);
    if (!x || !x[0] || !tn__axis("concat", x[0], axis, &a.axis))
        return NULL;
    if (n <= TN_MAX_IN)
        return tn_apply(TN_OP(concat), &a, sizeof a, n, x);
    tn_tensor *part[TN_MAX_IN];
    for (int i = 0, from = 0; i < TN_MAX_IN; i++) {
        const int count = (n - from) / (TN_MAX_IN - i);
        part[i] = count == 1 ? x[from] : tn_concat(count, x + from, axis);
        from += count;
    }
    return tn_concat(TN_MAX_IN, part, axis);
}

/* ---- pad ---- */

bool tn__shape_pad(tn_call *c)
{
    const tn__pad_attr *a = c->attr;
    const tn_tensor *x = c->in[0];
    int64_t shape[TN_MAX_DIMS];
    char s[TN_SHAPE_TEXT];
    for (int i = 0; i < x->ndim; i++)
        if (a->before[i] < 0 || a->after[i] < 0 ||
            __builtin_add_overflow(a->before[i], a->after[i], &shape[i]) ||
            __builtin_add_overflow(shape[i], x->shape[i], &shape[i]))
            return tn_fail(TN_EARG, "pad: %lld before and %lld after axis %d of %s: negative or too many",
                           (long long)a->before[i], (long long)a->after[i], i, tn_shape_text(x, s)), false;
    tn__set_shape(c->out[0], x->ndim, shape);
    return true;
}

tn_tensor *tn_pad(tn_tensor *x, const int64_t *before, const int64_t *after, double value)
{
    tn__pad_attr a = {.value = value};
    if (!x)
        return NULL;
    if (x->ndim && (!before || !after))
        return tn_fail(TN_EARG, "pad: before and after are needed");
    for (int i = 0; i < x->ndim; i++) {
        a.before[i] = before[i];
        a.after[i] = after[i];
    }
    return tn_apply(TN_OP(pad), &a, sizeof a, 1, &x);
}

/* ---- the gradient of a slice ---- */

bool tn__shape_slice_backward(tn_call *c)
{
    const tn__slice_attr *s = c->attr;
    int64_t shape[TN_MAX_DIMS];
    memcpy(shape, c->in[0]->shape, sizeof shape);
    shape[s->axis] = s->full;
    tn__set_shape(c->out[0], c->in[0]->ndim, shape);
    return true;
}

/* ---- samples ---- */

MAKE(transposed, tn_contiguous(tn_transpose(in[0], 0, 1)))
MAKE(expanded, tn_contiguous(tn_expand(in[0], TN_SHAPE(3, 2, 4))))
MAKE(sliced, tn_contiguous(tn_slice(in[0], 1, 1, 7, 2)))
SAMPLES(contiguous) = {
    {.what = "a transposed view", .make = make_transposed, .in = {FLOATS(3, 5, 2)}},
    {.what = "a transposed matrix", .make = make_transposed, .in = {FLOATS(40, 70)}},
    {.what = "a transposed matrix of many rows", .make = make_transposed, .in = {FLOATS(130, 33)}},
    {.what = "an expanded view", .make = make_expanded, .in = {FLOATS(2, 1)}},
    {.what = "a scalar, expanded", .make = make_expanded, .in = {FLOAT}},
    {.what = "every second element", .make = make_sliced, .in = {FLOATS(3, 8)}},
    {.what = "no elements", .make = make_transposed, .in = {FLOATS(0, 5)}},
    {0},
};

MAKE(other_width, tn_cast(in[0], in[0]->dtype == TN_F32 ? TN_F64 : TN_F32))
MAKE(to_u8_and_back, tn_cast(tn_cast(in[0], TN_U8), TN_F32))
MAKE(to_nonsense, tn_cast(in[0], TN_DTYPE_COUNT))
SAMPLES(cast) = {
    {.what = "through integers", .make = make_to_u8_and_back, .in = {INTS(200, 3, 4)}},
    {.what = "to the other width", .make = make_other_width, .in = {CONSTS(2, 3)}},
    {.what = "no elements", .make = make_to_u8_and_back, .in = {INTS(200, 0)}},
    {.what = "no such dtype", .make = make_to_nonsense, .in = {FLOATS(2)}, .error = "is not a dtype"},
    {0},
};

#define TWO ((tn_tensor *[]){in[0], in[1]})
#define ELEVEN \
    ((tn_tensor *[]){in[0], in[1], in[0], in[0], in[1], in[1], in[1], in[0], in[1], in[0], in[1]})
MAKE(one, tn_concat(1, in, 0))
MAKE(rows, tn_concat(2, TWO, 0))
MAKE(columns, tn_concat(2, TWO, -1))
MAKE(turned, tn_concat(2, ((tn_tensor *[]){tn_transpose(in[0], 0, 1), in[1]}), 0))
MAKE(eleven, tn_concat(11, ELEVEN, 1))
MAKE(mixed, tn_concat(2, ((tn_tensor *[]){in[0], tn_cast(in[1], TN_I32)}), 0))
MAKE(none, tn_concat(0, in, 0))
SAMPLES(concat) = {
    {.what = "one", .make = make_one, .in = {FLOATS(2, 3)}},
    {.what = "rows", .make = make_rows, .in = {FLOATS(2, 3), FLOATS(4, 3)}},
    {.what = "columns", .make = make_columns, .in = {FLOATS(2, 3, 1), FLOATS(2, 3, 2)}},
    {.what = "with nothing", .make = make_rows, .in = {FLOATS(0, 3), FLOATS(4, 3)}},
    {.what = "a transposed view", .make = make_turned, .in = {FLOATS(3, 2), FLOATS(4, 3)}},
    {.what = "eleven", .make = make_eleven, .in = {FLOATS(2, 1, 2), FLOATS(2, 3, 2)}},
    {.what = "other columns", .make = make_rows, .in = {FLOATS(2, 3), FLOATS(2, 4)},
     .error = "[2,3] along axis 0"},
    {.what = "other rank", .make = make_rows, .in = {FLOATS(2, 3), FLOATS(3)}, .error = "does not fit"},
    {.what = "other dtype", .make = make_mixed, .in = {FLOATS(2, 3), FLOATS(2, 3)}, .error = "i32 [2,3]"},
    {.what = "scalars", .make = make_rows, .in = {FLOAT, FLOAT}, .error = "axis 0 of [] does not exist"},
    {.what = "no tensors", .make = make_none, .in = {FLOATS(1)}, .error = "concat: of 0 tensors"},
    {0},
};

MAKE(frame, tn_pad(in[0], (int64_t[]){1, 0, 2}, (int64_t[]){2, 1, 0}, 0.5))
MAKE(pad_channels, tn_pad(in[0], (int64_t[]){0, 2}, (int64_t[]){0, 3}, 0))
MAKE(pad_scalar, tn_pad(in[0], NULL, NULL, 1))
MAKE(pad_less, tn_pad(in[0], (int64_t[]){-1}, (int64_t[]){0}, 0))
MAKE(pad_huge, tn_pad(in[0], (int64_t[]){INT64_MAX}, (int64_t[]){INT64_MAX}, 0))
SAMPLES(pad) = {
    {.what = "all round", .make = make_frame, .in = {FLOATS(2, 3, 2)}},
    {.what = "the last dim", .make = make_pad_channels, .in = {FLOATS(4, 2)}},
    {.what = "nothing becomes something", .make = make_pad_channels, .in = {FLOATS(4, 0)}},
    {.what = "a scalar", .make = make_pad_scalar, .in = {FLOAT}},
    {.what = "less", .make = make_pad_less, .in = {FLOATS(4)}, .error = "pad: -1 before and 0 after axis 0 of [4]"},
    {.what = "too many", .make = make_pad_huge, .in = {FLOATS(4)}, .error = "too many"},
    {0},
};

static const tn__slice_attr every_second = {.axis = 1, .start = 1, .count = 3, .step = 2, .full = 7};
MAKE(spread, tn_apply(TN_OP(slice_backward), &every_second, sizeof every_second, 1, in))
SAMPLES(slice_backward) = {
    {.what = "every second", .make = make_spread, .in = {CONSTS(2, 3, 2)}},
    {.what = "no rows", .make = make_spread, .in = {CONSTS(0, 3)}},
    {0},
};
#endif
