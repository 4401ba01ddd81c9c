/* cuda_adopt.c: maps what another process shared of a device's memory, and comes behind its work.
 *
 * A handle of the driver's is opened once, whatever the driver makes of a second time: storages of
 * one block share what was opened, and the last of them closes it.
 */
#include "cuda/cuda_adopt.h"

#include <stdlib.h>
#include <string.h>

struct tarn__cuda_import {
  tarn__cuda_import *next;
  CUdeviceptr address;
  size_t size_bytes;
  size_t use_count; /* storages; more than 1 of a handle that was opened before */
  int32_t device;
  bool is_block;    /* opened by a handle; else mapped */
  bool is_unmapped; /* on its way out */
  uint8_t handle[TARN_SHARE_HANDLE_BYTES];
};

static tarn_status refuse_entry(const char *entry) {
  return tarn_fail(TARN_NOT_SUPPORTED, "importing a GPU's memory: the driver lacks %s", entry);
}

/* What the driver finds wrong about memory is wrong with the parcel. */
static tarn_status refuse(const tarn_cuda *cuda, CUresult result, const char *call) {
  const bool is_about_bytes = result == CUDA_ERROR_INVALID_VALUE ||
                              result == CUDA_ERROR_INVALID_HANDLE ||
                              result == CUDA_ERROR_MAP_FAILED;
  const tarn_status status =
      tarn__cuda_status(&cuda->driver, result, call, "memory of another process");
  if (!is_about_bytes) return status;
  const tarn_error said = *tarn_last_error();
  return tarn_fail_native(TARN_BAD_FORMAT, call, result, "%s", said.message);
}

/* --- which device --- */

static tarn_status find_device(tarn_cuda *cuda, const tarn_share_memory *memory, int32_t *found) {
  if (cuda->driver.DeviceGetUuid == NULL) return refuse_entry("cuDeviceGetUuid");
  for (int32_t device = 0; device < cuda->device_count; device++) {
    CUuuid uuid;
    const CUresult result = cuda->driver.DeviceGetUuid(&uuid, cuda->devices[device].native);
    if (result != CUDA_SUCCESS) {
      return tarn__cuda_status(&cuda->driver, result, "cuDeviceGetUuid", "CUDA device %d",
                               (int)device);
    }
    if (memcmp(uuid.bytes, memory->identity, sizeof memory->identity) == 0) {
      *found = device;
      return TARN_OK;
    }
  }
  return tarn_fail(TARN_UNAVAILABLE,
                   "the memory lies on a GPU that this process does not see (device %d over there)",
                   (int)memory->device.index);
}

/* --- order --- */

static tarn_status wait_on(const tarn_cuda *cuda, CUevent event, const tarn__cuda_stream *stream) {
  const tarn__driver *driver = &cuda->driver;
  CUcontext context;
  tarn__cuda_scope scope;
  tarn_status status = tarn__cuda_context(stream->cuda, stream->device, &context);
  if (status == TARN_OK) status = tarn__cuda_enter(stream->cuda, context, &scope);
  if (status != TARN_OK) return status;
  const CUresult result = driver->StreamWaitEvent(stream->native, event, 0);
  tarn__cuda_leave(&scope);
  return tarn__cuda_status(driver, result, "cuStreamWaitEvent", "a wait for another process");
}

/* The context of the memory's device is current. */
static tarn_status order_behind(const tarn_cuda *cuda, const tarn_share_memory *memory,
                                const tarn_stream *stream) {
  const tarn__driver *driver = &cuda->driver;
  CUipcEventHandle handle;
  CUevent event;
  tarn__cuda_stream native;
  if (!memory->has_mark) return TARN_OK;
  if (driver->IpcOpenEventHandle == NULL) return refuse_entry("cuIpcOpenEventHandle");
  memcpy(handle.reserved, memory->mark, sizeof handle.reserved);
  CUresult result = driver->IpcOpenEventHandle(&event, handle);
  if (result != CUDA_SUCCESS) return refuse(cuda, result, "cuIpcOpenEventHandle");
  tarn_status status;
  if (tarn__cuda_stream_of(stream, &native) &&
      native.cuda->driver.StreamWaitEvent == driver->StreamWaitEvent) {
    status = wait_on(cuda, event, &native);
  } else {
    result = driver->EventSynchronize(event);
    status = tarn__cuda_status(driver, result, "cuEventSynchronize", "a wait for another process");
  }
  if (driver->EventDestroy(event) != CUDA_SUCCESS)
    driver->EventDestroy(event); /* nobody else will */
  return status;
}

/* --- virtual memory --- */

/* The memory behind one descriptor, mapped; its handle is not kept. */
static tarn_status map_piece(const tarn_cuda *cuda, int32_t device, const tarn_share_piece *piece,
                             CUdeviceptr address) {
  const tarn__driver *driver = &cuda->driver;
  CUmemGenericAllocationHandle handle = 0;
  CUmemAllocationProp properties = {.type = CU_MEM_ALLOCATION_TYPE_INVALID};
  const char *call = "cuMemImportFromShareableHandle";
  CUresult result = driver->MemImportFromShareableHandle(
      &handle, (void *)(intptr_t)piece->descriptor, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
  if (result != CUDA_SUCCESS) return refuse(cuda, result, call);
  call = "cuMemGetAllocationPropertiesFromHandle";
  result = driver->MemGetAllocationPropertiesFromHandle(&properties, handle);
  if (result == CUDA_SUCCESS && (properties.location.type != CU_MEM_LOCATION_TYPE_DEVICE ||
                                 properties.location.id != cuda->devices[device].native)) {
    result = CUDA_ERROR_INVALID_VALUE;
  }
  if (result == CUDA_SUCCESS) {
    call = "cuMemMap";
    result = driver->MemMap(address, piece->size_bytes, 0, handle, 0);
  }
  CUresult released = driver->MemRelease(handle);
  if (released != CUDA_SUCCESS) released = driver->MemRelease(handle); /* or it never comes back */
  if (result != CUDA_SUCCESS) return refuse(cuda, result, call);
  if (released == CUDA_SUCCESS) return TARN_OK;
  driver->MemUnmap(address, piece->size_bytes);
  return tarn__cuda_status(driver, released, "cuMemRelease", "memory of another process");
}

/* Where a driver does not know memory that is only read, it is open for writing, and the storage
 * keeps callers from it. */
static tarn_status open_to(const tarn_cuda *cuda, int32_t device, const tarn__cuda_peers *peers,
                           const tarn_share_memory *memory, CUdeviceptr start, size_t size_bytes) {
  const tarn__driver *driver = &cuda->driver;
  CUmemAccessDesc access[TARN__CUDA_ACCESS_MAX];
  const size_t count = tarn__cuda_access(
      cuda, device, peers,
      memory->is_read_only ? CU_MEM_ACCESS_FLAGS_PROT_READ : CU_MEM_ACCESS_FLAGS_PROT_READWRITE,
      access);
  CUresult result = driver->MemSetAccess(start, size_bytes, access, count);
  const bool is_unknown = result == CUDA_ERROR_NOT_SUPPORTED || result == CUDA_ERROR_INVALID_VALUE;
  if (is_unknown && memory->is_read_only) {
    for (size_t i = 0; i < count; i++) access[i].flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
    result = driver->MemSetAccess(start, size_bytes, access, count);
  }
  return tarn__cuda_status(driver, result, "cuMemSetAccess", "memory of another process");
}

static const char *missing_entry(const tarn__driver *driver) {
  return driver->MemImportFromShareableHandle == NULL ? "cuMemImportFromShareableHandle"
         : driver->MemGetAllocationPropertiesFromHandle == NULL
             ? "cuMemGetAllocationPropertiesFromHandle"
         : driver->MemAddressReserve == NULL ? "cuMemAddressReserve"
                                             : NULL;
}

static tarn_status map_all(const tarn_cuda *cuda, int32_t device, const tarn__cuda_peers *peers,
                           const tarn_share_memory *memory, tarn__cuda_import *made) {
  const tarn__driver *driver = &cuda->driver;
  size_t mapped_bytes = 0;
  if (missing_entry(driver) != NULL) return refuse_entry(missing_entry(driver));
  const CUresult result = driver->MemAddressReserve(&made->address, made->size_bytes, 0, 0, 0);
  if (result != CUDA_SUCCESS) return refuse(cuda, result, "cuMemAddressReserve");
  tarn_status status = TARN_OK;
  for (size_t i = 0; i < memory->piece_count && status == TARN_OK; i++) {
    status = map_piece(cuda, device, &memory->pieces[i], made->address + mapped_bytes);
    if (status == TARN_OK) mapped_bytes += memory->pieces[i].size_bytes;
  }
  if (status == TARN_OK) {
    status = open_to(cuda, device, peers, memory, made->address, made->size_bytes);
  }
  if (status == TARN_OK) return TARN_OK;
  const tarn_error cause = *tarn_last_error();
  if (mapped_bytes != 0) driver->MemUnmap(made->address, mapped_bytes);
  driver->MemAddressFree(made->address, made->size_bytes);
  return tarn_fail_again(&cause);
}

/* --- blocks --- */

/* The block that is open already, with one use more; NULL where it is not. The lock is held. */
static tarn__cuda_import *find_open(const tarn__cuda_imports *imports, int32_t device,
                                    const uint8_t *handle) {
  for (tarn__cuda_import *at = imports->list; at != NULL; at = at->next) {
    if (at->is_block && at->device == device &&
        memcmp(at->handle, handle, sizeof at->handle) == 0) {
      at->use_count++;
      return at;
    }
  }
  return NULL;
}

/* A handle says nothing about its size that could be believed. What is opened may be a part of
 * more: a driver may cut small blocks from larger ones, and shares these whole (CUDA Programming
 * Guide, "Interprocess Communication"). */
static tarn_status check_block(const tarn_cuda *cuda, CUdeviceptr address, size_t size_bytes) {
  CUdeviceptr start = 0;
  size_t found_bytes = 0;
  if (cuda->driver.MemGetAddressRange == NULL) return refuse_entry("cuMemGetAddressRange");
  const CUresult result = cuda->driver.MemGetAddressRange(&start, &found_bytes, address);
  if (result != CUDA_SUCCESS) return refuse(cuda, result, "cuMemGetAddressRange");
  const size_t before = (size_t)(address - start);
  if (before <= found_bytes && size_bytes <= found_bytes - before) return TARN_OK;
  return tarn_fail(TARN_BAD_FORMAT, "a block of %zu bytes, and a handle of one of %zu", size_bytes,
                   found_bytes);
}

static tarn_status open_block(const tarn_cuda *cuda, const tarn_share_memory *memory,
                              tarn__cuda_import *made) {
  const tarn__driver *driver = &cuda->driver;
  CUipcMemHandle handle;
  if (driver->IpcOpenMemHandle == NULL) return refuse_entry("cuIpcOpenMemHandle");
  memcpy(handle.reserved, memory->handle, sizeof handle.reserved);
  memcpy(made->handle, memory->handle, sizeof made->handle);
  made->is_block = true;
  const CUresult result =
      driver->IpcOpenMemHandle(&made->address, handle, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS);
  return result == CUDA_SUCCESS ? TARN_OK : refuse(cuda, result, "cuIpcOpenMemHandle");
}

/* --- adopting --- */

/* False where the driver refuses, which may have had no reason but the moment. */
static bool take_back(const tarn_cuda *cuda, tarn__cuda_import *gone) {
  const tarn__driver *driver = &cuda->driver;
  if (gone->is_block) return driver->IpcCloseMemHandle(gone->address) == CUDA_SUCCESS;
  if (!gone->is_unmapped) {
    gone->is_unmapped = driver->MemUnmap(gone->address, gone->size_bytes) == CUDA_SUCCESS;
  }
  return gone->is_unmapped &&
         driver->MemAddressFree(gone->address, gone->size_bytes) == CUDA_SUCCESS;
}

/* Adds what was mapped, or finds that another thread opened the same block meanwhile: then the one
 * opening too many is closed again. */
static tarn__cuda_import *enlist(tarn_cuda *cuda, tarn__cuda_import *made) {
  tarn__cuda_imports *imports = &cuda->imports;
  pthread_mutex_lock(&imports->lock);
  tarn__cuda_import *other = made->is_block ? find_open(imports, made->device, made->handle) : NULL;
  if (other == NULL) {
    made->next = imports->list;
    imports->list = made;
  }
  pthread_mutex_unlock(&imports->lock);
  if (other == NULL) return made;
  (void)!take_back(cuda, made);
  free(made);
  return other;
}

/* The context of the device is current. */
static tarn_status map(tarn_cuda *cuda, int32_t device, const tarn__cuda_peers *peers,
                       const tarn_share_memory *memory, tarn__cuda_import **mapped) {
  const bool is_block = strcmp(memory->kind, "cuda block") == 0;
  if (is_block) {
    pthread_mutex_lock(&cuda->imports.lock);
    *mapped = find_open(&cuda->imports, device, memory->handle);
    pthread_mutex_unlock(&cuda->imports.lock);
    if (*mapped != NULL) return TARN_OK;
  }
  tarn__cuda_import *made = calloc(1, sizeof *made);
  if (made == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for an import's record");
  *made = (tarn__cuda_import){
      .size_bytes = tarn_share_total_bytes(memory), .use_count = 1, .device = device};
  const tarn_status status =
      is_block ? open_block(cuda, memory, made) : map_all(cuda, device, peers, memory, made);
  if (status != TARN_OK) {
    free(made);
    return status;
  }
  *mapped = enlist(cuda, made);
  return TARN_OK;
}

static tarn_status check_memory(const tarn_share_memory *memory) {
  const bool is_block = strcmp(memory->kind, "cuda block") == 0;
  if (!is_block && strcmp(memory->kind, "cuda virtual") != 0) {
    return tarn_fail(TARN_NOT_SUPPORTED, "memory of the kind \"%s\" is no GPU's", memory->kind);
  }
  const bool is_sound = memory->device.type == TARN_DEVICE_CUDA && memory->has_handle == is_block &&
                        (!is_block || memory->piece_count == 1);
  if (is_sound) return TARN_OK;
  return tarn_fail(TARN_BAD_FORMAT, "%zu pieces of memory of the kind \"%s\"", memory->piece_count,
                   memory->kind);
}

tarn_status tarn__cuda_adopt(tarn_cuda *cuda, const tarn__cuda_peers *peers,
                             const tarn_share_memory *memory, tarn_stream *stream, void **address,
                             tarn_device *device) {
  CUcontext context;
  tarn__cuda_scope scope;
  int32_t owner = 0;
  tarn__cuda_import *mapped = NULL;
  tarn_status status = check_memory(memory);
  if (status == TARN_OK) status = find_device(cuda, memory, &owner);
  if (status == TARN_OK) status = tarn__cuda_context(cuda, owner, &context);
  if (status == TARN_OK) status = tarn__cuda_enter_relaxed(cuda, context, &scope);
  if (status != TARN_OK) return status;
  status = map(cuda, owner, peers, memory, &mapped);
  if (status == TARN_OK) {
    if (mapped->is_block) {
      status = check_block(cuda, mapped->address, memory->pieces[0].size_bytes);
    }
    if (status == TARN_OK) status = order_behind(cuda, memory, stream);
    if (status != TARN_OK) {
      const tarn_error cause = *tarn_last_error();
      tarn__cuda_abandon(cuda, (void *)(uintptr_t)mapped->address);
      status = tarn_fail_again(&cause);
    }
  }
  tarn__cuda_leave(&scope);
  if (status != TARN_OK) return status;
  *address = (void *)(uintptr_t)mapped->address;
  *device = tarn_device_make(TARN_DEVICE_CUDA, owner);
  return TARN_OK;
}

void tarn__cuda_abandon(tarn_cuda *cuda, void *address) {
  CUcontext context;
  tarn__cuda_scope scope;
  if (tarn__cuda_is_left_behind(cuda)) return; /* the parent's */
  tarn__cuda_imports *imports = &cuda->imports;
  pthread_mutex_lock(&imports->lock);
  tarn__cuda_import **link = &imports->list;
  while ((*link)->address != (CUdeviceptr)(uintptr_t)address) link = &(*link)->next;
  tarn__cuda_import *gone = --(*link)->use_count == 0 ? *link : NULL;
  if (gone != NULL) *link = gone->next;
  pthread_mutex_unlock(&imports->lock);
  if (gone == NULL) return;
  bool is_back = false;
  for (int attempt = 0; attempt < 2 && !is_back; attempt++) { /* nobody comes again */
    if (tarn__cuda_context(cuda, gone->device, &context) != TARN_OK ||
        tarn__cuda_enter_relaxed(cuda, context, &scope) != TARN_OK) {
      continue;
    }
    is_back = take_back(cuda, gone);
    tarn__cuda_leave(&scope);
  }
  free(gone);
}
