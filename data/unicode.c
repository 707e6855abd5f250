/* Characters, see unicode.h, and lower case, see tenon/text.h. */
#include "unicode.h"

#include <stdlib.h>

typedef struct range {
    uint32_t first, last;
} range;

/* Of a range every one or every second character; delta is added to lower it. */
typedef struct steps {
    range in;
    uint32_t step;
    int32_t delta;
} steps;

#include "unicode_tables.h"

static int compare(const void *key, const void *row)
{
    const uint32_t c = *(const uint32_t *)key;
    const range *r = row;
    return c < r->first ? -1 : c > r->last;
}

/* The row that holds c; each row of a table begins with its range. */
#define FIND(table, c) bsearch(&(c), table, sizeof(table) / sizeof *(table), sizeof *(table), compare)

int tn__class(uint32_t c)
{
    if (c < 128) {
        const uint32_t letter = c | 32;
        return letter >= 'a' && letter <= 'z' ? TN__ALPHA
               : c >= '0' && c <= '9'         ? TN__DIGIT | TN__NUMBER
               : c == ' ' || (c >= 9 && c <= 13) ? TN__SPACE
               : c == '$'                        ? TN__CURRENCY
                                                 : 0;
    }
    int is = FIND(alpha, c) ? TN__ALPHA : 0;
    if (FIND(number, c))
        is |= TN__NUMBER | (FIND(digit, c) ? TN__DIGIT : 0);
    return is ? is : FIND(space, c) ? TN__SPACE : FIND(currency, c) ? TN__CURRENCY : 0;
}

bool tn__is_lower(uint32_t c)
{
    if (c < 128)
        return c >= 'a' && c <= 'z';
    const steps *s = FIND(lower, c);
    return s && (c - s->in.first) % s->step == 0;
}

uint32_t tn__lower(uint32_t c)
{
    if (c < 128)
        return c >= 'A' && c <= 'Z' ? c + 32 : c;
    const steps *s = FIND(lowered, c);
    return s && (c - s->in.first) % s->step == 0 ? (uint32_t)((int32_t)c + s->delta) : c;
}

enum { BROKEN = 0xfffd, I_WITH_DOT = 0x130, DOT_ABOVE = 0x307 };

uint32_t tn__utf8_next(const uint8_t **at, const uint8_t *end)
{
    const uint8_t *s = *at;
    const uint32_t lead = *s++;
    *at = s;
    if (lead < 0x80)
        return lead;
    if (lead < 0xc2 || lead > 0xf4)
        return BROKEN;
    const int more = lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
    /* the second byte rules out long forms, surrogates and what lies above U+10FFFF */
    uint32_t least = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    uint32_t most = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    uint32_t c = lead & (0x3fu >> more);
    for (int i = 0; i < more; i++, least = 0x80, most = 0xbf) {
        if (s == end || *s < least || *s > most)
            return BROKEN;
        c = c << 6 | (*s++ & 0x3f);
        *at = s;
    }
    return c;
}

int tn__utf8_put(uint32_t c, char to[4])
{
    const int more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    for (int i = more; i > 0; i--, c >>= 6)
        to[i] = (char)(0x80 | (c & 0x3f));
    to[0] = (char)(more ? (0xf0u << (3 - more)) | c : c);
    return more + 1;
}

bool tn_lowercase(const char *line, size_t n, tn_text *out)
{
    if (!out || (!line && n))
        return false;
    out->len = 0;
    const uint8_t *s = (const uint8_t *)(n ? line : ""), *end = s + n;
    bool ok = tn_text_add(out, "", 0);
    while (ok && s < end) {
        char some[256]; /* a few at a time: fewer calls */
        int len = 0;
        while (s < end && len + 6 <= (int)sizeof some) {
            const uint32_t c = tn__utf8_next(&s, end);
            len += tn__utf8_put(tn__lower(c), some + len);
            if (c == I_WITH_DOT)
                len += tn__utf8_put(DOT_ABOVE, some + len);
        }
        ok = tn_text_add(out, some, (size_t)len);
    }
    return ok;
}
