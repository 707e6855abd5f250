/* What the tests share: cmocka, and expecting errors. */
#ifndef TN_TESTS_CHECK_H
#define TN_TESTS_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tenon.h"

/* The error set now must have this code and contain this text; clears it. */
#define expect_error(wanted, words)                                                      \
    do {                                                                                 \
        if (tn_error()->code != (wanted) || !strstr(tn_error()->text, words))            \
            fail_msg("expected %s with '%s', got %s: '%s'", #wanted, words,              \
                     tn_code_text(tn_error()->code), tn_error()->text);                  \
        tn_error_clear();                                                                \
    } while (0)

#define assert_ok()                                      \
    do {                                                 \
        if (!tn_ok())                                    \
            fail_msg("unexpected: %s", tn_error()->text); \
    } while (0)

/* Errors are expected in tests: nothing is printed. */
static inline int quiet_errors(void **state)
{
    (void)state;
    tn_on_error(NULL, NULL);
    return 0;
}

#endif
