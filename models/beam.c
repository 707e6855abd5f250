/* Beam search; see model.h.  This file chooses words, line by line of the decoder; what a line costs and how
 * it is cached is decoder.c's. */
#include <tenon.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct path { /* an unfinished hypothesis */
    double sum;       /* of its log-probabilities; -inf: there is none in this line */
    int64_t n;
    int32_t *ids;     /* [most + 1]; scores and align likewise */
    float *scores;
    int32_t *align;
} path;

typedef struct candidate {
    double sum;
    int line;         /* of the sentence */
    int32_t id;
    float score;
} candidate;

typedef struct sentence {
    int64_t number;   /* in the batch */
    int64_t most;     /* ids before the end */
    path *now, *next; /* [beam] */
    char *memory;     /* theirs */
} sentence;

struct tn_hypotheses {
    const tn_type *type;
    int64_t n;
    int beam, best;
    int *finished;        /* [n] */
    tn_hypothesis *at;    /* [n, beam] */
};

typedef struct search {
    tn_beam_args a;
    tn_decoder *decoder;
    tn_hypotheses *found;
    sentence *sentences;  /* those under way */
    int64_t n, words;
    candidate *best;      /* [2 beam] of one sentence */
    int32_t *ids, *from;  /* of the next step, a line each */
    int64_t *keep;
} search;

/* ---- what is found ---- */

static void hypotheses_free(void *object)
{
    tn_hypotheses *h = object;
    for (int64_t i = 0; h->at && i < h->n * h->beam; i++) {
        free(h->at[i].ids);
        free(h->at[i].scores);
        free(h->at[i].align);
    }
    free(h->at);
    free(h->finished);
    free(h);
}

static const tn_type hypotheses_type = {"hypotheses", hypotheses_free};

const tn_hypothesis *tn_hypothesis_at(const tn_hypotheses *h, int64_t number, int k)
{
    if (!h || number < 0 || number >= h->n || k < 0 || k >= h->best || k >= h->finished[number])
        return NULL;
    return &h->at[number * h->beam + k];
}

/* Its place among the finished ones is by score; of equals the earlier stays in front. */
static bool finish(search *s, const sentence *of, const path *p, float score, int32_t align)
{
    const int64_t n = p->n + 1;
    tn_hypothesis *list = s->found->at + of->number * s->a.beam;
    int *count = &s->found->finished[of->number], at = *count;
    tn_hypothesis h = {.n = n,
                       .ids = malloc((size_t)n * sizeof *h.ids),
                       .scores = malloc((size_t)n * sizeof *h.scores),
                       .align = s->a.align ? malloc((size_t)n * sizeof *h.align) : NULL,
                       .score = (p->sum + (double)score) / pow((double)n, s->a.lenpen)};
    if (!h.ids || !h.scores || (s->a.align && !h.align)) {
        free(h.ids);
        free(h.scores);
        free(h.align);
        return tn_fail(TN_ENOMEM, "beam: no memory for a hypothesis of %lld words", (long long)n);
    }
    memcpy(h.ids, p->ids, (size_t)p->n * sizeof *h.ids);
    memcpy(h.scores, p->scores, (size_t)p->n * sizeof *h.scores);
    h.ids[p->n] = TN_EOS;
    h.scores[p->n] = score;
    if (h.align) {
        memcpy(h.align, p->align, (size_t)p->n * sizeof *h.align);
        h.align[p->n] = align;
    }
    for (; at > 0 && list[at - 1].score < h.score; at--)
        list[at] = list[at - 1];
    list[at] = h;
    ++*count;
    return true;
}

/* ---- choosing ---- */

/* The best continuations of a sentence, best first; of equals the first.  Row k of log_probs is line k's. */
static int choose(search *s, const sentence *of, const float *log_probs, bool first, bool may_end)
{
    const int most = 2 * s->a.beam, lines = first ? 1 : s->a.beam;
    int count = 0;
    for (int line = 0; line < lines; line++) {
        const double sum = of->now[line].sum;
        const float *row = log_probs + line * s->words;
        for (int64_t id = 0; id < s->words && isfinite(sum); id++) {
            const double all = sum + (double)row[id];
            if ((count == most && !(all > s->best[most - 1].sum)) || !isfinite(all) || id == TN_PAD ||
                (id == TN_EOS && !may_end))
                continue;
            int at = count < most ? count++ : most - 1;
            for (; at > 0 && s->best[at - 1].sum < all; at--)
                s->best[at] = s->best[at - 1];
            s->best[at] = (candidate){all, line, (int32_t)id, row[id]};
        }
    }
    return count;
}

static int32_t aligned(const search *s, int64_t line)
{
    int64_t n, most = 0;
    const float *a = s->a.align ? tn_decoder_attention(s->decoder, line, &n) : NULL;
    for (int64_t i = 1; a && i < n; i++)
        most = a[i] > a[most] ? i : most;
    return (int32_t)most;
}

static void extend(const search *s, const path *from, path *to, const candidate *c, int32_t align)
{
    const size_t n = (size_t)from->n;
    memcpy(to->ids, from->ids, n * sizeof *to->ids);
    memcpy(to->scores, from->scores, n * sizeof *to->scores);
    to->ids[n] = c->id;
    to->scores[n] = c->score;
    if (s->a.align) {
        memcpy(to->align, from->align, n * sizeof *to->align);
        to->align[n] = align;
    }
    to->n = from->n + 1;
    to->sum = c->sum;
}

/* At the greatest length every line ends, the likeliest first. */
static void end_all(search *s, const sentence *of, int64_t line0, const float *log_probs)
{
    bool taken[s->a.beam];
    memset(taken, 0, sizeof taken);
    while (s->found->finished[of->number] < s->a.beam) {
        int most = -1;
        double best = -INFINITY;
        for (int k = 0; k < s->a.beam; k++) {
            const double sum = of->now[k].sum + (double)log_probs[k * s->words + TN_EOS];
            if (!taken[k] && sum > best) {
                best = sum;
                most = k;
            }
        }
        if (most < 0)
            return;
        taken[most] = true;
        if (!finish(s, of, &of->now[most], log_probs[most * s->words + TN_EOS], aligned(s, line0 + most)))
            return;
    }
}

/* One step of one sentence, whose lines begin at line0.  Whether it goes on: then ids [beam] are its lines' next
 * words and from [beam] the lines they go on from. */
static bool advance(search *s, sentence *of, int64_t line0, int64_t step, const float *log_probs, int32_t *ids,
                    int32_t *from)
{
    if (step >= of->most) {
        end_all(s, of, line0, log_probs);
        return false;
    }
    const int count = choose(s, of, log_probs, step == 0, step >= s->a.least), beam = s->a.beam;
    int lines = 0;
    for (int k = 0; k < count && s->found->finished[of->number] < beam; k++) {
        const candidate *c = &s->best[k];
        if (c->id == TN_EOS) {
            if (k < beam && !finish(s, of, &of->now[c->line], c->score, aligned(s, line0 + c->line)))
                return false;
            continue;
        }
        if (lines < beam) {
            extend(s, &of->now[c->line], &of->next[lines], c, aligned(s, line0 + c->line));
            ids[lines] = c->id;
            from[lines++] = c->line;
        }
    }
    if (!lines || s->found->finished[of->number] == beam)
        return false;
    for (int k = lines; k < beam; k++) { /* fewer words than lines */
        of->next[k].sum = -INFINITY;
        of->next[k].n = 0;
        ids[k] = TN_EOS;
        from[k] = 0;
    }
    path *const was = of->now;
    of->now = of->next;
    of->next = was;
    return true;
}

static void sentence_end(sentence *of)
{
    free(of->memory);
    free(of->now < of->next ? of->now : of->next);
    *of = (sentence){0};
}

/* One step of all; the decoder keeps those that go on. */
static bool advance_all(search *s, int64_t step)
{
    tn_tensor *all = tn_decoder_step(s->decoder, s->ids, step ? s->from : NULL);
    float *log_probs = all ? malloc((size_t)tn_numel(all) * sizeof *log_probs) : NULL;
    const int64_t beam = s->a.beam;
    int64_t left = 0;
    if (!all || !log_probs || !tn_read_f32(all, log_probs)) {
        free(log_probs);
        return tn_fail(TN_ENOMEM, "beam: no memory for the scores of %lld words", (long long)s->words);
    }
    s->words = tn_dim(all, -1);
    for (int64_t i = 0; i < s->n && tn_ok(); i++) {
        int32_t *ids = s->ids + left * beam, *from = s->from + left * beam;
        sentence *of = &s->sentences[i];
        if (!advance(s, of, i * beam, step, log_probs + i * beam * s->words, ids, from)) {
            if (tn_ok() && !s->found->finished[of->number])
                tn_fail(TN_ENUM, "beam: no word of sentence %lld has a score; are the weights numbers?",
                        (long long)of->number);
            sentence_end(of);
            continue;
        }
        for (int64_t k = 0; k < beam; k++)
            from[k] += (int32_t)(left * beam);
        s->keep[left] = i;
        if (left != i) {
            s->sentences[left] = *of;
            *of = (sentence){0};
        }
        left++;
    }
    free(log_probs);
    const bool fewer = left < s->n;
    s->n = tn_ok() ? left : s->n;
    return tn_ok() && (!fewer || !left || tn_decoder_keep(s->decoder, left, s->keep));
}

/* ---- beginning and end ---- */

static bool sentence_begin(search *s, sentence *of, int64_t number, int64_t rows)
{
    const double most = s->a.max_a * (double)rows + (double)s->a.max_b;
    const size_t beam = (size_t)s->a.beam;
    *of = (sentence){.number = number, .most = most < 1 ? 1 : most > 1 << 20 ? 1 << 20 : (int64_t)most};
    const size_t room = (size_t)of->most + 1, bytes = sizeof(int32_t) * 2 + sizeof(float);
    path *paths = calloc(2 * beam, sizeof *paths);
    char *at = of->memory = malloc(2 * beam * room * bytes);
    of->now = paths;
    of->next = paths ? paths + beam : NULL;
    if (!paths || !at)
        return tn_fail(TN_ENOMEM, "beam: no memory for %lld words", (long long)of->most);
    for (size_t i = 0; i < 2 * beam; i++, at += room * bytes) {
        paths[i].ids = (int32_t *)(void *)at;
        paths[i].align = paths[i].ids + room;
        paths[i].scores = (float *)(void *)(paths[i].align + room);
    }
    return true;
}

static bool begin(search *s)
{
    const int64_t n = tn_dim(s->a.x_spans, 0), *spans = tn_i64(s->a.x_spans);
    const size_t beam = (size_t)s->a.beam, count = (size_t)n;
    s->found = calloc(1, sizeof *s->found);
    if (s->found) {
        *s->found = (tn_hypotheses){.type = &hypotheses_type, .n = n, .beam = s->a.beam, .best = s->a.best};
        s->found->at = calloc(count * beam, sizeof *s->found->at);
        s->found->finished = calloc(count, sizeof *s->found->finished);
    }
    s->sentences = calloc(count, sizeof *s->sentences);
    s->best = calloc(2 * beam, sizeof *s->best);
    s->ids = calloc(count * beam, sizeof *s->ids);
    s->from = calloc(count * beam, sizeof *s->from);
    s->keep = calloc(count, sizeof *s->keep);
    if (!s->found || !s->found->at || !s->found->finished || !s->sentences || !s->best || !s->ids || !s->from ||
        !s->keep)
        return tn_fail(TN_ENOMEM, "beam: no memory for %lld sentences", (long long)n);
    for (s->n = 0; s->n < n; s->n++)
        if (!sentence_begin(s, &s->sentences[s->n], s->n, spans[2 * s->n + 1])) {
            s->n++;
            return false;
        }
    for (size_t i = 0; i < count * beam; i++)
        s->ids[i] = TN_EOS;
    s->decoder = tn_decoder_new(s->a.net, s->a.x, s->a.x_spans, s->a.beam);
    return s->decoder;
}

static bool check(tn_beam_args *a)
{
    enum { MOST = 1024 };
    if (!a->net || !a->x || !a->x_spans)
        return false;
    a->beam = a->beam ? a->beam : 5;
    a->best = a->best ? a->best : 1;
    a->max_b = a->max_a == 0 && a->max_b == 0 ? 200 : a->max_b;
    a->least = a->least ? a->least : 1;
    a->lenpen = a->lenpen == 0 ? signbit(a->lenpen) ? 0 : 1 : a->lenpen;
    if (a->beam < 1 || a->beam > MOST || a->best < 1 || a->best > a->beam)
        return tn_fail(TN_EARG, "beam: width %d, best %d: 1 to %d, and no more than the width", a->beam, a->best, MOST);
    if (!(a->max_a >= 0) || a->max_b < 0 || a->least < 0 || !isfinite(a->lenpen))
        return tn_fail(TN_EARG, "beam: max_a %g, max_b %lld, least %lld, lenpen %g: none may be negative", a->max_a,
                       (long long)a->max_b, (long long)a->least, a->lenpen);
    if (!tn_i64(a->x_spans) || a->x_spans->ndim != 2 || a->x_spans->shape[1] != 2)
        return tn_fail(TN_ESHAPE, "beam: x_spans must be [n, 2] of i64");
    return true;
}

tn_hypotheses *tn_beam_call(tn_beam_args args)
{
    search s = {.a = args};
    if (!check(&s.a))
        return NULL;
    bool good = begin(&s);
    TN_NO_GRAD {
        for (int64_t step = 0; good && s.n; step++)
            TN_SCOPE {
                good = advance_all(&s, step);
            }
    }
    for (int64_t i = 0; s.sentences && i < s.n; i++)
        sentence_end(&s.sentences[i]);
    if (!good || !tn_ok()) {
        tn_free(s.found);
        s.found = NULL;
    }
    free(s.sentences);
    free(s.best);
    free(s.ids);
    free(s.from);
    free(s.keep);
    tn_free(s.decoder);
    return s.found;
}
