/* What a run ran on: version, build, instruction set, BLAS, threads, machine.  `tenon info` prints it,
 * a run directory keeps it in environment.json, `tenon report` shows it. */
#ifndef TENON_ENVIRONMENT_H
#define TENON_ENVIRONMENT_H

#include "run.h"

/* One row is one fact; ends with a NULL key. */
typedef struct environment_row {
    const char *key, *title;
} environment_row;
extern const environment_row environment_rows[];

enum { ENVIRONMENT_TEXT = 256 };

/* A new object of all facts, with `device` as a config names it; NULL when there is no memory. */
json_t *environment_now(const char *device);
/* Adds to the object, under "cuda", what tn_cuda_info() tells. */
void environment_add_cuda(json_t *e);
/* The newest start counts.  False with the error set. */
bool environment_write(const run *r, const char *device);
/* As people read it; "" when it is not there. */
const char *environment_text(const json_t *e, const char *key, char text[ENVIRONMENT_TEXT]);

#endif
