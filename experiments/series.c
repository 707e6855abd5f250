/* See series.h. */
#define _GNU_SOURCE
#include "series.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <tenon.h>

#include "config.h"

static bool append(series *s, double x, double y)
{
    if (s->n % 256 == 0) {
        const size_t bytes = (size_t)(s->n + 256) * sizeof(double);
        double *xs = realloc(s->x, bytes), *ys = realloc(s->y, bytes);
        s->x = xs ? xs : s->x;
        s->y = ys ? ys : s->y;
        if (!xs || !ys) {
            tn_fail(TN_ENOMEM, "no memory for %d points", s->n + 256);
            return false;
        }
    }
    s->x[s->n] = x;
    s->y[s->n++] = y;
    return true;
}

static bool read_line(series *s, const char *text, const char *x_key, const char *y_key)
{
    json_t *line = json_loads(text, 0, NULL);
    const json_t *x = json_object_get(line, x_key), *y = json_object_get(line, y_key);
    bool good = json_is_object(line);
    if (json_is_number(x) && json_is_number(y))
        good = append(s, json_number_value(x), json_number_value(y));
    json_decref(line);
    return good;
}

bool series_read(series *s, const char *run_dir, const char *x_key, const char *y_key)
{
    char path[CONFIG_TEXT + 16], *line = NULL;
    size_t room = 0;
    int number = 0;
    *s = (series){0};
    snprintf(path, sizeof path, "%.*s/metrics.jsonl", CONFIG_TEXT - 1, run_dir);
    FILE *f = fopen(path, "r");
    if (!f) {
        tn_fail(TN_EIO, "%s: %s", path, strerror(errno));
        return false;
    }
    /* a last line without its end is one that a killed run was writing */
    for (ssize_t n; tn_ok() && (n = getline(&line, &room, f)) > 0 && line[n - 1] == '\n';) {
        number++;
        if (!read_line(s, line, x_key, y_key))
            tn_fail(TN_EFORMAT, "%s:%d: not a line of metrics", path, number);
    }
    if (tn_ok() && s->n == 0)
        tn_fail(TN_EARG, "%s: no line has both %s and %s", path, x_key, y_key);
    free(line);
    fclose(f);
    return tn_ok();
}

void series_free(series *s)
{
    free(s->x);
    free(s->y);
    *s = (series){0};
}
