/* BLEU (Papineni et al. 2002): clipped n-gram matches of a corpus, see tenon/text.h.  Each sentence is counted by
 * sorting its n-grams, which are numbers of words.  The tokenization "13a" is in bleu_13a.c. */
#define _GNU_SOURCE
#include "bleu.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "words.h"

enum { ORDERS = 4 };

typedef struct gram {
    int32_t id[ORDERS]; /* -1 behind the last */
} gram;

/* A distinct n-gram of the hypothesis. */
typedef struct count {
    gram of;
    int64_t here, best; /* times in the hypothesis; matches of the best reference so far */
} count;

typedef struct sentence {
    tn__words words;     /* of the hypothesis; words that only references have match nothing and get no number */
    tn_ids hyp, ref;
    tn_text line, cased; /* tokenised, lower-cased */
    gram *grams;
    size_t grams_room;
    count *counts[ORDERS];
    int64_t n[ORDERS];
} sentence;

static void sentence_end(sentence *s)
{
    tn__words_end(&s->words);
    tn_ids_end(&s->hyp);
    tn_ids_end(&s->ref);
    tn_text_end(&s->line);
    tn_text_end(&s->cased);
    free(s->grams);
    for (int k = 0; k < ORDERS; k++)
        free(s->counts[k]);
}

static bool no_memory(size_t n)
{
    tn_fail(TN_ENOMEM, "bleu: no memory for a sentence of %zu words", n);
    return false;
}

/* The numbers of the line's words: new ones for the hypothesis, -1 for words of a reference that it has not. */
static bool read_words(const tn_bleu *b, sentence *s, bool reference, const char *line, size_t n)
{
    tn_ids *ids = reference ? &s->ref : &s->hyp;
    ids->len = 0;
    if (b->lowercase) {
        if (!tn_lowercase(line, n, &s->cased))
            return false;
        line = s->cased.at;
        n = s->cased.len;
    }
    if (b->tokens == TN_BLEU_13A) {
        if (!tn__bleu_13a(line, n, &s->line))
            return false;
        line = s->line.at;
        n = s->line.len;
    }
    const char *at = line, *end = line ? line + n : line, *word;
    size_t bytes;
    while (at < end && tn__word_next(&at, end, TN__AT_WHITE, &word, &bytes)) {
        const bool unknown = reference && bytes == 5 && memcmp(word, "<unk>", 5) == 0;
        const int32_t id = unknown     ? -1
                           : reference ? tn__words_find(&s->words, word, bytes)
                                       : tn__words_add(&s->words, word, bytes);
        if (id < 0 && !reference)
            return no_memory((size_t)ids->len);
        if (!tn_ids_add(ids, id))
            return false;
    }
    return true;
}

static int by_ids(const void *a, const void *b)
{
    const gram *x = a, *y = b;
    for (int i = 0; i < ORDERS; i++)
        if (x->id[i] != y->id[i])
            return (x->id[i] > y->id[i]) - (x->id[i] < y->id[i]);
    return 0;
}

/* All n-grams of one order into s->grams, sorted; how many, or -1 with the error set. */
static int64_t sort_grams(sentence *s, const tn_ids *ids, int order)
{
    const int64_t n = ids->len - order + 1;
    if (n <= 0)
        return 0;
    if ((size_t)n > s->grams_room) {
        free(s->grams);
        s->grams_room = (size_t)n;
        s->grams = calloc((size_t)n, sizeof *s->grams);
        if (!s->grams) {
            s->grams_room = 0;
            return no_memory((size_t)ids->len), -1;
        }
    }
    for (int64_t i = 0; i < n; i++)
        for (int k = 0; k < ORDERS; k++)
            s->grams[i].id[k] = k < order ? ids->at[i + k] : -1;
    qsort(s->grams, (size_t)n, sizeof *s->grams, by_ids);
    return n;
}

/* How often the n-gram at i, sorted, stands there. */
static int64_t run_at(const gram *g, int64_t i, int64_t n)
{
    int64_t end = i + 1;
    while (end < n && by_ids(g + i, g + end) == 0)
        end++;
    return end - i;
}

static bool count_hypothesis(sentence *s, int order)
{
    const int64_t n = sort_grams(s, &s->hyp, order);
    if (n <= 0)
        return n == 0;
    count *c = calloc((size_t)n, sizeof *c);
    if (!c)
        return no_memory((size_t)n);
    s->counts[order - 1] = c;
    int64_t distinct = 0;
    for (int64_t i = 0, run; i < n; i += run) {
        run = run_at(s->grams, i, n);
        c[distinct++] = (count){s->grams[i], run, 0};
    }
    s->n[order - 1] = distinct;
    return true;
}

static bool match_reference(sentence *s, int order)
{
    const int64_t n = sort_grams(s, &s->ref, order), distinct = s->n[order - 1];
    count *c = s->counts[order - 1];
    int64_t k = 0;
    for (int64_t i = 0, run; i < n && k < distinct; i += run) {
        run = run_at(s->grams, i, n);
        while (k < distinct && by_ids(&c[k].of, s->grams + i) < 0)
            k++;
        if (k == distinct || by_ids(&c[k].of, s->grams + i) != 0)
            continue;
        const int64_t matches = run < c[k].here ? run : c[k].here;
        c[k].best = matches > c[k].best ? matches : c[k].best;
    }
    return n >= 0;
}

static bool closer(int64_t hyp, int64_t ref, int64_t than)
{
    const int64_t d = llabs(ref - hyp), e = llabs(than - hyp);
    return d < e || (d == e && ref < than);
}

bool tn_bleu_add(tn_bleu *b, const char *hyp, size_t n, int refs, const char *const *ref, const size_t *ref_n)
{
    if (!b)
        return false;
    bool there = (hyp || !n) && refs > 0 && ref && ref_n;
    for (int r = 0; there && r < refs; r++)
        there = ref[r] || !ref_n[r];
    if (!there)
        return tn_fail(TN_EARG, "bleu: a hypothesis and at least one reference are wanted"), false;
    sentence s = {0};
    bool ok = read_words(b, &s, false, hyp, n);
    for (int k = 1; ok && k <= ORDERS; k++)
        ok = count_hypothesis(&s, k);
    int64_t length = -1;
    for (int r = 0; ok && r < refs; r++) {
        ok = read_words(b, &s, true, ref[r], ref_n[r]);
        for (int k = 1; ok && k <= ORDERS; k++)
            ok = match_reference(&s, k);
        if (length < 0 || closer(s.hyp.len, s.ref.len, length))
            length = s.ref.len;
    }
    if (ok) {
        b->hyp_len += s.hyp.len;
        b->ref_len += length;
    }
    for (int k = 0; ok && k < ORDERS; k++) {
        b->total[k] += s.hyp.len > k ? s.hyp.len - k : 0;
        for (int64_t i = 0; i < s.n[k]; i++)
            b->match[k] += s.counts[k][i].best;
    }
    sentence_end(&s);
    return ok;
}

double tn_bleu_brevity(const tn_bleu *b)
{
    if (!b || b->hyp_len >= b->ref_len)
        return 1;
    return b->hyp_len > 0 ? exp(1 - (double)b->ref_len / (double)b->hyp_len) : 0;
}

/* The geometric mean of precisions, `more` added to both counts of orders 2 to 4. */
static double score(const tn_bleu *b, int more)
{
    double sum = 0;
    if (!b || b->match[0] <= 0)
        return 0;
    for (int k = 0; k < ORDERS; k++) {
        const int64_t plus = k ? more : 0, match = b->match[k] + plus, total = b->total[k] + plus;
        if (match <= 0 || total <= 0)
            return 0;
        sum += log((double)match / (double)total);
    }
    return 100 * tn_bleu_brevity(b) * exp(sum / ORDERS);
}

double tn_bleu_score(const tn_bleu *b) { return score(b, 0); }
double tn_bleu_sentence(const tn_bleu *b) { return score(b, 1); }

const char *tn_bleu_signature(const tn_bleu *b, int refs, char text[TN_BLEU_SIGNATURE])
{
    if (!b || !text)
        return NULL;
    snprintf(text, TN_BLEU_SIGNATURE, "BLEU|nrefs:%d|case:%s|eff:no|tok:%s|smooth:none|version:tenon-%s", refs,
             b->lowercase ? "lc" : "mixed", b->tokens == TN_BLEU_13A ? "13a" : "none", tn_version());
    return text;
}
