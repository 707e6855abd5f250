/* Text: from raw lines to token ids and back, and what translations are scored by.
 *
 *     line --tokenizer--> tokens --lower case--> --BPE--> subwords --dictionary--> ids
 *
 * All text is UTF-8; bytes that are none become U+FFFD.  A line is given with its length and without its line
 * end, may hold any byte but a line end, and may be empty.  What a function makes of a line depends on that line
 * alone, and objects here are not changed by use, so that several threads may share one. */
#ifndef TENON_TEXT_H
#define TENON_TEXT_H

#include <stdio.h>

#include "data.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A text that grows; zeroed at first, ended by a NUL beyond len.  Functions that fill one replace what it held, so
 * that what they read must lie elsewhere; false means no memory (with the error set). */
typedef struct tn_text {
    char *at;
    size_t len, room;
} tn_text;
TN_API bool tn_text_add(tn_text *t, const char *s, size_t n); /* appends */
TN_API void tn_text_end(tn_text *t);                          /* frees; zeroed again */

/* Ids that grow, likewise. */
typedef struct tn_ids {
    int32_t *at;
    int64_t len, room;
} tn_ids;
TN_API bool tn_ids_add(tn_ids *t, int32_t id);
TN_API void tn_ids_end(tn_ids *t);

/* Reads the next line of a file of any size, plain or gzip, without its line end ("\n" or "\r\n"); counts lines
 * for error texts.  NULL path or "-": standard input.  A line is good until the next call and ended by a NUL. */
typedef struct tn_lines tn_lines; /* free with tn_free */
TN_API tn_lines *tn_lines_open(const char *path);
TN_API bool tn_lines_next(tn_lines *l, const char **line, size_t *n); /* false at the end, or on an error */
TN_API int64_t tn_lines_count(const tn_lines *l);                     /* read so far */

/* ---- words (Moses' tokenizer.perl, detokenizer.perl, lowercase.perl) ----
 * The same bytes as those make, by Unicode 14: a line that ends in .' gets a space at its end, a line of spaces
 * stays as it is, a tag alone on its line is not detokenised. */
typedef struct tn_tokenizer tn_tokenizer; /* free with tn_free */
typedef struct tn_tokenizer_args {
    const char *lang;       /* "de", "en"; any other: no abbreviations are known, apostrophes stand alone */
    bool aggressive;        /* -a: hyphens become tokens, @-@ */
    bool no_escape;         /* -no-escape: & | < > ' " [ ] stay as they are */
} tn_tokenizer_args;
TN_API tn_tokenizer *tn_tokenizer_call(tn_tokenizer_args args);
#define tn_tokenizer(...) TN_AT(tn_tokenizer_call((tn_tokenizer_args){.lang = __VA_ARGS__}))
TN_API bool tn_tokenize(const tn_tokenizer *t, const char *line, size_t n, tn_text *out);
TN_API bool tn_detokenize(const tn_tokenizer *t, const char *line, size_t n, tn_text *out);
TN_API bool tn_lowercase(const char *line, size_t n, tn_text *out);

/* ---- subwords: byte-pair encoding as subword-nmt learns and applies it ("@@" at each inner end) ---- */
typedef struct tn_bpe tn_bpe; /* free with tn_free */
typedef struct tn_bpe_args {
    int n;                       /* files whose words are counted together */
    const char *const *files;    /* [n], tokenised text */
    int64_t merges;              /* default 10000 */
    int64_t least;               /* stop when the most frequent pair is rarer; default 2 */
} tn_bpe_args;
TN_API tn_bpe *tn_bpe_learn(tn_bpe_args args);   /* on all of Tenon's threads; same codes for any number */
TN_API tn_bpe *tn_bpe_open(const char *path);    /* a file of codes, "#version: 0.2"; without a version: 0.1 */
TN_API bool tn_bpe_save(const tn_bpe *b, const char *path); /* "-": to standard output */
/* Spaces part words; those at the ends of the line stay, one is left of those between. */
TN_API bool tn_bpe_apply(const tn_bpe *b, const char *line, size_t n, tn_text *out);
TN_API bool tn_bpe_undo(const char *line, size_t n, tn_text *out); /* joins "fo@@ o" */

/* ---- dictionaries, as fairseq builds and writes them ("word count" a line) ---- */
enum { TN_BOS = 0, TN_PAD = 1, TN_EOS = 2, TN_UNK = 3 };
typedef struct tn_dictionary tn_dictionary; /* free with tn_free */
typedef struct tn_dictionary_args {
    int n;
    const char *const *files;    /* [n], what is counted */
    int64_t threshold;           /* rarer words become <unk> */
    int64_t most;                /* ids at most before filling up, the four above included; 0: all */
    int multiple;                /* filled up with madeupwordNNNN to a multiple of this; default 8 */
    /* A language model's: none of the four is added.  </s>, counted once a line, and <unk>, counted for all it stands
     * for, have their places among the words by their counts, and nothing is filled up: most and multiple are 0. */
    bool ranked;
    bool skip_blank;             /* ranked: lines without a word are not counted */
    /* Now and then, with the bytes read since the last time; false stops.  May be NULL. */
    bool (*progress)(void *arg, int64_t bytes);
    void *arg;
} tn_dictionary_args;
TN_API tn_dictionary *tn_dictionary_build(tn_dictionary_args args); /* by count, ties by bytes */
TN_API tn_dictionary *tn_dictionary_open(const char *path); /* each word once, none of the four */
TN_API tn_dictionary *tn_dictionary_open_ranked(const char *path); /* each word once, </s> and <unk> among them */
TN_API bool tn_dictionary_save(const tn_dictionary *d, const char *path);
TN_API int64_t tn_dictionary_len(const tn_dictionary *d);
TN_API int32_t tn_dictionary_eos(const tn_dictionary *d); /* TN_EOS unless ranked */
TN_API int32_t tn_dictionary_unk(const tn_dictionary *d); /* TN_UNK unless ranked */
TN_API int32_t tn_dictionary_id(const tn_dictionary *d, const char *word, size_t n); /* unk's when absent */
TN_API const char *tn_dictionary_word(const tn_dictionary *d, int32_t id);           /* NULL outside */
/* The words of a line, which white space parts, and eos.  Text that reads like eos, <s> or <pad> is unknown; <s> and
 * <pad> are words like others when ranked. */
TN_API bool tn_dictionary_encode(const tn_dictionary *d, const char *line, size_t n, tn_ids *out);
/* Words with spaces between, up to the first eos; pads and starts are left out. */
TN_API bool tn_dictionary_decode(const tn_dictionary *d, const int32_t *ids, int64_t n, tn_text *out);

/* ---- files of token ids, memory-mapped ----
 * 64 bytes of header ("TENONTOK", then u64 version 1, sentences, tokens, then u32 CRC-32 of all behind the header,
 * then zeros), the sentences' ends u64 [sentences], the ids i32 [tokens]; little-endian. */
typedef struct tn_tokens tn_tokens; /* free with tn_free */
TN_API tn_tokens *tn_tokens_open(const char *path); /* checks header, size and ends */
TN_API bool tn_tokens_check(const tn_tokens *t);    /* reads everything: the checksum, and no id is negative */
TN_API int64_t tn_tokens_sentences(const tn_tokens *t);
TN_API int64_t tn_tokens_len(const tn_tokens *t);   /* of all sentences together */
TN_API const int32_t *tn_tokens_at(const tn_tokens *t, int64_t sentence, int64_t *n); /* where it is mapped */
/* Copies n ids, counted over all sentences, from the first one on: to [n].  Unlike the map, this gives an error when
 * the file has become shorter or cannot be read any more. */
TN_API bool tn_tokens_read(const tn_tokens *t, int64_t first, int64_t n, int32_t *to);
typedef struct tn_token_writer tn_token_writer;     /* to a temporary name until it is closed; tn_free drops it */
TN_API tn_token_writer *tn_token_writer_open(const char *path);
TN_API bool tn_token_writer_add(tn_token_writer *w, const int32_t *ids, int64_t n); /* one sentence */
TN_API bool tn_token_writer_close(tn_token_writer *w); /* fsync and rename; w is freed in any case */

/* ---- translation data: a folder made by tn_prepare() ----
 *   text.json                  languages, tokenizer, case, and which files the rest is in
 *   code                       of the BPE, when there is one
 *   dict.de.txt dict.en.txt    the same content when joined
 *   train.de train.en  valid.*  test.*   tokenised text without BPE, a sentence a line
 *   train.de.tok train.en.tok  valid.*.tok  test.*.tok   ids
 *   prepare.txt                what it was made from, and with which settings
 */
typedef struct tn_codec tn_codec; /* raw lines to ids and back by what is in such a folder; free with tn_free */
TN_API tn_codec *tn_codec_open(const char *folder, const char *lang); /* of one of its two languages */
TN_API bool tn_codec_encode(const tn_codec *c, const char *line, size_t n, tn_ids *out); /* raw text; ends in TN_EOS */
/* as encode, for text that is tokenised (and cased) already */
TN_API bool tn_codec_encode_tokens(const tn_codec *c, const char *line, size_t n, tn_ids *out);
TN_API bool tn_codec_decode(const tn_codec *c, const int32_t *ids, int64_t n, tn_text *out); /* tokens, BPE undone */
TN_API bool tn_codec_detokenize(const tn_codec *c, const char *line, size_t n, tn_text *out);
TN_API const tn_dictionary *tn_codec_dictionary(const tn_codec *c);
/* The two languages of a folder as its text.json has them, each of at most 15 bytes. */
TN_API bool tn_codec_languages(const char *folder, char source[16], char target[16]);
/* What a codec reads, copied: a run directory that translates on its own. */
TN_API bool tn_codec_copy(const char *from_folder, const char *to_folder);

typedef struct tn_prepare_args {
    const char *dest;             /* made when absent; what is complete there is not made again */
    const char *source, *target;  /* languages: "de", "en" */
    const char *train[2], *valid[2], *test[2]; /* files of source and target, a sentence a line, plain or gzip; valid
                                     NULL: every 23rd training pair; test NULL: none */
    bool tokenized;               /* the text is tokenised already: words with white space between */
    bool keep_case;
    bool joined;                  /* one dictionary for both */
    const char *code;             /* BPE codes to use; NULL: learned from the training text of both languages */
    int64_t merges;               /* default 10000; -1: no BPE */
    int64_t threshold;            /* of the dictionaries */
    int64_t longest;              /* words of a training sentence at most; default 175 */
    double ratio;                 /* of the longer to the shorter side at most; default 1.5 */
    bool (*progress)(void *arg, const char *what, double share); /* may be NULL; false stops with TN_ESTATE */
    void *arg;
} tn_prepare_args;
/* Makes the folder above.  Training pairs with an empty side, or longer or more unequal than said, or with a word of
 * more than 1000 characters are left out (Moses' clean-corpus-n.perl); the rest of the text stays whole.  A call that
 * was stopped, killed or failed is gone on with by the same call again: files have their names once they are
 * complete.  Other settings or inputs (by their size) than those of prepare.txt are refused, and so is a second
 * process.  On all of Tenon's threads; the same files for any number. */
TN_API bool tn_prepare(tn_prepare_args args);
/* From the published archives, or the folders unpacked from them, either way round; train, valid, test and tokenized
 * are not for these.
 * iwslt14: de-en.tgz as fairseq's prepare-iwslt14.sh has it: training text without its tags; every 23rd pair for
 * validation; dev2010, TEDX dev2012, tst2010, tst2011 and tst2012 for the test.  Default de to en.
 * wmt16: Google's wmt16_en_de.tar.gz, which is tokenised, cleaned and cut into subwords already: ids are of those
 * subwords (train.tok.clean.bpe.32000, newstest2013 and 2014.tok.bpe.32000), the text is the same with subwords
 * joined, the code is bpe.32000; cased, with one dictionary of 32768.  Default en to de; merges is 0. */
TN_API bool tn_prepare_iwslt14(const char *archive, tn_prepare_args args);
TN_API bool tn_prepare_wmt16(const char *archive, tn_prepare_args args);

/* Pairs of sentences out of such a folder: ragged samples, see data.h.  source, target: its languages in either
 * direction; both NULL: as text.json has them.  Pairs with a side over `longest` ids (0: 1024) are left out. */
TN_API tn_dataset *tn_pairs(const char *folder, const char *source, const char *target, tn_split split,
                            int64_t longest);

/* ---- running text for language models: a folder made by tn_prepare_stream() or tn_prepare_lm1b() ----
 *   stream.json                how many shards each split has
 *   dict.txt                   the ranked dictionary of the training text
 *   train.00001.tok ...  valid.*  test.*   ids, a file for each shard (file of text), a sentence for each line
 *   prepare.txt                what it was made from, and with which settings
 */
typedef struct tn_prepare_stream_args {
    const char *dest;             /* made when absent; what is complete there is not made again */
    int n_train, n_valid, n_test; /* files, each a shard; at least one for training */
    const char *const *train, *const *valid, *const *test; /* [n], a sentence a line, plain or gzip */
    int64_t threshold;            /* words that come at most so often in the training text become <unk>; default: of
                                     lm1b 3, else 0; -1: 0 */
    bool skip_blank;              /* lines without a word are left out, not one sentence end each; lm1b: always */
    bool (*progress)(void *arg, const char *what, double share); /* may be NULL; false stops with TN_ESTATE */
    void *arg;
} tn_prepare_stream_args;
/* Makes the folder above.  White space (Python's) parts words and nothing else is done to them, but that bytes which
 * are no UTF-8 become U+FFFD; each line ends in </s>.  <unk> is one word, whether the text has it already or words are
 * rare or, in valid and test, new.  Stopped calls, settings, second processes and threads: as tn_prepare(). */
TN_API bool tn_prepare_stream(tn_prepare_stream_args args);
/* The One Billion Word benchmark (Chelba et al. 2013) out of its published archive,
 * 1-billion-word-language-modeling-benchmark-r13output.tar.gz, or the folder unpacked from it: train is its 99
 * training shards, test its 50 held-out ones.  Files are not said. */
TN_API bool tn_prepare_lm1b(const char *archive, tn_prepare_stream_args args);

typedef struct tn_text_stream_args {
    const char *folder;
    tn_split split;
    int64_t batch;      /* rows; default 128 */
    int64_t steps;      /* time steps of a chunk; default 20, of a whole split 128 */
    bool whole;         /* one row, all shards one after the other: for evaluation */
    bool carries;       /* see tn_dataset */
} tn_text_stream_args;
/* Chunks of such a text, one a batch: x [steps, batch] and y [steps, batch] i32, y being the tokens that follow those
 * of x.  A loader's shuffling puts the shards in random order; chunks of a shard stay in theirs, so that states go on
 * from one to the next but where tn_batch.first is set.
 * As in the paper's language model (RAdam, language-model/model_word_ada/dataset.py): of a shard of n tokens the first
 * batch * L are used, L the largest multiple of steps with batch * L < n; row r is tokens r L .. (r + 1) L - 1, and
 * the target of its last is the first of the next row, or of what is left over.  A shard without a chunk is an error.
 * whole: x [steps, 1]; the last chunk is short; nothing is left out, and each token but the first of all, which
 * follows none, is a target once. */
TN_API tn_dataset *tn_text_stream_call(tn_text_stream_args args);
#define tn_text_stream(...) TN_AT(tn_text_stream_call((tn_text_stream_args){.folder = __VA_ARGS__}))

/* ---- BLEU (Papineni et al. 2002), as multi-bleu.perl, fairseq and sacrebleu count it ---- */
typedef enum tn_bleu_tokens { TN_BLEU_NONE, TN_BLEU_13A } tn_bleu_tokens; /* split at white space; sacrebleu's 13a */
typedef struct tn_bleu {
    tn_bleu_tokens tokens;
    bool lowercase;
    int64_t match[4], total[4];  /* n-grams of 1 to 4 tokens: clipped matches, those of the hypothesis */
    int64_t hyp_len, ref_len;    /* ref: of the reference closest in length, of two as close the shorter */
} tn_bleu;
/* Adds one sentence; zero a tn_bleu but for tokens and lowercase first.  A reference token <unk> matches nothing.
 * On an error b is as before. */
TN_API bool tn_bleu_add(tn_bleu *b, const char *hyp, size_t n, int refs, const char *const *ref, const size_t *ref_n);
/* 0..100, not smoothed: 0 when n-grams of some order match nowhere.  (sacrebleu's default would smooth; its
 * smooth_method "none" is the same number.) */
TN_API double tn_bleu_score(const tn_bleu *b);
/* Of few n-grams: both counts of 2 to 4 tokens plus one (Lin and Och 2004; sacrebleu's "add-k" with 1). */
TN_API double tn_bleu_sentence(const tn_bleu *b);
TN_API double tn_bleu_brevity(const tn_bleu *b);          /* 0..1 */
enum { TN_BLEU_SIGNATURE = 128 };
/* How tn_bleu_score() was counted, in sacrebleu's form; returns text. */
TN_API const char *tn_bleu_signature(const tn_bleu *b, int refs, char text[TN_BLEU_SIGNATURE]);

#ifdef __cplusplus
}
#endif
#endif
