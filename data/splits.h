/* What the splits of a data set are called, in names of files and in texts. */
#ifndef TN_DATA_SPLITS_H
#define TN_DATA_SPLITS_H

extern const char *const tn__split_names[3]; /* by tn_split */

#endif
