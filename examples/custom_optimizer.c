/* An optimizer of one's own: Lion (Chen et al. 2023), whose step is the sign of a blend of momentum and
 * gradient.  docs/add-an-optimizer.md walks through it. */
#include <math.h>
#include <stdio.h>
#include <tenon.h>

static bool lion_update(const tn_update *u)
{
    const float b1 = (float)u->h.beta1, b2 = (float)u->h.beta2;
    const float lr = (float)u->h.lr, decay = (float)u->h.decay;
    for (int64_t i = 0; i < u->n; i++) {
        const float blend = b1 * u->s[0][i] + (1 - b1) * u->g[i];
        u->s[0][i] = b2 * u->s[0][i] + (1 - b2) * u->g[i];
        u->p[i] -= lr * ((blend > 0 ? 1.0f : blend < 0 ? -1.0f : 0.0f) + decay * u->p[i]);
    }
    return true;
}

static const tn_optim_class lion = {
    .name = "lion",
    .states = 1,
    .defaults = {.lr = 1e-4, .beta1 = 0.9, .beta2 = 0.99},
    .update = lion_update,
};

int main(void)
{
    enum { N = 64 };
    tn_seed(1);
    tn_register_optimizer(&lion);
    tn_module *net = tn_mlp(8, 32, 2, 4);
    tn_optim *opt = tn_optim_new("lion", net, (tn_hyper){.lr = 1e-3, .decay = 1e-3});
    double first = 0, loss = 0;
    for (int step = 0; step < 300; step++)
        TN_SCOPE {
            tn_seed(2); /* the same batch each time */
            tn_tensor *x = tn_randn(0, 1, TN_SHAPE(N, 8));
            tn_tensor *y = tn_argmax(tn_slice(x, 1, 0, 4, 1), 1);
            tn_tensor *l = tn_cross_entropy(tn_forward(net, x), y);
            tn_backward(l);
            tn_step(opt);
            loss = tn_item(l);
            first = step ? first : loss;
        }
    printf("loss %.4f at first, %.4f at last\n", first, loss);
    tn_free(opt, net);
    return tn_ok() && loss < first / 4 ? 0 : 1;
}
