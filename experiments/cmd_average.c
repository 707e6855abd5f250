/* tenon average: the mean of a run's last epochs, which translates better than the last alone. */
#include <stdio.h>

#include "cli.h"
#include "epochs.h"

static int run_average(const cli *c)
{
    char path[RUN_PATH];
    const int64_t last = cli_integer(c, "last", 10);
    const char *dir = c->arguments[0];
    if (last < 1)
        return cli_wrong(c->command, "--last wants at least 1");
    const char *out = cli_text(c, "out", epochs_average_path(dir, last, path));
    if (epochs_average(dir, last, out))
        printf("mean of the last %lld epochs: %s\n", (long long)last, out);
    return cli_status();
}

const command command_average = {
    .name = "average",
    .arguments = "RUN",
    .about = "the mean of the weights after a run's last epochs\n"
             "Of epoch-NNN.safetensors, which train.epoch_checkpoints keeps; every element in\n"
             "float64, rounded once.",
    .least = 1,
    .most = 1,
    .options = (const option_row[]){
        {"last", "N", "epochs; default 10"},
        {"out", "FILE", "default RUN/average-N.safetensors"},
        {NULL, NULL, NULL},
    },
    .run = run_average,
};
