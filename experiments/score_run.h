/* BLEU of a translation run on its test split, as the paper's table 2 counts it. */
#ifndef TENON_SCORE_RUN_H
#define TENON_SCORE_RUN_H

#include "config.h"

/* Translates the test split of the run's data with `net` by beam search and scores it: on lower-cased, tokenised
 * words with the BPE undone, as fairseq does.  run_dir holds the dictionaries.  False with the
 * error set, or without one when stop_asked() (stop.h). */
bool translate_score(const config *c, const char *run_dir, tn_module *net, double *bleu);

#endif
