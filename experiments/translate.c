/* See translate.h. */
#include "translate.h"

#include <stdlib.h>

enum { SENTENCES = 64, ROWS = 4096 }; /* of a batch */

typedef struct entry {
    int64_t line, rows;
} entry;

static int longest_first(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->rows != y->rows)
        return x->rows < y->rows ? 1 : -1;
    return (x->line > y->line) - (x->line < y->line);
}

static bool translate_batch(const translate_args *a, int64_t n, const entry *list, const tn_ids *lines,
                            translate_each *each, void *arg)
{
    int64_t rows = 0, at = 0;
    for (int64_t i = 0; i < n; i++)
        rows += list[i].rows;
    tn_beam_args search = a->search;
    search.net = a->net;
    search.x = tn_empty(TN_I64, 1, &rows);
    search.x_spans = tn_empty(TN_I64, TN_SHAPE(n, 2));
    int64_t *x = tn_i64(search.x), *spans = tn_i64(search.x_spans);
    if (!x || !spans)
        return false;
    for (int64_t i = 0; i < n; i++) {
        spans[2 * i] = at;
        spans[2 * i + 1] = list[i].rows;
        for (int64_t k = 0; k < list[i].rows; k++)
            x[at++] = lines[list[i].line].at[k];
    }
    tn_hypotheses *found = tn_beam_call(search);
    bool good = found;
    for (int64_t i = 0; good && i < n; i++)
        good = each(arg, list[i].line, found, i);
    tn_free(found);
    return good;
}

bool translate(const translate_args *a, int64_t n, const tn_ids *lines, translate_each *each, void *arg)
{
    const int64_t batch = a->batch ? a->batch : SENTENCES;
    entry *list = calloc((size_t)n + 1, sizeof *list);
    bool good = list || tn_fail(TN_ENOMEM, "translate: no memory for %lld lines", (long long)n);
    int64_t full = 0;
    for (int64_t i = 0; good && i < n; i++)
        if (lines[i].len > 1)
            list[full++] = (entry){i, lines[i].len};
    if (good)
        qsort(list, (size_t)full, sizeof *list, longest_first);
    for (int64_t from = 0, count; good && from < full; from += count) {
        int64_t rows = list[from].rows;
        for (count = 1; count < batch && from + count < full && rows + list[from + count].rows <= ROWS; count++)
            rows += list[from + count].rows;
        TN_SCOPE {
            good = translate_batch(a, count, list + from, lines, each, arg);
        }
    }
    free(list);
    return good && tn_ok();
}
