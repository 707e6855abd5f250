/* text.json of a folder of translation data: what its raw text went through to become ids. */
#ifndef TN_DATA_CODEC_H
#define TN_DATA_CODEC_H

#include <tenon.h>

enum { TN__CODEC_FILE = 64 };
struct tn__codec_info {
    char lang[2][16];                    /* source, target */
    bool moses;                          /* false: text was tokenised already */
    bool lowercase, joined;
    char bpe[TN__CODEC_FILE];            /* file in the folder; "": no BPE */
    char dictionary[2][TN__CODEC_FILE];  /* files in the folder, of lang */
};

/* Checks and writes FOLDER/text.json; false with the error set. */
bool tn__codec_write(const char *folder, const struct tn__codec_info *info);
bool tn__codec_read(const char *folder, struct tn__codec_info *info);

#endif
