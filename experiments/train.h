/* The training loop: epochs, evaluation, metrics, checkpoints, signals.  What it loops over is made
 * in setup.c; where it stands is checkpoint.h's train_state. */
#ifndef TENON_TRAIN_H
#define TENON_TRAIN_H

#include "checkpoint.h"

typedef struct train_result {
    train_state state;
    int64_t saved_step; /* of the last checkpoint; -1: there is none */
    bool interrupted; /* by SIGINT or SIGTERM, after a checkpoint */
} train_result;

/* Trains as `c` says in the open run directory, from its checkpoint when `resume`.  False with the
 * error set. */
bool train(config *c, run *r, bool resume, train_result *result);

typedef struct score {
    double loss, accuracy; /* means over the samples */
    int64_t samples;
} score;
/* One epoch of `loader` in eval mode without gradients; net is left in train mode when it was. */
bool evaluate(tn_module *net, tn_loader *loader, score *s);

#endif
