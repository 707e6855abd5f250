/* See progress.h. */
#include "progress.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

double now_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void progress_start(progress *p, bool shown, int64_t step)
{
    const double now = now_seconds();
    *p = (progress){.shown = shown, .terminal = isatty(STDOUT_FILENO) == 1, .started = now,
                    .drawn = now, .first_step = step};
}

double progress_rate(const progress *p)
{
    const double seconds = now_seconds() - p->started;
    return seconds > 0 ? p->counted / seconds : 0;
}

double progress_data_share(const progress *p)
{
    const double seconds = now_seconds() - p->started;
    return seconds > 0 ? p->waited / seconds : 0;
}

void progress_show(progress *p, const progress_step *s)
{
    const double now = now_seconds();
    p->counted += (double)s->counted;
    p->waited += s->waited;
    if (!p->shown || now - p->drawn < (p->terminal ? 0.1 : 10))
        return;
    p->drawn = now;
    const int64_t done = s->step - p->first_step;
    const double left =
        (now - p->started) / (double)(done > 0 ? done : 1) * (double)(s->steps - s->step);
    const long long seconds = (long long)left;
    printf("%sepoch %lld/%lld  step %lld/%lld  %s  %.0f %s/s  data %.0f %%  %lld:%02lld:%02lld left%s",
           p->terminal ? "\r" : "", (long long)s->epoch, (long long)s->epochs, (long long)s->step,
           (long long)s->steps, s->figures, progress_rate(p), s->unit, 100 * progress_data_share(p),
           seconds / 3600, seconds / 60 % 60, seconds % 60, p->terminal ? "\033[K" : "\n");
    fflush(stdout);
}

void progress_clear(progress *p)
{
    if (p->shown && p->terminal) {
        printf("\r\033[K");
        fflush(stdout);
    }
}
