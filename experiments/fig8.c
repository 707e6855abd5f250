/* Figure 8: the variance of the adaptive learning rate for a chi-square sum of rho squares, exactly
 * (equation 2 of the paper), by its approximation (equation 5), and their difference; tau = 1. */
#include <math.h>
#include <stdio.h>

#include "figure.h"
#include "simulate.h"

enum { FIRST = 5, LAST = 500, ROWS = LAST - FIRST + 1 };

static double exact(double rho)
{
    const double log_beta = 2 * lgamma((rho - 1) / 2) - lgamma(rho - 1);
    const double log_square = log(rho) + (2 * rho - 5) * log(2) - log(M_PI) + 2 * log_beta;
    return rho / (rho - 2) - exp(log_square);
}

static double approximate(double rho) { return rho / (2 * (rho - 2) * (rho - 4)); }

/* The values behind the published figure, to the digits known. */
static const struct published {
    int rho;
    double exact, approximate;
} published[] = {
    {5, 0.251956, 0.833333},      {6, 0.174641, 0.375},         {7, 0.132419, 0.233333},
    {8, 0.106149, 0.166667},      {10, 0.075546, 0.104167},     {20, 0.0304241, 0.0347222},
    {50, 0.0107936, 0.0113225},   {100, 0.00519282, 0.00531463}, {200, 0.00254753, 0.00257679},
    {500, 0.00100754, 0.00101211},
};

static void print_table(void)
{
    printf("%5s %12s %12s %12s %12s %12s %10s\n", "rho", "Eq 2", "published", "Eq 5", "published",
           "|Eq2-Eq5|", "largest off");
    for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
        const struct published *p = &published[i];
        const double e = exact(p->rho), a = approximate(p->rho);
        const double off = fmax(fabs(e / p->exact - 1), fabs(a / p->approximate - 1));
        printf("%5d %12.6g %12.6g %12.6g %12.6g %12.3g %9.1e\n", p->rho, e, p->exact, a,
               p->approximate, fabs(e - a), off);
    }
}

bool simulate_fig8(const char *base, uint64_t seed)
{
    static double rho[ROWS], eq2[ROWS], eq5[ROWS], difference[ROWS];
    (void)seed; /* nothing is random here */
    for (int i = 0; i < ROWS; i++) {
        rho[i] = FIRST + i;
        eq2[i] = exact(rho[i]);
        eq5[i] = approximate(rho[i]);
        difference[i] = fabs(eq2[i] - eq5[i]);
    }
    print_table();
    const figure_line lines[] = {
        {"Eq 2: exact", eq2, 0, false},
        {"Eq 5: approximation", eq5, 1, false},
        {"|Eq 2 - Eq 5|", difference, 2, true},
    };
    return figure_write(&(figure){.title = "Variance of the adaptive learning rate",
                                  .x_name = "rho",
                                  .x_label = "rho",
                                  .y_label = "variance",
                                  .settings = "set logscale y\nset format y '10^{%L}'\n",
                                  .rows = ROWS,
                                  .n_lines = 3,
                                  .x = rho,
                                  .lines = lines}, base);
}
