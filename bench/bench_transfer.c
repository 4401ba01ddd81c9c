/* bench_transfer.c: `tarn bench transfer`: copies in the order of a stream, as programs make them.
 *
 * A sample enqueues many copies, waits once, and is timed by the host's clock.
 * Every copy takes the next stretch of two large buffers, so that no cache serves it twice.
 * The rows "ring" are those of pageable memory on a stream with a staging ring; the driver copies
 * the same pageable memory in its own way.
 */
#include <stdio.h>
#include <string.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_pages.h"
#include "alloc/tarn_staging.h"
#include "bench/bench.h"
#include "bench/driver_baseline.h"
#include "tensor/tarn_copy.h"

enum { BUFFER_BYTES = 128 << 20 };

/* The memories of a run, each a pool; a field is NULL where the run has no such memory. */
typedef struct transfer_pools {
  tarn_pool *device;
  tarn_pool *pinned;
  tarn_pool *pageable;
  tarn_stream *stream;
  tarn_staging *ring;
  driver_baseline *driver; /* NULL: none to compare with */
} transfer_pools;

/* One direction: from which pool to which. */
typedef struct transfer_row {
  const char *name; /* "h2d.pinned" */
  size_t dst_offset;
  size_t src_offset;
  bool by_ring;
} transfer_row;

#define POOL_FIELD(field) offsetof(transfer_pools, field)
static const transfer_row transfer_rows[] = {
    {"h2d.pinned", POOL_FIELD(device), POOL_FIELD(pinned)},
    {"h2d.pageable", POOL_FIELD(device), POOL_FIELD(pageable)},
    {"h2d.ring", POOL_FIELD(device), POOL_FIELD(pageable), .by_ring = true},
    {"d2h.pinned", POOL_FIELD(pinned), POOL_FIELD(device)},
    {"d2h.pageable", POOL_FIELD(pageable), POOL_FIELD(device)},
    {"d2h.ring", POOL_FIELD(pageable), POOL_FIELD(device), .by_ring = true},
    {"d2d", POOL_FIELD(device), POOL_FIELD(device)},
    {"h2h.pinned", POOL_FIELD(pinned), POOL_FIELD(pinned)},
    {"h2h.pageable", POOL_FIELD(pageable), POOL_FIELD(pageable)},
};

static tarn_pool *pool_at(const transfer_pools *pools, size_t offset) {
  tarn_pool *pool = NULL;
  memcpy(&pool, (const char *)pools + offset, sizeof pool);
  return pool;
}

/* Which rows a place has: with a device, those that touch it; else the host's own. */
static bool row_fits(const where_place *where, const transfer_row *row) {
  const bool has_device = where_is_device(where);
  const bool has_pinned = !where_is_host(where);
  const bool touches_device =
      row->dst_offset == POOL_FIELD(device) || row->src_offset == POOL_FIELD(device);
  const bool touches_pinned =
      row->dst_offset == POOL_FIELD(pinned) || row->src_offset == POOL_FIELD(pinned);
  return has_device ? touches_device : !touches_device && touches_pinned == has_pinned;
}

typedef struct transfer_run {
  const transfer_pools *pools;
  tarn_tensor dst; /* BUFFER_BYTES bytes each */
  tarn_tensor src;
  size_t size_bytes; /* of one copy */
  size_t at;         /* which stretch comes next */
  void *native_stream;
} transfer_run;

static size_t next_offset(transfer_run *run) {
  const size_t offset = run->at * run->size_bytes;
  run->at = (run->at + 1) % (BUFFER_BYTES / run->size_bytes);
  return offset;
}

static tarn_status run_tarn(void *context, uint64_t iterations) {
  transfer_run *run = context;
  for (uint64_t i = 0; i < iterations; i++) {
    const int64_t offset = (int64_t)next_offset(run);
    tarn_tensor dst = run->dst; /* borrowed */
    tarn_tensor src = run->src;
    tarn_status status = tarn_tensor_narrow(&dst, 0, offset, (int64_t)run->size_bytes);
    if (status == TARN_OK) {
      status = tarn_tensor_narrow(&src, 0, offset, (int64_t)run->size_bytes);
    }
    if (status == TARN_OK) status = tarn_tensor_copy(&dst, &src, run->pools->stream, NULL);
    if (status != TARN_OK) return status;
  }
  return tarn_stream_synchronize(run->pools->stream);
}

static tarn_status run_driver(void *context, uint64_t iterations) {
  transfer_run *run = context;
  char *dst = tarn_tensor_data_mutable(&run->dst);
  const char *src = tarn_tensor_data(&run->src);
  for (uint64_t i = 0; i < iterations; i++) {
    const size_t offset = next_offset(run);
    const tarn_status status = driver_baseline_copy(run->pools->driver, dst + offset, src + offset,
                                                    run->size_bytes, run->native_stream);
    if (status != TARN_OK) return status;
  }
  return driver_baseline_synchronize(run->pools->driver, run->native_stream);
}

static tarn_status run_memcpy(void *context, uint64_t iterations) {
  transfer_run *run = context;
  char *dst = tarn_tensor_data_mutable(&run->dst);
  const char *src = tarn_tensor_data(&run->src);
  for (uint64_t i = 0; i < iterations; i++) {
    const size_t offset = next_offset(run);
    memcpy(dst + offset, src + offset, run->size_bytes);
    measure_keep(dst);
  }
  return TARN_OK;
}

/* --- checks --- */

static uint8_t pattern_at(size_t i, uint8_t seed) {
  return (uint8_t)((i * 167 + (i >> 8) * 13 + (i >> 16) * 7 + seed) & 0xFF);
}

static tarn_status copy_and_wait(const transfer_pools *pools, const tarn_tensor *dst,
                                 const tarn_tensor *src) {
  tarn_status status = tarn_tensor_copy(dst, src, pools->stream, NULL);
  if (status == TARN_OK) status = tarn_stream_synchronize(pools->stream);
  return status;
}

/* Writes or compares a tensor of bytes through a pageable stage: any memory will do. */
static tarn_status with_stage(const transfer_pools *pools, const char *name,
                              const tarn_tensor *tensor, uint8_t seed, bool is_write) {
  const int64_t size = tarn_tensor_element_count(tensor);
  tarn_tensor stage = {.storage = NULL};
  tarn_status status = tarn_tensor_create(pools->pageable, TARN_U8, 1, &size, NULL, &stage);
  if (status != TARN_OK) return status;
  uint8_t *bytes = tarn_tensor_data_mutable(&stage);
  for (int64_t i = 0; i < size; i++) bytes[i] = is_write ? pattern_at((size_t)i, seed) : 0;
  status = is_write ? copy_and_wait(pools, tensor, &stage) : copy_and_wait(pools, &stage, tensor);
  for (int64_t i = 0; status == TARN_OK && i < size; i++) {
    if (bytes[i] != pattern_at((size_t)i, seed)) status = bench_wrong(name, "a byte was lost");
  }
  tarn_tensor_release(&stage);
  return status;
}

/* One stretch: other bytes into both sides, the copy, and a look at the destination. */
static tarn_status check_transfer(const char *name, const transfer_run *run) {
  tarn_tensor dst = run->dst;
  tarn_tensor src = run->src;
  const int64_t size = (int64_t)run->size_bytes;
  tarn_status status = tarn_tensor_narrow(&dst, 0, BUFFER_BYTES - size, size);
  if (status == TARN_OK) status = tarn_tensor_narrow(&src, 0, BUFFER_BYTES - size, size);
  if (status == TARN_OK) status = with_stage(run->pools, name, &dst, 3, /*is_write=*/true);
  if (status == TARN_OK) status = with_stage(run->pools, name, &src, 77, /*is_write=*/true);
  if (status == TARN_OK) status = copy_and_wait(run->pools, &dst, &src);
  if (status == TARN_OK) status = with_stage(run->pools, name, &dst, 77, /*is_write=*/false);
  return status;
}

/* --- cases --- */

static tarn_status make_buffer(const transfer_pools *pools, tarn_pool *pool, uint8_t value,
                               tarn_tensor *buffer) {
  const int64_t size = BUFFER_BYTES;
  tarn_status status = tarn_tensor_create(pool, TARN_U8, 1, &size, pools->stream, buffer);
  if (status != TARN_OK) return status;
  /* Touched before it is measured: a page fault is not a copy. */
  status = tarn_stream_fill(pools->stream, tarn_tensor_data_mutable(buffer),
                            tarn_tensor_device(buffer), value, BUFFER_BYTES);
  if (status == TARN_OK) status = tarn_stream_synchronize(pools->stream);
  return status;
}

static tarn_status measure_sizes(bench_run *bench, const transfer_row *row, transfer_run *run) {
  static const size_t sizes[] = {4 << 10, 64 << 10, 1 << 20, 16 << 20, 64 << 20};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    char name[64];
    snprintf(name, sizeof name, "transfer.%s.%s", row->name, bench_size_name(sizes[i]).text);
    if (!bench_wants(bench, name)) continue;
    tarn_status status = TARN_OK;
    if (run->dst.storage == NULL) { /* the first of this row that is wanted */
      status = make_buffer(run->pools, pool_at(run->pools, row->dst_offset), 1, &run->dst);
      if (status == TARN_OK) {
        status = make_buffer(run->pools, pool_at(run->pools, row->src_offset), 2, &run->src);
      }
    }
    run->size_bytes = sizes[i];
    run->at = 0;
    const bool has_driver = run->pools->driver != NULL;
    const measure_subject subjects[] = {
        {"tarn", run_tarn, run},
        {has_driver ? "driver" : "memcpy", has_driver ? run_driver : run_memcpy, run},
    };
    const bool has_baseline = has_driver || where_is_host(&bench->where);
    const measure_options options = {.sample_ns_min = 5 * 1000 * 1000, .bytes = sizes[i]};
    if (status == TARN_OK) {
      status = bench_measure(bench, name, "GB/s", subjects, has_baseline ? 2 : 1, &options);
    }
    if (status == TARN_OK) status = check_transfer(name, run);
    if (status != TARN_OK) return status;
  }
  return TARN_OK;
}

static tarn_status open_pools(const bench_run *bench, transfer_pools *pools) {
  const where_place *where = &bench->where;
  tarn_provider *pages = NULL;
  tarn_status status = TARN_OK;
  if (where_is_host(where)) {
    status = tarn_caching_pool_create(where->provider, NULL, &pools->pageable);
  } else {
    status = tarn_pages_provider_create(NULL, &pages);
    if (status == TARN_OK) status = tarn_caching_pool_create(pages, NULL, &pools->pageable);
    if (status == TARN_OK) {
      status = tarn_caching_pool_create(where->host_pages, NULL, &pools->pinned);
    }
    if (status == TARN_OK) status = tarn_staging_create(where->host_pages, NULL, &pools->ring);
    if (status == TARN_OK) {
      status = tarn_caching_pool_create(where->provider, NULL, &pools->device);
    }
    if (status == TARN_OK &&
        driver_baseline_open(where->driver_path, where->index, &pools->driver) != TARN_OK) {
      fprintf(stderr, "tarn bench: no baseline: %s\n", tarn_last_error()->message);
    }
  }
  if (status == TARN_OK) status = where_stream_create(where, &pools->stream);
  tarn_provider_release(pages);
  return status;
}

static void close_pools(transfer_pools *pools) {
  tarn_stream_release(pools->stream);
  tarn_staging_release(pools->ring);
  tarn_pool_release(pools->device);
  tarn_pool_release(pools->pinned);
  tarn_pool_release(pools->pageable);
  driver_baseline_close(pools->driver);
}

tarn_status bench_transfer(bench_run *bench) {
  transfer_pools pools = {.stream = NULL};
  tarn_status status = TARN_OK;
  void *native_stream = NULL;
  if (!bench->options->list) status = open_pools(bench, &pools);
  if (status == TARN_OK && pools.driver != NULL) {
    status = tarn_cuda_stream_native(pools.stream, &native_stream);
  }
  for (size_t i = 0; i < sizeof transfer_rows / sizeof transfer_rows[0]; i++) {
    if (status != TARN_OK || !row_fits(&bench->where, &transfer_rows[i])) continue;
    transfer_run run = {.pools = &pools, .native_stream = native_stream};
    const bool has_ring = transfer_rows[i].by_ring && pools.ring != NULL;
    if (has_ring) status = tarn_stream_set_staging(pools.stream, pools.ring);
    if (status == TARN_OK) status = measure_sizes(bench, &transfer_rows[i], &run);
    if (has_ring && status == TARN_OK) status = tarn_stream_set_staging(pools.stream, NULL);
    tarn_tensor_release(&run.dst);
    tarn_tensor_release(&run.src);
  }
  close_pools(&pools);
  return status;
}
