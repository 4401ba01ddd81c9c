/* driver_pool_lend.c: the driver's pool lends: what is tried before it says that there is none. */
#include "cuda/driver_pool.h"

#include <stdlib.h>

#include "alloc/tarn_tag.h"

enum {
  ALIGNMENT_BYTES = 256, /* what the CUDA C++ Programming Guide promises of any allocation */
  STEP_BYTES = 512,      /* sizes are rounded to it */
};

static size_t larger(size_t a, size_t b) {
  return a > b ? a : b;
}

/* In a capture an allocation would become a node of the graph, and the graph's. Whether tarn was
 * told, or the application has begun it alone. */
static tarn_status refuse_capture(const tarn__driver_pool *self, const tarn__driver_ask *ask) {
  const tarn__driver *driver = &self->cuda->driver;
  CUstreamCaptureStatus found = CU_STREAM_CAPTURE_STATUS_NONE;
  if (!tarn_stream_is_captured(ask->stream)) {
    if (ask->is_host || driver->StreamIsCapturing == NULL) return TARN_OK;
    /* Where there is no answer for the legacy stream, a call on it would break a capture. */
    const CUresult result = driver->StreamIsCapturing(ask->native, &found);
    if (result != CUDA_SUCCESS) {
      return tarn__cuda_status(driver, result, "cuStreamIsCapturing",
                               "an allocation on CUDA device %d", (int)self->device);
    }
    if (found == CU_STREAM_CAPTURE_STATUS_NONE) return TARN_OK;
  }
  return tarn_fail(TARN_NOT_SUPPORTED,
                   "the stream %p is being captured: the driver's pool on CUDA device %d lends to "
                   "no graph",
                   (void *)ask->native, (int)self->device);
}

static bool is_beyond_limit(tarn__driver_pool *self, size_t size_bytes) {
  if (self->limit_bytes == 0) return false;
  pthread_mutex_lock(&self->lock);
  const bool is_beyond = size_bytes > self->limit_bytes ||
                         self->stats.allocated_bytes > self->limit_bytes - size_bytes;
  pthread_mutex_unlock(&self->lock);
  return is_beyond;
}

static tarn_status try_once(tarn__driver_pool *self, const tarn__driver_ask *ask,
                            CUdeviceptr *base) {
  const tarn__driver *driver = &self->cuda->driver;
  tarn__driver_pool_count_calls(self, 1);
  if (is_beyond_limit(self, ask->size_bytes)) {
    return tarn_fail(TARN_OUT_OF_MEMORY, "limit %zu", self->limit_bytes);
  }
  if (!tarn__driver_pool_charge(self, ask->size_bytes)) return TARN_OUT_OF_MEMORY;
  CUresult result = driver->MemAllocFromPoolAsync(base, ask->size_bytes, self->native, ask->native);
  if (result == CUDA_SUCCESS && !tarn__driver_pool_settle(self)) {
    /* The driver took more than the budget has room for. */
    const tarn_error refusal = *tarn_last_error();
    driver->MemFreeAsync(*base, ask->native);
    if (!ask->is_host) {
      tarn__driver_pool_add_pending(self, ask->stream, ask->native, ask->size_bytes);
    }
    return tarn_fail_again(&refusal);
  }
  if (result != CUDA_SUCCESS) (void)tarn__driver_pool_settle(self);
  return tarn__cuda_status(driver, result, "cuMemAllocFromPoolAsync",
                           "%zu bytes of the driver's pool on CUDA device %d", ask->size_bytes,
                           (int)self->device);
}

/* What is pending is waited for, and all idle memory goes back. Others may be capturing meanwhile.
 * The last error stays. */
static void reclaim(tarn__driver_pool *self) {
  const tarn_error refusal = *tarn_last_error();
  tarn__cuda_scope scope;
  if (tarn__cuda_enter_relaxed(self->cuda, self->context, &scope) != TARN_OK) return;
  if (self->never_waits) {
    tarn__driver_pool_observe(self);
  } else {
    tarn__driver_pool_wait_for_all(self);
  }
  (void)tarn__driver_pool_give_back(self, 0);
  tarn__cuda_leave(&scope);
  (void)tarn_fail_again(&refusal);
}

/* One more try when everything idle is back, and one when others have given something. */
static tarn_status lend(tarn__driver_pool *self, const tarn__driver_ask *ask, CUdeviceptr *base) {
  const tarn_error before = *tarn_last_error();
  tarn_status status = try_once(self, ask, base);
  if (status == TARN_OUT_OF_MEMORY) {
    reclaim(self);
    status = try_once(self, ask, base);
    if (status == TARN_OUT_OF_MEMORY && self->budget != NULL &&
        tarn_budget_press(self->budget, ask->asked_bytes, ask->size_bytes, /*except=*/self)) {
      status = try_once(self, ask, base);
    }
    /* What the driver took in vain. */
    if (status == TARN_OUT_OF_MEMORY && self->budget != NULL) reclaim(self);
    /* What was refused on the way to a success is nobody's last error. */
    if (status == TARN_OK && before.status != TARN_OK) (void)tarn_fail_again(&before);
  }
  return status == TARN_OUT_OF_MEMORY ? tarn__driver_pool_explain(self, ask) : status;
}

/* Lends to the host by a stream that waits for nothing but the driver. */
static tarn_status lend_to_host(tarn__driver_pool *self, const tarn__driver_ask *ask,
                                CUdeviceptr *base) {
  const tarn__driver *driver = &self->cuda->driver;
  tarn_status status = lend(self, ask, base);
  if (status != TARN_OK) return status;
  const CUresult result = driver->StreamSynchronize(ask->native);
  status = tarn__cuda_status(driver, result, "cuStreamSynchronize",
                             "an allocation on CUDA device %d", (int)self->device);
  if (status != TARN_OK) driver->MemFreeAsync(*base, ask->native);
  return status;
}

static tarn_status lend_native(tarn__driver_pool *self, const tarn__driver_ask *ask,
                               CUdeviceptr *base) {
  tarn__cuda_scope scope;
  tarn_status status = tarn__cuda_enter_relaxed(self->cuda, self->context, &scope);
  if (status != TARN_OK) return status;
  status = refuse_capture(self, ask);
  if (status == TARN_OK) {
    status = ask->is_host ? lend_to_host(self, ask, base) : lend(self, ask, base);
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
  self->window_peak_bytes = larger(self->window_peak_bytes,
                                   stats->allocated_bytes + self->kept_bytes + self->pending_bytes);
  if (self->trace != NULL) {
    tarn_trace_record(self->trace, 'a', block->address, block->requested_bytes, block->stream);
  }
  pthread_mutex_unlock(&self->lock);
}

tarn_status tarn__driver_pool_alloc(void *context, size_t size_bytes, size_t alignment_bytes,
                                    tarn_stream *stream, void **address) {
  tarn__driver_pool *self = context;
  const size_t alignment = larger(alignment_bytes, ALIGNMENT_BYTES);
  tarn__driver_ask ask = {
      .asked_bytes = size_bytes, .alignment_bytes = alignment, .stream = stream};
  if (!tarn_size_add(size_bytes, alignment - ALIGNMENT_BYTES, &ask.size_bytes) ||
      !tarn_size_round_up(ask.size_bytes, STEP_BYTES, &ask.size_bytes)) {
    return tarn_fail(TARN_TOO_LARGE, "%zu bytes aligned to %zu cannot be rounded", size_bytes,
                     alignment_bytes);
  }
  tarn__pool_block *block = malloc(sizeof *block);
  if (block == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a block's record");
  ask.is_host = !tarn__driver_pool_is_own(self, stream, &ask.native);
  if (ask.is_host) ask.native = tarn__driver_pool_native(self->host_stream);
  CUdeviceptr base = 0;
  const tarn_status status = lend_native(self, &ask, &base);
  if (status != TARN_OK) {
    free(block);
    return status;
  }
  const uintptr_t start = ((uintptr_t)base + alignment - 1) & ~(uintptr_t)(alignment - 1);
  *block = (tarn__pool_block){.address = (char *)start,
                              .base = (char *)(uintptr_t)base,
                              .requested_bytes = size_bytes,
                              .allocated_bytes = ask.size_bytes,
                              .tag = tarn_tag_current(),
                              .stream = ask.is_host ? NULL : stream};
  if (!ask.is_host) tarn_stream_retain(stream);
  *address = block->address;
  note_lent(self, block);
  return TARN_OK;
}
