/* The tokenization of NIST's mteval-v13a.pl, as sacrebleu 2 does it ("13a"): what its five steps do to a line,
 * in their order, for each sees what the one before left.  It stays with bytes, since all that it looks for is
 * ASCII and no byte inside a character is.  What is counted then: bleu.c. */
#define _GNU_SOURCE /* memmem */
#include "bleu.h"

#include <string.h>

static bool replace(tn_text *t, tn_text *room, const char *what, const char *with)
{
    const size_t n = strlen(what);
    if (!memmem(t->at, t->len, what, n))
        return true;
    room->len = 0;
    const char *at = t->at, *end = t->at + t->len, *found;
    bool ok = true;
    for (; ok && (found = memmem(at, (size_t)(end - at), what, n)); at = found + n)
        ok = tn_text_add(room, at, (size_t)(found - at)) && tn_text_add(room, with, strlen(with));
    ok = ok && tn_text_add(room, at, (size_t)(end - at));
    const tn_text swap = *t;
    *t = *room;
    *room = swap;
    return ok;
}

/* Printable ASCII that is no letter, digit, apostrophe, comma, dash or full stop: alone everywhere. */
static bool symbol(char c)
{
    return (c >= '{' && c <= '~') || (c >= '[' && c <= '`') || (c >= ' ' && c <= '&') || (c >= '(' && c <= '+') ||
           (c >= ':' && c <= '@') || c == '/';
}

static bool part_symbols(const tn_text *t, tn_text *out)
{
    out->len = 0;
    bool ok = true;
    for (size_t i = 0; ok && i < t->len; i++)
        ok = symbol(t->at[i]) ? tn_text_add(out, (char[]){' ', t->at[i], ' '}, 3) : tn_text_add(out, t->at + i, 1);
    return ok;
}

static bool digit(char c) { return c >= '0' && c <= '9'; }
static bool no_digit(char c) { return !digit(c); }
static bool stop(char c) { return c == '.' || c == ','; }
static bool dash(char c) { return c == '-'; }

/* Of two neighbours that fit, `alone` (the first or the second) gets spaces around; the search goes on behind both. */
static bool part_pairs(const tn_text *t, tn_text *out, bool first(char c), bool second(char c), int alone)
{
    out->len = 0;
    bool ok = true;
    for (size_t i = 0; ok && i < t->len; i++) {
        const char a = t->at[i], b = i + 1 < t->len ? t->at[i + 1] : 0;
        if (i + 1 == t->len || !first(a) || !second(b)) {
            ok = tn_text_add(out, &a, 1);
            continue;
        }
        ok = alone == 0 ? tn_text_add(out, (char[]){' ', a, ' ', b}, 4) : tn_text_add(out, (char[]){a, ' ', b, ' '}, 4);
        i++;
    }
    return ok;
}

bool tn__bleu_13a(const char *line, size_t n, tn_text *out)
{
    tn_text room = {0};
    while (n && (line[n - 1] == ' ' || (line[n - 1] >= '\t' && line[n - 1] <= '\r')))
        n--;
    out->len = 0;
    const bool ok = tn_text_add(out, " ", 1) && tn_text_add(out, line, n) && tn_text_add(out, " ", 1) &&
                    replace(out, &room, "<skipped>", "") && replace(out, &room, "-\n", "") &&
                    replace(out, &room, "&quot;", "\"") && replace(out, &room, "&amp;", "&") &&
                    replace(out, &room, "&lt;", "<") && replace(out, &room, "&gt;", ">") &&
                    part_symbols(out, &room) && part_pairs(&room, out, no_digit, stop, 1) &&
                    part_pairs(out, &room, stop, no_digit, 0) && part_pairs(&room, out, digit, dash, 1);
    tn_text_end(&room);
    return ok;
}
