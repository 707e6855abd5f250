/* Tokens back to a line as Moses' detokenizer.perl joins them; see tenon/text.h.
 *
 * Words are taken one by one; whether a space goes before the next one is all that is remembered, and of each kind
 * of quotation mark whether it is open.  Not here: upper case at the start, Penn Treebank style, and the rules of
 * languages other than German (which has none) and English. */
#include "tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "unicode.h"

typedef struct word {
    const char *at;
    size_t n;
} word;

/* ---- what a word is made of ---- */

static uint32_t first_char(word w)
{
    const uint8_t *s = (const uint8_t *)w.at;
    return w.n ? tn__utf8_next(&s, s + w.n) : 0;
}

static uint32_t last_char(word w)
{
    size_t i = w.n;
    while (i > 1 && ((uint8_t)w.at[i - 1] & 0xc0) == 0x80)
        i--;
    return first_char((word){w.at + (i ? i - 1 : 0), w.n - (i ? i - 1 : 0)});
}

typedef enum kind { PLAIN, OPENING, CLOSING, QUOTES } kind;

static kind kind_of_char(uint32_t c)
{
    switch (c) {
    case '(': case '[': case '{': case 0xbf: case 0xa1: /* turned question and exclamation marks */
        return OPENING;
    case ',': case '.': case '?': case '!': case ':': case ';': case '\\': case '%': case '}': case ']': case ')':
        return CLOSING;
    case '\'': case '"': case '`': case 0x201e: case 0x201c: /* quotation marks, low and high */
        return QUOTES;
    default:
        return tn__class(c) == TN__CURRENCY ? OPENING : PLAIN;
    }
}

/* Not plain when all its characters are of that kind. */
static kind kind_of(word w)
{
    const uint8_t *s = (const uint8_t *)w.at, *end = s + w.n;
    const kind k = w.n ? kind_of_char(tn__utf8_next(&s, end)) : PLAIN;
    while (k != PLAIN && s < end)
        if (kind_of_char(tn__utf8_next(&s, end)) != k)
            return PLAIN;
    return k;
}

/* Chinese, Japanese, Korean: blocks that the script counts as such. */
static bool is_cjk(uint32_t c)
{
    static const uint32_t blocks[][2] = {{0x1100, 0x11ff}, {0x2e80, 0xa4cf}, {0xa840, 0xa87f},  {0xac00, 0xd7af},
                                         {0xf900, 0xfaff}, {0xfe30, 0xfe4f}, {0xff65, 0xffdc}, {0x20000, 0x2ffff}};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        if (c >= blocks[i][0] && c <= blocks[i][1])
            return true;
    return false;
}

/* "'s" behind a letter or digit. */
static bool is_contraction(word before, word w)
{
    if (w.n < 2 || w.at[0] != '\'' || !(tn__class(first_char((word){w.at + 1, w.n - 1})) & TN__ALPHA))
        return false;
    return tn__class(last_char(before)) & (TN__ALPHA | TN__DIGIT);
}

/* ---- which quotation marks are open ---- */

typedef struct quote {
    word key; /* .n == 0: a free place */
    bool open;
} quote;

typedef struct quotes {
    quote *at; /* [room], a power of two, at most half of them taken */
    size_t len, room;
} quotes;

static quote *find_quote(quotes *q, word key)
{
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < key.n; i++)
        hash = (hash ^ (uint8_t)key.at[i]) * 1099511628211u;
    for (size_t i = (size_t)(hash ^ hash >> 32);; i++) {
        quote *at = &q->at[i & (q->room - 1)];
        if (!at->key.n || (at->key.n == key.n && memcmp(at->key.at, key.at, key.n) == 0))
            return at;
    }
}

static bool widen(quotes *q)
{
    quotes wide = {.room = q->room ? 2 * q->room : 16};
    wide.at = calloc(wide.room, sizeof *wide.at);
    if (!wide.at)
        return false;
    for (size_t i = 0; i < q->room; i++)
        if (q->at[i].key.n)
            *find_quote(&wide, q->at[i].key) = q->at[i];
    wide.len = q->len;
    free(q->at);
    *q = wide;
    return true;
}

/* The low and high ones of German count as plain double ones.  NULL: no memory. */
static bool *quote_of(quotes *q, word w)
{
    bool plain = false;
    for (size_t i = 0; i < w.n; i++)
        plain = plain || (uint8_t)w.at[i] < 0x80;
    if (2 * q->len >= q->room && !widen(q))
        return NULL;
    const word key = plain ? w : (word){"\"", 1};
    quote *at = find_quote(q, key);
    q->len += at->key.n == 0;
    at->key = key;
    return &at->open;
}

/* ---- joining ---- */

typedef struct joiner {
    bool english, failed;
    bool space;   /* before the next word, when that asks for it */
    bool pending; /* one that is written before whatever comes next */
    quotes quotes;
    tn_text *out;
} joiner;

static void join(joiner *j, word w, bool to_last, bool to_next)
{
    j->pending = j->pending || (j->space && !to_last);
    if (w.n && j->pending && j->out->len)
        j->failed = j->failed || !tn_text_add(j->out, " ", 1);
    j->pending = j->pending && !w.n;
    j->failed = j->failed || !tn_text_add(j->out, w.at, w.n);
    j->space = !to_next;
}

static void join_quotes(joiner *j, word before, bool first, word w)
{
    bool *open = quote_of(&j->quotes, w);
    if (!open) {
        tn_fail(TN_ENOMEM, "detokenize: no memory");
        j->failed = true;
    } else if (j->english && !*open && !first && w.n == 1 && *w.at == '\'' && last_char(before) == 's') {
        join(j, w, true, false); /* the Jones' house */
    } else {
        join(j, w, *open, !*open);
        *open = !*open;
    }
}

static void join_word(joiner *j, word before, bool first, word w)
{
    const kind k = kind_of(w);
    if (is_cjk(first_char(w)))
        join(j, w, !first && is_cjk(last_char(before)), false);
    else if (k == OPENING)
        join(j, w, false, true);
    else if (k == CLOSING || (j->english && !first && is_contraction(before, w)))
        join(j, w, true, false);
    else if (k == QUOTES)
        join_quotes(j, before, first, w);
    else
        join(j, w, false, false);
}

/* ---- characters ---- */

/* Replaces the escapes at s [n], of which the first byte is '&': how many bytes, and by what. */
static size_t escape_at(const char *s, size_t n, char *by)
{
    static const struct { const char *escape; char is; } all[] = {
        {"&amp;", '&'},  {"&apos;", '\''}, {"&quot;", '"'}, {"&lt;", '<'},  {"&gt;", '>'},  {"&#124;", '|'},
        {"&#91;", '['},  {"&#93;", ']'},   {"&bar;", '|'},  {"&bra;", '['}, {"&ket;", ']'},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const size_t m = strlen(all[i].escape);
        if (m <= n && memcmp(s, all[i].escape, m) == 0) {
            *by = all[i].is;
            return m;
        }
    }
    return 0;
}

/* In place: " @-@ " is a hyphen, and escapes are what they stand for. */
static void unescape(tn_text *t)
{
    size_t len = 0;
    for (size_t i = 0; i < t->len;) {
        char c = t->at[i];
        size_t used = 1;
        if (c == ' ' && t->len - i >= 5 && memcmp(t->at + i, " @-@ ", 5) == 0) {
            c = '-';
            used = 5;
        } else if (c == '&') {
            const size_t n = escape_at(t->at + i, t->len - i, &c);
            used = n ? n : 1;
        }
        t->at[len++] = c;
        i += used;
    }
    t->len = len;
}

/* Between two spaces, without bytes that are no UTF-8.  *blank: nothing but spaces. */
static bool read_line(const char *line, size_t n, tn_text *t, bool *blank)
{
    bool ok = tn_text_add(t, " ", 1);
    *blank = true;
    for (const uint8_t *s = (const uint8_t *)(n ? line : ""), *end = s + n; ok && s < end;) {
        char some[4];
        const uint32_t c = tn__utf8_next(&s, end);
        *blank = *blank && tn__class(c) == TN__SPACE;
        ok = tn_text_add(t, some, (size_t)tn__utf8_put(c, some));
    }
    return ok && tn_text_add(t, " ", 1);
}

bool tn_detokenize(const tn_tokenizer *t, const char *line, size_t n, tn_text *out)
{
    if (!t || !out || (!line && n))
        return false;
    out->len = 0;
    tn_text text = {0};
    joiner j = {.english = t->english, .space = true, .out = out};
    bool blank;
    if (!tn_text_add(out, "", 0) || !read_line(line, n, &text, &blank)) {
        j.failed = true;
    } else if (blank || (n > 2 && line[0] == '<' && line[n - 1] == '>')) {
        j.failed = !tn_text_add(out, text.at + 1, text.len - 2); /* a tag stays as it is */
    } else {
        unescape(&text);
        while (text.len && text.at[text.len - 1] == ' ')
            text.len--;
        word before = {0};
        for (size_t i = 0, end; i < text.len && !j.failed; i = end + 1) {
            const char *space = memchr(text.at + i, ' ', text.len - i);
            end = space ? (size_t)(space - text.at) : text.len;
            const word w = {text.at + i, end - i};
            join_word(&j, before, i == 0, w);
            before = w;
        }
    }
    free(j.quotes.at);
    tn_text_end(&text);
    return !j.failed;
}
