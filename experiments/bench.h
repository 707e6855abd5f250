/* What cmd_bench.c times; one row of `benches` is one benchmark. */
#ifndef TENON_BENCH_H
#define TENON_BENCH_H

#include <tenon.h>

typedef struct bench_options {
    const char *rule; /* of the optimizer; NULL: the benchmark's own */
    int64_t batch;    /* 0: the benchmark's own; so are the others */
    int64_t vocab, hidden;
    tn_device device;
} bench_options;

/* What a benchmark keeps between steps; tensors live in a scope around all of them. */
typedef struct bench {
    bench_options options;
    tn_module *net;
    tn_optim *opt;
    tn_recorder *often;  /* of steps */
    tn_tensor *loss;     /* of the last step */
    tn_tensor *x, *y, *x_spans, *y_spans;
    int64_t plan;        /* of y, while it is on the host */
    double items, flops; /* of a step; flops 0: not counted */
    double real;         /* items without padding; 0: there is none */
    const char *unit;    /* of items per second */
} bench;

typedef struct bench_row {
    const char *name, *about;
    int steps; /* timed unless --steps says else */
    bool (*prepare)(bench *b);
    bool (*step)(bench *b);
} bench_row;
extern const bench_row benches[];
extern const int bench_count;

/* Runs multiply-adds on registers on all threads for about 10 ms; how many operations that is. */
double peak_run(void);
/* Operations a second of these; on a GPU of a large product, as precise as products there are. */
double peak_rate(tn_device d);
/* Bytes read and written a second by a copy of memory. */
double copy_rate(tn_device d);

#endif
