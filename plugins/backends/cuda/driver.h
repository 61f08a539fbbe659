/* plugins/backends/cuda/driver.h: the functions of the driver and of cuBLASLt that this plugin calls, found at run time.
 *
 * The plugin links neither: on a machine without a driver it loads, and says why there is no device. cuBLASLt may be missing; matrix products
 * are then done by a kernel of our own, slowly.
 * Invariant: a table that driver_load has filled is complete, but for the matrix library's half when `has_lt` is 0.
 */
#ifndef PRN_CUDA_DRIVER_H
#define PRN_CUDA_DRIVER_H

#include <perennial/status.h>

#include <cublasLt.h>
#include <cuda.h>

#define DRIVER_FUNCTIONS(X)                                                                                                                         \
    X(cuInit) X(cuDriverGetVersion) X(cuGetErrorName) X(cuDeviceGetCount) X(cuDeviceGet) X(cuDeviceGetName) X(cuDeviceGetAttribute)                 \
    X(cuDeviceTotalMem) X(cuDevicePrimaryCtxRetain) X(cuDevicePrimaryCtxRelease) X(cuCtxSetCurrent) X(cuMemGetInfo) X(cuMemAlloc) X(cuMemFree)      \
    X(cuMemHostAlloc) X(cuMemFreeHost) X(cuMemcpyHtoDAsync) X(cuMemcpyDtoHAsync) X(cuMemcpyDtoDAsync) X(cuMemsetD8Async) X(cuStreamCreate)          \
    X(cuStreamDestroy) X(cuStreamSynchronize) X(cuStreamWaitEvent) X(cuEventCreate) X(cuEventDestroy) X(cuEventRecord) X(cuEventSynchronize) X(cuEventElapsedTime)       \
    X(cuModuleLoadData) X(cuModuleUnload) X(cuModuleGetFunction) X(cuFuncSetAttribute) X(cuLaunchKernel) X(cuStreamBeginCapture)                    \
    X(cuStreamEndCapture) X(cuGraphInstantiateWithFlags) X(cuGraphLaunch) X(cuGraphExecDestroy) X(cuGraphDestroy)

#define LT_FUNCTIONS(X)                                                                                                                             \
    X(cublasLtCreate) X(cublasLtDestroy) X(cublasLtGetVersion) X(cublasLtMatmulDescCreate) X(cublasLtMatmulDescDestroy)                             \
    X(cublasLtMatmulDescSetAttribute) X(cublasLtMatrixLayoutCreate) X(cublasLtMatrixLayoutDestroy) X(cublasLtMatmulPreferenceCreate)                \
    X(cublasLtMatmulPreferenceDestroy) X(cublasLtMatmulPreferenceSetAttribute) X(cublasLtMatmulAlgoGetHeuristic) X(cublasLtMatmul)

typedef struct driver {
#define DRIVER_MEMBER(name) __typeof__(&name) name;
    DRIVER_FUNCTIONS(DRIVER_MEMBER)
    LT_FUNCTIONS(DRIVER_MEMBER)
#undef DRIVER_MEMBER
    int has_lt;
} driver;

/* Finds and starts the driver; libraries stay loaded. PRN_NOT_FOUND with a reason when there is none, or none that works. [orchestrator] */
prn_status driver_load(driver *d, prn_error *error);

/* PRN_OK for CUDA_SUCCESS, else an error that says what was being done. [any] */
prn_status driver_status(const driver *d, CUresult result, const char *doing, prn_error *error);

#endif
