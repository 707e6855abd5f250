/* WMT'16 English-German as Google published it (wmt16_en_de.tar.gz): 4.5 million pairs that are tokenised, cleaned
 * and cut into subwords already.  Ids are of those subwords; the text beside them is the same with subwords joined.
 * As fairseq's recipe for it has them: one dictionary of 32768 for both languages, newstest2013 for validation,
 * newstest2014 for the test.  The steps: prepare.h. */
#include <stdlib.h>
#include <string.h>

#include "prepare.h"

enum { FILES = 6, WORDS = 32768 };
static const size_t limit = (size_t)1 << 36; /* bytes of a member */

static const char *const names[FILES + 1] = {
    "train.tok.clean.bpe.32000.en", "train.tok.clean.bpe.32000.de",   "newstest2013.tok.bpe.32000.en",
    "newstest2013.tok.bpe.32000.de", "newstest2014.tok.bpe.32000.en", "newstest2014.tok.bpe.32000.de", "bpe.32000",
};
#define HINT "give wmt16_en_de.tar.gz or a folder unpacked from it"

static bool unpack(tn__prepare *p) { return tn__folder_unpack(&p->to, FILES + !p->args.code, names, limit, HINT); }

static bool add_files(tn__prepare *p)
{
    static const tn_split splits[] = {TN_TRAIN, TN_VALID, TN_TEST};
    char path[2][TN__FOLDER_PATH];
    const bool turned = strcmp(p->args.source, "de") == 0;
    bool ok = true;
    for (int i = 0; ok && i < FILES; i += 2) {
        for (int k = 0; ok && k < 2; k++)
            ok = tn__folder_member(&p->to, path[k], "", names[i + k], HINT);
        ok = ok && tn__bitext_add(&p->split[splits[i / 2]], path[turned], path[!turned]);
    }
    if (!ok || p->args.code)
        return ok && tn__prepare_code(p, p->args.code);
    return tn__folder_member(&p->to, path[0], "", names[FILES], HINT) && tn__prepare_code(p, path[0]);
}

bool tn_prepare_wmt16(const char *archive, tn_prepare_args args)
{
    args.source = args.source ? args.source : "en";
    args.target = args.target ? args.target : "de";
    args.joined = args.keep_case = true;
    tn__prepare p = tn__prepare_begin("wmt16", args);
    p.subwords = true;
    p.most = WORDS;
    if (args.merges)
        tn_fail(TN_EARG, "wmt16: the archive's subwords are taken as they are; merges is not to be said");
    else if (tn__prepare_archive(&p, archive, unpack, HINT))
        add_files(&p);
    return tn__prepare_run(&p);
}
