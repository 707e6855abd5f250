/* In the place of cuDNN and cuBLASLt: these compute nothing, but the latter chooses engines, so that tests see what
 * becomes of them.  Version and choice are TN_TEST_VERSION (none: 1) and TN_TEST_ENGINE (none: there is none). */
#define tn__cublaslt_engines engines_of_none
#include "libs/none.c"
#undef tn__cublaslt_engines

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char key[] = "of all ops";
static char chosen[16]; /* taken back, or the first time that it is asked for */

static uint64_t version(void)
{
    const char *v = getenv("TN_TEST_VERSION");
    return v ? strtoull(v, NULL, 10) : 1;
}

static void each(int device, tn__engine_row *row, void *arg)
{
    const char *now = getenv("TN_TEST_ENGINE");
    (void)device;
    if (!*chosen && now)
        snprintf(chosen, sizeof chosen, "%s", now);
    if (*chosen)
        row(arg, key, sizeof key, chosen, strlen(chosen));
}

static bool take(int device, const void *k, size_t key_size, const void *engine, size_t size)
{
    (void)device;
    if (key_size != sizeof key || memcmp(k, key, sizeof key) || !size || size >= sizeof chosen)
        return false;
    memset(chosen, 0, sizeof chosen);
    memcpy(chosen, engine, size);
    return true;
}

const tn__chooser tn__cublaslt_engines = {version, each, take};
