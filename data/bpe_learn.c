/* Learning byte-pair codes as subword-nmt 0.3 does (learn_bpe.py): the pair of symbols that is most frequent in all
 * words, of equals the last in the order of their texts, becomes one symbol, again and again; see tenon/text.h.
 *
 * All distinct words stand one behind the other, a symbol at each place.  A pair knows its count exactly and the
 * places where it was, so a merge costs what it changes.  The heap may be behind: an entry that was too high comes
 * back with its true count, and a pair that gains enters anew. */
#include <stdlib.h>
#include <string.h>

#include "bpe.h"

typedef struct pair {
    int32_t left, right;
    int64_t count;
    int32_t *at;         /* [n] places of left; some may be over */
    int32_t n, room;
    bool gained;         /* in this merge */
} pair;

typedef struct entry {
    int64_t count;
    int32_t pair;
} entry;

typedef struct learning {
    tn__words words, symbols;
    int32_t *symbol, *prev, *next, *word; /* [places]: -1: none; next and prev end at the ends of a word */
    size_t places;
    tn__pairs table;
    pair *pairs;         /* [n_pairs] */
    size_t n_pairs, pairs_room;
    entry *heap;
    size_t n_heap, heap_room;
    int32_t *gained;     /* pairs */
    size_t n_gained, gained_room;
    int64_t least;
} learning;

static bool no_memory(void)
{
    tn_fail(TN_ENOMEM, "bpe: no memory to learn codes");
    return false;
}

/* Room for one more of `size` bytes. */
static bool grow(void *array, size_t n, size_t *room, size_t size)
{
    if (n < *room)
        return true;
    const size_t more = *room ? 2 * *room : 1024;
    void *at;
    memcpy(&at, array, sizeof at);
    at = realloc(at, more * size);
    if (!at)
        return no_memory();
    memcpy(array, &at, sizeof at);
    *room = more;
    return true;
}

/* ---- the heap: counts, and of equals the pair whose texts come last ---- */

static bool before(const learning *l, entry a, entry b)
{
    if (a.count != b.count)
        return a.count > b.count;
    const pair *x = &l->pairs[a.pair], *y = &l->pairs[b.pair];
    const int order = tn__words_order(&l->symbols, x->left, y->left);
    return order ? order > 0 : tn__words_order(&l->symbols, x->right, y->right) > 0;
}

static bool push(learning *l, int32_t k)
{
    const entry e = {l->pairs[k].count, k};
    if (e.count < l->least)
        return true;
    if (!grow(&l->heap, l->n_heap, &l->heap_room, sizeof *l->heap))
        return false;
    size_t i = l->n_heap++;
    for (size_t up; i > 0 && before(l, e, l->heap[up = (i - 1) / 2]); i = up)
        l->heap[i] = l->heap[up];
    l->heap[i] = e;
    return true;
}

static entry pop(learning *l)
{
    const entry top = l->heap[0], last = l->heap[--l->n_heap];
    size_t i = 0;
    for (size_t down; (down = 2 * i + 1) < l->n_heap; i = down) {
        if (down + 1 < l->n_heap && before(l, l->heap[down + 1], l->heap[down]))
            down++;
        if (!before(l, l->heap[down], last))
            break;
        l->heap[i] = l->heap[down];
    }
    l->heap[i] = last;
    return top;
}

/* ---- counts ---- */

static bool gain(learning *l, int32_t left, int32_t right, int32_t place)
{
    int32_t k = tn__pairs_find(&l->table, left, right);
    if (k < 0) {
        if (!grow(&l->pairs, l->n_pairs, &l->pairs_room, sizeof *l->pairs))
            return false;
        k = (int32_t)l->n_pairs;
        if (l->n_pairs == INT32_MAX || !tn__pairs_add(&l->table, left, right, k))
            return no_memory();
        l->pairs[l->n_pairs++] = (pair){.left = left, .right = right};
    }
    pair *p = &l->pairs[k];
    if (p->n == p->room) {
        const int32_t room = p->room < INT32_MAX / 2 ? 2 * p->room + 2 : INT32_MAX;
        int32_t *more = p->n < room ? realloc(p->at, (size_t)room * sizeof *more) : NULL;
        if (!more)
            return no_memory();
        p->at = more;
        p->room = room;
    }
    p->at[p->n++] = place;
    p->count += l->words.word[l->word[place]].count;
    if (!p->gained) {
        if (!grow(&l->gained, l->n_gained, &l->gained_room, sizeof *l->gained))
            return false;
        p->gained = true;
        l->gained[l->n_gained++] = k;
    }
    return true;
}

static void lose(learning *l, int32_t left, int32_t right, int64_t count)
{
    pair *p = &l->pairs[tn__pairs_find(&l->table, left, right)];
    p->count -= count;
    if (p->count == 0) { /* no place is left */
        free(p->at);
        p->at = NULL;
        p->n = p->room = 0;
    }
}

static bool push_gained(learning *l)
{
    bool ok = true;
    for (size_t i = 0; ok && i < l->n_gained; i++) {
        l->pairs[l->gained[i]].gained = false;
        ok = push(l, l->gained[i]);
    }
    l->n_gained = 0;
    return ok;
}

/* ---- the words at first ---- */

/* Codes are lines, and a line cannot hold "\r" at its ends. */
static bool usable(const learning *l, int32_t word)
{
    const tn__word *w = &l->words.word[word];
    return !memchr(l->words.text + w->at, '\r', w->len);
}

static bool reserve(learning *l)
{
    size_t chars = 0;
    for (int32_t k = 0; k < l->words.n; k++) {
        const char *text = tn__words_text(&l->words, k);
        const size_t n = usable(l, k) ? l->words.word[k].len : 0;
        for (size_t i = 0; i < n; chars++)
            i += tn__char_bytes(text + i, n - i);
    }
    if (chars >= INT32_MAX)
        return tn_fail(TN_EARG, "bpe: the distinct words have %zu characters, and %d are possible; learn from less "
                       "text", chars, INT32_MAX - 1), false;
    l->places = chars;
    l->symbol = malloc((chars + 1) * sizeof *l->symbol);
    l->prev = malloc((chars + 1) * sizeof *l->prev);
    l->next = malloc((chars + 1) * sizeof *l->next);
    l->word = malloc((chars + 1) * sizeof *l->word);
    return (l->symbol && l->prev && l->next && l->word) || no_memory();
}

/* The characters of word k at `place` and what follows; false without memory. */
static bool set_out(learning *l, int32_t k, int32_t *place)
{
    const char *text = tn__words_text(&l->words, k);
    const size_t n = l->words.word[k].len;
    const int32_t first = *place;
    for (size_t i = 0, step; i < n; i += step) {
        char last[TN__WORD_END_BYTES + 4];
        step = tn__char_bytes(text + i, n - i);
        const bool end = i + step == n;
        memcpy(last, text + i, step);
        memcpy(last + step, TN__WORD_END, TN__WORD_END_BYTES);
        const int32_t at = (*place)++;
        l->symbol[at] = tn__words_add(&l->symbols, last, end ? step + TN__WORD_END_BYTES : step);
        l->prev[at] = at > first ? at - 1 : -1;
        l->next[at] = end ? -1 : at + 1;
        l->word[at] = k;
        if (l->symbol[at] < 0)
            return no_memory();
    }
    return true;
}

static bool begin(learning *l)
{
    int32_t place = 0;
    bool ok = reserve(l);
    for (int32_t k = 0; ok && k < l->words.n; k++)
        ok = !usable(l, k) || set_out(l, k, &place);
    for (int32_t i = 0; ok && i < place; i++)
        ok = l->next[i] < 0 || gain(l, l->symbol[i], l->symbol[i + 1], i);
    return ok && push_gained(l);
}

/* ---- merging ---- */

static int by_place(const void *a, const void *b)
{
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static int32_t joined_symbol(learning *l, int32_t left, int32_t right)
{
    const tn__word *x = &l->symbols.word[left], *y = &l->symbols.word[right];
    char *text = malloc((size_t)x->len + y->len + 1);
    if (!text)
        return no_memory(), -1;
    memcpy(text, l->symbols.text + x->at, x->len);
    memcpy(text + x->len, l->symbols.text + y->at, y->len);
    const int32_t id = tn__words_add(&l->symbols, text, (size_t)x->len + y->len);
    free(text);
    if (id < 0)
        no_memory();
    return id;
}

static bool merge_at(learning *l, int32_t x, int32_t left, int32_t right, int32_t made)
{
    const int32_t y = l->next[x], before_x = l->prev[x], after = l->next[y];
    const int64_t count = l->words.word[l->word[x]].count;
    lose(l, left, right, count);
    if (before_x >= 0)
        lose(l, l->symbol[before_x], left, count);
    if (after >= 0)
        lose(l, right, l->symbol[after], count);
    l->symbol[x] = made;
    l->symbol[y] = -1;
    l->next[x] = after;
    if (after >= 0)
        l->prev[after] = x;
    return (before_x < 0 || gain(l, l->symbol[before_x], made, before_x)) &&
           (after < 0 || gain(l, made, l->symbol[after], x));
}

/* From left to right, which matters for pairs of equals. */
static bool merge(learning *l, int32_t k)
{
    const int32_t left = l->pairs[k].left, right = l->pairs[k].right, n = l->pairs[k].n;
    const int32_t made = joined_symbol(l, left, right);
    int32_t *at = l->pairs[k].at;
    l->pairs[k].at = NULL;
    l->pairs[k].n = l->pairs[k].room = 0;
    bool ok = made >= 0, sorted = true;
    for (int32_t i = 1; i < n; i++)
        sorted = sorted && at[i - 1] <= at[i];
    if (!sorted)
        qsort(at, (size_t)n, sizeof *at, by_place);
    for (int32_t i = 0; ok && i < n; i++) {
        const int32_t x = at[i];
        if (l->symbol[x] == left && l->next[x] >= 0 && l->symbol[l->next[x]] == right)
            ok = merge_at(l, x, left, right, made);
    }
    free(at);
    return ok && push_gained(l);
}

static bool learn(learning *l, tn_bpe *b, int64_t merges)
{
    bool ok = true;
    for (int64_t made = 0; ok && made < merges && l->n_heap;) {
        const entry e = pop(l);
        const pair *p = &l->pairs[e.pair];
        if (p->count != e.count) {
            ok = p->count > e.count || push(l, e.pair);
            continue;
        }
        const tn__word *x = &l->symbols.word[p->left], *y = &l->symbols.word[p->right];
        ok = tn__bpe_add(b, l->symbols.text + x->at, x->len, l->symbols.text + y->at, y->len) && merge(l, e.pair);
        made++;
    }
    return ok;
}

static void learning_end(learning *l)
{
    for (size_t i = 0; i < l->n_pairs; i++)
        free(l->pairs[i].at);
    free(l->pairs);
    free(l->heap);
    free(l->gained);
    free(l->symbol);
    free(l->prev);
    free(l->next);
    free(l->word);
    tn__pairs_end(&l->table);
    tn__words_end(&l->words);
    tn__words_end(&l->symbols);
}

tn_bpe *tn_bpe_learn(tn_bpe_args args)
{
    const int64_t merges = args.merges ? args.merges : 10000;
    learning l = {.least = args.least ? args.least : 2};
    if (args.n < 1 || !args.files)
        return tn_fail(TN_EARG, "bpe: no files given to learn from");
    if (merges < 0 || l.least < 1)
        return tn_fail(TN_EARG, "bpe: merges %lld, least %lld: both are positive, 0 for the default",
                       (long long)merges, (long long)l.least);
    tn__counting how = {.who = "bpe", .n = args.n, .files = args.files, .by = TN__AT_SPACES};
    tn_bpe *b = tn__bpe_new();
    const bool ok = b && tn__words_count(&l.words, &how) && begin(&l) && learn(&l, b, merges);
    learning_end(&l);
    if (ok)
        return b;
    tn_free(b);
    return NULL;
}
