/* The program itself on the emulated CUDA device: runs of each task learn as on the CPU, are killed and go on to the same
 * bits as if nothing had happened, and are judged. */
#define _GNU_SOURCE
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "../runs.h"

/* ---- data: sentences of a small grammar, in two languages ---- */

static void write_sentences(const char *name, uint64_t seed, int n)
{
    static const char *const nouns[][2] = {{"katzen", "cats"}, {"hunde", "dogs"}, {"fische", "fish"}};
    static const char *const verbs[][2] = {{"sehen", "see"}, {"fressen", "eat"}};
    static const char *const the[] = {"die", "the"}, *const ending[] = {"de", "en"};
    for (int language = 0; language < 2; language++) {
        char path[64];
        snprintf(path, sizeof path, "%s.%s", name, ending[language]);
        FILE *f = fopen(in_folder(path), "w");
        assert_non_null(f);
        for (int i = 0; i < n; i++) {
            uint32_t r[4];
            tn_random(seed, 0, (uint64_t)i, r);
            fprintf(f, "%s %s %s", the[language], nouns[r[0] % 3][language], verbs[r[1] % 2][language]);
            if (r[2] % 3)
                fprintf(f, " %s %s", the[language], nouns[r[3] % 3][language]);
            fputs(" .\n", f);
        }
        assert_int_equal(fclose(f), 0);
    }
}

#define RUN "train: {log_every: 3, clip_norm: 1, checkpoint_every: 2 steps, epochs: 2, epoch_checkpoints: 0}\n" \
            "device: {name: cuda, threads: 1}\n"

static int begin(void **state)
{
    static const char images[] = "name: images\nmodel: {name: mlp, classes: 10, hidden: 6, layers: 1}\n"
                                 "data: {name: shapes, count: 40, test_count: 12, batch: 8, workers: 1, augment: flip}\n"
                                 "optim: {name: sgd, lr: 0.01, momentum: 0.9}\n" RUN;
    static const char text[] = "name: text\nmodel: {name: lstm_lm, dim: 6, hidden: 6, dropout: 0.1, share: decoder}\n"
                               "data: {name: text, root: text, batch: 3, steps: 4, test_steps: 5, workers: 0}\n"
                               "optim: {name: adam, lr: 0.04}\nschedule: {name: cosine, per: update}\n" RUN;
    static const char words[] = "name: words\nmodel: {name: lstm_lm, dim: 6, hidden: 8, dropout: 0.1, cutoffs: [4]}\n"
                                "data: {name: text, root: text, batch: 3, steps: 12, test_steps: 5, workers: 0}\n"
                                "optim: {name: radam, lr: 0.04}\n" RUN;
    static const char pairs[] = "name: pairs\nmodel: {name: transformer, dim: 8, ffn: 12, heads: 2, encoder_layers: 1,\n"
                                "  decoder_layers: 1, dropout: 0.1}\n"
                                "data: {name: pairs, root: pairs, source: de, target: en, max_tokens: 40, workers: 0}\n"
                                "optim: {name: radam, lr: 0.02}\n" RUN;
    const int status = folder_begin(state);
    if (status)
        return status;
    setenv("TN_CUDA_MODULE", TN_STAND_IN, 1);
    put_file("images.yaml", images, strlen(images));
    put_file("text.yaml", text, strlen(text));
    put_file("words.yaml", words, strlen(words));
    put_file("pairs.yaml", pairs, strlen(pairs));
    write_sentences("train", 1, 24);
    write_sentences("held", 2, 6);
    expect(0, tenon("prepare text train.en text --valid held.en --test held.en"));
    expect(0, tenon("prepare parallel pairs --source de --target en --merges 20 --train train.de,train.en "
                    "--valid held.de,held.en --test held.de,held.en"));
    return 0;
}

/* ---- runs ---- */

static double last_loss(const char *run)
{
    json_t *lines = metrics_of(run), *last = json_array_get(lines, json_array_size(lines) - 1);
    const double loss = json_number_value(json_object_get(last, "train_loss"));
    json_decref(lines);
    return loss;
}

/* After its first checkpoint. */
static void kill_run(const char *arguments, const char *run)
{
    char path[64];
    struct stat there;
    snprintf(path, sizeof path, "%s/checkpoint.safetensors", run);
    const pid_t child = start("", arguments);
    for (int i = 0; i < 6000 && stat(in_folder(path), &there) != 0; i++)
        usleep(10000);
    kill(child, SIGKILL);
    finish(child);
    assert_int_equal(stat(in_folder(path), &there), 0);
}

static void live_and_die(const char *task, const char *more)
{
    char whole[32], victim[32], arguments[512];
    snprintf(whole, sizeof whole, "%s-whole", task);
    snprintf(victim, sizeof victim, "%s-victim", task);
    expect(0, tenon("train %s.yaml --quiet --out %s %s", task, whole, more));
    snprintf(arguments, sizeof arguments, "train %s.yaml --quiet --out %s %s", task, victim, more);
    kill_run(arguments, victim);
    expect(0, tenon("%s --resume", arguments));
    shell("cmp %s/model.safetensors %s/model.safetensors", whole, victim);
    json_t *a = metrics_of(whole), *b = metrics_of(victim);
    assert_true(json_array_size(a) > 2 && json_equal(a, b));
    json_decref(a);
    json_decref(b);
    expect(0, tenon("train %s.yaml --quiet --out %s-cpu --device cpu %s", task, task, more));
    snprintf(victim, sizeof victim, "%s-cpu", task);
    const double cuda = last_loss(whole), cpu = last_loss(victim);
    print_message("%s: loss %.7f, on the CPU %.7f\n", task, cuda, cpu);
    assert_true(fabs(cuda / cpu - 1) < 1e-4);
    expect(0, tenon("eval %s --device cuda", whole));
    shell("! grep -q 'op by op' %s/log.txt", whole);
}

static void runs_of_images(void **state)
{
    (void)state;
    live_and_die("images", "");
}

static void runs_of_text(void **state)
{
    (void)state;
    live_and_die("text", "");
}

static void runs_with_an_adaptive_softmax(void **state)
{
    (void)state;
    live_and_die("words", "");
}

static void runs_of_pairs(void **state)
{
    (void)state;
    live_and_die("pairs", "--set train.update_freq=2");
}

/* The loss of any batch is looked at, though later. */
static void a_loss_that_is_not_a_number(void **state)
{
    (void)state;
    expect(1, tenon("train images.yaml --quiet --out nan --set optim.lr=1e30 --set train.clip_norm=0"));
    expect_words(errors, "the loss is not a number; a lower optim.lr may help");
}

/* A layer of somebody's that looks at a value costs speed, and is told. */
static void a_step_that_is_not_recorded(void **state)
{
    static const char plugin[] =
        "#include <tenon.h>\n"
        "static tn_tensor *look(tn_module *m, int n, tn_tensor *const *x)\n"
        "{\n"
        "    (void)m, (void)n, tn_item(tn_sum(x[0], TN_ALL, false));\n"
        "    return x[0];\n"
        "}\n"
        "static const tn_module_class looks = {.name = \"Looks\", .size = sizeof(tn_module), .forward = look};\n"
        "static tn_module *make(const tn_model_spec *s)\n"
        "{\n"
        "    tn_module *last = tn_linear(s->in[0] * s->in[1] * s->in[2], s->classes);\n"
        "    return tn_seq(tn_flatten_layer(), tn_module_new(&looks), last);\n"
        "}\n"
        "bool tenon_plugin(void) { return tn_register_model(\"looks\", make); }\n";
    (void)state;
    put_file("looks.c", plugin, strlen(plugin));
    shell("cc -std=gnu11 -shared -fPIC -I" TN_SOURCE_DIR "/include looks.c -o looks.so");
    expect(0, tenon("train images.yaml --out looks --plugin ./looks.so --set model.name=looks"));
    expect_words(output, "op by op: copy: the host and cuda:0 meet here, which cannot be recorded");
    expect_words(strstr(output, "op by op"), "done: ");
    assert_null(strstr(strstr(output, "op by op") + 1, "op by op"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_of_images),
        cmocka_unit_test(runs_of_text),
        cmocka_unit_test(runs_with_an_adaptive_softmax),
        cmocka_unit_test(runs_of_pairs),
        cmocka_unit_test(a_loss_that_is_not_a_number),
        cmocka_unit_test(a_step_that_is_not_recorded),
    };
    return cmocka_run_group_tests(tests, begin, folder_end);
}
