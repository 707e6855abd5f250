/* tenon prepare: folders of translation data out of archives and plain text. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tenon.h>
#include <unistd.h>

#include "cli.h"
#include "progress.h"
#include "run.h"

/* ---- progress ---- */

typedef struct shown {
    bool quiet, terminal;
    char what[64];
    double drawn;
} shown;

/* A line that is redrawn on a terminal; elsewhere one line a step. */
static bool show(void *arg, const char *what, double share)
{
    shown *s = arg;
    const bool next = strcmp(what, s->what) != 0, done = strcmp(what, "done") == 0;
    const double now = now_seconds();
    if (s->quiet || (!next && (!s->terminal || now - s->drawn < 0.1)))
        return true;
    snprintf(s->what, sizeof s->what, "%s", what);
    s->drawn = now;
    if (s->terminal)
        fprintf(stderr, done ? "\r\033[K" : "\r\033[K%s  %3.0f %%", what, 100 * share);
    else if (!done)
        fprintf(stderr, "%s\n", what);
    return true;
}

static void show_end(const shown *s)
{
    if (s->terminal && !s->quiet)
        fputs("\r\033[K", stderr);
}

/* ---- what came out ---- */

static const char *const splits[] = {"train", "valid", "test"};
enum { SPLITS = 3 };

/* Sentences and ids of a file; -1 sentences when there is none. */
static int64_t count_ids(const char *folder, const char *split, const char *lang, int64_t *ids)
{
    char path[RUN_PATH];
    *ids = 0;
    if (snprintf(path, sizeof path, "%s/%s.%s.tok", folder, split, lang) >= (int)sizeof path ||
        access(path, F_OK) != 0)
        return -1;
    tn_tokens *t = tn_tokens_open(path);
    const int64_t n = t ? tn_tokens_sentences(t) : -1;
    *ids = t ? tn_tokens_len(t) : 0;
    tn_free(t);
    return n;
}

static int64_t dictionary_len(const char *folder, const char *lang)
{
    tn_codec *c = tn_codec_open(folder, lang);
    const int64_t n = c ? tn_dictionary_len(tn_codec_dictionary(c)) : 0;
    tn_free(c);
    return n;
}

static void tell(const char *folder, bool as_json)
{
    char lang[2][16];
    json_t *all = json_object();
    if (!tn_codec_languages(folder, lang[0], lang[1])) {
        json_decref(all);
        return;
    }
    for (int i = 0; i < SPLITS; i++) {
        int64_t ids[2];
        const int64_t n = count_ids(folder, splits[i], lang[0], &ids[0]);
        if (n < 0 || count_ids(folder, splits[i], lang[1], &ids[1]) != n)
            continue;
        if (!as_json)
            printf("%-6s%10lld pairs  %11lld ids of %s  %11lld of %s\n", splits[i], (long long)n, (long long)ids[0],
                   lang[0], (long long)ids[1], lang[1]);
        json_object_set_new(all, splits[i], json_pack("{s:I,s:[I,I]}", "pairs", (json_int_t)n, "ids",
                                                      (json_int_t)ids[0], (json_int_t)ids[1]));
    }
    const int64_t n[2] = {dictionary_len(folder, lang[0]), dictionary_len(folder, lang[1])};
    if (!as_json)
        printf("dictionaries  %s %lld  %s %lld\n", lang[0], (long long)n[0], lang[1], (long long)n[1]);
    json_object_set_new(all, "languages", json_pack("[s,s]", lang[0], lang[1]));
    json_object_set_new(all, "dictionaries", json_pack("[I,I]", (json_int_t)n[0], (json_int_t)n[1]));
    if (as_json)
        json_print_line(all, stdout);
    else
        json_decref(all);
}

/* ---- what is asked for ---- */

/* "a.de,a.en" of an option cut in two, in memory to be freed; false when it is not of that form. */
static bool two_files(const cli *c, const char *option, const char *file[2], char **memory)
{
    const char *text = cli_text(c, option, NULL);
    char *copy = text ? strdup(text) : NULL, *comma = copy ? strchr(copy, ',') : NULL;
    *memory = copy;
    if (!text)
        return true;
    if (!comma || comma == copy || !comma[1] || strchr(comma + 1, ','))
        return false;
    *comma = 0;
    file[0] = copy;
    file[1] = comma + 1;
    return true;
}

static bool read_ratio(const cli *c, double *ratio)
{
    const char *text = cli_text(c, "ratio", "1.5");
    char *end;
    *ratio = strtod(text, &end);
    return end != text && !*end && *ratio >= 1;
}

typedef enum kind { PARALLEL, IWSLT14, WMT16, KINDS } kind;
static const char *const kinds[KINDS] = {"parallel", "iwslt14", "wmt16"};

static bool prepare(kind k, const cli *c, tn_prepare_args args)
{
    args.dest = c->arguments[c->n - 1];
    args.source = cli_text(c, "source", NULL);
    args.target = cli_text(c, "target", NULL);
    args.tokenized = cli_has(c, "tokenized");
    args.keep_case = cli_has(c, "keep-case");
    args.joined = cli_has(c, "joined");
    args.code = cli_text(c, "code", NULL);
    args.merges = cli_has(c, "no-bpe") ? -1 : cli_integer(c, "merges", 0);
    args.threshold = cli_integer(c, "threshold", 0);
    args.longest = cli_integer(c, "longest", 0);
    tn_set_threads((int)cli_integer(c, "threads", 0));
    return k == IWSLT14 ? tn_prepare_iwslt14(c->arguments[1], args)
           : k == WMT16 ? tn_prepare_wmt16(c->arguments[1], args)
                        : tn_prepare(args);
}

static int run_prepare(const cli *c)
{
    static const char *const pairs[SPLITS] = {"train", "valid", "test"};
    shown s = {.quiet = cli_has(c, "quiet"), .terminal = isatty(STDERR_FILENO)};
    tn_prepare_args args = {.progress = show, .arg = &s};
    const char **file[SPLITS] = {args.train, args.valid, args.test};
    char *memory[SPLITS] = {0};
    kind k = 0;
    int status = DONE;
    while (k < KINDS && strcmp(c->arguments[0], kinds[k]) != 0)
        k++;
    if (k == KINDS)
        return cli_wrong(c->command, "%s, %s or %s is wanted, not '%s'", kinds[0], kinds[1], kinds[2], c->arguments[0]);
    if (c->n != (k == PARALLEL ? 2 : 3))
        return cli_wrong(c->command, k == PARALLEL ? "parallel wants DEST alone; files are --train's and its like"
                                                   : "%s wants ARCHIVE and DEST", kinds[k]);
    if (!read_ratio(c, &args.ratio))
        return cli_wrong(c->command, "--ratio wants a number from 1 on, not '%s'", cli_text(c, "ratio", ""));
    for (int i = 0; status == DONE && i < SPLITS; i++)
        if (!two_files(c, pairs[i], file[i], &memory[i]))
            status = cli_wrong(c->command, "--%s wants two files, source and target, with a comma between", pairs[i]);
    if (status == DONE && prepare(k, c, args))
        tell(c->arguments[c->n - 1], cli_has(c, "json"));
    show_end(&s);
    for (int i = 0; i < SPLITS; i++)
        free(memory[i]);
    return status == DONE ? cli_status() : status;
}

const command command_prepare = {
    .name = "prepare",
    .arguments = "KIND [ARCHIVE] DEST",
    .about = "makes a folder of translation data\n"
             "  tenon prepare iwslt14 de-en.tgz DEST                 German-English of IWSLT'14\n"
             "  tenon prepare wmt16 wmt16_en_de.tar.gz DEST          Google's English-German\n"
             "  tenon prepare parallel DEST --source de --target en --train a.de,a.en\n"
             "Tokenises as Moses, lower-cases, leaves out pairs that are no good for training, learns\n"
             "and applies BPE, counts dictionaries and writes ids.  An archive may be a folder unpacked\n"
             "from it, and text gzipped.  A run that was stopped goes on where it was: give the same\n"
             "line again.",
    .least = 2,
    .most = 3,
    .options = (const option_row[]){
        {"source", "CODE", "language to translate from: de"},
        {"target", "CODE", "language to translate to: en"},
        {"train", "A,B", "parallel: files of source and target, a sentence a line"},
        {"valid", "A,B", "parallel: for validation; without, every 23rd pair of train"},
        {"test", "A,B", "parallel: for the test"},
        {"tokenized", NULL, "parallel: the text is tokenised already"},
        {"keep-case", NULL, "no lower-casing"},
        {"joined", NULL, "one dictionary for both languages"},
        {"merges", "N", "BPE codes to learn, of both languages together (10000)"},
        {"code", "FILE", "BPE codes to use instead"},
        {"no-bpe", NULL, "words as they are"},
        {"threshold", "N", "words that come fewer times become <unk> (0)"},
        {"longest", "N", "words of a training sentence at most (175)"},
        {"ratio", "X", "of the longer to the shorter side at most (1.5)"},
        {"threads", "N", "0: as many as the machine has"},
        {"quiet", NULL, "no progress"},
        {"json", NULL, "counts as one JSON object"},
        {NULL, NULL, NULL},
    },
    .run = run_prepare,
};
