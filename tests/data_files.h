/* What the tests of data sets share: a folder of this run, files and archives in it, and records of
 * CIFAR. */
#ifndef TN_TESTS_DATA_FILES_H
#define TN_TESTS_DATA_FILES_H

#include <archive.h>
#include <archive_entry.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "check.h"

static char folder[200]; /* of this run, removed at its end */

/* A path in that folder; a few at a time. */
static inline const char *at(const char *name)
{
    static char paths[8][800];
    static int turn;
    char *path = paths[turn++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static inline void write_file(const char *path, const void *data, size_t size)
{
    const size_t n = strlen(path);
    const bool gz = n > 3 && strcmp(path + n - 3, ".gz") == 0;
    gzFile f = gzopen(path, gz ? "wb1" : "wbT");
    assert_non_null(f);
    assert_int_equal(gzfwrite(data, 1, size, f), size);
    assert_int_equal(gzclose(f), Z_OK);
}

typedef struct item {
    const char *name;
    const void *data;
    size_t size;
    __LA_MODE_T type; /* 0: a plain file */
} item;

static inline void write_archive(const char *path, int n, const item *items)
{
    struct archive *a = archive_write_new();
    if (strstr(path, ".zip"))
        archive_write_set_format_zip(a);
    else
        archive_write_set_format_ustar(a);
    if (strstr(path, ".tgz") || strstr(path, ".gz")) {
        archive_write_add_filter_gzip(a);
        archive_write_set_filter_option(a, NULL, "compression-level", "1");
    }
    assert_int_equal(archive_write_open_filename(a, path), ARCHIVE_OK);
    for (int i = 0; i < n; i++) {
        struct archive_entry *e = archive_entry_new();
        archive_entry_set_pathname(e, items[i].name);
        archive_entry_set_filetype(e, items[i].type ? items[i].type : AE_IFREG);
        if (items[i].type == AE_IFLNK)
            archive_entry_set_symlink(e, "/etc/passwd");
        archive_entry_set_perm(e, 0644);
        archive_entry_set_size(e, (int64_t)items[i].size);
        assert_int_equal(archive_write_header(a, e), ARCHIVE_OK);
        assert_int_equal(archive_write_data(a, items[i].data, items[i].size), items[i].size);
        archive_entry_free(e);
    }
    assert_int_equal(archive_write_close(a), ARCHIVE_OK);
    archive_write_free(a);
}

/* ---- CIFAR ---- */

enum { RECORD = 3073, RECORDS = 10000, BATCH = RECORD * RECORDS };

/* Any record: a label, then bytes that differ by record, plane and place. */
static inline void fill_records(uint8_t *to, int64_t n, int labels, int classes)
{
    for (int64_t i = 0; i < n; i++) {
        for (int k = 0; k < labels; k++)
            *to++ = (uint8_t)(i % (k == labels - 1 ? classes : 20));
        for (int p = 0; p < 3072; p++)
            *to++ = (uint8_t)(i * 5 + p * 3 + p / 1024 * 11);
    }
}

/* Sample i must hold the planes of `record` [labels + 3072], interleaved. */
static inline void same_image(const tn_dataset *d, int64_t i, const uint8_t *record, int labels)
{
    static uint8_t x[32 * 32 * 3];
    int64_t y;
    assert_true(d->cls->get(d, i, x, &y));
    assert_int_equal(y, record[labels - 1]);
    bool same = true;
    for (int p = 0; p < 1024; p++)
        for (int c = 0; c < 3; c++)
            same = same && x[3 * p + c] == record[labels + 1024 * c + p];
    assert_true(same);
}

/* ---- the folder ---- */

static inline int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "%s/datasets-XXXXXX", TN_BINARY_DIR);
    return mkdtemp(folder) ? quiet_errors(state) : -1;
}

static inline int remove_folder(void **state)
{
    (void)state;
    char command[300];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

#endif
