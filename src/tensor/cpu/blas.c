/* Matrix products of one thread: OpenBLAS, opened at run time, or plain C where it is absent.
 *
 * It is opened, not linked, for two reasons: the library works without it, and its kernels can still be
 * chosen.  On processors it does not know OpenBLAS 0.3.21 takes kernels for AVX2, or for SSE3, which costs half of its
 * speed and more; OPENBLAS_CORETYPE corrects that, but is read only while the library is being opened.
 * TN_BLAS=plain asks for the plain loops.
 *
 * How a product is cut for many threads is in gemm.c. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

enum { ROW_MAJOR = 101, AS_IS = 111, TRANSPOSED = 112 }; /* cblas.h */
typedef void cblas_sgemm_fn(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a, int lda,
                            const float *b, int ldb, float beta, float *c, int ldc);
typedef void cblas_dgemm_fn(int order, int ta, int tb, int m, int n, int k, double alpha, const double *a,
                            int lda, const double *b, int ldb, double beta, double *c, int ldc);

static struct {
    pthread_once_t once;
    cblas_sgemm_fn *sgemm;
    cblas_dgemm_fn *dgemm;
    char text[96];
    atomic_bool plain;
} blas = {.once = PTHREAD_ONCE_INIT, .text = "plain C loops (no OpenBLAS found)"};

/* ---- opening ---- */

/* Sets a variable of the environment that the user has not set; whether it did. */
static bool lend(const char *variable, const char *value)
{
    return value && !getenv(variable) && !setenv(variable, value, 1);
}

/* OpenBLAS reads its variables while it is being opened.  Threads of its own would only wait. */
static void *open_library(const char *core)
{
    static const char *const names[] = {"libopenblas.so.0", "libopenblasp.so.0", "libopenblas.so"};
    const bool threads = lend("OPENBLAS_NUM_THREADS", "1"), cores = lend("OPENBLAS_CORETYPE", core);
    void *library = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names && !library; i++)
        library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (threads)
        unsetenv("OPENBLAS_NUM_THREADS");
    if (cores)
        unsetenv("OPENBLAS_CORETYPE");
    return library;
}

typedef void function(void);

static function *symbol(void *library, const char *name)
{
    void *object = dlsym(library, name);
    function *f;
    memcpy(&f, &object, sizeof f); /* ISO C has no cast between the two */
    return f;
}

static const char *text_of(void *library, const char *name)
{
    const char *(*text)(void) = (const char *(*)(void))symbol(library, name);
    return text ? text() : "";
}

/* The kernels that OpenBLAS ought to have taken on a processor that it does not know; NULL: it did well. */
static const char *better_kernels(void *library)
{
#ifdef __x86_64__
    static const char *const wide[] = {"SkylakeX", "Cooperlake", "SapphireRapids"};
    const char *core = text_of(library, "openblas_get_corename");
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++)
        if (!strcmp(core, wide[i]))
            return NULL;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd"))
        return "SkylakeX";
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && strcmp(core, "Haswell") &&
        strcmp(core, "Zen") && strcmp(core, "Excavator"))
        return "Haswell";
#else
    (void)library;
#endif
    return NULL;
}

static void open_blas(void)
{
    const char *wish = getenv("TN_BLAS");
    atomic_init(&blas.plain, wish && !strcmp(wish, "plain"));
    void *library = open_library(NULL);
    const char *core = library && !getenv("OPENBLAS_CORETYPE") ? better_kernels(library) : NULL;
    if (core) {
        dlclose(library);
        library = open_library(core);
    }
    if (!library)
        return;
    void (*set_threads)(int) = (void (*)(int))symbol(library, "openblas_set_num_threads");
    if (set_threads)
        set_threads(1);
    blas.sgemm = (cblas_sgemm_fn *)symbol(library, "cblas_sgemm");
    blas.dgemm = (cblas_dgemm_fn *)symbol(library, "cblas_dgemm");
    char version[32] = "OpenBLAS";
    sscanf(text_of(library, "openblas_get_config"), "OpenBLAS %20s", version);
    snprintf(blas.text, sizeof blas.text, "OpenBLAS %s, %s kernels", version,
             text_of(library, "openblas_get_corename"));
}

static bool use_plain(void)
{
    pthread_once(&blas.once, open_blas);
    return atomic_load_explicit(&blas.plain, memory_order_relaxed);
}

const char *tn_blas(void)
{
    return use_plain() ? "plain C loops" : blas.text;
}

void tn__blas_plain(bool on)
{
    pthread_once(&blas.once, open_blas);
    atomic_store(&blas.plain, on);
}

/* ---- products ---- */

/* Rows of C, a block of B at a time: the block is laid out evenly first, so that the inner loop runs along
 * rows whatever is transposed. */
enum { BLOCK_K = 64, BLOCK_N = 128 };
#define PLAIN(real, name)                                                                                  \
    static void name(bool ta, bool tb, int64_t m, int64_t n, int64_t k, real alpha, const real *a,         \
                     int64_t lda, const real *b, int64_t ldb, real beta, real *c, int64_t ldc)             \
    {                                                                                                      \
        const int64_t ai = ta ? 1 : lda, ap = ta ? lda : 1, bp = tb ? 1 : ldb, bj = tb ? ldb : 1;          \
        real block[BLOCK_K][BLOCK_N];                                                                      \
        for (int64_t i = 0; i < m; i++)                                                                    \
            for (int64_t j = 0; j < n; j++)                                                                \
                c[i * ldc + j] = beta == 0 ? 0 : beta * c[i * ldc + j];                                    \
        for (int64_t p0 = 0; p0 < k; p0 += BLOCK_K)                                                        \
            for (int64_t j0 = 0; j0 < n; j0 += BLOCK_N) {                                                  \
                const int64_t pn = k - p0 < BLOCK_K ? k - p0 : BLOCK_K;                                    \
                const int64_t jn = n - j0 < BLOCK_N ? n - j0 : BLOCK_N;                                    \
                for (int64_t p = 0; p < pn; p++)                                                           \
                    for (int64_t j = 0; j < jn; j++)                                                       \
                        block[p][j] = b[(p0 + p) * bp + (j0 + j) * bj];                                    \
                for (int64_t i = 0; i < m; i++)                                                            \
                    for (int64_t p = 0; p < pn; p++) {                                                     \
                        const real s = alpha * a[i * ai + (p0 + p) * ap];                                  \
                        real *row = c + i * ldc + j0;                                                      \
                        for (int64_t j = 0; j < jn; j++)                                                   \
                            row[j] += s * block[p][j];                                                     \
                    }                                                                                      \
            }                                                                                              \
    }
PLAIN(float, plain_f32)
PLAIN(double, plain_f64)

/* OpenBLAS counts in int. */
static bool fits(int64_t m, int64_t n, int64_t k, int64_t lda, int64_t ldb, int64_t ldc)
{
    return m <= INT_MAX && n <= INT_MAX && k <= INT_MAX && lda <= INT_MAX && ldb <= INT_MAX && ldc <= INT_MAX;
}

#define GEMM(real, name, library, plain)                                                                   \
    void name(bool ta, bool tb, int64_t m, int64_t n, int64_t k, real alpha, const real *a, int64_t lda,   \
              const real *b, int64_t ldb, real beta, real *c, int64_t ldc)                                 \
    {                                                                                                      \
        if (use_plain() || !library || k == 0 || !fits(m, n, k, lda, ldb, ldc))                            \
            plain(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);                                   \
        else if (m && n)                                                                                   \
            library(ROW_MAJOR, ta ? TRANSPOSED : AS_IS, tb ? TRANSPOSED : AS_IS, (int)m, (int)n, (int)k,   \
                    alpha, a, (int)lda, b, (int)ldb, beta, c, (int)ldc);                                   \
    }
GEMM(float, tn__gemm_f32, blas.sgemm, plain_f32)
GEMM(double, tn__gemm_f64, blas.dgemm, plain_f64)
