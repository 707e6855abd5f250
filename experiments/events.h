/* TensorBoard's event files of a run: events.out.tfevents.TIME.HOST, records of TensorFlow's format
 * with Event messages of protobuf, written by hand.  Each start of the run begins a new file; a
 * record that a killed run left half written ends the file before it, no more. */
#ifndef TENON_EVENTS_H
#define TENON_EVENTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct events_buckets { /* a histogram: count[i] values are below limit[i], if not below the
                                   limit before */
    double min, max, number, sum, squares;
    int n;
    const double *limit, *count; /* [n] */
} events_buckets;

/* Begins a file in `dir`, whose name sorts behind those there already whatever the clock says.
 * What earlier files tell of steps after `step` counts no more.  NULL with the error set. */
FILE *events_open(const char *dir, int64_t step);
/* The numbers of a line of metrics.jsonl that have a tag, at its step.  False with the error set;
 * without a file nothing is done. */
bool events_line(FILE *file, const json_t *line);
bool events_histogram(FILE *file, int64_t step, const char *tag, const events_buckets *b);

#endif
