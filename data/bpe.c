/* Byte-pair encoding (Sennrich et al. 2016) as subword-nmt 0.3 applies it: codes, their file, lines to subwords
 * and back; see tenon/text.h.  Where codes come from: bpe_learn.c. */
#include "bpe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"

/* ---- tables of pairs ---- */

static size_t pair_slot(const tn__pairs *p, uint64_t key)
{
    uint64_t h = key * 0x9e3779b97f4a7c15u;
    size_t i = (size_t)(h ^ h >> 32) & p->mask;
    while (p->value[i] >= 0 && p->key[i] != key)
        i = (i + 1) & p->mask;
    return i;
}

static uint64_t pair_key(int32_t a, int32_t b) { return (uint64_t)(uint32_t)a << 32 | (uint32_t)b; }

int32_t tn__pairs_find(const tn__pairs *p, int32_t a, int32_t b)
{
    return p->n ? p->value[pair_slot(p, pair_key(a, b))] : -1;
}

static void put_pair(tn__pairs *p, uint64_t key, int32_t value)
{
    const size_t i = pair_slot(p, key);
    p->key[i] = key;
    p->value[i] = value;
}

bool tn__pairs_add(tn__pairs *p, int32_t a, int32_t b, int32_t value)
{
    if (!p->value || 2 * p->n >= p->mask) {
        const size_t size = p->value ? 2 * (p->mask + 1) : 1024;
        tn__pairs more = {malloc(size * sizeof *more.key), malloc(size * sizeof *more.value), size - 1, p->n};
        if (!more.key || !more.value) {
            tn__pairs_end(&more);
            return false;
        }
        memset(more.value, -1, size * sizeof *more.value);
        for (size_t i = 0; p->value && i <= p->mask; i++)
            if (p->value[i] >= 0)
                put_pair(&more, p->key[i], p->value[i]);
        tn__pairs_end(p);
        *p = more;
    }
    put_pair(p, pair_key(a, b), value);
    p->n++;
    return true;
}

void tn__pairs_end(tn__pairs *p)
{
    free(p->key);
    free(p->value);
    *p = (tn__pairs){0};
}

/* ---- codes ---- */

typedef struct code {
    int32_t left, right, made;
} code;

struct tn_bpe {
    const tn_type *type;
    bool old;          /* version 0.1: the end of a word is a symbol of its own */
    tn__words symbols;
    code *codes;       /* [n], the first to be applied first */
    int32_t n, room;
    tn__pairs ranks;   /* of two symbols: their code, the first when there are several */
};

static void bpe_free(void *object)
{
    tn_bpe *b = object;
    tn__words_end(&b->symbols);
    tn__pairs_end(&b->ranks);
    free(b->codes);
    free(b);
}

static const tn_type bpe_type = {"bpe", bpe_free};

tn_bpe *tn__bpe_new(void)
{
    tn_bpe *b = calloc(1, sizeof *b);
    if (!b)
        return tn_fail(TN_ENOMEM, "bpe: no memory");
    b->type = &bpe_type;
    return b;
}

static int32_t joined_symbol(tn_bpe *b, const char *left, size_t n_left, const char *right, size_t n_right)
{
    char *text = malloc(n_left + n_right + 1);
    if (!text)
        return -1;
    memcpy(text, left, n_left);
    memcpy(text + n_left, right, n_right);
    const int32_t id = tn__words_add(&b->symbols, text, n_left + n_right);
    free(text);
    return id;
}

bool tn__bpe_add(tn_bpe *b, const char *left, size_t n_left, const char *right, size_t n_right)
{
    if (b->n == b->room) {
        const int32_t room = b->room < INT32_MAX / 2 ? 2 * b->room + 256 : b->room;
        code *more = room > b->room ? realloc(b->codes, (size_t)room * sizeof *more) : NULL;
        if (!more)
            return tn_fail(TN_ENOMEM, "bpe: no memory for code %d", b->n), false;
        b->codes = more;
        b->room = room;
    }
    const code c = {tn__words_add(&b->symbols, left, n_left), tn__words_add(&b->symbols, right, n_right),
                    joined_symbol(b, left, n_left, right, n_right)};
    if (c.left < 0 || c.right < 0 || c.made < 0 ||
        (tn__pairs_find(&b->ranks, c.left, c.right) < 0 && !tn__pairs_add(&b->ranks, c.left, c.right, b->n)))
        return tn_fail(TN_ENOMEM, "bpe: no memory for code %d", b->n), false;
    b->codes[b->n++] = c;
    return true;
}

/* ---- files ---- */

static const char head[] = "#version: ";

static bool damaged(const char *path, int64_t line, const char *what)
{
    tn_fail(TN_EFORMAT, "bpe: %s: line %lld %s", path, (long long)line, what);
    return false;
}

/* Past what Python's strip("\r\n ") takes away. */
static void strip(const char **at, const char **end)
{
    while (*at < *end && (**at == ' ' || **at == '\r'))
        ++*at;
    while (*at < *end && ((*end)[-1] == ' ' || (*end)[-1] == '\r'))
        --*end;
}

/* A file without a version is of 0.1. */
static bool take_version(tn_bpe *b, const char *path, const char *line, size_t n, bool *taken)
{
    const size_t skip = sizeof head - 1;
    *taken = n >= skip - 1 && memcmp(line, head, skip - 1) == 0;
    b->old = true;
    if (!*taken)
        return true;
    const char *at = line + skip - 1, *end = line + n;
    strip(&at, &end);
    b->old = end - at == 3 && memcmp(at, "0.1", 3) == 0;
    return b->old || (end - at == 3 && memcmp(at, "0.2", 3) == 0) ||
           damaged(path, 1, "names another version than 0.1 and 0.2");
}

static bool take_code(tn_bpe *b, const char *path, int64_t number, const char *at, size_t n)
{
    tn_text room = {0};
    const char *clean = tn__clean(at, &n, &room), *end = at + n;
    tn_text_end(&room);
    if (clean != at)
        return clean && damaged(path, number, "is not UTF-8");
    strip(&at, &end);
    const char *space = memchr(at, ' ', (size_t)(end - at));
    if (!space || memchr(space + 1, ' ', (size_t)(end - space - 1)))
        return damaged(path, number, "is not two symbols with a space between");
    return tn__bpe_add(b, at, (size_t)(space - at), space + 1, (size_t)(end - space - 1));
}

static bool take_lines(tn_bpe *b, const char *path, tn_lines *l)
{
    const char *line;
    size_t n;
    int64_t blank = 0; /* such lines may stand at the end only */
    bool taken = false;
    if (!tn_lines_next(l, &line, &n))
        return tn_ok() && (tn_fail(TN_EFORMAT, "bpe: %s: the file is empty", path), false);
    bool ok = take_version(b, path, line, n, &taken) && (taken || take_code(b, path, 1, line, n));
    while (ok && tn_lines_next(l, &line, &n)) {
        if (n == 0)
            blank = blank ? blank : tn_lines_count(l);
        else if (blank)
            ok = damaged(path, blank, "is blank");
        else
            ok = take_code(b, path, tn_lines_count(l), line, n);
    }
    return ok && tn_ok();
}

tn_bpe *tn_bpe_open(const char *path)
{
    if (!path)
        return tn_fail(TN_EARG, "bpe: no file name given");
    tn_lines *l = tn_lines_open(path);
    tn_bpe *b = l ? tn__bpe_new() : NULL;
    const bool ok = b && take_lines(b, path, l);
    tn_free(l);
    if (ok)
        return b;
    tn_free(b);
    return NULL;
}

bool tn_bpe_save(const tn_bpe *b, const char *path)
{
    if (!b)
        return false;
    const tn__words *s = &b->symbols;
    tn_text text = {0};
    bool ok = tn_text_add(&text, head, sizeof head - 1) && tn_text_add(&text, b->old ? "0.1\n" : "0.2\n", 4);
    for (int32_t i = 0; ok && i < b->n; i++) {
        const code *c = &b->codes[i];
        ok = tn_text_add(&text, tn__words_text(s, c->left), s->word[c->left].len) && tn_text_add(&text, " ", 1) &&
             tn_text_add(&text, tn__words_text(s, c->right), s->word[c->right].len) && tn_text_add(&text, "\n", 1);
    }
    if (!path || strcmp(path, "-") != 0)
        ok = ok && tn__output_whole("bpe", path, text.at, text.len);
    else if (ok && fwrite(text.at, 1, text.len, stdout) < text.len)
        ok = tn_fail(TN_EIO, "bpe: standard output: %s", strerror(errno));
    tn_text_end(&text);
    return ok;
}

/* ---- applying ----
 * A word is a list of symbols; a heap holds the pairs that have codes, the best code first and then the leftmost.
 * All of one code are merged before what they made is looked at, as subword-nmt does it. */

typedef struct symbol {
    int32_t id;          /* -1: of no code, or merged away */
    uint32_t begin;      /* in the word */
    uint32_t prev, next; /* NONE: there is none */
} symbol;
#define NONE UINT32_MAX

typedef struct scratch {
    size_t room;
    symbol *symbols;     /* [room] */
    uint64_t *heap;      /* [3 room]: code << 32 | place */
    uint32_t *merged;    /* [room]: places of this code */
    size_t n_heap;
} scratch;

static void scratch_end(scratch *s)
{
    free(s->symbols);
    free(s->heap);
    free(s->merged);
}

static bool reserve(scratch *s, size_t n)
{
    if (n <= s->room)
        return true;
    scratch_end(s);
    const size_t room = n < 256 ? 256 : n;
    *s = (scratch){room, malloc(room * sizeof *s->symbols), malloc(3 * room * sizeof *s->heap),
                   malloc(room * sizeof *s->merged), 0};
    if (!s->symbols || !s->heap || !s->merged)
        tn_fail(TN_ENOMEM, "bpe: no memory for a word of %zu characters", n);
    return s->symbols && s->heap && s->merged;
}

static void heap_push(scratch *s, uint64_t key)
{
    size_t i = s->n_heap++;
    for (size_t up; i > 0 && s->heap[up = (i - 1) / 2] > key; i = up)
        s->heap[i] = s->heap[up];
    s->heap[i] = key;
}

static uint32_t heap_pop(scratch *s)
{
    const uint64_t top = s->heap[0], last = s->heap[--s->n_heap];
    size_t i = 0;
    for (size_t down; (down = 2 * i + 1) < s->n_heap; i = down) {
        if (down + 1 < s->n_heap && s->heap[down + 1] < s->heap[down])
            down++;
        if (s->heap[down] >= last)
            break;
        s->heap[i] = s->heap[down];
    }
    s->heap[i] = last;
    return (uint32_t)top;
}

static void offer(const tn_bpe *b, scratch *s, uint32_t place)
{
    const uint32_t next = place == NONE ? NONE : s->symbols[place].next;
    if (next == NONE || s->symbols[place].id < 0 || s->symbols[next].id < 0)
        return;
    const int32_t rank = tn__pairs_find(&b->ranks, s->symbols[place].id, s->symbols[next].id);
    if (rank >= 0)
        heap_push(s, (uint64_t)rank << 32 | place);
}

/* A word of more than one character into s->symbols; how many. */
static uint32_t split(const tn_bpe *b, scratch *s, const char *word, size_t n)
{
    uint32_t count = 0;
    for (size_t i = 0, step; i < n; i += step) {
        char last[TN__WORD_END_BYTES + 4];
        step = tn__char_bytes(word + i, n - i);
        const char *text = word + i;
        size_t len = step;
        if (i + step == n && !b->old) {
            memcpy(last, text, step);
            memcpy(last + step, TN__WORD_END, TN__WORD_END_BYTES);
            text = last;
            len = step + TN__WORD_END_BYTES;
        }
        s->symbols[count] = (symbol){tn__words_find(&b->symbols, text, len), (uint32_t)i, count - 1, count + 1};
        count++;
    }
    if (b->old) {
        s->symbols[count] = (symbol){tn__words_find(&b->symbols, TN__WORD_END, TN__WORD_END_BYTES), (uint32_t)n,
                                     count - 1, 0};
        count++;
    }
    s->symbols[count - 1].next = NONE;
    return count;
}

static void merge_all(const tn_bpe *b, scratch *s, uint32_t count)
{
    s->n_heap = 0;
    for (uint32_t i = 0; i < count; i++)
        offer(b, s, i);
    while (s->n_heap) {
        const uint64_t rank = s->heap[0] >> 32;
        const code *c = &b->codes[rank];
        size_t n = 0;
        while (s->n_heap && s->heap[0] >> 32 == rank) {
            const uint32_t place = heap_pop(s);
            symbol *x = &s->symbols[place], *y = x->next == NONE ? NULL : &s->symbols[x->next];
            if (!y || x->id != c->left || y->id != c->right)
                continue; /* a neighbour was faster */
            x->id = c->made;
            x->next = y->next;
            y->id = -1;
            if (x->next != NONE)
                s->symbols[x->next].prev = place;
            s->merged[n++] = place;
        }
        for (size_t i = 0; i < n; i++) {
            offer(b, s, s->symbols[s->merged[i]].prev);
            offer(b, s, s->merged[i]);
        }
    }
}

static bool apply_word(const tn_bpe *b, scratch *s, const char *word, size_t n, tn_text *out)
{
    bool ok = true;
    if (tn__char_bytes(word, n) == n)
        return tn_text_add(out, word, n);
    if (n >= NONE - 1)
        return tn_fail(TN_EARG, "bpe: a word of %zu bytes; %u are possible", n, NONE - 2), false;
    if (!reserve(s, n + 1))
        return false;
    merge_all(b, s, split(b, s, word, n));
    for (uint32_t i = 0, next; ok && i != NONE; i = next) {
        next = s->symbols[i].next;
        const size_t begin = s->symbols[i].begin, end = next == NONE ? n : s->symbols[next].begin;
        ok = tn_text_add(out, word + begin, end - begin) && (end == n || tn_text_add(out, "@@ ", 3));
        if (end == n)
            break; /* what may be left is the end of the word itself */
    }
    return ok;
}

bool tn_bpe_apply(const tn_bpe *b, const char *line, size_t n, tn_text *out)
{
    if (!b || (!line && n) || !out)
        return false;
    tn_text room = {0};
    scratch s = {0};
    const char *begin = n ? tn__clean(line, &n, &room) : "", *at = begin, *end = begin + (begin ? n : 0);
    const char *stop = end, *word;
    size_t len;
    strip(&at, &stop);
    out->len = 0;
    bool ok = begin && tn_text_add(out, begin, (size_t)(at - begin));
    for (bool first = true; ok && tn__word_next(&at, stop, TN__AT_SPACES, &word, &len); first = false)
        ok = (first || tn_text_add(out, " ", 1)) && apply_word(b, &s, word, len, out);
    ok = ok && tn_text_add(out, stop, (size_t)(end - stop));
    scratch_end(&s);
    tn_text_end(&room);
    return ok;
}

bool tn_bpe_undo(const char *line, size_t n, tn_text *out)
{
    if ((!line && n) || !out)
        return false;
    out->len = 0;
    bool ok = tn_text_add(out, "", 0);
    size_t from = 0;
    for (size_t i = 0; ok && i + 1 < n;) {
        if (line[i] == '@' && line[i + 1] == '@' && (i + 2 == n || line[i + 2] == ' ')) {
            ok = tn_text_add(out, line + from, i - from);
            i += 3;
            from = i < n ? i : n;
        } else {
            i++;
        }
    }
    return ok && tn_text_add(out, line ? line + from : "", n - from);
}
