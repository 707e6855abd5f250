/* Lines into tokens as Moses' tokenizer.perl makes them; see tenon/text.h.
 *
 * Each of its regular expressions is one pass here over an array of characters, with the same rule of what a match
 * uses up: after "a," in "a,,b" the second comma has no character of its own before it.  A pass writes what the
 * next one reads.  Not here: protected patterns, XML, Penn Treebank style, and the rules of languages other than
 * German and English.  One thing is not copied: the script writes runs of dots as words with DOTMULTI in them and
 * so takes a text that holds this word for dots.
 *
 * Classes of characters: unicode.c.  Abbreviations: prefixes.c.  Back to text: detokenizer.c. */
#include "tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "unicode.h"

static void tokenizer_free(void *object) { free(object); }

static const tn_type tokenizer_type = {"tokenizer", tokenizer_free};

tn_tokenizer *tn_tokenizer_call(tn_tokenizer_args args)
{
    if (!args.lang || !*args.lang)
        return tn_fail(TN_EARG, "tokenizer: no language given; \"de\", \"en\" or another one's code is wanted");
    tn_tokenizer *t = malloc(sizeof *t);
    if (!t)
        return tn_fail(TN_ENOMEM, "tokenizer: no memory");
    *t = (tn_tokenizer){&tokenizer_type, strcmp(args.lang, "en") == 0, args.aggressive, args.no_escape,
                        tn__prefixes_of(args.lang)};
    return t;
}

/* ---- characters: the code point, above it the class ---- */

enum { CLASS_AT = 24, SPACE = ' ' | TN__SPACE << CLASS_AT };
enum { DOT_OF_MANY = 0x110000 }; /* a dot in a run of dots, which the rules of the full stop do not see */

static uint32_t code(uint32_t c) { return c & ((1u << CLASS_AT) - 1); }
static bool is(uint32_t c, int class) { return (c >> CLASS_AT) & (uint32_t)class; }
static bool is_alnum(uint32_t c) { return is(c, TN__ALPHA | TN__DIGIT); }

typedef struct chars {
    uint32_t *at;
    size_t len, room;
} chars;

typedef struct work {
    chars in, out;
} work;

static void put(work *w, uint32_t c) { w->out.at[w->out.len++] = c; }

static void put_apart(work *w, uint32_t c)
{
    put(w, SPACE);
    put(w, c);
    put(w, SPACE);
}

/* No pass makes more than five characters of one, and a few at the end. */
static bool reserve(chars *c, size_t n)
{
    size_t room, bytes;
    if (__builtin_mul_overflow(n, 5, &room) || __builtin_add_overflow(room, 8, &room) ||
        __builtin_mul_overflow(room, sizeof *c->at, &bytes))
        return false;
    if (room <= c->room)
        return true;
    free(c->at);
    c->at = malloc(bytes);
    c->room = c->at ? room : 0;
    return c->at != NULL;
}

/* What was written becomes what is read. */
static bool turn(work *w)
{
    const chars read = w->in;
    w->in = w->out;
    w->out = read;
    w->out.len = 0;
    return reserve(&w->out, w->in.len);
}

/* Spaces of any kind become one, at the ends none; control characters go.  true: nothing but spaces was there. */
static bool read_line(work *w, const char *line, size_t n)
{
    bool blank = true;
    for (const uint8_t *s = (const uint8_t *)(n ? line : ""), *end = s + n; s < end;) {
        const uint32_t c = tn__utf8_next(&s, end), class = (uint32_t)tn__class(c);
        blank = blank && class == TN__SPACE;
        if (class == TN__SPACE && w->out.len && w->out.at[w->out.len - 1] != SPACE)
            put(w, SPACE);
        else if (class != TN__SPACE && c >= ' ')
            put(w, c | class << CLASS_AT);
    }
    if (w->out.len && w->out.at[w->out.len - 1] == SPACE)
        w->out.len--;
    return blank;
}

/* Every other character stands alone; so does a run of dots. */
static void split_others(work *w, bool aggressive)
{
    const uint32_t *in = w->in.at;
    const size_t n = w->in.len;
    for (size_t i = 0; i < n; i++) {
        const uint32_t c = in[i];
        if (c == '.' && i + 1 < n && in[i + 1] == '.') {
            put(w, SPACE);
            for (; i < n && in[i] == '.'; i++)
                put(w, DOT_OF_MANY);
            if (i < n)
                put(w, SPACE);
            i--;
        } else if (c == '-' && aggressive && i > 0 && is_alnum(in[i - 1]) && i + 1 < n && is_alnum(in[i + 1])) {
            put(w, SPACE);
            put(w, '@');
            put(w, '-');
            put(w, '@');
            put(w, SPACE);
        } else if (is_alnum(c) || c == SPACE || c == '.' || c == '\'' || c == '`' || c == ',' || c == '-') {
            put(w, c);
        } else {
            put_apart(w, c);
        }
    }
}

/* A comma is no token only between two numbers. */
static void split_commas_after(work *w)
{
    const uint32_t *in = w->in.at;
    const size_t n = w->in.len;
    for (size_t i = 0; i < n; i++) {
        put(w, in[i]);
        if (!is(in[i], TN__NUMBER) && i + 1 < n && in[i + 1] == ',') {
            put_apart(w, ',');
            i++;
        }
    }
}

static void split_commas_before(work *w)
{
    const uint32_t *in = w->in.at;
    const size_t n = w->in.len;
    for (size_t i = 0; i < n; i++) {
        if (in[i] == ',' && i + 1 < n && !is(in[i + 1], TN__NUMBER)) {
            put_apart(w, ',');
            put(w, in[++i]);
        } else if (in[i] == ',' && i + 1 == n && i > 0 && is(in[i - 1], TN__NUMBER)) {
            put(w, SPACE);
            put(w, ',');
        } else {
            put(w, in[i]);
        }
    }
}

/* An apostrophe between two characters, in English: is one of `before` (or, when not, none of them), then of
 * `after`; 0: an s.  It goes apart, or with the letters behind it. */
typedef struct apostrophe {
    int before, after;
    bool before_is, after_is, apart;
} apostrophe;

static const apostrophe apostrophes[] = {
    {TN__ALPHA, TN__ALPHA, false, false, true},
    {TN__ALPHA | TN__NUMBER, TN__ALPHA, false, true, true},
    {TN__ALPHA, TN__ALPHA, true, false, true},
    {TN__ALPHA, TN__ALPHA, true, true, false},
    {TN__NUMBER, 0, true, true, false}, /* the 1990's */
};
enum { APOSTROPHES = sizeof apostrophes / sizeof *apostrophes };

static void split_english(work *w, const apostrophe *a)
{
    const uint32_t *in = w->in.at;
    const size_t n = w->in.len;
    for (size_t i = 0; i < n; i++) {
        put(w, in[i]);
        if (i + 2 >= n || in[i + 1] != '\'' || is(in[i], a->before) != a->before_is ||
            (a->after ? is(in[i + 2], a->after) != a->after_is : code(in[i + 2]) != 's'))
            continue;
        put(w, SPACE);
        put(w, '\'');
        if (a->apart)
            put(w, SPACE);
        put(w, in[i + 2]);
        i += 2;
    }
}

static void split_apostrophes(work *w)
{
    for (size_t i = 0; i < w->in.len; i++)
        if (w->in.at[i] == '\'')
            put_apart(w, '\'');
        else
            put(w, w->in.at[i]);
}

/* ---- words and their full stops ---- */

/* Of a word of n characters and a full stop, with another word behind it that begins with `next`. */
static bool stop_stays(const tn_tokenizer *t, const uint32_t *word, size_t n, uint32_t next)
{
    bool dot = false, letter = false, ascii = true;
    char text[TN__LONGEST_PREFIX + 1];
    for (size_t i = 0; i < n; i++) {
        dot = dot || word[i] == '.';
        letter = letter || is(word[i], TN__ALPHA);
        ascii = ascii && code(word[i]) < 128;
        if (i < TN__LONGEST_PREFIX)
            text[i] = (char)word[i];
    }
    if ((dot && letter) || tn__is_lower(code(next)))
        return true;
    if (!ascii || n > TN__LONGEST_PREFIX)
        return false;
    text[n] = 0;
    const tn__stop stop = tn__prefix(t->prefixes, text);
    return stop == TN__STOP_STAYS ||
           (stop == TN__STOP_STAYS_BEFORE_NUMBERS && code(next) >= '0' && code(next) <= '9');
}

static void split_stops(const tn_tokenizer *t, work *w)
{
    const uint32_t *in = w->in.at;
    size_t n = w->in.len, end;
    while (n && in[n - 1] == SPACE)
        n--;
    for (size_t i = 0; i < n; i = end) {
        for (; in[i] == SPACE; i++)
            ;
        for (end = i; end < n && in[end] != SPACE; end++)
            ;
        if (w->out.len)
            put(w, SPACE);
        /* after two spaces the script sees an empty word, which begins with nothing */
        const bool stop = end - i > 1 && in[end - 1] == '.' &&
                          (end == n || !stop_stays(t, in + i, end - 1 - i, in[end + 1]));
        for (; i < end - stop; i++)
            put(w, in[i]);
        if (stop) {
            put(w, SPACE);
            put(w, '.');
        }
    }
    const size_t len = w->out.len;
    if (len >= 2 && w->out.at[len - 2] == '.' && w->out.at[len - 1] == '\'') {
        w->out.len -= 2;
        put_apart(w, '.');
        put(w, '\'');
        put(w, SPACE);
    }
}

/* ---- out ---- */

static const char *escaped(uint32_t c)
{
    switch (c) {
    case '&': return "&amp;";
    case '|': return "&#124;";
    case '<': return "&lt;";
    case '>': return "&gt;";
    case '\'': return "&apos;";
    case '"': return "&quot;";
    case '[': return "&#91;";
    case ']': return "&#93;";
    default: return NULL;
    }
}

static bool write_line(const tn_tokenizer *t, const chars *c, tn_text *out)
{
    char some[256]; /* a few at a time: fewer calls */
    size_t len = 0;
    for (size_t i = 0; i < c->len; i++) {
        const uint32_t one = code(c->at[i]);
        const char *as = t->no_escape ? NULL : escaped(one);
        if (as) {
            const size_t n = strlen(as);
            memcpy(some + len, as, n);
            len += n;
        } else {
            len += (size_t)tn__utf8_put(one == DOT_OF_MANY ? '.' : one, some + len);
        }
        if (len + 8 > sizeof some || i + 1 == c->len) {
            if (!tn_text_add(out, some, len))
                return false;
            len = 0;
        }
    }
    return true;
}

static bool has(const chars *c, uint32_t what)
{
    for (size_t i = 0; i < c->len; i++)
        if (c->at[i] == what)
            return true;
    return false;
}

/* Leaves the tokens in w->out. */
static bool run_passes(const tn_tokenizer *t, work *w)
{
    if (!turn(w))
        return false;
    split_others(w, t->aggressive);
    if (has(&w->out, ',')) {
        if (!turn(w))
            return false;
        split_commas_after(w);
        if (!turn(w))
            return false;
        split_commas_before(w);
    }
    const int passes = !has(&w->out, '\'') ? 0 : t->english ? APOSTROPHES : 1;
    for (int i = 0; i < passes; i++) {
        if (!turn(w))
            return false;
        if (t->english)
            split_english(w, &apostrophes[i]);
        else
            split_apostrophes(w);
    }
    if (!turn(w))
        return false;
    split_stops(t, w);
    return true;
}

bool tn_tokenize(const tn_tokenizer *t, const char *line, size_t n, tn_text *out)
{
    if (!t || !out || (!line && n))
        return false;
    out->len = 0;
    if (!tn_text_add(out, "", 0))
        return false;
    work w = {0};
    bool ok = reserve(&w.out, n);
    if (ok && read_line(&w, line, n)) {
        ok = tn_text_add(out, line, n); /* blank: as it is */
    } else {
        ok = ok && run_passes(t, &w);
        if (!ok)
            tn_fail(TN_ENOMEM, "tokenize: no memory for a line of %zu bytes", n);
        ok = ok && write_line(t, &w.out, out);
    }
    free(w.in.at);
    free(w.out.at);
    return ok;
}
