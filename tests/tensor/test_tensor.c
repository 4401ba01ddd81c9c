/* test_tensor.c: tests of tensor/tensor.c. */
#include <pthread.h>
#include <string.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_pages.h"
#include "tensor/tarn_tensor.h"
#include "tests/support/pools.h"

#define SHAPE(...) (sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), ((int64_t[]){__VA_ARGS__})

static tarn_pool *pool;

static int make_pool(void **state) {
  (void)state;
  pool = pages_pool(NULL);
  return 0;
}

static int drop_pool(void **state) {
  (void)state;
  assert_int_equal(live_blocks(pool), 0);
  tarn_pool_release(pool);
  return 0;
}

static bool is_zeroed(const tarn_tensor *tensor) {
  static const tarn_tensor zero;
  return memcmp(tensor, &zero, sizeof zero) == 0;
}

/* --- create --- */

TEST(a_new_tensor_is_row_major_and_owned) {
  tarn_tensor tensor;
  assert_ok(tarn_tensor_create(pool, TARN_F32, SHAPE(3, 5), NULL, &tensor));
  assert_int_equal(tarn_storage_use_count(tensor.storage), 1);
  assert_int_equal(tarn_tensor_element_count(&tensor), 15);
  assert_int_equal(tarn_tensor_size_bytes(&tensor), 60);
  assert_int_equal(tarn_tensor_device(&tensor).type, TARN_DEVICE_CPU);
  assert_true(tarn_tensor_is_contiguous(&tensor));
  memset(tarn_tensor_data_mutable(&tensor), 7, 60);
  tarn_tensor_release(&tensor);
  assert_true(is_zeroed(&tensor));
  tarn_tensor_release(&tensor);
  tarn_tensor_release(NULL);
}

TEST(a_tensor_without_elements_has_no_data) {
  tarn_tensor tensor;
  assert_ok(tarn_tensor_create(pool, TARN_F64, SHAPE(3, 0), NULL, &tensor));
  assert_int_equal(tarn_tensor_size_bytes(&tensor), 0);
  assert_null(tarn_tensor_data(&tensor));
  assert_null(tarn_tensor_data_mutable(&tensor));
  assert_int_equal(live_blocks(pool), 0);
  tarn_tensor_release(&tensor);
}

TEST(a_zeroed_tensor_answers_without_a_storage) {
  tarn_tensor tensor = {0};
  assert_null(tarn_tensor_data(&tensor));
  assert_int_equal(tarn_tensor_element_count(&tensor), 0);
  assert_int_equal(tarn_tensor_size_bytes(&tensor), 0);
  assert_int_equal(tarn_tensor_device(&tensor).type, 0);
  tarn_tensor_retain(&tensor);
  assert_int_equal(tarn_tensor_as_strided(&tensor, SHAPE(1), (int64_t[]){1}, 0),
                   TARN_INVALID_ARGUMENT);
}

TEST(sizes_beyond_the_machine_are_too_large) {
  tarn_tensor tensor;
  assert_int_equal(tarn_tensor_create(pool, TARN_F32, SHAPE(INT64_MAX), NULL, &tensor),
                   TARN_TOO_LARGE);
  assert_true(is_zeroed(&tensor));
  assert_int_equal(tarn_tensor_create(pool, TARN_F32, SHAPE(INT64_MAX / 4 + 1), NULL, &tensor),
                   TARN_TOO_LARGE);
  assert_int_equal(
      tarn_tensor_create(pool, tarn_dtype_make(TARN_CODE_INT, 12, 1), SHAPE(2), NULL, &tensor),
      TARN_NOT_SUPPORTED);
  assert_int_equal(tarn_tensor_create(pool, TARN_F32, SHAPE(-2), NULL, &tensor),
                   TARN_INVALID_ARGUMENT);
  assert_true(is_zeroed(&tensor));
}

/* --- sharing --- */

TEST(a_view_shares_the_storage_and_a_copy_of_the_value_borrows) {
  tarn_tensor matrix;
  assert_ok(tarn_tensor_create(pool, TARN_I32, SHAPE(4, 6), NULL, &matrix));
  tarn_tensor row = matrix;
  assert_ok(tarn_tensor_select(&row, 0, 2));
  assert_int_equal(tarn_storage_use_count(matrix.storage), 1);
  assert_ptr_equal(tarn_tensor_data(&row), (const int32_t *)tarn_tensor_data(&matrix) + 12);
  tarn_tensor_retain(&row);
  assert_int_equal(tarn_storage_use_count(matrix.storage), 2);
  tarn_storage *weak = matrix.storage;
  tarn_storage_weak_retain(weak);
  tarn_tensor_release(&matrix);
  *(int32_t *)tarn_tensor_data_mutable(&row) = 5; /* the row keeps the bytes */
  tarn_tensor_release(&row);
  assert_false(tarn_storage_lock(weak));
  tarn_storage_weak_release(weak);
}

TEST(data_follows_offset_and_negative_strides) {
  int32_t numbers[6] = {0, 1, 2, 3, 4, 5};
  tarn_blob blob = {.struct_size = sizeof blob, .address = numbers, .size_bytes = sizeof numbers};
  tarn_tensor tensor;
  assert_ok(tarn_tensor_wrap(&blob, TARN_I32, SHAPE(6), NULL, 0, &tensor));
  assert_ok(tarn_tensor_slice(&tensor, 0, TARN_SLICE_OPEN, TARN_SLICE_OPEN, -2));
  const int32_t *data = tarn_tensor_data(&tensor);
  assert_int_equal(data[0], 5);
  assert_int_equal(data[1 * tensor.layout.strides[0]], 3);
  assert_int_equal(data[2 * tensor.layout.strides[0]], 1);
  tarn_tensor_release(&tensor);
}

/* --- on a storage --- */

TEST(a_tensor_of_a_storage_lies_inside_it) {
  tarn_storage *storage;
  tarn_tensor tensor;
  assert_ok(tarn_storage_create(pool, 64, NULL, &storage));
  assert_ok(tarn_tensor_of_storage(storage, TARN_F32, SHAPE(3, 4), 16, &tensor));
  assert_int_equal(tensor.layout.offset, 4);
  assert_int_equal(tarn_storage_use_count(storage), 2);
  assert_ptr_equal(tarn_tensor_data(&tensor), (const char *)tarn_storage_data(storage) + 16);
  tarn_tensor_release(&tensor);
  assert_int_equal(tarn_tensor_of_storage(storage, TARN_F32, SHAPE(3, 4), 20, &tensor),
                   TARN_INVALID_ARGUMENT);
  assert_true(is_zeroed(&tensor));
  assert_int_equal(tarn_tensor_of_storage(storage, TARN_F32, SHAPE(2), 6, &tensor),
                   TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_tensor_of_storage(NULL, TARN_F32, SHAPE(2), 0, &tensor),
                   TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_storage_use_count(storage), 1);
  tarn_storage_release(storage);
}

TEST(as_strided_counts_from_the_start_of_the_storage) {
  tarn_tensor tensor;
  assert_ok(tarn_tensor_create(pool, TARN_F32, SHAPE(4, 6), NULL, &tensor));
  assert_ok(tarn_tensor_select(&tensor, 0, 3));
  assert_ok(tarn_tensor_as_strided(&tensor, SHAPE(2, 12), (int64_t[]){12, 1}, 0));
  assert_int_equal(tarn_tensor_as_strided(&tensor, SHAPE(2, 12), (int64_t[]){12, 1}, 1),
                   TARN_INVALID_ARGUMENT);
  assert_int_equal(tensor.layout.offset, 0);
  tarn_tensor_release(&tensor);
}

/* --- wrap --- */

typedef struct guest {
  int calls;
  int32_t numbers[8];
} guest;

static void count_call(void *context) {
  ((guest *)context)->calls++;
}

static tarn_blob blob_of(guest *owner) {
  return (tarn_blob){.struct_size = sizeof(tarn_blob),
                     .address = owner->numbers,
                     .size_bytes = sizeof owner->numbers,
                     .deleter = count_call,
                     .context = owner};
}

TEST(the_deleter_runs_once_when_the_last_view_dies) {
  guest owner = {0};
  tarn_blob blob = blob_of(&owner);
  tarn_tensor tensor;
  assert_ok(tarn_tensor_wrap(&blob, TARN_I32, SHAPE(2, 4), NULL, 0, &tensor));
  assert_ptr_equal(tarn_tensor_data(&tensor), owner.numbers);
  tarn_tensor view = tensor;
  tarn_tensor_retain(&view);
  tarn_tensor_release(&tensor);
  assert_int_equal(owner.calls, 0);
  tarn_tensor_release(&view);
  assert_int_equal(owner.calls, 1);
}

static void *release_elsewhere(void *argument) {
  tarn_tensor_release(argument);
  return NULL;
}

TEST(whichever_thread_is_last_runs_the_deleter_once) {
  for (int round = 0; round < 200; round++) {
    guest owner = {0};
    tarn_blob blob = blob_of(&owner);
    tarn_tensor tensor, views[3];
    pthread_t threads[3];
    assert_ok(tarn_tensor_wrap(&blob, TARN_I32, SHAPE(2, 4), NULL, 0, &tensor));
    for (int i = 0; i < 3; i++) {
      views[i] = tensor;
      tarn_tensor_retain(&views[i]);
      assert_ok(tarn_tensor_select(&views[i], 0, i % 2));
    }
    for (int i = 0; i < 3; i++) {
      assert_int_equal(pthread_create(&threads[i], NULL, release_elsewhere, &views[i]), 0);
    }
    tarn_tensor_release(&tensor);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    assert_int_equal(owner.calls, 1);
  }
}

TEST(a_blob_may_have_no_deleter) {
  guest owner = {0};
  tarn_blob blob = blob_of(&owner);
  blob.deleter = NULL;
  tarn_tensor tensor;
  assert_ok(tarn_tensor_wrap(&blob, TARN_I32, SHAPE(8), NULL, 0, &tensor));
  tarn_tensor_release(&tensor);
  assert_int_equal(owner.calls, 0);
}

TEST(a_blob_without_an_address_holds_nothing) {
  tarn_blob blob = {.struct_size = sizeof blob};
  tarn_tensor tensor;
  assert_int_equal(tarn_tensor_wrap(&blob, TARN_I32, SHAPE(8), NULL, 0, &tensor),
                   TARN_INVALID_ARGUMENT);
  blob.size_bytes = 32;
  assert_int_equal(tarn_tensor_wrap(&blob, TARN_I32, SHAPE(8), NULL, 0, &tensor),
                   TARN_INVALID_ARGUMENT);
  assert_true(is_zeroed(&tensor));
  blob.size_bytes = 0;
  assert_ok(tarn_tensor_wrap(&blob, TARN_I32, SHAPE(3, 0), (int64_t[]){-5, 9}, 0, &tensor));
  assert_null(tarn_tensor_data(&tensor));
  tarn_tensor_release(&tensor);
}

TEST(a_refused_blob_keeps_its_deleter) {
  guest owner = {0};
  tarn_blob blob = blob_of(&owner);
  tarn_tensor tensor;
  assert_int_equal(tarn_tensor_wrap(&blob, TARN_I32, SHAPE(9), NULL, 0, &tensor),
                   TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_tensor_wrap(&blob, TARN_I32, SHAPE(8), NULL, 4, &tensor),
                   TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_tensor_wrap(&blob, TARN_I32, SHAPE(8), (int64_t[]){-1}, 24, &tensor),
                   TARN_INVALID_ARGUMENT); /* one element in front of the blob */
  assert_int_equal(tarn_tensor_wrap(&blob, TARN_I32, SHAPE(2), (int64_t[]){8}, 0, &tensor),
                   TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_tensor_wrap(&blob, TARN_I32, SHAPE(2), NULL, 2, &tensor),
                   TARN_INVALID_ARGUMENT); /* half an element */
  assert_int_equal(tarn_tensor_wrap(&blob, TARN_I32, SHAPE(2), NULL, SIZE_MAX - 3, &tensor),
                   TARN_TOO_LARGE);
  assert_int_equal(tarn_tensor_wrap(&blob, TARN_I32, SHAPE(INT64_MAX), NULL, 0, &tensor),
                   TARN_TOO_LARGE);
  blob.struct_size = 8;
  assert_int_equal(tarn_tensor_wrap(&blob, TARN_I32, SHAPE(2), NULL, 0, &tensor),
                   TARN_INVALID_ARGUMENT);
  assert_true(is_zeroed(&tensor));
  assert_int_equal(owner.calls, 0);
}

TEST(an_offset_counts_bytes_and_strides_count_elements) {
  guest owner = {0};
  tarn_blob blob = blob_of(&owner);
  tarn_tensor tensor;
  assert_ok(tarn_tensor_wrap(&blob, TARN_I32, SHAPE(8), (int64_t[]){-1}, 28, &tensor));
  assert_int_equal(tensor.layout.offset, 7);
  assert_ptr_equal(tarn_tensor_data(&tensor), &owner.numbers[7]);
  tarn_tensor_release(&tensor);
}

TEST(a_size_left_open_is_what_the_layout_reaches) {
  guest owner = {0};
  tarn_blob blob = blob_of(&owner);
  blob.size_bytes = 0;
  tarn_tensor tensor;
  assert_ok(tarn_tensor_wrap(&blob, TARN_I32, SHAPE(2, 2), (int64_t[]){4, 1}, 8, &tensor));
  assert_int_equal(tarn_storage_size_bytes(tensor.storage), (2 + 4 + 1 + 1) * 4);
  tarn_tensor_release(&tensor);
  assert_int_equal(tarn_tensor_wrap(&blob, TARN_I32, SHAPE(3), (int64_t[]){-1}, 4, &tensor),
                   TARN_INVALID_ARGUMENT); /* would reach in front of the address */
  blob.address = NULL;
  assert_int_equal(tarn_tensor_wrap(&blob, TARN_I32, SHAPE(1), NULL, 0, &tensor),
                   TARN_INVALID_ARGUMENT);
  assert_ok(tarn_tensor_wrap(&blob, TARN_I32, SHAPE(0, 4), NULL, 0, &tensor));
  assert_null(tarn_tensor_data(&tensor));
  tarn_tensor_release(&tensor);
  assert_int_equal(owner.calls, 2);
}

TEST(a_misaligned_blob_is_refused_for_wide_elements_only) {
  _Alignas(16) char bytes[64];
  tarn_tensor tensor;
  static const struct {
    tarn_dtype dtype;
    size_t alignment;
  } rows[] = {
      {{TARN_CODE_UINT, 8, 1}, 1},          {{TARN_CODE_BFLOAT, 16, 1}, 2},
      {{TARN_CODE_FLOAT, 32, 1}, 4},        {{TARN_CODE_FLOAT, 32, 4}, 4},
      {{TARN_CODE_FLOAT, 64, 1}, 8},        {{TARN_CODE_COMPLEX, 64, 1}, 4},
      {{TARN_CODE_COMPLEX, 128, 1}, 8},     {{TARN_CODE_FLOAT4_E2M1FN, 4, 2}, 1},
      {{TARN_CODE_FLOAT6_E2M3FN, 6, 1}, 1},
  };
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    for (size_t shift = 0; shift < 16; shift++) {
      tarn_blob blob = {.struct_size = sizeof blob, .address = bytes + shift, .size_bytes = 32};
      tarn_status status = tarn_tensor_wrap(&blob, rows[i].dtype, SHAPE(2), NULL, 0, &tensor);
      assert_int_equal(status, shift % rows[i].alignment == 0 ? TARN_OK : TARN_INVALID_ARGUMENT);
      tarn_tensor_release(&tensor);
    }
  }
}

TEST(a_read_only_blob_gives_no_address_to_write) {
  guest owner = {0};
  tarn_blob blob = blob_of(&owner);
  blob.flags = TARN_STORAGE_READ_ONLY;
  tarn_tensor tensor;
  assert_ok(tarn_tensor_wrap(&blob, TARN_I32, SHAPE(8), NULL, 0, &tensor));
  assert_non_null(tarn_tensor_data(&tensor));
  assert_null(tarn_tensor_data_mutable(&tensor));
  tarn_tensor_release(&tensor);
}

/* --- reshape --- */

TEST(a_reshape_that_is_a_view_shares_the_storage) {
  tarn_tensor tensor, reshaped;
  bool copied = true;
  assert_ok(tarn_tensor_create(pool, TARN_I32, SHAPE(4, 6), NULL, &tensor));
  assert_ok(tarn_tensor_reshape(&tensor, SHAPE(3, -1), pool, NULL, &reshaped, &copied));
  assert_false(copied);
  assert_ptr_equal(reshaped.storage, tensor.storage);
  assert_int_equal(reshaped.layout.shape[1], 8);
  tarn_tensor_release(&tensor);
  tarn_tensor_release(&reshaped);
}

TEST(a_reshape_that_no_view_expresses_copies) {
  tarn_tensor tensor, reshaped;
  bool copied = false;
  assert_ok(tarn_tensor_create(pool, TARN_I32, SHAPE(2, 3), NULL, &tensor));
  int32_t *numbers = tarn_tensor_data_mutable(&tensor);
  for (int32_t i = 0; i < 6; i++) numbers[i] = i;
  assert_ok(tarn_tensor_transpose(&tensor, 0, 1));
  assert_ok(tarn_tensor_reshape(&tensor, SHAPE(-1), pool, NULL, &reshaped, &copied));
  assert_true(copied);
  assert_memory_equal(tarn_tensor_data(&reshaped), ((int32_t[]){0, 3, 1, 4, 2, 5}), 24);
  assert_int_equal(tarn_storage_use_count(tensor.storage), 1);
  tarn_tensor_release(&reshaped);
  assert_int_equal(tarn_tensor_reshape(&tensor, SHAPE(4), pool, NULL, &reshaped, NULL),
                   TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_tensor_reshape(&tensor, SHAPE(6), NULL, NULL, &reshaped, NULL),
                   TARN_INVALID_ARGUMENT); /* a copy needs a pool */
  assert_true(is_zeroed(&reshaped));
  assert_int_equal(tarn_tensor_reshape(NULL, SHAPE(6), pool, NULL, &reshaped, NULL),
                   TARN_INVALID_ARGUMENT);
  assert_true(is_zeroed(&reshaped));
  tarn_tensor_release(&tensor);
}

int main(void) {
  return run_listed_tests(make_pool, drop_pool);
}
