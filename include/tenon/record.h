/* Work that is done again and again, such as the step of a training loop.  On a GPU it is recorded and then replayed as
 * one piece (a CUDA graph), which costs the host next to nothing; elsewhere it is done as it is written.
 *
 *     tn_recorder *often = tn_recorder_new(device);
 *     tn_tensor *sum = tn_on(tn_zeros(TN_SCALAR), device);
 *     TN_EACH(b, data) {
 *         tn_tensor *in[] = {b.x, b.y};
 *         TN_RECORD(often, 0, 2, in) {
 *             tn_tensor *loss = tn_cross_entropy(tn_forward(net, in[0]), in[1]);
 *             tn_backward(loss);
 *             tn_step(opt);
 *             tn_copy_(sum, tn_add(sum, loss));
 *         }
 *     }
 *     printf("%g\n", tn_item(sum));
 *
 * The body is done the first time that inputs of such shapes come, recorded the second time and replayed from then on.
 * All three give the same bits: random ops draw what they would have drawn, and an optimizer makes a step with the rate
 * it has by then.  What cannot be recorded, because the host must know a value in the middle (tn_item() and its like),
 * is done as it is written, every time. */
#ifndef TENON_RECORD_H
#define TENON_RECORD_H

#include "tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Freed by tn_free(), before what its bodies read or write: networks, optimizers, tensors. */
typedef struct tn_recorder tn_recorder;
TN_API tn_recorder *tn_recorder_new(tn_device device);

enum { TN_RECORD_INPUTS = 8 };

/* TN_RECORD(recorder, key, n, in) { body }
 *
 * in: n tensors, NULL among them or not, which the body finds on the device.  key: whatever else the course of the body
 * depends on: its place in the program, when a recorder has several, and the ifs inside.
 * Other tensors that the body reads or writes (weights, sums) must stay where they are as long as the recorder is used:
 * change them in place.  What the body makes ends with it.  Plain C in a body happens when it is done or recorded, not
 * when it is replayed, but for what is given to tn_each_time(); set the rate before.  After an error nothing is done. */
typedef struct tn_pass {
    tn_recorder *recorder;
    struct tn__recorded *recorded;
    int state;
    bool quiet;
} tn_pass;
TN_API tn_pass tn_pass_begin(tn_recorder *r, int64_t key, int n, tn_tensor **in);
TN_API bool tn_pass_next(tn_pass *p);
TN_API void tn_pass_end(tn_pass *p);
#define TN_RECORD(r, key, n, in) TN_RECORD_(TN_CAT(tn_pass_, __LINE__), r, key, n, in)
#define TN_RECORD_(pass, r, key, n, in)                                                              \
    for (tn_pass pass __attribute__((cleanup(tn_pass_end))) = tn_pass_begin(r, key, n, in);          \
         tn_pass_next(&pass);) TN_SCOPE

/* For layers and optimizers that count on the host: calls fn(arg) now or, in a body that is being recorded, before each
 * replay instead.  False as fn says, with the error set. */
TN_API bool tn_each_time(bool (*fn)(void *arg), void *arg);

/* How often bodies of this recorder were recorded, and replayed. */
TN_API void tn_recorder_counts(const tn_recorder *r, int64_t *recordings, int64_t *replays);

/* Why a body is done as it is written each time, of the last that could not be recorded; NULL: all were. */
TN_API const char *tn_recorder_trouble(const tn_recorder *r);

#ifdef __cplusplus
}
#endif
#endif
