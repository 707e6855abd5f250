/* Checkpoints of a run: weights (PyTorch's names and layouts), optimizer state ("optim." before the
 * optimizer's names), what is carried from batch to batch ("carried.h", "carried.c"), on a GPU the
 * engines that its libraries compute with ("engines"), and in the file's metadata where training
 * stands, the whole config and a checksum.  Training from one gives the same bits as never having
 * stopped. */
#ifndef TENON_CHECKPOINT_H
#define TENON_CHECKPOINT_H

#include "run.h"

/* Where training stands: X(type, field, key in the file). */
#define TRAIN_STATE(X)                                                                                      \
    X(integer, step, step)                               /* updates done             */                     \
    X(integer, epoch, epoch)                             /* epochs done              */                     \
    X(integer, loader_epoch, loader_epoch) X(integer, loader_batch, loader_batch) /* the loader's cursor */ \
    X(integer, random_seed, random_seed) X(integer, random_step, random_step) /* dropout's random numbers */ \
    X(number, epoch_loss, epoch_loss) X(number, epoch_score, epoch_right) X(integer, epoch_seen, epoch_seen) \
    X(number, line_loss, line_loss) X(number, line_score, line_right) X(integer, line_seen, line_seen)      \
    X(number, best, best) X(integer, best_epoch, best_epoch) /* the score of tested data     */             \
    X(number, test_loss, test_loss) X(number, test_score, test_accuracy) /* of the last epoch */            \
    X(number, seconds, seconds)                          /* spent so far             */                     \
    X(integer, metrics_bytes, metrics_bytes)             /* of metrics.jsonl         */

#define STATE_FIELD(type, name, key) config_##type name;
typedef struct train_state {
    TRAIN_STATE(STATE_FIELD)
} train_state;

/* Writes checkpoint.safetensors; the train.keep - 1 before it move on to checkpoint-1, -2 ...  At
 * every moment, also when the disk is full or the process killed, a good one has its name. */
bool checkpoint_save(run *r, const config *c, tn_module *net, tn_optim *opt, const tn_state *carried,
                     const train_state *s);
/* Reads the newest good one; a damaged one is told by name and put aside once an older one is read.
 * `found`: whether there was any.  False with the error set when none is good, or when `c` differs
 * from its config where it may not. */
bool checkpoint_load(run *r, const config *c, tn_module *net, tn_optim *opt, tn_state *carried,
                     train_state *s, bool *found);

#endif
