/* The shape of the sources: #include arrows point down, sizes stay readable, the library never ends a
 * process.  Reads the tree as text. */
#define _GNU_SOURCE
#include "check.h"

#include <ftw.h>
#include <stdlib.h>

/* Folders and how high they stand; a file sees its own folder and lower ones.  public: highest public header
 * it may include; outside: only public headers and its own. */
static const struct folder { const char *path; int rank, public; bool outside; } folders[] = {
    {"src/tensor/", 1, 2, false},  {"src/autograd/", 2, 2, false}, {"src/nn/", 3, 3, false},
    {"src/optim/", 3, 4, false},   {"models/", 5, 9, true},        {"data/", 5, 9, true},
    {"experiments/", 6, 9, true},  {"examples/", 6, 9, true},
};
/* src/tensor sees autograd.h, because ops of users carry their gradient rule */
static const struct header { const char *name; int rank; } headers[] = {
    {"error.h", 0}, {"scope.h", 0}, {"tensor.h", 1}, {"ops.h", 1}, {"ops_map.def", 1}, {"ops.def", 1},
    {"autograd.h", 2}, {"module.h", 3}, {"nn.h", 3}, {"optim.h", 4}, {"optim.def", 2}, {"data.h", 5}, {"text.h", 5}, {"model.h", 5},
};
enum { FILE_LINES = 620, FUNCTION_LINES = 66, COLUMNS = 120 };

static int problems;

static void problem(const char *file, int line, const char *text, const char *more)
{
    fprintf(stderr, "%s:%d: %s%s\n", file, line, text, more);
    problems++;
}

static const struct folder *folder_of(const char *path)
{
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        if (!strncmp(path, folders[i].path, strlen(folders[i].path)))
            return &folders[i];
    return NULL;
}

static void check_include(const char *file, int line, const struct folder *from, const char *name, bool quoted)
{
    if (!strncmp(name, "tenon/", 6)) {
        for (size_t i = 0; i < sizeof headers / sizeof *headers; i++)
            if (!strcmp(name + 6, headers[i].name) && headers[i].rank > from->public)
                problem(file, line, "includes a header of a layer above: ", name);
        return;
    }
    if (!strcmp(name, "tenon.h")) {
        if (!from->outside)
            problem(file, line, "inside the library the pages are included one by one, not ", name);
        return;
    }
    if (!quoted)
        return;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        const char *short_name = strncmp(folders[i].path, "src/", 4) ? folders[i].path : folders[i].path + 4;
        if (strncmp(name, short_name, strlen(short_name)))
            continue;
        if (folders[i].rank >= from->rank && &folders[i] != from)
            problem(file, line, "includes from a layer above or beside: ", name);
        if (from->outside && &folders[i] != from)
            problem(file, line, "only public headers are for this folder, not ", name);
    }
}

static void check_line(const char *file, int line, const struct folder *from, const char *text)
{
    static const char *const never[] = {" exit(", " abort(", " assert(", "\texit(", "quick_exit("};
    char name[256], close;
    if (sscanf(text, " # include \"%255[^\"]%c", name, &close) == 2)
        check_include(file, line, from, name, true);
    else if (sscanf(text, " # include <%255[^>]%c", name, &close) == 2)
        check_include(file, line, from, name, false);
    for (size_t i = 0; i < sizeof never / sizeof *never && from->rank < 6; i++)
        if (strstr(text, never[i]) && !strstr(text, "/*") && !strstr(text, " * "))
            problem(file, line, "the library never ends the process:", never[i]);
}

static int check_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    const char *file = path + strlen(TN_SOURCE_DIR) + 1, *dot = strrchr(path, '.');
    const struct folder *from = folder_of(file);
    char text[4096];
    int line = 0, opened = 0;
    (void)st;
    (void)ftw;
    if (type != FTW_F || !from || !dot || (strcmp(dot, ".c") && strcmp(dot, ".h") && strcmp(dot, ".cu")))
        return 0;
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (fgets(text, sizeof text, f)) {
        text[strcspn(text, "\n")] = 0;
        line++;
        check_line(file, line, from, text);
        if (strlen(text) > COLUMNS)
            problem(file, line, "longer than 120 columns", "");
        if (!strcmp(text, "{"))
            opened = line;
        if (!strcmp(text, "}") && opened && line - opened > FUNCTION_LINES)
            problem(file, opened, "a function of more than 66 lines", "");
        if (line == 1 && strncmp(text, "/*", 2))
            problem(file, line, "does not begin by saying what it is", "");
    }
    if (line > FILE_LINES)
        problem(file, line, "a file of more than 620 lines", "");
    fclose(f);
    return 0;
}

static void test_layers_and_sizes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", TN_SOURCE_DIR, folders[i].path);
        assert_int_equal(nftw(path, check_file, 16, FTW_PHYS), 0);
    }
    assert_int_equal(problems, 0);
}

static void test_there_are_three_def_files(void **state)
{
    (void)state;
    FILE *p = popen("cd '" TN_SOURCE_DIR "' && find . -name '*.def' -not -path './build*' | wc -l", "r");
    int n = 0;
    assert_non_null(p);
    assert_int_equal(fscanf(p, "%d", &n), 1);
    pclose(p);
    assert_int_equal(n, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layers_and_sizes),
        cmocka_unit_test(test_there_are_three_def_files),
    };
    return cmocka_run_group_tests_name("layout", tests, NULL, NULL);
}
