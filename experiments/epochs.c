/* See epochs.h. */
#define _GNU_SOURCE
#include "epochs.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the files ---- */

static const char *path_of(const char *dir, int64_t epoch, char path[RUN_PATH])
{
    snprintf(path, RUN_PATH, "%.*s/epoch-%03lld.safetensors", CONFIG_TEXT - 1, dir, (long long)epoch);
    return path;
}

const char *epochs_average_path(const char *dir, int64_t last, char path[RUN_PATH])
{
    snprintf(path, RUN_PATH, "%.*s/average-%lld.safetensors", CONFIG_TEXT - 1, dir, (long long)last);
    return path;
}

static int by_number(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Numbers of the files that are there, ascending, to be freed; *n is -1 with the error set. */
static int64_t *list(const char *dir, int *n)
{
    int64_t *numbers = NULL;
    DIR *d = opendir(dir);
    if (!d)
        tn_fail(TN_EIO, "%s: %s", dir, strerror(errno));
    *n = 0;
    for (struct dirent *e; d && tn_ok() && (e = readdir(d));) {
        char *end;
        if (strncmp(e->d_name, "epoch-", 6) != 0)
            continue;
        const long long number = strtoll(e->d_name + 6, &end, 10);
        if (number < 1 || strcmp(end, ".safetensors") != 0)
            continue;
        int64_t *more = realloc(numbers, (size_t)(*n + 1) * sizeof *more);
        if (!more)
            tn_fail(TN_ENOMEM, "%s: no memory for %d names", dir, *n + 1);
        else
            (numbers = more)[(*n)++] = number;
    }
    if (d)
        closedir(d);
    if (numbers)
        qsort(numbers, (size_t)*n, sizeof *numbers, by_number);
    *n = tn_ok() ? *n : -1;
    return numbers;
}

/* Those with numbers up to `low` or above `high`. */
static bool remove_outside(const char *dir, int64_t low, int64_t high)
{
    char path[RUN_PATH];
    int n;
    int64_t *numbers = list(dir, &n);
    for (int i = 0; i < n; i++)
        if ((numbers[i] <= low || numbers[i] > high) && unlink(path_of(dir, numbers[i], path)) != 0)
            tn_fail(TN_EIO, "%s: cannot be removed: %s", path, strerror(errno));
    free(numbers);
    return tn_ok();
}

bool epochs_save(const char *dir, tn_module *net, int64_t epoch, int64_t keep)
{
    char path[RUN_PATH];
    return tn_save(net, path_of(dir, epoch, path)) && remove_outside(dir, epoch - keep, epoch);
}

bool epochs_forget(const char *dir, int64_t after) { return remove_outside(dir, 0, after); }

/* ---- their mean ---- */

typedef struct mean {
    int64_t last, *epochs;  /* [last] */
    const char *dir;
    tn_safetensors **files; /* [last], the newest at the end */
    double *sum, *part;     /* of the tensor at hand */
    int64_t room;
} mean;

static bool open_files(mean *m)
{
    char path[RUN_PATH];
    m->files = calloc((size_t)m->last, sizeof *m->files);
    if (!m->files)
        return tn_fail(TN_ENOMEM, "no memory for %lld files", (long long)m->last);
    for (int64_t i = 0; i < m->last; i++) {
        m->files[i] = tn_safetensors_open(path_of(m->dir, m->epochs[i], path));
        if (!m->files[i] || !tn_safetensors_check(m->files[i]))
            return false;
        if (tn_safetensors_count(m->files[i]) != tn_safetensors_count(m->files[0]))
            tn_fail(TN_EFORMAT, "%s: has other tensors than the epoch before", path);
    }
    return tn_ok();
}

static bool make_room(mean *m, int64_t n)
{
    if (n <= m->room)
        return true;
    free(m->sum);
    free(m->part);
    m->sum = malloc((size_t)n * sizeof *m->sum);
    m->part = malloc((size_t)n * sizeof *m->part);
    m->room = m->sum && m->part ? n : 0;
    return m->room || tn_fail(TN_ENOMEM, "average: no memory for %lld numbers", (long long)n);
}

/* In the innermost scope. */
static tn_tensor *mean_of(mean *m, const char *name)
{
    tn_tensor *newest = tn_safetensors_read(m->files[m->last - 1], name);
    if (!newest || !tn_dtype_floating(newest->dtype))
        return newest;
    const int64_t n = tn_numel(newest);
    if (!make_room(m, n))
        return NULL;
    memset(m->sum, 0, (size_t)n * sizeof *m->sum);
    for (int64_t k = 0; k < m->last && tn_ok(); k++)
        TN_SCOPE {
            tn_tensor *t = tn_safetensors_read(m->files[k], name);
            if (t && !tn_same_shape(t, newest))
                tn_fail(TN_ESHAPE, "epoch %lld: %s has another shape than later", (long long)m->epochs[k], name);
            if (tn_ok() && tn_read_f64(t, m->part))
                for (int64_t i = 0; i < n; i++)
                    m->sum[i] += m->part[i];
        }
    for (int64_t i = 0; i < n; i++)
        m->sum[i] /= (double)m->last;
    return tn_cast(tn_from(m->sum, TN_F64, newest->ndim, newest->shape), newest->dtype);
}

static bool write_mean(mean *m, const char *out)
{
    bool good = false;
    const int n = tn_safetensors_count(m->files[0]);
    tn_named *item = calloc((size_t)n + 1, sizeof *item);
    if (!item)
        return tn_fail(TN_ENOMEM, "average: no memory for %d names", n);
    TN_SCOPE TN_NO_GRAD {
        for (int i = 0; i < n && tn_ok(); i++) {
            const char *name = tn_safetensors_name(m->files[0], i);
            item[i] = (tn_named){name, mean_of(m, name)};
        }
        good = tn_ok() && tn_safetensors_save(out, n, item, NULL);
    }
    free(item);
    return good;
}

bool epochs_average(const char *dir, int64_t last, const char *out)
{
    int n;
    int64_t *numbers = list(dir, &n);
    mean m = {.last = last, .dir = dir};
    if (n >= 0 && last > n)
        tn_fail(TN_EARG, "%s: %d files epoch-NNN.safetensors, %lld are wanted; train.epoch_checkpoints says how many "
                "a run keeps", dir, n, (long long)last);
    m.epochs = tn_ok() ? numbers + n - last : NULL;
    const bool good = m.epochs && last > 0 && open_files(&m) && write_mean(&m, out);
    for (int64_t i = 0; m.files && i < last; i++)
        tn_free(m.files[i]);
    free(m.files);
    free(m.sum);
    free(m.part);
    free(numbers);
    return good && tn_ok();
}
