/* test_linear.c: tests of tensor/linear.c on host memory and on a device the CPU cannot touch. */
#include "tests/support/test.h"

#include <pthread.h>
#include <string.h>

#include "alloc/tarn_host_stream.h"
#include "tensor/tarn_copy.h"
#include "tensor/tarn_linear.h"
#include "tests/support/manual_stream.h"
#include "tests/tensor/layout_model.h"
#include "tests/tensor/two_places.h"

static int32_t *numbers_of(const tarn_tensor *tensor) {
  return (int32_t *)(void *)bytes_of(tensor);
}

/* 4 x 6 elements that count up from 0. */
static tarn_tensor counting(tarn_pool *from, tarn_stream *stream) {
  tarn_tensor tensor;
  assert_ok(tarn_tensor_create(from, TARN_I32, 2, (int64_t[]){4, 6}, stream, &tensor));
  for (int32_t i = 0; i < 24; i++) numbers_of(&tensor)[i] = i;
  return tensor;
}

/* --- zero copy --- */

TEST(a_contiguous_host_tensor_is_read_in_place) {
  tarn_tensor tensor = counting(pool, NULL);
  tarn_linear_span span;
  assert_ok(tarn_tensor_select(&tensor, 0, 2));
  assert_ok(tarn_linear_begin(&tensor, TARN_LINEAR_READ, NULL, NULL, &span));
  assert_true(span.is_zero_copy);
  assert_ptr_equal(span.data, tarn_tensor_data(&tensor));
  assert_int_equal(span.size_bytes, 24);
  assert_ok(tarn_linear_end(&span, NULL));
  assert_int_equal(span.moved_bytes, 0);
  assert_null(span.data);
  tarn_tensor_release(&tensor);
}

TEST(a_write_in_place_is_the_tensors) {
  tarn_tensor tensor = counting(pool, NULL);
  tarn_linear_span span;
  assert_ok(tarn_linear_begin(&tensor, TARN_LINEAR_WRITE, NULL, NULL, &span));
  ((int32_t *)span.data)[23] = -1;
  assert_ok(tarn_linear_end(&span, NULL));
  assert_int_equal(numbers_of(&tensor)[23], -1);
  tarn_tensor_release(&tensor);
}

TEST(a_span_borrows_the_tensor) {
  tarn_tensor tensor = counting(pool, NULL), turned = tensor;
  tarn_linear_span in_place, staged;
  assert_ok(tarn_tensor_transpose(&turned, 0, 1));
  assert_ok(tarn_linear_begin(&tensor, TARN_LINEAR_READ, NULL, NULL, &in_place));
  assert_ok(tarn_linear_begin(&turned, TARN_LINEAR_WRITE, pool, NULL, &staged));
  assert_int_equal(tarn_storage_use_count(tensor.storage), 1);
  memset(staged.data, 0, staged.size_bytes);
  assert_ok(tarn_linear_end(&staged, NULL));
  assert_ok(tarn_linear_end(&in_place, NULL));
  assert_int_equal(tarn_storage_use_count(tensor.storage), 1);
  tarn_tensor_release(&tensor);
}

/* Strides of dimensions of size 1 say nothing, and one element is in order whatever they are. */
TEST(odd_strides_of_single_indices_are_in_place) {
  static int32_t numbers[24];
  static const struct {
    int32_t rank;
    int64_t shape[4], strides[4];
  } cases[] = {
      {3, {1, 4, 6}, {-999, 6, 1}}, {4, {4, 1, 6, 1}, {6, 0, 1, 77}},
      {2, {1, 1}, {0, -5}},         {0, {0}, {0}},
      {3, {1, 1, 24}, {0, 0, 1}},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    tarn_blob blob = {.struct_size = sizeof blob, .address = numbers, .size_bytes = sizeof numbers};
    tarn_tensor tensor;
    tarn_linear_span span;
    assert_ok(tarn_tensor_wrap(&blob, TARN_I32, cases[i].rank, cases[i].shape, cases[i].strides, 0,
                               &tensor));
    assert_ok(tarn_linear_begin(&tensor, TARN_LINEAR_READ, NULL, NULL, &span));
    assert_true(span.is_zero_copy);
    assert_ptr_equal(span.data, numbers);
    assert_int_equal(span.size_bytes, tarn_tensor_size_bytes(&tensor));
    assert_ok(tarn_linear_end(&span, NULL));
    tarn_tensor_release(&tensor);
  }
}

TEST(memory_that_the_cpu_reaches_is_in_place) {
  static int32_t numbers[24];
  static const int32_t types[] = {TARN_DEVICE_CPU, TARN_DEVICE_CUDA_HOST, TARN_DEVICE_CUDA_MANAGED};
  for (size_t i = 0; i < COUNT_OF(types); i++) {
    tarn_blob blob = {.struct_size = sizeof blob,
                      .address = numbers,
                      .size_bytes = sizeof numbers,
                      .device = {types[i], 0}};
    tarn_tensor tensor;
    tarn_linear_span span;
    assert_ok(tarn_tensor_wrap(&blob, TARN_I32, 1, (int64_t[]){24}, NULL, 0, &tensor));
    assert_ok(tarn_linear_begin(&tensor, TARN_LINEAR_READ, NULL, NULL, &span));
    assert_true(span.is_zero_copy);
    assert_ok(tarn_linear_end(&span, NULL));
    tarn_tensor_release(&tensor);
  }
}

/* --- rows --- */

TEST(rows_alone_are_moved_and_written) {
  tarn_pool *pools[] = {pool, device_pool};
  for (int i = 0; i < 2; i++) {
    tarn_stream *stream = i == 0 ? NULL : device_stream;
    tarn_tensor tensor = counting(pools[i], stream), turned = tensor;
    tarn_linear_span span;
    assert_ok(tarn_tensor_transpose(&turned, 0, 1));
    assert_ok(tarn_linear_begin_rows(&turned, 2, 3, TARN_LINEAR_READ | TARN_LINEAR_WRITE, pool,
                                     stream, &span));
    assert_false(span.is_zero_copy);
    assert_int_equal(span.size_bytes, 48);
    assert_int_equal(span.moved_bytes, 48);
    for (int32_t at = 0; at < 12; at++) {
      assert_int_equal(((int32_t *)span.data)[at], at % 4 * 6 + 2 + at / 4);
      ((int32_t *)span.data)[at] = -1;
    }
    assert_ok(tarn_linear_end(&span, stream));
    assert_int_equal(span.moved_bytes, 96);
    assert_ok(tarn_stream_synchronize(stream));
    for (int32_t at = 0; at < 24; at++) {
      const bool is_inside = at % 6 >= 2 && at % 6 < 5;
      assert_int_equal(numbers_of(&tensor)[at], is_inside ? -1 : at);
    }
    tarn_tensor_release(&tensor);
  }
}

TEST(one_row_of_a_gapped_matrix_is_in_place) {
  tarn_tensor tensor = counting(pool, NULL), narrow = tensor;
  tarn_linear_span span;
  assert_ok(tarn_tensor_narrow(&narrow, 1, 1, 4));
  assert_ok(tarn_linear_begin_rows(&narrow, 2, 2, TARN_LINEAR_READ, pool, NULL, &span));
  assert_false(span.is_zero_copy);
  assert_ok(tarn_linear_end(&span, NULL));
  assert_ok(tarn_linear_begin_rows(&narrow, 2, 1, TARN_LINEAR_READ, NULL, NULL, &span));
  assert_true(span.is_zero_copy);
  assert_int_equal(((int32_t *)span.data)[0], 13);
  assert_int_equal(span.size_bytes, 16);
  assert_ok(tarn_linear_end(&span, NULL));
  tarn_tensor_release(&tensor);
}

TEST(a_scalar_is_one_row) {
  tarn_tensor tensor = counting(pool, NULL), scalar = tensor;
  tarn_linear_span span;
  assert_ok(tarn_tensor_select(&scalar, 0, 1));
  assert_ok(tarn_tensor_select(&scalar, 0, 3));
  assert_ok(tarn_linear_begin_rows(&scalar, 0, 1, TARN_LINEAR_READ, NULL, NULL, &span));
  assert_int_equal(*(int32_t *)span.data, 9);
  assert_ok(tarn_linear_end(&span, NULL));
  assert_ok(tarn_linear_begin_rows(&scalar, 1, 0, TARN_LINEAR_READ, NULL, NULL, &span));
  assert_null(span.data);
  assert_ok(tarn_linear_end(&span, NULL));
  assert_status(tarn_linear_begin_rows(&scalar, 0, 2, TARN_LINEAR_READ, NULL, NULL, &span),
                TARN_INVALID_ARGUMENT);
  tarn_tensor_release(&tensor);
}

TEST(rows_that_are_not_there_are_refused) {
  tarn_tensor tensor = counting(pool, NULL), zeroed = {0};
  static const int64_t wrong[][2] = {{-1, 1}, {0, 5}, {5, 0}, {4, 1}, {0, -1}, {1, INT64_MAX}};
  for (size_t i = 0; i < COUNT_OF(wrong); i++) {
    tarn_linear_span span = {.size_bytes = 99, .data = &span};
    assert_status(tarn_linear_begin_rows(&tensor, wrong[i][0], wrong[i][1], TARN_LINEAR_READ, NULL,
                                         NULL, &span),
                  TARN_INVALID_ARGUMENT);
    assert_null(span.data);
    assert_int_equal(span.size_bytes, 0);
    assert_ok(tarn_linear_end(&span, NULL));
  }
  tarn_linear_span span;
  assert_status(tarn_linear_begin_rows(&zeroed, 0, 1, TARN_LINEAR_READ, NULL, NULL, &span),
                TARN_INVALID_ARGUMENT);
  assert_status(tarn_linear_begin_rows(&tensor, 0, 1, 0, NULL, NULL, &span), TARN_INVALID_ARGUMENT);
  assert_status(tarn_linear_begin_rows(&tensor, 0, 1, TARN_LINEAR_READ, NULL, NULL, NULL),
                TARN_INVALID_ARGUMENT);
  tarn_tensor_release(&tensor);
}

TEST(a_tensor_without_elements_has_an_empty_span) {
  tarn_tensor tensor = counting(device_pool, device_stream);
  tarn_linear_span span;
  assert_ok(tarn_tensor_narrow(&tensor, 1, 3, 0));
  assert_ok(tarn_linear_begin(&tensor, TARN_LINEAR_READ, NULL, NULL, &span));
  assert_null(span.data);
  assert_int_equal(span.size_bytes, 0);
  assert_true(span.is_zero_copy);
  assert_ok(tarn_linear_end(&span, NULL));
  tarn_tensor_release(&tensor);
}

TEST(reading_in_place_waits_for_the_stream) {
  tarn_stream *stream;
  assert_ok(manual_stream_create(&stream));
  tarn_tensor src = counting(pool, NULL), dst = counting(pool, NULL);
  memset(numbers_of(&dst), 0, 96);
  assert_ok(tarn_tensor_copy(&dst, &src, stream, NULL));
  tarn_linear_span span;
  assert_ok(tarn_linear_begin(&dst, TARN_LINEAR_READ, NULL, stream, &span));
  assert_true(span.is_zero_copy);
  assert_int_equal(((const int32_t *)span.data)[23], 23);
  assert_ok(tarn_linear_end(&span, stream));
  tarn_tensor_release(&src);
  tarn_tensor_release(&dst);
  tarn_stream_release(stream);
}

/* --- gathered --- */

/* On the host and on the device, with and without a stream that works late. */
static void check_gather_and_scatter(tarn_pool *from, tarn_stream *stream) {
  tarn_tensor tensor = counting(from, stream), turned = tensor;
  tarn_linear_span span;
  assert_ok(tarn_tensor_transpose(&turned, 0, 1));
  assert_ok(tarn_linear_begin(&turned, TARN_LINEAR_READ | TARN_LINEAR_WRITE, pool, stream, &span));
  assert_false(span.is_zero_copy);
  assert_int_equal(span.size_bytes, 96);
  assert_int_equal(span.moved_bytes, 96);
  int32_t *numbers = span.data;
  for (int32_t column = 0; column < 6; column++) {
    for (int32_t row = 0; row < 4; row++) {
      assert_int_equal(numbers[column * 4 + row], row * 6 + column);
      numbers[column * 4 + row] = 1000 + row * 6 + column;
    }
  }
  assert_int_equal(numbers_of(&tensor)[0], 0); /* not before the end */
  assert_ok(tarn_linear_end(&span, stream));
  assert_int_equal(span.moved_bytes, 192);
  /* Staging memory that was given back may be lent out at once: to somebody behind the scatter. */
  tarn_tensor other;
  assert_ok(tarn_tensor_create(pool, TARN_I32, 1, (int64_t[]){24}, NULL, &other));
  memset(tarn_tensor_data_mutable(&other), 0xee, 96);
  assert_ok(tarn_stream_synchronize(stream));
  for (int32_t i = 0; i < 24; i++) assert_int_equal(numbers_of(&tensor)[i], 1000 + i);
  tarn_tensor_release(&other);
  tarn_tensor_release(&tensor);
}

TEST(a_strided_host_tensor_is_gathered_and_scattered) {
  check_gather_and_scatter(pool, NULL);
}

TEST(a_worker_stream_gathers_and_scatters) {
  tarn_stream *stream;
  assert_ok(tarn_worker_stream_create(&stream));
  for (int round = 0; round < 50; round++) check_gather_and_scatter(pool, stream);
  tarn_stream_release(stream);
}

TEST(a_late_stream_gathers_and_scatters) {
  tarn_stream *stream;
  assert_ok(manual_stream_create(&stream));
  check_gather_and_scatter(pool, stream);
  tarn_stream_release(stream);
}

TEST(a_device_tensor_is_gathered_and_scattered) {
  check_gather_and_scatter(device_pool, device_stream);
}

TEST(a_contiguous_device_tensor_is_brought_over) {
  tarn_tensor tensor = counting(device_pool, device_stream);
  tarn_linear_span span;
  assert_ok(tarn_linear_begin(&tensor, TARN_LINEAR_READ, pool, device_stream, &span));
  assert_false(span.is_zero_copy);
  for (int32_t i = 0; i < 24; i++) assert_int_equal(((const int32_t *)span.data)[i], i);
  ((int32_t *)span.data)[0] = 77; /* lost: nobody asked to write */
  assert_ok(tarn_linear_end(&span, device_stream));
  assert_ok(tarn_stream_synchronize(device_stream));
  assert_int_equal(numbers_of(&tensor)[0], 0);
  tarn_tensor_release(&tensor);
}

TEST(writing_alone_reads_nothing) {
  tarn_tensor tensor = counting(device_pool, device_stream);
  tarn_linear_span span;
  fake_copy_calls = 0;
  assert_ok(tarn_linear_begin(&tensor, TARN_LINEAR_WRITE, pool, device_stream, &span));
  assert_int_equal(fake_copy_calls, 0);
  assert_int_equal(span.moved_bytes, 0);
  for (int32_t i = 0; i < 24; i++) ((int32_t *)span.data)[i] = -i;
  assert_ok(tarn_linear_end(&span, device_stream));
  assert_int_equal(span.moved_bytes, 96);
  assert_ok(tarn_stream_synchronize(device_stream));
  for (int32_t i = 0; i < 24; i++) assert_int_equal(numbers_of(&tensor)[i], -i);
  tarn_tensor_release(&tensor);
}

TEST(random_tensors_read_as_the_model_lists_them) {
  static int32_t numbers[4096];
  static model all;
  uint64_t random = 67;
  size_t gathered = 0, in_place = 0;
  for (int32_t i = 0; i < 4096; i++) numbers[i] = i;
  for (int round = 0; round < 3000; round++) {
    int64_t shape[TARN_RANK_MAX];
    int32_t rank = random_shape(&random, 6, 300, shape);
    tarn_layout layout = random_layout_of(&random, rank, shape, /*may_overlap=*/true);
    tarn_blob blob = {.struct_size = sizeof blob, .address = numbers, .size_bytes = sizeof numbers};
    tarn_tensor tensor = {.dtype = TARN_I32, .layout = layout};
    tarn_linear_span span;
    assert_ok(tarn_storage_wrap(&blob, &tensor.storage));
    assert_ok(tarn_linear_begin(&tensor, TARN_LINEAR_READ, pool, NULL, &span));
    model_of(&layout, &all);
    assert_int_equal(span.size_bytes, all.count * 4);
    for (int64_t i = 0; i < all.count; i++) {
      if (((const int32_t *)span.data)[i] != all.elements[i]) fail_msg("round %d", round);
    }
    gathered += !span.is_zero_copy;
    in_place += span.is_zero_copy;
    assert_ok(tarn_linear_end(&span, NULL));
    tarn_tensor_release(&tensor);
  }
  assert_true(gathered > 500 && in_place > 500);
}

TEST(spans_may_be_open_side_by_side) {
  tarn_tensor tensor = counting(pool, NULL), turned = tensor;
  tarn_linear_span in_place, first, second;
  assert_ok(tarn_tensor_transpose(&turned, 0, 1));
  assert_ok(tarn_linear_begin(&tensor, TARN_LINEAR_READ, pool, NULL, &in_place));
  assert_ok(tarn_linear_begin(&turned, TARN_LINEAR_READ, pool, NULL, &first));
  assert_ok(tarn_linear_begin(&turned, TARN_LINEAR_READ, pool, NULL, &second));
  assert_ptr_not_equal(first.data, second.data);
  assert_memory_equal(first.data, second.data, 96);
  assert_ok(tarn_linear_end(&first, NULL));
  assert_int_equal(((const int32_t *)second.data)[1], 6);
  assert_ok(tarn_linear_end(&in_place, NULL));
  assert_ok(tarn_linear_end(&second, NULL));
  tarn_tensor_release(&tensor);
}

TEST(a_write_in_place_shows_beside_and_not_in_staged_spans) {
  tarn_tensor tensor = counting(pool, NULL), turned = tensor;
  tarn_linear_span writer, reader, staged, staged_writer;
  assert_ok(tarn_tensor_transpose(&turned, 0, 1));
  assert_ok(tarn_linear_begin(&tensor, TARN_LINEAR_READ | TARN_LINEAR_WRITE, pool, NULL, &writer));
  assert_ok(tarn_linear_begin(&tensor, TARN_LINEAR_READ, pool, NULL, &reader));
  assert_ok(tarn_linear_begin(&turned, TARN_LINEAR_READ, pool, NULL, &staged));
  assert_ok(
      tarn_linear_begin(&turned, TARN_LINEAR_READ | TARN_LINEAR_WRITE, pool, NULL, &staged_writer));
  ((int32_t *)writer.data)[0] = 77;
  assert_int_equal(((const int32_t *)reader.data)[0], 77);
  assert_int_equal(((const int32_t *)staged.data)[0], 0);
  assert_ok(tarn_linear_end(&staged_writer, NULL)); /* all of it, the 0 that it began with too */
  assert_int_equal(((const int32_t *)reader.data)[0], 0);
  assert_ok(tarn_linear_end(&writer, NULL));
  assert_ok(tarn_linear_end(&reader, NULL));
  assert_ok(tarn_linear_end(&staged, NULL));
  tarn_tensor_release(&tensor);
}

/* Each thread has its own rows of one tensor, some in place and some staged. */
typedef struct row_worker {
  pthread_t thread;
  const tarn_tensor *tensor;
  int64_t row;
  tarn_status status;
} row_worker;

static void *add_to_row(void *argument) {
  row_worker *self = argument;
  for (int round = 0; round < 200 && self->status == TARN_OK; round++) {
    tarn_linear_span span;
    self->status = tarn_linear_begin_rows(self->tensor, self->row, 1,
                                          TARN_LINEAR_READ | TARN_LINEAR_WRITE, pool, NULL, &span);
    if (self->status != TARN_OK) break;
    for (size_t i = 0; i < span.size_bytes / 4; i++) ((int32_t *)span.data)[i]++;
    self->status = tarn_linear_end(&span, NULL);
  }
  return NULL;
}

TEST(threads_write_rows_of_one_tensor) {
  for (int is_turned = 0; is_turned < 2; is_turned++) {
    tarn_tensor tensor = counting(pool, NULL), view = tensor;
    row_worker workers[4];
    if (is_turned) assert_ok(tarn_tensor_transpose(&view, 0, 1));
    for (int64_t i = 0; i < 4; i++) {
      workers[i] = (row_worker){.tensor = &view, .row = i};
      assert_int_equal(pthread_create(&workers[i].thread, NULL, add_to_row, &workers[i]), 0);
    }
    for (int64_t i = 0; i < 4; i++) {
      assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
      assert_ok(workers[i].status);
    }
    for (int32_t at = 0; at < 24; at++) {
      const bool is_touched = !is_turned || at % 6 < 4;
      assert_int_equal(numbers_of(&tensor)[at], is_touched ? at + 200 : at);
    }
    tarn_tensor_release(&tensor);
  }
}

TEST(elements_outside_of_the_storage_are_refused) {
  tarn_tensor tensor = counting(pool, NULL), beyond = tensor, before = tensor;
  tarn_linear_span span;
  beyond.layout.shape[0] = 5;
  before.layout.offset = -1;
  assert_status(tarn_linear_begin(&beyond, TARN_LINEAR_READ, pool, NULL, &span),
                TARN_INVALID_ARGUMENT);
  assert_status(tarn_linear_begin(&before, TARN_LINEAR_READ, pool, NULL, &span),
                TARN_INVALID_ARGUMENT);
  beyond.layout.shape[0] = INT64_MAX / 6;
  assert_status(tarn_linear_begin(&beyond, TARN_LINEAR_WRITE, pool, NULL, &span),
                TARN_INVALID_ARGUMENT);
  tarn_tensor_release(&tensor);
}

/* --- failures --- */

static void expect_refused(tarn_status expected, const tarn_tensor *tensor, uint32_t access,
                           tarn_pool *from) {
  tarn_linear_span span = {.size_bytes = 99};
  size_t live = live_blocks(pool);
  size_t uses = tensor->storage != NULL ? tarn_storage_use_count(tensor->storage) : 0;
  assert_int_equal(tarn_linear_begin(tensor, access, from, device_stream, &span), expected);
  assert_int_equal(span.size_bytes, 0);
  assert_null(span.staging);
  assert_int_equal(live_blocks(pool), live);
  if (uses > 0) assert_int_equal(tarn_storage_use_count(tensor->storage), uses);
  assert_ok(tarn_linear_end(&span, device_stream));
}

TEST(a_span_that_cannot_be_opened_leaves_nothing) {
  tarn_tensor tensor = counting(pool, NULL), zeroed = {0}, turned = tensor, wide = tensor;
  expect_refused(TARN_INVALID_ARGUMENT, &tensor, 0, pool);
  expect_refused(TARN_INVALID_ARGUMENT, &tensor, 8, pool);
  expect_refused(TARN_INVALID_ARGUMENT, &zeroed, TARN_LINEAR_READ, pool);
  assert_ok(tarn_tensor_transpose(&turned, 0, 1));
  expect_refused(TARN_INVALID_ARGUMENT, &turned, TARN_LINEAR_READ, NULL);
  expect_refused(TARN_INVALID_ARGUMENT, &turned, TARN_LINEAR_READ, device_pool);
  assert_ok(tarn_tensor_expand(&wide, 3, (int64_t[]){2, 4, 6}));
  expect_refused(TARN_OVERLAP, &wide, TARN_LINEAR_WRITE, pool);
  tarn_blob blob = {.struct_size = sizeof blob,
                    .address = numbers_of(&tensor),
                    .size_bytes = 96,
                    .flags = TARN_STORAGE_READ_ONLY};
  tarn_tensor locked;
  assert_ok(tarn_tensor_wrap(&blob, TARN_I32, 1, (int64_t[]){24}, NULL, 0, &locked));
  expect_refused(TARN_READ_ONLY, &locked, TARN_LINEAR_READ | TARN_LINEAR_WRITE, pool);
  tarn_tensor_release(&locked);
  tarn_tensor_release(&tensor);
}

TEST(a_failing_copy_closes_what_was_opened) {
  tarn_tensor tensor = counting(device_pool, device_stream);
  fake_copies_to_fail = 0;
  expect_refused(TARN_DEVICE_ERROR, &tensor, TARN_LINEAR_READ, pool);
  tarn_linear_span span;
  assert_ok(tarn_linear_begin(&tensor, TARN_LINEAR_WRITE, pool, device_stream, &span));
  fake_copies_to_fail = 0;
  assert_int_equal(tarn_linear_end(&span, device_stream), TARN_DEVICE_ERROR);
  fake_copies_to_fail = -1;
  assert_int_equal(span.moved_bytes, 0);
  assert_int_equal(live_blocks(pool), 0);
  assert_int_equal(tarn_storage_use_count(tensor.storage), 1);
  tarn_tensor_release(&tensor);
}

TEST(ending_twice_is_ending_once) {
  tarn_tensor tensor = counting(pool, NULL);
  tarn_linear_span span;
  assert_ok(tarn_linear_begin(&tensor, TARN_LINEAR_READ, pool, NULL, &span));
  assert_ok(tarn_linear_end(&span, NULL));
  assert_ok(tarn_linear_end(&span, NULL));
  assert_ok(tarn_linear_end(NULL, NULL));
  assert_int_equal(tarn_storage_use_count(tensor.storage), 1);
  tarn_tensor_release(&tensor);
}

int main(void) {
  return run_listed_tests(start, stop);
}
