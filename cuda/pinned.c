/* pinned.c: page-locked host memory that every GPU reaches, behind the provider seam.
 *
 * It comes from the driver; or from another provider of host memory, and is then registered: a
 * block as a whole, or a reserved range granule by granule, as its memory comes and goes:
 *
 *     range  [ granule | granule | ..... | granule | ... ]    reserve of the host's provider
 *                 |         |                 |
 *              commit    commit            commit             and cuMemHostRegister, one by one
 */
#include "cuda/granules.h"
#include "cuda/host_register.h"

#include <stdlib.h>
#include <unistd.h>

enum {
  PINNED_GRANULARITY_BYTES = 64 << 10,
  /* What the CUDA C++ Programming Guide, "Device Memory Accesses", promises of any allocation: the
   * driver may cut small ones out of common pages. Of this kind it is not said by name, so every
   * block is checked. */
  PINNED_ALIGNMENT_BYTES = 256,
};

typedef struct pinned_provider {
  tarn_cuda *cuda;     /* retained */
  CUcontext context;   /* the driver wants one current; the memory is portable */
  tarn_provider *host; /* retained; NULL: the driver's own memory */
  size_t piece_bytes;  /* registered with one call */
  tarn__granules granules;
} pinned_provider;

/* --- memory of the driver's --- */

static tarn_status driver_attributes(void *context, tarn_provider_attributes *attributes) {
  (void)context;
  attributes->device = tarn_device_make(TARN_DEVICE_CUDA_HOST, 0);
  attributes->granularity_bytes = PINNED_GRANULARITY_BYTES;
  attributes->alignment_bytes = PINNED_ALIGNMENT_BYTES;
  attributes->flags = 0;
  attributes->node = -1;
  return TARN_OK;
}

static tarn_status driver_alloc(void *context, size_t size_bytes, void **address) {
  const pinned_provider *self = context;
  const tarn__driver *driver = &self->cuda->driver;
  *address = NULL;
  tarn__cuda_scope scope;
  tarn_status status = tarn__cuda_enter_relaxed(self->cuda, self->context, &scope);
  if (status != TARN_OK) return status;
  void *block = NULL;
  const CUresult result = driver->MemHostAlloc(&block, size_bytes, CU_MEMHOSTALLOC_PORTABLE);
  status = tarn__pin_status(self->cuda, result, "cuMemHostAlloc", size_bytes);
  if (status == TARN_OK && (uintptr_t)block % PINNED_ALIGNMENT_BYTES != 0) {
    status = tarn_fail(TARN_DEVICE_ERROR, "cuMemHostAlloc gave %p, which is not aligned to %d",
                       block, PINNED_ALIGNMENT_BYTES);
    driver->MemFreeHost(block);
  }
  tarn__cuda_leave(&scope);
  if (status != TARN_OK) return status;
  tarn__pin_count(self->cuda, size_bytes);
  *address = block;
  return TARN_OK;
}

static tarn_status driver_release(void *context, void *address, size_t size_bytes) {
  const pinned_provider *self = context;
  tarn__cuda_scope scope;
  tarn_status status = tarn__cuda_enter_relaxed(self->cuda, self->context, &scope);
  if (status != TARN_OK) return status;
  const CUresult result = self->cuda->driver.MemFreeHost(address);
  tarn__cuda_leave(&scope);
  status = tarn__cuda_status(&self->cuda->driver, result, "cuMemFreeHost",
                             "the page-locked block of %zu bytes at %p", size_bytes, address);
  if (status == TARN_OK) tarn__pin_uncount(self->cuda, size_bytes);
  return status;
}

/* --- memory of the host's --- */

static tarn_status host_attributes(void *context, tarn_provider_attributes *attributes) {
  const pinned_provider *self = context;
  const bool reserves = self->granules.granularity_bytes != 0;
  *attributes = *tarn_provider_attributes_of(self->host);
  attributes->device = tarn_device_make(TARN_DEVICE_CUDA_HOST, 0);
  attributes->flags &= ~(uint32_t)TARN_PROVIDER_MOVES; /* what is locked is one place's pages */
  if (!reserves) attributes->flags &= ~(uint32_t)TARN_PROVIDER_RESERVES;
  return TARN_OK;
}

static tarn__host_range range_of(const pinned_provider *self, void *address, size_t size_bytes) {
  return (tarn__host_range){
      .address = address, .size_bytes = size_bytes, .piece_bytes = self->piece_bytes};
}

static tarn_status host_alloc(void *context, size_t size_bytes, void **address) {
  const pinned_provider *self = context;
  tarn__cuda_scope scope;
  tarn_status status = tarn__cuda_enter_relaxed(self->cuda, self->context, &scope);
  if (status != TARN_OK) return status;
  status = tarn_provider_alloc(self->host, size_bytes, address);
  if (status == TARN_OK) {
    const tarn__host_range range = range_of(self, *address, size_bytes);
    status = tarn__host_register_block(self->cuda, &range);
    if (status != TARN_OK) {
      const tarn_error cause = *tarn_last_error();
      *address = NULL;
      (void)!tarn_provider_free(self->host, range.address, size_bytes);
      status = tarn_fail_again(&cause);
    }
  }
  tarn__cuda_leave(&scope);
  return status;
}

/* Memory that stays registered stays: what comes to its addresses next could not be registered. */
static tarn_status host_release(void *context, void *address, size_t size_bytes) {
  const pinned_provider *self = context;
  const tarn__host_range range = range_of(self, address, size_bytes);
  tarn__cuda_scope scope;
  tarn_status status = tarn__cuda_enter_relaxed(self->cuda, self->context, &scope);
  if (status != TARN_OK) return status;
  status = tarn__host_unregister_block(self->cuda, &range);
  tarn__cuda_leave(&scope);
  return status == TARN_OK ? tarn_provider_free(self->host, address, size_bytes) : status;
}

/* --- the same, granule by granule --- */

static tarn_status reserve(void *context, size_t size_bytes, void **address) {
  pinned_provider *self = context;
  tarn_status status = tarn_provider_reserve(self->host, size_bytes, address);
  if (status != TARN_OK) return status;
  tarn__granule_range *range = tarn__granule_range_create(&self->granules, size_bytes);
  status = range == NULL ? tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a range's record")
                         : tarn__seams_add(&self->cuda->seams, *address, size_bytes,
                                           self->granules.granularity_bytes);
  if (status != TARN_OK) {
    const tarn_error cause = *tarn_last_error();
    free(range);
    void *const start = *address;
    *address = NULL;
    (void)!tarn_provider_free(self->host, start, size_bytes);
    return tarn_fail_again(&cause);
  }
  tarn__granules_add(&self->granules, range, *address);
  return TARN_OK;
}

static tarn_status commit_memory(const pinned_provider *self, void *address, size_t size_bytes) {
  tarn__cuda_scope scope;
  tarn_status status = tarn__cuda_enter_relaxed(self->cuda, self->context, &scope);
  if (status != TARN_OK) return status;
  status = tarn_provider_commit(self->host, address, size_bytes);
  if (status == TARN_OK) {
    const tarn__host_range range = range_of(self, address, size_bytes);
    status = tarn__host_register(self->cuda, &range);
    if (status != TARN_OK) {
      const tarn_error cause = *tarn_last_error();
      (void)!tarn_provider_decommit(self->host, address, size_bytes);
      status = tarn_fail_again(&cause);
    }
  }
  tarn__cuda_leave(&scope);
  return status;
}

static tarn_status decommit_memory(const pinned_provider *self, void *address, size_t size_bytes) {
  const tarn__host_range range = range_of(self, address, size_bytes);
  tarn__cuda_scope scope;
  tarn_status status = tarn__cuda_enter_relaxed(self->cuda, self->context, &scope);
  if (status != TARN_OK) return status;
  status = tarn__host_unregister(self->cuda, &range);
  if (status == TARN_OK) {
    status = tarn_provider_decommit(self->host, address, size_bytes);
    if (status != TARN_OK) {
      const tarn_error cause = *tarn_last_error();
      (void)!tarn__host_register(self->cuda, &range);
      status = tarn_fail_again(&cause);
    }
  }
  tarn__cuda_leave(&scope);
  return status;
}

static tarn_status commit(void *context, void *address, size_t size_bytes) {
  pinned_provider *self = context;
  if (!tarn__granules_flip(&self->granules, address, size_bytes, /*to_used=*/true)) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "%zu bytes at %p are outside of what was reserved, or committed already",
                     size_bytes, address);
  }
  const tarn_status status = commit_memory(self, address, size_bytes);
  if (status != TARN_OK) {
    tarn__granules_flip(&self->granules, address, size_bytes, /*to_used=*/false);
  }
  return status;
}

static tarn_status decommit(void *context, void *address, size_t size_bytes) {
  pinned_provider *self = context;
  if (!tarn__granules_flip(&self->granules, address, size_bytes, /*to_used=*/false)) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "%zu bytes at %p are not committed throughout",
                     size_bytes, address);
  }
  const tarn_status status = decommit_memory(self, address, size_bytes);
  if (status != TARN_OK) {
    tarn__granules_flip(&self->granules, address, size_bytes, /*to_used=*/true);
  }
  return status;
}

/* The next run of granules that have memory, from granule *first on; false where there is none. */
static bool next_run(const pinned_provider *self, const tarn__granule_range *range, size_t *first,
                     tarn__host_range *run) {
  const size_t step = self->granules.granularity_bytes;
  const size_t count = tarn__granule_range_run(&self->granules, range, first);
  *run = range_of(self, (char *)range->start + *first * step, count * step);
  *first += count;
  return count != 0;
}

/* All runs, or none. */
static tarn_status unregister_range(const pinned_provider *self, const tarn__granule_range *range) {
  tarn__cuda_scope scope;
  tarn_status status = tarn__cuda_enter_relaxed(self->cuda, self->context, &scope);
  if (status != TARN_OK) return status;
  size_t run_count = 0;
  tarn__host_range run;
  for (size_t first = 0; status == TARN_OK && next_run(self, range, &first, &run); run_count++) {
    status = tarn__host_unregister(self->cuda, &run);
  }
  if (status != TARN_OK) {
    const tarn_error cause = *tarn_last_error();
    for (size_t first = 0; --run_count > 0 && next_run(self, range, &first, &run);) {
      (void)!tarn__host_register(self->cuda, &run);
    }
    status = tarn_fail_again(&cause);
  }
  tarn__cuda_leave(&scope);
  return status;
}

static tarn_status release_range(void *context, void *address, size_t size_bytes) {
  pinned_provider *self = context;
  tarn__granule_range *range = tarn__granules_remove(&self->granules, address, size_bytes);
  if (range == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "%zu bytes at %p are no whole range of this provider",
                     size_bytes, address);
  }
  const tarn_status status = unregister_range(self, range);
  if (status != TARN_OK) {
    tarn__granules_add(&self->granules, range, address);
    return status;
  }
  free(range);
  tarn__seams_remove(&self->cuda->seams, address);
  return tarn_provider_free(self->host, address, size_bytes);
}

static tarn_status alloc_range(void *context, size_t size_bytes, void **address) {
  tarn_status status = reserve(context, size_bytes, address);
  if (status != TARN_OK) return status;
  status = commit(context, *address, size_bytes);
  if (status == TARN_OK) return TARN_OK;
  const tarn_error cause = *tarn_last_error();
  void *const start = *address;
  *address = NULL;
  (void)!release_range(context, start, size_bytes);
  return tarn_fail_again(&cause);
}

/* --- making one --- */

static void destroy(void *context) {
  pinned_provider *self = context;
  tarn__granules_deinit(&self->granules);
  tarn_provider_release(self->host);
  tarn_cuda_release(self->cuda);
  free(self);
}

/* As the host's provider does: another process gets pages that are not locked for it. */
static tarn_status host_share_range(void *context, const void *address, size_t size_bytes,
                                    tarn_stream *stream, bool may_mark, tarn_share_memory *memory) {
  const pinned_provider *self = context;
  return tarn_provider_share_range(self->host, address, size_bytes, stream, may_mark, memory);
}

static const tarn_provider_ops driver_ops = {.struct_size = sizeof driver_ops,
                                             .name = "cuda:pinned",
                                             .attributes = driver_attributes,
                                             .alloc = driver_alloc,
                                             .release = driver_release,
                                             .destroy = destroy};
static const tarn_provider_ops whole_ops = {.struct_size = sizeof whole_ops,
                                            .name = "cuda:pinned",
                                            .attributes = host_attributes,
                                            .alloc = host_alloc,
                                            .release = host_release,
                                            .destroy = destroy,
                                            .share_range = host_share_range};
static const tarn_provider_ops granule_ops = {.struct_size = sizeof granule_ops,
                                              .name = "cuda:pinned",
                                              .attributes = host_attributes,
                                              .alloc = alloc_range,
                                              .release = release_range,
                                              .reserve = reserve,
                                              .commit = commit,
                                              .decommit = decommit,
                                              .destroy = destroy,
                                              .share_range = host_share_range};

static tarn_status check_host(const tarn_cuda_pinned_options *options, bool by_granule) {
  const tarn_provider_attributes *host = tarn_provider_attributes_of(options->host);
  const char *name = tarn_provider_name(options->host);
  if (host->device.type != TARN_DEVICE_CPU || (host->flags & TARN_PROVIDER_ORDERED) != 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "provider %s gives no memory of the CPU's that can be registered", name);
  }
  const size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
  if (host->granularity_bytes < page_bytes || host->alignment_bytes < page_bytes) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "provider %s lends less than whole pages of %zu bytes, and those are locked",
                     name, page_bytes);
  }
  if (by_granule && (host->flags & TARN_PROVIDER_RESERVES) == 0) {
    return tarn_fail(TARN_NOT_SUPPORTED, "provider %s does not reserve address space", name);
  }
  if (options->chunk_bytes % host->granularity_bytes != 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "chunks of %zu bytes are no multiple of provider %s's granularity %zu",
                     options->chunk_bytes, name, host->granularity_bytes);
  }
  return TARN_OK;
}

static tarn_status check_options(const tarn_cuda *cuda, const tarn_cuda_pinned_options *options) {
  if (options->struct_size != sizeof *options) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "tarn_cuda_pinned_options has %zu bytes here, %zu were given", sizeof *options,
                     options->struct_size);
  }
  const bool by_granule = (options->flags & TARN_CUDA_PINNED_GRANULES) != 0;
  if ((options->flags & ~(uint32_t)TARN_CUDA_PINNED_GRANULES) != 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "unknown flags 0x%x of pinned memory", options->flags);
  }
  if (options->chunk_bytes != 0 && (options->host == NULL || by_granule)) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "chunks of %zu bytes: only whole blocks of a host provider come in chunks",
                     options->chunk_bytes);
  }
  if (options->host == NULL) {
    if (!by_granule) return TARN_OK;
    return tarn_fail(TARN_INVALID_ARGUMENT, "granules of which host provider? None is given");
  }
  const tarn_status status = check_host(options, by_granule);
  return status == TARN_OK ? tarn__host_register_check(cuda, /*is_read_only=*/false) : status;
}

tarn_status tarn_cuda_pinned_provider_create(tarn_cuda *cuda,
                                             const tarn_cuda_pinned_options *options,
                                             tarn_provider **provider) {
  if (provider == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "provider is NULL");
  *provider = NULL;
  if (cuda == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "cuda is NULL");
  const tarn_cuda_pinned_options defaults = {.struct_size = sizeof defaults};
  if (options == NULL) options = &defaults;
  CUcontext context;
  tarn_status status = check_options(cuda, options);
  if (status == TARN_OK) status = tarn__cuda_context(cuda, /*device=*/0, &context);
  if (status != TARN_OK) return status;
  pinned_provider *made = calloc(1, sizeof *made);
  if (made == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a provider's handle");
  *made = (pinned_provider){.cuda = cuda, .context = context, .host = options->host};
  tarn_cuda_retain(cuda);
  if (made->host != NULL) tarn_provider_retain(made->host);

  const bool by_granule = (options->flags & TARN_CUDA_PINNED_GRANULES) != 0;
  const size_t granule_bytes =
      by_granule ? tarn_provider_attributes_of(made->host)->granularity_bytes : 0;
  tarn__granules_init(&made->granules, granule_bytes);
  made->piece_bytes = by_granule                  ? granule_bytes
                      : options->chunk_bytes != 0 ? options->chunk_bytes
                                                  : TARN__REGISTERED_BYTES_MAX;
  status = tarn_provider_create(by_granule           ? &granule_ops
                                : made->host != NULL ? &whole_ops
                                                     : &driver_ops,
                                made, provider);
  if (status != TARN_OK) destroy(made);
  return status;
}
