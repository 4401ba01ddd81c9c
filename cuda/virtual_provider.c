/* virtual_provider.c: a GPU's memory behind the provider seam, by virtual memory management.
 *
 *     range   [ granule | granule | ....... | granule | ... ]    cuMemAddressReserve
 *                  |         |                   |
 *               memory    memory              memory              cuMemCreate, one by one
 *
 * A mapping can only be taken away whole, so every granule has memory of its own. Its handle is
 * released as soon as it is mapped: unmapping then frees the memory. What is mapped is kept in a
 * bitmap, because a range is given back whatever it holds.
 */
#include "cuda/cuda_device.h"
#include "cuda/granules.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct virtual_provider {
  tarn_cuda *cuda; /* retained */
  int32_t device;
  CUcontext context;
  tarn__granules granules;
} virtual_provider;

static CUmemAllocationProp properties_of(const virtual_provider *self) {
  return (CUmemAllocationProp){.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                               .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE,
                                            .id = (int)self->cuda->devices[self->device].native}};
}

/* --- memory behind addresses; the device's context is current --- */

/* Granules from `address` on get memory until one does not; answers how many bytes did. */
static size_t map_granules(const virtual_provider *self, CUdeviceptr address, size_t size_bytes,
                           CUresult *result, const char **call) {
  const tarn__driver *driver = &self->cuda->driver;
  const CUmemAllocationProp properties = properties_of(self);
  const size_t step = self->granules.granularity_bytes;
  for (size_t done = 0; done < size_bytes; done += step) {
    CUmemGenericAllocationHandle handle = 0;
    *call = "cuMemCreate";
    *result = driver->MemCreate(&handle, step, &properties, 0);
    if (*result != CUDA_SUCCESS) return done;
    *call = "cuMemMap";
    *result = driver->MemMap(address + done, step, 0, handle, 0);
    const CUresult released = driver->MemRelease(handle);
    if (*result != CUDA_SUCCESS) return done;
    if (released != CUDA_SUCCESS) {
      *call = "cuMemRelease"; /* the memory would never come back */
      *result = released;
      return done + step;
    }
  }
  return size_bytes;
}

static tarn_status explain(const virtual_provider *self, CUresult result, const char *call,
                           const char *what, size_t size_bytes) {
  const tarn__driver *driver = &self->cuda->driver;
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  if (result == CUDA_ERROR_OUT_OF_MEMORY &&
      driver->MemGetInfo(&free_bytes, &total_bytes) == CUDA_SUCCESS) {
    return tarn__cuda_status(driver, result, call,
                             "%s %zu bytes on CUDA device %d, where %zu of %zu are free", what,
                             size_bytes, (int)self->device, free_bytes, total_bytes);
  }
  return tarn__cuda_status(driver, result, call, "%s %zu bytes on CUDA device %d", what, size_bytes,
                           (int)self->device);
}

static tarn_status map_memory(const virtual_provider *self, CUdeviceptr address,
                              size_t size_bytes) {
  const tarn__driver *driver = &self->cuda->driver;
  CUresult result = CUDA_SUCCESS;
  const char *call = NULL;
  const size_t mapped_bytes = map_granules(self, address, size_bytes, &result, &call);
  if (result == CUDA_SUCCESS) {
    const CUmemAccessDesc access = {.location = properties_of(self).location,
                                    .flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
    call = "cuMemSetAccess";
    result = driver->MemSetAccess(address, size_bytes, &access, 1);
  }
  if (result == CUDA_SUCCESS) return TARN_OK;
  if (mapped_bytes != 0) driver->MemUnmap(address, mapped_bytes);
  return explain(self, result, call, "committing", size_bytes);
}

static tarn_status unmap_memory(const virtual_provider *self, CUdeviceptr address,
                                size_t size_bytes) {
  const tarn__driver *driver = &self->cuda->driver;
  return tarn__cuda_status(driver, driver->MemUnmap(address, size_bytes), "cuMemUnmap",
                           "decommitting %zu bytes at %p on CUDA device %d", size_bytes,
                           (void *)(uintptr_t)address, (int)self->device);
}

/* --- the provider's operations --- */

static tarn_status provider_attributes(void *context, tarn_provider_attributes *attributes) {
  const virtual_provider *self = context;
  attributes->device = tarn_device_make(TARN_DEVICE_CUDA, self->device);
  attributes->granularity_bytes = self->granules.granularity_bytes;
  attributes->alignment_bytes = self->granules.granularity_bytes;
  attributes->flags = TARN_PROVIDER_RESERVES;
  attributes->node = -1;
  return TARN_OK;
}

/* The record comes second: its size follows an absurd range's, and the driver refuses that. */
static tarn_status provider_reserve(void *context, size_t size_bytes, void **address) {
  virtual_provider *self = context;
  const tarn__driver *driver = &self->cuda->driver;
  tarn__granule_range *range = NULL;
  tarn__cuda_scope scope;
  tarn_status status = tarn__cuda_enter(self->cuda, self->context, &scope);
  if (status != TARN_OK) return status;
  CUdeviceptr start = 0;
  const CUresult result =
      driver->MemAddressReserve(&start, size_bytes, self->granules.granularity_bytes, 0, 0);
  status = tarn__cuda_status(driver, result, "cuMemAddressReserve",
                             "reserving %zu bytes of addresses on CUDA device %d", size_bytes,
                             (int)self->device);
  if (status == TARN_OK) {
    range = tarn__granule_range_create(&self->granules, size_bytes);
    if (range == NULL) {
      driver->MemAddressFree(start, size_bytes);
      status = tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a range's record");
    }
  }
  tarn__cuda_leave(&scope);
  if (status != TARN_OK) return status;
  *address = (void *)(uintptr_t)start;
  tarn__granules_add(&self->granules, range, *address);
  return TARN_OK;
}

static tarn_status provider_commit(void *context, void *address, size_t size_bytes) {
  virtual_provider *self = context;
  tarn_status status = tarn__cuda_check_process(self->cuda);
  if (status != TARN_OK) return status;
  if (!tarn__granules_flip(&self->granules, address, size_bytes, /*to_used=*/true)) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "%zu bytes at %p are outside of what was reserved, or committed already",
                     size_bytes, address);
  }
  tarn__cuda_scope scope;
  status = tarn__cuda_enter_relaxed(self->cuda, self->context, &scope);
  if (status == TARN_OK) {
    status = map_memory(self, (CUdeviceptr)(uintptr_t)address, size_bytes);
    tarn__cuda_leave(&scope);
  }
  if (status != TARN_OK)
    tarn__granules_flip(&self->granules, address, size_bytes, /*to_used=*/false);
  return status;
}

static tarn_status provider_decommit(void *context, void *address, size_t size_bytes) {
  virtual_provider *self = context;
  tarn_status status = tarn__cuda_check_process(self->cuda);
  if (status != TARN_OK) return status;
  if (!tarn__granules_flip(&self->granules, address, size_bytes, /*to_used=*/false)) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "%zu bytes at %p are not committed throughout",
                     size_bytes, address);
  }
  tarn__cuda_scope scope;
  status = tarn__cuda_enter_relaxed(self->cuda, self->context, &scope);
  if (status == TARN_OK) {
    status = unmap_memory(self, (CUdeviceptr)(uintptr_t)address, size_bytes);
    tarn__cuda_leave(&scope);
  }
  if (status != TARN_OK)
    tarn__granules_flip(&self->granules, address, size_bytes, /*to_used=*/true);
  return status;
}

/* Every run of granules that have memory. The first failure is kept, and the rest given back. */
static tarn_status unmap_range(const virtual_provider *self, const tarn__granule_range *range) {
  const size_t step = self->granules.granularity_bytes;
  tarn_status result = TARN_OK;
  size_t first = 0;
  for (size_t count; (count = tarn__granule_range_run(&self->granules, range, &first)) != 0;
       first += count) {
    const tarn_status status = unmap_memory(self, range->start + first * step, count * step);
    if (status != TARN_OK) result = status;
  }
  return result;
}

static tarn_status provider_release(void *context, void *address, size_t size_bytes) {
  virtual_provider *self = context;
  const tarn__driver *driver = &self->cuda->driver;
  tarn_status status = tarn__cuda_check_process(self->cuda);
  if (status != TARN_OK) return status;
  tarn__granule_range *range = tarn__granules_remove(&self->granules, address, size_bytes);
  if (range == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "%zu bytes at %p are no whole range of this provider",
                     size_bytes, address);
  }
  tarn__cuda_scope scope;
  status = tarn__cuda_enter_relaxed(self->cuda, self->context, &scope);
  if (status == TARN_OK) {
    status = unmap_range(self, range);
    if (status == TARN_OK) {
      status = tarn__cuda_status(driver, driver->MemAddressFree(range->start, size_bytes),
                                 "cuMemAddressFree", "the range of %zu bytes at %p", size_bytes,
                                 address);
    }
    tarn__cuda_leave(&scope);
  }
  free(range);
  return status;
}

static tarn_status provider_alloc(void *context, size_t size_bytes, void **address) {
  tarn_status status = provider_reserve(context, size_bytes, address);
  if (status != TARN_OK) return status;
  status = provider_commit(context, *address, size_bytes);
  if (status == TARN_OK) return TARN_OK;
  const tarn_error cause = *tarn_last_error();
  const tarn_status released = provider_release(context, *address, size_bytes);
  (void)released; /* addresses without memory: the lack of memory is what is to be told */
  *address = NULL;
  return tarn_fail_again(&cause);
}

static void provider_destroy(void *context) {
  virtual_provider *self = context;
  tarn__granules_deinit(&self->granules); /* what nobody gave back, the driver keeps */
  tarn_cuda_release(self->cuda);
  free(self);
}

/* --- making one --- */

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

static tarn_status check_support(const tarn_cuda *cuda, int32_t device) {
  const char *missing = missing_entry(&cuda->driver);
  if (missing != NULL) {
    return tarn_fail(TARN_NOT_SUPPORTED,
                     "CUDA device %d has no virtual memory: the driver lacks %s", (int)device,
                     missing);
  }
  if (has_attribute(cuda, device)) return TARN_OK;
  return tarn_fail(TARN_NOT_SUPPORTED, "CUDA device %d has no virtual memory management",
                   (int)device);
}

/* What the device commits at least, or the option where that is more. */
static tarn_status choose_granularity(virtual_provider *self, size_t wanted_bytes) {
  const tarn__driver *driver = &self->cuda->driver;
  const CUmemAllocationProp properties = properties_of(self);
  size_t minimum = 0;
  const CUresult result =
      driver->MemGetAllocationGranularity(&minimum, &properties, CU_MEM_ALLOC_GRANULARITY_MINIMUM);
  if (result != CUDA_SUCCESS) {
    return tarn__cuda_status(driver, result, "cuMemGetAllocationGranularity",
                             "the granules of CUDA device %d", (int)self->device);
  }
  if (!tarn_is_power_of_two(minimum)) {
    return tarn_fail(TARN_NOT_SUPPORTED, "CUDA device %d has granules of %zu bytes",
                     (int)self->device, minimum);
  }
  if (wanted_bytes == 0) wanted_bytes = minimum;
  if (!tarn_is_power_of_two(wanted_bytes) || wanted_bytes < minimum) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "granularity %zu is not a power of two of at least %zu, CUDA device %d's own",
                     wanted_bytes, minimum, (int)self->device);
  }
  self->granules.granularity_bytes = wanted_bytes;
  return TARN_OK;
}

tarn_status tarn_cuda_virtual_provider_create(tarn_cuda *cuda, int32_t device,
                                              const tarn_cuda_virtual_options *options,
                                              tarn_provider **provider) {
  if (provider == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "provider is NULL");
  *provider = NULL;
  if (cuda == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "cuda is NULL");
  const tarn_cuda_virtual_options defaults = {.struct_size = sizeof defaults};
  if (options == NULL) options = &defaults;
  if (options->struct_size != sizeof *options) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "tarn_cuda_virtual_options has %zu bytes here, %zu were given",
                     sizeof *options, options->struct_size);
  }
  CUcontext context;
  tarn_status status = tarn__cuda_context(cuda, device, &context);
  if (status == TARN_OK) status = check_support(cuda, device);
  if (status != TARN_OK) return status;
  virtual_provider *made = calloc(1, sizeof *made);
  if (made == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a provider's handle");
  *made = (virtual_provider){.cuda = cuda, .device = device, .context = context};
  tarn__granules_init(&made->granules, /*granularity_bytes=*/0);
  status = choose_granularity(made, options->granularity_bytes);

  char name[32];
  snprintf(name, sizeof name, "cuda:%d virtual", (int)device);
  const tarn_provider_ops ops = {.struct_size = sizeof ops,
                                 .name = name,
                                 .attributes = provider_attributes,
                                 .alloc = provider_alloc,
                                 .release = provider_release,
                                 .reserve = provider_reserve,
                                 .commit = provider_commit,
                                 .decommit = provider_decommit,
                                 .destroy = provider_destroy};
  if (status == TARN_OK) status = tarn_provider_create(&ops, made, provider);
  if (status != TARN_OK) {
    tarn__granules_deinit(&made->granules);
    free(made);
    return status;
  }
  tarn_cuda_retain(cuda);
  return TARN_OK;
}

tarn_status tarn_cuda_memory_provider_create(tarn_cuda *cuda, int32_t device,
                                             tarn_cuda_memory *memory, tarn_provider **provider) {
  if (memory != NULL) *memory = TARN_CUDA_MEMORY_NONE;
  const bool is_virtual = cuda != NULL && device >= 0 && device < cuda->device_count &&
                          missing_entry(&cuda->driver) == NULL && has_attribute(cuda, device);
  const tarn_status status =
      is_virtual ? tarn_cuda_virtual_provider_create(cuda, device, /*options=*/NULL, provider)
                 : tarn_cuda_device_provider_create(cuda, device, provider);
  if (status == TARN_OK && memory != NULL) {
    *memory = is_virtual ? TARN_CUDA_MEMORY_VIRTUAL : TARN_CUDA_MEMORY_BLOCKS;
  }
  return status;
}
