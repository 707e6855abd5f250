/* Errors.  The library never ends your process: the first error of a thread is
 * kept until tn_error_clear(), a function that fails returns NULL (or false), a
 * function given NULL does nothing and returns NULL, and tn_step() leaves the
 * weights alone while an error is set.  So an expression of any length needs one
 * check at its end:
 *
 *     tn_tensor *loss = tn_cross_entropy(tn_forward(net, x), y);
 *     if (!tn_ok()) fprintf(stderr, "%s\n", tn_error()->text);
 *
 * Errors are per thread; a loader hands those of its workers to the thread that
 * asks for the batch. */
#ifndef TENON_ERROR_H
#define TENON_ERROR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TN_API __attribute__((visibility("default")))

#define TN_CODES(X)                                       \
    X(OK, "no error")                                     \
    X(ENOMEM, "out of memory")                            \
    X(ESHAPE, "shapes do not fit")                        \
    X(EDTYPE, "wrong dtype")                              \
    X(EDEVICE, "device trouble")                          \
    X(EARG, "bad argument")                               \
    X(ESTATE, "not possible now")                         \
    X(EKERNEL, "no kernel")                               \
    X(ENUM, "not a number")                               \
    X(EIO, "cannot read or write")                        \
    X(EFORMAT, "damaged or foreign file")

typedef enum tn_code {
#define X(id, text) TN_##id,
    TN_CODES(X)
#undef X
} tn_code;

typedef struct tn_err {
    tn_code code;     /* TN_OK while there is none                              */
    char text[1024];  /* "matmul: shapes do not fit: [64,512] x [256,512] in fc" */
    const char *file; /* of the caller; NULL when not known                     */
    int line;
} tn_err;

/* The first error of this thread; never NULL, valid until tn_error_clear(). */
TN_API const tn_err *tn_error(void);
TN_API bool tn_ok(void);
TN_API void tn_error_clear(void);
TN_API const char *tn_code_text(tn_code code);

/* Sets an error (when none is set yet) and returns NULL.  The text is printf's. */
TN_API void *tn_fail(tn_code code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Sets `e` again in this thread, for instance one that another thread met. */
TN_API void *tn_fail_as(const tn_err *e);

/* Sets TN_EARG "what: there is no 'name'; do you mean 'nearest'?  Known: ..." and returns NULL. */
TN_API void *tn_fail_unknown(const char *what, const char *name, int n, const char *const *known);

/* Called once for each first error, in the thread that met it.  The default
 * prints one line to standard error; NULL is silence. */
typedef void tn_error_handler(const tn_err *e, void *arg);
TN_API void tn_on_error(tn_error_handler *handler, void *arg);
TN_API void tn_print_error(const tn_err *e, void *arg); /* the default handler */

/* true: this thread keeps its errors but calls no handler; for a worker thread whose errors another
 * thread sets again with tn_fail_as(). */
TN_API void tn_error_quiet(bool quiet);

/* Of `known` [n] the word spelt most like `word`, for errors about unknown names; NULL when n is 0. */
TN_API const char *tn_nearest(const char *word, const char *const *known, int n);

/* Remembers where the caller stands, for the error text; used by the macros. */
TN_API void tn__at(const char *file, int line);
#ifdef TN_INTERNAL
#define TN_AT(call) (call)
#else
#define TN_AT(call) (tn__at(__FILE__, __LINE__), (call))
#endif

#ifdef __cplusplus
}
#endif
#endif
