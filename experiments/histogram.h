/* Histograms of a run's gradients or optimizer states, as figures 2 and 3 of the paper show them:
 * ln(|v| + 1e-9) of every element of every trained parameter, in bins of 0.5 from -21 to 0.  A zero
 * is at -20.72, in the first bin.  The steps and what v is are knobs (train.histogram_*).  Each of
 * these steps gets a line of histograms.jsonl and a histogram in the event file. */
#ifndef TENON_HISTOGRAM_H
#define TENON_HISTOGRAM_H

#include "run.h"

enum { HISTOGRAM_BINS = 42, HISTOGRAM_PANELS = 9 };
#define HISTOGRAM_LOW (-21.0)
#define HISTOGRAM_WIDTH 0.5

/* Before the first step: whether the rule keeps what is wanted; cuts histograms.jsonl back to
 * `step`.  False with the error set. */
bool histogram_begin(run *r, const config *c, tn_optim *opt, int64_t step);
/* Records `step` when it is one of those wanted: gradients before its update, which clears them,
 * states after it (`updated`).  False with the error set. */
bool histogram_take(run *r, const config *c, tn_module *net, tn_optim *opt, int64_t step,
                    bool updated);

/* Draws the histograms.jsonl of runs, a panel for each and in it a ridge for each step up to `until` (0: all);
 * steps count from the end of a freeze here too.  "DIR/NAME" is base, as figure.h has it.  False with the error
 * set. */
typedef struct histogram_source {
    const char *dir, *name;
} histogram_source;
bool histogram_plot(int n, const histogram_source *runs, const char *title, int64_t until, const char *base);

#endif
