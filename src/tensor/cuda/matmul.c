/* matmul and affine on CUDA, as products: gemm.c makes them. */
#include "launch.h"
#include "ops/strides.h"

/* Joins the batch's dims from the last outwards as long as one step goes through them; gives how many are left. */
static int join_batch(tn__cuda_product *p, const tn_tensor *y, const tn__factor *a, const tn__factor *b)
{
    p->batch = 1;
    for (int d = y->ndim - 2; d > 0; d--) {
        const int64_t count = y->shape[d - 1];
        if (count == 1)
            continue;
        if (p->batch == 1) {
            p->a_batch = a->batch[d - 1];
            p->b_batch = b->batch[d - 1];
        } else if (a->batch[d - 1] != p->batch * p->a_batch || b->batch[d - 1] != p->batch * p->b_batch) {
            return d;
        }
        p->batch *= count;
    }
    return 0;
}

int tn__cuda_matmul(const tn_call *c, tn__cuda_work *w)
{
    const tn__matmul_attr *attr = c->attr;
    const tn_tensor *y = c->out[0];
    const tn__product size = tn__product_of(c);
    const tn__factor a = tn__factor_of(c->in[0], attr->ta, y), b = tn__factor_of(c->in[1], attr->tb, y);
    tn__cuda_product p = {.m = size.m, .n = size.n, .k = size.k, .a_row = a.row, .a_col = a.col, .b_row = b.row,
                          .b_col = b.col, .c_row = size.n, .c_batch = size.m * size.n, .add = attr->add, .split = true};
    const uint16_t *a_half = tn__cuda_rounded(c->in[0], w), *b_half = tn__cuda_rounded(c->in[1], w);
    int failed = 0;
    const int outer = join_batch(&p, y, &a, &b);
    for (int64_t t = 0; !failed && t * p.batch < size.batch; t++) {
        const int64_t at_a = tn__offset(outer, y->shape, a.batch, t), at_b = tn__offset(outer, y->shape, b.batch, t);
        p.a = (const float *)tn__cuda_data(c->in[0]) + at_a;
        p.b = (const float *)tn__cuda_data(c->in[1]) + at_b;
        p.a_half = a_half ? a_half + at_a : NULL;
        p.b_half = b_half ? b_half + at_b : NULL;
        p.c = (float *)tn__cuda_data(y) + t * p.batch * p.c_batch;
        failed = tn__cuda_multiply(&p, w);
    }
    return failed;
}

int tn__cuda_affine(const tn_call *c, tn__cuda_work *w)
{
    const int64_t outs = c->in[1]->shape[0], ins = c->in[1]->shape[1];
    const tn__cuda_product p = {.batch = 1, .m = outs ? tn__cuda_count(c->out[0]) / outs : 0, .n = outs, .k = ins,
                                .a = tn__cuda_data(c->in[0]), .a_row = ins, .a_col = 1,
                                .b = tn__cuda_data(c->in[1]), .b_row = 1, .b_col = ins,
                                .bias = tn__cuda_data(c->in[2]),
                                .c = tn__cuda_data(c->out[0]), .c_row = outs,
                                .a_half = tn__cuda_rounded(c->in[0], w), .b_half = tn__cuda_rounded(c->in[1], w)};
    return tn__cuda_multiply(&p, w);
}
