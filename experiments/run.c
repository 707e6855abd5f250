/* See run.h. */
#define _GNU_SOURCE
#include "run.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "events.h"

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

/* ---- one process at a time ---- */

/* The kernel gives the lock back however the process ends. */
static bool lock(run *r)
{
    char path[RUN_PATH], text[24] = "";
    r->lock = open(run_path(r, "lock", path), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (r->lock < 0) {
        tn_fail(TN_EIO, "%s: %s; --out DIR puts the run elsewhere", path, strerror(errno));
        return false;
    }
    if (flock(r->lock, LOCK_EX | LOCK_NB) == 0) {
        const int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
        if (ftruncate(r->lock, 0) != 0 || pwrite(r->lock, text, (size_t)n, 0) != n)
            tn_fail(TN_EIO, "%s: cannot be written: %s", path, strerror(errno));
        return tn_ok();
    }
    if (errno != EWOULDBLOCK)
        tn_fail(TN_EIO, "%s: cannot be locked: %s", path, strerror(errno));
    else if (pread(r->lock, text, sizeof text - 1, 0) >= 0)
        tn_fail(TN_ESTATE, "%s is in use by process %ld; wait for it, stop it with kill -INT %ld, "
                "or use another directory with --out DIR", r->dir, atol(text), atol(text));
    return false;
}

/* ---- what lies in it ---- */

static bool left_by_a_kill(const char *name)
{
    return tn_match("*.safetensors.tmp-*", name) || tn_match("config.yaml.tmp-*", name) ||
           tn_match("dict*.txt.tmp-*", name);
}

static bool belongs_to_run(const char *name)
{
    static const char *const patterns[] = {"metrics.jsonl", "histograms.jsonl", "log.txt",
                                           "environment.json", "events.out.tfevents.*",
                                           "*.safetensors", "*.safetensors.damaged"};
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
        if (tn_match(patterns[i], name))
            return true;
    return left_by_a_kill(name);
}

static bool remove_files(const run *r, bool (*chosen)(const char *name))
{
    char path[RUN_PATH];
    DIR *d = opendir(r->dir);
    if (!d)
        tn_fail(TN_EIO, "%s: %s", r->dir, strerror(errno));
    for (struct dirent *e; d && (e = readdir(d));)
        if (chosen(e->d_name) && unlinkat(dirfd(d), e->d_name, 0) != 0)
            tn_fail(TN_EIO, "%s: cannot be removed: %s", run_path(r, e->d_name, path),
                    strerror(errno));
    if (d)
        closedir(d);
    return tn_ok();
}

/* config.yaml says that there is a run, so it goes last. */
static bool remove_run(const run *r)
{
    char path[RUN_PATH];
    if (!remove_files(r, belongs_to_run))
        return false;
    if (unlink(run_path(r, "config.yaml", path)) != 0)
        tn_fail(TN_EIO, "%s: cannot be removed: %s", path, strerror(errno));
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
    r->lock = -1;
    if (strlen(dir) >= sizeof r->dir) {
        tn_fail(TN_EARG, "%.40s...: this path is too long", dir);
        return false;
    }
    strcpy(r->dir, dir);
    if (!make_directory(dir) || !lock(r))
        return false;
    const bool holds_one = access(run_path(r, "config.yaml", path), F_OK) == 0;
    if (holds_one && mode == RUN_NEW) {
        tn_fail(TN_ESTATE, "%s holds a run; --resume goes on with it, --force starts it over, "
                "--out DIR puts this one elsewhere", dir);
        return false;
    }
    if (holds_one && mode == RUN_FORCE ? !remove_run(r) : !remove_files(r, left_by_a_kill))
        return false;
    r->log = append_to(r, "log.txt");
    r->metrics = append_to(r, "metrics.jsonl");
    return r->log && r->metrics;
}

bool run_close(run *r)
{
    FILE *const files[] = {r->log, r->metrics, r->events};
    for (int i = 0; i < 3; i++) {
        const bool failed = files[i] && ferror(files[i]);
        if (files[i] && ((fclose(files[i]) != 0) | failed))
            tn_fail(TN_EIO, "%s: log or metrics cannot be written: %s", r->dir, strerror(errno));
    }
    r->log = r->metrics = r->events = NULL;
    if (r->lock >= 0)
        close(r->lock);
    r->lock = -1;
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
    events_line(r->events, line);
    if (!json_print_line(line, r->metrics) || fflush(r->metrics) != 0)
        tn_fail(TN_EIO, "%s/metrics.jsonl cannot be written: %s", r->dir, strerror(errno));
}

bool run_metrics_sync(run *r)
{
    if (fflush(r->metrics) != 0 || fsync(fileno(r->metrics)) != 0)
        tn_fail(TN_EIO, "%s/metrics.jsonl cannot be written: %s", r->dir, strerror(errno));
    return tn_ok();
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
