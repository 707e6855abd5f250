/* See environment.h. */
#define _GNU_SOURCE
#include "environment.h"

#include <errno.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#if defined(__clang__)
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif
#ifdef __OPTIMIZE__
#define BUILD COMPILER ", optimised"
#else
#define BUILD COMPILER ", not optimised"
#endif

const environment_row environment_rows[] = {
    {"version", "version"},   {"build", "build"},   {"isa", "ISA"},       {"blas", "BLAS"},
    {"threads", "threads"},   {"cpu", "CPU"},       {"memory_gb", "memory, GB"},
    {"system", "system"},     {"host", "host"},     {"device", "device"}, {"cuda_trouble", "no CUDA"},
    {NULL, NULL},
};

static double memory_gb(void)
{
    return (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGE_SIZE) / (1 << 30);
}

/* The name that the processor gives itself, where the system tells it. */
static void cpu_name(char text[ENVIRONMENT_TEXT])
{
    char line[ENVIRONMENT_TEXT];
    FILE *f = fopen("/proc/cpuinfo", "r");
    *text = 0;
    while (f && !*text && fgets(line, sizeof line, f))
        if (strncmp(line, "model name", 10) == 0 && strchr(line, ':'))
            snprintf(text, ENVIRONMENT_TEXT, "%s", strchr(line, ':') + 2);
    if (f)
        fclose(f);
    text[strcspn(text, "\n")] = 0;
}

static void add_row(void *arg, const char *what, const char *text)
{
    json_object_set_new(arg, what, json_string(text));
}

void environment_add_cuda(json_t *e)
{
    json_t *rows = json_object();
    tn_cuda_info(add_row, rows);
    json_object_set_new(e, "cuda", rows);
}

json_t *environment_now(const char *device)
{
    char cpu[ENVIRONMENT_TEXT], system[ENVIRONMENT_TEXT];
    struct utsname u = {0};
    uname(&u);
    cpu_name(cpu);
    snprintf(system, sizeof system, "%s %s %s", u.sysname, u.release, u.machine);
    const char *chosen = tn_device_name(tn_device_named(device));
    json_t *e = json_pack("{s:s,s:s,s:s,s:s,s:i,s:s,s:f,s:s,s:s,s:s,s:s?}", "version", tn_version(), "build",
                          BUILD, "isa", tn_isa(), "blas", tn_blas(), "threads", tn_threads(), "cpu", cpu,
                          "memory_gb", memory_gb(), "system", system, "host", u.nodename, "device", chosen,
                          "cuda_trouble", tn_cuda_trouble());
    if (strcmp(chosen, "cpu") != 0)
        environment_add_cuda(e);
    return e;
}

bool environment_write(const run *r, const char *device)
{
    char path[RUN_PATH];
    FILE *f = fopen(run_path(r, "environment.json", path), "w");
    const bool failed = f && !json_print_line(environment_now(device), f);
    if (!f || (fclose(f) != 0) | failed)
        tn_fail(TN_EIO, "%s: cannot be written: %s", path, strerror(errno));
    return tn_ok();
}

const char *environment_text(const json_t *e, const char *key, char text[ENVIRONMENT_TEXT])
{
    const json_t *v = json_object_get(e, key);
    *text = 0;
    if (json_is_string(v))
        snprintf(text, ENVIRONMENT_TEXT, "%s", json_string_value(v));
    else if (json_is_integer(v))
        snprintf(text, ENVIRONMENT_TEXT, "%lld", (long long)json_integer_value(v));
    else if (json_is_real(v))
        snprintf(text, ENVIRONMENT_TEXT, "%.1f", json_real_value(v));
    return text;
}
