/* Elements chosen by integers: embed, gather, scatter_add, where.  An index outside its axis is an error
 * of the kernel: the shape rule sees no data. */
#include "op.h"
#include "loop.h"
#include "sample.h"
#include "strides.h"
#include "wrong.h"

tn_done KERNEL(embed)(const tn_call *c)
{
    const int64_t dim = c->in[0]->shape[1];
    const int64_t *index = INDEX(1);
    const real *w = IN(0);
    real *y = OUT(0);
    if (!tn__index_ok("embed", c->in[1], c->in[0]->shape[0]))
        return TN_FAILED;
    for (int64_t i = 0, n = tn_numel(c->in[1]); i < n && dim; i++)
        memcpy(y + i * dim, w + index[i] * dim, (size_t)dim * sizeof *y);
    return TN_DONE;
}

tn_done KERNEL(embed_backward)(const tn_call *c)
{
    const int64_t dim = c->out[0]->shape[1];
    const int64_t *index = INDEX(1);
    const real *g = IN(0);
    real *dw = OUT(0);
    if (!tn__index_ok("embed_backward", c->in[1], c->out[0]->shape[0]))
        return TN_FAILED;
    if (!((const tn__axis_attr *)c->attr)->add)
        memset(dw, 0, (size_t)tn_numel(c->out[0]) * sizeof *dw);
    for (int64_t i = 0, n = tn_numel(c->in[1]); i < n; i++)
        for (int64_t j = 0; j < dim; j++)
            dw[index[i] * dim + j] += g[i * dim + j];
    return TN_DONE;
}

/* Strides of t without those along axis: the index moves there. */
static void strides_across(const tn_tensor *t, int axis, int64_t *stride)
{
    memcpy(stride, t->stride, sizeof t->stride);
    stride[axis] = 0;
}

tn_done KERNEL(gather)(const tn_call *c)
{
    const tn__axis_attr *a = c->attr;
    const tn_tensor *x = c->in[0], *index = c->in[1];
    int64_t across[TN_MAX_DIMS];
    const real *from = IN(0);
    real *y = OUT(0);
    if (!tn__index_ok("gather", index, x->shape[a->axis]))
        return TN_FAILED;
    strides_across(x, a->axis, across);
    for (int64_t i = 0, n = tn_numel(index); i < n; i++)
        y[i] = from[tn__offset(index->ndim, index->shape, across, i) + INDEX(1)[i] * x->stride[a->axis]];
    return TN_DONE;
}

tn_done KERNEL(scatter_add)(const tn_call *c)
{
    const tn__axis_attr *a = c->attr;
    const tn_tensor *x = c->in[0], *index = c->in[1];
    int64_t across[TN_MAX_DIMS];
    const real *base = IN(0), *src = IN(2);
    real *y = OUT(0);
    if (!tn__index_ok("scatter_add", index, x->shape[a->axis]))
        return TN_FAILED;
    for (int64_t i = 0, n = tn_numel(x); i < n; i++)
        y[i] = base[i];
    strides_across(x, a->axis, across);
    for (int64_t i = 0, n = tn_numel(index); i < n; i++)
        y[tn__offset(index->ndim, index->shape, across, i) + INDEX(1)[i] * x->stride[a->axis]] += src[i];
    return TN_DONE;
}

static void where_row(int64_t n, char *const *p, const int64_t *step, const void *arg)
{
    const uint8_t *cond = (const uint8_t *)p[1];
    const real *x = (const real *)(const void *)p[2], *z = (const real *)(const void *)p[3];
    real *y = (real *)(void *)p[0];
    (void)arg;
    for (int64_t i = 0; i < n; i++)
        y[i] = cond[i * step[1]] ? x[i * step[2]] : z[i * step[3]];
}

tn_done KERNEL(where)(const tn_call *c)
{
    tn__loop(c->out[0], 3, c->in, where_row, NULL);
    return TN_DONE;
}

#if TN_WHOLE

bool tn__index_ok(const char *op, const tn_tensor *index, int64_t size)
{
    const int64_t *v = tn__data(index);
    for (int64_t i = 0, n = tn_numel(index); i < n; i++)
        if (v[i] < 0 || v[i] >= size)
            return tn_fail(TN_EARG, TN_WRONG_INDEX, op, (long long)v[i], (long long)i, (long long)size - 1), false;
    return true;
}

/* ---- embed ---- */

bool tn__shape_embed(tn_call *c)
{
    const tn_tensor *w = c->in[0], *index = c->in[1];
    int64_t shape[TN_MAX_DIMS];
    if (w->ndim != 2 || index->ndim == TN_MAX_DIMS)
        return tn__shapes_differ(c);
    memcpy(shape, index->shape, sizeof shape);
    shape[index->ndim] = w->shape[1];
    tn__set_shape(c->out[0], index->ndim + 1, shape);
    return true;
}

tn_tensor *tn_embed(tn_tensor *w, tn_tensor *index)
{
    return tn_apply(TN_OP(embed), NULL, 0, 2, (tn_tensor *[]){w, index});
}

bool tn__shape_embed_backward(tn_call *c)
{
    const tn__axis_attr *a = c->attr;
    const tn_tensor *g = c->in[0];
    tn__set_shape(c->out[0], TN_SHAPE(a->size, g->shape[g->ndim - 1]));
    return true;
}

/* ---- gather, scatter_add ---- */

/* index has the rank of x and, but for the axis, reaches no further. */
static bool index_fits(const tn_tensor *x, const tn_tensor *index, int axis)
{
    bool fits = x->ndim == index->ndim;
    for (int d = 0; d < x->ndim && fits; d++)
        fits = d == axis || index->shape[d] <= x->shape[d];
    return fits;
}

bool tn__shape_gather(tn_call *c)
{
    const tn__axis_attr *a = c->attr;
    if (!index_fits(c->in[0], c->in[1], a->axis))
        return tn__shapes_differ(c);
    tn__set_shape(c->out[0], c->in[1]->ndim, c->in[1]->shape);
    return true;
}

tn_tensor *tn_gather(tn_tensor *x, int axis, tn_tensor *index)
{
    tn__axis_attr a = {0};
    if (!x || !tn__axis("gather", x, axis, &a.axis))
        return NULL;
    return tn_apply(TN_OP(gather), &a, sizeof a, 2, (tn_tensor *[]){x, index});
}

bool tn__shape_scatter_add(tn_call *c)
{
    const tn__axis_attr *a = c->attr;
    char s[TN_SHAPE_TEXT], u[TN_SHAPE_TEXT];
    if (!index_fits(c->in[0], c->in[1], a->axis))
        return tn__shapes_differ(c);
    if (!tn_same_shape(c->in[1], c->in[2]))
        return tn_fail(TN_ESHAPE, "scatter_add: the source %s is not of the index's shape %s",
                       tn_shape_text(c->in[2], s), tn_shape_text(c->in[1], u)), false;
    tn__set_shape(c->out[0], c->in[0]->ndim, c->in[0]->shape);
    return true;
}

tn_tensor *tn_scatter_add(tn_tensor *x, int axis, tn_tensor *index, tn_tensor *src)
{
    tn__axis_attr a = {0};
    if (!x || !tn__axis("scatter_add", x, axis, &a.axis))
        return NULL;
    return tn_apply(TN_OP(scatter_add), &a, sizeof a, 3, (tn_tensor *[]){x, index, src});
}

/* ---- where ---- */

bool tn__shape_where(tn_call *c)
{
    tn_tensor both = {0};
    int64_t shape[TN_MAX_DIMS];
    int ndim;
    if (!tn__broadcast("where", c->in[1], c->in[2], &ndim, shape))
        return false;
    tn__set_shape(&both, ndim, shape);
    if (!tn__broadcast("where", c->in[0], &both, &ndim, shape))
        return false;
    tn__set_shape(c->out[0], ndim, shape);
    return true;
}

tn_tensor *tn_where(tn_tensor *cond, tn_tensor *x, tn_tensor *z)
{
    return tn_apply(TN_OP(where), NULL, 0, 3, (tn_tensor *[]){cond, x, z});
}

/* ---- samples ---- */

#define OUTSIDE(...) {TN_DIMS(__VA_ARGS__), .kind = 'i', .lo = 5, .hi = 9}

MAKE(embed, tn_embed(in[0], in[1]))
MAKE(embed_i32, tn_embed(in[0], tn_cast(in[1], TN_I32)))
SAMPLES(embed) = {
    {.what = "a sentence", .make = make_embed, .in = {FLOATS(5, 3), INTS(5, 7)}},
    {.what = "a batch", .make = make_embed, .in = {FLOATS(50, 33), INTS(50, 4, 6)}},
    {.what = "int32 indices", .make = make_embed_i32, .in = {FLOATS(5, 3), INTS(5, 7)}},
    {.what = "one word", .make = make_embed, .in = {FLOATS(5, 3), {.kind = 'i', .lo = 2, .hi = 3}}},
    {.what = "no words", .make = make_embed, .in = {FLOATS(5, 3), INTS(5, 2, 0)}},
    {.what = "no columns", .make = make_embed, .in = {FLOATS(5, 0), INTS(5, 2)}},
    {.what = "an index too large", .make = make_embed, .in = {FLOATS(5, 3), OUTSIDE(2)},
     .error = "element 0 of the indices, is outside 0..4"},
    {.what = "weights of three dims", .make = make_embed, .in = {FLOATS(5, 3, 1), INTS(5, 2)},
     .error = "embed: shapes do not fit: [5,3,1] x [2]"},
    {0},
};

static const tn__axis_attr seven_rows = {.size = 7};
MAKE(embed_backward, tn_apply(TN_OP(embed_backward), &seven_rows, sizeof seven_rows, 2, in))
static const tn__axis_attr many_rows = {.size = 1300};
MAKE(embed_backward_rows, tn_apply(TN_OP(embed_backward), &many_rows, sizeof many_rows, 2, in))
SAMPLES(embed_backward) = {
    {.what = "rows met often", .make = make_embed_backward, .in = {CONSTS(30, 3), INTS(7, 30)}},
    {.what = "a batch", .make = make_embed_backward, .in = {CONSTS(4, 6, 33), INTS(7, 4, 6)}},
    {.what = "a long text", .make = make_embed_backward, .in = {CONSTS(2500, 3), INTS(7, 2500)}},
    {.what = "a long text of many words", .make = make_embed_backward_rows,
     .in = {CONSTS(3, 700, 2), INTS(1300, 3, 700)}},
    {.what = "no words", .make = make_embed_backward, .in = {CONSTS(0, 3), INTS(7, 0)}},
    {.what = "an index too large", .make = make_embed_backward,
     .in = {CONSTS(2, 3), {TN_DIMS(2), .kind = 'i', .lo = 7, .hi = 9}}, .error = "outside 0..6"},
    {0},
};

MAKE(gather_rows, tn_gather(in[0], 0, in[1]))
MAKE(gather_middle, tn_gather(in[0], 1, in[1]))
MAKE(gather_last, tn_gather(in[0], -1, in[1]))
MAKE(gather_turned, tn_gather(tn_transpose(in[0], 0, 1), 1, in[1]))
SAMPLES(gather) = {
    {.what = "rows", .make = make_gather_rows, .in = {FLOATS(5, 3), INTS(5, 4, 3)}},
    {.what = "the middle axis", .make = make_gather_middle, .in = {FLOATS(2, 4, 3), INTS(4, 2, 6, 3)}},
    {.what = "one of each row", .make = make_gather_last, .in = {FLOATS(6, 4), INTS(4, 6, 1)}},
    {.what = "fewer rows than x", .make = make_gather_last, .in = {FLOATS(6, 4), INTS(4, 2, 5)}},
    {.what = "a transposed view", .make = make_gather_turned, .in = {FLOATS(4, 6), INTS(4, 6, 2)}},
    {.what = "nothing", .make = make_gather_rows, .in = {FLOATS(5, 3), INTS(5, 0, 3)}},
    {.what = "an index too large", .make = make_gather_rows, .in = {FLOATS(5, 3), OUTSIDE(1, 3)},
     .error = "gather: index"},
    {.what = "other rank", .make = make_gather_rows, .in = {FLOATS(5, 3), INTS(5, 3)},
     .error = "gather: shapes do not fit: [5,3] x [3]"},
    {.what = "more columns than x", .make = make_gather_rows, .in = {FLOATS(5, 3), INTS(5, 2, 4)},
     .error = "gather: shapes do not fit"},
    {0},
};

MAKE(scatter_rows, tn_scatter_add(in[0], 0, in[1], in[2]))
MAKE(scatter_last, tn_scatter_add(in[0], -1, in[1], in[2]))
SAMPLES(scatter_add) = {
    {.what = "rows met often", .make = make_scatter_rows, .in = {FLOATS(3, 4), INTS(3, 9, 4), FLOATS(9, 4)}},
    {.what = "one of each row", .make = make_scatter_last, .in = {FLOATS(6, 4), INTS(4, 6, 1), FLOATS(6, 1)}},
    {.what = "nothing", .make = make_scatter_rows, .in = {FLOATS(3, 4), INTS(3, 0, 4), FLOATS(0, 4)}},
    {.what = "an index too large", .make = make_scatter_rows,
     .in = {FLOATS(5, 3), OUTSIDE(1, 3), FLOATS(1, 3)}, .error = "scatter_add: index"},
    {.what = "a source of another shape", .make = make_scatter_rows,
     .in = {FLOATS(5, 3), INTS(5, 1, 3), FLOATS(2, 3)}, .error = "the source [2,3] is not of the index's shape"},
    {0},
};

MAKE(where, tn_where(in[0], in[1], in[2]))
MAKE(where_turned, tn_where(in[0], tn_transpose(in[1], 0, 1), in[2]))
SAMPLES(where) = {
    {.what = "of one shape", .make = make_where, .in = {MASK(3, 4), FLOATS(3, 4), FLOATS(3, 4)}},
    {.what = "all three broadcast", .make = make_where, .in = {MASK(3, 1, 2), FLOATS(4, 1), FLOAT}},
    {.what = "a transposed view", .make = make_where_turned, .in = {MASK(3, 4), FLOATS(4, 3), FLOATS(3, 4)}},
    {.what = "nothing", .make = make_where, .in = {MASK(0, 4), FLOATS(4), FLOATS(1)}},
    {.what = "no fit", .make = make_where, .in = {MASK(3), FLOATS(4), FLOATS(4)},
     .error = "where: shapes do not fit: [3] x [4]"},
    {0},
};
#endif
