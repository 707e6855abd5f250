/* Optimizer rules on the CPU, in the calling thread; see rules.c and replay.c.  Like conv.h this is
 * included once per ISA. */
#include "vec.h"
#include "../internal.h"

void TN_K(rule)(const tn__rule_call *c);
void TN_K(replay)(const tn__replay_call *c);
