/* Running text as a data set of chunks, out of a folder that tenon prepare made; see tenon/text.h.  In training a
 * chunk is a few time steps of each of the rows that a shard is cut into; a split as a whole is one row.  The files of
 * ids are tokens.c's, the folder is prepare_stream.c's; in which order chunks come: batches.c. */
#include "stream.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "output.h"
#include "splits.h"

typedef struct stream {
    tn_dataset base;
    bool whole;
    int64_t rows, steps; /* of a chunk */
    int64_t shards;
    tn_tokens **file;    /* [shards], mapped */
    /* [shards + 1]: where each begins, and the end of the last: in chunks, or, whole, in tokens */
    int64_t *begin;
} stream;

/* ---- stream.json ---- */

const char *tn__stream_file(char file[TN__STREAM_FILE], int split, int64_t shard)
{
    snprintf(file, TN__STREAM_FILE, "%s.%05lld.tok", tn__split_names[split], (long long)shard + 1);
    return file;
}

static bool join(char path[PATH_MAX], const char *folder, const char *file)
{
    const int n = snprintf(path, PATH_MAX, "%s/%s", folder, file);
    return (n > 0 && n < PATH_MAX) || (tn_fail(TN_EARG, "text: %s: the name is too long", folder), false);
}

bool tn__stream_write(const char *folder, const tn__stream_info *info)
{
    char path[PATH_MAX], text[128];
    const int n = snprintf(text, sizeof text, "{\"train\": %lld, \"valid\": %lld, \"test\": %lld}\n",
                           (long long)info->shards[TN_TRAIN], (long long)info->shards[TN_VALID],
                           (long long)info->shards[TN_TEST]);
    return join(path, folder, "stream.json") && tn__output_whole("text", path, text, (size_t)n);
}

static bool take_counts(const char *path, const json_t *root, tn__stream_info *info)
{
    bool good = json_is_object(root) && json_object_size(root) == 3;
    for (int split = 0; good && split < 3; split++) {
        const json_t *count = json_object_get(root, tn__split_names[split]);
        info->shards[split] = json_integer_value(count);
        good = json_is_integer(count) && info->shards[split] >= 0 && info->shards[split] <= TN__STREAM_SHARDS;
    }
    if (!good)
        tn_fail(TN_EFORMAT, "text: %s: shards of train, valid and test, 0 to %d each, are wanted and no more", path,
                TN__STREAM_SHARDS);
    return good;
}

bool tn__stream_read(const char *folder, tn__stream_info *info)
{
    char path[PATH_MAX];
    struct stat s;
    json_error_t e;
    if (!join(path, folder, "stream.json"))
        return false;
    if (stat(path, &s) != 0)
        return tn_fail(TN_EIO, "text: %s: %s; tenon prepare text and lm1b make such folders", path, strerror(errno)),
               false;
    if (!S_ISREG(s.st_mode))
        return tn_fail(TN_EIO, "text: %s is not a regular file", path), false;
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &e);
    if (!root)
        return tn_fail(TN_EFORMAT, "text: %s: line %d, column %d: %s", path, e.line, e.column, e.text), false;
    const bool ok = take_counts(path, root, info);
    json_decref(root);
    return ok;
}

/* ---- the data set ---- */

/* The shard of a chunk, or, whole, of a token; those that are empty are passed over. */
static int64_t shard_of(const stream *s, int64_t at)
{
    int64_t low = 0, high = s->shards; /* begin[low] <= at < begin[high] */
    while (high - low > 1) {
        const int64_t middle = low + (high - low) / 2;
        *(s->begin[middle] <= at ? &low : &high) = middle;
    }
    return low;
}

static int64_t chunk_steps(const stream *s, int64_t i)
{
    const int64_t left = s->whole ? s->begin[s->shards] - 1 - i * s->steps : s->steps;
    return left < s->steps ? left : s->steps;
}

static void stream_rows(const tn_dataset *d, int64_t i, int64_t *x, int64_t *y)
{
    *x = *y = chunk_steps((const stream *)d, i);
}

static bool stream_begins(const tn_dataset *d, int64_t i)
{
    const stream *s = (const stream *)d;
    return s->whole ? i == 0 : s->begin[shard_of(s, i)] == i;
}

/* Tokens from place `at` of all shards on. */
static bool read_whole(const stream *s, int64_t at, int64_t n, int32_t *to)
{
    for (int64_t k = shard_of(s, at); n > 0; k++) {
        const int64_t left = s->begin[k + 1] - at, part = left < n ? left : n;
        if (part > 0 && !tn_tokens_read(s->file[k], at - s->begin[k], part, to))
            return false;
        at += part;
        to += part;
        n -= part;
    }
    return true;
}

/* The tokens of one row of a chunk, and with each the next one: a column of x and of y [steps, rows]. */
static bool read_row(const stream *s, const tn_tokens *t, int64_t at, int32_t *x, int32_t *y)
{
    enum { PIECE = 255 };
    int32_t ids[PIECE + 1];
    for (int64_t done = 0, n; done < s->steps; done += n) {
        n = s->steps - done < PIECE ? s->steps - done : PIECE;
        if (!tn_tokens_read(t, at + done, n + 1, ids))
            return false;
        for (int64_t k = 0; k < n; k++) {
            x[(done + k) * s->rows] = ids[k];
            y[(done + k) * s->rows] = ids[k + 1];
        }
    }
    return true;
}

static bool read_chunk(const stream *s, int64_t i, int32_t *x, int32_t *y)
{
    const int64_t k = shard_of(s, i), length = (s->begin[k + 1] - s->begin[k]) * s->steps;
    bool good = true;
    for (int64_t row = 0; row < s->rows && good; row++)
        good = read_row(s, s->file[k], (i - s->begin[k]) * s->steps + row * length, x + row, y + row);
    return good;
}

static bool stream_get(const tn_dataset *d, int64_t i, void *x, void *y)
{
    const stream *s = (const stream *)d;
    if (!s->whole)
        return read_chunk(s, i, x, y);
    return read_whole(s, i * s->steps, chunk_steps(s, i), x) && read_whole(s, i * s->steps + 1, chunk_steps(s, i), y);
}

static void stream_free(tn_dataset *d)
{
    stream *s = (stream *)d;
    for (int64_t k = 0; s->file && k < s->shards; k++)
        tn_free(s->file[k]);
    free(s->file);
    free(s->begin);
}

static const tn_dataset_class stream_class = {
    .name = "text", .size = sizeof(stream), .get = stream_get, .free = stream_free, .rows = stream_rows,
    .begins = stream_begins,
};

/* ---- opening ---- */

/* Of a file of tokens one sentence follows the other. */
static const int32_t *ids_of(const tn_tokens *t)
{
    int64_t n;
    return tn_tokens_sentences(t) ? tn_tokens_at(t, 0, &n) : NULL;
}

/* Checksums, and that each id has its word. */
static bool check_shard(const stream *s, const char *folder, int split, int64_t shard, int64_t words)
{
    char file[TN__STREAM_FILE];
    const tn_tokens *t = s->file[shard];
    const int32_t *ids = ids_of(t);
    const int64_t n = tn_tokens_len(t);
    if (!tn_tokens_check(t))
        return false;
    for (int64_t k = 0; k < n; k++)
        if (ids[k] >= words)
            return tn_fail(TN_EFORMAT, "text: %s/%s: token %lld is %d, and the dictionary has %lld words; was one of "
                           "them made anew?", folder, tn__stream_file(file, split, shard), (long long)k, (int)ids[k],
                           (long long)words), false;
    return true;
}

static bool open_shards(stream *s, const char *folder, int split)
{
    char path[PATH_MAX], file[TN__STREAM_FILE];
    s->file = calloc((size_t)s->shards, sizeof *s->file);
    s->begin = calloc((size_t)s->shards + 1, sizeof *s->begin);
    if (!s->file || !s->begin)
        return tn_fail(TN_ENOMEM, "text: no memory for %lld shards", (long long)s->shards), false;
    for (int64_t k = 0; k < s->shards; k++)
        if (!join(path, folder, tn__stream_file(file, split, k)) || !(s->file[k] = tn_tokens_open(path)))
            return false;
    return true;
}

/* Cuts each shard into rows and these into chunks, or all of them into chunks. */
static bool cut(stream *s, const char *folder, int split)
{
    char file[TN__STREAM_FILE];
    for (int64_t k = 0; k < s->shards; k++) {
        const int64_t n = tn_tokens_len(s->file[k]);
        const int64_t part = s->whole ? n : n > 0 ? (n - 1) / s->rows / s->steps : 0;
        if (!s->whole && part == 0)
            return tn_fail(TN_EARG, "text: %s/%s has %lld tokens; %lld rows of %lld steps and the last target take "
                           "%lld: lower data.batch or data.steps", folder, tn__stream_file(file, split, k),
                           (long long)n, (long long)s->rows, (long long)s->steps,
                           (long long)(s->rows * s->steps + 1)), false;
        s->begin[k + 1] = s->begin[k] + part;
    }
    const int64_t all = s->begin[s->shards];
    if (all < 2 && s->whole)
        return tn_fail(TN_EFORMAT, "text: %s: its %s text is empty", folder, tn__split_names[split]), false;
    s->base.len = s->whole ? (all - 2) / s->steps + 1 : all;
    return true;
}

static int64_t dictionary_len(const char *folder)
{
    char path[PATH_MAX];
    tn_dictionary *d = join(path, folder, "dict.txt") ? tn_dictionary_open_ranked(path) : NULL;
    const int64_t n = tn_dictionary_len(d);
    tn_free(d);
    return n;
}

static bool open_stream(stream *s, const char *folder, int split)
{
    tn__stream_info info;
    if (!tn__stream_read(folder, &info))
        return false;
    s->shards = info.shards[split];
    if (s->shards == 0)
        return tn_fail(TN_EARG, "text: %s has no %s text; prepare one with it", folder, tn__split_names[split]), false;
    const int64_t words = dictionary_len(folder);
    if (words == 0 || !open_shards(s, folder, split) || !cut(s, folder, split))
        return false;
    for (int64_t k = 0; k < s->shards; k++)
        if (!check_shard(s, folder, split, k, words))
            return false;
    s->base.x_dtype = s->base.y_dtype = TN_I32;
    s->base.x_ndim = s->base.y_ndim = 1;
    s->base.x_shape[0] = s->base.y_shape[0] = s->rows;
    s->base.x_classes = s->base.classes = words;
    return true;
}

tn_dataset *tn_text_stream_call(tn_text_stream_args a)
{
    enum { MOST = 1 << 20 }; /* so that no product overflows */
    if (!a.folder || !*a.folder)
        return tn_fail(TN_EARG, "text: no folder given; tenon prepare text makes one");
    if ((int)a.split < 0 || a.split > TN_VALID)
        return tn_fail(TN_EARG, "text: there is no split %d", (int)a.split);
    if (a.batch < 0 || a.batch > MOST || a.steps < 0 || a.steps > MOST)
        return tn_fail(TN_EARG, "text: batch %lld, steps %lld: both go from 1 to %d, 0 for the default",
                       (long long)a.batch, (long long)a.steps, MOST);
    if (a.whole && a.batch > 1)
        return tn_fail(TN_EARG, "text: batch is %lld, and a text as a whole is one row", (long long)a.batch);
    stream *s = tn_dataset_new(&stream_class);
    if (!s)
        return NULL;
    s->whole = a.whole;
    s->rows = a.whole ? 1 : a.batch ? a.batch : 128;
    s->steps = a.steps ? a.steps : a.whole ? 128 : 20;
    s->base.carries = a.carries;
    if (open_stream(s, a.folder, (int)a.split))
        return &s->base;
    tn_free(s);
    return NULL;
}
