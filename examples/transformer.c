/* Sequences of differing length, without padding: a small Transformer learns to write words backwards, and beam
 * search lets it speak. */
#include <stdio.h>
#include <tenon.h>

enum { LETTERS = 8, FIRST = TN_UNK + 1, WORDS = FIRST + LETTERS, BATCH = 64, LONGEST = 7 };

/* BATCH words after one another, each ended by TN_EOS; y is x backwards.  Word `i` of the stream `step`. */
static void make_batch(uint64_t step, tn_tensor **x, tn_tensor **y, tn_tensor **spans)
{
    int64_t from[BATCH * (LONGEST + 1)], to[BATCH * (LONGEST + 1)], where[BATCH][2], rows = 0;
    for (int i = 0; i < BATCH; i++) {
        uint32_t random[12];
        for (uint64_t k = 0; k < 3; k++)
            tn_random(7, step, 3 * (uint64_t)i + k, random + 4 * k);
        const int64_t n = 2 + random[0] % (LONGEST - 1);
        for (int64_t k = 0; k < n; k++)
            from[rows + k] = to[rows + n - 1 - k] = FIRST + random[1 + k] % LETTERS;
        from[rows + n] = to[rows + n] = TN_EOS;
        where[i][0] = rows;
        where[i][1] = n + 1;
        rows += n + 1;
    }
    *x = tn_from_i64(from, 1, &rows);
    *y = tn_from_i64(to, 1, &rows);
    *spans = tn_from_i64(where[0], TN_SHAPE(BATCH, 2));
}

int main(void)
{
    tn_tensor *x, *y, *spans;
    tn_seed(1);
    tn_module *net = tn_transformer(WORDS, WORDS, .dim = 64, .ffn = 128, .encoder_layers = 1, .decoder_layers = 1);
    tn_optim *opt = tn_radam(net, .lr = 3e-3);
    for (uint64_t step = 0; tn_ok() && step < 400; step++)
        TN_SCOPE {
            make_batch(step, &x, &y, &spans);
            tn_tensor *sum = tn_transformer_loss(net, x, spans, y, spans, 0.1, NULL);
            tn_backward(tn_mul_scalar(sum, 1 / (double)tn_numel(y)));
            tn_step(opt);
            if (step % 100 == 99)
                printf("step %d: %.3f nats a letter\n", (int)step + 1, tn_item(sum) / (double)tn_numel(y));
        }

    int right = 0;
    tn_eval(net);
    TN_SCOPE {
        make_batch(1000, &x, &y, &spans); /* of words it has hardly met */
        tn_hypotheses *found = tn_beam(net, x, spans, .max_b = LONGEST + 1);
        for (int64_t i = 0; tn_ok() && i < BATCH; i++) {
            const tn_hypothesis *h = tn_hypothesis_at(found, i, 0);
            const int64_t *want = tn_i64(y) + tn_i64(spans)[2 * i], n = tn_i64(spans)[2 * i + 1];
            bool same = h && h->n == n;
            for (int64_t k = 0; same && k < n; k++)
                same = h->ids[k] == want[k];
            right += same;
        }
        tn_free(found);
    }
    printf("%d of %d words backwards\n", right, BATCH);
    tn_free(opt, net);
    return tn_ok() && right > BATCH * 9 / 10 ? 0 : 1;
}
