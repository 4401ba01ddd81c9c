/* device_provider.c: a GPU's memory behind the provider seam, by cuMemAlloc. */
#include "cuda/cuda_adopt.h"
#include "cuda/cuda_share.h"

#include <stdio.h>
#include <stdlib.h>

enum {
  /* The large page of every GPU that CUDA 12 knows; cuMemAlloc keeps less only in shared pages. */
  DEVICE_GRANULARITY_BYTES = 2 << 20,
  /* What the CUDA C++ Programming Guide, "Device Memory Accesses", promises of any allocation. */
  DEVICE_ALIGNMENT_BYTES = 256,
};

typedef struct device_provider {
  tarn_cuda *cuda; /* retained */
  int32_t device;
  CUcontext context;
} device_provider;

static tarn_status provider_attributes(void *context, tarn_provider_attributes *attributes) {
  const device_provider *self = context;
  attributes->device = tarn_device_make(TARN_DEVICE_CUDA, self->device);
  attributes->granularity_bytes = DEVICE_GRANULARITY_BYTES;
  attributes->alignment_bytes = DEVICE_ALIGNMENT_BYTES;
  attributes->flags = 0;
  attributes->node = -1;
  return TARN_OK;
}

static tarn_status provider_alloc(void *context, size_t size_bytes, void **address) {
  const device_provider *self = context;
  const tarn__driver *driver = &self->cuda->driver;
  *address = NULL;
  tarn__cuda_scope scope;
  const tarn_status status = tarn__cuda_enter_relaxed(self->cuda, self->context, &scope);
  if (status != TARN_OK) return status;
  CUdeviceptr block = 0;
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  const CUresult result = driver->MemAlloc(&block, size_bytes);
  if (result == CUDA_ERROR_OUT_OF_MEMORY &&
      driver->MemGetInfo(&free_bytes, &total_bytes) != CUDA_SUCCESS) {
    free_bytes = total_bytes = 0;
  }
  tarn__cuda_leave(&scope);
  if (result == CUDA_SUCCESS) {
    *address = (void *)(uintptr_t)block;
    return TARN_OK;
  }
  if (result == CUDA_ERROR_OUT_OF_MEMORY) {
    return tarn__cuda_status(driver, result, "cuMemAlloc",
                             "%zu bytes on CUDA device %d, where %zu of %zu are free", size_bytes,
                             (int)self->device, free_bytes, total_bytes);
  }
  return tarn__cuda_status(driver, result, "cuMemAlloc", "%zu bytes on CUDA device %d", size_bytes,
                           (int)self->device);
}

static tarn_status provider_release(void *context, void *address, size_t size_bytes) {
  const device_provider *self = context;
  tarn__cuda_scope scope;
  const tarn_status status = tarn__cuda_enter_relaxed(self->cuda, self->context, &scope);
  if (status != TARN_OK) return status;
  const CUresult result = self->cuda->driver.MemFree((CUdeviceptr)(uintptr_t)address);
  tarn__cuda_leave(&scope);
  return tarn__cuda_status(&self->cuda->driver, result, "cuMemFree",
                           "the block of %zu bytes at %p on CUDA device %d", size_bytes, address,
                           (int)self->device);
}

static tarn_status provider_share_range(void *context, const void *address, size_t size_bytes,
                                        tarn_stream *stream, bool may_mark,
                                        tarn_share_memory *memory) {
  const device_provider *self = context;
  return tarn__cuda_share_block(self->cuda, self->device, address, size_bytes, stream, may_mark,
                                memory);
}

static tarn_status provider_adopt(void *context, const tarn_share_memory *memory,
                                  tarn_stream *stream, void **address, tarn_device *device) {
  const device_provider *self = context;
  const tarn__cuda_peers nobody = {.count = 0};
  return tarn__cuda_adopt(self->cuda, &nobody, memory, stream, address, device);
}

static void provider_abandon(void *context, void *address) {
  const device_provider *self = context;
  tarn__cuda_abandon(self->cuda, address);
}

static void provider_destroy(void *context) {
  device_provider *self = context;
  tarn_cuda_release(self->cuda);
  free(self);
}

tarn_status tarn_cuda_device_provider_create(tarn_cuda *cuda, int32_t device,
                                             tarn_provider **provider) {
  if (provider == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "provider is NULL");
  *provider = NULL;
  if (cuda == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "cuda is NULL");
  CUcontext context;
  tarn_status status = tarn__cuda_context(cuda, device, &context);
  if (status != TARN_OK) return status;
  device_provider *made = calloc(1, sizeof *made);
  if (made == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a provider's handle");
  *made = (device_provider){.cuda = cuda, .device = device, .context = context};

  char name[32];
  snprintf(name, sizeof name, "cuda:%d", (int)device);
  const tarn_provider_ops ops = {.struct_size = sizeof ops,
                                 .name = name,
                                 .attributes = provider_attributes,
                                 .alloc = provider_alloc,
                                 .release = provider_release,
                                 .destroy = provider_destroy,
                                 .share_range = provider_share_range,
                                 .adopt = provider_adopt,
                                 .abandon = provider_abandon};
  status = tarn_provider_create(&ops, made, provider);
  if (status != TARN_OK) {
    free(made);
    return status;
  }
  tarn_cuda_retain(cuda);
  return TARN_OK;
}
