/* tenon info: what this build can do on this machine. */
#include <stdio.h>
#include <unistd.h>

#include <tenon.h>

#include "cli.h"
#include "run.h"

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

static double memory_gb(void)
{
    return (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGE_SIZE) / (1 << 30);
}

static json_t *names(const char *const *list, int n)
{
    json_t *all = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(all, json_string(list[i]));
    return all;
}

static void print_names(const char *what, const char *const *list, int n)
{
    printf("%-12s", what);
    for (int i = 0; i < n; i++)
        printf("%s%s", i ? ", " : "", list[i]);
    putchar('\n');
}

static int run_info(const cli *c)
{
    int models, datasets, rules;
    const char *const *model = tn_models(&models), *const *dataset = tn_datasets(&datasets);
    const char *const *rule = tn_optimizers(&rules), *trouble = tn_cuda_trouble();
    const char *best = tn_device_name(tn_device_named("auto"));
    if (cli_has(c, "json")) {
        json_print_line(json_pack("{s:s,s:s,s:s,s:s,s:i,s:f,s:s,s:s?,s:o,s:o,s:o}", "version",
                                  tn_version(), "build", BUILD, "isa", tn_isa(), "blas", tn_blas(),
                                  "threads", tn_threads(), "memory_gb", memory_gb(), "device", best,
                                  "cuda_trouble", trouble, "models", names(model, models),
                                  "datasets", names(dataset, datasets), "optimizers",
                                  names(rule, rules)),
                        stdout);
        return cli_status();
    }
    printf("version     %s\nbuild       %s\nISA         %s\nBLAS        %s\nthreads     %d\n",
           tn_version(), BUILD, tn_isa(), tn_blas(), tn_threads());
    printf("memory      %.1f GB\ndevice      %s\nCUDA        %s\n", memory_gb(), best,
           trouble ? trouble : "usable");
    print_names("models", model, models);
    print_names("datasets", dataset, datasets);
    print_names("optimizers", rule, rules);
    return cli_status();
}

const command command_info = {
    .name = "info",
    .arguments = "",
    .about = "tells version, build, instruction set, BLAS, threads, memory and devices",
    .least = 0,
    .most = 0,
    .options = (const option_row[]){
        {"json", NULL, "one JSON object"},
        {NULL, NULL, NULL},
    },
    .run = run_info,
};
