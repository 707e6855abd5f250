/* Any bytes as a .npy file. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const int fd = fuzz_fd();
    fuzz_check(pwrite(fd, data, size, 0) == (ssize_t)size);
    TN_SCOPE {
        const tn_tensor *t = tn_load_npy(fuzz_path(fd));
        fuzz_check((t != NULL) == tn_ok());
        fuzz_check(!t || (size_t)tn_numel(t) <= size);
    }
    tn_error_clear();
    return 0;
}
