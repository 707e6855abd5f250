/* Any bytes as a .npz file: opened, and every array read. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const int fd = fuzz_fd();
    fuzz_check(pwrite(fd, data, size, 0) == (ssize_t)size);
    tn_npz *f = tn_npz_open(fuzz_path(fd));
    fuzz_check((f != NULL) == tn_ok());
    for (int i = 0; i < tn_npz_count(f) && i < 100; i++)
        TN_SCOPE {
            tn_error_clear();
            const tn_tensor *t = tn_npz_read(f, tn_npz_name(f, i));
            fuzz_check((t != NULL) == tn_ok());
            fuzz_check(!t || (size_t)tn_numel(t) / 1032 <= size);
        }
    tn_error_clear();
    tn_free(f);
    return 0;
}
