/* program_pools.c: the pools that a program runs on, and whether their figures are right. */
#include <inttypes.h>

#include "alloc/tarn_pages.h"
#include "alloc/tarn_pause.h"
#include "alloc/tarn_pool_provider.h"
#include "tests/sim/planted_pool.h"
#include "tests/sim/program_runner.h"

enum { TRIMS = 4 };

void runner_check_stats(runner *self, uint32_t index) {
  const model_pool *model = &self->model.pools[index];
  if (self->pools[index] == NULL || model->is_dropped) return;
  tarn_pool_stats stats = {.struct_size = sizeof stats};
  const tarn_status status = tarn_pool_stats_of(self->pools[index], &stats);
  if (status != TARN_OK) {
    runner_condemn(self, PROGRAM_WRONG_STATUS, "the statistics of pool %u: %s", index,
                   tarn_status_name(status));
    return;
  }
  const uint64_t limit_bytes = self->of->pools[index].limit_bytes;
  const char *wrong = NULL;
  if (stats.requested_bytes != model->requested_bytes) wrong = "requested_bytes";
  if (stats.alloc_count != model->alloc_count) wrong = "alloc_count";
  if (stats.free_count != model->free_count) wrong = "free_count";
  if (stats.requested_bytes_peak != model->requested_bytes_peak) wrong = "requested_bytes_peak";
  if (stats.requested_bytes > stats.allocated_bytes) wrong = "requested <= allocated";
  if (stats.allocated_bytes > stats.active_bytes) wrong = "allocated <= active";
  if (stats.active_bytes > stats.reserved_bytes) wrong = "active <= reserved";
  if (stats.allocated_bytes > stats.allocated_bytes_peak) wrong = "allocated <= its peak";
  if (stats.reserved_bytes > stats.reserved_bytes_peak) wrong = "reserved <= its peak";
  if (limit_bytes != 0 && !model->is_limit_changed && stats.reserved_bytes > limit_bytes)
    wrong = "reserved <= limit";
  if (model->live_count == 0 && stats.allocated_bytes != 0) wrong = "nothing lent, all free";
  if (wrong == NULL) return;
  runner_condemn(self, PROGRAM_WRONG_STATS,
                 "pool %u, %s: requested %zu (peak %zu), allocated %zu, active %zu, reserved %zu, "
                 "%" PRIu64 " allocs, %" PRIu64 " frees; the model has requested %" PRIu64
                 " (peak %" PRIu64 "), %" PRIu64 " allocs, %" PRIu64 " frees",
                 index, wrong, stats.requested_bytes, stats.requested_bytes_peak,
                 stats.allocated_bytes, stats.active_bytes, stats.reserved_bytes, stats.alloc_count,
                 stats.free_count, model->requested_bytes, model->requested_bytes_peak,
                 model->alloc_count, model->free_count);
}

/* --- their life --- */

static tarn_status open_pinned_pages(runner *self, uint32_t flags, tarn_provider **provider) {
  tarn_provider *pages = NULL;
  tarn_status status = tarn_pages_provider_create(NULL, &pages);
  const tarn_cuda_pinned_options options = {
      .struct_size = sizeof options, .host = pages, .flags = flags};
  if (status == TARN_OK) status = tarn_cuda_pinned_provider_create(self->cuda, &options, provider);
  tarn_provider_release(pages);
  return status;
}

/* Ranges have no segments: that option stands for memory in pieces, some of it made ahead. */
static bool has_pieces(const program_pool *wanted) {
  return wanted->kind == POOL_VIRTUAL && wanted->segment_bytes != 0;
}

static tarn_status open_virtual(runner *self, const program_pool *wanted,
                                tarn_provider **provider) {
  const tarn_cuda_virtual_options options = {
      .struct_size = sizeof options, .piece_bytes = has_pieces(wanted) ? (size_t)4 << 20 : 0};
  return tarn_cuda_virtual_provider_create(self->cuda, 0, &options, provider);
}

static tarn_status open_provider(runner *self, const program_pool *wanted,
                                 tarn_provider **provider) {
  switch (wanted->kind) {
    case POOL_DEVICE:
      return tarn_cuda_device_provider_create(self->cuda, 0, provider);
    case POOL_PINNED:
      return tarn_cuda_pinned_provider_create(self->cuda, NULL, provider);
    case POOL_PINNED_PAGES:
      return open_pinned_pages(self, /*flags=*/0, provider);
    case POOL_PINNED_GRANULES:
      return open_pinned_pages(self, TARN_CUDA_PINNED_GRANULES, provider);
    case POOL_VIRTUAL:
      return open_virtual(self, wanted, provider);
    case POOL_STACKED:
      return tarn_pool_provider_create(self->base, NULL, provider);
    case POOL_DRIVER:
    case POOL_KIND_COUNT:
      break;
  }
  return TARN_INVALID_ARGUMENT;
}

static tarn_status open_driver_pool(runner *self, const program_pool *wanted, tarn_pool **pool) {
  const tarn_cuda_driver_pool_options options = {.struct_size = sizeof options,
                                                 .limit_bytes = wanted->limit_bytes,
                                                 .release_threshold_bytes = wanted->segment_bytes};
  return tarn_cuda_driver_pool_create(self->cuda, 0, &options, pool);
}

static tarn_status open_caching(runner *self, const program_pool *wanted, tarn_pool **pool) {
  if (wanted->kind == POOL_DRIVER) return open_driver_pool(self, wanted, pool);
  tarn_provider *provider = NULL;
  tarn_status status = open_provider(self, wanted, &provider);
  if (status != TARN_OK) return status;
  const tarn_caching_options options = {.struct_size = sizeof options,
                                        .limit_bytes = wanted->limit_bytes,
                                        .segment_bytes = wanted->segment_bytes,
                                        .range_bytes = (size_t)64 << 20,
                                        .prepare_bytes = has_pieces(wanted) ? (size_t)6 << 20 : 0};
  status = tarn_caching_pool_create(provider, &options, pool);
  tarn_provider_release(provider);
  return status;
}

tarn_status runner_open_pool(runner *self, uint32_t index) {
  const program_pool *wanted = &self->of->pools[index];
  tarn_status status = TARN_OK;
  if (wanted->kind == POOL_STACKED && self->base == NULL) {
    const program_pool below = {.kind = POOL_DEVICE};
    status = open_caching(self, &below, &self->base);
  }
  if (status == TARN_OK) status = open_caching(self, wanted, &self->caching[index]);
  if (status != TARN_OK) return status;
  status = planted_pool_create(self->caching[index], self->of->plant, &self->pools[index]);
  if (status != TARN_OK) return status;
  self->pool_alignment_bytes[index] = tarn_pool_attributes_of(self->pools[index])->alignment_bytes;
  return TARN_OK;
}

void runner_close_pools(runner *self) {
  for (uint32_t i = 0; i < PROGRAM_POOLS_MAX; i++) {
    if (self->pools[i] != NULL && !self->model.pools[i].is_dropped) {
      tarn_pool_release(self->pools[i]);
    }
  }
  tarn_pool_release(self->base);
}

/* How far it comes depends on what the limits and the device have left. */
tarn_status runner_reserve(runner *self, const program_op *op) {
  const tarn_status status = tarn_caching_pool_reserve(self->caching[op->pool], op->size_bytes);
  return status == TARN_OUT_OF_MEMORY ? TARN_OK : status;
}

tarn_status runner_decay(runner *self, const program_op *op) {
  self->clock_ns += op->size_bytes;
  return tarn_pool_decay(self->caching[op->pool], self->clock_ns, NULL);
}

/* Where limits or the device have become too small meanwhile, they grow: a program's blocks are
 * there. */
static tarn_status resume_pool(runner *self, uint32_t index, tarn_stream *stream) {
  tarn_pool *pool = self->caching[index];
  const tarn_resume_options options = {.struct_size = sizeof options, .stream = stream};
  tarn_status status = tarn_pool_resume(pool, &options, NULL);
  if (status == TARN_OK) return status;
  const bool is_short = status == TARN_OUT_OF_MEMORY;
  const tarn_error cause = *tarn_last_error();
  tarn_budget_set_limit(tarn_caching_pool_budget(pool), 0);
  self->model.pools[index].is_limit_changed = true;
  cusim_set_capacity(0, (size_t)1 << 40);
  status = tarn_pool_resume(pool, &options, NULL);
  return status == TARN_OK && !is_short ? tarn_fail_again(&cause) : status;
}

tarn_status runner_pause(runner *self, uint32_t index) {
  tarn_provider *provider = NULL;
  tarn_pause_options options = {.struct_size = sizeof options};
  tarn_status status = tarn_cuda_pinned_provider_create(self->cuda, NULL, &provider);
  if (status == TARN_OK) status = tarn_caching_pool_create(provider, NULL, &options.backup);
  if (status == TARN_OK) status = tarn_cuda_stream_create(self->cuda, 0, &options.stream);
  if (status == TARN_OK) status = tarn_pool_pause(self->caching[index], &options, NULL);
  if (options.stream != NULL) {
    const tarn_status resumed = resume_pool(self, index, options.stream); /* after a failure, too */
    if (status == TARN_OK) status = resumed;
  }
  tarn_stream_release(options.stream);
  tarn_pool_release(options.backup);
  tarn_provider_release(provider);
  return status == TARN_OUT_OF_MEMORY ? TARN_OK : status;
}

void runner_check_idle_pool(runner *self, uint32_t index) {
  if (self->pools[index] == NULL || self->model.pools[index].is_dropped) return;
  runner_check_stats(self, index);
  /* A trim asks how far streams have come, and waits for none: of one that only a pool keeps alive
   * it learns by and by. */
  tarn_status status = TARN_OK;
  for (int i = 0; i < TRIMS && status == TARN_OK; i++) {
    status = tarn_pool_trim(self->pools[index], 0, NULL);
  }
  tarn_pool_stats stats = {.struct_size = sizeof stats};
  if (status == TARN_OK && tarn_pool_stats_of(self->pools[index], &stats) == TARN_OK) {
    if (stats.reserved_bytes != 0) {
      runner_condemn(self, PROGRAM_WRONG_STATS,
                     "pool %u keeps %zu bytes though all is free, done and trimmed", index,
                     stats.reserved_bytes);
    }
  } else {
    runner_condemn(self, PROGRAM_WRONG_STATUS, "the last trim of pool %u: %s", index,
                   tarn_last_error()->message);
  }
}
