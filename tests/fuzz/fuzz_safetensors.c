/* Any bytes as a safetensors file: opened, asked for everything, and loaded into a small network. */
#include "fuzz.h"

static void load_small_net(const char *path)
{
    tn_module *net = tn_seq(tn_conv2d(1, 2, 2), tn_batch_norm2d(2));
    const bool ok = tn_load(net, path);
    fuzz_check(net && ok == tn_ok());
    tn_error_clear();
    tn_free(net);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const int fd = fuzz_fd();
    fuzz_check(pwrite(fd, data, size, 0) == (ssize_t)size);
    tn_safetensors *f = tn_safetensors_open(fuzz_path(fd));
    fuzz_check((f != NULL) == tn_ok());
    TN_SCOPE {
        tn_safetensors_meta(f, "format");
        for (int i = 0; i < tn_safetensors_count(f) && i < 100; i++)
            fuzz_check(tn_safetensors_read(f, tn_safetensors_name(f, i)));
    }
    tn_error_clear();
    tn_free(f);
    load_small_net(fuzz_path(fd));
    return 0;
}
