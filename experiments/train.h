/* The training loop: updates, epochs, evaluation, metrics, checkpoints, signals.  What it loops over is made
 * in setup.c, what is learned is task.h's; where it stands is checkpoint.h's train_state. */
#ifndef TENON_TRAIN_H
#define TENON_TRAIN_H

#include "checkpoint.h"
#include "task.h"

typedef struct train_result {
    const task *task; /* NULL: it did not come to that */
    tn_split split;   /* judged after each epoch */
    train_state state;
    int64_t saved_step; /* of the last checkpoint; -1: there is none */
    bool interrupted; /* by SIGINT or SIGTERM, after a checkpoint */
} train_result;

/* Trains as `c` says in the open run directory, from its checkpoint when `resume`.  False with the
 * error set. */
bool train(config *c, run *r, bool resume, train_result *result);

#endif
