/* test_element.c: tests of tensor/element.c on host memory and on a device the CPU cannot touch. */
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_host_stream.h"
#include "alloc/tarn_stream_copy.h"
#include "tensor/tarn_copy.h"
#include "tensor/tarn_element.h"
#include "tests/support/manual_stream.h"
#include "tests/tensor/layout_model.h"
#include "tests/tensor/two_places.h"

static tarn_tensor counting(tarn_pool *from, tarn_stream *stream) {
  tarn_tensor tensor;
  assert_ok(tarn_tensor_create(from, TARN_I32, 2, (int64_t[]){4, 6}, stream, &tensor));
  for (int32_t i = 0; i < 24; i++) ((int32_t *)bytes_of(&tensor))[i] = i;
  return tensor;
}

/* --- item --- */

TEST(the_item_of_one_element_is_its_value) {
  tarn_pool *pools[] = {pool, device_pool};
  for (int i = 0; i < 2; i++) {
    tarn_stream *stream = i == 0 ? NULL : device_stream;
    tarn_tensor tensor = counting(pools[i], stream), scalar = tensor, kept = tensor;
    tarn_scalar item;
    assert_ok(tarn_tensor_select(&scalar, 0, 2));
    assert_ok(tarn_tensor_select(&scalar, 0, 5));
    assert_ok(tarn_tensor_item(&scalar, stream, &item));
    assert_int_equal(item.kind, TARN_SCALAR_INT);
    assert_int_equal(item.value.integer, 17);
    assert_ok(tarn_tensor_narrow(&kept, 0, 3, 1));
    assert_ok(tarn_tensor_narrow(&kept, 1, 1, 1));
    assert_ok(tarn_tensor_item(&kept, stream, &item));
    assert_int_equal(item.value.integer, 19);
    tarn_tensor_release(&tensor);
  }
}

TEST(an_item_waits_for_the_stream) {
  tarn_stream *stream;
  tarn_scalar item;
  assert_ok(manual_stream_create(&stream));
  tarn_tensor src = counting(pool, NULL), dst = counting(pool, NULL);
  memset(bytes_of(&dst), 0, 96);
  assert_ok(tarn_tensor_copy(&dst, &src, stream, NULL));
  tarn_tensor scalar = dst;
  assert_ok(tarn_tensor_select(&scalar, 0, 3));
  assert_ok(tarn_tensor_select(&scalar, 0, 5));
  assert_ok(tarn_tensor_item(&scalar, stream, &item));
  assert_int_equal(item.value.integer, 23);
  tarn_tensor_release(&src);
  tarn_tensor_release(&dst);
  tarn_stream_release(stream);
}

TEST(none_or_several_elements_have_no_item) {
  tarn_tensor tensor = counting(pool, NULL), none = tensor, zeroed = {0}, outside = tensor;
  tarn_scalar item = tarn_scalar_of_int(5);
  assert_status(tarn_tensor_item(&tensor, NULL, &item), TARN_INVALID_ARGUMENT);
  assert_int_equal(item.kind, TARN_SCALAR_BOOL); /* cleared */
  assert_ok(tarn_tensor_narrow(&none, 0, 0, 0));
  assert_status(tarn_tensor_item(&none, NULL, &item), TARN_INVALID_ARGUMENT);
  assert_status(tarn_tensor_item(&zeroed, NULL, &item), TARN_INVALID_ARGUMENT);
  assert_status(tarn_tensor_item(NULL, NULL, &item), TARN_INVALID_ARGUMENT);
  outside.layout = (tarn_layout){.offset = 24};
  assert_status(tarn_tensor_item(&outside, NULL, &item), TARN_INVALID_ARGUMENT);
  outside.layout.offset = 23;
  assert_status(tarn_tensor_item(&outside, NULL, NULL), TARN_INVALID_ARGUMENT);
  outside.dtype = tarn_dtype_make(TARN_CODE_OPAQUE, 32, 1);
  assert_status(tarn_tensor_item(&outside, NULL, &item), TARN_NOT_SUPPORTED);
  tarn_tensor_release(&tensor);
}

TEST(a_failing_copy_gives_no_item) {
  tarn_tensor tensor = counting(device_pool, device_stream), scalar = tensor;
  tarn_scalar item;
  scalar.layout = (tarn_layout){.offset = 3};
  fake_copies_to_fail = 0;
  assert_status(tarn_tensor_item(&scalar, device_stream, &item), TARN_DEVICE_ERROR);
  fake_copies_to_fail = -1;
  scalar.dtype = tarn_dtype_make(TARN_CODE_FLOAT, 64, 3);
  scalar.layout.offset = 0;
  assert_status(tarn_tensor_item(&scalar, device_stream, &item), TARN_NOT_SUPPORTED);
  tarn_tensor_release(&tensor);
}

/* --- fill --- */

/* A random view of 4096 bytes is filled, and nothing else is touched. */
static void check_fill(uint64_t *random, tarn_pool *from, tarn_stream *stream) {
  static const char *const names[] = {"uint8", "float16", "int32", "float64", "complex128"};
  static model all;
  int64_t shape[TARN_RANK_MAX];
  tarn_tensor tensor = {0};
  assert_ok(tarn_dtype_parse(names[random_in(random, 0, 4)], &tensor.dtype));
  const size_t element_bytes = tarn_dtype_size_bytes(tensor.dtype);
  const int32_t rank = random_shape(random, 5, 200, shape);
  tensor.layout = random_layout_of(random, rank, shape, /*may_overlap=*/false);
  assert_ok(tarn_storage_create(from, 1 << 16, stream, &tensor.storage));
  char *bytes = bytes_of(&tensor);
  static char expected[1 << 16];
  memset(bytes, 0x33, sizeof expected);
  memset(expected, 0x33, sizeof expected);
  char value[16];
  const tarn_scalar scalar = tarn_scalar_of_int(random_in(random, 0, 100));
  assert_ok(tarn_scalar_store(scalar, tensor.dtype, value));
  model_of(&tensor.layout, &all);
  for (int64_t i = 0; i < all.count; i++) {
    memcpy(expected + (size_t)all.elements[i] * element_bytes, value, element_bytes);
  }
  assert_ok(tarn_tensor_fill(&tensor, scalar, stream));
  assert_ok(tarn_stream_synchronize(stream));
  assert_memory_equal(bytes, expected, sizeof expected);
  tarn_tensor_release(&tensor);
}

TEST(fills_reach_every_element_and_nothing_else) {
  uint64_t random = 91;
  tarn_stream *worker, *late;
  assert_ok(tarn_worker_stream_create(&worker));
  assert_ok(manual_stream_create(&late));
  for (int round = 0; round < 400; round++) {
    check_fill(&random, pool, NULL);
    check_fill(&random, pool, worker);
    check_fill(&random, pool, late);
    check_fill(&random, device_pool, device_stream);
  }
  tarn_stream_release(worker);
  tarn_stream_release(late);
}

TEST(a_dense_device_tensor_is_filled_in_few_calls) {
  tarn_tensor tensor;
  enum { COUNT = 3000001 };
  assert_ok(
      tarn_tensor_create(device_pool, TARN_F32, 1, (int64_t[]){COUNT}, device_stream, &tensor));
  fake_copy_calls = 0;
  assert_ok(tarn_tensor_fill(&tensor, tarn_scalar_of_float(1.25), device_stream));
  assert_in_range(fake_copy_calls, 1, 16);
  assert_ok(tarn_stream_synchronize(device_stream));
  for (int i = 0; i < COUNT; i++) {
    if (((float *)bytes_of(&tensor))[i] != 1.25f) fail_msg("element %d", i);
  }
  tarn_tensor_release(&tensor);
}

/* By grids but for one byte again and again; what these refuse goes the way of all copies. */
TEST(a_stream_with_kernels_fills_any_strides) {
  uint64_t random = 93;
  tarn_stream *able = fake_able_stream_create();
  for (int round = 0; round < 400; round++) {
    fake_refuses_grids = round % 4 == 0;
    check_fill(&random, device_pool, able);
  }
  fake_refuses_grids = false;
  tarn_stream_release(able);
}

TEST(a_strided_tensor_filled_by_a_kernel_may_be_released_at_once) {
  static const int64_t shape[] = {40, 60};
  tarn_tensor tensor, other;
  tarn_stream *able = fake_able_stream_create();
  assert_ok(tarn_tensor_create(device_pool, TARN_I32, 2, shape, device_stream, &tensor));
  assert_ok(tarn_tensor_slice(&tensor, 1, 1, 60, 3));
  fake_copy_calls = fake_grid_calls = 0;
  assert_ok(tarn_tensor_fill(&tensor, tarn_scalar_of_int(7), able));
  assert_int_equal(fake_grid_calls, 1);
  assert_int_equal(fake_copy_calls, 0);
  tarn_tensor_release(&tensor);
  assert_ok(tarn_tensor_create(device_pool, TARN_I32, 2, shape, device_stream, &other));
  memset(bytes_of(&other), 0, 40 * 60 * 4);
  assert_ok(tarn_stream_synchronize(able));
  for (int i = 0; i < 40 * 60; i++) assert_int_equal(((int32_t *)(void *)bytes_of(&other))[i], 0);
  tarn_tensor_release(&other);
  tarn_stream_release(able);
}

TEST(dimensions_that_could_be_one_are_not_too_many_for_a_kernel) {
  enum { DIMS = TARN_COPY_GRID_RANK_MAX + 2, COUNT = 1 << DIMS };
  static const int64_t count = 2 * COUNT;
  tarn_tensor all, every_other;
  tarn_stream *able = fake_able_stream_create();
  assert_ok(tarn_tensor_create(device_pool, TARN_I16, 1, &count, able, &all));
  memset(bytes_of(&all), 0, 2 * (size_t)count);
  every_other = all;
  every_other.layout = (tarn_layout){.rank = DIMS};
  for (int d = 0; d < DIMS; d++) {
    every_other.layout.shape[d] = 2;
    every_other.layout.strides[d] = COUNT >> d;
  }
  fake_grid_calls = 0;
  assert_ok(tarn_tensor_fill(&every_other, tarn_scalar_of_int(300), able));
  assert_int_equal(fake_grid_calls, 1);
  assert_ok(tarn_stream_synchronize(able));
  for (int i = 0; i < count; i++) {
    assert_int_equal(((int16_t *)(void *)bytes_of(&all))[i], i % 2 == 0 ? 300 : 0);
  }
  tarn_tensor_release(&all);
  tarn_stream_release(able);
}

/* The queue still has to fill what its owner has already given back. */
TEST(a_filled_tensor_may_be_released_at_once) {
  tarn_stream *late;
  assert_ok(manual_stream_create(&late));
  tarn_tensor tensor = counting(pool, NULL), other;
  const void *address = tarn_storage_data(tensor.storage);
  assert_ok(tarn_tensor_fill(&tensor, tarn_scalar_of_int(9), late));
  assert_int_equal(((int32_t *)bytes_of(&tensor))[1], 1); /* not yet */
  tarn_tensor_release(&tensor);
  assert_ok(tarn_tensor_create(pool, TARN_I32, 2, (int64_t[]){4, 6}, NULL, &other));
  if (tarn_storage_data(other.storage) == address) assert_int_equal(manual_stream_pending(late), 0);
  memset(bytes_of(&other), 0, 96);
  assert_ok(tarn_stream_synchronize(late));
  for (int i = 0; i < 24; i++) assert_int_equal(((int32_t *)bytes_of(&other))[i], 0);
  tarn_tensor_release(&other);
  tarn_stream_release(late);
}

TEST(zeros_go_into_any_element_type) {
  static const char *const names[] = {
      "bool",         "float32x4",     "float64x3",       "opaque128",
      "complex128x2", "float6_e2m3fn", "float4_e2m1fnx2", "int64"};
  for (size_t i = 0; i < COUNT_OF(names); i++) {
    tarn_dtype dtype;
    tarn_tensor tensor, odd;
    assert_ok(tarn_dtype_parse(names[i], &dtype));
    assert_ok(tarn_tensor_create(pool, dtype, 2, (int64_t[]){3, 4}, NULL, &tensor));
    const size_t element_bytes = tarn_dtype_size_bytes(dtype);
    memset(bytes_of(&tensor), 0x77, 12 * element_bytes);
    odd = tensor;
    assert_ok(tarn_tensor_slice(&odd, 1, 1, 4, 2));
    assert_ok(tarn_tensor_fill_zero(&odd, NULL));
    for (size_t at = 0; at < 12 * element_bytes; at++) {
      const bool is_inside = at / element_bytes % 2 == 1;
      assert_int_equal(bytes_of(&tensor)[at], is_inside ? 0 : 0x77);
    }
    assert_ok(tarn_tensor_fill_zero(&tensor, NULL));
    for (size_t at = 0; at < 12 * element_bytes; at++) assert_int_equal(bytes_of(&tensor)[at], 0);
    tarn_tensor_release(&tensor);
  }
}

TEST(a_fill_that_is_refused_writes_nothing) {
  tarn_tensor tensor = counting(pool, NULL), wide = tensor, zeroed = {0}, locked, beyond = tensor;
  const tarn_scalar five = tarn_scalar_of_int(5);
  assert_status(tarn_tensor_fill(&tensor, tarn_scalar_of_float(NAN), NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_tensor_fill(&tensor, tarn_scalar_of_int(INT64_MAX), NULL),
                TARN_INVALID_ARGUMENT);
  assert_ok(tarn_tensor_expand(&wide, 3, (int64_t[]){2, 4, 6}));
  assert_status(tarn_tensor_fill(&wide, five, NULL), TARN_OVERLAP);
  assert_status(tarn_tensor_fill(&zeroed, five, NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_tensor_fill_zero(NULL, NULL), TARN_INVALID_ARGUMENT);
  beyond.layout.offset = 1;
  assert_status(tarn_tensor_fill(&beyond, five, NULL), TARN_INVALID_ARGUMENT);
  tarn_blob blob = {.struct_size = sizeof blob,
                    .address = bytes_of(&tensor),
                    .size_bytes = 96,
                    .flags = TARN_STORAGE_READ_ONLY};
  assert_ok(tarn_tensor_wrap(&blob, TARN_I32, 1, (int64_t[]){24}, NULL, 0, &locked));
  assert_status(tarn_tensor_fill(&locked, five, NULL), TARN_READ_ONLY);
  assert_status(tarn_tensor_fill_zero(&locked, NULL), TARN_READ_ONLY);
  for (int32_t i = 0; i < 24; i++) assert_int_equal(((int32_t *)bytes_of(&tensor))[i], i);
  tarn_tensor_release(&locked);
  tarn_tensor_release(&tensor);
}

TEST(filling_nothing_is_no_error) {
  tarn_tensor tensor = counting(device_pool, device_stream), none = tensor;
  assert_ok(tarn_tensor_narrow(&none, 1, 2, 0));
  fake_copy_calls = 0;
  assert_ok(tarn_tensor_fill(&none, tarn_scalar_of_int(1), device_stream));
  assert_int_equal(fake_copy_calls, 0);
  tarn_tensor_release(&tensor);
}

TEST(a_fill_that_fails_on_the_device_says_so) {
  tarn_tensor tensor = counting(device_pool, device_stream);
  fake_copies_to_fail = 0;
  assert_status(tarn_tensor_fill(&tensor, tarn_scalar_of_int(1), device_stream), TARN_DEVICE_ERROR);
  fake_copies_to_fail = -1;
  tarn_tensor_release(&tensor);
}

int main(void) {
  return run_listed_tests(start, stop);
}
