/* Members of a published archive as files in prepare.work, where the steps read them; see folder.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "archive.h"
#include "folder.h"
#include "output.h"

typedef struct unpacking {
    tn__folder *f;
    const char *const *names;
    tn__output out; /* of the member under way */
    bool open;
} unpacking;

static bool take_piece(void *arg, int which, const uint8_t *data, size_t size, const char *where)
{
    unpacking *u = arg;
    char path[TN__FOLDER_PATH];
    (void)where;
    tn__folder_path(u->f, path, "prepare.work/%s", u->names[which]);
    if (!u->open && !tn__output_open(&u->out, u->f->who, path))
        return false;
    u->open = size > 0;
    u->f->bytes += (int64_t)size;
    return size ? tn__output_write(&u->out, data, size) && tn__folder_tell(u->f) : tn__output_close(&u->out);
}

bool tn__folder_from(tn__folder *f, const char *archive, const char *hint)
{
    struct stat s;
    if (!archive || !f->path)
        tn_fail(TN_EARG, "%s: an archive and a folder to make are wanted; %s", f->who, hint);
    else if (stat(archive, &s) != 0)
        tn_fail(TN_EIO, "%s: %s: %s; %s", f->who, archive, strerror(errno), hint);
    else {
        f->archive = archive;
        f->packed = !S_ISDIR(s.st_mode);
    }
    return tn_ok();
}

bool tn__folder_member(const tn__folder *f, char path[TN__FOLDER_PATH], const char *sub, const char *name,
                       const char *hint)
{
    if (f->packed)
        return tn__folder_path(f, path, "prepare.work/%s", name) != NULL;
    for (int gz = 0; gz < 2; gz++) {
        const int n = snprintf(path, TN__FOLDER_PATH, "%s/%s%s%s%s", f->archive, sub, *sub ? "/" : "", name,
                               gz ? ".gz" : "");
        if (n < TN__FOLDER_PATH && tn__file_there(path))
            return true;
    }
    tn_fail(TN_EIO, "%s: %s: no %s%s%s there; %s", f->who, f->archive, sub, *sub ? "/" : "", name, hint);
    return false;
}

bool tn__folder_unpack(tn__folder *f, int n, const char *const *names, size_t limit, const char *hint)
{
    char path[TN__FOLDER_PATH];
    const char **wanted = malloc((size_t)n * sizeof *wanted);
    unpacking u = {.f = f, .names = wanted};
    tn__source source = {.who = f->who, .path = f->archive, .names = wanted, .limit = limit, .hint = hint};
    bool ok = wanted;
    if (!ok)
        tn_fail(TN_ENOMEM, "%s: no memory", f->who);
    for (int i = 0; ok && i < n; i++)
        if (!tn__file_there(tn__folder_path(f, path, "prepare.work/%s", names[i])))
            wanted[source.n++] = names[i];
    if (source.n > 0)
        ok = tn__folder_step(f, "unpacking", 1, &f->archive) && tn__source_pieces(&source, take_piece, &u);
    free(wanted);
    tn__output_drop(&u.out);
    return ok;
}
