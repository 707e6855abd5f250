/* Writes a config: as YAML that reads back to the same values, and as the table of all knobs.
 * Reading is in config.c. */
#define _GNU_SOURCE
#include "config.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The shortest decimal that reads back to the same double, in the form YAML takes for a number. */
static void print_number(double value, FILE *out)
{
    char text[40];
    if (value == trunc(value) && fabs(value) < 1e9) { /* not 1.5e+02 */
        fprintf(out, "%.0f", value);
        return;
    }
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    const char *e = strchr(text, 'e');
    if (e && !strchr(text, '.'))
        fprintf(out, "%.*s.0%s", (int)(e - text), text, e);
    else
        fputs(text, out);
}

static void print_text(const char *text, FILE *out)
{
    fputc('"', out);
    for (; *text; text++) {
        const unsigned char byte = (unsigned char)*text;
        if (byte == '"' || byte == '\\')
            fprintf(out, "\\%c", byte);
        else if (byte < ' ' || byte == 127)
            fprintf(out, "\\x%02X", byte);
        else
            fputc(byte, out);
    }
    fputc('"', out);
}

static void print_interval(config_interval v, FILE *out)
{
    static const char *const units[] = {
        [CONFIG_STEPS] = "steps", [CONFIG_EPOCHS] = "epochs", [CONFIG_MINUTES] = "minutes"};
    if (v.every > 0) {
        print_number(v.every, out);
        fprintf(out, " %s", units[v.unit]);
    } else {
        fputs("never", out);
    }
}

static void print_numbers(const config_numbers *v, FILE *out)
{
    for (int i = 0; i < v->n; i++) {
        fputs(i ? ", " : "[", out);
        print_number(v->at[i], out);
    }
    fputs("]", out);
}

static bool is_set(const config_knob *k, const void *at)
{
    return !(k->type == CONFIG_IS_number && isnan(*(const config_number *)at)) &&
           !(k->type == CONFIG_IS_numbers && ((const config_numbers *)at)->n == 0);
}

static void print_value(const config_knob *k, const void *at, FILE *out)
{
    switch (k->type) {
    case CONFIG_IS_text: print_text(at, out); break;
    case CONFIG_IS_integer: fprintf(out, "%lld", (long long)*(const config_integer *)at); break;
    case CONFIG_IS_number: print_number(*(const config_number *)at, out); break;
    case CONFIG_IS_flag: fputs(*(const config_flag *)at ? "true" : "false", out); break;
    case CONFIG_IS_numbers: print_numbers(at, out); break;
    case CONFIG_IS_interval: print_interval(*(const config_interval *)at, out); break;
    }
}

void config_print_value(const config *c, const config_knob *k, FILE *out)
{
    const void *at = (const char *)c + k->offset;
    if (is_set(k, at))
        print_value(k, at, out);
    else
        fputs("unset", out);
}

void config_print(const config *c, FILE *out)
{
    const char *section = "top";
    for (int i = 0; i < config_knob_count; i++) {
        const config_knob *k = &config_knobs[i];
        const void *at = (const char *)c + k->offset;
        if (strcmp(k->section, section) != 0)
            fprintf(out, "%s:\n", k->section);
        section = k->section;
        if (!is_set(k, at))
            continue;
        fprintf(out, "%s%s: ", strcmp(section, "top") ? "  " : "", k->key);
        print_value(k, at, out);
        fputc('\n', out);
    }
}

bool config_write(const config *c, const char *path)
{
    char fresh[2 * CONFIG_TEXT];
    snprintf(fresh, sizeof fresh, "%s.tmp-%ld", path, (long)getpid());
    FILE *f = fopen(fresh, "w");
    if (!f) {
        tn_fail(TN_EIO, "%s: %s", path, strerror(errno));
        return false;
    }
    config_print(c, f);
    const bool failed = fflush(f) != 0 || fsync(fileno(f)) != 0;
    if ((fclose(f) != 0) | failed || rename(fresh, path) != 0) {
        tn_fail(TN_EIO, "%s: cannot be written: %s", path, strerror(errno));
        unlink(fresh);
    }
    return tn_ok();
}

void config_print_help(FILE *out)
{
    static const char *const types[] = {
        [CONFIG_IS_text] = "text",       [CONFIG_IS_integer] = "integer",
        [CONFIG_IS_number] = "number",   [CONFIG_IS_flag] = "true|false",
        [CONFIG_IS_numbers] = "numbers", [CONFIG_IS_interval] = "interval"};
    const char *section = "";
    fputs("Knobs of a config: key, type, default, range or choices, unit, meaning.\n"
          "A default of - is the update rule's own.\n",
          out);
    for (int i = 0; i < config_knob_count; i++) {
        const config_knob *k = &config_knobs[i];
        const bool top = strcmp(k->section, "top") == 0;
        if (strcmp(k->section, section) != 0 && !top)
            fprintf(out, "\n%s:\n", k->section);
        section = k->section;
        const char *none = k->type == CONFIG_IS_text ? "\"\"" : "-";
        const int bars = (int)strlen(k->allowed) - (strchr(k->allowed, '|') != NULL);
        fprintf(out, "%s%-*s %-10s %-10s %.*s%s%s%s%s%s\n", top ? "" : "  ", top ? 20 : 18, k->key,
                types[k->type], *k->initial ? k->initial : none, bars, k->allowed, bars ? "  " : "",
                *k->unit ? "[" : "", k->unit, *k->unit ? "]  " : "", k->help);
    }
}
