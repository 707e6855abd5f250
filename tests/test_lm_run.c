/* Runs of language models from outside: a state that goes on from batch to batch survives being killed, a text is
 * judged as one stream, and the program writes and judges text with what came of it. */
#define _GNU_SOURCE
#include <math.h>
#include <signal.h>

#include "murder.h"

#define CONFIG                                                                                       \
    "name: words\n"                                                                                  \
    "model: {name: lstm_lm, dim: 6, hidden: 16, layers: 2, dropout: 0.1, cutoffs: [5, 9]}\n"         \
    "data: {name: text, root: folder, batch: 4, steps: 5, test_steps: 7, workers: 0}\n"              \
    "optim: {name: adam, lr: 0.04}\n"                                                                \
    "schedule: {name: multistep, at: [2]}\n"                                                         \
    "train: {epochs: 3, clip_norm: 5, log_every: 1, checkpoint_every: 2 steps}\n"                    \
    "device: {name: cpu, threads: 1}\n"
enum { STEPS = 84 };

/* ---- a folder of text ---- */

/* Sentences of a small grammar: one of four, of subject, verb and object, a comma now and then. */
static void write_sentences(const char *name, uint64_t seed, int n)
{
    static const char *const nouns[] = {"cats", "dogs", "birds", "fish"}, *const verbs[] = {"see", "hear", "eat"};
    FILE *f = fopen(in_folder(name), "w");
    assert_non_null(f);
    for (int i = 0; i < n; i++) {
        uint32_t r[4];
        tn_random(seed, 0, (uint64_t)i, r);
        fprintf(f, "the %s %s%s the %s\n", nouns[r[0] % 4], verbs[r[1] % 3], r[2] % 4 ? "" : " , often ,",
                nouns[(r[0] + 1 + r[3] % 2) % 4]);
    }
    assert_int_equal(fclose(f), 0);
}

static void write_ids(const tn_dictionary *d, const char *from, const char *to)
{
    const char *line;
    size_t size;
    char path[64];
    tn_ids ids = {0};
    snprintf(path, sizeof path, "folder/%s", to);
    tn_token_writer *w = tn_token_writer_open(in_folder(path));
    tn_lines *lines = tn_lines_open(in_folder(from));
    while (tn_lines_next(lines, &line, &size))
        assert_true(tn_dictionary_encode(d, line, size, &ids) && tn_token_writer_add(w, ids.at, ids.len));
    assert_true(tn_token_writer_close(w));
    tn_ids_end(&ids);
    tn_free(lines);
}

static int begin(void **state)
{
    const int status = folder_begin(state);
    if (status)
        return status;
    put_file("lm.yaml", CONFIG, strlen(CONFIG));
    assert_int_equal(mkdir(in_folder("folder"), 0777), 0);
    write_sentences("one", 1, 40);
    write_sentences("two", 2, 50);
    write_sentences("held-out", 3, 25);
    char paths[2][512];
    snprintf(paths[0], sizeof paths[0], "%s", in_folder("one"));
    snprintf(paths[1], sizeof paths[1], "%s", in_folder("two"));
    tn_dictionary *d = tn_dictionary_build((tn_dictionary_args){
        .n = 2, .files = (const char *const[]){paths[0], paths[1]}, .ranked = true});
    assert_true(tn_dictionary_save(d, in_folder("folder/dict.txt")));
    write_ids(d, "one", "train.00001.tok");
    write_ids(d, "two", "train.00002.tok");
    write_ids(d, "held-out", "valid.00001.tok");
    write_ids(d, "held-out", "test.00001.tok");
    tn_free(d);
    write_text("folder/stream.json", "{\"train\": 2, \"valid\": 1, \"test\": 1}\n");
    assert_ok();
    return 0;
}

/* ---- training ---- */

static void test_it_learns(void **state)
{
    (void)state;
    expect(0, tenon("train lm.yaml --out run --quiet"));
    json_t *lines = metrics_of("run"), *first = json_array_get(lines, 0);
    json_t *last = json_array_get(lines, json_array_size(lines) - 1);
    const double ppl = json_number_value(json_object_get(first, "ppl"));
    assert_true(ppl > 8 && fabs(exp(json_number_value(json_object_get(first, "nll"))) / ppl - 1) < 1e-6);
    assert_true(json_number_value(json_object_get(last, "valid_ppl")) < 5);
    assert_true(json_number_value(json_object_get(last, "train_ppl")) < ppl);
    assert_true(json_object_get(first, "grad_norm") && json_integer_value(json_object_get(first, "tokens")) == 20);
    json_decref(lines);
    assert_true(same_files("folder/dict.txt", "run/dict.txt"));
    tn_safetensors *f = tn_safetensors_open(in_folder("run/checkpoint.safetensors"));
    TN_SCOPE {
        tn_tensor *h = tn_safetensors_read(f, "carried.h"), *c = tn_safetensors_read(f, "carried.c");
        char s[TN_SHAPE_TEXT];
        assert_ok();
        assert_string_equal(tn_shape_text(h, s), "[2,4,16]");
        assert_true(tn_item(tn_sum(tn_abs(h), TN_ALL, false)) > 0 && tn_same_shape(h, c));
    }
    tn_free(f);
}

static void test_murder(void **state)
{
    (void)state;
    murder("lm.yaml", "sgd", STEPS, 6);
    murder("lm.yaml", "adam", STEPS, 6);
    murder("lm.yaml --set train.update_freq=3 --set data.reset=never", "radam", 30, 6);
}

static void test_threads_and_workers_do_not_show(void **state)
{
    (void)state;
    const char *full = "--quiet --set model.cutoffs=[] --set model.dim=16 --set model.share=decoder";
    expect(0, tenon("train lm.yaml --out a %s", full));
    expect(0, tenon("train lm.yaml --out b %s --threads 3 --set data.workers=2", full));
    same_runs("a", "b", STEPS);
}

/* ---- judging ---- */

/* Nats a word over the text in one piece. */
static double judged_here(const char *weights)
{
    tn_dictionary *d = tn_dictionary_open_ranked(in_folder("folder/dict.txt"));
    tn_tokens *t = tn_tokens_open(in_folder("folder/test.00001.tok"));
    tn_module *net = tn_lstm_lm(tn_dictionary_len(d), .dim = 6, .hidden = 16, .cutoffs = {5, 9});
    assert_true(tn_load(net, in_folder(weights), .strict = true));
    tn_eval(net);
    double nll = 0;
    TN_SCOPE {
        int64_t n;
        const int32_t *ids = tn_tokens_at(t, 0, &n);
        n = tn_tokens_len(t) - 1;
        nll = tn_item(tn_lm_loss(net, tn_from(ids, TN_I32, TN_SHAPE(n, 1)), tn_from(ids + 1, TN_I32, TN_SHAPE(n, 1)),
                                 NULL));
    }
    assert_ok();
    tn_free(net, t, d);
    return nll;
}

static double said(const char *key)
{
    json_t *line = json_loads(output, 0, NULL);
    const double value = json_number_value(json_object_get(line, key));
    json_decref(line);
    return value;
}

static void test_the_split_and_its_text_are_judged_alike(void **state)
{
    (void)state;
    expect(0, tenon("eval run --json"));
    const double nll = said("test_nll"), words = said("tokens");
    assert_true(fabs(nll - judged_here("run/model.safetensors")) < 1e-6);
    expect(0, tenon("eval run --file held-out --json --threads 2"));
    assert_true(said("text_nll") == nll && said("tokens") == words && fabs(said("text_ppl") / exp(nll) - 1) < 1e-6);
    expect(0, tenon("eval run --split valid --weights run/checkpoint.safetensors --json"));
    assert_true(said("valid_nll") == nll);
    expect(0, tenon("eval run --file held-out"));
    expect_words(output, "text loss ");
    expect_words(output, " ppl ");
    expect_complaint(1, tenon("eval lm.yaml --file held-out --weights run/model.safetensors"),
                     "--file: a run directory is wanted");
    expect_complaint(1, tenon("eval run --file missing"), "missing");
    write_text("empty", "");
    expect_complaint(1, tenon("eval run --file empty"), "empty: no word follows another");
    expect(0, tenon("train lm.yaml --out judged --quiet --set train.judge=test --set train.epochs=1"));
    json_t *lines = metrics_of("judged"), *last = json_array_get(lines, json_array_size(lines) - 1);
    assert_true(json_object_get(last, "test_ppl") && !json_object_get(last, "valid_ppl"));
    json_decref(lines);
}

/* ---- writing ---- */

static void test_samples(void **state)
{
    static char first[sizeof output];
    (void)state;
    expect(0, tenon("sample run --prompt 'the cats' --length 60 --seed 7"));
    snprintf(first, sizeof first, "%s", output);
    assert_true(strncmp(first, "the cats ", 9) == 0);
    expect(0, tenon("sample run --prompt 'the cats' --length 60 --seed 7 --threads 2"));
    assert_string_equal(output, first);
    expect(0, tenon("sample run --prompt 'the cats' --length 60 --seed 8"));
    assert_true(strcmp(output, first) != 0);
    /* the likeliest of one, and at no temperature */
    expect(0, tenon("sample run/model.safetensors --length 30 --top-k 1"));
    snprintf(first, sizeof first, "%s", output);
    expect(0, tenon("sample run --weights run/model.safetensors --length 30 --temperature 0 --seed 5"));
    assert_string_equal(output, first);
    expect(0, tenon("sample run --prompt 'the unicorns' --length 0"));
    assert_string_equal(output, "the <unk>\n");
    expect_complaint(2, tenon("sample run --temperature warm"), "--temperature: 'warm' is not a number");
    expect_complaint(1, tenon("sample folder"), "folder has no weights yet");
    shell("cp -r run bare && rm bare/dict.txt");
    expect_complaint(1, tenon("sample bare"), "bare/dict.txt");
    expect_complaint(1, tenon("eval bare --file held-out"), "bare/dict.txt");
}

/* ---- what cannot be ---- */

static void test_other_networks_and_damage(void **state)
{
    (void)state;
    expect_complaint(1, tenon("train lm.yaml --out other --set model.name=transformer_lm --set model.dim=8 "
                              "--set model.cutoffs=[]"), "with a state is wanted, this is a Transformer");
    expect_complaint(1, tenon("train lm.yaml --out other --set model.cutoffs=[5,90]"), "cutoff 90; they ascend");
    expect_complaint(1, tenon("train lm.yaml --out other --set data.batch=400"), "lower data.batch or data.steps");
    expect_complaint(1, tenon("train lm.yaml --out other --set model.share=decoder"), "tied is for one matrix");
    expect_complaint(1, tenon("train lm.yaml --out other --set model.name=mlp"), "is wanted, this is a");
    /* a checkpoint of rows of another number, and one without a state */
    expect_complaint(1, tenon("train run --resume --set data.batch=2"), "another config: data.batch: 4 -> 2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_learns),
        cmocka_unit_test(test_murder),
        cmocka_unit_test(test_threads_and_workers_do_not_show),
        cmocka_unit_test(test_the_split_and_its_text_are_judged_alike),
        cmocka_unit_test(test_samples),
        cmocka_unit_test(test_other_networks_and_damage),
    };
    return cmocka_run_group_tests(tests, begin, folder_end);
}
