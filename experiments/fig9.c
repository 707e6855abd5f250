/* Figure 9: 5,000 trajectories of 6,000 gradients N(mu, 1); at each step the variance over
 * trajectories of psi_t = sqrt((1 - beta2^t) / v_t), and of the rectified r_t psi_t.
 *
 * A task is one mu and one block of trajectories.  Its means and squared deviations are kept by
 * step and joined in the order of the blocks, so the numbers do not depend on threads. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <tenon.h>

#include "figure.h"
#include "normal.h"
#include "simulate.h"

enum { MEANS = 6, TRAJECTORIES = 5000, STEPS = 6000, BLOCK = 200, BLOCKS = TRAJECTORIES / BLOCK };
enum { FIRST = 5 }; /* the first step with rho_t > 4 */
static const double mus[MEANS] = {0, 0.001, 0.01, 0.1, 1, 10};
static const double beta2 = 0.999;

typedef struct moments {
    double mean, squares; /* of deviations from the mean */
} moments;

typedef struct simulation {
    uint64_t seed;
    moments *blocks; /* [MEANS * BLOCKS][STEPS] */
} simulation;

/* One step of a block: the second moments v move on; what is told is about psi. */
static moments advance(float *v, const float *z, float mu, float keep, float correction)
{
    float psi[BLOCK];
    double sum = 0, squares = 0;
    for (int i = 0; i < BLOCK; i++) {
        const float g = z[i] + mu;
        v[i] = keep * v[i] + (1 - keep) * g * g;
        psi[i] = sqrtf(correction / v[i]);
    }
    for (int i = 0; i < BLOCK; i++)
        sum += (double)psi[i];
    const double mean = sum / BLOCK;
    for (int i = 0; i < BLOCK; i++) {
        const double d = (double)psi[i] - mean;
        squares += d * d;
    }
    return (moments){mean, squares};
}

static void run_block(void *arg, int64_t i, int worker)
{
    const simulation *s = arg;
    const int64_t m = i / BLOCKS, block = i % BLOCKS;
    moments *out = s->blocks + i * STEPS;
    float v[BLOCK] = {0}, z[BLOCK];
    double power = 1;
    (void)worker;
    for (int64_t t = 1; t <= STEPS; t++) {
        power *= beta2;
        normals(s->seed, (uint64_t)(m * STEPS + t), (uint64_t)(block * (BLOCK / 4)), BLOCK, z);
        out[t - 1] = advance(v, z, (float)mus[m], (float)beta2, (float)(1 - power));
    }
}

static double variance(const simulation *s, int m, int t)
{
    moments all = {0, 0};
    for (int b = 0; b < BLOCKS; b++) {
        const moments x = s->blocks[((int64_t)m * BLOCKS + b) * STEPS + t - 1];
        const double n = (double)b * BLOCK, d = x.mean - all.mean;
        all.mean += d * BLOCK / (n + BLOCK);
        all.squares += x.squares + d * d * n * BLOCK / (n + BLOCK);
    }
    return all.squares / (TRAJECTORIES - 1);
}

/* r_t^2, the square of RAdam's rectification. */
static double rectification(int t)
{
    const double rho_inf = 2 / (1 - beta2) - 1, power = pow(beta2, t);
    const double rho = rho_inf - 2 * t * power / (1 - power);
    return (rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho);
}

/* What another simulation of the same found (two seeds), for mu 0, 1 and 10: Var psi, Var r psi. */
static const struct reference {
    int t;
    double plain[3], rectified[3];
} references[] = {
    {5, {0.230, 0.085, 1.95e-5}, {6.9e-5, 2.5e-5, 5.8e-9}},
    {6, {0.169, 0.058, 1.62e-5}, {1.13e-4, 3.8e-5, 1.08e-8}},
    {10, {0.076, 0.0266, 9.5e-6}, {1.83e-4, 6.4e-5, 2.3e-8}},
    {100, {0.0052, 0.00195, 9.7e-7}, {2.42e-4, 9.0e-5, 4.5e-8}},
    {1000, {5.3e-4, 2.1e-4, 1.07e-7}, {2.2e-4, 8.6e-5, 4.4e-8}},
    {6000, {2.55e-4, 9.55e-5, 4.95e-8}, {2.52e-4, 9.4e-5, 4.9e-8}},
};

static void print_table(double *const plain[MEANS], double *const rectified[MEANS])
{
    static const int shown[3] = {0, 4, 5}; /* of mus */
    printf("%5s %5s %12s %12s %12s %12s\n", "t", "mu", "Var psi", "reference", "Var r psi",
           "reference");
    for (size_t i = 0; i < sizeof references / sizeof *references; i++)
        for (int k = 0; k < 3; k++) {
            const struct reference *r = &references[i];
            printf("%5d %5g %12.3g %12.3g %12.3g %12.3g\n", r->t, mus[shown[k]],
                   plain[shown[k]][r->t - FIRST], r->plain[k], rectified[shown[k]][r->t - FIRST],
                   r->rectified[k]);
        }
}

static bool report(const simulation *s, const char *base)
{
    enum { ROWS = STEPS - FIRST + 1 };
    static double x[ROWS], value[2 * MEANS][ROWS];
    static char names[2 * MEANS][32];
    double *plain[MEANS], *rectified[MEANS];
    figure_line lines[2 * MEANS];
    for (int m = 0; m < MEANS; m++) {
        plain[m] = value[m];
        rectified[m] = value[MEANS + m];
        for (int i = 0; i < ROWS; i++) {
            const int t = FIRST + i;
            x[i] = t;
            plain[m][i] = variance(s, m, t);
            rectified[m][i] = rectification(t) * plain[m][i];
        }
        snprintf(names[m], sizeof *names, "psi, mu = %g", mus[m]);
        snprintf(names[MEANS + m], sizeof *names, "r psi, mu = %g", mus[m]);
        lines[m] = (figure_line){names[m], plain[m], m, false};
        lines[MEANS + m] = (figure_line){names[MEANS + m], rectified[m], m, true};
    }
    print_table(plain, rectified);
    return figure_write(&(figure){.title = "Variance of the adaptive learning rate, simulated",
                                  .x_name = "t",
                                  .x_label = "step t",
                                  .y_label = "variance over 5000 trajectories",
                                  .settings = "set logscale y\nset format y '10^{%L}'\n",
                                  .rows = ROWS,
                                  .n_lines = 2 * MEANS,
                                  .x = x,
                                  .lines = lines}, base);
}

bool simulate_fig9(const char *base, uint64_t seed)
{
    simulation s = {seed, malloc(sizeof(moments) * MEANS * BLOCKS * STEPS)};
    if (!s.blocks) {
        tn_fail(TN_ENOMEM, "fig9: no memory");
        return false;
    }
    tn_parallel(MEANS * BLOCKS, run_block, &s);
    const bool good = report(&s, base);
    free(s.blocks);
    return good;
}
