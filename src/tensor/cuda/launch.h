/* What the host code of the CUDA backend and its kernels agree on.  Both C and C++. */
#ifndef TN_CUDA_LAUNCH_H
#define TN_CUDA_LAUNCH_H

#include "attrs.h"
#include "rule.h"
#include "tenon/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What kernels find wrong with integers is told at the next wait for the device, and only the first such: a
 * kernel calls k_wrong() (kdefs.h), goes on without what is wrong, and never reads or writes out of bounds. */
typedef enum tn__cuda_wrong {
    TN_BAD_INDEX, TN_BAD_TARGET, TN_BAD_SPAN, TN_SHARED_ROW, TN_BAD_LENGTH, TN_TOO_MANY_KEYS, TN_TOO_MANY_ROWS
} tn__cuda_wrong;
typedef enum tn__cuda_spans { TN_SPANS, TN_QUERY_SPANS, TN_KEY_SPANS } tn__cuda_spans; /* which are meant */
typedef struct tn__cuda_fault {
    int told, op; /* told: taken by a thread, which fills in the rest */
    tn__cuda_wrong wrong;
    tn__cuda_spans spans;
    int64_t number[4]; /* of the sentence (../wrong.h) */
} tn__cuda_fault;
typedef struct tn__cuda_watch { /* for a kernel's arguments */
    tn__cuda_fault *fault;      /* of the device, in the host's memory */
    int op;
    tn__cuda_spans spans;
} tn__cuda_watch;

/* A random op's key in a kernel, whose count in a recording goes on from replay to replay: k_key() (kdefs.h). */
typedef struct tn__cuda_key {
    tn_rng recorded;
    const uint64_t *drawn; /* on the device */
} tn__cuda_key;

/* Where a launcher runs. */
enum { TN_CUDA_SCRATCH = 8, TN_CUDA_COUNTERS = 1024, TN_CUDA_NO_MEMORY = 2 /* cudaErrorMemoryAllocation */ };
/* What the launchers of libraries (libs/) may return, too: the kernel of our own is to do it; the error is set. */
enum { TN_CUDA_DECLINED = -1, TN_CUDA_TOLD = 999 /* cudaErrorUnknown */ };
typedef struct tn__cuda_work {
    int device;
    void *stream;  /* a cudaStream_t */
    const uint64_t *drawn; /* for a tn__cuda_key */
    unsigned *counters;    /* [TN_CUDA_COUNTERS], for k_whole() (reduce.h) */
    bool half;             /* operands of products are rounded to bf16 */
    tn__cuda_watch watch;
    int n_scratch; /* what tn__cuda_scratch() has given */
    void *scratch[TN_CUDA_SCRATCH];
    size_t scratch_bytes[TN_CUDA_SCRATCH];
} tn__cuda_work;

/* An op on the device of its tensors, as a tn_kernel: 0, or a cudaError_t.  Nothing waits for the
 * device.  tn__cuda_softmax() is defined in softmax.cu (or, where a library does it, in a .c);
 * defining it is all that is needed: an op whose launcher does not exist has none in kernels.c's
 * table. */
typedef int tn__cuda_launch(const tn_call *c, tn__cuda_work *w);
#define MAP(name, ...) tn__cuda_launch tn__cuda_##name, tn__cuda_##name##_backward;
#define BIN(name, ...) tn__cuda_launch tn__cuda_##name, tn__cuda_##name##_dx, tn__cuda_##name##_dz;
#define CMP(name, ...) tn__cuda_launch tn__cuda_##name;
#include "tenon/ops_map.def"
#define OP(name, ...) tn__cuda_launch tn__cuda_##name;
#include "tenon/ops.def"

/* ---- for launchers, which cannot call the library (kernels.c) ---- */
size_t tn__cuda_size(tn_dtype t);                      /* bytes of an element */
int64_t tn__cuda_count(const tn_tensor *t);            /* elements */
void *tn__cuda_data(const tn_tensor *t);               /* the first element; NULL is absent */
/* Device memory until the op is done; NULL: return TN_CUDA_NO_MEMORY. */
void *tn__cuda_scratch(tn__cuda_work *w, size_t bytes);
int tn__cuda_zero(void *p, size_t bytes, const tn__cuda_work *w);
int tn__cuda_fill(void *p, const void *element, size_t size, int64_t n, void *stream);
/* t in bf16, where the precision is that and there is memory; else NULL.  The same steps go from element to element. */
const uint16_t *tn__cuda_rounded(const tn_tensor *t, tn__cuda_work *w);
/* Where an op's kernel is to write its whole result in bf16, too, so that nobody needs to round it; NULL: nowhere. */
uint16_t *tn__cuda_rounded_out(const tn_tensor *t, tn__cuda_work *w);
int tn__cuda_copy(void *to, const void *from, size_t bytes, const tn__cuda_work *w); /* on the device */

/* c = a b, or c = c + a b with `add`, for each of a batch; bias [n] is added to each row.  Steps are in elements and
 * may be 0; columns of c run.  In f32 an element's bits do not depend on the rows and columns beside it, unless
 * `split` allows to cut its terms into as many parts as keep the device busy. */
typedef struct tn__cuda_product {
    int64_t batch, m, n, k;
    const float *a, *b, *bias; /* [m, k], [k, n]; bias: NULL is absent */
    float *c;                  /* [m, n] */
    int64_t a_row, a_col, b_row, b_col, c_row, a_batch, b_batch, c_batch;
    bool add, split;
    const uint16_t *a_half, *b_half; /* a and b in bf16 where that is at hand, else NULL */
} tn__cuda_product;
int tn__cuda_multiply(const tn__cuda_product *p, tn__cuda_work *w); /* what every op calls (gemm.c) */
/* gemm.cu, in strict f32; room: as many floats as it says */
int64_t tn__cuda_gemm_room(const tn__cuda_product *p);
int tn__cuda_gemm(const tn__cuda_product *p, float *room, void *stream);

/* bf16.cu: a matrix, or a batch of them, of any steps, to [batch, rows, cols] without gaps; n elements back */
typedef struct tn__cuda_matrix {
    const float *at;
    int64_t batch, rows, cols, batch_step, row_step, col_step;
} tn__cuda_matrix;
int tn__cuda_to_bf16(const tn__cuda_matrix *x, uint16_t *y, void *stream);
int tn__cuda_from_bf16(const uint16_t *x, float *y, int64_t n, void *stream);

/* recurrent.cu: gates and states of one step of all sequences, once the hidden states' part of the gates is made.  Of
 * what is there for each step, the first step's is given; what a kind of layer lacks is NULL. */
typedef struct tn__cuda_cells {
    int gates;                           /* 4: LSTM, 3: GRU, 1: plain */
    bool reverse, relu;
    int64_t time, steps, batch, width;   /* time: of this step */
    const int64_t *lengths;              /* NULL: all have every step */
    float *y, *cells, *saved;
    const float *x, *part;               /* forward; part [batch, gates width] */
    float *h, *c;                        /* forward: the states, which the step changes */
    const float *h0, *c0, *g;            /* backward; of first states, NULL: zeros */
    float *dh, *dc, *dx, *dr, *before;   /* backward; before: NULL: nobody wants it */
    tn__cuda_watch watch;
} tn__cuda_cells;
int tn__cuda_cells_forward(const tn__cuda_cells *s, void *stream);
int tn__cuda_cells_backward(const tn__cuda_cells *s, void *stream);
int tn__cuda_lengths_told(const tn__cuda_cells *s, void *stream); /* has it told that a length is wrong */

/* optim.cu, add.cu */
int tn__cuda_rule(const tn__rule_call *c, void *stream);
int tn__cuda_additions(int count, const tn__addition *all, void *stream);

#ifdef __cplusplus
}
#endif
#endif
