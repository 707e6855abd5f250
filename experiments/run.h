/* A run directory: config.yaml, metrics.jsonl, log.txt, lock, checkpoints, model.safetensors and
 * best.safetensors.  One process has it at a time; docs/runs.md is the manual.  What
 * stands in a checkpoint is checkpoint.h's business. */
#ifndef TENON_RUN_H
#define TENON_RUN_H

#include <jansson.h>

#include "config.h"

enum { RUN_PATH = CONFIG_TEXT + 260 }; /* the longest file name fits too */

typedef enum run_mode { RUN_NEW, RUN_RESUME, RUN_FORCE } run_mode;
typedef struct run {
    char dir[CONFIG_TEXT];
    FILE *log, *metrics;
    FILE *events; /* of events.h; NULL before the first step */
    int lock; /* a file that is locked while the run is open, -1: none */
    bool quiet; /* nothing on standard output */
} run;

/* Makes the directory, locks it, opens log and metrics.  RUN_NEW refuses one that holds a run,
 * RUN_FORCE empties it, RUN_RESUME goes on.  False with the error set; run_close() in any case. */
bool run_open(run *r, const char *dir, run_mode mode);
bool run_close(run *r); /* false with the error set when a file could not be written */

const char *run_path(const run *r, const char *file, char path[RUN_PATH]);
/* One line to log.txt (with the time) and, unless quiet, to standard output. */
void run_say(run *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A JSON number; null when it is not finite, which JSON cannot say. */
json_t *json_number(double value);
/* One object as a line on a stream; takes it over. */
bool json_print_line(json_t *object, FILE *out);
/* One object as a line of metrics.jsonl; takes it over. */
void run_metric(run *r, json_t *line);
/* Every line so far is on the disk. */
bool run_metrics_sync(run *r);
/* Bytes of metrics.jsonl, and cutting it back to so many, so that a resumed run repeats no line. */
int64_t run_metrics_size(const run *r);
void run_metrics_cut(run *r, int64_t size);

/* mkdir -p; false with the error set. */
bool make_directory(const char *path);

#endif
