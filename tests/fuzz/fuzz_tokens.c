/* Any bytes as a file of token ids; with the right checksum when the first byte is odd. */
#include "fuzz.h"

#include <zlib.h>

enum { HEADER = 64, CRC_AT = 32 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const int fd = fuzz_fd();
    if (size < 1)
        return 0;
    const bool right = data++[0] & 1;
    size--;
    fuzz_check(pwrite(fd, data, size, 0) == (ssize_t)size);
    if (right && size >= HEADER) {
        const uint32_t crc = (uint32_t)crc32(0, data + HEADER, (unsigned)(size - HEADER));
        fuzz_check(pwrite(fd, &crc, sizeof crc, CRC_AT) == sizeof crc);
    }
    tn_tokens *t = tn_tokens_open(fuzz_path(fd));
    fuzz_check((t != NULL) == tn_ok());
    const bool whole = tn_tokens_check(t);
    fuzz_check(!t || whole == tn_ok());
    int64_t sum = 0, n;
    for (int64_t i = 0; i < tn_tokens_sentences(t); i++) {
        const int32_t *ids = tn_tokens_at(t, i, &n);
        fuzz_check(ids != NULL);
        for (int64_t k = 0; k < n; k++)
            fuzz_check(!whole || ids[k] >= 0);
        if (n > 0) {
            int32_t id;
            fuzz_check(tn_tokens_read(t, sum + n - 1, 1, &id) && id == ids[n - 1]);
        }
        sum += n;
    }
    fuzz_check(sum == tn_tokens_len(t));
    tn_error_clear();
    tn_free(t);
    return 0;
}
