/* Loss and accuracy over a data set; see train.h. */
#include "tally.h"
#include "train.h"

bool tally_add(tally *t, const tn_tensor *loss, tn_tensor *logits, tn_tensor *y)
{
    const int64_t n = tn_dim(y, 0);
    TN_SCOPE TN_NO_GRAD {
        const int64_t *guess = tn_i64(tn_argmax(logits, -1)), *truth = tn_i64(tn_cast(y, TN_I64));
        for (int64_t i = 0; guess && truth && i < n; i++)
            t->right += guess[i] == truth[i];
    }
    t->loss += tn_item(loss) * (double)n;
    t->seen += n;
    return tn_ok();
}

bool evaluate(tn_module *net, tn_loader *loader, score *s)
{
    tally t = {0};
    const bool training = net && net->training;
    tn_eval(net);
    TN_NO_GRAD TN_EACH(b, loader) {
        tn_tensor *logits = tn_forward(net, b.x);
        if (!tally_add(&t, tn_cross_entropy(logits, b.y), logits, b.y))
            break;
    }
    if (training)
        tn_train(net);
    *s = (score){tally_loss(&t), tally_accuracy(&t), t.seen};
    return tn_ok();
}
