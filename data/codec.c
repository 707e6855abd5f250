/* Raw lines to ids and back by what is in a folder of translation data, and that folder's text.json:
 *
 *     {"source": "de", "target": "en", "tokenizer": "moses" or "none", "lowercase": true, "bpe": "code" or null,
 *      "dictionaries": {"de": "dict.de.txt", "en": "dict.en.txt"}, "joined": true}
 *
 * See tenon/text.h and codec.h.  The steps themselves: tokenizer.c, unicode.c, bpe.c, dictionary.c. */
#include "codec.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "output.h"

/* ---- text.json ---- */

static bool path_of(char path[PATH_MAX], const char *folder, const char *file)
{
    if (!folder || !*folder)
        return tn_fail(TN_EARG, "codec: no folder given"), false;
    if (snprintf(path, PATH_MAX, "%s/%s", folder, file) >= PATH_MAX)
        return tn_fail(TN_EARG, "codec: %s: the name is too long", folder), false;
    return true;
}

/* Languages are parts of file names, files are in the folder itself. */
static bool good_language(const char *s)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    return *s && strspn(s, letters) == strlen(s);
}

static bool good_file(const char *s) { return *s && *s != '.' && !strchr(s, '/'); }

static bool check(const char *path, const struct tn__codec_info *i)
{
    for (int k = 0; k < 2; k++) {
        if (!good_language(i->lang[k]))
            return tn_fail(TN_EFORMAT, "codec: %s: '%s' is no language: letters, digits, - and _ are wanted", path,
                           i->lang[k]), false;
        if (!good_file(i->dictionary[k]))
            return tn_fail(TN_EFORMAT, "codec: %s: '%s' cannot be the dictionary of %s: a file beside is wanted", path,
                           i->dictionary[k], i->lang[k]), false;
    }
    if (*i->bpe && !good_file(i->bpe))
        return tn_fail(TN_EFORMAT, "codec: %s: '%s' cannot be the codes: a file beside is wanted", path, i->bpe), false;
    if (strcmp(i->lang[0], i->lang[1]) == 0)
        return tn_fail(TN_EFORMAT, "codec: %s: source and target are both %s", path, i->lang[0]), false;
    return true;
}

bool tn__codec_write(const char *folder, const struct tn__codec_info *info)
{
    char path[PATH_MAX];
    if (!path_of(path, folder, "text.json") || !check(path, info))
        return false;
    json_t *json = json_pack("{s:s, s:s, s:s, s:b, s:s?, s:{s:s, s:s}, s:b}", "source", info->lang[0], "target",
                             info->lang[1], "tokenizer", info->moses ? "moses" : "none", "lowercase",
                             (int)info->lowercase, "bpe", *info->bpe ? info->bpe : NULL, "dictionaries", info->lang[0],
                             info->dictionary[0], info->lang[1], info->dictionary[1], "joined", (int)info->joined);
    char *text = json ? json_dumps(json, JSON_INDENT(2)) : NULL;
    tn_text whole = {0};
    const bool ok = text ? tn_text_add(&whole, text, strlen(text)) && tn_text_add(&whole, "\n", 1) &&
                               tn__output_whole("codec", path, whole.at, whole.len)
                         : (tn_fail(TN_ENOMEM, "codec: %s: no memory to write, or a name is no UTF-8", path), false);
    tn_text_end(&whole);
    free(text);
    json_decref(json);
    return ok;
}

/* A string of `key` that fits. */
static bool take_string(const char *path, const json_t *object, const char *key, char *to, size_t room)
{
    const json_t *value = json_object_get(object, key);
    const char *text = json_string_value(value);
    if (!text || json_string_length(value) >= room || strlen(text) != json_string_length(value))
        return tn_fail(TN_EFORMAT, "codec: %s: %s must be a text of at most %zu bytes", path, key, room - 1), false;
    memcpy(to, text, strlen(text) + 1);
    return true;
}

static bool take_truth(const char *path, const json_t *object, const char *key, bool *to)
{
    const json_t *value = json_object_get(object, key);
    *to = json_is_true(value);
    if (!json_is_boolean(value))
        tn_fail(TN_EFORMAT, "codec: %s: %s must be true or false", path, key);
    return json_is_boolean(value);
}

static bool take_tokenizer(const char *path, const json_t *object, bool *moses)
{
    char name[TN__CODEC_FILE];
    if (!take_string(path, object, "tokenizer", name, sizeof name))
        return false;
    *moses = strcmp(name, "moses") == 0;
    if (!*moses && strcmp(name, "none") != 0)
        return tn_fail(TN_EFORMAT, "codec: %s: tokenizer is '%s'; moses and none are known", path, name), false;
    return true;
}

static bool take_all(const char *path, const json_t *root, struct tn__codec_info *i)
{
    static const char *const keys[] = {"source", "target", "tokenizer", "lowercase", "bpe", "dictionaries", "joined"};
    const json_t *files = json_object_get(root, "dictionaries"), *value;
    const char *key;
    if (!json_is_object(root))
        return tn_fail(TN_EFORMAT, "codec: %s: an object is wanted", path), false;
    json_object_foreach((json_t *)(uintptr_t)root, key, value) {
        size_t k = 0;
        while (k < sizeof keys / sizeof *keys && strcmp(key, keys[k]) != 0)
            k++;
        if (k == sizeof keys / sizeof *keys)
            return tn_fail(TN_EFORMAT, "codec: %s: there is no '%s' in such a file", path, key), false;
    }
    *i = (struct tn__codec_info){0};
    return take_string(path, root, "source", i->lang[0], sizeof i->lang[0]) &&
           take_string(path, root, "target", i->lang[1], sizeof i->lang[1]) &&
           take_tokenizer(path, root, &i->moses) && take_truth(path, root, "lowercase", &i->lowercase) &&
           take_truth(path, root, "joined", &i->joined) &&
           (json_is_null(json_object_get(root, "bpe")) || take_string(path, root, "bpe", i->bpe, sizeof i->bpe)) &&
           take_string(path, files, i->lang[0], i->dictionary[0], sizeof i->dictionary[0]) &&
           take_string(path, files, i->lang[1], i->dictionary[1], sizeof i->dictionary[1]) && check(path, i);
}

bool tn__codec_read(const char *folder, struct tn__codec_info *info)
{
    char path[PATH_MAX];
    struct stat s;
    json_error_t e;
    if (!path_of(path, folder, "text.json"))
        return false;
    if (stat(path, &s) != 0)
        return tn_fail(TN_EIO, "codec: %s: %s; tenon prepare makes such folders", path, strerror(errno)), false;
    if (!S_ISREG(s.st_mode))
        return tn_fail(TN_EIO, "codec: %s is not a regular file", path), false;
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &e);
    if (!root)
        return tn_fail(TN_EFORMAT, "codec: %s: line %d, column %d: %s", path, e.line, e.column, e.text), false;
    const bool ok = take_all(path, root, info);
    json_decref(root);
    return ok;
}

bool tn_codec_languages(const char *folder, char source[16], char target[16])
{
    struct tn__codec_info info;
    if (!source || !target || !tn__codec_read(folder, &info))
        return false;
    memcpy(source, info.lang[0], sizeof info.lang[0]);
    memcpy(target, info.lang[1], sizeof info.lang[1]);
    return true;
}

/* ---- copying ---- */

static bool copy_file(const char *from_folder, const char *to_folder, const char *file)
{
    enum { PART = 1 << 16 };
    char from[PATH_MAX], to[PATH_MAX], *part = malloc(PART);
    tn__output out = {0};
    FILE *in = part && path_of(from, from_folder, file) && path_of(to, to_folder, file) ? fopen(from, "rbe") : NULL;
    size_t n;
    bool ok = in;
    if (!part)
        tn_fail(TN_ENOMEM, "codec: no memory to copy %s", file);
    else if (!in)
        tn_fail(TN_EIO, "codec: %s: %s", from, strerror(errno)); /* unless a name was too long */
    ok = ok && tn__output_open(&out, "codec", to);
    while (ok && (n = fread(part, 1, PART, in)) > 0)
        ok = tn__output_write(&out, part, n);
    if (ok && ferror(in))
        ok = tn_fail(TN_EIO, "codec: %s: %s", from, strerror(errno));
    ok = ok && tn__output_close(&out);
    tn__output_drop(&out);
    if (in)
        fclose(in);
    free(part);
    return ok;
}

/* text.json comes last: what has one is complete. */
bool tn_codec_copy(const char *from_folder, const char *to_folder)
{
    struct tn__codec_info i;
    if (!tn__codec_read(from_folder, &i))
        return false;
    if (!to_folder || !*to_folder)
        return tn_fail(TN_EARG, "codec: no folder given to copy to"), false;
    if (mkdir(to_folder, 0777) != 0 && errno != EEXIST)
        return tn_fail(TN_EIO, "codec: %s: %s", to_folder, strerror(errno)), false;
    return (!*i.bpe || copy_file(from_folder, to_folder, i.bpe)) &&
           copy_file(from_folder, to_folder, i.dictionary[0]) && copy_file(from_folder, to_folder, i.dictionary[1]) &&
           tn__codec_write(to_folder, &i);
}

/* ---- use ---- */

struct tn_codec {
    const tn_type *type;
    bool lowercase;
    tn_tokenizer *tokenizer; /* NULL: text was tokenised already */
    tn_bpe *bpe;             /* NULL: none */
    tn_dictionary *dictionary;
};

static void codec_free(void *object)
{
    tn_codec *c = object;
    tn_free(c->tokenizer, c->bpe, c->dictionary);
    free(c);
}

static const tn_type codec_type = {"codec", codec_free};

static bool open_parts(tn_codec *c, const char *folder, const struct tn__codec_info *i, int side)
{
    char path[PATH_MAX];
    c->lowercase = i->lowercase;
    if (i->moses && !(c->tokenizer = tn_tokenizer(i->lang[side])))
        return false;
    if (*i->bpe && !(path_of(path, folder, i->bpe) && (c->bpe = tn_bpe_open(path))))
        return false;
    return path_of(path, folder, i->dictionary[side]) && (c->dictionary = tn_dictionary_open(path));
}

tn_codec *tn_codec_open(const char *folder, const char *lang)
{
    struct tn__codec_info i;
    if (!tn__codec_read(folder, &i))
        return NULL;
    const int side = lang && strcmp(lang, i.lang[1]) == 0;
    if (!lang || strcmp(lang, i.lang[side]) != 0)
        return tn_fail(TN_EARG, "codec: %s has the languages %s and %s, not '%s'", folder, i.lang[0], i.lang[1],
                       lang ? lang : "");
    tn_codec *c = calloc(1, sizeof *c);
    if (!c)
        return tn_fail(TN_ENOMEM, "codec: %s: no memory", folder);
    c->type = &codec_type;
    if (open_parts(c, folder, &i, side))
        return c;
    tn_free(c);
    return NULL;
}

const tn_dictionary *tn_codec_dictionary(const tn_codec *c) { return c ? c->dictionary : NULL; }

bool tn_codec_encode_tokens(const tn_codec *c, const char *line, size_t n, tn_ids *out)
{
    tn_text subwords = {0};
    if (!c)
        return false;
    const bool ok = c->bpe ? tn_bpe_apply(c->bpe, line, n, &subwords) &&
                                 tn_dictionary_encode(c->dictionary, subwords.at, subwords.len, out)
                           : tn_dictionary_encode(c->dictionary, line, n, out);
    tn_text_end(&subwords);
    return ok;
}

bool tn_codec_encode(const tn_codec *c, const char *line, size_t n, tn_ids *out)
{
    tn_text tokens = {0}, lower = {0};
    bool ok = c;
    if (ok && c->tokenizer && (ok = tn_tokenize(c->tokenizer, line, n, &tokens))) {
        line = tokens.at;
        n = tokens.len;
    }
    if (ok && c->lowercase && (ok = tn_lowercase(line, n, &lower))) {
        line = lower.at;
        n = lower.len;
    }
    ok = ok && tn_codec_encode_tokens(c, line, n, out);
    tn_text_end(&tokens);
    tn_text_end(&lower);
    return ok;
}

bool tn_codec_decode(const tn_codec *c, const int32_t *ids, int64_t n, tn_text *out)
{
    tn_text subwords = {0};
    if (!c)
        return false;
    const bool ok = c->bpe ? tn_dictionary_decode(c->dictionary, ids, n, &subwords) &&
                                 tn_bpe_undo(subwords.at, subwords.len, out)
                           : tn_dictionary_decode(c->dictionary, ids, n, out);
    tn_text_end(&subwords);
    return ok;
}

bool tn_codec_detokenize(const tn_codec *c, const char *line, size_t n, tn_text *out)
{
    if (!c || !out || (!line && n))
        return false;
    if (c->tokenizer)
        return tn_detokenize(c->tokenizer, line, n, out);
    out->len = 0;
    return tn_text_add(out, line, n);
}
