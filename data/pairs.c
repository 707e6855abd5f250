/* Pairs of sentences as a data set of ragged samples, out of a folder that tenon prepare made; see tenon/text.h.
 * x is the source's ids, y the target's.  The files of ids are tokens.c's, what text.json says codec.c's; how pairs
 * become batches: batches.c. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec.h"
#include "splits.h"

enum { SOURCE, TARGET, SIDES };
enum { LONGEST = 1024 }; /* fairseq's default of both sides */

typedef struct pairs {
    tn_dataset base;
    tn_tokens *side[SIDES];
    int64_t *kept; /* [len] sentences; NULL: all of them */
} pairs;

/* ---- the data set ---- */

static int64_t number(const pairs *p, int64_t i) { return p->kept ? p->kept[i] : i; }

static void pairs_rows(const tn_dataset *d, int64_t i, int64_t *x, int64_t *y)
{
    const pairs *p = (const pairs *)d;
    tn_tokens_at(p->side[SOURCE], number(p, i), x);
    tn_tokens_at(p->side[TARGET], number(p, i), y);
}

/* The ids of a sentence, read into the second half of their room and widened from its start. */
static bool read_wide(const tn_tokens *t, int64_t sentence, int64_t *to)
{
    int64_t n;
    const int32_t *ids = tn_tokens_at(t, sentence, &n), *all = tn_tokens_at(t, 0, &(int64_t){0});
    char *narrow = (char *)(to + n) - (size_t)n * sizeof *ids;
    if (!ids || !tn_tokens_read(t, ids - all, n, (int32_t *)(void *)narrow))
        return false;
    for (int64_t k = 0; k < n; k++) {
        int32_t id;
        memcpy(&id, narrow + (size_t)k * sizeof id, sizeof id);
        to[k] = id;
    }
    return true;
}

static bool pairs_get(const tn_dataset *d, int64_t i, void *x, void *y)
{
    const pairs *p = (const pairs *)d;
    return read_wide(p->side[SOURCE], number(p, i), x) && read_wide(p->side[TARGET], number(p, i), y);
}

static void pairs_free(tn_dataset *d)
{
    pairs *p = (pairs *)d;
    tn_free(p->side[SOURCE]);
    tn_free(p->side[TARGET]);
    free(p->kept);
}

static const tn_dataset_class pairs_class = {
    .name = "pairs", .size = sizeof(pairs), .get = pairs_get, .free = pairs_free, .rows = pairs_rows,
};

/* ---- opening ---- */

/* Which of the folder's languages, 0 or 1, is on which side. */
static bool choose_sides(int which[SIDES], const char *folder, const struct tn__codec_info *info,
                         const char *const asked[SIDES])
{
    which[SOURCE] = 0;
    which[TARGET] = 1;
    if (!asked[SOURCE] && !asked[TARGET])
        return true;
    if (!asked[SOURCE] || !asked[TARGET])
        return tn_fail(TN_EARG, "pairs: %s: give both languages or neither", folder), false;
    for (int side = 0; side < SIDES; side++) {
        which[side] = strcmp(asked[side], info->lang[0]) == 0 ? 0 : 1;
        if (strcmp(asked[side], info->lang[which[side]]) != 0)
            return tn_fail(TN_EARG, "pairs: %s holds %s and %s, not '%s'", folder, info->lang[0], info->lang[1],
                           asked[side]), false;
    }
    if (which[SOURCE] == which[TARGET])
        return tn_fail(TN_EARG, "pairs: %s: from '%s' into itself", folder, asked[SOURCE]), false;
    return true;
}

static bool join(char path[PATH_MAX], const char *folder, const char *file)
{
    const int n = snprintf(path, PATH_MAX, "%s/%s", folder, file);
    return (n > 0 && n < PATH_MAX) || (tn_fail(TN_EARG, "pairs: %s: the name is too long", folder), false);
}

static int64_t dictionary_len(const char *path)
{
    tn_dictionary *d = tn_dictionary_open(path);
    const int64_t n = tn_dictionary_len(d);
    tn_free(d);
    return n;
}

/* What is looked up by them must be there, and a decoder stops at TN_EOS alone. */
static bool check_ids(const tn_tokens *t, const char *path, int64_t words)
{
    const int64_t sentences = tn_tokens_sentences(t);
    for (int64_t i = 0; i < sentences; i++) {
        int64_t n;
        const int32_t *ids = tn_tokens_at(t, i, &n);
        for (int64_t k = 0; k < n; k++)
            if (ids[k] < 0 || ids[k] >= words)
                return tn_fail(TN_EFORMAT, "pairs: %s: sentence %lld has id %d, and its dictionary %lld words; was "
                               "one of them made anew?", path, (long long)i, (int)ids[k], (long long)words), false;
        if (n == 0 || ids[n - 1] != TN_EOS)
            return tn_fail(TN_EFORMAT, "pairs: %s: sentence %lld does not end in </s>", path, (long long)i), false;
    }
    return true;
}

/* Opens, checks and returns the words of its dictionary; 0 with the error set. */
static int64_t open_side(pairs *p, int side, const char *folder, const char *split, const char *lang,
                         const char *dictionary)
{
    char path[PATH_MAX], file[64];
    const int64_t words = join(path, folder, dictionary) ? dictionary_len(path) : 0;
    snprintf(file, sizeof file, "%s.%s.tok", split, lang);
    if (words == 0 || !join(path, folder, file))
        return 0;
    tn_tokens *t = p->side[side] = tn_tokens_open(path);
    return t && tn_tokens_check(t) && check_ids(t, path, words) ? words : 0;
}

/* Leaves out what is longer. */
static bool keep_short(pairs *p, int64_t all, int64_t longest)
{
    p->kept = malloc((size_t)(all ? all : 1) * sizeof *p->kept);
    if (!p->kept)
        return tn_fail(TN_ENOMEM, "pairs: no memory for %lld pairs", (long long)all), false;
    int64_t n = 0;
    for (int64_t i = 0; i < all; i++) {
        int64_t x, y;
        tn_tokens_at(p->side[SOURCE], i, &x);
        tn_tokens_at(p->side[TARGET], i, &y);
        if (x <= longest && y <= longest)
            p->kept[n++] = i;
    }
    p->base.len = n;
    if (n == 0 && all > 0)
        return tn_fail(TN_EARG, "pairs: none of %lld pairs has at most %lld ids on both sides; raise data.longest",
                       (long long)all, (long long)longest), false;
    if (n == all) {
        free(p->kept);
        p->kept = NULL;
    }
    return true;
}

static bool open_pairs(pairs *p, const char *folder, const char *const asked[SIDES], tn_split split, int64_t longest)
{
    struct tn__codec_info info;
    int which[SIDES];
    if (!tn__codec_read(folder, &info) || !choose_sides(which, folder, &info, asked))
        return false;
    int64_t words[SIDES];
    for (int side = 0; side < SIDES; side++) {
        const int k = which[side];
        words[side] = open_side(p, side, folder, tn__split_names[split], info.lang[k], info.dictionary[k]);
        if (words[side] == 0)
            return false;
    }
    const int64_t n = tn_tokens_sentences(p->side[SOURCE]), m = tn_tokens_sentences(p->side[TARGET]);
    if (n != m)
        return tn_fail(TN_EFORMAT, "pairs: %s: %s.%s.tok has %lld sentences and %s.%s.tok %lld; prepare the folder "
                       "anew", folder, tn__split_names[split], info.lang[which[SOURCE]], (long long)n,
                       tn__split_names[split], info.lang[which[TARGET]], (long long)m), false;
    p->base.x_dtype = p->base.y_dtype = TN_I64;
    p->base.x_classes = words[SOURCE];
    p->base.classes = words[TARGET];
    return keep_short(p, n, longest);
}

static const char *given(const char *text) { return text && *text ? text : NULL; }

tn_dataset *tn_pairs(const char *folder, const char *source, const char *target, tn_split split, int64_t longest)
{
    const char *const asked[SIDES] = {given(source), given(target)};
    if (!given(folder))
        return tn_fail(TN_EARG, "pairs: no folder given; tenon prepare makes one");
    if ((int)split < 0 || split > TN_VALID)
        return tn_fail(TN_EARG, "pairs: there is no split %d", (int)split);
    if (longest < 0)
        return tn_fail(TN_EARG, "pairs: longest is %lld; give a number of ids", (long long)longest);
    pairs *p = tn_dataset_new(&pairs_class);
    if (p && open_pairs(p, folder, asked, split, longest ? longest : LONGEST))
        return &p->base;
    tn_free(p);
    return NULL;
}
