/* The paper's two simulations (RAdam, figures 8 and 9), one file each. */
#ifndef TENON_SIMULATE_H
#define TENON_SIMULATE_H

#include <stdbool.h>
#include <stdint.h>

/* Table on standard output; NAME.csv .gp .png .svg with `base` "DIR/NAME".  False with the error
 * set. */
bool simulate_fig8(const char *base, uint64_t seed);
bool simulate_fig9(const char *base, uint64_t seed);

#endif
