/* driver_pool.c: the CUDA driver's own pool as a tarn pool: a CUmemoryPool that tarn owns.
 *
 *     lent on a stream of the device    cuMemAllocFromPoolAsync there
 *     lent to anybody else              on host_stream, and the host waits for that
 *     freed by one such stream          cuMemFreeAsync there
 *     freed behind several streams      join_stream waits for fences of them all; freed there
 *     freed by nobody but the host      on host_stream, which never waits for another stream
 *
 * So no stream of the caller's is ever made to wait. What was freed behind a stream is pending
 * until that stream, or a fence behind the free, is seen to have passed. */
#include "cuda/cuda_peer.h"
#include "cuda/driver_pool.h"

#include <stdio.h>
#include <stdlib.h>

enum {
  ALIGNMENT_BYTES = 256,  /* what the CUDA C++ Programming Guide promises of any allocation */
  STEP_BYTES = 512,       /* sizes are rounded to it */
  CHUNK_BYTES = 2 << 20,  /* what drivers reserve is a multiple */
  MAX_SIZE_SINCE = 12020, /* CUmemPoolProps.maxSize */
};

static CUdeviceptr device_address(const void *address) {
  return (CUdeviceptr)(uintptr_t)address;
}

static size_t larger(size_t a, size_t b) {
  return a > b ? a : b;
}

/* --- streams --- */

/* Whether the driver's calls can go to the stream itself; if so, its handle. */
static bool is_own(const tarn__driver_pool *self, const tarn_stream *stream, CUstream *native) {
  tarn__cuda_stream found;
  if (!tarn__cuda_stream_of(stream, &found)) return false;
  *native = found.native;
  return found.device == self->device &&
         found.cuda->driver.MemFreeAsync == self->cuda->driver.MemFreeAsync;
}

CUstream tarn__driver_pool_native(tarn_stream *stream) {
  tarn__cuda_stream found = {0};
  const bool is_cuda = tarn__cuda_stream_of(stream, &found);
  TARN_ASSERT(is_cuda);
  (void)is_cuda;
  return found.native;
}

/* In a capture an allocation would become a node of the graph, and the graph's. */
static tarn_status refuse_capture(const tarn__driver_pool *self, CUstream native) {
  CUstreamCaptureStatus found = CU_STREAM_CAPTURE_STATUS_NONE;
  if (self->cuda->driver.StreamIsCapturing == NULL ||
      self->cuda->driver.StreamIsCapturing(native, &found) != CUDA_SUCCESS ||
      found == CU_STREAM_CAPTURE_STATUS_NONE) {
    return TARN_OK;
  }
  return tarn_fail(TARN_NOT_SUPPORTED,
                   "the stream %p is being captured: the driver's pool on CUDA device %d lends to "
                   "no graph",
                   (void *)native, (int)self->device);
}

/* --- lending --- */

static size_t amount(const tarn__driver_pool *self, CUmemPool_attribute attribute) {
  cuuint64_t value = 0;
  const CUresult result = self->cuda->driver.MemPoolGetAttribute(self->native, attribute, &value);
  return result == CUDA_SUCCESS ? (size_t)value : 0;
}

static void count_calls(tarn__driver_pool *self, uint64_t count) {
  pthread_mutex_lock(&self->lock);
  self->stats.provider_calls += count;
  pthread_mutex_unlock(&self->lock);
}

static CUresult try_alloc(tarn__driver_pool *self, size_t bytes, CUstream native,
                          CUdeviceptr *base) {
  const tarn__driver *driver = &self->cuda->driver;
  count_calls(self, 1);
  pthread_mutex_lock(&self->lock);
  const bool is_beyond =
      self->limit_bytes != 0 &&
      (bytes > self->limit_bytes || self->stats.allocated_bytes > self->limit_bytes - bytes);
  pthread_mutex_unlock(&self->lock);
  if (is_beyond) return CUDA_ERROR_OUT_OF_MEMORY;
  return driver->MemAllocFromPoolAsync(base, bytes, self->native, native);
}

/* What is pending is waited for and all idle memory goes back; then one try more. */
static CUresult alloc_or_reclaim(tarn__driver_pool *self, size_t bytes, CUstream native,
                                 CUdeviceptr *base) {
  const CUresult result = try_alloc(self, bytes, native, base);
  if (result != CUDA_ERROR_OUT_OF_MEMORY) return result;
  tarn__driver_pool_wait_for_all(self);
  self->cuda->driver.MemPoolTrimTo(self->native, 0);
  count_calls(self, 1);
  return try_alloc(self, bytes, native, base);
}

static tarn_status explain(tarn__driver_pool *self, CUresult result, size_t size_bytes) {
  const tarn__driver *driver = &self->cuda->driver;
  if (result != CUDA_ERROR_OUT_OF_MEMORY) {
    return tarn__cuda_status(driver, result, "cuMemAllocFromPoolAsync",
                             "%zu bytes of the driver's pool on CUDA device %d", size_bytes,
                             (int)self->device);
  }
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  if (driver->MemGetInfo(&free_bytes, &total_bytes) != CUDA_SUCCESS) free_bytes = total_bytes = 0;
  const size_t reserved = amount(self, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT);
  pthread_mutex_lock(&self->lock);
  self->stats.out_of_memory_count++;
  const size_t live_bytes = self->stats.allocated_bytes;
  pthread_mutex_unlock(&self->lock);
  return tarn__cuda_status(
      driver, result, "cuMemAllocFromPoolAsync",
      "the driver's pool on CUDA device %d: %zu bytes asked for; %zu live, %zu reserved, limit "
      "%zu%s; %zu of %zu are free on the device",
      (int)self->device, size_bytes, live_bytes, reserved, self->limit_bytes,
      self->limit_bytes == 0 ? " (none)" : "", free_bytes, total_bytes);
}

/* Lends base in the order of `stream`, or to the host where that is NULL. */
static tarn_status alloc_native(tarn__driver_pool *self, size_t bytes, CUstream native,
                                bool is_host, size_t size_bytes, CUdeviceptr *base) {
  tarn__cuda_scope scope;
  tarn_status status = tarn__cuda_enter(self->cuda, self->context, &scope);
  if (status != TARN_OK) return status;
  const tarn__driver *driver = &self->cuda->driver;
  status = refuse_capture(self, native);
  CUresult result = CUDA_SUCCESS;
  if (status == TARN_OK) {
    result = alloc_or_reclaim(self, bytes, native, base);
    status = result == CUDA_SUCCESS ? TARN_OK : explain(self, result, size_bytes);
  }
  if (status == TARN_OK && is_host) {
    result = driver->StreamSynchronize(native);
    status = tarn__cuda_status(driver, result, "cuStreamSynchronize",
                               "an allocation on CUDA device %d", (int)self->device);
    if (status != TARN_OK) driver->MemFreeAsync(*base, native);
  }
  tarn__cuda_leave(&scope);
  return status;
}

static void note_lent(tarn__driver_pool *self, tarn__pool_block *block) {
  tarn_pool_stats *stats = &self->stats;
  pthread_mutex_lock(&self->lock);
  tarn__pool_blocks_insert(&self->live, block);
  stats->alloc_count++;
  stats->requested_bytes += block->requested_bytes;
  stats->allocated_bytes += block->allocated_bytes;
  stats->requested_bytes_peak = larger(stats->requested_bytes_peak, stats->requested_bytes);
  stats->allocated_bytes_peak = larger(stats->allocated_bytes_peak, stats->allocated_bytes);
  pthread_mutex_unlock(&self->lock);
}

static tarn_status pool_alloc(void *context, size_t size_bytes, size_t alignment_bytes,
                              tarn_stream *stream, void **address) {
  tarn__driver_pool *self = context;
  const size_t alignment = larger(alignment_bytes, ALIGNMENT_BYTES);
  size_t bytes = 0;
  if (!tarn_size_add(size_bytes, alignment - ALIGNMENT_BYTES, &bytes) ||
      !tarn_size_round_up(bytes, STEP_BYTES, &bytes)) {
    return tarn_fail(TARN_TOO_LARGE, "%zu bytes aligned to %zu cannot be rounded", size_bytes,
                     alignment_bytes);
  }
  tarn__pool_block *block = malloc(sizeof *block);
  if (block == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a block's record");
  CUstream native = NULL;
  const bool is_host = !is_own(self, stream, &native);
  if (is_host) native = tarn__driver_pool_native(self->host_stream);
  CUdeviceptr base = 0;
  const tarn_status status = alloc_native(self, bytes, native, is_host, size_bytes, &base);
  if (status != TARN_OK) {
    free(block);
    return status;
  }
  const uintptr_t start = ((uintptr_t)base + alignment - 1) & ~(uintptr_t)(alignment - 1);
  *block = (tarn__pool_block){.address = (char *)start,
                              .base = (char *)(uintptr_t)base,
                              .requested_bytes = size_bytes,
                              .allocated_bytes = bytes,
                              .stream = is_host ? NULL : stream};
  if (!is_host) tarn_stream_retain(stream);
  note_lent(self, block);
  *address = block->address;
  return TARN_OK;
}

/* --- taking back --- */

/* Puts join_stream behind all that is enqueued on `stream`. A stream of another kind is waited for
 * by the calling thread, and so is one of which no fence is to be had. */
static tarn_status join_behind(tarn__driver_pool *self, tarn_stream *stream) {
  tarn_fence *fence = NULL;
  tarn_status status = tarn_fence_create(stream, &fence);
  if (status == TARN_OK) status = tarn_fence_record(fence, stream);
  if (status == TARN_OK) status = tarn_stream_wait(self->join_stream, fence);
  tarn_fence_destroy(fence);
  if (status != TARN_OK) status = tarn_stream_synchronize(stream);
  pthread_mutex_lock(&self->lock);
  self->stats.fence_count++;
  self->stats.wait_count++;
  pthread_mutex_unlock(&self->lock);
  return status;
}

/* Where the block's end goes, ordered behind all its streams; all of them are among its uses or its
 * own one. *pending_on: NULL where the host is all that has used it. */
static tarn_status choose_end(tarn__driver_pool *self, const tarn__pool_block *block,
                              CUstream *native, tarn_stream **pending_on) {
  tarn_stream *only = block->stream != NULL ? block->stream
                      : block->uses != NULL ? block->uses->stream
                                            : NULL;
  const bool is_one = (block->stream != NULL) + (block->uses != NULL) <= 1 &&
                      (block->uses == NULL || block->uses->next == NULL);
  *pending_on = only;
  if (only == NULL) {
    *native = tarn__driver_pool_native(self->host_stream);
    return TARN_OK;
  }
  if (is_one && is_own(self, only, native)) return TARN_OK;
  *pending_on = self->join_stream;
  *native = tarn__driver_pool_native(self->join_stream);
  tarn_status status = block->stream != NULL ? join_behind(self, block->stream) : TARN_OK;
  for (const tarn__pool_use *use = block->uses; use != NULL && status == TARN_OK; use = use->next) {
    status = join_behind(self, use->stream);
  }
  return status;
}

static tarn_status end_block(tarn__driver_pool *self, const tarn__pool_block *block) {
  const tarn__driver *driver = &self->cuda->driver;
  CUstream native = NULL;
  tarn_stream *pending_on = NULL;
  tarn_status status = choose_end(self, block, &native, &pending_on);
  tarn__cuda_scope scope;
  if (status == TARN_OK) status = tarn__cuda_enter(self->cuda, self->context, &scope);
  if (status != TARN_OK) return status;
  count_calls(self, 1);
  const CUresult result = driver->MemFreeAsync(device_address(block->base), native);
  status = tarn__cuda_status(driver, result, "cuMemFreeAsync",
                             "the block of %zu bytes at %p of the driver's pool on CUDA device %d",
                             block->requested_bytes, (void *)block->address, (int)self->device);
  if (status == TARN_OK && pending_on != NULL) {
    tarn__driver_pool_add_pending(self, pending_on, native, block->allocated_bytes);
  }
  tarn__cuda_leave(&scope);
  return status;
}

static tarn_status refuse_unknown(const tarn__driver_pool *self, const void *address) {
  return tarn_fail(TARN_NOT_FOUND, "the driver's pool on CUDA device %d: %p is not lent out",
                   (int)self->device, address);
}

static tarn_status pool_free(void *context, void *address, tarn_stream *stream) {
  tarn__driver_pool *self = context;
  /* The parent's memory: all that there is to do is to forget it. */
  if (tarn__cuda_is_left_behind(self->cuda)) return TARN_OK;
  pthread_mutex_lock(&self->lock);
  tarn__pool_block *block = tarn__pool_blocks_remove(&self->live, address);
  pthread_mutex_unlock(&self->lock);
  if (block == NULL) return refuse_unknown(self, address);
  tarn_status status = TARN_OK;
  if (!tarn_stream_is_synchronous(stream) && !tarn__pool_block_note(block, stream)) {
    status = tarn_stream_synchronize(stream); /* no memory to remember it by */
  }
  if (status == TARN_OK) status = end_block(self, block);
  pthread_mutex_lock(&self->lock);
  if (status == TARN_OK) {
    self->stats.free_count++;
    self->stats.requested_bytes -= block->requested_bytes;
    self->stats.allocated_bytes -= block->allocated_bytes;
  } else {
    tarn__pool_blocks_insert(&self->live, block);
  }
  pthread_mutex_unlock(&self->lock);
  if (status == TARN_OK) tarn__pool_block_destroy(block);
  return status;
}

static tarn_status pool_note_use(void *context, void *address, tarn_stream *stream) {
  tarn__driver_pool *self = context;
  const tarn_status there = tarn__cuda_check_process(self->cuda);
  if (there != TARN_OK) return there;
  pthread_mutex_lock(&self->lock);
  tarn__pool_block *block = tarn__pool_blocks_find(self->live, address);
  const bool is_noted = block != NULL && tarn__pool_block_note(block, stream);
  pthread_mutex_unlock(&self->lock);
  if (block == NULL) return refuse_unknown(self, address);
  if (is_noted) return TARN_OK;
  return tarn_fail(TARN_OUT_OF_MEMORY, "no memory to note that a stream uses a block");
}

/* --- the rest of the seam --- */

static tarn_status pool_attributes(void *context, tarn_pool_attributes *attributes) {
  const tarn__driver_pool *self = context;
  attributes->device = tarn_device_make(TARN_DEVICE_CUDA, self->device);
  attributes->alignment_bytes = ALIGNMENT_BYTES;
  attributes->node = -1;
  return TARN_OK;
}

static tarn_status pool_trim(void *context, size_t keep_bytes, size_t *released_bytes) {
  tarn__driver_pool *self = context;
  const tarn__driver *driver = &self->cuda->driver;
  tarn__cuda_scope scope;
  tarn_status status = tarn__cuda_enter(self->cuda, self->context, &scope);
  if (status != TARN_OK) return status;
  tarn__driver_pool_observe(self);
  const size_t before = amount(self, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT);
  /* The host's own frees wait for nobody; the driver has to see that they are done. */
  CUresult result = driver->StreamSynchronize(tarn__driver_pool_native(self->host_stream));
  if (result == CUDA_SUCCESS) result = driver->MemPoolTrimTo(self->native, keep_bytes);
  count_calls(self, 1);
  const size_t after = amount(self, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT);
  *released_bytes = before > after ? before - after : 0;
  status = tarn__cuda_status(driver, result, "cuMemPoolTrimTo",
                             "trimming the driver's pool on CUDA device %d to %zu bytes",
                             (int)self->device, keep_bytes);
  tarn__cuda_leave(&scope);
  return status;
}

static tarn_status pool_stats(void *context, tarn_pool_stats *stats) {
  tarn__driver_pool *self = context;
  tarn__cuda_scope scope;
  const tarn_status status = tarn__cuda_enter(self->cuda, self->context, &scope);
  if (status != TARN_OK) return status;
  tarn__driver_pool_observe(self);
  const size_t reserved = amount(self, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT);
  const size_t reserved_peak = amount(self, CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH);
  tarn__cuda_leave(&scope);
  pthread_mutex_lock(&self->lock);
  *stats = self->stats;
  stats->active_bytes = stats->allocated_bytes;
  for (const tarn__pool_pending *one = self->pendings; one != NULL; one = one->next) {
    stats->active_bytes += one->open_bytes + one->fenced_bytes;
  }
  pthread_mutex_unlock(&self->lock);
  /* What a stream may still use the driver may have lent once more, behind it. */
  if (stats->active_bytes > reserved) {
    stats->active_bytes = reserved > stats->allocated_bytes ? reserved : stats->allocated_bytes;
  }
  stats->struct_size = sizeof *stats;
  stats->reserved_bytes = reserved;
  stats->reserved_bytes_peak = reserved_peak;
  return TARN_OK;
}

static void destroy_native(tarn__driver_pool *self) {
  tarn__cuda_scope scope;
  if (self->native == NULL) return;
  if (tarn__cuda_enter(self->cuda, self->context, &scope) != TARN_OK) return;
  tarn__driver_pool_wait_for_all(self);
  self->cuda->driver.MemPoolDestroy(self->native);
  tarn__cuda_leave(&scope);
}

static void pool_destroy(void *context) {
  tarn__driver_pool *self = context;
  destroy_native(self);
  if (!tarn__cuda_is_left_behind(self->cuda)) tarn__driver_pool_drop_pendings(self);
  tarn_stream_release(self->host_stream);
  tarn_stream_release(self->join_stream);
  pthread_mutex_destroy(&self->lock);
  tarn_cuda_release(self->cuda);
  free(self);
}

/* --- making one --- */

static tarn_status check_support(const tarn_cuda *cuda, int32_t device) {
  const tarn__driver *driver = &cuda->driver;
  const char *missing = driver->MemPoolCreate == NULL           ? "cuMemPoolCreate"
                        : driver->MemPoolDestroy == NULL        ? "cuMemPoolDestroy"
                        : driver->MemPoolTrimTo == NULL         ? "cuMemPoolTrimTo"
                        : driver->MemPoolSetAttribute == NULL   ? "cuMemPoolSetAttribute"
                        : driver->MemPoolGetAttribute == NULL   ? "cuMemPoolGetAttribute"
                        : driver->MemAllocFromPoolAsync == NULL ? "cuMemAllocFromPoolAsync"
                        : driver->MemFreeAsync == NULL          ? "cuMemFreeAsync"
                                                                : NULL;
  if (missing != NULL) {
    return tarn_fail(TARN_NOT_SUPPORTED, "CUDA device %d has no memory pools: the driver lacks %s",
                     (int)device, missing);
  }
  int is_supported = 0;
  const CUresult result = driver->DeviceGetAttribute(
      &is_supported, CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED, cuda->devices[device].native);
  if (result == CUDA_SUCCESS && is_supported != 0) return TARN_OK;
  return tarn_fail(TARN_NOT_SUPPORTED, "CUDA device %d has no memory pools", (int)device);
}

static CUresult set_policy(const tarn__driver_pool *self, CUmemPool_attribute attribute,
                           int value) {
  return self->cuda->driver.MemPoolSetAttribute(self->native, attribute, &value);
}

static tarn_status create_native(tarn__driver_pool *self,
                                 const tarn_cuda_driver_pool_options *options) {
  const tarn__driver *driver = &self->cuda->driver;
  CUmemPoolProps properties = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
                               .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE,
                                            .id = (int)self->cuda->devices[self->device].native}};
  size_t size_max = 0;
  if (self->cuda->driver_version >= MAX_SIZE_SINCE &&
      tarn_size_round_up(options->limit_bytes, CHUNK_BYTES, &size_max)) {
    properties.maxSize = size_max;
  }
  CUresult result = driver->MemPoolCreate(&self->native, &properties);
  if (result != CUDA_SUCCESS) {
    self->native = NULL;
    return tarn__cuda_status(driver, result, "cuMemPoolCreate", "a pool on CUDA device %d",
                             (int)self->device);
  }
  cuuint64_t threshold =
      options->release_threshold_bytes != 0 ? options->release_threshold_bytes : UINT64_MAX;
  result = driver->MemPoolSetAttribute(self->native, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &threshold);
  if (result == CUDA_SUCCESS) {
    result = set_policy(self, CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES,
                        (options->flags & TARN_CUDA_POOL_NO_EVENT_REUSE) == 0);
  }
  if (result == CUDA_SUCCESS) {
    result = set_policy(self, CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC,
                        (options->flags & TARN_CUDA_POOL_NO_COMPLETED_REUSE) == 0);
  }
  if (result == CUDA_SUCCESS) {
    result = set_policy(self, CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES,
                        (options->flags & TARN_CUDA_POOL_ADD_WAITS) != 0);
  }
  return tarn__cuda_status(driver, result, "cuMemPoolSetAttribute",
                           "the policies of a pool on CUDA device %d", (int)self->device);
}

static tarn_status check_options(const tarn_cuda_driver_pool_options *options) {
  const uint32_t known =
      TARN_CUDA_POOL_NO_EVENT_REUSE | TARN_CUDA_POOL_NO_COMPLETED_REUSE | TARN_CUDA_POOL_ADD_WAITS;
  if (options->struct_size != sizeof *options) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "tarn_cuda_driver_pool_options has %zu bytes here, %zu were given",
                     sizeof *options, options->struct_size);
  }
  if ((options->flags & ~known) == 0) return TARN_OK;
  return tarn_fail(TARN_INVALID_ARGUMENT, "tarn_cuda_driver_pool_options has no flags %#x",
                   (unsigned)(options->flags & ~known));
}

static tarn_status start_pool(tarn__driver_pool *self, const tarn_cuda_driver_pool_options *options,
                              tarn_pool **pool) {
  tarn_status status = tarn_cuda_stream_create(self->cuda, self->device, &self->host_stream);
  if (status == TARN_OK) {
    status = tarn_cuda_stream_create(self->cuda, self->device, &self->join_stream);
  }
  if (status != TARN_OK) return status;
  tarn__cuda_scope scope;
  status = tarn__cuda_enter(self->cuda, self->context, &scope);
  if (status != TARN_OK) return status;
  status = create_native(self, options);
  if (status == TARN_OK) {
    status = tarn__cuda_open_pool(self->cuda, self->device, self->native, options->peers,
                                  options->peer_count);
  }
  tarn__cuda_leave(&scope);
  if (status != TARN_OK) return status;
  char name[32];
  snprintf(name, sizeof name, "cuda:%d driver", (int)self->device);
  const tarn_pool_ops ops = {.struct_size = sizeof ops,
                             .name = options->name != NULL ? options->name : name,
                             .attributes = pool_attributes,
                             .alloc = pool_alloc,
                             .free = pool_free,
                             .note_use = pool_note_use,
                             .trim = pool_trim,
                             .stats = pool_stats,
                             .destroy = pool_destroy};
  return tarn_pool_create(&ops, self, pool);
}

tarn_status tarn_cuda_driver_pool_create(tarn_cuda *cuda, int32_t device,
                                         const tarn_cuda_driver_pool_options *options,
                                         tarn_pool **pool) {
  if (pool == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "pool is NULL");
  *pool = NULL;
  if (cuda == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "cuda is NULL");
  const tarn_cuda_driver_pool_options defaults = {.struct_size = sizeof defaults};
  if (options == NULL) options = &defaults;
  CUcontext context;
  tarn_status status = check_options(options);
  if (status == TARN_OK) status = tarn__cuda_context(cuda, device, &context);
  if (status == TARN_OK) status = check_support(cuda, device);
  if (status != TARN_OK) return status;
  tarn__driver_pool *self = calloc(1, sizeof *self);
  if (self == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a pool's handle");
  self->cuda = cuda;
  self->device = device;
  self->context = context;
  self->limit_bytes = options->limit_bytes;
  pthread_mutex_init(&self->lock, NULL);
  tarn_cuda_retain(cuda);
  status = start_pool(self, options, pool);
  if (status != TARN_OK) {
    const tarn_error cause = *tarn_last_error();
    pool_destroy(self);
    return tarn_fail_again(&cause);
  }
  return TARN_OK;
}
