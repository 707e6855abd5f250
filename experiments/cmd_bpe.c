/* tenon bpe: byte-pair codes learned, applied and undone, as filters of text. */
#include <stdio.h>
#include <string.h>
#include <tenon.h>

#include "cli.h"

static int run_learn(const cli *c)
{
    if (c->n < 2)
        return cli_wrong(c->command, "learn wants FILE..., what to learn from; - is standard input");
    tn_bpe *b = tn_bpe_learn((tn_bpe_args){
        .n = c->n - 1,
        .files = (const char *const *)c->arguments + 1,
        .merges = cli_integer(c, "merges", 10000),
        .least = cli_integer(c, "least", 2),
    });
    if (b)
        tn_bpe_save(b, "-");
    tn_free(b);
    return cli_status();
}

/* Every line of standard input, with codes or, when there are none, without. */
static int filter(const tn_bpe *b)
{
    tn_text out = {0};
    const char *line;
    size_t n;
    tn_lines *l = tn_lines_open("-");
    while (tn_lines_next(l, &line, &n) && (b ? tn_bpe_apply(b, line, n, &out) : tn_bpe_undo(line, n, &out)) &&
           tn_text_add(&out, "\n", 1) && fwrite(out.at, 1, out.len, stdout) == out.len)
        ;
    tn_text_end(&out);
    tn_free(l);
    return cli_status();
}

static int run_apply(const cli *c)
{
    const char *path = cli_text(c, "codes", NULL);
    if (!path || c->n > 1)
        return cli_wrong(c->command, "apply wants --codes FILE, and text on standard input");
    tn_bpe *b = tn_bpe_open(path);
    const int status = b ? filter(b) : FAILED;
    tn_free(b);
    return status;
}

static int run_bpe(const cli *c)
{
    const char *what = c->arguments[0];
    tn_set_threads((int)cli_integer(c, "threads", 0));
    if (strcmp(what, "learn") == 0)
        return run_learn(c);
    if (strcmp(what, "apply") == 0)
        return run_apply(c);
    if (strcmp(what, "undo") == 0)
        return c->n > 1 ? cli_wrong(c->command, "undo wants text on standard input") : filter(NULL);
    return cli_wrong(c->command, "learn, apply or undo is wanted, not '%s'", what);
}

const command command_bpe = {
    .name = "bpe",
    .arguments = "learn|apply|undo [FILE]...",
    .about = "learns byte-pair codes, cuts words into subwords and joins them\n"
             "  tenon bpe learn FILE... >CODES      from tokenised text\n"
             "  tenon bpe apply --codes CODES <IN >OUT\n"
             "  tenon bpe undo <IN >OUT\n"
             "Codes and subwords (foo@@ bar) are subword-nmt's.",
    .least = 1,
    .most = 1000,
    .options = (const option_row[]){
        {"merges", "N", "learn: codes at most (10000)"},
        {"least", "N", "learn: stop when the most frequent pair is rarer (2)"},
        {"codes", "FILE", "apply: the codes"},
        {"threads", "N", "0: as many as the machine has"},
        {NULL, NULL, NULL},
    },
    .run = run_bpe,
};
