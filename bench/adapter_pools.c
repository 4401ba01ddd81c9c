/* adapter_pools.c: adaptors over the bare pool: what each adds to an allocation and its free. */
#include "alloc/adapters/pools/tarn_aligned_pool.h"
#include "alloc/adapters/pools/tarn_binning_pool.h"
#include "alloc/adapters/pools/tarn_failing_pool.h"
#include "alloc/adapters/pools/tarn_limit_pool.h"
#include "alloc/adapters/pools/tarn_logging_pool.h"
#include "alloc/adapters/pools/tarn_prefetch_pool.h"
#include "alloc/adapters/pools/tarn_tracking_pool.h"
#include "bench/adapters.h"

static tarn_status run_pairs(void *context, uint64_t iterations) {
  const adapter_bench *self = context;
  for (uint64_t i = 0; i < iterations; i++) {
    void *address;
    tarn_status status = tarn_pool_alloc(self->pool, self->size_bytes, self->stream, &address);
    if (status != TARN_OK) return status;
    measure_keep(address);
    status = tarn_pool_free(self->pool, address, self->stream);
    if (status != TARN_OK) return status;
  }
  return TARN_OK;
}

static tarn_status write_nowhere(void *context, const char *text, size_t text_bytes) {
  (void)context;
  (void)text_bytes;
  measure_keep(text);
  return TARN_OK;
}

static tarn_status create_limit(tarn_pool *upstream, tarn_pool **pool) {
  const tarn_limit_pool_options options = {.struct_size = sizeof options,
                                           .limit_bytes = (size_t)1 << 40};
  return tarn_limit_pool_create(upstream, &options, pool);
}

static tarn_status create_failing(tarn_pool *upstream, tarn_pool **pool) {
  return tarn_failing_pool_create(upstream, NULL, pool);
}

static tarn_status create_aligned(tarn_pool *upstream, tarn_pool **pool) {
  const tarn_aligned_pool_options options = {.struct_size = sizeof options, .alignment_bytes = 64};
  return tarn_aligned_pool_create(upstream, &options, pool);
}

/* Smaller blocks than it looks at. */
static tarn_status create_prefetch(tarn_pool *upstream, tarn_pool **pool) {
  return tarn_prefetch_pool_create(upstream, NULL, pool);
}

static tarn_status create_tracking(tarn_pool *upstream, tarn_pool **pool) {
  return tarn_tracking_pool_create(upstream, NULL, pool);
}

static tarn_status create_logging(tarn_pool *upstream, tarn_pool **pool) {
  const tarn_logging_pool_options options = {.struct_size = sizeof options, .write = write_nowhere};
  return tarn_logging_pool_create(upstream, &options, pool);
}

static tarn_status create_binning(tarn_pool *upstream, tarn_pool **pool) {
  const tarn_bin bin = {.size_max_bytes = (size_t)1 << 20, .pool = upstream};
  return tarn_binning_pool_create(&bin, 1, upstream, /*name=*/NULL, pool);
}

tarn_status adapter_bench_pools(bench_run *bench, const adapter_bench *bare) {
  static const struct {
    const char *name;
    tarn_status (*create)(tarn_pool *upstream, tarn_pool **pool);
  } adaptors[] = {{"limit", create_limit},       {"binning", create_binning},
                  {"failing", create_failing},   {"aligned", create_aligned},
                  {"prefetch", create_prefetch}, {"logging", create_logging},
                  {"tracking", create_tracking}};
  tarn_status status = TARN_OK;
  for (size_t i = 0; status == TARN_OK && i < sizeof adaptors / sizeof adaptors[0]; i++) {
    adapter_bench use = *bare;
    use.pool = NULL;
    if (!bench->options->list) status = adaptors[i].create(bare->pool, &use.pool);
    if (status == TARN_OK) status = adapter_measure(bench, bare, adaptors[i].name, run_pairs, &use);
    tarn_pool_release(use.pool);
  }
  return status;
}
