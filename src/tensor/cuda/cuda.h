/* What the host files of the CUDA backend share.  They are a module of their own,
 * libtenon_cuda.so, that src/tensor/device.c opens: it reaches the library through tn__host
 * (internal.h) alone.
 *
 *     backend.c   opening, devices, copies     memory.c   the pool of each device
 *     kernels.c   ops and rules -> launchers   gemm.c     matrix products
 *     faults.c    what kernels found wrong     libs/      cuDNN and cuBLASLt, where they are there
 *     staging.c   from the host, not waiting   recording.c   whole steps as CUDA graphs
 *     engines.c   what libraries have chosen   rounded.c   copies in bf16
 *     counters.c  of blocks                    *.cu       kernels and their launchers */
#ifndef TN_CUDA_H
#define TN_CUDA_H

#include <cuda_runtime_api.h>

#include "internal.h"

extern tn__cuda_entry tn__cuda_backend;
extern tn__cuda_info_entry tn__cuda_info;

enum { TN_CUDA_DEVICES = 16 }; /* used at most */

/* The stream of a device that everything runs on, in order, with the device made current; false
 * with the error set. */
bool tn__cuda_on(int device, cudaStream_t *stream);
/* Waits for a device, whose stream it is; false with the error set when that fails, when a kernel has found something
 * wrong since the last wait, or when the device is being recorded. */
bool tn__cuda_wait(int device, const char *what, cudaStream_t stream);
/* True when e is success, else false with the error set: what was done, on which device, and
 * why. */
bool tn__cuda_ok(int device, const char *what, cudaError_t e);
void tn__cuda_trouble(int device, const char *what, const char *why); /* sets the error */
void tn__cuda_told(tn_code code, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* any error */

tn_precision tn__cuda_precision(int device); /* as tn_set_precision() has it */

struct tn__cuda_fault;
bool tn__cuda_fault_new(int device);                /* before the first kernel */
struct tn__cuda_fault *tn__cuda_fault_of(int device);
/* False, with the error set through `fail`, when a kernel has found something wrong; the device waits. */
bool tn__cuda_faultless(int device, const tn__host *host);

bool tn__cuda_send(int device, void *to, const void *from, size_t bytes, cudaStream_t stream);

/* struct tn_backend's (../internal.h) */
bool tn__cuda_record(int device);
void *tn__cuda_recorded(int device, bool good);
bool tn__cuda_replay(int device, void *exec, const uint64_t *drawn);
void tn__cuda_forget(int device, void *exec);
bool tn__cuda_recording(int device);
bool tn__cuda_unrecorded(int device, const char *what); /* false with the error set when the device is being recorded */
bool tn__cuda_alone(int device); /* false with the error set when another thread is recording it */
/* On the device: what kernels launched now add to the count of a random op. */
const uint64_t *tn__cuda_drawn(int device);
bool tn__cuda_drawn_new(int device, cudaStream_t stream);

unsigned *tn__cuda_counters(int device); /* on the device, TN_CUDA_COUNTERS of them (launch.h) */
bool tn__cuda_counters_new(int device, cudaStream_t stream);

void tn__cuda_arena_end(int device); /* memory of recordings, of which there are none any more */
void *tn__cuda_alloc(int device, size_t bytes);
void tn__cuda_release(int device, void *p, size_t bytes);

/* That was rounded of this memory (rounded.c) is no more; NULL: of any on the device. */
void tn__cuda_forget_rounded(int device, const void *data);

/* As struct tn_backend has them (engines.c). */
void *tn__cuda_engines(int device, size_t *size);
int64_t tn__cuda_take_engines(int device, const void *bytes, size_t size);

tn_kernel *tn__cuda_kernel(int op, tn_dtype t);
bool tn__cuda_step(const tn__rule_call *c);
bool tn__cuda_add_all(int device, int count, const tn__addition *all);

#endif
