/* German and English of IWSLT'14 (Cettolo et al. 2014) as de-en.tgz holds them: talks with tags between their
 * sentences for training, XML for the rest.  Which lines are sentences, and what is cut out of them, is what
 * fairseq's prepare-iwslt14.sh does with grep and sed.  The steps from there: prepare.h. */
#define _GNU_SOURCE
#include <string.h>

#include "prepare.h"

enum { TESTS = 5, FILES = 2 + 2 * TESTS };
static const size_t limit = (size_t)1 << 30; /* bytes of a member */

static const char *const names[FILES] = {
    "train.tags.de-en.de", "train.tags.de-en.en", "IWSLT14.TED.dev2010.de-en.de.xml", "IWSLT14.TED.dev2010.de-en.en.xml",
    "IWSLT14.TEDX.dev2012.de-en.de.xml", "IWSLT14.TEDX.dev2012.de-en.en.xml", "IWSLT14.TED.tst2010.de-en.de.xml",
    "IWSLT14.TED.tst2010.de-en.en.xml", "IWSLT14.TED.tst2011.de-en.de.xml", "IWSLT14.TED.tst2011.de-en.en.xml",
    "IWSLT14.TED.tst2012.de-en.de.xml", "IWSLT14.TED.tst2012.de-en.en.xml",
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

bool tn__iwslt14_train(const char *line, size_t n, tn_text *out, bool *there)
{
    static const char *const not[] = {"<url>", "<talkid>", "<keywords>"};
    static const char *const cut[] = {"<title>", "</title>", "<description>", "</description>"};
    const char *at = line, *end = line + n, *from = at;
    bool ok = true;
    out->len = 0;
    *there = true;
    for (int i = 0; i < 3 && *there; i++)
        *there = !holds(line, n, not[i]);
    while (ok && *there && at < end) {
        size_t tag = 0;
        for (int i = 0; *at == '<' && i < 4 && !tag; i++)
            tag = begins(at, end, cut[i]);
        if (tag)
            ok = tn_text_add(out, from, (size_t)(at - from));
        at += tag ? tag : 1;
        from = tag ? at : from;
    }
    return ok && (!*there || tn_text_add(out, from, (size_t)(end - from)));
}

/* Bytes of `<seg id="12">` and the white space behind it; 0: something else is here. */
static size_t opening(const char *at, const char *end)
{
    const char *start = at;
    at += begins(at, end, "<seg id=\"");
    if (at == start)
        return 0;
    while (at < end && *at >= '0' && *at <= '9')
        at++;
    const size_t closed = begins(at, end, "\">");
    return closed ? (size_t)(at - start) + closed + spaces(at + closed, end) : 0;
}

/* Of `</seg>` with the white space around it, likewise. */
static size_t closing(const char *at, const char *end)
{
    const size_t before = spaces(at, end), tag = begins(at + before, end, "</seg>");
    return tag ? before + tag + spaces(at + before + tag, end) : 0;
}

bool tn__iwslt14_test(const char *line, size_t n, tn_text *out, bool *there)
{
    static const char apostrophe[] = "\u2019";
    const char *at = line, *end = line + n, *from = at;
    bool ok = true;
    out->len = 0;
    *there = holds(line, n, "<seg id");
    while (ok && *there && at < end) {
        size_t cut = opening(at, end);
        const size_t quote = cut ? 0 : begins(at, end, apostrophe);
        cut = cut || quote ? cut : closing(at, end);
        if (cut || quote)
            ok = tn_text_add(out, from, (size_t)(at - from)) && (!quote || tn_text_add(out, "'", 1));
        const size_t blank = spaces(at, end); /* all of it stays, for it ends no sentence */
        at += cut || quote ? cut + quote : blank ? blank : 1;
        from = cut || quote ? at : from;
    }
    return ok && (!*there || tn_text_add(out, from, (size_t)(end - from)));
}

/* ---- files ---- */

static bool unpack(tn__prepare *p) { return tn__prepare_unpack(p, FILES, names, limit, HINT); }

static bool add_files(tn__prepare *p)
{
    char path[2][TN__PREPARE_PATH];
    const bool turned = strcmp(p->args.source, "en") == 0;
    bool ok = true;
    for (int i = 0; ok && i < FILES; i += 2) {
        for (int k = 0; ok && k < 2; k++)
            ok = tn__prepare_member(p, path[k], names[i + k], HINT);
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
    tn__prepare p = {.who = "iwslt14", .args = args};
    if (tn__prepare_archive(&p, archive, unpack, HINT) && add_files(&p) && args.code)
        tn__prepare_code(&p, args.code);
    return tn__prepare_run(&p);
}
