/* From text to ids: codes, subwords, dictionaries and files of ids of a folder of translation data; see prepare.h.
 * The subwords of the training text are written down only until the folder is complete. */
#include <stdlib.h>
#include <string.h>

#include "blocks.h"
#include "output.h"
#include "prepare.h"

/* ---- codes ---- */

static bool make_code(tn__prepare *p)
{
    char path[TN__PREPARE_PATH], text[2][TN__PREPARE_PATH], what[sizeof p->what];
    if (p->args.merges < 0 || tn__prepare_there(tn__prepare_path(p, path, "code")))
        return true;
    char *files[2];
    for (int k = 0; k < 2; k++) {
        tn__prepare_path(p, text[k], "train.%s", tn__prepare_lang(p, k));
        files[k] = text[k];
    }
    if (p->code)
        snprintf(what, sizeof what, "codes");
    else
        snprintf(what, sizeof what, "%lld codes", (long long)p->args.merges);
    if (!tn__prepare_step(p, what, 2, files))
        return false;
    tn_bpe *b = p->code ? tn_bpe_open(p->code)
                        : tn_bpe_learn((tn_bpe_args){.n = 2, .files = (const char *const *)files,
                                                     .merges = p->args.merges});
    const bool ok = b && tn_bpe_save(b, path);
    tn_free(b);
    return ok;
}

/* ---- lines of one file, to subwords or ids ---- */

typedef struct pass {
    tn__prepare *p;
    tn_lines *lines;
    const tn_bpe *bpe;              /* NULL: the words stay */
    const tn_dictionary *dictionary; /* NULL: to text */
    tn__output text;
    tn_token_writer *ids;
} pass;

static bool read_line(void *arg, tn__slot *s)
{
    pass *t = arg;
    const char *line;
    size_t n;
    s->in[0].len = 0;
    if (!tn_lines_next(t->lines, &line, &n))
        return false;
    t->p->bytes += (int64_t)n + 1;
    return tn_text_add(&s->in[0], line, n);
}

static bool change_line(void *arg, tn__slot *s)
{
    const pass *t = arg;
    const tn_text *words = &s->in[0];
    if (t->bpe) {
        if (!tn_bpe_apply(t->bpe, words->at, words->len, &s->out[0]))
            return false;
        words = &s->out[0];
    }
    return !t->dictionary || tn_dictionary_encode(t->dictionary, words->at, words->len, &s->ids);
}

static bool write_line(void *arg, const tn__slot *s)
{
    pass *t = arg;
    if (t->ids)
        return tn_token_writer_add(t->ids, s->ids.at, s->ids.len);
    return tn__output_write(&t->text, s->out[0].at, s->out[0].len) && tn__output_write(&t->text, "\n", 1);
}

static bool tell(void *arg) { return tn__prepare_tell(((pass *)arg)->p); }

static bool run_pass(pass *t, const char *what, char *from)
{
    const tn__passage passage = {read_line, change_line, write_line, tell, t};
    const bool ok = tn__prepare_step(t->p, what, 1, &from) && (t->lines = tn_lines_open(from)) &&
                    tn__blocks_run(&passage);
    tn_free(t->lines);
    return ok;
}

/* ---- subwords of the training text ---- */

/* What the dictionary of a side is counted from. */
static char *subwords_path(tn__prepare *p, int side, char path[TN__PREPARE_PATH])
{
    const char *lang = tn__prepare_lang(p, side);
    if (p->subwords)
        snprintf(path, TN__PREPARE_PATH, "%s", p->split[TN_TRAIN].file[0][side]);
    else
        tn__prepare_path(p, path, p->args.merges < 0 ? "train.%s" : "prepare.work/train.bpe.%s", lang);
    return path;
}

static bool make_subwords(tn__prepare *p, const tn_bpe *b, int side)
{
    char from[TN__PREPARE_PATH], to[TN__PREPARE_PATH], what[sizeof p->what];
    if (tn__prepare_there(subwords_path(p, side, to)))
        return true;
    tn__prepare_path(p, from, "train.%s", tn__prepare_lang(p, side));
    snprintf(what, sizeof what, "train.%s: subwords", tn__prepare_lang(p, side));
    pass t = {.p = p, .bpe = b};
    const bool ok = tn__output_open(&t.text, p->who, to) && run_pass(&t, what, from) && tn__output_close(&t.text);
    tn__output_drop(&t.text);
    return ok;
}

/* ---- dictionaries ---- */

static bool dictionary_there(const tn__prepare *p, int side)
{
    char path[TN__PREPARE_PATH];
    return tn__prepare_there(tn__prepare_path(p, path, "dict.%s.txt", tn__prepare_lang(p, side)));
}

static bool make_dictionary(tn__prepare *p, int side)
{
    char from[2][TN__PREPARE_PATH], to[TN__PREPARE_PATH], what[sizeof p->what];
    const bool joined = p->args.joined;
    char *files[] = {subwords_path(p, joined ? 0 : side, from[0]), subwords_path(p, 1, from[1])};
    if (dictionary_there(p, side))
        return true;
    snprintf(what, sizeof what, "dict.%s.txt", tn__prepare_lang(p, side));
    if (!tn__prepare_step(p, what, joined ? 2 : 1, files))
        return false;
    tn_dictionary *d = tn_dictionary_build((tn_dictionary_args){.n = joined ? 2 : 1,
                                                                .files = (const char *const *)files,
                                                                .threshold = p->args.threshold, .most = p->most});
    bool ok = d != NULL;
    for (int k = joined ? 0 : side; ok && k <= (joined ? 1 : side); k++)
        ok = tn_dictionary_save(d, tn__prepare_path(p, to, "dict.%s.txt", tn__prepare_lang(p, k)));
    tn_free(d);
    return ok;
}

/* ---- ids ---- */

static const char *ids_path(const tn__prepare *p, int split, int side, char path[TN__PREPARE_PATH])
{
    return tn__prepare_path(p, path, "%s.%s.tok", tn__split_names[split], tn__prepare_lang(p, side));
}

/* The archive's own subwords are taken as they are; its text was made from them. */
static bool make_ids(tn__prepare *p, const tn_bpe *b, int split, int side)
{
    char from[TN__PREPARE_PATH], dict[TN__PREPARE_PATH], to[TN__PREPARE_PATH], what[sizeof p->what];
    const char *lang = tn__prepare_lang(p, side);
    const bool ready = p->subwords || (split == TN_TRAIN && b);
    if (tn__prepare_there(ids_path(p, split, side, to)))
        return true;
    if (split == TN_TRAIN)
        subwords_path(p, side, from);
    else if (p->subwords)
        snprintf(from, sizeof from, "%s", p->split[split].file[0][side]);
    else
        tn__prepare_path(p, from, "%s.%s", tn__split_names[split], lang);
    snprintf(what, sizeof what, "%s.%s: ids", tn__split_names[split], lang);
    tn_dictionary *d = tn_dictionary_open(tn__prepare_path(p, dict, "dict.%s.txt", lang));
    pass t = {.p = p, .bpe = ready ? NULL : b, .dictionary = d};
    bool ok = d && (t.ids = tn_token_writer_open(to)) && run_pass(&t, what, from);
    if (ok) {
        ok = tn_token_writer_close(t.ids);
        t.ids = NULL;
    }
    tn_free(t.ids, d);
    return ok;
}

static bool has_split(const tn__prepare *p, int split) { return p->split[split].n || split == TN_VALID; }

/* Whether the training text as subwords is still wanted. */
static bool wants_subwords(const tn__prepare *p)
{
    char path[TN__PREPARE_PATH];
    bool wanted = false;
    for (int k = 0; k < 2; k++) {
        wanted |= !dictionary_there(p, k);
        for (int split = 0; split < 3; split++)
            wanted |= (split == TN_TRAIN || p->subwords) && has_split(p, split) &&
                      !tn__prepare_there(ids_path(p, split, k, path));
    }
    return wanted;
}

bool tn__prepare_ids(tn__prepare *p)
{
    char path[TN__PREPARE_PATH];
    tn_bpe *b = NULL;
    const bool from_archive = p->subwords &&
                              (wants_subwords(p) || !tn__prepare_there(tn__prepare_path(p, path, "code")));
    if (from_archive && !tn__prepare_unpacked(p))
        return false;
    bool ok = make_code(p) && (p->args.merges < 0 || (b = tn_bpe_open(tn__prepare_path(p, path, "code"))));
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
