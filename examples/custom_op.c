/* An op of one's own: y = x^3 with its gradient, checked against differences.  docs/add-an-op.md walks
 * through it. */
#include <stdio.h>
#include <tenon.h>

/* Inputs arrive contiguous, of one dtype; the output is allocated. */
static tn_done cube(const tn_call *c)
{
    const double *x = tn_data(c->in[0]);
    double *y = tn_f64(c->out[0]);
    for (int64_t i = 0, n = tn_numel(c->out[0]); i < n; i++)
        y[i] = x[i] * x[i] * x[i];
    return TN_DONE;
}

/* dL/dx = dL/dy 3 x^2 */
static bool cube_gradient(tn_back *b)
{
    b->d[0] = tn_mul(b->g, tn_mul_scalar(tn_square(b->in[0]), 3));
    return b->d[0] != NULL;
}

static const tn_op *cube_op;

static tn_tensor *tried(void *arg, int n, tn_tensor *const *in)
{
    (void)arg;
    return tn_apply(cube_op, NULL, 0, n, in);
}

int main(void)
{
    const tn_op_def def = {.name = "cube", .in = "f", .out = "f", .reads = TN_READS_IN(0), .cpu_f64 = cube,
                           .gradient = cube_gradient};
    bool good = false;
    cube_op = tn_register_op(&def);
    TN_SCOPE {
        tn_tensor *x = tn_want_grad(tn_cast(tn_randn(0, 1, TN_SHAPE(4, 5)), TN_F64));
        good = tn_gradcheck(tried, .n = 1, .in = &x);
    }
    puts(good ? "the gradient of cube is right" : tn_error()->text);
    return good ? 0 : 1;
}
