/* For tests of the `tenon` program from outside: running it in the test's folder, and what it said. */
#ifndef TN_TESTS_PROGRAM_H
#define TN_TESTS_PROGRAM_H

#include <sys/wait.h>

#include "files.h"

static char output[1 << 16], errors[1 << 14];

static inline void read_whole(const char *path, char *text, size_t room)
{
    FILE *f = fopen(path, "r");
    const size_t n = f ? fread(text, 1, room - 1, f) : 0;
    text[n] = 0;
    if (f)
        fclose(f);
}

/* Runs `tenon ARGUMENTS` in the folder; its exit status, with `output` and `errors` filled. */
__attribute__((format(printf, 1, 2))) static inline int tenon(const char *fmt, ...)
{
    char arguments[2048], command[4096];
    const char *bin = getenv("TENON_BIN");
    va_list args;
    va_start(args, fmt);
    vsnprintf(arguments, sizeof arguments, fmt, args);
    va_end(args);
    snprintf(command, sizeof command, "cd %s && '%s' %s >out 2>err", folder, bin ? bin : TN_PROGRAM,
             arguments);
    const int status = system(command);
    read_whole(in_folder("out"), output, sizeof output);
    read_whole(in_folder("err"), errors, sizeof errors);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static inline void expect(int wanted, int status)
{
    if (status != wanted)
        fail_msg("exit status %d, not %d; standard error: %s", status, wanted, errors);
}

static inline void expect_words(const char *text, const char *words)
{
    if (!strstr(text, words))
        fail_msg("no '%s' in: %s", words, text);
}

/* Exit status, and one line on standard error with the words. */
static inline void expect_complaint(int wanted, int status, const char *words)
{
    expect(wanted, status);
    expect_words(errors, words);
    const char *end = strchr(errors, '\n');
    if (!end || end[1])
        fail_msg("not one line: %s", errors);
}

static inline void write_text(const char *name, const char *text)
{
    FILE *f = fopen(in_folder(name), "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static inline bool exists(const char *name) { return access(in_folder(name), F_OK) == 0; }

static inline bool same_files(const char *a, const char *b)
{
    char command[700];
    snprintf(command, sizeof command, "cmp -s %s %s", in_folder(a), in_folder(b));
    return system(command) == 0;
}

#endif
