/* The sticky error of each thread, and where it happened.  See include/tenon/error.h. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

static _Thread_local tn_err current;
static _Thread_local struct {
    const char *file;
    int line;
} caller;

enum { PATH_DEPTH = 64 };
static _Thread_local const char *path[PATH_DEPTH];
static _Thread_local int depth;

static tn_error_handler *handler = tn_print_error;
static void *handler_arg;
static _Thread_local bool quiet;

const tn_err *tn_error(void) { return &current; }
bool tn_ok(void) { return current.code == TN_OK; }
void tn_error_clear(void) { current = (tn_err){.code = TN_OK}; }

const char *tn_code_text(tn_code code)
{
    static const char *const text[] = {
#define X(id, words) [TN_##id] = words,
        TN_CODES(X)
#undef X
    };
    return (size_t)code < sizeof text / sizeof *text ? text[code] : "unknown error";
}

void tn__at(const char *file, int line)
{
    caller.file = file;
    caller.line = line;
}

void tn_on_error(tn_error_handler *h, void *arg)
{
    handler = h;
    handler_arg = arg;
}

void tn_error_quiet(bool q) { quiet = q; }

bool tn__error_quiet(bool q)
{
    const bool was = quiet;
    quiet = q;
    return was;
}

void tn_print_error(const tn_err *e, void *arg)
{
    (void)arg;
    if (e->file)
        fprintf(stderr, "tenon: %s:%d: %s\n", e->file, e->line, e->text);
    else
        fprintf(stderr, "tenon: %s\n", e->text);
}

void tn__path_push(const char *name)
{
    if (depth < PATH_DEPTH)
        path[depth] = name;
    depth++;
}

void tn__path_pop(void)
{
    if (depth > 0)
        depth--;
}

static void append_path(char *text, size_t size)
{
    const char *join = " in ";
    for (int i = 0; i < depth && i < PATH_DEPTH; i++) {
        const size_t n = strlen(text);
        if (!path[i])
            continue;
        snprintf(text + n, size - n, "%s%s", join, path[i]);
        join = ".";
    }
}

void *tn_fail_as(const tn_err *e)
{
    if (!e || e->code == TN_OK || current.code != TN_OK)
        return NULL;
    current = *e;
    if (handler && !quiet)
        handler(&current, handler_arg);
    return NULL;
}

void *tn_fail(tn_code code, const char *fmt, ...)
{
    if (current.code != TN_OK)
        return NULL;
    tn_err e = {.code = code, .file = caller.file, .line = caller.line};
    va_list args;
    va_start(args, fmt);
    vsnprintf(e.text, sizeof e.text, fmt, args);
    va_end(args);
    append_path(e.text, sizeof e.text);
    return tn_fail_as(&e);
}
