/* Any bytes anywhere in a file of CIFAR-10, the rest zeros.  The first byte chooses its size, the
 * next three where the bytes go. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4)
        return 0;
    const size_t whole = 30730000, n = size - 4;
    const size_t sizes[] = {whole, whole + 1, whole - 1}; /* slow, so less often */
    const int kind = data[0] % 16;
    const size_t at = (size_t)data[1] << 16 | (size_t)data[2] << 8 | data[3];
    const int fd = fuzz_fd();
    const size_t total = kind < 3 ? sizes[kind] : n * (size_t)kind;
    fuzz_add(fd, "cifar-10-batches-bin/test_batch.bin", total, data + 4, n, at);
    tn_dataset *d = tn_cifar10(fuzz_path(fd), TN_TEST);
    for (int64_t i = 0; d && i < d->len; i++) {
        uint8_t x[3072];
        int64_t y = -1;
        fuzz_check(d->cls->get(d, i, x, &y) && y >= 0 && y < d->classes);
    }
    fuzz_outcome(d);
    return 0;
}
