/* What differs between the config that a run began with and the one that it shall go on with.  Keys
 * that the weights do not depend on may change; the others may not. */
#define _GNU_SOURCE
#include "config.h"

#include <stdlib.h>
#include <string.h>

/* Files, speed and length; the weights after a given number of updates are the same for any value,
 * on one kind of device.  docs/runs.md says why for each. */
static const char *const free_keys[] = {
    "name",         "data.workers",    "data.prefetch",          "train.epochs", "train.max_steps",
    "train.log_every", "train.histogram_steps", "train.histogram_every", "train.checkpoint_every",
    "train.keep", "train.epoch_checkpoints", "train.bleu", "device.name", "device.threads",
};

static bool may_change(const char *key)
{
    for (size_t i = 0; i < sizeof free_keys / sizeof *free_keys; i++)
        if (strcmp(free_keys[i], key) == 0)
            return true;
    return false;
}

/* "key: before -> now; " on the stream when the two differ. */
static bool tell(const config_knob *k, const char *key, const config *before, const config *now,
                 FILE *out)
{
    const config *const both[] = {before, now};
    char *text[2] = {NULL, NULL};
    size_t size;
    bool good = true;
    for (int i = 0; i < 2; i++) {
        FILE *f = open_memstream(&text[i], &size);
        if (f)
            config_print_value(both[i], k, f);
        good = f && fclose(f) == 0 && good;
    }
    if (good && strcmp(text[0], text[1]) != 0)
        fprintf(out, "%s%s: %s -> %s", ftell(out) ? "; " : "", key, text[0], text[1]);
    free(text[0]);
    free(text[1]);
    return good;
}

bool config_changes(const config *before, const config *now, char allowed[CONFIG_CHANGES],
                    char refused[CONFIG_CHANGES])
{
    memset(allowed, 0, CONFIG_CHANGES);
    memset(refused, 0, CONFIG_CHANGES);
    FILE *const out[] = {fmemopen(allowed, CONFIG_CHANGES - 1, "w"), /* a zero stays at the end */
                         fmemopen(refused, CONFIG_CHANGES - 1, "w")};
    bool good = out[0] && out[1];
    for (int i = 0; good && i < config_knob_count; i++) {
        char key[64];
        const config_knob *k = &config_knobs[i];
        const bool top = strcmp(k->section, "top") == 0;
        snprintf(key, sizeof key, "%s%s%s", top ? "" : k->section, top ? "" : ".", k->key);
        good = tell(k, key, before, now, out[!may_change(key)]);
    }
    for (int i = 0; i < 2; i++)
        if (out[i])
            fclose(out[i]); /* a list that is too long ends early, which is no failure */
    if (!good)
        tn_fail(TN_ENOMEM, "config: no memory to compare two of them");
    return good;
}
