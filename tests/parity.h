/* What the tests against PyTorch share: a file of references, the measure of what is close, twenty steps of
 * training.  Scripts of tests/parity write the references in float64, and beside them how far float32 is from
 * them in PyTorch: that distance is the measure. */
#ifndef TN_TESTS_PARITY_H
#define TN_TESTS_PARITY_H

#include "check.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#define PARITY TN_SOURCE_DIR "/tests/parity/"
/* How many times as far as PyTorch's float32 we may be from float64, since our sums are taken in another
 * order: of a single run, and of the largest gap of five runs.  A wrong formula is off by thousands. */
static const double SLACK_ONE = 10, SLACK_FIVE = 4;

static json_t *json;

static inline int load_json(void **state, const char *name)
{
    char path[512];
    json_error_t e;
    snprintf(path, sizeof path, PARITY "%s", name);
    json = json_load_file(path, 0, &e);
    return json ? quiet_errors(state) : 1;
}

static inline int drop_json(void **state)
{
    (void)state;
    json_decref(json);
    return 0;
}

static inline double number(const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);
    assert_true(json_is_number(v));
    return json_number_value(v);
}

static inline double number_at(const json_t *object, const char *key, int i)
{
    const json_t *v = json_array_get(json_object_get(object, key), (size_t)i);
    assert_true(json_is_number(v));
    return json_number_value(v);
}

static inline int64_t integer(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static inline uint64_t splitmix64(uint64_t x)
{
    uint64_t z = x + 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* Weights as "formula" of transformer.json has them. */
static inline bool fill_by_name(void *arg, const char *path, tn_param *p)
{
    uint64_t h = 0xCBF29CE484222325u;
    const bool one = strstr(path, "norm") && strstr(path, ".weight");
    const double scale = p->t.ndim == 2 ? sqrt(6 / (double)(p->t.shape[0] + p->t.shape[1])) : .2;
    float *x = tn_f32(&p->t);
    (void)arg;
    for (const char *c = path; *c; c++)
        h = (h ^ (uint8_t)*c) * 0x100000001B3u;
    for (int64_t e = 0; e < tn_numel(&p->t); e++) {
        const double u = (double)(splitmix64(h + (uint64_t)e) >> 11) * 0x1p-53;
        x[e] = (float)(scale * (2 * u - 1) + (one ? 1 : 0));
    }
    return true;
}

static inline void assert_within(const char *what, double gap, double spread, double slack)
{
    print_message("  %-18s %.1e from float64, PyTorch's float32: %.1e\n", what, gap, spread);
    if (!(gap <= slack * spread))
        fail_msg("%s: %.2e from float64, allowed are %g times %.2e", what, gap, slack, spread);
}

enum { PROBES = 4 };
/* How far t is from its norm and probes (transformer.json), which estimate the distance of all elements: relative. */
static inline double gap_of(const tn_tensor *t, const json_t *want)
{
    const int64_t n = tn_numel(t);
    double *x = malloc((size_t)n * sizeof *x), have[1 + PROBES] = {0}, gap = 0;
    assert_true(x && tn_read_f64(t, x) && json_array_size(want) == 1 + PROBES);
    for (int64_t e = 0; e < n; e++) {
        const uint64_t bits = splitmix64((uint64_t)e);
        have[0] += x[e] * x[e];
        for (int k = 0; k < PROBES; k++)
            have[1 + k] += bits >> k & 1 ? -x[e] : x[e];
    }
    free(x);
    have[0] = sqrt(have[0]);
    for (int k = 0; k <= PROBES; k++) {
        const double off = have[k] - json_number_value(json_array_get(want, (size_t)k));
        gap += off * off / PROBES;
    }
    return sqrt(gap) / json_number_value(json_array_get(want, 0));
}

typedef struct probed {
    const json_t *want;
    double worst;
    size_t n;
} probed;

static inline bool probe_one(void *arg, const char *path, tn_param *p)
{
    probed *c = arg;
    const json_t *want = json_object_get(c->want, path);
    if (!want || !p->t.grad)
        fail_msg("%s: %s", path, want ? "no gradient" : "PyTorch has no such parameter");
    c->worst = fmax(c->worst, gap_of(p->t.grad, want));
    c->n++;
    return true;
}

static inline bool add_squares(void *sum, const char *path, tn_param *p)
{
    (void)path;
    TN_SCOPE {
        if (!p->buffer)
            *(double *)sum += tn_item(tn_sum(tn_square(tn_cast(tn_detach(&p->t), TN_F64)), TN_ALL, false));
    }
    return true;
}

static inline double weight_norm(tn_module *net)
{
    double sum = 0;
    tn_each_param(net, add_squares, &sum);
    return sqrt(sum);
}

/* The losses of json's rule `name`, one step each; loss_of gives that of batch b, a mean.  What may be off at
 * a step grows with what was off before it: rounding is amplified as the net learns. */
static inline void twenty_steps(const char *name, tn_module *net, tn_optim *opt,
                                tn_tensor *(*loss_of)(tn_module *net, int b))
{
    const json_t *rule = json_object_get(json_object_get(json, "optimizers"), name);
    double worst = 0, spread = 1e-6;
    for (int b = 0; b < 20; b++)
        TN_SCOPE {
            tn_tensor *loss = loss_of(net, b);
            const double gap = fabs(tn_item(loss) - number_at(rule, "losses", b));
            spread = fmax(spread, number_at(rule, "float32_spread", b));
            worst = fmax(worst, gap / spread);
            assert_true(tn_backward(loss) && tn_step(opt));
            if (!(gap <= SLACK_FIVE * spread))
                fail_msg("%s, step %d: the loss is %.2e from float64, allowed are %g times %.2e", name, b, gap,
                         SLACK_FIVE, spread);
        }
    assert_ok();
    print_message("  %s: losses at most %.2f times as far from float64 as PyTorch's float32\n", name, worst);
    assert_within("weight norm", fabs(weight_norm(net) - number(rule, "weight_norm")),
                  fmax(number(rule, "weight_norm_float32_spread"), 1e-5), SLACK_FIVE);
}

#endif
