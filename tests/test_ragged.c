/* Loaders of ragged samples: packing by tokens, spans, workers, resumption.  What loaders do with samples of one
 * shape is in test_data.c. */
#include <stdlib.h>
#include <unistd.h>

#include "check.h"

/* ---- a data set of given lengths ---- */

/* Row r of x of sample i is [i, r], that of y is 1000 i + r; without y's lengths its label is i. */
typedef struct ragged {
    tn_dataset base;
    const int *x, *y; /* rows */
    int64_t bad;
} ragged;

static void ragged_rows(const tn_dataset *d, int64_t i, int64_t *x, int64_t *y)
{
    const ragged *r = (const ragged *)d;
    *x = r->x[i];
    if (r->y)
        *y = r->y[i];
}

static bool ragged_get(const tn_dataset *d, int64_t i, void *x, void *y)
{
    const ragged *r = (const ragged *)d;
    float *values = x;
    int64_t *ids = y;
    if (i == r->bad) {
        tn_fail(TN_EFORMAT, "sample %lld is broken", (long long)i);
        return false;
    }
    for (int k = 0; k < r->x[i]; k++) {
        values[2 * k] = (float)i;
        values[2 * k + 1] = (float)k;
    }
    for (int k = 0; r->y && k < r->y[i]; k++)
        ids[k] = 1000 * i + k;
    if (!r->y)
        *ids = i;
    if (i % 7 == 0)
        usleep(50); /* workers finish out of order */
    return true;
}

static const tn_dataset_class ragged_class = {
    .name = "ragged", .size = sizeof(ragged), .get = ragged_get, .rows = ragged_rows,
};

static tn_dataset *ragged_new(int64_t n, const int *x, const int *y)
{
    ragged *r = tn_dataset_new(&ragged_class);
    assert_non_null(r);
    r->base.len = n;
    r->base.x_ndim = 1;
    r->base.x_shape[0] = 2;
    r->x = x;
    r->y = y;
    r->bad = -1;
    return &r->base;
}

enum { N = 500 };
static int some_x[N], some_y[N]; /* like sentences: many short ones, y about as long as x */

static int some_lengths(void **state)
{
    for (uint64_t i = 0; i < N; i++) {
        uint32_t word[4];
        tn_random(12, 3, i, word);
        some_x[i] = 1 + (int)(word[0] % 20) + (int)(word[1] % 4 == 0 ? word[2] % 60 : 0);
        some_y[i] = 1 + (some_x[i] * (int)(70 + word[3] % 60)) / 100;
    }
    return quiet_errors(state);
}

/* ---- fairseq's rule once more, with lists instead of places ---- */

typedef struct packing {
    int batches, of[N + 1], len[N + 1]; /* samples one after the other, and how many in each batch */
} packing;

static const int *key_x, *key_y;

static int by_length(const void *a, const void *b)
{
    const int i = *(const int *)a, j = *(const int *)b;
    const int one[] = {key_x[i], key_y ? key_y[i] : 0, i}, two[] = {key_x[j], key_y ? key_y[j] : 0, j};
    for (int k = 0; k < 3; k++)
        if (one[k] != two[k])
            return one[k] < two[k] ? -1 : 1;
    return 0;
}

static int longest_of(const int *samples, int n)
{
    int most = 0;
    for (int k = 0; k < n; k++) {
        const int i = samples[k], side = key_y && key_y[i] > key_x[i] ? key_y[i] : key_x[i];
        most = side > most ? side : most;
    }
    return most;
}

static void pack_again(packing *p, int n, const int *x, const int *y, int max_tokens, int multiple, int cap)
{
    int order[N], pending[N + 1], held = 0, given = 0;
    key_x = x;
    key_y = y;
    p->batches = 0;
    for (int i = 0; i < n; i++)
        order[i] = i;
    qsort(order, (size_t)n, sizeof *order, by_length);
    for (int i = 0; i < n; i++) {
        pending[held] = order[i];
        const bool full = held > 0 && (held == cap || (held + 1) * longest_of(pending, held + 1) > max_tokens);
        if (full) {
            const int down = multiple * (held / multiple), rest = held % multiple, go = down > rest ? down : rest;
            memcpy(p->of + given, pending, (size_t)go * sizeof *pending);
            memmove(pending, pending + go, (size_t)(held + 1 - go) * sizeof *pending);
            p->len[p->batches++] = go;
            given += go;
            held -= go;
        }
        held++;
    }
    memcpy(p->of + given, pending, (size_t)held * sizeof *pending);
    p->len[p->batches++] = held;
}

static void expect_packing(tn_loader *l, const packing *p)
{
    const int *of = p->of;
    assert_non_null(l);
    assert_int_equal(tn_loader_batches(l), p->batches);
    TN_EACH(b, l) {
        assert_int_equal(b.n, p->len[b.index]);
        for (int64_t k = 0; k < b.n; k++)
            assert_int_equal(b.samples[k], of[k]);
        of += b.n;
    }
    assert_ok();
}

/* ---- packing ---- */

static void packed_by_hand(void **state)
{
    (void)state;
    /* Ten of 4 stand ready when one of 9 (its y is) comes: eight go.  4, 4, 9, 9 make 36, and with 12 they would make
     * 60: fewer than a multiple, they go together.  12 and 12 do not stand a third of 14; it remains. */
    static const int x[] = {12, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 8, 9, 12, 13};
    static const int y[] = {3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 9, 2, 12, 14};
    static const packing want = {
        4, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 13, 14}, {8, 4, 2, 1},
    };
    tn_loader *l = tn_loader(ragged_new(15, x, y), .max_tokens = 40);
    expect_packing(l, &want);
    tn_free(l);
    /* Fifteen of 5 stand ready when 70 comes: eight go, seven stay with it, and 71 sends these eight away. */
    static const int jump[] = {5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 70, 71};
    static const packing over = {
        3, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, {8, 8, 1},
    };
    l = tn_loader(ragged_new(17, jump, NULL), .max_tokens = 80);
    expect_packing(l, &over);
    tn_free(l);
}

static void packed_as_fairseq(void **state)
{
    (void)state;
    static const struct { int max_tokens, multiple, cap; } cases[] = {
        {400, 8, 0}, {400, 1, 0}, {120, 8, 0}, {4000, 8, 0}, {400, 8, 12}, {400, 3, 7}, {100000, 8, 0}, {100000, 1, 1},
        {300, 1000, 0},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (int sides = 1; sides <= 2; sides++) {
            static packing want;
            const int *y = sides == 2 ? some_y : NULL;
            pack_again(&want, N, some_x, y, cases[c].max_tokens, cases[c].multiple, cases[c].cap);
            tn_loader *l = tn_loader(ragged_new(N, some_x, y), .max_tokens = cases[c].max_tokens,
                                     .multiple = cases[c].multiple, .batch = cases[c].cap, .workers = (int)(c % 3));
            expect_packing(l, &want);
            tn_free(l);
        }
}

/* Rows of all sizes a sort by bytes must carry. */
static void long_samples(void **state)
{
    (void)state;
    static const int x[] = {70000, 256, 0, 255, 65536, 65535, 257, 70000, 1};
    static const packing want = {9, {2, 8, 3, 1, 6, 5, 4, 0, 7}, {1, 1, 1, 1, 1, 1, 1, 1, 1}};
    tn_loader *l = tn_loader(ragged_new(9, x, NULL), .max_tokens = 1 << 20, .batch = 1);
    expect_packing(l, &want);
    tn_free(l);
}

/* ---- shuffling ---- */

typedef struct epoch_of {
    int64_t batches, of[N], len[N];
} epoch_of;

static void read_epoch(tn_loader *l, epoch_of *e)
{
    int64_t k = 0;
    e->batches = 0;
    TN_EACH(b, l) {
        memcpy(e->of + k, b.samples, (size_t)b.n * sizeof *b.samples);
        k += b.n;
        e->len[e->batches++] = b.n;
    }
    assert_ok();
    assert_int_equal(k, N);
    char seen[N] = {0};
    for (k = 0; k < N; k++) {
        assert_in_range(e->of[k], 0, N - 1);
        assert_false(seen[e->of[k]]++);
    }
}

/* The batch of each sample, by the least sample in it. */
static void name_batches(const epoch_of *e, int64_t *name)
{
    const int64_t *of = e->of;
    for (int64_t b = 0; b < e->batches; of += e->len[b++]) {
        int64_t least = of[0];
        for (int64_t k = 0; k < e->len[b]; k++)
            least = of[k] < least ? of[k] : least;
        for (int64_t k = 0; k < e->len[b]; k++)
            name[of[k]] = least;
    }
}

static void shuffle_moves_batches(void **state)
{
    (void)state;
    static epoch_of e[4];
    static int64_t name[4][N];
    for (int seed = 1; seed <= 2; seed++) {
        tn_loader *l = tn_loader(ragged_new(N, some_x, some_y), .max_tokens = 400, .shuffle = true,
                                 .seed = (uint64_t)seed, .workers = 2);
        for (int epoch = 0; epoch < 2; epoch++) {
            read_epoch(l, &e[2 * seed - 2 + epoch]);
            name_batches(&e[2 * seed - 2 + epoch], name[2 * seed - 2 + epoch]);
        }
        tn_free(l);
    }
    assert_memory_equal(name[0], name[1], sizeof name[0]);           /* made once */
    assert_memory_not_equal(e[0].of, e[1].of, sizeof e[0].of);       /* and moved */
    assert_memory_not_equal(name[0], name[2], sizeof name[0]);       /* ties: by the seed */

    /* Whatever the ties, the lengths in the batches are those of the list without shuffling. */
    static packing want;
    pack_again(&want, N, some_x, some_y, 400, 8, 0);
    for (int run = 0; run < 4; run++) {
        assert_int_equal(e[run].batches, want.batches);
        char taken[N] = {0};
        const int64_t *of = e[run].of;
        int in_place = 0;
        for (int64_t b = 0; b < e[run].batches; of += e[run].len[b++]) {
            const int *other = want.of;
            bool found = false;
            for (int w = 0; !found && w < want.batches; other += want.len[w++]) {
                bool same = !taken[w] && want.len[w] == e[run].len[b];
                for (int k = 0; same && k < want.len[w]; k++)
                    same = some_x[other[k]] == some_x[of[k]] && some_y[other[k]] == some_y[of[k]];
                if (same) {
                    found = true;
                    taken[w] = 1;
                    in_place += w == b;
                }
            }
            assert_true(found);
        }
        assert_in_range(in_place, 0, 6);
    }
}

/* By count the order is that of any other data set. */
static void batches_by_count(void **state)
{
    (void)state;
    for (int shuffle = 0; shuffle < 2; shuffle++)
        for (int drop = 0; drop < 2; drop++) {
            int64_t order[N], rows = 0, k = 0;
            TN_SCOPE {
                tn_loader *plain = tn_loader(tn_tensors(tn_zeros(TN_SHAPE(N, 1)), tn_arange(N, TN_I64)), .batch = 64,
                                             .shuffle = shuffle, .seed = 4);
                TN_EACH(b, plain) {
                    assert_memory_equal(b.samples, tn_i64(b.y), (size_t)b.n * sizeof *b.samples);
                    assert_null(b.x_spans);
                    assert_null(b.y_spans);
                    memcpy(order + k, b.samples, (size_t)b.n * sizeof *order);
                    k += b.n;
                }
                tn_free(plain);
            }
            tn_loader *l = tn_loader(ragged_new(N, some_x, some_y), .batch = 64, .shuffle = shuffle, .drop_last = drop,
                                     .seed = 4);
            assert_int_equal(tn_loader_batches(l), drop ? N / 64 : N / 64 + 1);
            TN_EACH(b, l) {
                for (int64_t i = 0; i < b.n; i++) {
                    assert_int_equal(b.samples[i], order[64 * b.index + i]);
                    rows -= some_x[b.samples[i]];
                }
                rows += b.x->shape[0];
            }
            assert_ok();
            assert_int_equal(rows, 0);
            tn_free(l);
        }
}

/* ---- what is in a batch ---- */

static void expect_rows(const tn_batch *b, const int *y)
{
    int64_t x_at = 0, y_at = 0;
    for (int64_t k = 0; k < b->n; k++) {
        const int64_t i = b->samples[k];
        assert_int_equal(tn_i64(b->x_spans)[2 * k], x_at);
        assert_int_equal(tn_i64(b->x_spans)[2 * k + 1], some_x[i]);
        for (int r = 0; r < some_x[i]; r++, x_at++) {
            assert_true(tn_f32(b->x)[2 * x_at] == (float)i);
            assert_true(tn_f32(b->x)[2 * x_at + 1] == (float)r);
        }
        if (!y) {
            assert_int_equal(tn_i64(b->y)[y_at++], i);
            continue;
        }
        assert_int_equal(tn_i64(b->y_spans)[2 * k], y_at);
        assert_int_equal(tn_i64(b->y_spans)[2 * k + 1], y[i]);
        for (int r = 0; r < y[i]; r++)
            assert_int_equal(tn_i64(b->y)[y_at++], 1000 * i + r);
    }
    assert_int_equal(b->x->ndim, 2);
    assert_int_equal(b->x->shape[0], x_at);
    assert_int_equal(b->y->ndim, 1);
    assert_int_equal(b->y->shape[0], y_at);
}

static void spans_and_rows(void **state)
{
    (void)state;
    for (int workers = 0; workers <= 2; workers += 2)
        for (int max_tokens = 0; max_tokens <= 300; max_tokens += 300)
            for (int labels = 0; labels < 2; labels++) {
                const int *y = labels ? NULL : some_y;
                tn_loader *l = tn_loader(ragged_new(N, some_x, y), .max_tokens = max_tokens, .batch = 32,
                                         .shuffle = true, .workers = workers);
                for (int epoch = 0; epoch < 2; epoch++)
                    TN_EACH(b, l) {
                        assert_int_equal(b.x_spans->ndim, 2);
                        assert_int_equal(b.x_spans->shape[0], b.n);
                        assert_int_equal(b.x_spans->shape[1], 2);
                        if (labels)
                            assert_null(b.y_spans);
                        expect_rows(&b, y);
                    }
                assert_ok();
                tn_free(l);
            }
}

/* ---- the same batches in any case ---- */

typedef struct record {
    size_t size;
    char bytes[1 << 19];
} record;

static void append(record *r, const void *from, size_t size)
{
    assert_true(r->size + size <= sizeof r->bytes);
    memcpy(r->bytes + r->size, from, size);
    r->size += size;
}

static void append_batch(record *r, const tn_batch *b)
{
    append(r, &b->index, sizeof b->index);
    append(r, b->samples, (size_t)b->n * sizeof *b->samples);
    append(r, tn_f32(b->x), (size_t)tn_numel(b->x) * sizeof(float));
    append(r, tn_i64(b->y), (size_t)tn_numel(b->y) * sizeof(int64_t));
    append(r, tn_i64(b->x_spans), (size_t)b->n * 2 * sizeof(int64_t));
    append(r, tn_i64(b->y_spans), (size_t)b->n * 2 * sizeof(int64_t));
}

static tn_loader *loader_of(int workers, int prefetch, int max_tokens)
{
    tn_loader *l = tn_loader(ragged_new(N, some_x, some_y), .batch = max_tokens ? 0 : 20, .max_tokens = max_tokens,
                             .shuffle = true, .seed = 5, .workers = workers, .prefetch = prefetch);
    assert_non_null(l);
    return l;
}

static record *three_epochs(int workers, int prefetch, int max_tokens)
{
    record *r = calloc(1, sizeof *r);
    assert_non_null(r);
    tn_loader *l = loader_of(workers, prefetch, max_tokens);
    for (int epoch = 0; epoch < 3; epoch++)
        TN_EACH(b, l)
            append_batch(r, &b);
    assert_ok();
    tn_free(l);
    return r;
}

static void same_for_any_workers(void **state)
{
    (void)state;
    for (int max_tokens = 0; max_tokens <= 400; max_tokens += 400) {
        record *first = three_epochs(0, 0, max_tokens);
        for (int workers = 1; workers <= 3; workers += 2)
            for (int prefetch = 0; prefetch <= 7; prefetch += 7) {
                record *r = three_epochs(workers, prefetch, max_tokens);
                assert_int_equal(r->size, first->size);
                assert_memory_equal(r->bytes, first->bytes, r->size);
                free(r);
            }
        free(first);
    }
}

static void seek_goes_on_where_it_stopped(void **state)
{
    (void)state;
    record *whole = three_epochs(1, 0, 400);
    for (int workers = 0; workers <= 2; workers++) {
        record *parts = calloc(1, sizeof *parts);
        assert_non_null(parts);
        tn_cursor at = {0, 0};
        while (at.epoch < 3) { /* stop after every seventh batch; go on in a new loader */
            tn_loader *l = loader_of(workers, 0, 400);
            tn_loader_seek(l, at);
            int given = 0;
            TN_EACH(b, l) {
                append_batch(parts, &b);
                if (++given == 7)
                    break;
            }
            assert_ok();
            at = tn_loader_cursor(l);
            if (at.batch == tn_loader_batches(l))
                at = (tn_cursor){at.epoch + 1, 0};
            tn_free(l);
        }
        assert_int_equal(whole->size, parts->size);
        assert_memory_equal(whole->bytes, parts->bytes, whole->size);
        free(parts);
    }
    free(whole);
}

/* ---- rows of batches to come ---- */

static void rows_ahead(void **state)
{
    (void)state;
    for (int workers = 0; workers <= 2; workers += 2)
        for (int max_tokens = 0; max_tokens <= 400; max_tokens += 400) {
            static int64_t x[N], y[N];
            tn_loader *l = loader_of(workers, 0, max_tokens);
            const int64_t n = tn_loader_batches(l);
            tn_loader_seek(l, (tn_cursor){1, 0});
            for (int epoch = 1; epoch < 5; epoch++) {
                for (int64_t k = 0; k < n; k++)
                    assert_true(tn_loader_rows(l, k, &x[k], &y[k]));
                assert_false(tn_loader_rows(l, n, NULL, NULL));
                assert_false(tn_loader_rows(l, -1, NULL, NULL));
                TN_EACH(b, l) {
                    int64_t rows = -1, more = -1;
                    assert_int_equal(b.x->shape[0], x[b.index]);
                    assert_int_equal(b.y->shape[0], y[b.index]);
                    assert_int_equal(tn_loader_rows(l, 1, &rows, NULL), b.index + 2 < n);
                    if (b.index + 2 < n)
                        assert_int_equal(rows, x[b.index + 2]);
                    assert_int_equal(tn_loader_rows(l, 0, NULL, &more), b.index + 1 < n);
                    if (epoch == 3 && b.index == 2)
                        break; /* what comes then is the next epoch */
                }
                assert_ok();
            }
            tn_loader_seek(l, (tn_cursor){4, 3});
            int64_t rows;
            assert_false(tn_loader_rows(l, n - 3, NULL, NULL));
            assert_true(tn_loader_rows(l, 0, &rows, NULL));
            assert_int_equal(rows, x[3]);
            tn_free(l);
        }
    TN_SCOPE { /* samples of one shape are a row each */
        tn_loader *l = tn_loader(tn_tensors(tn_zeros(TN_SHAPE(10, 3)), tn_arange(10, TN_I64)), .batch = 4);
        int64_t x, y;
        assert_true(tn_loader_rows(l, 2, &x, &y));
        assert_int_equal(x, 2);
        assert_int_equal(y, 2);
        tn_free(l);
    }
    assert_false(tn_loader_rows(NULL, 0, NULL, NULL));
}

/* ---- failures ---- */

static void failing_sample(void **state)
{
    (void)state;
    for (int workers = 0; workers <= 2; workers++) {
        tn_dataset *d = ragged_new(N, some_x, some_y);
        ((ragged *)d)->bad = 100;
        tn_loader *l = tn_loader(d, .max_tokens = 400, .workers = workers);
        TN_EACH(b, l)
            for (int64_t k = 0; k < b.n; k++)
                assert_int_not_equal(b.samples[k], 100);
        expect_error(TN_EFORMAT, "sample 100 is broken");
        ((ragged *)d)->bad = -1;
        TN_EACH(b, l)
            expect_rows(&b, some_y);
        assert_ok();
        tn_free(l);
    }
}

static void bad_arguments(void **state)
{
    (void)state;
    static const int fine[] = {3, 4, 5}, below[] = {3, -1, 5}, mixed[] = {3, 4, -1};
    assert_null(tn_loader(ragged_new(3, fine, NULL), .max_tokens = 4));
    expect_error(TN_EARG, "ragged: sample 2 has 5 rows, and max_tokens is 4; raise data.max_tokens");
    assert_null(tn_loader(ragged_new(3, fine, fine), .max_tokens = 4, .shuffle = true, .workers = 2));
    expect_error(TN_EARG, "sample 2 has 5 rows");
    assert_null(tn_loader(ragged_new(3, fine, NULL), .max_tokens = -1));
    expect_error(TN_EARG, "max_tokens -1");
    assert_null(tn_loader(ragged_new(3, fine, NULL), .max_tokens = 10, .multiple = -8));
    expect_error(TN_EARG, "multiple -8");
    assert_null(tn_loader(ragged_new(3, fine, NULL), .max_tokens = 10, .drop_last = true));
    expect_error(TN_EARG, "drop_last");
    assert_null(tn_loader(ragged_new(3, below, NULL)));
    expect_error(TN_EARG, "ragged: sample 1 of -1 and -1 rows");
    assert_null(tn_loader(ragged_new(3, fine, mixed)));
    expect_error(TN_EARG, "y has rows in some samples only, see sample 2");
    TN_SCOPE {
        assert_null(tn_loader(tn_tensors(tn_zeros(TN_SHAPE(4, 2)), tn_zeros(TN_SHAPE(4))), .max_tokens = 10));
        expect_error(TN_EARG, "max_tokens is for ragged samples");
    }
    tn_dataset *pictures = ragged_new(3, fine, NULL);
    pictures->image = true;
    pictures->x_dtype = TN_U8;
    pictures->x_ndim = 3;
    pictures->x_shape[0] = pictures->x_shape[1] = pictures->x_shape[2] = 1;
    assert_null(tn_loader(pictures));
    expect_error(TN_EARG, "an image set cannot be ragged");
    static const int nothing[] = {0, 0, 0};
    tn_loader *l = tn_loader(ragged_new(3, nothing, nothing), .max_tokens = 1);
    TN_EACH(b, l) {
        assert_int_equal(b.n, 3);
        assert_int_equal(b.x->shape[0], 0);
    }
    assert_ok();
    tn_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packed_by_hand),
        cmocka_unit_test(packed_as_fairseq),
        cmocka_unit_test(long_samples),
        cmocka_unit_test(shuffle_moves_batches),
        cmocka_unit_test(batches_by_count),
        cmocka_unit_test(spans_and_rows),
        cmocka_unit_test(same_for_any_workers),
        cmocka_unit_test(seek_goes_on_where_it_stopped),
        cmocka_unit_test(rows_ahead),
        cmocka_unit_test(failing_sample),
        cmocka_unit_test(bad_arguments),
    };
    return cmocka_run_group_tests(tests, some_lengths, NULL);
}
