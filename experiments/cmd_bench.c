/* tenon bench: times one piece of work by itself.  What is timed is in bench_steps.c. */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "bench.h"
#include "cli.h"
#include "progress.h"
#include "run.h"

enum { PEAK_LOOKS = 5 };

typedef struct timing {
    int steps;
    double median, least; /* seconds */
    double peak;          /* FLOP/s, the best look before and after */
    double copy;          /* bytes/s, likewise; 0: nobody asked */
} timing;

/* One thread does not fill the CPU's memory, so its copies say nothing. */
static bool against_copying(const bench *b) { return b->options.device.backend && strcmp(b->unit, "GB/s") == 0; }

static void look_at_peak(const bench *b, timing *t)
{
    for (int i = 0; i < (b->options.device.backend ? 1 : PEAK_LOOKS); i++)
        t->peak = fmax(t->peak, peak_rate(b->options.device));
    if (against_copying(b))
        t->copy = fmax(t->copy, copy_rate(b->options.device));
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static bool time_steps(const bench_row *row, bench *b, int warmup, timing *t)
{
    double *seconds = calloc((size_t)t->steps, sizeof *seconds);
    if (!seconds)
        tn_fail(TN_ENOMEM, "no memory for %d times", t->steps);
    for (int i = -warmup; seconds && i < t->steps && tn_ok(); i++) {
        const double from = now_seconds();
        TN_SCOPE {
            row->step(b);
        }
        if (i >= 0)
            seconds[i] = now_seconds() - from;
    }
    if (tn_ok()) {
        qsort(seconds, (size_t)t->steps, sizeof *seconds, by_value);
        t->least = seconds[0];
        t->median = (seconds[(t->steps - 1) / 2] + seconds[t->steps / 2]) / 2;
    }
    free(seconds);
    return tn_ok();
}

static double peak_rss_mb(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)u.ru_maxrss / 1024;
}

static void report(const bench_row *row, const bench *b, const timing *t, bool json)
{
    const double ms = 1e3 * t->median, rate = b->items / t->median;
    const double gflops = 1e-9 * b->flops / t->median, share = b->flops / t->median / t->peak;
    const char *op_by_op = tn_recorder_trouble(b->often);
    if (json) {
        json_t *line = json_pack("{s:s,s:i,s:i,s:f,s:f,s:f,s:s,s:f,s:f,s:f,s:f,s:s}", "name",
                                 row->name, "threads", tn_threads(), "steps", t->steps,
                                 "ms_median", ms, "ms_min", 1e3 * t->least, "rate", rate, "unit",
                                 b->unit, "gflops", gflops, "peak_gflops", 1e-9 * t->peak,
                                 "share_of_peak", share, "peak_rss_mb", peak_rss_mb(), "isa",
                                 tn_isa());
        if (b->real > 0)
            json_object_set_new(line, "real_rate", json_real(b->real / t->median));
        if (against_copying(b))
            json_object_set_new(line, "copy_gb_s", json_real(1e-9 * t->copy));
        if (op_by_op)
            json_object_set_new(line, "op_by_op", json_string(op_by_op));
        json_print_line(line, stdout);
        return;
    }
    printf("%s: %s; %d threads, %d steps\n", row->name, row->about, tn_threads(), t->steps);
    printf("  median   %10.3f ms\n  minimum  %10.3f ms\n  rate     %10.1f %s\n", ms, 1e3 * t->least,
           rate, b->unit);
    if (b->real > 0)
        printf("           %10.1f without padding\n", b->real / t->median);
    if (b->flops > 0)
        printf("  speed    %10.1f GFLOP/s, %.1f %% of the %.1f measured with %s\n", gflops,
               100 * share, 1e-9 * t->peak, b->options.device.backend ? "a large product" : tn_isa());
    if (against_copying(b))
        printf("           %10.1f %% of the %.1f GB/s that copying reaches\n", 1e11 * rate / t->copy, 1e-9 * t->copy);
    printf("  memory   %10.0f MB at most\n", peak_rss_mb());
    if (op_by_op)
        printf("  not recorded, and so done op by op: %s\n", op_by_op);
}

/* The CPU has no backend here, so that its steps need not be waited for. */
static bool choose_device(const cli *c, bench_options *o)
{
    static const char *const names[] = {"f32", "tf32", "bf16"};
    const char *precision = cli_text(c, "precision", "f32");
    const tn_device d = tn_device_named(cli_text(c, "device", "cpu"));
    for (int i = 0; i < 3 && tn_ok(); i++)
        if (strcmp(precision, names[i]) == 0) {
            o->device = strcmp(tn_device_name(d), "cpu") == 0 ? (tn_device){NULL, 0} : d;
            return tn_set_precision(d, (tn_precision)i);
        }
    if (tn_ok())
        tn_fail(TN_EARG, "--precision is none of f32, tf32, bf16: %s", precision);
    return false;
}

static int run_bench(const cli *c)
{
    const char *names[16];
    const bench_row *row = NULL;
    for (int i = 0; i < bench_count; i++) {
        names[i] = benches[i].name;
        if (strcmp(c->arguments[0], names[i]) == 0)
            row = &benches[i];
    }
    if (!row)
        return cli_wrong(c->command, "there is no '%s'; did you mean %s?", c->arguments[0],
                         tn_nearest(c->arguments[0], names, bench_count));
    timing t = {.steps = (int)cli_integer(c, "steps", row->steps)};
    bench b = {.options = {.rule = cli_text(c, "optim", NULL), .batch = cli_integer(c, "batch", 0),
                            .vocab = cli_integer(c, "vocab", 0), .hidden = cli_integer(c, "hidden", 0)}};
    if (t.steps < 1)
        return cli_wrong(c->command, "--steps wants at least 1");
    if (!choose_device(c, &b.options))
        return cli_status();
    tn_set_threads((int)cli_integer(c, "threads", 0));
    tn_seed(1);
    TN_SCOPE {
        if (row->prepare(&b)) {
            look_at_peak(&b, &t);
            if (time_steps(row, &b, (int)cli_integer(c, "warmup", 3), &t)) {
                look_at_peak(&b, &t);
                report(row, &b, &t, cli_has(c, "json"));
            }
        }
        tn_free(b.often, b.opt, b.net);
    }
    return cli_status();
}

const command command_bench = {
    .name = "bench",
    .arguments = "NAME",
    .about = "times peak, gemm, resnet20, resnet18, transformer, lstm or optim\n"
             "Median and least time of a step, rate, GFLOP/s, the share of the peak that a loop\n"
             "of multiply-adds reaches in the same run, and the most memory held.  On a GPU the\n"
             "peak is that of a large product; optim is compared with copying memory, too.",
    .least = 1,
    .most = 1,
    .options = (const option_row[]){
        {"threads", "N", "0: one a core"},
        {"steps", "N", "that are timed"},
        {"warmup", "N", "steps before; default 3"},
        {"batch", "N", "resnet20, resnet18, transformer, lstm: instead of 128, 16, 160 and 128"},
        {"vocab", "N", "lstm: words, instead of 793471"},
        {"hidden", "N", "lstm: units of a layer, instead of 2048"},
        {"device", "NAME", "cpu (default), cuda or cuda:N"},
        {"precision", "P", "f32 (default), tf32 or bf16: operands of products and convolutions on a GPU"},
        {"optim", "RULE", "of networks and optim: sgd (default; of transformer and lstm adam), adam, radam"},
        {"json", NULL, "one JSON object"},
        {NULL, NULL, NULL},
    },
    .run = run_bench,
};
