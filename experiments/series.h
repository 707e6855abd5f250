/* One metric of a run over one other, read from metrics.jsonl. */
#ifndef TENON_SERIES_H
#define TENON_SERIES_H

#include <stdbool.h>

typedef struct series {
    int n;
    double *x, *y; /* [n], as they stand in the file */
} series;

/* Lines that have both numbers.  False with the error set; series_free() in any case. */
bool series_read(series *s, const char *run_dir, const char *x_key, const char *y_key);
void series_free(series *s);

#endif
