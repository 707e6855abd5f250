/* For tests that look at real data, where there are any. */
#ifndef TN_TESTS_REAL_DATA_H
#define TN_TESTS_REAL_DATA_H

#include <stdlib.h>
#include <unistd.h>

#include "check.h"

/* The folder with these sets, unpacked once for all runs; NULL, said, when there are none here. */
static inline const char *unpacked(const char *names, const char *witness)
{
    static char dir[600];
    char command[2400];
    snprintf(dir, sizeof dir, "%s/real-data", TN_BINARY_DIR);
    snprintf(command, sizeof command, "%s/%s", dir, witness);
    if (access(command, F_OK) == 0)
        return dir;
    snprintf(command, sizeof command, "test -f '%s/data/unpack.sh' && mkdir -p '%s' && "
             "sh '%s/data/unpack.sh' '%s' %s >/dev/null", TN_SHARED, dir, TN_SHARED, dir, names);
    if (system(command) == 0)
        return dir;
    print_message("no %s under %s/data: not compared with real data\n", names, TN_SHARED);
    return NULL;
}

#endif
