/* pinned.c: page-locked host memory that every GPU reaches, behind the provider seam. */
#include "cuda/cuda_device.h"

#include <stdlib.h>

enum {
  PINNED_GRANULARITY_BYTES = 64 << 10,
  /* Locking happens by whole pages, of 4 KiB at least. The manual does not promise it, so every
   * block is checked. */
  PINNED_ALIGNMENT_BYTES = 4 << 10,
};

typedef struct pinned_provider {
  tarn_cuda *cuda;   /* retained */
  CUcontext context; /* the driver wants one current; the memory is portable */
} pinned_provider;

static tarn_status provider_attributes(void *context, tarn_provider_attributes *attributes) {
  (void)context;
  attributes->device = tarn_device_make(TARN_DEVICE_CUDA_HOST, 0);
  attributes->granularity_bytes = PINNED_GRANULARITY_BYTES;
  attributes->alignment_bytes = PINNED_ALIGNMENT_BYTES;
  attributes->flags = 0;
  attributes->node = -1;
  return TARN_OK;
}

static tarn_status provider_alloc(void *context, size_t size_bytes, void **address) {
  const pinned_provider *self = context;
  const tarn__driver *driver = &self->cuda->driver;
  *address = NULL;
  tarn__cuda_scope scope;
  tarn_status status = tarn__cuda_enter_relaxed(self->cuda, self->context, &scope);
  if (status != TARN_OK) return status;
  void *block = NULL;
  const CUresult result = driver->MemHostAlloc(&block, size_bytes, CU_MEMHOSTALLOC_PORTABLE);
  status = tarn__cuda_status(driver, result, "cuMemHostAlloc", "%zu bytes of page-locked memory",
                             size_bytes);
  if (status == TARN_OK && (uintptr_t)block % PINNED_ALIGNMENT_BYTES != 0) {
    status = tarn_fail(TARN_DEVICE_ERROR, "cuMemHostAlloc gave %p, which is not aligned to %d",
                       block, PINNED_ALIGNMENT_BYTES);
    driver->MemFreeHost(block);
  }
  tarn__cuda_leave(&scope);
  if (status == TARN_OK) *address = block;
  return status;
}

static tarn_status provider_release(void *context, void *address, size_t size_bytes) {
  const pinned_provider *self = context;
  tarn__cuda_scope scope;
  const tarn_status status = tarn__cuda_enter_relaxed(self->cuda, self->context, &scope);
  if (status != TARN_OK) return status;
  const CUresult result = self->cuda->driver.MemFreeHost(address);
  tarn__cuda_leave(&scope);
  return tarn__cuda_status(&self->cuda->driver, result, "cuMemFreeHost",
                           "the page-locked block of %zu bytes at %p", size_bytes, address);
}

static void provider_destroy(void *context) {
  pinned_provider *self = context;
  tarn_cuda_release(self->cuda);
  free(self);
}

tarn_status tarn_cuda_pinned_provider_create(tarn_cuda *cuda, tarn_provider **provider) {
  if (provider == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "provider is NULL");
  *provider = NULL;
  if (cuda == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "cuda is NULL");
  CUcontext context;
  tarn_status status = tarn__cuda_context(cuda, /*device=*/0, &context);
  if (status != TARN_OK) return status;
  pinned_provider *made = calloc(1, sizeof *made);
  if (made == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a provider's handle");
  *made = (pinned_provider){.cuda = cuda, .context = context};

  static const tarn_provider_ops ops = {.struct_size = sizeof ops,
                                        .name = "cuda:pinned",
                                        .attributes = provider_attributes,
                                        .alloc = provider_alloc,
                                        .release = provider_release,
                                        .destroy = provider_destroy};
  status = tarn_provider_create(&ops, made, provider);
  if (status != TARN_OK) {
    free(made);
    return status;
  }
  tarn_cuda_retain(cuda);
  return TARN_OK;
}
