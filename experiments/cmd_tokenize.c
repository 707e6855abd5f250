/* tenon tokenize, tenon detokenize: lines from standard input to standard output. */
#include <stdio.h>
#include <tenon.h>

#include "cli.h"

typedef bool change_line(const tn_tokenizer *t, const char *line, size_t n, tn_text *out);

/* Stops without a word when nobody reads on; main() tells when the output fails otherwise. */
static int filter(const cli *c, change_line *change, bool lowercase)
{
    tn_tokenizer *t = tn_tokenizer(cli_text(c, "lang", NULL), .aggressive = cli_has(c, "aggressive"),
                                   .no_escape = cli_has(c, "no-escape"));
    tn_lines *lines = t ? tn_lines_open(NULL) : NULL;
    tn_text changed = {0}, lowered = {0};
    const char *line;
    size_t n;
    while (tn_lines_next(lines, &line, &n) && change(t, line, n, &changed)) {
        const tn_text *out = &changed;
        if (lowercase) {
            if (!tn_lowercase(changed.at, changed.len, &lowered))
                break;
            out = &lowered;
        }
        if (fwrite(out->at, 1, out->len, stdout) != out->len || putchar('\n') == EOF)
            break;
    }
    tn_text_end(&changed);
    tn_text_end(&lowered);
    tn_free(lines, t);
    return cli_status();
}

static int run_tokenize(const cli *c)
{
    if (!cli_has(c, "lang"))
        return cli_wrong(c->command, "--lang is wanted: de, en or another language's code");
    return filter(c, tn_tokenize, cli_has(c, "lowercase"));
}

static int run_detokenize(const cli *c)
{
    if (!cli_has(c, "lang"))
        return cli_wrong(c->command, "--lang is wanted: de, en or another language's code");
    return filter(c, tn_detokenize, false);
}

#define LANG {"lang", "CODE", "language of the text: de, en; others have no abbreviations"}

const command command_tokenize = {
    .name = "tokenize",
    .arguments = "--lang CODE",
    .about = "splits text into tokens as Moses does\n"
             "Lines are read from standard input, plain or gzip, and written to standard output, in\n"
             "the same order: spaces between tokens, and what Moses escapes escaped (&quot;).",
    .least = 0,
    .most = 0,
    .options = (const option_row[]){
        LANG,
        {"aggressive", NULL, "hyphens between letters or digits become tokens, @-@"},
        {"no-escape", NULL, "& | < > ' \" [ ] stay as they are"},
        {"lowercase", NULL, "in lower case"},
        {NULL, NULL, NULL},
    },
    .run = run_tokenize,
};

const command command_detokenize = {
    .name = "detokenize",
    .arguments = "--lang CODE",
    .about = "joins tokens to text again, as Moses does\n"
             "Lines are read from standard input, plain or gzip, and written to standard output, in\n"
             "the same order; escapes (&quot;) become what they stand for.",
    .least = 0,
    .most = 0,
    .options = (const option_row[]){
        LANG,
        {NULL, NULL, NULL},
    },
    .run = run_detokenize,
};
