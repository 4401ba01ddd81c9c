/* bench_copy.c: `tarn bench copy`: copies of every kind against memcpy, or what they would do. */
#include <stdio.h>
#include <string.h>

#include "alloc/tarn_caching_pool.h"
#include "bench/bench.h"
#include "bench/copy_cases.h"
#include "bench/copy_table.h"
#include "bench/stream_baseline.h"
#include "tensor/tarn_copy.h"
#include "tensor/tarn_copy_threads.h"

typedef struct copy_run {
  tarn_tensor dst;
  tarn_tensor src;
  /* For memcpy: both storages hold at least this many bytes. */
  void *dst_bytes;
  const void *src_bytes;
  size_t size_bytes;
} copy_run;

static tarn_status run_copy_with(const copy_run *run, uint64_t iterations, int thread_count) {
  tarn_status status = tarn_copy_set_thread_count(thread_count);
  for (uint64_t i = 0; i < iterations && status == TARN_OK; i++) {
    status = tarn_tensor_copy(&run->dst, &run->src, NULL, NULL);
  }
  return status;
}

static tarn_status run_copy(void *context, uint64_t iterations) {
  return run_copy_with(context, iterations, 1);
}

static tarn_status run_copy_in_two(void *context, uint64_t iterations) {
  return run_copy_with(context, iterations, 2);
}

static tarn_status run_memcpy(void *context, uint64_t iterations) {
  const copy_run *run = context;
  for (uint64_t i = 0; i < iterations; i++) {
    memcpy(run->dst_bytes, run->src_bytes, run->size_bytes);
    measure_keep(run->dst_bytes);
  }
  return TARN_OK;
}

static tarn_status run_stream(void *context, uint64_t iterations) {
  const copy_run *run = context;
  for (uint64_t i = 0; i < iterations; i++) {
    stream_baseline_run(run->dst_bytes, tarn_tensor_size_bytes(&run->dst), run->src_bytes,
                        tarn_tensor_size_bytes(&run->src));
  }
  return TARN_OK;
}

/* --- checks --- */

static void fill_bytes(void *bytes, size_t size_bytes, uint64_t seed) {
  uint8_t *out = bytes;
  uint64_t state = seed;
  for (size_t i = 0; i + 8 <= size_bytes; i += 8) {
    /* A linear congruential generator (Knuth's MMIX), its high half twice. */
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    const uint64_t word = (state >> 32) | (state & ~UINT64_C(0xFFFFFFFF));
    memcpy(out + i, &word, 8);
  }
}

static bool elements_equal(const uint8_t *a, const uint8_t *b, size_t size_bytes) {
  return memcmp(a, b, size_bytes) == 0;
}

/* Every element at its index, the plainest way. */
static tarn_status check_copy(const char *name, const copy_run *run) {
  tarn_layout dst = run->dst.layout;
  tarn_layout src = run->src.layout;
  tarn_status status = tarn_layout_expand(&src, dst.rank, dst.shape);
  if (status != TARN_OK) return status;
  const size_t element_bytes = tarn_dtype_size_bytes(run->dst.dtype);
  const uint8_t *dst_base = tarn_tensor_data(&run->dst);
  const uint8_t *src_base = tarn_tensor_data(&run->src);
  int64_t index[TARN_RANK_MAX] = {0};
  const int64_t count = tarn_layout_element_count(&dst);
  int64_t dst_at = 0;
  int64_t src_at = 0;
  for (int64_t i = 0; i < count; i++) {
    if (!elements_equal(dst_base + dst_at * (int64_t)element_bytes,
                        src_base + src_at * (int64_t)element_bytes, element_bytes)) {
      return bench_wrong(name, "an element is not its source's");
    }
    for (int32_t d = dst.rank - 1; d >= 0; d--) {
      dst_at += dst.strides[d];
      src_at += src.strides[d];
      if (++index[d] < dst.shape[d]) break;
      dst_at -= dst.strides[d] * dst.shape[d];
      src_at -= src.strides[d] * dst.shape[d];
      index[d] = 0;
    }
  }
  return TARN_OK;
}

static bool converts(const copy_case *row) {
  return !tarn_dtype_equal(row->dst_dtype, row->src_dtype);
}

/* Converts once more what lies between `start` and `start + length` along the first dimension, into
 * memory of its own; row-major dst. */
static tarn_status check_window(const char *name, const copy_run *run, int64_t start,
                                int64_t length, tarn_pool *pool) {
  tarn_tensor dst = run->dst, src = run->src, again = {.storage = NULL};
  tarn_status status = tarn_tensor_narrow(&dst, 0, start, length);
  if (status == TARN_OK) status = tarn_tensor_narrow(&src, 0, start, length);
  if (status == TARN_OK) {
    status = tarn_tensor_create(pool, dst.dtype, dst.layout.rank, dst.layout.shape, NULL, &again);
  }
  if (status == TARN_OK) status = tarn_tensor_copy(&again, &src, NULL, NULL);
  if (status == TARN_OK &&
      memcmp(tarn_tensor_data(&again), tarn_tensor_data(&dst), tarn_tensor_size_bytes(&dst)) != 0) {
    status = bench_wrong(name, "a row is not what it becomes on its own");
  }
  tarn_tensor_release(&again);
  return status;
}

/* What single values become is the tests' matter; here, that each stands at its place. */
static tarn_status check_conversion(const char *name, const copy_run *run, tarn_pool *pool) {
  const int64_t count = run->dst.layout.shape[0];
  const int64_t length = run->dst.layout.rank > 1 ? 1 : 61;
  tarn_status status = TARN_OK;
  for (int64_t start = 0; start + length <= count && status == TARN_OK; start += 997 * length) {
    status = check_window(name, run, start, length, pool);
  }
  return status;
}

/* Small whole numbers: what any type has, and no subnormals, which some processors are slow on. */
static tarn_status fill_numbers(const copy_run *run, tarn_pool *pool) {
  const int64_t count =
      (int64_t)(tarn_storage_size_bytes(run->src.storage) / tarn_dtype_size_bytes(run->src.dtype));
  tarn_tensor numbers = {.storage = NULL}, all = {.storage = NULL};
  tarn_status status = tarn_tensor_create(pool, TARN_I8, 1, &count, NULL, &numbers);
  if (status == TARN_OK) {
    fill_bytes(tarn_tensor_data_mutable(&numbers), (size_t)count, 1);
    status = tarn_tensor_of_storage(run->src.storage, run->src.dtype, 1, &count, 0, &all);
  }
  if (status == TARN_OK) status = tarn_tensor_copy(&all, &numbers, NULL, NULL);
  tarn_tensor_release(&numbers);
  tarn_tensor_release(&all);
  return status;
}

/* --- one case --- */

/* Both storages get the larger size, so that memcpy has as many bytes on both sides. */
static tarn_status make_tensor(tarn_pool *pool, const copy_side *side, tarn_dtype dtype,
                               size_t storage_bytes, tarn_tensor *tensor) {
  tarn_storage *storage = NULL;
  tarn_status status = tarn_storage_create(pool, storage_bytes, NULL, &storage);
  if (status == TARN_OK) status = copy_side_tensor(side, dtype, storage, tensor);
  tarn_storage_release(storage);
  return status;
}

/* memcpy moves as many bytes as the copy reads and writes, half of them each way: an element of the
 * source counts as often as it is wanted. */
static size_t memcpy_bytes(const copy_run *run) {
  const size_t count = (size_t)tarn_tensor_element_count(&run->dst);
  return count * (tarn_dtype_size_bytes(run->dst.dtype) + tarn_dtype_size_bytes(run->src.dtype)) /
         2;
}

static tarn_status set_up(const copy_case *row, tarn_pool *pool, copy_run *run) {
  const size_t dst_bytes = copy_side_bytes(&row->dst, row->dst_dtype);
  const size_t src_bytes = copy_side_bytes(&row->src, row->src_dtype);
  const size_t storage_bytes = dst_bytes > src_bytes ? dst_bytes : src_bytes;
  tarn_status status = make_tensor(pool, &row->dst, row->dst_dtype, storage_bytes, &run->dst);
  if (status == TARN_OK) {
    status = make_tensor(pool, &row->src, row->src_dtype, storage_bytes, &run->src);
  }
  if (status != TARN_OK) return status;
  run->size_bytes = memcpy_bytes(run);
  run->dst_bytes = tarn_storage_data_mutable(run->dst.storage);
  run->src_bytes = tarn_storage_data(run->src.storage);
  fill_bytes(tarn_storage_data_mutable(run->src.storage), storage_bytes, 1);
  fill_bytes(run->dst_bytes, storage_bytes, 2);
  return converts(row) ? fill_numbers(run, pool) : TARN_OK;
}

static tarn_status measure_copy(bench_run *bench, const copy_case *row, copy_run *run,
                                tarn_pool *pool) {
  const measure_subject alone[] = {
      {"tarn", run_copy, run}, {"memcpy", run_memcpy, run}, {"read+stream", run_stream, run}};
  const measure_subject shared[] = {{"tarn", run_copy_in_two, run}, {"1 thread", run_copy, run}};
  const measure_options options = {.bytes = row->is_small ? 0 : run->size_bytes};
  const tarn_status status = bench_measure(
      bench, row->name, row->is_small ? "ns" : "GB/s", row->has_two_threads ? shared : alone,
      converts(row) && !row->has_two_threads ? 3 : 2, &options);
  if (status != TARN_OK) return status;
  /* Another subject wrote last: once more onto other bytes, for the check. */
  fill_bytes(run->dst_bytes, tarn_storage_size_bytes(run->dst.storage), 3);
  const tarn_status copied = run_copy_with(run, 1, row->has_two_threads ? 2 : 1);
  if (copied != TARN_OK) return copied;
  return converts(row) ? check_conversion(row->name, run, pool) : check_copy(row->name, run);
}

static tarn_status run_case(bench_run *bench, const copy_case *row) {
  /* A pool each: no case holds the memory of the one before. */
  tarn_pool *pool = NULL;
  copy_run run = {.size_bytes = 0};
  tarn_status status = tarn_caching_pool_create(bench_host_memory(bench), NULL, &pool);
  if (status == TARN_OK) status = set_up(row, pool, &run);
  if (status == TARN_OK) status = measure_copy(bench, row, &run, pool);
  tarn_tensor_release(&run.dst);
  tarn_tensor_release(&run.src);
  tarn_pool_release(pool);
  return status;
}

/* Needs no memory: a plan is made of layouts. */
static tarn_status explain_case(const copy_case *row) {
  char text[TARN_COPY_TEXT_BYTES];
  tarn_tensor dst, src;
  tarn_status status = copy_side_tensor(&row->dst, row->dst_dtype, NULL, &dst);
  if (status == TARN_OK) status = copy_side_tensor(&row->src, row->src_dtype, NULL, &src);
  const int thread_count = row->has_two_threads ? 2 : 1;
  if (status == TARN_OK) status = tarn_copy_explain(&dst, &src, thread_count, text);
  if (status == TARN_OK) printf("%s: %s\n", row->name, text);
  return status == TARN_OK ? copy_table_explain(&dst, &src) : status;
}

tarn_status bench_copy(bench_run *bench) {
  if (bench->options->measure_table) {
    bench->case_count++;
    return copy_table_measure(&bench->where);
  }
  tarn_status status = TARN_OK;
  if (bench->options->explain) copy_table_print();
  for (size_t i = 0; i < copy_case_count && status == TARN_OK; i++) {
    const copy_case *row = &copy_cases[i];
    if (!bench_wants(bench, row->name)) continue;
    status = bench->options->explain ? explain_case(row) : run_case(bench, row);
  }
  const tarn_status restored = tarn_copy_set_thread_count(0);
  if (status == TARN_OK) status = restored;
  return status == TARN_OK && !bench->options->explain ? bench_copy_device(bench) : status;
}
