/* For tests of runs: the program in the background, which may be killed, and comparing what runs leave behind. */
#ifndef TN_TESTS_RUNS_H
#define TN_TESTS_RUNS_H

#include <jansson.h>
#include <signal.h>

#include "program.h"

/* ---- running the program ---- */

/* Starts `tenon ARGUMENTS` in the folder; words before it (ulimit, VARIABLE=x) come first. */
static inline pid_t start(const char *before, const char *arguments)
{
    char command[2048];
    const char *bin = getenv("TENON_BIN");
    snprintf(command, sizeof command, "cd %s && : >out && : >err && %s exec '%s' %s >>out 2>>err",
             folder, before, bin ? bin : TN_PROGRAM, arguments);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(99);
    }
    return child;
}

/* Exit status, or minus the signal; `output` and `errors` are filled. */
static inline int finish(pid_t child)
{
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    read_whole(in_folder("out"), output, sizeof output);
    read_whole(in_folder("err"), errors, sizeof errors);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

__attribute__((format(printf, 1, 2))) static inline void shell(const char *fmt, ...)
{
    char words[512], command[640];
    va_list args;
    va_start(args, fmt);
    vsnprintf(words, sizeof words, fmt, args);
    va_end(args);
    snprintf(command, sizeof command, "cd %s && %s", folder, words);
    if (system(command) != 0)
        fail_msg("failed: %s", command);
}

/* ---- comparing runs ---- */

/* What a run is compared by: its metrics without times. */
static inline json_t *metrics_of(const char *run)
{
    static const char *const times[] = {"images_per_s", "tokens_per_s", "seconds"};
    char path[64], line[4096];
    json_t *all = json_array();
    snprintf(path, sizeof path, "%s/metrics.jsonl", run);
    FILE *f = fopen(in_folder(path), "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        json_t *object = json_loads(line, 0, NULL);
        if (!object || !strchr(line, '\n'))
            fail_msg("%s: not a line of JSON: %s", path, line);
        for (size_t i = 0; i < sizeof times / sizeof *times; i++)
            json_object_del(object, times[i]);
        json_array_append_new(all, object);
    }
    fclose(f);
    return all;
}

/* Each update has one line of its own, in order. */
static inline void every_step_once(const json_t *lines, int steps)
{
    json_int_t step = 0;
    for (size_t i = 0; i < json_array_size(lines); i++) {
        const json_t *line = json_array_get(lines, i);
        if (json_object_get(line, "loss"))
            assert_int_equal(json_integer_value(json_object_get(line, "step")), ++step);
    }
    assert_int_equal(step, steps);
}

/* All tensors of the two files: weights, buffers, optimizer state. */
static inline void same_tensors(const char *a, const char *b)
{
    tn_safetensors *x = tn_safetensors_open(in_folder(a)), *y = tn_safetensors_open(in_folder(b));
    assert_ok();
    assert_int_equal(tn_safetensors_count(x), tn_safetensors_count(y));
    for (int i = 0; i < tn_safetensors_count(x); i++)
        TN_SCOPE {
            const char *name = tn_safetensors_name(x, i);
            tn_tensor *s = tn_safetensors_read(x, name), *t = tn_safetensors_read(y, name);
            assert_ok();
            const size_t n = (size_t)tn_numel(s) * (s->dtype == TN_I64 ? 8 : 4);
            assert_true(tn_same_shape(s, t) && s->dtype == t->dtype);
            const void *p = s->dtype == TN_I64 ? (void *)tn_i64(s) : (void *)tn_f32(s);
            const void *q = t->dtype == TN_I64 ? (void *)tn_i64(t) : (void *)tn_f32(t);
            assert_memory_equal(p, q, n);
        }
    tn_free(x, y);
}

static inline void same_runs(const char *a, const char *b, int steps)
{
    static const char *const files[] = {"model.safetensors", "best.safetensors"};
    for (int i = 0; i < 2; i++)
        shell("cmp %s/%s %s/%s", a, files[i], b, files[i]);
    char x[64], y[64];
    snprintf(x, sizeof x, "%s/checkpoint.safetensors", a);
    snprintf(y, sizeof y, "%s/checkpoint.safetensors", b);
    same_tensors(x, y);
    json_t *p = metrics_of(a), *q = metrics_of(b);
    every_step_once(p, steps);
    for (size_t i = 0; i < json_array_size(p) || i < json_array_size(q); i++)
        if (!json_equal(json_array_get(p, i), json_array_get(q, i)))
            fail_msg("%s and %s differ in line %zu of metrics.jsonl", a, b, i + 1);
    json_decref(p);
    json_decref(q);
}

#endif
