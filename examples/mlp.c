/* Training from arrays in memory: a small multilayer perceptron learns three interleaved spirals. */
#include <math.h>
#include <stdio.h>
#include <tenon.h>

enum { POINTS = 300, ARMS = 3 };

int main(void)
{
    float x[POINTS][2];
    int64_t y[POINTS];
    for (int i = 0; i < POINTS; i++) {
        const float r = (float)(i / ARMS) / (POINTS / ARMS), a = 4 * r + 2.1f * (float)(i % ARMS);
        x[i][0] = r * sinf(a);
        x[i][1] = r * cosf(a);
        y[i] = i % ARMS;
    }

    tn_seed(1);
    tn_module *net = tn_seq(tn_linear(2, 64), tn_fn(tn_tanh),
                            tn_residual(tn_seq(tn_linear(64, 64), tn_fn(tn_tanh))),
                            tn_linear(64, ARMS));
    tn_optim *opt = tn_adam(net, .lr = 0.01);
    double loss = 0, accuracy = 0;
    for (int step = 0; step < 400; step++)
        TN_SCOPE {
            tn_tensor *points = tn_from_f32(x[0], TN_SHAPE(POINTS, 2));
            tn_tensor *arms = tn_from_i64(y, TN_SHAPE(POINTS));
            tn_tensor *logits = tn_forward(net, points);
            tn_tensor *l = tn_cross_entropy(logits, arms);
            tn_backward(l);
            tn_step(opt);
            loss = tn_item(l);
            tn_tensor *guess = tn_argmax(logits, 1);
            int right = 0;
            for (int i = 0; guess && i < POINTS; i++)
                right += tn_i64(guess)[i] == y[i];
            accuracy = (double)right / POINTS;
        }
    printf("loss %.4f, accuracy %.3f\n", loss, accuracy);
    tn_free(opt, net);
    return tn_ok() && accuracy > 0.95 ? 0 : 1;
}
