/* Trains the runs of a plan: each is a child process `tenon train NAME.yaml --out NAME`, so that a
 * run that fails takes no other with it.  SIGINT and SIGTERM are passed on; the children then save
 * and end. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "progress.h"
#include "run.h"
#include "series.h"
#include "suite.h"

enum { MOST_ARGUMENTS = 96, TRIES = 2 };

typedef struct job {
    pid_t pid; /* 0: none */
    suite_run *run;
    FILE *errors; /* its standard error */
    int tries;
    double started;
} job;

typedef struct pool {
    plan *p;
    const job_options *o;
    job *jobs; /* [o->jobs] */
    int next, running, done, todo;
    double started;
    bool stopping;
} pool;

/* ---- one child ---- */

static void become(const pool *q, const job *j, const sigset_t *mask)
{
    char config_path[PLAN_PATH], dir[PLAN_PATH], threads[16];
    const char *a[MOST_ARGUMENTS] = {"tenon", "train"};
    int n = 2;
    snprintf(threads, sizeof threads, "%d", q->o->threads);
    a[n++] = plan_path(q->p, j->run, ".yaml", config_path);
    a[n++] = "--out";
    a[n++] = plan_path(q->p, j->run, "", dir);
    a[n++] = "--threads";
    a[n++] = threads;
    a[n++] = "--quiet";
    if (j->run->state != RUN_IS_NEW)
        a[n++] = "--resume";
    for (int i = 0; i < q->o->n_plugins && n < MOST_ARGUMENTS - 2; i++) {
        a[n++] = "--plugin";
        a[n++] = q->o->plugins[i];
    }
    const int null = open("/dev/null", O_RDWR);
    if (null >= 0 && dup2(null, STDIN_FILENO) >= 0 && dup2(null, STDOUT_FILENO) >= 0 &&
        dup2(fileno(j->errors), STDERR_FILENO) >= 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        setpgid(0, 0); /* Ctrl-C comes through the parent, once */
        sigprocmask(SIG_SETMASK, mask, NULL);
        execv("/proc/self/exe", (char **)(void *)a);
    }
    dprintf(STDERR_FILENO, "tenon cannot be started: %s\n", strerror(errno));
    _exit(127);
}

static bool start(pool *q, job *j, const sigset_t *mask)
{
    char path[PLAN_PATH];
    if (j->run->state == RUN_IS_NEW &&
        !config_write(&j->run->c, plan_path(q->p, j->run, ".yaml", path)))
        return false;
    j->errors = tmpfile();
    j->started = now_seconds();
    j->tries++;
    fflush(NULL);
    j->pid = j->errors ? fork() : -1;
    if (j->pid == 0)
        become(q, j, mask);
    if (j->pid > 0) {
        q->running++;
        return true;
    }
    tn_fail(TN_EIO, "%s: no process for it: %s", j->run->name, strerror(errno));
    if (j->errors)
        fclose(j->errors);
    *j = (job){0};
    return false;
}

/* ---- its end ---- */

/* What the child said last. */
static void last_words(const job *j, int status, config_text words)
{
    char line[CONFIG_TEXT];
    *words = 0;
    rewind(j->errors);
    while (fgets(line, sizeof line, j->errors))
        snprintf(words, CONFIG_TEXT, "%.*s", (int)strcspn(line, "\n"), line);
    if (!*words && WIFSIGNALED(status))
        snprintf(words, CONFIG_TEXT, "ended by signal %d, %s", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
}

static void tell_done(const pool *q, const job *j)
{
    char dir[PLAN_PATH];
    series s;
    const char *metric = q->p->s->metric;
    const double unit = suite_unit(metric), spent = now_seconds() - q->started;
    if (q->o->quiet)
        return;
    printf("[%d/%d] %s: ", q->done, q->todo, j->run->name);
    if (series_read(&s, plan_path(q->p, j->run, "", dir), "epoch", metric))
        printf("%s %.4g%s, ", metric, s.y[s.n - 1] * unit, unit > 1 ? " %" : "");
    series_free(&s);
    tn_error_clear();
    printf("%.0f s", now_seconds() - j->started);
    if (q->done < q->todo)
        printf("; about %.0f min left", spent / q->done * (q->todo - q->done) / 60);
    putchar('\n');
    fflush(stdout);
}

/* A failed run gets a second chance, which goes on from its last checkpoint. */
static void end(pool *q, job *j, int status, const sigset_t *mask)
{
    char dir[PLAN_PATH];
    config_text words;
    const bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    last_words(j, status, words);
    fclose(j->errors);
    q->running--;
    j->pid = 0;
    if (good) {
        j->run->state = RUN_IS_DONE;
        q->done++;
        tell_done(q, j);
    } else if (q->stopping) {
        j->run->state = RUN_IS_PARTIAL;
    } else {
        const bool again = j->tries < TRIES;
        fprintf(stderr, "%s: failed: %s%s\n", j->run->name, words, again ? "; once more" : "");
        if (access(plan_path(q->p, j->run, "/config.yaml", dir), F_OK) == 0)
            j->run->state = RUN_IS_PARTIAL;
        if (again && start(q, j, mask))
            return;
        j->run->state = RUN_HAS_FAILED;
        q->done++;
    }
    *j = (job){0};
}

static void reap(pool *q, const sigset_t *mask)
{
    int status;
    for (int i = 0; i < q->o->jobs; i++) {
        job *j = &q->jobs[i];
        if (j->pid > 0 && waitpid(j->pid, &status, WNOHANG) == j->pid)
            end(q, j, status, mask);
    }
}

/* ---- all ---- */

static bool wanted(const suite_run *r)
{
    return r->chosen && (r->state == RUN_IS_NEW || r->state == RUN_IS_PARTIAL);
}

static void fill(pool *q, const sigset_t *mask)
{
    for (int i = 0; i < q->o->jobs && !q->stopping; i++) {
        if (q->jobs[i].pid)
            continue;
        while (q->next < q->p->n && !wanted(&q->p->runs[q->next]))
            q->next++;
        if (q->next == q->p->n)
            break;
        q->jobs[i].run = &q->p->runs[q->next++];
        if (!start(q, &q->jobs[i], mask))
            break;
    }
}

static void pass_on(pool *q, int signal)
{
    if (!q->stopping)
        fprintf(stderr, "\nstopping: the %d runs under way finish their step and save\n",
                q->running);
    q->stopping = true;
    for (int i = 0; i < q->o->jobs; i++)
        if (q->jobs[i].pid)
            kill(q->jobs[i].pid, signal);
}

bool jobs_run(plan *p, const job_options *o)
{
    pool q = {.p = p, .o = o, .started = now_seconds()};
    sigset_t ours, mask;
    if (!make_directory(p->out))
        return false;
    q.jobs = calloc((size_t)o->jobs, sizeof *q.jobs);
    if (!q.jobs)
        return tn_fail(TN_ENOMEM, "no memory for %d jobs", o->jobs) != NULL;
    for (int i = 0; i < p->n; i++)
        q.todo += wanted(&p->runs[i]);
    sigemptyset(&ours);
    sigaddset(&ours, SIGINT);
    sigaddset(&ours, SIGTERM);
    sigaddset(&ours, SIGCHLD);
    sigprocmask(SIG_BLOCK, &ours, &mask);
    fill(&q, &mask);
    while (q.running > 0) {
        const int signal = sigwaitinfo(&ours, NULL);
        if (signal == SIGINT || signal == SIGTERM)
            pass_on(&q, signal);
        reap(&q, &mask);
        fill(&q, &mask);
    }
    sigprocmask(SIG_SETMASK, &mask, NULL);
    free(q.jobs);
    return !q.stopping;
}
