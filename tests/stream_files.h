/* What the tests of preparing running text share: dictionaries and shards as words, preparation that is stopped, the
 * program's words. */
#ifndef TN_TESTS_STREAM_FILES_H
#define TN_TESTS_STREAM_FILES_H

#include "prepare_files.h"

/* ---- what came out ---- */

static inline tn_dictionary *dictionary_of(const char *dir)
{
    tn_dictionary *d = tn_dictionary_open_ranked(in(dir, "dict.txt"));
    assert_ok();
    return d;
}

/* The words of a shard, "|" for the end of each sentence. */
static inline const char *words_of(const char *dir, const char *file)
{
    static char text[1 << 16];
    size_t at = 0;
    tn_tokens *t = tn_tokens_open(in(dir, file));
    tn_dictionary *d = dictionary_of(dir);
    assert_true(tn_tokens_check(t));
    for (int64_t i = 0; i < tn_tokens_sentences(t); i++) {
        int64_t n;
        const int32_t *ids = tn_tokens_at(t, i, &n);
        assert_int_equal(ids[n - 1], tn_dictionary_eos(d));
        for (int64_t k = 0; k < n; k++)
            at += (size_t)snprintf(text + at, sizeof text - at, k < n - 1 ? "%s " : "| ",
                                   tn_dictionary_word(d, ids[k]));
    }
    tn_free(t, d);
    return text;
}

static inline void expect_file(const char *dir, const char *file, const char *wanted)
{
    size_t n;
    char *text = whole(in(dir, file), &n);
    assert_string_equal(text, wanted);
    free(text);
}

/* The dictionary by an independent count: awk. */
static inline void same_as_awk(const char *dir, const char *files, int threshold)
{
    char command[4000];
    snprintf(command, sizeof command,
             "cat %s | awk -v T=%d '{n += NF > 0; for (i = 1; i <= NF; i++) c[$i]++} END {u = c[\"<unk>\"] > T ? "
             "c[\"<unk>\"] : 0; for (w in c) if (c[w] > T) {if (w != \"<unk>\") print c[w], w} else u += c[w]; "
             "print u, \"<unk>\"; print n, \"</s>\"}' | LC_ALL=C sort -k1,1nr -k2,2 | awk '{print $2, $1}' > '%s' && "
             "cmp '%s' '%s'", files, threshold, at("wanted"), at("wanted"), in(dir, "dict.txt"));
    assert_int_equal(system(command), 0);
}

/* ---- stopped ---- */

typedef struct stopper {
    int calls, last; /* the call that stops; 0: none */
    double share;
    char what[64], steps[512];
    bool falls;
} stopper;

static inline bool count_calls(void *arg, const char *what, double share)
{
    stopper *s = arg;
    const bool same = strcmp(what, s->what) == 0;
    s->falls |= share < 0 || share > 1 || (same && share < s->share);
    s->share = share;
    if (!same) {
        snprintf(s->what, sizeof s->what, "%s", what);
        snprintf(s->steps + strlen(s->steps), sizeof s->steps - strlen(s->steps), "%s\n", what);
    }
    return ++s->calls != s->last;
}

static inline void remove_dir(const char *name)
{
    char command[1000];
    snprintf(command, sizeof command, "rm -rf '%s'", at(name));
    assert_int_equal(system(command), 0);
}

/* ---- the program ---- */

static inline void expect_said(int wanted, const char *arguments, const char *words)
{
    const int status = program("%s", arguments);
    if (status != wanted || !strstr(output, words))
        fail_msg("status %d, no '%s' in: %s", status, words, output);
}

#endif
