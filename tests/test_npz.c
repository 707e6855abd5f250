/* .npz files: round trips, files that NumPy wrote (fixtures/npz.py), and everything that can be wrong. */
#define _GNU_SOURCE /* memmem */
#include "files.h"

#include <zlib.h>

enum { ROOM = 8192 };

static const char *fixture(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/tests/fixtures/%s", TN_SOURCE_DIR, name);
    return path;
}

static void assert_values(const tn_tensor *t, tn_dtype dtype, const char *shape, int n, const double *values)
{
    char text[TN_SHAPE_TEXT];
    double found[64];
    assert_ok();
    assert_non_null(t);
    assert_int_equal(t->dtype, dtype);
    assert_string_equal(tn_shape_text(t, text), shape);
    assert_int_equal(tn_numel(t), n);
    assert_true(tn_read_f64(t, found));
    assert_memory_equal(found, values, (size_t)n * sizeof *values);
}

/* ---- what is good ---- */

static void test_round_trip(void **state)
{
    static const tn_dtype dtypes[] = {TN_F32, TN_F64, TN_F16, TN_I32, TN_I64, TN_U8};
    enum { DTYPES = sizeof dtypes / sizeof *dtypes };
    char names[DTYPES][16];
    (void)state;
    TN_SCOPE {
        tn_named list[DTYPES + 4];
        int n = 0;
        for (; n < DTYPES; n++) {
            snprintf(names[n], sizeof names[n], "t.%s", tn_dtype_name(dtypes[n]));
            list[n] = (tn_named){names[n], tn_reshape(tn_arange(6, dtypes[n]), TN_SHAPE(2, 3))};
        }
        list[n++] = (tn_named){"a/scalar", tn_full(7, TN_F32, TN_SCALAR)};
        list[n++] = (tn_named){"nothing", tn_empty(TN_F64, TN_SHAPE(4, 0, 2))};
        list[n++] = (tn_named){"view \xc3\xa9 .npy", tn_transpose(tn_reshape(tn_arange(12, TN_I32), TN_SHAPE(3, 4)), 0, 1)};
        list[n++] = (tn_named){"large", tn_full(3, TN_U8, TN_SHAPE(200001))};
        assert_true(tn_npz_save(in_folder("all.npz"), n, list));
        tn_npz *f = tn_npz_open(in_folder("all.npz"));
        assert_int_equal(tn_npz_count(f), n);
        for (int i = 0; i < 2 * n; i++) { /* forward, then backward */
            const tn_named *one = &list[i < n ? i : 2 * n - 1 - i];
            tn_tensor *t = tn_npz_read(f, one->name);
            assert_ok();
            assert_string_equal(tn_npz_name(f, (int)(one - list)), one->name);
            assert_int_equal(t->dtype, one->t->dtype);
            assert_true(tn_same_shape(t, one->t));
            double *x = calloc(2 * 200001, sizeof *x);
            assert_true(tn_read_f64(t, x) && tn_read_f64(one->t, x + 200001));
            assert_memory_equal(x, x + 200001, 200001 * sizeof *x);
            free(x);
        }
        assert_null(tn_npz_name(f, n));
        assert_null(tn_npz_read(f, "absent"));
        expect_error(TN_EARG, "has no array 'absent'");
        tn_free(f);
        assert_true(tn_npz_save(in_folder("none.npz"), 0, NULL));
        tn_free(f = tn_npz_open(in_folder("none.npz")));
        assert_ok();
    }
    assert_int_equal(files_in_folder(), 2);
}

/* The same arrays twice give the same bytes: no clock, no user. */
static void test_same_bytes(void **state)
{
    static unsigned char a[ROOM], b[ROOM];
    (void)state;
    TN_SCOPE {
        const tn_named w = {"w", tn_from_f32((const float[]){1, 2}, TN_SHAPE(2))};
        assert_true(tn_npz_save(in_folder("a.npz"), 1, &w));
        sleep(2); /* the times of a zip are even */
        assert_true(tn_npz_save(in_folder("b.npz"), 1, &w));
    }
    const size_t n = get_file(in_folder("a.npz"), a, ROOM);
    assert_int_equal(n, get_file(in_folder("b.npz"), b, ROOM));
    assert_memory_equal(a, b, n);
}

static void test_refuses_to_write(void **state)
{
    (void)state;
    TN_SCOPE {
        tn_tensor *t = tn_zeros(TN_SHAPE(2));
        const tn_named twice[] = {{"a", t}, {"a", t}}, none[] = {{"a", NULL}}, bad[] = {{"\xff", t}};
        const tn_named bf16[] = {{"a", tn_full(1, TN_BF16, TN_SHAPE(2))}};
        assert_false(tn_npz_save(in_folder("x"), 2, twice));
        expect_error(TN_EARG, "the name 'a' is taken");
        assert_false(tn_npz_save(in_folder("x"), 1, none));
        expect_error(TN_EARG, "entry 0 has no tensor");
        assert_false(tn_npz_save(in_folder("x"), 1, bad));
        expect_error(TN_EARG, "not UTF-8");
        assert_false(tn_npz_save(in_folder("x"), 1, bf16));
        expect_error(TN_EDTYPE, "cannot hold bf16");
        assert_false(tn_npz_save(NULL, 1, twice));
        expect_error(TN_EARG, "no file name");
        assert_false(tn_npz_save("/dev/full", 1, twice));
        expect_error(TN_EIO, "not a regular file");
    }
    assert_int_equal(files_in_folder(), 0);
}

/* ---- files of NumPy ---- */

static void check_numpy(const char *name, int n)
{
    const double six[] = {0, 1, 2, 3, 4, 5};
    TN_SCOPE {
        tn_npz *f = tn_npz_open(fixture(name));
        assert_ok();
        assert_int_equal(tn_npz_count(f), n);
        assert_values(tn_npz_read(f, "u"), TN_U8, "[5]", 5, six);
        assert_values(tn_npz_read(f, "w"), TN_F32, "[2,3]", 6, six);
        assert_values(tn_npz_read(f, "b64"), TN_F64, "[3]", 3, (const double[]){0, 0.5, 1});
        assert_values(tn_npz_read(f, "half"), TN_F16, "[2]", 2, (const double[]){1, 2.5});
        assert_values(tn_npz_read(f, "i"), TN_I32, "[]", 1, (const double[]){7});
        assert_values(tn_npz_read(f, "k"), TN_I64, "[4,0,2]", 0, six);
        tn_free(f);
    }
}

static void test_numpy(void **state)
{
    const double six[] = {0, 1, 2, 3, 4, 5};
    (void)state;
    check_numpy("plain.npz", 7);
    check_numpy("packed.npz", 7);
    check_numpy("stream.npz", 6);
    TN_SCOPE {
        tn_npz *f = tn_npz_open(fixture("plain.npz"));
        assert_values(tn_npz_read(f, "layer/\xc3\xa9.weight"), TN_F32, "[2,3]", 6, six);
        tn_free(f);
        f = tn_npz_open(fixture("packed.npz"));
        assert_int_equal(tn_numel(tn_npz_read(f, "zeros")), 300000);
        tn_free(f);
        f = tn_npz_open(fixture("empty.npz"));
        assert_non_null(f);
        assert_int_equal(tn_npz_count(f), 0);
        tn_free(f);
    }
}

/* ---- what is not ---- */

/* Opens and reads all; true when nothing was wrong. */
static bool read_all(const char *path)
{
    tn_npz *f = tn_npz_open(path);
    bool ok = f != NULL;
    for (int i = 0; i < tn_npz_count(f); i++)
        TN_SCOPE {
            ok &= tn_npz_read(f, tn_npz_name(f, i)) != NULL;
        }
    assert_true(ok == tn_ok());
    tn_free(f);
    return ok;
}

static void test_truncated(void **state)
{
    static const char *const names[] = {"plain.npz", "packed.npz", "stream.npz", "empty.npz"};
    static unsigned char bytes[ROOM];
    (void)state;
    for (int k = 0; k < 4; k++) {
        const size_t n = get_file(fixture(names[k]), bytes, ROOM);
        for (size_t i = 0; i < n; i++) {
            assert_false(read_all(put_file("cut.npz", bytes, i)));
            expect_error(TN_EFORMAT, in_folder("cut.npz"));
        }
    }
}

/* Stored data carry a checksum: no flipped bit in them passes.  Elsewhere nothing may crash. */
static void test_flipped(void **state)
{
    static const char *const names[] = {"plain.npz", "packed.npz"};
    static unsigned char bytes[ROOM];
    (void)state;
    for (int k = 0; k < 2; k++) {
        const size_t n = get_file(fixture(names[k]), bytes, ROOM);
        for (size_t i = 0; i < n; i++) {
            bytes[i] = (unsigned char)(bytes[i] ^ 1 << i % 8);
            if (!read_all(put_file("flip.npz", bytes, n)))
                assert_non_null(strstr(tn_error()->text, in_folder("flip.npz")));
            tn_error_clear();
            bytes[i] = (unsigned char)(bytes[i] ^ 1 << i % 8);
        }
    }
}

static void test_flipped_data(void **state)
{
    static unsigned char bytes[ROOM];
    (void)state;
    const size_t n = get_file(fixture("plain.npz"), bytes, ROOM);
    const float five = 5;
    unsigned char *at = memmem(bytes, n, &five, 4);
    assert_non_null(at);
    at[1] ^= 4;
    assert_false(read_all(put_file("flip.npz", bytes, n)));
    expect_error(TN_EFORMAT, "member 'w.npy'");
}

static size_t put(unsigned char *to, size_t at, int width, uint64_t value)
{
    for (int i = 0; i < width; i++, value >>= 8)
        to[at + (size_t)i] = (unsigned char)value;
    return at + (size_t)width;
}

/* A zip of one stored member, which claims `size` bytes. */
static const char *put_zip(const char *name, const void *data, size_t n, uint32_t size)
{
    static unsigned char z[ROOM];
    const size_t length = strlen(name);
    const uint32_t crc = (uint32_t)crc32(0, data, (unsigned)n);
    size_t at = 0, central;
    for (int part = 0; part < 2; part++) {
        central = at;
        at = put(z, at, 4, part ? 0x02014b50 : 0x04034b50);
        at = part ? put(z, at, 2, 20) : at;
        at = put(z, at, 4, 20);         /* version, flags */
        at = put(z, at, 6, 0);          /* stored, time */
        at = put(z, at, 4, crc);
        at = put(z, at, 4, n);
        at = put(z, at, 4, size);
        at = put(z, at, 2, length);
        at = put(z, at, part ? 16 : 2, 0); /* no extra fields, attributes, offset 0 */
        memcpy(z + at, name, length);
        at += length;
        if (part == 0) {
            memcpy(z + at, data, n);
            at += n;
        }
    }
    const size_t end = at;
    at = put(z, put(z, at, 4, 0x06054b50), 4, 0);
    at = put(z, put(z, at, 2, 1), 2, 1);
    at = put(z, put(z, at, 4, end - central), 4, central);
    at = put(z, at, 2, 0);
    return put_file("h.npz", z, at);
}

static void test_lying_members(void **state)
{
    char npy[256] = "\x93NUMPY\x01\0\x76\0{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }";
    (void)state;
    memset(npy + strlen(npy + 10) + 10, ' ', 128 - 10 - strlen(npy + 10));
    npy[127] = '\n';
    assert_true(read_all(put_zip("a.npy", npy, 140, 140)));
    static const struct { const char *name; size_t n; uint32_t size; const char *error; } lies[] = {
        {"a.npy", 139, 139, "member 'a.npy', byte 139: the header tells of 12 bytes"},
        {"a.npy", 141, 141, "member 'a.npy', byte 140: the header tells of 12 bytes"},
        {"a.npy", 140, 0xfffffff0, "a.npy"},
        {"a.npy", 140, 141, "member 'a.npy'"},
        {"a.npy", 100, 100, "a header of 118 bytes in a file of 100"},
        {"a.npy", 0, 0, "member 'a.npy'"},
        {"a.txt", 140, 140, "member 'a.txt' is not NAME.npy"},
        {"a.npy/", 0, 0, "is not NAME.npy"},
        {"npy", 140, 140, "member 'npy' is not NAME.npy"},
    };
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        assert_false(read_all(put_zip(lies[i].name, npy, lies[i].n, lies[i].size)));
        expect_error(TN_EFORMAT, lies[i].error);
    }
    memcpy(npy + 10, "{'descr': '<c8'", 15);
    assert_false(read_all(put_zip("a.npy", npy, 140, 140)));
    expect_error(TN_EFORMAT, "member 'a.npy', byte 25: dtype '<c8' cannot be read");
}

static void test_no_file(void **state)
{
    (void)state;
    assert_null(tn_npz_open(NULL));
    expect_error(TN_EARG, "no file name");
    assert_null(tn_npz_open(in_folder("absent.npz")));
    expect_error(TN_EIO, "absent.npz");
    assert_null(tn_npz_open(folder));
    expect_error(TN_EIO, "not a regular file");
    assert_null(tn_npz_open(put_file("text.npz", "not a zip file, but long enough to be one", 41)));
    expect_error(TN_EFORMAT, "not a zip file");
    assert_int_equal(tn_npz_count(NULL), 0);
    assert_null(tn_npz_read(NULL, "a"));
    assert_ok();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_same_bytes, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_refuses_to_write, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_numpy, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_truncated, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_flipped, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_flipped_data, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_lying_members, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_no_file, folder_begin, folder_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
