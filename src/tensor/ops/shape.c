/* Views: reshape, permute, expand, slice and what is made of them.  No element is touched here; ops that
 * copy are in copy.c.  A view's shape rule gives its shape, strides and offset. */
#include "op.h"
#include "sample.h"

#if TN_WHOLE

/* ---- reshape ---- */

static const char *dims_text(int ndim, const int64_t *shape, char buf[TN_SHAPE_TEXT])
{
    tn_tensor t = {.ndim = ndim};
    memcpy(t.shape, shape, (size_t)ndim * sizeof *shape);
    return tn_shape_text(&t, buf);
}

/* Fills in a dim of -1; false (and no error) when the count of elements does not fit. */
static bool complete_dims(int64_t numel, tn__shape_attr *to)
{
    int64_t known = 1;
    int unknown = -1;
    for (int i = 0; i < to->ndim; i++) {
        if (to->shape[i] == -1 && unknown < 0)
            unknown = i;
        else if (to->shape[i] < 0 || __builtin_mul_overflow(known, to->shape[i], &known))
            return false;
    }
    if (unknown < 0)
        return known == numel;
    if (known == 0 || numel % known)
        return false;
    to->shape[unknown] = numel / known;
    return true;
}

/* Strides with which x's elements read as `shape`, which has as many; false when there are none.  Dims of x
 * that lie evenly in memory form a run; a run can be cut anew, but no new dim reaches across two. */
static bool strides_as(const tn_tensor *x, int ndim, const int64_t *shape, int64_t *stride)
{
    int at = ndim;
    for (int i = x->ndim; i > 0 && tn_numel(x);) {
        const int64_t step = x->stride[--i];
        int64_t size = x->shape[i], placed = 1;
        for (; i > 0 && (x->shape[i - 1] == 1 || x->stride[i - 1] == size * step); i--)
            size *= x->shape[i - 1];
        while (at > 0 && (placed < size || shape[at - 1] == 1)) {
            stride[--at] = placed * step;
            placed *= shape[at];
        }
        if (placed != size)
            return false;
    }
    while (at > 0)
        stride[--at] = 1;
    return true;
}

bool tn__shape_reshape(tn_call *c)
{
    const tn__shape_attr *to = c->attr;
    tn__set_shape(c->out[0], to->ndim, to->shape);
    c->out[0]->dtype = c->in[0]->dtype;
    c->out[0]->offset = c->in[0]->offset;
    return strides_as(c->in[0], to->ndim, to->shape, c->out[0]->stride) || tn__shapes_differ(c);
}

static bool dims_ok(const char *op, int ndim, const int64_t *shape, tn__shape_attr *to)
{
    if (ndim < 0 || ndim > TN_MAX_DIMS || (ndim && !shape))
        return tn_fail(TN_ESHAPE, "%s: %d dims; 0 to %d are possible", op, ndim, TN_MAX_DIMS), false;
    to->ndim = ndim;
    if (ndim)
        memcpy(to->shape, shape, (size_t)ndim * sizeof *shape);
    return true;
}

tn_tensor *tn_reshape(tn_tensor *x, int ndim, const int64_t *shape)
{
    char s[TN_SHAPE_TEXT], u[TN_SHAPE_TEXT];
    tn__shape_attr to = {0};
    int64_t stride[TN_MAX_DIMS];
    if (!x || !dims_ok("reshape", ndim, shape, &to))
        return NULL;
    if (!complete_dims(tn_numel(x), &to))
        return tn_fail(TN_ESHAPE, "reshape: %s does not have the elements of %s", tn_shape_text(x, s),
                       dims_text(to.ndim, to.shape, u));
    tn_tensor *even = strides_as(x, to.ndim, to.shape, stride) ? x : tn_contiguous(x);
    return tn_apply(TN_OP(reshape), &to, sizeof to, 1, &even);
}

tn_tensor *tn_flatten(tn_tensor *x, int from_axis)
{
    int from;
    if (!x || (x->ndim == 0 && from_axis == 0))
        return tn_reshape(x, TN_SHAPE(1));
    if (!tn__axis("flatten", x, from_axis, &from))
        return NULL;
    int64_t shape[TN_MAX_DIMS], rest = 1;
    memcpy(shape, x->shape, sizeof shape);
    for (int i = from; i < x->ndim; i++)
        rest *= x->shape[i];
    shape[from] = rest;
    return tn_reshape(x, from + 1, shape);
}

tn_tensor *tn_squeeze(tn_tensor *x, int axis)
{
    char s[TN_SHAPE_TEXT];
    int at;
    if (!x || !tn__axis("squeeze", x, axis, &at))
        return NULL;
    if (x->shape[at] != 1)
        return tn_fail(TN_ESHAPE, "squeeze: axis %d of %s is not 1", at, tn_shape_text(x, s));
    int64_t shape[TN_MAX_DIMS];
    for (int i = 0; i < x->ndim - 1; i++)
        shape[i] = x->shape[i < at ? i : i + 1];
    return tn_reshape(x, x->ndim - 1, shape);
}

tn_tensor *tn_unsqueeze(tn_tensor *x, int axis)
{
    char s[TN_SHAPE_TEXT];
    int64_t shape[TN_MAX_DIMS + 1];
    if (!x)
        return NULL;
    const int at = axis < 0 ? axis + x->ndim + 1 : axis;
    if (at < 0 || at > x->ndim)
        return tn_fail(TN_EARG, "unsqueeze: there is no place %d among the dims of %s", axis,
                       tn_shape_text(x, s));
    for (int i = 0; i < x->ndim + 1; i++)
        shape[i] = i < at ? x->shape[i] : i == at ? 1 : x->shape[i - 1];
    return tn_reshape(x, x->ndim + 1, shape);
}

/* ---- permute ---- */

bool tn__shape_permute(tn_call *c)
{
    const tn__permute_attr *p = c->attr;
    const tn_tensor *x = c->in[0];
    tn_tensor *y = c->out[0];
    y->ndim = x->ndim;
    y->dtype = x->dtype;
    y->offset = x->offset;
    for (int i = 0; i < x->ndim; i++) {
        y->shape[i] = x->shape[p->axes[i]];
        y->stride[i] = x->stride[p->axes[i]];
    }
    return true;
}

tn_tensor *tn_permute(tn_tensor *x, int ndim, const int64_t *axes)
{
    char s[TN_SHAPE_TEXT];
    tn__permute_attr p = {0};
    unsigned seen = 0;
    if (!x)
        return NULL;
    if (ndim != x->ndim || (ndim && !axes))
        return tn_fail(TN_EARG, "permute: %d axes for %s", ndim, tn_shape_text(x, s));
    for (int i = 0; i < ndim; i++) {
        const int64_t axis = axes[i] < 0 ? axes[i] + ndim : axes[i];
        if (axis < 0 || axis >= ndim || seen & TN_AXIS(axis))
            return tn_fail(TN_EARG, "permute: axis %lld of %s is given twice or does not exist",
                           (long long)axes[i], tn_shape_text(x, s));
        seen |= TN_AXIS(axis);
        p.axes[i] = (int)axis;
    }
    return tn_apply(TN_OP(permute), &p, sizeof p, 1, &x);
}

tn_tensor *tn_transpose(tn_tensor *x, int axis0, int axis1)
{
    int64_t axes[TN_MAX_DIMS];
    int a, b;
    if (!x || !tn__axis("transpose", x, axis0, &a) || !tn__axis("transpose", x, axis1, &b))
        return NULL;
    for (int i = 0; i < x->ndim; i++)
        axes[i] = i == a ? b : i == b ? a : i;
    return tn_permute(x, x->ndim, axes);
}

/* ---- expand ---- */

bool tn__shape_expand(tn_call *c)
{
    const tn__shape_attr *to = c->attr;
    const tn_tensor *x = c->in[0];
    tn_tensor *y = c->out[0];
    char s[TN_SHAPE_TEXT], u[TN_SHAPE_TEXT];
    const int extra = to->ndim - x->ndim;
    bool fits = extra >= 0;
    y->ndim = to->ndim;
    y->dtype = x->dtype;
    y->offset = x->offset;
    for (int i = 0; i < to->ndim && fits; i++) {
        const int64_t own = i < extra ? 1 : x->shape[i - extra];
        const bool keeps = i >= extra && to->shape[i] == -1;
        y->shape[i] = keeps ? own : to->shape[i];
        y->stride[i] = i >= extra && y->shape[i] == own ? x->stride[i - extra] : 0;
        fits = y->shape[i] == own || (own == 1 && y->shape[i] >= 0);
    }
    return fits || (tn_fail(TN_ESHAPE, "expand: %s does not stretch to %s", tn_shape_text(x, s),
                            dims_text(to->ndim, to->shape, u)), false);
}

tn_tensor *tn_expand(tn_tensor *x, int ndim, const int64_t *shape)
{
    tn__shape_attr to = {0};
    if (!x || !dims_ok("expand", ndim, shape, &to))
        return NULL;
    return tn_apply(TN_OP(expand), &to, sizeof to, 1, &x);
}

/* ---- slice ---- */

bool tn__shape_slice(tn_call *c)
{
    const tn__slice_attr *s = c->attr;
    const tn_tensor *x = c->in[0];
    tn_tensor *y = c->out[0];
    y->ndim = x->ndim;
    y->dtype = x->dtype;
    memcpy(y->shape, x->shape, sizeof y->shape);
    memcpy(y->stride, x->stride, sizeof y->stride);
    y->shape[s->axis] = s->count;
    y->stride[s->axis] *= s->step;
    y->offset = x->offset + s->start * x->stride[s->axis];
    return true;
}

/* Where on an axis of `size` elements, between 0 and size. */
static int64_t clip(int64_t at, int64_t size)
{
    at = at < 0 ? at + size : at;
    return at < 0 ? 0 : at > size ? size : at;
}

tn_tensor *tn_slice(tn_tensor *x, int axis, int64_t start, int64_t stop, int64_t step)
{
    tn__slice_attr s = {0};
    if (!x || !tn__axis("slice", x, axis, &s.axis))
        return NULL;
    if (step < 1)
        return tn_fail(TN_EARG, "slice: step %lld; it must be 1 or more", (long long)step);
    s.full = x->shape[s.axis];
    s.start = clip(start, s.full);
    const int64_t span = clip(stop, s.full) - s.start;
    s.count = span > 0 ? (span - 1) / step + 1 : 0;
    s.step = s.count > 1 ? step : 1; /* a huge step would overflow the stride */
    if (s.count == 0)
        s.start = 0;
    return tn_apply(TN_OP(slice), &s, sizeof s, 1, &x);
}

/* ---- samples ---- */

MAKE(to_4x6, tn_reshape(in[0], TN_SHAPE(4, 6)))
MAKE(to_any, tn_reshape(in[0], TN_SHAPE(2, -1, 3)))
MAKE(to_scalar, tn_reshape(in[0], TN_SCALAR))
MAKE(to_empty, tn_reshape(in[0], TN_SHAPE(5, 0)))
MAKE(to_two_unknown, tn_reshape(in[0], TN_SHAPE(-1, -1)))
MAKE(to_nine, tn_reshape(in[0], 9, in[0]->shape))
MAKE(transposed_to_4x6, tn_reshape(tn_transpose(in[0], 0, 1), TN_SHAPE(4, 6)))
MAKE(sliced_to_pairs, tn_reshape(tn_slice(in[0], 0, 0, 8, 2), TN_SHAPE(2, 2)))
MAKE(flat, tn_flatten(in[0], 1))
MAKE(squeezed, tn_squeeze(in[0], -2))
MAKE(unsqueezed, tn_unsqueeze(in[0], -1))
MAKE(unsqueezed_far, tn_unsqueeze(in[0], 4))
SAMPLES(reshape) = {
    {.what = "two dims", .make = make_to_4x6, .in = {FLOATS(2, 3, 4)}},
    {.what = "an unknown dim", .make = make_to_any, .in = {FLOATS(4, 6)}},
    {.what = "one element to a scalar", .make = make_to_scalar, .in = {FLOATS(1, 1)}},
    {.what = "no elements", .make = make_to_empty, .in = {FLOATS(0, 3)}},
    {.what = "a transposed view, copied", .make = make_transposed_to_4x6, .in = {FLOATS(4, 6)}},
    {.what = "every second element, viewed", .make = make_sliced_to_pairs, .in = {FLOATS(9)}},
    {.what = "flatten", .make = make_flat, .in = {FLOATS(2, 3, 2, 2)}},
    {.what = "squeeze", .make = make_squeezed, .in = {FLOATS(2, 1, 3)}},
    {.what = "unsqueeze", .make = make_unsqueezed, .in = {FLOATS(2, 3)}},
    {.what = "too many elements", .make = make_to_4x6, .in = {FLOATS(2, 3)},
     .error = "reshape: [2,3] does not have the elements of [4,6]"},
    {.what = "two unknown dims", .make = make_to_two_unknown, .in = {FLOATS(2, 3)},
     .error = "elements of [-1,-1]"},
    {.what = "nine dims", .make = make_to_nine, .in = {FLOATS(2)}, .error = "9 dims"},
    {.what = "squeeze of 3", .make = make_squeezed, .in = {FLOATS(3, 2)},
     .error = "squeeze: axis 0 of [3,2] is not 1"},
    {.what = "unsqueeze too far", .make = make_unsqueezed_far, .in = {FLOATS(3, 2)}, .error = "no place 4"},
    {0},
};

MAKE(rotate, tn_permute(in[0], TN_SHAPE(2, 0, 1)))
MAKE(rotate_back, tn_permute(in[0], TN_SHAPE(-2, -1, 0)))
MAKE(swap, tn_transpose(in[0], 0, -1))
MAKE(same_axis, tn_permute(in[0], TN_SHAPE(0, 0, 1)))
MAKE(no_axis, tn_transpose(in[0], 0, 2))
SAMPLES(permute) = {
    {.what = "rotate", .make = make_rotate, .in = {FLOATS(2, 3, 4)}},
    {.what = "negative axes", .make = make_rotate_back, .in = {FLOATS(2, 3, 4)}},
    {.what = "transpose", .make = make_swap, .in = {FLOATS(2, 3)}},
    {.what = "no elements", .make = make_swap, .in = {FLOATS(0, 3)}},
    {.what = "an axis twice", .make = make_same_axis, .in = {FLOATS(2, 3, 4)},
     .error = "permute: axis 0 of [2,3,4] is given twice"},
    {.what = "too few axes", .make = make_rotate, .in = {FLOATS(2, 3)}, .error = "3 axes for [2,3]"},
    {.what = "no such axis", .make = make_no_axis, .in = {FLOATS(2, 3)},
     .error = "transpose: axis 2 of [2,3] does not exist"},
    {0},
};

MAKE(stretch, tn_expand(in[0], TN_SHAPE(4, 2, 3)))
MAKE(stretch_kept, tn_expand(in[0], TN_SHAPE(4, -1, 3)))
MAKE(stretch_empty, tn_expand(in[0], TN_SHAPE(0, 3)))
SAMPLES(expand) = {
    {.what = "a leading dim", .make = make_stretch, .in = {FLOATS(2, 3)}},
    {.what = "dims of 1", .make = make_stretch, .in = {FLOATS(1, 2, 1)}},
    {.what = "a scalar", .make = make_stretch, .in = {FLOAT}},
    {.what = "a dim kept by -1", .make = make_stretch_kept, .in = {FLOATS(2, 1)}},
    {.what = "to no elements", .make = make_stretch_empty, .in = {FLOATS(1, 3)}},
    {.what = "2 is not 1", .make = make_stretch, .in = {FLOATS(2, 2)},
     .error = "expand: [2,2] does not stretch to [4,2,3]"},
    {.what = "fewer dims", .make = make_stretch, .in = {FLOATS(1, 4, 2, 3)}, .error = "does not stretch"},
    {0},
};

MAKE(middle, tn_slice(in[0], 1, 1, 3, 1))
MAKE(every_second, tn_slice(in[0], 0, 0, 7, 2))
MAKE(last_two, tn_slice(in[0], -1, -2, INT64_MAX, 1))
MAKE(nothing, tn_slice(in[0], 0, 2, 1, 1))
MAKE(twice, tn_slice(tn_slice(in[0], 0, 1, -1, 2), 1, 1, 9, 2))
MAKE(backwards, tn_slice(in[0], 0, 2, 1, -1))
SAMPLES(slice) = {
    {.what = "middle", .make = make_middle, .in = {FLOATS(2, 4, 3)}},
    {.what = "every second", .make = make_every_second, .in = {FLOATS(7, 2)}},
    {.what = "the last two", .make = make_last_two, .in = {FLOATS(2, 5)}},
    {.what = "clipped to fewer", .make = make_last_two, .in = {FLOATS(2, 1)}},
    {.what = "nothing", .make = make_nothing, .in = {FLOATS(3, 2)}},
    {.what = "a slice of a slice", .make = make_twice, .in = {FLOATS(6, 5)}},
    {.what = "a negative step", .make = make_backwards, .in = {FLOATS(3)}, .error = "slice: step -1"},
    {.what = "of a scalar", .make = make_nothing, .in = {FLOAT}, .error = "slice: axis 0 of [] does not exist"},
    {0},
};
#endif
