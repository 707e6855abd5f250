/* tenon translate: raw text in one language from standard input or a file, translated line by line. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "run.h"
#include "setup.h"
#include "translate.h"

enum { CHUNK = 4096 }; /* lines read before they are translated, longest first */

typedef struct job {
    translate_args how;
    tn_codec *source, *target;
    bool tokenized, detokenize, columns;
    int64_t first;  /* line number of the chunk's first, from 0 */
    tn_ids *lines;  /* [CHUNK]; .len 0: an empty line */
    tn_text *out;   /* [CHUNK]: what is printed for each */
} job;

/* ---- one line ---- */

static bool put(tn_text *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool put(tn_text *out, const char *fmt, ...)
{
    char text[64];
    va_list args;
    va_start(args, fmt);
    const int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return tn_text_add(out, text, (size_t)n);
}

static bool put_words(const job *j, const tn_hypothesis *h, tn_text *out)
{
    tn_text words = {0}, plain = {0};
    bool good = tn_codec_decode(j->target, h->ids, h->n, &words);
    if (good && j->detokenize)
        good = tn_codec_detokenize(j->target, words.at, words.len, &plain);
    const tn_text *text = j->detokenize ? &plain : &words;
    good = good && tn_text_add(out, text->at, text->len);
    tn_text_end(&words);
    tn_text_end(&plain);
    return good;
}

/* The words; in columns: line number, score, words, and with --align the source position of each word piece. */
static bool write_line(void *arg, int64_t line, const tn_hypotheses *found, int64_t sentence)
{
    const job *j = arg;
    tn_text *out = &j->out[line];
    const tn_hypothesis *h;
    for (int k = 0; (h = tn_hypothesis_at(found, sentence, k)); k++) {
        if (j->columns && !put(out, "%lld\t%.4f\t", (long long)(j->first + line + 1), h->score))
            return false;
        if (!put_words(j, h, out))
            return false;
        for (int64_t i = 0; h->align && i + 1 < h->n; i++)
            if (!put(out, "%s%d-%lld", i ? " " : "\t", h->align[i], (long long)i))
                return false;
        if (!put(out, "\n"))
            return false;
    }
    return true;
}

/* ---- all lines ---- */

/* Reads up to `most` lines into j->lines; their number, -1 on an error. */
static int64_t read_lines(job *j, tn_lines *from, int64_t most)
{
    const char *line;
    size_t size;
    int64_t n = 0;
    while (n < most && tn_lines_next(from, &line, &size)) {
        const bool good = j->tokenized ? tn_codec_encode_tokens(j->source, line, size, &j->lines[n])
                                       : tn_codec_encode(j->source, line, size, &j->lines[n]);
        if (!good)
            return -1;
        if (j->lines[n].len > TN_POSITIONS)
            return tn_fail(TN_EARG, "line %lld has %lld words; %d are possible, split it",
                           (long long)tn_lines_count(from), (long long)j->lines[n].len, TN_POSITIONS), -1;
        j->out[n++].len = 0;
    }
    return tn_ok() ? n : -1;
}

static bool print_lines(const job *j, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        if (j->out[i].len)
            fwrite(j->out[i].at, 1, j->out[i].len, stdout);
        else if (!j->columns)
            putchar('\n');
    }
    return fflush(stdout) == 0 || tn_fail(TN_EIO, "standard output cannot be written");
}

/* A person at a terminal is answered line by line. */
static bool translate_all(job *j, const char *path)
{
    const int64_t chunk = strcmp(path, "-") == 0 && isatty(STDIN_FILENO) ? 1 : CHUNK;
    tn_lines *from = tn_lines_open(path);
    j->lines = calloc(CHUNK, sizeof *j->lines);
    j->out = calloc(CHUNK, sizeof *j->out);
    bool good = from && ((j->lines && j->out) || tn_fail(TN_ENOMEM, "translate: no memory for %d lines", CHUNK));
    for (int64_t n = 1; good && n > 0; j->first += n) {
        n = read_lines(j, from, chunk);
        good = n >= 0 && (!n || (translate(&j->how, n, j->lines, write_line, j) && print_lines(j, n)));
    }
    for (int i = 0; j->lines && j->out && i < CHUNK; i++) {
        tn_ids_end(&j->lines[i]);
        tn_text_end(&j->out[i]);
    }
    free(j->lines);
    free(j->out);
    tn_free(from);
    return good;
}

/* ---- the run ---- */

static tn_module *load(const config *cfg, const char *weights, const job *j)
{
    tn_module *net = j->source && j->target
                         ? setup_model_of_words(cfg, tn_dictionary_len(tn_codec_dictionary(j->source)),
                                                tn_dictionary_len(tn_codec_dictionary(j->target)), stderr)
                         : NULL;
    if (net && setup_load(net, weights)) {
        tn_eval(net);
        return net;
    }
    tn_free(net);
    return NULL;
}

static bool number(const cli *c, const char *option, double otherwise, double *out)
{
    const char *text = cli_text(c, option, NULL);
    char *end = NULL;
    *out = text ? strtod(text, &end) : otherwise;
    return !text || (*text && !*end) || tn_fail(TN_EARG, "--%s: '%s' is not a number", option, text);
}

static bool read_options(const cli *c, job *j)
{
    tn_beam_args *b = &j->how.search;
    double lenpen;
    if (!number(c, "lenpen", 1, &lenpen) || !number(c, "max-len-a", 0, &b->max_a))
        return false;
    b->lenpen = lenpen == 0 ? TN_ZERO : lenpen;
    b->beam = (int)cli_integer(c, "beam", 5);
    if (b->beam < 1)
        return tn_fail(TN_EARG, "--beam %d: one hypothesis at least is followed", b->beam), false;
    b->best = (int)cli_integer(c, "best", 1);
    b->max_b = cli_integer(c, "max-len-b", 200);
    b->align = cli_has(c, "align");
    j->how.batch = cli_integer(c, "batch", 64);
    j->tokenized = cli_has(c, "tokenized");
    j->detokenize = cli_has(c, "detokenize");
    j->columns = b->best > 1 || b->align || cli_has(c, "scores");
    return true;
}

static int run_translate(const cli *c)
{
    config cfg;
    job j = {.first = 0};
    char dir[RUN_PATH], weights[RUN_PATH], run_dir[CONFIG_TEXT], from[16], to[16];
    char *argument = dir;
    cli args = *c;
    args.arguments = &argument;
    if (!read_options(c, &j) || !setup_weights(c, dir, weights) || !setup_config(&cfg, &args, run_dir) ||
        !tn_codec_languages(dir, from, to))
        return FAILED;
    j.source = tn_codec_open(dir, *cfg.data.source ? cfg.data.source : from);
    j.target = tn_codec_open(dir, *cfg.data.target ? cfg.data.target : to);
    j.how.net = load(&cfg, weights, &j);
    if (j.how.net)
        translate_all(&j, cli_text(c, "src", "-"));
    tn_free(j.how.net, j.source, j.target);
    return cli_status();
}

const command command_translate = {
    .name = "translate",
    .arguments = "RUN|WEIGHTS",
    .about = "translates text, a sentence a line\n"
             "RUN is the directory of a translation run, or a file of weights in one.  Text is\n"
             "raw: it is tokenised, cased and split as the training text was; an empty line\n"
             "stays empty.  With --best, --scores or --align each line is: number, score, words\n"
             "and alignment, parted by tabs.",
    .least = 1,
    .most = 1,
    .options = (const option_row[]){
        {"src", "FILE", "what to translate; - (the default) is standard input"},
        {"beam", "N", "hypotheses followed, 5; 1 is greedy search"},
        {"lenpen", "X", "a hypothesis counts sum of log-probabilities / length^X; 1"},
        {"max-len-a", "X", "at most X times the source's length"},
        {"max-len-b", "N", "and N more; 0 and 200"},
        {"best", "N", "print the N best of each line, 1"},
        {"scores", NULL, "print the score of each"},
        {"align", NULL, "print for each word piece the source piece it attended to most"},
        {"tokenized", NULL, "the text is tokenised and cased already"},
        {"detokenize", NULL, "print text as people write it"},
        {"batch", "N", "sentences translated together, 64"},
        {"weights", "FILE", "a safetensors file instead of the run's best"},
        SETUP_OPTIONS,
        {NULL, NULL, NULL},
    },
    .run = run_translate,
};
