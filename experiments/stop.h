/* Ctrl-C and SIGTERM: a run ends its step, or its line, and saves. */
#ifndef TENON_STOP_H
#define TENON_STOP_H

#include <stdbool.h>

/* From now on the first signal only asks; the second of a kind kills as ever. */
void stop_catch(void);
bool stop_asked(void);

#endif
