/* See stop.h. */
#define _GNU_SOURCE
#include "stop.h"

#include <signal.h>

static volatile sig_atomic_t asked;

static void ask(int signal)
{
    (void)signal;
    asked = 1;
}

void stop_catch(void)
{
    struct sigaction a = {.sa_handler = ask, .sa_flags = (int)SA_RESETHAND | SA_RESTART};
    asked = 0;
    sigaction(SIGINT, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
}

bool stop_asked(void) { return asked; }
