/* What a run writes for TensorBoard, read back with a reader of our own, and its histograms.  The
 * tensorboard package itself reads the files in tests/parity/check_events.py. */
#include "../experiments/histogram.h"

#include <math.h>
#include <sys/wait.h>

#include "../experiments/events.h"
#include "files.h"

enum { MOST_POINTS = 2000, FILE_BYTES = 1 << 18, TEXT = 64, EPOCH = 7 /* updates */ };

#define SMALL                                                                                      \
    "model: {name: mlp, hidden: 16, layers: 1}\n"                                                  \
    "data: {name: shapes, count: 200, test_count: 60, batch: 32, workers: 0}\n"                    \
    "optim: {name: adam, lr: 0.001}\n"                                                             \
    "train: {epochs: 6, log_every: 2, histogram_steps: [1, 5, 10, 14, 15], histogram_every: 12}\n"

/* ---- a reader of event files ---- */

typedef struct point {
    char tag[TEXT];
    int64_t step;
    double value; /* of a histogram: its number of elements */
} point;

typedef struct log_of {
    point at[MOST_POINTS];
    int n, starts, versions;
    bool cut; /* a file ended within a record */
} log_of;

typedef struct span {
    const unsigned char *at;
    size_t n;
} span;

typedef struct field {
    uint64_t number, value; /* value: of a varint, or the bits */
    span bytes;
} field;

static uint64_t little(const unsigned char *bytes, size_t n)
{
    uint64_t value = 0;
    while (n-- > 0)
        value = value << 8 | bytes[n];
    return value;
}

static uint64_t varint(span *s)
{
    uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
        assert_true(s->n > 0 && shift < 64);
        const unsigned char byte = *s->at++;
        s->n--;
        value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128)
            return value;
    }
}

static bool next_field(span *s, field *f)
{
    if (s->n == 0)
        return false;
    const uint64_t key = varint(s);
    *f = (field){.number = key >> 3};
    if ((key & 7) == 0) {
        f->value = varint(s);
        return true;
    }
    f->bytes.n = (key & 7) == 1 ? 8 : (key & 7) == 5 ? 4 : (size_t)varint(s);
    assert_true((key & 7) == 1 || (key & 7) == 2 || (key & 7) == 5);
    assert_true(f->bytes.n <= s->n);
    f->bytes.at = s->at;
    f->value = (key & 7) == 2 ? 0 : little(s->at, f->bytes.n);
    s->at += f->bytes.n;
    s->n -= f->bytes.n;
    return true;
}

static double as_double(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static double as_float(uint64_t bits)
{
    const uint32_t low = (uint32_t)bits;
    float value;
    memcpy(&value, &low, sizeof value);
    return (double)value;
}

/* The bits of each byte by table, as the writer does not. */
static uint32_t crc32c(span s)
{
    uint32_t table[256], crc = ~0u;
    for (uint32_t i = 0; i < 256; i++) {
        table[i] = i;
        for (int bit = 0; bit < 8; bit++)
            table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0x82f63b78u : 0);
    }
    for (size_t i = 0; i < s.n; i++)
        crc = table[(crc ^ s.at[i]) & 255] ^ crc >> 8;
    return ~crc;
}

static void expect_crc(span s, const unsigned char *stored)
{
    const uint32_t masked = (uint32_t)little(stored, 4) - 0xa282ead8u;
    assert_int_equal(crc32c(s), masked >> 17 | masked << 15);
}

/* Of a histogram: its number of elements, which its buckets hold together. */
static double read_histogram(span s)
{
    double number = 0, min = 0, max = 0, sum = 0, last = -INFINITY;
    span limits = {0}, counts = {0};
    for (field f; next_field(&s, &f);) {
        min = f.number == 1 ? as_double(f.value) : min;
        max = f.number == 2 ? as_double(f.value) : max;
        number = f.number == 3 ? as_double(f.value) : number;
        limits = f.number == 6 ? f.bytes : limits;
        counts = f.number == 7 ? f.bytes : counts;
    }
    assert_true(limits.n > 0 && limits.n == counts.n && min <= max);
    for (size_t i = 0; i < limits.n; i += 8) {
        const double limit = as_double(little(limits.at + i, 8));
        assert_true(limit > last);
        last = limit;
        sum += as_double(little(counts.at + i, 8));
    }
    assert_true(sum == number && max < last);
    return number;
}

static void read_value(log_of *l, int64_t step, span s)
{
    assert_true(l->n < MOST_POINTS);
    point *p = &l->at[l->n++];
    p->step = step;
    for (field f; next_field(&s, &f);) {
        if (f.number == 1)
            snprintf(p->tag, TEXT, "%.*s", (int)f.bytes.n, (const char *)f.bytes.at);
        else if (f.number == 2)
            p->value = as_float(f.value);
        else if (f.number == 5)
            p->value = read_histogram(f.bytes);
    }
}

/* What earlier sessions told of these steps is void. */
static void start_session(log_of *l, int64_t step)
{
    int left = 0;
    for (int i = 0; i < l->n; i++)
        if (l->at[i].step < step)
            l->at[left++] = l->at[i];
    l->n = left;
    l->starts++;
}

static void read_event(log_of *l, span s)
{
    int64_t step = 0;
    for (field f, inner; next_field(&s, &f);) {
        if (f.number == 1)
            assert_true(as_double(f.value) > 1e9);
        else if (f.number == 2)
            step = (int64_t)f.value;
        else if (f.number == 3)
            l->versions += f.bytes.n == 13 && memcmp(f.bytes.at, "brain.Event:2", 13) == 0;
        else if (f.number == 5)
            while (next_field(&f.bytes, &inner))
                read_value(l, step, inner.bytes);
        else if (f.number == 7 && next_field(&f.bytes, &inner) && inner.value == 1)
            start_session(l, step);
    }
}

static void read_events(log_of *l, const char *path)
{
    static unsigned char bytes[FILE_BYTES];
    span s = {bytes, get_file(path, bytes, sizeof bytes)};
    while (s.n >= 12) {
        const size_t n = (size_t)little(s.at, 8);
        expect_crc((span){s.at, 8}, s.at + 8);
        if (s.n < n + 16)
            break;
        expect_crc((span){s.at + 12, n}, s.at + 12 + n);
        read_event(l, (span){s.at + 12, n});
        s.at += n + 16;
        s.n -= n + 16;
    }
    l->cut |= s.n > 0;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}
static int is_events(const struct dirent *e)
{
    return tn_match("events.out.tfevents.*", e->d_name);
}

/* All event files of a run, in the order of their names; the last one's path. */
static void read_run(log_of *l, const char *run_dir, char last[512])
{
    struct dirent **e;
    const int n = scandir(in_folder(run_dir), &e, is_events, by_name);
    assert_true(n > 0);
    *l = (log_of){0};
    for (int i = 0; i < n; i++) {
        snprintf(last, 512, "%s/%s", in_folder(run_dir), e[i]->d_name);
        read_events(l, last);
        free(e[i]);
    }
    free(e);
    assert_int_equal(l->versions, n);
    assert_int_equal(l->starts, n);
}

static const point *find_point(const log_of *l, const char *tag, int64_t step)
{
    const point *found = NULL;
    for (int i = 0; i < l->n; i++)
        if (l->at[i].step == step && strcmp(l->at[i].tag, tag) == 0) {
            if (found && found->value != l->at[i].value)
                fail_msg("two values of %s at step %lld", tag, (long long)step);
            found = &l->at[i];
        }
    if (!found)
        fail_msg("no %s at step %lld", tag, (long long)step);
    return found;
}

/* ---- runs ---- */

__attribute__((format(printf, 1, 2))) static void shell(const char *fmt, ...)
{
    char command[2048];
    const int n = snprintf(command, sizeof command, "cd %s && ", folder);
    va_list args;
    va_start(args, fmt);
    vsnprintf(command + n, sizeof command - (size_t)n, fmt, args);
    va_end(args);
    if (system(command) != 0)
        fail_msg("failed: %s", command);
}

/* Calls f for each line of a file of the run. */
static void each_line(const char *name, void (*f)(log_of *, const json_t *), log_of *l)
{
    static char text[1 << 12];
    FILE *in = fopen(in_folder(name), "r");
    assert_non_null(in);
    while (fgets(text, sizeof text, in)) {
        json_t *line = json_loads(text, 0, NULL);
        assert_non_null(line);
        f(l, line);
        json_decref(line);
    }
    fclose(in);
}

static int64_t integer(const json_t *line, const char *key)
{
    const json_t *v = json_object_get(line, key);
    assert_true(json_is_integer(v));
    return (int64_t)json_integer_value(v);
}

static int lines_seen;

static void expect_line_in_log(log_of *l, const json_t *line)
{
    static const char *const pairs[][2] = {
        {"loss", "train/loss"},     {"accuracy", "train/accuracy"},
        {"test_loss", "test/loss"}, {"test_accuracy", "test/accuracy"}, {"lr", "lr"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        const json_t *v = json_object_get(line, pairs[i][0]);
        if (v) {
            const double value = find_point(l, pairs[i][1], integer(line, "step"))->value;
            assert_true(fabs(value - json_number_value(v)) <= 1e-6 * fabs(value));
        }
    }
    lines_seen++;
}

static void expect_histogram_in_log(log_of *l, const json_t *line)
{
    const json_t *counts = json_object_get(line, "counts");
    const json_t *edges = json_object_get(line, "edges");
    double sum = (double)integer(line, "above");
    assert_int_equal(json_array_size(counts), HISTOGRAM_BINS);
    assert_int_equal(json_array_size(edges), HISTOGRAM_BINS + 1);
    assert_true(json_number_value(json_array_get(edges, HISTOGRAM_BINS)) == 0);
    for (size_t i = 0; i < HISTOGRAM_BINS; i++)
        sum += json_number_value(json_array_get(counts, i));
    assert_true(sum == (32 * 32 * 3 + 1) * 16 + (16 + 1) * 10);
    assert_true(find_point(l, "histogram/gradient", integer(line, "step"))->value == sum);
    lines_seen++;
}

static void expect_run_in_log(log_of *l, const char *run_dir, int lines, int histograms)
{
    char name[TEXT];
    lines_seen = 0;
    snprintf(name, sizeof name, "%s/metrics.jsonl", run_dir);
    each_line(name, expect_line_in_log, l);
    assert_int_equal(lines_seen, lines);
    lines_seen = 0;
    snprintf(name, sizeof name, "%s/histograms.jsonl", run_dir);
    each_line(name, expect_histogram_in_log, l);
    assert_int_equal(lines_seen, histograms);
}

static log_of whole, resumed;

static void test_a_run_is_read_back(void **state)
{
    char last[512];
    (void)state;
    assert_int_equal(crc32c((span){(const unsigned char *)"123456789", 9}), 0xe3069283u);
    put_file("small.yaml", SMALL, strlen(SMALL));
    shell("%s train small.yaml --out whole --quiet", TN_PROGRAM);
    read_run(&whole, "whole", last);
    assert_false(whole.cut);
    /* a line every second update and at each epoch; steps 1 5 10 14 15 and 12 24 36 */
    expect_run_in_log(&whole, "whole", 6 * EPOCH / 2 + 6, 8);
    assert_int_equal(whole.n, 6 * EPOCH / 2 * 4 + 6 * 6 + 8);
}

/* The run is killed within a record, some steps after its last checkpoint. */
static void test_a_resumed_run_repeats_nothing(void **state)
{
    char last[512];
    (void)state;
    const char *const tenon = TN_PROGRAM " train small.yaml --out parts --quiet "
                                         "--set train.max_steps";
    shell("%s=%d && cp parts/checkpoint.safetensors good", tenon, 2 * EPOCH);
    shell("%s=%d --resume && rm parts/*.safetensors", tenon, 4 * EPOCH);
    shell("mv good parts/checkpoint.safetensors && echo '{\"step\":' >> parts/histograms.jsonl");
    read_run(&resumed, "parts", last);
    assert_int_equal(resumed.starts, 2);
    shell("truncate -s -5 %s", last);
    shell("%s=0 --resume", tenon);
    read_run(&resumed, "parts", last);
    assert_true(resumed.cut);
    assert_int_equal(resumed.starts, 3);
    assert_int_equal(resumed.n, whole.n);
    expect_run_in_log(&resumed, "parts", 6 * EPOCH / 2 + 6, 8);
    for (int i = 0; i < whole.n; i++)
        if (!strstr(whole.at[i].tag, "images_per_s"))
            assert_true(find_point(&resumed, whole.at[i].tag, whole.at[i].step)->value ==
                        whole.at[i].value);
    shell("cmp whole/histograms.jsonl parts/histograms.jsonl");
    shell("%s train small.yaml --out parts --quiet --force", TN_PROGRAM);
    read_run(&resumed, "parts", last);
    assert_int_equal(resumed.starts, 1);
}

static void test_plot(void **state)
{
    (void)state;
    shell("%s plot whole --histograms --out figures/ridges.png >out", TN_PROGRAM);
    shell("head -1 figures/ridges.csv | "
          "grep -q '\"1\",\"5\",\"10\",\"12\",\"14\",\"15\",\"24\",\"36\"'");
    shell("test -s figures/ridges.gp");
    shell("%s plot whole whole --histograms --out figures/both >out", TN_PROGRAM);
    shell("head -1 figures/both.csv | grep -q '\"whole 1\",\"whole 5\".*\"whole 36\",\"whole 1\"'");
    shell("grep -q 'set multiplot layout 1,2' figures/both.gp");
    shell("echo '{\"step\":3}' >> parts/histograms.jsonl");
    shell("! %s plot parts --histograms 2>err && grep -q 'not a line of histograms' err",
          TN_PROGRAM);
    shell("rm parts/histograms.jsonl");
    shell("! %s plot parts --histograms 2>err && grep -q 'No such file' err", TN_PROGRAM);
}

/* ---- what is counted ---- */

typedef struct small_run {
    run r;
    config c;
    tn_module *net;
    tn_optim *opt;
} small_run;

/* 4 x 3 weights and 3 biases. */
static void begin(small_run *s, const char *dir, const char *rule, const char *of)
{
    *s = (small_run){.r = {.quiet = true}};
    config_defaults(&s->c);
    strcpy(s->c.optim.name, rule);
    strcpy(s->c.train.histogram_of, of);
    s->c.train.histogram_steps = (config_numbers){2, {1, 2}};
    assert_true(run_open(&s->r, in_folder(dir), RUN_NEW));
    s->net = tn_linear(4, 3);
    s->opt = tn_optim_new(rule, s->net, (tn_hyper){.lr = 0.1});
    assert_ok();
}

static void end(small_run *s)
{
    tn_free(s->opt, s->net);
    run_close(&s->r);
    assert_ok();
}

static json_t *line_of(const small_run *s, int number)
{
    char path[RUN_PATH], text[1 << 12] = "";
    FILE *f = fopen(run_path(&s->r, "histograms.jsonl", path), "r");
    assert_non_null(f);
    while (number-- > 0)
        assert_non_null(fgets(text, sizeof text, f));
    fclose(f);
    return json_loads(text, 0, NULL);
}

static void expect_count(const json_t *line, int bin, int wanted)
{
    const json_t *counts = json_object_get(line, "counts");
    assert_int_equal(json_integer_value(json_array_get(counts, (size_t)bin)), wanted);
}

static void test_values_and_their_bins(void **state)
{
    /* e^-20.72 and less, e^-11.51, e^-0.69, and what is from 1 on */
    const float gradient[12] = {0, -0.0f, 1e-12f, 1e-5f, -1e-5f, 0.5f, 1, -3, INFINITY, NAN, 0, 0};
    small_run s;
    (void)state;
    begin(&s, "values", "adam", "gradient");
    assert_true(histogram_begin(&s.r, &s.c, s.opt, 0));
    assert_true(histogram_take(&s.r, &s.c, s.net, s.opt, 1, false));
    TN_SCOPE {
        tn_copy_(tn_find_param(s.net, "weight")->t.grad, tn_from_f32(gradient, TN_SHAPE(3, 4)));
    }
    assert_true(histogram_take(&s.r, &s.c, s.net, s.opt, 2, false));
    assert_true(histogram_take(&s.r, &s.c, s.net, s.opt, 2, true)); /* states are not asked for */
    assert_true(histogram_take(&s.r, &s.c, s.net, s.opt, 3, false)); /* nor is step 3 */
    json_t *zeros = line_of(&s, 1), *line = line_of(&s, 2);
    expect_count(zeros, 0, 15);
    expect_count(line, 0, 5 + 3);
    expect_count(line, 18, 2); /* [-12, -11.5) */
    expect_count(line, 40, 1); /* [-1, -0.5) */
    assert_int_equal(integer(line, "above"), 4);
    json_decref(zeros);
    json_decref(line);
    assert_true(histogram_begin(&s.r, &s.c, s.opt, 1)); /* goes on behind step 1 */
    assert_true(histogram_take(&s.r, &s.c, s.net, s.opt, 2, false));
    line = line_of(&s, 2);
    assert_int_equal(integer(line, "step"), 2);
    json_decref(line);
    end(&s);
}

static void test_states(void **state)
{
    small_run s;
    (void)state;
    begin(&s, "states", "adam", "second_moment");
    assert_true(histogram_begin(&s.r, &s.c, s.opt, 0));
    TN_SCOPE {
        tn_copy_(tn_find_param(s.net, "weight")->t.grad, tn_full(1, TN_F32, TN_SHAPE(3, 4)));
    }
    assert_true(histogram_take(&s.r, &s.c, s.net, s.opt, 1, false));
    assert_true(tn_step(s.opt));
    assert_true(histogram_take(&s.r, &s.c, s.net, s.opt, 1, true));
    json_t *line = line_of(&s, 1);
    assert_string_equal(json_string_value(json_object_get(line, "of")), "second_moment");
    expect_count(line, 0, 3);   /* the biases' gradients were zero */
    expect_count(line, 28, 12); /* ln 0.001 = -6.9 */
    json_decref(line);
    end(&s);
    begin(&s, "none", "sgd", "second_moment");
    assert_false(histogram_begin(&s.r, &s.c, s.opt, 0));
    expect_error(TN_EARG, "sgd keeps no second_moment");
    end(&s);
}

static void test_file_names_ascend(void **state)
{
    log_of l = {0};
    (void)state;
    shell("mkdir names && touch names/events.out.tfevents.9000000000.host");
    FILE *f = events_open(in_folder("names"), 3);
    assert_non_null(f);
    fclose(f);
    shell("test $(ls names | tail -1 | cut -d. -f4) = 9000000001");
    shell("mv names/*9000000001* names/second");
    read_events(&l, in_folder("names/second"));
    assert_true(l.starts == 1 && l.versions == 1 && !l.cut);
    assert_null(events_open(in_folder("nowhere"), 0));
    expect_error(TN_EIO, "nowhere");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_run_is_read_back),
        cmocka_unit_test(test_a_resumed_run_repeats_nothing),
        cmocka_unit_test(test_plot),
        cmocka_unit_test(test_values_and_their_bins),
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_file_names_ascend),
    };
    return cmocka_run_group_tests_name("events", tests, folder_begin, folder_end);
}
