/* The update rules as numbers: against the float64 trajectories of tests/parity/optim.json, against
 * short transcriptions of the options those leave out, and bit for bit over threads, ISAs and
 * restarts. What surrounds the rules (slabs, groups, errors) is in test_optim_use.c. */
#include <jansson.h>
#include <math.h>

#include "optim_net.h"

/* ---- the problem of optim.json ---- */

static double unit(uint64_t stream, uint64_t index)
{
    uint64_t z = (stream << 32) + index + 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return (double)((z ^ z >> 31) >> 40) * 0x1p-23 - 1;
}

enum { N = 64, STEPS = 1000 };

static void start_problem(float *w)
{
    for (int i = 0; i < N; i++)
        w[i] = (float)unit(1, (uint64_t)i);
}

static void problem_gradient(const float *w, float *g, int t)
{
    for (int i = 0; i < N; i++)
        g[i] = (float)(unit(2, (uint64_t)(N * t + i)) * ldexp(1, -(i % 8)) + 0.1 * (double)w[i]);
}

static double number(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    const double x = json_number_value(v);
    return v && x == 0 ? TN_ZERO : x; /* written as 0 is meant as 0 */
}

static bool is(const json_t *o, const char *key, const char *value)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s && !strcmp(s, value);
}

static tn_hyper options(const json_t *o)
{
    return (tn_hyper){
        .lr = number(o, "lr"), .momentum = number(o, "momentum"), .beta1 = number(o, "beta1"),
        .beta2 = number(o, "beta2"), .eps = number(o, "eps"), .decay = number(o, "weight_decay"),
        .alpha = number(o, "alpha"), .rho = number(o, "rho"), .lr_decay = number(o, "lr_decay"),
        .initial = number(o, "initial_accumulator"), .momentum_decay = number(o, "momentum_decay"),
        .warmup_steps = number(o, "warmup"), .freeze_steps = number(o, "freeze"),
        .nesterov = json_is_true(json_object_get(o, "nesterov")),
        .centered = json_is_true(json_object_get(o, "centered")),
        .decoupled = is(o, "decay", "decoupled"),
        .coupled = is(o, "optimizer", "radam") && is(o, "decay", "coupled"),
        .eps_inside = is(o, "eps_form", "inside"),
        .warmup = is(o, "warmup_form", "generic") ? TN_WARMUP_GENERIC : TN_WARMUP_CIFAR,
        .threshold = is(o, "threshold", "rho>4") ? TN_RHO_OVER_4
                     : is(o, "threshold", "rho>=5") ? TN_RHO_FROM_5 : TN_RHO_OVER_5,
        .degenerate = is(o, "degenerate", "skip") ? TN_DEGENERATE_SKIP : TN_DEGENERATE_SGD,
    };
}

/* How far the parameters are from a checkpoint. */
static double distance(const float *w, const json_t *checkpoint)
{
    const json_t *theta = json_object_get(checkpoint, "theta");
    double far = 0, squares = 0;
    for (size_t i = 0; i < json_array_size(theta); i++)
        far = fmax(far, fabs((double)w[i] - json_number_value(json_array_get(theta, i))));
    for (int i = 0; i < N; i++)
        squares += (double)w[i] * (double)w[i];
    /* of N errors like these, the norm's is at most sqrt(N) as large */
    return fmax(far, fabs(sqrt(squares) - number(checkpoint, "norm")) / sqrt(N));
}

static void run_case(const json_t *c)
{
    const json_t *o = json_object_get(c, "options"), *points = json_object_get(c, "checkpoints");
    /* The same rule in numpy's float32 is off by so much; other orders of the same roundings may be
     * off twice as far, and half a unit in the last place of numbers near 1 is always there. */
    const double allowed = 2 * number(c, "float32_max_abs_diff") + 0x1p-24;
    tn_module *net = plain_net(1, (const int64_t[]){N});
    float *w = weights(net, 0);
    start_problem(w);
    const char *rule = json_string_value(json_object_get(o, "optimizer"));
    tn_optim *opt = tn_optim_new(rule, net, options(o));
    assert_non_null(opt);
    size_t at = 0;
    for (int t = 1; t <= STEPS; t++) {
        const json_t *point = json_array_get(points, at);
        w = weights(net, 0);
        problem_gradient(w, grads(net, 0), t);
        assert_true(tn_step(opt));
        if ((int)number(point, "step") != t)
            continue;
        at++;
        const double off = distance(w, point);
        if (!(off <= allowed))
            fail_msg("%s: step %d is off by %g, allowed %g",
                     json_string_value(json_object_get(c, "name")), t, off, allowed);
    }
    assert_int_equal(at, json_array_size(points));
    assert_int_equal(tn_steps_done(opt), STEPS);
    tn_free(opt, net);
}

static void trajectories(void **state)
{
    (void)state;
    json_error_t error;
    json_t *all = json_load_file(TN_SOURCE_DIR "/tests/parity/optim.json", 0, &error);
    if (!all)
        fail_msg("optim.json: %s", error.text);
    const json_t *cases = json_object_get(all, "cases");
    assert_true(json_array_size(cases) >= 40);
    for (size_t i = 0; i < json_array_size(cases); i++)
        run_case(json_array_get(cases, i));
    json_decref(all);
}

/* ---- options that optim.json leaves out, one number in float64 ---- */

typedef double scalar_rule(double *w, double g, int t, double s[2]);

static double sgd_dampened(double *w, double g, int t, double s[2])
{
    const double d = g + 0.05 * *w;
    s[0] = t == 1 ? d : 0.9 * s[0] + (1 - 0.3) * d;
    return *w -= 0.02 * s[0];
}

static double radam_inside(double *w, double g, int t, double s[2])
{
    const double b1 = 0.8, b2 = 0.95, eps = 0.01, inf = 2 / (1 - b2) - 1;
    const double c2 = 1 - pow(b2, t), rho = inf - 2 * t * pow(b2, t) / c2;
    s[1] = b2 * s[1] + (1 - b2) * g * g;
    s[0] = b1 * s[0] + (1 - b1) * g;
    const double m = s[0] / (1 - pow(b1, t));
    if (!(rho > 5))
        return *w -= 0.02 * m;
    const double r = sqrt((rho - 4) * (rho - 2) * inf / ((inf - 4) * (inf - 2) * rho));
    return *w -= 0.02 * r * m / (sqrt(s[1] / c2) + eps);
}

static double nadam_decoupled(double *w, double g, int t, double s[2])
{
    const double b1 = 0.9, b2 = 0.999;
    double product = 1, mu = 0;
    for (int i = 1; i <= t; i++)
        product *= mu = b1 * (1 - 0.5 * pow(0.96, i * 4e-3));
    const double next = b1 * (1 - 0.5 * pow(0.96, (t + 1) * 4e-3));
    *w -= 0.02 * 0.05 * *w;
    s[0] = b1 * s[0] + (1 - b1) * g;
    s[1] = b2 * s[1] + (1 - b2) * g * g;
    return *w -= 0.02 * ((1 - mu) / (1 - product) * g + next / (1 - product * next) * s[0]) /
                 (sqrt(s[1] / (1 - pow(b2, t))) + 1e-8);
}

static double adagrad_initial(double *w, double g, int t, double s[2])
{
    s[0] = (t == 1 ? 0.5 : s[0]) + g * g;
    return *w -= 0.02 * g / (sqrt(s[0]) + 1e-10);
}

static double rmsprop_centered_momentum(double *w, double g, int t, double s[2])
{
    static double mean;
    mean = t == 1 ? 0 : mean;
    s[0] = 0.9 * s[0] + 0.1 * g * g;
    mean = 0.9 * mean + 0.1 * g;
    s[1] = 0.5 * s[1] + g / (sqrt(s[0] - mean * mean) + 1e-3);
    return *w -= 0.02 * s[1];
}

static void other_options(void **state)
{
    const struct { const char *rule; tn_hyper h; scalar_rule *exact; } list[] = {
        {"sgd", {.lr = .02, .momentum = .9, .dampening = .3, .decay = .05}, sgd_dampened},
        {"radam", {.lr = .02, .beta1 = .8, .beta2 = .95, .eps = .01, .eps_inside = true},
         radam_inside},
        {"nadam", {.lr = .02, .decay = .05, .decoupled = true}, nadam_decoupled},
        {"adagrad", {.lr = .02, .initial = .5}, adagrad_initial},
        {"rmsprop", {.lr = .02, .alpha = .9, .eps = 1e-3, .momentum = .5, .centered = true},
         rmsprop_centered_momentum},
    };
    (void)state;
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        tn_module *net = plain_net(1, (const int64_t[]){1});
        *weights(net, 0) = 0.75f;
        tn_optim *opt = tn_optim_new(list[i].rule, net, list[i].h);
        assert_non_null(opt);
        double w = 0.75, s[2] = {0, 0};
        for (int t = 1; t <= 40; t++) {
            const float g = (float)unit(3, (uint64_t)t);
            *grads(net, 0) = g;
            assert_true(tn_step(opt));
            list[i].exact(&w, (double)g, t, s);
            if (fabs((double)*weights(net, 0) - w) > 1e-6)
                fail_msg("%s: step %d gives %.8f, not %.8f", list[i].rule, t,
                         (double)*weights(net, 0), w);
        }
        tn_free(opt, net);
    }
}

/* ---- defaults ---- */

/* The weights after a few steps of a rule on the problem. */
static void few_steps(const char *rule, tn_hyper h, float out[N])
{
    tn_module *net = plain_net(1, (const int64_t[]){N});
    start_problem(weights(net, 0));
    tn_optim *opt = tn_optim_new(rule, net, h);
    assert_non_null(opt);
    for (int t = 1; t <= 7; t++) {
        problem_gradient(weights(net, 0), grads(net, 0), t);
        assert_true(tn_step(opt));
    }
    memcpy(out, weights(net, 0), N * sizeof *out);
    tn_free(opt, net);
}

static void defaults(void **state)
{
    const struct { const char *a; tn_hyper ha; const char *b; tn_hyper hb; bool same; } list[] = {
        {"adam", {.lr = 0}, "adam",
         {.lr = 1e-3, .beta1 = .9, .beta2 = .999, .eps = 1e-8, .decay = TN_ZERO}, true},
        {"adamw", {.lr = 0}, "adam", {.decay = 1e-2, .decoupled = true}, true},
        {"adamw", {.decay = TN_ZERO}, "adam", {.lr = 0}, true},
        {"adamw", {.decay = TN_ZERO}, "adamw", {.lr = 0}, false},
        {"adam", {.decay = .1}, "adam", {.decay = .1, .decoupled = true}, false},
        {"adam", {.beta1 = TN_ZERO}, "adam", {.lr = 0}, false},
        {"radam", {.lr = 0}, "radam",
         {.lr = 1e-3, .threshold = TN_RHO_OVER_5, .decoupled = true}, true},
        {"radam", {.decay = .1}, "radam", {.decay = .1, .coupled = true}, false},
        {"sgd", {.lr = 0}, "sgd", {.lr = .1, .momentum = TN_ZERO, .decay = TN_ZERO}, true},
        {"sgd", {.lr = TN_ZERO}, "sgd", {.lr = 1e-30}, true},
        {"rmsprop", {.lr = 0}, "rmsprop", {.lr = 1e-2, .alpha = .99, .eps = 1e-8}, true},
        {"nadam", {.lr = 0}, "nadam", {.lr = 2e-3, .momentum_decay = 4e-3, .eps = 1e-8}, true},
        {"adagrad", {.lr = 0}, "adagrad", {.lr = 1e-2, .eps = 1e-10}, true},
        {"adadelta", {.lr = 0}, "adadelta", {.lr = 1, .rho = .9, .eps = 1e-6}, true},
        /* below rho_inf = 4 RAdam is SGD with momentum, whatever the threshold */
        {"radam", {.beta2 = .5}, "radam", {.beta2 = .3, .threshold = TN_RHO_OVER_4}, true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        float a[N], b[N];
        few_steps(list[i].a, list[i].ha, a);
        few_steps(list[i].b, list[i].hb, b);
        if (list[i].same != !memcmp(a, b, sizeof a))
            fail_msg("row %zu: %s and %s are%s the same", i, list[i].a, list[i].b,
                     list[i].same ? " not" : "");
    }
}

/* ---- bits ---- */

enum { PARTS = 5 };
static const int64_t sizes[PARTS] = {3 * 32768 + 5, 1, 0, 17, 40000};

static void random_grads(tn_module *net, int t)
{
    for (int i = 0; i < PARTS; i++) {
        float *g = grads(net, i);
        for (int64_t j = 0; j < sizes[i]; j++)
            g[j] = (float)unit((uint64_t)(10 + i), (uint64_t)(t * 200000 + j));
    }
}

/* Steps from..to of training with groups and clipping; weights go to out [PARTS][]. */
static void train(tn_optim *opt, tn_module *net, int from, int to)
{
    for (int t = from; t <= to; t++) {
        random_grads(net, t);
        assert_true(tn_clip_norm(opt, 50) > 0);
        assert_true(tn_step(opt));
    }
}

static tn_optim *grouped(const char *rule, tn_module *net)
{
    tn_optim *opt = tn_optim_new(rule, net, (tn_hyper){.lr = .02, .decay = .1});
    assert_int_equal(tn_group(opt, .pattern = "w3", .decay = TN_ZERO), 1);
    assert_int_equal(tn_group(opt, .pattern = "w1", .lr_scale = .5), 1);
    return opt;
}

static uint64_t hash(tn_module *net)
{
    uint64_t h = 1469598103934665603u;
    for (int i = 0; i < PARTS; i++) {
        const unsigned char *p = (const unsigned char *)weights(net, i);
        for (size_t j = 0; j < (size_t)sizes[i] * sizeof(float); j++)
            h = (h ^ p[j]) * 1099511628211u;
    }
    return h;
}

static uint64_t bits_of(const char *rule)
{
    tn_module *net = plain_net(PARTS, sizes);
    tn_optim *opt = grouped(rule, net);
    train(opt, net, 1, 8);
    const uint64_t h = hash(net);
    tn_free(opt, net);
    return h;
}

static void threads_and_isas(void **state)
{
    const char *isas[8];
    int n, rules;
    (void)state;
    const char *const *names = tn_optimizers(&rules);
    for (int r = 0; r < rules && r < TN_RULE_COUNT; r++) {
        tn_set_threads(1);
        const uint64_t one = bits_of(names[r]);
        tn_set_threads(2);
        assert_true(bits_of(names[r]) == one);
        n = tn__isa_list(isas, 8);
        for (int i = 0; i < n; i++) {
            assert_true(tn__isa_set(isas[i]));
            if (bits_of(names[r]) != one)
                fail_msg("%s: %s gives other bits", names[r], isas[i]);
        }
        assert_true(tn__isa_set(isas[0]));
    }
    tn_set_threads(0);
}

/* States that no gradient feeds end as zeros, not as subnormal numbers, on which x86 would spend each further step. */
static void states_end(void **state)
{
#ifdef __x86_64__
    const char *isas[8];
    volatile float tiniest = 0x1p-126f;
    (void)state;
    for (int k = 0, n = tn__isa_list(isas, 8); k < n; k++) {
        tn_named list[2];
        char names[2][256];
        assert_true(tn__isa_set(isas[k]));
        tn_module *net = plain_net(1, (const int64_t[]){37});
        tn_optim *opt = tn_adam(net, .lr = 1e-3, .beta2 = 0.9);
        for (int i = 0; i < 37; i++)
            grads(net, 0)[i] = ldexpf(i % 2 ? 1 : -1, -i);
        for (int t = 0; t < 1200; t++)
            assert_true(tn_step(opt));
        TN_SCOPE {
            assert_int_equal(tn_optim_state(opt, 2, list, names), 2);
            for (int i = 0; i < 2 * 37; i++)
                assert_true(tn_f32(list[i / 37].t)[i % 37] == 0);
        }
        tn_free(opt, net);
    }
    assert_true(tiniest / 2 > 0); /* outside of rules there still are such */
    assert_true(tn__isa_set(isas[0]));
#else
    (void)state;
#endif
}

/* ---- saved and restored ---- */

enum { MOST_STATES = 3 * PARTS };

static void copy_state(tn_optim *to, tn_optim *from, tn_module *net, tn_module *source)
{
    tn_named a[MOST_STATES], b[MOST_STATES];
    char an[MOST_STATES][256], bn[MOST_STATES][256];
    const int n = tn_optim_state(from, MOST_STATES, a, an);
    assert_int_equal(tn_optim_state(to, MOST_STATES, b, bn), n);
    for (int i = 0; i < n; i++) {
        assert_string_equal(a[i].name, b[i].name);
        assert_true(tn_copy_(b[i].t, a[i].t));
    }
    for (int i = 0; i < PARTS; i++)
        memcpy(weights(net, i), weights(source, i), (size_t)sizes[i] * sizeof(float));
    assert_true(tn_optim_set_steps(to, tn_steps_done(from)));
}

static void restart(void **state)
{
    int rules;
    (void)state;
    const char *const *names = tn_optimizers(&rules);
    for (int r = 0; r < rules && r < TN_RULE_COUNT; r++) TN_SCOPE {
        tn_module *net = plain_net(PARTS, sizes), *later = plain_net(PARTS, sizes);
        tn_optim *opt = grouped(names[r], net), *second = grouped(names[r], later);
        train(opt, net, 1, 5);
        copy_state(second, opt, later, net);
        train(opt, net, 6, 9);
        train(second, later, 6, 9);
        assert_true(hash(net) == hash(later));
        tn_free(opt, net, second, later);
    }
}

static void state_names(void **state)
{
    tn_named list[4];
    char names[4][256];
    (void)state;
    tn_module *net = plain_net(2, (const int64_t[]){3, 20});
    tn_optim *opt = tn_adam(net, .lr = 0.01);
    assert_int_equal(tn_optim_state(opt, 0, NULL, NULL), 4);
    TN_SCOPE {
        assert_int_equal(tn_optim_state(opt, 4, list, names), 4);
        assert_string_equal(list[1].name, "state.0.w1");
        assert_string_equal(list[2].name, "state.1.w0");
        assert_int_equal(tn_numel(list[1].t), 20);
    }
    assert_false(tn_optim_set_steps(opt, -1));
    expect_error("-1 steps done");
    tn_free(opt, net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trajectories), cmocka_unit_test(other_options),
        cmocka_unit_test(defaults),     cmocka_unit_test(threads_and_isas),
        cmocka_unit_test(states_end),   cmocka_unit_test(restart),
        cmocka_unit_test(state_names),
    };
    tn_on_error(NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
