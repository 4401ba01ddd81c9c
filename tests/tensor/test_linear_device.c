/* test_linear_device.c: tests of tensor/linear_device.c: large turned tensors of a device. */
#include "tests/support/pools.h"

#include <stdlib.h>
#include <string.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_fixed.h"
#include "tensor/linear_device.h"
#include "tensor/tarn_linear.h"
#include "tests/tensor/fake_device.h"
#include "tests/tensor/layout_model.h"

enum { PINNED_BYTES = 64 << 20, ROWS = 700, COLUMNS = 1000, ELEMENTS = ROWS * COLUMNS };

static tarn_pool *pinned_pool, *pageable_pool, *device_pool;
static tarn_stream *device_stream;

static tarn_pool *pool_of(void *memory, int32_t device_type) {
  const tarn_fixed_options options = {.struct_size = sizeof options, .device = {device_type, 0}};
  tarn_provider *provider;
  assert_non_null(memory);
  assert_ok(tarn_fixed_provider_create(memory, PINNED_BYTES, &options, &provider));
  return pool_over(provider, NULL);
}

static int start(void **state) {
  char *memory = aligned_alloc(4096, 2 * (size_t)PINNED_BYTES);
  *state = memory;
  pinned_pool = pool_of(memory, TARN_DEVICE_CUDA_HOST);
  pageable_pool = pool_of(memory + PINNED_BYTES, TARN_DEVICE_CPU);
  fake_device_start();
  device_pool = fake_device_pool_create();
  device_stream = fake_device_stream_create();
  return 0;
}

static int stop(void **state) {
  assert_int_equal(live_blocks(pinned_pool), 0);
  tarn_stream_release(device_stream);
  tarn_pool_release(device_pool);
  tarn_pool_release(pinned_pool);
  tarn_pool_release(pageable_pool);
  free(*state);
  return 0;
}

static int32_t *numbers_of(const tarn_tensor *tensor) {
  return (int32_t *)(void *)bytes_of(tensor);
}

/* ROWS x COLUMNS elements that count up from 0. */
static tarn_tensor counting(void) {
  tarn_tensor tensor;
  assert_ok(tarn_tensor_create(device_pool, TARN_I32, 2, (int64_t[]){ROWS, COLUMNS}, device_stream,
                               &tensor));
  for (int32_t i = 0; i < ELEMENTS; i++) numbers_of(&tensor)[i] = i;
  return tensor;
}

/* Reads the view, doubles every element in it, and looks at both ends. */
static void check_view(const tarn_tensor *whole, const tarn_tensor *view, bool is_written) {
  const uint32_t access = TARN_LINEAR_READ | (is_written ? TARN_LINEAR_WRITE : 0);
  const int64_t count = tarn_tensor_element_count(view);
  int64_t index[TARN_RANK_MAX];
  tarn_linear_span span;
  int32_t *expected = malloc(ELEMENTS * sizeof *expected);
  assert_non_null(expected);
  memcpy(expected, numbers_of(whole), ELEMENTS * sizeof *expected);
  assert_true(tarn__linear_is_turned(view, pinned_pool, device_stream));
  fake_copy_calls = 0;
  assert_ok(tarn_linear_begin(view, access, pinned_pool, device_stream, &span));
  assert_int_equal(span.moved_bytes, span.size_bytes);
  int32_t *numbers = span.data;
  for (int64_t i = 0; i < count; i++) {
    model_unravel(view->layout.rank, view->layout.shape, i, index);
    const int64_t element = layout_element(&view->layout, index);
    if (numbers[i] != expected[element]) fail_msg("element %ld", (long)i);
    if (is_written) numbers[i] = expected[element] = -expected[element];
  }
  assert_in_range(fake_copy_calls, 2, 16); /* in pieces, each of one call */
  assert_ok(tarn_linear_end(&span, device_stream));
  assert_ok(tarn_stream_synchronize(device_stream));
  assert_memory_equal(numbers_of(whole), expected, ELEMENTS * sizeof *expected);
  assert_int_equal(live_blocks(pinned_pool), 0);
  free(expected);
}

TEST(a_turned_matrix_goes_there_and_back) {
  tarn_tensor tensor = counting(), turned = tensor;
  assert_ok(tarn_tensor_transpose(&turned, 0, 1));
  check_view(&tensor, &turned, false);
  check_view(&tensor, &turned, true);
  tarn_tensor_release(&tensor);
}

TEST(flips_and_single_indices_do_too) {
  tarn_tensor tensor = counting(), view = tensor;
  assert_ok(tarn_tensor_slice(&view, 0, TARN_SLICE_OPEN, TARN_SLICE_OPEN, -1));
  assert_ok(tarn_tensor_unsqueeze(&view, 1));
  check_view(&tensor, &view, true);
  assert_ok(tarn_tensor_view(&view, 5, (int64_t[]){7, 100, 1, 50, 20}));
  assert_ok(tarn_tensor_permute(&view, 5, (int32_t[]){3, 2, 0, 4, 1}));
  check_view(&tensor, &view, true);
  tarn_tensor_release(&tensor);
}

/* Only what there is comes over, once. */
TEST(what_is_broadcast_comes_over_once) {
  tarn_tensor tensor = counting(), view = tensor;
  tarn_linear_span span;
  assert_ok(tarn_tensor_transpose(&view, 0, 1));
  assert_ok(tarn_tensor_unsqueeze(&view, 1));
  assert_ok(tarn_tensor_expand(&view, 3, (int64_t[]){COLUMNS, 3, ROWS}));
  fake_copy_calls = 0;
  assert_ok(tarn_linear_begin(&view, TARN_LINEAR_READ, pinned_pool, device_stream, &span));
  const int32_t *numbers = span.data;
  for (int32_t i = 0; i < 3 * ELEMENTS; i++) {
    const int32_t column = i / (3 * ROWS), row = i % ROWS;
    if (numbers[i] != row * COLUMNS + column) fail_msg("element %d", i);
  }
  assert_in_range(fake_copy_calls, 2, 16);
  assert_ok(tarn_linear_end(&span, device_stream));
  tarn_tensor_release(&tensor);
}

/* A view whose memory order is the row-major one needs no CPU, a small one no pieces, and pageable
 * memory cannot overlap. */
TEST(what_needs_no_turning_is_copied_at_once) {
  tarn_tensor tensor = counting(), turned = tensor, rows = tensor, small = tensor;
  assert_ok(tarn_tensor_transpose(&turned, 0, 1));
  assert_ok(tarn_tensor_narrow(&rows, 1, 10, 900));
  assert_ok(tarn_tensor_narrow(&small, 1, 10, 300));
  assert_ok(tarn_tensor_transpose(&small, 0, 1));
  assert_true(tarn__linear_is_turned(&turned, pinned_pool, device_stream));
  assert_false(tarn__linear_is_turned(&rows, pinned_pool, device_stream));
  assert_false(tarn__linear_is_turned(&small, pinned_pool, device_stream));
  assert_false(tarn__linear_is_turned(&turned, pageable_pool, device_stream));
  tarn_stream *able = fake_able_stream_create(); /* whose kernels turn it in one copy */
  assert_false(tarn__linear_is_turned(&turned, pinned_pool, able));
  tarn_stream_release(able);
  tarn_tensor_release(&tensor);
}

TEST(a_piece_that_fails_ends_it_without_a_leak) {
  tarn_tensor tensor = counting(), turned = tensor;
  assert_ok(tarn_tensor_transpose(&turned, 0, 1));
  for (int failing = 0; failing < 3; failing++) {
    tarn_linear_span span;
    fake_copies_to_fail = failing;
    assert_status(tarn_linear_begin(&turned, TARN_LINEAR_READ, pinned_pool, device_stream, &span),
                  TARN_DEVICE_ERROR);
    fake_copies_to_fail = -1;
    assert_ok(tarn_stream_synchronize(device_stream));
    assert_int_equal(live_blocks(pinned_pool), 0);
    assert_ok(tarn_linear_begin(&turned, TARN_LINEAR_WRITE, pinned_pool, device_stream, &span));
    memset(span.data, 0, span.size_bytes);
    fake_copies_to_fail = failing;
    assert_status(tarn_linear_end(&span, device_stream), TARN_DEVICE_ERROR);
    fake_copies_to_fail = -1;
    assert_ok(tarn_stream_synchronize(device_stream));
    assert_int_equal(live_blocks(pinned_pool), 0);
  }
  tarn_tensor_release(&tensor);
}

TEST(turning_works_without_a_span) {
  tarn_tensor tensor = counting(), turned = tensor, packed;
  assert_ok(tarn_tensor_transpose(&turned, 0, 1));
  assert_ok(tarn_tensor_create(pinned_pool, TARN_I32, 2, turned.layout.shape, NULL, &packed));
  assert_ok(tarn__linear_turn_in(&turned, &packed, pinned_pool, device_stream));
  int32_t *numbers = tarn_tensor_data_mutable(&packed);
  assert_int_equal(numbers[1], COLUMNS);
  numbers[1] = -5;
  assert_ok(tarn__linear_turn_out(&turned, &packed, pinned_pool, device_stream));
  assert_ok(tarn_stream_synchronize(device_stream));
  assert_int_equal(numbers_of(&tensor)[COLUMNS], -5);
  assert_int_equal(numbers_of(&tensor)[ELEMENTS - 1], ELEMENTS - 1);
  tarn_tensor_release(&packed);
  tarn_tensor_release(&tensor);
}

int main(void) {
  return run_listed_tests(start, stop);
}
