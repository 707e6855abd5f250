/* What libs/product.c asks of cuBLASLt, with a cuBLASLt of plain loops in the place of NVIDIA's, which does
 * not start without a GPU: layouts, epilogue and additions against a plain product; which algorithms are
 * asked for, and how often.  The real one: test_gpu.c. */
#include "check.h"

#include <math.h>
#include <stdlib.h>

#include "convert.h"
#include "cuda.h"
#include "launch.h"
#include "libs/libs.h"
#include "libs/load.h"

struct tn__nvidia tn__nvidia;

/* ---- the rest of the backend, over the CPU's memory ---- */

static tn_precision precision;
static char trouble[256];
static int blocks_left = 1000000, blocks_out, library = true;

tn_precision tn__cuda_precision(int device) { return (void)device, precision; }
bool tn__library(int which) { return which == TN_LIB_CUBLASLT && library; }
void tn__cuda_trouble(int device, const char *what, const char *why)
{
    snprintf(trouble, sizeof trouble, "%s: cuda:%d: %s", what, device, why);
}

void *tn__cuda_alloc(int device, size_t bytes)
{
    (void)device;
    if (blocks_left < 1)
        return NULL;
    blocks_left--;
    blocks_out++;
    return malloc(bytes);
}

void tn__cuda_release(int device, void *p, size_t bytes)
{
    (void)device;
    (void)bytes;
    blocks_out -= p != NULL;
    free(p);
}

static int rounded;

int tn__cuda_to_bf16(const tn__cuda_matrix *m, uint16_t *y, void *stream)
{
    (void)stream;
    rounded++;
    for (int64_t t = 0; t < m->batch; t++)
        for (int64_t i = 0; i < m->rows; i++)
            for (int64_t j = 0; j < m->cols; j++)
                *y++ = tn__to_bf16(m->at[t * m->batch_step + i * m->row_step + j * m->col_step]);
    return 0;
}

/* ---- cuBLASLt: column-major, d = op(a) op(b) + beta c + bias down each column ---- */

typedef struct how {
    int32_t compute, ta, tb, epilogue, bias_type;
    const float *bias;
} how;
typedef struct layout {
    int64_t type, rows, cols, ld, batch, step;
} layout;
typedef struct preference {
    uint64_t workspace;
    uint32_t parts, align[4];
} preference;

static struct {
    int asked, checked, run;
    preference last;
    how how;
    int64_t cols; /* of d, when asked */
    bool none, refuses, fails;
    size_t workspace;
    uint64_t offered, used; /* algorithms */
} lt = {.offered = 42};

static cublasStatus_t how_create(cublasLtMatmulDesc_t *d, cublasComputeType_t compute, cudaDataType_t scale)
{
    how *h = calloc(1, sizeof *h);
    assert_int_equal(scale, CUDA_R_32F);
    h->compute = (int32_t)compute;
    h->bias_type = -1;
    *d = (void *)h;
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t how_set(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t name, const void *value,
                              size_t size)
{
    how *h = (void *)d;
    void *to = name == CUBLASLT_MATMUL_DESC_TRANSA           ? (void *)&h->ta
               : name == CUBLASLT_MATMUL_DESC_TRANSB         ? (void *)&h->tb
               : name == CUBLASLT_MATMUL_DESC_EPILOGUE       ? (void *)&h->epilogue
               : name == CUBLASLT_MATMUL_DESC_BIAS_POINTER   ? (void *)&h->bias
               : name == CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE ? (void *)&h->bias_type
                                                             : NULL;
    assert_non_null(to);
    assert_int_equal(size, to == (void *)&h->bias ? sizeof h->bias : sizeof(int32_t));
    memcpy(to, value, size);
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t layout_create(cublasLtMatrixLayout_t *l, cudaDataType type, uint64_t rows, uint64_t cols,
                                    int64_t ld)
{
    layout *made = calloc(1, sizeof *made);
    *made = (layout){type, (int64_t)rows, (int64_t)cols, ld, 1, 0};
    assert_true(ld >= (int64_t)rows);
    *l = (void *)made;
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t layout_set(cublasLtMatrixLayout_t l, cublasLtMatrixLayoutAttribute_t name, const void *value,
                                 size_t size)
{
    layout *of = (void *)l;
    if (name == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT) {
        assert_int_equal(size, sizeof(int32_t));
        of->batch = *(const int32_t *)value;
    } else {
        assert_int_equal(name, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET);
        assert_int_equal(size, sizeof(int64_t));
        of->step = *(const int64_t *)value;
    }
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t preference_create(cublasLtMatmulPreference_t *p)
{
    *p = calloc(1, sizeof(preference));
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t preference_set(cublasLtMatmulPreference_t p, cublasLtMatmulPreferenceAttributes_t name,
                                     const void *value, size_t size)
{
    preference *of = (void *)p;
    if (name == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES) {
        assert_int_equal(size, sizeof of->workspace);
        memcpy(&of->workspace, value, size);
    } else if (name == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK) {
        memcpy(&of->parts, value, size);
    } else {
        memcpy(&of->align[name - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES], value, size);
    }
    return CUBLAS_STATUS_SUCCESS;
}

#define FREE(function, type) \
    static cublasStatus_t function(type p) { return free(p), CUBLAS_STATUS_SUCCESS; }
FREE(how_free, cublasLtMatmulDesc_t) FREE(layout_free, cublasLtMatrixLayout_t)
FREE(preference_free, cublasLtMatmulPreference_t)

static cublasStatus_t create(cublasLtHandle_t *h) { return *h = (void *)&lt, CUBLAS_STATUS_SUCCESS; }
static const char *words(cublasStatus_t s) { return s == CUBLAS_STATUS_EXECUTION_FAILED ? "it failed" : "?"; }

static cublasStatus_t ask(cublasLtHandle_t h, cublasLtMatmulDesc_t d, cublasLtMatrixLayout_t a,
                          cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t to,
                          cublasLtMatmulPreference_t p, int room, cublasLtMatmulHeuristicResult_t *results, int *found)
{
    const how *asked = (void *)d;
    (void)h, (void)a, (void)b, (void)c;
    assert_true(room > 0 && !asked->bias == (asked->epilogue != CUBLASLT_EPILOGUE_BIAS));
    lt.asked++;
    lt.last = *(preference *)p;
    lt.cols = ((layout *)to)->cols;
    *found = !lt.none;
    *results = (cublasLtMatmulHeuristicResult_t){.workspaceSize = lt.workspace, .algo.data = {lt.offered}};
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t check_algo(cublasLtHandle_t h, cublasLtMatmulDesc_t d, cublasLtMatrixLayout_t a,
                                 cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t to,
                                 const cublasLtMatmulAlgo_t *algo, cublasLtMatmulHeuristicResult_t *result)
{
    (void)h, (void)d, (void)a, (void)b, (void)c, (void)to;
    lt.checked++;
    *result = (cublasLtMatmulHeuristicResult_t){.workspaceSize = lt.workspace, .algo = *algo};
    return lt.refuses ? CUBLAS_STATUS_NOT_SUPPORTED : CUBLAS_STATUS_SUCCESS;
}

/* Element (row, col) of op(matrix t of the batch). */
static double item(const void *p, const layout *l, int transposed, int64_t t, int64_t row, int64_t col)
{
    const int64_t i = t * l->step + (transposed ? col + row * l->ld : row + col * l->ld);
    assert_true(row >= 0 && (transposed ? col < l->rows && row < l->cols : row < l->rows && col < l->cols));
    return l->type == CUDA_R_16BF ? (double)tn__from_bf16(((const uint16_t *)p)[i]) : (double)((const float *)p)[i];
}

static cublasStatus_t multiply(cublasLtHandle_t handle, cublasLtMatmulDesc_t d, const void *alpha, const void *a,
                               cublasLtMatrixLayout_t la, const void *b, cublasLtMatrixLayout_t lb, const void *beta,
                               const void *c, cublasLtMatrixLayout_t lc, void *to, cublasLtMatrixLayout_t ld,
                               const cublasLtMatmulAlgo_t *algo, void *workspace, size_t size, cudaStream_t stream)
{
    const how *h = (void *)d;
    const layout *of_a = (void *)la, *of_b = (void *)lb, *of_d = (void *)ld;
    (void)handle, (void)stream;
    assert_true(*(const float *)alpha == 1 && c == to && lc == ld);
    assert_true(!size == !workspace);
    lt.run++;
    lt.used = algo->data[0];
    lt.how = *h;
    if (lt.fails)
        return CUBLAS_STATUS_EXECUTION_FAILED;
    const int64_t terms = h->ta ? of_a->rows : of_a->cols;
    assert_int_equal(terms, h->tb ? of_b->cols : of_b->rows);
    for (int64_t t = 0; t < of_d->batch; t++)
        for (int64_t row = 0; row < of_d->rows; row++)
            for (int64_t col = 0; col < of_d->cols; col++) {
                float *at = (float *)to + t * of_d->step + row + col * of_d->ld;
                double sum = h->epilogue == CUBLASLT_EPILOGUE_BIAS ? (double)h->bias[row] : 0;
                sum += *(const float *)beta != 0 ? (double)*at : 0;
                for (int64_t k = 0; k < terms; k++)
                    sum += item(a, of_a, h->ta, t, row, k) * item(b, of_b, h->tb, t, k, col);
                *at = (float)sum;
            }
    return CUBLAS_STATUS_SUCCESS;
}

static int begin(void **state)
{
    (void)state;
    tn__nvidia.cublasLtCreate = create;
    tn__nvidia.cublasLtGetStatusString = words;
    tn__nvidia.cublasLtMatmul = multiply;
    tn__nvidia.cublasLtMatmulDescCreate = how_create;
    tn__nvidia.cublasLtMatmulDescDestroy = how_free;
    tn__nvidia.cublasLtMatmulDescSetAttribute = how_set;
    tn__nvidia.cublasLtMatrixLayoutCreate = layout_create;
    tn__nvidia.cublasLtMatrixLayoutDestroy = layout_free;
    tn__nvidia.cublasLtMatrixLayoutSetAttribute = layout_set;
    tn__nvidia.cublasLtMatmulPreferenceCreate = preference_create;
    tn__nvidia.cublasLtMatmulPreferenceDestroy = preference_free;
    tn__nvidia.cublasLtMatmulPreferenceSetAttribute = preference_set;
    tn__nvidia.cublasLtMatmulAlgoGetHeuristic = ask;
    tn__nvidia.cublasLtMatmulAlgoCheck = check_algo;
    return 0;
}

/* ---- products ---- */

enum { BATCH = 2, M = 7, N = 6, K = 5, GAP = 3, ROOM = BATCH * 12 * 12 };
static _Alignas(16) float a[ROOM], b[ROOM], c[ROOM], want[ROOM], bias[N];
static _Alignas(16) uint16_t a_half[ROOM], b_half[ROOM];

/* shape: bits for transposed a, transposed b, gaps in the rows, one b for the whole batch, one matrix. */
static tn__cuda_product product_of(unsigned form, int64_t m)
{
    const bool ta = form & 1, tb = form & 2;
    const int64_t gap = form & 4 ? GAP : 0, lda = (ta ? m : K) + gap, ldb = (tb ? K : N) + gap;
    return (tn__cuda_product){.batch = form & 16 ? 1 : BATCH, .m = m, .n = N, .k = K, .a = a, .b = b, .c = c,
                              .a_row = ta ? 1 : lda, .a_col = ta ? lda : 1, .b_row = tb ? 1 : ldb,
                              .b_col = tb ? ldb : 1, .c_row = N + gap, .a_batch = ROOM / BATCH,
                              .b_batch = form & 8 ? 0 : ROOM / BATCH, .c_batch = ROOM / BATCH, .split = true};
}

static void fill_all(void)
{
    for (int i = 0; i < ROOM; i++) {
        a[i] = (float)sin(i) * 2;
        b[i] = (float)cos(i * 3);
        a_half[i] = tn__to_bf16(a[i]);
        b_half[i] = tn__to_bf16(b[i]);
        c[i] = want[i] = (float)(i % 11) / 8;
    }
    for (int i = 0; i < N; i++)
        bias[i] = (float)i - 2;
}

static double operand(float x) { return (double)(precision == TN_PRECISION_BF16 ? tn__from_bf16(tn__to_bf16(x)) : x); }

static void check_product(const tn__cuda_product *p, const char *what, unsigned form)
{
    tn__cuda_work w = {0};
    fill_all();
    for (int64_t t = 0; t < p->batch; t++)
        for (int64_t i = 0; i < p->m; i++)
            for (int64_t j = 0; j < p->n; j++) {
                float *at = want + t * p->c_batch + i * p->c_row + j;
                double sum = (p->bias ? (double)bias[j] : 0) + (p->add ? (double)*at : 0);
                for (int64_t k = 0; k < p->k; k++)
                    sum += operand(a[t * p->a_batch + i * p->a_row + k * p->a_col]) *
                           operand(b[t * p->b_batch + k * p->b_row + j * p->b_col]);
                *at = (float)sum;
            }
    assert_int_equal(tn__cublaslt_multiply(p, &w), 0);
    for (int i = 0; i < ROOM; i++)
        if (fabsf(c[i] - want[i]) > 1e-5f)
            fail_msg("%s, %u, element %d: %g, not %g", what, form, i, (double)c[i], (double)want[i]);
    assert_int_equal(blocks_out, 0);
    assert_int_equal(lt.used, 42);
}

static void products_of_every_layout(void **state)
{
    static const char *const names[] = {"f32", "tf32", "bf16"};
    (void)state;
    for (precision = TN_PRECISION_F32; precision <= TN_PRECISION_BF16; precision++)
        for (unsigned form = 0; form < 128; form++) {
            tn__cuda_product p = product_of(form, form & 16 ? 1 : M);
            p.bias = form & 32 ? bias : NULL;
            p.add = form & 64;
            lt.workspace = form % 3 ? 64 : 0;
            check_product(&p, names[precision], form);
            assert_int_equal(lt.how.compute,
                             precision == TN_PRECISION_TF32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F);
            if (p.bias)
                assert_int_equal(lt.how.bias_type, CUDA_R_32F);
        }
    precision = TN_PRECISION_F32;
    lt.workspace = 0;
}

/* What is rounded already lies as the factor does. */
static void what_is_rounded_is_taken(void **state)
{
    (void)state;
    precision = TN_PRECISION_BF16;
    for (unsigned form = 0; form < 128; form++) {
        tn__cuda_product p = product_of(form, form & 16 ? 1 : M);
        p.bias = form & 32 ? bias : NULL;
        p.add = form & 64;
        p.a_half = a_half;
        p.b_half = form % 3 ? b_half : NULL;
        rounded = 0;
        check_product(&p, "rounded", form);
        assert_int_equal(rounded, p.b_half ? 0 : 1);
    }
    tn__cuda_product p = product_of(0, 1);
    p.a_half = a_half;
    p.a_col = 2; /* neither rows nor columns run, but one row may be packed */
    p.batch = 1;
    check_product(&p, "apart", 0);
    precision = TN_PRECISION_F32;
}

static void an_algorithm_is_chosen_once(void **state)
{
    tn__cuda_product p = product_of(2, M + 1);
    (void)state;
    lt.asked = lt.run = 0;
    for (int i = 0; i < 3; i++)
        check_product(&p, "again", 2);
    assert_int_equal(lt.asked, 1);
    assert_int_equal(lt.run, 3);
    assert_int_equal(lt.last.parts, CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE); /* nothing in place */
    assert_true(lt.last.workspace == 32 << 20);
    assert_int_equal(lt.cols, M + 1);
}

static void rows_do_not_choose(void **state)
{
    (void)state;
    lt.checked = 0;
    for (int64_t m = 1; m <= M; m += 2) {
        tn__cuda_product p = product_of(2 | 16, m);
        p.split = false;
        p.bias = bias;
        check_product(&p, "rows apart", (unsigned)m);
        assert_int_equal(lt.last.parts, CUBLASLT_REDUCTION_SCHEME_NONE);
        assert_int_equal(lt.cols, 4096);
        assert_int_equal(lt.last.align[0], 4);
    }
    assert_int_equal(lt.checked, 4);
    precision = TN_PRECISION_TF32; /* which is for speed */
    tn__cuda_product p = product_of(2 | 16, M);
    p.split = false;
    check_product(&p, "rows together", 0);
    assert_int_equal(lt.cols, M);
    precision = TN_PRECISION_F32;
}

static void alignment_is_told(void **state)
{
    (void)state;
    for (int off = 0; off < 2; off++) {
        tn__cuda_product p = product_of(4 | 16, M - 1);
        tn__cuda_work w = {0};
        p.a += off;
        assert_int_equal(tn__cublaslt_multiply(&p, &w), 0);
        assert_int_equal(lt.last.align[0], off ? 4 : 16);
    }
}

static void what_it_cannot_is_declined(void **state)
{
    tn__cuda_work w = {0};
    tn__cuda_product p = product_of(0, M);
    (void)state;
    p.a_col = 2; /* neither rows nor columns run */
    p.a_row = 2 * K;
    assert_int_equal(tn__cublaslt_multiply(&p, &w), TN_CUDA_DECLINED);
    p = product_of(0, 0);
    assert_int_equal(tn__cublaslt_multiply(&p, &w), TN_CUDA_DECLINED);
    p = product_of(0, M - 2);
    lt.none = true;
    assert_int_equal(tn__cublaslt_multiply(&p, &w), TN_CUDA_DECLINED);
    lt.none = false;
    assert_int_equal(tn__cublaslt_multiply(&p, &w), TN_CUDA_DECLINED); /* remembered */
    p = product_of(0, M - 3);
    p.split = false;
    lt.refuses = true;
    assert_int_equal(tn__cublaslt_multiply(&p, &w), TN_CUDA_DECLINED);
    lt.refuses = false;
    library = false;
    p = product_of(0, M);
    assert_int_equal(tn__cublaslt_multiply(&p, &w), TN_CUDA_DECLINED);
    library = true;
    assert_string_equal(trouble, "");
}

static void failures_are_told(void **state)
{
    tn__cuda_work w = {.device = 3};
    tn__cuda_product p = product_of(0, M);
    (void)state;
    lt.fails = true;
    assert_int_equal(tn__cublaslt_multiply(&p, &w), TN_CUDA_TOLD);
    assert_string_equal(trouble, "cuBLASLt: cuda:3: it failed");
    lt.fails = false;
    lt.workspace = 4096;
    p = product_of(1, M - 4);
    blocks_left = 0;
    assert_int_equal(tn__cublaslt_multiply(&p, &w), TN_CUDA_NO_MEMORY);
    precision = TN_PRECISION_BF16;
    for (blocks_left = 0; blocks_left < 3;) {
        const int left = blocks_left;
        assert_int_equal(tn__cublaslt_multiply(&p, &w), TN_CUDA_NO_MEMORY);
        assert_int_equal(blocks_out, 0);
        blocks_left = left + 1;
    }
    precision = TN_PRECISION_F32;
}

/* ---- engines that a checkpoint holds ---- */

typedef struct kept {
    int n;
    struct { char key[512], engine[128]; size_t key_size, size; } row[4];
} kept;

static void keep(void *arg, const void *key, size_t key_size, const void *engine, size_t size)
{
    kept *k = arg;
    assert_true(k->n < 4 && key_size <= sizeof k->row->key && size <= sizeof k->row->engine);
    memcpy(k->row[k->n].key, key, key_size);
    memcpy(k->row[k->n].engine, engine, size);
    k->row[k->n].key_size = key_size;
    k->row[k->n++].size = size;
}

static bool take_back(int device, const kept *k, int row)
{
    return tn__cublaslt_engines.take(device, k->row[row].key, k->row[row].key_size, k->row[row].engine, k->row[row].size);
}

/* From one device to others, which ask for an algorithm only where they have none. */
static void algorithms_are_given_and_taken_back(void **state)
{
    enum { FROM = 7, TO, REFUSING };
    const tn__cuda_product some = product_of(2, M), none = product_of(2, M + 2);
    tn__cuda_work from = {.device = FROM}, to = {.device = TO}, refusing = {.device = REFUSING};
    kept k = {0};
    (void)state;
    blocks_left = 1000;
    assert_int_equal(tn__cublaslt_multiply(&some, &from), 0);
    lt.none = true;
    assert_int_equal(tn__cublaslt_multiply(&none, &from), TN_CUDA_DECLINED);
    lt.none = false;
    lt.offered = 43;
    lt.asked = 0;
    tn__cublaslt_engines.each(FROM, keep, &k);
    assert_int_equal(k.n, 2);
    for (int twice = 0; twice < 2; twice++)
        assert_true(take_back(TO, &k, 0) && take_back(TO, &k, 1));
    assert_int_equal(tn__cublaslt_multiply(&some, &to), 0);
    assert_int_equal(lt.used, 42);
    assert_int_equal(tn__cublaslt_multiply(&none, &to), TN_CUDA_DECLINED);
    assert_int_equal(lt.asked, 0);

    const int usable = k.row[0].size ? 0 : 1;
    lt.refuses = true;
    assert_false(take_back(REFUSING, &k, usable));
    lt.refuses = false;
    lt.workspace = 33 << 20;
    assert_false(take_back(REFUSING, &k, usable));
    lt.workspace = 0;
    k.row[usable].size--;
    assert_false(take_back(REFUSING, &k, usable));
    k.row[usable].key_size--;
    assert_false(take_back(REFUSING, &k, usable));
    assert_int_equal(tn__cublaslt_multiply(&some, &refusing), 0);
    assert_int_equal(lt.used, 43);
    assert_int_equal(lt.asked, 1);
    assert_int_equal(blocks_out, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_of_every_layout),
        cmocka_unit_test(what_is_rounded_is_taken),
        cmocka_unit_test(an_algorithm_is_chosen_once),
        cmocka_unit_test(rows_do_not_choose),
        cmocka_unit_test(alignment_is_told),
        cmocka_unit_test(what_it_cannot_is_declined),
        cmocka_unit_test(failures_are_told),
        cmocka_unit_test(algorithms_are_given_and_taken_back),
    };
    return cmocka_run_group_tests(tests, begin, NULL);
}
