/* tenon simulate: the paper's closed form and its simulation. */
#include <stdio.h>
#include <string.h>
#include <tenon.h>

#include "cli.h"
#include "run.h"
#include "simulate.h"

static const struct entry {
    const char *name;
    bool (*run)(const char *base, uint64_t seed);
} entries[] = {{"fig8", simulate_fig8}, {"fig9", simulate_fig9}};
enum { ENTRIES = sizeof entries / sizeof *entries };

static int run_simulate(const cli *c)
{
    char usual[32], base[RUN_PATH];
    const char *name = c->arguments[0], *names[ENTRIES];
    for (int i = 0; i < ENTRIES; i++) {
        names[i] = entries[i].name;
        if (strcmp(name, names[i]) != 0)
            continue;
        snprintf(usual, sizeof usual, "runs/%s", name);
        const char *dir = cli_text(c, "out", usual);
        snprintf(base, sizeof base, "%.*s/%s", CONFIG_TEXT, dir, name);
        tn_set_threads((int)cli_integer(c, "threads", 0));
        if (make_directory(dir))
            entries[i].run(base, (uint64_t)cli_integer(c, "seed", 1));
        return cli_status();
    }
    return cli_wrong(c->command, "there is no '%s'; did you mean %s?", name,
                     tn_nearest(name, names, ENTRIES));
}

const command command_simulate = {
    .name = "simulate",
    .arguments = "fig8|fig9",
    .about = "the variance of the adaptive learning rate, by formula or by simulation\n"
             "Prints the values beside the published ones and draws the figure.",
    .least = 1,
    .most = 1,
    .options = (const option_row[]){
        {"out", "DIR", "for the .csv, .gp, .png and .svg; default runs/fig8 or runs/fig9"},
        {"seed", "N", "of the random numbers; default 1"},
        {"threads", "N", "0: one a core; the numbers do not depend on it"},
        {NULL, NULL, NULL},
    },
    .run = run_simulate,
};
