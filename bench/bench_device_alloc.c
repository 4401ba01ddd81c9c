/* bench_device_alloc.c: `tarn bench alloc`: a pair of calls for memory of a GPU's, in the order of
 * one stream, against the driver's own pool. */
#include <stdio.h>

#include "bench/bench.h"
#include "bench/transfer_driver.h"

typedef struct device_pairs {
  tarn_pool *pool;
  tarn_stream *stream;
  transfer_driver *driver;
  void *native_stream;
  size_t size_bytes;
} device_pairs;

static tarn_status run_pool(void *context, uint64_t iterations) {
  const device_pairs *run = context;
  for (uint64_t i = 0; i < iterations; i++) {
    void *address = NULL;
    tarn_status status = tarn_pool_alloc(run->pool, run->size_bytes, run->stream, &address);
    if (status == TARN_OK) status = tarn_pool_free(run->pool, address, run->stream);
    if (status != TARN_OK) return status;
  }
  return TARN_OK;
}

/* What is enqueued is waited for at the end, so that no sample inherits the work of the last. */
static tarn_status run_driver(void *context, uint64_t iterations) {
  const device_pairs *run = context;
  for (uint64_t i = 0; i < iterations; i++) {
    void *address = NULL;
    tarn_status status =
        transfer_driver_alloc_ordered(run->driver, run->size_bytes, run->native_stream, &address);
    if (status == TARN_OK) {
      status = transfer_driver_free_ordered(run->driver, address, run->native_stream);
    }
    if (status != TARN_OK) return status;
  }
  return transfer_stream_synchronize(run->driver, run->native_stream);
}

static tarn_status measure_sizes(bench_run *bench, device_pairs *run) {
  static const size_t sizes[] = {1 << 10, 1 << 20, 64 << 20};
  const bool has_rival = run->driver != NULL && transfer_driver_has_ordered_alloc(run->driver);
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    char name[64];
    snprintf(name, sizeof name, "cuda.alloc.pair.%s", bench_size_name(sizes[i]).text);
    if (!bench_wants(bench, name)) continue;
    run->size_bytes = sizes[i];
    const measure_subject subjects[] = {{"tarn", run_pool, run},
                                        {"cuMemAllocAsync", run_driver, run}};
    const measure_options options = {.samples = 0};
    tarn_status status = bench_measure(bench, name, "ns", subjects, has_rival ? 2 : 1, &options);
    if (status == TARN_OK) status = bench_check_nothing_left(name, run->pool);
    if (status != TARN_OK) return status;
  }
  return TARN_OK;
}

tarn_status bench_device_alloc(bench_run *bench) {
  device_pairs run = {.pool = NULL};
  if (!where_is_device(&bench->where)) return TARN_OK;
  if (bench->options->list) return measure_sizes(bench, &run);
  tarn_status status = where_pool_create(&bench->where, &run.pool);
  if (status == TARN_OK) status = where_stream_create(&bench->where, &run.stream);
  if (status == TARN_OK) status = tarn_cuda_stream_native(run.stream, &run.native_stream);
  if (status == TARN_OK &&
      transfer_driver_open(bench->where.driver_path, bench->where.index, &run.driver) != TARN_OK) {
    fprintf(stderr, "tarn bench: no driver to compare with: %s\n", tarn_last_error()->message);
  }
  if (status == TARN_OK) status = measure_sizes(bench, &run);
  transfer_driver_close(run.driver);
  tarn_stream_release(run.stream);
  tarn_pool_release(run.pool);
  return status;
}
