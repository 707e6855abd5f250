/* Words and their ids, as fairseq 0.7.2 numbers and writes them (fairseq/data/dictionary.py), or ranked, as the RAdam
 * paper's language model numbers them (language-model/pre_word_ada/encode_data2folder.py); see tenon/text.h.  Counting
 * and tables are words.c's. */
#define _GNU_SOURCE /* memrchr */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"
#include "words.h"

enum { SPECIALS = 4 };
static const char *const specials[SPECIALS] = {[TN_BOS] = "<s>", [TN_PAD] = "<pad>", [TN_EOS] = "</s>",
                                               [TN_UNK] = "<unk>"};

struct tn_dictionary {
    const tn_type *type;
    tn__words words; /* numbered by their ids */
    int32_t specials, eos, unk; /* specials: ids before those of the text's words; 0 when ranked */
};

static void dictionary_free(void *object)
{
    tn_dictionary *d = object;
    tn__words_end(&d->words);
    free(d);
}

static const tn_type dictionary_type = {"dictionary", dictionary_free};

/* With the specials, and nothing else; ranked: empty. */
static tn_dictionary *dictionary_new(bool ranked)
{
    tn_dictionary *d = calloc(1, sizeof *d);
    bool ok = d;
    if (d)
        *d = (tn_dictionary){.type = &dictionary_type, .specials = ranked ? 0 : SPECIALS, .eos = TN_EOS, .unk = TN_UNK};
    for (int i = 0; ok && i < d->specials; i++)
        ok = tn__words_add(&d->words, specials[i], strlen(specials[i])) == i;
    if (ok)
        return d;
    tn_free(d);
    return tn_fail(TN_ENOMEM, "dictionary: no memory");
}

/* A word that is not there yet. */
static bool add(tn_dictionary *d, const char *word, size_t n, int64_t count)
{
    const int32_t id = tn__words_add(&d->words, word, n);
    if (id < 0)
        return tn_fail(TN_ENOMEM, "dictionary: no memory for word %d", d->words.n), false;
    d->words.word[id].count = count;
    return true;
}

/* Where </s> and <unk> are in a ranked dictionary; false when one is not. */
static bool find_specials(tn_dictionary *d)
{
    d->eos = tn__words_find(&d->words, specials[TN_EOS], strlen(specials[TN_EOS]));
    d->unk = tn__words_find(&d->words, specials[TN_UNK], strlen(specials[TN_UNK]));
    return d->eos >= 0 && d->unk >= 0;
}

/* ---- building ---- */

typedef struct place {
    const tn__words *words;
    int32_t id;
} place;

static int by_count(const void *a, const void *b)
{
    const place *x = a, *y = b;
    const int64_t p = x->words->word[x->id].count, q = y->words->word[y->id].count;
    return p != q ? (p < q) - (p > q) : tn__words_order(x->words, x->id, y->id);
}

/* fairseq's fill: some matrix products like multiples of 8. */
static bool fill_up(tn_dictionary *d, int multiple)
{
    char word[32];
    bool ok = true;
    for (int64_t i = 0; ok && d->words.n % multiple; i++) {
        const int n = snprintf(word, sizeof word, "madeupword%04lld", (long long)i);
        ok = tn__words_find(&d->words, word, (size_t)n) >= 0 || add(d, word, (size_t)n, 0);
    }
    return ok;
}

/* The numbers of all words, the most frequent first; to be freed.  NULL with the error set. */
static place *rank(const tn__words *words)
{
    place *order = malloc((size_t)words->n * sizeof *order + 1);
    if (!order)
        return tn_fail(TN_ENOMEM, "dictionary: no memory to sort %d words", words->n);
    for (int32_t i = 0; i < words->n; i++)
        order[i] = (place){words, i};
    qsort(order, (size_t)words->n, sizeof *order, by_count);
    return order;
}

/* A NUL could not be written as a C string. */
static bool has_nul(const tn__words *words, int32_t id)
{
    return memchr(tn__words_text(words, id), 0, words->word[id].len) != NULL;
}

static bool take_words(tn_dictionary *d, const tn__words *words, const tn_dictionary_args *a)
{
    place *order = rank(words);
    bool ok = order;
    for (int32_t i = 0; ok && i < words->n && (!a->most || d->words.n < a->most); i++) {
        const tn__word *w = &words->word[order[i].id];
        const char *text = words->text + w->at;
        if (w->count < a->threshold)
            break;
        /* text that looks like a special is none */
        if (tn__words_find(&d->words, text, w->len) < 0 && !has_nul(words, order[i].id))
            ok = add(d, text, w->len, w->count);
    }
    free(order);
    return ok;
}

/* The number of a word that is added when it is not there; -1 with the error set. */
static int32_t special(tn__words *words, const char *word)
{
    const int32_t id = tn__words_add(words, word, strlen(word));
    if (id < 0)
        tn_fail(TN_ENOMEM, "dictionary: no memory for %s", word);
    return id;
}

/* <unk> stands for rare words, itself and text that reads like </s>. */
static bool take_ranked(tn_dictionary *d, tn__words *words, int64_t lines, int64_t threshold)
{
    const int32_t eos = special(words, specials[TN_EOS]), unk = special(words, specials[TN_UNK]);
    if (eos < 0 || unk < 0)
        return false;
    int64_t unknown = 0;
    for (int32_t i = 0; i < words->n; i++) {
        tn__word *w = &words->word[i];
        const bool kept = w->count >= threshold && !has_nul(words, i) && i != eos && i != unk;
        unknown += kept ? 0 : w->count;
        w->count = kept ? w->count : -1;
    }
    words->word[eos].count = lines;
    words->word[unk].count = unknown;
    place *order = rank(words);
    bool ok = order;
    for (int32_t i = 0; ok && i < words->n && words->word[order[i].id].count >= 0; i++) {
        const tn__word *w = &words->word[order[i].id];
        ok = add(d, words->text + w->at, w->len, w->count);
    }
    free(order);
    return ok && find_specials(d);
}

static bool tell(void *arg, int64_t bytes)
{
    const tn_dictionary_args *a = arg;
    if (a->progress(a->arg, bytes))
        return true;
    return tn_fail(TN_ESTATE, "dictionary: stopped"), false;
}

static bool build(tn_dictionary *d, tn_dictionary_args *a)
{
    tn__words words = {0};
    tn__counting how = {.who = "dictionary", .n = a->n, .files = a->files, .by = TN__AT_WHITE,
                        .tell = a->progress ? tell : NULL, .arg = a};
    bool ok = tn__words_count(&words, &how);
    if (ok && a->ranked)
        ok = take_ranked(d, &words, how.lines - (a->skip_blank ? how.blank : 0), a->threshold);
    else if (ok)
        ok = take_words(d, &words, a) && fill_up(d, a->multiple ? a->multiple : 8);
    tn__words_end(&words);
    return ok;
}

tn_dictionary *tn_dictionary_build(tn_dictionary_args args)
{
    if (args.n < 1 || !args.files)
        return tn_fail(TN_EARG, "dictionary: no files given to count words of");
    if (args.most < 0 || (args.most && args.most < SPECIALS) || args.multiple < 0)
        return tn_fail(TN_EARG, "dictionary: most %lld, multiple %d: most is 0 or at least %d, multiple positive",
                       (long long)args.most, args.multiple, SPECIALS);
    if (args.ranked ? args.most || args.multiple : args.skip_blank)
        return tn_fail(TN_EARG, "dictionary: most and multiple are not for ranked ones, skip_blank is for these alone");
    tn_dictionary *d = dictionary_new(args.ranked);
    if (d && build(d, &args))
        return d;
    tn_free(d);
    return NULL;
}

/* ---- files ---- */

static bool damaged(const char *path, int64_t line, const char *what)
{
    tn_fail(TN_EFORMAT, "dictionary: %s: line %lld %s; a line is a word, a space and its count", path,
            (long long)line, what);
    return false;
}

static bool read_count(const char *s, size_t n, int64_t *count)
{
    *count = 0;
    for (size_t i = 0; i < n; i++)
        if (s[i] < '0' || s[i] > '9' || __builtin_mul_overflow(*count, 10, count) ||
            __builtin_add_overflow(*count, s[i] - '0', count))
            return false;
    return n > 0;
}

static bool take_line(tn_dictionary *d, const char *path, int64_t number, const char *line, size_t n)
{
    int64_t count;
    if (memchr(line, 0, n))
        return damaged(path, number, "holds a NUL byte");
    tn_text room = {0};
    const char *clean = tn__clean(line, &n, &room);
    tn_text_end(&room);
    if (clean != line)
        return clean && damaged(path, number, "is not UTF-8");
    const char *space = memrchr(line, ' ', n);
    const size_t len = space ? (size_t)(space - line) : 0;
    if (!space)
        return damaged(path, number, "has no count");
    if (!read_count(space + 1, n - len - 1, &count))
        return damaged(path, number, "does not end in a count");
    if (len == 0 || memchr(line, ' ', len) || memchr(line, '\t', len))
        return damaged(path, number, len ? "holds more than one word" : "has no word");
    if (tn__words_find(&d->words, line, len) >= 0)
        return damaged(path, number, tn__words_find(&d->words, line, len) < d->specials
                                         ? "is a special word, which files leave out"
                                         : "has a word for the second time");
    return add(d, line, len, count);
}

static tn_dictionary *open_file(const char *path, bool ranked)
{
    if (!path)
        return tn_fail(TN_EARG, "dictionary: no file name given");
    const char *line;
    size_t n;
    tn_lines *l = tn_lines_open(path);
    tn_dictionary *d = l ? dictionary_new(ranked) : NULL;
    bool ok = d;
    while (ok && tn_lines_next(l, &line, &n))
        ok = take_line(d, path, tn_lines_count(l), line, n);
    ok = ok && tn_ok();
    if (ok && tn_lines_count(l) == 0)
        ok = tn_fail(TN_EFORMAT, "dictionary: %s: the file is empty", path);
    if (ok && ranked && !find_specials(d))
        ok = tn_fail(TN_EFORMAT, "dictionary: %s: no %s among the words; a language model's has it", path,
                     specials[d->eos < 0 ? TN_EOS : TN_UNK]);
    tn_free(l);
    if (ok)
        return d;
    tn_free(d);
    return NULL;
}

tn_dictionary *tn_dictionary_open(const char *path) { return open_file(path, false); }
tn_dictionary *tn_dictionary_open_ranked(const char *path) { return open_file(path, true); }

bool tn_dictionary_save(const tn_dictionary *d, const char *path)
{
    if (!d)
        return false;
    tn_text text = {0};
    char count[32];
    bool ok = tn_text_add(&text, "", 0);
    for (int32_t i = d->specials; ok && i < d->words.n; i++) {
        const tn__word *w = &d->words.word[i];
        const int n = snprintf(count, sizeof count, " %lld\n", (long long)w->count);
        ok = tn_text_add(&text, d->words.text + w->at, w->len) && tn_text_add(&text, count, (size_t)n);
    }
    ok = ok && tn__output_whole("dictionary", path, text.at, text.len);
    tn_text_end(&text);
    return ok;
}

/* ---- use ---- */

int64_t tn_dictionary_len(const tn_dictionary *d) { return d ? d->words.n : 0; }
int32_t tn_dictionary_eos(const tn_dictionary *d) { return d ? d->eos : TN_EOS; }
int32_t tn_dictionary_unk(const tn_dictionary *d) { return d ? d->unk : TN_UNK; }

int32_t tn_dictionary_id(const tn_dictionary *d, const char *word, size_t n)
{
    const int32_t id = d && word ? tn__words_find(&d->words, word, n) : -1;
    return id < 0 ? tn_dictionary_unk(d) : id;
}

const char *tn_dictionary_word(const tn_dictionary *d, int32_t id)
{
    return d && id >= 0 && id < d->words.n ? tn__words_text(&d->words, id) : NULL;
}

bool tn_dictionary_encode(const tn_dictionary *d, const char *line, size_t n, tn_ids *out)
{
    if (!d || (!line && n) || !out)
        return false;
    tn_text room = {0};
    const char *at = n ? tn__clean(line, &n, &room) : "", *word;
    bool ok = at;
    size_t len;
    out->len = 0;
    for (const char *end = at + (at ? n : 0); ok && tn__word_next(&at, end, TN__AT_WHITE, &word, &len);) {
        const int32_t id = tn__words_find(&d->words, word, len);
        /* absent, or text that looks like a special */
        ok = tn_ids_add(out, id < 0 || id < d->specials || id == d->eos ? d->unk : id);
    }
    ok = ok && tn_ids_add(out, d->eos);
    tn_text_end(&room);
    return ok;
}

bool tn_dictionary_decode(const tn_dictionary *d, const int32_t *ids, int64_t n, tn_text *out)
{
    if (!d || (!ids && n) || !out)
        return false;
    out->len = 0;
    bool ok = tn_text_add(out, "", 0);
    for (int64_t i = 0; ok && i < n && ids[i] != d->eos; i++) {
        if (ids[i] < 0 || ids[i] >= d->words.n)
            return tn_fail(TN_EARG, "dictionary: id %d at place %lld; ids go from 0 to %d", ids[i], (long long)i,
                           d->words.n - 1), false;
        const tn__word *w = &d->words.word[ids[i]];
        if (!d->specials || (ids[i] != TN_BOS && ids[i] != TN_PAD))
            ok = (out->len == 0 || tn_text_add(out, " ", 1)) && tn_text_add(out, d->words.text + w->at, w->len);
    }
    return ok;
}
