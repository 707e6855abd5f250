/* Any bytes as codes and, from where the first two bytes say, as text that is cut by them and by what is learned
 * from it.  What was cut and joined again is the text, as far as it has no marks of its own. */
#define _GNU_SOURCE /* memmem, memfd_create */
#include "fuzz.h"

/* The same but for spaces. */
static bool same(const char *a, size_t n, const char *b, size_t m)
{
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        if (a[i] == ' ')
            continue;
        while (k < m && b[k] == ' ')
            k++;
        if (k == m || b[k++] != a[i])
            return false;
    }
    while (k < m && b[k] == ' ')
        k++;
    return k == m;
}

static void use(const tn_bpe *b, const char *text, size_t n)
{
    tn_text cut = {0}, back = {0};
    bool plain = !memmem(text, n, "@@", 2);
    for (size_t i = 0; i < n; i++)
        plain = plain && (unsigned char)text[i] < 0x80; /* else what is no UTF-8 changes */
    fuzz_check((b != NULL) == tn_ok());
    if (b) {
        fuzz_check(tn_bpe_apply(b, text, n, &cut) && tn_bpe_undo(cut.at, cut.len, &back));
        fuzz_check(!plain || same(text, n, back.at, back.len));
    }
    tn_text_end(&cut);
    tn_text_end(&back);
    tn_error_clear();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    const size_t n = size - 2, at = (size_t)(data[0] << 8 | data[1]) % (n + 1);
    const char *text = (const char *)data + 2 + at, *end = memchr(text, '\n', n - at);
    const int fd = fuzz_fd();
    const char *path = fuzz_path(fd);
    const size_t line = end ? (size_t)(end - text) : n - at;
    fuzz_check(pwrite(fd, data + 2, at, 0) == (ssize_t)at);
    tn_bpe *b = tn_bpe_open(path);
    use(b, text, line);
    tn_free(b);
    fuzz_check(ftruncate(fd, 0) == 0 && pwrite(fd, text, n - at, 0) == (ssize_t)(n - at));
    b = tn_bpe_learn((tn_bpe_args){.n = 1, .files = &path, .merges = 100});
    use(b, text, line);
    tn_free(b);
    return 0;
}
