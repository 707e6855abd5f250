/* The text of a folder of translation data: sentences read in pairs, tokenised, lower-cased, cleaned as Moses'
 * clean-corpus-n.perl does, and every 23rd set aside; see prepare.h.  What becomes of it: prepare_ids.c. */
#include <stdlib.h>
#include <string.h>

#include "blocks.h"
#include "output.h"
#include "prepare.h"
#include "splits.h"
#include "words.h"

enum { VALID_EVERY = 23, LONGEST_WORD = 1000 };

/* One pass over the pairs of a split, into its files and maybe those of another. */
typedef struct pass {
    tn__prepare *p;
    const tn__bitext *from;
    bool clean;                  /* leave out what is no good for training */
    tn_tokenizer *tokenizer[2];  /* NULL: tokenised already */
    int at;                      /* pair of files being read */
    tn_lines *lines[2];
    int64_t sentences[2];        /* of these files */
    tn__output out[2], aside[2]; /* aside: every 23rd */
    bool set_aside;
    int64_t kept;
} pass;

/* ---- reading ---- */

/* The next sentence of one side; false at its end, and on an error. */
static bool next_sentence(pass *s, int side, tn_text *to)
{
    const char *line;
    size_t n;
    while (tn_lines_next(s->lines[side], &line, &n)) {
        bool there = true;
        s->p->to.bytes += (int64_t)n + 1;
        to->len = 0;
        if (!(s->from->of ? s->from->of(line, n, to, &there) : tn_text_add(to, line, n)))
            return false;
        if (there) {
            s->sentences[side]++;
            return true;
        }
    }
    return false;
}

static void tell_unequal(pass *s, tn__slot *slot, const bool there[2])
{
    char *const *file = s->from->file[s->at];
    const int ended = there[0] ? 1 : 0, other = 1 - ended;
    while (next_sentence(s, other, &slot->in[other]))
        ;
    if (!tn_ok())
        return;
    const long long lines = tn_lines_count(s->lines[ended]);
    tn_fail(TN_EFORMAT, "%s: %s has %lld sentences, but %s %lld: it ends after line %lld; line by line they must be "
            "translations of each other", s->p->to.who, file[ended], (long long)s->sentences[ended], file[other],
            (long long)s->sentences[other], lines);
}

static bool open_files(pass *s)
{
    for (int k = 0; k < 2; k++) {
        s->lines[k] = tn_lines_open(s->from->file[s->at][k]);
        s->sentences[k] = 0;
    }
    return s->lines[0] && s->lines[1];
}

static void close_files(pass *s)
{
    tn_free(s->lines[0], s->lines[1]);
    s->lines[0] = s->lines[1] = NULL;
}

static bool read_pair(void *arg, tn__slot *slot)
{
    pass *s = arg;
    for (; s->at < s->from->n; s->at++) {
        if (!s->lines[0] && !open_files(s))
            return false;
        const bool there[2] = {next_sentence(s, 0, &slot->in[0]), tn_ok() && next_sentence(s, 1, &slot->in[1])};
        if (!tn_ok())
            return false;
        if (there[0] && there[1])
            return true;
        if (there[0] || there[1]) {
            tell_unequal(s, slot, there);
            return false;
        }
        if (s->sentences[0] == 0) {
            tn_fail(TN_EFORMAT, "%s: %s holds no sentences", s->p->to.who, s->from->file[s->at][0]);
            return false;
        }
        close_files(s);
    }
    return false;
}

/* ---- changing ---- */

/* Words of text that is tokenised, with single spaces between. */
static bool squeeze(const char *line, size_t n, tn_text *out)
{
    tn_text room = {0};
    const char *clean = tn__clean(line, &n, &room), *word;
    const char *at = clean, *end = clean + (clean ? n : 0);
    bool ok = clean != NULL;
    out->len = 0;
    ok = ok && tn_text_add(out, "", 0);
    while (ok && tn__word_next(&at, end, TN__AT_WHITE, &word, &n))
        ok = (!out->len || tn_text_add(out, " ", 1)) && tn_text_add(out, word, n);
    tn_text_end(&room);
    return ok;
}

static bool change_side(const pass *s, tn_text *in, tn_text *out, int side)
{
    if (s->p->subwords)
        return tn_bpe_undo(in->at, in->len, out);
    const bool ok = s->tokenizer[side] ? tn_tokenize(s->tokenizer[side], in->at, in->len, out)
                                       : squeeze(in->at, in->len, out);
    if (!ok || s->p->args.keep_case)
        return ok;
    const tn_text tokens = *out;
    *out = *in;
    *in = tokens;
    return tn_lowercase(in->at, in->len, out);
}

static bool change_pair(void *arg, tn__slot *slot)
{
    return change_side(arg, &slot->in[0], &slot->out[0], 0) && change_side(arg, &slot->in[1], &slot->out[1], 1);
}

/* ---- writing ---- */

typedef struct measure {
    int64_t words, longest; /* longest: word, in characters */
} measure;

static measure measure_text(const tn_text *t)
{
    measure m = {.words = t->len > 0};
    int64_t word = 0;
    for (size_t i = 0; i < t->len; i++) {
        if (t->at[i] == ' ') {
            m.words++;
            word = 0;
            continue;
        }
        word += (t->at[i] & 0xc0) != 0x80; /* bytes inside a character do not begin one */
        m.longest = word > m.longest ? word : m.longest;
    }
    return m;
}

static bool good_for_training(const tn_prepare_args *a, const tn__slot *s)
{
    const measure x = measure_text(&s->out[0]), y = measure_text(&s->out[1]);
    return x.words > 0 && y.words > 0 && x.words <= a->longest && y.words <= a->longest &&
           (double)x.words / (double)y.words <= a->ratio && (double)y.words / (double)x.words <= a->ratio &&
           x.longest <= LONGEST_WORD && y.longest <= LONGEST_WORD;
}

static bool write_line(tn__output *f, const tn_text *t)
{
    return tn__output_write(f, t->at, t->len) && tn__output_write(f, "\n", 1);
}

static bool write_pair(void *arg, const tn__slot *slot)
{
    pass *s = arg;
    if (s->clean && !good_for_training(&s->p->args, slot))
        return true;
    s->kept++;
    tn__output *to = s->set_aside && s->kept % VALID_EVERY == 0 ? s->aside : s->out;
    return write_line(&to[0], &slot->out[0]) && write_line(&to[1], &slot->out[1]);
}

static bool pass_tell(void *arg) { return tn__folder_tell(&((pass *)arg)->p->to); }

/* ---- a split ---- */

static bool open_outputs(tn__prepare *p, tn__output out[2], tn_split split)
{
    char path[TN__FOLDER_PATH];
    bool ok = true;
    for (int k = 0; ok && k < 2; k++)
        ok = tn__output_open(&out[k], p->to.who,
                             tn__folder_path(&p->to, path, "%s.%s", tn__split_names[split], tn__prepare_lang(p, k)));
    return ok;
}

static bool close_outputs(tn__output out[2]) { return tn__output_close(&out[0]) && tn__output_close(&out[1]); }

static bool is_there(const tn__prepare *p, tn_split split)
{
    char path[TN__FOLDER_PATH];
    bool there = true;
    for (int k = 0; k < 2; k++)
        there = there && tn__file_there(tn__folder_path(&p->to, path, "%s.%s", tn__split_names[split],
                                                               tn__prepare_lang(p, k)));
    return there;
}

static bool enough(const pass *s)
{
    const tn_prepare_args *a = &s->p->args;
    if (s->kept == 0)
        tn_fail(TN_EFORMAT, "%s: of %s no pair is left for training: each side wants 1 to %lld words, and at most %g "
                "times as many as the other", s->p->to.who, s->from->file[0][0], (long long)a->longest, a->ratio);
    else if (s->set_aside && s->kept < VALID_EVERY)
        tn_fail(TN_EFORMAT, "%s: %s has %lld good pairs, too few to set aside every 23rd for validation; give files "
                "for that", s->p->to.who, s->from->file[0][0], (long long)s->kept);
    return tn_ok();
}

static bool make_tokenizers(pass *s)
{
    for (int k = 0; k < 2; k++)
        if (!(s->tokenizer[k] = tn_tokenizer(tn__prepare_lang(s->p, k))))
            return false;
    return true;
}

static bool make_split(tn__prepare *p, tn_split split)
{
    const bool train = split == TN_TRAIN, set_aside = train && !p->split[TN_VALID].n;
    char what[sizeof p->to.what];
    if (is_there(p, split) && (!set_aside || is_there(p, TN_VALID)))
        return true;
    snprintf(what, sizeof what, "%s: text", tn__split_names[split]);
    if (!tn__prepare_unpacked(p))
        return false;
    pass *s = calloc(1, sizeof *s);
    if (!s)
        return tn_fail(TN_ENOMEM, "%s: no memory", p->to.who), false;
    s->p = p;
    s->from = &p->split[split];
    s->clean = train && !p->subwords;
    s->set_aside = set_aside;
    const tn__passage passage = {read_pair, change_pair, write_pair, pass_tell, s};
    bool ok = tn__folder_step(&p->to, what, 2 * s->from->n, (const char *const *)s->from->file[0]) &&
              (p->args.tokenized || p->subwords || make_tokenizers(s)) && open_outputs(p, s->out, split) &&
              (!set_aside || open_outputs(p, s->aside, TN_VALID)) && tn__blocks_run(&passage) && enough(s);
    close_files(s);
    ok = ok && close_outputs(s->out) && (!set_aside || close_outputs(s->aside));
    for (int k = 0; k < 2; k++) {
        tn__output_drop(&s->out[k]);
        tn__output_drop(&s->aside[k]);
    }
    tn_free(s->tokenizer[0], s->tokenizer[1]);
    free(s);
    return ok;
}

bool tn__prepare_text(tn__prepare *p)
{
    for (int split = TN_TRAIN; split <= TN_VALID; split++)
        if (p->split[split].n && !make_split(p, (tn_split)split))
            return false;
    return true;
}
