/* NVIDIA's libraries, opened at run time and bound by name: the module loads without them, and
 * an op that wants one which is not there takes the kernel of our own. */
#ifndef TN_CUDA_LOAD_H
#define TN_CUDA_LOAD_H

#include <cublasLt.h>
#include <cudnn_graph.h>
#include <stdbool.h>
#include <stddef.h>

#define TN_CUDNN_FUNCTIONS(X)                                                                      \
    X(cudnnGetVersion) X(cudnnCreate) X(cudnnSetStream) X(cudnnGetErrorString)                     \
    X(cudnnGetLastErrorString) X(cudnnBackendCreateDescriptor) X(cudnnBackendDestroyDescriptor)    \
    X(cudnnBackendFinalize) X(cudnnBackendSetAttribute) X(cudnnBackendGetAttribute)                \
    X(cudnnBackendExecute)
#define TN_CUBLASLT_FUNCTIONS(X)                                                                   \
    X(cublasLtGetVersion) X(cublasLtCreate) X(cublasLtGetStatusString) X(cublasLtMatmul)           \
    X(cublasLtMatmulDescCreate) X(cublasLtMatmulDescDestroy) X(cublasLtMatmulDescSetAttribute)     \
    X(cublasLtMatrixLayoutCreate) X(cublasLtMatrixLayoutDestroy)                                   \
    X(cublasLtMatrixLayoutSetAttribute) X(cublasLtMatmulPreferenceCreate)                          \
    X(cublasLtMatmulPreferenceDestroy) X(cublasLtMatmulPreferenceSetAttribute)                     \
    X(cublasLtMatmulAlgoGetHeuristic) X(cublasLtMatmulAlgoCheck)

/* Callable once tn__library() says so. */
extern struct tn__nvidia {
#define X(function) __typeof__(function) *function;
    TN_CUDNN_FUNCTIONS(X)
    TN_CUBLASLT_FUNCTIONS(X)
#undef X
} tn__nvidia;

/* in the order in which they are opened: cuDNN asks the loader for the others */
enum { TN_LIB_NVRTC, TN_LIB_CUBLASLT, TN_LIB_CUDNN, TN_LIBS };
bool tn__library(int which); /* opens what is not open yet, once */

#endif
