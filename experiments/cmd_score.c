/* tenon score: BLEU of translations against references. */
#include <stdio.h>
#include <string.h>
#include <tenon.h>

#include "cli.h"
#include "run.h"

enum { MOST_FILES = 17 };

/* The hypothesis and its references, read a line at a time. */
typedef struct files {
    int n;
    char *const *path;
    tn_lines *lines[MOST_FILES];
    tn_text line[MOST_FILES];
} files;

static bool files_open(files *f)
{
    bool ok = true;
    for (int i = 0; ok && i < f->n; i++)
        ok = (f->lines[i] = tn_lines_open(f->path[i])) != NULL;
    return ok;
}

static void files_close(files *f)
{
    for (int i = 0; i < f->n; i++) {
        tn_free(f->lines[i]);
        tn_text_end(&f->line[i]);
    }
}

static const char *name_of(const files *f, int i)
{
    return strcmp(f->path[i], "-") == 0 ? "standard input" : f->path[i];
}

/* The next line of one of them; false at its end, and on an error. */
static bool next_of(files *f, int i)
{
    const char *line;
    size_t n;
    f->line[i].len = 0;
    return tn_lines_next(f->lines[i], &line, &n) && tn_text_add(&f->line[i], line, n);
}

/* Some have ended and others not: how many lines each has, of the first that differs from the hypothesis. */
static void tell_counts(files *f)
{
    for (int i = 0; i < f->n; i++)
        while (next_of(f, i))
            ;
    for (int i = 1; i < f->n; i++)
        if (tn_lines_count(f->lines[i]) != tn_lines_count(f->lines[0])) {
            tn_fail(TN_EARG, "%s has %lld lines, %s %lld: each translation wants its reference in the same line",
                    name_of(f, 0), (long long)tn_lines_count(f->lines[0]), name_of(f, i),
                    (long long)tn_lines_count(f->lines[i]));
            return;
        }
}

/* One line of each; false at the end of all, and on an error. */
static bool files_next(files *f)
{
    int there = 0;
    for (int i = 0; i < f->n; i++)
        there += next_of(f, i);
    if (there > 0 && there < f->n && tn_ok())
        tell_counts(f);
    return there == f->n && tn_ok();
}

static bool add_line(tn_bleu *b, const files *f)
{
    const char *ref[MOST_FILES];
    size_t n[MOST_FILES];
    for (int i = 1; i < f->n; i++) {
        ref[i - 1] = f->line[i].at;
        n[i - 1] = f->line[i].len;
    }
    return tn_bleu_add(b, f->line[0].at, f->line[0].len, f->n - 1, ref, n);
}

/* Counts all lines into `b`; with `each` the scores of single lines go there, or are printed when it is no array. */
static void count_all(files *f, tn_bleu *b, json_t *each)
{
    while (files_next(f)) {
        tn_bleu one = {.tokens = b->tokens, .lowercase = b->lowercase};
        if (!add_line(b, f) || (each && !add_line(&one, f)))
            return;
        if (json_is_array(each))
            json_array_append_new(each, json_real(tn_bleu_sentence(&one)));
        else if (each)
            printf("%.4f\n", tn_bleu_sentence(&one));
    }
    if (tn_ok() && tn_lines_count(f->lines[0]) == 0)
        tn_fail(TN_EARG, "%s has no lines to score", name_of(f, 0));
}

static double percent(int64_t part, int64_t of) { return of ? 100 * (double)part / (double)of : 0; }

/* In multi-bleu.perl's words, and what was counted in sacrebleu's. */
static void print_text(const tn_bleu *b, int refs)
{
    char signature[TN_BLEU_SIGNATURE];
    printf("BLEU = %.2f, ", tn_bleu_score(b));
    for (int k = 0; k < 4; k++)
        printf("%.1f%s", percent(b->match[k], b->total[k]), k < 3 ? "/" : "");
    printf(" (BP=%.3f, ratio=%.3f, hyp_len=%lld, ref_len=%lld)\n%s\n", tn_bleu_brevity(b),
           percent(b->hyp_len, b->ref_len) / 100, (long long)b->hyp_len, (long long)b->ref_len,
           tn_bleu_signature(b, refs, signature));
}

static json_t *integers(const int64_t n[4])
{
    return json_pack("[I,I,I,I]", (json_int_t)n[0], (json_int_t)n[1], (json_int_t)n[2], (json_int_t)n[3]);
}

static void print_json(const tn_bleu *b, int refs, json_t *each)
{
    char signature[TN_BLEU_SIGNATURE];
    json_t *all = json_pack("{s:f,s:f,s:I,s:I,s:o,s:o,s:s}", "bleu", tn_bleu_score(b), "brevity_penalty",
                            tn_bleu_brevity(b), "hyp_len", (json_int_t)b->hyp_len, "ref_len", (json_int_t)b->ref_len,
                            "match", integers(b->match), "total", integers(b->total), "signature",
                            tn_bleu_signature(b, refs, signature));
    if (each)
        json_object_set(all, "sentences", each);
    json_print_line(all, stdout);
}

static int run_score(const cli *c)
{
    const char *tokens = cli_text(c, "tokenize", "none");
    const bool sentence = cli_has(c, "sentence"), as_json = cli_has(c, "json");
    files f = {.n = c->n, .path = c->arguments};
    int standard = 0;
    for (int i = 0; i < c->n; i++)
        standard += strcmp(c->arguments[i], "-") == 0;
    if (strcmp(tokens, "none") != 0 && strcmp(tokens, "13a") != 0)
        return cli_wrong(c->command, "--tokenize wants none or 13a, not '%s'", tokens);
    if (standard > 1)
        return cli_wrong(c->command, "only one file can be -, standard input");
    tn_bleu b = {.tokens = strcmp(tokens, "13a") == 0 ? TN_BLEU_13A : TN_BLEU_NONE,
                 .lowercase = cli_has(c, "lowercase")};
    json_t *each = !sentence ? NULL : as_json ? json_array() : json_true();
    if (files_open(&f))
        count_all(&f, &b, each);
    files_close(&f);
    if (tn_ok() && as_json)
        print_json(&b, f.n - 1, each);
    else if (tn_ok() && !sentence)
        print_text(&b, f.n - 1);
    json_decref(each);
    return cli_status();
}

const command command_score = {
    .name = "score",
    .arguments = "HYP REF...",
    .about = "BLEU of translations\n"
             "HYP has a translation a line, each REF its reference in the same line; one of them may\n"
             "be -, and files may be gzipped.  With --tokenize none words are what spaces part, as for\n"
             "multi-bleu.perl and fairseq: give it tokenised text, subwords joined.  13a is for plain\n"
             "text, as for sacrebleu.  Nothing is smoothed, so that the score is 0 when no four words\n"
             "match; --sentence adds one to the counts of 2 to 4 words.",
    .least = 2,
    .most = MOST_FILES,
    .options = (const option_row[]){
        {"tokenize", "HOW", "none (the default) or 13a"},
        {"lowercase", NULL, "compare in lower case"},
        {"sentence", NULL, "a score for each line instead of one for all"},
        {"json", NULL, "one JSON object; with --sentence both"},
        {NULL, NULL, NULL},
    },
    .run = run_score,
};
