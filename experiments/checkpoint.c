/* See checkpoint.h.  The file format is safetensors; what is written where in it, is here. */
#define _GNU_SOURCE
#include "checkpoint.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NAME = 256, VALUE = 32, KEEP_MOST = 9 };

/* A list of named tensors that grows. */
typedef struct list {
    int n, room;
    tn_named *item;
    char (*names)[NAME];
} list;

static bool list_new(list *l, int room)
{
    *l = (list){0, room, calloc((size_t)room + 1, sizeof *l->item), calloc((size_t)room + 1, NAME)};
    if (!l->item || !l->names)
        tn_fail(TN_ENOMEM, "checkpoint: no memory for the names of %d tensors", room);
    return tn_ok();
}

static void list_free(list *l)
{
    free(l->item);
    free(l->names);
}

/* [O,KH,KW,I] as [O,I,KH,KW] and back; other tensors as they are. */
static tn_tensor *to_file(tn_param *p)
{
    return p->conv_layout ? tn_permute(&p->t, 4, (const int64_t[]){0, 3, 1, 2}) : &p->t;
}
static tn_tensor *from_file(const tn_param *p, tn_tensor *t)
{
    const bool turned = t && p->conv_layout && t->ndim == 4;
    return turned ? tn_permute(t, 4, (const int64_t[]){0, 2, 3, 1}) : t;
}

static bool count_param(void *arg, const char *path, tn_param *p)
{
    (void)path, (void)p;
    ++*(int *)arg;
    return true;
}

static bool add_param(void *arg, const char *path, tn_param *p)
{
    list *l = arg;
    snprintf(l->names[l->n], NAME, "%s", path);
    l->item[l->n] = (tn_named){l->names[l->n], tn_contiguous(to_file(p))};
    l->n++;
    return tn_ok();
}

/* The optimizer's tensors with their names in the file. */
static bool add_state(list *l, tn_optim *opt)
{
    const int n = tn_optim_state(opt, 0, NULL, NULL);
    list own;
    bool good = list_new(&own, n) && tn_optim_state(opt, n, own.item, own.names) == n;
    for (int i = 0; good && i < n; i++, l->n++) {
        snprintf(l->names[l->n], NAME, "optim.%.*s", NAME - 8, own.names[i]);
        l->item[l->n] = (tn_named){l->names[l->n], own.item[i].t};
    }
    list_free(&own);
    return good && tn_ok();
}

enum { CARRIED = 2 };
static void add_carried(list *l, const tn_state *carried)
{
    tn_tensor *const t[CARRIED] = {carried->h, carried->c};
    for (int i = 0; i < CARRIED; i++)
        if (t[i]) {
            snprintf(l->names[l->n], NAME, "carried.%c", "hc"[i]);
            l->item[l->n] = (tn_named){l->names[l->n], t[i]};
            l->n++;
        }
}

static tn_device device_of(const config *c) { return tn_device_named(c->device.name); }

static const char engines_name[] = "engines";
static void add_engines(list *l, const config *c)
{
    tn_tensor *engines = tn_engines(device_of(c));
    if (engines)
        l->item[l->n++] = (tn_named){engines_name, engines};
}

/* ---- metadata ---- */

#define COUNT_FIELD(type, name, key) +1
enum { FIELDS = 0 TRAIN_STATE(COUNT_FIELD) };

static void print_integer(char text[VALUE], int64_t v) { snprintf(text, VALUE, "%" PRId64, v); }
static void print_number(char text[VALUE], double v) { snprintf(text, VALUE, "%a", v); }

static bool scan_integer(const char *text, int64_t *v)
{
    char *end;
    *v = strtoll(text, &end, 10);
    return *text && !*end;
}

static bool scan_number(const char *text, double *v)
{
    char *end;
    *v = strtod(text, &end);
    return *text && !*end;
}

static bool read_state(const tn_safetensors *f, const char *path, train_state *s)
{
    const char *text;
#define SCAN(type, name, key)                                                   \
    text = tn_safetensors_meta(f, #key);                                        \
    if (!text || !scan_##type(text, &s->name))                                  \
        tn_fail(TN_EFORMAT, "%s: no checkpoint of a run: %s is missing", path, #key);
    TRAIN_STATE(SCAN)
    return tn_ok();
}

/* ---- saving ---- */

static const char *numbered(const run *r, int i, char path[RUN_PATH])
{
    char name[40] = "checkpoint.safetensors";
    if (i > 0)
        snprintf(name, sizeof name, "checkpoint-%d.safetensors", i);
    return run_path(r, name, path);
}

/* Makes room for the newest; at every moment a good one has a name that checkpoint_load() knows. */
static bool shift_older(const run *r, int keep)
{
    char from[RUN_PATH], to[RUN_PATH];
    for (int i = keep - 1; i > 0; i--)
        if (rename(numbered(r, i - 1, from), numbered(r, i, to)) != 0 && errno != ENOENT)
            tn_fail(TN_EIO, "%s: cannot be renamed: %s", from, strerror(errno));
    return tn_ok();
}

/* Of older ones than the last `keep`; that one stays is no harm. */
static void remove_oldest(const run *r, int keep)
{
    char path[RUN_PATH];
    for (int i = keep; i < KEEP_MOST; i++)
        unlink(numbered(r, i, path));
}

/* The config as YAML, to be freed. */
static char *config_yaml(const config *c)
{
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    if (f)
        config_print(c, f);
    if (f && fclose(f) == 0)
        return text;
    free(text);
    return tn_fail(TN_ENOMEM, "checkpoint: no memory for the config");
}

static bool write_file(const char *path, const config *c, const char *yaml, tn_module *net, tn_optim *opt,
                       const tn_state *carried, const train_state *s)
{
    char values[FIELDS][VALUE];
    const char *meta[2 * FIELDS + 3] = {[2 * FIELDS] = "config", [2 * FIELDS + 1] = yaml};
    int k = 0, params = 0;
#define PRINT(type, name, key)          \
    print_##type(values[k], s->name);   \
    meta[2 * k] = #key;                 \
    meta[2 * k + 1] = values[k];        \
    k++;
    TRAIN_STATE(PRINT)
    bool good = false;
    TN_SCOPE TN_NO_GRAD {
        list all;
        tn_each_param(net, count_param, &params);
        good = list_new(&all, params + tn_optim_state(opt, 0, NULL, NULL) + CARRIED + 1) &&
               tn_each_param(net, add_param, &all) && add_state(&all, opt);
        if (good) {
            add_carried(&all, carried);
            add_engines(&all, c);
        }
        good = good && tn_ok() && tn_safetensors_save(path, all.n, all.item, meta);
        list_free(&all);
    }
    return good;
}

bool checkpoint_save(run *r, const config *c, tn_module *net, tn_optim *opt, const tn_state *carried,
                     const train_state *s)
{
    char fresh[RUN_PATH], path[RUN_PATH];
    const int keep = (int)c->train.keep;
    char *yaml = config_yaml(c);
    run_path(r, "checkpoint-new.safetensors", fresh);
    const bool written = yaml && run_metrics_sync(r) && write_file(fresh, c, yaml, net, opt, carried, s);
    free(yaml);
    if (!written || !shift_older(r, keep))
        return false;
    if (rename(fresh, numbered(r, 0, path)) != 0)
        tn_fail(TN_EIO, "%s: cannot be renamed: %s", fresh, strerror(errno));
    else
        remove_oldest(r, keep);
    return tn_ok();
}

/* ---- loading ---- */

static bool fits(const char *path, const char *name, const tn_tensor *to, const tn_tensor *from)
{
    char a[TN_SHAPE_TEXT], b[TN_SHAPE_TEXT];
    if (from && !tn_same_shape(to, from))
        tn_fail(TN_ESHAPE, "%s: %s is %s in the file, %s in this run", path, name,
                tn_shape_text(from, a), tn_shape_text(to, b));
    return from && tn_ok();
}

typedef struct source {
    tn_safetensors *file;
    const char *path;
} source;

/* One at a time, so that the file is never in memory as a whole; p: NULL of no parameter. */
static bool fill(const source *s, const char *name, tn_tensor *to, const tn_param *p)
{
    bool good = false;
    TN_SCOPE {
        tn_tensor *from = tn_safetensors_read(s->file, name);
        from = p ? from_file(p, from) : from;
        good = fits(s->path, name, to, from) && tn_copy_(to, from);
    }
    return good;
}

static bool load_param(void *arg, const char *name, tn_param *p) { return fill(arg, name, &p->t, p); }

/* What is in the run besides weights. */
static bool load_state(const source *s, tn_optim *opt, const tn_state *carried)
{
    list own;
    bool good = list_new(&own, tn_optim_state(opt, 0, NULL, NULL) + CARRIED) && add_state(&own, opt);
    if (good)
        add_carried(&own, carried);
    for (int i = 0; good && i < own.n; i++)
        good = fill(s, own.item[i].name, own.item[i].t, NULL);
    list_free(&own);
    return good;
}

/* Where the run was on a GPU.  That others compute from now on is worth a line. */
static bool load_engines(run *r, const source *s, const config *c)
{
    int64_t refused = 0;
    for (int i = 0; i < tn_safetensors_count(s->file); i++)
        if (!strcmp(tn_safetensors_name(s->file, i), engines_name))
            TN_SCOPE {
                refused = tn_set_engines(device_of(c), tn_safetensors_read(s->file, engines_name));
            }
    if (refused > 0)
        run_say(r, "%lld engines of cuDNN or cuBLASLt that the checkpoint names cannot be used here (another GPU or "
                "version?): others are chosen, and further bits may be others, too", (long long)refused);
    return tn_ok();
}

/* The run's config now against the one in the file. */
static bool same_run(run *r, const tn_safetensors *f, const char *path, const config *now)
{
    char allowed[CONFIG_CHANGES], refused[CONFIG_CHANGES];
    config then;
    const char *yaml = tn_safetensors_meta(f, "config");
    if (!yaml)
        return tn_fail(TN_EFORMAT, "%s: no checkpoint of a run: config is missing", path), false;
    config_defaults(&then);
    if (!config_read(&then, path, yaml, strlen(yaml)) ||
        !config_changes(&then, now, allowed, refused))
        return false;
    if (*refused)
        return tn_fail(TN_ESTATE, "%s was begun with another config: %s; set them back, --force "
                       "starts over, --out DIR puts this run elsewhere", r->dir, refused), false;
    if (*allowed)
        run_say(r, "changed since the checkpoint: %s", allowed);
    return true;
}

/* Everything is on the disk that the state speaks of. */
static bool complete(const run *r, const tn_safetensors *f, const char *path, train_state *s)
{
    if (!tn_safetensors_meta(f, "crc32"))
        tn_fail(TN_EFORMAT, "%s: no checkpoint of a run: it has no checksum", path);
    if (!tn_safetensors_check(f) || !read_state(f, path, s))
        return false;
    if (s->metrics_bytes > run_metrics_size(r))
        tn_fail(TN_EFORMAT, "%s: metrics.jsonl has lost lines: %lld bytes were written, %lld are "
                "there", path, (long long)s->metrics_bytes, (long long)run_metrics_size(r));
    return tn_ok();
}

static bool read_file(run *r, const char *path, const config *c, tn_module *net, tn_optim *opt, tn_state *carried,
                      train_state *s)
{
    source from = {tn_safetensors_open(path), path};
    bool good = false;
    TN_SCOPE TN_NO_GRAD {
        good = from.file && complete(r, from.file, path, s) && same_run(r, from.file, path, c) &&
               tn_each_param(net, load_param, &from) && load_state(&from, opt, carried) &&
               tn_optim_set_steps(opt, s->step) && load_engines(r, &from, c);
    }
    tn_free(from.file);
    return good && tn_ok();
}

/* Out of the way of the names that are shifted, so that a good one is never pushed out by a bad. */
static void put_aside(run *r, int i)
{
    char from[RUN_PATH], to[RUN_PATH + 16];
    snprintf(to, sizeof to, "%s.damaged", numbered(r, i, from));
    if (rename(from, to) != 0 && errno != ENOENT)
        tn_fail(TN_EIO, "%s: cannot be renamed: %s", from, strerror(errno));
}

bool checkpoint_load(run *r, const config *c, tn_module *net, tn_optim *opt, tn_state *carried,
                     train_state *s, bool *found)
{
    char path[RUN_PATH];
    int refused = 0;
    *found = false;
    for (int i = 0; i < KEEP_MOST; i++) {
        if (access(numbered(r, i, path), F_OK) != 0)
            continue;
        if (read_file(r, path, c, net, opt, carried, s)) {
            if (refused)
                run_say(r, "%s is used instead", path);
            while (refused && --i >= 0)
                put_aside(r, i);
            *found = true;
            return tn_ok();
        }
        const tn_err e = *tn_error();
        if (e.code != TN_EFORMAT && e.code != TN_EIO)
            return false;
        tn_error_clear();
        run_say(r, "refused: %s", e.text);
        refused++;
    }
    if (refused)
        tn_fail(TN_EFORMAT, "%s: no checkpoint is good, %d refused, see log.txt; --force starts "
                "over", r->dir, refused);
    return !refused;
}
