/*
 * Layer norm over the rows of an array, alone and behind dropout and residual add. See norm.h for the
 * contract; the reference loops are in src/tensor/ops, batch norm in norm.c.
 *
 * Rows are cut in units whose size depends on the shape only; sums over rows are taken per unit and
 * combined in float64 in a fixed order.
 */
#include "norm.h"

#include <math.h>
#include <string.h>

#include "draw.h"

enum {
    CHUNK = 32 << 10, /* floats of one array in a unit of work */
    NEAR = 4 << 10,   /* floats that are read again soon: half of the first cache */
    UNITS = 64        /* of backward at most: bounds the partial sums; as many threads find work */
};

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

typedef struct layer {
    int64_t m, d;
    int64_t rows; /* in a unit of work */
    const float *x, *gain, *bias, *dy;
    float eps;
    const tn__dropout_attr *drop;        /* with a residual: sum = residual + dropout(x) is normalised */
    const float *residual;
    float *sum;
    const float *mean, *rstd;            /* [m] read by backward */
    float *y, *new_mean, *new_rstd;      /* written by forward */
    float *dx, *dropped;                 /* by backward */
    float *partial; /* [units][2][d] sums over the unit's rows for dgain and dbias */
} layer;

/* n < TN_VEC numbers and as many times `fill` as complete the vector. */
static vf load_part(const float *p, int64_t n, float fill)
{
    float part[TN_VEC];
    for (int64_t i = 0; i < TN_VEC; i++)
        part[i] = i < n ? p[i] : fill;
    return tn__load(part);
}

TN_INLINE vf load_some(const float *p, int64_t n, float fill)
{
    return n >= TN_VEC ? tn__load(p) : load_part(p, n, fill);
}

TN_INLINE void store_some(float *p, int64_t n, vf v)
{
    if (n >= TN_VEC)
        tn__store(p, v);
    else
        memcpy(p, &v, (size_t)n * sizeof(float));
}

static float lane_sum(vf v)
{
    float sum = 0;
    for (int i = 0; i < TN_VEC; i++)
        sum += v[i];
    return sum;
}

/* ---- forward ---- */

/* The sum of x - center over a row, or of its square. Four sums, so that an addition need not wait
 * for the one before. */
TN_INLINE float row_sum(const float *x, int64_t d, float center, bool square)
{
    enum { WAYS = 4 };
    vf sum[WAYS] = {{0}};
    int64_t j = 0;
    for (; j + WAYS * TN_VEC <= d; j += WAYS * TN_VEC)
        TN_UNROLL for (int i = 0; i < WAYS; i++) {
            vf v = tn__load(x + j + i * TN_VEC) - center;
            sum[i] += square ? v * v : v;
        }
    for (; j < d; j += TN_VEC) {
        vf v = load_some(x + j, d - j, center) - center;
        sum[0] += square ? v * v : v;
    }
    return lane_sum((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

static void normalize_row(const layer *l, const float *x, int64_t r)
{
    int64_t d = l->d;
    /* x[0]: a large mean costs no digits */
    float mean = x[0] + row_sum(x, d, x[0], false) / (float)d;
    float var = row_sum(x, d, mean, true) / (float)d;
    float rstd = 1 / sqrtf(var + l->eps);
    for (int64_t j = 0; j < d; j += TN_VEC) {
        vf v = (load_some(x + j, d - j, mean) - mean) * rstd;
        if (l->gain)
            v *= load_some(l->gain + j, d - j, 1);
        if (l->bias)
            v += load_some(l->bias + j, d - j, 0);
        store_some(l->y + r * d + j, d - j, v);
    }
    l->new_mean[r] = mean;
    l->new_rstd[r] = rstd;
}

static void forward_unit(void *arg, int64_t i, int worker)
{
    (void)worker;
    const layer *l = arg;
    for (int64_t r = i * l->rows; r < least((i + 1) * l->rows, l->m); r++)
        normalize_row(l, l->x + r * l->d, r);
}

int TN_K(ln_forward)(int64_t m, int64_t d, const float *x, const float *gain, const float *bias,
                     float eps, float *y, float *mean, float *rstd)
{
    if (d == 0)
        return 0;
    layer l = {
        .m = m, .d = d, .rows = most(CHUNK / d, 1), .x = x, .gain = gain, .bias = bias, .eps = eps,
        .y = y, .new_mean = mean, .new_rstd = rstd,
    };
    tn__parallel(ceil_div(m, l.rows), forward_unit, &l);
    return 0;
}

/* Elements from..to - 1 of sum. The words of a mask come in fours. */
static void drop_and_add(const layer *l, int64_t from, int64_t to)
{
    const uint32_t threshold = tn__drop_threshold(l->drop->p);
    const float scale = (float)(1 / (1 - l->drop->p));
    const float *restrict x = l->x, *restrict residual = l->residual;
    float *restrict sum = l->sum;
    if (threshold == 0) {
        for (int64_t i = from; i < to; i++)
            sum[i] = residual[i] + x[i];
        return;
    }
    for (int64_t at = from / 4 * 4; at < to; at += TN_DRAW) {
        uint32_t words[TN_DRAW];
        tn__draw(l->drop->key, (uint64_t)at / 4, words);
        for (int64_t k = most(from - at, 0), end = least(to - at, TN_DRAW); k < end; k++)
            sum[at + k] = residual[at + k] + (words[k] >= threshold ? x[at + k] * scale : 0);
    }
}

/* A few rows at a time, which are still near when they are normalised. */
static void drop_unit(void *arg, int64_t i, int worker)
{
    (void)worker;
    const layer *l = arg;
    const int64_t few = most(NEAR / l->d, 1), stop = least((i + 1) * l->rows, l->m);
    for (int64_t first = i * l->rows; first < stop; first += few) {
        const int64_t end = least(first + few, stop);
        drop_and_add(l, first * l->d, end * l->d);
        for (int64_t r = first; r < end; r++)
            normalize_row(l, l->sum + r * l->d, r);
    }
}

int TN_K(ln_drop_forward)(int64_t m, int64_t d, const float *x, const float *residual, const tn__dropout_attr *drop,
                          const float *gain, const float *bias, float eps, float *y, float *sum, float *mean,
                          float *rstd)
{
    if (drop->p >= 1) {
        memcpy(sum, residual, (size_t)(m * d) * sizeof *sum);
        return TN_K(ln_forward)(m, d, sum, gain, bias, eps, y, mean, rstd);
    }
    layer l = {
        .m = m, .d = d, .rows = most(CHUNK / d, 1), .x = x, .gain = gain, .bias = bias, .eps = eps, .drop = drop,
        .residual = residual, .sum = sum, .y = y, .new_mean = mean, .new_rstd = rstd,
    };
    tn__parallel(ceil_div(m, l.rows), drop_unit, &l);
    return 0;
}

/* ---- backward ---- */

/* Elements from..to - 1 of dx. */
static void drop_gradients(const layer *l, int64_t from, int64_t to)
{
    const uint32_t threshold = tn__drop_threshold(l->drop->p);
    const float scale = (float)(1 / (1 - l->drop->p));
    const float *restrict dx = l->dx;
    float *restrict dropped = l->dropped;
    if (l->drop->p >= 1) {
        memset(dropped + from, 0, (size_t)(to - from) * sizeof *dropped);
        return;
    }
    for (int64_t at = from / 4 * 4; at < to; at += TN_DRAW) {
        uint32_t words[TN_DRAW];
        tn__draw(l->drop->key, (uint64_t)at / 4, words);
        for (int64_t k = most(from - at, 0), end = least(to - at, TN_DRAW); k < end; k++) {
            const float v = dx[at + k] * scale; /* always: a load under a mask takes twice as long */
            dropped[at + k] = words[k] >= threshold ? v : 0;
        }
    }
}

/* With g = dy * gain and h = (x - mean) * rstd: dx = rstd * (g - mean of g - h * mean of g * h).  Dropped a few rows
 * at a time, which are still near. */
static void backward_unit(void *arg, int64_t i, int worker)
{
    (void)worker;
    const layer *l = arg;
    int64_t d = l->d, end = least((i + 1) * l->rows, l->m), few = most(NEAR / d, 1), first = i * l->rows;
    float *dgain = l->partial + 2 * i * d, *dbias = dgain + d;
    memset(dgain, 0, (size_t)(2 * d) * sizeof(float));
    for (int64_t r = i * l->rows; r < end; r++) {
        const float *x = l->x + r * d, *dy = l->dy + r * d;
        float mean = l->mean[r], rstd = l->rstd[r];
        vf sum_g = {0}, sum_gh = {0};
        for (int64_t j = 0; j < d; j += TN_VEC) {
            vf h = (load_some(x + j, d - j, mean) - mean) * rstd, g = load_some(dy + j, d - j, 0);
            store_some(dgain + j, d - j, load_some(dgain + j, d - j, 0) + g * h);
            store_some(dbias + j, d - j, load_some(dbias + j, d - j, 0) + g);
            if (l->gain)
                g *= load_some(l->gain + j, d - j, 0);
            sum_g += g;
            sum_gh += g * h;
        }
        float g_mean = lane_sum(sum_g) / (float)d, gh_mean = lane_sum(sum_gh) / (float)d;
        for (int64_t j = 0; l->dx && j < d; j += TN_VEC) {
            vf h = (load_some(x + j, d - j, mean) - mean) * rstd, g = load_some(dy + j, d - j, 0);
            if (l->gain)
                g *= load_some(l->gain + j, d - j, 0);
            store_some(l->dx + r * d + j, d - j, (g - g_mean - h * gh_mean) * rstd);
        }
        if (l->dropped && (r + 1 == first + few || r + 1 == end)) {
            drop_gradients(l, first * d, (r + 1) * d);
            first = r + 1;
        }
    }
}

/* total[j] = the sum of part[i * step + j] over i, for n columns; total may be NULL. */
static void add_units(const float *part, int64_t units, int64_t step, int64_t n, float *total)
{
    enum { SIDE = 256 };
    for (int64_t from = 0; total && from < n; from += SIDE) {
        const int64_t count = least(SIDE, n - from);
        double sums[SIDE] = {0};
        for (int64_t i = 0; i < units; i++)
            for (int64_t j = 0; j < count; j++)
                sums[j] += (double)part[i * step + from + j];
        for (int64_t j = 0; j < count; j++)
            total[from + j] = (float)sums[j];
    }
}

int TN_K(ln_backward)(int64_t m, int64_t d, const float *x, const float *gain, const float *dy,
                      const float *mean, const float *rstd, const tn__dropout_attr *drop, float *dx, float *dropped,
                      float *dgain, float *dbias)
{
    layer l = {
        .m = m, .d = d, .x = x, .gain = gain, .dy = dy, .drop = drop, .dx = dx, .dropped = dropped, .mean = mean,
        .rstd = rstd,
    };
    l.rows = most(most(CHUNK / most(d, 1), 1), ceil_div(m, UNITS));
    int64_t units = ceil_div(m, l.rows);
    l.partial = tn__scratch((size_t)(2 * most(units * d, 1)) * sizeof(float));
    if (!l.partial)
        return -1;
    tn__parallel(units, backward_unit, &l);
    add_units(l.partial, units, 2 * d, d, dgain);
    add_units(l.partial + d, units, 2 * d, d, dbias);
    tn__scratch_free(l.partial);
    return 0;
}
