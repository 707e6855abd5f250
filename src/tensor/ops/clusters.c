/* Targets of an adaptive softmax sorted by cluster: what the head is to hit, and for each cluster its rows, in order,
 * and what it is to hit itself.  A cluster has a given number of places; those that its rows leave over have row 0 and
 * the target -1. */
#include "op.h"
#include "sample.h"
#include "wrong.h"

/* 0: the head's own; else a cluster's number from 1. */
static int part_of(const tn__clusters_attr *a, int64_t target)
{
    int part = 0;
    while (target >= a->end[part])
        part++;
    return part;
}

static bool rooms_ok(const tn__clusters_attr *a, int64_t rows, const int64_t *target)
{
    int64_t count[TN__CLUSTERS + 1] = {0};
    for (int64_t row = 0; row < rows; row++)
        count[part_of(a, target[row])]++;
    for (int k = 0; k < a->n; k++)
        if (count[k + 1] > a->room[k])
            return tn_fail(TN_EARG, TN_WRONG_ROOM, "clusters", (long long)k, (long long)count[k + 1],
                           (long long)a->room[k]), false;
    return true;
}

tn_done KERNEL(clusters)(const tn_call *c)
{
    const tn__clusters_attr *a = c->attr;
    const int64_t rows = c->in[0]->shape[0], *target = INDEX(0);
    int64_t *head = tn__data(c->out[0]), *at = tn__data(c->out[1]), *own = tn__data(c->out[2]), next[TN__CLUSTERS];
    if (tn__targets("clusters", c->in[0], a->end[a->n], NULL) < 0 || !rooms_ok(a, rows, target))
        return TN_FAILED;
    for (int64_t k = 0, first = 0; k < a->n; first += a->room[k++])
        next[k] = first;
    for (int64_t i = 0; i < tn_numel(c->out[1]); i++) {
        at[i] = 0;
        own[i] = -1;
    }
    for (int64_t row = 0; row < rows; row++) {
        const int part = part_of(a, target[row]);
        head[row] = part ? a->end[0] + part - 1 : target[row];
        if (part) {
            at[next[part - 1]] = row;
            own[next[part - 1]++] = target[row] - a->end[part - 1];
        }
    }
    return TN_DONE;
}

#if TN_WHOLE

bool tn__shape_clusters(tn_call *c)
{
    const tn__clusters_attr *a = c->attr;
    char s[TN_SHAPE_TEXT];
    int64_t places = 0;
    if (c->in[0]->ndim != 1)
        return tn_fail(TN_ESHAPE, "clusters: targets are [rows], not %s", tn_shape_text(c->in[0], s)), false;
    for (int k = 0; k < a->n; k++) {
        if (a->room[k] < 0 || a->room[k] > c->in[0]->shape[0])
            return tn_fail(TN_ESHAPE, "clusters: %lld places for those of %lld rows that are in cluster %d",
                           (long long)a->room[k], (long long)c->in[0]->shape[0], k), false;
        places += a->room[k];
    }
    tn__set_shape(c->out[0], 1, c->in[0]->shape);
    tn__set_shape(c->out[1], TN_SHAPE(places));
    tn__set_shape(c->out[2], TN_SHAPE(places));
    return true;
}

/* ---- samples ---- */

/* All three outputs, one after the other. */
static tn_tensor *all_of(tn_tensor *target, int64_t first, int64_t second)
{
    const tn__clusters_attr a = {2, {4, 10, 30}, {first, second}};
    tn_tensor *out[TN_MAX_OUT];
    return tn__apply(TN_OP(clusters), &a, sizeof a, 1, &target, out) ? tn_concat(3, out, 0) : NULL;
}

#define TARGETS(n, ...) tn__beside(in[0], tn_from_i64((const int64_t[]){__VA_ARGS__}, TN_SHAPE(n)))
MAKE(clusters, all_of(TARGETS(9, 29, 3, 4, 0, 9, 10, 17, 2, 5), 5, 3))
MAKE(clusters_full, all_of(TARGETS(5, 29, 11, 4, 0, 9), 2, 2))
MAKE(clusters_empty, all_of(TARGETS(5, 3, 2, 11, 0, 1), 0, 3))
MAKE(clusters_many, all_of(in[0], 430, 1100))
MAKE(clusters_given, all_of(in[0], 0, 0))
MAKE(clusters_low, all_of(TARGETS(3, 2, 1, -1), 2, 2))
MAKE(clusters_short, all_of(TARGETS(6, 4, 10, 4, 4, 4, 4), 4, 4))
MAKE(clusters_wide, all_of(TARGETS(2, 4, 10), 1, 3))
SAMPLES(clusters) = {
    {.what = "places left over", .make = make_clusters, .in = {FLOAT}},
    {.what = "no place left over", .make = make_clusters_full, .in = {FLOAT}},
    {.what = "an empty cluster", .make = make_clusters_empty, .in = {FLOAT}},
    {.what = "many rows", .make = make_clusters_many, .in = {INTS(30, 1500)}},
    {.what = "no rows", .make = make_clusters_given, .in = {INTS(30, 0)}},
    {.what = "a target too large", .make = make_clusters_given, .in = {RANGE('i', 30, 31, 2)},
     .error = "clusters: target 30 at position 0 is not a class in 0..29"},
    {.what = "a target too small", .make = make_clusters_low, .in = {FLOAT},
     .error = "clusters: target -1 at position 2 is not a class in 0..29"},
    {.what = "too few places", .make = make_clusters_short, .in = {FLOAT},
     .error = "clusters: cluster 0 has 5 rows, the plan has 4"},
    {.what = "a matrix", .make = make_clusters_given, .in = {INTS(30, 2, 3)},
     .error = "clusters: targets are [rows], not [2,3]"},
    {.what = "more places than rows", .make = make_clusters_wide, .in = {FLOAT},
     .error = "clusters: 3 places for those of 2 rows that are in cluster 1"},
    {0},
};

#endif
