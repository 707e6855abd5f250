/* Matrix products: matmul over leading dims that broadcast, and affine, the one of linear layers.  The
 * fast kernels are in cpu/gemm.c; here every element is one sum in double. */
#include "op.h"
#include "sample.h"
#include "strides.h"

tn_done KERNEL(matmul)(const tn_call *c)
{
    const tn__matmul_attr *attr = c->attr;
    const tn_tensor *y = c->out[0];
    const tn__product p = tn__product_of(c);
    const tn__factor fa = tn__factor_of(c->in[0], attr->ta, y), fb = tn__factor_of(c->in[1], attr->tb, y);
    real *out = OUT(0);
    for (int64_t t = 0; t < p.batch; t++) {
        const real *a = IN(0) + tn__offset(y->ndim - 2, y->shape, fa.batch, t);
        const real *b = IN(1) + tn__offset(y->ndim - 2, y->shape, fb.batch, t);
        for (int64_t i = 0; i < p.m; i++)
            for (int64_t j = 0; j < p.n; j++) {
                double sum = 0;
                for (int64_t k = 0; k < p.k; k++)
                    sum += (double)a[i * fa.row + k * fa.col] * (double)b[k * fb.row + j * fb.col];
                *out = attr->add ? *out + (real)sum : (real)sum;
                out++;
            }
    }
    return TN_DONE;
}

tn_done KERNEL(affine)(const tn_call *c)
{
    const int64_t outs = c->in[1]->shape[0], ins = c->in[1]->shape[1];
    const int64_t n = outs ? tn_numel(c->out[0]) / outs : 0;
    const real *x = IN(0), *w = IN(1), *bias = IN(2);
    real *y = OUT(0);
    for (int64_t i = 0; i < n; i++)
        for (int64_t o = 0; o < outs; o++) {
            double sum = bias ? (double)bias[o] : 0;
            for (int64_t k = 0; k < ins; k++)
                sum += (double)x[i * ins + k] * (double)w[o * ins + k];
            y[i * outs + o] = (real)sum;
        }
    return TN_DONE;
}

#if TN_WHOLE

/* ---- matmul ---- */

bool tn__shape_matmul(tn_call *c)
{
    const tn__matmul_attr *attr = c->attr;
    const tn_tensor *a = c->in[0], *b = c->in[1];
    int64_t shape[TN_MAX_DIMS];
    const int ndim = a->ndim > b->ndim ? a->ndim : b->ndim;
    if (a->ndim < 2 || b->ndim < 2 ||
        a->shape[a->ndim - (attr->ta ? 2 : 1)] != b->shape[b->ndim - (attr->tb ? 1 : 2)])
        return tn__shapes_differ(c);
    for (int i = 3; i <= ndim; i++) {
        const int64_t m = i <= a->ndim ? a->shape[a->ndim - i] : 1;
        const int64_t n = i <= b->ndim ? b->shape[b->ndim - i] : 1;
        if (m != n && m != 1 && n != 1)
            return tn__shapes_differ(c);
        shape[ndim - i] = m == 1 ? n : m;
    }
    shape[ndim - 2] = a->shape[a->ndim - (attr->ta ? 1 : 2)];
    shape[ndim - 1] = b->shape[b->ndim - (attr->tb ? 2 : 1)];
    tn__set_shape(c->out[0], ndim, shape);
    return true;
}

/* t, or a copy where neither the rows nor the columns of its matrices are runs: no library reads those. */
static tn_tensor *in_runs(tn_tensor *t)
{
    bool transposed;
    int64_t ld;
    if (t->ndim < 2 || tn__blas_layout(t->shape[t->ndim - 2], t->shape[t->ndim - 1], t->stride[t->ndim - 2],
                                       t->stride[t->ndim - 1], &transposed, &ld))
        return t;
    return tn_contiguous(t);
}

/* [..., M, K] x [K, N] is one product with M times as many rows. */
static bool many_rows(const tn_matmul_args *p)
{
    return p->b->ndim == 2 && p->a->ndim > 2 && !p->transpose_a && tn_is_contiguous(p->a) &&
           tn_dim(p->a, -1) == tn_dim(p->b, p->transpose_b ? 1 : 0);
}

tn_tensor *tn_matmul_call(tn_matmul_args p)
{
    if (!p.a || !p.b)
        return NULL;
    const tn__matmul_attr attr = {p.transpose_a, p.transpose_b, false};
    const int outer = p.a->ndim - 1;
    const bool folded = many_rows(&p);
    int64_t shape[TN_MAX_DIMS];
    memcpy(shape, p.a->shape, sizeof shape);
    if (folded) {
        int64_t rows = 1;
        for (int d = 0; d < outer; d++)
            rows *= p.a->shape[d];
        p.a = tn_reshape(p.a, TN_SHAPE(rows, p.a->shape[outer]));
        shape[outer] = p.b->shape[p.transpose_b ? 0 : 1];
    }
    tn_tensor *in[] = {p.a ? in_runs(p.a) : NULL, in_runs(p.b)};
    tn_tensor *y = tn_apply(TN_OP(matmul), &attr, sizeof attr, 2, in);
    return folded ? tn_reshape(y, outer + 1, shape) : y;
}

bool tn__matmul_onto(tn_tensor *onto, tn_tensor *a, bool ta, tn_tensor *b, bool tb)
{
    const tn__matmul_attr attr = {ta, tb, true};
    return a && b && tn__apply_onto(TN_OP(matmul), &attr, 2, (tn_tensor *[]){in_runs(a), in_runs(b)}, onto);
}

/* ---- affine ---- */

bool tn__shape_affine(tn_call *c)
{
    const tn_tensor *x = c->in[0], *w = c->in[1], *bias = c->in[2];
    char s[TN_SHAPE_TEXT];
    int64_t shape[TN_MAX_DIMS];
    if (x->ndim < 1 || w->ndim != 2 || x->shape[x->ndim - 1] != w->shape[1])
        return tn__shapes_differ(c);
    if (bias && (bias->ndim != 1 || bias->shape[0] != w->shape[0]))
        return tn_fail(TN_ESHAPE, "affine: a bias of %s for %lld outputs", tn_shape_text(bias, s),
                       (long long)w->shape[0]), false;
    memcpy(shape, x->shape, sizeof shape);
    shape[x->ndim - 1] = w->shape[0];
    tn__set_shape(c->out[0], x->ndim, shape);
    return true;
}

tn_tensor *tn_affine(tn_tensor *x, tn_tensor *w, tn_tensor *bias)
{
    return tn_apply(TN_OP(affine), NULL, 0, 3, (tn_tensor *[]){x, w, bias});
}

/* ---- samples ---- */

MAKE(nn, tn_matmul(in[0], in[1]))
MAKE(nt, tn_matmul(in[0], in[1], .transpose_b = true))
MAKE(tn, tn_matmul(in[0], in[1], .transpose_a = true))
MAKE(tt, tn_matmul(in[0], in[1], .transpose_a = true, .transpose_b = true))
MAKE(turned, tn_matmul(tn_transpose(in[0], -2, -1), tn_transpose(in[1], 0, 1)))
MAKE(heads, tn_matmul(tn_transpose(in[0], 1, 2), tn_transpose(in[1], 1, 2), .transpose_b = true))
MAKE(sparse, tn_matmul(tn_slice(in[0], 1, 0, 9, 2), tn_expand(in[1], TN_SHAPE(5, 3))))
SAMPLES(matmul) = {
    {.what = "NN", .make = make_nn, .in = {FLOATS(3, 5), FLOATS(5, 4)}},
    {.what = "NT", .make = make_nt, .in = {FLOATS(3, 5), FLOATS(4, 5)}},
    {.what = "TN", .make = make_tn, .in = {FLOATS(5, 3), FLOATS(5, 4)}},
    {.what = "TT", .make = make_tt, .in = {FLOATS(5, 3), FLOATS(4, 5)}},
    {.what = "a row and a column", .make = make_nn, .in = {FLOATS(1, 7), FLOATS(7, 1)}},
    {.what = "a column and a row", .make = make_nn, .in = {FLOATS(7, 1), FLOATS(1, 5)}},
    {.what = "several tiles", .make = make_nn, .in = {CONSTS(300, 70), CONSTS(70, 290)}},
    {.what = "many terms", .make = make_tn, .in = {FLOATS(9000, 3), FLOATS(9000, 5)}},
    {.what = "a batch", .make = make_nt, .in = {FLOATS(6, 3, 5), FLOATS(6, 4, 5)}},
    {.what = "one matrix for a batch", .make = make_nt, .in = {FLOATS(2, 3, 4, 5), FLOATS(6, 5)}},
    {.what = "a batch for one matrix", .make = make_tn, .in = {FLOATS(5, 3), FLOATS(2, 5, 4)}},
    {.what = "batches that broadcast", .make = make_nn, .in = {FLOATS(2, 1, 3, 4), FLOATS(3, 4, 2)}},
    {.what = "transposed views", .make = make_turned, .in = {FLOATS(2, 5, 3), FLOATS(4, 5)}},
    {.what = "heads of attention", .make = make_heads, .in = {FLOATS(2, 5, 3, 4), FLOATS(2, 6, 3, 4)}},
    {.what = "views without runs", .make = make_sparse, .in = {FLOATS(4, 9), FLOATS(5, 1)}},
    {.what = "no terms", .make = make_nn, .in = {FLOATS(3, 0), FLOATS(0, 4)}},
    {.what = "no rows", .make = make_nn, .in = {FLOATS(0, 3), FLOATS(3, 4)}},
    {.what = "no batch", .make = make_nn, .in = {FLOATS(0, 2, 3), FLOATS(0, 3, 4)}},
    {.what = "no fit", .make = make_nn, .in = {FLOATS(3, 5), FLOATS(4, 5)},
     .error = "matmul: shapes do not fit: [3,5] x [4,5]"},
    {.what = "batches that do not fit", .make = make_nn, .in = {FLOATS(2, 3, 5), FLOATS(3, 5, 4)},
     .error = "matmul: shapes do not fit: [2,3,5] x [3,5,4]"},
    {.what = "a vector", .make = make_nn, .in = {FLOATS(5), FLOATS(5, 4)},
     .error = "matmul: shapes do not fit: [5] x [5,4]"},
    {0},
};

MAKE(with_bias, tn_affine(in[0], in[1], in[2]))
MAKE(without_bias, tn_affine(in[0], in[1], NULL))
MAKE(affine_turned, tn_affine(tn_transpose(in[0], 0, 1), in[1], in[2]))
SAMPLES(affine) = {
    {.what = "a batch", .make = make_with_bias, .in = {FLOATS(6, 5), FLOATS(4, 5), FLOATS(4)}},
    {.what = "no bias", .make = make_without_bias, .in = {FLOATS(6, 5), FLOATS(4, 5)}},
    {.what = "one vector", .make = make_with_bias, .in = {FLOATS(5), FLOATS(4, 5), FLOATS(4)}},
    {.what = "sentences", .make = make_with_bias, .in = {FLOATS(2, 3, 5), FLOATS(4, 5), FLOATS(4)}},
    {.what = "several tiles", .make = make_with_bias, .in = {CONSTS(600, 40), CONSTS(130, 40), CONSTS(130)}},
    {.what = "a transposed view", .make = make_affine_turned, .in = {FLOATS(5, 6), FLOATS(4, 5), FLOATS(4)}},
    {.what = "no rows", .make = make_with_bias, .in = {FLOATS(0, 5), FLOATS(4, 5), FLOATS(4)}},
    {.what = "no terms", .make = make_with_bias, .in = {FLOATS(3, 0), FLOATS(4, 0), FLOATS(4)}},
    {.what = "no fit", .make = make_without_bias, .in = {FLOATS(6, 5), FLOATS(5, 4)},
     .error = "affine: shapes do not fit: [6,5] x [5,4]"},
    {.what = "a bias too short", .make = make_with_bias, .in = {FLOATS(6, 5), FLOATS(4, 5), FLOATS(3)},
     .error = "affine: a bias of [3] for 4 outputs"},
    {0},
};
#endif
