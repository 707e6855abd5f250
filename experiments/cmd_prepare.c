/* tenon prepare: folders of translation data and of running text, out of archives and plain text. */
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

/* Tokens and lines of the shards of a split; how many of them there are. */
static int count_shards(const char *folder, const char *split, int64_t *lines, int64_t *tokens)
{
    char path[RUN_PATH];
    int n = 0;
    *lines = *tokens = 0;
    for (;; n++) {
        if (snprintf(path, sizeof path, "%s/%s.%05d.tok", folder, split, n + 1) >= (int)sizeof path ||
            access(path, F_OK) != 0)
            return n;
        tn_tokens *t = tn_tokens_open(path);
        *lines += tn_tokens_sentences(t);
        *tokens += tn_tokens_len(t);
        tn_free(t);
    }
}

static void tell_stream(const char *folder, bool as_json)
{
    char path[RUN_PATH];
    snprintf(path, sizeof path, "%s/dict.txt", folder);
    tn_dictionary *d = tn_dictionary_open_ranked(path);
    const int64_t words = tn_dictionary_len(d);
    tn_free(d);
    json_t *all = json_object();
    for (int i = 0; i < SPLITS; i++) {
        int64_t lines, tokens;
        const int n = count_shards(folder, splits[i], &lines, &tokens);
        if (n == 0)
            continue;
        if (!as_json)
            printf("%-6s%6d shards  %10lld lines  %11lld tokens\n", splits[i], n, (long long)lines, (long long)tokens);
        json_object_set_new(all, splits[i], json_pack("{s:i,s:I,s:I}", "shards", n, "lines", (json_int_t)lines,
                                                      "tokens", (json_int_t)tokens));
    }
    if (!as_json)
        printf("dictionary  %lld words\n", (long long)words);
    json_object_set_new(all, "dictionary", json_integer((json_int_t)words));
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

typedef enum kind { PARALLEL, IWSLT14, WMT16, TEXT, LM1B, KINDS } kind;
static const struct { const char *name; bool stream; } kinds[KINDS] = {
    [PARALLEL] = {"parallel", false}, [IWSLT14] = {"iwslt14", false}, [WMT16] = {"wmt16", false},
    [TEXT] = {"text", true},          [LM1B] = {"lm1b", true},
};

/* ---- translation ---- */

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
    return k == IWSLT14 ? tn_prepare_iwslt14(c->arguments[1], args)
           : k == WMT16 ? tn_prepare_wmt16(c->arguments[1], args)
                        : tn_prepare(args);
}

static int run_pairs(kind k, const cli *c, shown *s)
{
    tn_prepare_args args = {.progress = show, .arg = s};
    const char **file[SPLITS] = {args.train, args.valid, args.test};
    char *memory[SPLITS] = {0};
    int status = DONE;
    if (cli_has(c, "skip-blank"))
        return cli_wrong(c->command, "--skip-blank is for text alone");
    if (!read_ratio(c, &args.ratio))
        return cli_wrong(c->command, "--ratio wants a number from 1 on, not '%s'", cli_text(c, "ratio", ""));
    for (int i = 0; status == DONE && i < SPLITS; i++)
        if (!two_files(c, splits[i], file[i], &memory[i]))
            status = cli_wrong(c->command, "--%s wants two files, source and target, with a comma between", splits[i]);
    if (status == DONE && prepare(k, c, args))
        tell(c->arguments[c->n - 1], cli_has(c, "json"));
    for (int i = 0; i < SPLITS; i++)
        free(memory[i]);
    return status;
}

/* ---- running text ---- */

typedef struct files {
    int n;
    const char **name; /* [n], to be freed */
    tn_text text;      /* of the names, to be ended */
} files;

/* All that the uses of an option name, with commas between. */
static bool file_list(const cli *c, const char *option, files *f)
{
    const char *given;
    bool ok = true;
    for (int i = 0; ok && (given = cli_each(c, option, i)); i++)
        ok = (i == 0 || tn_text_add(&f->text, ",", 1)) && tn_text_add(&f->text, given, strlen(given));
    f->name = malloc((f->text.len + 1) * sizeof *f->name);
    if (!f->name)
        return tn_fail(TN_ENOMEM, "prepare: no memory for file names"), false;
    for (char *at = f->text.at, *comma; ok && at; at = comma ? comma + 1 : NULL) {
        f->name[f->n++] = at;
        if ((comma = strchr(at, ',')))
            *comma = 0;
    }
    return ok;
}

static int run_stream(kind k, const cli *c, shown *s)
{
    static const char *const others[] = {"source", "target", "tokenized", "keep-case", "joined", "merges", "code",
                                         "no-bpe", "longest", "ratio", "train"};
    files f[SPLITS] = {{0}}; /* of options: valid and test */
    const int64_t given = cli_integer(c, "threshold", -1), threshold = given < 0 ? 0 : given == 0 ? -1 : given;
    bool ok = true;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (cli_has(c, others[i]))
            return cli_wrong(c->command, "--%s is for translation, not for %s", others[i], kinds[k].name);
    for (int i = 1; ok && i < SPLITS; i++)
        ok = file_list(c, splits[i], &f[i]);
    const tn_prepare_stream_args args = {
        .dest = c->arguments[c->n - 1], .n_train = k == TEXT ? c->n - 2 : 0, .n_valid = f[1].n, .n_test = f[2].n,
        .train = (const char *const *)c->arguments + 1, .valid = f[1].name, .test = f[2].name,
        .threshold = threshold, .skip_blank = cli_has(c, "skip-blank"), .progress = show, .arg = s,
    };
    if (ok && (k == LM1B ? tn_prepare_lm1b(c->arguments[1], args) : tn_prepare_stream(args)))
        tell_stream(args.dest, cli_has(c, "json"));
    for (int i = 1; i < SPLITS; i++) {
        free(f[i].name);
        tn_text_end(&f[i].text);
    }
    return DONE;
}

static int run_prepare(const cli *c)
{
    shown s = {.quiet = cli_has(c, "quiet"), .terminal = isatty(STDERR_FILENO)};
    kind k = 0;
    while (k < KINDS && strcmp(c->arguments[0], kinds[k].name) != 0)
        k++;
    if (k == KINDS)
        return cli_wrong(c->command, "parallel, iwslt14, wmt16, text or lm1b is wanted, not '%s'", c->arguments[0]);
    if (c->n < 3 && k != PARALLEL)
        return cli_wrong(c->command, "%s wants %s and DEST", kinds[k].name, k == TEXT ? "FILE..." : "ARCHIVE");
    if (c->n > 3 && k != TEXT)
        return cli_wrong(c->command, "%s wants ARCHIVE and DEST, and no more", kinds[k].name);
    if (c->n != 2 && k == PARALLEL)
        return cli_wrong(c->command, "parallel wants DEST alone; files are --train's and its like");
    tn_set_threads((int)cli_integer(c, "threads", 0));
    const int status = kinds[k].stream ? run_stream(k, c, &s) : run_pairs(k, c, &s);
    show_end(&s);
    return status == DONE ? cli_status() : status;
}

const command command_prepare = {
    .name = "prepare",
    .arguments = "KIND [ARCHIVE|FILE...] DEST",
    .about = "makes a folder of translation data, or of running text for language models\n"
             "  tenon prepare iwslt14 de-en.tgz DEST                 German-English of IWSLT'14\n"
             "  tenon prepare wmt16 wmt16_en_de.tar.gz DEST          Google's English-German\n"
             "  tenon prepare parallel DEST --source de --target en --train a.de,a.en\n"
             "Tokenises as Moses, lower-cases, leaves out pairs that are no good for training, learns\n"
             "and applies BPE, counts dictionaries and writes ids.\n"
             "  tenon prepare lm1b 1-billion-word-...-r13output.tar.gz DEST     One Billion Word\n"
             "  tenon prepare text ptb.train.txt DEST --valid ptb.valid.txt --test ptb.test.txt\n"
             "Counts the words, ranks them with </s> and <unk> among them, and writes ids, a shard a file.\n"
             "An archive may be a folder unpacked from it, and text gzipped.  A run that was stopped\n"
             "goes on where it was: give the same line again.",
    .least = 2,
    .most = 1 << 20,
    .options = (const option_row[]){
        {"source", "CODE", "language to translate from: de"},
        {"target", "CODE", "language to translate to: en"},
        {"train", "A,B", "parallel: files of source and target, a sentence a line"},
        {"valid", "A,B", "parallel: for validation; without, every 23rd pair of train; text: shards, repeatable"},
        {"test", "A,B", "for the test, likewise"},
        {"tokenized", NULL, "parallel: the text is tokenised already"},
        {"keep-case", NULL, "no lower-casing"},
        {"joined", NULL, "one dictionary for both languages"},
        {"merges", "N", "BPE codes to learn, of both languages together (10000)"},
        {"code", "FILE", "BPE codes to use instead"},
        {"no-bpe", NULL, "words as they are"},
        {"threshold", "N", "words that come fewer times become <unk> (0); text, lm1b: at most so often (0, 3)"},
        {"skip-blank", NULL, "text: leave out lines without a word, as lm1b does, not an end of sentence each"},
        {"longest", "N", "words of a training sentence at most (175)"},
        {"ratio", "X", "of the longer to the shorter side at most (1.5)"},
        {"threads", "N", "0: as many as the machine has"},
        {"quiet", NULL, "no progress"},
        {"json", NULL, "counts as one JSON object"},
        {NULL, NULL, NULL},
    },
    .run = run_prepare,
};
