/* See lm_run.h. */
#include "lm_run.h"

#include "ledger.h"
#include "setup.h"

bool lm_run_open(lm_run *l, const config *c, const char *dir, const char *weights)
{
    char path[RUN_PATH];
    *l = (lm_run){NULL, NULL};
    snprintf(path, sizeof path, "%.*s/dict.txt", CONFIG_TEXT, dir);
    l->dictionary = tn_dictionary_open_ranked(path);
    const int64_t words = tn_dictionary_len(l->dictionary);
    l->net = words ? setup_model_of_words(c, words, words, stderr) : NULL;
    if (!l->net || !setup_load(l->net, weights))
        return false;
    tn_eval(l->net);
    return true;
}

void lm_run_close(lm_run *l) { tn_free(l->net, l->dictionary); }

/* All lines, one after the other. */
static bool read_text(const tn_dictionary *d, const char *file, tn_ids *all)
{
    const char *line;
    size_t size;
    tn_ids words = {0};
    tn_lines *from = tn_lines_open(file);
    while (from && tn_ok() && tn_lines_next(from, &line, &size))
        if (tn_dictionary_encode(d, line, size, &words))
            for (int64_t i = 0; i < words.len && tn_ids_add(all, words.at[i]);)
                i++;
    tn_ids_end(&words);
    tn_free(from);
    return tn_ok();
}

bool lm_run_judge(const lm_run *l, const config *c, const char *file, int64_t steps, tally *t)
{
    tn_ids text = {0};
    bool good = read_text(l->dictionary, file, &text);
    if (good && text.len < 2)
        good = tn_fail(TN_EFORMAT, "%s: no word follows another, so there is nothing to judge", file);
    *t = (tally){0};
    TN_SCOPE TN_NO_GRAD {
        ledger figures;
        tn_state state = tn_lm_state(l->net, 1);
        good = good && state.h && ledger_begin(&figures, tn_device_of(state.h));
        for (int64_t at = 0; good && at + 1 < text.len; at += steps)
            TN_SCOPE {
                const int64_t n = steps < text.len - 1 - at ? steps : text.len - 1 - at;
                const tn_batch b = {.x = tn_from(text.at + at, TN_I32, TN_SHAPE(n, 1)),
                                    .y = tn_from(text.at + at + 1, TN_I32, TN_SHAPE(n, 1)), .first = at == 0};
                good = ledger_judge(&figures, &task_lm, c, l->net, &b, &state, t);
            }
        good = good && ledger_read(&figures, &task_lm, t);
    }
    tn_ids_end(&text);
    return good;
}
