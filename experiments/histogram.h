/* Histograms of a run's gradients or optimizer states, as figures 2 and 3 of the paper show them:
 * ln(|v| + 1e-9) of every element of every trained parameter, in bins of 0.5 from -21 to 0.  A zero
 * is at -20.72, in the first bin.  The steps and what v is are knobs (train.histogram_*).  Each of
 * these steps gets a line of histograms.jsonl and a histogram in the event file. */
#ifndef TENON_HISTOGRAM_H
#define TENON_HISTOGRAM_H

#include "run.h"

enum { HISTOGRAM_BINS = 42 };
#define HISTOGRAM_LOW (-21.0)
#define HISTOGRAM_WIDTH 0.5

/* Before the first step: whether the rule keeps what is wanted; cuts histograms.jsonl back to
 * `step`.  False with the error set. */
bool histogram_begin(run *r, const config *c, tn_optim *opt, int64_t step);
/* Records `step` when it is one of those wanted: gradients before its update, which clears them,
 * states after it (`updated`).  False with the error set. */
bool histogram_take(run *r, const config *c, tn_module *net, tn_optim *opt, int64_t step,
                    bool updated);

/* Draws the histograms.jsonl of a run, a ridge for each step; "DIR/NAME" is base, as figure.h has
 * it.  False with the error set. */
bool histogram_plot(const char *run_dir, const char *base);

#endif
