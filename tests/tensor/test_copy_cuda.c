/* test_copy_cuda.c: copies and linear access through a CUDA driver, a GPU's or the simulated one.
 *
 * usage: test_copy_cuda [path of a libcuda.so.1]; without one the machine's own, and exit status 77
 * where there is none.
 */
#include "tests/support/pools.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "alloc/tarn_staging.h"
#include "cuda/tarn_cuda.h"
#include "tensor/tarn_compare.h"
#include "tensor/tarn_copy.h"
#include "tensor/tarn_element.h"
#include "tensor/tarn_linear_walk.h"
#include "tests/tensor/layout_model.h"

enum { BUFFER_BYTES = 1 << 15, PLACES = 3 };

static const char *driver_path;
static tarn_cuda *cuda;
static tarn_stream *stream;
static bool has_ring;
static tarn_pool *pools[PLACES]; /* pageable, pinned, device */
enum { PAGEABLE, PINNED, DEVICE };

static int start(void **state) {
  (void)state;
  tarn_provider *provider;
  assert_ok(tarn_cuda_stream_create(cuda, 0, &stream));
  pools[PAGEABLE] = pages_pool(NULL);
  assert_ok(tarn_cuda_pinned_provider_create(cuda, NULL, &provider));
  pools[PINNED] = pool_over(provider, NULL);
  assert_ok(tarn_cuda_device_provider_create(cuda, 0, &provider));
  pools[DEVICE] = pool_over(provider, NULL);
  return 0;
}

/* The same with a ring of few and small slots, so that copies wait for them. */
static int start_with_ring(void **state) {
  tarn_provider *provider;
  tarn_staging *ring;
  const tarn_staging_options options = {
      .struct_size = sizeof options, .slot_bytes = 4096, .slot_count = 4};
  start(state);
  assert_ok(tarn_cuda_pinned_provider_create(cuda, NULL, &provider));
  assert_ok(tarn_staging_create(provider, &options, &ring));
  tarn_provider_release(provider);
  assert_ok(tarn_stream_set_staging(stream, ring));
  tarn_staging_release(ring); /* the stream has it */
  has_ring = true;
  return 0;
}

static int stop(void **state) {
  (void)state;
  tarn_stream_release(stream);
  for (int place = 0; place < PLACES; place++) {
    tarn_pool_stats stats = stats_of(pools[place]);
    assert_int_equal(stats.alloc_count, stats.free_count);
    tarn_pool_release(pools[place]);
  }
  return 0;
}

/* The order in which a place's memory is to be used: the CPU's for memory that the CPU fills. */
static tarn_stream *order_of(int place) {
  return place == DEVICE ? stream : NULL;
}

/* Puts the test's bytes into a storage, or gets them, by the one copy that needs no planning. */
static void transfer(tarn_storage *storage, char *bytes, bool is_upload) {
  size_t size_bytes = tarn_storage_size_bytes(storage);
  const void *address = tarn_storage_data(storage);
  tarn_device where = tarn_storage_device(storage), host = {TARN_DEVICE_CPU, 0};
  if (is_upload) {
    assert_ok(tarn_stream_copy(stream, (void *)(uintptr_t)address, where, bytes, host, size_bytes));
  } else {
    assert_ok(tarn_stream_copy(stream, bytes, host, address, where, size_bytes));
  }
  assert_ok(tarn_stream_synchronize(stream));
}

static void a_round(uint64_t *random, int to_place, int from_place, size_t *executors) {
  static char zeros[BUFFER_BYTES], seen[BUFFER_BYTES], pattern[BUFFER_BYTES];
  static char expected[BUFFER_BYTES];
  static const tarn_dtype dtypes[] = {
      {TARN_CODE_BOOL, 8, 1}, {TARN_CODE_FLOAT, 32, 1}, {TARN_CODE_COMPLEX, 128, 1}};
  int64_t shape[TARN_RANK_MAX];
  bool is_large = random_in(random, 0, 1);
  int32_t rank = random_shape(random, is_large ? 20 : 6, is_large ? 1000 : 300, shape);
  tarn_tensor dst = {.dtype = dtypes[random_in(random, 0, 2)]}, src = dst;
  dst.layout = random_layout_of(random, rank, shape, /*may_overlap=*/false);
  src.layout = random_layout_of(random, rank, shape, /*may_overlap=*/true);
  assert_ok(tarn_storage_create(pools[to_place], BUFFER_BYTES, order_of(to_place), &dst.storage));
  assert_ok(
      tarn_storage_create(pools[from_place], BUFFER_BYTES, order_of(from_place), &src.storage));
  random_fill(random, pattern, 16384);
  transfer(src.storage, pattern, true);
  transfer(dst.storage, zeros, true);
  memset(expected, 0, sizeof expected);
  model_copy(&dst.layout, expected, &src.layout, pattern, tarn_dtype_size_bytes(dst.dtype));
  tarn_copy_report report = {.struct_size = sizeof report};
  assert_ok(tarn_tensor_copy(&dst, &src, stream, &report));
  tarn_tensor_release(&src);
  transfer(dst.storage, seen, false);
  if (memcmp(seen, expected, sizeof seen) != 0) {
    fail_msg("from place %d to %d: %s", from_place, to_place, report.executor);
  }
  tarn_tensor_release(&dst);
  (*executors) |= strcmp(report.executor, "staged") == 0    ? 1u
                  : strcmp(report.executor, "rows") == 0    ? 2u
                  : strcmp(report.executor, "memcpy") == 0  ? 4u
                  : strcmp(report.executor, "strided") == 0 ? 8u
                  : strcmp(report.executor, "ring") == 0    ? 32u
                  : strcmp(report.executor, "kernel") == 0  ? 64u
                                                            : 16u;
}

TEST(copies_between_all_places_equal_the_model) {
  uint64_t random = 71;
  for (int to_place = 0; to_place < PLACES; to_place++) {
    for (int from_place = 0; from_place < PLACES; from_place++) {
      size_t executors = 0;
      for (int round = 0; round < 300; round++) a_round(&random, to_place, from_place, &executors);
      const bool has_device = to_place == DEVICE || from_place == DEVICE;
      const bool has_pageable = to_place == PAGEABLE || from_place == PAGEABLE;
      size_t expected = has_device ? 7u : 14u; /* "staged", and "rows" and "memcpy" */
      if (has_device && has_pageable && has_ring) expected = 32u;
      if (has_device && !has_pageable) { /* kernels; where the device runs none, the CPU */
        expected = 6u;
        assert_true((executors & (64u | 32u | 1u)) != 0);
        executors &= ~(size_t)(64u | 32u | 1u);
      }
      assert_int_equal(executors & 47u, expected);
    }
  }
}

/* The source goes back to its pool while the copy may still be queued, and is lent out again. */
TEST(a_pinned_source_may_be_released_at_once) {
  enum { BYTES = 1 << 20 };
  static char seen[BYTES];
  for (int round = 0; round < 20; round++) {
    tarn_tensor near, far, other;
    assert_ok(tarn_tensor_create(pools[PINNED], TARN_U8, 1, (int64_t[]){BYTES}, NULL, &near));
    assert_ok(tarn_tensor_create(pools[DEVICE], TARN_U8, 1, (int64_t[]){BYTES}, stream, &far));
    memset(tarn_tensor_data_mutable(&near), round + 1, BYTES);
    tarn_copy_report report = {.struct_size = sizeof report};
    assert_ok(tarn_tensor_copy(&far, &near, stream, &report));
    assert_false(report.was_synchronous);
    tarn_tensor_release(&near);
    assert_ok(tarn_tensor_create(pools[PINNED], TARN_U8, 1, (int64_t[]){BYTES}, NULL, &other));
    memset(tarn_tensor_data_mutable(&other), 0xee, BYTES);
    transfer(far.storage, seen, false);
    for (int i = 0; i < BYTES; i++) {
      if (seen[i] != (char)(round + 1)) fail_msg("round %d byte %d", round, i);
    }
    tarn_tensor_release(&other);
    tarn_tensor_release(&far);
  }
}

TEST(runs_on_the_device_move_as_memmove_does) {
  static char bytes[8192], seen[8192];
  static const int64_t shifts[] = {1, 100, 1000, 4000};
  for (size_t i = 0; i < 2 * COUNT_OF(shifts); i++) {
    int64_t shift = shifts[i / 2];
    size_t size_bytes = (size_t)(8192 - shift);
    tarn_tensor low, high;
    assert_ok(tarn_tensor_create(pools[DEVICE], TARN_U8, 1, (int64_t[]){8192}, stream, &low));
    for (int at = 0; at < 8192; at++) bytes[at] = (char)(at * 5 + at / 97);
    transfer(low.storage, bytes, true);
    high = low;
    assert_ok(tarn_tensor_narrow(&low, 0, 0, 8192 - shift));
    assert_ok(tarn_tensor_narrow(&high, 0, shift, 8192 - shift));
    bool is_down = i % 2 == 1;
    memmove(is_down ? bytes : bytes + shift, is_down ? bytes + shift : bytes, size_bytes);
    assert_ok(tarn_tensor_copy(is_down ? &low : &high, is_down ? &high : &low, stream, NULL));
    transfer(low.storage, seen, false);
    assert_memory_equal(seen, bytes, sizeof seen);
    tarn_tensor_release(&low);
  }
}

/* Reads a turned device tensor on the host, changes it there, and reads it again. */
TEST(linear_access_goes_there_and_back) {
  static int32_t numbers[40 * 60], seen[40 * 60];
  for (int round = 0; round < 10; round++) {
    int staging = round % 2 ? PINNED : PAGEABLE;
    tarn_tensor tensor, turned;
    tarn_linear_span span;
    assert_ok(tarn_tensor_create(pools[DEVICE], TARN_I32, 2, (int64_t[]){40, 60}, stream, &tensor));
    for (int32_t i = 0; i < 40 * 60; i++) numbers[i] = i * (round + 1);
    transfer(tensor.storage, (char *)numbers, true);
    turned = tensor;
    assert_ok(tarn_tensor_transpose(&turned, 0, 1));
    assert_ok(tarn_linear_begin(&turned, TARN_LINEAR_READ | TARN_LINEAR_WRITE, pools[staging],
                                stream, &span));
    assert_false(span.is_zero_copy);
    int32_t *linear = span.data;
    for (int32_t i = 0; i < 40 * 60; i++) {
      int32_t turned_place = i % 40 * 60 + i / 40;
      assert_int_equal(linear[i], numbers[turned_place]);
      linear[i] += 7;
    }
    assert_ok(tarn_linear_end(&span, stream));
    transfer(tensor.storage, (char *)seen, false);
    for (int32_t i = 0; i < 40 * 60; i++) assert_int_equal(seen[i], numbers[i] + 7);
    tarn_tensor_release(&tensor);
  }
}

/* Large enough for several pieces, and turned: the CPU and the stream work side by side. */
TEST(a_large_turned_tensor_comes_over_and_goes_back_in_pieces) {
  enum { ROWS = 500, COLUMNS = 600 };
  static int32_t numbers[ROWS * COLUMNS], seen[ROWS * COLUMNS];
  tarn_tensor tensor, turned;
  tarn_linear_span span;
  assert_ok(
      tarn_tensor_create(pools[DEVICE], TARN_I32, 2, (int64_t[]){ROWS, COLUMNS}, stream, &tensor));
  for (int32_t i = 0; i < ROWS * COLUMNS; i++) numbers[i] = i * 3;
  transfer(tensor.storage, (char *)numbers, true);
  turned = tensor;
  assert_ok(tarn_tensor_transpose(&turned, 0, 1));
  assert_ok(tarn_linear_begin(&turned, TARN_LINEAR_READ | TARN_LINEAR_WRITE, pools[PINNED], stream,
                              &span));
  int32_t *linear = span.data;
  for (int32_t i = 0; i < ROWS * COLUMNS; i++) {
    if (linear[i] != numbers[i % ROWS * COLUMNS + i / ROWS]) fail_msg("element %d", i);
    linear[i] += 7;
  }
  assert_ok(tarn_linear_end(&span, stream));
  transfer(tensor.storage, (char *)seen, false);
  for (int32_t i = 0; i < ROWS * COLUMNS; i++) assert_int_equal(seen[i], numbers[i] + 7);
  tarn_tensor_release(&tensor);
}

TEST(a_walk_reads_ahead_and_writes_behind) {
  enum { ROWS = 64, COLUMNS = 100 };
  static int32_t numbers[ROWS * COLUMNS], seen[ROWS * COLUMNS];
  for (int round = 0; round < 6; round++) {
    tarn_tensor tensor;
    tarn_linear_walk walk;
    tarn_status status;
    assert_ok(tarn_tensor_create(pools[DEVICE], TARN_I32, 2, (int64_t[]){ROWS, COLUMNS}, stream,
                                 &tensor));
    for (int32_t i = 0; i < ROWS * COLUMNS; i++) numbers[i] = i * (round + 1);
    transfer(tensor.storage, (char *)numbers, true);
    assert_ok(tarn_linear_walk_begin(&tensor, TARN_LINEAR_READ | TARN_LINEAR_WRITE, 3200,
                                     pools[round % 2 ? PINNED : PAGEABLE], stream, &walk));
    while ((status = tarn_linear_walk_next(&walk)) == TARN_OK && walk.data != NULL) {
      for (int64_t i = 0; i < walk.element_count; i++) {
        assert_int_equal(((int32_t *)walk.data)[i], numbers[walk.first_element + i]);
        ((int32_t *)walk.data)[i] += 7;
      }
    }
    assert_ok(status);
    assert_ok(tarn_linear_walk_end(&walk));
    transfer(tensor.storage, (char *)seen, false);
    for (int32_t i = 0; i < ROWS * COLUMNS; i++) assert_int_equal(seen[i], numbers[i] + 7);
    tarn_tensor_release(&tensor);
  }
}

TEST(a_device_tensor_is_filled_read_and_compared) {
  tarn_tensor far, near, one;
  tarn_scalar item;
  bool equal;
  assert_ok(tarn_tensor_create(pools[DEVICE], TARN_F32, 2, (int64_t[]){300, 70}, stream, &far));
  assert_ok(tarn_tensor_create(pools[PINNED], TARN_F32, 2, (int64_t[]){300, 70}, NULL, &near));
  for (int round = 0; round < 2; round++) {
    const tarn_scalar scalar = tarn_scalar_of_float(round == 0 ? 0.0 : 1.5);
    assert_ok(tarn_tensor_fill(&far, scalar, stream));
    assert_ok(tarn_tensor_fill(&near, scalar, stream));
    assert_ok(tarn_tensor_equal(&far, &near, 0, pools[PINNED], stream, &equal));
    assert_true(equal);
    one = far;
    assert_ok(tarn_tensor_select(&one, 0, 299));
    assert_ok(tarn_tensor_select(&one, 0, 69));
    assert_ok(tarn_tensor_item(&one, stream, &item));
    assert_true(item.value.real == scalar.value.real);
    assert_ok(tarn_tensor_fill(&one, tarn_scalar_of_float(9.0), stream));
    assert_ok(tarn_tensor_equal(&far, &near, 0, pools[PAGEABLE], stream, &equal));
    assert_false(equal);
  }
  tarn_tensor_release(&near);
  tarn_tensor_release(&far);
}

TEST(a_pinned_tensor_is_read_in_place_behind_the_stream) {
  static char bytes[4096];
  tarn_tensor far, near;
  tarn_linear_span span;
  assert_ok(tarn_tensor_create(pools[DEVICE], TARN_U8, 1, (int64_t[]){4096}, stream, &far));
  assert_ok(tarn_tensor_create(pools[PINNED], TARN_U8, 1, (int64_t[]){4096}, NULL, &near));
  memset(bytes, 42, sizeof bytes);
  transfer(far.storage, bytes, true);
  assert_ok(tarn_tensor_copy(&near, &far, stream, NULL));
  assert_ok(tarn_linear_begin(&near, TARN_LINEAR_READ, NULL, stream, &span));
  assert_true(span.is_zero_copy);
  assert_memory_equal(span.data, bytes, sizeof bytes);
  assert_ok(tarn_linear_end(&span, stream));
  tarn_tensor_release(&far);
  tarn_tensor_release(&near);
}

/* --- threads --- */

enum { THREADS = 4, THREAD_ROUNDS = 40, THREAD_BYTES = 40000 };

/* Sends bytes there and back on a stream of its own, which shares the ring of the others. */
static void *send_and_fetch(void *argument) {
  uint64_t random = 100 + (uint64_t)(uintptr_t)argument;
  unsigned char *near = malloc(THREAD_BYTES);
  tarn_staging *ring;
  tarn_stream *own;
  const char *wrong = NULL;
  tarn_tensor far, host;
  if (tarn_stream_staging(stream, /*reads_host=*/false, &ring) != TARN_OK || near == NULL ||
      tarn_cuda_stream_create(cuda, 0, &own) != TARN_OK ||
      (ring != NULL && tarn_stream_set_staging(own, ring) != TARN_OK) ||
      tarn_tensor_create(pools[DEVICE], TARN_U8, 1, (int64_t[]){THREAD_BYTES}, own, &far) !=
          TARN_OK) {
    return (void *)(uintptr_t) "a thread has no stream or no memory";
  }
  const tarn_blob blob = {.struct_size = sizeof blob, .address = near, .size_bytes = THREAD_BYTES};
  if (tarn_tensor_wrap(&blob, TARN_U8, 1, far.layout.shape, NULL, 0, &host) != TARN_OK) {
    return (void *)(uintptr_t) "no tensor";
  }
  for (int round = 0; round < THREAD_ROUNDS && wrong == NULL; round++) {
    const int64_t size = random_in(&random, 1, THREAD_BYTES);
    const int fill = (int)random_in(&random, 0, 250);
    tarn_tensor to = far, from = host;
    memset(near, fill, THREAD_BYTES);
    if (tarn_tensor_narrow(&to, 0, THREAD_BYTES - size, size) != TARN_OK ||
        tarn_tensor_narrow(&from, 0, 0, size) != TARN_OK ||
        tarn_tensor_copy(&to, &from, own, NULL) != TARN_OK) {
      wrong = "a copy to the device failed";
      break;
    }
    memset(near, 251, THREAD_BYTES); /* read already, or the copy is done */
    if (tarn_tensor_copy(&from, &to, own, NULL) != TARN_OK) wrong = "a copy back failed";
    for (int64_t i = 0; i < size && wrong == NULL; i++) {
      if (near[i] != fill) wrong = "other bytes came back";
    }
  }
  tarn_tensor_release(&host);
  tarn_tensor_release(&far);
  tarn_stream_release(own);
  free(near);
  return (void *)(uintptr_t)wrong;
}

TEST(threads_that_share_a_ring_get_their_own_bytes_back) {
  pthread_t threads[THREADS];
  for (uintptr_t i = 0; i < THREADS; i++) {
    assert_int_equal(pthread_create(&threads[i], NULL, send_and_fetch, (void *)i), 0);
  }
  for (int i = 0; i < THREADS; i++) {
    void *wrong;
    pthread_join(threads[i], &wrong);
    if (wrong != NULL) fail_msg("%s", (const char *)wrong);
  }
}

int main(int argument_count, char **arguments) {
  driver_path = argument_count > 1 ? arguments[1] : NULL;
  const tarn_cuda_options options = {.struct_size = sizeof options, .driver_path = driver_path};
  tarn_status status = tarn_cuda_open(&options, &cuda);
  if (status != TARN_OK) {
    printf("%s: %s\n", tarn_status_name(status), tarn_last_error()->message);
    return driver_path == NULL ? 77 : 1;
  }
  int failed = run_listed_tests(start, stop);
  failed += run_listed_tests(start_with_ring, stop);
  tarn_cuda_release(cuda);
  return failed;
}
