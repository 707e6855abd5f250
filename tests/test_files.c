/* Safetensors and .npy files: round trips, and everything that can be wrong with a file. */
#include "files.h"
#include "internal.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <zlib.h>

enum { ROOM = 4096 };

static tn_tensor *counting(tn_dtype t, int ndim, const int64_t *shape)
{
    int64_t n = 1;
    for (int i = 0; i < ndim; i++)
        n *= shape[i];
    return tn_reshape(tn_arange(n, t), ndim, shape);
}

static void assert_same(const tn_tensor *a, const tn_tensor *b)
{
    double x[64], y[64];
    assert_non_null(a);
    assert_non_null(b);
    assert_int_equal(a->dtype, b->dtype);
    assert_true(tn_same_shape(a, b) && tn_numel(a) <= 64);
    assert_true(tn_read_f64(a, x) && tn_read_f64(b, y));
    assert_memory_equal(x, y, (size_t)tn_numel(a) * sizeof *x);
}

/* ---- safetensors: what is good ---- */

static void test_safetensors_round_trip(void **state)
{
    const char *const meta[] = {"step", "12", "note", "\"quoted\" \xc3\xa9", NULL};
    (void)state;
    TN_SCOPE {
        tn_named list[TN_DTYPE_COUNT + 3];
        char names[TN_DTYPE_COUNT][16];
        int n = 0;
        for (; n < TN_DTYPE_COUNT; n++) {
            snprintf(names[n], sizeof names[n], "t.%s", tn_dtype_name((tn_dtype)n));
            list[n] = (tn_named){names[n], counting((tn_dtype)n, TN_SHAPE(2, 3))};
        }
        list[n++] = (tn_named){"scalar", tn_full(7, TN_F32, TN_SCALAR)};
        list[n++] = (tn_named){"nothing", tn_empty(TN_F64, TN_SHAPE(4, 0, 2))};
        list[n++] = (tn_named){"view \"\\\n", tn_transpose(counting(TN_I32, TN_SHAPE(3, 4)), 0, 1)};
        assert_true(tn_safetensors_save(in_folder("all.safetensors"), n, list, meta));
        tn_safetensors *f = tn_safetensors_open(in_folder("all.safetensors"));
        assert_int_equal(tn_safetensors_count(f), n);
        for (int i = 0; i < n; i++)
            assert_same(tn_safetensors_read(f, list[i].name), list[i].t);
        assert_string_equal(tn_safetensors_meta(f, "format"), "pt");
        assert_string_equal(tn_safetensors_meta(f, "step"), "12");
        assert_string_equal(tn_safetensors_meta(f, "note"), meta[3]);
        assert_null(tn_safetensors_meta(f, "absent"));
        assert_null(tn_safetensors_name(f, n));
        assert_ok();
        assert_null(tn_safetensors_read(f, "absent"));
        expect_error(TN_EARG, "has no tensor 'absent'");
        tn_free(f);
    }
    assert_int_equal(files_in_folder(), 1);
}

static void test_safetensors_bytes(void **state)
{
    static const char header[] = "{\"__metadata__\":{\"format\":\"pt\",\"crc32\":\"00000000\"},"
                                 "\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}";
    unsigned char bytes[ROOM];
    uint64_t length;
    (void)state;
    TN_SCOPE {
        const tn_named w = {"w", tn_from_f32((const float[]){1, 2}, TN_SHAPE(2))};
        assert_true(tn_safetensors_save(in_folder("w"), 1, &w, NULL));
    }
    const size_t n = get_file(in_folder("w"), bytes, ROOM);
    memcpy(&length, bytes, 8);
    assert_int_equal(length % 8, 0);
    assert_int_equal(n, 8 + length + 8);
    char crc[9];
    unsigned char *digits = bytes + 8 + (strstr(header, "00000000") - header);
    memcpy(crc, digits, sizeof crc);
    memset(digits, '0', 8);
    snprintf((char *)bytes + n, ROOM - n, "%08lx\"", crc32(0, bytes, (uInt)n));
    assert_memory_equal(bytes + n, crc, sizeof crc);
    assert_memory_equal(bytes + 8, header, sizeof header - 1);
    for (size_t i = 8 + sizeof header - 1; i < 8 + length; i++)
        assert_int_equal(bytes[i], ' ');
    assert_memory_equal(bytes + 8 + length, ((const float[]){1, 2}), 8);
}

static void test_safetensors_notices_every_bit(void **state)
{
    unsigned char bytes[ROOM];
    (void)state;
    TN_SCOPE {
        const tn_named w = {"w", tn_from_f32((const float[]){1, 2}, TN_SHAPE(2))};
        assert_true(tn_safetensors_save(in_folder("w"), 1, &w, NULL));
    }
    const size_t n = get_file(in_folder("w"), bytes, ROOM);
    for (size_t bit = 0; bit <= 8 * n; bit++) {
        if (bit < 8 * n)
            bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        tn_safetensors *f = tn_safetensors_open(put_file("flipped", bytes, n));
        const bool good = tn_safetensors_check(f) && tn_safetensors_meta(f, "crc32");
        assert_int_equal(good, bit == 8 * n);
        tn_error_clear();
        tn_free(f);
        if (bit < 8 * n)
            bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
}

static void test_safetensors_refuses_to_write(void **state)
{
    (void)state;
    TN_SCOPE {
        tn_tensor *t = tn_zeros(TN_SHAPE(2));
        const tn_named twice[] = {{"a", t}, {"a", t}}, none[] = {{"a", NULL}}, bad[] = {{"\xff", t}};
        assert_false(tn_safetensors_save(in_folder("x"), 2, twice, NULL));
        expect_error(TN_EARG, "the name 'a' is taken");
        assert_false(tn_safetensors_save(in_folder("x"), 1, none, NULL));
        expect_error(TN_EARG, "entry 0 has no tensor");
        assert_false(tn_safetensors_save(in_folder("x"), 1, bad, NULL));
        expect_error(TN_EARG, "not UTF-8");
        assert_false(tn_safetensors_save(NULL, 1, twice, NULL));
        expect_error(TN_EARG, "no file name");
    }
    assert_int_not_equal(access(in_folder("x"), F_OK), 0);
}

/* ---- safetensors: what is not ---- */

/* A file of this header and so many bytes of data. */
static const char *put_header(const char *header, size_t data)
{
    unsigned char bytes[ROOM] = {0};
    const uint64_t length = strlen(header);
    assert_true(8 + length + data <= ROOM);
    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, header, length);
    return put_file("h", bytes, 8 + length + data);
}

#define T(dtype, shape, offsets) "{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}"
static const struct {
    const char *header;
    size_t data;
    const char *error; /* NULL: a good file */
} headers[] = {
    {"{}", 0, NULL},
    {"{\"a\":" T("\"F32\"", "[2]", "[0,8]") "}   \n", 8, NULL},
    {"{\"b\":" T("\"F32\"", "[1]", "[4,8]") ",\"a\":" T("\"F32\"", "[]", "[0,4]") "}", 8, NULL},
    {"{\"z\":" T("\"F32\"", "[0,9223372036854775807]", "[0,0]") "}", 0, "its shape is too large"},
    {"{\"z\":" T("\"F32\"", "[0,5]", "[0,0]") ",\"a\":" T("\"U8\"", "[1]", "[0,1]") "}", 1, NULL},
    {"[]", 0, "byte 8: the header does not start with {"},
    {" {}", 0, "byte 8: the header does not start with {"},
    {"{\"a\":1", 0, "the header is not JSON"},
    {"{}x", 0, "byte 11: the header is not JSON"},
    {"{\"\\u0000\":1}", 0, "the header is not JSON"},
    {"{\"a\":99999999999999999999}", 0, "too big integer"},
    {"{\"a\":" T("\"U8\"", "[1]", "[0,1]") ",\"a\":" T("\"U8\"", "[1]", "[1,2]") "}", 2, "duplicate"},
    {"{\"a\":3}", 0, "byte 9: 'a': its description is not an object"},
    {"{\"__metadata__\":3}", 0, "'__metadata__': it is not an object"},
    {"{\"__metadata__\":{\"x\":3}}", 0, "'__metadata__': a value is not a string"},
    {"{\"a\":{\"dtype\":\"U8\"}}", 0, "'a': its shape is not a list"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[]}}", 0, "'a': its data_offsets are not two"},
    {"{\"a\":" T("\"C64\"", "[]", "[0,8]") "}", 8, "'a': its dtype is none of"},
    {"{\"a\":" T("7", "[]", "[0,8]") "}", 8, "'a': its dtype is none of"},
    {"{\"a\":" T("\"U8\"", "3", "[0,3]") "}", 3, "its shape is not a list"},
    {"{\"a\":" T("\"U8\"", "[1,1,1,1,1,1,1,1,1]", "[0,1]") "}", 1, "at most 8"},
    {"{\"a\":" T("\"U8\"", "[-1]", "[0,1]") "}", 1, "not a whole number"},
    {"{\"a\":" T("\"U8\"", "[1.0]", "[0,1]") "}", 1, "not a whole number"},
    {"{\"a\":" T("\"U8\"", "[4294967296,4294967296]", "[0,0]") "}", 0, "its shape is too large"},
    {"{\"a\":" T("\"F64\"", "[2305843009213693952]", "[0,0]") "}", 0, "its shape is too large"},
    {"{\"a\":" T("\"U8\"", "[2]", "[0,1]") "}", 1, "do not agree"},
    {"{\"a\":" T("\"U8\"", "[2]", "[2,0]") "}", 2, "not two whole numbers in order"},
    {"{\"a\":" T("\"U8\"", "[2]", "[-2,0]") "}", 2, "not two whole numbers in order"},
    {"{\"a\":" T("\"U8\"", "[2]", "[0,2,4]") "}", 2, "not two whole numbers in order"},
    {"{\"a\":" T("\"U8\"", "[2]", "[0,2]") "}", 1, "behind the end of the file"},
    {"{\"a\":" T("\"U8\"", "[2]", "[9223372036854775805,9223372036854775807]") "}", 2, "behind the end"},
    {"{\"a\":" T("\"U8\"", "[2]", "[0,2]") "}", 3, "1 bytes belong to no tensor"},
    {"{}", 5, "byte 10: 5 bytes belong to no tensor"},
    {"{\"a\":" T("\"U8\"", "[2]", "[1,3]") "}", 3, "a hole before 'a'"},
    {"{\"a\":" T("\"U8\"", "[2]", "[0,2]") ",\"b\":" T("\"U8\"", "[2]", "[1,3]") "}", 3, "share bytes"},
    {"{\"a\":" T("\"U8\"", "[2]", "[0,2]") ",\"b\":" T("\"U8\"", "[2]", "[0,2]") "}", 2, "share bytes"},
    {"{\"\":7}", 0, "'': its description"},
};

static void test_safetensors_lying_headers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        tn_safetensors *f = tn_safetensors_open(put_header(headers[i].header, headers[i].data));
        if (!headers[i].error) {
            assert_ok();
            assert_non_null(f);
        } else {
            assert_null(f);
            assert_non_null(strstr(tn_error()->text, in_folder("h")));
            assert_non_null(strstr(tn_error()->text, ", byte "));
            expect_error(TN_EFORMAT, headers[i].error);
        }
        tn_free(f);
    }
}

static size_t small_file(unsigned char *bytes)
{
    TN_SCOPE {
        const tn_named list[] = {{"layer.weight", counting(TN_F32, TN_SHAPE(2, 2))},
                                 {"layer.count", counting(TN_I64, TN_SCALAR)}};
        assert_true(tn_safetensors_save(in_folder("small"), 2, list, NULL));
    }
    return get_file(in_folder("small"), bytes, ROOM);
}

/* Opens and reads all there is; whatever comes, it must come as an error. */
static bool survives(const char *path)
{
    tn_safetensors *f = tn_safetensors_open(path);
    TN_SCOPE {
        for (int i = 0; i < tn_safetensors_count(f); i++)
            assert_true(tn_safetensors_read(f, tn_safetensors_name(f, i)) || !tn_ok());
    }
    assert_true(f || !tn_ok());
    tn_free(f);
    return tn_ok();
}

static void test_safetensors_truncated_anywhere(void **state)
{
    unsigned char bytes[ROOM];
    (void)state;
    const size_t n = small_file(bytes);
    for (size_t i = 0; i < n; i++) {
        assert_false(survives(put_file("cut", bytes, i)));
        expect_error(TN_EFORMAT, in_folder("cut"));
    }
    assert_true(survives(put_file("cut", bytes, n)));
}

static void test_safetensors_flipped_bits(void **state)
{
    unsigned char bytes[ROOM];
    (void)state;
    const size_t n = small_file(bytes);
    for (size_t i = 0; i < (n - 24) * 8; i++) {
        bytes[i / 8] ^= (unsigned char)(1 << i % 8);
        survives(put_file("flip", bytes, n));
        tn_error_clear();
        bytes[i / 8] ^= (unsigned char)(1 << i % 8);
    }
}

static void test_safetensors_length_of_header(void **state)
{
    static const uint64_t lengths[] = {0, 1, 3, 100000001, 1ull << 32, 1ull << 63, UINT64_MAX};
    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        unsigned char bytes[10] = "........{}";
        memcpy(bytes, &lengths[i], 8);
        assert_null(tn_safetensors_open(put_file("long", bytes, 10)));
        expect_error(TN_EFORMAT, "byte 0: a header of");
    }
}

/* The file shrinks between opening and reading. */
static void test_safetensors_shrinks(void **state)
{
    unsigned char bytes[ROOM];
    (void)state;
    const size_t n = small_file(bytes);
    tn_safetensors *f = tn_safetensors_open(in_folder("small"));
    assert_int_equal(truncate(in_folder("small"), (off_t)n - 1), 0);
    TN_SCOPE {
        assert_null(tn_safetensors_read(f, "layer.count"));
        expect_error(TN_EFORMAT, "the file ends here, 1 bytes early");
        assert_non_null(tn_safetensors_read(f, "layer.weight"));
    }
    tn_free(f);
}

/* ---- the file system ---- */

static void test_files_that_cannot_be_read(void **state)
{
    (void)state;
    assert_null(tn_safetensors_open(in_folder("absent")));
    expect_error(TN_EIO, "No such file");
    assert_null(tn_safetensors_open(folder));
    expect_error(TN_EIO, "not a regular file");
    assert_null(tn_safetensors_open(NULL));
    expect_error(TN_EARG, "no file name");
    assert_int_equal(mkfifo(in_folder("pipe"), 0600), 0);
    assert_null(tn_load_npy(in_folder("pipe")));
    expect_error(TN_EIO, "not a regular file");
    assert_null(tn_load_npy(NULL));
    expect_error(TN_EARG, "no file name");
    put_file("secret", "x", 1);
    chmod(in_folder("secret"), 0);
    const bool root = geteuid() == 0;
    if (root)
        assert_int_equal(seteuid(65534), 0);
    chmod(folder, 0755);
    assert_null(tn_load_npy(in_folder("secret")));
    if (root)
        assert_int_equal(seteuid(0), 0);
    expect_error(TN_EIO, "Permission denied");
}

static void test_folders_that_cannot_be_written(void **state)
{
    (void)state;
    TN_SCOPE {
        const tn_tensor *t = tn_zeros(TN_SHAPE(3));
        assert_false(tn_save_npy(t, in_folder("absent/a.npy")));
        expect_error(TN_EIO, "No such file");
        assert_false(tn_save_npy(t, folder));
        expect_error(TN_EIO, "not a regular file");
        assert_false(tn_save_npy(t, "/dev/null")); /* must not become a file */
        expect_error(TN_EIO, "not a regular file");
        assert_int_equal(mkdir(in_folder("locked"), 0555), 0);
        const bool root = geteuid() == 0;
        if (root)
            assert_int_equal(seteuid(65534), 0);
        assert_false(tn_save_npy(t, in_folder("locked/a.npy")));
        if (root)
            assert_int_equal(seteuid(0), 0);
        expect_error(TN_EIO, "Permission denied");
    }
}

/* A full disk: the old file stays, nothing else does. */
static void test_failed_write_leaves_the_old_file(void **state)
{
    unsigned char before[ROOM], after[ROOM];
    struct rlimit was;
    (void)state;
    TN_SCOPE {
        assert_true(tn_save_npy(counting(TN_F32, TN_SHAPE(3)), in_folder("kept.npy")));
        const size_t n = get_file(in_folder("kept.npy"), before, ROOM);
        const int files = files_in_folder();
        tn_tensor *large = tn_zeros(TN_SHAPE(100000));
        getrlimit(RLIMIT_FSIZE, &was);
        const struct rlimit tight = {1000, was.rlim_max};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &tight);
        assert_false(tn_save_npy(large, in_folder("kept.npy")));
        setrlimit(RLIMIT_FSIZE, &was);
        expect_error(TN_EIO, "File too large");
        assert_int_equal(get_file(in_folder("kept.npy"), after, ROOM), n);
        assert_memory_equal(before, after, n);
        assert_int_equal(files_in_folder(), files);
    }
}

/* ---- npy ---- */

static void test_npy_round_trip(void **state)
{
    static const tn_dtype dtypes[] = {TN_F32, TN_F64, TN_I32, TN_I64, TN_U8};
    (void)state;
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        TN_SCOPE {
            tn_tensor *t[] = {counting(dtypes[i], TN_SCALAR), counting(dtypes[i], TN_SHAPE(5)),
                              counting(dtypes[i], TN_SHAPE(0)), counting(dtypes[i], TN_SHAPE(3, 0, 2)),
                              counting(dtypes[i], TN_SHAPE(1, 2, 1, 2, 1, 2, 1, 2)),
                              tn_transpose(counting(dtypes[i], TN_SHAPE(2, 3)), 0, 1)};
            for (size_t k = 0; k < sizeof t / sizeof *t; k++) {
                assert_true(tn_save_npy(t[k], in_folder("a.npy")));
                assert_same(tn_load_npy(in_folder("a.npy")), t[k]);
            }
        }
    TN_SCOPE {
        assert_false(tn_save_npy(tn_full(1, TN_BF16, TN_SHAPE(2)), in_folder("b.npy")));
        expect_error(TN_EDTYPE, "cannot hold");
        assert_false(tn_save_npy(NULL, in_folder("b.npy")));
        assert_ok();
    }
}

/* The bytes that numpy 1.24 writes. */
static void test_npy_bytes(void **state)
{
    unsigned char bytes[ROOM];
    static const char start[] = "\x93NUMPY\x01\x00v\x00{'descr': '<i4', 'fortran_order': False, 'shape': (2, 1), }";
    (void)state;
    TN_SCOPE {
        assert_true(tn_save_npy(counting(TN_I32, TN_SHAPE(2, 1)), in_folder("c.npy")));
    }
    assert_int_equal(get_file(in_folder("c.npy"), bytes, ROOM), 128 + 8);
    assert_memory_equal(bytes, start, sizeof start - 1);
    assert_int_equal(bytes[127], '\n');
    assert_memory_equal(bytes + 128, ((const int32_t[]){0, 1}), 8);
}

static const char *put_npy(const char *header, size_t data, int version)
{
    unsigned char bytes[ROOM] = "\x93NUMPY";
    const size_t length = strlen(header), start = version == 1 ? 10 : 12;
    bytes[6] = (unsigned char)version;
    bytes[8] = (unsigned char)length;
    bytes[9] = (unsigned char)(length >> 8);
    memcpy(bytes + start, header, length);
    return put_file("h.npy", bytes, start + length + data);
}

#define NPY(descr, order, shape) "{'descr': " descr ", 'fortran_order': " order ", 'shape': " shape ", }\n"
static const struct {
    const char *header;
    size_t data;
    const char *error;
} npys[] = {
    {NPY("'|u1'", "False", "(3,)"), 3, NULL},
    {"{'shape':(2,2),'fortran_order':False,'descr':'<f4'}", 16, NULL},
    {NPY("'<f8'", "False", "()"), 8, NULL},
    {NPY("'<f4'", "True", "(2, 2)"), 16, "fortran_order is True"},
    {NPY("'>f4'", "False", "(2,)"), 8, "dtype '>f4' cannot be read"},
    {NPY("'|O'", "False", "(2,)"), 8, "dtype '|O' cannot be read"},
    {NPY("[('a', '<f4')]", "False", "(2,)"), 8, "expected a string"},
    {NPY("'aaaaaaaaaaaaaaaaaaaaaaaaaaaa'", "False", "(2,)"), 8, "does not end, or is too long"},
    {NPY("'<f4'", "0", "(2,)"), 8, "must be True or False"},
    {NPY("'<f4'", "False", "(2)"), 8, "expected a comma in the shape"},
    {NPY("'<f4'", "False", "(2 3)"), 24, "expected a comma in the shape"},
    {NPY("'<f4'", "False", "(-2,)"), 8, "expected a dim"},
    {NPY("'<f4'", "False", "(,)"), 4, "expected a dim"},
    {NPY("'<f4'", "False", "2"), 8, "shape in parentheses"},
    {NPY("'<f4'", "False", "(1,1,1,1,1,1,1,1,1)"), 4, "more than 8 dims"},
    {NPY("'<f4'", "False", "(99999999999999999999,)"), 4, "a dim is too large"},
    {NPY("'<f4'", "False", "(4294967296, 4294967296)"), 4, "the shape is too large"},
    {NPY("'<f4'", "False", "(0, 9223372036854775807)"), 0, "the shape is too large"},
    {NPY("'<f4'", "False", "(1000000000,)"), 4, "the header tells of 4000000000 bytes"},
    {NPY("'<f4'", "False", "(2,)"), 9, "the file has 9"},
    {NPY("'<f4'", "False", "(2,)"), 7, "the file has 7"},
    {"{'descr': '<f4', 'shape': (2,)}", 8, "must all be given"},
    {"{'descr': '<f4', 'descr': '<f4', 'shape': (2,)}", 8, "occurs twice"},
    {"{'other': 1}", 0, "unknown key"},
    {"{'descr' '<f4'}", 0, "expected a value"},
    {"{'descr': '<f4' 'shape': (2,)}", 0, "expected a comma or }"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} x", 8, "follows the header's }"},
    {"'descr'", 0, "must start with {"},
    {"{", 0, "expected a string"},
    {"{'descr':", 0, "expected a string"},
    {"", 0, "must start with {"},
};

static void test_npy_lying_headers(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * sizeof npys / sizeof *npys; i++) {
        TN_SCOPE {
            const tn_tensor *t = tn_load_npy(put_npy(npys[i / 2].header, npys[i / 2].data, 1 + (int)(i % 2)));
            assert_true((t != NULL) == !npys[i / 2].error);
        }
        if (npys[i / 2].error) {
            assert_non_null(strstr(tn_error()->text, in_folder("h.npy")));
            expect_error(TN_EFORMAT, npys[i / 2].error);
        }
        assert_ok();
    }
    put_npy("{}", 0, 3);
    assert_null(tn_load_npy(in_folder("h.npy")));
    expect_error(TN_EFORMAT, "byte 6: version 3.0");
}

static void test_npy_truncated_and_flipped(void **state)
{
    unsigned char bytes[ROOM];
    (void)state;
    TN_SCOPE {
        assert_true(tn_save_npy(counting(TN_F32, TN_SHAPE(2, 3)), in_folder("d.npy")));
        const size_t n = get_file(in_folder("d.npy"), bytes, ROOM);
        for (size_t i = 0; i < n; i++) {
            assert_null(tn_load_npy(put_file("e.npy", bytes, i)));
            expect_error(TN_EFORMAT, in_folder("e.npy"));
        }
        for (size_t i = 0; i < (n - 24) * 8; i++) {
            bytes[i / 8] ^= (unsigned char)(1 << i % 8);
            const tn_tensor *t = tn_load_npy(put_file("e.npy", bytes, n));
            assert_true((t != NULL) == tn_ok());
            tn_error_clear();
            bytes[i / 8] ^= (unsigned char)(1 << i % 8);
        }
    }
}

/* ---- memory ---- */

static void test_failing_allocations(void **state)
{
    unsigned char bytes[ROOM];
    (void)state;
    small_file(bytes);
    TN_SCOPE {
        assert_true(tn_save_npy(counting(TN_F32, TN_SHAPE(2, 3)), in_folder("f.npy")));
    }
    const int files = files_in_folder();
    const size_t live = tn_memory_stats().live;
    for (int which = 0; which < 3; which++)
        for (long n = 0, done = 0; !done; n++) {
            assert_true(n < 1000);
            TN_SCOPE {
                const tn_tensor *t = tn_zeros(TN_SHAPE(2));
                tn__fail_alloc_after(n);
                done = which == 0   ? survives(in_folder("small"))
                       : which == 1 ? tn_load_npy(in_folder("f.npy")) != NULL
                                    : tn_save_npy(t, in_folder("f.npy"));
                tn__fail_alloc_after(-1);
            }
            assert_true(done == tn_ok());
            if (!done)
                expect_error(TN_ENOMEM, "out of memory");
        }
    assert_int_equal(tn_memory_stats().live, live);
    assert_int_equal(files_in_folder(), files);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_safetensors_round_trip),
        cmocka_unit_test(test_safetensors_bytes),
        cmocka_unit_test(test_safetensors_notices_every_bit),
        cmocka_unit_test(test_safetensors_refuses_to_write),
        cmocka_unit_test(test_safetensors_lying_headers),
        cmocka_unit_test(test_safetensors_truncated_anywhere),
        cmocka_unit_test(test_safetensors_flipped_bits),
        cmocka_unit_test(test_safetensors_length_of_header),
        cmocka_unit_test(test_safetensors_shrinks),
        cmocka_unit_test(test_files_that_cannot_be_read),
        cmocka_unit_test(test_folders_that_cannot_be_written),
        cmocka_unit_test(test_failed_write_leaves_the_old_file),
        cmocka_unit_test(test_npy_round_trip),
        cmocka_unit_test(test_npy_bytes),
        cmocka_unit_test(test_npy_lying_headers),
        cmocka_unit_test(test_npy_truncated_and_flipped),
        cmocka_unit_test(test_failing_allocations),
    };
    return cmocka_run_group_tests(tests, folder_begin, folder_end);
}
