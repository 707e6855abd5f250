/* See score_run.h. */
#include "score_run.h"

#include <stdlib.h>

#include "run.h"
#include "stop.h"
#include "translate.h"

typedef struct scoring {
    tn_codec *source, *target;
    int64_t n, room;
    tn_ids *lines;   /* [n] of the source */
    tn_text *words;  /* [n]: their translations */
} scoring;

static bool keep_words(void *arg, int64_t line, const tn_hypotheses *found, int64_t sentence)
{
    const scoring *s = arg;
    const tn_hypothesis *h = tn_hypothesis_at(found, sentence, 0);
    return !stop_asked() && h && tn_codec_decode(s->target, h->ids, h->n, &s->words[line]);
}

static bool read_source(scoring *s, const char *path)
{
    tn_lines *from = tn_lines_open(path);
    const char *line;
    size_t size;
    bool good = from;
    while (good && tn_lines_next(from, &line, &size)) {
        if (s->n == s->room) {
            const int64_t room = s->room ? 2 * s->room : 1024;
            tn_ids *more = realloc(s->lines, (size_t)room * sizeof *more);
            if (!more) {
                good = tn_fail(TN_ENOMEM, "%s: no memory for %lld lines", path, (long long)room);
                break;
            }
            s->lines = more;
            s->room = room;
        }
        s->lines[s->n] = (tn_ids){0};
        good = tn_codec_encode_tokens(s->source, line, size, &s->lines[s->n++]);
    }
    tn_free(from);
    s->words = good ? calloc((size_t)s->n + 1, sizeof *s->words) : NULL;
    return tn_ok() && (s->words || tn_fail(TN_ENOMEM, "%s: no memory for %lld lines", path, (long long)s->n));
}

static bool compare(const scoring *s, const char *path, double *bleu)
{
    tn_lines *from = tn_lines_open(path);
    tn_bleu b = {.tokens = TN_BLEU_NONE};
    const char *line;
    size_t size;
    int64_t i = 0;
    bool good = from;
    for (; good && tn_lines_next(from, &line, &size); i++)
        good = i < s->n && tn_bleu_add(&b, s->words[i].at ? s->words[i].at : "", s->words[i].len, 1, &line, &size);
    if (tn_ok() && i != s->n)
        tn_fail(TN_EFORMAT, "%s: line %lld: the other language has %lld lines", path, (long long)i, (long long)s->n);
    tn_free(from);
    *bleu = tn_bleu_score(&b);
    return tn_ok();
}

bool translate_score(const config *c, const char *run_dir, tn_module *net, double *bleu)
{
    char room[TN_DATA_PATH], path[TN_DATA_PATH + 32], from[16], to[16];
    const char *folder = tn_data_path(c->data.root, room);
    scoring s = {.n = 0};
    if (!net || !tn_codec_languages(run_dir, from, to))
        return false;
    const char *source = *c->data.source ? c->data.source : from, *target = *c->data.target ? c->data.target : to;
    s.source = tn_codec_open(run_dir, source);
    s.target = tn_codec_open(run_dir, target);
    const bool was = net->training;
    tn_eval(net);
    snprintf(path, sizeof path, "%.*s/test.%.15s", TN_DATA_PATH - 1, folder, source);
    bool good = s.source && s.target && read_source(&s, path) &&
                translate(&(translate_args){.net = net}, s.n, s.lines, keep_words, &s);
    snprintf(path, sizeof path, "%.*s/test.%.15s", TN_DATA_PATH - 1, folder, target);
    good = good && compare(&s, path, bleu);
    if (was)
        tn_train(net);
    for (int64_t i = 0; i < s.n; i++) {
        tn_ids_end(&s.lines[i]);
        if (s.words)
            tn_text_end(&s.words[i]);
    }
    free(s.lines);
    free(s.words);
    tn_free(s.source, s.target);
    return good;
}
