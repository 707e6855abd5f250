/* A trained language model with its dictionary, out of a run directory, and what it thinks of a text.  The commands
 * that use it are cmd_eval.c and cmd_sample.c. */
#ifndef TENON_LM_RUN_H
#define TENON_LM_RUN_H

#include "cli.h"
#include "task.h"

typedef struct lm_run {
    tn_dictionary *dictionary;
    tn_module *net; /* in eval mode */
} lm_run;

/* The run in `dir` with these weights; false with the error set.  lm_run_close() in any case. */
bool lm_run_open(lm_run *l, const config *c, const char *dir, const char *weights);
void lm_run_close(lm_run *l);

/* What evaluating a prepared split does, of a text file ("-": standard input), a sentence a line: one stream from a
 * state of zeros, each word but the first is judged, `steps` at a time. */
bool lm_run_judge(const lm_run *l, const config *c, const char *file, int64_t steps, tally *t);

#endif
