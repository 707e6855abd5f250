/* Texts and ids that grow, and lines of files: plain, gzip, cut off, from a pipe. */
#include "files.h"

#include <zlib.h>

static void texts_grow(void **state)
{
    (void)state;
    tn_text t = {0};
    assert_true(tn_text_add(&t, NULL, 0));
    assert_string_equal(t.at, "");
    for (int i = 0; i < 1000; i++)
        assert_true(tn_text_add(&t, "ab\0d", 4));
    assert_int_equal(t.len, 4000);
    assert_int_equal(t.at[4000], 0);
    for (size_t i = 0; i < 4000; i++)
        assert_int_equal(t.at[i], "ab\0d"[i % 4]);
    assert_false(tn_text_add(&t, t.at, PTRDIFF_MAX));
    expect_error(TN_ENOMEM, "text: no memory");
    assert_int_equal(t.len, 4000);
    assert_false(tn_text_add(NULL, "a", 1));
    assert_false(tn_text_add(&t, NULL, 1));
    tn_text_end(&t);
    tn_text_end(NULL);
    assert_null(t.at);
    assert_int_equal(t.len + t.room, 0);
    assert_ok();
}

static void ids_grow(void **state)
{
    (void)state;
    tn_ids t = {0};
    for (int32_t i = 0; i < 1000; i++)
        assert_true(tn_ids_add(&t, -i));
    assert_int_equal(t.len, 1000);
    for (int32_t i = 0; i < 1000; i++)
        assert_int_equal(t.at[i], -i);
    tn_ids_end(&t);
    assert_null(t.at);
    assert_false(tn_ids_add(NULL, 1));
    tn_ids_end(NULL);
    assert_ok();
}

static const char *put_gz(const char *name, const void *bytes, unsigned n)
{
    const char *path = in_folder(name);
    gzFile f = gzopen(path, "ab");
    assert_non_null(f);
    assert_int_equal(gzwrite(f, bytes, n), n);
    assert_int_equal(gzclose(f), Z_OK);
    return path;
}

static void expect_lines(const char *path, int n, const char *const *wanted)
{
    tn_lines *l = tn_lines_open(path);
    const char *line;
    size_t len;
    assert_ok();
    for (int i = 0; i < n; i++) {
        assert_true(tn_lines_next(l, &line, &len));
        assert_int_equal(len, strlen(wanted[i]));
        assert_string_equal(line, wanted[i]);
        assert_int_equal(tn_lines_count(l), i + 1);
    }
    assert_false(tn_lines_next(l, &line, &len));
    assert_false(tn_lines_next(l, &line, &len));
    assert_int_equal(tn_lines_count(l), n);
    assert_ok();
    tn_free(l);
}

static void ends_of_lines(void **state)
{
    (void)state;
    static const struct { const char *text; int n; const char *lines[4]; } cases[] = {
        {"", 0, {NULL}}, {"\n", 1, {""}}, {"\r\n\n", 2, {"", ""}}, {"a", 1, {"a"}}, {"a\nb\r\nc\rd\n", 3, {"a", "b", "c\rd"}},
        {"a\n\nb", 3, {"a", "", "b"}}, {"a\r", 1, {"a\r"}}, {"\x1f", 1, {"\x1f"}}, {"\x1f\n\x8b", 2, {"\x1f", "\x8b"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        expect_lines(put_file("text", cases[i].text, strlen(cases[i].text)), cases[i].n, cases[i].lines);
        remove(in_folder("text.gz"));
        expect_lines(put_gz("text.gz", cases[i].text, (unsigned)strlen(cases[i].text)), cases[i].n, cases[i].lines);
    }
    remove(in_folder("text.gz"));
    put_gz("text.gz", "one\ntw", 6); /* members one after the other */
    expect_lines(put_gz("text.gz", "o\nthree", 7), 3, (const char *const[]){"one", "two", "three"});
}

/* Lines of 0, 1, 3, 7 ... bytes, past every buffer there is. */
static void lines_of_any_length(void **state)
{
    (void)state;
    enum { STEPS = 22, SIZE = 1 << STEPS };
    char *text = malloc(SIZE);
    assert_non_null(text);
    size_t len = 0;
    for (int k = 0; k < STEPS; k++)
        for (size_t i = 0; i < (size_t)1 << k; i++)
            text[len++] = (char)(i + 1 == (size_t)1 << k ? '\n' : i * 7 % 251 == '\n' ? 0 : i * 7 % 251);
    const char *path[] = {put_file("long", text, len), put_gz("long.gz", text, (unsigned)len)};
    for (int f = 0; f < 2; f++) {
        tn_lines *l = tn_lines_open(path[f]);
        const char *line, *wanted = text;
        size_t n;
        for (int k = 0; k < STEPS; k++) {
            const size_t room = (size_t)1 << k;
            assert_true(tn_lines_next(l, &line, &n));
            const bool cr = room > 1 && wanted[room - 2] == '\r';
            assert_int_equal(n, room - 1 - cr);
            assert_memory_equal(line, wanted, n);
            assert_int_equal(line[n], 0);
            wanted += room;
        }
        assert_false(tn_lines_next(l, &line, &n));
        assert_ok();
        tn_free(l);
    }
    free(text);
}

static void files_that_cannot_be_read(void **state)
{
    (void)state;
    static const char *const words[] = {"bad.gz: truncated: cut off inside its gzip stream after line 60",
                                        "bad.gz: damaged after line 0: incorrect data check",
                                        "bad.gz: damaged after line 0: unknown compression method"};
    static unsigned char gz[4096];
    const char *line;
    char text[3000];
    size_t n;
    assert_null(tn_lines_open(in_folder("absent")));
    expect_error(TN_EIO, "absent: No such file");
    tn_lines *l = tn_lines_open(folder);
    assert_false(tn_lines_next(l, &line, &n));
    expect_error(TN_EIO, "Is a directory after line 0");
    tn_free(l);
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)(i % 50 == 49 ? '\n' : 'a' + i * i * i / 7 % 26);
    const size_t size = get_file(put_gz("whole.gz", text, sizeof text), gz, sizeof gz);
    for (int k = 0; k < 3; k++) {
        gz[size - 7] ^= k == 1;
        gz[2] = k == 2 ? 99 : gz[2];
        l = tn_lines_open(put_file("bad.gz", gz, k == 0 ? size - 3 : size));
        int lines = 0;
        while (tn_lines_next(l, &line, &n))
            lines++;
        assert_true(lines <= 60);
        expect_error(TN_EFORMAT, words[k]);
        assert_false(tn_lines_next(l, &line, &n)); /* over for good, and said once */
        assert_ok();
        tn_free(l);
    }
    assert_false(tn_lines_next(NULL, &line, &n));
    assert_int_equal(tn_lines_count(NULL), 0);
    assert_ok();
}

/* What was written to a pipe is there before the pipe is closed. */
static void a_line_at_a_time(void **state)
{
    (void)state;
    int ends[2];
    const int was = dup(STDIN_FILENO);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(dup2(ends[0], STDIN_FILENO), STDIN_FILENO);
    close(ends[0]);
    tn_lines *l = tn_lines_open(NULL);
    for (int i = 0; i < 3; i++) {
        const char *line;
        size_t n;
        assert_int_equal(write(ends[1], "hello\n", 6), 6);
        assert_true(tn_lines_next(l, &line, &n));
        assert_string_equal(line, "hello");
    }
    close(ends[1]);
    tn_free(l);
    l = tn_lines_open("-");
    const char *line;
    size_t n;
    assert_false(tn_lines_next(l, &line, &n));
    assert_ok();
    tn_free(l);
    assert_int_equal(dup2(was, STDIN_FILENO), STDIN_FILENO);
    close(was);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_grow),
        cmocka_unit_test(ids_grow),
        cmocka_unit_test(ends_of_lines),
        cmocka_unit_test(lines_of_any_length),
        cmocka_unit_test(files_that_cannot_be_read),
        cmocka_unit_test(a_line_at_a_time),
    };
    return cmocka_run_group_tests_name("text", tests, folder_begin, folder_end);
}
