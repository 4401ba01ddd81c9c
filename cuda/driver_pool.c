/* driver_pool.c: the CUDA driver's own pool as a tarn pool: a CUmemoryPool that tarn owns.
 *
 *     lent on a stream of the device    cuMemAllocFromPoolAsync there
 *     lent to anybody else              on host_stream, and the host waits for that
 *     freed by one such stream          cuMemFreeAsync there
 *     freed behind several streams      join_stream waits for fences of them all; freed there
 *     freed by nobody but the host      on host_stream, which never waits for another stream
 *     freed under a capture             kept until the capture is destroyed; then as above
 *
 * So no stream of the caller's is ever made to wait. What was freed behind a stream is pending
 * until that stream, or a fence behind the free, is seen to have passed. */
#include "cuda/cuda_peer.h"
#include "cuda/driver_pool.h"

#include <stdio.h>
#include <stdlib.h>

enum { MAX_SIZE_SINCE = 12020 }; /* CUmemPoolProps.maxSize */

static const uint64_t DEFAULT_DECAY_NS = UINT64_C(10000000000);

/* --- what the files share --- */

bool tarn__driver_pool_is_own(const tarn__driver_pool *self, const tarn_stream *stream,
                              CUstream *native) {
  tarn__cuda_stream found;
  if (!tarn__cuda_stream_of(stream, &found)) return false;
  *native = found.native;
  /* What a handle names should not depend on who asks later. */
  return found.device == self->device && found.native != CU_STREAM_PER_THREAD &&
         found.cuda->driver.MemFreeAsync == self->cuda->driver.MemFreeAsync;
}

CUstream tarn__driver_pool_native(tarn_stream *stream) {
  tarn__cuda_stream found = {0};
  const bool is_cuda = tarn__cuda_stream_of(stream, &found);
  TARN_ASSERT(is_cuda);
  (void)is_cuda;
  return found.native;
}

size_t tarn__driver_pool_amount(const tarn__driver_pool *self, CUmemPool_attribute attribute) {
  cuuint64_t value = 0;
  const CUresult result = self->cuda->driver.MemPoolGetAttribute(self->native, attribute, &value);
  return result == CUDA_SUCCESS ? (size_t)value : 0;
}

void tarn__driver_pool_count_calls(tarn__driver_pool *self, uint64_t count) {
  pthread_mutex_lock(&self->lock);
  self->stats.provider_calls += count;
  pthread_mutex_unlock(&self->lock);
}

CUresult tarn__driver_pool_give_back(tarn__driver_pool *self, size_t keep_bytes) {
  const tarn__driver *driver = &self->cuda->driver;
  /* The host's own frees wait for nobody; the driver has to see that they are done. */
  CUresult result = driver->StreamSynchronize(tarn__driver_pool_native(self->host_stream));
  if (result == CUDA_SUCCESS) result = driver->MemPoolTrimTo(self->native, keep_bytes);
  tarn__driver_pool_count_calls(self, 1);
  (void)tarn__driver_pool_settle(self);
  return result;
}

/* --- the pool's operations --- */

static tarn_status pool_attributes(void *context, tarn_pool_attributes *attributes) {
  const tarn__driver_pool *self = context;
  attributes->device = tarn_device_make(TARN_DEVICE_CUDA, self->device);
  attributes->alignment_bytes = 256;
  attributes->node = -1;
  return TARN_OK;
}

static tarn_status pool_trim(void *context, size_t keep_bytes, size_t *released_bytes) {
  tarn__driver_pool *self = context;
  tarn__cuda_scope scope;
  tarn_status status = tarn__cuda_enter_relaxed(self->cuda, self->context, &scope);
  if (status != TARN_OK) return status;
  tarn__driver_pool_observe(self);
  const size_t before = tarn__driver_pool_amount(self, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT);
  const CUresult result = tarn__driver_pool_give_back(self, keep_bytes);
  const size_t after = tarn__driver_pool_amount(self, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT);
  *released_bytes = before > after ? before - after : 0;
  status = tarn__cuda_status(&self->cuda->driver, result, "cuMemPoolTrimTo",
                             "trimming the driver's pool on CUDA device %d to %zu bytes",
                             (int)self->device, keep_bytes);
  tarn__cuda_leave(&scope);
  return status;
}

/* Whether a window is over; then how much of what is reserved it needed, and the next begins. */
static bool end_window(tarn__driver_pool *self, uint64_t now_ns, size_t *needed_bytes) {
  pthread_mutex_lock(&self->lock);
  const size_t used_bytes = self->stats.allocated_bytes + self->kept_bytes;
  const bool is_over =
      self->has_window && now_ns >= self->window_ns && now_ns - self->window_ns >= self->decay_ns;
  *needed_bytes = self->window_peak_bytes > used_bytes ? self->window_peak_bytes : used_bytes;
  if (is_over || !self->has_window) {
    self->has_window = true;
    self->window_ns = now_ns;
    self->window_peak_bytes = used_bytes + self->pending_bytes;
  }
  pthread_mutex_unlock(&self->lock);
  return is_over;
}

static tarn_status pool_decay(void *context, uint64_t now_ns, size_t *released_bytes) {
  tarn__driver_pool *self = context;
  size_t needed_bytes = 0;
  const tarn_status there = tarn__cuda_check_process(self->cuda);
  if (there != TARN_OK || !end_window(self, now_ns, &needed_bytes)) return there;
  return pool_trim(self, needed_bytes, released_bytes);
}

static void pool_set_trace(void *context, tarn_trace *trace) {
  tarn__driver_pool *self = context;
  if (tarn__cuda_is_left_behind(self->cuda)) return; /* nothing is recorded there */
  pthread_mutex_lock(&self->lock);
  self->trace = trace;
  pthread_mutex_unlock(&self->lock);
}

/* Every call is tried twice, for what is not given back now is lost. */
static void destroy_native(tarn__driver_pool *self) {
  tarn__cuda_scope scope;
  if (self->native == NULL || tarn__cuda_is_left_behind(self->cuda)) return;
  tarn_status status = TARN_NOT_READY;
  for (int attempt = 0; status != TARN_OK && attempt < 2; attempt++) {
    status = tarn__cuda_enter_relaxed(self->cuda, self->context, &scope);
  }
  if (status != TARN_OK) return;
  tarn__driver_pool_drop_kept(self);
  tarn__driver_pool_wait_for_all(self);
  if (self->cuda->driver.MemPoolDestroy(self->native) != CUDA_SUCCESS) {
    self->cuda->driver.MemPoolDestroy(self->native);
  }
  tarn__cuda_leave(&scope);
}

static void pool_destroy(void *context) {
  tarn__driver_pool *self = context;
  if (self->budget != NULL) {
    const tarn_status removed =
        tarn_budget_remove_pressure(self->budget, tarn__driver_pool_answer_pressure, self);
    (void)removed; /* it may not have been added yet */
  }
  destroy_native(self);
  if (self->budget != NULL) tarn_budget_pay_back(self->budget, self->charged_bytes);
  tarn_budget_release(self->budget);
  if (!tarn__cuda_is_left_behind(self->cuda)) tarn__driver_pool_drop_pendings(self);
  tarn_stream_release(self->host_stream);
  tarn_stream_release(self->join_stream);
  if (!tarn__cuda_is_left_behind(self->cuda)) pthread_cond_destroy(&self->has_looked);
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
      tarn_size_round_up(options->limit_bytes, TARN__DRIVER_POOL_CHUNK_BYTES, &size_max)) {
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
  const uint32_t known = TARN_CUDA_POOL_NO_EVENT_REUSE | TARN_CUDA_POOL_NO_COMPLETED_REUSE |
                         TARN_CUDA_POOL_ADD_WAITS | TARN_CUDA_POOL_NEVER_WAITS;
  if (options->struct_size != sizeof *options) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "tarn_cuda_driver_pool_options has %zu bytes here, %zu were given",
                     sizeof *options, options->struct_size);
  }
  if ((options->flags & ~known) == 0) return TARN_OK;
  return tarn_fail(TARN_INVALID_ARGUMENT, "tarn_cuda_driver_pool_options has no flags %#x",
                   (unsigned)(options->flags & ~known));
}

/* Its own budget counts apart from those of other pools, and has no limit of its own: limit_bytes
 * is of what is lent. */
static tarn_status join_budget(tarn__driver_pool *self, tarn_budget *parent) {
  if (parent == NULL) return TARN_OK;
  const tarn_budget_options options = {
      .struct_size = sizeof options, .name = self->name, .parent = parent};
  const tarn_status status = tarn_budget_create(&options, &self->budget);
  if (status != TARN_OK) return status;
  return tarn_budget_add_pressure(self->budget, tarn__driver_pool_answer_pressure, self);
}

static tarn_status start_native(tarn__driver_pool *self,
                                const tarn_cuda_driver_pool_options *options) {
  tarn_status status = tarn_cuda_stream_create(self->cuda, self->device, &self->host_stream);
  if (status == TARN_OK) {
    status = tarn_cuda_stream_create(self->cuda, self->device, &self->join_stream);
  }
  tarn__cuda_scope scope;
  if (status == TARN_OK) status = tarn__cuda_enter_relaxed(self->cuda, self->context, &scope);
  if (status != TARN_OK) return status;
  status = create_native(self, options);
  if (status == TARN_OK) {
    status = tarn__cuda_open_pool(self->cuda, self->device, self->native, options->peers,
                                  options->peer_count);
  }
  tarn__cuda_leave(&scope);
  return status;
}

static tarn_status start_pool(tarn__driver_pool *self, const tarn_cuda_driver_pool_options *options,
                              tarn_pool **pool) {
  char standard[32];
  snprintf(standard, sizeof standard, "cuda:%d driver", (int)self->device);
  const char *name = options->name != NULL ? options->name : standard;
  snprintf(self->name, sizeof self->name, "%s", name);
  tarn_status status = start_native(self, options);
  if (status == TARN_OK) status = join_budget(self, options->budget);
  if (status != TARN_OK) return status;
  const tarn_pool_ops ops = {.struct_size = sizeof ops,
                             .name = name,
                             .attributes = pool_attributes,
                             .alloc = tarn__driver_pool_alloc,
                             .free = tarn__driver_pool_free,
                             .note_use = tarn__driver_pool_note_use,
                             .trim = pool_trim,
                             .stats = tarn__driver_pool_stats,
                             .destroy = pool_destroy,
                             .decay = pool_decay,
                             .set_trace = pool_set_trace,
                             .snapshot = tarn__driver_pool_snapshot,
                             .reset_peaks = tarn__driver_pool_reset_peaks,
                             .size_of = tarn__driver_pool_size_of};
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
  self->never_waits = (options->flags & TARN_CUDA_POOL_NEVER_WAITS) != 0;
  self->decay_ns = options->decay_ns != 0 ? options->decay_ns : DEFAULT_DECAY_NS;
  self->out_of_memory = options->out_of_memory;
  self->out_of_memory_context = options->out_of_memory_context;
  pthread_mutex_init(&self->lock, NULL);
  pthread_cond_init(&self->has_looked, NULL);
  tarn_cuda_retain(cuda);
  status = start_pool(self, options, pool);
  if (status != TARN_OK) {
    const tarn_error cause = *tarn_last_error();
    pool_destroy(self);
    return tarn_fail_again(&cause);
  }
  return TARN_OK;
}
