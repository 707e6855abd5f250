/* Members of a published archive as files in dest/prepare.work, where the other steps read them; see prepare.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "archive.h"
#include "output.h"
#include "prepare.h"

typedef struct unpacking {
    tn__prepare *p;
    const char *const *names;
    tn__output out; /* of the member under way */
    bool open;
} unpacking;

static bool take_piece(void *arg, int which, const uint8_t *data, size_t size, const char *where)
{
    unpacking *u = arg;
    char path[TN__PREPARE_PATH];
    (void)where;
    tn__prepare_path(u->p, path, "prepare.work/%s", u->names[which]);
    if (!u->open && !tn__output_open(&u->out, u->p->who, path))
        return false;
    u->open = size > 0;
    u->p->bytes += (int64_t)size;
    return size ? tn__output_write(&u->out, data, size) && tn__prepare_tell(u->p) : tn__output_close(&u->out);
}

static bool german_and_english(const tn_prepare_args *a)
{
    const bool de_en = strcmp(a->source, "de") == 0 && strcmp(a->target, "en") == 0;
    return de_en || (strcmp(a->source, "en") == 0 && strcmp(a->target, "de") == 0);
}

bool tn__prepare_archive(tn__prepare *p, const char *path, bool (*unpack)(tn__prepare *p), const char *hint)
{
    const tn_prepare_args *a = &p->args;
    struct stat s;
    if (!path || !a->dest)
        tn_fail(TN_EARG, "%s: an archive and a folder to make are wanted; %s", p->who, hint);
    else if (!german_and_english(a))
        tn_fail(TN_EARG, "%s: the languages are \"de\" and \"en\", either way round", p->who);
    else if (a->tokenized || a->train[0] || a->valid[0] || a->test[0])
        tn_fail(TN_EARG, "%s: which files there are, and that they are tokenised, is not to be said", p->who);
    else if (stat(path, &s) != 0)
        tn_fail(TN_EIO, "%s: %s: %s; %s", p->who, path, strerror(errno), hint);
    else {
        p->archive = path;
        p->unpack = S_ISDIR(s.st_mode) ? NULL : unpack;
    }
    return tn_ok();
}

bool tn__prepare_member(const tn__prepare *p, char path[TN__PREPARE_PATH], const char *name, const char *hint)
{
    if (p->unpack)
        return tn__prepare_path(p, path, "prepare.work/%s", name) != NULL;
    for (int gz = 0; gz < 2; gz++) {
        const int n = snprintf(path, TN__PREPARE_PATH, "%s/%s%s", p->archive, name, gz ? ".gz" : "");
        if (n < TN__PREPARE_PATH && tn__prepare_there(path))
            return true;
    }
    tn_fail(TN_EIO, "%s: %s: no %s there; %s", p->who, p->archive, name, hint);
    return false;
}

bool tn__prepare_unpack(tn__prepare *p, int n, const char *const *names, size_t limit, const char *hint)
{
    char path[TN__PREPARE_PATH];
    const char *wanted[2 * TN__PREPARE_FILES];
    unpacking u = {.p = p, .names = wanted};
    tn__source source = {.who = p->who, .path = p->archive, .names = wanted, .limit = limit, .hint = hint};
    for (int i = 0; i < n; i++)
        if (!tn__prepare_there(tn__prepare_path(p, path, "prepare.work/%s", names[i])))
            wanted[source.n++] = names[i];
    if (source.n == 0)
        return true;
    char *archive = strdup(p->archive);
    if (!archive)
        return tn_fail(TN_ENOMEM, "%s: no memory", p->who), false;
    const bool ok = tn__prepare_step(p, "unpacking", 1, &archive) && tn__source_pieces(&source, take_piece, &u);
    free(archive);
    tn__output_drop(&u.out);
    return ok;
}
