/* sim_entries.c: cuGetProcAddress: which entry serves which ABI version; and the errors' names. */
#include "cuda/sim/sim.h"

#include <limits.h>
#include <string.h>

/* cuda.h renames what has variants to the newest one. That is wanted everywhere below but here. */
#undef cuGetProcAddress

typedef void (*any_function)(void);

typedef struct entry {
  const char *name;
  int since; /* the ABI version of this variant */
  int until; /* the version of the next variant, which is another function */
  any_function function;
} entry;

#define ENTRY(name, since, until) \
  { #name, since, until, (any_function)name }

/* The drivers before 12.0 answered without a reason. */
CUSIM_API CUresult cuGetProcAddress(const char *name, void **function, int version,
                                    cuuint64_t flags);

static const entry entries[] = {
    ENTRY(cuInit, 2000, INT_MAX),
    ENTRY(cuDriverGetVersion, 2020, INT_MAX),
    ENTRY(cuGetProcAddress, 11030, 12000),
    {"cuGetProcAddress", 12000, INT_MAX, (any_function)cuGetProcAddress_v2},
    ENTRY(cuGetErrorName, 6000, INT_MAX),
    ENTRY(cuGetErrorString, 6000, INT_MAX),
    ENTRY(cuDeviceGetCount, 2000, INT_MAX),
    ENTRY(cuDeviceGet, 2000, INT_MAX),
    ENTRY(cuDeviceGetName, 2000, INT_MAX),
    ENTRY(cuDeviceGetUuid, 11040, INT_MAX),
    ENTRY(cuDeviceGetAttribute, 2000, INT_MAX),
    ENTRY(cuDeviceTotalMem, 3020, INT_MAX),
    ENTRY(cuDeviceGetPCIBusId, 4010, INT_MAX),
    ENTRY(cuDevicePrimaryCtxRetain, 7000, INT_MAX),
    ENTRY(cuDevicePrimaryCtxRelease, 11000, INT_MAX),
    ENTRY(cuDevicePrimaryCtxGetState, 7000, INT_MAX),
    ENTRY(cuCtxGetCurrent, 4000, INT_MAX),
    ENTRY(cuCtxSetCurrent, 4000, INT_MAX),
    ENTRY(cuCtxPushCurrent, 4000, INT_MAX),
    ENTRY(cuCtxPopCurrent, 4000, INT_MAX),
    ENTRY(cuCtxGetDevice, 2000, 13000),
    ENTRY(cuCtxSynchronize, 2000, 13000),
    ENTRY(cuMemGetInfo, 3020, INT_MAX),
    ENTRY(cuMemAlloc, 3020, INT_MAX),
    ENTRY(cuMemFree, 3020, INT_MAX),
    ENTRY(cuMemGetAddressRange, 3020, INT_MAX),
    ENTRY(cuMemHostAlloc, 2020, INT_MAX),
    ENTRY(cuMemFreeHost, 2000, INT_MAX),
    ENTRY(cuMemHostRegister, 6050, INT_MAX),
    ENTRY(cuMemHostUnregister, 4000, INT_MAX),
    ENTRY(cuMemHostGetDevicePointer, 3020, INT_MAX),
    ENTRY(cuPointerGetAttribute, 4000, INT_MAX),
    ENTRY(cuMemGetAllocationGranularity, 10020, INT_MAX),
    ENTRY(cuMemAddressReserve, 10020, INT_MAX),
    ENTRY(cuMemAddressFree, 10020, INT_MAX),
    ENTRY(cuMemCreate, 10020, INT_MAX),
    ENTRY(cuMemRelease, 10020, INT_MAX),
    ENTRY(cuMemMap, 10020, INT_MAX),
    ENTRY(cuMemUnmap, 10020, INT_MAX),
    ENTRY(cuMemSetAccess, 10020, INT_MAX),
    ENTRY(cuMemGetAccess, 10020, INT_MAX),
    ENTRY(cuMemRetainAllocationHandle, 11000, INT_MAX),
    ENTRY(cuMemGetAllocationPropertiesFromHandle, 10020, INT_MAX),
    ENTRY(cuMemPoolCreate, 11020, INT_MAX),
    ENTRY(cuMemPoolDestroy, 11020, INT_MAX),
    ENTRY(cuMemPoolTrimTo, 11020, INT_MAX),
    ENTRY(cuMemPoolSetAttribute, 11020, INT_MAX),
    ENTRY(cuMemPoolGetAttribute, 11020, INT_MAX),
    ENTRY(cuMemPoolSetAccess, 11020, INT_MAX),
    ENTRY(cuMemPoolGetAccess, 11020, INT_MAX),
    ENTRY(cuDeviceGetDefaultMemPool, 11020, INT_MAX),
    ENTRY(cuDeviceGetMemPool, 11020, INT_MAX),
    ENTRY(cuDeviceSetMemPool, 11020, INT_MAX),
    ENTRY(cuMemAllocAsync, 11020, INT_MAX),
    ENTRY(cuMemAllocFromPoolAsync, 11020, INT_MAX),
    ENTRY(cuMemFreeAsync, 11020, INT_MAX),
    ENTRY(cuMemcpyAsync, 4000, INT_MAX),
    ENTRY(cuMemcpyHtoDAsync, 3020, INT_MAX),
    ENTRY(cuMemcpyDtoHAsync, 3020, INT_MAX),
    ENTRY(cuMemcpyDtoDAsync, 3020, INT_MAX),
    ENTRY(cuMemcpy2DAsync, 3020, INT_MAX),
    ENTRY(cuMemcpy, 4000, INT_MAX),
    ENTRY(cuMemcpyHtoD, 3020, INT_MAX),
    ENTRY(cuMemcpyDtoH, 3020, INT_MAX),
    ENTRY(cuMemsetD8Async, 3020, INT_MAX),
    ENTRY(cuStreamCreate, 2000, INT_MAX),
    ENTRY(cuStreamCreateWithPriority, 5050, INT_MAX),
    ENTRY(cuStreamDestroy, 4000, INT_MAX),
    ENTRY(cuStreamQuery, 2000, INT_MAX),
    ENTRY(cuStreamSynchronize, 2000, INT_MAX),
    ENTRY(cuStreamWaitEvent, 3020, INT_MAX),
    ENTRY(cuStreamGetId, 12000, INT_MAX),
    ENTRY(cuStreamGetCtx, 9020, 12050),
    ENTRY(cuStreamGetFlags, 5050, INT_MAX),
    ENTRY(cuLaunchHostFunc, 10000, INT_MAX),
    ENTRY(cuEventCreate, 2000, INT_MAX),
    ENTRY(cuEventDestroy, 4000, INT_MAX),
    ENTRY(cuEventRecord, 2000, INT_MAX),
    ENTRY(cuEventQuery, 2000, INT_MAX),
    ENTRY(cuEventSynchronize, 2000, INT_MAX),
    ENTRY(cuDeviceGetByPCIBusId, 4010, INT_MAX),
    ENTRY(cuDeviceCanAccessPeer, 4000, INT_MAX),
    ENTRY(cuCtxGetStreamPriorityRange, 5050, INT_MAX),
    ENTRY(cuMemAllocPitch, 3020, INT_MAX),
    ENTRY(cuMemHostGetFlags, 2030, INT_MAX),
    ENTRY(cuPointerGetAttributes, 7000, INT_MAX),
    ENTRY(cuMemcpyDtoD, 3020, INT_MAX),
    ENTRY(cuMemcpyPeerAsync, 4000, INT_MAX),
    ENTRY(cuMemcpy3DAsync, 3020, INT_MAX),
    {"cuMemcpyBatchAsync", 12080, 13000, (any_function)sim_memcpy_batch_v12080},
    ENTRY(cuMemcpyBatchAsync, 13000, INT_MAX),
    ENTRY(cuMemsetD8, 3020, INT_MAX),
    ENTRY(cuMemsetD16Async, 3020, INT_MAX),
    ENTRY(cuMemsetD32Async, 3020, INT_MAX),
    ENTRY(cuMemsetD2D8Async, 3020, INT_MAX),
    ENTRY(cuMemsetD2D16Async, 3020, INT_MAX),
    ENTRY(cuMemsetD2D32Async, 3020, INT_MAX),
    ENTRY(cuStreamGetPriority, 5050, INT_MAX),
    ENTRY(cuStreamWaitValue32, 11070, INT_MAX),
    ENTRY(cuStreamWaitValue64, 11070, INT_MAX),
    ENTRY(cuStreamWriteValue32, 11070, INT_MAX),
    ENTRY(cuStreamWriteValue64, 11070, INT_MAX),
    ENTRY(cuEventRecordWithFlags, 11010, INT_MAX),
    ENTRY(cuMemExportToShareableHandle, 10020, INT_MAX),
    ENTRY(cuMemImportFromShareableHandle, 10020, INT_MAX),
    ENTRY(cuMemcpy3DPeerAsync, 4000, INT_MAX),
    ENTRY(cuCtxEnablePeerAccess, 4000, INT_MAX),
    ENTRY(cuCtxDisablePeerAccess, 4000, INT_MAX),
    ENTRY(cuIpcGetMemHandle, 4010, INT_MAX),
    ENTRY(cuIpcOpenMemHandle, 11000, INT_MAX),
    ENTRY(cuIpcCloseMemHandle, 4010, INT_MAX),
    ENTRY(cuIpcGetEventHandle, 4010, INT_MAX),
    ENTRY(cuIpcOpenEventHandle, 4010, INT_MAX),
    ENTRY(cuEventElapsedTime, 2000, INT_MAX),
    ENTRY(cuStreamBeginCapture, 10010, INT_MAX),
    ENTRY(cuStreamEndCapture, 10000, INT_MAX),
    ENTRY(cuStreamIsCapturing, 10000, INT_MAX),
    {"cuStreamGetCaptureInfo", 11030, 12030, (any_function)sim_get_capture_info_v2},
    ENTRY(cuStreamGetCaptureInfo, 12030, INT_MAX),
    ENTRY(cuThreadExchangeStreamCaptureMode, 10010, INT_MAX),
    ENTRY(cuGraphDestroy, 10000, INT_MAX),
    ENTRY(cuGraphGetNodes, 10000, INT_MAX),
    {"cuGraphInstantiate", 12000, INT_MAX, (any_function)cuGraphInstantiateWithFlags},
    ENTRY(cuGraphInstantiateWithFlags, 11040, INT_MAX),
    ENTRY(cuGraphExecDestroy, 10000, INT_MAX),
    ENTRY(cuGraphExecUpdate, 12000, INT_MAX),
    ENTRY(cuGraphLaunch, 10000, INT_MAX),
    ENTRY(cuModuleLoadData, 2000, INT_MAX),
    ENTRY(cuModuleLoadDataEx, 2010, INT_MAX),
    ENTRY(cuModuleUnload, 2000, INT_MAX),
    ENTRY(cuModuleGetFunction, 2000, INT_MAX),
    ENTRY(cuLaunchKernel, 4000, INT_MAX),
};

/* --- finding --- */

static CUdriverProcAddressQueryResult find_entry(const char *name, int version, void **function) {
  CUdriverProcAddressQueryResult found = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
  if (strcmp(name, sim.hidden) == 0) return found;
  for (size_t i = 0; i < sizeof entries / sizeof entries[0]; i++) {
    if (strcmp(entries[i].name, name) != 0) continue;
    if (version < entries[i].since) {
      if (found == CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND) {
        found = CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT;
      }
    } else if (version < entries[i].until) {
      memcpy(function, &entries[i].function, sizeof *function);
      return CU_GET_PROC_ADDRESS_SUCCESS;
    }
  }
  return found;
}

/* What has been given another list of arguments since. */
static bool is_newest(const char *name, int version) {
  return version >= 13000 || strcmp(name, "cuMemcpyBatchAsync") != 0;
}

/* The first version that knew default streams of threads. */
enum { PER_THREAD_SINCE = 7000 };

static CUresult answer(const char *name, void **function, int version, cuuint64_t flags,
                       CUdriverProcAddressQueryResult *reason) {
  if (name == NULL || function == NULL) return CUDA_ERROR_INVALID_VALUE;
  *function = NULL;
  const cuuint64_t known =
      CU_GET_PROC_ADDRESS_LEGACY_STREAM | CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM;
  if ((flags & ~known) != 0 || flags == known) return CUDA_ERROR_INVALID_VALUE;
  const CUdriverProcAddressQueryResult found = find_entry(name, version, function);
  const bool is_per_thread = (flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM) != 0;
  const sim_function variant =
      is_per_thread && version >= PER_THREAD_SINCE && is_newest(name, version)
          ? sim_per_thread_variant(name)
          : NULL;
  if (found == CU_GET_PROC_ADDRESS_SUCCESS && variant != NULL) {
    memcpy(function, &variant, sizeof *function);
  }
  if (reason != NULL) *reason = found;
  return found == CU_GET_PROC_ADDRESS_SUCCESS ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

CUresult cuGetProcAddress_v2(const char *name, void **function, int version, cuuint64_t flags,
                             CUdriverProcAddressQueryResult *reason) {
  SIM_ENTER(cuGetProcAddress, SIM_NEEDS_NOTHING);
  /* With somewhere to put the reason, an unknown name is an answer and no error. */
  const CUresult result = answer(name, function, version, flags, reason);
  return sim_leave(result == CUDA_ERROR_NOT_FOUND && reason != NULL ? CUDA_SUCCESS : result);
}

CUresult cuGetProcAddress(const char *name, void **function, int version, cuuint64_t flags) {
  SIM_ENTER(cuGetProcAddress, SIM_NEEDS_NOTHING);
  return sim_leave(answer(name, function, version, flags, NULL));
}

/* --- errors --- */

/* Those that the simulator returns or that tests ask it for. */
#define ERRORS(X)                                                                        \
  X(CUDA_SUCCESS, "no error")                                                            \
  X(CUDA_ERROR_INVALID_VALUE, "invalid argument")                                        \
  X(CUDA_ERROR_OUT_OF_MEMORY, "out of memory")                                           \
  X(CUDA_ERROR_NOT_INITIALIZED, "the driver is not initialised")                         \
  X(CUDA_ERROR_DEINITIALIZED, "the driver is shutting down")                             \
  X(CUDA_ERROR_NO_DEVICE, "no device was found")                                         \
  X(CUDA_ERROR_INVALID_DEVICE, "there is no such device")                                \
  X(CUDA_ERROR_INVALID_CONTEXT, "no valid context is current")                           \
  X(CUDA_ERROR_INVALID_IMAGE, "the module is no device code")                            \
  X(CUDA_ERROR_NO_BINARY_FOR_GPU, "the module has no code for this device")              \
  X(CUDA_ERROR_INVALID_PTX, "the PTX does not compile")                                  \
  X(CUDA_ERROR_UNSUPPORTED_PTX_VERSION, "the PTX is newer than the driver")              \
  X(CUDA_ERROR_MISALIGNED_ADDRESS, "a kernel used an address that is not aligned")       \
  X(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, "the kernel does not take so many threads")      \
  X(CUDA_ERROR_ECC_UNCORRECTABLE, "an uncorrectable ECC error")                          \
  X(CUDA_ERROR_OPERATING_SYSTEM, "a call to the operating system failed")                \
  X(CUDA_ERROR_INVALID_HANDLE, "a handle is not valid")                                  \
  X(CUDA_ERROR_NOT_FOUND, "the name was not found")                                      \
  X(CUDA_ERROR_NOT_READY, "the work is not done yet")                                    \
  X(CUDA_ERROR_ILLEGAL_ADDRESS, "work used memory that is not allocated")                \
  X(CUDA_ERROR_CONTEXT_IS_DESTROYED, "the context was destroyed")                        \
  X(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, "already registered")                     \
  X(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, "not registered")                             \
  X(CUDA_ERROR_LAUNCH_FAILED, "a launch failed")                                         \
  X(CUDA_ERROR_LAUNCH_TIMEOUT, "a stream waits for a value for too long")                \
  X(CUDA_ERROR_NOT_PERMITTED, "not permitted from a host function")                      \
  X(CUDA_ERROR_NOT_SUPPORTED, "the simulated driver does not do that")                   \
  X(CUDA_ERROR_ILLEGAL_STATE, "the stream is not in the state for that")                 \
  X(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "not permitted while a stream is captured")   \
  X(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "the capture was broken by an earlier error") \
  X(CUDA_ERROR_STREAM_CAPTURE_MERGE, "two captures would become one")                    \
  X(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, "the capture began on another stream")          \
  X(CUDA_ERROR_STREAM_CAPTURE_UNJOINED, "a stream was drawn in and not joined")          \
  X(CUDA_ERROR_STREAM_CAPTURE_ISOLATION, "a wait would reach out of the capture")        \
  X(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, "the default stream would wait for a capture")   \
  X(CUDA_ERROR_CAPTURED_EVENT, "the event was recorded in a capture last")               \
  X(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD, "another thread began the capture")          \
  X(CUDA_ERROR_MAP_FAILED, "memory could not be mapped")                                 \
  X(CUDA_ERROR_PEER_ACCESS_UNSUPPORTED, "the devices do not reach each other")           \
  X(CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED, "the device is let in already")              \
  X(CUDA_ERROR_PEER_ACCESS_NOT_ENABLED, "the device was not let in")                     \
  X(CUDA_ERROR_UNKNOWN, "unknown error")

/* Neither refuses anybody: a message is wanted most where nothing else works any more. */

CUresult cuGetErrorName(CUresult error, const char **name) {
  SIM_ENTER(cuGetErrorName, SIM_NEEDS_NOTHING);
  *name = NULL;
#define NAME(code, text) \
  if (error == code) *name = #code;
  ERRORS(NAME)
#undef NAME
  return sim_leave(*name != NULL ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE);
}

CUresult cuGetErrorString(CUresult error, const char **text) {
  SIM_ENTER(cuGetErrorString, SIM_NEEDS_NOTHING);
  *text = NULL;
#define TEXT(code, words) \
  if (error == code) *text = words;
  ERRORS(TEXT)
#undef TEXT
  return sim_leave(*text != NULL ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE);
}
