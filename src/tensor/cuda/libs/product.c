/* Matrix products through cuBLASLt.  What is asked: ../launch.h; the kernel of our own: ../gemm.cu.
 *
 * cuBLASLt has columns that run, so it makes the transpose: c' = b' a'.  An algorithm is chosen once
 * for each shape.  Where a row must not know the rows beside it (f32 without `split`), it is chosen for
 * ROWS rows, whatever their number, and may not cut the terms: then an element is the same sum. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "cuda.h"
#include "libs.h"
#include "load.h"

enum { WORKSPACE = 32 << 20, ROWS = 4096, LISTS = 256 };

/* A factor as cuBLASLt sees it. */
typedef struct factor {
    int32_t transposed, type; /* cublasOperation_t, cudaDataType */
    int64_t ld, batch_step;
} factor;

typedef struct key {
    int64_t batch, m, n, k, c_row, c_batch;
    factor left, right; /* b' and a' */
    int32_t precision, bias, add, split, align, unused;
} key;

typedef struct entry {
    struct entry *next;
    key key;
    bool usable;
    size_t workspace;
    cublasLtMatmulAlgo_t algo;
} entry;

static struct {
    pthread_mutex_t lock;
    cublasLtHandle_t handle[TN_CUDA_DEVICES];
    entry *list[TN_CUDA_DEVICES][LISTS];
} products = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool lt_ok(int device, cublasStatus_t s)
{
    if (s != CUBLAS_STATUS_SUCCESS)
        tn__cuda_trouble(device, "cuBLASLt", tn__nvidia.cublasLtGetStatusString(s));
    return s == CUBLAS_STATUS_SUCCESS;
}

/* ---- what is asked, in cuBLASLt's words ---- */

/* A matrix [rows, cols] whose transpose is wanted: as it is when its rows run, transposed when its
 * columns do; false when neither does. */
static bool as_factor(int64_t rows, int64_t cols, int64_t row, int64_t col, int64_t batch_step, int type, factor *f)
{
    *f = (factor){.batch_step = batch_step, .type = type};
    if (col == 1 && (rows == 1 || row >= cols)) {
        f->transposed = CUBLAS_OP_N;
        f->ld = rows == 1 ? cols : row;
        return true;
    }
    f->transposed = CUBLAS_OP_T;
    f->ld = cols == 1 ? rows : col;
    return row == 1 && (cols == 1 || col >= rows);
}

static bool key_of(const tn__cuda_product *p, tn_precision precision, key *k)
{
    const uintptr_t at = (uintptr_t)p->a | (uintptr_t)p->b | (uintptr_t)p->c | (uintptr_t)p->bias;
    const bool any_row_like_the_first = p->k % 4 == 0 && p->n % 4 == 0;
    const bool split = p->split || precision != TN_PRECISION_F32;
    const int type = precision == TN_PRECISION_BF16 ? CUDA_R_16BF : CUDA_R_32F;
    memset(k, 0, sizeof *k);
    k->batch = p->batch;
    k->m = p->m;
    k->n = p->n;
    k->k = p->k;
    k->c_row = p->m == 1 ? p->n : p->c_row;
    k->c_batch = p->c_batch;
    k->precision = (int32_t)precision;
    k->bias = p->bias != NULL;
    k->add = p->add;
    k->split = split;
    k->align = at % 16 == 0 && (split || any_row_like_the_first) ? 16 : 4;
    return as_factor(p->k, p->n, p->b_row, p->b_col, p->b_batch, type, &k->left) &&
           as_factor(p->m, p->k, p->a_row, p->a_col, p->a_batch, type, &k->right);
}

/* ---- descriptors ---- */

typedef struct call {
    cublasLtMatmulDesc_t how;
    cublasLtMatrixLayout_t left, right, out;
    cublasStatus_t status; /* the first that was not good */
} call;

static void check(call *c, cublasStatus_t s) { c->status = c->status ? c->status : s; }

static void set_how(call *c, cublasLtMatmulDescAttributes_t name, const void *value, size_t size)
{
    check(c, tn__nvidia.cublasLtMatmulDescSetAttribute(c->how, name, value, size));
}

static cublasLtMatrixLayout_t layout(call *c, int type, int64_t rows, int64_t cols, int64_t ld, int64_t batch,
                                     int64_t step)
{
    const struct tn__nvidia *nv = &tn__nvidia;
    const int32_t count = (int32_t)batch;
    cublasLtMatrixLayout_t l = NULL;
    check(c, nv->cublasLtMatrixLayoutCreate(&l, (cudaDataType)type, (uint64_t)rows, (uint64_t)cols, ld));
    if (batch > 1 && !c->status) {
        check(c, nv->cublasLtMatrixLayoutSetAttribute(l, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count));
        check(c, nv->cublasLtMatrixLayoutSetAttribute(l, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &step,
                                                      sizeof step));
    }
    return l;
}

/* `rows` of them, whatever the key says. */
static call begin(const key *k, int64_t rows, const void *bias)
{
    const cublasComputeType_t compute =
        k->precision == TN_PRECISION_TF32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
    const int32_t bias_type = CUDA_R_32F;
    const factor *l = &k->left, *r = &k->right;
    call c = {0};
    check(&c, tn__nvidia.cublasLtMatmulDescCreate(&c.how, compute, CUDA_R_32F));
    set_how(&c, CUBLASLT_MATMUL_DESC_TRANSA, &l->transposed, sizeof l->transposed);
    set_how(&c, CUBLASLT_MATMUL_DESC_TRANSB, &r->transposed, sizeof r->transposed);
    if (k->bias) {
        set_how(&c, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue);
        set_how(&c, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias);
        set_how(&c, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &bias_type, sizeof bias_type);
    }
    const bool left = l->transposed == CUBLAS_OP_T, right = r->transposed == CUBLAS_OP_T;
    c.left = layout(&c, l->type, left ? k->k : k->n, left ? k->n : k->k, l->ld, k->batch, l->batch_step);
    c.right = layout(&c, r->type, right ? rows : k->k, right ? k->k : rows, r->ld, k->batch, r->batch_step);
    c.out = layout(&c, CUDA_R_32F, k->n, rows, k->c_row, k->batch, k->c_batch);
    return c;
}

static void end(call *c)
{
    if (c->out)
        tn__nvidia.cublasLtMatrixLayoutDestroy(c->out);
    if (c->right)
        tn__nvidia.cublasLtMatrixLayoutDestroy(c->right);
    if (c->left)
        tn__nvidia.cublasLtMatrixLayoutDestroy(c->left);
    if (c->how)
        tn__nvidia.cublasLtMatmulDescDestroy(c->how);
}

/* ---- algorithms ---- */

static cublasLtMatmulPreference_t preference(call *c, const key *k)
{
    const struct tn__nvidia *nv = &tn__nvidia;
    const uint64_t workspace = WORKSPACE;
    /* in place would be atomic additions, in any order */
    const uint32_t parts = k->split ? CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE : CUBLASLT_REDUCTION_SCHEME_NONE;
    const uint32_t align = (uint32_t)k->align;
    static const cublasLtMatmulPreferenceAttributes_t aligns[] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
    cublasLtMatmulPreference_t p = NULL;
    check(c, nv->cublasLtMatmulPreferenceCreate(&p));
    check(c, nv->cublasLtMatmulPreferenceSetAttribute(p, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace,
                                                      sizeof workspace));
    check(c, nv->cublasLtMatmulPreferenceSetAttribute(p, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &parts,
                                                      sizeof parts));
    for (int i = 0; i < 4; i++)
        check(c, nv->cublasLtMatmulPreferenceSetAttribute(p, aligns[i], &align, sizeof align));
    return p;
}

/* A bias of which only the alignment is looked at. */
static const void *aligned_as(const key *k) { return (const void *)(uintptr_t)k->align; }

/* Asks whether the algorithm fits the real rows. */
static void check_fit(cublasLtHandle_t handle, entry *e)
{
    cublasLtMatmulHeuristicResult_t result = {0};
    call real = begin(&e->key, e->key.m, aligned_as(&e->key));
    check(&real, real.status ? real.status
                             : tn__nvidia.cublasLtMatmulAlgoCheck(handle, real.how, real.left, real.right, real.out,
                                                                  real.out, &e->algo, &result));
    e->usable = !real.status && result.workspaceSize <= WORKSPACE;
    e->workspace = result.workspaceSize;
    end(&real);
}

/* The first that cuBLASLt offers; for `ROWS` rows it is asked again. */
static void choose(cublasLtHandle_t handle, entry *e)
{
    const struct tn__nvidia *nv = &tn__nvidia;
    const key *k = &e->key;
    cublasLtMatmulHeuristicResult_t best = {0};
    int found = 0;
    call c = begin(k, k->split ? k->m : ROWS, aligned_as(k));
    cublasLtMatmulPreference_t p = preference(&c, k);
    if (!c.status)
        check(&c, nv->cublasLtMatmulAlgoGetHeuristic(handle, c.how, c.left, c.right, c.out, c.out, p, 1, &best,
                                                     &found));
    e->usable = !c.status && found && best.state == CUBLAS_STATUS_SUCCESS;
    if (p)
        nv->cublasLtMatmulPreferenceDestroy(p);
    end(&c);
    e->algo = best.algo;
    e->workspace = best.workspaceSize;
    if (e->usable && !k->split)
        check_fit(handle, e);
}

/* Where the entry of k is, or belongs. */
static entry **place_of(const key *k, int device)
{
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < sizeof *k; i++)
        hash = (hash ^ ((const unsigned char *)k)[i]) * 1099511628211u;
    entry **at = &products.list[device][hash % LISTS];
    while (*at && memcmp(&(*at)->key, k, sizeof *k))
        at = &(*at)->next;
    return at;
}

static const entry *entry_of(const key *k, int device)
{
    entry **at = place_of(k, device);
    if (*at)
        return *at;
    if (!(*at = calloc(1, sizeof **at))) {
        tn__cuda_trouble(device, "cuBLASLt", "no memory for an algorithm");
        return NULL;
    }
    (*at)->key = *k;
    choose(products.handle[device], *at);
    return *at;
}

static bool open_device(int device)
{
    cublasLtHandle_t *handle = &products.handle[device];
    return *handle || lt_ok(device, tn__nvidia.cublasLtCreate(handle));
}

/* ---- given and taken back ---- */

static uint64_t version(void) { return tn__library(TN_LIB_CUBLASLT) ? tn__nvidia.cublasLtGetVersion() : 0; }

static void each(int device, tn__engine_row *row, void *arg)
{
    pthread_mutex_lock(&products.lock);
    for (int i = 0; i < LISTS; i++)
        for (const entry *e = products.list[device][i]; e; e = e->next)
            row(arg, &e->key, sizeof e->key, &e->algo, e->usable ? sizeof e->algo : 0);
    pthread_mutex_unlock(&products.lock);
}

/* One that is refused leaves what was chosen here. */
static bool take(int device, const void *bytes, size_t bytes_size, const void *engine, size_t size)
{
    entry new = {0};
    if (bytes_size != sizeof new.key || (size && size != sizeof new.algo))
        return false;
    memcpy(&new.key, bytes, sizeof new.key);
    if (size)
        memcpy(&new.algo, engine, sizeof new.algo);
    pthread_mutex_lock(&products.lock);
    if (size && open_device(device))
        check_fit(products.handle[device], &new);
    entry **at = size && !new.usable ? NULL : place_of(&new.key, device);
    if (at && !*at)
        *at = calloc(1, sizeof **at);
    const bool good = at && *at;
    if (good) {
        new.next = (*at)->next;
        **at = new;
    }
    pthread_mutex_unlock(&products.lock);
    return good;
}

const tn__chooser tn__cublaslt_engines = {version, each, take};

/* ---- running ---- */

/* Memory of one product.  Not of its op, which may make many. */
typedef struct rooms {
    int n;
    void *p[3];
    size_t bytes[3];
} rooms;

static void *room(rooms *r, size_t bytes, int device)
{
    void *p = tn__cuda_alloc(device, bytes);
    if (p) {
        r->p[r->n] = p;
        r->bytes[r->n++] = bytes;
    }
    return p;
}

static int run(const tn__cuda_product *p, const entry *e, rooms *r, tn__cuda_work *w)
{
    const float one = 1, beta = p->add ? 1 : 0;
    void *workspace = e->workspace ? room(r, e->workspace, w->device) : NULL;
    if (e->workspace && !workspace)
        return TN_CUDA_NO_MEMORY;
    call c = begin(&e->key, p->m, p->bias);
    if (!c.status)
        check(&c, tn__nvidia.cublasLtMatmul(products.handle[w->device], c.how, &one, p->b, c.left, p->a, c.right, &beta,
                                            p->c, c.out, p->c, c.out, &e->algo, workspace, e->workspace, w->stream));
    const bool good = lt_ok(w->device, c.status);
    end(&c);
    return good ? 0 : TN_CUDA_TOLD;
}

static int multiply(const tn__cuda_product *p, const key *k, rooms *r, tn__cuda_work *w)
{
    int failed = TN_CUDA_TOLD;
    pthread_mutex_lock(&products.lock);
    const entry *e = open_device(w->device) ? entry_of(k, w->device) : NULL;
    if (e)
        failed = e->usable ? run(p, e, r, w) : TN_CUDA_DECLINED;
    pthread_mutex_unlock(&products.lock);
    return failed;
}

/* Puts a factor that is rounded to bf16 in the place of it: `half`, or else one without gaps, in the order in which it
 * lies. */
static int round_factor(const float **at, const uint16_t *half, tn__cuda_matrix m, int64_t *row, int64_t *col,
                        int64_t *batch_step, rooms *r, tn__cuda_work *w)
{
    const bool turned = *col != 1;
    factor as_it_lies;
    if (half && as_factor(m.rows, m.cols, *row, *col, *batch_step, CUDA_R_16BF, &as_it_lies)) {
        *at = (const float *)(const void *)half;
        return 0;
    }
    const tn__cuda_matrix from = {*at, *batch_step ? m.batch : 1, turned ? m.cols : m.rows, turned ? m.rows : m.cols,
                                  *batch_step, turned ? *col : *row, turned ? *row : *col};
    uint16_t *y = room(r, (size_t)(from.batch * m.rows * m.cols) * sizeof *y, w->device);
    if (!y)
        return TN_CUDA_NO_MEMORY;
    *at = (const float *)(const void *)y;
    *row = turned ? 1 : m.cols;
    *col = turned ? m.rows : 1;
    *batch_step = *batch_step ? m.rows * m.cols : 0;
    return tn__cuda_to_bf16(&from, y, w->stream);
}

int tn__cublaslt_multiply(const tn__cuda_product *given, tn__cuda_work *w)
{
    const tn_precision precision = tn__cuda_precision(w->device);
    tn__cuda_product p = *given;
    rooms r = {0};
    key k;
    int failed = 0;
    if (!tn__library(TN_LIB_CUBLASLT) || p.batch < 1 || p.batch > INT32_MAX || p.m < 1 || p.n < 1 || p.k < 1)
        return TN_CUDA_DECLINED;
    if (precision == TN_PRECISION_BF16) {
        const tn__cuda_matrix a = {.batch = p.batch, .rows = p.m, .cols = p.k};
        const tn__cuda_matrix b = {.batch = p.batch, .rows = p.k, .cols = p.n};
        failed = round_factor(&p.a, p.a_half, a, &p.a_row, &p.a_col, &p.a_batch, &r, w);
        failed = failed ? failed : round_factor(&p.b, p.b_half, b, &p.b_row, &p.b_col, &p.b_batch, &r, w);
    }
    if (!failed)
        failed = key_of(&p, precision, &k) ? multiply(&p, &k, &r, w) : TN_CUDA_DECLINED;
    while (r.n--)
        tn__cuda_release(w->device, r.p[r.n], r.bytes[r.n]);
    return failed;
}
