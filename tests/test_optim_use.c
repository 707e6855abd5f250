/* What surrounds the update rules: slabs and who owns them, groups, clipping, schedules, classes of
 * the user's, other devices, and every error.  The numbers of the rules are in test_optim.c. */
#include <math.h>

#include "optim/optim.h"
#include "optim_net.h"

static void fill_grads(tn_module *net, int i, float value)
{
    float *g = grads(net, i);
    for (int64_t j = 0; j < tn_numel(tensor(net, i)); j++)
        g[j] = value;
}

/* ---- slabs ---- */

static void slabs(void **state)
{
    (void)state;
    tn_module *net = plain_net(3, (const int64_t[]){5, 16, 7});
    weights(net, 1)[3] = 9;
    tn_optim *opt = tn_sgd(net, .lr = 1);
    for (int i = 0; i < 3; i++) {
        const tn_tensor *t = tensor(net, i);
        assert_ptr_equal(t->storage, tensor(net, 0)->storage);
        assert_ptr_equal(t->grad->storage, tensor(net, 0)->grad->storage);
        assert_int_equal(t->offset % 16, 0);
        assert_true(tn_same_shape(t, t->grad));
        assert_int_equal((uintptr_t)weights(net, i) % 64, 0);
    }
    assert_int_equal(tensor(net, 2)->offset, 32);
    assert_true(weights(net, 1)[3] == 9 && weights(net, 2)[6] == 0.5f && grads(net, 2)[6] == 0);
    /* a step zeroes the gradients and counts as a change in place */
    const uint64_t before = tensor(net, 0)->storage->version;
    fill_grads(net, 1, 2);
    assert_true(tn_step(opt));
    assert_true(weights(net, 1)[3] == 7 && grads(net, 1)[3] == 0);
    assert_true(tensor(net, 0)->storage->version > before);
    tn_free(opt, net);
}

/* A gradient that is there when the optimizer is made stays, and backward goes on into the slab. */
static void gradients(void **state)
{
    (void)state;
    tn_module *net = plain_net(2, (const int64_t[]){4, 3});
    TN_SCOPE {
        assert_true(tn_backward(tn_sum(tn_square(tensor(net, 1)), TN_ALL, false)));
        tn_optim *opt = tn_sgd(net, .lr = 0.25);
        const tn_storage *slab = tensor(net, 0)->grad->storage;
        assert_true(grads(net, 1)[2] == 1 && grads(net, 0)[0] == 0);
        assert_true(tn_backward(tn_sum(tn_square(tensor(net, 1)), TN_ALL, false)));
        assert_ptr_equal(tensor(net, 1)->grad->storage, slab);
        assert_true(grads(net, 1)[2] == 2);
        assert_true(tn_step(opt));
        assert_true(weights(net, 1)[2] == 0 && weights(net, 0)[0] == 0.5f);
        tn_zero_grads(opt);
        /* what forward saved is stale after a step */
        tn_tensor *loss = tn_sum(tn_square(tensor(net, 0)), TN_ALL, false);
        assert_true(tn_step(opt));
        assert_false(tn_backward(loss));
        expect_error("changed in place");
        tn_free(opt);
    }
    tn_free(net);
}

static void any_order(void **state)
{
    (void)state;
    for (int order = 0; order < 6; order++) {
        tn_module *net = plain_net(2, (const int64_t[]){4, 3});
        tn_optim *a = tn_adam(net, .lr = 0.1), *b = tn_sgd(net, .lr = 1, .momentum = 0.5);
        void *objects[] = {net, a, b};
        assert_ptr_equal(tensor(net, 0)->storage, a->params);
        assert_ptr_equal(a->params, b->params); /* one slab for both */
        fill_grads(net, 0, 1);
        assert_true(tn_step(b));
        assert_true(weights(net, 0)[0] == -0.5f);
        fill_grads(net, 0, 1);
        assert_true(tn_step(a));
        tn_free(objects[order % 3]);
        const int second = (order % 3 + 1 + order / 3) % 3;
        tn_free(objects[second]);
        tn_free(objects[3 - order % 3 - second]);
    }
    /* an optimizer outlives its module, but a step without one is a mistake */
    tn_module *net = plain_net(1, (const int64_t[]){4});
    tn_optim *opt = tn_adam(net, .lr = 0.1);
    tn_free(net);
    assert_true(tn_grad_norm(opt) == 0);
    assert_false(tn_step(opt));
    expect_error("make the optimizer after that");
    assert_int_equal(tn_steps_done(opt), 0);
    tn_free(opt);
}

static void part_of_a_slab(void **state)
{
    (void)state;
    tn_module *net = plain_net(3, (const int64_t[]){5, 6, 7});
    tn_optim *all = tn_sgd(net, .lr = 1);
    assert_int_equal(tn_set_trained(net, "w1", false), 1);
    tn_optim *ends = tn_sgd(net, .lr = 0.5);
    assert_ptr_equal(ends->params, all->params);
    assert_int_equal(ends->n_ranges, 2);
    for (int i = 0; i < 3; i++)
        fill_grads(net, i, 1);
    assert_true(fabs(tn_grad_norm(ends) - sqrt(12)) < 1e-12);
    assert_true(tn_step(ends));
    assert_true(weights(net, 0)[4] == 0 && weights(net, 1)[0] == 0.5f && weights(net, 2)[0] == 0);
    assert_true(grads(net, 1)[0] == 1 && grads(net, 2)[6] == 0);
    assert_true(tn_step(all));
    assert_true(weights(net, 1)[0] == -0.5f);
    tn_set_trained(net, "*", false);
    assert_null(tn_sgd(net, .lr = 1));
    expect_error("sgd: the module has no trained parameters");
    tn_free(net, all, ends);
}

/* ---- groups ---- */

static void groups(void **state)
{
    (void)state;
    tn_module *net = plain_net(4, (const int64_t[]){16, 16, 16, 3});
    tn_optim *opt = tn_sgd(net, .lr = 1, .decay = 0.5);
    assert_int_equal(opt->n_ranges, 1);
    assert_int_equal(tn_group(opt, .pattern = "w[", .lr_scale = 2), 0);
    assert_int_equal(tn_group(opt, .pattern = "w?", .lr_scale = 0.5), 4);
    assert_int_equal(opt->n_ranges, 1);
    assert_int_equal(tn_group(opt, .pattern = "w1", .decay = TN_ZERO), 1);
    assert_int_equal(tn_group(opt, .pattern = "w2", .lr_scale = TN_ZERO), 1);
    assert_int_equal(tn_group(opt, .pattern = "w3", .lr_scale = 2, .decay = 0.25), 1);
    assert_int_equal(opt->n_ranges, 4);
    for (int i = 0; i < 4; i++)
        fill_grads(net, i, 1);
    assert_true(fabs(tn_grad_norm(opt) - sqrt(35)) < 1e-12); /* the frozen 16 do not count */
    assert_true(tn_step(opt));
    assert_true(weights(net, 0)[0] == 0.5f - 0.5f * 1.25f);
    assert_true(weights(net, 1)[0] == 0.5f - 0.5f); /* later decay, earlier rate */
    assert_true(weights(net, 2)[0] == 0.5f && grads(net, 2)[0] == 0);
    assert_true(weights(net, 3)[0] == 0.5f - 2 * 1.125f);
    /* thawed again */
    assert_int_equal(tn_group(opt, .pattern = "w2", .lr_scale = 1, .has_decay = true), 1);
    fill_grads(net, 2, 1);
    assert_true(tn_step(opt));
    assert_true(weights(net, 2)[0] == -0.5f);

    assert_int_equal(tn_group(opt, .pattern = NULL, .lr_scale = 1), -1);
    expect_error("no pattern");
    assert_int_equal(tn_group(opt, .pattern = "w1"), -1);
    expect_error("neither lr_scale nor decay");
    assert_int_equal(tn_group(opt, .pattern = "w1", .lr_scale = -1), -1);
    expect_error("lr_scale is -1");
    assert_int_equal(tn_group(opt, .pattern = "w1", .decay = NAN), -1);
    expect_error("decay is nan");
    tn_free(opt, net);
}

/* ---- clipping ---- */

static void clipping(void **state)
{
    (void)state;
    tn_module *net = plain_net(2, (const int64_t[]){40000, 9});
    tn_optim *opt = tn_sgd(net, .lr = 1);
    double exact = 0;
    for (int i = 0; i < 2; i++)
        for (int64_t j = 0; j < tn_numel(tensor(net, i)); j++) {
            const float g = (float)((j * 7919) % 101) - 50;
            grads(net, i)[j] = g;
            exact += (double)g * (double)g; /* integers: exact in any order */
        }
    assert_true(tn_grad_norm(opt) == sqrt(exact));
    assert_true(tn_clip_norm(opt, 1e9) == sqrt(exact));
    assert_true(grads(net, 1)[0] == -50);
    assert_true(tn_clip_norm(opt, 25) == sqrt(exact));
    assert_true(fabs(tn_grad_norm(opt) - 25) < 1e-5);
    assert_true(fabs((double)grads(net, 1)[0] / -50 - 25 / (sqrt(exact) + 1e-6)) < 1e-9);
    grads(net, 0)[7] = -3;
    grads(net, 0)[8] = INFINITY;
    grads(net, 0)[9] = NAN;
    assert_true(tn_clip_value(opt, 0.5));
    assert_true(grads(net, 0)[7] == -0.5f && grads(net, 0)[8] == 0.5f && isnan(grads(net, 0)[9]));
    assert_true(isnan(tn_grad_norm(opt)));
    assert_true(tn_ok());
    assert_true(isnan(tn_clip_norm(opt, 0)));
    expect_error("clip_norm: max is 0");
    assert_false(tn_clip_value(opt, NAN));
    expect_error("clip_value: max is nan");
    tn_free(opt, net);
}

/* ---- schedules ---- */

static void near(double a, double b)
{
    if (!(fabs(a - b) <= 1e-15 + 1e-12 * fabs(b)))
        fail_msg("%.17g is not %.17g", a, b);
}

static void schedules(void **state)
{
    (void)state;
    const tn_schedule cifar = {TN_MULTISTEP, .base = 0.1, .at = {81, 122}};
    near(tn_schedule_at(&cifar, 80), 0.1);
    near(tn_schedule_at(&cifar, 81), 0.01);
    near(tn_schedule_at(&cifar, 163), 0.001);
    near(tn_schedule_at(&(tn_schedule){TN_MULTISTEP, .base = 1, .at = {3}, .factor = 0.5}, 3), 0.5);
    near(tn_schedule_at(&(tn_schedule){TN_CONSTANT, .base = 0.3}, 1e9), 0.3);

    /* the translation runs of the RAdam paper */
    const tn_schedule nmt = {TN_LINEAR, .base = 3e-4, .warmup = 4000, .init = 1e-8,
                             .total = 70000, .min = 1e-9};
    near(tn_schedule_at(&nmt, 0), 1e-8);
    near(tn_schedule_at(&nmt, 1000), 1e-8 + 1000 * (3e-4 - 1e-8) / 4000);
    near(tn_schedule_at(&nmt, 4000), 3e-4);
    near(tn_schedule_at(&nmt, 37000), (3e-4 - 1e-9) * 0.5 + 1e-9);
    near(tn_schedule_at(&nmt, 70000), 1e-9);
    near(tn_schedule_at(&nmt, 80000), 1e-9);
    const tn_schedule vanilla = {TN_LINEAR, .base = 3e-4, .warmup = 1, .init = 3e-4,
                                 .total = 70000, .min = 1e-9};
    near(tn_schedule_at(&vanilla, 0), 3e-4);
    near(tn_schedule_at(&vanilla, 1), 3e-4);

    const tn_schedule root = {TN_INVERSE_SQRT, .base = 5e-4, .warmup = 4000, .init = 1e-7};
    near(tn_schedule_at(&root, 2000), 1e-7 + 2000 * (5e-4 - 1e-7) / 4000);
    near(tn_schedule_at(&root, 4000), 5e-4);
    near(tn_schedule_at(&root, 16000), 2.5e-4);
    near(tn_schedule_at(&(tn_schedule){TN_INVERSE_SQRT, .base = 1}, 0), 1);
    near(tn_schedule_at(&(tn_schedule){TN_INVERSE_SQRT, .base = 1}, 100), 0.1);

    const tn_schedule cosine = {TN_COSINE, .base = 1, .warmup = 10, .total = 110, .min = 0.2};
    near(tn_schedule_at(&cosine, 5), 0.5);
    near(tn_schedule_at(&cosine, 10), 1);
    near(tn_schedule_at(&cosine, 60), 0.6);
    near(tn_schedule_at(&cosine, 35), 0.2 + 0.4 * (1 + sqrt(0.5)));
    near(tn_schedule_at(&cosine, 500), 0.2);

    assert_true(isnan(tn_schedule_at(NULL, 1)));
    assert_true(isnan(tn_schedule_at(&(tn_schedule){TN_COSINE, .base = 1}, 1)));
    expect_error("schedule: total is 0; it must be more than warmup");
    assert_true(isnan(tn_schedule_at(&(tn_schedule){(tn_schedule_kind)77, .base = 1}, 1)));
    expect_error("77 is not a kind");
}

/* ---- options that are refused ---- */

static void bad_options(void **state)
{
    const struct { const char *rule; tn_hyper h; const char *error; } list[] = {
        {"sgd", {.lr = -0.1}, "sgd: lr is -0.1; it must be a number >= 0"},
        {"sgd", {.lr = NAN}, "sgd: lr is nan"},
        {"sgd", {.lr = INFINITY}, "sgd: lr is inf"},
        {"sgd", {.momentum = 1}, "sgd: momentum is 1; it must be in [0, 1)"},
        {"sgd", {.momentum = 0.5, .dampening = 2}, "sgd: dampening is 2; it must be in [0, 1]"},
        {"sgd", {.nesterov = true}, "nesterov needs momentum and no dampening"},
        {"sgd", {.momentum = 0.9, .dampening = 0.1, .nesterov = true}, "nesterov needs momentum"},
        {"sgd", {.beta1 = 0.9}, "sgd: beta1 is not an option of this rule; it has: lr momentum"},
        {"sgd", {.eps = TN_ZERO}, "sgd: eps is not an option"},
        {"adam", {.beta1 = 1}, "adam: beta1 is 1; it must be in [0, 1)"},
        {"adam", {.beta2 = -0.5}, "adam: beta2 is -0.5"},
        {"adam", {.eps = -1e-8}, "adam: eps is -1e-08"},
        {"adam", {.decay = -1}, "adam: decay is -1"},
        {"adam", {.warmup_steps = -1}, "adam: warmup_steps is -1"},
        {"adam", {.freeze_steps = NAN}, "adam: freeze_steps is nan"},
        {"adam", {.warmup = (tn_warmup)2}, "adam: warmup is 2; it must be in [0, 1]"},
        {"adam", {.nesterov = true}, "adam: nesterov is not an option"},
        {"adam", {.threshold = TN_RHO_OVER_4}, "adam: threshold is not an option"},
        {"adamw", {.coupled = true}, "adamw: coupled is not an option"},
        {"radam", {.coupled = true, .decoupled = true}, "coupled and decoupled are both set"},
        {"radam", {.warmup_steps = 100}, "radam: warmup_steps is not an option"},
        {"radam", {.threshold = (tn_rho)3}, "radam: threshold is 3"},
        {"rmsprop", {.alpha = 1.5}, "rmsprop: alpha is 1.5"},
        {"nadam", {.momentum_decay = -1}, "nadam: momentum_decay is -1"},
        {"adagrad", {.initial = -1}, "adagrad: initial is -1"},
        {"adadelta", {.rho = 1}, "adadelta: rho is 1; it must be in [0, 1)"},
        {"radm", {.lr = 1}, "'radam'"},
        {"zzzzzzzz", {.lr = 1}, "sgd, adam, adamw, radam, rmsprop, nadam, adagrad, adadelta"},
        {NULL, {.lr = 1}, "optimizer"},
    };
    (void)state;
    tn_module *net = plain_net(1, (const int64_t[]){4});
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        assert_null(tn_optim_new(list[i].rule, net, list[i].h));
        assert_int_equal(tn_error()->code, TN_EARG);
        expect_error(list[i].error);
    }
    assert_null(tn_optim_new("sgd", NULL, (tn_hyper){0}));
    assert_true(tn_ok());
    tn_optim *opt = tn_sgd(net, .lr = 1);
    tn_set_lr(opt, -2);
    expect_error("sgd: lr is -2");
    assert_true(tn_lr(opt) == 1);
    tn_set_lr(opt, 0);
    assert_true(tn_lr(opt) == 0 && tn_ok());
    tn_free(opt, net);
}

static void refuses_while_an_error_is_set(void **state)
{
    (void)state;
    tn_module *net = plain_net(1, (const int64_t[]){4});
    tn_optim *opt = tn_sgd(net, .lr = 1);
    fill_grads(net, 0, 1);
    tn_fail(TN_EARG, "before");
    assert_false(tn_step(opt));
    assert_true(isnan(tn_clip_norm(opt, 1)));
    assert_string_equal(tn_error()->text, "before");
    tn_error_clear();
    assert_int_equal(tn_steps_done(opt), 0);
    assert_true(weights(net, 0)[0] == 0.5f && grads(net, 0)[0] == 1);
    assert_true(tn_step(opt));
    assert_false(tn_step(NULL));
    assert_true(tn_ok());
    tn_free(opt, net);
}

/* ---- memory that runs out at any allocation ---- */

static bool whole_life(tn_module *net)
{
    bool ok = false;
    tn_optim *opt = tn_adam(net, .lr = 0.1);
    TN_SCOPE {
        tn_named list[4];
        char names[4][256];
        ok = opt && tn_group(opt, .pattern = "w1", .lr_scale = 2) == 1 &&
             tn_clip_norm(opt, 1) >= 0 && tn_optim_state(opt, 4, list, names) == 4 && tn_step(opt);
    }
    tn_free(opt);
    return ok;
}

static void failing_allocations(void **state)
{
    (void)state;
    bool done = false;
    for (long n = 0; !done; n++) {
        tn_module *net = plain_net(2, (const int64_t[]){40, 3});
        assert_true(n < 200);
        tn__fail_alloc_after(n);
        done = whole_life(net);
        tn__fail_alloc_after(-1);
        if (!done) {
            assert_int_equal(tn_error()->code, TN_ENOMEM);
            tn_error_clear();
            assert_true(weights(net, 0)[39] == 0.5f && weights(net, 1)[2] == 0.5f);
            assert_true(whole_life(net)); /* nothing was left half done */
        }
        tn_free(net);
    }
}

/* ---- classes of the user's ---- */

static int updates;
static bool sign_update(const tn_update *u)
{
    updates++;
    for (int64_t i = 0; i < u->n; i++) {
        u->s[0][i] += 1;
        u->p[i] -= (float)u->h.lr * (u->g[i] > 0 ? 1.0f : u->g[i] < 0 ? -1.0f : 0.0f);
    }
    return u->h.momentum < 0.8 || tn_fail(TN_ENUM, "too fast in step %d", (int)u->t);
}

static void own_class(void **state)
{
    static const tn_optim_class sign = {
        .name = "sign", .states = 1, .defaults = {.lr = 0.25}, .update = sign_update};
    const tn_optim_class more = {.name = "more", .states = 4, .update = sign_update};
    int n;
    (void)state;
    assert_true(tn_register_optimizer(&sign));
    assert_false(tn_register_optimizer(&sign));
    expect_error("the name 'sign' is taken");
    assert_false(tn_register_optimizer(&(tn_optim_class){.name = "adam", .update = sign_update}));
    expect_error("the name 'adam' is taken");
    assert_false(tn_register_optimizer(&more));
    expect_error("more: 4 states; 0 to 3");
    assert_false(tn_register_optimizer(&(tn_optim_class){.name = "none"}));
    expect_error("needs a name and an update");
    const char *const *names = tn_optimizers(&n);
    assert_string_equal(names[n - 1], "sign");

    tn_module *net = plain_net(3, (const int64_t[]){5, 16, 7});
    tn_optim *opt = tn_optim_new("sign", net, (tn_hyper){.momentum = 0.5});
    assert_int_equal(tn_group(opt, .pattern = "w2", .lr_scale = 2), 1);
    assert_int_equal(tn_group(opt, .pattern = "w0", .lr_scale = TN_ZERO), 1);
    for (int i = 0; i < 3; i++)
        fill_grads(net, i, -3);
    assert_true(tn_step(opt));
    assert_int_equal(updates, 2);
    assert_true(weights(net, 0)[0] == 0.5f && weights(net, 1)[15] == 0.75f);
    assert_true(weights(net, 2)[6] == 1);
    assert_true(grads(net, 0)[0] == 0 && grads(net, 2)[6] == 0);
    tn_free(opt);
    opt = tn_optim_new("sign", net, (tn_hyper){.momentum = 0.9});
    assert_false(tn_step(opt));
    expect_error("too fast in step 1");
    assert_null(tn_optim_new("sihn", net, (tn_hyper){0}));
    expect_error("'sign'");
    tn_free(opt, net);
}

/* ---- another backend: the CPU under another name, counting ---- */

static int rule_calls;
static bool counted_rule(const tn__rule_call *c)
{
    rule_calls++;
    assert_int_equal(c->device, 1);
    return tn__cpu.rule(c);
}

static void other_backend(void **state)
{
    tn_backend other = tn__cpu;
    (void)state;
    other.name = "other";
    other.rule = counted_rule;
    tn_module *net = plain_net(3, (const int64_t[]){70000, 16, 7});
    tn_optim *stale = tn_sgd(net, .lr = 1);
    assert_true(tn_to(net, (tn_device){&other, 1}));
    assert_false(tn_step(stale));
    expect_error("moved with tn_to()");
    tn_optim *opt = tn_sgd(net, .lr = 1);
    assert_int_equal(tn_group(opt, .pattern = "w2", .lr_scale = 2), 1);
    assert_true(tn_step(opt));
    assert_int_equal(rule_calls, 2); /* whole ranges, no chunks */
    assert_null(tn_f32(tensor(net, 0)));
    expect_error("the tensor is on other");
    assert_true(tn_copy_(tensor(net, 1)->grad, tn_full(3, TN_F32, TN_SHAPE(16))));
    assert_true(tn_grad_norm(opt) == 12);
    assert_true(tn_clip_value(opt, 2));
    assert_true(fabs(tn_clip_norm(opt, 1) - 8) < 1e-6 && fabs(tn_grad_norm(opt) - 1) < 1e-6);
    assert_true(tn_step(opt));
    assert_true(fabs(tn_at(tensor(net, 1), (const int64_t[]){5}) - 0.25) < 1e-6);
    tn_optim *sign = tn_optim_new("sign", net, (tn_hyper){0});
    assert_false(tn_step(sign));
    expect_error("sign: registered optimizers run on the CPU");
    tn_free(sign, opt, stale, net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slabs),       cmocka_unit_test(gradients),
        cmocka_unit_test(any_order),   cmocka_unit_test(part_of_a_slab),
        cmocka_unit_test(groups),      cmocka_unit_test(clipping),
        cmocka_unit_test(schedules),   cmocka_unit_test(bad_options),
        cmocka_unit_test(own_class),   cmocka_unit_test(refuses_while_an_error_is_set),
        cmocka_unit_test(other_backend), cmocka_unit_test(failing_allocations),
    };
    tn_on_error(NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
