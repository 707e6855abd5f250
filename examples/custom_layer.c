/* A layer of one's own: a gated linear unit, y = (x A^T + a) * sigmoid(x B^T + b), made of two Linear
 * layers and nothing that the library does not show.  docs/add-a-layer.md walks through it. */
#include <math.h>
#include <stdio.h>
#include <tenon.h>

typedef struct glu {
    tn_module base; /* first, so that a glu is a module */
    tn_module *value, *gate;
    float scale;
} glu;

static tn_tensor *glu_forward(tn_module *m, int n, tn_tensor *const *x)
{
    glu *g = (glu *)m;
    (void)n;
    tn_tensor *y = tn_mul(tn_forward(g->value, x[0]), tn_sigmoid(tn_forward(g->gate, x[0])));
    return tn_mul_scalar(y, (double)g->scale);
}

tn_module *glu_new(int64_t in, int64_t out)
{
    static const tn_module_class cls = {.name = "GLU", .size = sizeof(glu), .forward = glu_forward};
    glu *g = tn_module_new(&cls);
    if (!g)
        return NULL;
    g->scale = 2; /* a gate is one half on average */
    g->value = tn_add_child(&g->base, "value", tn_linear(in, out));
    g->gate = tn_add_child(&g->base, "gate", tn_linear(in, out));
    return tn_module_done(&g->base); /* NULL, and everything freed, when any of it failed */
}

int main(void)
{
    enum { N = 256 };
    float x[N], y[N];
    for (int i = 0; i < N; i++) {
        x[i] = 6 * (float)i / N - 3;
        y[i] = sinf(2 * x[i]);
    }
    tn_seed(1);
    tn_module *net = tn_seq(glu_new(1, 32), glu_new(32, 32), tn_linear(32, 1));
    tn_optim *opt = tn_adam(net, .lr = 0.01);
    double loss = 1;
    for (int step = 0; step < 600; step++)
        TN_SCOPE {
            tn_tensor *l = tn_mse(tn_forward(net, tn_from_f32(x, TN_SHAPE(N, 1))), tn_from_f32(y, TN_SHAPE(N, 1)));
            tn_backward(l);
            tn_step(opt);
            loss = tn_item(l);
        }
    TN_SCOPE {
        tn_summary(net, tn_zeros(TN_SHAPE(1, 1)), stdout);
    }
    printf("mean squared error %.5f\n", loss);
    tn_free(opt, net);
    return tn_ok() && loss < 0.01 ? 0 : 1;
}
