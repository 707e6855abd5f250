/* See run.h. */
#define _GNU_SOURCE
#include "run.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

bool make_directory(const char *path)
{
    char part[RUN_PATH];
    snprintf(part, sizeof part, "%s", path);
    for (char *slash = part; slash; *slash = '/') {
        slash = strchr(slash + 1, '/');
        if (slash)
            *slash = 0;
        if (mkdir(part, 0777) != 0 && errno != EEXIST) {
            tn_fail(TN_EIO, "%s: cannot be made: %s", part, strerror(errno));
            return false;
        }
        if (!slash)
            break;
    }
    return true;
}

const char *run_path(const run *r, const char *file, char path[RUN_PATH])
{
    snprintf(path, RUN_PATH, "%s/%s", r->dir, file);
    return path;
}

static bool belongs_to_run(const char *name)
{
    return strcmp(name, "config.yaml") == 0 || strcmp(name, "metrics.jsonl") == 0 ||
           strcmp(name, "log.txt") == 0 || tn_match("*.safetensors", name);
}

static bool remove_run(const run *r)
{
    char path[RUN_PATH];
    DIR *d = opendir(r->dir);
    if (!d)
        tn_fail(TN_EIO, "%s: %s", r->dir, strerror(errno));
    for (struct dirent *e; d && (e = readdir(d));)
        if (belongs_to_run(e->d_name) && unlinkat(dirfd(d), e->d_name, 0) != 0)
            tn_fail(TN_EIO, "%s: cannot be removed: %s", run_path(r, e->d_name, path),
                    strerror(errno));
    if (d)
        closedir(d);
    return tn_ok();
}

static FILE *append_to(const run *r, const char *file)
{
    char path[RUN_PATH];
    FILE *f = fopen(run_path(r, file, path), "a");
    return f ? f : tn_fail(TN_EIO, "%s: %s", path, strerror(errno));
}

bool run_open(run *r, const char *dir, run_mode mode)
{
    char path[RUN_PATH];
    if (strlen(dir) >= sizeof r->dir) {
        tn_fail(TN_EARG, "%.40s...: this path is too long", dir);
        return false;
    }
    strcpy(r->dir, dir);
    const bool holds_one = access(run_path(r, "config.yaml", path), F_OK) == 0;
    if (holds_one && mode == RUN_NEW) {
        tn_fail(TN_ESTATE, "%s holds a run; --resume goes on with it, --force starts it over, "
                "--out DIR puts this one elsewhere", dir);
        return false;
    }
    if (!make_directory(dir) || (holds_one && mode == RUN_FORCE && !remove_run(r)))
        return false;
    r->log = append_to(r, "log.txt");
    r->metrics = append_to(r, "metrics.jsonl");
    return r->log && r->metrics;
}

bool run_close(run *r)
{
    FILE *const files[] = {r->log, r->metrics};
    for (int i = 0; i < 2; i++) {
        const bool failed = files[i] && ferror(files[i]);
        if (files[i] && ((fclose(files[i]) != 0) | failed))
            tn_fail(TN_EIO, "%s: log or metrics cannot be written: %s", r->dir, strerror(errno));
    }
    r->log = r->metrics = NULL;
    return tn_ok();
}

void run_say(run *r, const char *fmt, ...)
{
    char when[32];
    va_list args;
    const time_t now = time(NULL);
    struct tm parts;
    strftime(when, sizeof when, "%F %T", localtime_r(&now, &parts));
    fprintf(r->log, "%s ", when);
    va_start(args, fmt);
    vfprintf(r->log, fmt, args);
    va_end(args);
    fputc('\n', r->log);
    fflush(r->log);
    if (r->quiet)
        return;
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
}

json_t *json_number(double value) { return isfinite(value) ? json_real(value) : json_null(); }

bool json_print_line(json_t *object, FILE *out)
{
    const bool good = object && json_dumpf(object, out, JSON_COMPACT | JSON_REAL_PRECISION(9)) == 0;
    fputc('\n', out);
    json_decref(object);
    return good;
}

void run_metric(run *r, json_t *line)
{
    if (!json_print_line(line, r->metrics) || fflush(r->metrics) != 0)
        tn_fail(TN_EIO, "%s/metrics.jsonl cannot be written: %s", r->dir, strerror(errno));
}

int64_t run_metrics_size(const run *r)
{
    struct stat s;
    return fstat(fileno(r->metrics), &s) == 0 ? (int64_t)s.st_size : 0;
}

void run_metrics_cut(run *r, int64_t size)
{
    if (size <= run_metrics_size(r) && ftruncate(fileno(r->metrics), (off_t)size) != 0)
        tn_fail(TN_EIO, "%s/metrics.jsonl: %s", r->dir, strerror(errno));
}
