/* The progress line: on a terminal it is redrawn, elsewhere there are plain lines now and then. */
#ifndef TENON_PROGRESS_H
#define TENON_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct progress {
    bool shown, terminal;
    double started, drawn;      /* seconds */
    double counted, waited;     /* since progress_start; waited in seconds */
    int64_t first_step;
} progress;

double now_seconds(void); /* of a clock that never goes back */

void progress_start(progress *p, bool shown, int64_t step);
typedef struct progress_step {
    int64_t epoch, epochs, step, steps; /* epoch from 1 */
    int64_t counted;        /* images or tokens of this step */
    const char *unit;       /* which of these */
    const char *figures;    /* of the epoch so far: "loss 2.3026 accuracy 10.00 %" */
    double waited;          /* seconds for data in this step */
} progress_step;
/* After each step. */
void progress_show(progress *p, const progress_step *s);
/* Clears the line before other output. */
void progress_clear(progress *p);
double progress_rate(const progress *p);      /* images or tokens a second */
double progress_data_share(const progress *p); /* of the time, spent waiting for data */

#endif
