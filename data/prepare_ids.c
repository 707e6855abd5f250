/* From text to ids: codes, subwords, dictionaries and files of ids of a folder of translation data; see prepare.h.
 * The subwords of the training text are written down only until the folder is complete. */
#include <stdlib.h>
#include <string.h>

#include "encode.h"
#include "prepare.h"
#include "splits.h"

/* ---- codes ---- */

static bool make_code(tn__prepare *p)
{
    char path[TN__FOLDER_PATH], text[2][TN__FOLDER_PATH], what[sizeof p->to.what];
    if (p->args.merges < 0 || tn__file_there(tn__folder_path(&p->to, path, "code")))
        return true;
    const char *files[2];
    for (int k = 0; k < 2; k++) {
        tn__folder_path(&p->to, text[k], "train.%s", tn__prepare_lang(p, k));
        files[k] = text[k];
    }
    if (p->code)
        snprintf(what, sizeof what, "codes");
    else
        snprintf(what, sizeof what, "%lld codes", (long long)p->args.merges);
    if (!tn__folder_step(&p->to, what, 2, files))
        return false;
    tn_bpe *b = p->code ? tn_bpe_open(p->code)
                        : tn_bpe_learn((tn_bpe_args){.n = 2, .files = files, .merges = p->args.merges});
    const bool ok = b && tn_bpe_save(b, path);
    tn_free(b);
    return ok;
}

/* ---- subwords of the training text ---- */

/* What the dictionary of a side is counted from. */
static char *subwords_path(tn__prepare *p, int side, char path[TN__FOLDER_PATH])
{
    const char *lang = tn__prepare_lang(p, side);
    if (p->subwords)
        snprintf(path, TN__FOLDER_PATH, "%s", p->split[TN_TRAIN].file[0][side]);
    else
        tn__folder_path(&p->to, path, p->args.merges < 0 ? "train.%s" : "prepare.work/train.bpe.%s", lang);
    return path;
}

static bool make_subwords(tn__prepare *p, const tn_bpe *b, int side)
{
    char from[TN__FOLDER_PATH], to[TN__FOLDER_PATH], what[sizeof p->to.what];
    if (tn__file_there(subwords_path(p, side, to)))
        return true;
    tn__folder_path(&p->to, from, "train.%s", tn__prepare_lang(p, side));
    snprintf(what, sizeof what, "train.%s: subwords", tn__prepare_lang(p, side));
    return tn__encode_text(&(tn__encode){.to = &p->to, .what = what, .from = from, .bpe = b}, to);
}

/* ---- dictionaries ---- */

static bool dictionary_there(const tn__prepare *p, int side)
{
    char path[TN__FOLDER_PATH];
    return tn__file_there(tn__folder_path(&p->to, path, "dict.%s.txt", tn__prepare_lang(p, side)));
}

static bool make_dictionary(tn__prepare *p, int side)
{
    char from[2][TN__FOLDER_PATH], to[TN__FOLDER_PATH], what[sizeof p->to.what];
    const bool joined = p->args.joined;
    const char *files[] = {subwords_path(p, joined ? 0 : side, from[0]), subwords_path(p, 1, from[1])};
    if (dictionary_there(p, side))
        return true;
    snprintf(what, sizeof what, "dict.%s.txt", tn__prepare_lang(p, side));
    if (!tn__folder_step(&p->to, what, joined ? 2 : 1, files))
        return false;
    tn_dictionary *d = tn_dictionary_build((tn_dictionary_args){.n = joined ? 2 : 1, .files = files,
                                                                .threshold = p->args.threshold, .most = p->most});
    bool ok = d != NULL;
    for (int k = joined ? 0 : side; ok && k <= (joined ? 1 : side); k++)
        ok = tn_dictionary_save(d, tn__folder_path(&p->to, to, "dict.%s.txt", tn__prepare_lang(p, k)));
    tn_free(d);
    return ok;
}

/* ---- ids ---- */

static const char *ids_path(const tn__prepare *p, int split, int side, char path[TN__FOLDER_PATH])
{
    return tn__folder_path(&p->to, path, "%s.%s.tok", tn__split_names[split], tn__prepare_lang(p, side));
}

/* The archive's own subwords are taken as they are; its text was made from them. */
static bool make_ids(tn__prepare *p, const tn_bpe *b, int split, int side)
{
    char from[TN__FOLDER_PATH], dict[TN__FOLDER_PATH], to[TN__FOLDER_PATH], what[sizeof p->to.what];
    const char *lang = tn__prepare_lang(p, side);
    const bool ready = p->subwords || (split == TN_TRAIN && b);
    if (tn__file_there(ids_path(p, split, side, to)))
        return true;
    if (split == TN_TRAIN)
        subwords_path(p, side, from);
    else if (p->subwords)
        snprintf(from, sizeof from, "%s", p->split[split].file[0][side]);
    else
        tn__folder_path(&p->to, from, "%s.%s", tn__split_names[split], lang);
    snprintf(what, sizeof what, "%s.%s: ids", tn__split_names[split], lang);
    tn_dictionary *d = tn_dictionary_open(tn__folder_path(&p->to, dict, "dict.%s.txt", lang));
    const bool ok = d && tn__encode_ids(&(tn__encode){.to = &p->to, .what = what, .from = from,
                                                      .bpe = ready ? NULL : b, .dictionary = d}, to);
    tn_free(d);
    return ok;
}

static bool has_split(const tn__prepare *p, int split) { return p->split[split].n || split == TN_VALID; }

/* Whether the training text as subwords is still wanted. */
static bool wants_subwords(const tn__prepare *p)
{
    char path[TN__FOLDER_PATH];
    bool wanted = false;
    for (int k = 0; k < 2; k++) {
        wanted |= !dictionary_there(p, k);
        for (int split = 0; split < 3; split++)
            wanted |= (split == TN_TRAIN || p->subwords) && has_split(p, split) &&
                      !tn__file_there(ids_path(p, split, k, path));
    }
    return wanted;
}

bool tn__prepare_ids(tn__prepare *p)
{
    char path[TN__FOLDER_PATH];
    tn_bpe *b = NULL;
    const bool from_archive = p->subwords &&
                              (wants_subwords(p) || !tn__file_there(tn__folder_path(&p->to, path, "code")));
    if (from_archive && !tn__prepare_unpacked(p))
        return false;
    bool ok = make_code(p) && (p->args.merges < 0 || (b = tn_bpe_open(tn__folder_path(&p->to, path, "code"))));
    for (int k = 0; ok && k < 2 && wants_subwords(p); k++)
        ok = make_subwords(p, b, k);
    for (int k = 0; ok && k < 2; k++)
        ok = make_dictionary(p, k);
    for (int split = 0; ok && split < 3; split++)
        for (int k = 0; ok && k < 2 && has_split(p, split); k++)
            ok = make_ids(p, b, split, k);
    tn_free(b);
    return ok;
}
