/* cuda_share.c: a device's memory, and the point that a stream has reached, for other processes. */
#include "cuda/cuda_share.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

static tarn_status refuse_entry(const char *entry) {
  return tarn_fail(TARN_NOT_SUPPORTED, "sharing a GPU's memory: the driver lacks %s", entry);
}

/* --- the stream's mark --- */

typedef struct mark_keeper {
  tarn_cuda *cuda; /* retained */
  CUcontext context;
  CUevent event;
} mark_keeper;

/* Importers have destroyed theirs. Tried twice, for nobody comes again. */
static void end_mark(void *keeper) {
  mark_keeper *self = keeper;
  bool is_gone = tarn__cuda_is_left_behind(self->cuda); /* the parent's */
  for (int attempt = 0; attempt < 2 && !is_gone; attempt++) {
    tarn__cuda_scope scope;
    if (tarn__cuda_enter_relaxed(self->cuda, self->context, &scope) != TARN_OK) continue;
    is_gone = self->cuda->driver.EventDestroy(self->event) == CUDA_SUCCESS;
    tarn__cuda_leave(&scope);
  }
  tarn_cuda_release(self->cuda);
  free(self);
}

static tarn_status record_mark(mark_keeper *self, CUstream stream, tarn_share_memory *memory) {
  const tarn__driver *driver = &self->cuda->driver;
  CUipcEventHandle handle;
  const char *call = "cuEventCreate";
  CUresult result =
      driver->EventCreate(&self->event, CU_EVENT_DISABLE_TIMING | CU_EVENT_INTERPROCESS);
  if (result != CUDA_SUCCESS) return tarn__cuda_status(driver, result, call, "a mark to share");
  call = "cuEventRecord";
  result = driver->EventRecord(self->event, stream);
  if (result == CUDA_SUCCESS) {
    call = "cuIpcGetEventHandle";
    result = driver->IpcGetEventHandle(&handle, self->event);
  }
  if (result != CUDA_SUCCESS) {
    driver->EventDestroy(self->event);
    return tarn__cuda_status(driver, result, call, "a mark to share");
  }
  _Static_assert(sizeof handle.reserved == TARN_SHARE_HANDLE_BYTES, "a handle travels whole");
  memcpy(memory->mark, handle.reserved, sizeof memory->mark);
  memory->has_mark = true;
  memory->end = end_mark;
  memory->keeper = self;
  return TARN_OK;
}

static bool has_marks(const tarn_cuda *cuda, int32_t device) {
  int can = 0;
  return cuda->driver.IpcGetEventHandle != NULL &&
         cuda->driver.DeviceGetAttribute(&can, CU_DEVICE_ATTRIBUTE_IPC_EVENT_SUPPORTED,
                                         cuda->devices[device].native) == CUDA_SUCCESS &&
         can != 0;
}

/* Of a stream of this device a mark travels; any other is waited for. */
static tarn_status order(tarn_cuda *cuda, int32_t device, tarn_stream *stream, bool may_mark,
                         tarn_share_memory *memory) {
  tarn__cuda_stream native;
  CUcontext context;
  tarn__cuda_scope scope;
  if (!may_mark || !tarn__cuda_stream_of(stream, &native) || native.device != device ||
      native.cuda->driver.EventRecord != cuda->driver.EventRecord || !has_marks(cuda, device)) {
    return tarn_stream_synchronize(stream);
  }
  tarn_status status = tarn__cuda_context(cuda, device, &context);
  if (status != TARN_OK) return status;
  mark_keeper *keeper = calloc(1, sizeof *keeper);
  if (keeper == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a mark to share");
  *keeper = (mark_keeper){.cuda = cuda, .context = context};
  status = tarn__cuda_enter_relaxed(cuda, context, &scope);
  if (status == TARN_OK) {
    status = record_mark(keeper, native.native, memory);
    tarn__cuda_leave(&scope);
  }
  if (status != TARN_OK) {
    free(keeper);
    return status;
  }
  tarn_cuda_retain(cuda);
  return TARN_OK;
}

/* --- memory --- */

static tarn_status describe_device(tarn_cuda *cuda, int32_t device, tarn_share_memory *memory) {
  CUuuid uuid;
  if (cuda->driver.DeviceGetUuid == NULL) return refuse_entry("cuDeviceGetUuid");
  if (cuda->driver.MemGetAddressRange == NULL) return refuse_entry("cuMemGetAddressRange");
  const CUresult result = cuda->driver.DeviceGetUuid(&uuid, cuda->devices[device].native);
  _Static_assert(sizeof uuid.bytes == TARN_SHARE_IDENTITY_BYTES, "a UUID travels whole");
  if (result == CUDA_SUCCESS) memcpy(memory->identity, uuid.bytes, sizeof memory->identity);
  memory->device = tarn_device_make(TARN_DEVICE_CUDA, device);
  return tarn__cuda_status(&cuda->driver, result, "cuDeviceGetUuid", "CUDA device %d", (int)device);
}

/* The one mapping at the address, and a descriptor of its memory. */
static tarn_status export_piece(const tarn__driver *driver, CUdeviceptr address, CUdeviceptr *start,
                                tarn_share_memory *memory) {
  size_t size_bytes = 0;
  int descriptor = -1;
  CUmemGenericAllocationHandle handle = 0;
  const char *call = "cuMemGetAddressRange";
  CUresult result = driver->MemGetAddressRange(start, &size_bytes, address);
  if (result == CUDA_SUCCESS) {
    call = "cuMemRetainAllocationHandle";
    result = driver->MemRetainAllocationHandle(&handle, (void *)(uintptr_t)*start);
  }
  if (result == CUDA_SUCCESS) {
    call = "cuMemExportToShareableHandle";
    result = driver->MemExportToShareableHandle(&descriptor, handle,
                                                CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0);
    /* Tried twice: the memory would never come back. */
    if (driver->MemRelease(handle) != CUDA_SUCCESS) driver->MemRelease(handle);
  }
  if (result != CUDA_SUCCESS) {
    return tarn__cuda_status(driver, result, call, "sharing the memory at %p",
                             (void *)(uintptr_t)address);
  }
  (void)fcntl(descriptor, F_SETFD, FD_CLOEXEC);
  return tarn_share_add_piece(memory, descriptor, /*offset_bytes=*/0, size_bytes);
}

static tarn_status export_pieces(const tarn__driver *driver, CUdeviceptr address,
                                 tarn_share_memory *memory) {
  const CUdeviceptr end = address + memory->size_bytes;
  tarn_status status = TARN_OK;
  for (CUdeviceptr at = address; at < end && status == TARN_OK;) {
    CUdeviceptr start = 0;
    status = export_piece(driver, at, &start, memory);
    if (status != TARN_OK) return status;
    if (memory->piece_count == 1) memory->offset_bytes = address - start;
    at = start + memory->pieces[memory->piece_count - 1].size_bytes;
  }
  return status;
}

static tarn_status export_block(const tarn__driver *driver, CUdeviceptr address,
                                tarn_share_memory *memory) {
  CUdeviceptr start = 0;
  size_t size_bytes = 0;
  CUipcMemHandle handle;
  const char *call = "cuMemGetAddressRange";
  CUresult result = driver->MemGetAddressRange(&start, &size_bytes, address);
  if (result == CUDA_SUCCESS) {
    call = "cuIpcGetMemHandle";
    result = driver->IpcGetMemHandle(&handle, start);
  }
  if (result != CUDA_SUCCESS) {
    return tarn__cuda_status(driver, result, call, "sharing the memory at %p",
                             (void *)(uintptr_t)address);
  }
  _Static_assert(sizeof handle.reserved == TARN_SHARE_HANDLE_BYTES, "a handle travels whole");
  memcpy(memory->handle, handle.reserved, sizeof memory->handle);
  memory->has_handle = true;
  memory->offset_bytes = address - start;
  return tarn_share_add_piece(memory, /*descriptor=*/-1, /*offset_bytes=*/0, size_bytes);
}

typedef tarn_status (*exporter)(const tarn__driver *driver, CUdeviceptr address,
                                tarn_share_memory *memory);

static tarn_status share(tarn_cuda *cuda, int32_t device, const void *address, tarn_stream *stream,
                         bool may_mark, tarn_share_memory *memory, exporter export_memory) {
  CUcontext context;
  tarn__cuda_scope scope;
  tarn_status status = tarn__cuda_context(cuda, device, &context);
  if (status == TARN_OK) status = describe_device(cuda, device, memory);
  if (status == TARN_OK) status = tarn__cuda_enter_relaxed(cuda, context, &scope);
  if (status != TARN_OK) return status;
  status = export_memory(&cuda->driver, (CUdeviceptr)(uintptr_t)address, memory);
  tarn__cuda_leave(&scope);
  return status == TARN_OK ? order(cuda, device, stream, may_mark, memory) : status;
}

tarn_status tarn__cuda_can_share_virtual(const tarn_cuda *cuda, int32_t device) {
  int can = 0;
  if (cuda->driver.MemExportToShareableHandle == NULL) {
    return refuse_entry("cuMemExportToShareableHandle");
  }
  if (cuda->driver.MemRetainAllocationHandle == NULL) {
    return refuse_entry("cuMemRetainAllocationHandle");
  }
  const CUresult result = cuda->driver.DeviceGetAttribute(
      &can, CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED,
      cuda->devices[device].native);
  if (result == CUDA_SUCCESS && can != 0) return TARN_OK;
  return tarn_fail(TARN_NOT_SUPPORTED, "CUDA device %d has no memory that a descriptor names",
                   (int)device);
}

tarn_status tarn__cuda_share_virtual(tarn_cuda *cuda, int32_t device, const void *address,
                                     size_t size_bytes, tarn_stream *stream, bool may_mark,
                                     tarn_share_memory *memory) {
  static const char kind[TARN_SHARE_KIND_BYTES] = "cuda virtual";
  memcpy(memory->kind, kind, sizeof kind);
  memory->size_bytes = size_bytes;
  return share(cuda, device, address, stream, may_mark, memory, export_pieces);
}

tarn_status tarn__cuda_share_block(tarn_cuda *cuda, int32_t device, const void *address,
                                   size_t size_bytes, tarn_stream *stream, bool may_mark,
                                   tarn_share_memory *memory) {
  static const char kind[TARN_SHARE_KIND_BYTES] = "cuda block";
  if (cuda->driver.IpcGetMemHandle == NULL) return refuse_entry("cuIpcGetMemHandle");
  memcpy(memory->kind, kind, sizeof kind);
  memory->size_bytes = size_bytes;
  return share(cuda, device, address, stream, may_mark, memory, export_block);
}
