/* See cli.h.  getopt_long does the parsing; the nearest option is named when one is unknown. */
#include "cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tenon.h>

enum { MOST_OPTIONS = 32 };

static const option_row help_row = {"help", NULL, "print this"};

bool cli_has(const cli *c, const char *option) { return cli_each(c, option, 0) != NULL; }

const char *cli_each(const cli *c, const char *option, int i)
{
    for (int k = 0; k < c->given; k++)
        if (strcmp(c->options[k].option->name, option) == 0 && i-- == 0)
            return c->options[k].value;
    return NULL;
}

const char *cli_text(const cli *c, const char *option, const char *otherwise)
{
    for (int k = c->given - 1; k >= 0; k--)
        if (strcmp(c->options[k].option->name, option) == 0)
            return c->options[k].value;
    return otherwise;
}

int64_t cli_integer(const cli *c, const char *option, int64_t otherwise)
{
    const char *text = cli_text(c, option, NULL);
    return text ? strtoll(text, NULL, 10) : otherwise;
}

int cli_wrong(const command *c, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    fprintf(stderr, "tenon %s: %s; see tenon %s --help\n", c->name, text, c->name);
    return WRONG_USAGE;
}

int cli_status(void) { return tn_ok() ? DONE : FAILED; }

static const option_row *option_at(const command *c, int i)
{
    int n = 0;
    while (c->options[n].name)
        n++;
    return i < n ? &c->options[i] : i == n ? &help_row : NULL;
}

static void print_help(const command *c)
{
    const option_row *o;
    printf("usage: tenon %s%s%s [OPTION]...\n%s\n\n", c->name, *c->arguments ? " " : "",
           c->arguments, c->about);
    for (int i = 0; (o = option_at(c, i)); i++) {
        const int n = printf("  --%s%s%s", o->name, o->value ? " " : "", o->value ? o->value : "");
        printf("%*s%s\n", n < 24 ? 24 - n : 1, "", o->help);
    }
    printf("\nExit status: 0 done, 1 failed, 2 wrong usage.\n");
}

static int unknown_option(const command *c, const char *given)
{
    const char *names[MOST_OPTIONS + 1];
    const option_row *o;
    char word[64];
    int n = 0;
    for (; (o = option_at(c, n)); n++)
        names[n] = o->name;
    const char *start = given + strspn(given, "-");
    snprintf(word, sizeof word, "%.*s", (int)strcspn(start, "="), start);
    return cli_wrong(c, "there is no option %s; did you mean --%s?", given,
                     tn_nearest(word, names, n));
}

static bool whole_number(const char *text)
{
    char *end;
    errno = 0;
    const long long v = strtoll(text, &end, 10);
    return end != text && !*end && !errno && v >= 0;
}

/* Options and arguments into `out`; DONE, or WRONG_USAGE with the line printed. */
static int parse(const command *c, int argc, char **argv, cli *out)
{
    struct option table[MOST_OPTIONS + 2] = {{0}};
    const option_row *o;
    for (int i = 0; (o = option_at(c, i)); i++)
        table[i] = (struct option){o->name, o->value != NULL, NULL, 'a' + i};
    opterr = 0;
    optind = 0; /* also forgets an earlier parse */
    for (int found; (found = getopt_long(argc, argv, ":", table, NULL)) != -1;) {
        const char *given = argv[optind - 1];
        if (found == '?')
            return unknown_option(c, given);
        if (found == ':')
            return cli_wrong(c, "%s wants a value", given);
        o = option_at(c, found - 'a');
        if (o->value && strcmp(o->value, "N") == 0 && !whole_number(optarg))
            return cli_wrong(c, "--%s wants a whole number, not '%s'", o->name, optarg);
        out->options[out->given].option = o;
        out->options[out->given++].value = o->value ? optarg : "";
    }
    out->arguments = argv + optind;
    out->n = argc - optind;
    return DONE;
}

int cli_run(const command *c, int argc, char **argv)
{
    cli given = {.command = c};
    given.options = calloc((size_t)argc + 1, sizeof *given.options);
    if (!given.options) {
        tn_fail(TN_ENOMEM, "no memory");
        return FAILED;
    }
    int status = parse(c, argc, argv, &given);
    if (status == DONE && cli_has(&given, "help"))
        print_help(c);
    else if (status == DONE && given.n < c->least)
        status = cli_wrong(c, "%s is wanted", c->arguments);
    else if (status == DONE && given.n > c->most)
        status = cli_wrong(c, "'%s' is one argument too many", given.arguments[c->most]);
    else if (status == DONE)
        status = c->run(&given);
    free(given.options);
    return status;
}
