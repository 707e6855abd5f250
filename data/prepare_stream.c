/* Running text of files, or of the One Billion Word benchmark, as shards of ids and a ranked dictionary; see
 * tenon/text.h, and folder.h for the folder.  Words and their numbers are those of the RAdam paper's language model
 * (language-model/pre_word_ada/gene_map.py and encode_data2folder.py).  Who reads it in training: stream.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "encode.h"
#include "folder.h"
#include "splits.h"
#include "stream.h"

typedef struct making {
    tn__folder to;
    tn_prepare_stream_args args; /* with the defaults in place of zeros */
    tn__stream_info info;
    char **file[3];              /* by tn_split: [info.shards], what they are made of */
    bool (*unpack)(struct making *m);
} making;

/* ---- what is asked for ---- */

static bool no_memory(const making *m) { return tn_fail(TN_ENOMEM, "%s: no memory for file names", m->to.who), false; }

static bool reserve(making *m, int split, int n)
{
    if (n < 0 || n > TN__STREAM_SHARDS)
        return tn_fail(TN_EARG, "%s: %d files for %s; up to %d are possible", m->to.who, n, tn__split_names[split],
                       TN__STREAM_SHARDS), false;
    m->file[split] = calloc((size_t)n + 1, sizeof *m->file[split]);
    return m->file[split] || no_memory(m);
}

/* As many as are reserved at most. */
static bool add_file(making *m, int split, const char *name)
{
    char *copy = strdup(name);
    if (!copy)
        return no_memory(m);
    m->file[split][m->info.shards[split]++] = copy;
    return true;
}

static bool add_files(making *m, int split, int n, const char *const *files)
{
    bool ok = reserve(m, split, n);
    for (int i = 0; ok && i < n; i++)
        ok = files && files[i] ? add_file(m, split, files[i])
                               : (tn_fail(TN_EARG, "%s: file %d for %s has no name", m->to.who, i + 1,
                                          tn__split_names[split]), false);
    return ok;
}

static void making_end(making *m)
{
    for (int split = 0; split < 3; split++) {
        for (int64_t k = 0; k < m->info.shards[split]; k++)
            free(m->file[split][k]);
        free(m->file[split]);
    }
    tn__folder_close(&m->to);
}

static bool check(making *m, int64_t usual)
{
    tn_prepare_stream_args *a = &m->args;
    if (a->threshold < -1)
        return tn_fail(TN_EARG, "%s: threshold is %lld; it is a count, or -1 for none", m->to.who,
                       (long long)a->threshold), false;
    a->threshold = a->threshold < 0 ? 0 : a->threshold ? a->threshold : usual;
    if (m->info.shards[TN_TRAIN] == 0)
        return tn_fail(TN_EARG, "%s: files for training are wanted", m->to.who), false;
    return true;
}

static bool settings(const making *m, tn_text *t)
{
    char text[128];
    const int n = snprintf(text, sizeof text, "%s\nthreshold: %lld\nskip_blank: %d\n", m->to.who,
                           (long long)m->args.threshold, m->args.skip_blank);
    bool ok = tn_text_add(t, text, (size_t)n);
    if (m->to.archive)
        return ok && tn__folder_add_file(&m->to, t, "archive", m->to.archive);
    for (int split = 0; split < 3; split++)
        for (int64_t k = 0; ok && k < m->info.shards[split]; k++) {
            snprintf(text, sizeof text, "%s.%05lld", tn__split_names[split], (long long)k + 1);
            ok = tn__folder_add_file(&m->to, t, text, m->file[split][k]);
        }
    return ok;
}

static const char *shard_path(const making *m, char path[TN__FOLDER_PATH], int split, int64_t shard)
{
    char file[TN__STREAM_FILE];
    return tn__folder_path(&m->to, path, "%s", tn__stream_file(file, split, shard));
}

/* A file of a name that the folder gives, or NULL. */
static const char *any_there(const making *m, char path[TN__FOLDER_PATH])
{
    bool there = tn__file_there(tn__folder_path(&m->to, path, "dict.txt")) ||
                 tn__file_there(tn__folder_path(&m->to, path, "stream.json"));
    for (int split = 0; split < 3; split++)
        for (int64_t k = 0; !there && k < m->info.shards[split]; k++)
            there = tn__file_there(shard_path(m, path, split, k));
    return there ? path : NULL;
}

static bool settle(const making *m)
{
    char path[TN__FOLDER_PATH];
    tn_text t = {0};
    const bool ok = settings(m, &t) && tn__folder_settle(&m->to, &t, any_there(m, path));
    tn_text_end(&t);
    return ok;
}

/* ---- steps ---- */

static bool all_there(const making *m)
{
    char path[TN__FOLDER_PATH];
    bool there = tn__file_there(tn__folder_path(&m->to, path, "dict.txt"));
    for (int split = 0; split < 3; split++)
        for (int64_t k = 0; there && k < m->info.shards[split]; k++)
            there = tn__file_there(shard_path(m, path, split, k));
    return there;
}

static bool count_bytes(void *arg, int64_t bytes)
{
    making *m = arg;
    m->to.bytes += bytes;
    return tn__folder_tell(&m->to);
}

static bool make_dictionary(making *m)
{
    char path[TN__FOLDER_PATH];
    const char *const *files = (const char *const *)m->file[TN_TRAIN];
    const int n = (int)m->info.shards[TN_TRAIN];
    if (tn__file_there(tn__folder_path(&m->to, path, "dict.txt")))
        return true;
    if (!tn__folder_step(&m->to, "dict.txt", n, files))
        return false;
    tn_dictionary *d = tn_dictionary_build((tn_dictionary_args){
        .n = n, .files = files, .threshold = m->args.threshold + 1, .ranked = true, .skip_blank = m->args.skip_blank,
        .progress = count_bytes, .arg = m,
    });
    const bool ok = d && tn_dictionary_save(d, path);
    tn_free(d);
    return ok;
}

static bool make_shard(making *m, const tn_dictionary *d, int split, int64_t shard)
{
    char path[TN__FOLDER_PATH], what[TN__STREAM_FILE];
    if (tn__file_there(shard_path(m, path, split, shard)))
        return true;
    snprintf(what, sizeof what, "%s %lld/%lld", tn__split_names[split], (long long)shard + 1,
             (long long)m->info.shards[split]);
    return tn__encode_ids(&(tn__encode){.to = &m->to, .what = what, .from = m->file[split][shard], .dictionary = d,
                                        .skip_blank = m->args.skip_blank}, path);
}

static bool make_shards(making *m)
{
    char path[TN__FOLDER_PATH];
    tn_dictionary *d = tn_dictionary_open_ranked(tn__folder_path(&m->to, path, "dict.txt"));
    bool ok = d;
    for (int split = 0; split < 3; split++)
        for (int64_t k = 0; ok && k < m->info.shards[split]; k++)
            ok = make_shard(m, d, split, k);
    tn_free(d);
    return ok;
}

static bool make_files(making *m)
{
    if (all_there(m))
        return true;
    return (!m->unpack || m->unpack(m)) && make_dictionary(m) && make_shards(m);
}

static making begin(const char *who, tn_prepare_stream_args args)
{
    return (making){
        .to = {.who = who, .path = args.dest, .progress = args.progress, .arg = args.arg, .fd = -1}, .args = args,
    };
}

/* All of it; what `m` holds is freed in any case. */
static bool run(making *m, int64_t usual)
{
    const bool ok = tn_ok() && check(m, usual) && tn__folder_open(&m->to) && settle(m) && make_files(m) &&
                    tn__stream_write(m->to.path, &m->info) && tn__folder_complete(&m->to);
    making_end(m);
    return ok;
}

bool tn_prepare_stream(tn_prepare_stream_args args)
{
    making m = begin("text", args);
    if (tn_ok() && add_files(&m, TN_TRAIN, args.n_train, args.train) &&
        add_files(&m, TN_VALID, args.n_valid, args.valid))
        add_files(&m, TN_TEST, args.n_test, args.test);
    return run(&m, 0);
}

/* ---- One Billion Word (Chelba et al. 2013) ---- */

enum { TRAIN = 99, TEST = 50, NAME = 40, THRESHOLD = 3 };
#define HINT "give 1-billion-word-language-modeling-benchmark-r13output.tar.gz or the folder unpacked from it"

static const struct { const char *sub, *begins, *ends; int n, first; } parts[3] = {
    [TN_TRAIN] = {"training-monolingual.tokenized.shuffled", "news.en-", "-of-00100", TRAIN, 1},
    [TN_TEST] = {"heldout-monolingual.tokenized.shuffled", "news.en.heldout-", "-of-00050", TEST, 0},
};

static const char *member(char name[NAME], int split, int i)
{
    snprintf(name, NAME, "%s%05d%s", parts[split].begins, parts[split].first + i, parts[split].ends);
    return name;
}

static bool unpack_lm1b(making *m)
{
    static const size_t limit = (size_t)1 << 30; /* bytes of a member */
    char text[TRAIN + TEST][NAME];
    const char *names[TRAIN + TEST];
    int n = 0;
    for (int split = 0; split < 3; split++)
        for (int i = 0; i < parts[split].n; i++, n++)
            names[n] = member(text[n], split, i);
    return tn__folder_unpack(&m->to, n, names, limit, HINT);
}

static bool add_members(making *m, int split)
{
    char path[TN__FOLDER_PATH], name[NAME];
    bool ok = reserve(m, split, parts[split].n);
    for (int i = 0; ok && i < parts[split].n; i++)
        ok = tn__folder_member(&m->to, path, parts[split].sub, member(name, split, i), HINT) &&
             add_file(m, split, path);
    return ok;
}

bool tn_prepare_lm1b(const char *archive, tn_prepare_stream_args args)
{
    args.skip_blank = true; /* as gene_map.py and encode_data2folder.py do */
    making m = begin("lm1b", args);
    if (args.n_train || args.n_valid || args.n_test)
        tn_fail(TN_EARG, "lm1b: which files there are is not to be said");
    else if (tn_ok() && tn__folder_from(&m.to, archive, HINT)) {
        m.unpack = m.to.packed ? unpack_lm1b : NULL;
        if (add_members(&m, TN_TRAIN))
            add_members(&m, TN_TEST);
    }
    return run(&m, THRESHOLD);
}
