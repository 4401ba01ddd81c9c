/* bench_copy_device.c: the rows of `tarn bench copy` on a device: strided copies, conversions, and
 * thousands of small copies at once. */
#include <stdio.h>
#include <string.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_stream_copy.h"
#include "bench/bench.h"
#include "bench/statistics.h"
#include "bench/transfer_driver.h"
#include "tensor/tarn_copy.h"

/* What the rows share. */
typedef struct device_run {
  tarn_stream *stream;
  void *native_stream;
  tarn_pool *device, *pinned;
  transfer_driver *driver; /* NULL: none to compare with */
  int64_t edge;            /* of the squares */
} device_run;

static tarn_status open_run(const where_place *where, device_run *run) {
  *run = (device_run){.edge = where->is_simulated ? 256 : 8192};
  tarn_status status = where_stream_create(where, &run->stream);
  if (status == TARN_OK) status = tarn_cuda_stream_native(run->stream, &run->native_stream);
  if (status == TARN_OK) status = tarn_caching_pool_create(where->provider, NULL, &run->device);
  if (status == TARN_OK) status = tarn_caching_pool_create(where->host_pages, NULL, &run->pinned);
  if (status == TARN_OK &&
      transfer_driver_open(where->driver_path, where->index, &run->driver) != TARN_OK) {
    fprintf(stderr, "tarn bench: no baseline: %s\n", tarn_last_error()->message);
  }
  return status;
}

static void close_run(device_run *run) {
  tarn_stream_release(run->stream);
  tarn_pool_release(run->device);
  tarn_pool_release(run->pinned);
  transfer_driver_close(run->driver);
}

/* Bytes of a storage, through pinned memory. */
static tarn_status transfer(const device_run *run, tarn_storage *dst, tarn_storage *src,
                            size_t size_bytes) {
  const tarn_status status =
      tarn_stream_copy(run->stream, tarn_storage_data_mutable(dst), tarn_storage_device(dst),
                       tarn_storage_data(src), tarn_storage_device(src), size_bytes);
  return status == TARN_OK ? tarn_stream_synchronize(run->stream) : status;
}

static void fill_numbers(void *bytes, size_t size_bytes) {
  uint8_t *out = bytes;
  for (size_t i = 0; i < size_bytes; i++) out[i] = (uint8_t)((i * 167 + (i >> 8) * 13) & 0x3F);
}

/* --- strides and types --- */

typedef struct strided_case {
  const char *name;
  tarn_dtype dst_dtype, src_dtype;
  bool is_permuted; /* five dimensions in another order; else a square, turned or converted */
  bool is_turned;
} strided_case;

#define INT(bits) \
  { TARN_CODE_UINT, bits, 1 }
#define FLOAT(bits) \
  { TARN_CODE_FLOAT, bits, 1 }
static const strided_case strided_cases[] = {
    {"copy.device.transpose.1B", INT(8), INT(8), .is_turned = true},
    {"copy.device.transpose.2B", INT(16), INT(16), .is_turned = true},
    {"copy.device.transpose.4B", INT(32), INT(32), .is_turned = true},
    {"copy.device.transpose.8B", INT(64), INT(64), .is_turned = true},
    {"copy.device.permute5d.4B", INT(32), INT(32), .is_permuted = true},
    {"copy.device.convert.f32_f16", FLOAT(16), FLOAT(32)},
    {"copy.device.convert.f16_f32", FLOAT(32), FLOAT(16)},
    {"copy.device.convert_turned.f32_f16", FLOAT(16), FLOAT(32), .is_turned = true},
};

typedef struct strided_run {
  device_run *shared;
  tarn_tensor dst, src;
  size_t size_bytes; /* half of what is read and written */
} strided_run;

static tarn_status run_strided(void *context, uint64_t iterations) {
  const strided_run *run = context;
  tarn_status status = TARN_OK;
  for (uint64_t i = 0; i < iterations && status == TARN_OK; i++) {
    status = tarn_tensor_copy(&run->dst, &run->src, run->shared->stream, NULL);
  }
  const tarn_status waited = tarn_stream_synchronize(run->shared->stream);
  return status == TARN_OK ? waited : status;
}

static tarn_status run_plain(void *context, uint64_t iterations) {
  const strided_run *run = context;
  tarn_status status = TARN_OK;
  for (uint64_t i = 0; i < iterations && status == TARN_OK; i++) {
    status = transfer_driver_copy(run->shared->driver, tarn_storage_data_mutable(run->dst.storage),
                                  tarn_storage_data(run->src.storage), run->size_bytes,
                                  run->shared->native_stream);
  }
  const tarn_status waited =
      transfer_stream_synchronize(run->shared->driver, run->shared->native_stream);
  return status == TARN_OK ? waited : status;
}

static tarn_status make_side(const device_run *run, tarn_pool *pool, tarn_dtype dtype, int32_t rank,
                             const int64_t *shape, size_t storage_bytes, tarn_tensor *tensor) {
  tarn_storage *storage = NULL;
  tarn_status status = tarn_storage_create(pool, storage_bytes, run->stream, &storage);
  if (status == TARN_OK) {
    status = tarn_tensor_of_storage(storage, dtype, rank, shape, 0, tensor);
  }
  tarn_storage_release(storage);
  return status;
}

/* Both storages have room for the wider type; the source is turned or permuted. */
static tarn_status make_pair(const strided_case *row, const device_run *run, tarn_pool *pool,
                             tarn_tensor *dst, tarn_tensor *src) {
  const int64_t edge = run->edge, part = run->edge / 128;
  const int64_t square[] = {edge, edge};
  const int64_t rest = edge * edge / (16 * 32 * 32) / part;
  const int64_t to[] = {16, 32, 32, part, rest}, from[] = {16, 32, 32, rest, part};
  static const int32_t dims[] = {0, 2, 1, 4, 3};
  const int32_t rank = row->is_permuted ? 5 : 2;
  const size_t wider = tarn_dtype_size_bytes(row->dst_dtype) > tarn_dtype_size_bytes(row->src_dtype)
                           ? tarn_dtype_size_bytes(row->dst_dtype)
                           : tarn_dtype_size_bytes(row->src_dtype);
  const size_t storage_bytes = (size_t)(edge * edge) * wider;
  tarn_status status = make_side(run, pool, row->dst_dtype, rank, row->is_permuted ? to : square,
                                 storage_bytes, dst);
  if (status != TARN_OK) return status;
  status = make_side(run, pool, row->src_dtype, rank, row->is_permuted ? from : square,
                     storage_bytes, src);
  if (status == TARN_OK && row->is_turned) status = tarn_tensor_transpose(src, 0, 1);
  if (status == TARN_OK && row->is_permuted) status = tarn_tensor_permute(src, 5, dims);
  return status;
}

/* The host copies the same, in the plainest order of bytes. */
static tarn_status check_strided(const strided_case *row, const strided_run *run) {
  const device_run *shared = run->shared;
  tarn_tensor dst = {.storage = NULL}, src = {.storage = NULL}, seen = {.storage = NULL};
  const size_t dst_bytes = tarn_tensor_size_bytes(&run->dst);
  tarn_status status = make_pair(row, shared, shared->pinned, &dst, &src);
  if (status == TARN_OK) status = tarn_stream_synchronize(shared->stream);
  if (status == TARN_OK) {
    status = tarn_storage_create(shared->pinned, dst_bytes, shared->stream, &seen.storage);
  }
  if (status == TARN_OK) {
    status = transfer(shared, src.storage, run->src.storage, tarn_tensor_size_bytes(&run->src));
  }
  if (status == TARN_OK) status = transfer(shared, seen.storage, run->dst.storage, dst_bytes);
  if (status == TARN_OK) status = tarn_tensor_copy(&dst, &src, NULL, NULL);
  if (status == TARN_OK &&
      memcmp(tarn_storage_data(dst.storage), tarn_storage_data(seen.storage), dst_bytes) != 0) {
    status = bench_wrong(row->name, "not what the host makes of it");
  }
  tarn_tensor_release(&dst);
  tarn_tensor_release(&src);
  tarn_tensor_release(&seen);
  return status;
}

/* Small numbers of the source's type, from the host. */
static tarn_status fill_source(const strided_run *run) {
  const device_run *shared = run->shared;
  const int64_t count = tarn_tensor_element_count(&run->src);
  tarn_tensor bytes = {.storage = NULL}, numbers = {.storage = NULL};
  tarn_status status = tarn_tensor_create(shared->pinned, TARN_U8, 1, &count, NULL, &bytes);
  if (status == TARN_OK) {
    fill_numbers(tarn_tensor_data_mutable(&bytes), (size_t)count);
    status = tarn_tensor_create(shared->pinned, run->src.dtype, 1, &count, NULL, &numbers);
  }
  if (status == TARN_OK) status = tarn_tensor_copy(&numbers, &bytes, NULL, NULL);
  if (status == TARN_OK) {
    status = transfer(shared, run->src.storage, numbers.storage, tarn_tensor_size_bytes(&numbers));
  }
  tarn_tensor_release(&bytes);
  tarn_tensor_release(&numbers);
  return status;
}

static tarn_status measure_strided(bench_run *bench, const strided_case *row, device_run *shared) {
  strided_run run = {.shared = shared};
  tarn_status status = make_pair(row, shared, shared->device, &run.dst, &run.src);
  if (status == TARN_OK) status = fill_source(&run);
  run.size_bytes = (tarn_tensor_size_bytes(&run.dst) + tarn_tensor_size_bytes(&run.src)) / 2;
  const measure_subject subjects[] = {{"tarn", run_strided, &run}, {"d2d", run_plain, &run}};
  const measure_options options = {.bytes = run.size_bytes};
  if (status == TARN_OK) status = run_strided(&run, 1);
  if (status == TARN_OK) status = check_strided(row, &run);
  if (status == TARN_OK) {
    status =
        bench_measure(bench, row->name, "GB/s", subjects, shared->driver != NULL ? 2 : 1, &options);
  }
  tarn_tensor_release(&run.dst);
  tarn_tensor_release(&run.src);
  return status;
}

/* --- scattered --- */

enum { SPAN_BYTES_MIN = 4 << 10, SPAN_BYTES_MAX = 32 << 10 };

typedef struct scattered_run {
  device_run *shared;
  tarn_copy_span *spans;
  size_t count, size_bytes;
  tarn_storage *dst, *src, *list; /* `list` holds the spans */
} scattered_run;

static tarn_status run_batch(void *context, uint64_t iterations) {
  const scattered_run *run = context;
  tarn_status status = TARN_OK;
  for (uint64_t i = 0; i < iterations && status == TARN_OK; i++) {
    status = tarn_stream_copy_batch(run->shared->stream, run->spans, run->count);
  }
  const tarn_status waited = tarn_stream_synchronize(run->shared->stream);
  return status == TARN_OK ? waited : status;
}

static tarn_status run_loop(void *context, uint64_t iterations) {
  const scattered_run *run = context;
  tarn_status status = TARN_OK;
  for (uint64_t i = 0; i < iterations; i++) {
    for (size_t span = 0; span < run->count && status == TARN_OK; span++) {
      status = transfer_driver_copy(run->shared->driver, run->spans[span].dst, run->spans[span].src,
                                    run->spans[span].size_bytes, run->shared->native_stream);
    }
  }
  const tarn_status waited =
      transfer_stream_synchronize(run->shared->driver, run->shared->native_stream);
  return status == TARN_OK ? waited : status;
}

/* Sizes and places as they come, each place once: slots of SPAN_BYTES_MAX, taken in strides. */
static void scatter(scattered_run *run) {
  uint64_t state = 1;
  run->size_bytes = 0;
  for (size_t i = 0; i < run->count; i++) {
    const size_t span_bytes =
        (SPAN_BYTES_MIN + statistics_random(&state) % (SPAN_BYTES_MAX - SPAN_BYTES_MIN)) / 64 * 64;
    const size_t to = i * 7 % run->count, from = i * 3 % run->count;
    run->spans[i] =
        (tarn_copy_span){(char *)tarn_storage_data_mutable(run->dst) + to * SPAN_BYTES_MAX,
                         (const char *)tarn_storage_data(run->src) + from * SPAN_BYTES_MAX,
                         span_bytes, tarn_storage_device(run->dst), tarn_storage_device(run->src)};
    run->size_bytes += span_bytes;
  }
}

static tarn_status check_scattered(const char *name, const scattered_run *run) {
  const size_t size_bytes = run->count * SPAN_BYTES_MAX;
  tarn_storage *dst = NULL, *src = NULL;
  tarn_status status =
      tarn_storage_create(run->shared->pinned, size_bytes, run->shared->stream, &dst);
  if (status == TARN_OK) {
    status = tarn_storage_create(run->shared->pinned, size_bytes, run->shared->stream, &src);
  }
  if (status == TARN_OK) status = transfer(run->shared, dst, run->dst, size_bytes);
  if (status == TARN_OK) status = transfer(run->shared, src, run->src, size_bytes);
  for (size_t i = 0; i < run->count && status == TARN_OK; i++) {
    const tarn_copy_span *span = &run->spans[i];
    const size_t to = (size_t)((char *)span->dst - (char *)tarn_storage_data_mutable(run->dst));
    const size_t from =
        (size_t)((const char *)span->src - (const char *)tarn_storage_data(run->src));
    if (memcmp((const char *)tarn_storage_data(dst) + to,
               (const char *)tarn_storage_data(src) + from, span->size_bytes) != 0) {
      status = bench_wrong(name, "a piece is not its source's");
    }
  }
  tarn_storage_release(dst);
  tarn_storage_release(src);
  return status;
}

static tarn_status make_scattered(scattered_run *run, tarn_pool *dst, tarn_pool *src) {
  const size_t size_bytes = run->count * SPAN_BYTES_MAX;
  tarn_storage *numbers = NULL;
  tarn_stream *stream = run->shared->stream;
  tarn_status status = tarn_storage_create(dst, size_bytes, stream, &run->dst);
  if (status == TARN_OK) status = tarn_storage_create(src, size_bytes, stream, &run->src);
  if (status == TARN_OK) {
    status = tarn_storage_create(run->shared->pinned, size_bytes, NULL, &numbers);
  }
  if (status == TARN_OK) {
    status =
        tarn_storage_create(run->shared->pinned, run->count * sizeof *run->spans, NULL, &run->list);
  }
  if (status == TARN_OK) {
    fill_numbers(tarn_storage_data_mutable(numbers), size_bytes);
    run->spans = tarn_storage_data_mutable(run->list);
    scatter(run);
    status = transfer(run->shared, run->src, numbers, size_bytes);
  }
  tarn_storage_release(numbers);
  return status;
}

static tarn_status measure_scattered(bench_run *bench, const char *name, device_run *shared,
                                     tarn_pool *dst, tarn_pool *src) {
  scattered_run run = {.shared = shared, .count = bench->where.is_simulated ? 1009 : 10009};
  tarn_status status = make_scattered(&run, dst, src);
  if (status == TARN_OK) status = run_batch(&run, 1);
  if (status == TARN_OK) status = check_scattered(name, &run);
  if (status == TARN_OK) {
    const measure_subject subjects[] = {{"batch", run_batch, &run},
                                        {"driver loop", run_loop, &run}};
    const measure_options options = {.bytes = run.size_bytes};
    status = bench_measure(bench, name, "GB/s", subjects, shared->driver != NULL ? 2 : 1, &options);
  }
  tarn_storage_release(run.dst);
  tarn_storage_release(run.src);
  tarn_storage_release(run.list);
  return status;
}

tarn_status bench_copy_device(bench_run *bench) {
  if (!where_is_device(&bench->where)) return TARN_OK;
  device_run shared = {.stream = NULL};
  tarn_status status = TARN_OK;
  if (!bench->options->list) status = open_run(&bench->where, &shared);
  for (size_t i = 0; i < sizeof strided_cases / sizeof strided_cases[0]; i++) {
    if (status != TARN_OK || !bench_wants(bench, strided_cases[i].name)) continue;
    status = measure_strided(bench, &strided_cases[i], &shared);
  }
  const struct {
    const char *name;
    tarn_pool *dst, *src;
  } scattered[] = {{"copy.scattered.h2d", shared.device, shared.pinned},
                   {"copy.scattered.d2h", shared.pinned, shared.device},
                   {"copy.scattered.d2d", shared.device, shared.device}};
  for (size_t i = 0; i < sizeof scattered / sizeof scattered[0]; i++) {
    if (status != TARN_OK || !bench_wants(bench, scattered[i].name)) continue;
    status =
        measure_scattered(bench, scattered[i].name, &shared, scattered[i].dst, scattered[i].src);
  }
  close_run(&shared);
  return status;
}
