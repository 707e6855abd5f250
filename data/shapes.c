/* A generated data set for machines without data: ten kinds of shapes, drawn at random places,
 * sizes and angles in random colours on textured ground, partly hidden and noisy.  Sample i is
 * drawn when it is asked for, from (seed, split, i) alone; its class is i mod 10. */
#include <math.h>
#include <string.h>

#include <tenon.h>

enum { SIDE = 32, CLASSES = 10 };

typedef struct shapes {
    tn_dataset base;
    uint64_t seed;
    tn_split split;
} shapes;

/* ---- numbers: splitmix64 (Steele et al. 2014), begun by words of the library's generator ---- */

typedef struct dice {
    uint64_t state;
} dice;

static uint64_t roll(dice *r)
{
    uint64_t z = r->state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static float between(dice *r, float lo, float hi)
{
    return lo + (hi - lo) * ((float)(roll(r) >> 40) * (1.0f / 16777216.0f));
}

static float smaller(float a, float b) { return a < b ? a : b; }
static float larger(float a, float b) { return a > b ? a : b; }

/* ---- the kinds: distance of (u, v) from the edge, < 0 inside, in the unit disc ---- */

static float box(float u, float v, float a, float b) { return larger(fabsf(u) - a, fabsf(v) - b); }
static float round_at(float u, float v, float radius) { return sqrtf(u * u + v * v) - radius; }

static float disc(float u, float v) { return round_at(u, v, 0.85f); }
static float ring(float u, float v) { return fabsf(round_at(u, v, 0.68f)) - 0.2f; }
static float square(float u, float v) { return box(u, v, 0.72f, 0.72f); }

static float triangle(float u, float v)
{
    return larger(larger(0.866f * u + 0.5f * v, -0.866f * u + 0.5f * v), -v) - 0.5f;
}

static float cross(float u, float v)
{
    return smaller(box(u, v, 0.95f, 0.28f), box(u, v, 0.28f, 0.95f));
}

/* Five points: half a point is one straight edge, all others are its turned and mirrored copies. */
static float star(float u, float v)
{
    const float fifth = 1.2566371f;
    const float angle = fabsf(remainderf(atan2f(u, v), fifth)), r = sqrtf(u * u + v * v);
    return 0.384f * (r * cosf(angle) - 1) + 0.923f * r * sinf(angle);
}

static float crescent(float u, float v)
{
    return larger(round_at(u, v, 0.9f), -round_at(u - 0.45f, v, 0.7f));
}

static float checkerboard(float u, float v)
{
    return larger(box(u, v, 0.8f, 0.8f), 0.3f * sinf(5.5f * u) * sinf(5.5f * v));
}

static float level_stripes(float u, float v)
{
    return larger(box(u, v, 0.8f, 0.8f), 0.13f * sinf(7.5f * v));
}

static float upright_stripes(float u, float v) { return level_stripes(v, u); }

/* function, largest turn either way: stripes must not turn into each other */
#define KINDS(X)                                                                                 \
    X(disc, 0)                                                                                   \
    X(ring, 0)                                                                                   \
    X(square, 3.14f)                                                                             \
    X(triangle, 3.14f)                                                                           \
    X(cross, 3.14f)                                                                              \
    X(star, 3.14f)                                                                               \
    X(crescent, 3.14f)                                                                           \
    X(checkerboard, 3.14f)                                                                       \
    X(level_stripes, 0.4f)                                                                       \
    X(upright_stripes, 0.4f)

static const struct kind {
    float (*edge)(float u, float v);
    float turn;
} kinds[CLASSES] = {
#define X(edge, turn) {edge, turn},
    KINDS(X)
#undef X
};
static const char *const names[CLASSES] = {
#define X(edge, turn) #edge,
    KINDS(X)
#undef X
};

/* ---- painting ---- */

typedef struct colour {
    float c[3];
} colour;

typedef float picture[SIDE][SIDE][3];

/* `base` moved by about `far` in each channel, up or down. */
static colour away_from(dice *r, colour base, float far)
{
    for (int c = 0; c < 3; c++)
        base.c[c] += between(r, 0.5f, 1.5f) * (roll(r) & 1 ? far : -far);
    return base;
}

/* A plane wave: sin(ax + by + phase), by the sum formula from one table a side. */
static void add_wave(dice *r, picture p, float amplitude)
{
    const float a = between(r, -1.2f, 1.2f), b = between(r, -1.2f, 1.2f);
    const float phase = between(r, 0, 6.28f);
    const colour by = away_from(r, (colour){{0}}, amplitude);
    float sin_x[SIDE], cos_x[SIDE];
    for (int x = 0; x < SIDE; x++) {
        sin_x[x] = sinf(a * (float)x + phase);
        cos_x[x] = cosf(a * (float)x + phase);
    }
    for (int y = 0; y < SIDE; y++) {
        const float sin_y = sinf(b * (float)y), cos_y = cosf(b * (float)y);
        for (int x = 0; x < SIDE; x++)
            for (int c = 0; c < 3; c++)
                p[y][x][c] += by.c[c] * (sin_x[x] * cos_y + cos_x[x] * sin_y);
    }
}

typedef struct place {
    float x, y, radius, stretch, angle;
} place;

/* Paints one shape over the picture, its edge smooth over one pixel. */
static void paint(picture p, float (*edge)(float u, float v), place at, colour with)
{
    const float across = cosf(at.angle) / at.radius, along = sinf(at.angle) / at.radius;
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) {
            const float dx = (float)x - at.x, dy = (float)y - at.y;
            const float u = (across * dx + along * dy) * at.stretch;
            const float v = (across * dy - along * dx) / at.stretch;
            if (u * u + v * v > 2.5f)
                continue;
            const float cover = smaller(larger(0.5f - edge(u, v) * at.radius, 0), 1);
            for (int c = 0; c < 3; c++)
                p[y][x][c] += cover * (with.c[c] - p[y][x][c]);
        }
}

static float bar(float u, float v) { return box(u, v, 1.2f, 0.3f); }

/* Adds noise, the sum of two even bytes for each value, and rounds to bytes. */
static void develop(dice *r, picture p, float deviation, uint8_t *out)
{
    const float *from = &p[0][0][0];
    const float scale = deviation / 104.5f;
    for (int i = 0; i < SIDE * SIDE * 3; i += 4) {
        uint64_t word = roll(r);
        for (int k = i; k < i + 4; k++, word >>= 16) {
            const float noise = scale * ((float)(word & 255) + (float)(word >> 8 & 255) - 255);
            out[k] = (uint8_t)smaller(larger(from[k] + noise + 0.5f, 0), 255);
        }
    }
}

static void draw(dice *r, const struct kind *kind, uint8_t *out)
{
    picture p;
    colour ground, bright;
    for (int c = 0; c < 3; c++)
        ground.c[c] = between(r, 50, 205);
    for (int i = 0; i < SIDE * SIDE; i++)
        memcpy(p[i / SIDE][i % SIDE], ground.c, sizeof ground.c);
    add_wave(r, p, between(r, 2, 12));
    add_wave(r, p, between(r, 2, 12));

    bright = away_from(r, ground, between(r, 40, 100));
    const place at = {
        between(r, 12, 19), between(r, 12, 19), between(r, 8, 13), between(r, 0.8f, 1.25f),
        between(r, -kind->turn, kind->turn),
    };
    paint(p, kind->edge, at, bright);
    for (int n = (int)(roll(r) % 3); n > 0; n--) { /* in front, or beside */
        const place in_front = {
            at.x + between(r, -12, 12), at.y + between(r, -12, 12), between(r, 2, 6), 1,
            between(r, -3.14f, 3.14f),
        };
        const colour with = away_from(r, roll(r) & 1 ? ground : bright, between(r, 5, 60));
        paint(p, roll(r) & 1 ? bar : disc, in_front, with);
    }
    develop(r, p, between(r, 2, 16), out);
}

/* ---- the data set ---- */

static bool shapes_get(const tn_dataset *d, int64_t i, void *x, void *y)
{
    const shapes *s = (const shapes *)d;
    uint32_t word[4];
    tn_random(s->seed, (uint64_t)s->split, (uint64_t)i, word);
    dice r = {(uint64_t)word[0] << 32 | word[1]};
    const int64_t label = i % CLASSES;
    draw(&r, &kinds[label], x);
    memcpy(y, &label, sizeof label);
    return true;
}

static const tn_dataset_class shapes_class = {
    .name = "shapes", .size = sizeof(shapes), .get = shapes_get,
};

tn_dataset *tn_shapes(tn_split split, int64_t n, uint64_t seed)
{
    if (n < 1)
        return tn_fail(TN_EARG, "shapes: %lld samples; give at least 1", (long long)n);
    shapes *s = tn_dataset_new(&shapes_class);
    if (!s)
        return NULL;
    s->seed = seed;
    s->split = split;
    s->base.len = n;
    s->base.x_dtype = TN_U8;
    s->base.x_ndim = 3;
    memcpy(s->base.x_shape, (int64_t[]){SIDE, SIDE, 3}, 3 * sizeof(int64_t));
    s->base.classes = CLASSES;
    s->base.class_names = names;
    s->base.image = true;
    for (int c = 0; c < 3; c++) {
        s->base.mean[c] = 0.5f;
        s->base.std[c] = 0.25f;
    }
    return &s->base;
}
