/* fidelity.h: small programs on the driver's own calls, with the answers that any driver may give.
 *
 * Each runs in a process of its own. A step is one call: its words, what was answered and what may
 * be answered are a line of the transcript. Where CUDA leaves a choice, several answers may be. */
#ifndef TARN_FIDELITY_H
#define TARN_FIDELITY_H

#include <stdbool.h>
#include <stddef.h>

#include <cuda.h>

#define FIDELITY_THREAD_CALLS(X) X(cuThreadExchangeStreamCaptureMode)

/* In the names of the newest form that the headers know; a macro of theirs says which. */
#define FIDELITY_CALLS(X)          \
  X(cuInit)                        \
  X(cuDeviceGetCount)              \
  X(cuDeviceGet)                   \
  X(cuDeviceGetAttribute)          \
  X(cuDevicePrimaryCtxRetain)      \
  X(cuDevicePrimaryCtxRelease)     \
  X(cuDevicePrimaryCtxGetState)    \
  X(cuCtxGetCurrent)               \
  X(cuCtxSetCurrent)               \
  X(cuCtxPopCurrent)               \
  X(cuCtxSynchronize)              \
  X(cuCtxGetStreamPriorityRange)   \
  FIDELITY_THREAD_CALLS(X)         \
  X(cuMemGetInfo)                  \
  X(cuMemAlloc)                    \
  X(cuMemFree)                     \
  X(cuMemGetAddressRange)          \
  X(cuPointerGetAttribute)         \
  X(cuPointerGetAttributes)        \
  X(cuMemHostAlloc)                \
  X(cuMemFreeHost)                 \
  X(cuMemHostRegister)             \
  X(cuMemHostUnregister)           \
  X(cuMemHostGetDevicePointer)     \
  X(cuMemcpyHtoD)                  \
  X(cuMemcpyDtoH)                  \
  X(cuMemcpyDtoD)                  \
  X(cuMemcpyAsync)                 \
  X(cuMemcpyBatchAsync)            \
  X(cuMemcpyHtoDAsync)             \
  X(cuMemcpyDtoHAsync)             \
  X(cuMemcpy2DAsync)               \
  X(cuMemsetD8)                    \
  X(cuMemsetD8Async)               \
  X(cuMemsetD16Async)              \
  X(cuMemsetD32Async)              \
  X(cuStreamCreate)                \
  X(cuStreamCreateWithPriority)    \
  X(cuStreamDestroy)               \
  X(cuStreamQuery)                 \
  X(cuStreamSynchronize)           \
  X(cuStreamWaitEvent)             \
  X(cuStreamGetId)                 \
  X(cuStreamGetFlags)              \
  X(cuStreamGetPriority)           \
  X(cuStreamWaitValue32)           \
  X(cuStreamWriteValue32)          \
  X(cuEventCreate)                 \
  X(cuEventDestroy)                \
  X(cuEventRecord)                 \
  X(cuEventQuery)                  \
  X(cuEventSynchronize)            \
  X(cuEventElapsedTime)            \
  X(cuLaunchHostFunc)              \
  X(cuStreamBeginCapture)          \
  X(cuStreamEndCapture)            \
  X(cuStreamIsCapturing)           \
  X(cuGraphInstantiateWithFlags)   \
  X(cuGraphLaunch)                 \
  X(cuGraphDestroy)                \
  X(cuGraphExecDestroy)            \
  X(cuMemPoolCreate)               \
  X(cuMemPoolDestroy)              \
  X(cuMemPoolSetAttribute)         \
  X(cuMemPoolGetAttribute)         \
  X(cuMemPoolTrimTo)               \
  X(cuMemAllocFromPoolAsync)       \
  X(cuMemAllocAsync)               \
  X(cuMemFreeAsync)                \
  X(cuDeviceGetDefaultMemPool)     \
  X(cuMemGetAllocationGranularity) \
  X(cuMemAddressReserve)           \
  X(cuMemAddressFree)              \
  X(cuMemCreate)                   \
  X(cuMemRelease)                  \
  X(cuMemMap)                      \
  X(cuMemUnmap)                    \
  X(cuMemSetAccess)                \
  X(cuMemGetAccess)                \
  X(cuMemRetainAllocationHandle)   \
  X(cuMemExportToShareableHandle)  \
  X(cuIpcGetMemHandle)             \
  X(cuIpcOpenMemHandle)            \
  X(cuIpcGetEventHandle)           \
  X(cuIpcOpenEventHandle)

#define FIDELITY_FIELD_(name) __typeof__(&name) name;
#define FIDELITY_FIELD(name) FIDELITY_FIELD_(name)
typedef struct fidelity_driver {
  FIDELITY_CALLS(FIDELITY_FIELD)
} fidelity_driver;

/* Of the case's own process. */
extern fidelity_driver cu;

typedef struct fidelity_case {
  const char *name;
  void (*run)(void);
} fidelity_case;

/* Each ends with an entry without a name. */
extern const fidelity_case fidelity_streams[];
extern const fidelity_case fidelity_memory[];
extern const fidelity_case fidelity_virtual[];
extern const fidelity_case fidelity_capture[];
extern const fidelity_case fidelity_movement[];

/* One line of the transcript each. Another answer than those makes the case fail; it goes on. */
void fidelity_step(const char *words, CUresult answer, const CUresult *allowed, size_t count);
void fidelity_value(const char *words, long long answer, const long long *allowed, size_t count);

#define FIDELITY_COUNT(array) (sizeof(array) / sizeof(array)[0])
#define STEP(call, ...)                                         \
  fidelity_step(#call, (call), (const CUresult[]){__VA_ARGS__}, \
                FIDELITY_COUNT(((const CUresult[]){__VA_ARGS__})))
#define VALUE(expression, ...)                                                           \
  fidelity_value(#expression, (long long)(expression), (const long long[]){__VA_ARGS__}, \
                 FIDELITY_COUNT(((const long long[]){__VA_ARGS__})))

#define OK CUDA_SUCCESS
#define INVALID CUDA_ERROR_INVALID_VALUE

/* 1 once an answer differed. */
int fidelity_status(void);

/* The device's primary context is current from now on. */
CUcontext fidelity_enter(void);
CUstream fidelity_stream(unsigned flags);
CUevent fidelity_event(unsigned flags);
/* The stream goes no further until fidelity_release, for all streams that were held. */
void fidelity_hold(CUstream stream);
void fidelity_release(void);
/* Runs a function on a thread of its own, in the same context, to its end. */
void fidelity_on_thread(void (*function)(void *argument), void *argument);

#endif
