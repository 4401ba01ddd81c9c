/* driver.h: the CUDA driver as a table of functions, filled in at run time.
 *
 * Every entry is asked for by name and by the version of its own ABI: the version that a PFN type
 * of cudaTypedefs.h carries, never the toolkit's. That pair picks one exported variant for good,
 * whatever the driver is.
 */
#ifndef TARN_DRIVER_H
#define TARN_DRIVER_H

#include "alloc/tarn_status.h"

#include <cuda.h>
#include <cudaTypedefs.h>

/* What memory needs that other processes and devices use; a part of the table below. */
#define TARN__DRIVER_SHARING(X)                            \
  X(DeviceGetUuid, 11040, OPTIONAL)                        \
  X(MemGetAddressRange, 3020, OPTIONAL)                    \
  X(MemRetainAllocationHandle, 11000, OPTIONAL)            \
  X(MemExportToShareableHandle, 10020, OPTIONAL)           \
  X(MemImportFromShareableHandle, 10020, OPTIONAL)         \
  X(MemGetAllocationPropertiesFromHandle, 10020, OPTIONAL) \
  X(IpcGetMemHandle, 4010, OPTIONAL)                       \
  X(IpcOpenMemHandle, 11000, OPTIONAL)                     \
  X(IpcCloseMemHandle, 4010, OPTIONAL)                     \
  X(IpcGetEventHandle, 4010, OPTIONAL)                     \
  X(IpcOpenEventHandle, 4010, OPTIONAL)                    \
  X(DeviceCanAccessPeer, 4000, OPTIONAL)                   \
  X(CtxEnablePeerAccess, 4000, OPTIONAL)                   \
  X(MemcpyPeerAsync, 4000, OPTIONAL)                       \
  X(Memcpy3DPeerAsync, 4000, OPTIONAL)                     \
  X(MemPoolSetAccess, 11020, OPTIONAL)

/* Name without its prefix, ABI version, and whether tarn works without it. */
#define TARN__DRIVER_TABLE(X)                     \
  X(Init, 2000, REQUIRED)                         \
  X(DriverGetVersion, 2020, REQUIRED)             \
  X(GetErrorName, 6000, REQUIRED)                 \
  X(GetErrorString, 6000, REQUIRED)               \
  X(DeviceGetCount, 2000, REQUIRED)               \
  X(DeviceGet, 2000, REQUIRED)                    \
  X(DeviceGetName, 2000, REQUIRED)                \
  X(DeviceGetAttribute, 2000, REQUIRED)           \
  X(DeviceTotalMem, 3020, REQUIRED)               \
  X(DeviceGetPCIBusId, 4010, OPTIONAL)            \
  X(DevicePrimaryCtxRetain, 7000, REQUIRED)       \
  X(DevicePrimaryCtxRelease, 11000, REQUIRED)     \
  X(CtxGetCurrent, 4000, REQUIRED)                \
  X(CtxSetCurrent, 4000, REQUIRED)                \
  X(CtxPushCurrent, 4000, REQUIRED)               \
  X(CtxPopCurrent, 4000, REQUIRED)                \
  X(CtxSynchronize, 2000, OPTIONAL)               \
  X(MemGetInfo, 3020, REQUIRED)                   \
  X(MemAlloc, 3020, REQUIRED)                     \
  X(MemFree, 3020, REQUIRED)                      \
  X(MemHostAlloc, 2020, REQUIRED)                 \
  X(MemFreeHost, 2000, REQUIRED)                  \
  X(MemHostRegister, 6050, REQUIRED)              \
  X(MemHostUnregister, 4000, REQUIRED)            \
  X(PointerGetAttributes, 7000, OPTIONAL)         \
  X(MemGetAllocationGranularity, 10020, OPTIONAL) \
  X(MemAddressReserve, 10020, OPTIONAL)           \
  X(MemAddressFree, 10020, OPTIONAL)              \
  X(MemCreate, 10020, OPTIONAL)                   \
  X(MemRelease, 10020, OPTIONAL)                  \
  X(MemMap, 10020, OPTIONAL)                      \
  X(MemUnmap, 10020, OPTIONAL)                    \
  X(MemSetAccess, 10020, OPTIONAL)                \
  TARN__DRIVER_SHARING(X)                         \
  X(MemPoolCreate, 11020, OPTIONAL)               \
  X(MemPoolDestroy, 11020, OPTIONAL)              \
  X(MemPoolTrimTo, 11020, OPTIONAL)               \
  X(MemPoolSetAttribute, 11020, OPTIONAL)         \
  X(MemPoolGetAttribute, 11020, OPTIONAL)         \
  X(MemAllocFromPoolAsync, 11020, OPTIONAL)       \
  X(MemFreeAsync, 11020, OPTIONAL)                \
  X(MemcpyAsync, 4000, REQUIRED)                  \
  X(Memcpy2DAsync, 3020, REQUIRED)                \
  X(Memcpy3DAsync, 3020, OPTIONAL)                \
  X(MemcpyBatchAsync, 13000, OPTIONAL)            \
  X(MemsetD8Async, 3020, REQUIRED)                \
  X(StreamCreate, 2000, REQUIRED)                 \
  X(StreamDestroy, 4000, REQUIRED)                \
  X(StreamSynchronize, 2000, REQUIRED)            \
  X(StreamQuery, 2000, REQUIRED)                  \
  X(StreamWaitEvent, 3020, REQUIRED)              \
  X(StreamGetCtx, 9020, OPTIONAL)                 \
  X(LaunchHostFunc, 10000, REQUIRED)              \
  X(EventCreate, 2000, REQUIRED)                  \
  X(EventDestroy, 4000, REQUIRED)                 \
  X(EventRecord, 2000, REQUIRED)                  \
  X(EventQuery, 2000, REQUIRED)                   \
  X(EventSynchronize, 2000, REQUIRED)             \
  X(ModuleLoadDataEx, 2010, OPTIONAL)             \
  X(ModuleUnload, 2000, OPTIONAL)                 \
  X(ModuleGetFunction, 2000, OPTIONAL)            \
  X(LaunchKernel, 4000, OPTIONAL)                 \
  X(StreamIsCapturing, 10000, OPTIONAL)           \
  X(ThreadExchangeStreamCaptureMode, 10010, OPTIONAL)

/* An optional entry that the driver lacks is NULL. */
typedef struct tarn__driver {
  void *library;
  bool is_simulated;
#define TARN__DRIVER_MEMBER(name, version, need) PFN_cu##name##_v##version name;
  TARN__DRIVER_TABLE(TARN__DRIVER_MEMBER)
#undef TARN__DRIVER_MEMBER
  /* The same call with one argument more, before CUDA 13; NULL where there is the newer one. */
  PFN_cuMemcpyBatchAsync_v12080 MemcpyBatchAsyncOfCuda12;
} tarn__driver;

/* Opens `path` (NULL: libcuda.so.1) and fills the table; the driver is not initialised yet.
 * TARN_UNAVAILABLE where there is no driver, only the toolkit's stub of one, or one that lacks a
 * required entry, which the message names. */
TARN_NODISCARD tarn_status tarn__driver_load(const char *path, tarn__driver *driver);

/* Closes the library. Its code stays mapped: a driver's own threads may still be in it. */
void tarn__driver_unload(tarn__driver *driver);

#endif
