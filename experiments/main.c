/* The `tenon` program: one row of `commands` is one subcommand, in a file of its own (cmd_NAME.c).
 * Options are cli.h's business; what a run is, config.h's. */
#include <stdio.h>
#include <string.h>
#include <tenon.h>

#include "cli.h"

#define COMMANDS(X)                                                                              \
    X(prepare) X(train) X(suite) X(eval) X(sample) X(translate) X(score) X(average) X(plot) X(report)      \
    X(simulate) X(convert) X(tokenize) X(detokenize) X(bpe) X(bench) X(info)

#define DECLARE(name) extern const command command_##name;
COMMANDS(DECLARE)

#define POINTER(name) &command_##name,
static const command *const commands[] = {COMMANDS(POINTER)};
enum { COUNT = sizeof commands / sizeof *commands };

static void help(FILE *out)
{
    fputs("usage: tenon COMMAND [ARGUMENT]... [OPTION]...\n\n", out);
    for (int i = 0; i < COUNT; i++) {
        const int n = fprintf(out, "  %s %s", commands[i]->name, commands[i]->arguments);
        const int first_line = (int)strcspn(commands[i]->about, "\n");
        fprintf(out, "%*s%.*s\n", n < 26 ? 26 - n : 1, "", first_line, commands[i]->about);
    }
    fputs("\ntenon COMMAND --help tells the options; tenon --version the version.\n", out);
}

static int wrong_command(const char *given)
{
    const char *names[COUNT];
    for (int i = 0; i < COUNT; i++)
        names[i] = commands[i]->name;
    fprintf(stderr, "tenon: there is no command '%s'; did you mean '%s'?  See tenon --help\n",
            given, tn_nearest(given, names, COUNT));
    return WRONG_USAGE;
}

static int run(int argc, char **argv)
{
    if (argc < 2) {
        fputs("tenon: a command is wanted; see tenon --help\n", stderr);
        return WRONG_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0) {
        help(stdout);
        return DONE;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("tenon %s\n", tn_version());
        return DONE;
    }
    for (int i = 0; i < COUNT; i++)
        if (strcmp(argv[1], commands[i]->name) == 0)
            return cli_run(commands[i], argc - 1, argv + 1);
    return wrong_command(argv[1]);
}

int main(int argc, char **argv)
{
    tn_on_error(NULL, NULL);
    int status = run(argc, argv);
    if (status == DONE && (fflush(stdout) != 0 || ferror(stdout))) {
        tn_fail(TN_EIO, "standard output cannot be written");
        status = FAILED;
    }
    if (status == FAILED)
        fprintf(stderr, "tenon: %s\n", tn_error()->text);
    return status;
}
