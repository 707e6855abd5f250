/* ResNet-20 against PyTorch: from the same weights and batches, the same gradients, statistics, outputs
 * and losses, and a checkpoint that PyTorch takes.  tests/parity/resnet20.py wrote the references in
 * float64, and beside them how far float32 is from them in PyTorch: that distance is the measure here. */
#include "parity.h"

#include <stdlib.h>
#include <sys/wait.h>

enum { BATCH = 8, SIDE = 32, CHANNELS = 3 };

/* ---- the data: "formula" of resnet20.json ---- */

static int64_t label_of(uint64_t n) { return (int64_t)(splitmix64((2ull << 32) + n) % 10); }

static int pixel_of(uint64_t n, int y, int x, int c)
{
    const uint64_t i = ((n * SIDE + (uint64_t)y) * SIDE + (uint64_t)x) * CHANNELS + (uint64_t)c;
    return (int)(splitmix64((1ull << 32) + i) >> 57) + 12 * (int)((label_of(n) + 3 * c + y / 8) % 10);
}

static void make_batch(int b, tn_tensor **x, tn_tensor **y)
{
    *x = tn_empty(TN_F32, TN_SHAPE(BATCH, SIDE, SIDE, CHANNELS));
    *y = tn_empty(TN_I64, TN_SHAPE(BATCH));
    float *p = tn_f32(*x);
    for (int k = 0; k < BATCH; k++) {
        const uint64_t n = (uint64_t)(BATCH * b + k);
        tn_i64(*y)[k] = label_of(n);
        for (int i = 0; i < SIDE * SIDE * CHANNELS; i++) {
            const int c = i % CHANNELS;
            const double v = (double)pixel_of(n, i / (SIDE * CHANNELS), i / CHANNELS % SIDE, c);
            *p++ = (float)((v / 255 - number_at(json, "mean", c)) / number_at(json, "std", c));
        }
    }
}

static void test_batches_are_those_of_pytorch(void **state)
{
    (void)state;
    tn_safetensors *f = tn_safetensors_open(PARITY "resnet20-grads.safetensors");
    TN_SCOPE {
        const uint8_t *pixels = tn_u8(tn_safetensors_read(f, "input.pixels"));
        const int64_t *labels = tn_i64(tn_safetensors_read(f, "input.labels"));
        assert_ok();
        for (int k = 0; k < BATCH; k++)
            assert_int_equal(labels[k], label_of((uint64_t)k));
        for (int i = 0; i < BATCH * SIDE * SIDE * CHANNELS; i++) {
            const uint64_t n = (uint64_t)(i / (SIDE * SIDE * CHANNELS));
            const int y = i / (SIDE * CHANNELS) % SIDE, x = i / CHANNELS % SIDE;
            assert_int_equal(pixels[i], pixel_of(n, y, x, i % CHANNELS));
        }
    }
    tn_free(f);
}

/* ---- one step ---- */

static tn_module *network(void)
{
    tn_module *net = tn_resnet20(10);
    assert_true(tn_load(net, PARITY "resnet20-init.safetensors", .strict = true));
    return net;
}

/* ||a - b|| / ||b|| */
static double relative(const tn_tensor *a, const tn_tensor *b)
{
    const size_t n = (size_t)tn_numel(a);
    double *x = malloc(2 * n * sizeof *x), *y = x + n, gap = 0, norm = 0;
    assert_true(x && tn_same_shape(a, b) && tn_read_f64(a, x) && tn_read_f64(b, y));
    for (size_t i = 0; i < n; i++) {
        gap += (x[i] - y[i]) * (x[i] - y[i]);
        norm += y[i] * y[i];
    }
    free(x);
    return sqrt(gap / norm);
}

typedef struct comparison {
    tn_safetensors *want;
    double gradients, statistics; /* the worst tensor of each */
} comparison;

static bool compare_one(void *arg, const char *path, tn_param *p)
{
    comparison *c = arg;
    TN_SCOPE {
        tn_tensor *want = tn_safetensors_read(c->want, path);
        if (p->conv_layout)
            want = tn_permute(want, 4, (const int64_t[]){0, 2, 3, 1});
        if (p->buffer)
            c->statistics = fmax(c->statistics, relative(&p->t, want));
        else
            c->gradients = fmax(c->gradients, relative(p->t.grad, want));
    }
    return true;
}

static void test_gradients_statistics_and_outputs(void **state)
{
    (void)state;
    const json_t *first = json_object_get(json, "first_batch");
    const json_t *spread = json_object_get(first, "float32_rel_diff");
    const double outputs = number(spread, "train_logits");
    tn_module *net = network();
    comparison c = {.want = tn_safetensors_open(PARITY "resnet20-grads.safetensors")};
    TN_SCOPE {
        tn_tensor *x, *y;
        make_batch(0, &x, &y);
        tn_tensor *logits = tn_forward(net, x), *loss = tn_cross_entropy(logits, y);
        tn_tensor *want = tn_safetensors_read(c.want, "output.train_logits");
        assert_true(tn_backward(loss));
        assert_within("loss", fabs(tn_item(loss) / number(first, "loss") - 1), outputs, SLACK_ONE);
        assert_within("training logits", relative(logits, want), outputs, SLACK_ONE);
        tn_each_param(net, compare_one, &c);
        assert_within("gradients", c.gradients, number(spread, "gradients"), SLACK_ONE);
        assert_within("running statistics", c.statistics, number(spread, "running_stats"), SLACK_ONE);
        tn_eval(net);
        want = tn_safetensors_read(c.want, "output.eval_logits");
        assert_within("eval logits", relative(tn_forward(net, x), want), number(spread, "eval_logits"),
                      SLACK_ONE);
    }
    assert_ok();
    tn_free(net, c.want);
}

/* ---- twenty steps ---- */

static tn_tensor *loss_of(tn_module *net, int b)
{
    tn_tensor *x, *y;
    make_batch(b, &x, &y);
    return tn_cross_entropy(tn_forward(net, x), y);
}

static void test_sgd(void **state)
{
    (void)state;
    tn_module *net = network();
    tn_optim *opt = tn_sgd(net, .lr = .1, .momentum = .9, .decay = 1e-4);
    twenty_steps("sgd", net, opt, loss_of);
    tn_free(opt, net);
}

static void test_sgd_small(void **state)
{
    (void)state;
    tn_module *net = network();
    tn_optim *opt = tn_sgd(net, .lr = 1e-3, .momentum = .9, .decay = 1e-4);
    twenty_steps("sgd_small", net, opt, loss_of);
    tn_free(opt, net);
}

static void test_adam(void **state)
{
    (void)state;
    tn_module *net = network();
    tn_optim *opt = tn_adam(net, .lr = 1e-3, .decay = 1e-4, .eps_inside = true);
    twenty_steps("adam", net, opt, loss_of);
    tn_free(opt, net);
}

static void test_adamw(void **state)
{
    (void)state;
    tn_module *net = network();
    tn_optim *opt = tn_adamw(net, .lr = 1e-3, .decay = 1e-2, .eps_inside = true);
    twenty_steps("adamw", net, opt, loss_of);
    tn_free(opt, net);
}

static void test_radam(void **state)
{
    (void)state;
    tn_module *net = network();
    tn_optim *opt = tn_radam(net, .lr = 1e-2, .threshold = TN_RHO_OVER_5);
    twenty_steps("radam", net, opt, loss_of);
    tn_free(opt, net);
}

/* ---- weights back to PyTorch ---- */

static void test_pytorch_takes_our_checkpoint(void **state)
{
    (void)state;
    const char *file = TN_BINARY_DIR "/parity.safetensors", *logits = TN_BINARY_DIR "/parity-logits.npy";
    char command[1024];
    tn_module *net = network();
    TN_SCOPE {
        tn_tensor *x, *y;
        make_batch(0, &x, &y);
        tn_forward(net, x); /* one training step of the statistics */
        tn_eval(net);
        assert_true(tn_save(net, file) && tn_save_npy(tn_forward(net, x), logits));
    }
    tn_free(net);
    snprintf(command, sizeof command,
             "cd '%s' && PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 check_state_dict.py '%s' '%s'", PARITY,
             file, logits);
    const int status = system(command);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(status, 0);
}

static int load(void **state) { return load_json(state, "resnet20.json"); }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batches_are_those_of_pytorch),
        cmocka_unit_test(test_gradients_statistics_and_outputs),
        cmocka_unit_test(test_sgd),
        cmocka_unit_test(test_sgd_small),
        cmocka_unit_test(test_adam),
        cmocka_unit_test(test_adamw),
        cmocka_unit_test(test_radam),
        cmocka_unit_test(test_pytorch_takes_our_checkpoint),
    };
    return cmocka_run_group_tests(tests, load, drop_json);
}
