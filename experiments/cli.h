/* Subcommands and their options: one row is one option, from which parsing and --help come.
 *
 * A subcommand is a `command` in a file of its own (cmd_train.c ...), listed once in main.c. */
#ifndef TENON_CLI_H
#define TENON_CLI_H

#include <stdbool.h>
#include <stdint.h>

/* Exit statuses.  FAILED: the library's error is set and main prints it. */
enum { DONE = 0, FAILED = 1, WRONG_USAGE = 2 };

typedef struct option_row {
    const char *name;
    const char *value; /* NULL: a switch; "N": a whole number >= 0; else how --help calls it */
    const char *help;
} option_row;

typedef struct cli cli;
typedef struct command {
    const char *name, *arguments, *about;
    int least, most;          /* arguments wanted */
    const option_row *options; /* ends with a NULL name; --help is added */
    int (*run)(const cli *c);
} command;

/* What was given. */
struct cli {
    const command *command;
    int n;
    char **arguments;           /* [n] */
    int given;
    struct { const option_row *option; const char *value; } *options; /* [given], in order */
};

bool cli_has(const cli *c, const char *option);
const char *cli_text(const cli *c, const char *option, const char *otherwise); /* the last given */
int64_t cli_integer(const cli *c, const char *option, int64_t otherwise);
/* The i-th use of a repeatable option, NULL after the last. */
const char *cli_each(const cli *c, const char *option, int i);

/* Prints "tenon NAME: text" and how to get help to standard error; returns WRONG_USAGE. */
int cli_wrong(const command *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* FAILED when the library's error is set, else DONE. */
int cli_status(void);

/* Parses, answers --help, runs. */
int cli_run(const command *c, int argc, char **argv);

#endif
