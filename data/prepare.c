/* Preparing translation data: what is asked for, and the steps one after the other; see tenon/text.h for what comes
 * out, prepare.h for the steps, folder.h for the folder. */
#include "prepare.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec.h"
#include "splits.h"

/* ---- names ---- */

const char *tn__prepare_lang(const tn__prepare *p, int side) { return side ? p->args.target : p->args.source; }

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
    return (p->code = strdup(path)) || tn_fail(TN_ENOMEM, "%s: no memory", p->to.who);
}

bool tn__prepare_unpacked(tn__prepare *p)
{
    if (p->unpack && !p->unpacked)
        p->unpacked = p->unpack(p);
    return !p->unpack || p->unpacked;
}

/* ---- archives ---- */

static bool german_and_english(const tn_prepare_args *a)
{
    const bool de_en = strcmp(a->source, "de") == 0 && strcmp(a->target, "en") == 0;
    return de_en || (strcmp(a->source, "en") == 0 && strcmp(a->target, "de") == 0);
}

bool tn__prepare_archive(tn__prepare *p, const char *path, bool (*unpack)(tn__prepare *p), const char *hint)
{
    const tn_prepare_args *a = &p->args;
    const bool given = path && a->dest; /* else it is told below */
    if (given && !german_and_english(a))
        tn_fail(TN_EARG, "%s: the languages are \"de\" and \"en\", either way round", p->to.who);
    else if (given && (a->tokenized || a->train[0] || a->valid[0] || a->test[0]))
        tn_fail(TN_EARG, "%s: which files there are, and that they are tokenised, is not to be said", p->to.who);
    else if (tn__folder_from(&p->to, path, hint))
        p->unpack = p->to.packed ? unpack : NULL;
    return tn_ok();
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
    tn_fail(TN_EARG, "%s: %s", p->to.who, text);
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

/* ---- settings: what the folder is made from, so that it is never made from two things ---- */

static bool settings(const tn__prepare *p, tn_text *t)
{
    const tn_prepare_args *a = &p->args;
    char text[512], what[64];
    const int n = snprintf(text, sizeof text,
                           "%s\nsource: %s\ntarget: %s\ntokenized: %d\nkeep_case: %d\njoined: %d\nmerges: %lld\n"
                           "codes: %s\nthreshold: %lld\nlongest: %lld\nratio: %.17g\n", p->to.who, a->source, a->target,
                           a->tokenized, a->keep_case, a->joined, (long long)a->merges,
                           a->code ? "given" : p->code ? "the archive's" : "learned",
                           (long long)a->threshold, (long long)a->longest, a->ratio);
    if (!tn_text_add(t, text, (size_t)n))
        return false;
    if (p->to.archive && !tn__folder_add_file(&p->to, t, "archive", p->to.archive))
        return false;
    for (int split = 0; split < 3; split++)
        for (int side = 0; side < 2 && p->split[split].n && !p->to.archive; side++) {
            snprintf(what, sizeof what, "%s.%s", tn__split_names[split], tn__prepare_lang(p, side));
            if (!tn__folder_add_file(&p->to, t, what, p->split[split].file[0][side]))
                return false;
        }
    return !a->code || tn__folder_add_file(&p->to, t, "code", a->code);
}

/* A file of a name that the folder gives, or NULL. */
static const char *any_there(const tn__prepare *p, char path[TN__FOLDER_PATH])
{
    bool there = tn__file_there(tn__folder_path(&p->to, path, "code"));
    for (int side = 0; side < 2 && !there; side++) {
        const char *lang = tn__prepare_lang(p, side);
        there = tn__file_there(tn__folder_path(&p->to, path, "dict.%s.txt", lang));
        for (int i = 0; i < 6 && !there; i++)
            there = tn__file_there(
                tn__folder_path(&p->to, path, "%s.%s%s", tn__split_names[i / 2], lang, i % 2 ? ".tok" : ""));
    }
    return there ? path : NULL;
}

static bool settle(const tn__prepare *p)
{
    char path[TN__FOLDER_PATH];
    tn_text t = {0};
    const bool ok = settings(p, &t) && tn__folder_settle(&p->to, &t, any_there(p, path));
    tn_text_end(&t);
    return ok;
}

/* ---- all of it ---- */

tn__prepare tn__prepare_begin(const char *who, tn_prepare_args args)
{
    return (tn__prepare){
        .to = {.who = who, .path = args.dest, .progress = args.progress, .arg = args.arg, .fd = -1}, .args = args,
    };
}

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
    tn__folder_close(&p->to);
}

bool tn__prepare_run(tn__prepare *p)
{
    const bool ok = tn_ok() && check(p) && tn__folder_open(&p->to) && settle(p) && tn__prepare_text(p) &&
                    tn__prepare_ids(p) && write_codec(p) && tn__folder_complete(&p->to);
    prepare_end(p);
    return ok;
}

bool tn_prepare(tn_prepare_args args)
{
    tn__prepare p = tn__prepare_begin("prepare", args);
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
