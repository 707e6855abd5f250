/* Words of lines and files; see words.h.  For dictionary.c, bpe.c and bpe_learn.c. */
#include "words.h"

#include <stdlib.h>
#include <string.h>

#include "unicode.h"

/* ---- bytes ---- */

enum { BROKEN = 0xfffd };

static uint32_t next_char(const char **at, const char *end)
{
    const uint8_t *s = (const uint8_t *)*at;
    const uint32_t c = tn__utf8_next(&s, (const uint8_t *)end);
    *at = (const char *)s;
    return c;
}

static uint64_t eight_bytes(const char *s)
{
    uint64_t eight;
    memcpy(&eight, s, sizeof eight);
    return eight;
}

size_t tn__char_bytes(const char *s, size_t n)
{
    const char *at = s;
    next_char(&at, s + n);
    return (size_t)(at - s);
}

const char *tn__clean(const char *line, size_t *n, tn_text *room)
{
    const char *at = line, *from = line, *end = line + *n;
    bool ok = true;
    room->len = 0;
    while (ok && at < end) {
        const char *was = at;
        if (end - at >= 8 && !(eight_bytes(at) & 0x8080808080808080u))
            at += 8;
        else if ((uint8_t)*at < 0x80)
            at++;
        else if (next_char(&at, end) == BROKEN && (at - was != 3 || memcmp(was, "\xef\xbf\xbd", 3) != 0)) {
            ok = tn_text_add(room, from, (size_t)(was - from)) && tn_text_add(room, "\xef\xbf\xbd", 3);
            from = at;
        }
    }
    if (from == line)
        return line;
    ok = ok && tn_text_add(room, from, (size_t)(end - from));
    *n = room->len;
    return ok ? room->at : NULL;
}

/* Python's str.isspace(), which has four control characters more than Perl's \s.  Moves on behind the character. */
static bool white(const char **at, const char *end)
{
    const uint8_t c = (uint8_t)**at;
    if (c >= 0x80)
        return tn__class(next_char(at, end)) & TN__SPACE;
    ++*at;
    return c == ' ' || (c >= 9 && c <= 13) || (c >= 28 && c <= 31);
}

static bool next_white(const char **at, const char *end, const char **word, size_t *n)
{
    const char *s = *at;
    do
        *word = s;
    while (s < end && white(&s, end));
    for (s = *at = *word; s < end && !white(&s, end);)
        *at = s;
    *n = (size_t)(*at - *word);
    return *n > 0;
}

bool tn__word_next(const char **at, const char *end, tn__parting by, const char **word, size_t *n)
{
    if (by == TN__AT_WHITE)
        return next_white(at, end, word, n);
    while (*at < end && **at == ' ')
        ++*at;
    const char *stop = memchr(*at, ' ', (size_t)(end - *at));
    *word = *at;
    *at = stop ? stop : end;
    *n = (size_t)(*at - *word);
    return *n > 0;
}

/* ---- tables ---- */

static uint32_t hash_of(const char *s, size_t n)
{
    uint64_t h = n, rest = 0;
    for (; n >= 8; s += 8, n -= 8) {
        h = (h ^ eight_bytes(s)) * 0x9e3779b97f4a7c15u; /* the golden ratio, as Knuth would multiply */
        h ^= h >> 32;
    }
    while (n > 0)
        rest = rest << 8 | (unsigned char)s[--n];
    h = (h ^ rest) * 0x9e3779b97f4a7c15u;
    return (uint32_t)(h ^ h >> 32);
}

/* Where it is, or the empty slot where it would be. */
static size_t slot_of(const tn__words *w, const char *s, size_t n, uint32_t hash)
{
    size_t i = hash & w->mask;
    for (int32_t id; (id = w->slots[i]) >= 0; i = (i + 1) & w->mask) {
        const tn__word *at = &w->word[id];
        if (at->hash == hash && at->len == n && memcmp(w->text + at->at, s, n) == 0)
            break;
    }
    return i;
}

int32_t tn__words_find(const tn__words *w, const char *s, size_t n)
{
    return w->slots ? w->slots[slot_of(w, s, n, hash_of(s, n))] : -1;
}

static bool more_slots(tn__words *w)
{
    const size_t size = w->slots ? 2 * (w->mask + 1) : 1024;
    int32_t *slots = malloc(size * sizeof *slots);
    if (!slots)
        return false;
    memset(slots, -1, size * sizeof *slots);
    free(w->slots);
    w->slots = slots;
    w->mask = size - 1;
    for (int32_t id = 0; id < w->n; id++) {
        size_t i = w->word[id].hash & w->mask;
        while (slots[i] >= 0)
            i = (i + 1) & w->mask;
        slots[i] = id;
    }
    return true;
}

static bool more_room(tn__words *w, size_t n)
{
    if ((size_t)w->n == w->room) {
        const size_t room = w->room ? 2 * w->room : 256;
        tn__word *more = realloc(w->word, room * sizeof *more);
        if (!more)
            return false;
        w->word = more;
        w->room = room;
    }
    if (w->text_room - w->text_len <= n) {
        const size_t room = 2 * w->text_room + n + 256;
        char *more = realloc(w->text, room);
        if (!more)
            return false;
        w->text = more;
        w->text_room = room;
    }
    return 2 * (size_t)w->n < w->mask || more_slots(w);
}

int32_t tn__words_add(tn__words *w, const char *s, size_t n)
{
    const uint32_t hash = hash_of(s, n);
    if (w->slots) {
        const int32_t id = w->slots[slot_of(w, s, n, hash)];
        if (id >= 0)
            return id;
    }
    if (w->n == INT32_MAX || n > UINT32_MAX || !more_room(w, n))
        return -1;
    w->slots[slot_of(w, s, n, hash)] = w->n;
    w->word[w->n] = (tn__word){.at = w->text_len, .len = (uint32_t)n, .hash = hash};
    memcpy(w->text + w->text_len, s, n);
    w->text[w->text_len + n] = 0;
    w->text_len += n + 1;
    return w->n++;
}

int tn__words_order(const tn__words *w, int32_t a, int32_t b)
{
    const tn__word *x = &w->word[a], *y = &w->word[b];
    const int order = memcmp(w->text + x->at, w->text + y->at, x->len < y->len ? x->len : y->len);
    return order ? order : (x->len > y->len) - (x->len < y->len);
}

void tn__words_end(tn__words *w)
{
    free(w->word);
    free(w->text);
    free(w->slots);
    *w = (tn__words){0};
}

/* ---- counting: lines are read in turn, blocks of them counted at once, each thread in a table of its own ---- */

enum { BLOCK = 1 << 19 };

typedef struct counting {
    tn__counting *how;
    int threads, blocks;
    tn__words *words; /* [threads] */
    tn_text *rooms;   /* [threads], for lines that are not clean */
    int64_t *blank;   /* [threads] */
    bool *failed;     /* [threads] */
    tn_text *block;   /* [blocks]: lines, each with its "\n" */
} counting;

/* Tells whether there was a word; *ok: whether there was memory for all. */
static bool count_line(tn__words *w, const char *at, const char *end, tn__parting by, bool *ok)
{
    while (by == TN__AT_SPACES && at < end && (*at == '\r' || *at == ' '))
        at++;
    while (by == TN__AT_SPACES && at < end && (end[-1] == '\r' || end[-1] == ' '))
        end--;
    const char *word;
    size_t n;
    bool any = false;
    while (*ok && tn__word_next(&at, end, by, &word, &n)) {
        const int32_t id = tn__words_add(w, word, n);
        any = true;
        *ok = id >= 0;
        if (*ok)
            w->word[id].count++;
    }
    return any;
}

static void count_block(void *arg, int64_t i, int worker)
{
    counting *c = arg;
    const char *at = c->block[i].len ? c->block[i].at : "", *end = at + c->block[i].len;
    bool ok = true;
    const bool good = tn_ok();
    while (ok && at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t n = (size_t)(stop - at);
        const char *line = tn__clean(at, &n, &c->rooms[worker]);
        ok = line != NULL;
        if (ok && !count_line(&c->words[worker], line, line + n, c->how->by, &ok))
            c->blank[worker]++;
        at = stop + 1;
    }
    c->failed[worker] |= !ok;
    if (good) /* the caller's thread tells it, and this one may go on to other work */
        tn_error_clear();
}

static bool no_memory(const counting *c)
{
    tn_fail(TN_ENOMEM, "%s: no memory to count words", c->how->who);
    return false;
}

static bool count_blocks(counting *c, int blocks)
{
    int64_t bytes = 0;
    tn_parallel(blocks, count_block, c);
    for (int i = 0; i < c->threads; i++)
        if (c->failed[i])
            return no_memory(c);
    for (int i = 0; i < blocks; i++) {
        bytes += (int64_t)c->block[i].len;
        c->block[i].len = 0;
    }
    return !c->how->tell || c->how->tell(c->how->arg, bytes);
}

static bool count_file(counting *c, const char *path)
{
    const char *line;
    size_t n;
    int at = 0;
    tn_lines *l = tn_lines_open(path);
    bool ok = l;
    while (ok && tn_lines_next(l, &line, &n)) {
        ok = tn_text_add(&c->block[at], line, n) && tn_text_add(&c->block[at], "\n", 1);
        if (ok && c->block[at].len >= BLOCK && ++at == c->blocks) {
            ok = count_blocks(c, at);
            at = 0;
        }
    }
    ok = ok && tn_ok() && count_blocks(c, at < c->blocks ? at + 1 : at);
    c->how->lines += tn_lines_count(l);
    tn_free(l);
    return ok;
}

/* Sums do not depend on which thread had which block. */
static bool join(counting *c, tn__words *w)
{
    for (int t = 0; t < c->threads; t++) {
        c->how->blank += c->blank[t];
        for (int32_t i = 0; i < c->words[t].n; i++) {
            const tn__word *from = &c->words[t].word[i];
            const int32_t id = tn__words_add(w, c->words[t].text + from->at, from->len);
            if (id < 0)
                return no_memory(c);
            w->word[id].count += from->count;
        }
    }
    return true;
}

bool tn__words_count(tn__words *w, tn__counting *how)
{
    const int threads = tn_threads();
    counting c = {how, threads, 2 * threads, calloc((size_t)threads, sizeof *c.words),
                  calloc((size_t)threads, sizeof *c.rooms), calloc((size_t)threads, sizeof *c.blank),
                  calloc((size_t)threads, sizeof *c.failed), calloc(2 * (size_t)threads, sizeof *c.block)};
    bool ok = (c.words && c.rooms && c.blank && c.failed && c.block) || no_memory(&c);
    how->lines = how->blank = 0;
    for (int i = 0; ok && i < how->n; i++)
        ok = how->files[i] ? count_file(&c, how->files[i])
                           : (tn_fail(TN_EARG, "%s: file %d has no name", how->who, i), false);
    ok = ok && join(&c, w);
    for (int i = 0; i < threads; i++) {
        if (c.words)
            tn__words_end(&c.words[i]);
        if (c.rooms)
            tn_text_end(&c.rooms[i]);
    }
    for (int i = 0; c.block && i < c.blocks; i++)
        tn_text_end(&c.block[i]);
    free(c.words);
    free(c.rooms);
    free(c.blank);
    free(c.failed);
    free(c.block);
    return ok;
}
