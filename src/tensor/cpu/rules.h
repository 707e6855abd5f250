/* Optimizer rules on the CPU, in the calling thread; see rules.c.  Like conv.h this is included
 * once per ISA. */
#include "vec.h"
#include "../internal.h"

void TN_K(rule)(const tn__rule_call *c);
