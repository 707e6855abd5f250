/* What the tasks have in common; see task.h. */
#include "ledger.h"

#include <math.h>
#include <string.h>

void tally_add(tally *sum, const tally *more)
{
    sum->loss += more->loss;
    sum->score += more->score;
    sum->seen += more->seen;
}

double tally_loss(const tally *t) { return t->seen ? t->loss / (double)t->seen : 0; }
double tally_score(const tally *t) { return t->seen ? t->score / (double)t->seen : 0; }

const task *task_of(const tn_dataset *d)
{
    if (!d)
        return NULL;
    if (d->cls->begins)
        return &task_lm;
    return d->cls->rows && d->x_classes > 0 ? &task_translate : &task_classify;
}

tn_split task_split(const task *k, const config *c)
{
    return strcmp(c->train.judge, "auto") == 0 ? k->split : strcmp(c->train.judge, "valid") == 0 ? TN_VALID : TN_TEST;
}

const char *task_split_name(tn_split split) { return split == TN_VALID ? "valid" : "test"; }

int64_t task_count(const tn_batch *b) { return tn_numel(b->y); }

int64_t task_plan(const task *k, tn_module *net, const tn_batch *b) { return k->plan ? k->plan(net, b) : 0; }

tn_state task_carry(const task *k, tn_module *net, const tn_dataset *d)
{
    return k && k->carry ? k->carry(net, d) : (tn_state){NULL, NULL};
}

tn_batch task_batch_on(const tn_batch *b, tn_device d)
{
    tn_batch there = *b;
    there.x = tn_on(b->x, d);
    there.y = tn_on(b->y, d);
    there.x_spans = tn_on(b->x_spans, d);
    there.y_spans = tn_on(b->y_spans, d);
    return there;
}

bool task_evaluate(const task *k, const config *c, tn_module *net, tn_loader *loader, tally *t)
{
    const bool training = net && net->training;
    *t = (tally){0};
    tn_eval(net);
    TN_SCOPE TN_NO_GRAD {
        ledger figures;
        tn_state carried = task_carry(k, net, tn_loader_dataset(loader));
        bool good = ledger_begin(&figures, tn_device_named(c->device.name));
        TN_EACH(b, loader) {
            good = good && ledger_judge(&figures, k, c, net, &b, &carried, t);
            if (!good)
                break;
        }
        if (good)
            ledger_read(&figures, k, t);
    }
    if (training)
        tn_train(net);
    return tn_ok();
}

/* ---- figures ---- */

const char *task_bleu_key(double n, char text[TASK_TEXT])
{
    snprintf(text, TASK_TEXT, "test_bleu_%.0f", n);
    return text;
}

bool task_better(const task *k, double score, double than) { return k->words ? score < than : score > than; }
double task_worst(const task *k) { return k->words ? INFINITY : -1; }

static void set(json_t *line, const char *prefix, const char *key, double value)
{
    char name[TASK_TEXT];
    snprintf(name, sizeof name, "%s%s", prefix, key);
    json_object_set_new(line, name, json_number(value));
}

void task_figures(const task *k, json_t *line, const char *prefix, const tally *t)
{
    set(line, prefix, "loss", tally_loss(t));
    set(line, prefix, k->score, tally_score(t));
    if (k->words) {
        set(line, prefix, "loss_bits", tally_loss(t) / M_LN2);
        set(line, prefix, "ppl", exp(tally_score(t)));
    }
}

const char *task_score_text(const task *k, double score, char text[TASK_TEXT])
{
    if (k->words)
        snprintf(text, TASK_TEXT, "ppl %.4g", exp(score));
    else
        snprintf(text, TASK_TEXT, "%s %.2f %%", k->score, 100 * score);
    return text;
}

const char *task_text(const task *k, const tally *t, char text[2 * TASK_TEXT])
{
    char score[TASK_TEXT];
    snprintf(text, 2 * TASK_TEXT, "loss %.4f %s", tally_loss(t), task_score_text(k, tally_score(t), score));
    return text;
}
