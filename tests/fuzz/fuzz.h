/* What the fuzz targets of data readers share: bytes under a path, alone or as members of a tar,
 * and the rule that a reader either succeeds without an error or fails with one. */
#ifndef TN_TESTS_FUZZ_H
#define TN_TESTS_FUZZ_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memfd_create */
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tenon.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void fuzz_check(bool ok)
{
    if (!ok)
        abort();
}

/* An empty file in memory, the same one for each call. */
static inline int fuzz_fd(void)
{
    static int fd = -1;
    tn_on_error(NULL, NULL);
    if (fd < 0)
        fd = memfd_create("fuzz", 0);
    fuzz_check(fd >= 0 && ftruncate(fd, 0) == 0);
    return fd;
}

static inline const char *fuzz_path(int fd)
{
    static char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return path;
}

/* Adds a member of `size` bytes to a tar: zeros, but for data [n] from byte `at` on. */
static inline void fuzz_add(int fd, const char *name, size_t size, const uint8_t *data, size_t n,
                            size_t at)
{
    char head[512] = {0};
    unsigned sum = 0;
    snprintf(head, 100, "%s", name);
    snprintf(head + 100, 8, "%07o", 0644u);
    snprintf(head + 124, 12, "%011zo", size);
    memcpy(head + 148, "        ", 8);
    memcpy(head + 156, "0ustar\0" "00", 10);
    for (size_t i = 0; i < sizeof head; i++)
        sum += (unsigned char)head[i];
    snprintf(head + 148, 8, "%06o", sum);
    const off_t start = lseek(fd, 0, SEEK_END), body = start + 512;
    if (at > size)
        at = size;
    if (n > size - at)
        n = size - at;
    fuzz_check(pwrite(fd, head, sizeof head, start) == (ssize_t)sizeof head);
    fuzz_check(pwrite(fd, data, n, body + (off_t)at) == (ssize_t)n);
    fuzz_check(ftruncate(fd, body + (off_t)((size + 511) / 512 * 512)) == 0);
}

static inline void fuzz_outcome(tn_dataset *d)
{
    fuzz_check((d != NULL) == tn_ok());
    tn_error_clear();
    tn_free(d);
}

#endif
