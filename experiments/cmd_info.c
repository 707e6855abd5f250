/* tenon info: what this build can do on this machine. */
#include <stdio.h>

#include <tenon.h>

#include "cli.h"
#include "environment.h"

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

static void print_cuda(json_t *all)
{
    const char *what;
    json_t *text;
    json_object_foreach(json_object_get(all, "cuda"), what, text)
        printf("%-12s%s\n", what, json_string_value(text));
}

static int run_info(const cli *c)
{
    char text[ENVIRONMENT_TEXT];
    int models, datasets, rules;
    const char *const *model = tn_models(&models), *const *dataset = tn_datasets(&datasets);
    const char *const *rule = tn_optimizers(&rules);
    json_t *all = environment_now("auto");
    environment_add_cuda(all);
    if (cli_has(c, "json")) {
        json_object_set_new(all, "models", names(model, models));
        json_object_set_new(all, "datasets", names(dataset, datasets));
        json_object_set_new(all, "optimizers", names(rule, rules));
        json_print_line(all, stdout);
        return cli_status();
    }
    for (const environment_row *r = environment_rows; r->key; r++)
        if (*environment_text(all, r->key, text))
            printf("%-12s%s\n", r->title, text);
    print_cuda(all);
    json_decref(all);
    print_names("models", model, models);
    print_names("datasets", dataset, datasets);
    print_names("optimizers", rule, rules);
    return cli_status();
}

const command command_info = {
    .name = "info",
    .arguments = "",
    .about = "tells version, build, instruction set, BLAS, threads, memory, devices and their libraries",
    .least = 0,
    .most = 0,
    .options = (const option_row[]){
        {"json", NULL, "one JSON object"},
        {NULL, NULL, NULL},
    },
    .run = run_info,
};
