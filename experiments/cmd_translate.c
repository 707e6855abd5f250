/* tenon translate: raw text in one language from standard input or a file, translated line by line. */
#define _GNU_SOURCE
#include <libgen.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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
