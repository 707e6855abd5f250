/* Layers one after the other, from a line of text: what a config can say without code. */
#include <tenon.h>

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { LAYERS = 256, NUMBERS = 16, NAME = 64 };

/* "conv2d 3 16 3": a name and numbers, up to a comma or the end; NULL with the error set. */
static tn_module *one_layer(const char *text, const char *end)
{
    char name[NAME];
    double number[NUMBERS];
    int n = 0;
    const char *at = text;
    while (at < end && !isspace((unsigned char)*at))
        at++;
    if (at == text || at - text >= NAME)
        return tn_fail(TN_EARG, "stack: a layer's name is missing or too long at '%.20s'", text);
    memcpy(name, text, (size_t)(at - text));
    name[at - text] = 0;
    for (;; n++) {
        char *after;
        while (at < end && isspace((unsigned char)*at))
            at++;
        if (at == end)
            return tn_layer_named(name, n, number);
        if (n == NUMBERS)
            return tn_fail(TN_EARG, "stack: %s: more than %d numbers", name, NUMBERS);
        number[n] = strtod(at, &after);
        if (after == at || after > end)
            return tn_fail(TN_EARG, "stack: %s: '%.20s' is not a number", name, at);
        at = after;
    }
}

tn_module *tn_stack(const char *layers)
{
    tn_module *child[LAYERS];
    int n = 0;
    for (const char *at = layers; at && *at; n++) {
        while (isspace((unsigned char)*at))
            at++;
        const char *end = at + strcspn(at, ",");
        if (n == LAYERS) {
            tn_free_objects(n, (void *const *)child);
            return tn_fail(TN_EARG, "stack: more than %d layers", LAYERS);
        }
        if (!(child[n] = one_layer(at, end))) {
            tn_free_objects(n, (void *const *)child);
            return NULL;
        }
        at = end + (*end == ',');
    }
    if (!n)
        return tn_fail(TN_EARG, "stack: no layers; write them as \"flatten, linear 784 64, relu, linear 64 10\"");
    return tn_seq_call(n, child);
}
