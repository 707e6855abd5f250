/* Loss and score of batches, which stay on the network's device until somebody asks: to read each at once would make
 * the host wait for every batch. */
#ifndef TENON_LEDGER_H
#define TENON_LEDGER_H

#include "task.h"

enum { LEDGER_MOST = 64 };
typedef struct ledger {
    tn_tensor *now;  /* [2]: loss and score of the batch that is being worked on */
    tn_tensor *rows; /* [most, 2] of those before, not read yet */
    bool scored;     /* the score is not the loss */
    int most, n;
    int64_t step[LEDGER_MOST], count[LEDGER_MOST]; /* of each row */
} ledger;

/* In the innermost scope. */
bool ledger_begin(ledger *l, tn_device d);
/* The scalars of a batch, as task.loss gives them; also inside of TN_RECORD(). */
bool ledger_write(ledger *l, tn_tensor *loss, tn_tensor *score);
/* The batch is done: it counted so much, in the update `step`. */
bool ledger_next(ledger *l, int64_t step, int64_t count);
/* Whether it has to be read before the next batch; on the CPU always. */
bool ledger_full(const ledger *l);
/* Adds all that has not been read to `t`.  False with the error set; TN_ENUM of a loss that is not a number in an
 * update other than 0. */
bool ledger_read(ledger *l, const task *k, tally *t);
/* A batch that nobody trains on, wherever it is; after the last comes ledger_read(). */
bool ledger_judge(ledger *l, const task *k, const config *c, tn_module *net, const tn_batch *b, tn_state *carried,
                  tally *t);

#endif
