/* Lines as SVG: axes, grid, one path per run.  Losses that span much are drawn on a log scale. */
#include <math.h>
#include <stdio.h>

#include "report.h"

enum { WIDTH = 480, HEIGHT = 300, LEFT = 52, RIGHT = 12, TOP = 30, BOTTOM = 38, TICKS = 5 };
/* Losses whose largest is so many times the smallest get a log scale. */
static const double log_span = 30;

typedef struct axis {
    double low, high;   /* in log10 when `log` */
    double from, to;    /* in the picture */
    bool log;
} axis;

static double place(const axis *a, double value)
{
    const double v = a->log ? log10(value) : value;
    return a->from + (v - a->low) / (a->high - a->low) * (a->to - a->from);
}

static void widen(axis *a, double value)
{
    a->low = fmin(a->low, value);
    a->high = fmax(a->high, value);
}

/* 1, 2 or 5 times a power of ten, so that there are about TICKS of them. */
static double tick_step(double range)
{
    const double rough = range / TICKS, power = pow(10, floor(log10(rough))), lead = rough / power;
    return power * (lead < 1.5 ? 1 : lead < 3.5 ? 2 : lead < 7.5 ? 5 : 10);
}

static void tick(const axis *a, bool is_x, double value, FILE *out)
{
    const double at = place(a, value);
    if (is_x)
        fprintf(out, "<text x='%.1f' y='%d' text-anchor='middle'>%.6g</text>", at,
                HEIGHT - BOTTOM + 16, value);
    else
        fprintf(out, "<line class='grid' x1='%d' x2='%d' y1='%.1f' y2='%.1f'/>"
                "<text x='%d' y='%.1f' text-anchor='end'>%.4g</text>", LEFT, WIDTH - RIGHT, at, at,
                LEFT - 6, at + 4, value);
}

static void ticks(const axis *a, bool is_x, FILE *out)
{
    const double step = is_x ? fmax(1, tick_step(a->high - a->low)) : tick_step(a->high - a->low);
    if (!a->log) {
        for (double k = ceil(a->low / step - 1e-9); k * step <= a->high + 1e-9 * step; k++)
            tick(a, is_x, k * step + 0.0, out); /* no -0 */
        return;
    }
    const double few = a->high - a->low;
    for (double power = floor(a->low); power <= a->high; power += few > 6 ? ceil(few / 6) : 1)
        for (int lead = 1; lead < 10; lead += lead == 1 ? 1 : lead == 2 ? 3 : 5)
            if (power + log10(lead) >= a->low && power + log10(lead) <= a->high &&
                (lead == 1 || few < 2.5))
                tick(a, is_x, lead * pow(10, power), out);
}

/* Whether there is anything to draw. */
static bool fit(const report *r, int m, axis *x, axis *y)
{
    *x = (axis){INFINITY, -INFINITY, LEFT, WIDTH - RIGHT, false};
    *y = (axis){INFINITY, -INFINITY, HEIGHT - BOTTOM, TOP, false};
    for (int i = 0; i < r->n; i++)
        for (int k = 0; k < r->runs[i].s[m].n; k++) {
            widen(x, r->runs[i].s[m].x[k]);
            widen(y, r->runs[i].s[m].y[k]);
        }
    if (x->low > x->high)
        return false;
    y->log = m != REPORT_ACCURACY && y->low > 0 && y->high / y->low > log_span;
    if (y->log)
        *y = (axis){log10(y->low), log10(y->high), y->from, y->to, true};
    const double margin = (y->high - y->low) / 20;
    if (x->low == x->high) /* one point has a range, too */
        *x = (axis){x->low - .5, x->high + .5, x->from, x->to, false};
    y->low -= margin > 0 ? margin : fmax(fabs(y->low), 1e-3) / 20;
    y->high += margin > 0 ? margin : fmax(fabs(y->high), 1e-3) / 20;
    return true;
}

static void draw_line(const report *r, int i, int m, const axis *x, const axis *y, FILE *out)
{
    const series *s = &r->runs[i].s[m];
    fprintf(out, "<path class='run c%d d%d' d='", i % REPORT_COLOURS,
            i / REPORT_COLOURS % REPORT_DASHES);
    for (int k = 0; k < s->n; k++)
        fprintf(out, "%c%.1f %.1f", k ? 'L' : 'M', place(x, s->x[k]), place(y, s->y[k]));
    fputs(s->n == 1 ? "m-3 0h6m-3-3v6'><title>" : "'><title>", out); /* a point is a cross */
    report_text(r->runs[i].name, out);
    fprintf(out, ": %.4g</title></path>\n", s->y[s->n - 1]);
}

void report_chart(const report *r, int m, FILE *out)
{
    axis x, y;
    if (!fit(r, m, &x, &y))
        return;
    fprintf(out, "<svg viewBox='0 0 %d %d' role='img' aria-label='%s over %ss'>\n"
            "<text class='title' x='%d' y='16'>%s</text>\n", WIDTH, HEIGHT, report_metrics[m].title,
            report_metrics[m].over, LEFT, report_metrics[m].title);
    ticks(&y, false, out);
    ticks(&x, true, out);
    fprintf(out, "<text x='%d' y='%d' text-anchor='middle'>%s</text>\n",
            (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, report_metrics[m].over);
    for (int i = 0; i < r->n; i++)
        if (r->runs[i].s[m].n > 0)
            draw_line(r, i, m, &x, &y, out);
    fprintf(out, "<path class='axis' d='M%d %dV%dH%d'/></svg>\n", LEFT, TOP, HEIGHT - BOTTOM,
            WIDTH - RIGHT);
}
