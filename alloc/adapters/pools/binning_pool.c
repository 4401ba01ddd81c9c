/* binning_pool.c: an adaptor that asks one of several pools, by size. */
#include "alloc/adapters/pools/tarn_binning_pool.h"

#include <stdlib.h>

#include "alloc/adapters/pools/over_pool.h"

typedef struct binning_pool {
  tarn__over over; /* first: pool_for finds the rest by it */
  size_t pool_count;
  tarn_pool *pools[TARN_BINS_MAX + 1]; /* each once, retained */
  size_t bin_count;
  tarn_bin bins[TARN_BINS_MAX + 1]; /* with one for the rest, where there is such a pool */
} binning_pool;

static tarn_status binning_attributes(void *context, tarn_pool_attributes *attributes) {
  const binning_pool *self = context;
  *attributes = *tarn_pool_attributes_of(self->pools[0]);
  for (size_t index = 1; index < self->pool_count; index++) {
    const tarn_pool_attributes *other = tarn_pool_attributes_of(self->pools[index]);
    if (attributes->alignment_bytes > other->alignment_bytes) {
      attributes->alignment_bytes = other->alignment_bytes;
    }
    if (attributes->node != other->node) attributes->node = -1;
  }
  return TARN_OK;
}

/* Bins never change, so that the size of a block says whose it is. */
static tarn_pool *pool_for(const tarn__over *over, size_t requested_bytes, size_t *asked_bytes) {
  const binning_pool *self = (const binning_pool *)over;
  (void)asked_bytes;
  size_t index = 0;
  while (self->bins[index].size_max_bytes < requested_bytes) index++;
  return self->bins[index].pool;
}

static tarn_status binning_alloc(void *context, size_t size_bytes, size_t alignment_bytes,
                                 tarn_stream *stream, void **address) {
  binning_pool *self = context;
  const size_t size_max_bytes = self->bins[self->bin_count - 1].size_max_bytes;
  if (size_bytes > size_max_bytes) {
    return tarn_fail(TARN_TOO_LARGE, "%zu bytes; the largest bin is for %zu", size_bytes,
                     size_max_bytes);
  }
  return tarn__over_alloc(&self->over, size_bytes, alignment_bytes, stream, address);
}

/* --- of all pools --- */

/* Adds what statistics say of a pool's own memory. */
static void add_stats(tarn_pool_stats *sum, const tarn_pool_stats *one) {
  sum->active_bytes += one->active_bytes;
  sum->reserved_bytes += one->reserved_bytes;
  sum->reserved_bytes_peak += one->reserved_bytes_peak;
  sum->provider_calls += one->provider_calls;
  sum->fence_count += one->fence_count;
  sum->wait_count += one->wait_count;
  sum->captured_bytes += one->captured_bytes;
  sum->graph_bytes += one->graph_bytes;
  sum->paused_bytes += one->paused_bytes;
}

static tarn_status sum_stats(const binning_pool *self, tarn_pool_stats *stats) {
  for (size_t index = 0; index < self->pool_count; index++) {
    tarn_pool_stats one = {.struct_size = sizeof one};
    const tarn_status status = tarn_pool_stats_of(self->pools[index], &one);
    if (status != TARN_OK) return status;
    add_stats(stats, &one);
  }
  return TARN_OK;
}

static tarn_status binning_stats(void *context, tarn_pool_stats *stats) {
  binning_pool *self = context;
  const tarn_status status = sum_stats(self, stats);
  if (status == TARN_OK) tarn__over_copy_stats(&self->over, stats);
  return status;
}

static tarn_status binning_snapshot(void *context, tarn_snapshot *snapshot) {
  binning_pool *self = context;
  snapshot->stats.struct_size = sizeof snapshot->stats;
  const tarn_status status = sum_stats(self, &snapshot->stats);
  return status == TARN_OK ? tarn__over_copy_blocks(&self->over, snapshot) : status;
}

/* The last pools, which are for the largest sizes, give first. */
static tarn_status binning_trim(void *context, size_t keep_bytes, size_t *released_bytes) {
  const binning_pool *self = context;
  tarn_pool_stats all = {.struct_size = sizeof all};
  tarn_status status = sum_stats(self, &all);
  for (size_t index = self->pool_count; status == TARN_OK && index-- > 0;) {
    tarn_pool_stats one = {.struct_size = sizeof one};
    size_t released = 0;
    status = tarn_pool_stats_of(self->pools[index], &one);
    if (status != TARN_OK || all.reserved_bytes <= keep_bytes) break;
    const size_t excess_bytes = all.reserved_bytes - keep_bytes;
    const size_t kept_bytes =
        one.reserved_bytes > excess_bytes ? one.reserved_bytes - excess_bytes : 0;
    status = tarn_pool_trim(self->pools[index], kept_bytes, &released);
    *released_bytes += released;
    all.reserved_bytes -= released < all.reserved_bytes ? released : all.reserved_bytes;
  }
  return status;
}

static tarn_status binning_decay(void *context, uint64_t now_ns, size_t *released_bytes) {
  const binning_pool *self = context;
  tarn_status first = TARN_OK;
  for (size_t index = self->pool_count; index-- > 0;) {
    size_t released = 0;
    const tarn_status status = tarn_pool_decay(self->pools[index], now_ns, &released);
    if (first == TARN_OK) first = status;
    *released_bytes += released;
  }
  return first;
}

static tarn_status binning_reset_peaks(void *context) {
  binning_pool *self = context;
  for (size_t index = 0; index < self->pool_count; index++) {
    const tarn_status status = tarn_pool_reset_peaks(self->pools[index]);
    if (status != TARN_OK) return status;
  }
  tarn__over_reset_peaks(&self->over);
  return TARN_OK;
}

static tarn_status refuse_pausing(void) {
  return tarn_fail(TARN_NOT_SUPPORTED, "bins are not paused together: pause their pools");
}

static tarn_status binning_pause(void *context, const struct tarn_pause_options *options,
                                 struct tarn_pause_report *report) {
  (void)context;
  (void)options;
  (void)report;
  return refuse_pausing();
}

static tarn_status binning_resume(void *context, const struct tarn_resume_options *options,
                                  struct tarn_pause_report *report) {
  (void)context;
  (void)options;
  (void)report;
  return refuse_pausing();
}

/* --- life --- */

static void binning_destroy(void *context) {
  binning_pool *self = context;
  for (size_t index = 0; index < self->pool_count; index++) {
    tarn_pool_release(self->pools[index]);
  }
  tarn__over_destroy(self);
}

static void add_bin(binning_pool *self, const tarn_bin *bin) {
  self->bins[self->bin_count++] = *bin;
  for (size_t index = 0; index < self->pool_count; index++) {
    if (self->pools[index] == bin->pool) return;
  }
  tarn_pool_retain(bin->pool);
  self->pools[self->pool_count++] = bin->pool;
}

static tarn_status check_bins(const tarn_bin *bins, size_t bin_count, const tarn_pool *rest) {
  if (bins == NULL || bin_count == 0 || bin_count > TARN_BINS_MAX) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "1 to %d bins, not %zu", TARN_BINS_MAX, bin_count);
  }
  for (size_t index = 0; index < bin_count; index++) {
    if (bins[index].pool == NULL) {
      return tarn_fail(TARN_INVALID_ARGUMENT, "bin %zu has no pool", index);
    }
    const size_t before_bytes = index > 0 ? bins[index - 1].size_max_bytes : 0;
    if (bins[index].size_max_bytes <= before_bytes) {
      return tarn_fail(TARN_INVALID_ARGUMENT, "bin %zu is for up to %zu bytes, behind %zu", index,
                       bins[index].size_max_bytes, before_bytes);
    }
  }
  const tarn_device device = tarn_pool_attributes_of(bins[0].pool)->device;
  for (size_t index = 1; index <= bin_count; index++) {
    const tarn_pool *pool = index < bin_count ? bins[index].pool : rest;
    if (pool != NULL && !tarn_device_equal(device, tarn_pool_attributes_of(pool)->device)) {
      return tarn_fail(TARN_INVALID_ARGUMENT, "pools %s and %s lie on different devices",
                       tarn_pool_name(bins[0].pool), tarn_pool_name(pool));
    }
  }
  return TARN_OK;
}

static tarn_pool_ops binning_ops(void) {
  tarn_pool_ops ops = tarn__over_ops;
  ops.attributes = binning_attributes;
  ops.alloc = binning_alloc;
  ops.trim = binning_trim;
  ops.decay = binning_decay;
  ops.stats = binning_stats;
  ops.snapshot = binning_snapshot;
  ops.reset_peaks = binning_reset_peaks;
  ops.pause = binning_pause;
  ops.resume = binning_resume;
  ops.destroy = binning_destroy;
  return ops;
}

tarn_status tarn_binning_pool_create(const tarn_bin *bins, size_t bin_count, tarn_pool *rest,
                                     const char *name, tarn_pool **pool) {
  if (pool == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "pool is NULL");
  *pool = NULL;
  const tarn_status status = check_bins(bins, bin_count, rest);
  if (status != TARN_OK) return status;
  binning_pool *self = calloc(1, sizeof *self);
  for (size_t index = 0; self != NULL && index < bin_count; index++) add_bin(self, &bins[index]);
  const tarn_bin others = {.size_max_bytes = SIZE_MAX, .pool = rest};
  if (self != NULL && rest != NULL) add_bin(self, &others);
  if (self != NULL) self->over.route = pool_for;
  const tarn_pool_ops ops = binning_ops();
  return tarn__over_create(self != NULL ? &self->over : NULL, /*upstream=*/NULL, &ops, "binning",
                           name, pool);
}
