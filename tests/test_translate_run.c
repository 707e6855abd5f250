/* Translation through the program: a network that learns to copy words trains, is killed and goes on, and leaves
 * behind what the manual says.  TENON_BIN names another binary. */
#define _GNU_SOURCE
#include <math.h>
#include <sys/stat.h>

#include "../data/codec.h"
#include "runs.h"

#define CONFIG                                                                                                \
    "name: copy\n"                                                                                            \
    "model: {name: transformer, dim: 16, ffn: 32, heads: 2, encoder_layers: 1, decoder_layers: 1, "           \
    "dropout: 0.1}\n"                                                                                         \
    "data: {name: pairs, root: pairs, max_tokens: 64, multiple: 2, workers: 0}\n"                             \
    "optim: {name: adam, lr: 0.01}\n"                                                                         \
    "train: {epochs: 3, log_every: 1, label_smoothing: 0.1, clip_norm: 25, update_freq: 3, "                  \
    "checkpoint_every: 2 steps, epoch_checkpoints: 2}\n"                                                      \
    "device: {name: cpu, threads: 1}\n"

/* ---- a folder of pairs: both sides say the same ---- */

enum { WORDS = 12, SPECIALS = 4 };

static void write_dictionary(const char *name)
{
    char text[512] = "";
    for (int i = 0; i < WORDS; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "w%d %d\n", i, 100 - i);
    write_text(name, text);
}

static void write_sentences(const char *split, int n)
{
    static const char *const langs[] = {"de", "en"};
    for (int side = 0; side < 2; side++) {
        char name[64];
        uint32_t state = 7 + (uint32_t)n;
        snprintf(name, sizeof name, "pairs/%s.%s.tok", split, langs[side]);
        tn_token_writer *w = tn_token_writer_open(in_folder(name));
        for (int i = 0; i < n; i++) {
            int32_t ids[16];
            int len = 0;
            state = state * 1664525u + 1013904223u;
            const int words = 2 + (int)(state >> 16) % 7;
            for (; len < words; len++) {
                state = state * 1664525u + 1013904223u;
                ids[len] = SPECIALS + (int32_t)((state >> 16) % WORDS);
            }
            ids[len++] = TN_EOS;
            assert_true(tn_token_writer_add(w, ids, len));
        }
        assert_true(tn_token_writer_close(w));
    }
}

static int begin(void **state)
{
    if (folder_begin(state))
        return 1;
    shell("mkdir pairs");
    write_dictionary("pairs/dict.de.txt");
    write_dictionary("pairs/dict.en.txt");
    const struct tn__codec_info info = {.lang = {"de", "en"}, .dictionary = {"dict.de.txt", "dict.en.txt"}};
    assert_true(tn__codec_write(in_folder("pairs"), &info));
    write_sentences("train", 160);
    write_sentences("valid", 40);
    write_sentences("test", 20);
    write_text("copy.yaml", CONFIG);
    return 0;
}

/* ---- reading metrics ---- */

static double number(const json_t *line, const char *key)
{
    const json_t *v = json_object_get(line, key);
    if (!json_is_number(v))
        fail_msg("no number %s", key);
    return json_number_value(v);
}

/* The k-th line with the key, from 0; the last for -1. */
static const json_t *line_with(const json_t *lines, const char *key, int k)
{
    const json_t *found = NULL;
    for (size_t i = 0; i < json_array_size(lines); i++) {
        const json_t *line = json_array_get(lines, i);
        if (!json_object_get(line, key))
            continue;
        found = line;
        if (k-- == 0)
            break;
    }
    return found;
}

static bool close_to(double a, double b, double tolerance) { return fabs(a - b) <= tolerance * (1 + fabs(b)); }

/* ---- training ---- */

static void test_trains(void **state)
{
    (void)state;
    expect(0, tenon("train copy.yaml --set train.epochs=12 --set train.update_freq=1 --out r"));
    expect_words(output, "epoch 12/12");
    expect_words(output, "done: valid ppl ");
    json_t *lines = metrics_of("r");
    const json_t *first = line_with(lines, "loss", 0), *epoch = line_with(lines, "valid_loss", -1);
    assert_true(close_to(number(first, "loss_bits") * log(2), number(first, "loss"), 1e-7));
    assert_true(close_to(log(number(first, "ppl")), number(first, "nll"), 1e-7));
    assert_true(number(first, "tokens") > 0 && number(first, "grad_norm") > 0 && number(first, "lr") == 0.01);
    assert_true(number(epoch, "valid_nll") < number(line_with(lines, "valid_loss", 0), "valid_nll") - 0.3);
    assert_true(number(epoch, "train_loss") < number(first, "loss") - 0.3);
    assert_true(close_to(exp(number(epoch, "valid_nll")), number(epoch, "valid_ppl"), 1e-7));
    assert_true(number(epoch, "best_nll") <= number(epoch, "valid_nll"));
    static const char *const files[] = {"text.json", "dict.de.txt", "dict.en.txt", "best.safetensors",
                                        "model.safetensors", "epoch-011.safetensors", "epoch-012.safetensors"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char name[64];
        snprintf(name, sizeof name, "r/%s", files[i]);
        if (!exists(name))
            fail_msg("no %s", name);
    }
    assert_false(exists("r/epoch-010.safetensors"));
    assert_true(same_files("r/epoch-012.safetensors", "r/model.safetensors"));
    expect(0, tenon("eval r --split valid --json"));
    json_t *score = json_loads(output, 0, NULL);
    assert_true(close_to(number(score, "valid_nll"), number(epoch, "valid_nll"), 1e-8));
    assert_true(number(score, "tokens") > 40);
    json_decref(score);
    expect(0, tenon("eval r"));
    expect_words(output, "test loss ");
    expect_words(output, " ppl ");
    read_whole(in_folder("r/config.yaml"), output, sizeof output);
    expect_words(output, "source: \"de\"");
    expect_words(output, "classes: 16");
    json_decref(lines);
}

/* All of an epoch in one update: however it is cut into batches, the gradient is that of the mean. */
static void test_updates_of_several_batches(void **state)
{
    static const char *const ways[] = {"64 --set train.update_freq=100000", "120 --set train.update_freq=50",
                                       "4000 --set train.update_freq=1"};
    double loss[3], nll[3];
    (void)state;
    for (int i = 0; i < 3; i++) {
        char name[16];
        snprintf(name, sizeof name, "way%d", i);
        expect(0, tenon("train copy.yaml --quiet --set train.epochs=4 --set model.dropout=0 --set data.max_tokens=%s "
                        "--out %s", ways[i], name));
        json_t *lines = metrics_of(name);
        every_step_once(lines, 4);
        const json_t *last = line_with(lines, "loss", 3);
        loss[i] = number(last, "loss");
        nll[i] = number(line_with(lines, "valid_nll", -1), "valid_nll");
        assert_true(number(last, "tokens") == number(line_with(lines, "loss", 0), "tokens"));
        json_decref(lines);
    }
    for (int i = 1; i < 3; i++)
        if (!close_to(loss[i], loss[0], 1e-5) || !close_to(nll[i], nll[0], 1e-4))
            fail_msg("loss %.9g and nll %.9g, not %.9g and %.9g", loss[i], nll[i], loss[0], nll[0]);
}

/* Images too: an update of four batches is one of a batch four times as large. */
static void test_updates_of_images(void **state)
{
    double loss[2];
    (void)state;
    for (int i = 0; i < 2; i++) {
        expect(0, tenon("train " TN_SOURCE_DIR "/experiments/quickstart.yaml --quiet --threads 1 --out images%d "
                        "--set data.count=200 --set data.test_count=20 --set data.augment=none --set model.name=mlp "
                        "--set train.log_every=1 --set train.max_steps=6 --set data.batch=%d --set data.workers=0 "
                        "--set train.update_freq=%d --set optim.lr=0.01", i, i ? 16 : 64, i ? 4 : 1));
        json_t *lines = metrics_of(i ? "images1" : "images0");
        every_step_once(lines, 6);
        loss[i] = number(line_with(lines, "loss", 5), "loss");
        json_decref(lines);
    }
    assert_true(close_to(loss[0], loss[1], 1e-5));
}

/* As many epochs as the updates need, and the rate of the paper's runs: exact in its first and last updates. */
static void test_length_and_rate(void **state)
{
    (void)state;
    expect(0, tenon("train copy.yaml --quiet --out steps --set train.epochs=0 --set train.max_steps=20 "
                    "--set optim.lr=3.0e-4 --set schedule.name=linear --set schedule.per=update "
                    "--set schedule.warmup=4 --set schedule.init=1.0e-8 --set schedule.min=1.0e-9"));
    json_t *lines = metrics_of("steps");
    every_step_once(lines, 20);
    for (int t = 1; t <= 20; t++) {
        const double n = t - 1, peak = 3e-4, init = 1e-8, least = 1e-9;
        const double wanted = n < 4 ? init + n * (peak - init) / 4 : (peak - least) * (1 - (n - 4) / (20 - 4)) + least;
        const double rate = number(line_with(lines, "loss", t - 1), "lr");
        if (fabs(rate - wanted) > 1e-8 * wanted)
            fail_msg("update %d has the rate %.9g, not %.9g", t, rate, wanted);
    }
    json_decref(lines);
    read_whole(in_folder("steps/config.yaml"), output, sizeof output);
    expect_words(output, "total: 20\n");
    expect_complaint(1, tenon("train copy.yaml --out none --set train.epochs=0"), "train.max_steps needs");
}

/* ---- the mean of epochs ---- */

static void test_average(void **state)
{
    (void)state;
    expect(0, tenon("train copy.yaml --quiet --out av --set train.epoch_checkpoints=3"));
    expect(0, tenon("average av --last 2"));
    expect_words(output, "av/average-2.safetensors");
    tn_safetensors *mean = tn_safetensors_open(in_folder("av/average-2.safetensors"));
    tn_safetensors *a = tn_safetensors_open(in_folder("av/epoch-002.safetensors"));
    tn_safetensors *b = tn_safetensors_open(in_folder("av/epoch-003.safetensors"));
    assert_ok();
    assert_int_equal(tn_safetensors_count(mean), tn_safetensors_count(b));
    bool moved = false;
    for (int i = 0; i < tn_safetensors_count(mean); i++)
        TN_SCOPE {
            const char *name = tn_safetensors_name(mean, i);
            tn_tensor *m = tn_safetensors_read(mean, name), *p = tn_safetensors_read(a, name),
                      *q = tn_safetensors_read(b, name);
            assert_ok();
            for (int64_t k = 0; k < tn_numel(m); k++) {
                assert_true(tn_f32(m)[k] == (float)(((double)tn_f32(p)[k] + (double)tn_f32(q)[k]) / 2));
                moved |= tn_f32(p)[k] != tn_f32(q)[k];
            }
        }
    assert_true(moved);
    tn_free(mean, a, b);
    expect(0, tenon("average av --last 1 --out one.safetensors"));
    assert_true(same_files("one.safetensors", "av/epoch-003.safetensors"));
    expect(0, tenon("eval av --weights av/average-2.safetensors"));
    expect_complaint(1, tenon("average av --last 4"), "3 files epoch-NNN.safetensors, 4 are wanted");
    shell("cp av/epoch-001.safetensors av/epoch-002.safetensors && printf x >> av/epoch-002.safetensors");
    expect_complaint(1, tenon("average av --last 2"), "av/epoch-002.safetensors");
}

/* ---- going on ---- */

static uint32_t dice(uint32_t n)
{
    static uint64_t state = 20191230;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33) % n;
}

static int updates_of(const char *run)
{
    json_t *lines = metrics_of(run);
    const int n = (int)number(line_with(lines, "loss", -1), "step");
    json_decref(lines);
    return n;
}

/* Killed at any moment, also between the batches of an update. */
static void test_murder(void **state)
{
    int hits = 0, lives = 0;
    (void)state;
    expect(0, tenon("train copy.yaml --out peace --quiet"));
    const int updates = updates_of("peace");
    assert_true(updates % 3 == 0 && updates > 9);
    for (int round = 0; round < 3; round++) {
        int status = -SIGKILL;
        for (int tries = 0; status == -SIGKILL && tries < 20; tries++, lives++) {
            char arguments[160];
            snprintf(arguments, sizeof arguments, "train copy.yaml --out victim --resume --threads %u "
                     "--set data.workers=%u --set train.checkpoint_every='%u steps'", 1 + dice(2), dice(2),
                     1 + dice(3));
            const pid_t child = start("", arguments);
            usleep(5000 + 1000 * dice(200));
            kill(child, SIGKILL);
            status = finish(child);
            hits += status == -SIGKILL;
            if (status != -SIGKILL)
                expect(0, status);
        }
        if (status == -SIGKILL) /* a machine too slow to be done in between */
            expect(0, tenon("train copy.yaml --out victim --resume --quiet"));
        same_runs("peace", "victim", updates);
        assert_true(same_files("peace/epoch-002.safetensors", "victim/epoch-002.safetensors"));
        assert_true(same_files("peace/epoch-003.safetensors", "victim/epoch-003.safetensors"));
        shell("rm -r victim");
    }
    print_message("killed %d times in %d starts\n", hits, lives);
}

/* The file of ids loses its end while a run reads it. */
/* As long a test split as is judged for a second or so. */
static void write_test_text(void)
{
    static const char *const langs[] = {"de", "en"};
    for (int side = 0; side < 2; side++) {
        char name[64];
        snprintf(name, sizeof name, "pairs/test.%s", langs[side]);
        FILE *f = fopen(in_folder(name), "w");
        assert_non_null(f);
        for (int i = 0; i < 4000; i++)
            fprintf(f, "w%d w%d w%d w%d w%d\n", i % 12, i / 3 % 12, i / 5 % 12, i / 7 % 12, i % 11);
        assert_int_equal(fclose(f), 0);
    }
}

/* Ctrl-C while the test split is translated at the end: it stops there, and a resumed run judges. */
static void test_stopping_while_it_is_judged(void **state)
{
    static const char arguments[] = "train copy.yaml --out judged --resume --set train.bleu=[1]";
    struct stat there;
    (void)state;
    write_test_text();
    const pid_t child = start("", arguments);
    for (int i = 0; i < 6000 && stat(in_folder("judged/model.safetensors"), &there) != 0; i++)
        usleep(10000);
    kill(child, SIGINT);
    const int status = finish(child);
    if (status != 0) { /* 0: it was judged before the signal came */
        assert_int_equal(status, 1);
        expect_words(errors, "go on with: tenon train judged --resume");
        json_t *lines = metrics_of("judged");
        assert_null(json_object_get(json_array_get(lines, json_array_size(lines) - 1), "test_bleu_1"));
        json_decref(lines);
        expect(0, tenon("%s", arguments));
    }
    json_t *lines = metrics_of("judged");
    assert_true(number(json_array_get(lines, json_array_size(lines) - 1), "test_bleu_1") > 0);
    json_decref(lines);
    print_message("stopped with status %d\n", status);
}

static void test_data_cut_short(void **state)
{
    int step = 0;
    (void)state;
    shell("cp pairs/train.de.tok whole.tok");
    const pid_t child = start("", "train copy.yaml --out hurt --set train.epochs=100000");
    for (int i = 0; i < 3000 && !exists("hurt/checkpoint.safetensors"); i++)
        usleep(10000);
    assert_int_equal(truncate(in_folder("pairs/train.de.tok"), 1700), 0);
    expect_complaint(1, finish(child), "pairs/train.de.tok: was cut short while in use: there is no byte ");
    const char *words = strstr(errors, "go on from step ");
    assert_true(words && sscanf(words, "go on from step %d with: tenon train hurt --resume", &step) == 1);
    shell("cp whole.tok pairs/train.de.tok");
    expect(0, tenon("train hurt --resume --quiet --set train.max_steps=%d", step + 7));
    expect(0, tenon("train copy.yaml --quiet --out sound --set train.epochs=100000 --set train.max_steps=%d", step + 7));
    assert_true(same_files("hurt/model.safetensors", "sound/model.safetensors"));
    json_t *lines = metrics_of("hurt");
    every_step_once(lines, step + 7);
    json_decref(lines);
}

static void test_changed_config(void **state)
{
    (void)state;
    expect(0, tenon("train copy.yaml --quiet --out changed --set train.max_steps=4"));
    expect_complaint(1, tenon("train changed --resume --set train.update_freq=2 --set model.dropout=0.2 "
                              "--set data.max_tokens=32"),
                     "another config: model.dropout: 0.1 -> 0.2; data.max_tokens: 64 -> 32; "
                     "train.update_freq: 3 -> 2;");
    expect(0, tenon("train changed --resume --set train.max_steps=6 --set train.epoch_checkpoints=1"));
    expect_words(output, "changed since the checkpoint: train.max_steps: 4 -> 6; train.epoch_checkpoints: 2 -> 1");
    expect_complaint(1, tenon("train copy.yaml --out none --set data.target=fr --set data.source=de"), "'fr'");
    expect_complaint(1, tenon("train copy.yaml --out none --set train.bleu=[3]"),
                     "the mean of 3 epochs needs train.epoch_checkpoints: 3");
}

/* ---- histograms ---- */

/* Of every element of every parameter; Adam-2k counts from the end of its freeze. */
static void test_histograms(void **state)
{
    (void)state;
    char line[8192];
    int steps[4], n = 0;
    expect(0, tenon("train copy.yaml --quiet --out h --set optim.freeze_steps=3 --set train.histogram_steps=[1,2,5] "
                    "--set train.epochs=0 --set train.max_steps=8"));
    FILE *f = fopen(in_folder("h/histograms.jsonl"), "r");
    assert_non_null(f);
    for (; fgets(line, sizeof line, f); n++) {
        json_t *object = json_loads(line, 0, NULL), *counts = json_object_get(object, "counts");
        json_int_t sum = json_integer_value(json_object_get(object, "above")), weights = 0;
        for (size_t i = 0; i < json_array_size(counts); i++)
            sum += json_integer_value(json_array_get(counts, i));
        tn_safetensors *model = tn_safetensors_open(in_folder("h/model.safetensors"));
        for (int i = 0; i < tn_safetensors_count(model); i++)
            TN_SCOPE {
                weights += tn_numel(tn_safetensors_read(model, tn_safetensors_name(model, i)));
            }
        tn_free(model);
        assert_int_equal(sum, weights);
        assert_true(n < 4);
        steps[n] = (int)number(object, "step");
        json_decref(object);
    }
    fclose(f);
    assert_true(n == 3 && steps[0] == 4 && steps[1] == 5 && steps[2] == 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trains),
        cmocka_unit_test(test_updates_of_several_batches),
        cmocka_unit_test(test_updates_of_images),
        cmocka_unit_test(test_length_and_rate),
        cmocka_unit_test(test_average),
        cmocka_unit_test(test_murder),
        cmocka_unit_test(test_stopping_while_it_is_judged),
        cmocka_unit_test(test_data_cut_short),
        cmocka_unit_test(test_changed_config),
        cmocka_unit_test(test_histograms),
    };
    unsetenv("TENON_DATA");
    return cmocka_run_group_tests_name("translate_run", tests, begin, folder_end);
}
