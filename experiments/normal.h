/* Standard normal numbers in bulk: number i of draw `step` under `seed` depends on these alone. */
#ifndef TENON_NORMAL_H
#define TENON_NORMAL_H

#include <stdint.h>

enum { NORMALS_MOST = 1024 };

/* z [n]: n a multiple of 4, at most NORMALS_MOST; blocks first_block ... of the stream. */
void normals(uint64_t seed, uint64_t step, uint64_t first_block, int n, float *z);

#endif
