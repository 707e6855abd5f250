/* Decoding step by step, and beam search: against whole forward passes, against trying every sentence there is,
 * against a plain search without a cache; alone and in company. */
#include "check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS = 9, DIM = 32, SENTENCES = 4, ROWS = 14 };

static const int64_t source_ids[ROWS] = {4, 5, 2, 7, 2, 3, 8, 6, 4, 2, 5, 5, 3, 2};
static const int64_t source_spans[SENTENCES][2] = {{0, 3}, {3, 2}, {5, 5}, {10, 4}};

static tn_module *net_of(int64_t words, bool pre_norm)
{
    tn_seed(7);
    tn_module *net = tn_transformer(WORDS, words, .dim = DIM, .ffn = 48, .heads = 4, .encoder_layers = 2,
                                    .decoder_layers = 2, .dropout = .3, .pre_norm = pre_norm);
    tn_eval(net);
    return net;
}

static tn_tensor *ids_of(const int32_t *ids, int64_t n)
{
    tn_tensor *t = tn_empty(TN_I64, 1, &n);
    for (int64_t i = 0; t && i < n; i++)
        tn_i64(t)[i] = ids[i];
    return t;
}

static tn_tensor *one_span(int64_t rows)
{
    return tn_from_i64((int64_t[]){0, rows}, TN_SHAPE(1, 2));
}

/* Log-probabilities of the word after prefix [n], by a whole forward pass; out [words] */
static void whole(tn_module *net, int sentence, const int32_t *prefix, int64_t n, int64_t words, float *out)
{
    TN_SCOPE {
        const int64_t first = source_spans[sentence][0], rows = source_spans[sentence][1];
        int32_t input[64] = {TN_EOS};
        memcpy(input + 1, prefix, (size_t)n * sizeof *prefix);
        tn_tensor *x = tn_from_i64(source_ids + first, 1, &rows), *logits = NULL;
        TN_NO_GRAD {
            logits = tn_forward(net, x, one_span(rows), ids_of(input, n + 1), one_span(n + 1));
        }
        tn_tensor *last = tn_log_softmax(tn_slice(logits, 0, n, n + 1, 1), 1);
        assert_true(tn_read_f32(last, out));
        assert_int_equal(tn_numel(last), words);
    }
}

static void cached_steps_equal_whole_passes(void **state)
{
    (void)state;
    for (int pre_norm = 0; pre_norm < 2; pre_norm++)
        TN_SCOPE {
            tn_module *net = net_of(WORDS, pre_norm);
            tn_tensor *x = tn_from_i64(source_ids, TN_SHAPE(ROWS));
            tn_tensor *spans = tn_from_i64(&source_spans[0][0], TN_SHAPE(SENTENCES, 2));
            tn_decoder *d = tn_decoder_new(net, x, spans, 2);
            int32_t prefix[2 * SENTENCES][8], ids[2 * SENTENCES], from[2 * SENTENCES];
            for (int i = 0; i < 2 * SENTENCES; i++)
                ids[i] = TN_EOS;
            for (int step = 0; step < 6; step++)
                TN_SCOPE {
                    tn_tensor *got = tn_decoder_step(d, ids, step ? from : NULL);
                    assert_true(tn_ok());
                    float all[2 * SENTENCES * WORDS], want[WORDS];
                    assert_true(tn_read_f32(got, all));
                    for (int i = 0; i < 2 * SENTENCES; i++) {
                        whole(net, i / 2, prefix[i], step, WORDS, want);
                        assert_memory_equal(all + i * WORDS, want, sizeof want); /* bit for bit */
                    }
                    int32_t next[2 * SENTENCES][8];
                    for (int i = 0; i < 2 * SENTENCES; i++) { /* lines go on from each other */
                        from[i] = (i / 2) * 2 + (step + i / 2) % 2;
                        memcpy(next[i], prefix[from[i]], sizeof next[i]);
                        next[i][step] = ids[i] = 3 + (i + 2 * step) % (WORDS - 3);
                    }
                    memcpy(prefix, next, sizeof prefix);
                }
            int64_t n;
            const float *a = tn_decoder_attention(d, 5, &n);
            assert_int_equal(n, source_spans[2][1]);
            double sum = 0;
            for (int64_t i = 0; i < n; i++)
                sum += (double)a[i];
            assert_true(fabs(sum - 1) < 1e-5);
            tn_free(d, net);
        }
}

/* ---- every sentence of up to 3 words ---- */

typedef struct best {
    double score;
    int32_t ids[8];
    int64_t n;
} best;

static void try_all(tn_module *net, int sentence, int64_t words, int32_t *prefix, int64_t n, double sum,
                    double lenpen, best *b)
{
    float next[16];
    whole(net, sentence, prefix, n, words, next);
    if (n >= 1) {
        const double score = (sum + (double)next[TN_EOS]) / pow((double)n + 1, lenpen);
        if (score > b->score) {
            b->score = score;
            memcpy(b->ids, prefix, (size_t)n * sizeof *prefix);
            b->ids[n] = TN_EOS;
            b->n = n + 1;
        }
    }
    for (int32_t id = 0; n < 3 && id < words; id++)
        if (id != TN_PAD && id != TN_EOS) {
            prefix[n] = id;
            try_all(net, sentence, words, prefix, n + 1, sum + (double)next[id], lenpen, b);
        }
}

static tn_hypotheses *search(tn_module *net, tn_beam_args a)
{
    a.net = net;
    a.x = tn_from_i64(source_ids, TN_SHAPE(ROWS));
    a.x_spans = tn_from_i64(&source_spans[0][0], TN_SHAPE(SENTENCES, 2));
    return tn_beam_call(a);
}

static void a_wide_beam_finds_the_best_of_all(void **state)
{
    (void)state;
    for (int trial = 0; trial < 2; trial++)
        TN_SCOPE {
            const double lenpen = trial ? TN_ZERO : .7;
            tn_module *net = net_of(6, trial);
            tn_hypotheses *h = search(net, (tn_beam_args){.beam = 200, .best = 3, .max_b = 3, .lenpen = lenpen});
            assert_true(tn_ok());
            for (int i = 0; i < SENTENCES; i++) {
                best b = {.score = -INFINITY};
                int32_t prefix[8];
                try_all(net, i, 6, prefix, 0, 0, lenpen, &b);
                const tn_hypothesis *got = tn_hypothesis_at(h, i, 0);
                assert_non_null(got);
                assert_int_equal(got->n, b.n);
                assert_memory_equal(got->ids, b.ids, (size_t)b.n * sizeof *b.ids);
                assert_true(fabs(got->score - b.score) < 1e-9);
                assert_true(tn_hypothesis_at(h, i, 1)->score <= got->score);
                assert_null(tn_hypothesis_at(h, i, 3));
            }
            tn_free(h, net);
        }
}

/* ---- the rule, written down once more without a cache ---- */

typedef struct line {
    int32_t ids[32];
    double sum;
} line;

static int by_sum(const void *a, const void *b)
{
    const double x = ((const line *)a)->sum, y = ((const line *)b)->sum;
    return (x < y) - (x > y);
}

static void plain_search(tn_module *net, int sentence, int beam, int most, best *b)
{
    line now[8] = {{{0}, 0}}, all[8 * WORDS];
    int lines = 1, finished = 0;
    b->score = -INFINITY;
    for (int n = 0; lines && finished < beam; n++) {
        int count = 0;
        for (int k = 0; k < lines; k++) {
            float next[WORDS];
            whole(net, sentence, now[k].ids, n, WORDS, next);
            for (int id = 0; id < WORDS; id++) {
                if (id == TN_PAD || (n < 1 && id == TN_EOS) || (n == most && id != TN_EOS))
                    continue;
                all[count] = now[k];
                all[count].ids[n] = id;
                all[count++].sum = now[k].sum + (double)next[id];
            }
        }
        qsort(all, (size_t)count, sizeof *all, by_sum);
        lines = 0;
        for (int k = 0; k < count && k < 2 * beam && lines < beam && finished < beam; k++) {
            if (all[k].ids[n] != TN_EOS) {
                now[lines++] = all[k];
            } else if (k < beam) {
                finished++;
                if (all[k].sum / (n + 1) > b->score) {
                    b->score = all[k].sum / (n + 1);
                    memcpy(b->ids, all[k].ids, sizeof b->ids);
                    b->n = n + 1;
                }
            }
        }
    }
}

static void the_rule(void **state)
{
    (void)state;
    for (int beam = 1; beam <= 5; beam++)
        TN_SCOPE {
            tn_module *net = net_of(WORDS, false);
            tn_hypotheses *h = search(net, (tn_beam_args){.beam = beam, .max_b = 7, .align = true});
            for (int i = 0; i < SENTENCES; i++) {
                best b;
                plain_search(net, i, beam, 7, &b);
                const tn_hypothesis *got = tn_hypothesis_at(h, i, 0);
                assert_non_null(got);
                assert_int_equal(got->n, b.n);
                assert_memory_equal(got->ids, b.ids, (size_t)b.n * sizeof *b.ids);
                assert_true(fabs(got->score - b.score) < 1e-9);
                double sum = 0;
                for (int64_t k = 0; k < got->n; k++) {
                    sum += (double)got->scores[k];
                    assert_in_range(got->align[k], 0, source_spans[i][1] - 1);
                }
                assert_true(fabs(sum / (double)got->n - got->score) < 1e-6);
            }
            tn_free(h, net);
        }
}

static void alone_and_in_company(void **state)
{
    (void)state;
    TN_SCOPE {
        tn_module *net = net_of(WORDS, true);
        tn_hypotheses *all = search(net, (tn_beam_args){.beam = 3, .best = 3, .max_b = 12});
        for (int i = 0; i < SENTENCES; i++) {
            const int64_t rows = source_spans[i][1];
            tn_tensor *x = tn_from_i64(source_ids + source_spans[i][0], 1, &rows);
            tn_hypotheses *one = tn_beam(net, x, one_span(rows), .beam = 3, .best = 3, .max_b = 12);
            for (int k = 0; k < 3; k++) {
                const tn_hypothesis *a = tn_hypothesis_at(all, i, k), *b = tn_hypothesis_at(one, 0, k);
                assert_true(!a == !b);
                if (!a)
                    continue;
                assert_int_equal(a->n, b->n);
                assert_memory_equal(a->ids, b->ids, (size_t)a->n * sizeof *a->ids);
                assert_memory_equal(a->scores, b->scores, (size_t)a->n * sizeof *a->scores);
                assert_true(a->score == b->score);
            }
            tn_free(one);
        }
        tn_free(all, net);
    }
}

static void what_cannot_be(void **state)
{
    (void)state;
    TN_SCOPE {
        tn_module *net = net_of(WORDS, false);
        tn_tensor *x = tn_from_i64(source_ids, TN_SHAPE(ROWS)), *spans = one_span(ROWS);
        assert_null(tn_beam(net, x, spans, .beam = 4, .best = 5));
        expect_error(TN_EARG, "best 5");
        assert_null(tn_beam(net, x, x));
        expect_error(TN_ESHAPE, "[n, 2]");
        assert_null(tn_beam(net, x, one_span(ROWS + 1)));
        assert_false(tn_ok());
        tn_error_clear();
        assert_null(tn_beam(NULL, x, spans));
        assert_true(tn_ok());
        tn_module *other = tn_linear(3, 4);
        assert_null(tn_beam(other, x, spans));
        assert_false(tn_ok());
        tn_error_clear();
        tn_free(other, net);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cached_steps_equal_whole_passes), cmocka_unit_test(a_wide_beam_finds_the_best_of_all),
        cmocka_unit_test(the_rule),                        cmocka_unit_test(alone_and_in_company),
        cmocka_unit_test(what_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
