/* tenon convert: tensors from one file format to another, or the list of what a file holds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tenon.h>

#include "cli.h"

typedef struct format {
    const char *suffix;
    void *(*open)(const char *path);
    int (*count)(const void *file);
    const char *(*name)(const void *file, int i);
    tn_tensor *(*read)(void *file, const char *name);
    bool (*save)(const char *path, int n, const tn_named *list);
} format;

#define READER(kind)                                                                        \
    static int count_##kind(const void *f) { return tn_##kind##_count(f); }                 \
    static const char *name_##kind(const void *f, int i) { return tn_##kind##_name(f, i); } \
    static tn_tensor *read_##kind(void *f, const char *name) { return tn_##kind##_read(f, name); }
READER(safetensors)
READER(npz)

static void *open_npz(const char *path) { return tn_npz_open(path); }

static void *open_safetensors(const char *path)
{
    tn_safetensors *f = tn_safetensors_open(path);
    if (f && tn_safetensors_check(f))
        return f;
    tn_free(f);
    return NULL;
}

static bool save_safetensors(const char *path, int n, const tn_named *list)
{
    return tn_safetensors_save(path, n, list, NULL);
}

static const format formats[] = {
    {".safetensors", open_safetensors, count_safetensors, name_safetensors, read_safetensors,
     save_safetensors},
    {".npz", open_npz, count_npz, name_npz, read_npz, tn_npz_save},
};
enum { FORMATS = sizeof formats / sizeof *formats };

/* By the suffix; NULL when it is none of them. */
static const format *format_of(const char *path)
{
    const size_t n = strlen(path);
    for (int i = 0; i < FORMATS; i++) {
        const size_t m = strlen(formats[i].suffix);
        if (n >= m && strcmp(path + n - m, formats[i].suffix) == 0)
            return &formats[i];
    }
    return NULL;
}

/* Each tensor is read, so that a file which can be listed is whole. */
static void list(const format *f, void *file)
{
    const int n = f->count(file);
    char shape[TN_SHAPE_TEXT];
    int width = 0;
    int64_t elements = 0;
    for (int i = 0; i < n; i++) {
        const int length = (int)strlen(f->name(file, i));
        width = length > width ? length : width;
    }
    for (int i = 0; tn_ok() && i < n; i++)
        TN_SCOPE {
            const tn_tensor *t = f->read(file, f->name(file, i));
            if (t)
                printf("%-*s  %-4s  %s\n", width, f->name(file, i), tn_dtype_name(t->dtype),
                       tn_shape_text(t, shape));
            elements += tn_numel(t);
        }
    if (tn_ok())
        printf("%d tensor%s, %lld elements\n", n, n == 1 ? "" : "s", (long long)elements);
}

static void convert(const format *f, void *file, const format *to, const char *path)
{
    const int n = f->count(file);
    tn_named *all = calloc((size_t)n + 1, sizeof *all);
    if (!all)
        tn_fail(TN_ENOMEM, "no memory for %d tensors", n);
    TN_SCOPE {
        for (int i = 0; tn_ok() && i < n; i++)
            all[i] = (tn_named){f->name(file, i), f->read(file, f->name(file, i))};
        if (tn_ok())
            to->save(path, n, all);
    }
    free(all);
}

static int run_convert(const cli *c)
{
    const bool only_list = cli_has(c, "list");
    const format *f = format_of(c->arguments[0]);
    const format *to = c->n == 2 ? format_of(c->arguments[1]) : NULL;
    if (only_list ? c->n != 1 : c->n != 2)
        return cli_wrong(c->command, "%s",
                         only_list ? "--list takes one file" : "IN and OUT are wanted");
    if (!f || (!only_list && !to))
        return cli_wrong(c->command, "%s: a file is known by its end, .safetensors or .npz",
                         c->arguments[f ? 1 : 0]);
    void *file = f->open(c->arguments[0]);
    if (file && only_list)
        list(f, file);
    else if (file)
        convert(f, file, to, c->arguments[1]);
    tn_free(file);
    return cli_status();
}

const command command_convert = {
    .name = "convert",
    .arguments = "IN [OUT]",
    .about = "between .safetensors and .npz, or lists a file\n"
             "The formats are known by the ends of the file names.  Names, dtypes, shapes and\n"
             "values are kept, metadata are not.  NumPy has no bf16: such tensors are refused.",
    .least = 1,
    .most = 2,
    .options = (const option_row[]){
        {"list", NULL, "print names, dtypes and shapes of IN"},
        {NULL, NULL, NULL},
    },
    .run = run_convert,
};
