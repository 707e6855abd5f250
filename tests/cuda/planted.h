/* Kernels with and without planted faults, to test the emulator: each writes 64 floats. */
#ifndef TN_PLANTED_H
#define TN_PLANTED_H

#ifdef __cplusplus
extern "C" {
#endif
int planted_right(float *out);     /* reverses 0..63 through shared memory, adds their sum */
int planted_race(float *out);     /* the same without the barrier */
int planted_divergent(float *out); /* half of the threads wait for the others in vain */
#ifdef __cplusplus
}
#endif
#endif
