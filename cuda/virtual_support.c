/* virtual_support.c: whether a device has virtual memory management, and the provider that follows
 * from it. */
#include "cuda/virtual_support.h"

#include <stdio.h>

enum { REASON_BYTES = sizeof((tarn_cuda_memory_choice *)0)->reason };

/* The first entry that the driver lacks, or NULL. */
static const char *missing_entry(const tarn__driver *driver) {
  return driver->MemGetAllocationGranularity == NULL ? "cuMemGetAllocationGranularity"
         : driver->MemAddressReserve == NULL         ? "cuMemAddressReserve"
         : driver->MemAddressFree == NULL            ? "cuMemAddressFree"
         : driver->MemCreate == NULL                 ? "cuMemCreate"
         : driver->MemRelease == NULL                ? "cuMemRelease"
         : driver->MemMap == NULL                    ? "cuMemMap"
         : driver->MemUnmap == NULL                  ? "cuMemUnmap"
         : driver->MemSetAccess == NULL              ? "cuMemSetAccess"
                                                     : NULL;
}

static bool has_attribute(const tarn_cuda *cuda, int32_t device) {
  int value = 0;
  const CUresult result = cuda->driver.DeviceGetAttribute(
      &value, CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED,
      cuda->devices[device].native);
  return result == CUDA_SUCCESS && value != 0;
}

/* Why not, in words; "" where nothing is missing. */
static void say_what_lacks(const tarn_cuda *cuda, int32_t device, char *reason, size_t size) {
  const char *missing = missing_entry(&cuda->driver);
  reason[0] = '\0';
  if (missing != NULL) {
    snprintf(reason, size, "CUDA device %d has no virtual memory: the driver lacks %s", (int)device,
             missing);
  } else if (!has_attribute(cuda, device)) {
    snprintf(reason, size, "CUDA device %d has no virtual memory management", (int)device);
  }
}

tarn_status tarn__virtual_support(const tarn_cuda *cuda, int32_t device) {
  char reason[REASON_BYTES];
  say_what_lacks(cuda, device, reason, sizeof reason);
  return reason[0] == '\0' ? TARN_OK : tarn_fail(TARN_NOT_SUPPORTED, "%s", reason);
}

tarn_status tarn_cuda_memory_choose(tarn_cuda *cuda, int32_t device,
                                    tarn_cuda_memory_choice *choice) {
  if (choice == NULL || choice->struct_size != sizeof *choice) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a choice of memory needs its struct_size");
  }
  *choice = (tarn_cuda_memory_choice){.struct_size = sizeof *choice};
  if (cuda == NULL || device < 0 || device >= cuda->device_count) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "there is no CUDA device %d", (int)device);
  }
  const tarn_status status = tarn__cuda_check_process(cuda);
  if (status != TARN_OK) return status;
  say_what_lacks(cuda, device, choice->reason, sizeof choice->reason);
  const bool is_virtual = choice->reason[0] == '\0';
  choice->memory = is_virtual ? TARN_CUDA_MEMORY_VIRTUAL : TARN_CUDA_MEMORY_BLOCKS;
  return TARN_OK;
}

tarn_status tarn_cuda_memory_provider_create(tarn_cuda *cuda, int32_t device,
                                             tarn_cuda_memory *memory, tarn_provider **provider) {
  if (memory != NULL) *memory = TARN_CUDA_MEMORY_NONE;
  if (provider == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "provider is NULL");
  *provider = NULL;
  tarn_cuda_memory_choice choice = {.struct_size = sizeof choice};
  tarn_status status = tarn_cuda_memory_choose(cuda, device, &choice);
  if (status != TARN_OK) return status;
  status = choice.memory == TARN_CUDA_MEMORY_VIRTUAL
               ? tarn_cuda_virtual_provider_create(cuda, device, /*options=*/NULL, provider)
               : tarn_cuda_device_provider_create(cuda, device, provider);
  if (status == TARN_OK && memory != NULL) *memory = choice.memory;
  return status;
}
