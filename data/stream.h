/* Folders of running text: stream.json, which tells how many shards there are, and where these are. */
#ifndef TN_DATA_STREAM_H
#define TN_DATA_STREAM_H

#include <limits.h>
#include <tenon.h>

enum { TN__STREAM_SHARDS = 99999 }; /* of a split at most */
typedef struct tn__stream_info {
    int64_t shards[3]; /* by tn_split */
} tn__stream_info;

/* FOLDER/stream.json; false with the error set. */
bool tn__stream_write(const char *folder, const tn__stream_info *info);
bool tn__stream_read(const char *folder, tn__stream_info *info);
/* The name of a shard, from 0 on: "train.00001.tok". */
enum { TN__STREAM_FILE = 32 };
const char *tn__stream_file(char file[TN__STREAM_FILE], int split, int64_t shard);

#endif
