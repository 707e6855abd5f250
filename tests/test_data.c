/* Loaders: order, augmentation, workers, early exits, failures.  Data sets are in test_datasets.c,
 * the readers of published files in test_data_files.c. */
#include <stdlib.h>
#include <unistd.h>

#include "check.h"
#include "internal.h"

/* ---- data sets for the tests ---- */

/* x = [i, some function of i], y = i; sample `bad` fails, with or without saying why */
typedef struct counted {
    tn_dataset base;
    int64_t bad;
    bool silent, uses_tensors;
} counted;

static bool counted_get(const tn_dataset *d, int64_t i, void *x, void *y)
{
    const counted *c = (const counted *)d;
    if (i == c->bad) {
        if (!c->silent)
            tn_fail(TN_EFORMAT, "sample %lld is broken", (long long)i);
        return false;
    }
    float *values = x;
    values[0] = (float)i;
    values[1] = (float)(i * i % 97);
    if (c->uses_tensors)
        values[1] = (float)tn_item(tn_sum(tn_ones(TN_SHAPE(1000)), TN_ALL, false));
    memcpy(y, &i, sizeof i);
    if (i % 7 == 0)
        usleep(50); /* workers finish out of order */
    return true;
}

static const tn_dataset_class counted_class = {
    .name = "counted", .size = sizeof(counted), .get = counted_get,
};

static counted *counted_new(int64_t n)
{
    counted *c = tn_dataset_new(&counted_class);
    assert_non_null(c);
    c->base.len = n;
    c->base.x_ndim = 1;
    c->base.x_shape[0] = 2;
    c->bad = -1;
    return c;
}

/* n images [h,w,c] whose bytes count up */
static tn_dataset *tiny_images(int64_t n, int64_t h, int64_t w, int64_t c)
{
    tn_dataset *d = NULL;
    TN_SCOPE {
        tn_tensor *x = tn_empty(TN_U8, TN_SHAPE(n, h, w, c));
        uint8_t *bytes = tn_u8(x);
        for (int64_t i = 0; i < tn_numel(x); i++)
            bytes[i] = (uint8_t)(1 + i % 255);
        d = tn_tensors(x, tn_arange(n, TN_I64));
    }
    assert_non_null(d);
    return d;
}

/* ---- what a loader gives, as plain bytes ---- */

typedef struct record {
    size_t size;
    char bytes[1 << 20];
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
    append(r, &b->n, sizeof b->n);
    append(r, tn_f32(b->x), (size_t)tn_numel(b->x) * sizeof(float));
    append(r, tn_i64(b->y), (size_t)tn_numel(b->y) * sizeof(int64_t));
}

static void append_epoch(record *r, tn_loader *l)
{
    TN_EACH(b, l)
        append_batch(r, &b);
    assert_ok();
}

static record *fresh(void)
{
    record *r = calloc(1, sizeof *r);
    assert_non_null(r);
    return r;
}

/* ---- tests ---- */

static void same_for_any_workers(void **state)
{
    (void)state;
    record *first = NULL;
    for (int workers = 0; workers <= 3; workers++)
        for (int prefetch = 0; prefetch <= 7; prefetch += 7) {
            tn_loader *l = tn_loader(tiny_images(101, 6, 5, 3), .batch = 8, .shuffle = true,
                                     .seed = 5, .augment = tn_crop_flip(2), .workers = workers,
                                     .prefetch = prefetch);
            assert_int_equal(tn_loader_batches(l), 13);
            record *r = fresh();
            append_epoch(r, l);
            append_epoch(r, l);
            if (first) {
                assert_int_equal(r->size, first->size);
                assert_memory_equal(r->bytes, first->bytes, r->size);
                free(r);
            } else {
                first = r;
            }
            tn_free(l);
        }
    free(first);
}

static void order_of(tn_loader *l, int64_t *order)
{
    int64_t k = 0;
    TN_EACH(b, l)
        for (int64_t i = 0; i < b.n; i++)
            order[k++] = tn_i64(b.y)[i];
    assert_ok();
}

static void shuffle_is_a_permutation(void **state)
{
    (void)state;
    enum { N = 1000 };
    static int64_t order[4][N];
    for (int run = 0; run < 3; run++) { /* the same seed twice, then another */
        tn_loader *l = tn_loader(&counted_new(N)->base, .batch = 64, .shuffle = true, .workers = 2,
                                 .seed = run < 2 ? 3 : 4);
        order_of(l, order[run]);
        if (run == 1)
            order_of(l, order[3]); /* epoch 1 */
        tn_free(l);
    }
    assert_memory_equal(order[0], order[1], sizeof order[0]);
    assert_memory_not_equal(order[0], order[2], sizeof order[0]);
    assert_memory_not_equal(order[0], order[3], sizeof order[0]);
    for (int run = 0; run < 4; run++) {
        char seen[N] = {0};
        int64_t in_place = 0, rising = 0;
        for (int i = 0; i < N; i++) {
            assert_in_range(order[run][i], 0, N - 1);
            assert_false(seen[order[run][i]]);
            seen[order[run][i]] = 1;
            in_place += order[run][i] == i;
            rising += i > 0 && order[run][i] > order[run][i - 1];
        }
        assert_in_range(in_place, 0, 8);
        assert_in_range(rising, 450, 550);
    }
}

/* The seed of tn_seed() is the default, and without shuffle samples come as they are. */
static void seed_and_order_by_default(void **state)
{
    (void)state;
    int64_t a[50], b[50], plain[50];
    tn_seed(77);
    tn_loader *l = tn_loader(&counted_new(50)->base, .shuffle = true);
    assert_int_equal(tn_loader_batches(l), 50);
    order_of(l, a);
    tn_free(l);
    l = tn_loader(&counted_new(50)->base, .shuffle = true, .seed = 77, .batch = 1000);
    assert_int_equal(tn_loader_batches(l), 1);
    order_of(l, b);
    tn_free(l);
    assert_memory_equal(a, b, sizeof a);
    l = tn_loader(&counted_new(50)->base, .batch = 7);
    order_of(l, plain);
    for (int i = 0; i < 50; i++)
        assert_int_equal(plain[i], i);
    tn_free(l);
}

static void short_last_batch(void **state)
{
    (void)state;
    for (int drop = 0; drop < 2; drop++) {
        tn_loader *l = tn_loader(&counted_new(10)->base, .batch = 4, .drop_last = drop,
                                 .workers = 1);
        int64_t batches = 0, samples = 0;
        TN_EACH(b, l) {
            assert_int_equal(b.index, batches);
            assert_int_equal(b.x->ndim, 2);
            assert_int_equal(b.x->shape[0], b.n);
            assert_int_equal(b.y->ndim, 1);
            assert_true(b.waited >= 0);
            batches++;
            samples += b.n;
        }
        assert_int_equal(batches, drop ? 2 : 3);
        assert_int_equal(batches, tn_loader_batches(l));
        assert_int_equal(samples, drop ? 8 : 10);
        assert_int_equal(tn_loader_dataset(l)->len, 10);
        tn_free(l);
    }
}

/* Each augmented image must be one of the (2 pad + 1)^2 * 2 views of the padded bytes, exactly. */
static void check_view(const float *got, int64_t sample, int h, int w, int c, int pad, char *seen)
{
    int found = 0;
    for (int dy = 0; dy <= 2 * pad; dy++)
        for (int dx = 0; dx <= 2 * pad; dx++)
            for (int flip = 0; flip < 2; flip++) {
                bool same = true;
                for (int y = 0; same && y < h; y++)
                    for (int x = 0; same && x < w; x++)
                        for (int k = 0; same && k < c; k++) {
                            const int sy = y + dy - pad, sx = (flip ? w - 1 - x : x) + dx - pad;
                            const bool in = sy >= 0 && sy < h && sx >= 0 && sx < w;
                            const int64_t at = ((sample * h + sy) * w + sx) * c + k;
                            const int byte = in ? 1 + (int)(at % 255) : 0;
                            const float mean = 0.25f * (float)k, std = 0.5f + (float)k;
                            same = got[(y * w + x) * c + k] == ((float)byte / 255.0f - mean) / std;
                        }
                if (same) {
                    seen[(dy * (2 * pad + 1) + dx) * 2 + flip] = 1;
                    found++;
                }
            }
    assert_in_range(found, 1, 2); /* an all-border view looks the same flipped */
}

static void crop_and_flip_are_exact(void **state)
{
    (void)state;
    enum { N = 40, H = 4, W = 5, C = 2, PAD = 2, VIEWS = 2 * 25 };
    char seen[VIEWS] = {0};
    tn_dataset *d = tiny_images(N, H, W, C);
    for (int k = 0; k < C; k++) {
        d->mean[k] = 0.25f * (float)k;
        d->std[k] = 0.5f + (float)k;
    }
    tn_loader *l = tn_loader(d, .batch = 16, .augment = tn_crop_flip(PAD), .seed = 9);
    for (int epoch = 0; epoch < 20; epoch++)
        TN_EACH(b, l)
            for (int64_t i = 0; i < b.n; i++)
                check_view(tn_f32(b.x) + i * H * W * C, tn_i64(b.y)[i], H, W, C, PAD, seen);
    assert_ok();
    for (int v = 0; v < VIEWS; v++)
        assert_true(seen[v]); /* 800 draws of 50 */
    tn_free(l);
}

/* What happens to a sample does not depend on where in the order it comes. */
static void augmentation_follows_the_sample(void **state)
{
    (void)state;
    enum { N = 30, SIZE = 6 * 6 };
    static float got[2][N][SIZE];
    for (int run = 0; run < 2; run++) {
        tn_loader *l = tn_loader(tiny_images(N, 6, 6, 1), .batch = run ? 7 : 4, .shuffle = run,
                                 .augment = tn_crop_flip(3), .seed = 2, .workers = run);
        TN_EACH(b, l)
            for (int64_t i = 0; i < b.n; i++)
                memcpy(got[run][tn_i64(b.y)[i]], tn_f32(b.x) + i * SIZE, SIZE * sizeof(float));
        assert_ok();
        tn_free(l);
    }
    assert_memory_equal(got[0], got[1], sizeof got[0]);
}

/* A loader that tells places, and the op that crops there, give the pixels of a loader that gives these. */
static void places_are_those_of_the_pixels(void **state)
{
    (void)state;
    enum { N = 30 };
    for (int pad = 0; pad < 3; pad++) TN_SCOPE {
        tn_dataset *d = tiny_images(N, 5, 6, 3);
        tn_tensor *images = tn_dataset_images(d), *table = tn_dataset_table(d);
        tn_loader *pixels = tn_loader(tiny_images(N, 5, 6, 3), .batch = 8, .shuffle = true, .seed = 4, .workers = 1,
                                      .augment = tn_crop_flip(pad));
        tn_loader *places = tn_loader(d, .batch = 8, .shuffle = true, .seed = 4, .augment = tn_crop_flip(pad),
                                      .places = true);
        for (int epoch = 0; epoch < 2; epoch++) {
            record *whole = fresh(), *cropped = fresh();
            append_epoch(whole, pixels);
            TN_EACH(b, places) {
                b.x = tn_crops(images, b.x, table);
                append_batch(cropped, &b);
            }
            assert_ok();
            assert_true(whole->size && whole->size == cropped->size);
            assert_memory_equal(whole->bytes, cropped->bytes, whole->size);
            free(whole);
            free(cropped);
        }
        tn_free(pixels, places);
    }
}

static void seek_goes_on_where_it_stopped(void **state)
{
    (void)state;
    for (int workers = 0; workers <= 2; workers++) {
        record *whole = fresh(), *parts = fresh();
        tn_loader *l = tn_loader(tiny_images(50, 4, 4, 1), .batch = 8, .shuffle = true, .seed = 1,
                                 .augment = tn_crop_flip(1), .workers = workers);
        for (int epoch = 0; epoch < 3; epoch++)
            append_epoch(whole, l);
        tn_free(l);
        tn_cursor at = {0, 0};
        for (bool more = true; more;) { /* stop after every third batch; go on in a new loader */
            l = tn_loader(tiny_images(50, 4, 4, 1), .batch = 8, .shuffle = true, .seed = 1,
                          .augment = tn_crop_flip(1), .workers = workers);
            tn_loader_seek(l, at);
            int given = 0;
            TN_EACH(b, l) {
                append_batch(parts, &b);
                assert_int_equal(tn_loader_cursor(l).batch, b.index + 1);
                if (++given == 3)
                    break;
            }
            at = tn_loader_cursor(l);
            more = at.epoch < 3 && !(at.epoch == 2 && at.batch == tn_loader_batches(l));
            tn_free(l);
        }
        assert_int_equal(whole->size, parts->size);
        assert_memory_equal(whole->bytes, parts->bytes, whole->size);
        free(whole);
        free(parts);
    }
}

static void seek_refuses_nonsense(void **state)
{
    (void)state;
    tn_loader *l = tn_loader(&counted_new(10)->base, .batch = 4);
    tn_loader_seek(l, (tn_cursor){0, 4});
    expect_error(TN_EARG, "an epoch has 3 batches");
    tn_loader_seek(l, (tn_cursor){-1, 0});
    expect_error(TN_EARG, "epoch -1");
    TN_EACH(b, l)
        tn_loader_seek(l, (tn_cursor){0, 0});
    expect_error(TN_ESTATE, "leave it first");
    tn_loader_seek(l, (tn_cursor){4, 3}); /* the end of epoch 4 */
    assert_int_equal(tn_loader_cursor(l).epoch, 5);
    assert_int_equal(tn_loader_cursor(l).batch, 0);
    tn_free(l);
}

static int64_t leave_by_return(tn_loader *l)
{
    TN_EACH(b, l)
        return tn_i64(b.y)[0];
    return -1;
}

static void early_exits(void **state)
{
    (void)state;
    for (int workers = 0; workers <= 3; workers++) {
        tn_loader *l = tn_loader(&counted_new(100)->base, .batch = 4, .workers = workers);
        TN_EACH(b, l)
            break;
        assert_int_equal(tn_loader_cursor(l).epoch, 0);
        assert_int_equal(tn_loader_cursor(l).batch, 1);
        assert_int_equal(leave_by_return(l), 0);
        assert_int_equal(tn_loader_cursor(l).epoch, 1);
        TN_EACH(b, l) {
            if (b.index == 2)
                goto out;
        }
    out:
        assert_int_equal(tn_loader_cursor(l).epoch, 2);
        int64_t batches = 0;
        TN_EACH(b, l) {
            assert_int_equal(tn_loader_cursor(l).epoch, 3);
            batches++;
        }
        assert_int_equal(batches, 25);
        assert_int_equal(tn_loader_cursor(l).epoch, 4);
        assert_ok();
        tn_free(l);
    }
}

static void one_loop_at_a_time(void **state)
{
    (void)state;
    tn_loader *l = tn_loader(&counted_new(10)->base, .batch = 4, .workers = 1);
    int outer = 0;
    TN_EACH(a, l) {
        outer++;
        TN_EACH(b, l)
            fail();
    }
    assert_int_equal(outer, 1);
    expect_error(TN_ESTATE, "make a second one");
    tn_free(l);
}

static void freed_mid_epoch(void **state)
{
    (void)state;
    for (int workers = 0; workers <= 3; workers++) {
        tn_loader *l = tn_loader(&counted_new(1000)->base, .batch = 2, .workers = workers);
        TN_EACH(b, l)
            if (b.index == 3)
                break;
        tn_free(l);
        l = tn_loader(&counted_new(1000)->base, .batch = 2, .workers = workers);
        int64_t batches = 0;
        TN_EACH(b, l) { /* freed inside: the loop ends */
            batches++;
            tn_free(l);
        }
        assert_int_equal(batches, 1);
        tn_free(tn_loader(&counted_new(1000)->base, .workers = workers)); /* never used */
        assert_ok();
    }
}

/* The failure comes with its batch, whoever made it, and the loader lives on. */
static void failing_sample(void **state)
{
    (void)state;
    for (int workers = 0; workers <= 3; workers++)
        for (int silent = 0; silent < 2; silent++) {
            counted *d = counted_new(100);
            d->bad = 42;
            d->silent = silent;
            tn_loader *l = tn_loader(&d->base, .batch = 5, .workers = workers);
            for (int epoch = 0; epoch < 3; epoch++) {
                int64_t batches = 0;
                TN_EACH(b, l)
                    batches++;
                assert_int_equal(batches, 8);
                if (silent)
                    expect_error(TN_EIO, "counted: sample 42 could not be read");
                else
                    expect_error(TN_EFORMAT, "sample 42 is broken");
                assert_int_equal(tn_loader_cursor(l).epoch, epoch);
            }
            d->bad = -1; /* between loops no worker is at work */
            tn_loader_seek(l, (tn_cursor){7, 8});
            int64_t batches = 0;
            TN_EACH(b, l)
                batches++;
            assert_ok();
            assert_int_equal(batches, 12);
            tn_free(l);
        }
}

/* The handler hears of a worker's error once, from the caller's thread. */
static void count_calls(const tn_err *e, void *arg)
{
    (void)e;
    ++*(int *)arg;
}

static void told_once(void **state)
{
    (void)state;
    int calls = 0;
    tn_on_error(count_calls, &calls);
    counted *d = counted_new(100);
    d->bad = 42;
    tn_loader *l = tn_loader(&d->base, .batch = 5, .workers = 2);
    TN_EACH(b, l) {}
    assert_int_equal(calls, 1);
    tn_on_error(NULL, NULL);
    expect_error(TN_EFORMAT, "sample 42 is broken");
    tn_free(l);
}

static void error_ends_the_loop(void **state)
{
    (void)state;
    tn_loader *l = tn_loader(&counted_new(100)->base, .batch = 5, .workers = 2);
    int64_t batches = 0;
    TN_EACH(b, l) {
        batches++;
        tn_fail(TN_EARG, "stop here");
    }
    assert_int_equal(batches, 1);
    TN_EACH(b, l) /* and none begins */
        fail();
    expect_error(TN_EARG, "stop here");
    assert_int_equal(tn_loader_cursor(l).epoch, 0);
    tn_free(l);
    TN_EACH(b, (tn_loader *)NULL)
        fail();
    assert_ok();
}

static void tensors_in_workers(void **state)
{
    (void)state;
    const size_t before = tn_memory_stats().live;
    counted *d = counted_new(40);
    d->uses_tensors = true;
    tn_loader *l = tn_loader(&d->base, .batch = 5, .workers = 2);
    TN_EACH(b, l)
        for (int64_t i = 0; i < b.n; i++)
            assert_true(tn_f32(b.x)[2 * i + 1] == 1000.0f);
    assert_ok();
    tn_free(l);
    assert_int_equal(tn_memory_stats().live, before);
}

/* Whichever allocation of the library fails, the loop ends with that error and can begin again. */
static void failing_allocations(void **state)
{
    (void)state;
    for (int workers = 0; workers <= 2; workers += 2) {
        tn_loader *l = tn_loader(tiny_images(20, 4, 4, 3), .batch = 5, .workers = workers);
        int failures = 0;
        for (long n = 0; n < 40; n++) {
            tn__fail_alloc_after(n);
            int64_t batches = 0;
            TN_EACH(b, l)
                batches++;
            tn__fail_alloc_after(-1);
            if (tn_ok()) {
                assert_int_equal(batches, 4);
                continue;
            }
            failures++;
            expect_error(TN_ENOMEM, "");
        }
        assert_true(failures > 3);
        tn_free(l);
    }
}

static void bad_arguments(void **state)
{
    (void)state;
    assert_null(tn_loader(NULL, .batch = 4));
    assert_ok();
    assert_null(tn_loader(&counted_new(0)->base));
    expect_error(TN_EARG, "the data set is empty");
    assert_null(tn_loader(&counted_new(3)->base, .batch = 4, .drop_last = true));
    expect_error(TN_EARG, "3 samples make no full batch of 4");
    assert_null(tn_loader(&counted_new(3)->base, .batch = -1));
    expect_error(TN_EARG, "batch is -1");
    assert_null(tn_loader(&counted_new(3)->base, .workers = -1));
    expect_error(TN_EARG, "workers -1");
    assert_null(tn_loader(&counted_new(3)->base, .augment = tn_crop_flip(4)));
    expect_error(TN_EARG, "augment is for images");
    assert_null(tn_loader(tiny_images(3, 4, 4, 3), .augment = tn_crop_flip(5)));
    expect_error(TN_EARG, "crop_pad 5 for images of 4 x 4");
    assert_null(tn_loader(&counted_new(3)->base, .places = true));
    expect_error(TN_EARG, "places are of crops of images");
    counted *none = counted_new(3);
    assert_null(tn_dataset_images(&none->base));
    expect_error(TN_EARG, "counted: this data set has no images");
    assert_null(tn_dataset_table(&none->base));
    expect_error(TN_EARG, "has no images");
    tn_free(none);
    counted *huge = counted_new(3);
    huge->base.x_ndim = 2;
    huge->base.x_shape[0] = huge->base.x_shape[1] = INT64_C(1) << 40;
    assert_null(tn_loader(&huge->base, .batch = 3));
    expect_error(TN_ENOMEM, "no memory for 1 batches of 3 samples");
    counted *deep = counted_new(3);
    deep->base.x_ndim = TN_MAX_DIMS;
    assert_null(tn_loader(&deep->base));
    expect_error(TN_EARG, "samples of rank 8");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_for_any_workers),
        cmocka_unit_test(shuffle_is_a_permutation),
        cmocka_unit_test(seed_and_order_by_default),
        cmocka_unit_test(short_last_batch),
        cmocka_unit_test(crop_and_flip_are_exact),
        cmocka_unit_test(augmentation_follows_the_sample),
        cmocka_unit_test(places_are_those_of_the_pixels),
        cmocka_unit_test(seek_goes_on_where_it_stopped),
        cmocka_unit_test(seek_refuses_nonsense),
        cmocka_unit_test(early_exits),
        cmocka_unit_test(one_loop_at_a_time),
        cmocka_unit_test(freed_mid_epoch),
        cmocka_unit_test(failing_sample),
        cmocka_unit_test(told_once),
        cmocka_unit_test(error_ends_the_loop),
        cmocka_unit_test(tensors_in_workers),
        cmocka_unit_test(failing_allocations),
        cmocka_unit_test(bad_arguments),
    };
    return cmocka_run_group_tests(tests, quiet_errors, NULL);
}
