/* Reads YAML and --set into a config, strictly: an unknown, repeated, mistyped or out-of-range key
 * is an error with its file and line.  The knobs are rows of config.h; config_text.c writes. */
#include "config.h"

#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define ROW(section, key, type, initial, unit, allowed, help) \
    {#section, #key, CONFIG_IS_##type, offsetof(config, section.key), initial, unit, allowed, help},
#define ROWS(section, rows) rows(ROW)
const config_knob config_knobs[] = {CONFIG_SECTIONS(ROWS)};
const int config_knob_count = (int)(sizeof config_knobs / sizeof *config_knobs);

enum { LARGEST_FILE = 1 << 20, PATH = 96 };

/* Where a value stands, for errors; line 0: not in a file. */
typedef struct place {
    const char *name;
    size_t line;
} place;

static bool complain(const place *at, const char *key, const char *what)
{
    if (at->line)
        tn_fail(TN_EARG, "%s:%zu: %s: %s", at->name, at->line, key, what);
    else
        tn_fail(TN_EARG, "%s: %s: %s", at->name, key, what);
    return false;
}

static const char *knob_path(const config_knob *k, char text[PATH])
{
    const bool top = strcmp(k->section, "top") == 0;
    snprintf(text, PATH, "%s%s%s", top ? "" : k->section, top ? "" : ".", k->key);
    return text;
}

/* ---- one value ---- */

static bool read_number(const char *text, double *value)
{
    char *end;
    errno = 0;
    *value = strtod(text, &end);
    return end != text && *end == 0 && isfinite(*value);
}

static bool in_range(double value, const char *allowed)
{
    const char *dots = strstr(allowed, "..");
    if (!dots)
        return true;
    char low[32];
    snprintf(low, sizeof low, "%.*s", (int)(dots - allowed), allowed);
    return (!*low || value >= strtod(low, NULL)) && (!dots[2] || value <= strtod(dots + 2, NULL));
}

/* Whether text is one of "a|b|", blanks aside; `word` gets the spelling of the list. */
static bool is_choice(const char *text, const char *allowed, char word[CONFIG_TEXT])
{
    for (const char *a = allowed, *end; (end = strchr(a, '|')); a = end + 1) {
        const char *p = a, *q = text;
        for (;; p++, q++) {
            p += strspn(p, " ");
            q += strspn(q, " ");
            if (p >= end || *p != *q)
                break;
        }
        if (p >= end && !*q) {
            snprintf(word, CONFIG_TEXT, "%.*s", (int)(end - a), a);
            return true;
        }
    }
    return false;
}

static const char *set_text(config_text *out, const char *text, const char *allowed)
{
    if (strchr(allowed, '|'))
        return is_choice(text, allowed, *out) ? NULL : "one of these is wanted:";
    if (strlen(text) >= sizeof *out)
        return "this text is too long";
    strcpy(*out, text);
    return NULL;
}

static const char *set_integer(config_integer *out, const char *text, const char *allowed)
{
    char *end;
    errno = 0;
    const long long value = strtoll(text, &end, 10);
    if (end == text || *end || errno)
        return "a whole number is wanted";
    *out = value;
    return in_range((double)value, allowed) ? NULL : "out of range";
}

static const char *set_number(config_number *out, const char *text, const char *allowed)
{
    if (!*text) {
        *out = NAN;
        return NULL;
    }
    if (!read_number(text, out))
        return "a number is wanted";
    return in_range(*out, allowed) ? NULL : "out of range";
}

static const char *set_flag(config_flag *out, const char *text, const char *allowed)
{
    (void)allowed;
    *out = strcmp(text, "true") == 0;
    return *out || strcmp(text, "false") == 0 ? NULL : "true or false is wanted";
}

static const char *set_interval(config_interval *out, const char *text, const char *allowed)
{
    (void)allowed;
    static const char *const units[] = {
        [CONFIG_STEPS] = "step", [CONFIG_EPOCHS] = "epoch", [CONFIG_MINUTES] = "minute"};
    char *end;
    *out = (config_interval){0, CONFIG_EPOCHS};
    if (strcmp(text, "never") == 0)
        return NULL;
    out->every = strtod(text, &end);
    end += strspn(end, " ");
    for (int u = 0; u < 3; u++) {
        const size_t n = strlen(units[u]);
        const bool named = strncmp(end, units[u], n) == 0 && (!end[n] || strcmp(end + n, "s") == 0);
        if (named && out->every > 0 && out->every <= 1e9 &&
            (u == CONFIG_MINUTES || out->every == floor(out->every))) {
            out->unit = (config_unit)u;
            return NULL;
        }
    }
    return "\"1 epoch\", \"500 steps\", \"10 minutes\" or \"never\" is wanted";
}

static const char *set_numbers(config_numbers *out, int n, const char *const *text,
                               const char *allowed)
{
    out->n = 0;
    for (int i = 0; i < n; i++) {
        if (!read_number(text[i], &out->at[i]))
            return "a list of numbers is wanted";
        if (!in_range(out->at[i], allowed))
            return "out of range";
    }
    out->n = n;
    return NULL;
}

/* NULL, or what is wrong.  text [n]: the scalar, or the items of a list. */
static const char *set_knob(config *c, const config_knob *k, bool list, int n,
                            const char *const *text)
{
    void *at = (char *)c + k->offset;
    if (k->type == CONFIG_IS_numbers)
        return list ? set_numbers(at, n, text, k->allowed) : "a list is wanted: [1, 2]";
    if (list)
        return "one value is wanted, not a list";
    switch (k->type) {
    case CONFIG_IS_text: return set_text(at, *text, k->allowed);
    case CONFIG_IS_integer: return set_integer(at, *text, k->allowed);
    case CONFIG_IS_number: return set_number(at, *text, k->allowed);
    case CONFIG_IS_flag: return set_flag(at, *text, k->allowed);
    case CONFIG_IS_interval: return set_interval(at, *text, k->allowed);
    case CONFIG_IS_numbers: break;
    }
    return "no such type";
}

void config_defaults(config *c)
{
    *c = (config){0};
    for (int i = 0; i < config_knob_count; i++) {
        const config_knob *k = &config_knobs[i];
        const bool list = k->type == CONFIG_IS_numbers;
        set_knob(c, k, list, list ? 0 : 1, &k->initial);
    }
}

/* ---- keys ---- */

static const config_knob *find_knob(const char *section, const char *key)
{
    for (int i = 0; i < config_knob_count; i++)
        if (!strcmp(config_knobs[i].section, section) && !strcmp(config_knobs[i].key, key))
            return &config_knobs[i];
    return NULL;
}

static bool is_section(const char *name)
{
    bool known = false;
    for (int i = 0; i < config_knob_count; i++)
        known |= !strcmp(config_knobs[i].section, name);
    return known && strcmp(name, "top") != 0;
}

/* Names the key that was meant: the same one elsewhere, or the nearest of its section; at the top
 * the sections are keys too. */
static bool unknown_key(const place *at, const char *section, const char *key)
{
    enum { KNOBS = sizeof config_knobs / sizeof *config_knobs };
    char paths[KNOBS][PATH], path[PATH], what[2 * PATH];
    const char *known[KNOBS], *near = NULL;
    int n = 0;
    snprintf(path, sizeof path, "%s%s%.60s", section, *section ? "." : "", key);
    for (int i = 0; i < config_knob_count; i++) {
        const config_knob *k = &config_knobs[i];
        knob_path(k, paths[i]);
        if (!near && strcmp(k->key, key) == 0)
            near = paths[i];
        if (!*section)
            known[n++] = strcmp(k->section, "top") ? k->section : k->key;
        else if (strcmp(k->section, section) == 0)
            known[n++] = paths[i];
    }
    if (!near)
        near = tn_nearest(path, known, n);
    if (near)
        snprintf(what, sizeof what, "unknown key; the nearest is %.80s", near);
    else
        snprintf(what, sizeof what, "unknown key; there is no section %.80s", section);
    return complain(at, path, what);
}

/* ---- YAML ---- */

static bool set_from_node(config *c, const config_knob *k, yaml_document_t *doc, yaml_node_t *node,
                          const place *at)
{
    const char *text[CONFIG_NUMBERS] = {""}, *wrong = NULL;
    char path[PATH], what[2 * PATH];
    const bool list = node && node->type == YAML_SEQUENCE_NODE;
    int n = 1;
    if (list) {
        yaml_node_item_t *item = node->data.sequence.items.start;
        for (n = 0; item < node->data.sequence.items.top && !wrong; item++, n++) {
            yaml_node_t *element = yaml_document_get_node(doc, *item);
            if (n == CONFIG_NUMBERS)
                wrong = "at most 16 numbers are wanted";
            else if (element->type != YAML_SCALAR_NODE)
                wrong = "a list of numbers is wanted";
            else
                text[n] = (const char *)element->data.scalar.value;
        }
    } else if (node && node->type == YAML_MAPPING_NODE) {
        wrong = "a value is wanted, not a mapping";
    } else if (node) {
        text[0] = (const char *)node->data.scalar.value;
        if (strlen(text[0]) != node->data.scalar.length)
            wrong = "a zero byte in the text";
    }
    if (!wrong && !list && !*text[0] && k->type != CONFIG_IS_text)
        wrong = "a value is wanted";
    if (!wrong)
        wrong = set_knob(c, k, list, n, text);
    if (!wrong)
        return true;
    const int shown = (int)strlen(k->allowed) - (strchr(k->allowed, '|') != NULL);
    snprintf(what, sizeof what, "%s%s%.*s (not '%.40s')", wrong, shown ? " " : "", shown,
             k->allowed, list ? "[...]" : text[0]);
    return complain(at, knob_path(k, path), what);
}

static bool read_mapping(config *c, const char *section, yaml_document_t *doc, yaml_node_t *map,
                         place at)
{
    yaml_node_pair_t *first = map->data.mapping.pairs.start, *end = map->data.mapping.pairs.top;
    for (yaml_node_pair_t *pair = first; pair < end; pair++) {
        yaml_node_t *name = yaml_document_get_node(doc, pair->key);
        yaml_node_t *value = yaml_document_get_node(doc, pair->value);
        at.line = name->start_mark.line + 1;
        const char *key = (const char *)name->data.scalar.value;
        if (name->type != YAML_SCALAR_NODE || strlen(key) != name->data.scalar.length)
            return complain(&at, *section ? section : "config", "keys are words");
        for (yaml_node_pair_t *before = first; before < pair; before++) {
            yaml_node_t *other = yaml_document_get_node(doc, before->key);
            if (strcmp((const char *)other->data.scalar.value, key) == 0)
                return complain(&at, key, "given twice");
        }
        const config_knob *k = find_knob(*section ? section : "top", key);
        if (k) {
            at.line = value->start_mark.line + 1;
            if (!set_from_node(c, k, doc, value, &at))
                return false;
        } else if (*section || !is_section(key)) {
            return unknown_key(&at, section, key);
        } else if (value->type != YAML_MAPPING_NODE) {
            return complain(&at, key, "a section is wanted: keys and values below it");
        } else if (!read_mapping(c, key, doc, value, at)) {
            return false;
        }
    }
    return true;
}

/* One document; false with the error set when it is not YAML. */
static bool parse(yaml_parser_t *parser, yaml_document_t *doc, const place *at)
{
    if (yaml_parser_load(parser, doc))
        return true;
    if (parser->error == YAML_MEMORY_ERROR)
        tn_fail(TN_ENOMEM, "%s: no memory", at->name);
    else
        tn_fail(TN_EFORMAT, "%s:%zu: not YAML: %s", at->name, parser->problem_mark.line + 1,
                parser->problem ? parser->problem : "unreadable");
    return false;
}

bool config_read(config *c, const char *name, const char *yaml, size_t size)
{
    place at = {name, 1};
    yaml_parser_t parser;
    yaml_document_t doc, more;
    if (!yaml_parser_initialize(&parser)) {
        tn_fail(TN_ENOMEM, "%s: no memory", name);
        return false;
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)yaml, size);
    bool good = parse(&parser, &doc, &at);
    if (good) {
        yaml_node_t *root = yaml_document_get_root_node(&doc);
        if (root && root->type != YAML_MAPPING_NODE)
            good = complain(&at, "config", "keys and values are wanted");
        else if (root)
            good = read_mapping(c, "", &doc, root, at);
        yaml_document_delete(&doc);
        if (good && root && (good = parse(&parser, &more, &at))) {
            if (yaml_document_get_root_node(&more))
                good = complain(&at, "config", "one document is wanted, here are more");
            yaml_document_delete(&more);
        }
    }
    yaml_parser_delete(&parser);
    return good;
}

bool config_read_file(config *c, const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f) {
        tn_fail(TN_EIO, "%s: %s", path, strerror(errno));
        return false;
    }
    char *text = malloc(LARGEST_FILE);
    const size_t n = text ? fread(text, 1, LARGEST_FILE, f) : 0;
    bool good = false;
    if (!text)
        tn_fail(TN_ENOMEM, "%s: no memory", path);
    else if (ferror(f))
        tn_fail(TN_EIO, "%s: cannot be read: %s", path, strerror(errno));
    else if (n == LARGEST_FILE)
        tn_fail(TN_EFORMAT, "%s: larger than a config can be", path);
    else
        good = config_read(c, path, text, n);
    fclose(f);
    free(text);
    return good;
}

bool config_set(config *c, const char *assignment)
{
    const char *equals = strchr(assignment, '='), *dot = strchr(assignment, '.');
    const place at = {"--set", 0};
    char section[PATH] = "", key[PATH];
    if (!equals || equals - assignment >= PATH)
        return complain(&at, assignment, "section.key=value is wanted");
    const bool nested = dot && dot < equals;
    snprintf(section, sizeof section, "%.*s", nested ? (int)(dot - assignment) : 0, assignment);
    const char *start = nested ? dot + 1 : assignment;
    snprintf(key, sizeof key, "%.*s", (int)(equals - start), start);
    const config_knob *k = find_knob(nested ? section : "top", key);
    if (!k || (nested && !is_section(section)))
        return unknown_key(&at, section, key);
    yaml_parser_t parser;
    yaml_document_t doc;
    if (!yaml_parser_initialize(&parser))
        return complain(&at, assignment, "no memory");
    yaml_parser_set_input_string(&parser, (const unsigned char *)equals + 1, strlen(equals + 1));
    const bool good = parse(&parser, &doc, &(place){assignment, 0});
    bool set = false;
    if (good) {
        set = set_from_node(c, k, &doc, yaml_document_get_root_node(&doc), &at);
        yaml_document_delete(&doc);
    }
    yaml_parser_delete(&parser);
    return set;
}
