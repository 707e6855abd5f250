/* The paper's two simulations (RAdam, figures 8 and 9), one file each. */
#ifndef TENON_SIMULATE_H
#define TENON_SIMULATE_H

#include <stdbool.h>
#include <stdint.h>

/* A table on standard output, and a figure_write() with `base`.  False with the error set. */
bool simulate_fig8(const char *base, uint64_t seed);
bool simulate_fig9(const char *base, uint64_t seed);

#endif
