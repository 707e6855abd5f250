/* Any bytes as a dictionary's file, as text to build one from, and as a line. */
#include "fuzz.h"

static void use(const tn_dictionary *d, const uint8_t *data, size_t size)
{
    tn_ids ids = {0}, again = {0};
    tn_text text = {0};
    fuzz_check((d != NULL) == tn_ok());
    if (d) {
        const int64_t n = tn_dictionary_len(d);
        fuzz_check(n >= 2 && tn_dictionary_word(d, (int32_t)n - 1) && !tn_dictionary_word(d, (int32_t)n));
        fuzz_check(tn_dictionary_encode(d, (const char *)data, size, &ids) && ids.at[ids.len - 1] == tn_dictionary_eos(d));
        fuzz_check(tn_dictionary_decode(d, ids.at, ids.len, &text));
        fuzz_check(tn_dictionary_encode(d, text.at, text.len, &again));
        fuzz_check(again.len == ids.len && memcmp(again.at, ids.at, (size_t)ids.len * sizeof *ids.at) == 0);
    }
    tn_ids_end(&ids);
    tn_ids_end(&again);
    tn_text_end(&text);
    tn_error_clear();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const int fd = fuzz_fd();
    fuzz_check(pwrite(fd, data, size, 0) == (ssize_t)size);
    const char *path = fuzz_path(fd);
    tn_dictionary *d = tn_dictionary_open(path);
    use(d, data, size);
    tn_free(d);
    d = tn_dictionary_open_ranked(path);
    use(d, data, size);
    tn_free(d);
    for (int ranked = 0; ranked < 2; ranked++) {
        d = tn_dictionary_build((tn_dictionary_args){.n = 1, .files = &path, .threshold = size % 3, .ranked = ranked});
        use(d, data, size);
        tn_free(d);
    }
    return 0;
}
