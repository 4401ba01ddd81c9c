/* pointer.c: what an address is to the driver, and whether a blob tells the truth about it. */
#include "cuda/tarn_cuda_pointer.h"

#include "cuda/cuda_device.h"

/* --- asking --- */

/* Any device's context will do: addresses are the same in all of them. The one that is claimed is
 * most likely there already. */
static tarn_status enter(tarn_cuda *cuda, tarn_device claimed, tarn__cuda_scope *scope) {
  CUcontext context;
  if (cuda == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "cuda is NULL");
  if (cuda->driver.PointerGetAttributes == NULL) {
    return tarn_fail(TARN_NOT_SUPPORTED, "the driver lacks cuPointerGetAttributes");
  }
  const tarn_status status =
      tarn__cuda_context(cuda, claimed.type == TARN_DEVICE_CUDA ? claimed.index : 0, &context);
  return status == TARN_OK ? tarn__cuda_enter_relaxed(cuda, context, scope) : status;
}

/* The call answers zeros for what it does not know, where the call for a single attribute fails
 * (CUDA driver API, "Unified Addressing"). Which type managed memory has depends on where it is. */
static tarn_status ask(tarn_cuda *cuda, const void *address, tarn_cuda_pointer_info *info) {
  unsigned type = 0, is_managed = 0;
  int ordinal = -1;
  CUdeviceptr start = 0;
  size_t size_bytes = 0;
  CUpointer_attribute asked[] = {CU_POINTER_ATTRIBUTE_MEMORY_TYPE, CU_POINTER_ATTRIBUTE_IS_MANAGED,
                                 CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL,
                                 CU_POINTER_ATTRIBUTE_RANGE_START_ADDR,
                                 CU_POINTER_ATTRIBUTE_RANGE_SIZE};
  void *answers[] = {&type, &is_managed, &ordinal, &start, &size_bytes};
  const CUresult result = cuda->driver.PointerGetAttributes(sizeof asked / sizeof *asked, asked,
                                                            answers, (uintptr_t)address);
  if (result != CUDA_SUCCESS) {
    return tarn__cuda_status(&cuda->driver, result, "cuPointerGetAttributes", "what %p is",
                             address);
  }
  info->is_known = type != 0 || is_managed != 0;
  info->device = tarn_device_make(TARN_DEVICE_CPU, 0);
  info->ordinal = -1;
  if (!info->is_known) return TARN_OK;
  if (ordinal >= 0 && ordinal < cuda->device_count) info->ordinal = ordinal;
  info->range = (void *)(uintptr_t)start;
  info->range_bytes = size_bytes;
  const int32_t index = info->ordinal >= 0 ? info->ordinal : 0;
  info->device = is_managed != 0              ? tarn_device_make(TARN_DEVICE_CUDA_MANAGED, index)
                 : type == CU_MEMORYTYPE_HOST ? tarn_device_make(TARN_DEVICE_CUDA_HOST, 0)
                                              : tarn_device_make(TARN_DEVICE_CUDA, index);
  return TARN_OK;
}

tarn_status tarn_cuda_pointer_info_of(tarn_cuda *cuda, const void *address,
                                      tarn_cuda_pointer_info *info) {
  if (info == NULL || info->struct_size != sizeof *info) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "a tarn_cuda_pointer_info with struct_size %zu is needed", sizeof *info);
  }
  *info = (tarn_cuda_pointer_info){.struct_size = sizeof *info, .ordinal = -1};
  tarn__cuda_scope scope;
  tarn_status status = enter(cuda, (tarn_device){0}, &scope);
  if (status != TARN_OK) return status;
  status = ask(cuda, address, info);
  tarn__cuda_leave(&scope);
  return status;
}

/* --- checking --- */

static const char *kind_of(tarn_device device) {
  switch (device.type) {
    case TARN_DEVICE_CUDA:
      return "memory of CUDA device";
    case TARN_DEVICE_CUDA_HOST:
      return "page-locked memory, device";
    case TARN_DEVICE_CUDA_MANAGED:
      return "managed memory of CUDA device";
    default:
      return "pageable memory, device";
  }
}

static tarn_status check_device(const tarn_blob *blob, const tarn_cuda_pointer_info *info) {
  const tarn_device claimed = blob->device, found = info->device;
  if (claimed.type == 0 || tarn_device_equal(claimed, found)) return TARN_OK;
  if (claimed.type == TARN_DEVICE_CPU && tarn_device_is_host(found)) return TARN_OK;
  return tarn_fail(TARN_INVALID_ARGUMENT,
                   "%p is said to be of device type %d number %d; the driver says: %s %d%s",
                   blob->address, (int)claimed.type, (int)claimed.index, kind_of(found),
                   (int)found.index, info->is_known ? "" : ", or none at all");
}

static tarn_status ends_early(const tarn_blob *blob, const tarn_cuda_pointer_info *info) {
  return tarn_fail(TARN_NOT_FOUND,
                   "%zu bytes at %p leave the %zu bytes at %p that the driver knows",
                   blob->size_bytes, blob->address, info->range_bytes, info->range);
}

/* Reserved addresses need not have memory: piece by piece, as it was mapped. */
static tarn_status check_pieces(tarn_cuda *cuda, const tarn_blob *blob) {
  const uintptr_t end = (uintptr_t)blob->address + blob->size_bytes;
  if (cuda->driver.MemGetAddressRange == NULL) return TARN_OK;
  for (uintptr_t at = (uintptr_t)blob->address; at < end;) {
    CUdeviceptr start = 0;
    size_t size_bytes = 0;
    const CUresult result = cuda->driver.MemGetAddressRange(&start, &size_bytes, at);
    if (result != CUDA_SUCCESS || start > at || size_bytes <= at - start) {
      return tarn_fail_native(TARN_NOT_FOUND, "cuMemGetAddressRange", result,
                              "of %zu bytes at %p those from %p on have no memory",
                              blob->size_bytes, blob->address, (void *)at);
    }
    at = (uintptr_t)start + size_bytes;
  }
  return TARN_OK;
}

/* Where the run that an address lies in ends; 0 where the driver does not say. */
static uintptr_t end_of_range(const tarn_cuda_pointer_info *info, uintptr_t at) {
  const uintptr_t start = (uintptr_t)info->range;
  return start <= at && at - start < info->range_bytes ? start + info->range_bytes : 0;
}

/* Memory of the host is known piece by piece, too, as it was registered. Where the driver does not
 * tell how long a piece is, the last byte has to be of the same kind. */
static tarn_status check_host_pieces(tarn_cuda *cuda, const tarn_blob *blob,
                                     const tarn_cuda_pointer_info *first) {
  const uintptr_t end = (uintptr_t)blob->address + blob->size_bytes;
  uintptr_t at = end_of_range(first, (uintptr_t)blob->address);
  if (at == 0) at = end - 1;
  while (at < end) {
    tarn_cuda_pointer_info info = {.struct_size = sizeof info};
    const tarn_status status = ask(cuda, (const void *)at, &info);
    if (status != TARN_OK) return status;
    if (!info.is_known || info.device.type != first->device.type) return ends_early(blob, first);
    const uintptr_t next = end_of_range(&info, at);
    at = next != 0 ? next : at == end - 1 ? end : end - 1;
  }
  return TARN_OK;
}

static tarn_status check_extent(tarn_cuda *cuda, const tarn_blob *blob,
                                const tarn_cuda_pointer_info *info) {
  if (blob->size_bytes == 0 || !info->is_known) return TARN_OK;
  if (info->device.type != TARN_DEVICE_CUDA) return check_host_pieces(cuda, blob, info);
  const uintptr_t at = (uintptr_t)blob->address, range_end = end_of_range(info, at);
  if (range_end != 0 && blob->size_bytes > range_end - at) return ends_early(blob, info);
  return check_pieces(cuda, blob);
}

static tarn_status check_blob(const tarn_blob *blob) {
  if (blob == NULL || blob->struct_size != sizeof *blob) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a tarn_blob with struct_size %zu is needed",
                     sizeof *blob);
  }
  if (blob->address == NULL && blob->size_bytes != 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a blob of %zu bytes has no address", blob->size_bytes);
  }
  if ((uintptr_t)blob->address > UINTPTR_MAX - blob->size_bytes) {
    return tarn_fail(TARN_TOO_LARGE, "a blob of %zu bytes at %p leaves the address space",
                     blob->size_bytes, blob->address);
  }
  return TARN_OK;
}

tarn_status tarn_cuda_blob_check(tarn_cuda *cuda, tarn_blob *blob) {
  tarn_cuda_pointer_info info = {.struct_size = sizeof info};
  tarn__cuda_scope scope;
  tarn_status status = check_blob(blob);
  if (status != TARN_OK) return status;
  status = enter(cuda, blob->device, &scope);
  if (status != TARN_OK) return status;
  if (blob->address != NULL) {
    status = ask(cuda, blob->address, &info);
    if (status == TARN_OK) status = check_device(blob, &info);
    /* As pageable memory it goes by the pages, and not by what was registered. */
    if (status == TARN_OK && blob->device.type != TARN_DEVICE_CPU) {
      status = check_extent(cuda, blob, &info);
    }
    if (status == TARN_OK && blob->device.type == 0) blob->device = info.device;
  }
  tarn__cuda_leave(&scope);
  return status;
}
