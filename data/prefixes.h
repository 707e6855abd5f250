/* Non-breaking prefixes: words whose full stop is a part of them, "Dr." and "Nr.", by Moses' lists for German and
 * English.  Words with a letter and another full stop, "z.B.", are none of this business: they never lose their
 * last one (tokenizer.c). */
#ifndef TN_DATA_PREFIXES_H
#define TN_DATA_PREFIXES_H

#include <tenon.h>

typedef enum tn__stop {
    TN__STOP_SPLITS,              /* no such word: the full stop is a token */
    TN__STOP_STAYS,
    TN__STOP_STAYS_BEFORE_NUMBERS /* when the next word begins with 0-9 */
} tn__stop;

enum { TN__LONGEST_PREFIX = 15 };
typedef struct tn__prefixes tn__prefixes;

/* NULL: there are none for this language. */
const tn__prefixes *tn__prefixes_of(const char *lang);
/* Of a word of at most TN__LONGEST_PREFIX bytes without its full stop; p may be NULL. */
tn__stop tn__prefix(const tn__prefixes *p, const char *word);

#endif
