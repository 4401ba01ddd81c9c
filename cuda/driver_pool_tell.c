/* driver_pool_tell.c: what the driver's pool tells: statistics, snapshots, why it has no memory. */
#include "cuda/driver_pool.h"

#include <stdio.h>
#include <string.h>

static size_t smaller(size_t a, size_t b) {
  return a < b ? a : b;
}

/* --- statistics --- */

/* What is freed and may be in use counts, as far as the driver holds so much: behind the same
 * streams it may have lent the memory again. */
static void sum_active(const tarn__driver_pool *self, tarn_pool_stats *stats, size_t reserved) {
  const size_t free_bytes =
      reserved > stats->allocated_bytes ? reserved - stats->allocated_bytes : 0;
  stats->captured_bytes = smaller(self->kept_bytes, free_bytes);
  stats->active_bytes =
      stats->allocated_bytes + smaller(self->kept_bytes + self->pending_bytes, free_bytes);
}

static void add_captured(void *context, const tarn__pool_block *block) {
  size_t *graph_bytes = context;
  for (const tarn__pool_use *use = block->uses; use != NULL; use = use->next) {
    if (tarn_capture_is_destroyed(use->capture)) continue;
    *graph_bytes += block->allocated_bytes;
    return;
  }
}

/* With the lock; what the driver says was asked before, and cannot be of the same moment. */
static void copy_stats(const tarn__driver_pool *self, tarn_pool_stats *stats, size_t reserved,
                       size_t reserved_peak) {
  *stats = self->stats;
  stats->struct_size = sizeof *stats;
  stats->reserved_bytes = reserved > stats->allocated_bytes ? reserved : stats->allocated_bytes;
  stats->reserved_bytes_peak =
      reserved_peak > stats->reserved_bytes ? reserved_peak : stats->reserved_bytes;
  sum_active(self, stats, stats->reserved_bytes);
  size_t graph_bytes = 0;
  tarn__pool_blocks_walk(self->live, add_captured, &graph_bytes);
  stats->graph_bytes = stats->captured_bytes + graph_bytes;
}

tarn_status tarn__driver_pool_stats(void *context, tarn_pool_stats *stats) {
  tarn__driver_pool *self = context;
  tarn__cuda_scope scope;
  const tarn_status status = tarn__cuda_enter_relaxed(self->cuda, self->context, &scope);
  if (status != TARN_OK) return status;
  tarn__driver_pool_observe(self);
  const size_t reserved = tarn__driver_pool_amount(self, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT);
  const size_t peak = tarn__driver_pool_amount(self, CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH);
  (void)tarn__driver_pool_settle(self);
  tarn__cuda_leave(&scope);
  pthread_mutex_lock(&self->lock);
  copy_stats(self, stats, reserved, peak);
  pthread_mutex_unlock(&self->lock);
  return TARN_OK;
}

tarn_status tarn__driver_pool_reset_peaks(void *context) {
  tarn__driver_pool *self = context;
  tarn__cuda_scope scope;
  tarn_status status = tarn__cuda_enter_relaxed(self->cuda, self->context, &scope);
  if (status != TARN_OK) return status;
  cuuint64_t zero = 0; /* to where it is now */
  const CUresult result = self->cuda->driver.MemPoolSetAttribute(
      self->native, CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH, &zero);
  tarn__cuda_leave(&scope);
  status = tarn__cuda_status(&self->cuda->driver, result, "cuMemPoolSetAttribute",
                             "the peak of a pool on CUDA device %d", (int)self->device);
  if (status != TARN_OK) return status;
  pthread_mutex_lock(&self->lock);
  self->stats.requested_bytes_peak = self->stats.requested_bytes;
  self->stats.allocated_bytes_peak = self->stats.allocated_bytes;
  pthread_mutex_unlock(&self->lock);
  return TARN_OK;
}

/* --- snapshots --- */

static void add_block(void *context, const tarn__pool_block *block) {
  tarn_snapshot *snapshot = context;
  snapshot->blocks[snapshot->block_count++] =
      (tarn_snapshot_block){.address = block->base,
                            .size_bytes = block->allocated_bytes,
                            .requested_bytes = block->requested_bytes,
                            .capture = tarn__pool_block_capture(block),
                            .tag = block->tag,
                            .state = TARN_BLOCK_LIVE,
                            .is_first = true};
}

static tarn_status list_blocks(tarn__driver_pool *self, tarn_snapshot *snapshot) {
  for (;;) {
    pthread_mutex_lock(&self->lock);
    const size_t count = (size_t)(self->stats.alloc_count - self->stats.free_count);
    const bool fits = count <= snapshot->block_capacity;
    if (fits) {
      tarn__pool_blocks_walk(self->live, add_block, snapshot);
      copy_stats(self, &snapshot->stats, snapshot->stats.reserved_bytes,
                 snapshot->stats.reserved_bytes_peak);
    }
    pthread_mutex_unlock(&self->lock);
    if (fits) return TARN_OK;
    const tarn_status status = tarn_snapshot_reserve(snapshot, count, 0);
    if (status != TARN_OK) return status;
  }
}

tarn_status tarn__driver_pool_snapshot(void *context, tarn_snapshot *snapshot) {
  tarn__driver_pool *self = context;
  snapshot->flags = TARN_SNAPSHOT_LENT_ONLY;
  snapshot->limit_bytes = self->limit_bytes;
  snapshot->stats.struct_size = sizeof snapshot->stats;
  const tarn_status status = tarn__driver_pool_stats(self, &snapshot->stats);
  return status == TARN_OK ? list_blocks(self, snapshot) : status;
}

/* --- out of memory --- */

static void list_pendings(const tarn__driver_pool *self, tarn_out_of_memory *report) {
  for (const tarn__pool_pending *one = self->pendings; one != NULL; one = one->next) {
    const tarn_pending_stream row = {.stream = tarn_stream_number(one->stream),
                                     .size_bytes = one->older_bytes + one->latest_bytes};
    uint32_t at = report->stream_count;
    if (at < TARN_OUT_OF_MEMORY_ROWS) report->stream_count++;
    for (; at > 0 && report->streams[at - 1].size_bytes < row.size_bytes; at--) {
      if (at < TARN_OUT_OF_MEMORY_ROWS) report->streams[at] = report->streams[at - 1];
    }
    if (at < TARN_OUT_OF_MEMORY_ROWS) report->streams[at] = row;
  }
}

/* Without memory for a list of the blocks nobody is named. */
static void list_holders(tarn__driver_pool *self, tarn_out_of_memory *report) {
  tarn_snapshot lent = {.struct_size = sizeof lent};
  lent.stats.reserved_bytes = report->reserved_bytes;
  const tarn_error before = *tarn_last_error();
  if (list_blocks(self, &lent) == TARN_OK) {
    const size_t count = tarn_snapshot_holders(&lent, report->holders, TARN_OUT_OF_MEMORY_ROWS);
    report->holder_count = (uint32_t)smaller(count, TARN_OUT_OF_MEMORY_ROWS);
  } else {
    (void)tarn_fail_again(&before);
  }
  tarn_snapshot_deinit(&lent);
}

static void fill_budget(tarn__driver_pool *self, size_t size_bytes, tarn_out_of_memory *report) {
  const tarn_budget *refuser =
      self->budget != NULL ? tarn_budget_refuser(self->budget, size_bytes) : NULL;
  if (refuser == NULL) return;
  tarn_budget_stats stats = {.struct_size = sizeof stats};
  const tarn_status status = tarn_budget_stats_of(refuser, &stats);
  (void)status; /* its arguments are right */
  snprintf(report->budget, sizeof report->budget, "%s", tarn_budget_name(refuser));
  report->budget_limit_bytes = stats.limit_bytes;
  report->budget_used_bytes = stats.used_bytes;
}

static void fill_cause(const tarn__driver_pool *self, tarn_out_of_memory *report) {
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  const CUresult result = self->cuda->driver.MemGetInfo(&free_bytes, &total_bytes);
  if (result != CUDA_SUCCESS) free_bytes = total_bytes = 0;
  const tarn_error *error = tarn_last_error();
  snprintf(report->cause, sizeof report->cause,
           "%s, limit %zu%s, %zu of %zu are free on the device",
           error->native_call != NULL ? error->native_call : "the driver was not asked",
           self->limit_bytes, self->limit_bytes == 0 ? " (none)" : "", free_bytes, total_bytes);
}

tarn_status tarn__driver_pool_explain(tarn__driver_pool *self, const tarn__driver_ask *ask) {
  tarn_pool_stats stats;
  const size_t reserved = tarn__driver_pool_amount(self, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT);
  tarn_out_of_memory report = {.struct_size = sizeof report,
                               .device = tarn_device_make(TARN_DEVICE_CUDA, self->device),
                               .asked_bytes = ask->asked_bytes,
                               .alignment_bytes = ask->alignment_bytes,
                               .stream = tarn_stream_number(ask->stream)};
  memcpy(report.pool, self->name, sizeof report.pool);
  pthread_mutex_lock(&self->lock);
  self->stats.out_of_memory_count++;
  copy_stats(self, &stats, reserved, 0);
  list_pendings(self, &report);
  pthread_mutex_unlock(&self->lock);
  report.live_bytes = stats.allocated_bytes;
  report.live_count = (size_t)(stats.alloc_count - stats.free_count);
  report.reserved_bytes = stats.reserved_bytes;
  report.cached_bytes = stats.reserved_bytes - stats.allocated_bytes;
  report.pending_bytes = stats.active_bytes - stats.allocated_bytes;
  report.graph_bytes = stats.graph_bytes;
  fill_budget(self, ask->size_bytes, &report);
  fill_cause(self, &report);
  list_holders(self, &report);
  const tarn_status status = tarn_out_of_memory_report(&report);
  if (self->out_of_memory == NULL) return status;
  const tarn_error explained = *tarn_last_error();
  self->out_of_memory(self->out_of_memory_context, tarn_last_out_of_memory());
  return tarn_fail_again(&explained);
}
