/* The weights after each whole epoch, epoch-NNN.safetensors of a run directory, and their mean. */
#ifndef TENON_EPOCHS_H
#define TENON_EPOCHS_H

#include "run.h"

/* Writes the file of `epoch` and removes all but the last `keep`.  False with the error set. */
bool epochs_save(const char *run_dir, tn_module *net, int64_t epoch, int64_t keep);
/* Removes files of epochs that are still to come: left by a run that was killed. */
bool epochs_forget(const char *run_dir, int64_t after);
/* Writes the mean of the last so many, element by element in float64; what is no floating number (counters) is
 * taken from the newest.  False with the error set, also when there are fewer. */
bool epochs_average(const char *run_dir, int64_t last, const char *out);
/* The name that the mean has unless another is given: RUN/average-N.safetensors. */
const char *epochs_average_path(const char *run_dir, int64_t last, char path[RUN_PATH]);

#endif
