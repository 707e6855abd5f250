/* Any bytes as an archive: tar or zip, gzipped or not, asked for a member larger than the input can
 * be unless packed (CIFAR-10) and for small ones (MNIST). */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const int fd = fuzz_fd();
    fuzz_check(pwrite(fd, data, size, 0) == (ssize_t)size);
    fuzz_outcome(tn_cifar10(fuzz_path(fd), TN_TEST));
    fuzz_outcome(tn_mnist(fuzz_path(fd), TN_TEST));
    return 0;
}
