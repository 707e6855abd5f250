/* Translating lines with a trained Transformer: batches of like length through tn_beam(), results in any order
 * with their line's number.  The command is cmd_translate.c; the BLEU of a run, score_run.c. */
#ifndef TENON_TRANSLATE_H
#define TENON_TRANSLATE_H

#include <tenon.h>

typedef struct translate_args {
    tn_module *net;      /* in eval mode */
    tn_beam_args search; /* net, x and x_spans are filled in */
    int64_t batch;       /* sentences translated together, 0: 64 */
} translate_args;

/* Called once a line; false stops. */
typedef bool translate_each(void *arg, int64_t line, const tn_hypotheses *found, int64_t sentence);
/* lines [n] are source ids that end in TN_EOS; one without words is left out: `each` never hears of it.
 * What a line becomes does not depend on the others.  False with the
 * error set, or when `each` was false. */
bool translate(const translate_args *a, int64_t n, const tn_ids *lines, translate_each *each, void *arg);

#endif
