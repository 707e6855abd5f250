/* Any bytes as a line: tokenized, joined and lowered in both languages, the texts hold what they should. */
#include "fuzz.h"

static void check_text(const tn_text *t, bool ok)
{
    fuzz_check(ok && tn_ok() && t->len < t->room && !t->at[t->len]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static tn_tokenizer *t[4];
    static tn_text a, b;
    for (int i = 0; i < 4 && !t[i]; i++)
        t[i] = tn_tokenizer(i & 1 ? "de" : "en", .aggressive = i & 2, .no_escape = i & 2);
    char *line = malloc(size ? size : 1); /* so that reading beyond it is seen */
    fuzz_check(line != NULL);
    if (size)
        memcpy(line, data, size);
    for (int i = 0; i < 4; i++) {
        check_text(&a, tn_tokenize(t[i], line, size, &a));
        check_text(&b, tn_detokenize(t[i], a.at, a.len, &b));
        check_text(&b, tn_detokenize(t[i], line, size, &b));
    }
    check_text(&a, tn_lowercase(line, size, &a));
    check_text(&b, tn_lowercase(a.at, a.len, &b)); /* what is lowered stays */
    fuzz_check(a.len == b.len && memcmp(a.at, b.at, a.len) == 0);
    free(line);
    return 0;
}
