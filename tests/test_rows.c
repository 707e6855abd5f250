/* Tables whose rows wait (tn_param_sparse): every rule, with the settings that change how it treats a zero gradient,
 * gives the bits of an optimizer that never waits, whoever looks when. */
#include <math.h>

#include "check.h"
#include "optim/optim.h"
#include "tensor/internal.h"

enum { COUNT = 70, DIM = 13, OUT = 5, MOST = 12 };

typedef struct pair {
    tn_module *net[2]; /* dense, sparse */
    tn_optim *opt[2];
} pair;

/* An embedding between two layers in path order, so that the table lies in the middle of the slab. */
static tn_tensor *net_forward(tn_module *m, int n, tn_tensor *const *x)
{
    (void)n;
    tn_tensor *y = tn_forward(tn_find_module(m, "table"), x[0]);
    return tn_forward(tn_find_module(m, "out"), tn_add(y, &tn_find_param(m, "bias")->t));
}

static const tn_module_class net_class = {.name = "Net", .size = sizeof(tn_module), .forward = net_forward};

static tn_module *net_new(bool sparse, int64_t count)
{
    tn_seed(7);
    tn_module *net = tn_module_new(&net_class);
    tn_param_new(net, "bias", (tn_init){TN_INIT_NORMAL, 0, 1, false}, TN_SHAPE(DIM));
    tn_add_child(net, "table", tn_embedding(count, DIM, .sparse = sparse));
    tn_add_child(net, "out", tn_linear(DIM, OUT));
    return tn_module_done(net);
}

static pair pair_new(const char *rule, tn_hyper h, int64_t count)
{
    pair p = {0};
    for (int i = 0; i < 2; i++) {
        p.net[i] = net_new(i == 1, count);
        p.opt[i] = tn_optim_new(rule, p.net[i], h);
        assert_non_null(p.opt[i]);
    }
    return p;
}

static void pair_free(pair *p) { tn_free(p->opt[0], p->net[0], p->opt[1], p->net[1]); }

/* ---- a problem ---- */

static uint32_t random_state;
static uint32_t random_below(uint32_t n)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)(random_state >> 8) * n >> 24);
}

/* Words of a batch: low ones often, most rarely, the last row never. */
static int64_t words(int64_t step, int64_t count, int64_t w[MOST])
{
    random_state = (uint32_t)step * 2654435761u + 12345;
    const int64_t n = random_below(MOST);
    for (int64_t i = 0; i < n; i++)
        w[i] = random_below(4) ? random_below(4) : random_below((uint32_t)count - 1);
    return n;
}

static void backward(tn_module *net, int64_t step, int64_t count)
{
    int64_t w[MOST];
    TN_SCOPE {
        const int64_t n = words(step, count, w);
        tn_tensor *y = tn_forward(net, tn_from_i64(w, TN_SHAPE(n)));
        tn_backward(tn_sum(tn_mul(y, y), TN_ALL, false));
    }
}

typedef struct plan {
    int passes;     /* of backward before a step */
    double clip, clamp;
    bool schedule;
} plan;

static void train(pair *p, int64_t from, int64_t to, int64_t count, const plan *how)
{
    for (int64_t t = from; t <= to; t++) {
        double norm[2] = {0, 0};
        for (int i = 0; i < 2; i++) {
            for (int k = 0; k < how->passes; k++)
                backward(p->net[i], t * how->passes + k, count);
            if (how->clip > 0)
                norm[i] = tn_clip_norm(p->opt[i], how->clip);
            if (how->clamp > 0)
                tn_clip_value(p->opt[i], how->clamp);
            if (how->schedule)
                tn_set_lr(p->opt[i], 0.01 * (double)(1 + t % 7));
            tn_step(p->opt[i]);
        }
        assert_ok();
        assert_true(norm[0] == norm[1] || (isnan(norm[0]) && isnan(norm[1])));
    }
}

/* ---- comparing ---- */

static void same_bits(const tn_tensor *a, const tn_tensor *b, const char *what, const char *path)
{
    const float *x = tn_data(a), *y = tn_data(b);
    assert_true(tn_same_shape(a, b));
    for (int64_t i = 0; i < tn_numel(a); i++)
        if (memcmp(&x[i], &y[i], sizeof *x) != 0)
            fail_msg("%s: element %lld of %s is %.9g, dense %.9g", what, (long long)i, path, (double)y[i], (double)x[i]);
}

static void same_states(pair *p, const char *what)
{
    tn_named a[16], b[16];
    char names[2][16][256];
    TN_SCOPE {
        const int n = tn_optim_state(p->opt[0], 16, a, names[0]);
        assert_int_equal(tn_optim_state(p->opt[1], 16, b, names[1]), n);
        for (int i = 0; i < n; i++)
            same_bits(a[i].t, b[i].t, what, names[0][i]);
    }
}

static void same(pair *p, const char *what)
{
    static const char *const paths[] = {"bias", "table.weight", "out.weight", "out.bias"};
    for (int i = 0; i < 4; i++) {
        const tn_param *a = tn_find_param(p->net[0], paths[i]), *b = tn_find_param(p->net[1], paths[i]);
        same_bits(&a->t, &b->t, what, paths[i]);
        if (a->t.grad)
            same_bits(a->t.grad, b->t.grad, what, paths[i]);
    }
    same_states(p, what);
}

/* ---- every rule ---- */

static const struct { const char *rule; tn_hyper h; } settings[] = {
    {"sgd", {.lr = .05}},
    {"sgd", {.lr = .05, .momentum = .9}},
    {"sgd", {.lr = .05, .momentum = .9, .nesterov = true, .decay = 1e-3}},
    {"sgd", {.lr = .05, .momentum = .5, .dampening = .3}},
    {"adam", {.lr = .01}},
    {"adam", {.lr = .01, .beta1 = .5, .beta2 = .7, .eps = 1e-4, .eps_inside = true}},
    {"adam", {.lr = .01, .eps = TN_ZERO}},
    {"adam", {.lr = .01, .beta1 = TN_ZERO, .beta2 = TN_ZERO}},
    {"adam", {.lr = .01, .decay = 1e-2}},
    {"adam", {.lr = .01, .warmup_steps = 30, .freeze_steps = 20}},
    {"adamw", {.lr = .01}},
    {"adamw", {.lr = .01, .decay = 1e-9}},
    {"radam", {.lr = .01}},
    {"radam", {.lr = .01, .decay = 1e-2}},
    {"radam", {.lr = .01, .coupled = true, .decay = 1e-2}},
    {"radam", {.lr = .01, .beta2 = .5, .degenerate = TN_DEGENERATE_SKIP}},
    {"rmsprop", {.lr = .01}},
    {"rmsprop", {.lr = .01, .momentum = .8, .centered = true}},
    {"rmsprop", {.lr = .01, .momentum = .8, .centered = true, .eps = TN_ZERO}},
    {"rmsprop", {.lr = .01, .alpha = .5, .decay = 1e-3}},
    {"nadam", {.lr = .01}},
    {"nadam", {.lr = .01, .beta1 = .5, .decay = 1e-2, .decoupled = true}},
    {"adagrad", {.lr = .1}},
    {"adagrad", {.lr = .1, .lr_decay = .01, .initial = .1, .decay = 1e-3}},
    {"adadelta", {.lr = 1}},
    {"adadelta", {.lr = 1, .rho = .5, .eps = 1e-3, .decay = 1e-3}},
};
enum { SETTINGS = sizeof settings / sizeof *settings };

static void every_rule(void **state)
{
    const plan plans[] = {{.passes = 1}, {.passes = 2, .clip = 3, .schedule = true}, {.passes = 1, .clamp = .01}};
    (void)state;
    for (int i = 0; i < SETTINGS; i++)
        for (int k = 0; k < 3; k++) {
            char what[64];
            snprintf(what, sizeof what, "setting %d (%s), plan %d", i, settings[i].rule, k);
            pair p = pair_new(settings[i].rule, settings[i].h, COUNT);
            same(&p, what);
            train(&p, 1, 3, COUNT, &plans[k]);
            same(&p, what);
            train(&p, 4, 40, COUNT, &plans[k]); /* nobody looks in between but the net */
            same(&p, what);
            train(&p, 41, 240, COUNT, &plans[k]);
            same(&p, what);
            pair_free(&p);
        }
}

/* Gaps beyond the history, and beyond the point where momentum is subnormal. */
static void long_gaps(void **state)
{
    (void)state;
    for (int i = 0; i < SETTINGS; i++) {
        pair p = pair_new(settings[i].rule, settings[i].h, 900);
        train(&p, 1, 1300, 900, &(plan){.passes = 1, .schedule = i % 2});
        same(&p, settings[i].rule);
        train(&p, 1301, 1450, 900, &(plan){.passes = 1, .clip = 1});
        same(&p, settings[i].rule);
        pair_free(&p);
    }
}

/* ---- a replay alone, with numbers that no training meets soon ---- */

enum { ELEMENTS = 90, STEPS = 700 };

static const struct { const char *rule; tn_hyper h; } harder[] = {
    {"adam", {.lr = .01, .beta1 = .99, .beta2 = .5}}, /* steps grow while they wait */
    {"nadam", {.lr = .01, .beta1 = .99, .beta2 = .5}},
    {"radam", {.lr = .01, .beta1 = .95, .beta2 = .9, .eps = 1e-3}},
    {"adam", {.lr = .01, .beta1 = .95, .beta2 = .99, .freeze_steps = 300, .eps = 1e-3}},
    {"rmsprop", {.lr = .01, .alpha = .9999, .momentum = .5, .centered = true, .eps = TN_ZERO}},
    {"adagrad", {.lr = .01, .lr_decay = .1, .eps = TN_ZERO}},
    {"adadelta", {.lr = 1, .rho = .5, .eps = TN_ZERO}},
};
enum { HARDER = sizeof harder / sizeof *harder };

/* Of both signs, powers of two or nearly, from 2^-below on down; `odd`: also zeros, the smallest, no numbers. */
static float number(int below, bool positive, bool odd)
{
    const float odds[] = {0, -0.0f, INFINITY, NAN, 0x1p-149f, -0x1p-126f};
    if (odd && !random_below(30))
        return positive ? fabsf(odds[random_below(6)]) : odds[random_below(6)];
    const float x = random_below(2) ? 1 : 1 + ldexpf((float)random_below(8), -23);
    return ldexpf(positive || random_below(2) ? x : -x, -below - (int)random_below(8));
}

static void one_step(const tn__update_rule *rule, int64_t n, float *p, float s[TN_RULE_STATES][ELEMENTS], tn__past *past)
{
    float g[ELEMENTS] = {0};
    tn__rule_call c = {.rule = rule->row, .n = n, .p = p, .g = g, .s = {s[0], s[1], s[2]}, .k = past->k};
    tn__cpu.rule(&c);
}

static void widen(float *least, float *most, const float *x, int n)
{
    for (int i = 0; i < n; i++) {
        least[i] = fminf(least[i], x[i]);
        most[i] = fmaxf(most[i], x[i]);
    }
}

static void replay_one(const char *name, tn_hyper h, int first, bool schedule)
{
    static tn__past past[STEPS];
    static float p[2][ELEMENTS], s[2][TN_RULE_STATES][ELEMENTS];
    const tn__update_rule *rule;
    const tn_optim_class *cls = tn__optim_class_named(name, &rule);
    assert_true(tn__hyper_complete(&h, name, &cls->defaults, rule->knobs));
    tn__past least, most;
    const double lr = h.lr;
    for (int t = 0; t < STEPS; t++) {
        float one[TN_RULE_STATES][ELEMENTS] = {{1}, {1}, {1}}, zero[ELEMENTS] = {0};
        h.lr = schedule ? lr * (1 + t % 7) : lr;
        rule->scalars(&h, first + t, past[t].k);
        one_step(rule, 1, zero, one, &past[t]);
        for (int i = 0; i < TN_RULE_STATES; i++)
            past[t].keep[i] = one[i][0];
        least = t ? least : past[0];
        most = t ? most : past[0];
        widen(least.k, most.k, past[t].k, TN_RULE_SCALARS);
        widen(least.keep, most.keep, past[t].keep, TN_RULE_STATES);
    }
    const bool odd = !random_below(4), squares_first = !strcmp(name, "rmsprop") || !strcmp(name, "adadelta");
    const int below[] = {(int)random_below(60), (int)random_below(60), (int)random_below(60)};
    for (int j = 0; j < ELEMENTS; j++) {
        p[0][j] = p[1][j] = number(0, false, odd);
        for (int i = 0; i < TN_RULE_STATES; i++)
            s[0][i][j] = s[1][i][j] = number(below[i], i == (squares_first ? 0 : 1), odd);
    }
    const tn__replay_call c = {.rule = rule->row, .states = cls->states, .steps = STEPS, .n = ELEMENTS, .p = p[1],
                               .s = {s[1][0], s[1][1], s[1][2]}, .past = past, .least = &least, .most = &most};
    tn__replay(&c);
    for (int t = 0; t < STEPS; t++)
        one_step(rule, ELEMENTS, p[0], s[0], &past[t]);
    for (int j = 0; j < ELEMENTS; j++)
        for (int i = -1; i < cls->states; i++) {
            const float a = i < 0 ? p[0][j] : s[0][i][j], b = i < 0 ? p[1][j] : s[1][i][j];
            if (memcmp(&a, &b, sizeof a) != 0 && !(isnan(a) && isnan(b)))
                fail_msg("%s from step %d: element %d of %s %d is %a, step by step %a", name, first, j,
                         i < 0 ? "p" : "state", i, (double)b, (double)a);
        }
}

static void replay_alone(void **state)
{
    const char *isas[8];
    (void)state;
    random_state = 1;
    for (int k = 0, n = tn__isa_list(isas, 8); k < n; k++) {
        assert_true(tn__isa_set(isas[k]));
        for (int round = 0; round < 60; round++) {
            for (int i = 0; i < SETTINGS; i++)
                replay_one(settings[i].rule, settings[i].h, round % 2 ? 1 : 900, round % 3 == 0);
            for (int i = 0; i < HARDER; i++)
                replay_one(harder[i].rule, harder[i].h, round % 2 ? 1 : 900, round % 3 == 0);
        }
    }
    assert_true(tn__isa_set(isas[0]));
    assert_ok();
}

/* ---- who looks ---- */

static void readers(void **state)
{
    const char *const path = TN_BINARY_DIR "/rows.safetensors";
    const plan how = {.passes = 1};
    (void)state;
    for (int reader = 0; reader < 7; reader++) {
        float all[COUNT * DIM];
        pair p = pair_new("adam", (tn_hyper){.lr = .02}, COUNT);
        train(&p, 1, 200, COUNT, &how);
        const tn_tensor *dense = &tn_find_param(p.net[0], "table.weight")->t;
        tn_tensor *t = &tn_find_param(p.net[1], "table.weight")->t;
        TN_SCOPE TN_NO_GRAD {
            tn_tensor *y = NULL;
            switch (reader) {
            case 0: y = tn_from_f32(tn_f32(t), t->ndim, t->shape); break;
            case 1: y = tn_read_f32(t, all) ? tn_from_f32(all, t->ndim, t->shape) : NULL; break;
            case 2: y = tn_transpose(tn_contiguous(tn_transpose(t, 0, 1)), 0, 1); break;
            case 3: y = tn_add_scalar(tn_detach(t), 0); break;
            case 4: y = tn_copy_(y = tn_like(t), t) ? y : NULL; break;
            case 5: {
                tn_safetensors *file = tn_save(p.net[1], path) ? tn_safetensors_open(path) : NULL;
                y = file ? tn_safetensors_read(file, "table.weight") : NULL;
                tn_free(file);
                break;
            }
            case 6: y = tn_to(p.net[1], (tn_device){0}) ? t : NULL; break;
            }
            assert_ok();
            same_bits(dense, tn_contiguous(y), "reader", "table.weight");
            int64_t last[] = {COUNT - 1, 0};
            assert_true(tn_at(t, last) == tn_at(dense, last));
        }
        train(&p, 201, 230, COUNT, &how);
        same(&p, "after a reader");
        pair_free(&p);
    }
}

/* Views of states stay good over steps, and writing to a table or its gradient is noticed. */
static void writers(void **state)
{
    const plan how = {.passes = 1, .clip = 2};
    (void)state;
    pair p = pair_new("radam", (tn_hyper){.lr = .02}, COUNT);
    tn_named views[2][16];
    char names[2][16][256];
    TN_SCOPE {
        for (int i = 0; i < 2; i++)
            tn_optim_state(p.opt[i], 16, views[i], names[i]);
        train(&p, 1, 60, COUNT, &how);
        for (int i = 0; i < tn_optim_state(p.opt[0], 0, NULL, NULL); i++)
            same_bits(views[0][i].t, views[1][i].t, "view", names[0][i]);
        for (int i = 0; i < 2; i++) {
            tn_tensor *t = &tn_find_param(p.net[i], "table.weight")->t;
            tn_scale_(t, .5);
            tn_f32(t->grad)[(COUNT - 1) * DIM + 3] = 1;
            tn_f32(views[i][1].t)[5] = .25f;
        }
        train(&p, 61, 90, COUNT, &how);
        same(&p, "after writing");
        for (int i = 0; i < 2; i++) {
            tn_tensor *t = &tn_find_param(p.net[i], "table.weight")->t;
            backward(p.net[i], 91, COUNT);
            tn_backward(tn_sum(tn_mul(t, t), TN_ALL, false)); /* another op reads the table */
            tn_step(p.opt[i]);
            backward(p.net[i], 92, COUNT);
            tn_zero_grads(p.opt[i]);
            backward(p.net[i], 93, COUNT);
        }
        same(&p, "after a gradient for all");
        train(&p, 94, 120, COUNT, &how);
        same(&p, "after all that");
    }
    pair_free(&p);
}

/* Groups change on the way; a frozen table keeps its value and state. */
static void groups(void **state)
{
    const plan how = {.passes = 1, .clip = 5};
    (void)state;
    pair p = pair_new("adam", (tn_hyper){.lr = .02}, COUNT);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 2; i++) {
            if (round == 1)
                assert_int_equal(tn_group(p.opt[i], .pattern = "table.*", .lr_scale = .5), 1);
            if (round == 2)
                assert_int_equal(tn_group(p.opt[i], .pattern = "table.*", .lr_scale = TN_ZERO), 1);
            if (round == 3)
                assert_int_equal(tn_group(p.opt[i], .pattern = "*", .lr_scale = 1, .decay = .01), 4);
            if (round == 4)
                assert_int_equal(tn_group(p.opt[i], .pattern = "*", .decay = TN_ZERO), 4);
        }
        train(&p, 1 + 50 * round, 50 + 50 * round, COUNT, &how);
        if (round % 2)
            same(&p, "groups");
    }
    same(&p, "groups");
    pair_free(&p);
}

/* ---- saved in the middle ---- */

static void resume(void **state)
{
    const plan how = {.passes = 1};
    tn_named a[16], b[16];
    char names[2][16][256];
    (void)state;
    pair p = pair_new("adam", (tn_hyper){.lr = .02}, COUNT);
    train(&p, 1, 100, COUNT, &how);
    tn_module *net = net_new(true, COUNT);
    tn_optim *opt = tn_adam(net, .lr = .02);
    TN_SCOPE TN_NO_GRAD {
        const char *const path = TN_BINARY_DIR "/rows.safetensors";
        assert_true(tn_save(p.net[1], path) && tn_load(net, .path = path, .strict = true));
        const int n = tn_optim_state(p.opt[1], 16, a, names[0]);
        assert_int_equal(tn_optim_state(opt, 16, b, names[1]), n);
        for (int i = 0; i < n; i++)
            assert_true(tn_copy_(b[i].t, a[i].t));
        assert_true(tn_optim_set_steps(opt, tn_steps_done(p.opt[1])));
    }
    tn_free(p.opt[1], p.net[1]);
    p.net[1] = net;
    p.opt[1] = opt;
    train(&p, 101, 200, COUNT, &how);
    same(&p, "resumed");
    pair_free(&p);
}

/* ---- several optimizers, one after the other and at once; a rule of the user's ---- */

static bool push(const tn_update *u)
{
    for (int64_t i = 0; i < u->n; i++) {
        u->s[0][i] = 0.5f * u->s[0][i] + u->g[i];
        u->p[i] -= (float)u->h.lr * u->s[0][i] + 1e-3f;
    }
    return true;
}

static void several(void **state)
{
    static const tn_optim_class own = {.name = "push", .states = 1, .defaults = {.lr = .01}, .update = push};
    const plan how = {.passes = 1};
    (void)state;
    assert_true(tn_register_optimizer(&own));
    pair p = pair_new("push", (tn_hyper){.lr = .01}, COUNT), q = p, r = p;
    train(&p, 1, 30, COUNT, &how);
    same(&p, "a rule of the user's");
    for (int i = 0; i < 2; i++)
        q.opt[i] = tn_adam(q.net[i], .lr = .02); /* beside the first */
    train(&q, 31, 60, COUNT, &how);
    same(&q, "a second one");
    for (int i = 0; i < 2; i++) {
        tn_free(p.opt[i]);
        tn_free(q.opt[i]);
        r.opt[i] = tn_radam(r.net[i], .lr = .02);
    }
    train(&r, 61, 120, COUNT, &how);
    assert_true(tn_find_param(r.net[1], "table.weight")->t.storage->guard != NULL);
    for (int i = 0; i < 2; i++)
        q.opt[i] = tn_sgd(q.net[i], .lr = .02);
    for (int64_t t = 121; t <= 160; t++)
        train(t % 2 ? &q : &r, t, t, COUNT, &how);
    same(&r, "in turn");
    same(&q, "in turn");
    tn_free(q.opt[0], q.opt[1]);
    pair_free(&r);
}

/* ---- threads and instruction sets ---- */

static void threads_and_isas(void **state)
{
    const char *isas[8];
    const plan how = {.passes = 2, .clip = 2};
    (void)state;
    for (int i = 0; i < SETTINGS; i++) {
        pair p = pair_new(settings[i].rule, settings[i].h, 300);
        for (int k = 0, n = tn__isa_list(isas, 8); k < 2 * n; k++) {
            /* the net runs on one set, whose bits are its own; rows are brought up to date on each */
            tn_set_threads(1 + k % 2);
            train(&p, 1 + 25 * k, 25 + 25 * k, 300, &how);
            assert_true(tn__isa_set(isas[k / 2]));
            same(&p, settings[i].rule);
            assert_true(tn__isa_set(isas[0]));
        }
        tn_set_threads(0);
        pair_free(&p);
    }
}

/* ---- trouble ---- */

static bool life(void)
{
    const int64_t w[] = {3, 1, 3};
    int steps = 0;
    tn_module *net = net_new(true, COUNT);
    tn_optim *opt = tn_adam(net, .lr = .1);
    for (int i = 0; i < 3; i++) TN_SCOPE {
        tn_tensor *y = tn_forward(net, tn_from_i64(w, TN_SHAPE(3)));
        steps += tn_backward(tn_sum(y, TN_ALL, false)) && tn_clip_norm(opt, 1) > 0 && tn_step(opt);
    }
    tn_free(opt, net);
    return steps == 3;
}

static void failing_allocations(void **state)
{
    (void)state;
    bool done = false;
    for (long n = 0; !done; n++) {
        assert_true(n < 2000);
        tn__fail_alloc_after(n);
        done = life();
        tn__fail_alloc_after(-1);
        if (!done)
            expect_error(TN_ENOMEM, "out of memory");
    }
}

static void wrong_indices(void **state)
{
    const int64_t high[] = {0, COUNT}, low[] = {-1, 2};
    (void)state;
    pair p = pair_new("adam", (tn_hyper){.lr = .02}, COUNT);
    train(&p, 1, 20, COUNT, &(plan){.passes = 1});
    TN_SCOPE {
        assert_null(tn_forward(p.net[1], tn_from_i64(high, TN_SHAPE(2))));
        expect_error(TN_EARG, "index 70, element 1");
        assert_null(tn_forward(p.net[1], tn_from_i64(low, TN_SHAPE(2))));
        expect_error(TN_EARG, "index -1, element 0");
    }
    same(&p, "after wrong indices");
    pair_free(&p);
}

/* The gradient in rows is that of differences; float32 and a table of two rows that are looked up often. */
static tn_tensor *looked_up(void *arg, int n, tn_tensor *const *in)
{
    const int64_t w[] = {1, 0, 1, 1};
    (void)n;
    tn_tensor *y = tn_embed(in[0], tn_from_i64(w, TN_SHAPE(2, 2)));
    return tn_mul(y, tn_add_scalar(y, *(const double *)arg));
}

static void gradient(void **state)
{
    double shift = 3;
    (void)state;
    tn_module *net = net_new(true, 3);
    tn_optim *opt = tn_sgd(net, .lr = .1);
    tn_tensor *t = &tn_find_param(net, "table.weight")->t;
    tn_gradcheck(looked_up, .arg = &shift, .n = 1, .in = &t);
    assert_ok();
    assert_true(tn_grad_norm(opt) > 0);
    tn_free(opt, net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_rule), cmocka_unit_test(long_gaps), cmocka_unit_test(replay_alone),
        cmocka_unit_test(readers),
        cmocka_unit_test(writers), cmocka_unit_test(groups), cmocka_unit_test(resume), cmocka_unit_test(several),
        cmocka_unit_test(threads_and_isas), cmocka_unit_test(failing_allocations), cmocka_unit_test(wrong_indices),
        cmocka_unit_test(gradient),
    };
    return cmocka_run_group_tests_name("rows", tests, quiet_errors, NULL);
}
