/* German and English of IWSLT'14 (Cettolo et al. 2014) as de-en.tgz holds them: talks with tags between their
 * sentences for training, XML for the rest.  Which lines are sentences, and what is cut out of them, is what
 * fairseq's prepare-iwslt14.sh does with grep and sed.  The steps from there: prepare.h. */
#define _GNU_SOURCE
#include <string.h>

#include "prepare.h"

enum { TESTS = 5, FILES = 2 + 2 * TESTS };
static const size_t limit = (size_t)1 << 30; /* bytes of a member */

static const char *const names[FILES] = {
    "train.tags.de-en.de",               "train.tags.de-en.en",
    "IWSLT14.TED.dev2010.de-en.de.xml",  "IWSLT14.TED.dev2010.de-en.en.xml",
    "IWSLT14.TEDX.dev2012.de-en.de.xml", "IWSLT14.TEDX.dev2012.de-en.en.xml",
    "IWSLT14.TED.tst2010.de-en.de.xml",  "IWSLT14.TED.tst2010.de-en.en.xml",
    "IWSLT14.TED.tst2011.de-en.de.xml",  "IWSLT14.TED.tst2011.de-en.en.xml",
    "IWSLT14.TED.tst2012.de-en.de.xml",  "IWSLT14.TED.tst2012.de-en.en.xml",
};
#define HINT "give de-en.tgz of IWSLT'14 or the folder de-en unpacked from it"

/* ---- lines ---- */

static bool holds(const char *line, size_t n, const char *what) { return memmem(line, n, what, strlen(what)) != NULL; }

static size_t begins(const char *at, const char *end, const char *what)
{
    const size_t n = strlen(what);
    return (size_t)(end - at) >= n && memcmp(at, what, n) == 0 ? n : 0;
}

static size_t spaces(const char *at, const char *end)
{
    size_t n = 0;
    while (at + n < end && (at[n] == ' ' || (at[n] >= '\t' && at[n] <= '\r')))
        n++;
    return n;
}

/* Bytes at `at` that are `what`, with more of its kind around. */
typedef size_t piece(const char *at, const char *end, const char *what);

/* `<seg id="12">`, what being its beginning, and the white space behind it. */
static size_t opening(const char *at, const char *end, const char *what)
{
    const char *start = at;
    at += begins(at, end, what);
    if (at == start)
        return 0;
    while (at < end && *at >= '0' && *at <= '9')
        at++;
    const size_t closed = begins(at, end, "\">");
    return closed ? (size_t)(at - start) + closed + spaces(at + closed, end) : 0;
}

/* The white space before it and behind it too. */
static size_t closing(const char *at, const char *end, const char *what)
{
    const size_t before = spaces(at, end), tag = begins(at + before, end, what);
    return tag ? before + tag + spaces(at + before + tag, end) : 0;
}

/* Every such piece becomes `with`, which is not longer, from left to right, as sed does it. */
static void replace(tn_text *t, piece *is, const char *what, const char *with)
{
    const char *at = t->at, *end = t->at + t->len;
    char *to = t->at;
    while (at < end) {
        const size_t n = is(at, end, what), blank = n ? 0 : spaces(at, end), stays = blank ? blank : 1;
        if (n) {
            to = mempcpy(to, with, strlen(with));
        } else { /* white space is looked at once: if it belonged to a piece, its first byte would begin it */
            memmove(to, at, stays);
            to += stays;
        }
        at += n ? n : stays;
    }
    t->len = (size_t)(to - t->at);
    *to = 0;
}

bool tn__iwslt14_train(const char *line, size_t n, tn_text *out, bool *there)
{
    static const char *const not[] = {"<url>", "<talkid>", "<keywords>"};
    static const char *const cut[] = {"<title>", "</title>", "<description>", "</description>"};
    out->len = 0;
    *there = true;
    for (int i = 0; i < 3 && *there; i++)
        *there = !holds(line, n, not[i]);
    if (!tn_text_add(out, line, n))
        return false;
    for (int i = 0; i < 4; i++)
        replace(out, begins, cut[i], "");
    return true;
}

bool tn__iwslt14_test(const char *line, size_t n, tn_text *out, bool *there)
{
    out->len = 0;
    *there = holds(line, n, "<seg id");
    if (!tn_text_add(out, line, n))
        return false;
    replace(out, opening, "<seg id=\"", "");
    replace(out, closing, "</seg>", "");
    replace(out, begins, "\u2019", "'");
    return true;
}

/* ---- files ---- */

static bool unpack(tn__prepare *p) { return tn__folder_unpack(&p->to, FILES, names, limit, HINT); }

static bool add_files(tn__prepare *p)
{
    char path[2][TN__FOLDER_PATH];
    const bool turned = strcmp(p->args.source, "en") == 0;
    bool ok = true;
    for (int i = 0; ok && i < FILES; i += 2) {
        for (int k = 0; ok && k < 2; k++)
            ok = tn__folder_member(&p->to, path[k], "", names[i + k], HINT);
        ok = ok && tn__bitext_add(&p->split[i ? TN_TEST : TN_TRAIN], path[turned], path[!turned]);
    }
    p->split[TN_TRAIN].of = tn__iwslt14_train;
    p->split[TN_TEST].of = tn__iwslt14_test;
    return ok;
}

bool tn_prepare_iwslt14(const char *archive, tn_prepare_args args)
{
    args.source = args.source ? args.source : "de";
    args.target = args.target ? args.target : "en";
    tn__prepare p = tn__prepare_begin("iwslt14", args);
    if (tn__prepare_archive(&p, archive, unpack, HINT) && add_files(&p) && args.code)
        tn__prepare_code(&p, args.code);
    return tn__prepare_run(&p);
}
