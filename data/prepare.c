/* Preparing translation data: what is asked for, the folder, and the steps one after the other; see tenon/text.h
 * for what comes out, prepare.h for the steps. */
#include "prepare.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "codec.h"
#include "output.h"

enum { LONGEST_NAME = 100 }; /* of a file in dest */
#define WORK "prepare.work"

/* ---- names ---- */

const char *tn__prepare_lang(const tn__prepare *p, int side) { return side ? p->args.target : p->args.source; }

const char *tn__prepare_path(const tn__prepare *p, char path[TN__PREPARE_PATH], const char *fmt, ...)
{
    va_list args;
    int n = snprintf(path, TN__PREPARE_PATH, "%s/", p->args.dest);
    n = n < TN__PREPARE_PATH ? n : TN__PREPARE_PATH - 1;
    va_start(args, fmt);
    vsnprintf(path + n, TN__PREPARE_PATH - (size_t)n, fmt, args);
    va_end(args);
    return path;
}

bool tn__prepare_there(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 && S_ISREG(s.st_mode);
}

bool tn__bitext_add(tn__bitext *b, const char *source, const char *target)
{
    char *const pair[2] = {source ? strdup(source) : NULL, target ? strdup(target) : NULL};
    if (pair[0] && pair[1] && b->n < TN__PREPARE_FILES) {
        b->file[b->n][0] = pair[0];
        b->file[b->n++][1] = pair[1];
        return true;
    }
    free(pair[0]);
    free(pair[1]);
    return tn_fail(TN_ENOMEM, "prepare: no memory for file names"), false;
}

bool tn__prepare_code(tn__prepare *p, const char *path)
{
    return (p->code = strdup(path)) || tn_fail(TN_ENOMEM, "%s: no memory", p->who);
}

/* ---- progress ---- */

/* Bytes of a file, unpacked when it is gzip's: an estimate, for progress alone. */
static int64_t plain_bytes(const char *path)
{
    uint8_t head[2] = {0}, tail[4] = {0};
    struct stat s;
    FILE *f = fopen(path, "rb");
    if (!f)
        return 0;
    const bool good = fstat(fileno(f), &s) == 0 && S_ISREG(s.st_mode);
    int64_t bytes = good ? s.st_size : 0;
    if (good && fread(head, 1, 2, f) == 2 && head[0] == 0x1f && head[1] == 0x8b && fseek(f, -4, SEEK_END) == 0 &&
        fread(tail, 1, 4, f) == 4) {
        const int64_t said = tail[0] | tail[1] << 8 | tail[2] << 16 | (int64_t)tail[3] << 24;
        bytes = said > bytes ? said : 4 * bytes; /* of more than 4 GiB only the rest is said */
    }
    fclose(f);
    return bytes;
}

bool tn__prepare_tell(void *prepare)
{
    tn__prepare *p = prepare;
    const double share = p->all_bytes > 0 ? (double)p->bytes / (double)p->all_bytes : 0;
    if (!p->args.progress || p->args.progress(p->args.arg, p->what, share < 1 ? share : 1))
        return tn_ok();
    tn_fail(TN_ESTATE, "%s: stopped; the same call goes on with %s", p->who, p->args.dest);
    return false;
}

bool tn__prepare_step(tn__prepare *p, const char *what, int n, char *const *files)
{
    p->bytes = p->all_bytes = 0;
    snprintf(p->what, sizeof p->what, "%s", what);
    for (int i = 0; i < n; i++)
        p->all_bytes += plain_bytes(files[i]);
    return tn__prepare_tell(p);
}

bool tn__prepare_unpacked(tn__prepare *p)
{
    if (p->unpack && !p->unpacked)
        p->unpacked = p->unpack(p);
    return !p->unpack || p->unpacked;
}

/* ---- what is asked for ---- */

static bool bad(const tn__prepare *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool bad(const tn__prepare *p, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    tn_fail(TN_EARG, "%s: %s", p->who, text);
    return false;
}

static bool good_language(const char *s)
{
    return s && *s && strlen(s) <= 15 &&
           strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == strlen(s);
}

static bool check(tn__prepare *p)
{
    tn_prepare_args *a = &p->args;
    a->merges = a->merges ? a->merges : 10000;
    a->longest = a->longest ? a->longest : 175;
    a->ratio = a->ratio != 0 ? a->ratio : 1.5;
    if (!a->dest || !*a->dest || strlen(a->dest) > TN__PREPARE_PATH - LONGEST_NAME)
        return bad(p, "dest is wanted: the folder to make");
    if (!good_language(a->source) || !good_language(a->target) || strcmp(a->source, a->target) == 0)
        return bad(p, "source and target are to be two languages, such as \"de\" and \"en\", not \"%s\" and \"%s\"",
                   a->source ? a->source : "", a->target ? a->target : "");
    if (a->merges < -1 || a->threshold < 0 || a->longest < 1 || !(a->ratio >= 1))
        return bad(p, "merges %lld, threshold %lld, longest %lld, ratio %g: merges is -1 or positive, threshold not "
                   "negative, longest positive, ratio at least 1", (long long)a->merges, (long long)a->threshold,
                   (long long)a->longest, a->ratio);
    if (a->merges < 0 && p->code)
        return bad(p, "codes are given, but no BPE is wanted (merges -1)");
    if (!p->split[TN_TRAIN].n)
        return bad(p, "files for training are wanted, one of each language");
    return true;
}

/* ---- the folder ---- */

/* Made with the folders above it. */
static bool make_folder(const tn__prepare *p, const char *path)
{
    char part[TN__PREPARE_PATH];
    const size_t n = (size_t)snprintf(part, sizeof part, "%s", path);
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != 0)
            continue;
        part[i] = 0;
        if (mkdir(part, 0777) != 0 && errno != EEXIST) {
            tn_fail(TN_EIO, "%s: %s cannot be made: %s", p->who, part, strerror(errno));
            return false;
        }
        part[i] = path[i];
    }
    return true;
}

/* One process at a time: what another left unfinished may be removed. */
static bool open_folder(tn__prepare *p)
{
    char work[TN__PREPARE_PATH];
    if (!make_folder(p, p->args.dest))
        return false;
    p->folder = open(p->args.dest, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (p->folder < 0) {
        tn_fail(TN_EIO, "%s: %s: %s", p->who, p->args.dest, strerror(errno));
        return false;
    }
    if (flock(p->folder, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        tn_fail(TN_ESTATE, "%s: %s is being prepared by another process", p->who, p->args.dest);
        return false;
    }
    return make_folder(p, tn__prepare_path(p, work, WORK));
}

/* Temporary names of ours, left by a process that was killed. */
static bool unfinished(const char *name)
{
    static const char *const begins[] = {"train.", "valid.", "test.", "dict.", "code.", "text.json.", "prepare.txt."};
    bool ours = false;
    for (int i = 0; i < (int)(sizeof begins / sizeof *begins); i++)
        ours = ours || strncmp(name, begins[i], strlen(begins[i])) == 0;
    return ours && strstr(name, ".tmp-");
}

static bool any(const char *name) { return *name != '.'; }

static void remove_files(const char *folder, bool wanted(const char *name))
{
    char path[TN__PREPARE_PATH];
    DIR *d = opendir(folder);
    const struct dirent *e;
    while (d && (e = readdir(d))) {
        const int n = wanted(e->d_name) ? snprintf(path, sizeof path, "%s/%s", folder, e->d_name) : -1;
        if (n > 0 && n < (int)sizeof path)
            unlink(path);
    }
    if (d)
        closedir(d);
}

static void remove_work(const tn__prepare *p)
{
    char path[TN__PREPARE_PATH];
    remove_files(tn__prepare_path(p, path, WORK), any);
    rmdir(path);
}

/* ---- settings: what the folder is made from, so that it is never made from two things ---- */

static bool add_file(const tn__prepare *p, tn_text *t, const char *what, const char *path)
{
    char line[256];
    struct stat s;
    if (stat(path, &s) != 0 || !(S_ISREG(s.st_mode) || S_ISDIR(s.st_mode))) {
        tn_fail(TN_EIO, "%s: %s: %s", p->who, path, errno ? strerror(errno) : "not a regular file");
        return false;
    }
    const int n = snprintf(line, sizeof line, "%s: %lld bytes\n", what,
                           S_ISREG(s.st_mode) ? (long long)s.st_size : 0);
    return tn_text_add(t, line, (size_t)n);
}

static bool settings(const tn__prepare *p, tn_text *t)
{
    const tn_prepare_args *a = &p->args;
    char text[512], what[64];
    const int n = snprintf(text, sizeof text,
                           "%s\nsource: %s\ntarget: %s\ntokenized: %d\nkeep_case: %d\njoined: %d\nmerges: %lld\n"
                           "codes: %s\nthreshold: %lld\nlongest: %lld\nratio: %.17g\n", p->who, a->source, a->target,
                           a->tokenized, a->keep_case, a->joined, (long long)a->merges,
                           a->code ? "given" : p->code ? "the archive's" : "learned",
                           (long long)a->threshold, (long long)a->longest, a->ratio);
    errno = 0;
    if (!tn_text_add(t, text, (size_t)n))
        return false;
    if (p->archive && !add_file(p, t, "archive", p->archive))
        return false;
    for (int split = 0; split < 3; split++)
        for (int side = 0; side < 2 && p->split[split].n && !p->archive; side++) {
            snprintf(what, sizeof what, "%s.%s", tn__split_names[split], tn__prepare_lang(p, side));
            if (!add_file(p, t, what, p->split[split].file[0][side]))
                return false;
        }
    return !a->code || add_file(p, t, "code", a->code);
}

/* The first line that differs between what is there and what is wanted. */
static bool tell_difference(const tn__prepare *p, tn_lines *there, const char *wanted)
{
    const char *line;
    size_t n;
    for (;; wanted += strcspn(wanted, "\n"), wanted += *wanted == '\n') {
        const bool more = tn_lines_next(there, &line, &n);
        const int length = (int)strcspn(wanted, "\n");
        if (!more && !*wanted)
            return tn_ok();
        if (more && n == (size_t)length && memcmp(line, wanted, n) == 0)
            continue;
        tn_fail(TN_ESTATE,
                "%s: %s was begun with \"%.*s\", now it is \"%.*s\"; set that back, or take another folder", p->who,
                p->args.dest, more ? (int)n : 7, more ? line : "nothing", length ? length : 7,
                length ? wanted : "nothing");
        return false;
    }
}

/* Files of the same names that came from elsewhere would be taken for complete ones. */
static bool nothing_foreign(const tn__prepare *p)
{
    char path[TN__PREPARE_PATH];
    bool there = tn__prepare_there(tn__prepare_path(p, path, "code"));
    for (int side = 0; side < 2 && !there; side++) {
        const char *lang = tn__prepare_lang(p, side);
        there = tn__prepare_there(tn__prepare_path(p, path, "dict.%s.txt", lang));
        for (int i = 0; i < 6 && !there; i++)
            there = tn__prepare_there(
                tn__prepare_path(p, path, "%s.%s%s", tn__split_names[i / 2], lang, i % 2 ? ".tok" : ""));
    }
    if (there)
        tn_fail(TN_ESTATE, "%s: %s is there, but no prepare.txt that tells what from; take another folder", p->who,
                path);
    return !there;
}

/* Wrote them, or they are there and the same. */
static bool same_settings(const tn__prepare *p)
{
    char path[TN__PREPARE_PATH];
    tn_text t = {0};
    bool ok = settings(p, &t);
    tn__prepare_path(p, path, "prepare.txt");
    if (ok && !tn__prepare_there(path)) {
        ok = nothing_foreign(p) && tn__output_whole(p->who, path, t.at, t.len);
    } else if (ok) {
        tn_lines *there = tn_lines_open(path);
        ok = there && tell_difference(p, there, t.at);
        tn_free(there);
    }
    tn_text_end(&t);
    return ok;
}

/* ---- all of it ---- */

static bool write_codec(const tn__prepare *p)
{
    const tn_prepare_args *a = &p->args;
    struct tn__codec_info info = {.moses = !a->tokenized, .lowercase = !a->keep_case, .joined = a->joined};
    for (int k = 0; k < 2; k++) {
        snprintf(info.lang[k], sizeof info.lang[k], "%s", tn__prepare_lang(p, k));
        snprintf(info.dictionary[k], sizeof info.dictionary[k], "dict.%s.txt", tn__prepare_lang(p, k));
    }
    snprintf(info.bpe, sizeof info.bpe, "%s", a->merges < 0 ? "" : "code");
    return tn__codec_write(a->dest, &info);
}

static void prepare_end(tn__prepare *p)
{
    for (int i = 0; i < 3; i++)
        while (p->split[i].n) {
            p->split[i].n--;
            free(p->split[i].file[p->split[i].n][0]);
            free(p->split[i].file[p->split[i].n][1]);
        }
    free(p->code);
    if (p->folder >= 0)
        close(p->folder);
}

bool tn__prepare_run(tn__prepare *p)
{
    p->folder = -1;
    bool ok = tn_ok() && check(p) && open_folder(p) && same_settings(p);
    if (ok) {
        remove_files(p->args.dest, unfinished);
        ok = tn__prepare_text(p) && tn__prepare_ids(p) && write_codec(p);
    }
    if (ok) {
        remove_work(p);
        ok = tn__prepare_step(p, "done", 0, NULL);
    }
    prepare_end(p);
    return ok;
}

bool tn_prepare(tn_prepare_args args)
{
    tn__prepare p = {.who = "prepare", .args = args};
    const struct { const char *const *file; tn_split split; const char *name; } given[] = {
        {args.train, TN_TRAIN, "train"}, {args.valid, TN_VALID, "valid"}, {args.test, TN_TEST, "test"},
    };
    bool ok = tn_ok();
    for (int i = 0; ok && i < 3; i++) {
        const char *const *file = given[i].file;
        if (!file[0] != !file[1])
            ok = bad(&p, "%s has one file alone; one of each language is wanted", given[i].name);
        else if (file[0])
            ok = tn__bitext_add(&p.split[given[i].split], file[0], file[1]);
    }
    if (ok && args.code)
        tn__prepare_code(&p, args.code);
    return tn__prepare_run(&p);
}
