/* Characters: UTF-8, and what Unicode 14 calls a letter, a number, a space, lower case.  It is what the regular
 * expressions of the Moses scripts see in Perl 5.36; the tables are our own (tools/unicode.pl), so that a line
 * becomes the same tokens whatever is installed. */
#ifndef TN_DATA_UNICODE_H
#define TN_DATA_UNICODE_H

#include <tenon.h>

/* What a character is; several may hold. */
enum {
    TN__ALPHA = 1,    /* \p{Alphabetic} */
    TN__DIGIT = 2,    /* \p{Nd} */
    TN__NUMBER = 4,   /* \p{N}: digits, fractions, roman numerals */
    TN__SPACE = 8,    /* \s */
    TN__CURRENCY = 16 /* \p{Sc} */
};
int tn__class(uint32_t c);
bool tn__is_lower(uint32_t c);  /* \p{Lowercase} */
uint32_t tn__lower(uint32_t c); /* the first character of lc(), the only one but for U+0130 */

/* The next character of a text that is not at its end; U+FFFD for each longest piece that is no UTF-8. */
uint32_t tn__utf8_next(const uint8_t **at, const uint8_t *end);
/* Writes 1 to 4 bytes and tells how many. */
int tn__utf8_put(uint32_t c, char to[4]);

#endif
