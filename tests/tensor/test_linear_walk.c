/* test_linear_walk.c: tests of tensor/linear_walk.c on host memory and on a device. */
#include "tests/support/pools.h"

#include <stdlib.h>

#include "alloc/tarn_fixed.h"
#include "alloc/tarn_host_stream.h"
#include "tensor/tarn_linear_walk.h"
#include "tests/support/manual_stream.h"
#include "tests/tensor/fake_device.h"
#include "tests/tensor/layout_model.h"

enum { READ = TARN_LINEAR_READ, WRITE = TARN_LINEAR_WRITE, PINNED_BYTES = 8 << 20 };

static tarn_pool *pool, *pinned_pool, *device_pool;
static tarn_stream *device_stream;

static int start(void **state) {
  (void)state;
  tarn_provider *provider;
  const tarn_fixed_options options = {.struct_size = sizeof options,
                                      .device = {TARN_DEVICE_CUDA_HOST, 0}};
  pool = pages_pool(NULL);
  void *memory = aligned_alloc(4096, PINNED_BYTES);
  assert_non_null(memory);
  assert_ok(tarn_fixed_provider_create(memory, PINNED_BYTES, &options, &provider));
  pinned_pool = pool_over(provider, NULL);
  *state = memory;
  fake_device_start();
  device_pool = fake_device_pool_create();
  device_stream = fake_device_stream_create();
  return 0;
}

static int stop(void **state) {
  assert_int_equal(live_blocks(pool), 0);
  assert_int_equal(live_blocks(pinned_pool), 0);
  tarn_stream_release(device_stream);
  tarn_pool_release(device_pool);
  tarn_pool_release(pinned_pool);
  tarn_pool_release(pool);
  free(*state);
  return 0;
}

static int32_t *numbers_of(const tarn_tensor *tensor) {
  return (int32_t *)(void *)bytes_of(tensor);
}

/* rows x columns elements that count up from 0. */
static tarn_tensor counting(tarn_pool *from, tarn_stream *stream, int64_t rows, int64_t columns) {
  tarn_tensor tensor;
  assert_ok(tarn_tensor_create(from, TARN_I32, 2, (int64_t[]){rows, columns}, stream, &tensor));
  for (int32_t i = 0; i < rows * columns; i++) numbers_of(&tensor)[i] = i;
  return tensor;
}

/* --- against the model --- */

/* Walks a random tensor; what is read is the model's, in order and without gaps, and what is
 * written arrives. */
static void check_walk(uint64_t *random, tarn_pool *from, tarn_pool *staging, tarn_stream *stream,
                       size_t *zero_copies) {
  enum { NUMBERS = 16384 };
  static model all;
  static int32_t expected[NUMBERS];
  int64_t shape[TARN_RANK_MAX], seen = 0, chunks = 0;
  const uint32_t access = (uint32_t)random_in(random, 1, 3);
  const size_t chunk_bytes = (size_t)random_in(random, 1, 300);
  const int32_t rank = random_shape(random, 7, 400, shape);
  tarn_tensor tensor = {.dtype = TARN_I32};
  tarn_linear_walk walk;
  tensor.layout = random_layout_of(random, rank, shape, /*may_overlap=*/access == READ);
  assert_ok(tarn_storage_create(from, sizeof expected, stream, &tensor.storage));
  for (int32_t i = 0; i < NUMBERS; i++) numbers_of(&tensor)[i] = expected[i] = i;
  model_of(&tensor.layout, &all);
  assert_ok(tarn_linear_walk_begin(&tensor, access, chunk_bytes, staging, stream, &walk));
  const int64_t chunk_count = walk.chunk_count;
  for (;; chunks++) {
    assert_ok(tarn_linear_walk_next(&walk));
    if (walk.data == NULL) break;
    int32_t *numbers = walk.data;
    assert_int_equal(walk.first_element, seen);
    assert_int_equal(walk.size_bytes, walk.element_count * 4);
    assert_true(walk.size_bytes <= (chunk_bytes < 4 ? 4 : chunk_bytes));
    *zero_copies += walk.is_zero_copy;
    for (int64_t i = 0; i < walk.element_count; i++, seen++) {
      if ((access & READ) && numbers[i] != all.elements[seen]) fail_msg("element %ld", (long)seen);
      if ((access & WRITE) == 0) continue;
      numbers[i] = (int32_t)(-1 - seen);
      expected[all.elements[seen]] = numbers[i];
    }
  }
  assert_int_equal(chunks, chunk_count);
  assert_int_equal(seen, all.count);
  assert_ok(tarn_linear_walk_end(&walk));
  assert_ok(tarn_stream_synchronize(stream));
  assert_memory_equal(numbers_of(&tensor), expected, sizeof expected);
  tarn_tensor_release(&tensor);
}

TEST(walks_read_and_write_what_the_model_lists) {
  uint64_t random = 41;
  size_t zero_copies = 0;
  tarn_stream *worker, *late;
  assert_ok(tarn_worker_stream_create(&worker));
  assert_ok(manual_stream_create(&late));
  for (int round = 0; round < 400; round++) {
    check_walk(&random, pool, pool, NULL, &zero_copies);
    check_walk(&random, pool, pool, worker, &zero_copies);
    check_walk(&random, pool, pool, late, &zero_copies);
    check_walk(&random, device_pool, pool, device_stream, &zero_copies);
    check_walk(&random, device_pool, pinned_pool, device_stream, &zero_copies);
  }
  assert_true(zero_copies > 500);
  tarn_stream_release(worker);
  tarn_stream_release(late);
}

/* --- chunks --- */

TEST(a_contiguous_tensor_is_walked_in_place) {
  tarn_tensor tensor = counting(pool, NULL, 10, 100);
  tarn_linear_walk walk;
  assert_ok(tarn_linear_walk_begin(&tensor, READ, 1200, NULL, NULL, &walk));
  assert_int_equal(walk.chunk_count, 4);
  for (int64_t i = 0; i < 4; i++) {
    assert_ok(tarn_linear_walk_next(&walk));
    assert_true(walk.is_zero_copy);
    assert_ptr_equal(walk.data, numbers_of(&tensor) + 250 * i);
    assert_int_equal(walk.element_count, 250); /* equal parts, across rows */
  }
  assert_ok(tarn_linear_walk_next(&walk));
  assert_null(walk.data);
  assert_ok(tarn_linear_walk_next(&walk)); /* behind the end it stays there */
  assert_null(walk.data);
  assert_int_equal(walk.moved_bytes, 0);
  assert_ok(tarn_linear_walk_end(&walk));
  tarn_tensor_release(&tensor);
}

TEST(rows_with_gaps_are_in_place_one_at_a_time) {
  tarn_tensor tensor = counting(pool, NULL, 6, 100), narrow = tensor;
  tarn_linear_walk walk;
  assert_ok(tarn_tensor_narrow(&narrow, 1, 0, 90));
  assert_ok(tarn_linear_walk_begin(&narrow, READ, 400, pool, NULL, &walk));
  assert_int_equal(walk.chunk_count, 6);
  for (int64_t i = 0; i < 6; i++) {
    assert_ok(tarn_linear_walk_next(&walk));
    assert_true(walk.is_zero_copy);
    assert_int_equal(walk.first_element, 90 * i);
  }
  assert_ok(tarn_linear_walk_end(&walk));
  tarn_tensor_release(&tensor);
}

TEST(no_elements_are_no_chunks) {
  tarn_tensor tensor = counting(device_pool, device_stream, 4, 6);
  tarn_linear_walk walk;
  assert_ok(tarn_tensor_narrow(&tensor, 1, 2, 0));
  assert_ok(tarn_linear_walk_begin(&tensor, READ | WRITE, 0, NULL, device_stream, &walk));
  assert_int_equal(walk.chunk_count, 0);
  assert_ok(tarn_linear_walk_next(&walk));
  assert_null(walk.data);
  assert_ok(tarn_linear_walk_end(&walk));
  tarn_tensor_release(&tensor);
}

/* --- the pipeline --- */

TEST(the_next_chunk_is_on_its_way_while_one_is_at_hand) {
  tarn_tensor tensor = counting(device_pool, device_stream, 8, 100);
  tarn_linear_walk walk;
  assert_ok(tarn_linear_walk_begin(&tensor, READ, 800, pinned_pool, device_stream, &walk));
  assert_int_equal(walk.chunk_count, 4);
  fake_copy_calls = 0;
  for (int i = 0; i < 4; i++) {
    assert_ok(tarn_linear_walk_next(&walk));
    assert_int_equal(fake_copy_calls, i < 3 ? i + 2 : 4);
    assert_int_equal(((int32_t *)walk.data)[0], 200 * i);
    assert_int_equal(live_blocks(pinned_pool), 2);
  }
  assert_int_equal(walk.moved_bytes, 3200);
  assert_ok(tarn_linear_walk_end(&walk));
  assert_int_equal(live_blocks(pinned_pool), 0);
  assert_int_equal(walk.moved_bytes, 3200);
  tarn_tensor_release(&tensor);
}

TEST(nothing_is_read_ahead_where_that_would_be_waited_for) {
  tarn_tensor far = counting(device_pool, device_stream, 8, 100), near, turned;
  tarn_linear_walk walk;
  assert_ok(tarn_linear_walk_begin(&far, READ, 800, pool, device_stream, &walk));
  fake_copy_calls = 0;
  for (int i = 0; i < 4; i++) {
    assert_ok(tarn_linear_walk_next(&walk));
    assert_int_equal(fake_copy_calls, i + 1); /* pageable memory */
  }
  assert_ok(tarn_linear_walk_end(&walk));
  tarn_tensor_release(&far);
  near = turned = counting(pool, NULL, 8, 100);
  assert_ok(tarn_tensor_transpose(&turned, 0, 1));
  assert_ok(tarn_linear_walk_begin(&turned, READ, 800, pool, NULL, &walk));
  assert_ok(tarn_linear_walk_next(&walk));
  assert_int_equal(walk.moved_bytes, walk.size_bytes);
  assert_ok(tarn_linear_walk_end(&walk));
  tarn_tensor_release(&near);
}

/* A chunk that was written goes back behind the CPU, and one that was not visited stays. */
TEST(a_walk_may_end_early) {
  tarn_stream *late;
  assert_ok(manual_stream_create(&late));
  tarn_tensor tensor = counting(pool, NULL, 4, 6), turned = tensor;
  tarn_linear_walk walk;
  assert_ok(tarn_tensor_transpose(&turned, 0, 1));
  assert_ok(tarn_linear_walk_begin(&turned, READ | WRITE, 16, pool, late, &walk));
  for (int i = 0; i < 2; i++) {
    assert_ok(tarn_linear_walk_next(&walk));
    for (int64_t at = 0; at < 4; at++) ((int32_t *)walk.data)[at] += 100;
  }
  assert_ok(tarn_linear_walk_end(&walk));
  assert_null(walk.data);
  assert_ok(tarn_linear_walk_end(&walk)); /* once is enough */
  assert_ok(tarn_stream_synchronize(late));
  for (int32_t i = 0; i < 24; i++) {
    assert_int_equal(numbers_of(&tensor)[i], i % 6 < 2 ? i + 100 : i);
  }
  tarn_tensor_release(&tensor);
  tarn_stream_release(late);
}

TEST(a_walk_in_place_waits_for_the_stream) {
  tarn_stream *late;
  assert_ok(manual_stream_create(&late));
  tarn_tensor tensor = counting(pool, NULL, 4, 6);
  static const int32_t src[24] = {7};
  assert_ok(tarn_stream_copy(late, numbers_of(&tensor), (tarn_device){TARN_DEVICE_CPU, 0}, src,
                             (tarn_device){TARN_DEVICE_CPU, 0}, sizeof src));
  tarn_linear_walk walk;
  assert_ok(tarn_linear_walk_begin(&tensor, READ, 0, pool, late, &walk));
  assert_ok(tarn_linear_walk_next(&walk));
  assert_int_equal(((int32_t *)walk.data)[0], 7);
  assert_ok(tarn_linear_walk_end(&walk));
  tarn_tensor_release(&tensor);
  tarn_stream_release(late);
}

TEST(walks_stand_side_by_side) {
  tarn_tensor tensor = counting(pool, NULL, 4, 6), turned = tensor;
  tarn_linear_walk first, second;
  assert_ok(tarn_tensor_transpose(&turned, 0, 1));
  assert_ok(tarn_linear_walk_begin(&turned, READ, 16, pool, NULL, &first));
  assert_ok(tarn_linear_walk_begin(&turned, READ, 32, pool, NULL, &second));
  assert_ok(tarn_linear_walk_next(&first));
  assert_ok(tarn_linear_walk_next(&second));
  assert_ok(tarn_linear_walk_next(&first));
  assert_int_equal(((int32_t *)first.data)[1], 7);
  assert_int_equal(((int32_t *)second.data)[5], 7);
  assert_ok(tarn_linear_walk_end(&first));
  assert_int_equal(((int32_t *)second.data)[1], 6);
  assert_ok(tarn_linear_walk_end(&second));
  tarn_tensor_release(&tensor);
}

/* --- failures --- */

TEST(a_walk_that_cannot_begin_leaves_nothing) {
  tarn_tensor tensor = counting(pool, NULL, 4, 6), zeroed = {0}, wide = tensor;
  tarn_linear_walk walk = {.size_bytes = 9};
  assert_status(tarn_linear_walk_begin(&tensor, 0, 0, pool, NULL, &walk), TARN_INVALID_ARGUMENT);
  assert_int_equal(walk.size_bytes, 0);
  assert_status(tarn_linear_walk_begin(&zeroed, READ, 0, pool, NULL, &walk), TARN_INVALID_ARGUMENT);
  assert_status(tarn_linear_walk_begin(&tensor, READ, 0, pool, NULL, NULL), TARN_INVALID_ARGUMENT);
  assert_ok(tarn_tensor_expand(&wide, 3, (int64_t[]){2, 4, 6}));
  assert_status(tarn_linear_walk_begin(&wide, WRITE, 0, pool, NULL, &walk), TARN_OVERLAP);
  assert_status(tarn_linear_walk_next(&walk), TARN_INVALID_ARGUMENT);
  assert_status(tarn_linear_walk_next(NULL), TARN_INVALID_ARGUMENT);
  assert_ok(tarn_linear_walk_end(&walk));
  assert_ok(tarn_linear_walk_end(NULL));
  tarn_tensor_release(&tensor);
}

TEST(a_walk_without_staging_memory_says_so) {
  tarn_tensor tensor = counting(pool, NULL, 4, 6), turned = tensor;
  tarn_linear_walk walk;
  tarn_pool *unfit[] = {NULL, device_pool};
  assert_ok(tarn_tensor_transpose(&turned, 0, 1));
  for (int i = 0; i < 2; i++) {
    assert_ok(tarn_linear_walk_begin(&turned, READ, 0, unfit[i], NULL, &walk));
    assert_status(tarn_linear_walk_next(&walk), TARN_INVALID_ARGUMENT);
    assert_null(walk.data);
    assert_ok(tarn_linear_walk_end(&walk));
  }
  tarn_tensor_release(&tensor);
}

TEST(a_failing_copy_ends_no_walk_with_a_leak) {
  tarn_tensor tensor = counting(device_pool, device_stream, 8, 100);
  for (int failing = 0; failing < 8; failing++) {
    tarn_linear_walk walk;
    tarn_status status =
        tarn_linear_walk_begin(&tensor, READ | WRITE, 800, pinned_pool, device_stream, &walk);
    assert_ok(status);
    fake_copies_to_fail = failing;
    while (status == TARN_OK) {
      status = tarn_linear_walk_next(&walk);
      if (status != TARN_OK) assert_null(walk.data);
      if (walk.data == NULL) break;
    }
    const tarn_status ended = tarn_linear_walk_end(&walk);
    fake_copies_to_fail = -1;
    assert_true(status == TARN_DEVICE_ERROR || ended == TARN_DEVICE_ERROR);
    assert_ok(tarn_stream_synchronize(device_stream));
    assert_int_equal(live_blocks(pinned_pool), 0);
  }
  for (int32_t i = 0; i < 800; i++) assert_int_equal(numbers_of(&tensor)[i], i);
  tarn_tensor_release(&tensor);
}

int main(void) {
  return run_listed_tests(start, stop);
}
