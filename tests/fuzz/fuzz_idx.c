/* Any bytes as MNIST's two files; the first two say where the labels begin. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    const size_t n = size - 2, cut = (size_t)(data[0] << 8 | data[1]) % (n + 1);
    const int fd = fuzz_fd();
    fuzz_add(fd, "t10k-images-idx3-ubyte", cut, data + 2, cut, 0);
    fuzz_add(fd, "t10k-labels-idx1-ubyte", n - cut, data + 2 + cut, n - cut, 0);
    tn_dataset *d = tn_mnist(fuzz_path(fd), TN_TEST);
    if (d) {
        uint8_t *x = malloc((size_t)(d->x_shape[0] * d->x_shape[1]));
        int64_t y = -1;
        fuzz_check(x && d->cls->get(d, d->len - 1, x, &y) && y >= 0 && y < d->classes);
        free(x);
    }
    fuzz_outcome(d);
    return 0;
}
