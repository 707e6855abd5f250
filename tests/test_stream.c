/* Running text as chunks: which tokens are in which, that shards are shuffled whole and states begin anew where they
 * should, and damage.  How such folders are made: test_prepare_stream.c. */
#include <sys/stat.h>

#include "../data/stream.h"
#include "files.h"

enum { WORDS = 50, SHARDS = 7, BATCH = 3, STEPS = 5 };
static const int64_t lengths[3][SHARDS] = {
    [TN_TRAIN] = {16, 31, 47, 100, 122, 45, 60}, [TN_TEST] = {1, 0, 20, 3, 0, 33, 0}, [TN_VALID] = {2},
};
static const int64_t shards[3] = {[TN_TRAIN] = SHARDS, [TN_TEST] = SHARDS, [TN_VALID] = 1};

static int32_t token(int split, int64_t shard, int64_t i) { return (int32_t)((i * 7 + shard * 13 + split) % WORDS); }

static const char *shard_path(int split, int64_t shard)
{
    char file[TN__STREAM_FILE];
    return in_folder(tn__stream_file(file, split, shard));
}

/* In sentences of 1 to 6 tokens. */
static void write_shard(int split, int64_t shard)
{
    tn_token_writer *w = tn_token_writer_open(shard_path(split, shard));
    for (int64_t at = 0, n; at < lengths[split][shard]; at += n) {
        int32_t ids[6];
        n = 1 + (at + shard) % 6;
        n = n < lengths[split][shard] - at ? n : lengths[split][shard] - at;
        for (int64_t k = 0; k < n; k++)
            ids[k] = token(split, shard, at + k);
        assert_true(tn_token_writer_add(w, ids, n));
    }
    assert_true(tn_token_writer_close(w));
}

static void write_dictionary(int n)
{
    char text[1000];
    size_t at = 0;
    for (int i = 0; i < n; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, i == 3 ? "</s> 9\n" : i == 8 ? "<unk> 5\n" : "w%d 7\n", i);
    put_file("dict.txt", text, at);
}

static int whole_folder(void **state)
{
    (void)state;
    write_dictionary(WORDS);
    for (int split = 0; split < 3; split++)
        for (int64_t k = 0; k < shards[split]; k++)
            write_shard(split, k);
    const tn__stream_info info = {{shards[0], shards[1], shards[2]}};
    assert_true(tn__stream_write(folder, &info));
    assert_ok();
    return 0;
}

static tn_dataset *training(void)
{
    tn_dataset *d = tn_text_stream(folder, TN_TRAIN, .batch = BATCH, .steps = STEPS);
    assert_ok();
    return d;
}

/* ---- what is in a chunk ---- */

static void test_chunks(void **state)
{
    (void)state;
    tn_dataset *d = training();
    assert_int_equal(d->x_dtype, TN_I32);
    assert_int_equal(d->y_dtype, TN_I32);
    assert_int_equal(d->classes, WORDS);
    assert_int_equal(d->x_classes, WORDS);
    int64_t at = 0;
    for (int64_t k = 0; k < SHARDS; k++) {
        /* as the authors': (n - 1) cut to a multiple of rows and steps, in rows, in chunks */
        const int64_t used = (lengths[TN_TRAIN][k] - 1) / (BATCH * STEPS) * (BATCH * STEPS), row = used / BATCH;
        for (int64_t c = 0; c < row / STEPS; c++, at++) {
            int64_t x_rows = 0, y_rows = 0;
            int32_t x[STEPS * BATCH], y[STEPS * BATCH];
            d->cls->rows(d, at, &x_rows, &y_rows);
            assert_int_equal(x_rows, STEPS);
            assert_int_equal(y_rows, STEPS);
            assert_int_equal(d->cls->begins(d, at), c == 0);
            assert_true(d->cls->get(d, at, x, y));
            for (int64_t t = 0; t < STEPS; t++)
                for (int64_t b = 0; b < BATCH; b++) {
                    assert_int_equal(x[t * BATCH + b], token(TN_TRAIN, k, b * row + c * STEPS + t));
                    assert_int_equal(y[t * BATCH + b], token(TN_TRAIN, k, b * row + c * STEPS + t + 1));
                }
        }
    }
    assert_int_equal(tn_dataset_len(d), at);
    tn_free(d);
}

/* The tokens of all shards, one after the other. */
static int64_t all_tokens(int split, int32_t to[])
{
    int64_t n = 0;
    for (int64_t k = 0; k < shards[split]; k++)
        for (int64_t i = 0; i < lengths[split][k]; i++)
            to[n++] = token(split, k, i);
    return n;
}

static void check_whole(int split, int64_t steps)
{
    int32_t all[600];
    const int64_t n = all_tokens(split, all);
    tn_dataset *d = tn_text_stream(folder, (tn_split)split, .steps = steps, .whole = true);
    assert_ok();
    tn_loader *l = tn_loader(d);
    int64_t at = 0;
    TN_EACH(b, l) {
        const int64_t expected = n - 1 - at < steps ? n - 1 - at : steps;
        assert_int_equal(b.first, at == 0);
        assert_int_equal(b.x->ndim, 2);
        assert_int_equal(tn_dim(b.x, 0), expected);
        assert_int_equal(tn_dim(b.x, 1), 1);
        assert_int_equal(tn_dim(b.y, 0), expected);
        assert_int_equal(tn_dim(b.y, 1), 1);
        assert_memory_equal(tn_i32(b.x), all + at, (size_t)expected * sizeof *all);
        assert_memory_equal(tn_i32(b.y), all + at + 1, (size_t)expected * sizeof *all);
        at += expected;
    }
    assert_ok();
    assert_int_equal(at, n - 1);
    tn_free(l);
}

static void test_whole(void **state)
{
    (void)state;
    for (int64_t steps = 1; steps <= 60; steps++)
        check_whole(TN_TEST, steps);
    check_whole(TN_TRAIN, 128);
    check_whole(TN_VALID, 128);
}

/* ---- through a loader ---- */

enum { MOST = 64 };
typedef struct order {
    int64_t n, sample[MOST];
    bool first[MOST];
} order;

/* An epoch from `at` on; what is in each batch is what the data set says of its sample. */
static order epoch(tn_loader *l)
{
    order o = {0};
    const tn_dataset *d = tn_loader_dataset(l);
    TN_EACH(b, l) {
        int32_t x[STEPS * BATCH], y[STEPS * BATCH];
        assert_int_equal(b.n, 1);
        assert_int_equal(tn_dim(b.x, 0), STEPS);
        assert_int_equal(tn_dim(b.x, 1), BATCH);
        assert_true(d->cls->get(d, b.samples[0], x, y));
        assert_memory_equal(tn_i32(b.x), x, sizeof x);
        assert_memory_equal(tn_i32(b.y), y, sizeof y);
        o.sample[o.n] = b.samples[0];
        o.first[o.n++] = b.first;
    }
    assert_ok();
    return o;
}

static void test_shards_are_shuffled_whole(void **state)
{
    (void)state;
    tn_loader *l = tn_loader(training(), .shuffle = true, .seed = 3);
    const tn_dataset *d = tn_loader_dataset(l);
    order before = {0};
    int moved = 0;
    for (int e = 0; e < 5; e++) {
        const order o = epoch(l);
        bool seen[MOST] = {false};
        assert_int_equal(o.n, d->len);
        for (int64_t i = 0; i < o.n; i++) {
            assert_false(seen[o.sample[i]]);
            seen[o.sample[i]] = true;
            assert_int_equal(o.first[i], d->cls->begins(d, o.sample[i]));
            if (!o.first[i])
                assert_int_equal(o.sample[i], o.sample[i - 1] + 1);
        }
        assert_true(o.first[0]);
        moved += e > 0 && memcmp(o.sample, before.sample, sizeof o.sample) != 0;
        before = o;
    }
    assert_true(moved >= 3);
    tn_free(l);
    l = tn_loader(training());
    const order o = epoch(l);
    for (int64_t i = 0; i < o.n; i++)
        assert_int_equal(o.sample[i], i);
    tn_free(l);
}

static void test_states_go_on(void **state)
{
    (void)state;
    tn_dataset *d = tn_text_stream(folder, TN_TRAIN, .batch = BATCH, .steps = STEPS, .carries = true);
    tn_loader *l = tn_loader(d, .shuffle = true);
    for (int e = 0; e < 2; e++) {
        const order o = epoch(l);
        for (int64_t i = 0; i < o.n; i++)
            assert_int_equal(o.first[i], i == 0);
    }
    tn_free(l);
}

/* The same batches for any number of workers, and from any place on. */
static void test_workers_and_places(void **state)
{
    (void)state;
    order plain[3];
    tn_loader *l = tn_loader(training(), .shuffle = true, .seed = 11);
    for (int e = 0; e < 3; e++)
        plain[e] = epoch(l);
    tn_free(l);
    for (int workers = 1; workers <= 3; workers++) {
        l = tn_loader(training(), .shuffle = true, .seed = 11, .workers = workers);
        for (int e = 0; e < 3; e++) {
            const order o = epoch(l);
            assert_memory_equal(&o, &plain[e], sizeof o);
        }
        for (int64_t batch = 0; batch < plain[1].n; batch++) {
            tn_loader_seek(l, (tn_cursor){1, batch});
            int64_t rows;
            assert_true(tn_loader_rows(l, 0, &rows, NULL));
            assert_int_equal(rows, STEPS);
            const order o = epoch(l);
            assert_int_equal(o.n, plain[1].n - batch);
            assert_memory_equal(o.sample, plain[1].sample + batch, (size_t)o.n * sizeof *o.sample);
            assert_memory_equal(o.first, plain[1].first + batch, (size_t)o.n * sizeof *o.first);
        }
        tn_free(l);
    }
}

/* What stands alone begins anew each time. */
static void test_other_sets_begin_each_time(void **state)
{
    (void)state;
    tn_loader *l = tn_loader(tn_shapes(TN_TEST, 30, 1), .batch = 8, .shuffle = true);
    TN_EACH(b, l)
        assert_true(b.first);
    assert_ok();
    tn_free(l);
}

static void test_by_name(void **state)
{
    (void)state;
    const tn_dataset_spec train = {.name = "text", .root = folder, .split = TN_TRAIN, .batch = BATCH, .steps = STEPS};
    const tn_dataset_spec test = {.name = "text", .root = folder, .split = TN_TEST, .batch = BATCH, .steps = 10};
    tn_dataset *d = tn_dataset_named(&train);
    assert_ok();
    assert_int_equal(d->x_shape[0], BATCH);
    tn_free(d);
    d = tn_dataset_named(&test);
    assert_ok();
    assert_int_equal(d->x_shape[0], 1);
    assert_int_equal(d->len, 6);
    tn_free(d);
}

/* ---- what is refused ---- */

static void test_arguments(void **state)
{
    (void)state;
    assert_null(tn_text_stream(NULL, TN_TRAIN));
    expect_error(TN_EARG, "no folder given");
    assert_null(tn_text_stream(folder, (tn_split)7));
    expect_error(TN_EARG, "there is no split 7");
    assert_null(tn_text_stream(folder, TN_TRAIN, .batch = -1));
    expect_error(TN_EARG, "batch -1");
    assert_null(tn_text_stream(folder, TN_TRAIN, .steps = INT64_MAX));
    expect_error(TN_EARG, "both go from 1 to");
    assert_null(tn_text_stream(folder, TN_TEST, .batch = 2, .whole = true));
    expect_error(TN_EARG, "a text as a whole is one row");
    assert_null(tn_text_stream(folder, TN_TRAIN, .batch = BATCH, .steps = STEPS + 1));
    expect_error(TN_EARG, "train.00001.tok has 16 tokens; 3 rows of 6 steps and the last target take 19");
    assert_null(tn_loader(training(), .batch = 2));
    expect_error(TN_EARG, "batches are of one");
    assert_null(tn_loader(training(), .max_tokens = 20));
    expect_error(TN_EARG, "batches are of one");
}

static void refused(tn_code code, const char *text)
{
    assert_null(tn_text_stream(folder, TN_TRAIN, .batch = BATCH, .steps = STEPS));
    expect_error(code, text);
    whole_folder(NULL);
}

static void test_damage(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "[]", "{}", "{\"train\": 7, \"valid\": 1}", "{\"train\": -1, \"valid\": 1, \"test\": 7}",
        "{\"train\": 7, \"valid\": 1, \"test\": 7, \"more\": 1}", "{\"train\": 7.5, \"valid\": 1, \"test\": 7}",
        "{\"train\": 99999999, \"valid\": 1, \"test\": 7}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put_file("stream.json", bad[i], strlen(bad[i]));
        refused(TN_EFORMAT, "stream.json: shards of train, valid and test");
    }
    put_file("stream.json", "{", 1);
    refused(TN_EFORMAT, "stream.json: line 1");
    assert_int_equal(unlink(in_folder("stream.json")), 0);
    refused(TN_EIO, "tenon prepare text and lm1b make such folders");
    const tn__stream_info none = {{0, 1, 1}}, more = {{SHARDS + 1, 1, 1}};
    assert_true(tn__stream_write(folder, &none));
    refused(TN_EARG, "has no train text");
    assert_true(tn__stream_write(folder, &more));
    refused(TN_EIO, "train.00008.tok: No such file");
    write_dictionary(WORDS - 1);
    refused(TN_EFORMAT, "train.00001.tok: token 7 is 49, and the dictionary has 49 words");
    put_file("dict.txt", "a 1\n</s> 1\n", 11);
    refused(TN_EFORMAT, "no <unk> among the words");
    put_file("dict.txt", "a 1\n<unk> 1\n", 12);
    refused(TN_EFORMAT, "no </s> among the words");
    struct stat s;
    assert_int_equal(stat(shard_path(TN_TRAIN, 2), &s), 0);
    assert_int_equal(truncate(shard_path(TN_TRAIN, 2), s.st_size - 4), 0);
    refused(TN_EFORMAT, "train.00003.tok");
    FILE *f = fopen(shard_path(TN_TRAIN, 4), "r+b");
    assert_int_equal(fseek(f, -3, SEEK_END), 0);
    fputc(1, f);
    fclose(f);
    refused(TN_EFORMAT, "train.00005.tok: damaged: its checksum");
}

/* Rows of several pieces; then the shard loses its end while it is in use. */
static void test_long_rows_cut_short(void **state)
{
    enum { LONG = 300, ROWS = 2 };
    static int32_t x[LONG * ROWS], y[LONG * ROWS];
    const tn__stream_info one = {{1, shards[1], shards[2]}};
    (void)state;
    tn_token_writer *w = tn_token_writer_open(shard_path(TN_TRAIN, 0));
    for (int64_t i = 0; i < LONG * ROWS + 1; i++)
        assert_true(tn_token_writer_add(w, (const int32_t[]){token(TN_TRAIN, 0, i)}, 1));
    assert_true(tn_token_writer_close(w) && tn__stream_write(folder, &one));
    tn_dataset *d = tn_text_stream(folder, TN_TRAIN, .batch = ROWS, .steps = LONG);
    tn_dataset *all = tn_text_stream(folder, TN_TRAIN, .steps = LONG, .whole = true);
    assert_ok();
    assert_true(d->cls->get(d, 0, x, y));
    for (int64_t t = 0; t < LONG; t++)
        for (int64_t b = 0; b < ROWS; b++) {
            assert_int_equal(x[t * ROWS + b], token(TN_TRAIN, 0, b * LONG + t));
            assert_int_equal(y[t * ROWS + b], token(TN_TRAIN, 0, b * LONG + t + 1));
        }
    struct stat s;
    assert_int_equal(stat(shard_path(TN_TRAIN, 0), &s), 0);
    assert_int_equal(truncate(shard_path(TN_TRAIN, 0), s.st_size - 4 * 10), 0);
    assert_false(d->cls->get(d, 0, x, y));
    expect_error(TN_EIO, "train.00001.tok: was cut short while in use");
    assert_true(all->cls->get(all, 0, x, y));
    assert_false(all->cls->get(all, 1, x, y));
    expect_error(TN_EIO, "train.00001.tok: was cut short while in use");
    tn_free(d, all);
}

/* A text of one token predicts nothing. */
static void test_too_short(void **state)
{
    (void)state;
    tn_token_writer *w = tn_token_writer_open(shard_path(TN_VALID, 0));
    assert_true(tn_token_writer_add(w, (const int32_t[]){4}, 1) && tn_token_writer_close(w));
    assert_null(tn_text_stream(folder, TN_VALID, .whole = true));
    expect_error(TN_EFORMAT, "its valid text is empty");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_chunks, whole_folder),
        cmocka_unit_test_setup(test_whole, whole_folder),
        cmocka_unit_test_setup(test_shards_are_shuffled_whole, whole_folder),
        cmocka_unit_test_setup(test_states_go_on, whole_folder),
        cmocka_unit_test_setup(test_workers_and_places, whole_folder),
        cmocka_unit_test_setup(test_other_sets_begin_each_time, whole_folder),
        cmocka_unit_test_setup(test_by_name, whole_folder),
        cmocka_unit_test_setup(test_arguments, whole_folder),
        cmocka_unit_test_setup(test_damage, whole_folder),
        cmocka_unit_test_setup(test_long_rows_cut_short, whole_folder),
        cmocka_unit_test_setup(test_too_short, whole_folder),
    };
    return cmocka_run_group_tests_name("stream", tests, folder_begin, folder_end);
}
