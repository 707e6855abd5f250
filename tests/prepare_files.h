/* What the tests of preparing translation data share: files as lines, sentences of our own, and archives in the
 * layout of IWSLT'14. */
#ifndef TN_TESTS_PREPARE_FILES_H
#define TN_TESTS_PREPARE_FILES_H

#include <dirent.h>
#include <errno.h>
#include <sys/wait.h>

#include "data_files.h"

#define succeeds(call)                            \
    do {                                          \
        if (!(call))                              \
            fail_msg("%s", tn_error()->text);     \
    } while (0)

/* ---- files ---- */

/* A file, whole, ended by a NUL; to be freed. */
static inline char *whole(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("%s: %s", path, strerror(errno));
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    char *text = malloc(*n + 1);
    assert_int_equal(fread(text, 1, *n, f), *n);
    text[*n] = 0;
    fclose(f);
    return text;
}

typedef struct list {
    char **line;
    int n;
    char *text;
} list;

static inline list read_list(const char *path)
{
    size_t n;
    list l = {.text = whole(path, &n)};
    l.line = malloc((n + 1) * sizeof *l.line);
    for (char *at = l.text, *end; *at; at = end + 1) {
        end = strchr(at, '\n');
        assert_non_null(end);
        *end = 0;
        l.line[l.n++] = at;
    }
    return l;
}

static inline void free_list(list l)
{
    free(l.text);
    free(l.line);
}

static inline void put(const char *name, const char *text) { write_file(at(name), text, strlen(text)); }

static inline const char *in(const char *dir, const char *name)
{
    char path[300];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return at(path);
}

static inline void same_file(const char *a, const char *b)
{
    size_t n, m;
    char *x = whole(a, &n), *y = whole(b, &m);
    if (n != m || memcmp(x, y, n) != 0)
        fail_msg("%s and %s differ", a, b);
    free(x);
    free(y);
}

/* Every file of one folder is in the other, byte by byte, and no more. */
static inline void same_folder(const char *a, const char *b)
{
    int n = 0, m = 0;
    char one[800];
    struct dirent *e;
    DIR *d = opendir(at(a));
    assert_non_null(d);
    while ((e = readdir(d)))
        if (e->d_name[0] != '.' && ++n) {
            snprintf(one, sizeof one, "%s", in(a, e->d_name));
            same_file(one, in(b, e->d_name));
        }
    closedir(d);
    assert_non_null(d = opendir(at(b)));
    while ((e = readdir(d)))
        m += e->d_name[0] != '.';
    closedir(d);
    assert_int_equal(n, m);
}

static inline bool exists(const char *path) { return access(path, F_OK) == 0; }

/* ---- sentences of our own ---- */

enum { PAIRS = 600 };

/* Sentence i in German or English: enough of both for a few hundred codes. */
static inline void sentence(tn_text *t, int i, bool english)
{
    static const char *const de[] = {"Haus", "Straße", "Übung", "Mädchen", "Wörterbuch", "Garten", "Äpfel", "Fluß"};
    static const char *const en[] = {"house", "street", "exercise", "girl", "dictionary", "garden", "apples", "river"};
    char line[200];
    const int n = snprintf(line, sizeof line,
                           english ? "The %s isn't \"%d\" %s & %ss' own, is it?" : "Das %s ist nicht „%d“ %s & %s eigen, oder?",
                           (english ? en : de)[i % 8], i % 37, (english ? en : de)[i / 8 % 8],
                           (english ? en : de)[i / 64 % 8]);
    tn_text_add(t, line, (size_t)n);
}

static inline void write_sentences(const char *name, bool english, int first, int n)
{
    tn_text t = {0};
    for (int i = first; i < first + n; i++) {
        sentence(&t, i, english);
        tn_text_add(&t, "\n", 1);
    }
    write_file(at(name), t.at, t.len);
    tn_text_end(&t);
}

static inline tn_prepare_args ours(const char *dest)
{
    static char path[6][800], folders[8][800];
    static int turn;
    char *to = folders[turn++ % 8];
    static const char *const names[] = {"a.de", "a.en", "v.de", "v.en", "t.de", "t.en"};
    for (int i = 0; i < 6; i++)
        snprintf(path[i], sizeof path[i], "%s/%s", folder, names[i]);
    snprintf(to, sizeof folders[0], "%s/%s", folder, dest);
    return (tn_prepare_args){.dest = to, .source = "de", .target = "en", .merges = 200,
                             .train = {path[0], path[1]}, .valid = {path[2], path[3]}, .test = {path[4], path[5]}};
}

static inline int make_sentences(void **state)
{
    static const char *const names[] = {"a", "v", "t"};
    if (make_folder(state))
        return -1;
    for (int i = 0; i < 6; i++) {
        char name[8];
        snprintf(name, sizeof name, "%s.%s", names[i / 2], i % 2 ? "en" : "de");
        write_sentences(name, i % 2, i / 2 * 1000, i < 2 ? PAIRS : 50);
    }
    return 0;
}

/* ---- IWSLT'14 ---- */

static const char *const sets[] = {"TED.dev2010", "TEDX.dev2012", "TED.tst2010", "TED.tst2011", "TED.tst2012"};

typedef struct archive_text {
    tn_text member[12];
    char name[12][80];
    item items[13];
} archive_text;

static inline void add(tn_text *t, const char *s) { tn_text_add(t, s, strlen(s)); }

static inline void add_tagged(tn_text *t, const char *open, const char *line, const char *close)
{
    add(t, open);
    add(t, line);
    add(t, close);
}

/* Line i of the training file with what stands around it there. */
static inline void add_train(tn_text *t, int i, const char *line)
{
    if (i % 40 == 0) {
        add(t, "<url>http://www.ted.com/talks/lang/de/some.html</url>\n<keywords>talks, science</keywords>\n"
               "<talkid>12</talkid>\n");
        add_tagged(t, "<title>", line, "</title>\n");
    } else if (i % 40 == 1)
        add_tagged(t, "<description>", line, "</description>\n");
    else
        add_tagged(t, i % 3 ? "" : " ", line, i % 3 ? "\n" : " \n");
}

static inline void begin_test(tn_text *t, const char *set)
{
    add(t, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<mteval>\n<srcset setid=\"iwslt2014-");
    add(t, set);
    add(t, "\" srclang=\"german\">\n<doc docid=\"1\" genre=\"lectures\">\n<url>http://www.ted.com</url>\n"
           "<title>Not a sentence here</title>\n<talkid>69</talkid>\n");
}

static inline void add_test(tn_text *t, int i, const char *line)
{
    char open[40];
    snprintf(open, sizeof open, "<seg id=\"%d\"> ", i + 1);
    add_tagged(t, open, line, i % 2 ? " </seg>\n" : "</seg>\n");
    if (i % 50 == 49)
        add(t, "</doc>\n<doc docid=\"2\" genre=\"lectures\">\n");
}

static inline void name_members(archive_text *a)
{
    for (int k = 0; k < 2; k++) {
        const char *lang = k ? "en" : "de";
        snprintf(a->name[k], sizeof a->name[k], "de-en/train.tags.de-en.%s", lang);
        for (int i = 0; i < 5; i++)
            snprintf(a->name[2 + 2 * i + k], sizeof a->name[0], "de-en/IWSLT14.%s.de-en.%s.xml", sets[i], lang);
    }
}

static inline void write_members(archive_text *a, const char *path)
{
    a->items[0] = (item){"de-en/README", "The set\n", 8, 0};
    for (int i = 0; i < 12; i++)
        a->items[1 + (i * 5 + 3) % 12] = (item){a->name[i], a->member[i].at, a->member[i].len, 0};
    write_archive(at(path), 13, a->items);
}

static inline void free_members(archive_text *a)
{
    for (int i = 0; i < 12; i++)
        tn_text_end(&a->member[i]);
}

/* Of our own sentences: 900 for training, five times 60 for the test. */
static inline void build_small(archive_text *a)
{
    tn_text line = {0};
    memset(a, 0, sizeof *a);
    name_members(a);
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < 900; i++) {
            line.len = 0;
            sentence(&line, i, k);
            add_train(&a->member[k], i, line.at);
        }
        for (int s = 0; s < 5; s++) {
            tn_text *t = &a->member[2 + 2 * s + k];
            begin_test(t, sets[s]);
            for (int i = 0; i < 60; i++) {
                line.len = 0;
                sentence(&line, 1000 * s + i, k);
                add_test(t, i, line.at);
            }
            add(t, "</doc>\n</srcset>\n</mteval>\n");
        }
    }
    tn_text_end(&line);
}

/* ---- the program ---- */

static char output[1 << 16];

/* Runs `tenon prepare ARGUMENTS` in the folder; its exit status, with `output` filled. */
__attribute__((format(printf, 1, 2))) static inline int program(const char *fmt, ...)
{
    char arguments[4096], command[6000];
    va_list args;
    va_start(args, fmt);
    vsnprintf(arguments, sizeof arguments, fmt, args);
    va_end(args);
    snprintf(command, sizeof command, "cd '%s' && '%s' prepare %s >output 2>&1", folder, TN_PROGRAM, arguments);
    const int status = system(command);
    size_t n;
    char *text = whole(at("output"), &n);
    snprintf(output, sizeof output, "%s", text);
    free(text);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#endif
