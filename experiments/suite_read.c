/* Reads a suite file, strictly: an unknown, repeated or mistyped key is an error with its file and
 * line. A `key_row` is one key of the YAML; settings are checked against the knobs of config.h. */
#include "suite.h"

#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

typedef struct reader {
    const char *path;
    yaml_document_t *doc;
} reader;

static bool complain(const reader *r, const yaml_node_t *at, const char *what, const char *given)
{
    tn_fail(TN_EARG, "%s:%zu: %s%s%s%s", r->path, at->start_mark.line + 1, what,
            given ? " (not '" : "", given ? given : "", given ? "')" : "");
    return false;
}

static const char *text_of(const yaml_node_t *node)
{
    const bool text = node->type == YAML_SCALAR_NODE &&
                      strlen((const char *)node->data.scalar.value) == node->data.scalar.length;
    return text ? (const char *)node->data.scalar.value : NULL;
}

/* ---- mappings and lists ---- */

typedef bool read_value(reader *r, yaml_node_t *value, void *into);
typedef bool read_pair(reader *r, yaml_node_t *name, const char *key, yaml_node_t *value,
                       void *into);

static bool each_pair(reader *r, yaml_node_t *map, read_pair *read, void *into)
{
    if (map->type != YAML_MAPPING_NODE)
        return complain(r, map, "keys and values are wanted here", NULL);
    yaml_node_pair_t *first = map->data.mapping.pairs.start, *end = map->data.mapping.pairs.top;
    for (yaml_node_pair_t *pair = first; pair < end; pair++) {
        yaml_node_t *name = yaml_document_get_node(r->doc, pair->key);
        const char *key = text_of(name);
        if (!key || !*key)
            return complain(r, name, "keys are words", NULL);
        for (yaml_node_pair_t *before = first; before < pair; before++)
            if (strcmp(text_of(yaml_document_get_node(r->doc, before->key)), key) == 0)
                return complain(r, name, "this key is given twice:", key);
        if (!read(r, name, key, yaml_document_get_node(r->doc, pair->value), into))
            return false;
    }
    return true;
}

static bool each_item(reader *r, yaml_node_t *list, read_value *read, void *into)
{
    if (list->type != YAML_SEQUENCE_NODE)
        return complain(r, list, "a list is wanted here: [a, b]", NULL);
    yaml_node_item_t *item = list->data.sequence.items.start;
    for (; item < list->data.sequence.items.top; item++)
        if (!read(r, yaml_document_get_node(r->doc, *item), into))
            return false;
    return true;
}

typedef struct key_row {
    const char *name;
    size_t offset;
    read_value *read;
} key_row;
typedef struct keyed { /* a mapping with known keys, and where its values go */
    const key_row *keys;
    int n;
    char *base;
} keyed;

static bool known_pair(reader *r, yaml_node_t *name, const char *given, yaml_node_t *value,
                       void *into)
{
    enum { MOST = 16 };
    const keyed *k = into;
    const char *names[MOST];
    for (int i = 0; i < k->n; i++) {
        if (strcmp(k->keys[i].name, given) == 0)
            return k->keys[i].read(r, value, k->base + k->keys[i].offset);
        names[i] = k->keys[i].name;
    }
    tn_fail(TN_EARG, "%s:%zu: %.60s: unknown key; the nearest is %s", r->path,
            name->start_mark.line + 1, given, tn_nearest(given, names, k->n));
    return false;
}

#define READ_KEYS(r, map, table, into)                                                             \
    each_pair(r, map, known_pair,                                                                  \
              &(keyed){table, (int)(sizeof table / sizeof *table), (char *)(into)})

/* ---- values ---- */

static bool read_bounded(reader *r, yaml_node_t *value, char *text, size_t room)
{
    const char *given = text_of(value);
    if (!given)
        return complain(r, value, "one value is wanted here", NULL);
    if (strlen(given) >= room)
        return complain(r, value, "this text is too long", NULL);
    strcpy(text, given);
    return true;
}

static bool read_text(reader *r, yaml_node_t *value, void *into)
{
    return read_bounded(r, value, into, CONFIG_TEXT);
}

static bool read_word(reader *r, yaml_node_t *value, void *into)
{
    return read_bounded(r, value, into, SUITE_LABEL);
}

/* Words that become part of file names. */
static bool read_label(reader *r, yaml_node_t *value, void *into)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-";
    const char *text = text_of(value);
    if (!text || !*text || *text == '.' || text[strspn(text, allowed)] || strlen(text) > 40)
        return complain(r, value,
                        "at most 40 letters, digits and ._+- are wanted, as it names files", text);
    return read_word(r, value, into);
}

static bool read_flag(reader *r, yaml_node_t *value, void *into)
{
    const char *text = text_of(value);
    *(bool *)into = text && strcmp(text, "true") == 0;
    return (text && strcmp(text, "false") == 0) || *(bool *)into ||
           complain(r, value, "true or false is wanted", text);
}

static bool read_number(reader *r, yaml_node_t *value, void *into)
{
    const char *text = text_of(value);
    char *end = NULL;
    *(double *)into = text ? strtod(text, &end) : 0;
    return (text && end != text && !*end && isfinite(*(double *)into)) ||
           complain(r, value, "a number is wanted", text);
}

static bool read_seed(reader *r, yaml_node_t *value, void *into)
{
    suite_seeds *seeds = into;
    double number;
    if (seeds->n == SUITE_SEEDS)
        return complain(r, value, "too many seeds", NULL);
    if (!read_number(r, value, &number))
        return false;
    if (number < 0 || number > 1e15 || number != floor(number))
        return complain(r, value, "a seed is a whole number", text_of(value));
    seeds->at[seeds->n++] = (int64_t)number;
    return true;
}

static bool read_seeds(reader *r, yaml_node_t *value, void *into)
{
    return each_item(r, value, read_seed, into);
}

/* ---- settings ---- */

/* A value as --set takes it: words plain, quoted ones in quotes, lists in brackets. */
static bool value_text(reader *r, yaml_node_t *value, suite_settings text)
{
    const char *word = text_of(value);
    size_t n = 0;
    if (word) {
        const bool plain = value->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
        if (strpbrk(word, "\n'"))
            return complain(r, value, "no line ends and no ' in a setting", NULL);
        n = (size_t)snprintf(text, SUITE_SETTINGS, plain ? "%s" : "'%s'", word);
        return n < SUITE_SETTINGS / 2 || complain(r, value, "this text is too long", NULL);
    }
    if (value->type != YAML_SEQUENCE_NODE)
        return complain(r, value, "a value or a list is wanted", NULL);
    yaml_node_item_t *item = value->data.sequence.items.start;
    for (; item < value->data.sequence.items.top; item++) {
        word = text_of(yaml_document_get_node(r->doc, *item));
        if (!word || strpbrk(word, "\n,[]") || n + strlen(word) + 4 > SUITE_SETTINGS / 2)
            return complain(r, value, "a short list of numbers is wanted", word);
        n += (size_t)snprintf(text + n, SUITE_SETTINGS - n, "%s%s", n ? "," : "[", word);
    }
    snprintf(text + n, SUITE_SETTINGS - n, "%s]", n ? "" : "[");
    return true;
}

/* Whether the knob is there and takes the value. */
static bool add_setting(reader *r, const yaml_node_t *at, const char *name, yaml_node_t *value,
                        suite_settings set)
{
    suite_settings text, line;
    const size_t used = strlen(set);
    if (!value_text(r, value, text))
        return false;
    if ((size_t)snprintf(line, sizeof line, "%s=%s", name, text) >= sizeof line - used - 2)
        return complain(r, at, "too many settings", NULL);
    config *scratch = calloc(1, sizeof *scratch);
    if (!scratch)
        return tn_fail(TN_ENOMEM, "%s: no memory", r->path) != NULL;
    config_defaults(scratch);
    const bool good = config_set(scratch, line);
    free(scratch);
    if (!good) {
        const tn_err told = *tn_error();
        const char *prefix = "--set: ";
        const size_t skip = strncmp(told.text, prefix, strlen(prefix)) == 0 ? strlen(prefix) : 0;
        tn_error_clear();
        tn_fail(told.code, "%s:%zu: %.900s", r->path, at->start_mark.line + 1, told.text + skip);
        return false;
    }
    snprintf(set + used, SUITE_SETTINGS - used, "%s\n", line);
    return true;
}

static bool read_setting(reader *r, yaml_node_t *name, const char *key, yaml_node_t *value,
                         void *into)
{
    return add_setting(r, name, key, value, into);
}

static bool read_settings(reader *r, yaml_node_t *value, void *into)
{
    return each_pair(r, value, read_setting, into);
}

/* ---- the grid ---- */

static suite_item *add_item(reader *r, const yaml_node_t *at, suite_axis *axis)
{
    if (axis->n == SUITE_ITEMS) {
        complain(r, at, "too many values on one axis", NULL);
        return NULL;
    }
    suite_item *item = &axis->item[axis->n++];
    item->value = NAN;
    return item;
}

/* LABEL: {settings} */
static bool read_named_item(reader *r, yaml_node_t *name, const char *key, yaml_node_t *value,
                            void *into)
{
    (void)key;
    suite_item *item = add_item(r, name, into);
    return item && read_label(r, name, item->label) && read_settings(r, value, item->set);
}

/* section.key: [value, value] */
typedef struct knob_axis {
    suite_axis *axis;
    const char *key;
} knob_axis;

static bool read_knob_value(reader *r, yaml_node_t *value, void *into)
{
    const knob_axis *k = into;
    const char *text = text_of(value);
    suite_item *item = add_item(r, value, k->axis);
    if (!item || !add_setting(r, value, k->key, value, item->set))
        return false;
    char *end = NULL;
    item->value = text ? strtod(text, &end) : NAN;
    if (!text || end == text || *end)
        item->value = NAN;
    suite_label label;
    snprintf(label, sizeof label, "%.40s%.40s", k->axis->name, text ? text : "");
    strcpy(item->label, label);
    return true;
}

static bool read_axis_pair(reader *r, yaml_node_t *name, const char *key, yaml_node_t *value,
                           void *into)
{
    if (value->type == YAML_SEQUENCE_NODE)
        return each_item(r, value, read_knob_value, &(knob_axis){into, key});
    return read_named_item(r, name, key, value, into);
}

static suite_axis *add_axis(reader *r, const yaml_node_t *at, suite_axes *axes)
{
    if (axes->n < SUITE_AXES)
        return &axes->at[axes->n++];
    complain(r, at, "too many axes", NULL);
    return NULL;
}

static bool read_axis(reader *r, yaml_node_t *name, const char *key, yaml_node_t *value, void *into)
{
    (void)key;
    suite_axis *axis = add_axis(r, name, into);
    return axis && read_label(r, name, axis->name) && each_pair(r, value, read_axis_pair, axis) &&
           (axis->n > 0 || complain(r, value, "this axis has no values", NULL));
}

static bool read_grid(reader *r, yaml_node_t *value, void *into)
{
    return each_pair(r, value, read_axis, into);
}

/* A list of runs is a grid with one axis. */
static bool read_runs(reader *r, yaml_node_t *value, void *into)
{
    suite_axis *axis = add_axis(r, value, into);
    if (!axis)
        return false;
    strcpy(axis->name, "run");
    return each_pair(r, value, read_named_item, axis) &&
           (axis->n > 0 || complain(r, value, "there are no runs", NULL));
}

/* ---- scales, published values, figures ---- */

/* The next of a SUITE_LIST, NULL with the error set when it is full. */
#define ADD(r, node, list)                                      \
    ((list)->n < (int)(sizeof(list)->at / sizeof *(list)->at)   \
         ? &(list)->at[(list)->n++]                             \
         : (complain(r, node, "too many of these", NULL), NULL))

static bool read_own_settings(reader *r, yaml_node_t *value, void *into)
{
    return each_pair(r, value, read_named_item, into);
}

static const key_row scale_keys[] = {
    {"about", offsetof(suite_scale, about), read_text},
    {"compare", offsetof(suite_scale, compare), read_flag},
    {"set", offsetof(suite_scale, set), read_settings},
    {"metric", offsetof(suite_scale, metric), read_label},
    {"runs", offsetof(suite_scale, runs), read_own_settings},
    {"seeds", offsetof(suite_scale, seeds), read_seeds},
};

static bool read_scale(reader *r, yaml_node_t *name, const char *given, yaml_node_t *value,
                       void *into)
{
    (void)given;
    suite *s = into;
    suite_scale *scale = ADD(r, name, &s->scales);
    if (!scale)
        return false;
    scale->compare = true;
    return read_label(r, name, scale->name) && READ_KEYS(r, value, scale_keys, scale);
}

static bool read_scales(reader *r, yaml_node_t *value, void *into)
{
    return each_pair(r, value, read_scale, into);
}

static bool read_published_value(reader *r, yaml_node_t *name, const char *given,
                                 yaml_node_t *value, void *into)
{
    (void)given;
    suite *s = into;
    suite_published *p = ADD(r, name, &s->published);
    return p && read_word(r, name, p->runs) && read_number(r, value, &p->value);
}

static bool read_published(reader *r, yaml_node_t *value, void *into)
{
    return each_pair(r, value, read_published_value, into);
}

static bool read_histogram(reader *r, yaml_node_t *value, void *into)
{
    suite_figure *f = into;
    if (f->n_histograms == SUITE_PANELS)
        return complain(r, value, "too many histograms in one figure", NULL);
    return read_label(r, value, f->histograms[f->n_histograms++]);
}

static bool read_histograms(reader *r, yaml_node_t *value, void *into)
{
    return each_item(r, value, read_histogram, into);
}

/* Keys whose readers want the whole figure have the offset 0. */
static const key_row figure_keys[] = {
    {"x", offsetof(suite_figure, x), read_label},
    {"y", offsetof(suite_figure, y), read_label},
    {"lines", offsetof(suite_figure, lines), read_word},
    {"panels", offsetof(suite_figure, panels), read_word},
    {"name", offsetof(suite_figure, name), read_label},
    {"title", offsetof(suite_figure, title), read_text},
    {"histograms", 0, read_histograms},
    {"until", offsetof(suite_figure, until), read_number},
};

static bool read_figure(reader *r, yaml_node_t *value, void *into)
{
    suite *s = into;
    suite_figure *f = ADD(r, value, &s->figures);
    if (!f)
        return false;
    strcpy(f->x, "epoch");
    return READ_KEYS(r, value, figure_keys, f);
}

static bool read_figures(reader *r, yaml_node_t *value, void *into)
{
    return each_item(r, value, read_figure, into);
}

/* Keys whose readers want the whole suite have the offset 0. */
static const key_row suite_keys[] = {
    {"name", offsetof(suite, name), read_label},
    {"title", offsetof(suite, title), read_text},
    {"config", offsetof(suite, config), read_text},
    {"share", offsetof(suite, share), read_label},
    {"scales", 0, read_scales},
    {"grid", offsetof(suite, axes), read_grid},
    {"runs", offsetof(suite, axes), read_runs},
    {"seeds", offsetof(suite, seeds), read_seeds},
    {"metric", offsetof(suite, metric), read_label},
    {"published", 0, read_published},
    {"figures", 0, read_figures},
};

/* ---- the whole ---- */

static bool is_item(const suite *s, const char *label)
{
    bool found = false;
    for (int a = 0; a < s->axes.n; a++)
        for (int i = 0; i < s->axes.at[a].n; i++)
            found |= strcmp(s->axes.at[a].item[i].label, label) == 0;
    return found;
}

/* The figure's words that name axes do, and the scale's that name items. */
static bool check(const reader *r, const suite *s)
{
    const char *names[SUITE_AXES];
    for (int i = 0; i < s->axes.n; i++)
        names[i] = s->axes.at[i].name;
    if (!*s->name || !*s->config || s->axes.n == 0)
        tn_fail(TN_EARG, "%s: %s is missing", r->path,
                !*s->name ? "name" : !*s->config ? "config" : "grid (or runs)");
    for (int i = 0; i < s->figures.n; i++) {
        const char *const words[] = {s->figures.at[i].lines, s->figures.at[i].panels};
        for (int k = 0; k < 2; k++)
            if (*words[k] && suite_axis_named(s, words[k]) < 0)
                tn_fail_unknown("figures: axis", words[k], s->axes.n, names);
        for (int k = 0; k < s->figures.at[i].n_histograms; k++)
            if (s->axes.n == 1 && !is_item(s, s->figures.at[i].histograms[k]))
                tn_fail(TN_EARG, "%s: figures: histograms: there is no run %s", r->path,
                        s->figures.at[i].histograms[k]);
    }
    for (int i = 0; i < s->scales.n; i++)
        for (int k = 0; k < s->scales.at[i].runs.n; k++)
            if (!is_item(s, s->scales.at[i].runs.item[k].label))
                tn_fail(TN_EARG, "%s: scales: %s: runs: there is no %s", r->path, s->scales.at[i].name,
                        s->scales.at[i].runs.item[k].label);
    return tn_ok();
}

static void fill_in(suite *s, const char *path)
{
    const char *slash = strrchr(path, '/');
    config_text found;
    if (s->seeds.n == 0)
        s->seeds = (suite_seeds){1, {1}};
    if (s->scales.n == 0)
        s->scales.at[s->scales.n++] = (suite_scale){.name = "full", .compare = true};
    if (!*s->share)
        strcpy(s->share, s->name);
    for (int i = 0; i < s->figures.n; i++)
        if (!*s->figures.at[i].y)
            strcpy(s->figures.at[i].y, s->metric);
    if (!*s->title)
        strcpy(s->title, s->name);
    if (*s->config == '/' || !slash)
        return;
    const int folder = (int)(slash - path) + 1;
    if (snprintf(found, sizeof found, "%.*s%s", folder, path, s->config) >= (int)sizeof found)
        tn_fail(TN_EARG, "%s: this path is too long", s->config);
    strcpy(s->config, found);
}

bool suite_read(suite *s, const char *path)
{
    yaml_parser_t parser;
    yaml_document_t doc;
    reader r = {path, &doc};
    strcpy(s->metric, "test_accuracy"); /* the rest is zero: too large for a literal */
    strcpy(s->table, "table");
    FILE *f = fopen(path, "rb");
    if (!f || !yaml_parser_initialize(&parser)) {
        tn_fail(f ? TN_ENOMEM : TN_EIO, "%s: %s", path, f ? "no memory" : strerror(errno));
        if (f)
            fclose(f);
        return false;
    }
    yaml_parser_set_input_file(&parser, f);
    if (!yaml_parser_load(&parser, &doc)) {
        tn_fail(TN_EFORMAT, "%s:%zu: not YAML: %s", path, parser.problem_mark.line + 1,
                parser.problem ? parser.problem : "unreadable");
    } else {
        yaml_node_t *root = yaml_document_get_root_node(&doc);
        if (!root)
            tn_fail(TN_EFORMAT, "%s: is empty", path);
        else if (READ_KEYS(&r, root, suite_keys, s) && check(&r, s))
            fill_in(s, path);
        yaml_document_delete(&doc);
    }
    yaml_parser_delete(&parser);
    fclose(f);
    return tn_ok();
}

const suite_scale *suite_scale_named(const suite *s, const char *name)
{
    const char *names[SUITE_SCALES];
    for (int i = 0; i < s->scales.n; i++) {
        names[i] = s->scales.at[i].name;
        if (!name || strcmp(names[i], name) == 0)
            return &s->scales.at[i];
    }
    return tn_fail_unknown("scale", name, s->scales.n, names);
}

int suite_axis_named(const suite *s, const char *name)
{
    for (int i = 0; i < s->axes.n; i++)
        if (strcmp(s->axes.at[i].name, name) == 0)
            return i;
    return -1;
}
