/* tenon sample: text written by a language model, a word after the other. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lm_run.h"
#include "setup.h"

typedef struct writer {
    lm_run lm;
    tn_state state;
    double temperature;
    int64_t top;        /* words to choose from; 0: all */
    uint64_t seed;
    int64_t *order;     /* [words]: ids, the likeliest first as far as `top` goes */
    double *weight;     /* [words] */
    bool begun;         /* a word stands on this line */
} writer;

/* ---- choosing ---- */

static const float *sort_by; /* qsort() hands nothing on */

static int by_probability(const void *a, const void *b)
{
    const int64_t i = *(const int64_t *)a, j = *(const int64_t *)b;
    if (sort_by[i] != sort_by[j])
        return sort_by[i] < sort_by[j] ? 1 : -1;
    return (i > j) - (i < j);
}

/* A word by its log-probabilities [words]; the same one for the same seed and place. */
static int32_t choose(const writer *w, const float *log_probs, int64_t words, int64_t place)
{
    uint32_t random[4];
    int64_t n = words, best = 0;
    double sum = 0;
    for (int64_t i = 0; i < words; i++) {
        w->order[i] = i;
        best = log_probs[i] > log_probs[best] ? i : best;
    }
    if (w->temperature == 0)
        return (int32_t)best;
    if (w->top && w->top < words) {
        sort_by = log_probs;
        qsort(w->order, (size_t)words, sizeof *w->order, by_probability);
        n = w->top;
    }
    for (int64_t i = 0; i < n; i++)
        sum += w->weight[i] = exp((double)(log_probs[w->order[i]] - log_probs[best]) / w->temperature);
    tn_random(w->seed, 0, (uint64_t)place, random);
    double left = sum * ((random[0] + (double)random[1] * 0x1p-32) * 0x1p-32);
    for (int64_t i = 0; i < n; i++)
        if ((left -= w->weight[i]) < 0)
            return (int32_t)w->order[i];
    return (int32_t)w->order[0]; /* rounding left a crumb */
}

/* ---- writing ---- */

static void put(writer *w, int32_t id)
{
    if (id == tn_dictionary_eos(w->lm.dictionary)) {
        putchar('\n');
        w->begun = false;
        return;
    }
    printf("%s%s", w->begun ? " " : "", tn_dictionary_word(w->lm.dictionary, id));
    w->begun = true;
    fflush(stdout);
}

/* What a text begins with: the end of a line before it, and the words of the prompt. */
static bool read_prompt(writer *w, const char *prompt, tn_ids *ids)
{
    tn_ids words = {0};
    bool good = tn_ids_add(ids, tn_dictionary_eos(w->lm.dictionary)) &&
                tn_dictionary_encode(w->lm.dictionary, prompt, strlen(prompt), &words);
    for (int64_t i = 0; good && i + 1 < words.len; i++)
        good = tn_ids_add(ids, words.at[i]);
    tn_ids_end(&words);
    return good;
}

static bool write_words(writer *w, const tn_ids *prompt, int64_t length)
{
    const int64_t words = tn_dictionary_len(w->lm.dictionary);
    int32_t last = 0;
    for (int64_t i = 1; i < prompt->len; i++)
        put(w, prompt->at[i]);
    for (int64_t place = 0; place < length && tn_ok(); place++)
        TN_SCOPE {
            tn_tensor *x = place ? tn_from(&last, TN_I32, TN_SHAPE(1, 1))
                                 : tn_from(prompt->at, TN_I32, TN_SHAPE(prompt->len, 1));
            tn_tensor *next = tn_lm_next(w->lm.net, tn_on(x, tn_device_of(w->state.h)), &w->state);
            float *log_probs = next ? malloc((size_t)words * sizeof *log_probs) : NULL;
            if (next && !log_probs)
                tn_fail(TN_ENOMEM, "sample: no memory for %lld probabilities", (long long)words);
            if (log_probs && tn_read_f32(next, log_probs))
                put(w, last = choose(w, log_probs, words, place));
            free(log_probs);
        }
    if (w->begun)
        putchar('\n');
    return tn_ok();
}

static bool write_text(writer *w, const char *prompt, int64_t length)
{
    const size_t words = (size_t)tn_dictionary_len(w->lm.dictionary);
    tn_ids ids = {0};
    bool good = false;
    w->order = calloc(words, sizeof *w->order);
    w->weight = calloc(words, sizeof *w->weight);
    if (!w->order || !w->weight)
        tn_fail(TN_ENOMEM, "sample: no memory for %zu words", words);
    TN_SCOPE TN_NO_GRAD {
        w->state = tn_lm_state(w->lm.net, 1);
        good = tn_ok() && read_prompt(w, prompt, &ids) && write_words(w, &ids, length);
    }
    tn_ids_end(&ids);
    free(w->order);
    free(w->weight);
    return good;
}

static int run_sample(const cli *c)
{
    config cfg;
    char dir[RUN_PATH], weights[RUN_PATH], run_dir[CONFIG_TEXT], *end = NULL;
    char *argument = dir;
    cli args = *c;
    const char *temperature = cli_text(c, "temperature", "1");
    writer w = {.temperature = strtod(temperature, &end), .top = cli_integer(c, "top-k", 0)};
    args.arguments = &argument;
    if (!*temperature || *end || !(w.temperature >= 0 && isfinite(w.temperature)))
        return cli_wrong(c->command, "--temperature: '%s' is not a number from 0 on", temperature);
    if (!setup_weights(c, dir, weights) || !setup_config(&cfg, &args, run_dir))
        return FAILED;
    w.seed = (uint64_t)cli_integer(c, "seed", cfg.top.seed);
    if (lm_run_open(&w.lm, &cfg, dir, weights))
        write_text(&w, cli_text(c, "prompt", ""), cli_integer(c, "length", 100));
    lm_run_close(&w.lm);
    return cli_status();
}

const command command_sample = {
    .name = "sample",
    .arguments = "RUN|WEIGHTS",
    .about = "writes text with a language model\n"
             "RUN is the directory of a run, or a file of weights in one.  Each word is drawn\n"
             "from the probabilities that the model gives it after those before; the end of a\n"
             "sentence ends a line.  The same seed writes the same text.",
    .least = 1,
    .most = 1,
    .options = (const option_row[]){
        {"prompt", "TEXT", "to go on from; words that the dictionary lacks become <unk>"},
        {"length", "N", "words and ends of lines to write, 100"},
        {"temperature", "X", "log-probabilities are divided by it, 1; 0: always the likeliest word"},
        {"top-k", "N", "draw from the N likeliest words; 0, the default: from all"},
        {"seed", "N", "of the draws; the run's own"},
        {"weights", "FILE", "a safetensors file instead of the run's best"},
        SETUP_OPTIONS,
        {NULL, NULL, NULL},
    },
    .run = run_sample,
};
