/* For tests that write files: a folder of their own, and files of given bytes. */
#ifndef TN_TESTS_FILES_H
#define TN_TESTS_FILES_H

#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

#include "check.h"

static char folder[64];

static inline int folder_begin(void **state)
{
    strcpy(folder, "/tmp/tenon-test-XXXXXX");
    return mkdtemp(folder) ? quiet_errors(state) : 1;
}

static inline int folder_end(void **state)
{
    char command[96];
    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

/* "FOLDER/name"; good until the fourth call from now. */
static inline const char *in_folder(const char *name)
{
    static char text[4][256];
    static unsigned turn;
    char *path = text[turn++ % 4];
    snprintf(path, sizeof text[0], "%s/%s", folder, name);
    return path;
}

static inline int files_in_folder(void)
{
    int n = 0;
    DIR *d = opendir(folder);
    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n - 2; /* . and .. */
}

static inline const char *put_file(const char *name, const void *bytes, size_t n)
{
    const char *path = in_folder(name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
    return path;
}

static inline size_t get_file(const char *path, unsigned char *bytes, size_t room)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    const size_t n = fread(bytes, 1, room, f);
    fclose(f);
    assert_true(n < room);
    return n;
}

#endif
