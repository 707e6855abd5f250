/* Fast elementwise kernels: the rows of ops_map.def with vectorisable functions, once per ISA. */
#define TN_FAST_MATH
#include "../attrs.h"
#include "../internal.h"
#include "vec.h"

typedef float real;
#define MAP_KERNEL(name) TN_K(fast_##name)
#define MAP(name, ...) tn_kernel MAP_KERNEL(name), MAP_KERNEL(name##_backward);
#define BIN(name, ...) tn_kernel MAP_KERNEL(name), MAP_KERNEL(name##_dx), MAP_KERNEL(name##_dz);
#define CMP(name, ...) tn_kernel MAP_KERNEL(name);
#include "tenon/ops_map.def"
#include "../map_rows.h"
