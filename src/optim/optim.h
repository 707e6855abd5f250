/* What the files of src/optim share: the optimizer itself.  Slots are parameters, ranges are
 * stretches of slots with the same settings, chunks are what one thread does at a time.
 *
 *     registry.c  rules by name           hyper.c   options: defaults and checks
 *     slab.c      memory                  groups.c  settings by path, ranges and chunks
 *     optim.c     new, free, state        step.c    steps
 *     clip.c      norms of gradients      rows.c    tables of which few rows are looked up
 *     schedule.c */
#ifndef TN_OPTIM_OPTIM_H
#define TN_OPTIM_OPTIM_H

#include <pthread.h>

#include "tenon/optim.h"
#include "tensor/internal.h"

/* A rule that is a row of optim.def; cls.update is NULL. */
typedef struct tn__update_rule {
    tn_optim_class cls;
    const char *knobs;
    void (*scalars)(const tn_hyper *h, double t, float k[TN_RULE_SCALARS]);
    int row; /* TN_RULE_adam, ... */
} tn__update_rule;

typedef struct tn__settings { /* of a group, over the optimizer's own */
    double lr_scale;          /* 0: frozen */
    double decay;
    bool has_decay;
} tn__settings;

/* Offsets are in elements: of parameters, gradients and states in their slabs.  The first two
 * differ from the third when the optimizer uses a slab that another one made and trains a part of
 * it. */
typedef struct tn__slot {
    char *path;
    int ndim;
    int64_t shape[TN_MAX_DIMS];
    int64_t n, p, g, s;
    tn__settings set;
    bool sparse; /* a table for rows.c */
} tn__slot;

typedef struct tn__range {
    int64_t n, p, g, s;
    tn__settings set;
} tn__range;

typedef struct tn__chunk {
    int range;
    int64_t at, n;
    double sum; /* of squared gradients, as clip.c last found it */
} tn__chunk;

/* A table whose rows wait for their steps until they are looked at. */
typedef struct tn__rows {
    const tn__slot *slot;
    int64_t count, dim;    /* rows, elements of each */
    uint64_t *dirty;       /* a bit for each row: its gradient may be other than zero */
    int64_t written;       /* bytes of gradients since their memory last went back */
    atomic_int *done;      /* of each row: how many of the steps it has had */
    int steps;             /* the last ones of the optimizer, while some row may lack them */
    tn__past *past;        /* those steps */
    tn__past least, most;  /* of all of them */
} tn__rows;

/* Elements of a chunk that a pass must look at; begins as zeros. */
typedef struct tn__stretch {
    int64_t at, n;
    const tn__rows *rows;  /* the table whose rows they are; NULL: of none */
} tn__stretch;

struct tn_optim {
    const tn_type *type;
    tn__guard guard;             /* of the slabs, while there are tables */
    pthread_mutex_t lock;        /* of readers who bring rows up to date */
    const tn_optim_class *cls;
    const tn__update_rule *rule; /* NULL: a class of the user's */
    tn_hyper h;                  /* complete */
    int64_t t;                   /* steps done */
    tn_storage *params, *grads, *states[TN_RULE_STATES];
    int n_slots, n_ranges;
    int64_t n_chunks;
    tn__slot *slots;
    tn__range *ranges;           /* room for n_slots */
    float *k;                    /* scalars of each range for the step being done */
    tn_storage *scalars;         /* the same on the device; NULL: the host's do */
    tn__chunk *chunks;           /* room for the case that no two slots join */
    tn__rows *rows;              /* in the order of slots */
    int n_rows;
};

enum { TN_SLAB_ALIGN = 16 }; /* elements: parameters start at a cache line */
static inline int64_t tn__slab_up(int64_t n)
{
    return (n + TN_SLAB_ALIGN - 1) / TN_SLAB_ALIGN * TN_SLAB_ALIGN;
}
static inline float *tn__slab_at(const tn_storage *s, int64_t offset)
{
    return (float *)s->data + offset;
}
static inline float *tn__range_scalars(const tn_optim *o, const tn__range *r)
{
    return o->k + (r - o->ranges) * TN_RULE_SCALARS;
}
/* Host memory is worked on in chunks by the threads; a device gets whole ranges. */
static inline bool tn__on_host(const tn_optim *o) { return o->params->backend == &tn__cpu; }

/* The class of a name and, when it is a row, the rule; NULL with the error set. */
const tn_optim_class *tn__optim_class_named(const char *name, const tn__update_rule **rule);
/* Fills in defaults and checks every field. */
bool tn__hyper_complete(tn_hyper *h, const char *rule, const tn_hyper *defaults, const char *knobs);
bool tn__hyper_check(const tn_hyper *h, const char *rule);
/* Whether the caller said something: anything but a plain zero. */
bool tn__given(double x);
/* Fills slots, slabs and states from the trained parameters of m and points those at the slabs. */
bool tn__slab_gather(tn_optim *o, tn_module *m);
/* Tables of the slots marked sparse, where there can be any; clean: all gradients are zero. */
bool tn__rows_new(tn_optim *o, bool clean);
void tn__rows_end(tn_optim *o);
/* The stretch of c behind s; false when there is none. */
bool tn__stretch_next(const tn_optim *o, const tn__chunk *c, tn__stretch *s);
void tn__rows_before_step(tn_optim *o);
void tn__rows_catch_up(const tn_optim *o, const tn__chunk *c, const tn__stretch *s);
void tn__rows_after_step(tn_optim *o);
void tn__rows_clean(tn_optim *o); /* all gradients are zero now */
/* Ranges and chunks from the slots' settings. */
bool tn__plan_new(tn_optim *o);
void tn__plan(tn_optim *o);

#endif
