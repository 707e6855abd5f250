/* For tests of runs that are killed: one that lives through it must leave the bits of one that nothing happened to.
 * _GNU_SOURCE is wanted before all includes. */
#ifndef TN_TESTS_MURDER_H
#define TN_TESTS_MURDER_H

#include <poll.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "runs.h"

static inline uint32_t dice(uint32_t n)
{
    static uint64_t state = 20191229;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33) % n;
}

/* Returns when something in the folder gets a temporary name, at the latest after a second. */
static inline void wait_for_writing(int watch)
{
    _Alignas(struct inotify_event) char events[4096];
    struct pollfd ready = {.fd = watch, .events = POLLIN};
    while (poll(&ready, 1, 1000) > 0) {
        const ssize_t n = read(watch, events, sizeof events);
        for (ssize_t at = 0; at < n;) {
            const struct inotify_event *e = (const void *)(events + at);
            if (e->len && strstr(e->name, ".safetensors.tmp-"))
                return;
            at += (ssize_t)(sizeof *e + e->len);
        }
    }
}

/* Whether the victim was hit before it was done: at a random moment, or in the middle of a checkpoint.  Threads and
 * workers change with each life. */
static inline bool kill_once(const char *config, const char *optimizer, bool writing)
{
    char arguments[512];
    const int watch = inotify_init1(IN_CLOEXEC);
    mkdir(in_folder("victim"), 0777);
    inotify_add_watch(watch, in_folder("victim"), IN_CREATE);
    snprintf(arguments, sizeof arguments,
             "train %s --set optim.name=%s --out victim --resume --threads %u "
             "--set data.workers=%u --set train.checkpoint_every='%u steps'",
             config, optimizer, 1 + dice(2), 2 * dice(2), 1 + dice(2));
    const pid_t child = start("", arguments);
    if (writing)
        wait_for_writing(watch);
    else
        usleep(5000 + 1000 * dice(300));
    kill(child, SIGKILL);
    const int status = finish(child);
    close(watch);
    if (status != -SIGKILL)
        expect(0, status);
    return status == -SIGKILL;
}

/* What a file is called before it is whole. */
static inline bool was_writing(const char *run)
{
    struct dirent *e;
    bool found = false;
    DIR *d = opendir(in_folder(run));
    while (d && (e = readdir(d)))
        found |= strstr(e->d_name, ".tmp-") || strstr(e->d_name, "checkpoint-new");
    if (d)
        closedir(d);
    return found;
}

/* Until it was hit `kills` times; the config ends after so many steps. */
static inline void murder(const char *config, const char *optimizer, int steps, int kills)
{
    int hits = 0, lives = 0, writing = 0;
    expect(0, tenon("train %s --set optim.name=%s --out peace --quiet", config, optimizer));
    for (bool done = true; hits < kills || !done;) {
        lives++;
        if (kill_once(config, optimizer, lives % 3 == 0)) {
            hits++;
            writing += was_writing("victim");
            done = false;
            if (hits < kills + 40)
                continue;
            expect(0, tenon("train %s --set optim.name=%s --out victim --resume", config, optimizer));
        }
        done = true;
        same_runs("peace", "victim", steps);
        shell("test -z \"$(ls victim | grep tmp-)\" && rm -r victim");
    }
    assert_true(writing > 0);
    print_message("%s: killed %d times in %d starts, %d times while a file was written\n",
                  optimizer, hits, lives, writing);
    shell("rm -r peace");
}

#endif
